/* SPDX-License-Identifier: Apache-2.0 */
#include "net/netobj.h"

#include <linux/fib_rules.h>
#include <linux/neighbour.h>

enum { IPV6_DEFAULT_METRIC = 1024 }; /* IP6_RT_PRIO_USER */

struct prefix prefix_any(int family)
{
	struct addr v4 = {.b = {[10] = 0xff, [11] = 0xff}}, v6 = {0};

	return family == AF_INET ? prefix_of(&v4, V4_BITS_BEFORE) : prefix_of(&v6, 0);
}

/* What a zero field means. */
static uint32_t route_table(const struct route *r)
{
	return r->table ? r->table : RT_TABLE_MAIN;
}

static uint32_t route_metric(const struct route *r)
{
	return r->metric || prefix_family(&r->dst) == AF_INET ? r->metric : IPV6_DEFAULT_METRIC;
}

static uint8_t route_type(const struct route *r)
{
	return r->type ? r->type : RTN_UNICAST;
}

bool route_same_slot(const struct route *a, const struct route *b)
{
	return prefix_eq(&a->dst, &b->dst) && route_table(a) == route_table(b) && route_metric(a) == route_metric(b);
}

static bool encap_eq(const struct route_encap *a, const struct route_encap *b)
{
	if (!addr_eq(&a->dst, &b->dst))
		return false;
	return addr_is_zero(&a->dst) || (a->id == b->id && addr_eq(&a->src, &b->src) && a->ttl == b->ttl &&
					 a->tos == b->tos && a->flags == b->flags);
}

/* IPv6 reports its reject routes with lo as device, whatever was asked. */
static bool same_oif(const struct route *a, const struct route *b)
{
	return route_type(a) != RTN_UNICAST || a->oif == b->oif;
}

bool route_eq(const struct route *a, const struct route *b)
{
	return route_same_slot(a, b) && route_type(a) == route_type(b) && same_oif(a, b) && addr_eq(&a->via, &b->via) &&
	       addr_eq(&a->src, &b->src) && a->mtu == b->mtu && a->onlink == b->onlink &&
	       (a->proto ? a->proto : NET_PROTO_WEFT) == (b->proto ? b->proto : NET_PROTO_WEFT) &&
	       MAX(a->nexthops, 1) == MAX(b->nexthops, 1) && encap_eq(&a->encap, &b->encap);
}

static bool selector_eq(const struct prefix *a, const struct prefix *b, int family)
{
	unsigned none = family == AF_INET ? V4_BITS_BEFORE : 0;

	if (a->len <= none || b->len <= none)
		return a->len <= none && b->len <= none;
	return prefix_eq(a, b);
}

bool rule_eq(const struct rule *a, const struct rule *b)
{
	return a->family == b->family && a->priority == b->priority && a->table == b->table &&
	       a->ip_proto == b->ip_proto && a->dport == b->dport && selector_eq(&a->from, &b->from, a->family) && selector_eq(&a->to, &b->to, a->family) &&
	       (a->proto ? a->proto : NET_PROTO_WEFT) == (b->proto ? b->proto : NET_PROTO_WEFT) &&
	       (a->action ? a->action : FR_ACT_TO_TBL) == (b->action ? b->action : FR_ACT_TO_TBL);
}

bool neigh_same_slot(const struct neigh *a, const struct neigh *b)
{
	return a->ifindex == b->ifindex && addr_eq(&a->addr, &b->addr) &&
	       (a->flags & NTF_PROXY) == (b->flags & NTF_PROXY);
}

bool neigh_eq(const struct neigh *a, const struct neigh *b)
{
	return neigh_same_slot(a, b) && memcmp(a->mac, b->mac, sizeof(a->mac)) == 0 &&
	       (a->state ? a->state : NUD_PERMANENT) == (b->state ? b->state : NUD_PERMANENT) &&
	       (a->proto ? a->proto : NET_PROTO_WEFT) == (b->proto ? b->proto : NET_PROTO_WEFT);
}
