/* SPDX-License-Identifier: Apache-2.0 */
/* A policy object, decoded: one internal form for NetworkPolicy, ClusterNetworkPolicy, AdminNetworkPolicy and
 * BaselineAdminNetworkPolicy. It stands alone (owns its strings) and means the same wherever it is read.
 *
 * What cannot be understood fails closed (NP-21, CNP-9), and is said in `errors`:
 * - NetworkPolicy only allows, so a bad rule, peer or port matches nothing; a bad podSelector selects the whole
 *   namespace; bad policyTypes isolate both directions.
 * - In the cluster-wide kinds a rule with anything unknown in it matches nothing if it accepts, and becomes "deny
 *   everything" if it denies or passes. With a bad tier, priority or subject the object denies everything in the directions
 *   that it has rules for, before all others; with a bad subject, for every pod.
 * - The annotation weft.dev/subject of a ClusterNetworkPolicy may say "nodes": its subject.namespaces then means nodes by their labels, and no pod. With
 *   "nodes-from" its egress rules, which can name networks and nodes, are about what comes to the node, and their peers are who sends. With anything
 *   else there, or in an object of another kind, it is one of pods, as without.
 * - The annotation weft.dev/mode says "observe" or "enforce"; anything else is enforced. */
#pragma once

#include "net/addr.h"
#include "policy/selector.h"
#include "weft/policy.h" /* bpf/abi */

enum policy_kind { KIND_NETWORK_POLICY, KIND_CLUSTER, KIND_ADMIN, KIND_BASELINE, KIND_COUNT };
enum policy_tier { TIER_ADMIN, TIER_NETWORK, TIER_BASELINE };
enum { PRIORITY_FAILSAFE = -2 /* host.h */, PRIORITY_FIRST = -1, PRIORITY_MAX = 1000, PRIORITY_LAST = PRIORITY_MAX + 1 /* BaselineAdminNetworkPolicy */ };

#define POLICY_MODE_ANNOTATION "weft.dev/mode"
#define POLICY_SUBJECT_ANNOTATION "weft.dev/subject" /* ClusterNetworkPolicy: "nodes", "nodes-from" */

enum peer_type { PEER_PODS, PEER_BLOCK, PEER_NODES };

struct peer_spec {
	enum peer_type type;
	char *namespace_;	     /* PODS: this namespace only; NULL: `namespaces` says */
	struct selector *namespaces; /* PODS without namespace_ */
	struct selector *selector;   /* PODS: pods; NODES: nodes */
	struct prefix cidr;	     /* BLOCK */
	struct prefix *except;	     /* BLOCK: sorted, each once */
	unsigned n_except;
};

struct port_spec {
	uint8_t protocol; /* IPPROTO_TCP, _UDP, _SCTP; 0 with a name: whichever the pod's port has */
	uint16_t lo, hi;  /* inclusive; 0 … 65535 is every port */
	char *name;	  /* instead of numbers: a port of the destination pod */
};

struct rule_spec {
	enum policy_direction direction;
	enum policy_verdict verdict;
	char *name;	/* "" when it has none */
	unsigned index; /* in its list in the object */
	bool any_peer;
	bool any_port; /* every protocol, too */
	struct peer_spec *peers;
	unsigned n_peers, cap_peers;
	struct port_spec *ports;
	unsigned n_ports, cap_ports;
};

struct policy_spec {
	enum policy_kind kind;
	enum policy_tier tier;
	int priority; /* lower is first; NetworkPolicies have 0 */
	char *namespace_;  /* "" for the cluster-wide kinds */
	char *name;
	struct peer_spec subject; /* PODS */
	bool isolates[POLICY_DIRECTIONS];
	bool of_nodes; /* weft.dev/subject: nodes: the subject's labels are those of nodes, and it selects no pod */
	bool after;    /* of_nodes: in force when the trial of the others has ended by itself */
	bool observes; /* weft.dev/mode: observe: it is told what this would deny, and nothing is denied */
	struct rule_spec *rules;
	unsigned n_rules, cap_rules;
	struct policy_errors errors;
};

struct policy_spec *policy_spec_free(struct policy_spec *s);
DEFINE_CLEANUP(struct policy_spec *, policy_spec_free)

/**
 * policy_spec_parse() - an object as the API has it; the kind is read from `kind` (and `apiVersion` where it says one)
 * @fallback_kind: what an object without `kind` is, NULL: such an object is refused
 * @ret_error: when refused and not NULL: why, owned by the caller
 *
 * An object that has a name is never refused for what its spec holds: see above, and @ret->errors.
 *
 * Return: 0, -EINVAL without a usable name or of a foreign kind.
 */
int policy_spec_parse(const json_t *object, const char *fallback_kind, struct policy_spec **ret, char **ret_error);

#define POLICY_AFTER_NAMESPACE "(confirmed)"
/* Marks a policy of nodes as one that is in force when the trial of the others has ended by itself. It is found in POLICY_AFTER_NAMESPACE then, beside the one
 * of its name that is on trial. */
void policy_spec_set_after(struct policy_spec *s);

const char *policy_kind_name(enum policy_kind kind); /* "NetworkPolicy", … */
const char *policy_kind_api_version(enum policy_kind kind); /* "networking.k8s.io/v1", … */
bool policy_subject_is_nodes(const char *text); /* of POLICY_SUBJECT_ANNOTATION; NULL: no */
int policy_kind_parse(const char *name, enum policy_kind *ret);
static inline bool peer_is_any_pod(const struct peer_spec *p)
{
	return p->type == PEER_PODS && !p->namespace_ && selector_is_any(p->namespaces) && selector_is_any(p->selector);
}

/* For the readers of the kinds. */
struct rule_spec *policy_spec_add_rule(struct policy_spec *s, enum policy_direction d, unsigned index);
struct peer_spec *rule_add_peer(struct rule_spec *r, enum peer_type type);
struct port_spec *rule_add_port(struct rule_spec *r, uint8_t protocol, uint16_t lo, uint16_t hi, const char *name);
void rule_clear(struct rule_spec *r); /* peers and ports */
int peer_parse_cidr(const json_t *j, const struct at *at, struct policy_errors *e, struct prefix *ret);
int port_parse_number(const json_t *j, const struct at *at, struct policy_errors *e, uint16_t *ret);
/* A container port's name: 1 to 15 of [a-z0-9-], at least one letter, no "--", no '-' at the ends. */
int port_parse_name(const char *name, const struct at *at, struct policy_errors *e);
int port_parse_protocol(const json_t *j, const struct at *at, struct policy_errors *e, uint8_t *ret);
void network_policy_parse(struct policy_spec *s, const json_t *spec, const struct at *at);
void cluster_policy_parse(struct policy_spec *s, const json_t *spec, const struct at *at);
