/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "service/service.h"

/* Fills in endpoints, any_endpoint of @p. */
void service_collect_endpoints(const struct service_env *env, const struct model_service *svc, struct service_view *v,
			       struct service_port *p);
/* Endpoints of the port in a family that a node serves, its own ones first of all. @node: where they are, "" when nobody says. @ready: and not about to end. */
typedef void service_served_fn(const char *node, bool ready, void *ctx);
void service_each_served(const struct service_env *env, const struct model_service *svc, const struct model_service_port *sp, bool v6,
			 service_served_fn *fn, void *ctx);
/* Fills in the addresses of @p, whose endpoints are there. @sp: the port that it is of. */
void service_collect_addresses(const struct service_env *env, const struct model_service *svc, struct service_view *v,
			       const struct model_service_port *sp, struct service_port *p);
/* Did a LoadBalancerPool give it to the Service? */
bool service_is_from_pool(const struct model_service_addr *a);
/* May its Service have the address? Refusals are noted in @v. */
bool service_may_claim(const struct service_env *env, struct service_view *v, const struct model_service_addr *a);
/* api_server.c. Is it an address at which an API server is, or is asked for? */
bool service_is_api_address(const struct service_env *env, const struct addr *addr);
/* Would the Service take from its address, by this port, what is the API server's? What another controller has given may be shared with it: there
 * only the API's own port counts. */
bool service_takes_api(const struct service_env *env, const struct model_service_addr *a, const struct model_service_port *port);
/* Does a port of the Service lead to API servers, and to nobody else? */
bool service_publishes_api(const struct service_env *env, const struct model_service_addr *a);
/* A Service of the family is one that has a cluster address of it. */
bool service_has_family(const struct model_service *svc, bool v6);
/* The same, and nothing is noted. */
bool service_may_claim_quietly(const struct service_env *env, const struct model_service_addr *a);
/* The Service that serves the port there, or NULL. @proto: IPPROTO_*. */
const struct model_service *service_find_holder(const struct service_env *env, const struct addr *addr, uint8_t proto, uint16_t port);
/* A line for people, each once. _here: it is so on this node, and the others do not know. */
void service_note_refused(struct service_view *v, const char *fmt, ...) _printf_(2, 3);
void service_note_refused_here(struct service_view *v, const char *fmt, ...) _printf_(2, 3);
/* Loopback, link-local, multicast, unspecified: no Service's and no endpoint's. NULL, or what it is. */
const char *service_addr_fault(const struct addr *a);
