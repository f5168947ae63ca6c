/* SPDX-License-Identifier: Apache-2.0 */
/* Policies of the node itself (ClusterNetworkPolicy with weft.dev/subject: nodes), on trial until they are confirmed.
 *
 * They can cut off whoever wrote them. So what has changed of those that mean this node is in force for policy.hostTrialSeconds; unless somebody who
 * still reaches the node says `weft policy confirm` by then, what was confirmed last is in force again, until they change once more or are confirmed after
 * all. That holds whatever happens to the agent: a file says when the trial ends, which a restart reads, and the datapath has what was confirmed beside what
 * is on trial, and goes back to it by itself when no agent has taken back in time. Where no such policy is wanted any more there is nothing to confirm: that
 * closes nothing; nor where they become again what was confirmed last. What only observes closes nothing either: it is no part of that, and observes as long as it is there.
 *
 * A connection to the API server that was there before goes on where a new one is cut, so whoever looks at the agent's would find nothing wrong. Hence a new
 * one is made under each trial (agent/api_trial.h): without it they are taken back at once, and before it nobody can confirm them. */
#pragma once

#include "agent/failsafe.h"
#include "agent/options.h"
#include "policy/policy.h"

#include <systemd/sd-event.h>

struct host_policy;

/* @compiler gets what is in force; @wake is called when that has changed by itself. Borrowed. */
typedef void host_policy_wake_fn(void *ctx);
struct host_policy *host_policy_new(sd_event *event, const struct options *o, struct policy *compiler, host_policy_wake_fn *wake, void *ctx);
struct host_policy *host_policy_free(struct host_policy *h);

/* The API has it now; @object NULL: no more. Kept by reference. */
void host_policy_put(struct host_policy *h, const char *name, json_t *object);
/* The API's object of that name is one of pods (now): what was confirmed of it as one of nodes may not come back in its place. Before
 * host_policy_put() without an object. */
void host_policy_not_of_nodes(struct host_policy *h, const char *name);
/* The node's labels may be others: policies may mean it now, or no more. */
void host_policy_node_changed(struct host_policy *h);
/* The API has told everything once: only from then on does the compiler get anything. */
void host_policy_synced(struct host_policy *h);
void host_policy_set_api(struct host_policy *h, const struct failsafe_api *api);
/* This node's addresses on its links; borrowed until the next call. */
void host_policy_set_links(struct host_policy *h, const struct route_underlay *links, size_t n);
const struct failsafe_api *host_policy_api(const struct host_policy *h);

/* Before that, after a boot: does the record say that anything is in force? Then @to, a compiler that has the node (policy_set_host()) and nothing else,
 * gets it, with the failsafe ports. */
bool host_policy_is_any(const struct host_policy *h);
void host_policy_put_recorded(struct host_policy *h, struct policy *to, const struct failsafe_api *api);

/* What is on trial is in the maps now: whether the API server is reached under it can be tested. */
void host_policy_applied(struct host_policy *h);

/* What is, or was, on trial is confirmed from now on, and in force; but what was taken back before the API server was reached under it goes on trial again.
 * @revision: as host_policy_json() told it, NULL: whichever. Return: 0, -ENOENT when nothing waits for it, -ESTALE when another revision does, -EAGAIN while
 * it is not known whether the API server is reached: @wake is called when it is; -errno of the file. */
int host_policy_confirm(struct host_policy *h, const char *revision);
bool host_policy_is_rolled_back(const struct host_policy *h);
/* What is, or was, on trial: name → object, NULL: nothing. Borrowed. */
const json_t *host_policy_tried(const struct host_policy *h);
/* Was the API server reached under what is, or was, on trial? */
bool host_policy_is_tested(const struct host_policy *h);
/* {"state": "none" | "observed" (nothing else is) | "confirmed" | "trial" | "rolled back", "revision": what waits to be confirmed, "apiReached": of what is, or was, on trial, "secondsLeft": n,
 * "policies": [name, …] in force, "observed": [name, …] that only observe} */
json_t *host_policy_json(const struct host_policy *h);
