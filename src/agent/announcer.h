/* SPDX-License-Identifier: Apache-2.0 */
/* Announcing addresses of Services. What is to be announced is compiled in one place (service/announce.h); each announcer tells its part
 * of the world: the local networks by ARP and neighbour discovery. */
#pragma once

#include "base/json.h"
#include "observe/exposition.h"
#include "service/announce.h"

struct agent;

/* A way of announcing. Hooks other than .name may be called before .apply has been. */
struct announcer_ops {
	const char *name; /* "lan" */
	/* Makes what is announced exactly this, as far as it is this announcer's. Idempotent. */
	void (*apply)(struct agent *a, const struct announcement *list, size_t n);
	/* Who announces the address, or NULL when it is none of this announcer's. */
	json_t *(*who)(const struct agent *a, const struct addr *addr);
	/* {"addresses", "held", …}, for `weft status` */
	json_t *(*status)(const struct agent *a);
	void (*stop)(struct agent *a);
};

extern const struct announcer_ops announce_lan;

/* Services, nodes or this node's uplinks may have changed: soon everything is compiled anew and applied. */
void agent_announce_changed(struct agent *a);
void agent_announce_stop(struct agent *a);
/* Who announces the addresses of a Service: a list, empty when nobody does. */
json_t *agent_announce_who(const struct agent *a, const struct service_view *v);
json_t *agent_announce_status(const struct agent *a);

/* Figures of all local networks, for metrics. */
struct lan_stats {
	size_t networks, addresses, held, foreign, peers, dead;
	uint64_t taken, released, conflicts, asked, sent;
};
struct lan_stats announce_lan_stats(const struct agent *a);
