/* SPDX-License-Identifier: Apache-2.0 */
/* What the files about Service share: questions about a service, and what one admission has taken so far. */
#pragma once

#include "hub/hub.h"

const char *service_type(const json_t *svc); /* "ClusterIP" when unset */
bool service_is_external(const json_t *svc); /* NodePort or LoadBalancer: nodes accept its traffic */
bool service_is_headless(const json_t *svc);
bool service_needs_cluster_ip(const json_t *svc); /* "None" counts */
bool service_needs_node_ports(const json_t *svc);
bool service_needs_health_port(const json_t *svc);

/* service_rules.c: on update, before defaults: what the new type has no use for goes, if the user left it as it was;
 * what was allocated and is left out now stays. */
void service_carry_over(json_t *obj, const json_t *old);
/* What may not change, or not like this. */
void service_validate_update(const json_t *obj, const json_t *old, struct errors *e);

/* service_family.c: makes clusterIP and clusterIPs agree, fills in ipFamilies and ipFamilyPolicy, checks them. */
void service_settle_families(struct hub *hub, json_t *obj, const json_t *old, struct errors *e);
const char *family_name(bool v4); /* "IPv4", "IPv6" */

/* What one admission has taken: given back when the object is refused after all. */
struct taken {
	struct {
		struct pool *pool;
		struct prefix p;
	} ips[FAMILIES_MAX];
	size_t n_ips;
	struct {
		unsigned protocol;
		uint16_t port;
	} *ports;
	size_t n_ports, ports_cap;
};

/* service_ports.c */
void service_take_ports(struct hub *hub, json_t *obj, const json_t *old, struct taken *taken, struct errors *e);
/* Calls @fn for each node port (the health check's too) of a service. */
typedef void service_port_fn(struct hub *hub, unsigned protocol, uint16_t port, void *ctx);
void service_each_port(struct hub *hub, const json_t *svc, service_port_fn *fn, void *ctx);
