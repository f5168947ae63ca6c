/* SPDX-License-Identifier: Apache-2.0 */
/* OpenSSL behind the few calls that the protocol needs. (The data path's cipher is in aead.c, the curve in curve.c.)
 *
 * Algorithms are fetched once: an implicit fetch takes locks and costs about a microsecond.
 *
 * HChaCha20 is not in OpenSSL, but a ChaCha20 block is the permuted state plus the initial state: subtracting the words
 * we know (constants, nonce) leaves exactly HChaCha20's output. */
#include "wg/aead.h"
#include "wg/crypto_internal.h"
#include "wg/curve.h"

#include <endian.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

static EVP_CIPHER *chapoly, *chacha;
static EVP_MD *blake;
static EVP_MAC *blake_mac;

void crypto_need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "weft-wg: OpenSSL failed in %s\n", what);
	abort();
}

int crypto_init(void)
{
	int r;

	if (chapoly)
		return 0;
	chapoly = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
	chacha = EVP_CIPHER_fetch(NULL, "ChaCha20", NULL);
	blake = EVP_MD_fetch(NULL, "BLAKE2S-256", NULL);
	blake_mac = EVP_MAC_fetch(NULL, "BLAKE2SMAC", NULL);
	if (!chapoly || !chacha || !blake || !blake_mac)
		return -ENOTSUP;
	r = aead_setup();
	return r < 0 ? r : dh_setup();
}

void crypto_random(void *out, size_t n)
{
	crypto_need(RAND_bytes(out, n) == 1, "RAND_bytes");
}

void wipe(void *p, size_t n)
{
	OPENSSL_cleanse(p, n);
}

bool secret_eq(const void *a, const void *b, size_t n)
{
	return CRYPTO_memcmp(a, b, n) == 0;
}

bool secret_is_zero(const uint8_t *p, size_t n)
{
	uint8_t acc = 0;

	for (size_t i = 0; i < n; i++)
		acc |= p[i];
	return acc == 0;
}

/* Contexts are kept for each thread: creating one costs as much as hashing. */
static EVP_MD_CTX *md_ctx(void)
{
	static _Thread_local EVP_MD_CTX *ctx;

	if (!ctx)
		ctx = EVP_MD_CTX_new();
	crypto_need(ctx, "EVP_MD_CTX_new");
	return ctx;
}

static void hash3(uint8_t out[static HASH_LEN], struct bytes a, struct bytes b, struct bytes c)
{
	EVP_MD_CTX *ctx = md_ctx();

	crypto_need(EVP_DigestInit_ex(ctx, blake, NULL) && EVP_DigestUpdate(ctx, a.data, a.len) &&
		     EVP_DigestUpdate(ctx, b.data, b.len) && EVP_DigestUpdate(ctx, c.data, c.len) &&
		     EVP_DigestFinal_ex(ctx, out, NULL),
	     "BLAKE2s");
}

void hash2(uint8_t out[static HASH_LEN], struct bytes a, struct bytes b)
{
	hash3(out, a, b, BYTES("", 0));
}

void mac16(uint8_t out[static MAC_LEN], struct bytes key, struct bytes data)
{
	static _Thread_local EVP_MAC_CTX *ctx;
	size_t size = MAC_LEN, n;
	OSSL_PARAM params[] = { OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size), OSSL_PARAM_construct_end() };

	if (!ctx)
		ctx = EVP_MAC_CTX_new(blake_mac);
	crypto_need(ctx && EVP_MAC_init(ctx, key.data, key.len, params) && EVP_MAC_update(ctx, data.data, data.len) &&
		     EVP_MAC_final(ctx, out, &n, MAC_LEN),
	     "keyed BLAKE2s");
}

/* HMAC over two strings, RFC 2104; keys here are always hash sized, so shorter than a block. */
static void hmac(uint8_t out[static HASH_LEN], const uint8_t key[static HASH_LEN], struct bytes a, struct bytes b)
{
	enum { BLOCK = 64 };
	uint8_t pad[BLOCK], inner[HASH_LEN];

	memset(pad, 0x36, sizeof(pad));
	for (int i = 0; i < HASH_LEN; i++)
		pad[i] ^= key[i];
	hash3(inner, BYTES(pad, sizeof(pad)), a, b);
	for (int i = 0; i < BLOCK; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	hash2(out, BYTES(pad, sizeof(pad)), BYTES(inner, sizeof(inner)));
	wipe(pad, sizeof(pad));
	wipe(inner, sizeof(inner));
}

void kdf(const uint8_t key[static HASH_LEN], struct bytes input, uint8_t *out1, uint8_t *out2, uint8_t *out3)
{
	uint8_t secret[HASH_LEN], t[HASH_LEN];
	uint8_t *outs[3] = { out1, out2, out3 };

	hmac(secret, key, input, BYTES("", 0));
	for (uint8_t i = 0; i < 3 && outs[i]; i++) {
		uint8_t n = i + 1;

		hmac(t, secret, BYTES(t, i ? HASH_LEN : 0), BYTES(&n, 1));
		memcpy(outs[i], t, HASH_LEN);
	}
	wipe(secret, sizeof(secret));
	wipe(t, sizeof(t));
}

static EVP_CIPHER_CTX *once_ctx(void)
{
	static _Thread_local EVP_CIPHER_CTX *ctx;

	if (!ctx)
		ctx = EVP_CIPHER_CTX_new();
	crypto_need(ctx, "EVP_CIPHER_CTX_new");
	return ctx;
}

void aead_seal_iv(const uint8_t key[static KEY_LEN], const uint8_t iv[static 12], struct bytes ad, const void *in, size_t len,
		    uint8_t *out)
{
	EVP_CIPHER_CTX *ctx = once_ctx();
	int n = 0;

	crypto_need(EVP_EncryptInit_ex(ctx, chapoly, NULL, key, iv) &&
		     (!ad.len || EVP_EncryptUpdate(ctx, NULL, &n, ad.data, ad.len)) &&
		     (!len || EVP_EncryptUpdate(ctx, out, &n, in, len)) && EVP_EncryptFinal_ex(ctx, out + len, &n) &&
		     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, out + len),
	     "ChaCha20-Poly1305");
	EVP_CIPHER_CTX_reset(ctx); /* forgets the key */
}

int aead_open_iv(const uint8_t key[static KEY_LEN], const uint8_t iv[static 12], struct bytes ad, const uint8_t *in, size_t len,
		   uint8_t *out)
{
	EVP_CIPHER_CTX *ctx = once_ctx();
	size_t text;
	int n = 0;
	bool ok;

	if (len < TAG_LEN)
		return -EBADMSG;
	text = len - TAG_LEN;
	crypto_need(EVP_DecryptInit_ex(ctx, chapoly, NULL, key, iv) &&
		     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, (void *)(in + text)) &&
		     (!ad.len || EVP_DecryptUpdate(ctx, NULL, &n, ad.data, ad.len)),
	     "ChaCha20-Poly1305");
	ok = (!text || EVP_DecryptUpdate(ctx, out, &n, in, text)) && EVP_DecryptFinal_ex(ctx, out + text, &n);
	EVP_CIPHER_CTX_reset(ctx);
	if (!ok)
		wipe(out, text);
	return ok ? 0 : -EBADMSG;
}

void aead_seal_once(const uint8_t key[static KEY_LEN], uint64_t counter, struct bytes ad, const void *in, size_t len,
		    uint8_t *out)
{
	uint8_t iv[12];

	noise_nonce(iv, counter);
	aead_seal_iv(key, iv, ad, in, len, out);
}

int aead_open_once(const uint8_t key[static KEY_LEN], uint64_t counter, struct bytes ad, const uint8_t *in, size_t len,
		   uint8_t *out)
{
	uint8_t iv[12];

	noise_nonce(iv, counter);
	return aead_open_iv(key, iv, ad, in, len, out);
}

void hchacha20(uint8_t out[static KEY_LEN], const uint8_t key[static KEY_LEN], const uint8_t nonce[static 16])
{
	static const uint32_t sigma[4] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };
	EVP_CIPHER_CTX *ctx = once_ctx();
	uint32_t block[16] = { 0 }, in[4], w;
	int n = 0;

	crypto_need(EVP_EncryptInit_ex(ctx, chacha, NULL, key, nonce) &&
		     EVP_EncryptUpdate(ctx, (uint8_t *)block, &n, (uint8_t *)block, sizeof(block)),
	     "ChaCha20");
	EVP_CIPHER_CTX_reset(ctx);
	memcpy(in, nonce, sizeof(in));
	for (int i = 0; i < 4; i++) {
		w = htole32(le32toh(block[i]) - sigma[i]);
		memcpy(out + 4 * i, &w, 4);
		w = htole32(le32toh(block[12 + i]) - le32toh(in[i]));
		memcpy(out + 16 + 4 * i, &w, 4);
	}
	wipe(block, sizeof(block));
}

static void xkey(uint8_t subkey[static KEY_LEN], uint8_t iv[static 12], const uint8_t *key, const uint8_t *nonce)
{
	hchacha20(subkey, key, nonce);
	memset(iv, 0, 4);
	memcpy(iv + 4, nonce + 16, 8);
}

void xaead_seal_once(const uint8_t key[static KEY_LEN], const uint8_t nonce[static XNONCE_LEN], struct bytes ad,
		     const void *in, size_t len, uint8_t *out)
{
	uint8_t subkey[KEY_LEN], iv[12];

	xkey(subkey, iv, key, nonce);
	aead_seal_iv(subkey, iv, ad, in, len, out);
	wipe(subkey, sizeof(subkey));
}

int xaead_open_once(const uint8_t key[static KEY_LEN], const uint8_t nonce[static XNONCE_LEN], struct bytes ad,
		    const uint8_t *in, size_t len, uint8_t *out)
{
	uint8_t subkey[KEY_LEN], iv[12];
	int r;

	xkey(subkey, iv, key, nonce);
	r = aead_open_iv(subkey, iv, ad, in, len, out);
	wipe(subkey, sizeof(subkey));
	return r;
}
