/* SPDX-License-Identifier: Apache-2.0 */
/* Published test vectors: RFC 7693 appendix B, RFC 7748 section 6.1, RFC 8439 A.5, draft-irtf-cfrg-xchacha-03 sections
 * 2.2.1 and A.3.1, HMAC-free facts of HKDF checked against its definition. (IETF documents: code components under the
 * Simplified BSD licence; test vectors are facts.) */
#include "base/test.h"
#include "wg/aead.h"
#include "wg/curve.h"
#include "wg/lanes.h"

#include <openssl/bn.h>
#include <openssl/evp.h>

static size_t unhex(const char *s, uint8_t *out)
{
	size_t n = 0;
	unsigned v;

	for (; s[0] && s[1]; s += 2, n++) {
		sscanf(s, "%2x", &v);
		out[n] = v;
	}
	return n;
}

static bool is_hex(const uint8_t *p, size_t n, const char *hex)
{
	uint8_t want[512];

	return unhex(hex, want) == n && memcmp(p, want, n) == 0;
}

static void blake2s(void)
{
	uint8_t out[32];

	hash2(out, BYTES("a", 1), BYTES("bc", 2));
	CHECK(is_hex(out, 32, "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"));
}

static void x25519(void)
{
	uint8_t a[32], b[32], pub_a[32], pub_b[32], s1[32], s2[32], zero[32] = { 0 };
	struct dh_key *ka, *kb;

	unhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a", a);
	unhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb", b);
	ka = dh_key_new(a, pub_a);
	kb = dh_key_new(b, pub_b);
	CHECK(is_hex(pub_a, 32, "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
	CHECK(is_hex(pub_b, 32, "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
	CHECK_INT(dh(ka, pub_b, s1), 0);
	CHECK_INT(dh(kb, pub_a, s2), 0);
	CHECK(is_hex(s1, 32, "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"));
	CHECK(memcmp(s1, s2, 32) == 0);
	memset(zero, 0, 32);
	CHECK_INT(dh(ka, zero, s1), -EBADMSG); /* a point of small order */
	dh_key_free(ka);
	dh_key_free(kb);
}

/* Values about the prime, with limbs that are full or empty, of small order; the rest is random. */
static void edge_point(unsigned n, uint8_t point[32])
{
	static const char *const edges[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ffffffffffff0700000000000000000000000000000000000000000000000000",
		"000000000000f8ffffffffffff3f0000000000000000feffffffffffff7f0000",
	};

	if (n < ARRAY_SIZE(edges))
		unhex(edges[n], point);
	else
		crypto_random(point, 32);
}

/* Keys side by side, as many as come, by each kind of lanes that this processor has and by none, against one at a time. */
static void many_products_equal_single_ones(void)
{
	enum { MANY = 20 };
	const struct curve_lanes *was = dh_use_lanes(NULL);
	uint8_t points[MANY][32], priv[32], pub[32], want[32];
	struct dh_job jobs[MANY];

	for (unsigned round = 0; round < 60; round++) {
		unsigned n = 1 + round % MANY;

		for (unsigned i = 0; i < n; i++) {
			crypto_random(priv, sizeof(priv));
			if ((round + i) % 9 == 0)
				memset(priv, round & 1 ? 0xff : 0, sizeof(priv));
			edge_point((round * 7 + i) % 25, points[i]);
			jobs[i] = (struct dh_job){ .key = dh_key_new(priv, pub), .pub = (round + i) % 5 ? points[i] : NULL };
		}
		for (const struct curve_lanes *const *l = all_curve_lanes;; l++) {
			if (*l && !(*l)->available())
				continue;
			dh_use_lanes(*l);
			dh_many(jobs, n);
			for (unsigned i = 0; i < n; i++) {
				dh_key_private(jobs[i].key, priv);
				if (jobs[i].pub)
					(void)dh(jobs[i].key, jobs[i].pub, want); /* zero is a result here */
				else
					dh_key_free(dh_key_new(priv, want));
				CHECK(memcmp(jobs[i].result, want, 32) == 0);
			}
			if (!*l)
				break;
		}
		for (unsigned i = 0; i < n; i++)
			dh_key_free(jobs[i].key);
	}
	dh_use_lanes(was);
}

static const char draft_text[] =
	"Internet-Drafts are draft documents valid for a maximum of six months and may be updated, replaced, or obsoleted by "
	"other documents at any time. It is inappropriate to use Internet-Drafts as reference material or to cite them other "
	"than as /\xe2\x80\x9cwork in progress./\xe2\x80\x9d";

static void chacha20poly1305(void)
{
	uint8_t key[32], ad[12], in[512], out[512];
	size_t n;

	unhex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0", key);
	unhex("f33388860000000000004e91", ad);
	n = unhex("64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0bdb7b73c"
		  "321b0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c8559797a06ef4f0ef61"
		  "c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0"
		  "a06c523eaf4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a0bb2316053fa76991955ebd63159434e"
		  "cebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29a6ad5cb4"
		  "022b02709beead9d67890cbb22392336fea1851f38",
		  in);
	CHECK_INT(n, strlen(draft_text) + TAG_LEN);
	CHECK_INT(aead_open_once(key, 0x0807060504030201, BYTES(ad, 12), in, n, out), 0);
	CHECK(memcmp(out, draft_text, n - TAG_LEN) == 0);
	aead_seal_once(key, 0x0807060504030201, BYTES(ad, 12), draft_text, n - TAG_LEN, out);
	CHECK(memcmp(out, in, n) == 0);
	for (size_t i = 0; i < n; i++) {
		in[i] ^= 0x10;
		CHECK_INT(aead_open_once(key, 0x0807060504030201, BYTES(ad, 12), in, n, out), -EBADMSG);
		in[i] ^= 0x10;
	}
	CHECK_INT(aead_open_once(key, 1, BYTES(ad, 12), in, n, out), -EBADMSG);
	CHECK_INT(aead_open_once(key, 1, BYTES(ad, 12), in, TAG_LEN - 1, out), -EBADMSG);
}

static void xchacha20poly1305(void)
{
	static const char text[] = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
				   "sunscreen would be it.";
	uint8_t key[32], nonce[24], ad[12], out[256], back[256];
	size_t n = strlen(text);

	unhex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", key);
	unhex("404142434445464748494a4b4c4d4e4f5051525354555657", nonce);
	unhex("50515253c0c1c2c3c4c5c6c7", ad);
	xaead_seal_once(key, nonce, BYTES(ad, 12), text, n, out);
	CHECK(is_hex(out, n + TAG_LEN,
		     "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39ae64c670"
		     "8c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da9"
		     "768812f615c68b13b52ec0875924c1c7987947deafd8780acf49"));
	CHECK_INT(xaead_open_once(key, nonce, BYTES(ad, 12), out, n + TAG_LEN, back), 0);
	CHECK(memcmp(back, text, n) == 0);
	nonce[20] ^= 1;
	CHECK_INT(xaead_open_once(key, nonce, BYTES(ad, 12), out, n + TAG_LEN, back), -EBADMSG);
}

static void hchacha(void)
{
	uint8_t key[32], nonce[16], out[32];

	unhex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", key);
	unhex("000000090000004a0000000031415927", nonce);
	hchacha20(out, key, nonce);
	CHECK(is_hex(out, 32, "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"));
}

static void kept_context_equals_one_shot(void)
{
	uint8_t key[2][32], buf[256], want[256];
	struct aead seal, open;

	crypto_random(key, sizeof(key));
	aead_init(&seal, true);
	aead_init(&open, false);
	for (unsigned i = 0; i < 600; i++) {
		unsigned k = i / 3 % 2;
		size_t n = i % 200;

		memset(buf, i, sizeof(buf));
		aead_seal_once(key[k], i, BYTES("", 0), buf, n, want);
		aead_seal(&seal, k + 1, key[k], i, buf, n);
		CHECK(memcmp(buf, want, n + TAG_LEN) == 0);
		if (i % 7 == 0) {
			buf[n ? i % n : 3] ^= 1;
			CHECK_INT(aead_open(&open, k + 1, key[k], i, buf, n + TAG_LEN), -EBADMSG);
			memcpy(buf, want, sizeof(buf));
		}
		CHECK_INT(aead_open(&open, k + 1, key[k], i, buf, n + TAG_LEN), 0);
		for (size_t b = 0; b < n; b++)
			CHECK_INT(buf[b], (uint8_t)i);
		if (i % 50 == 0)
			aead_forget(&open);
	}
	aead_done(&seal);
	aead_done(&open);
}

/* Many at once, by each kind of lanes that this processor has and by none, against one at a time. */
static void many_equal_one_shot(void)
{
	enum { MANY = 20, SIZE = 1600 };
	static const size_t sizes[] = { 1, 17, 64, 65, 200, SIZE };
	static uint8_t text[MANY][SIZE], buf[MANY][SIZE + TAG_LEN], want[SIZE + TAG_LEN];
	const struct lanes *was = aead_use_lanes(NULL);
	struct aead_packet p[MANY];
	struct aead seal, open;
	uint8_t key[32];

	aead_init(&seal, true);
	aead_init(&open, false);
	for (unsigned round = 0; round < 300; round++) {
		unsigned n = 1 + round % MANY, kinds = 0;

		crypto_random(key, sizeof(key));
		crypto_random(text, sizeof(text));
		for (const struct lanes *const *l = all_lanes;; l++) {
			if (*l && !(*l)->available())
				continue;
			aead_use_lanes(*l);
			kinds++;
			for (unsigned i = 0; i < n; i++) {
				size_t max = sizes[round % ARRAY_SIZE(sizes)];

				p[i] = (struct aead_packet){ .text = buf[i], .counter = (uint64_t)round << 40 | i,
							     .len = round % 7 ? (text[i][0] | text[i][1] << 8) % max : max };
				memcpy(buf[i], text[i], p[i].len);
			}
			aead_seal_many(&seal, round * 8 + kinds, key, p, n);
			for (unsigned i = 0; i < n; i++) {
				aead_seal_once(key, p[i].counter, BYTES("", 0), text[i], p[i].len, want);
				CHECK(memcmp(buf[i], want, p[i].len + TAG_LEN) == 0);
			}
			for (unsigned i = round % 3; i < n; i += 3) /* a bit of the text, of the tag or the counter */
				i % 2 ? (void)(buf[i][(i * 37) % (p[i].len + TAG_LEN)] ^= 1 << i % 8) : (void)p[i].counter++;
			aead_open_many(&open, round * 8 + kinds, key, p, n);
			for (unsigned i = 0; i < n; i++) {
				CHECK_INT(p[i].good, i % 3 != round % 3);
				CHECK(!p[i].good || memcmp(buf[i], text[i], p[i].len) == 0);
			}
			if (!*l)
				break;
		}
	}
	aead_use_lanes(was);
	aead_done(&seal);
	aead_done(&open);
}

/* ChaCha20's block 0: the one-time key of Poly1305. */
static void first_block(const uint8_t key[static 32], uint64_t counter, uint8_t ret[static 64])
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t iv[16] = { 0 };
	int n;

	for (int i = 0; i < 8; i++)
		iv[8 + i] = counter >> 8 * i;
	memset(ret, 0, 64);
	CHECK(ctx && EVP_EncryptInit_ex(ctx, EVP_chacha20(), NULL, key, iv) && EVP_EncryptUpdate(ctx, ret, &n, ret, 64));
	EVP_CIPHER_CTX_free(ctx);
}

/* One block of text that makes the authenticator's sum, before the key's second half is added, @target (mod 2^130 - 5):
 * where a carry or a last reduction that is missing shows. Text is random to us, so for some keys there is none. */
static bool text_for(const uint8_t key[static 32], uint64_t counter, int target, uint8_t ret_text[static 16])
{
	uint8_t r_bytes[64];
	BIGNUM *p = BN_new(), *r = BN_new(), *x = BN_new(), *two128 = BN_new(), *lengths = BN_new();
	BN_CTX *ctx = BN_CTX_new();
	bool found;

	first_block(key, counter, r_bytes);
	for (int i = 3; i < 16; i += 4)
		r_bytes[i] &= 15;
	for (int i = 4; i < 16; i += 4)
		r_bytes[i] &= 252;
	BN_lebin2bn(r_bytes, 16, r);
	BN_set_bit(p, 130), BN_sub_word(p, 5);
	BN_set_bit(two128, 128);
	BN_set_bit(lengths, 128), BN_set_bit(lengths, 64 + 4); /* no associated data, 16 bytes of text */
	BN_mod_inverse(r, r, p, ctx);
	BN_set_word(x, abs(target));
	BN_set_negative(x, target < 0);
	BN_mod_mul(x, x, r, p, ctx); /* ((text + 2^128) * r + lengths) * r = target, backwards */
	BN_mod_sub(x, x, lengths, p, ctx);
	BN_mod_mul(x, x, r, p, ctx);
	BN_mod_sub(x, x, two128, p, ctx);
	found = BN_num_bits(x) <= 128 && BN_bn2lebinpad(x, ret_text, 16) == 16;
	BN_free(p), BN_free(r), BN_free(x), BN_free(two128), BN_free(lengths);
	BN_CTX_free(ctx);
	return found;
}

static void tags_at_the_edges_of_the_field(void)
{
	uint8_t key[32] = { 11 }, texts[LANES_MAX][16 + TAG_LEN], tags[LANES_MAX][TAG_LEN], plain[16];
	unsigned found = 0;

	for (int target = -8; target < 8; target++) {
		struct aead_packet p[LANES_MAX];
		unsigned n = 0;

		for (uint64_t counter = 0; n < LANES_MAX && counter < 200; counter++) {
			if (!text_for(key, counter, target, texts[n]))
				continue;
			p[n] = (struct aead_packet){ .text = texts[n], .len = 16, .counter = counter };
			n++;
		}
		CHECK_INT(n, LANES_MAX);
		found += n;
		for (const struct lanes *const *l = all_lanes; *l; l++) {
			uint8_t copy[LANES_MAX][16 + TAG_LEN];

			if (!(*l)->available())
				continue;
			memcpy(copy, texts, sizeof(copy));
			(*l)->crypt(key, p, n, false, tags);
			for (unsigned i = 0; i < n; i++) {
				memcpy(copy[i] + 16, tags[i], TAG_LEN);
				CHECK_INT(aead_open_once(key, p[i].counter, BYTES("", 0), copy[i], 16 + TAG_LEN, plain), 0);
				CHECK(memcmp(plain, texts[i], 16) == 0);
			}
		}
	}
	CHECK_INT(found, 16 * LANES_MAX);
}

/* RFC 5869 by its definition, with HMAC written out over the plain hash. */
static void hmac_by_definition(uint8_t out[32], const uint8_t key[32], const void *msg, size_t n)
{
	uint8_t block[64] = { 0 }, inner[32], joined[64 + 128];

	memcpy(block, key, 32);
	for (int i = 0; i < 64; i++)
		joined[i] = block[i] ^ 0x36;
	memcpy(joined + 64, msg, n);
	hash2(inner, BYTES(joined, 64 + n), BYTES("", 0));
	for (int i = 0; i < 64; i++)
		joined[i] = block[i] ^ 0x5c;
	memcpy(joined + 64, inner, 32);
	hash2(out, BYTES(joined, 96), BYTES("", 0));
}

static void hkdf(void)
{
	uint8_t key[32], prk[32], t[3][32], o[3][32], msg[33];

	memset(key, 7, 32);
	kdf(key, BYTES("input", 5), o[0], o[1], o[2]);
	hmac_by_definition(prk, key, "input", 5);
	for (int i = 0; i < 3; i++) {
		if (i)
			memcpy(msg, t[i - 1], 32);
		msg[i ? 32 : 0] = i + 1;
		hmac_by_definition(t[i], prk, msg, i ? 33 : 1);
		CHECK(memcmp(t[i], o[i], 32) == 0);
	}
}

int main(void)
{
	if (crypto_init() < 0)
		return 1;
	RUN(blake2s);
	RUN(x25519);
	RUN(many_products_equal_single_ones);
	RUN(chacha20poly1305);
	RUN(xchacha20poly1305);
	RUN(hchacha);
	RUN(kept_context_equals_one_shot);
	RUN(many_equal_one_shot);
	RUN(tags_at_the_edges_of_the_field);
	RUN(hkdf);
	return test_end();
}
