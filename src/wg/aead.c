/* SPDX-License-Identifier: Apache-2.0 */
/* A packet at a time by OpenSSL: a context keeps its key (loading one costs 60 ns) and gets only a new nonce for each packet,
 * and EVP_Cipher() takes the text since it goes straight to the provider. The tag is EVP_*Final_ex()'s: EVP_Cipher() without
 * input is documented to finish, too, but before OpenSSL 3.0.22 ChaCha20-Poly1305 did nothing there and called it success,
 * which let every forgery in. contexts_are_right() is why a library that does such a thing again is not started with.
 *
 * Many packets: lanes.h, where its fixed cost (a pass for the keys) is less than the library's for each packet. */
#include "wg/aead.h"

#include "wg/crypto_internal.h"
#include "wg/lanes.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

static EVP_CIPHER *chapoly;
static const struct lanes *lanes;

const struct lanes *const all_lanes[] = {
#ifdef __x86_64__
	&lanes_avx512,
#endif
	NULL,
};

void aead_init(struct aead *a, bool seal)
{
	*a = (struct aead){ .ctx = EVP_CIPHER_CTX_new(), .seal = seal };
	crypto_need(a->ctx, "EVP_CIPHER_CTX_new");
}

void aead_done(struct aead *a)
{
	EVP_CIPHER_CTX_free(a->ctx); /* cleanses the key schedule */
	*a = (struct aead){ 0 };
}

void aead_forget(struct aead *a)
{
	if (a->key_id)
		EVP_CIPHER_CTX_reset(a->ctx);
	a->key_id = 0;
}

static void load(struct aead *a, uint64_t key_id, const uint8_t *key, const uint8_t *iv)
{
	bool same = a->key_id == key_id;

	crypto_need(EVP_CipherInit_ex(a->ctx, a->key_id ? NULL : chapoly, NULL, same ? NULL : key, iv, a->seal),
	     "ChaCha20-Poly1305");
	a->key_id = key_id;
}

void aead_seal(struct aead *a, uint64_t key_id, const uint8_t key[static KEY_LEN], uint64_t counter, uint8_t *buf,
	       size_t len)
{
	OSSL_PARAM tag[] = { OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, buf + len, TAG_LEN),
			     OSSL_PARAM_construct_end() };
	uint8_t iv[12];
	int n = 0;

	noise_nonce(iv, counter);
	load(a, key_id, key, iv);
	crypto_need((!len || EVP_Cipher(a->ctx, buf, buf, len) >= 0) && EVP_EncryptFinal_ex(a->ctx, buf, &n) == 1 &&
		     EVP_CIPHER_CTX_get_params(a->ctx, tag),
	     "ChaCha20-Poly1305");
}

int aead_open(struct aead *a, uint64_t key_id, const uint8_t key[static KEY_LEN], uint64_t counter, uint8_t *buf,
	      size_t len)
{
	OSSL_PARAM tag[] = { OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, buf + len - TAG_LEN, TAG_LEN),
			     OSSL_PARAM_construct_end() };
	size_t text = len - TAG_LEN;
	uint8_t iv[12];
	int n = 0;

	noise_nonce(iv, counter);
	load(a, key_id, key, iv);
	crypto_need(EVP_CIPHER_CTX_set_params(a->ctx, tag), "ChaCha20-Poly1305");
	if (text && EVP_Cipher(a->ctx, buf, buf, text) < 0)
		return -EBADMSG;
	return EVP_DecryptFinal_ex(a->ctx, buf, &n) == 1 ? 0 : -EBADMSG;
}

/* OpenSSL's cost by the same measure as struct lanes has it: ns a call, and for each 64 bytes. */
enum { CALL_NS = 335, BLOCK_NS = 27 };

static bool side_by_side(const struct aead_packet *p, unsigned n)
{
	unsigned blocks = 0, longest = 0;

	if (!lanes)
		return false;
	for (unsigned i = 0; i < n; i++) {
		unsigned b = (p[i].len + 63) / 64;

		blocks += b;
		longest = MAX(longest, b);
	}
	return lanes->call_ns + blocks * lanes->block_ns + longest * lanes->step_ns < n * CALL_NS + blocks * BLOCK_NS;
}

void aead_seal_many(struct aead *a, uint64_t key_id, const uint8_t key[static KEY_LEN], struct aead_packet *p, unsigned n)
{
	for (unsigned k; n; p += k, n -= k) {
		uint8_t tags[LANES_MAX][TAG_LEN];

		k = MIN(n, (unsigned)LANES_MAX);
		if (side_by_side(p, k)) {
			lanes->crypt(key, p, k, true, tags);
			for (unsigned i = 0; i < k; i++)
				memcpy(p[i].text + p[i].len, tags[i], TAG_LEN);
			continue;
		}
		for (unsigned i = 0; i < k; i++)
			aead_seal(a, key_id, key, p[i].counter, p[i].text, p[i].len);
	}
}

void aead_open_many(struct aead *a, uint64_t key_id, const uint8_t key[static KEY_LEN], struct aead_packet *p, unsigned n)
{
	for (unsigned k; n; p += k, n -= k) {
		uint8_t tags[LANES_MAX][TAG_LEN];

		k = MIN(n, (unsigned)LANES_MAX);
		if (side_by_side(p, k)) {
			lanes->crypt(key, p, k, false, tags);
			for (unsigned i = 0; i < k; i++)
				p[i].good = secret_eq(p[i].text + p[i].len, tags[i], TAG_LEN);
			wipe(tags, sizeof(tags)); /* the right tag of a forgery is not for anybody's eyes */
			continue;
		}
		for (unsigned i = 0; i < k; i++)
			p[i].good = aead_open(a, key_id, key, p[i].counter, p[i].text, p[i].len + TAG_LEN) == 0;
	}
}

/* The data path's calls against the one-shot ones, an empty message and one of several blocks, true and forged: what a
 * tag protects hangs on how a library of this version and on this processor behaves when a context is used again. */
static bool contexts_are_right(void)
{
	enum { TEXT = 600 };
	uint8_t key[KEY_LEN] = { 7 }, want[TEXT + TAG_LEN], buf[TEXT + TAG_LEN], text[TEXT] = { 9 };
	static const size_t sizes[] = { 0, 1, TEXT, 0, TEXT };
	struct aead seal, open;
	bool good = true;

	aead_init(&seal, true);
	aead_init(&open, false);
	for (uint64_t i = 0; i < ARRAY_SIZE(sizes) && good; i++) {
		size_t n = sizes[i], sealed = n + TAG_LEN;

		aead_seal_once(key, i, BYTES("", 0), text, n, want);
		memcpy(buf, text, n);
		aead_seal(&seal, 1, key, i, buf, n);
		good = memcmp(buf, want, sealed) == 0;
		buf[i % sealed] ^= 1;
		good = good && aead_open(&open, 1, key, i, buf, sealed) < 0;
		memcpy(buf, want, sealed);
		good = good && aead_open(&open, 1, key, i, buf, sealed) == 0 && memcmp(buf, text, n) == 0;
	}
	aead_done(&seal);
	aead_done(&open);
	return good;
}

/* Lanes against the one-shot calls, each @shorter than the one before. What was altered gets another tag. */
static bool lanes_agree(const struct lanes *l, unsigned shorter)
{
	enum { TEXT = 1400 };
	uint8_t key[KEY_LEN] = { 3 }, text[TEXT] = { 5 }, want[TEXT + TAG_LEN];
	uint8_t bufs[LANES_MAX][TEXT], tags[LANES_MAX][TAG_LEN], again[LANES_MAX][TAG_LEN];
	struct aead_packet p[LANES_MAX];
	bool good = true;

	for (unsigned i = 0; i < LANES_MAX; i++) {
		p[i] = (struct aead_packet){ .text = bufs[i], .len = TEXT - i * shorter, .counter = (uint64_t)i << 31 };
		memcpy(bufs[i], text, TEXT);
	}
	l->crypt(key, p, LANES_MAX, true, tags);
	for (unsigned i = 0; i < LANES_MAX; i++) {
		aead_seal_once(key, p[i].counter, BYTES("", 0), text, p[i].len, want);
		good = good && memcmp(bufs[i], want, p[i].len) == 0 && memcmp(tags[i], want + p[i].len, TAG_LEN) == 0;
	}
	bufs[LANES_MAX / 2][0] ^= 1;
	l->crypt(key, p, LANES_MAX, false, again);
	for (unsigned i = 0; i < LANES_MAX; i++)
		good = good && (memcmp(tags[i], again[i], TAG_LEN) == 0) == (i != LANES_MAX / 2);
	bufs[LANES_MAX / 2][0] ^= 1;
	for (unsigned i = 0; i < LANES_MAX; i++)
		good = good && memcmp(bufs[i], text, TEXT) == 0;
	return good;
}

static bool lanes_are_right(const struct lanes *l)
{
	return lanes_agree(l, 0) && lanes_agree(l, 5) && lanes_agree(l, 180);
}

int aead_setup(void)
{
	chapoly = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
	if (!chapoly)
		return -ENOTSUP;
	if (!contexts_are_right())
		return -EBADMSG;
	for (const struct lanes *const *l = all_lanes; *l && !lanes; l++) {
		if ((*l)->available() && !lanes_are_right(*l))
			return -EBADMSG;
		if ((*l)->available())
			lanes = *l;
	}
	return 0;
}

const struct lanes *aead_use_lanes(const struct lanes *l)
{
	const struct lanes *was = lanes;

	lanes = l;
	return was;
}
