/* SPDX-License-Identifier: Apache-2.0 */
/* What is on the wire. All integers are little endian. */
#pragma once

#include "wg/crypto.h"

#include <endian.h>
#include <stdatomic.h>

enum message_type { MSG_INITIATION = 1, MSG_RESPONSE = 2, MSG_COOKIE = 3, MSG_DATA = 4 };

enum { TIMESTAMP_LEN = 12, COOKIE_LEN = 16 };

struct msg_macs {
	uint8_t mac1[MAC_LEN];
	uint8_t mac2[MAC_LEN];
};

struct msg_initiation {
	uint32_t type; /* the three reserved bytes are zero */
	uint32_t sender;
	uint8_t ephemeral[KEY_LEN];
	uint8_t statik[KEY_LEN + TAG_LEN];
	uint8_t timestamp[TIMESTAMP_LEN + TAG_LEN];
	struct msg_macs macs;
};

struct msg_response {
	uint32_t type;
	uint32_t sender;
	uint32_t receiver;
	uint8_t ephemeral[KEY_LEN];
	uint8_t nothing[TAG_LEN];
	struct msg_macs macs;
};

struct msg_cookie {
	uint32_t type;
	uint32_t receiver;
	uint8_t nonce[XNONCE_LEN];
	uint8_t cookie[COOKIE_LEN + TAG_LEN];
};

/* Then the ciphertext and a tag. */
struct msg_data {
	uint32_t type;
	uint32_t receiver;
	uint64_t counter;
};

_Static_assert(sizeof(struct msg_initiation) == 148, "initiation");
_Static_assert(sizeof(struct msg_response) == 92, "response");
_Static_assert(sizeof(struct msg_cookie) == 64, "cookie reply");
_Static_assert(sizeof(struct msg_data) == 16, "data header");

enum { DATA_OVERHEAD = sizeof(struct msg_data) + TAG_LEN, PADDING = 16 };

/* The interface's MTU and those of routes through it, ascending, 0: no more. One thread writes. */
enum { MTUS_MAX = 8 };
struct mtus {
	_Atomic uint32_t of[MTUS_MAX];
};

/* Plaintext is padded to a multiple of 16, but not past an MTU. A packet does not tell its route: all of them count. */
static inline size_t padded_len(size_t len, const struct mtus *mtus)
{
	size_t padded = (len + PADDING - 1) & ~(size_t)(PADDING - 1);

	for (unsigned i = 0; i < MTUS_MAX; i++) {
		size_t mtu = atomic_load_explicit(&mtus->of[i], memory_order_relaxed);

		if (!mtu)
			break;
		if (len <= mtu)
			return MIN(padded, mtu);
	}
	return padded;
}
