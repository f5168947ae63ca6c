/* SPDX-License-Identifier: Apache-2.0 */
/* Policy in the agent: what the API says about pods, namespaces, nodes and policies goes to the compiler as it comes; what is compiled
 * goes to the datapath, soon after, and always before a pod of this node gets on the network. */
#pragma once

#include "agent/endpoints.h"
#include "agent/host_policy.h"
#include "agent/options.h"
#include "agent/policy_apply.h"
#include "agent/policy_nodes.h"
#include "model/model.h"
#include "policy/policy.h"
#include "route/plan.h"

struct policies;

/* @wake: something has changed; called with @ctx, at any time but from policies_update(). @m and @opt are borrowed. */
typedef void policies_wake_fn(void *ctx);
struct policies *policies_new(sd_event *event, struct model *m, const struct options *opt, policies_wake_fn *wake, void *ctx);
struct policies *policies_free(struct policies *p);
DEFINE_CLEANUP(struct policies *, policies_free)

/* A model_object_fn: to be told of every object. */
void policies_on_object(enum model_table table, void *object, bool gone, void *ctx);

/* Is the pod known, so that its policy can be? Without a name it is no pod of the cluster, and needs no policy. */
bool policies_know(const struct policies *p, const char *namespace_, const char *name, const char *uid);

/**
 * policies_update() - compile and apply what has changed; cheap when nothing has
 * @force: also when nothing has changed: look whether the datapath has it all
 *
 * Return: 0, -errno of the datapath; then it is to be called again.
 */
int policies_update(struct policies *p, const struct endpoints *endpoints, struct datapath *dp);
/* At intervals of at least a grace period: drops what only packets on their way could have needed since before the last call. Return: is an update
 * needed for that? */
bool policies_settle(struct policies *p);
/* Is there anything left for it? */
bool policies_rest(const struct policies *p);
/* Is what goes in the way of what may come? The compiler fills no more than half of the rules' table, so that there is the other half for a change; until what the
 * change before has left is gone there is less, and the next one would lock down whoever comes last. */
bool policies_wait_for_room(const struct policies *p);
/* Who finds no room might be another by now; with the next update it is asked. */
bool policies_room_is_stale(const struct policies *p);
void policies_ask_room(struct policies *p);
/* This node's addresses on its links (now): policies of the node mean what leads to it there. Copied. */
void policies_set_links(struct policies *p, const struct policy_links *links);
/* A look at the next entries of the policy maps. Return: how many had to be put back, -errno. */
int policies_audit(struct policies *p, struct datapath *dp);
/* Keeps what the node's own policies are judged by until the API answers after a boot; when it has changed, and rarely. At intervals. */
void policies_remember(struct policies *p, uint64_t now_us);
void policies_forget_datapath(struct policies *p);

/* What is wrong, for `weft status` and health; NULL when nothing is. Owned by the caller. */
char *policies_problem(const struct policies *p);
const struct model_policy *policies_find_object(const struct policies *p, enum policy_kind kind, const char *namespace_, const char *name);
const struct policy *policies_compiler(const struct policies *p);
const struct policy_apply *policies_applied(const struct policies *p);
/* Policies of the node itself; NULL: the option policy.host is off. */
struct host_policy *policies_host(const struct policies *p);
