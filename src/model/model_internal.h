/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "model/model.h"
#include "model/service.h"

struct model {
	struct htab tables[MODEL_TABLES]; /* by name */
	struct htab pod_addrs;		  /* struct model_pod_addr */
	struct htab node_addrs;		  /* struct node_addr_entry: nodes by address */
	struct htab pods_by_node;	  /* struct pods_of */
	struct htab strings, labels, refused;
	struct htab service_refs;	  /* struct service_ref: Services and slices by Service */
	struct htab service_addrs;	  /* struct model_service_addr */
	struct list dirty_services;	  /* struct service_ref */
	struct list host_pods;		  /* struct model_host_ports */
	uint16_t *node_ports;		  /* how many Services have it: NODE_PORTS of them (services.c) */
	uint64_t serial;
	unsigned generation[MODEL_TABLES];
	bool replacing[MODEL_TABLES];
	unsigned dirty;
	model_changed_fn *changed;
	void *changed_ctx;
	model_object_fn *on_object;
	void *object_ctx;
};

void model_tell(struct model *m, enum model_table table, void *object, bool gone); /* it is new, has changed, or goes */
int model_touched(struct model *m, enum model_table table); /* something in it has changed; returns 1 */
const char *model_intern(struct model *m, const char *s);
void model_unintern(struct model *m, const char *s);
/* The set of an object's string members, those whose key begins with @prefix only when it is not NULL. */
struct model_labels *model_labels_get(struct model *m, const json_t *object, const char *prefix);
void model_labels_put(struct model *m, struct model_labels *l);
void model_replace_string(struct model *m, const char **at, const char *s); /* interned */
/* Takes the reference to @labels. Return: has it changed? */
bool model_replace_labels(struct model *m, struct model_labels **at, struct model_labels *labels);

/* Decoders: JSON to plain values, no model touched. Strings are borrowed from the document. */
int _printf_(2, 3) decode_refuse(char **ret_error, const char *fmt, ...); /* -EINVAL */
struct decoded_meta {
	const char *namespace_, *name, *uid, *rv;
	int64_t created;
	bool deleting;
};
int decode_meta(const json_t *object, bool namespaced, struct decoded_meta *ret, char **ret_error);

struct decoded_node {
	struct prefix cidrs[NODE_CIDRS_MAX];
	unsigned n_cidrs;
	struct addr addrs[2 * NODE_ADDRS_MAX]; /* as in struct model_node */
	unsigned n_addrs, n_external;
	bool leaving; /* by its taint */
	bool ready, cordoned;
};
int decode_node(const json_t *object, struct decoded_node *ret, char **ret_error);

struct decoded_pod {
	const char *node;
	struct addr addrs[POD_ADDRS_MAX];
	enum model_pod_phase phase;
	bool host_network;
	struct model_port ports[POD_PORTS_MAX]; /* names are the document's */
	unsigned n_ports;
	struct model_host_port host_ports[POD_HOST_PORTS_MAX];
	unsigned n_host_ports;
};
int decode_pod(const json_t *object, struct decoded_pod *ret, char **ret_error);

/* Of each kind: an upsert touches nothing unless the whole object is good, and returns 1 when something has changed. */
int node_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error);
void node_remove(struct model *m, void *object);
int pod_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error);
void pod_remove(struct model *m, void *object);
int namespace_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error);
void namespace_remove(struct model *m, void *object);
int policy_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error);
int cluster_policy_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error);
int admin_policy_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error);
int baseline_policy_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error);
void policy_remove(struct model *m, void *object);

/* refused.c. Return of the first: -EINVAL. */
int refused_remember(struct model *m, enum model_table table, const struct decoded_meta *meta, const char *reason, char **ret_error);
void refused_forget(struct model *m, enum model_table table, const struct decoded_meta *meta);
void refused_sweep(struct model *m, enum model_table table); /* those that the list that has ended did not have */
void refused_done(struct model *m);

/* mesh_node.c */
int model_mesh_node_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error);
void model_mesh_node_remove(struct model *m, void *object);
/* Strings and arrays of strings are borrowed from the document, the rest is freed by _done(), also after an error; what was
 * taken out is NULL. */
struct decoded_service {
	struct model_service_port *ports;
	struct model_service_addr *addrs;
	struct prefix *sources;
	unsigned n_ports, n_addrs, n_sources;
	size_t cap_addrs, cap_sources;
	uint32_t affinity_s;
	uint16_t health_port;
	bool proxied, internal_local, external_local, maglev, dsr, reset, pooled;
	uint64_t digest;
};
int decode_service(const json_t *object, struct decoded_service *ret, char **ret_error);
void decoded_service_done(struct decoded_service *d);

struct decoded_slice {
	const char *service;
	struct model_slice_port *ports;
	struct model_endpoint *endpoints;
	unsigned n_ports, n_endpoints;
	bool v6;
};
int decode_slice(const json_t *object, struct decoded_slice *ret, char **ret_error);
void decoded_slice_done(struct decoded_slice *d);

/* services.c */
int service_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error);
void service_remove(struct model *m, void *object);
int slice_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error);
void slice_remove(struct model *m, void *object);
struct model_slice *model_find_slice(const struct model *m, const char *namespace_, const char *name);
/* Refs that nobody needs but that were dirty. */
void services_done(struct model *m);
uint64_t model_hash_name(const char *namespace_, const char *name);

int decode_pod_proto(const char *name); /* IPPROTO_*, or -EINVAL */
/* Containers whose ports count: those that run as long as the pod does. Each is given to @decode until one fails. */
typedef int decode_container_fn(const json_t *container, struct decoded_pod *ret, char **ret_error);
int decode_serving_containers(const json_t *spec, decode_container_fn *decode, struct decoded_pod *ret, char **ret_error);
/* pod_ports.c: the named ports of containers that run while the pod does. Return: 0, -EINVAL. */
int decode_pod_ports(const json_t *spec, struct decoded_pod *ret, char **ret_error);
bool pod_ports_replace(struct model *m, struct model_pod *p, const struct model_port *ports, unsigned n); /* changed? */

/* host_ports.c: their pods are compiled as Services are, so they get dirty in the same list (model/service.h). */
int decode_host_ports(const json_t *spec, struct decoded_pod *ret, char **ret_error);
/* @changed: the pod has, in what a host port depends on. Return: have its host ports? */
bool host_ports_replace(struct model *m, struct model_pod *p, int64_t created, const struct decoded_pod *d, bool changed);
void host_ports_drop(struct model *m, struct model_pod *p);
void host_ports_mark_all(struct model *m);
/* A Service's node port has come or gone: whom of the pods does it concern? */
void host_ports_mark(struct model *m, const char *node, uint8_t proto, uint16_t port); /* @node NULL: of any */
/* services.c: a pod with host ports is to be looked at again. */
void services_mark_pod(struct model *m, const struct model_pod *p);
