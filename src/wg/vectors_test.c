/* SPDX-License-Identifier: Apache-2.0 */
/* Project Wycheproof's vectors: wg_vectors_test DIRECTORY (src/wg/vectors; its README says what the fields are). */
#include "base/test.h"
#include "wg/curve.h"
#include "wg/crypto_internal.h"

enum { FIELDS = 7, FIELD_MAX = 1024, LINE_MAX_LEN = 8192 };

struct field {
	uint8_t data[FIELD_MAX];
	size_t len;
};

static const char *directory;

static bool parse_hex(const char *s, struct field *f)
{
	f->len = 0;
	if (strcmp(s, "-") == 0)
		return true;
	for (; *s; s += 2, f->len++) {
		unsigned v;

		if (f->len == FIELD_MAX || sscanf(s, "%2x", &v) != 1 || !s[1])
			return false;
		f->data[f->len] = v;
	}
	return true;
}

/* Calls @fn for each line; @ret_count: lines. Return: 0, or the number of the first line that is no test or failed it. */
static int each_line(const char *name, int n, bool (*fn)(const char *result, const struct field f[]), int *ret_count)
{
	char path[512], line[LINE_MAX_LEN];
	_cleanup_fclose_ FILE *file = NULL;

	*ret_count = 0;
	snprintf(path, sizeof(path), "%s/wycheproof_%s.txt", directory, name);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		static struct field f[FIELDS];
		char *rest, *result = strtok_r(line, " \n", &rest);

		++*ret_count;
		for (int i = 0; i < n; i++) {
			const char *word = strtok_r(NULL, " \n", &rest);

			if (!word || !parse_hex(word, &f[i]))
				return *ret_count;
		}
		if (!fn(result, f))
			return *ret_count;
	}
	return 0;
}

typedef void seal_fn(const uint8_t *key, const uint8_t *iv, struct bytes ad, const void *in, size_t len, uint8_t *out);
typedef int open_fn(const uint8_t *key, const uint8_t *iv, struct bytes ad, const uint8_t *in, size_t len, uint8_t *out);

enum { KEY, IV, AD, TEXT, CIPHERTEXT, TAG };

static bool aead_case(const char *result, const struct field f[], seal_fn *seal, open_fn *open)
{
	uint8_t sealed[FIELD_MAX + TAG_LEN], out[FIELD_MAX + TAG_LEN];
	struct bytes ad = BYTES(f[AD].data, f[AD].len);
	size_t n = f[TEXT].len;
	int r;

	if (f[KEY].len != KEY_LEN || f[TAG].len != TAG_LEN || f[CIPHERTEXT].len != n)
		return false;
	memcpy(sealed, f[CIPHERTEXT].data, n);
	memcpy(sealed + n, f[TAG].data, TAG_LEN);
	r = open(f[KEY].data, f[IV].data, ad, sealed, n + TAG_LEN, out);
	if (strcmp(result, "invalid") == 0)
		return r == -EBADMSG;
	if (r != 0 || memcmp(out, f[TEXT].data, n) != 0)
		return false;
	seal(f[KEY].data, f[IV].data, ad, f[TEXT].data, n, out);
	return memcmp(out, sealed, n + TAG_LEN) == 0;
}

static bool chacha_case(const char *result, const struct field f[])
{
	return f[IV].len == 12 && aead_case(result, f, aead_seal_iv, aead_open_iv);
}

static bool xchacha_case(const char *result, const struct field f[])
{
	return f[IV].len == XNONCE_LEN && aead_case(result, f, xaead_seal_once, xaead_open_once);
}

/* In every lane, of each kind. */
static bool in_lanes(struct dh_key *key, const uint8_t *pub, const uint8_t *want)
{
	struct dh_job jobs[CURVE_LANES];
	bool good = true;

	for (const struct curve_lanes *const *l = all_curve_lanes; *l; l++) {
		const struct curve_lanes *was;

		if (!(*l)->available())
			continue;
		for (int i = 0; i < CURVE_LANES; i++)
			jobs[i] = (struct dh_job){ .key = key, .pub = pub };
		was = dh_use_lanes(*l);
		dh_many(jobs, CURVE_LANES);
		dh_use_lanes(was);
		for (int i = 0; i < CURVE_LANES; i++)
			good = good && memcmp(jobs[i].result, want, KEY_LEN) == 0;
	}
	return good;
}

/* A result of zero bytes is refused: the peer's key has a small order. */
static bool x25519_case(_unused_ const char *result, const struct field f[])
{
	uint8_t pub[KEY_LEN], got[KEY_LEN];
	struct dh_key *key;
	bool good;
	int r;

	if (f[0].len != KEY_LEN || f[1].len != KEY_LEN || f[2].len != KEY_LEN)
		return false;
	key = dh_key_new(f[0].data, pub);
	r = dh(key, f[1].data, got);
	good = in_lanes(key, f[1].data, f[2].data);
	dh_key_free(key);
	return good && secret_is_zero(f[2].data, KEY_LEN) ? r == -EBADMSG : r == 0 && memcmp(got, f[2].data, KEY_LEN) == 0;
}

static void chacha20_poly1305(void)
{
	int n;

	CHECK_INT(each_line("chacha20_poly1305", 6, chacha_case, &n), 0);
	CHECK_INT(n, 316);
}

static void xchacha20_poly1305(void)
{
	int n;

	CHECK_INT(each_line("xchacha20_poly1305", 6, xchacha_case, &n), 0);
	CHECK_INT(n, 306);
}

static void x25519(void)
{
	int n;

	CHECK_INT(each_line("x25519", 3, x25519_case, &n), 0);
	CHECK_INT(n, 518);
}

int main(int argc, char **argv)
{
	if (argc != 2 || crypto_init() < 0)
		return 2;
	directory = argv[1];
	RUN(chacha20_poly1305);
	RUN(xchacha20_poly1305);
	RUN(x25519);
	return test_end();
}
