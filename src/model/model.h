/* SPDX-License-Identifier: Apache-2.0 */
/* The cluster as this node knows it: every object once, decoded, with indexes. Filled from watches, read by compilers.
 * Pure memory: no I/O, no clock.
 *
 * An object that cannot be decoded is refused with its name and the reason, counted and remembered; the others go on.
 * When an object that was good becomes bad, its last good form stays in force until a good form or its deletion comes:
 * for a policy that is the safe side, for a node it keeps packets flowing. */
#pragma once

#include "base/htab.h"
#include "base/json.h"
#include "base/list.h"
#include "net/addr.h"

enum model_table {
	MODEL_NODES,
	MODEL_PODS,
	MODEL_NAMESPACES,
	MODEL_POLICIES,
	MODEL_MESH_NODES,
	MODEL_SERVICES,
	MODEL_SLICES,
	MODEL_CLUSTER_POLICIES,
	MODEL_ADMIN_POLICIES,
	MODEL_BASELINE_POLICIES,
	MODEL_TABLES
};

struct model_pair {
	const char *key, *value;
};

/* A set of labels or annotations, sorted by key; equal sets are one object. */
struct model_labels {
	struct htab_node node;
	unsigned refs;
	unsigned n;
	struct model_pair kv[];
};
const char *model_label(const struct model_labels *l, const char *key); /* value or NULL; @l may be NULL */

enum { NODE_CIDRS_MAX = 8, NODE_ADDRS_MAX = 16, POD_ADDRS_MAX = 2 };

struct model_node_addr {
	struct htab_node node;
	struct addr addr;
	struct model_node *of;
	bool external;
};

struct model_node {
	struct htab_node by_name;
	struct model_node_addr *by_addr; /* one for each of addrs */
	const char *name, *uid;
	const char *zone, *region; /* "" when not said */
	int64_t created;	   /* seconds since 1970; 0 when not said */
	struct prefix cidrs[NODE_CIDRS_MAX];
	unsigned n_cidrs;
	struct addr addrs[2 * NODE_ADDRS_MAX]; /* InternalIP, in the order of the API; behind them ExternalIP, those that are none of the others */
	unsigned n_addrs, n_external;	       /* of each; the way to a node goes to an InternalIP, to policy it is all of them */
	bool ready;   /* by its condition; true when none is there */
	bool cordoned; /* spec.unschedulable */
	bool leaving; /* being deleted, or tainted by the cluster autoscaler, which is about to */
	struct model_labels *labels;
	struct model_labels *annotations; /* weft.dev/… only */
	unsigned generation;
};

/* The condition of a pod's status by which Weft tells its addresses before the kubelet does: message "10.244.1.5,fd00::5". */
#define MODEL_POD_ADDRS_CONDITION "weft.dev/PodAddresses"

enum model_pod_phase { POD_PENDING, POD_RUNNING, POD_SUCCEEDED, POD_FAILED, POD_UNKNOWN };

struct model_pod_addr {
	struct htab_node node;
	struct addr addr; /* zero: none */
};

/* A named port of a pod's containers. */
struct model_port {
	const char *name; /* interned */
	uint16_t number;  /* host order */
	uint8_t proto;	  /* IPPROTO_TCP, _UDP, _SCTP */
};

enum { POD_PORTS_MAX = 256, POD_HOST_PORTS_MAX = 64 };

/* A port of the node that leads to a port of the pod. */
struct model_host_port {
	struct addr host; /* hostIP; zero ("" and ::): every address of the node; 0.0.0.0: every IPv4 one */
	uint16_t host_port, port; /* host order */
	uint8_t proto;		  /* IPPROTO_TCP, _UDP, _SCTP */
};

/* Of a pod that has some. */
struct model_host_ports {
	struct list all; /* in model.host_pods */
	const struct model_pod *pod;
	int64_t created; /* the pod's */
	unsigned n;
	struct model_host_port ports[];
};

struct model_pod {
	struct htab_node by_name;
	struct list by_node;
	struct model_pod_addr addrs[POD_ADDRS_MAX]; /* one of a family at most */
	const char *namespace_;			    /* interned: equal namespaces are equal pointers */
	const char *node;			    /* name, interned; "" while unscheduled */
	struct model_labels *labels;
	struct model_port *ports; /* the named ones; of two of a name and protocol the first counts */
	unsigned n_ports;
	struct model_host_ports *host_ports; /* or NULL; a hostNetwork pod has none */
	uint64_t serial; /* grows with each change of addresses: of two pods that claim one address the later has it */
	unsigned generation;
	uint8_t phase; /* enum model_pod_phase */
	bool host_network;
	bool deleting;	/* deletionTimestamp is set */
	bool has_addrs; /* owns its addresses: not host_network, not finished */
	const char *uid;
	char name[];
};

struct model_namespace {
	struct htab_node by_name;
	const char *name;
	struct model_labels *labels;
	unsigned generation;
};

/* A policy of any kind; the table says which. */
struct model_policy {
	struct htab_node by_name;
	enum model_table table;
	const char *namespace_, *name, *uid;
	char *spec; /* as the API has it, the text of an object: a tenth of the memory of its values, of which there may be 10,000 */
	const char *mode; /* annotation weft.dev/mode, or NULL */
	const char *subject; /* annotation weft.dev/subject, or NULL */
	/* Of the cluster-wide kinds; a change of these alone is no change of the policy. */
	int64_t object_generation;
	json_t *condition;	/* Accepted of its status, or NULL */
	uint64_t status_due_us; /* the agent's: when its turn is to write the status; 0: it need not */
	unsigned generation;
};

enum { MESH_KEY_LEN = 32, MESH_ENDPOINTS_MAX = 32 };

struct model_mesh_endpoint {
	struct addr addr;
	uint16_t port; /* host order */
};

/* A MeshNode: named as its Node, written by it. */
struct model_mesh_node {
	struct htab_node by_name;
	const char *name, *uid;
	int64_t created;
	uint8_t key[MESH_KEY_LEN], next_key[MESH_KEY_LEN]; /* WireGuard public keys; next_key: zero without one */
	bool has_next;
	struct model_mesh_endpoint endpoints[MESH_ENDPOINTS_MAX]; /* best first */
	unsigned n_endpoints;
	unsigned generation;
};

struct model;
struct model *model_new(void);
struct model *model_free(struct model *m);
DEFINE_CLEANUP(struct model *, model_free)

/**
 * model_upsert() - take in an object as the API has it
 * @object: borrowed for the call
 * @ret_error: when refused and not NULL: "Pod default/a: status.podIPs[0]: …", owned by the caller
 *
 * Return: 1 changed something, 0 nothing new, -EINVAL refused.
 */
int model_upsert(struct model *m, enum model_table table, const json_t *object, char **ret_error);
/* By metadata.namespace and .name. Return: 1, 0 when it is not there, -EINVAL without a name. */
int model_delete(struct model *m, enum model_table table, const json_t *object);
/* A whole list: begin, upserts, end. end removes what did not come (a refused object counts as having come). A second
 * begin starts over. Return of end: how many were removed. */
void model_replace_begin(struct model *m, enum model_table table);
size_t model_replace_end(struct model *m, enum model_table table);

/* Called at each change of a table (not for an upsert that changes nothing); NULL for none. It must not change the
 * model. */
typedef void model_changed_fn(enum model_table table, void *ctx);
void model_on_change(struct model *m, model_changed_fn *fn, void *ctx);
/* Called for each object: when it is new or has changed, and, with @gone, before it goes. It must not change the model. */
typedef void model_object_fn(enum model_table table, void *object, bool gone, void *ctx);
void model_on_object(struct model *m, model_object_fn *fn, void *ctx);
/* Bits 1 << table of what has changed since the last call. */
unsigned model_take_dirty(struct model *m);

size_t model_count(const struct model *m, enum model_table table);

/* Look-ups: borrowed until the next change, or NULL. */
struct model_node *model_find_node(const struct model *m, const char *name);
struct model_pod *model_find_pod(const struct model *m, const char *namespace_, const char *name);
/* The pod that owns the address: hostNetwork and finished pods own none. */
struct model_pod *model_find_pod_by_addr(const struct model *m, const struct addr *a);
/* Of several nodes that claim the address the one whose name sorts first. */
struct model_node *model_find_node_by_addr(const struct model *m, const struct addr *a); /* InternalIP */
bool model_is_node_addr(const struct model *m, const struct addr *a); /* InternalIP or ExternalIP of any */
struct model_namespace *model_find_namespace(const struct model *m, const char *name);
struct model_policy *model_find_policy(const struct model *m, const char *namespace_, const char *name); /* NetworkPolicy */
struct model_policy *model_find_policy_of(const struct model *m, enum model_table table, const char *namespace_, const char *name);

struct model_mesh_node *model_find_mesh_node(const struct model *m, const char *name);

/* Sorted by name, so that what is compiled from it does not depend on history; the array is the caller's to free(). */
struct model_node **model_nodes_sorted(const struct model *m, size_t *ret_n);
struct model_mesh_node **model_mesh_nodes_sorted(const struct model *m, size_t *ret_n);

/* Iteration, in no order: return false to stop. */
typedef bool model_pod_fn(struct model_pod *pod, void *ctx);
void model_each_pod(const struct model *m, model_pod_fn *fn, void *ctx);
void model_each_pod_on(const struct model *m, const char *node, model_pod_fn *fn, void *ctx);
typedef bool model_policy_fn(struct model_policy *policy, void *ctx);
void model_each_policy(const struct model *m, enum model_table table, model_policy_fn *fn, void *ctx);

/* Objects that are refused now: count, and up to 1,000 by name with reasons. */
struct model_refused {
	struct htab_node node;
	enum model_table table;
	unsigned generation;
	char *name; /* "default/a" */
	char *reason;
};
size_t model_refused_count(const struct model *m);
typedef bool model_refused_fn(const struct model_refused *r, void *ctx);
void model_each_refused(const struct model *m, model_refused_fn *fn, void *ctx);

/* What model_upsert() and model_delete() look at in objects of a table, in the words of base/json_fields.h. */
const char *model_fields(enum model_table table);

const char *model_table_name(enum model_table table); /* "nodes", "pods", … */
