/* SPDX-License-Identifier: Apache-2.0 */
/* The primitives WireGuard is made of, by OpenSSL: X25519, BLAKE2s, HKDF over it, ChaCha20-Poly1305 and its X variant.
 * crypto_init() fetches the algorithms once; the functions may then be called from any thread. A failure inside
 * OpenSSL (out of memory, a provider that is missing) ends the program: going on without a cipher is no option. */
#pragma once

#include "base/macro.h"

enum { KEY_LEN = 32, HASH_LEN = 32, TAG_LEN = 16, MAC_LEN = 16, XNONCE_LEN = 24 };

/* Return: 0, -ENOTSUP when OpenSSL lacks an algorithm, -EBADMSG when the cipher of the data path fails its test. */
int crypto_init(void);
void crypto_random(void *out, size_t n);
void wipe(void *p, size_t n);
/* Constant time. */
bool secret_eq(const void *a, const void *b, size_t n);
bool secret_is_zero(const uint8_t *p, size_t n);

struct bytes {
	const void *data;
	size_t len;
};
#define BYTES(p, n) ((struct bytes){ (p), (n) })

/* BLAKE2s-256 over the concatenation of two strings (either may be empty). */
void hash2(uint8_t out[static HASH_LEN], struct bytes a, struct bytes b);
/* Keyed BLAKE2s with a 16-byte output; key of 1 to 32 bytes. */
void mac16(uint8_t out[static MAC_LEN], struct bytes key, struct bytes data);
/* HKDF with HMAC-BLAKE2s: up to three outputs of 32 bytes, those that are NULL from the right are not computed. */
void kdf(const uint8_t key[static HASH_LEN], struct bytes input, uint8_t *out1, uint8_t *out2, uint8_t *out3);

/* X25519. A key is opaque, and freed by dh_key_free(). */
struct dh_key;
struct dh_key *dh_key_new(const uint8_t priv[static KEY_LEN], uint8_t ret_pub[static KEY_LEN]);
/* Its public key is a job's result. */
struct dh_key *dh_key_random(void);
struct dh_key *dh_key_free(struct dh_key *k);
DEFINE_CLEANUP(struct dh_key *, dh_key_free)
/* What it was made of: to go on with it in another process. */
void dh_key_private(const struct dh_key *k, uint8_t ret[static KEY_LEN]);

/* One multiplication; the jobs of many keys are done side by side where the processor can. */
struct dh_job {
	struct dh_key *key; /* the caller's, as is @pub */
	const uint8_t *pub; /* of KEY_LEN; NULL: the base point, which gives the public key */
	uint8_t result[KEY_LEN]; /* all zero for a point of small order */
};
void dh_many(struct dh_job *jobs, unsigned n);
/* Whether it can, here. */
bool dh_are_many(void);
/* Return: 0, -EBADMSG when the result is all zero (a point of small order). */
int dh(struct dh_key *key, const uint8_t pub[static KEY_LEN], uint8_t ret[static KEY_LEN]);
void dh_clamp(uint8_t priv[static KEY_LEN]);

/* One-shot ChaCha20-Poly1305 with the 64-bit counter nonce of Noise. @out has @len + TAG_LEN bytes. */
void aead_seal_once(const uint8_t key[static KEY_LEN], uint64_t counter, struct bytes ad, const void *in, size_t len,
		    uint8_t *out);
/* @len counts the tag. Return: 0, -EBADMSG when it does not authenticate. */
int aead_open_once(const uint8_t key[static KEY_LEN], uint64_t counter, struct bytes ad, const uint8_t *in, size_t len,
		   uint8_t *out);
void xaead_seal_once(const uint8_t key[static KEY_LEN], const uint8_t nonce[static XNONCE_LEN], struct bytes ad,
		     const void *in, size_t len, uint8_t *out);
int xaead_open_once(const uint8_t key[static KEY_LEN], const uint8_t nonce[static XNONCE_LEN], struct bytes ad,
		    const uint8_t *in, size_t len, uint8_t *out);
void hchacha20(uint8_t out[static KEY_LEN], const uint8_t key[static KEY_LEN], const uint8_t nonce[static 16]);
