/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by endpoints.c (the table, ADD, DEL, CHECK, GC), endpoints_settle.c (journal, kernel and table agree), endpoints_repair.c and
 * endpoints_remake.c (what others took away comes back). */
#pragma once

#include "agent/endpoints.h"
#include "base/htab.h"
#include "net/netns.h"

struct endpoint {
	struct htab_node by_key;
	struct endpoint_record *record;
	char *problem;	    /* why it has no interface, or one of another name, and what to do; NULL: it has its own, or has ended */
	bool misnamed;	    /* the problem is the name alone */
	int rename_error;   /* of the last try to give its interface its name back */
	uint64_t renamed_ms; /* when that was */
	uint64_t remade_ms; /* when its interface was last made again, or 0 */
	unsigned looked;    /* the last round that has looked at it */
};

/* A link that waits for its deletion. */
struct doomed {
	uint32_t ifindex;
	char name[16];
};

struct endpoints {
	sd_event *event;
	struct rtnl *nl;
	char *dir, *boot_id, *warning, *obstacle;
	struct ipam *ipam;
	struct journal *journal;
	struct htab by_key;
	uint32_t last_id;
	struct endpoints_node node;
	bool node_known;
	struct repairs *repairs; /* the agent's */
	unsigned round;		 /* of looks at all of them, and the first error in it */
	int round_error;
	bool settled;		 /* all was there once: what is missing since was taken away */
	struct netns_id self;
	struct doomed *doomed;
	size_t n_doomed, doomed_cap;
	uint64_t first_doomed_us;
	sd_event_source *doom_timer;
};

uint64_t endpoints_now_ms(void);
struct endpoint *endpoint_find(const struct endpoints *e, const char *container, const char *ifname);
struct endpoint *endpoint_insert(struct endpoints *e, struct endpoint_record *record); /* takes the record */
/* Takes it out of journal, address management and table. @freed_ms: as journal_remove(). Return: 0, -errno (still
 * there). */
int endpoint_forget(struct endpoints *e, struct endpoint *ep, uint64_t freed_ms);
/* Withdraws maps and routes, forgets it, dooms its link. */
int endpoint_retire(struct endpoints *e, struct endpoint *ep);
void endpoints_doom(struct endpoints *e, uint32_t ifindex, const char *name);
void endpoints_flush_doomed(struct endpoints *e);
struct dp_endpoint endpoint_dp(const struct endpoint_record *r);
uint32_t endpoints_next_id(struct endpoints *e);
/* Is the namespace that the record was made in still at its path? */
bool endpoint_netns_is_there(const struct endpoint_record *r);
/* Its interface is not there: makes it again, or says why not (endpoints_remake.c). */
void endpoint_lost_its_link(struct endpoints *e, struct endpoint *ep);
void endpoint_has_its_link(struct endpoint *ep);
/* It is there, and works, but is called @name: another interface has its own one by now. */
void endpoint_has_another_name(struct endpoint *ep, const char *name);
int endpoints_settle(struct endpoints *e, struct journal_state *state, bool journal_lost);
