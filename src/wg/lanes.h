/* SPDX-License-Identifier: Apache-2.0 */
/* ChaCha20-Poly1305 for several packets at once: one packet a lane of the processor's vectors.
 *
 * A library's call has one packet to work on, so it pays for each what is the same for all: the schedule, the block that
 * makes the authenticator's key (a whole pass of a wide ChaCha20 for 32 bytes of it), powers of that key, which is good for
 * one packet. The data path has many packets of one session in hand. Side by side they fill the vectors with blocks of
 * several packets, and each packet's Poly1305 runs plainly in its own lane.
 *
 * No branch and no address depends on a secret: lengths and counters steer, and they are on the wire. */
#pragma once

#include "wg/aead.h"

enum { LANES_MAX = 8 };

struct lanes {
	const char *name;
	bool (*available)(void);
	/* One key, up to LANES_MAX packets: @seal encrypts, else decrypts; @tags gets what the tags have to be. */
	void (*crypt)(const uint8_t key[static KEY_LEN], const struct aead_packet *p, unsigned n, bool seal,
		      uint8_t tags[static LANES_MAX][TAG_LEN]);
	/* What it costs, ns: a call, 64 bytes of any packet (ChaCha20), 64 bytes of the longest (Poly1305). */
	unsigned call_ns, block_ns, step_ns;
};

/* All there are, best first; NULL ends them. */
extern const struct lanes *const all_lanes[];
extern const struct lanes lanes_avx512;
