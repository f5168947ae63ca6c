/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"
#include "ipam/ipam.h"

static struct addr A(const char *s) {
	struct addr a;

	assert(addr_parse(s, &a) == 0);
	return a;
}

static struct ipam *
with_range(const char *v4, const char *v6)
{
	struct ipam *i = ipam_new(60000);
	struct prefix p;

	if (v4 && prefix_parse(v4, &p, NULL) == 0)
		ipam_set_range(i, IPAM_V4, &p);
	if (v6 && prefix_parse(v6, &p, NULL) == 0)
		ipam_set_range(i, IPAM_V6, &p);
	return i;
}

static int alloc(struct ipam *i, uint64_t now, struct addr *ret)
{
	struct addr got[2] = {0};
	_cleanup_free_ char *error = NULL;
	int r = ipam_alloc(i, now, NULL, got, &error);

	*ret = got[IPAM_V4];
	return r;
}

static void first_addresses_are_reserved(void)
{
	_cleanup_(ipam_freep) struct ipam *i = with_range("10.0.0.0/29", "fd00::/64");
	struct addr got[2], v4 = A("10.0.0.2"), v6 = A("fd00::2");
	char *error = NULL;

	CHECK_INT(ipam_alloc(i, 0, NULL, got, &error), 0);
	CHECK(addr_eq(&got[0], &v4));
	CHECK(addr_eq(&got[1], &v6));
	CHECK_INT(ipam_use(i, IPAM_V4, 0).size, 5); /* .2 to .6 */
}

static void exhaustion_says_how_many_rest(void)
{
	_cleanup_(ipam_freep) struct ipam *i = with_range("10.0.0.0/30", NULL);
	_cleanup_free_ char *error = NULL, *more = NULL;
	struct addr got[2], first = A("10.0.0.2");

	CHECK_INT(ipam_alloc(i, 0, NULL, got, &error), 0);
	CHECK(addr_eq(&got[0], &first));
	CHECK_INT(ipam_alloc(i, 0, NULL, got, &error), -ENOSPC);
	CHECK_STR(error, "range 10.0.0.0/30 has no free address: 1 of 1 are in use, 0 rest for up to 60 s");
	ipam_release(i, &first, 1000);
	CHECK_INT(ipam_alloc(i, 60999, NULL, got, &more), -ENOSPC);
	CHECK_STR(more, "range 10.0.0.0/30 has no free address: 0 of 1 are in use, 1 rest for up to 60 s");
	CHECK_INT(ipam_alloc(i, 61000, NULL, got, NULL), 0);
}

static void unused_come_before_freed_and_oldest_freed_first(void)
{
	_cleanup_(ipam_freep) struct ipam *i = with_range("10.0.0.0/29", NULL);
	struct addr a, b, c, d;

	alloc(i, 0, &a);
	alloc(i, 0, &b);
	ipam_release(i, &b, 1);
	ipam_release(i, &a, 2);
	alloc(i, 1000000, &c);
	CHECK(!addr_eq(&c, &a) && !addr_eq(&c, &b));
	alloc(i, 1000000, &c);
	alloc(i, 1000000, &c);
	CHECK_INT(alloc(i, 1000000, &d), 0);
	CHECK(addr_eq(&d, &b));
	CHECK_INT(alloc(i, 1000000, &d), 0);
	CHECK(addr_eq(&d, &a));
	CHECK_INT(alloc(i, 1000000, &d), -ENOSPC);
}

static void wanted_addresses(void)
{
	_cleanup_(ipam_freep) struct ipam *i = with_range("10.0.0.0/24", NULL);
	static const struct {
		const char *addr;
		int code;
	} cases[] = {
	    {"10.0.0.0", -EADDRNOTAVAIL},
	    {"10.0.0.1", -EADDRNOTAVAIL},
	    {"10.0.0.255", -EADDRNOTAVAIL},
	    {"10.0.1.5", -EADDRNOTAVAIL},
	    {"10.0.0.77", 0},
	    {"10.0.0.77", -EADDRINUSE},
	    {"192.168.0.1", -EADDRNOTAVAIL},
	};

	for (size_t k = 0; k < ARRAY_SIZE(cases); k++) {
		struct addr want[2] = {A(cases[k].addr)}, got[2];
		_cleanup_free_ char *error = NULL;

		CHECK_INT(ipam_alloc(i, 0, want, got, &error), cases[k].code);
		CHECK((error != NULL) == (cases[k].code != 0));
	}
}

static void R8_dual_stack_is_all_or_nothing(void)
{
	_cleanup_(ipam_freep) struct ipam *i = with_range("10.0.0.0/24", "fd00::/126");
	_cleanup_free_ char *error = NULL;
	struct addr got[2];

	CHECK_INT(ipam_alloc(i, 0, NULL, got, NULL), 0);
	CHECK_INT(ipam_alloc(i, 0, NULL, got, NULL), 0); /* ::2 and ::3: IPv6 has no broadcast */
	CHECK_INT(ipam_alloc(i, 0, NULL, got, &error), -ENOSPC);
	CHECK(strstr(error, "fd00::/126"));
	CHECK_INT(ipam_use(i, IPAM_V4, 0).used, 2);
}

static void R8_tiny_ranges_hand_out_nothing(void)
{
	static const char *const ranges[] = {"10.0.0.7/32", "10.0.0.6/31"};

	for (size_t k = 0; k < ARRAY_SIZE(ranges); k++) {
		_cleanup_(ipam_freep) struct ipam *i = with_range(ranges[k], NULL);
		struct addr a;

		CHECK_INT(ipam_use(i, IPAM_V4, 0).size, 0);
		CHECK_INT(alloc(i, 0, &a), -ENOSPC);
	}
}

static void without_a_range_it_says_so(void)
{
	_cleanup_(ipam_freep) struct ipam *i = ipam_new(0);
	_cleanup_free_ char *error = NULL;
	struct addr got[2];

	CHECK_INT(ipam_alloc(i, 0, NULL, got, &error), -EAGAIN);
	CHECK(error);
}

static void adopted_addresses_are_not_handed_out(void)
{
	_cleanup_(ipam_freep) struct ipam *i = ipam_new(0);
	struct addr a = A("10.0.0.2"), outside = A("10.9.9.9"), got;
	struct prefix p;

	CHECK_INT(ipam_adopt(i, &a), 0); /* before the range is known */
	CHECK_INT(ipam_adopt(i, &a), -EEXIST);
	CHECK_INT(ipam_adopt(i, &outside), 0);
	prefix_parse("10.0.0.0/24", &p, NULL);
	ipam_set_range(i, IPAM_V4, &p);
	CHECK_INT(alloc(i, 0, &got), 0);
	CHECK(!addr_eq(&got, &a));
	CHECK_INT(ipam_use(i, IPAM_V4, 0).used, 2);
}

static void a_former_ranges_addresses_do_not_return(void)
{
	_cleanup_(ipam_freep) struct ipam *i = with_range("10.0.0.0/30", NULL);
	struct prefix p;
	struct addr a, b;

	alloc(i, 0, &a);
	prefix_parse("10.0.1.0/30", &p, NULL);
	ipam_set_range(i, IPAM_V4, &p);
	ipam_release(i, &a, 0);
	CHECK_INT(alloc(i, 100000, &b), 0);
	CHECK(!addr_eq(&a, &b));
	CHECK_INT(alloc(i, 100000, &b), -ENOSPC);
}

static void cancelled_addresses_are_free_at_once(void)
{
	_cleanup_(ipam_freep) struct ipam *i = with_range("10.0.0.0/30", NULL);
	struct addr a, b;

	alloc(i, 0, &a);
	ipam_cancel(i, &a);
	CHECK_INT(alloc(i, 0, &b), 0);
	CHECK(addr_eq(&a, &b));
}

/* Many pods that come and go in a range that the cursor does not finish: the queue stays bounded, nobody meets early.
 */
static void a_large_range_forgets_in_order(void)
{
	_cleanup_(ipam_freep) struct ipam *i = ipam_new(10);
	struct prefix p;
	struct addr got[2];

	prefix_parse("fd00::/64", &p, NULL);
	ipam_set_range(i, IPAM_V6, &p);
	for (uint64_t now = 0; now < 200000; now++) {
		CHECK_INT(ipam_alloc(i, now, NULL, got, NULL), 0);
		ipam_release(i, &got[IPAM_V6], now);
	}
	CHECK(ipam_use(i, IPAM_V6, 200000).resting <= 10);
}

/* A naive model beside it: no address twice at once, none before its rest ended, none refused while one is free. */
static void property_never_twice_never_early(void)
{
	enum { SIZE = 13, STEPS = 200000 }; /* of a /28: 16 - 2 - broadcast */
	_cleanup_(ipam_freep) struct ipam *i = with_range("10.0.0.0/28", NULL);
	uint64_t freed[16] = {0}, now = 0, seed = 7;
	bool used[16] = {false}, ever[16] = {false};

	for (int step = 0; step < STEPS; step++) {
		struct addr a = A("10.0.0.0");
		unsigned k;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		now += (seed >> 33) % 9000;
		if ((seed >> 20) % 2) {
			bool possible = false;

			for (k = 2; k < 2 + SIZE; k++)
				possible |= !used[k] && (!ever[k] || now - freed[k] >= 60000);
			CHECK_INT(alloc(i, now, &a), possible ? 0 : -ENOSPC);
			if (!possible)
				continue;
			k = a.b[15];
			CHECK(k >= 2 && k < 2 + SIZE && !used[k]);
			CHECK(!ever[k] || now - freed[k] >= 60000);
			for (unsigned o = 2; o < 2 + SIZE; o++) /* least recently used first */
				CHECK(used[o] || o == k || (ever[k] ? ever[o] && freed[o] >= freed[k] : true));
			used[k] = ever[k] = true;
		} else {
			k = 2 + (seed >> 40) % SIZE;
			a = addr_add(&a, k);
			CHECK(ipam_in_use(i, &a) == used[k]);
			if (!used[k])
				continue;
			ipam_release(i, &a, now);
			used[k] = false;
			freed[k] = now;
		}
	}
}

int main(void)
{
	RUN(first_addresses_are_reserved);
	RUN(exhaustion_says_how_many_rest);
	RUN(unused_come_before_freed_and_oldest_freed_first);
	RUN(wanted_addresses);
	RUN(R8_dual_stack_is_all_or_nothing);
	RUN(R8_tiny_ranges_hand_out_nothing);
	RUN(without_a_range_it_says_so);
	RUN(adopted_addresses_are_not_handed_out);
	RUN(a_former_ranges_addresses_do_not_return);
	RUN(cancelled_addresses_are_free_at_once);
	RUN(a_large_range_forgets_in_order);
	RUN(property_never_twice_never_early);
	return test_end();
}
