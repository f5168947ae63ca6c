/* SPDX-License-Identifier: Apache-2.0 */
#include "net/neighbour.h"
#include "base/test.h"

static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1}, other[6] = {2, 0, 0, 0, 0, 2};

static struct addr addr_of(const char *text)
{
	struct addr a = {0};

	CHECK(addr_parse(text, &a) == 0);
	return a;
}

static struct neighbour make(enum neighbour_kind kind, const char *about, const char *from)
{
	struct neighbour n = {.kind = kind, .about = addr_of(about)};

	memcpy(n.mac, mac, 6);
	if (from)
		n.from = addr_of(from);
	return n;
}

/* What is sent is understood, and nothing that is cut short or damaged. */
static void what_is_encoded_is_parsed(void)
{
	const struct neighbour cases[] = {
	    make(NEIGHBOUR_ASK, "192.0.2.9", "192.0.2.1"), make(NEIGHBOUR_CLAIM, "192.0.2.9", NULL),
	    make(NEIGHBOUR_ASK, "2001:db8::9", "2001:db8::1"), make(NEIGHBOUR_CLAIM, "2001:db8::9", NULL)};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (int unicast = 0; unicast < 2; unicast++) {
			uint8_t frame[NEIGHBOUR_FRAME_MAX];
			size_t len = neighbour_encode(&cases[i], unicast ? other : NULL, frame);
			struct neighbour n;

			CHECK_INT(neighbour_parse(frame, len, &n), 0);
			CHECK_INT(n.kind, cases[i].kind);
			CHECK(addr_eq(&n.about, &cases[i].about) && addr_eq(&n.from, &cases[i].from) && memcmp(n.mac, mac, 6) == 0);
			for (size_t cut = 0; cut < len; cut++)
				CHECK_INT(neighbour_parse(frame, cut, &n), -EBADMSG);
		}
}

static void where_it_is_sent(void)
{
	static const uint8_t group[6] = {0x33, 0x33, 0xff, 0, 0, 9}, all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	struct neighbour four = make(NEIGHBOUR_ASK, "192.0.2.9", "192.0.2.1"), six = make(NEIGHBOUR_ASK, "2001:db8::9", "2001:db8::1");
	uint8_t frame[NEIGHBOUR_FRAME_MAX];

	neighbour_encode(&four, NULL, frame);
	CHECK(memcmp(frame, all, 6) == 0);
	neighbour_encode(&six, NULL, frame);
	CHECK(memcmp(frame, group, 6) == 0);
	neighbour_encode(&six, other, frame);
	CHECK(memcmp(frame, other, 6) == 0);
}

static void damaged_ones_are_refused(void)
{
	struct neighbour six = make(NEIGHBOUR_CLAIM, "2001:db8::9", NULL), n;
	uint8_t frame[NEIGHBOUR_FRAME_MAX];
	size_t len = neighbour_encode(&six, NULL, frame);

	frame[60] ^= 1; /* in the target: the checksum is wrong */
	CHECK_INT(neighbour_parse(frame, len, &n), -EBADMSG);
	frame[60] ^= 1;
	frame[21] = 64; /* came through a router */
	CHECK_INT(neighbour_parse(frame, len, &n), -EBADMSG);
	frame[21] = 255;
	frame[18] = 0xff; /* longer than it is */
	CHECK_INT(neighbour_parse(frame, len, &n), -EBADMSG);
}

int main(void)
{
	RUN(what_is_encoded_is_parsed);
	RUN(where_it_is_sent);
	RUN(damaged_ones_are_refused);
	return test_end();
}
