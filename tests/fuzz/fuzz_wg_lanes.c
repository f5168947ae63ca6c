/* SPDX-License-Identifier: Apache-2.0 */
/* Packets side by side against one at a time: 32 bytes of key, then for each packet 2 bytes of length, 8 of counter and the
 * text.
 * What is sealed equals what OpenSSL makes of it, and opening gives text and tag again. */
#include "fuzz.h"
#include "wg/lanes.h"

static void eat(struct fuzz_input *in, void *to, size_t n)
{
	size_t have = MIN(n, in->size);

	memset(to, 0, n);
	memcpy(to, in->data, have);
	in->data += have;
	in->size -= have;
}

static void compare(const struct lanes *l, const uint8_t *key, struct aead_packet *p, unsigned n, uint8_t *const texts[])
{
	uint8_t tags[LANES_MAX][TAG_LEN], again[LANES_MAX][TAG_LEN];

	l->crypt(key, p, n, true, tags);
	for (unsigned i = 0; i < n; i++) {
		uint8_t *want = xmalloc(p[i].len + TAG_LEN);

		aead_seal_once(key, p[i].counter, BYTES("", 0), texts[i], p[i].len, want);
		REQUIRE(memcmp(p[i].text, want, p[i].len) == 0 && memcmp(tags[i], want + p[i].len, TAG_LEN) == 0);
		free(want);
	}
	l->crypt(key, p, n, false, again);
	for (unsigned i = 0; i < n; i++)
		REQUIRE(memcmp(p[i].text, texts[i], p[i].len) == 0 && memcmp(tags[i], again[i], TAG_LEN) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	struct aead_packet p[LANES_MAX];
	uint8_t *texts[LANES_MAX], key[KEY_LEN];
	unsigned n = 0;

	REQUIRE(crypto_init() == 0);
	eat(&in, key, sizeof(key));
	while (n < LANES_MAX && in.size) {
		uint16_t len;

		eat(&in, &len, sizeof(len));
		len %= 2048;
		p[n] = (struct aead_packet){ .text = xmalloc(len + !len), .len = len }; /* its exact size, for the sanitizer */
		eat(&in, &p[n].counter, sizeof(p[n].counter));
		eat(&in, p[n].text, len);
		texts[n] = xmalloc(len + !len);
		memcpy(texts[n], p[n].text, len);
		n++;
	}
	for (const struct lanes *const *l = all_lanes; *l && n; l++) {
		if ((*l)->available())
			compare(*l, key, p, n, texts);
	}
	while (n-- > 0) {
		free(p[n].text);
		free(texts[n]);
	}
	return 0;
}
