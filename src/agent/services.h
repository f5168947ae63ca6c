/* SPDX-License-Identifier: Apache-2.0 */
/* Services of this node: which have changed, compiled, handed to the datapath; and what people may ask about them. */
#pragma once

#include "agent/events.h"
#include "base/json.h"
#include "datapath/service.h"
#include "kube/client.h"
#include "service/service.h"

#include <systemd/sd-event.h>
#include <time.h>

struct agent;

struct services_view {
	struct htab by_name; /* struct service_entry */
	struct service_env env;
	struct prefix *pod_ranges;
	struct prefix *ranges; /* of cluster addresses; read once */
	size_t n_ranges;
	struct service_api api[1 + KUBE_PLACES_MAX]; /* env.api */
	struct addr *own, *held; /* this node's addresses: env.own, env.held */
	uint64_t nodes;	      /* digest of what env was made from */
	const struct datapath *dp; /* to which everything was told, */
	uint64_t dp_generation;	   /* and the how manieth one that was */
	bool inbound;		   /* this node serves clients outside, and packets: option service.inbound */
	bool settled;		   /* that was decided at least once */
	const char *other_proxy;   /* where another one was found, or NULL */
	bool complete; /* everything has been put */
	bool failed;
	bool healthy; /* the last turn left everything programmed */
	time_t healthy_at; /* when that was last so */
	uint64_t compiled;
	struct events events; /* of what Services do not get: services_events.c */
	bool tell;	      /* there may be more to tell */
	sd_event_source *turn;
	uint32_t *taken; /* services_ports.c: how many serve at a port of the node's; NULL: none do */
	bool taken_changed;

	/* services_stale.c */
	uint64_t stale_said; /* when it was last said that sockets could not be aborted, monotonic in us */
	bool cannot_abort;   /* the kernel is built without */

	/* services_health.c */
	struct scrape *healthz; /* or NULL */
	size_t n_checks, n_open; /* health check ports, and those of them that could be had */
	uint64_t health_answers[2]; /* 200, 503 */
	bool healthz_said; /* that its port is taken */
};

/* Settles what service.inbound: auto means, now: another datapath follows with the next pass. */
void agent_services_settle(struct agent *a);
/* Opens /healthz; where that cannot be, agent_services_tick() tries again. */
void agent_services_start(struct agent *a);
/* A Service or a slice has changed, or the datapath is another one. What is due is done in the next turn of the loop. */
void agent_services_changed(struct agent *a);
/* The cluster's nodes or the datapath may have changed: looks, and compiles everything again if so. */
void agent_services_check(struct agent *a);
/* Now and then: what is out of use goes, what failed is tried again. */
void agent_services_tick(struct agent *a);
void agent_services_stop(struct agent *a);

/* For `weft service`: all in short, or one with its slots. @params: {"namespace", "name"} or empty. NULL: there is none of that name. */
json_t *agent_services_json(struct agent *a, const json_t *params);
json_t *agent_services_status(const struct agent *a);

/* Option service.ranges, where this node is to refuse what is left over of them. Borrowed. */
const struct prefix *services_ranges(struct agent *a, size_t *ret_n);
/* Where the socket programs hang: option service.cgroup, or the first cgroup2 that is mounted. "" when services are off or there
 * is none. Owned by the caller. */
char *services_cgroup(const struct agent *a);
