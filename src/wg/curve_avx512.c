/* SPDX-License-Identifier: Apache-2.0 */
/* For AVX-512 with IFMA: eight Montgomery ladders (RFC 7748, section 5), one a lane. A field element is five limbs of
 * 51 bits; the multiply-add takes 52 of each factor, so limbs are carried after each sum, too, and its upper halves
 * weigh twice the next limb. Bounds: "tight" limbs are below 2^51 + 2^14, as every function here takes and leaves them.
 *
 * No branch and no address depends on a secret: a bit of a scalar becomes a mask. */
#include "wg/curve.h"

#include <immintrin.h>

enum { LIMBS = 5, LIMB_BITS = 51 };

struct field {
	__m512i v[LIMBS];
};

struct ladder {
	struct field x1, x2, z2, x3, z3;
	__m512i scalar[4]; /* words of 64 bits, lowest first */
};

static const uint64_t limb_mask = (UINT64_C(1) << LIMB_BITS) - 1;

static inline __m512i set1(uint64_t v)
{
	return _mm512_set1_epi64(v);
}

/* All limbs at once, each below 2^61: what is above 51 bits goes to the next, from the last to the first times 19. */
static inline void carry(struct field *r, const __m512i s[static LIMBS])
{
	__m512i over[LIMBS];

	for (int i = 0; i < LIMBS; i++) {
		over[i] = _mm512_srli_epi64(s[i], LIMB_BITS);
		r->v[i] = _mm512_and_si512(s[i], set1(limb_mask));
	}
	r->v[0] = _mm512_madd52lo_epu64(r->v[0], over[LIMBS - 1], set1(19));
	for (int i = 1; i < LIMBS; i++)
		r->v[i] = _mm512_add_epi64(r->v[i], over[i - 1]);
}

static inline void add(struct field *r, const struct field *a, const struct field *b)
{
	__m512i s[LIMBS];

	for (int i = 0; i < LIMBS; i++)
		s[i] = _mm512_add_epi64(a->v[i], b->v[i]);
	carry(r, s);
}

/* Plus twice the prime, whose limbs are above any tight ones. */
static inline void subtract(struct field *r, const struct field *a, const struct field *b)
{
	__m512i s[LIMBS];

	for (int i = 0; i < LIMBS; i++)
		s[i] = _mm512_sub_epi64(_mm512_add_epi64(a->v[i], set1(2 * (limb_mask - (i ? 0 : 18)))), b->v[i]);
	carry(r, s);
}

/* Sums of products by weight, lower and upper halves: each below 5 * 2^52, so the whole below 2^61. */
static inline void reduce(struct field *r, const __m512i lo[static 9], const __m512i hi[static 9])
{
	__m512i c[10], s[LIMBS];

	c[0] = lo[0];
	for (int i = 1; i < 9; i++)
		c[i] = _mm512_add_epi64(lo[i], _mm512_slli_epi64(hi[i - 1], 1));
	c[9] = _mm512_slli_epi64(hi[8], 1);
	for (int i = 0; i < LIMBS; i++) { /* 2^255 is 19 */
		__m512i t = c[i + LIMBS];

		s[i] = _mm512_add_epi64(_mm512_add_epi64(c[i], t),
					_mm512_add_epi64(_mm512_slli_epi64(t, 1), _mm512_slli_epi64(t, 4)));
	}
	carry(r, s);
}

static inline void multiply(struct field *r, const struct field *a, const struct field *b)
{
	__m512i lo[9] = { 0 }, hi[9] = { 0 };

	for (int i = 0; i < LIMBS; i++) {
		for (int j = 0; j < LIMBS; j++) {
			lo[i + j] = _mm512_madd52lo_epu64(lo[i + j], a->v[i], b->v[j]);
			hi[i + j] = _mm512_madd52hi_epu64(hi[i + j], a->v[i], b->v[j]);
		}
	}
	reduce(r, lo, hi);
}

static inline void square(struct field *r, const struct field *a)
{
	__m512i lo[9] = { 0 }, hi[9] = { 0 };

	for (int i = 0; i < LIMBS; i++) {
		for (int j = i + 1; j < LIMBS; j++) {
			lo[i + j] = _mm512_madd52lo_epu64(lo[i + j], a->v[i], a->v[j]);
			hi[i + j] = _mm512_madd52hi_epu64(hi[i + j], a->v[i], a->v[j]);
		}
	}
	for (int i = 1; i < 8; i++) {
		lo[i] = _mm512_slli_epi64(lo[i], 1);
		hi[i] = _mm512_slli_epi64(hi[i], 1);
	}
	for (int i = 0; i < LIMBS; i++) {
		lo[2 * i] = _mm512_madd52lo_epu64(lo[2 * i], a->v[i], a->v[i]);
		hi[2 * i] = _mm512_madd52hi_epu64(hi[2 * i], a->v[i], a->v[i]);
	}
	reduce(r, lo, hi);
}

/* a + 121665 * b: (A - 2) / 4 of the curve. */
static inline void add_scaled(struct field *r, const struct field *a, const struct field *b)
{
	const __m512i a24 = set1(121665);
	__m512i s[LIMBS], hi[LIMBS];

	for (int i = 0; i < LIMBS; i++) {
		s[i] = _mm512_madd52lo_epu64(a->v[i], b->v[i], a24);
		hi[i] = _mm512_slli_epi64(_mm512_madd52hi_epu64(_mm512_setzero_si512(), b->v[i], a24), 1);
	}
	s[0] = _mm512_madd52lo_epu64(s[0], hi[LIMBS - 1], set1(19));
	for (int i = 1; i < LIMBS; i++)
		s[i] = _mm512_add_epi64(s[i], hi[i - 1]);
	carry(r, s);
}

static inline void swap(struct field *a, struct field *b, __mmask8 m)
{
	for (int i = 0; i < LIMBS; i++) {
		__m512i t = a->v[i];

		a->v[i] = _mm512_mask_mov_epi64(t, m, b->v[i]);
		b->v[i] = _mm512_mask_mov_epi64(b->v[i], m, t);
	}
}

/* One bit; named as in RFC 7748. */
static inline void step(struct ladder *l)
{
	struct field a, aa, b, bb, e, c, d, da, cb;

	add(&a, &l->x2, &l->z2);
	subtract(&b, &l->x2, &l->z2);
	add(&c, &l->x3, &l->z3);
	subtract(&d, &l->x3, &l->z3);
	multiply(&da, &d, &a);
	multiply(&cb, &c, &b);
	square(&aa, &a);
	square(&bb, &b);
	add(&c, &da, &cb);
	subtract(&d, &da, &cb);
	subtract(&e, &aa, &bb);
	square(&l->x3, &c);
	square(&d, &d);
	multiply(&l->z3, &l->x1, &d);
	multiply(&l->x2, &aa, &bb);
	add_scaled(&aa, &aa, &e);
	multiply(&l->z2, &e, &aa);
}

static void climb(struct ladder *l)
{
	__mmask8 swapped = 0;

	for (int t = 254; t >= 0; t--) {
		__mmask8 bit = _mm512_test_epi64_mask(l->scalar[t / 64], set1(UINT64_C(1) << (t % 64)));

		swap(&l->x2, &l->x3, swapped ^ bit);
		swap(&l->z2, &l->z3, swapped ^ bit);
		swapped = bit;
		step(l);
	}
	swap(&l->x2, &l->x3, swapped);
	swap(&l->z2, &l->z3, swapped);
}

static void square_times(struct field *r, const struct field *a, int n)
{
	square(r, a);
	while (--n)
		square(r, r);
}

/* z^(p - 2), p - 2 = 2^255 - 21. Names tell the exponent: of 2^n - 1, n. */
static void invert(struct field *r, const struct field *z)
{
	struct field z2, z9, z11, e5, e10, e20, e50, e100, t;

	square(&z2, z);
	square_times(&t, &z2, 2);
	multiply(&z9, &t, z);
	multiply(&z11, &z9, &z2);
	square(&t, &z11);
	multiply(&e5, &t, &z9);
	square_times(&t, &e5, 5);
	multiply(&e10, &t, &e5);
	square_times(&t, &e10, 10);
	multiply(&e20, &t, &e10);
	square_times(&t, &e20, 20);
	multiply(&t, &t, &e20);
	square_times(&t, &t, 10);
	multiply(&e50, &t, &e10);
	square_times(&t, &e50, 50);
	multiply(&e100, &t, &e50);
	square_times(&t, &e100, 100);
	multiply(&t, &t, &e100);
	square_times(&t, &t, 50);
	multiply(&t, &t, &e50);
	square_times(&t, &t, 5);
	multiply(r, &t, &z11);
}

/* From limb to limb in order, from the last to the first times 19: the second time leaves all below 2^51. */
static inline void ripple(__m512i v[static LIMBS])
{
	for (int i = 0; i < LIMBS; i++) {
		__m512i over = _mm512_srli_epi64(v[i], LIMB_BITS);

		v[i] = _mm512_and_si512(v[i], set1(limb_mask));
		if (i + 1 < LIMBS)
			v[i + 1] = _mm512_add_epi64(v[i + 1], over);
		else
			v[0] = _mm512_madd52lo_epu64(v[0], over, set1(19));
	}
}

/* The one remainder below the prime: adding 19 tells by its carry whether the prime has to go; what is then above 255
 * bits is dropped. */
static void canonical(struct field *r)
{
	__m512i more = set1(19);

	ripple(r->v);
	ripple(r->v);
	for (int i = 0; i < LIMBS; i++)
		more = _mm512_srli_epi64(_mm512_add_epi64(r->v[i], more), LIMB_BITS);
	r->v[0] = _mm512_madd52lo_epu64(r->v[0], more, set1(19));
	for (int i = 0; i < LIMBS; i++) {
		if (i + 1 < LIMBS)
			r->v[i + 1] = _mm512_add_epi64(r->v[i + 1], _mm512_srli_epi64(r->v[i], LIMB_BITS));
		r->v[i] = _mm512_and_si512(r->v[i], set1(limb_mask));
	}
}

static inline void load_words(__m512i w[static 4], const uint8_t in[static CURVE_LANES][KEY_LEN])
{
	const __m512i at = _mm512_setr_epi64(0, 4, 8, 12, 16, 20, 24, 28); /* a lane is four words further */

	for (int i = 0; i < 4; i++)
		w[i] = _mm512_i64gather_epi64(at, (const uint8_t *)in + 8 * i, 8);
}

/* The highest bit does not count; values of the prime and more do. */
static void load_point(struct field *r, const uint8_t in[static CURVE_LANES][KEY_LEN])
{
	__m512i w[4];

	load_words(w, in);
	r->v[0] = w[0];
	r->v[1] = _mm512_or_si512(_mm512_srli_epi64(w[0], 51), _mm512_slli_epi64(w[1], 13));
	r->v[2] = _mm512_or_si512(_mm512_srli_epi64(w[1], 38), _mm512_slli_epi64(w[2], 26));
	r->v[3] = _mm512_or_si512(_mm512_srli_epi64(w[2], 25), _mm512_slli_epi64(w[3], 39));
	r->v[4] = _mm512_srli_epi64(w[3], 12);
	for (int i = 0; i < LIMBS; i++)
		r->v[i] = _mm512_and_si512(r->v[i], set1(limb_mask));
}

static void store_point(const struct field *a, uint8_t out[static CURVE_LANES][KEY_LEN])
{
	const __m512i at = _mm512_setr_epi64(0, 4, 8, 12, 16, 20, 24, 28), *v = a->v;
	const __m512i w[4] = {
	    _mm512_or_si512(v[0], _mm512_slli_epi64(v[1], 51)),
	    _mm512_or_si512(_mm512_srli_epi64(v[1], 13), _mm512_slli_epi64(v[2], 38)),
	    _mm512_or_si512(_mm512_srli_epi64(v[2], 26), _mm512_slli_epi64(v[3], 25)),
	    _mm512_or_si512(_mm512_srli_epi64(v[3], 39), _mm512_slli_epi64(v[4], 12)),
	};

	for (int i = 0; i < 4; i++)
		_mm512_i64scatter_epi64((uint8_t *)out + 8 * i, at, w[i], 8);
}

static void multiply_points(const uint8_t scalars[static CURVE_LANES][KEY_LEN],
			    const uint8_t points[static CURVE_LANES][KEY_LEN], uint8_t out[static CURVE_LANES][KEY_LEN])
{
	struct ladder l = { 0 };

	load_words(l.scalar, scalars);
	load_point(&l.x1, points);
	l.x3 = l.x1;
	l.x2.v[0] = l.z3.v[0] = set1(1);
	climb(&l);
	invert(&l.z2, &l.z2);
	multiply(&l.x2, &l.x2, &l.z2);
	canonical(&l.x2);
	store_point(&l.x2, out);
	wipe(&l, sizeof(l));
}

static bool available(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512ifma"); /* what the compiler may use here */
}

const struct curve_lanes curve_lanes_avx512 = {
	.name = "avx512",
	.available = available,
	.multiply = multiply_points,
	.worth = 2,
};
