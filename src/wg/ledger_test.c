/* SPDX-License-Identifier: Apache-2.0 */
/* The saved state of the peers: what was written is read, whatever was cut off or damaged is not, and the rest stays. */
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "wg/crypto.h"
#include "wg/ledger.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char path[64] = "/tmp/weft-wg-ledger-XXXXXX";

static struct ledger_record record(uint8_t n)
{
	struct ledger_record r = { .family = AF_INET, .port = n ? htons(1000 + n) : 0, .handshake_ns = n + 1 };

	memset(r.pub, n, sizeof(r.pub));
	memset(r.newest, n + 1, sizeof(r.newest));
	memset(r.addr, n, 4);
	return r;
}

struct seen {
	uint8_t first[64];
	size_t n;
};

static void on_record(void *ctx, const struct ledger_record *r)
{
	struct seen *s = ctx;

	s->first[s->n++ % sizeof(s->first)] = r->pub[0];
}

static int read_back(struct seen *s, struct ledger_found *found)
{
	_cleanup_free_ char *text = NULL;
	size_t n;
	int r = file_read(path, LEDGER_FILE_MAX, &text, &n);

	*s = (struct seen){ 0 };
	return r < 0 ? r : ledger_read(text, n, on_record, s, found);
}

/* Three records rewritten, two appended. */
static struct ledger five(void)
{
	struct ledger l = LEDGER_NONE;
	struct ledger_record more[2] = { record(3), record(4) };
	struct buf b = { 0 };

	for (int i = 0; i < 3; i++) {
		struct ledger_record r = record(i);

		(void)buf_add(&b, &r, sizeof(r));
	}
	CHECK_INT(ledger_rewrite(&l, path, &b), 0);
	buf_done(&b);
	CHECK_INT(ledger_append(&l, more, 2), 0);
	return l;
}

static void what_was_written_is_read(void)
{
	struct ledger l = five();
	struct ledger_found f;
	struct stat st;
	struct seen s;

	CHECK_INT(read_back(&s, &f), 0);
	CHECK_INT(f.good, 5);
	CHECK_INT(f.bad + f.torn, 0);
	for (int i = 0; i < 5; i++)
		CHECK_INT(s.first[i], i);
	CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600);
	ledger_close(&l);
}

/* Cut at each place within the last record, and within the header. */
static void a_torn_end_is_tolerated(void)
{
	struct ledger l = five();
	struct ledger_found f;
	struct seen s;

	ledger_close(&l);
	for (size_t cut = 1; cut < sizeof(struct ledger_record); cut++) {
		CHECK(truncate(path, sizeof(struct ledger_header) + 5 * sizeof(struct ledger_record) - cut) == 0);
		CHECK_INT(read_back(&s, &f), 0);
		CHECK_INT(f.good, 4);
		CHECK_INT(f.bad, 0);
		CHECK_INT(f.torn, sizeof(struct ledger_record) - cut);
	}
	CHECK(truncate(path, sizeof(struct ledger_header) - 1) == 0);
	CHECK_INT(read_back(&s, &f), -EBADMSG);
	CHECK(truncate(path, 0) == 0);
	CHECK_INT(read_back(&s, &f), -EBADMSG);
}

/* One bit of each byte: a record is lost, the header makes the file another's. */
static void a_flipped_bit_is_seen(void)
{
	struct ledger l = five();
	struct ledger_found f;
	struct seen s;
	_cleanup_free_ char *text = NULL;
	size_t n;

	ledger_close(&l);
	CHECK_INT(file_read(path, LEDGER_FILE_MAX, &text, &n), 0);
	for (size_t i = 0; i < n; i++) {
		int want = i >= sizeof(struct ledger_header) ? 0 : i >= 8 && i < 12 ? -EPROTONOSUPPORT : -EBADMSG;

		text[i] ^= 1 << i % 8;
		s.n = 0;
		CHECK_INT(ledger_read(text, n, on_record, &s, &f), want);
		if (want == 0)
			CHECK(f.good == 4 && f.bad == 1 && f.torn == 0);
		text[i] ^= 1 << i % 8;
	}
}

/* As when a file system gives back an old block: the record was good once, elsewhere. */
static void another_files_record_is_none(void)
{
	struct ledger l = five();
	_cleanup_free_ char *old = NULL, *text = NULL;
	struct ledger_found f;
	struct seen s = { 0 };
	size_t n;

	ledger_close(&l);
	CHECK_INT(file_read(path, LEDGER_FILE_MAX, &old, &n), 0);
	l = five();
	ledger_close(&l);
	CHECK_INT(file_read(path, LEDGER_FILE_MAX, &text, &n), 0);
	memcpy(text + sizeof(struct ledger_header), old + sizeof(struct ledger_header), sizeof(struct ledger_record));
	CHECK_INT(ledger_read(text, n, on_record, &s, &f), 0);
	CHECK(f.good == 4 && f.bad == 1);
}

static void endpoints_come_back(void)
{
	static const char *const texts[] = { "192.0.2.1:51820", "[2001:db8::1]:1", "[fe80::1%7]:65535", "192.0.2.1:0" };
	struct endpoint e, back;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct ledger_record r = record(0);

		CHECK_INT(endpoint_parse(texts[i], &e), 0);
		ledger_set_endpoint(&r, &e);
		back = ledger_endpoint(&r);
		CHECK(endpoint_same_remote(&e, &back));
	}
}

/* A full disk, at any byte: none of the records is there, and those that follow are at their place. */
static void a_full_disk_leaves_whole_records(void)
{
	struct rlimit old, limit;

	CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
	signal(SIGXFSZ, SIG_IGN);
	for (size_t room = 0; room < 2 * sizeof(struct ledger_record); room += 7) {
		struct ledger l = five();
		struct ledger_record two[2] = { record(5), record(6) }, one = record(7);
		struct ledger_found f;
		struct seen s;
		int r;

		limit = old;
		limit.rlim_cur = sizeof(struct ledger_header) + 5 * sizeof(one) + room;
		CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
		r = ledger_append(&l, two, 2);
		CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0);
		CHECK(r < 0);
		CHECK_INT(ledger_append(&l, &one, 1), 0);
		CHECK_INT(read_back(&s, &f), 0);
		CHECK(f.good == 6 && f.bad == 0 && f.torn == 0 && s.first[5] == 7);
		ledger_close(&l);
	}
}

/* The new file has the name, but its directory cannot be opened to be synced (by other than root): what follows is not written to the old
 * one, which has none. */
static int in_an_unreadable_directory(void)
{
	char dir[] = "/tmp/weft-wg-ledger-XXXXXX";
	struct ledger l = LEDGER_NONE;
	struct ledger_record two[2] = { record(0), record(1) };
	struct buf one = { 0 };
	struct ledger_found f;
	struct seen s;

	if ((geteuid() == 0 && setresuid(65534, 65534, 65534) < 0) || !mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/l", dir);
	(void)buf_add(&one, &two[0], sizeof(two[0]));
	if (ledger_rewrite(&l, path, &one) < 0 || chmod(dir, 0300) < 0)
		return 2;
	if (ledger_rewrite(&l, path, &one) != -EACCES || ledger_append(&l, &two[1], 1) < 0)
		return 3;
	if (read_back(&s, &f) < 0 || f.good != 2 || f.bad || s.first[1] != 1)
		return 4;
	unlink(path);
	rmdir(dir);
	return 0;
}

static void a_directory_that_is_not_synced_loses_nothing(void)
{
	pid_t child = fork(); /* it becomes somebody else */
	int status;

	if (child == 0)
		_exit(in_an_unreadable_directory());
	CHECK(child > 0 && waitpid(child, &status, 0) == child);
	CHECK_INT(status, 0);
}

static void it_has_a_bound(void)
{
	struct ledger l = five();
	struct ledger_record r = record(9);

	l.records = LEDGER_RECORDS_MAX;
	CHECK_INT(ledger_append(&l, &r, 1), -EFBIG);
	ledger_close(&l);
}

int main(void)
{
	int fd = mkstemp(path);

	if (fd < 0 || crypto_init() < 0)
		return 1;
	close(fd);
	RUN(what_was_written_is_read);
	RUN(a_torn_end_is_tolerated);
	RUN(a_flipped_bit_is_seen);
	RUN(another_files_record_is_none);
	RUN(endpoints_come_back);
	RUN(a_full_disk_leaves_whole_records);
	RUN(a_directory_that_is_not_synced_loses_nothing);
	RUN(it_has_a_bound);
	unlink(path);
	return test_end();
}
