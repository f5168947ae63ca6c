/* SPDX-License-Identifier: Apache-2.0 */
/* ChaCha20-Poly1305 on the data path: in place, keys kept between packets, many packets a call. */
#pragma once

#include "wg/crypto.h"

struct lanes;

/* A cipher context that keeps the key of the session it was last used for; one thread each. */
struct aead {
	void *ctx;
	uint64_t key_id; /* 0: none */
	bool seal;
};

/* The tag has its room behind the text. */
struct aead_packet {
	uint8_t *text;
	uint32_t len; /* without the tag */
	bool good;    /* of aead_open_many() */
	uint64_t counter;
};

void aead_init(struct aead *a, bool seal);
void aead_done(struct aead *a);
void aead_forget(struct aead *a);
/* @len bytes at @buf become @len + TAG_LEN. @key_id names the key: the same id means the same key. */
void aead_seal(struct aead *a, uint64_t key_id, const uint8_t key[static KEY_LEN], uint64_t counter, uint8_t *buf,
	       size_t len);
/* @len counts the tag. Return: 0, -EBADMSG. */
int aead_open(struct aead *a, uint64_t key_id, const uint8_t key[static KEY_LEN], uint64_t counter, uint8_t *buf,
	      size_t len);

/* The same for packets of one key, side by side where the processor has the means and it is faster. */
void aead_seal_many(struct aead *a, uint64_t key_id, const uint8_t key[static KEY_LEN], struct aead_packet *p, unsigned n);
/* Tells in each packet whether it is authentic. */
void aead_open_many(struct aead *a, uint64_t key_id, const uint8_t key[static KEY_LEN], struct aead_packet *p, unsigned n);

/* By crypto_init(): finds what this processor can do and tests it. Return: 0, -EBADMSG. */
int aead_setup(void);
/* Process-wide, before any thread uses the above: NULL is none. Return: the one that was in use. */
const struct lanes *aead_use_lanes(const struct lanes *l);
