/* SPDX-License-Identifier: Apache-2.0 */
/* What crypto.c and aead.c share. */
#pragma once

#include "wg/crypto.h"

#include <endian.h>

/* Ends the program with one line unless @ok. */
void crypto_need(bool ok, const char *what);

/* Noise: four zero bytes, then the counter. */
static inline void noise_nonce(uint8_t iv[static 12], uint64_t counter)
{
	uint64_t le = htole64(counter);

	memset(iv, 0, 4);
	memcpy(iv + 4, &le, sizeof(le));
}

/* Any nonce; what the protocol needs is in crypto.h. */
void aead_seal_iv(const uint8_t key[static KEY_LEN], const uint8_t iv[static 12], struct bytes ad, const void *in, size_t len,
		  uint8_t *out);
int aead_open_iv(const uint8_t key[static KEY_LEN], const uint8_t iv[static 12], struct bytes ad, const uint8_t *in,
		 size_t len, uint8_t *out);
