/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses against inet_pton(3), and everything that is accepted comes back from its text. */
#include "fuzz.h"
#include "net/addr.h"

#include <arpa/inet.h>

static void check_addr(const char *s)
{
	struct addr a = { 0 }, again;
	struct in6_addr six;
	struct in_addr four;
	char text[ADDR_TEXT_MAX];
	int r = addr_parse(s, &a);

	if (inet_pton(AF_INET, s, &four) == 1)
		REQUIRE(r == 0 && addr_is_v4(&a) && memcmp(a.b + 12, &four, 4) == 0);
	else if (inet_pton(AF_INET6, s, &six) == 1)
		REQUIRE(IN6_IS_ADDR_V4MAPPED(&six) ? r == -EINVAL : r == 0 && memcmp(a.b, &six, 16) == 0);
	else
		REQUIRE(r == -EINVAL);
	if (r == 0)
		REQUIRE(addr_parse(addr_format(&a, text), &again) == 0 && addr_eq(&a, &again));
}

static void check_bits(const struct prefix *p)
{
	for (int i = p->len; i < 128; i++)
		REQUIRE(!(p->addr.b[i / 8] & 0x80 >> i % 8));
}

static void check_prefix(const char *s)
{
	struct prefix p, loose, again;
	char text[PREFIX_TEXT_MAX];
	struct addr host;
	int r = prefix_parse(s, &p, NULL), r_loose = prefix_parse(s, &loose, &host);

	REQUIRE(r_loose == 0 || r < 0);
	if (r_loose < 0)
		return;
	check_bits(&loose);
	REQUIRE(prefix_contains(&loose, &host) && addr_is_v4(&host) == addr_is_v4(&loose.addr));
	REQUIRE((r == 0) == addr_eq(&host, &loose.addr));
	REQUIRE(prefix_parse(prefix_format(&loose, text), &again, NULL) == 0 && prefix_eq(&loose, &again));
	REQUIRE(prefix_covers(&loose, &again) && prefix_len_text(&loose) <= 128);
}

static void check_endpoint(const char *s)
{
	struct addr a, b;
	char text[ENDPOINT_TEXT_MAX];
	uint16_t port, again;

	if (addr_port_parse(s, &a, &port) < 0)
		return;
	REQUIRE(addr_port_parse(addr_port_format(&a, port, text), &b, &again) == 0 && addr_eq(&a, &b) && port == again);
}

static void check_mac(const char *s)
{
	char text[MAC_TEXT_MAX];
	uint8_t mac[6];

	if (mac_parse(s, mac) == 0)
		REQUIRE(strcasecmp(mac_format(mac, text), s) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	_cleanup_free_ char *s = fuzz_text(&in, NULL);

	check_addr(s);
	check_prefix(s);
	check_endpoint(s);
	check_mac(s);
	return 0;
}
