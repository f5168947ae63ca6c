/* SPDX-License-Identifier: Apache-2.0 */
/* A cluster out of API objects (manifests, test cases), judged without any datapath: `weft policy test`, and the tests of
 * the compiler. Every pod is an endpoint here, as if each node were this one. */
#pragma once

#include "base/json.h"
#include "policy/lookup.h"
#include "policy/policy.h"

struct offline {
	struct policy *policy;
	json_t *objects; /* kind -> "namespace/name" -> object */
	struct policy_maps *maps; /* of the last offline_compile() */
	const char *host; /* name of the node that is an endpoint itself (borrowed), NULL: none */
};

struct offline *offline_new(void);
struct offline *offline_free(struct offline *o);
DEFINE_CLEANUP(struct offline *, offline_free)

/**
 * offline_put() - take in an object, replacing the one of its kind, namespace and name
 * @fallback_kind: of an object without `kind`; NULL to refuse it
 *
 * Namespace, Pod, Node, the policy kinds, and List. A node's addresses are those of its status (InternalIP, ExternalIP), of its pods'
 * status.hostIPs, and the first one of each pod range; the cluster's pod ranges are the nodes' podCIDRs.
 *
 * Return: 0, -EINVAL with *ret_error (owned by the caller).
 */
int offline_put(struct offline *o, const json_t *object, const char *fallback_kind, char **ret_error);
/* Return: whether it was there. */
bool offline_del(struct offline *o, const char *kind, const char *namespace_, const char *name);
const json_t *offline_find(const struct offline *o, const char *kind, const char *namespace_, const char *name); /* borrowed, or NULL */

/* Brings o->maps up to date, with o->host as it is now. With @settle also drops what is kept for packets in flight. */
void offline_compile(struct offline *o, bool settle);

/* One end of a connection. */
struct offline_end {
	struct addr addr;
	const char *node; /* the node's name when the end is a node (or a pod in its network); NULL */
	const char *pod_node; /* the node of a pod that is an endpoint; NULL */
};

/**
 * offline_find_end() - "namespace/pod" or an address
 * @family: AF_INET or AF_INET6 picks a pod's address, AF_UNSPEC takes its first
 *
 * Return: 0, -ENOENT no such pod or no such address of it, -EINVAL neither form.
 */
int offline_find_end(const struct offline *o, const char *text, int family, struct offline_end *ret);
void offline_judge(const struct offline *o, const struct offline_end *src, const struct offline_end *dst, uint8_t protocol,
		   uint16_t port, struct policy_answer *ret);
