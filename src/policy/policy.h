/* SPDX-License-Identifier: Apache-2.0 */
/* The policy compiler: the cluster and its policies in, the wanted contents of the datapath's policy maps out. Pure: no
 * I/O, no clock. docs/policy.md explains it.
 *
 * Events go in as they come (put, delete), in any order; policy_compile() then brings the maps up to date at a cost that
 * follows what changed. The same cluster gives the same verdicts and rules whatever the history; only the numbers of
 * classes, policies and port tables depend on it. */
#pragma once

#include "policy/labels.h"
#include "policy/maps.h"
#include "policy/spec.h"

struct policy;

struct policy *policy_new(void);
struct policy *policy_free(struct policy *p);
DEFINE_CLEANUP(struct policy *, policy_free)

/* Addresses inside that no pod is known to have are "unknown pods". */
void policy_set_ranges(struct policy *p, const struct prefix *ranges, size_t n);

/* Largest number of entries that one policy (both directions) may have, and of block memberships and prefixes altogether. A policy with more by itself has none: the
 * endpoints concerned are locked down. Else, as for want of prefixes or memberships, objects are left out (blocks_fit.c, rules_fit.c) and those that they select locked down, but first
 * nothing that only observes is asked any more; policy_each_problem() says so. 0 keeps the built-in value; prefixes are not bounded by it. */
void policy_set_limits(struct policy *p, size_t entries, size_t memberships, size_t prefixes);

/* Of the whole cluster, before anything is put. @observe: as if every policy (and the default) only observed. @deny: what no policy
 * speaks of is denied, not allowed. */
void policy_set_modes(struct policy *p, bool observe, bool deny);

/* Largest number of entries of all policies together, without those of port tables. Beyond, objects are left out as above; 0: no bound. */
void policy_set_rule_room(struct policy *p, size_t entries);

/* What only observes is left out while the rules, or the ports of rules, are more than @entries with it; 0: never. */
void policy_set_trial_room(struct policy *p, size_t entries);

/* Who is left out stays so, whatever changes (more may have to go), until policy_ask_room(): to ask anew means to make all that is too much, so no change should have
 * to wait for it. Else every compile asks after a change. */
void policy_set_patient(struct policy *p);
/* Would the answer be another, perhaps? */
bool policy_room_is_stale(const struct policy *p);
/* With the next compile. */
void policy_ask_room(struct policy *p);

struct policy_port_in {
	const char *name;
	uint8_t protocol; /* IPPROTO_ */
	uint16_t number;
};

struct policy_pod_in {
	const char *namespace_, *name;
	const struct label_in *labels;
	size_t n_labels;
	struct addr addrs[2];
	unsigned n_addrs; /* 0: owns none (hostNetwork, finished) */
	const struct policy_port_in *ports; /* the named ones; of two with one name and protocol the first counts */
	size_t n_ports;
	uint64_t serial; /* of two pods that claim one address the larger has it, then the greater name */
	bool local;	 /* an endpoint of this node: policies are made for it */
	bool host, after; /* the node itself: policy_set_host() */
};

/* The caller keeps what it passed; each put replaces. del returns whether it was there. */
void policy_put_pod(struct policy *p, const struct policy_pod_in *pod);
bool policy_del_pod(struct policy *p, const char *namespace_, const char *name);
/* The label kubernetes.io/metadata.name is added here (@name "" is the node itself: not there). Pods of a namespace that was never put are unknown pods, and
 * locked down when they are local. */
void policy_put_namespace(struct policy *p, const char *name, const struct label_in *labels, size_t n);
bool policy_del_namespace(struct policy *p, const char *name);
/* @addrs: those of status.addresses, which rules about nodes mean; @others: what else the node owns (its addresses in the
 * pod ranges), which belong to no pod but are nodes to no rule. */
void policy_put_node(struct policy *p, const char *name, const struct label_in *labels, size_t n_labels,
		     const struct addr *addrs, size_t n_addrs, const struct addr *others, size_t n_others);
bool policy_del_node(struct policy *p, const char *name);
/* This node as an endpoint: policies of nodes (weft.dev/subject) select it by its labels. An address that comes twice counts once. It is there a second time, as what it is when the trial of its
 * policies has ended by itself: of those that policy_spec_set_after() has marked. */
void policy_set_host(struct policy *p, const struct label_in *labels, size_t n_labels, const struct addr *addrs, size_t n_addrs);
/* Before anything is put: policies of nodes are not in force here. Of those that mean the host policy_each_problem() says so. */
void policy_set_hostless(struct policy *p);
/* See struct policy_endpoint_value: until when the node's own policies are in force (from then on those marked as after), and adopt connections. Each 0: for
 * ever, never. */
struct policy_host_times {
	uint64_t until_ns, adopts_ns;
};
void policy_set_host_times(struct policy *p, struct policy_host_times times);
/* Is @spec a policy of nodes whose subject means this one (now)? */
bool policy_selects_host(struct policy *p, const struct policy_spec *spec);
void policy_put_object(struct policy *p, struct policy_spec *spec); /* takes @spec */
bool policy_del_object(struct policy *p, enum policy_kind kind, const char *namespace_, const char *name);

/**
 * policy_compile() - the maps for everything put so far
 *
 * What is no longer used stays until policy_settle(), so that packets which are still judged by an old policy meet the
 * classes that it was made for.
 *
 * Return: the maps; a reference of the caller's, see maps.h.
 */
struct policy_maps *policy_compile(struct policy *p);

/* How many compiles are done. */
uint64_t policy_compiled(const struct policy *p);

/**
 * policy_settle() - forget what was only kept for packets on their way
 * @compiled: policy_compiled() of maps that have been applied for a whole grace period: no program works with what they had no more.
 *	UINT64_MAX: with nothing
 *
 * Return: whether policies were dropped; what they need goes with the next policy_compile().
 */
bool policy_settle(struct policy *p, uint64_t compiled);
/* Is there anything that is kept so? */
bool policy_rests(const struct policy *p);

/* Rule ids of slots, for people. Valid for rules of the current maps and of those before the last policy_settle(). */
struct policy_rule_ref {
	enum policy_kind kind;
	const char *namespace_, *name; /* of the object; namespace_ "" for cluster-wide kinds */
	enum policy_direction direction;
	int index;	       /* in its list; -1: the isolation that a NetworkPolicy brings */
	const char *rule_name; /* "" when it has none */
};
bool policy_find_rule(const struct policy *p, uint32_t rule, struct policy_rule_ref *ret); /* borrowed strings */
/* "NetworkPolicy default/web ingress[0]" */
void policy_rule_format(const struct policy *p, uint32_t rule, char *out, size_t size);

enum policy_problem { PROBLEM_INVALID_OBJECT, PROBLEM_TOO_LARGE, PROBLEM_TOO_MANY_BLOCKS, PROBLEM_NAMESPACE_UNKNOWN, PROBLEM_TRIAL_TOO_LARGE, PROBLEM_TRIAL_NO_ROOM, PROBLEM_HOST_TOO_LARGE, PROBLEM_HOSTLESS, PROBLEM_NO_ROOM };
/* What is wrong now: objects that fail closed (with their errors), endpoints locked down. @subject: "NetworkPolicy a/b", "a/pod". */
typedef void policy_problem_fn(enum policy_problem what, const char *subject, const char *detail, void *ctx);
void policy_each_problem(const struct policy *p, policy_problem_fn *fn, void *ctx);

/* For people: all objects in the order in which they are asked; what applies to an endpoint of this node, rule by rule (NULL when there is
 * none of this name; `isolated` of a rule of the Baseline tier: a NetworkPolicy decides before it;
 * `moreRules`, `morePeers`, `morePorts`: so many there are beside those that are listed). New references. */
json_t *policy_list_json(const struct policy *p);
json_t *policy_pod_json(const struct policy *p, const char *namespace_, const char *name);

/* What is not understood of it; NULL: there is no such object. */
const struct policy_errors *policy_object_errors(const struct policy *p, enum policy_kind kind, const char *namespace_, const char *name);
/* Does it select a pod of this node? */
bool policy_object_is_used(const struct policy *p, enum policy_kind kind, const char *namespace_, const char *name);

struct policy_stats {
	size_t pods, namespaces, objects, peers_in_use, profiles, classes, policies, blocks;
};
struct policy_stats policy_stats(const struct policy *p);

/* Everything compiled, in words and without numbers that depend on history: equal text, equal meaning. For tests and people. */
void policy_dump(const struct policy *p, FILE *to);
