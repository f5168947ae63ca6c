/* SPDX-License-Identifier: Apache-2.0 */
/* One multiplication by OpenSSL, several side by side where the processor can: a call for eight costs what OpenSSL
 * takes for one.
 *
 * OpenSSL computes a key's public half when it is given the private one, which costs a multiplication: a key that lives
 * for one handshake gets there only when it has to. */
#include "wg/curve.h"

#include "wg/crypto_internal.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

struct dh_key {
	uint8_t priv[KEY_LEN];
	EVP_PKEY *openssl; /* NULL: not yet */
};

static const uint8_t base_point[KEY_LEN] = { 9 };
static const struct curve_lanes *lanes;

const struct curve_lanes *const all_curve_lanes[] = {
#ifdef __x86_64__
    &curve_lanes_avx512,
#endif
    NULL,
};

static EVP_PKEY *openssl_key(struct dh_key *k)
{
	if (!k->openssl)
		k->openssl = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, k->priv, KEY_LEN);
	crypto_need(k->openssl, "X25519 key");
	return k->openssl;
}

static struct dh_key *key_alloc(void)
{
	struct dh_key *k = OPENSSL_zalloc(sizeof(*k)); /* where its keys are, too: locked memory */

	crypto_need(k, "OPENSSL_zalloc");
	return k;
}

struct dh_key *dh_key_new(const uint8_t priv[static KEY_LEN], uint8_t ret_pub[static KEY_LEN])
{
	struct dh_key *k = key_alloc();
	size_t n = KEY_LEN;

	memcpy(k->priv, priv, KEY_LEN);
	crypto_need(EVP_PKEY_get_raw_public_key(openssl_key(k), ret_pub, &n), "X25519 key");
	return k;
}

struct dh_key *dh_key_random(void)
{
	struct dh_key *k = key_alloc();

	crypto_random(k->priv, KEY_LEN);
	dh_clamp(k->priv);
	return k;
}

struct dh_key *dh_key_free(struct dh_key *k)
{
	if (k)
		EVP_PKEY_free(k->openssl);
	OPENSSL_clear_free(k, sizeof(*k));
	return NULL;
}

void dh_key_private(const struct dh_key *k, uint8_t ret[static KEY_LEN])
{
	memcpy(ret, k->priv, KEY_LEN);
}

void dh_clamp(uint8_t priv[static KEY_LEN])
{
	priv[0] &= 248;
	priv[31] = (priv[31] & 127) | 64;
}

static void do_one(struct dh_job *j)
{
	EVP_PKEY *key = openssl_key(j->key), *peer;
	EVP_PKEY_CTX *ctx;
	size_t n = KEY_LEN;

	if (!j->pub) {
		crypto_need(EVP_PKEY_get_raw_public_key(key, j->result, &n), "X25519 key");
		return;
	}
	peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, j->pub, KEY_LEN);
	ctx = EVP_PKEY_CTX_new(key, NULL);
	crypto_need(peer && ctx && EVP_PKEY_derive_init(ctx) > 0 && EVP_PKEY_derive_set_peer(ctx, peer) > 0, "X25519");
	if (EVP_PKEY_derive(ctx, j->result, &n) <= 0) /* for an all-zero result, too */
		memset(j->result, 0, KEY_LEN);
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(peer);
}

/* Of fewer than there are lanes, the last ones do the first job again. */
static void do_side_by_side(const struct curve_lanes *l, struct dh_job *jobs, unsigned n)
{
	_Alignas(64) uint8_t scalars[CURVE_LANES][KEY_LEN], points[CURVE_LANES][KEY_LEN], results[CURVE_LANES][KEY_LEN];

	for (unsigned i = 0; i < CURVE_LANES; i++) {
		const struct dh_job *j = &jobs[i < n ? i : 0];

		memcpy(scalars[i], j->key->priv, KEY_LEN);
		dh_clamp(scalars[i]);
		memcpy(points[i], j->pub ? j->pub : base_point, KEY_LEN);
	}
	l->multiply(scalars, points, results);
	for (unsigned i = 0; i < n; i++)
		memcpy(jobs[i].result, results[i], KEY_LEN);
	wipe(scalars, sizeof(scalars));
	wipe(results, sizeof(results));
}

void dh_many(struct dh_job *jobs, unsigned n)
{
	for (unsigned k; n; jobs += k, n -= k) {
		k = MIN(n, (unsigned)CURVE_LANES);
		if (lanes && k >= lanes->worth)
			do_side_by_side(lanes, jobs, k);
		else
			for (unsigned i = 0; i < k; i++)
				do_one(&jobs[i]);
	}
}

bool dh_are_many(void)
{
	return lanes;
}

int dh(struct dh_key *key, const uint8_t pub[static KEY_LEN], uint8_t ret[static KEY_LEN])
{
	struct dh_job j = {.key = key, .pub = pub};

	do_one(&j);
	memcpy(ret, j.result, KEY_LEN);
	wipe(&j, sizeof(j));
	return secret_is_zero(ret, KEY_LEN) ? -EBADMSG : 0;
}

/* Every lane, random keys, a point of small order among them. */
static bool lanes_are_right(const struct curve_lanes *l)
{
	struct dh_job a[CURVE_LANES], b[CURVE_LANES];
	uint8_t points[CURVE_LANES][KEY_LEN] = { 0 };
	bool right = true;

	for (int i = 0; i < CURVE_LANES; i++) {
		if (i)
			crypto_random(points[i], KEY_LEN);
		a[i] = b[i] = (struct dh_job){.key = dh_key_random(), .pub = i == 1 ? NULL : points[i]};
	}
	do_side_by_side(l, a, CURVE_LANES);
	for (int i = 0; i < CURVE_LANES; i++) {
		do_one(&b[i]);
		right = right && memcmp(a[i].result, b[i].result, KEY_LEN) == 0;
		dh_key_free(a[i].key);
	}
	return right;
}

int dh_setup(void)
{
	for (const struct curve_lanes *const *l = all_curve_lanes; *l && !lanes; l++) {
		if (!(*l)->available())
			continue;
		if (!lanes_are_right(*l))
			return -EBADMSG;
		lanes = *l;
	}
	return 0;
}

const struct curve_lanes *dh_use_lanes(const struct curve_lanes *l)
{
	const struct curve_lanes *was = lanes;

	lanes = l;
	return was;
}
