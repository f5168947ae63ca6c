/* SPDX-License-Identifier: Apache-2.0 */
/* The saved state of the peers, as the bytes are: whatever is read of it, written anew is the same, all of it good. The first byte picks:
 * 'r' the bytes as they are, else records that get their header and checks here, cut and flipped as the second and third byte say. */
#include "base/file.h"
#include "fuzz.h"
#include "wg/crypto.h"
#include "wg/ledger.h"

static void keep(void *ctx, const struct ledger_record *r)
{
	struct endpoint e = ledger_endpoint(r);

	REQUIRE(!endpoint_is_set(&e) || e.to.sa.sa_family == AF_INET || e.to.sa.sa_family == AF_INET6);
	(void)buf_add(ctx, r, sizeof(*r));
}

static void write_anew(struct buf *records, char **ret, size_t *ret_len)
{
	const char *path = fuzz_path("peers");
	struct ledger l = LEDGER_NONE;

	REQUIRE(ledger_rewrite(&l, path, records) == 0);
	ledger_close(&l);
	REQUIRE(file_read(path, LEDGER_FILE_MAX, ret, ret_len) == 0);
}

static void same_but_checks(const struct buf *a, const struct buf *b)
{
	REQUIRE(a->len == b->len);
	for (size_t at = 0; at < a->len; at += sizeof(struct ledger_record))
		REQUIRE(memcmp(a->data + at, b->data + at, offsetof(struct ledger_record, check)) == 0);
}

static void check_anew(struct buf *records)
{
	struct buf again = { 0 };
	struct ledger_found f;
	char *text;
	size_t n;

	write_anew(records, &text, &n);
	REQUIRE(ledger_read(text, n, keep, &again, &f) == 0);
	REQUIRE(f.bad == 0 && f.torn == 0 && f.good == records->len / sizeof(struct ledger_record));
	same_but_checks(records, &again);
	free(text);
	buf_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, MIN(size, (size_t)20000) };
	uint8_t mode = fuzz_byte(&in), cut = fuzz_byte(&in), flip = fuzz_byte(&in);
	struct buf raw = { 0 }, records = { 0 };
	struct ledger_found f;
	char *text;
	size_t n;

	REQUIRE(crypto_init() == 0);
	if (in.size)
		(void)buf_add(&raw, in.data, mode == 'r' ? in.size : in.size - in.size % sizeof(struct ledger_record));
	if (mode == 'r') {
		n = raw.len;
		text = xmalloc(n + 1);
		memcpy(text, raw.len ? raw.data : "", raw.len);
	} else {
		write_anew(&raw, &text, &n);
		n -= MIN((size_t)cut, n);
		if (flip)
			text[flip % (n + 1)] ^= 1; /* there is one more, a NUL */
	}
	if (ledger_read(text, n, keep, &records, &f) == 0) {
		REQUIRE(sizeof(struct ledger_header) + (f.good + f.bad) * sizeof(struct ledger_record) + f.torn == n);
		check_anew(&records);
	}
	free(text);
	buf_done(&raw);
	buf_done(&records);
	return 0;
}
