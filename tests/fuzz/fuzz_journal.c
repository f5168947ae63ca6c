/* SPDX-License-Identifier: Apache-2.0 */
/* The journal of endpoints. The first byte picks: 'r' the bytes as they are (a broken disk), else lines of JSON that get
 * their checksums here (any history). A cut at any place is recovered from, and what was recovered survives a snapshot. */
#include "base/file.h"
#include "fuzz.h"
#include "ipam/journal.h"

#include <sys/stat.h>

/* CRC-32 by its definition: polynomial division, most significant coefficient in the least significant bit. */
static uint32_t checksum(const uint8_t *p, size_t n)
{
	uint32_t rest = 0xffffffff;

	for (size_t bit = 0; bit < n * 8; bit++) {
		uint32_t top = (rest ^ p[bit / 8] >> bit % 8) & 1;

		rest >>= 1;
		if (top)
			rest ^= 0xedb88320;
	}
	return ~rest;
}

static void add_lines(struct buf *b, const uint8_t *data, size_t size)
{
	while (size) {
		const uint8_t *nl = memchr(data, '\n', size);
		size_t n = nl ? (size_t)(nl - data) : size;

		buf_addf(b, "%08x ", checksum(data, n));
		buf_add(b, data, n);
		buf_add(b, "\n", 1);
		data += n + (nl != NULL);
		size -= n + (nl != NULL);
	}
}

static void check_state(const struct journal_state *s)
{
	for (size_t i = 0; i < s->n_records; i++) {
		const struct endpoint_record *r = s->records[i];

		REQUIRE(r && *r->container && *r->ifname && r->id);
		for (size_t k = 0; k < i; k++)
			REQUIRE(!streq(r->container, s->records[k]->container) || !streq(r->ifname, s->records[k]->ifname));
	}
	for (size_t i = 0; i < s->n_freed; i++)
		REQUIRE(!addr_is_zero(&s->freed[i].addr) && (i == 0 || s->freed[i].order > s->freed[i - 1].order));
}

static void require_same(const struct journal_state *a, const struct journal_state *b)
{
	REQUIRE(a->n_records == b->n_records && a->n_freed == b->n_freed);
	for (size_t i = 0; i < a->n_records; i++) {
		_cleanup_json_ json_t *x = endpoint_record_to_json(a->records[i]), *y = endpoint_record_to_json(b->records[i]);

		REQUIRE(x && json_equal(x, y));
	}
	for (size_t i = 0; i < a->n_freed; i++)
		REQUIRE(addr_eq(&a->freed[i].addr, &b->freed[i].addr) && a->freed[i].freed_ms == b->freed[i].freed_ms);
}

/* Opens what is on the disk, writes the shortest journal for it, and opens that. */
static void check_snapshot(const struct buf *b, const struct journal_state *want)
{
	const char *path = fuzz_path("journal");
	struct journal_state first, second;
	struct journal *j;
	char *error = NULL;

	REQUIRE(file_write_atomic(path, b->data ? b->data : "", b->len, 0600) == 0);
	REQUIRE(journal_open(path, "boot", &j, &first, &error) == 0);
	require_same(&first, want);
	REQUIRE(journal_snapshot(j, &first) == 0);
	journal_close(j);
	REQUIRE(journal_open(path, "boot", &j, &second, &error) == 0);
	require_same(&first, &second);
	REQUIRE(streq(second.boot_id, "boot"));
	journal_close(j);
	journal_state_done(&first);
	journal_state_done(&second);
}

/* A power cut within the last line: the state is that of the lines before. */
static void check_cut(const struct buf *b, size_t good, size_t at)
{
	struct journal_state s;
	char *error = NULL;
	size_t kept;

	if (at > good)
		return;
	REQUIRE(journal_replay(b->data, at, &s, &kept, &error) == 0);
	REQUIRE(kept <= at && (kept == 0 || b->data[kept - 1] == '\n') && !memchr(b->data + kept, '\n', at - kept));
	check_state(&s);
	journal_state_done(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	uint8_t mode = fuzz_byte(&in), cut = fuzz_byte(&in);
	_cleanup_(buf_done) struct buf b = { 0 };
	struct journal_state s;
	char *error = NULL;
	size_t good;

	if (mode == 'r')
		buf_add(&b, in.data, in.size);
	else
		add_lines(&b, in.data, in.size);
	if (journal_replay(b.data ? b.data : "", b.len, &s, &good, &error) < 0) {
		fuzz_require_line(error);
		free(error);
		return 0;
	}
	REQUIRE(!error && good <= b.len);
	check_state(&s);
	if (good)
		check_cut(&b, good, good - MIN((size_t)cut, good));
	check_snapshot(&b, &s);
	journal_state_done(&s);
	return 0;
}
