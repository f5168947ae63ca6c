/* SPDX-License-Identifier: Apache-2.0 */
/* The hub's parts, as main.c wires them. */
#pragma once

#include "base/list.h"
#include "hub/metrics.h"
#include "hub/node_liveness.h"
#include "hub/node_ports.h"
#include "hub/pool.h"
#include "hub/store.h"

#include <systemd/sd-event.h>

enum { FAMILIES_MAX = 2 };

struct ranges {
	struct pool *pools[FAMILIES_MAX]; /* in the order of the option; NULL after the last */
	size_t n;
};

struct slices;
struct load_balancers;

struct hub {
	sd_event *event;
	struct store *store;
	struct metrics metrics;
	struct list watches; /* struct watch */
	size_t n_watches;
	struct ranges nodes, services;
	struct node_ports node_ports;
	bool services_collide; /* stored services hold the same address or node port: see services_claim() */
	struct slices *slices;
	struct load_balancers *load_balancers;
	struct node_liveness liveness;
	bool ready;
	sd_event_source *ticker;
};

/* The pool for a family, or NULL. */
struct pool *ranges_find(const struct ranges *r, bool v4);

/* controllers.c: what a bare API lacks. The namespaces, the kubernetes service; then reacting to changes. */
int controllers_start(struct hub *hub, const struct addr *addresses, const uint16_t *ports, size_t n);

void controllers_stop(struct hub *hub);

/* node_ipam.c */
void nodes_claim(struct hub *hub); /* at start: what stored nodes hold */
/* service_ip.c */
/* At start: what stored services hold. One that holds what it cannot have keeps it, and an Event says so. */
void services_claim(struct hub *hub);

/**
 * emit_event() - an Event about an object, by the hub itself
 */
void emit_event(struct hub *hub, const struct object *about, bool warning, const char *reason, const char *message);
