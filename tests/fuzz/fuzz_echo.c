/* SPDX-License-Identifier: Apache-2.0 */
/* Answers to the probes between nodes, from a raw socket: whatever comes is taken as ours only if it is. */
#include "fuzz.h"
#include "observe/echo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	bool v6 = fuzz_byte(&in) & 1;
	uint16_t id = fuzz_byte(&in) << 8 | fuzz_byte(&in);
	_cleanup_free_ uint8_t *exact = xmalloc(in.size + 1);
	uint8_t packet[ECHO_BYTES];
	struct echo p, again;

	memcpy(exact, in.data, in.size);
	if (echo_decode(v6, id, exact, in.size, &p) < 0)
		return 0;
	REQUIRE(in.size >= ECHO_BYTES && (v6 || in.size >= ECHO_BYTES + 20));
	echo_encode(true, id, 0, &p, packet);
	packet[0]++; /* the answer to it */
	REQUIRE(echo_decode(true, id, packet, sizeof(packet), &again) == 0 && again.slot == p.slot && again.nonce == p.nonce);
	return 0;
}
