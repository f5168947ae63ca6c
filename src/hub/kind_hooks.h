/* SPDX-License-Identifier: Apache-2.0 */
/* What rows of the kind table refer to: hooks and columns, defined beside each other in kind_NAME.c. */
#pragma once

#include "base/buf.h"
#include "hub/object.h"

/* kind_pod.c */
extern const struct column pod_columns[];
void pod_defaults(json_t *obj, const json_t *old);
void pod_validate(const json_t *obj, const json_t *old, struct errors *e);

/* kind_node.c */
extern const struct column node_columns[];
void node_defaults(json_t *obj, const json_t *old);
void node_validate(const json_t *obj, const json_t *old, struct errors *e);
void node_allocate(struct hub *hub, json_t *obj, const json_t *old, bool dry_run, struct errors *e);
void node_release(struct hub *hub, const json_t *old, const json_t *now);

/* kind_service.c */
extern const struct column service_columns[];
void service_defaults(json_t *obj, const json_t *old);
void service_validate(const json_t *obj, const json_t *old, struct errors *e);

/* service_ip.c */
void service_allocate(struct hub *hub, json_t *obj, const json_t *old, bool dry_run, struct errors *e);
void service_release(struct hub *hub, const json_t *old, const json_t *now);

/* kind_policy.c */
extern const struct column networkpolicy_columns[];
void networkpolicy_defaults(json_t *obj, const json_t *old);
void networkpolicy_validate(const json_t *obj, const json_t *old, struct errors *e);

/* kind_cluster_policy.c */
extern const struct column cluster_policy_columns[];
void cluster_policy_validate(const json_t *obj, const json_t *old, struct errors *e);
/* What it has in common with its forerunners. */
void policy_one_of(const json_t *j, const struct path *at, struct errors *e);
void policy_validate_list(const json_t *list, size_t min, size_t max, const struct path *at, struct errors *e);
void policy_validate_pods(const json_t *peer, const struct path *at, struct errors *e); /* `namespaces` or `pods` of a subject or peer */
void policy_validate_domains(const json_t *names, size_t max, bool accepts, const struct path *at, struct errors *e); /* NULL: there are none */
/* Subject, and @rules of either direction. */
void policy_validate_spec(const json_t *obj, void (*rules)(const json_t *list, const char *side, const struct path *at, struct errors *e), struct errors *e);

/* kind_admin_policy.c */
extern const struct column admin_policy_columns[];
void admin_policy_defaults(json_t *obj, const json_t *old);
void admin_policy_validate(const json_t *obj, const json_t *old, struct errors *e);
void baseline_policy_validate(const json_t *obj, const json_t *old, struct errors *e);

/* kind_slice.c */
extern const struct column endpointslice_columns[];
void endpointslice_defaults(json_t *obj, const json_t *old);
void endpointslice_validate(const json_t *obj, const json_t *old, struct errors *e);

/* kind_lb_pool.c */
extern const struct column lb_pool_columns[];
void lb_pool_defaults(json_t *obj, const json_t *old);
void lb_pool_validate(const json_t *obj, const json_t *old, struct errors *e);

/* kind_address.c */
extern const struct column service_cidr_columns[], ip_address_columns[];

/* kind_mesh.c */
extern const struct column meshnode_columns[];
void meshnode_validate(const json_t *obj, const json_t *old, struct errors *e);
void meshnode_allocate(struct hub *hub, json_t *obj, const json_t *old, bool dry_run, struct errors *e);

/* kind_core.c */
extern const struct column namespace_columns[], configmap_columns[], lease_columns[], event_columns[], default_columns[];
void namespace_defaults(json_t *obj, const json_t *old);
void configmap_validate(const json_t *obj, const json_t *old, struct errors *e);
void event_defaults(json_t *obj, const json_t *old);
void event_validate(const json_t *obj, const json_t *old, struct errors *e);

/* Cells that several kinds share. */
void cell_age(const json_t *obj, struct buf *out);
void cell_name(const json_t *obj, struct buf *out);
void cell_list(const json_t *list, struct buf *out); /* of strings: a,b */
void cell_selector(const json_t *labels, struct buf *out); /* a=b,c=d or <none> */
/* "5d3h", "12m", "7s" since a time; "<unknown>" when it is none */
void format_since(const char *when, struct buf *out);
#define COLUMN_NAME                                                                                                    \
	{ "Name", "string", 0, .cell = cell_name, .doc = "Name of the object." }
#define COLUMN_AGE                                                                                                     \
	{ "Age", "string", 0, .cell = cell_age, .doc = "Time since the object was created." }
