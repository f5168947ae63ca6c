/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/uplinks.h"
#include "base/test.h"

#include <net/if_arp.h>

enum { LO = 1, PRIVATE, PUBLIC, TUN, VXLAN, OTHER };

static const struct link links[] = {
	{ .ifindex = LO, .name = "lo", .type = ARPHRD_LOOPBACK, .flags = IFF_LOOPBACK },
	{ .ifindex = PRIVATE, .name = "private", .type = ARPHRD_ETHER },
	{ .ifindex = PUBLIC, .name = "public", .type = ARPHRD_ETHER },
	{ .ifindex = TUN, .name = "tun9", .type = ARPHRD_NONE },
	{ .ifindex = VXLAN, .name = "weft-vxlan", .type = ARPHRD_ETHER, .alias = "weft: tunnels to other nodes" },
	{ .ifindex = OTHER, .name = "other", .type = ARPHRD_ETHER },
};

static struct addr addr(const char *text)
{
	struct addr a = {};

	CHECK_INT(addr_parse(text, &a), 0);
	return a;
}

static const struct uplink *find(const struct uplinks *u, uint32_t ifindex)
{
	for (size_t i = 0; i < u->n; i++)
		if (u->list[i].ifindex == ifindex)
			return &u->list[i];
	return NULL;
}

/* The node has 10.0.0.1 and fd00::1. */
static int choose(const char *names, const struct link_addr *addrs, size_t n_addrs, const uint32_t *defaults, size_t n_defaults, struct uplinks *ret)
{
	struct uplinks_look look = { links, ARRAY_SIZE(links), addrs, n_addrs, defaults, n_defaults };
	struct addr own[] = { addr("10.0.0.1"), addr("fd00::1") };
	struct model_node node = { .n_addrs = 2 };
	_cleanup_free_ char *error = NULL;
	int r;

	memcpy(node.addrs, own, sizeof(own));
	r = uplinks_choose(&look, names, &node, ret, &error);
	CHECK((r < 0) == (error != NULL));
	return r;
}

static void by_address_and_by_default_route(void)
{
	const struct link_addr private = { .ifindex = PRIVATE, .addr = addr("10.0.0.1") }, public6 = { .ifindex = PUBLIC, .addr = addr("fd00::1") };
	const struct link_addr on_lo = { .ifindex = LO, .addr = addr("10.0.0.1") }, foreign = { .ifindex = OTHER, .addr = addr("10.0.0.2") };
	const struct link_addr on_tun = { .ifindex = TUN, .addr = addr("10.0.0.1") };
	static const struct {
		int addrs; /* a set of the five above */
		uint32_t defaults[4];
		const char *between, *beyond; /* interfaces by the first letter of their names */
	} cases[] = {
		{ 1, {}, "p", "" },
		{ 1, { PRIVATE }, "p", "" },
		{ 1, { PUBLIC }, "p", "P" },
		{ 1, { PRIVATE, PUBLIC, PUBLIC, OTHER }, "p", "Po" }, /* several hops, two families */
		{ 1 | 2, { PUBLIC }, "pP", "" },
		{ 1 | 8, { PUBLIC }, "p", "P" },
		{ 4, { PUBLIC, OTHER }, "Po", "" }, /* the address is nowhere but on lo */
		{ 8, { PUBLIC }, "P", "" },
		{ 0, { PUBLIC }, "P", "" },
		{ 1, { TUN }, "p", "" }, /* not served */
		{ 16, { PUBLIC }, "t", "P" },
		{ 1, { VXLAN, LO }, "p", "" },
	};
	static const char letters[] = { [LO] = 'l', [PRIVATE] = 'p', [PUBLIC] = 'P', [TUN] = 't', [VXLAN] = 'v', [OTHER] = 'o' };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct link_addr *all[] = { &private, &public6, &on_lo, &foreign, &on_tun };
		struct link_addr addrs[5];
		struct uplinks u = {};
		size_t n = 0, n_defaults = 0;

		for (unsigned k = 0; k < ARRAY_SIZE(all); k++)
			if (cases[i].addrs & 1 << k)
				addrs[n++] = *all[k];
		while (n_defaults < 4 && cases[i].defaults[n_defaults])
			n_defaults++;
		CHECK_INT(choose("auto", addrs, n, cases[i].defaults, n_defaults, &u), 0);
		for (uint32_t l = LO; l <= OTHER; l++) {
			CHECK_INT(uplinks_is_between(&u, l), strchr(cases[i].between, letters[l]) != NULL);
			CHECK_INT(uplinks_is_beyond(&u, l), strchr(cases[i].beyond, letters[l]) != NULL);
		}
	}
}

static void there_has_to_be_one(void)
{
	const struct link_addr on_lo = { .ifindex = LO, .addr = addr("10.0.0.1") };
	const uint32_t own[] = { VXLAN, LO, 99 };
	struct uplinks u;

	CHECK_INT(choose("auto", NULL, 0, NULL, 0, &u), -ENODEV);
	CHECK_INT(choose("auto", &on_lo, 1, own, ARRAY_SIZE(own), &u), -ENODEV);
	CHECK_INT(choose("lo", &on_lo, 1, NULL, 0, &u), -ENODEV);
	CHECK_INT(choose("weft-vxlan", NULL, 0, NULL, 0, &u), -ENODEV);
	CHECK_INT(choose("other, none", NULL, 0, NULL, 0, &u), -ENODEV);
}

static void named_ones_are_all(void)
{
	const struct link_addr private = { .ifindex = PRIVATE, .addr = addr("10.0.0.1") };
	const uint32_t public = PUBLIC;
	struct uplinks u = {};

	CHECK_INT(choose("other, private,other", &private, 1, &public, 1, &u), 0);
	CHECK_INT(u.n, 2);
	CHECK(uplinks_is_between(&u, OTHER) && uplinks_is_between(&u, PRIVATE) && !find(&u, PUBLIC));
}

static void what_has_no_ethernet_header_is_said(void)
{
	const struct link_addr private = { .ifindex = PRIVATE, .addr = addr("10.0.0.1") };
	const uint32_t defaults[] = { TUN, PUBLIC };
	_cleanup_free_ char *by_route = NULL, *by_name = NULL, *none = NULL;
	struct uplinks u = {};

	CHECK_INT(choose("auto", &private, 1, defaults, ARRAY_SIZE(defaults), &u), 0);
	by_route = uplinks_problem(&u);
	CHECK_STR(by_route, "uplink tun9 has no Ethernet header: pods' packets that leave by it are not masqueraded and nothing is checked there");
	CHECK(!find(&u, TUN)->ethernet && find(&u, PUBLIC)->ethernet && find(&u, PRIVATE)->ethernet);
	CHECK_INT(choose("tun9", &private, 1, defaults, ARRAY_SIZE(defaults), &u), 0);
	by_name = uplinks_problem(&u);
	CHECK_STR(by_name, by_route);
	CHECK(uplinks_is_between(&u, TUN)); /* tunnels may go by it, by the kernel's device */
	CHECK_INT(choose("auto", &private, 1, defaults + 1, 1, &u), 0);
	none = uplinks_problem(&u);
	CHECK(!none);
}

static void more_than_there_is_room_for_is_said(void)
{
	struct link many[UPLINKS_MAX + 1];
	uint32_t defaults[UPLINKS_MAX + 1];
	struct uplinks_look look = { many, UPLINKS_MAX, NULL, 0, defaults, UPLINKS_MAX };
	_cleanup_free_ char *fits = NULL, *more = NULL, *error = NULL;
	struct uplinks u;

	for (uint32_t i = 0; i <= UPLINKS_MAX; i++) {
		many[i] = (struct link){ .ifindex = i + 1, .type = ARPHRD_ETHER };
		snprintf(many[i].name, IF_NAMESIZE, "e%u", i);
		defaults[i] = i + 1;
	}
	CHECK_INT(uplinks_choose(&look, "auto", NULL, &u, &error), 0);
	fits = uplinks_problem(&u);
	CHECK(!fits && u.n == UPLINKS_MAX);
	look.n_links = look.n_defaults = UPLINKS_MAX + 1;
	CHECK_INT(uplinks_choose(&look, "auto", NULL, &u, &error), 0);
	more = uplinks_problem(&u);
	CHECK(more && strstr(more, "more than 16 uplinks") && u.n == UPLINKS_MAX);
}

int main(void)
{
	RUN(by_address_and_by_default_route);
	RUN(there_has_to_be_one);
	RUN(named_ones_are_all);
	RUN(what_has_no_ethernet_header_is_said);
	RUN(more_than_there_is_room_for_is_said);
	return test_end();
}
