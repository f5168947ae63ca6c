/* SPDX-License-Identifier: Apache-2.0 */
#include "net/addr.h"
#include "base/test.h"

static void addr_round_trip(void)
{
	static const char *const good[] = { "0.0.0.0", "10.1.2.3", "255.255.255.255", "::", "::1", "fd00:10::a" };
	static const char *const bad[] = { "", "10.1.2", "10.1.2.3.4", "010.1.2.3", "::ffff:10.0.0.1", "fe80::1%eth0",
					   "[::1]", "10.0.0.1 ", "fd00::1::2" };
	char text[ADDR_TEXT_MAX];
	struct addr a;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		CHECK_INT(addr_parse(good[i], &a), 0);
		CHECK_STR(addr_format(&a, text), good[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_INT(addr_parse(bad[i], &a), -EINVAL);
}

static void prefix_cases(void)
{
	static const char *const bad[] = { "10.0.0.0", "10.0.0.0/33", "10.0.0.1/24", "fd00::/129", "10.0.0.0/", "/8",
					   "10.0.0.0/08", "10.0.0.0/-1", "fd00::1/64" };
	struct prefix p, q;
	struct addr a, host;
	char text[PREFIX_TEXT_MAX];

	CHECK_INT(prefix_parse("10.1.0.0/16", &p, NULL), 0);
	CHECK_INT(p.len, 112);
	CHECK_STR(prefix_format(&p, text), "10.1.0.0/16");
	CHECK(addr_parse("10.1.255.255", &a) == 0 && prefix_contains(&p, &a));
	CHECK(addr_parse("10.2.0.0", &a) == 0 && !prefix_contains(&p, &a));
	CHECK(addr_parse("fd00::1", &a) == 0 && !prefix_contains(&p, &a));
	CHECK(prefix_parse("10.1.128.0/17", &q, NULL) == 0 && prefix_covers(&p, &q) && !prefix_covers(&q, &p));
	CHECK_INT(prefix_parse("10.1.2.3/16", &p, &host), 0);
	CHECK_STR(prefix_format(&p, text), "10.1.0.0/16");
	CHECK(prefix_parse("0.0.0.0/0", &p, NULL) == 0 && p.len == 96 && prefix_contains(&p, &host));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_INT(prefix_parse(bad[i], &p, NULL), -EINVAL);
}

static void addition_carries(void)
{
	struct addr a;
	char text[ADDR_TEXT_MAX];

	addr_parse("10.0.255.255", &a);
	a = addr_add(&a, 1);
	CHECK_STR(addr_format(&a, text), "10.1.0.0");
	addr_parse("fd00::ffff:ffff", &a);
	a = addr_add(&a, 2);
	CHECK_STR(addr_format(&a, text), "fd00::1:0:1");
}

static void endpoints(void)
{
	static const char *const bad[] = { "10.0.0.1", "10.0.0.1:65536", "fd00::1:80", "[10.0.0.1]:80", "[fd00::1]80", ":80" };
	char text[ENDPOINT_TEXT_MAX];
	struct sockaddr_storage ss;
	struct addr a, b;
	uint16_t port;

	CHECK_INT(addr_port_parse("[fd00::1]:443", &a, &port), 0);
	CHECK_STR(addr_port_format(&a, port, text), "[fd00::1]:443");
	CHECK_INT(addr_port_parse("10.0.0.1:80", &a, &port), 0);
	CHECK_STR(addr_port_format(&a, port, text), "10.0.0.1:80");
	CHECK_INT(addr_to_sockaddr(&a, port, &ss), sizeof(struct sockaddr_in));
	CHECK(addr_from_sockaddr((struct sockaddr *)&ss, &b, &port) == 0 && addr_eq(&a, &b) && port == 80);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_INT(addr_port_parse(bad[i], &a, &port), -EINVAL);
}

static void macs(void)
{
	uint8_t mac[6];
	char text[MAC_TEXT_MAX];

	CHECK_INT(mac_parse("02:57:0a:F4:00:01", mac), 0);
	CHECK_STR(mac_format(mac, text), "02:57:0a:f4:00:01");
	CHECK_INT(mac_parse("02:57:0a:f4:00", mac), -EINVAL);
	CHECK_INT(mac_parse("02-57-0a-f4-00-01", mac), -EINVAL);
	CHECK_INT(mac_parse("02:57:0a:f4:00:+1", mac), -EINVAL);
}

static void routable(void)
{
	static const char *const yes[] = { "1.0.0.1", "10.0.0.1", "126.9.9.9", "169.253.0.1", "172.30.0.11", "223.255.255.255", "2001:db8::1", "fd00::1", "fec0::1" };
	static const char *const no[] = { "0.0.0.0", "0.1.2.3", "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "febf::1", "ff02::1" };
	struct addr a;

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
		CHECK(addr_parse(yes[i], &a) == 0 && addr_is_routable(&a));
	for (size_t i = 0; i < ARRAY_SIZE(no); i++)
		CHECK(addr_parse(no[i], &a) == 0 && !addr_is_routable(&a));
}

int main(void)
{
	RUN(addr_round_trip);
	RUN(prefix_cases);
	RUN(addition_carries);
	RUN(endpoints);
	RUN(macs);
	RUN(routable);
	return test_end();
}
