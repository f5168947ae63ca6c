/* SPDX-License-Identifier: Apache-2.0 */
/* For AVX-512 with IFMA: sixteen ChaCha20 blocks a pass, eight Poly1305 lanes with limbs of 44, 44 and 42 bits, which the
 * 52-bit multiply-add takes without a split. */
#include "wg/lanes.h"

#include <immintrin.h>

enum { BLOCK = 64, BLOCKS = 16 };

/* Which blocks a pass makes. The nonce is four zero bytes and the packet's counter (little endian). */
struct blocks {
	uint32_t number[BLOCKS], nonce_lo[BLOCKS], nonce_hi[BLOCKS];
};

static inline void set_block(struct blocks *b, unsigned at, uint32_t number, uint64_t counter)
{
	b->number[at] = number;
	b->nonce_lo[at] = counter;
	b->nonce_hi[at] = counter >> 32;
}

/* ChaCha20. */

#define QUARTER(a, b, c, d)                                                                                            \
	do {                                                                                                           \
		a = _mm512_add_epi32(a, b), d = _mm512_rol_epi32(_mm512_xor_si512(d, a), 16);                          \
		c = _mm512_add_epi32(c, d), b = _mm512_rol_epi32(_mm512_xor_si512(b, c), 12);                          \
		a = _mm512_add_epi32(a, b), d = _mm512_rol_epi32(_mm512_xor_si512(d, a), 8);                           \
		c = _mm512_add_epi32(c, d), b = _mm512_rol_epi32(_mm512_xor_si512(b, c), 7);                           \
	} while (0)

/* Words 4i to 4i + 3 of all blocks become, in each quarter of a vector, those words of one block. */
static inline void transpose_words(__m512i x[static 4])
{
	__m512i lo01 = _mm512_unpacklo_epi32(x[0], x[1]), hi01 = _mm512_unpackhi_epi32(x[0], x[1]);
	__m512i lo23 = _mm512_unpacklo_epi32(x[2], x[3]), hi23 = _mm512_unpackhi_epi32(x[2], x[3]);

	x[0] = _mm512_unpacklo_epi64(lo01, lo23);
	x[1] = _mm512_unpackhi_epi64(lo01, lo23);
	x[2] = _mm512_unpacklo_epi64(hi01, hi23);
	x[3] = _mm512_unpackhi_epi64(hi01, hi23);
}

/* The four quarters of one block are in four vectors: gather them. */
static inline void store_blocks(uint8_t out[static BLOCKS][BLOCK], const __m512i x[static 16], unsigned r)
{
	__m512i a = _mm512_shuffle_i32x4(x[r], x[4 + r], 0x44), b = _mm512_shuffle_i32x4(x[r], x[4 + r], 0xee);
	__m512i c = _mm512_shuffle_i32x4(x[8 + r], x[12 + r], 0x44), d = _mm512_shuffle_i32x4(x[8 + r], x[12 + r], 0xee);

	_mm512_store_si512(out[r], _mm512_shuffle_i32x4(a, c, 0x88));
	_mm512_store_si512(out[4 + r], _mm512_shuffle_i32x4(a, c, 0xdd));
	_mm512_store_si512(out[8 + r], _mm512_shuffle_i32x4(b, d, 0x88));
	_mm512_store_si512(out[12 + r], _mm512_shuffle_i32x4(b, d, 0xdd));
}

static void key_stream(const uint32_t key[static 8], const struct blocks *b, uint8_t out[static BLOCKS][BLOCK])
{
	static const uint32_t sigma[4] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };
	__m512i x[16], start[16];

	for (int i = 0; i < 4; i++)
		start[i] = _mm512_set1_epi32(sigma[i]);
	for (int i = 0; i < 8; i++)
		start[4 + i] = _mm512_set1_epi32(key[i]);
	start[12] = _mm512_loadu_si512(b->number);
	start[13] = _mm512_setzero_si512();
	start[14] = _mm512_loadu_si512(b->nonce_lo);
	start[15] = _mm512_loadu_si512(b->nonce_hi);
	for (int i = 0; i < 16; i++)
		x[i] = start[i];
	for (int i = 0; i < 10; i++) {
		QUARTER(x[0], x[4], x[8], x[12]);
		QUARTER(x[1], x[5], x[9], x[13]);
		QUARTER(x[2], x[6], x[10], x[14]);
		QUARTER(x[3], x[7], x[11], x[15]);
		QUARTER(x[0], x[5], x[10], x[15]);
		QUARTER(x[1], x[6], x[11], x[12]);
		QUARTER(x[2], x[7], x[8], x[13]);
		QUARTER(x[3], x[4], x[9], x[14]);
	}
	for (int i = 0; i < 16; i++)
		x[i] = _mm512_add_epi32(x[i], start[i]);
	for (int i = 0; i < 16; i += 4)
		transpose_words(x + i);
	for (unsigned r = 0; r < 4; r++)
		store_blocks(out, x, r);
}

static inline __m512i load(const uint8_t *at, size_t left)
{
	return left >= BLOCK ? _mm512_loadu_si512(at) : _mm512_maskz_loadu_epi8((UINT64_C(1) << left) - 1, at);
}

/* Bytes @at and following, up to a block of them. */
static inline void add_stream(const struct aead_packet *p, size_t at, const uint8_t stream[static BLOCK])
{
	size_t left = p->len - at;
	__m512i v = _mm512_xor_si512(load(p->text + at, left), _mm512_load_si512(stream));

	if (left >= BLOCK)
		_mm512_storeu_si512(p->text + at, v);
	else
		_mm512_mask_storeu_epi8(p->text + at, (UINT64_C(1) << left) - 1, v);
}

/* What follows a packet's first block of text (block 1), all packets' in turn. */
static void crypt_rest(const uint32_t key[static 8], const struct aead_packet *p, unsigned n)
{
	_Alignas(64) uint8_t stream[BLOCKS][BLOCK];
	struct { const struct aead_packet *p; size_t at; } where[BLOCKS];
	struct blocks b = { 0 };
	unsigned used = 0;

	for (unsigned i = 0; i < n; i++) {
		for (size_t at = BLOCK; at < p[i].len; at += BLOCK) {
			set_block(&b, used, at / BLOCK + 1, p[i].counter);
			where[used].p = &p[i];
			where[used++].at = at;
			if (used < BLOCKS)
				continue;
			key_stream(key, &b, stream);
			for (unsigned k = 0; k < BLOCKS; k++)
				add_stream(where[k].p, where[k].at, stream[k]);
			used = 0;
		}
	}
	if (used)
		key_stream(key, &b, stream);
	for (unsigned k = 0; k < used; k++)
		add_stream(where[k].p, where[k].at, stream[k]);
	wipe(stream, sizeof(stream));
}

/* Poly1305. */

enum { POWERS = 4 };

struct factor {
	__m512i r[3], s[3]; /* s: r times 20, for what wraps around 2^130 */
};

struct poly {
	__m512i h[3];
	struct factor power[POWERS]; /* r, r^2, r^3, r^4 */
};

/* Sums of products: halves of 52 bits, those of one weight in one. */
struct product {
	__m512i lo[3], hi[3];
};

static const uint64_t mask44 = (UINT64_C(1) << 44) - 1, mask42 = (UINT64_C(1) << 42) - 1;

static inline __m512i set1(uint64_t v)
{
	return _mm512_set1_epi64(v);
}

/* Two halves of 16 bytes to limbs. */
static inline void to_limbs(__m512i lo, __m512i hi, __m512i out[static 3])
{
	out[0] = _mm512_and_si512(lo, set1(mask44));
	out[1] = _mm512_and_si512(_mm512_or_si512(_mm512_srli_epi64(lo, 44), _mm512_slli_epi64(hi, 20)), set1(mask44));
	out[2] = _mm512_srli_epi64(hi, 24);
}

/* A whole block has a bit behind its last one. */
static inline void block_limbs(__m512i lo, __m512i hi, __m512i out[static 3])
{
	to_limbs(lo, hi, out);
	out[2] = _mm512_or_si512(out[2], set1(UINT64_C(1) << 40));
}

#define MULTIPLY(limb, a, b)                                                                                           \
	(p->lo[limb] = _mm512_madd52lo_epu64(p->lo[limb], a, b), p->hi[limb] = _mm512_madd52hi_epu64(p->hi[limb], a, b))

/* Limbs of @a below 2^46: four of these make sums below 2^56. */
static inline void add_product(struct product *p, const __m512i a[static 3], const struct factor *f)
{
	MULTIPLY(0, a[0], f->r[0]), MULTIPLY(1, a[0], f->r[1]), MULTIPLY(2, a[0], f->r[2]);
	MULTIPLY(0, a[1], f->s[2]), MULTIPLY(1, a[1], f->r[0]), MULTIPLY(2, a[1], f->r[1]);
	MULTIPLY(0, a[2], f->s[1]), MULTIPLY(1, a[2], f->s[2]), MULTIPLY(2, a[2], f->r[0]);
}

/* Upper halves weigh 2^52: 2^8 in the next limb; behind the last it is 2^140 = 2^10 * 2^130, and 2^130 is 5. */
static inline void reduce(const struct product *p, __m512i h[static 3])
{
	__m512i l0 = p->lo[0], l1 = p->lo[1], l2 = p->lo[2], c;

	l1 = _mm512_add_epi64(l1, _mm512_add_epi64(_mm512_srli_epi64(l0, 44), _mm512_slli_epi64(p->hi[0], 8)));
	l2 = _mm512_add_epi64(l2, _mm512_add_epi64(_mm512_srli_epi64(l1, 44), _mm512_slli_epi64(p->hi[1], 8)));
	c = _mm512_add_epi64(_mm512_srli_epi64(l2, 42), _mm512_slli_epi64(p->hi[2], 10));
	l0 = _mm512_add_epi64(_mm512_and_si512(l0, set1(mask44)), _mm512_add_epi64(c, _mm512_slli_epi64(c, 2)));
	h[0] = _mm512_and_si512(l0, set1(mask44));
	h[1] = _mm512_add_epi64(_mm512_and_si512(l1, set1(mask44)), _mm512_srli_epi64(l0, 44));
	h[2] = _mm512_and_si512(l2, set1(mask42));
}

static void set_factor(struct factor *f, const __m512i r[static 3])
{
	for (int i = 0; i < 3; i++) {
		f->r[i] = r[i];
		f->s[i] = _mm512_slli_epi64(_mm512_add_epi64(r[i], _mm512_slli_epi64(r[i], 2)), 2);
	}
}

static void poly_begin(struct poly *st, uint8_t keys[static LANES_MAX][BLOCK], bool powers)
{
	uint64_t lo[LANES_MAX], hi[LANES_MAX];
	__m512i r[3];

	for (int i = 0; i < LANES_MAX; i++) {
		memcpy(&lo[i], keys[i], 8);
		memcpy(&hi[i], keys[i] + 8, 8);
	}
	to_limbs(_mm512_and_si512(_mm512_loadu_si512(lo), set1(0x0ffffffc0fffffff)),
		 _mm512_and_si512(_mm512_loadu_si512(hi), set1(0x0ffffffc0ffffffc)), r);
	set_factor(&st->power[0], r);
	for (int i = 1; powers && i < POWERS; i++) {
		struct product p = { 0 };

		add_product(&p, r, &st->power[0]);
		reduce(&p, r);
		set_factor(&st->power[i], r);
	}
	for (int i = 0; i < 3; i++)
		st->h[i] = _mm512_setzero_si512();
	wipe(lo, sizeof(lo));
	wipe(hi, sizeof(hi));
}

/* h = (h + block) * r in the lanes of @m. */
static inline void poly_block(struct poly *st, __mmask8 m, __m512i lo, __m512i hi)
{
	struct product p = { 0 };
	__m512i h[3];

	block_limbs(lo, hi, h);
	for (int i = 0; i < 3; i++)
		h[i] = _mm512_add_epi64(h[i], st->h[i]);
	add_product(&p, h, &st->power[0]);
	reduce(&p, h);
	for (int i = 0; i < 3; i++)
		st->h[i] = _mm512_mask_mov_epi64(st->h[i], m, h[i]);
}

/* Four blocks of every lane with one reduction: h = (h + a) * r^4 + b * r^3 + c * r^2 + d * r. */
static inline void poly_four(struct poly *st, const __m512i v[static 8])
{
	struct product p = { 0 };

	for (int k = 0; k < POWERS; k++) {
		__m512i block[3];

		block_limbs(v[2 * k], v[2 * k + 1], block);
		for (int i = 0; k == 0 && i < 3; i++)
			block[i] = _mm512_add_epi64(block[i], st->h[i]);
		add_product(&p, block, &st->power[POWERS - 1 - k]);
	}
	reduce(&p, st->h);
}

/* Rows of 64 bytes from each packet to columns: lower and upper half of the first 16 bytes of all, of the next 16... */
static inline void transpose(__m512i v[static 8])
{
	__m512i t[8];

	for (int i = 0; i < 4; i++) { /* lanes 2i and 2i+1: words 0, 2, 4, 6 and 1, 3, 5, 7 */
		t[2 * i] = _mm512_unpacklo_epi64(v[2 * i], v[2 * i + 1]);
		t[2 * i + 1] = _mm512_unpackhi_epi64(v[2 * i], v[2 * i + 1]);
	}
	for (int i = 0; i < 2; i++) {
		__m512i a = _mm512_shuffle_i64x2(t[i], t[2 + i], 0x44), b = _mm512_shuffle_i64x2(t[i], t[2 + i], 0xee);
		__m512i c = _mm512_shuffle_i64x2(t[4 + i], t[6 + i], 0x44), d = _mm512_shuffle_i64x2(t[4 + i], t[6 + i], 0xee);

		v[i] = _mm512_shuffle_i64x2(a, c, 0x88);
		v[2 + i] = _mm512_shuffle_i64x2(a, c, 0xdd);
		v[4 + i] = _mm512_shuffle_i64x2(b, d, 0x88);
		v[6 + i] = _mm512_shuffle_i64x2(b, d, 0xdd);
	}
}

/* Up to 64 bytes of each lane; those of lanes that are shorter are left out block by block. */
static inline void poly_ragged(struct poly *st, const __m512i v[static 8], const size_t left[static LANES_MAX])
{
	for (unsigned k = 0; k < POWERS; k++) {
		__mmask8 in_text = 0;

		for (unsigned i = 0; i < LANES_MAX; i++)
			in_text |= (left[i] > 16 * k) << i;
		if (in_text)
			poly_block(st, in_text, v[2 * k], v[2 * k + 1]);
	}
}

static void poly_texts(struct poly *st, const struct aead_packet *p, unsigned n, size_t shortest, size_t longest)
{
	for (size_t at = 0; at < longest; at += BLOCK) {
		size_t left[LANES_MAX] = { 0 };
		__m512i v[LANES_MAX];

		for (unsigned i = 0; i < LANES_MAX; i++) {
			left[i] = i < n && p[i].len > at ? p[i].len - at : 0;
			v[i] = left[i] ? load(p[i].text + at, left[i]) : _mm512_setzero_si512();
		}
		transpose(v);
		if (at + BLOCK <= shortest) /* lanes without a packet compute, too: nobody looks at them */
			poly_four(st, v);
		else
			poly_ragged(st, v, left);
	}
}

/* The remainder by 2^130 - 5, plus the key's second half. */
static void finish_tag(uint64_t h0, uint64_t h1, uint64_t h2, const uint8_t key[static BLOCK], uint8_t tag[static TAG_LEN])
{
	uint64_t g0, g1, g2, take, lo, hi, add[2];
	unsigned __int128 sum;

	h2 += h1 >> 44, h1 &= mask44;
	h0 += 5 * (h2 >> 42), h2 &= mask42;
	h1 += h0 >> 44, h0 &= mask44;
	h2 += h1 >> 44, h1 &= mask44;
	h0 += 5 * (h2 >> 42), h2 &= mask42;
	h1 += h0 >> 44, h0 &= mask44;
	g0 = h0 + 5;
	g1 = h1 + (g0 >> 44), g0 &= mask44;
	g2 = h2 + (g1 >> 44), g1 &= mask44;
	take = 0 - (g2 >> 42); /* all ones: h was 2^130 - 5 or more */
	h0 = (h0 & ~take) | (g0 & take);
	h1 = (h1 & ~take) | (g1 & take);
	h2 = (h2 & ~take) | (g2 & take);
	memcpy(add, key + 16, sizeof(add));
	sum = (unsigned __int128)(h0 | h1 << 44) + add[0];
	lo = sum;
	hi = (h1 >> 20 | h2 << 24) + add[1] + (uint64_t)(sum >> 64);
	memcpy(tag, &lo, 8);
	memcpy(tag + 8, &hi, 8);
}

static void make_tags(const struct aead_packet *p, unsigned n, uint8_t keys[static LANES_MAX][BLOCK],
		      uint8_t tags[static LANES_MAX][TAG_LEN])
{
	uint64_t len[LANES_MAX] = { 0 }, h[3][LANES_MAX];
	size_t shortest = SIZE_MAX, longest = 0;
	struct poly st;

	for (unsigned i = 0; i < n; i++) {
		len[i] = p[i].len;
		shortest = MIN(shortest, (size_t)p[i].len);
		longest = MAX(longest, (size_t)p[i].len);
	}
	poly_begin(&st, keys, shortest >= BLOCK);
	poly_texts(&st, p, n, shortest, longest);
	poly_block(&st, 0xff, _mm512_setzero_si512(), _mm512_loadu_si512(len)); /* of associated data: none */
	for (int i = 0; i < 3; i++)
		_mm512_storeu_si512(h[i], st.h[i]);
	for (unsigned i = 0; i < n; i++)
		finish_tag(h[0][i], h[1][i], h[2][i], keys[i], tags[i]);
	wipe(&st, sizeof(st));
}

/* The first pass makes blocks 0 (Poly1305's keys) and 1 (text) of all packets. */
static void crypt_packets(const uint8_t key_bytes[static KEY_LEN], const struct aead_packet *p, unsigned n, bool seal,
			  uint8_t tags[static LANES_MAX][TAG_LEN])
{
	_Alignas(64) uint8_t first[BLOCKS][BLOCK];
	struct blocks b = { 0 };
	uint32_t key[8];

	memcpy(key, key_bytes, sizeof(key));
	for (unsigned i = 0; i < n; i++) {
		set_block(&b, i, 0, p[i].counter);
		set_block(&b, LANES_MAX + i, 1, p[i].counter);
	}
	key_stream(key, &b, first);
	if (!seal)
		make_tags(p, n, first, tags);
	for (unsigned i = 0; i < n; i++) {
		if (p[i].len)
			add_stream(&p[i], 0, first[LANES_MAX + i]);
	}
	crypt_rest(key, p, n);
	if (seal)
		make_tags(p, n, first, tags);
	wipe(first, sizeof(first));
	wipe(key, sizeof(key));
}

static bool available(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512ifma");
}

const struct lanes lanes_avx512 = {
	.name = "avx512",
	.available = available,
	.crypt = crypt_packets,
	.call_ns = 400,
	.block_ns = 15,
	.step_ns = 40,
};
