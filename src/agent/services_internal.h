/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "agent/services.h"

/* A Service that has been compiled. */
struct service_entry {
	struct htab_node node;
	struct service_view *view;
	struct service_check *check; /* or NULL */
};

/* services_nodes.c: what compiling depends on beside the Service. */
uint64_t services_digest_nodes(const struct agent *a);
/* Makes env anew, and tells the datapath where node ports are. Return: 0, -errno. */
int services_take_nodes(struct agent *a);

struct service_entry *services_find(const struct services_view *s, const char *namespace_, const char *name);

/* services_ports.c: counts the ports of @view (NULL: it is gone) instead of those of @old. */
void services_take_ports(struct services_view *s, const struct service_view *old, const struct service_view *view);

/* Ports have keys by their index; the index behind the last port means the Service's addresses for all other ports. */
char *services_key(const struct service_view *v, size_t port); /* owned by the caller */

/* What the datapath is to serve for a port. The view is borrowed. */
struct services_want {
	struct dp_service service;
	char *key;
	struct dp_service_frontend *frontends; /* a port's in the order of its addresses */
	struct dp_service_backend *backends;
};
void services_want_init(struct services_want *w, const struct service_view *v, size_t port);
void services_want_done(struct services_want *w);
int services_put_port(struct datapath *dp, const struct service_view *v, size_t port);

/* services_stale.c: whom sockets are connected with may be gone. */
void services_abort_stale(struct agent *a);

/* services_health.c. A check answers for the entry that it is of. */
void services_check_apply(struct agent *a, struct service_entry *e); /* the entry's view is new */
void services_check_free(struct services_view *s, struct service_entry *e);
void services_health_tick(struct agent *a); /* ports that were taken may be free */
void services_health_stop(struct agent *a);
void services_tell(struct agent *a); /* services_events.c */
void services_say_health(struct agent *a); /* the part PART_SERVICES */
