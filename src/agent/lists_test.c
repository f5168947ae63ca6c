/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/lists.h"
#include "base/test.h"

static void prefixes_and_addresses(void)
{
	struct prefix p[LIST_PREFIXES_MAX];
	char text[PREFIX_TEXT_MAX];
	size_t n = 9;

	CHECK_INT(list_prefixes("", p, &n), 0);
	CHECK_INT(n, 0);
	CHECK_INT(list_prefixes("  ", p, &n), 0);
	CHECK_INT(list_prefixes("10.0.0.0/8, fd00::/8 ,192.0.2.1,2001:db8::1", p, &n), 0);
	CHECK_INT(n, 4);
	CHECK_STR(prefix_format(&p[0], text), "10.0.0.0/8");
	CHECK_STR(prefix_format(&p[1], text), "fd00::/8");
	CHECK_STR(prefix_format(&p[2], text), "192.0.2.1/32");
	CHECK_STR(prefix_format(&p[3], text), "2001:db8::1/128");
}

static void bad_prefixes(void)
{
	static const char *const bad[] = {",", "10.0.0.0/8,", ",10.0.0.0/8", "10.0.0.0/8,,::/0", "10.0.0.1/8", "10.0.0.0/33", "x", "10.0.0.0/8 fd00::/8"};
	struct prefix p[LIST_PREFIXES_MAX];
	char many[LIST_PREFIXES_MAX * 8 + 16] = "1.1.1.1";
	size_t n;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_INT(list_prefixes(bad[i], p, &n), -EINVAL);
	for (int i = 0; i < LIST_PREFIXES_MAX; i++)
		strcat(many, ",1.1.1.1");
	CHECK_INT(list_prefixes(many, p, &n), -E2BIG);
}

static void ports(void)
{
	static bool set[PORTS];

	CHECK_INT(list_ports("", set), 0);
	CHECK_INT(list_ports("30000-30002, 8472,65535", set), 0);
	for (int i = 0; i < PORTS; i++)
		CHECK_INT(set[i], (i >= 30000 && i <= 30002) || i == 8472 || i == 65535);
}

static void bad_ports(void)
{
	static const char *const bad[] = {"0", "65536", "2-1", "1-", "-1", "1,", "a", "1-65536", "1 2", "1--2"};
	static bool set[PORTS];
	uint16_t min, max;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_INT(list_ports(bad[i], set), -EINVAL);
	CHECK_INT(port_range_parse("", &min, &max), -EINVAL);
	CHECK_INT(port_range_parse("1024-65535", &min, &max), 0);
	CHECK_INT(min, 1024);
	CHECK_INT(max, 65535);
}

int main(void)
{
	RUN(prefixes_and_addresses);
	RUN(bad_prefixes);
	RUN(ports);
	RUN(bad_ports);
	return test_end();
}
