/* SPDX-License-Identifier: Apache-2.0 */
/* What comes to the port of `auto`'s probes: without the key nothing is taken, and what we write is taken once, as it was. */
#include "fuzz.h"
#include "route/proof.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proof_path path = { .uids = { "6d5f0c1e-0a3b-4a53-8a0e-0f9b1d2c3e4f", "b7a9" } };
	struct proof_message m = { .kind = PROOF_REQUEST }, back;
	uint8_t wire[PROOF_SIZE];

	REQUIRE(proof_decode(data, size, &path, &back) < 0);
	memcpy(m.nonce, data, MIN(size, sizeof(m.nonce)));
	if (size > 32)
		memcpy(&path.src, data + 16, 16);
	proof_encode(&m, &path, wire);
	REQUIRE(proof_decode(wire, sizeof(wire), &path, &back) == 0 && memcmp(back.nonce, m.nonce, sizeof(m.nonce)) == 0);
	if (size > PROOF_SIZE && data[PROOF_SIZE]) {
		wire[data[0] % PROOF_SIZE] ^= data[PROOF_SIZE];
		REQUIRE(proof_decode(wire, sizeof(wire), &path, &back) < 0);
	}
	return 0;
}
