/* SPDX-License-Identifier: Apache-2.0 */
/* Which pod address is whose: pure, the time is handed in. What outlives the process is ipam/journal.h.
 *
 * A range hands out addresses that were never used first, in order, then those that were freed longest ago. A freed
 * address rests: whoever still holds something about its former owner does not meet another pod there. */
#pragma once

#include "net/addr.h"

struct ipam;

enum { IPAM_V4, IPAM_V6, IPAM_FAMILIES };
static inline int ipam_family(const struct addr *a)
{
	return addr_is_v4(a) ? IPAM_V4 : IPAM_V6;
}

struct ipam *ipam_new(uint64_t rest_ms);
struct ipam *ipam_free(struct ipam *i);
DEFINE_CLEANUP(struct ipam *, ipam_free)

/**
 * ipam_set_range() - where the addresses of a family come from; NULL when the node has no range of it
 *
 * The first two addresses (network, node) and the last of an IPv4 range are never handed out. Of a very large range the
 * first 2^32 - 2 are used. Addresses that are in use stay theirs when the range changes. A resting one keeps its rest.
 */
void ipam_set_range(struct ipam *i, int family, const struct prefix *range);

/**
 * ipam_alloc() - an address of each family that has a range, or none at all
 * @now_ms: a clock that does not jump back
 * @want:   asks for these; zero where any will do; may be NULL
 * @ret_error: what is exhausted or taken, with numbers, owned by the caller
 *
 * Return: 0 (zero in @ret where the family has no range), -EAGAIN without any range, -ENOSPC exhausted,
 * -EADDRINUSE @want is in use or rests, -EADDRNOTAVAIL @want is outside of the range or reserved.
 */
int ipam_alloc(struct ipam *i, uint64_t now_ms, const struct addr want[IPAM_FAMILIES], struct addr ret[IPAM_FAMILIES],
	       char **ret_error);

/* Found in use (after a restart); inside of a range or not. Return: 0, -EEXIST when it is in use already. */
int ipam_adopt(struct ipam *i, const struct addr *a);
/* Not in use any more: it rests from @now_ms on. Zero and unknown addresses are ignored. */
void ipam_release(struct ipam *i, const struct addr *a, uint64_t now_ms);
/* Taken back before anybody saw it: free at once. */
void ipam_cancel(struct ipam *i, const struct addr *a);

bool ipam_in_use(const struct ipam *i, const struct addr *a);

struct ipam_use {
	bool present; /* the family has a range */
	struct prefix range;
	uint64_t size;	  /* addresses that pods can have */
	uint64_t used;	  /* in the range */
	uint64_t resting; /* at the given time */
};
struct ipam_use ipam_use(const struct ipam *i, int family, uint64_t now_ms);

/* The addresses that rest or rested, oldest first, for the journal. Return false to stop. */
typedef bool ipam_rest_fn(const struct addr *a, uint64_t freed_ms, void *ctx);
void ipam_each_freed(const struct ipam *i, ipam_rest_fn *fn, void *ctx);
