/* SPDX-License-Identifier: Apache-2.0 */
/* ARP and neighbour discovery from the network: what is understood is about one address of one host, and what is said again in our own
 * words is understood the same. */
#include "fuzz.h"
#include "net/neighbour.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t frame[NEIGHBOUR_FRAME_MAX];
	struct neighbour n, again;

	if (neighbour_parse(data, size, &n) < 0)
		return 0;
	REQUIRE(n.kind <= NEIGHBOUR_CLAIM && n.about.b[0] != 0xff);
	REQUIRE(n.kind == NEIGHBOUR_ASK || addr_is_zero(&n.from));
	if (n.kind == NEIGHBOUR_ANSWER)
		return 0; /* the datapath's words */
	REQUIRE(neighbour_parse(frame, neighbour_encode(&n, NULL, frame), &again) == 0);
	REQUIRE(addr_eq(&again.about, &n.about) && memcmp(again.mac, n.mac, 6) == 0);
	return 0;
}
