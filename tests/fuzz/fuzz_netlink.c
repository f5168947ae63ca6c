/* SPDX-License-Identifier: Apache-2.0 */
/* Netlink answers and events, truncated and garbled: each message of a buffer is decoded as every kind there is. Nothing
 * is read behind it (it stands in memory of its exact size), and what comes out is within the types' own bounds. */
#include "fuzz.h"
#include "net/rtnl_internal.h"

static void check_prefix(const struct prefix *p)
{
	struct prefix again = prefix_of(&p->addr, p->len);

	REQUIRE(p->len <= 128 && prefix_eq(p, &again));
}

static void check_event(const struct rtnl_event *ev)
{
	switch (ev->type) {
	case RTNL_EVENT_LINK:
		REQUIRE(memchr(ev->link.name, 0, sizeof(ev->link.name)) && memchr(ev->link.alias, 0, sizeof(ev->link.alias)) &&
			memchr(ev->link.kind, 0, sizeof(ev->link.kind)));
		break;
	case RTNL_EVENT_ADDR:
		REQUIRE(ev->addr.len <= 128);
		break;
	case RTNL_EVENT_ROUTE:
		check_prefix(&ev->route.dst);
		REQUIRE(ev->route.nexthops >= 1 && route_eq(&ev->route, &ev->route) && route_same_slot(&ev->route, &ev->route));
		break;
	case RTNL_EVENT_RULE:
		check_prefix(&ev->rule.from);
		check_prefix(&ev->rule.to);
		REQUIRE(rule_eq(&ev->rule, &ev->rule));
		break;
	case RTNL_EVENT_NEIGH:
		REQUIRE(neigh_eq(&ev->neigh, &ev->neigh) && neigh_same_slot(&ev->neigh, &ev->neigh));
		break;
	default:
		REQUIRE(!"an event that no message makes");
	}
}

static void decode(const struct nlmsghdr *nlh)
{
	struct rtnl_event ev;
	struct link l;
	struct link_addr a;
	struct route r;
	struct route_hops hops;
	struct rule u;
	struct neigh n;
	char text[160];

	rtnl_decode_link(nlh, &l);
	rtnl_decode_addr(nlh, &a);
	rtnl_decode_route(nlh, &r);
	if (rtnl_decode_hops(nlh, &hops) == 0 && hops.n > ROUTE_HOPS_MAX)
		abort();
	rtnl_decode_rule(nlh, &u);
	rtnl_decode_neigh(nlh, &n);
	if (rtnl_event_decode(nlh, &ev) > 0)
		check_event(&ev);
	rtnl_describe(nlh, text, sizeof(text));
	fuzz_require_line(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	while (size >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr head, *nlh;
		size_t n;

		memcpy(&head, data, sizeof(head));
		n = MAX((size_t)head.nlmsg_len, sizeof(head));
		n = MIN(n, size); /* libmnl hands on whole messages only */
		nlh = xmalloc(n);
		memcpy(nlh, data, n);
		nlh->nlmsg_len = n;
		decode(nlh);
		free(nlh);
		n = MIN((size_t)MNL_ALIGN(n), size);
		data += n;
		size -= n;
	}
	return 0;
}
