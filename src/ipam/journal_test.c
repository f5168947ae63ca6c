/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "ipam/journal.h"

static char dir[] = "/tmp/weft-journal-XXXXXX";
static char *path;

static struct endpoint_record *record(unsigned n, enum endpoint_state state)
{
	struct endpoint_record *r = xnew0(struct endpoint_record);
	struct addr base;

	addr_parse("10.0.0.0", &base);
	r->container = xasprintf("c%u", n);
	r->ifname = xstrdup("eth0");
	r->state = state;
	r->netns = xstrdup("/run/netns/x");
	r->netns_ino = 4026531840u + n;
	r->boot_id = xstrdup("boot");
	r->addrs[IPAM_V4] = addr_add(&base, n);
	r->id = n + 1;
	r->ifindex = 10 + n;
	snprintf(r->host_ifname, sizeof(r->host_ifname), "weft%u", n);
	r->pod_mac[0] = r->host_mac[0] = 2;
	r->network = xstrdup("weft");
	r->pod_namespace = xstrdup("default");
	r->pod_name = xstrdup("a\"b");
	r->pod_uid = xstrdup("");
	return r;
}

static void put(struct journal *j, unsigned n, enum endpoint_state state)
{
	_cleanup_(endpoint_record_freep) struct endpoint_record *r = record(n, state);

	CHECK_INT(journal_put(j, r), 0);
}

static void drop(struct journal *j, unsigned n, uint64_t at)
{
	_cleanup_(endpoint_record_freep) struct endpoint_record *r = record(n, ENDPOINT_UP);

	CHECK_INT(journal_remove(j, r, at), 0);
}

/* One line that says all of a state, to compare by. */
static char *describe(const struct journal_state *s)
{
	struct buf b = {0};
	char text[ADDR_TEXT_MAX];

	buf_adds(&b, "");
	for (size_t i = 0; i < s->n_records; i++)
		buf_addf(&b, "%s:%d:%u:%s ", s->records[i]->container, s->records[i]->state, s->records[i]->id,
			 addr_format(&s->records[i]->addrs[0], text));
	for (size_t i = 0; i < s->n_freed; i++)
		buf_addf(&b, "free:%s@%llu ", addr_format(&s->freed[i].addr, text),
			 (unsigned long long)s->freed[i].freed_ms);
	return b.data ? b.data : xstrdup("");
}

static char *replayed(const char *data, size_t len, int *ret_code)
{
	struct journal_state s = {0};
	_cleanup_free_ char *error = NULL;
	char *text = NULL;
	size_t good;

	*ret_code = journal_replay(data, len, &s, &good, &error);
	if (*ret_code == 0)
		text = describe(&s);
	assert((*ret_code == 0) == (error == NULL));
	journal_state_done(&s);
	return text;
}

static char *opened(int *ret_code)
{
	_cleanup_(journal_closep) struct journal *j = NULL;
	struct journal_state s = {0};
	_cleanup_free_ char *error = NULL;
	char *text = NULL;

	*ret_code = journal_open(path, "boot", &j, &s, &error);
	if (*ret_code == 0)
		text = describe(&s);
	journal_state_done(&s);
	return text;
}

static struct journal *fresh(void)
{
	struct journal *j = NULL;
	struct journal_state s = {0};
	char *error = NULL;

	unlink(path);
	assert(journal_open(path, "boot", &j, &s, &error) == 0);
	journal_state_done(&s);
	return j;
}

static void changes_survive(void)
{
	struct journal *j = fresh();
	_cleanup_free_ char *text = NULL;
	int code;

	put(j, 2, ENDPOINT_ADDING);
	put(j, 3, ENDPOINT_UP);
	put(j, 2, ENDPOINT_UP);
	put(j, 4, ENDPOINT_UP);
	drop(j, 3, 500);
	drop(j, 4, UINT64_MAX);
	journal_close(j);
	text = opened(&code);
	CHECK_INT(code, 0);
	CHECK_STR(text, "c2:1:3:10.0.0.2 free:10.0.0.3@500 ");
}

static void a_reused_address_no_longer_rests(void)
{
	struct journal *j = fresh();
	_cleanup_free_ char *text = NULL;
	int code;

	put(j, 2, ENDPOINT_UP);
	drop(j, 2, 1);
	put(j, 2, ENDPOINT_UP);
	put(j, 5, ENDPOINT_UP);
	drop(j, 5, 2);
	drop(j, 2, 3);
	journal_close(j);
	text = opened(&code);
	CHECK_STR(text, "free:10.0.0.5@2 free:10.0.0.2@3 ");
}

static void a_snapshot_is_the_same_state(void)
{
	struct journal *j = fresh();
	struct journal_state s = {0};
	_cleanup_free_ char *before = NULL, *after = NULL, *data = NULL, *error = NULL;
	size_t len, good;
	int code;

	for (unsigned n = 2; n < 200; n++) {
		put(j, n, ENDPOINT_UP);
		if (n % 3)
			drop(j, n, n);
	}
	CHECK_INT(file_read(path, 1 << 24, &data, &len), 0);
	CHECK_INT(journal_replay(data, len, &s, &good, &error), 0);
	before = describe(&s);
	CHECK_INT(journal_snapshot(j, &s), 0);
	put(j, 250, ENDPOINT_UP);
	drop(j, 250, UINT64_MAX);
	journal_state_done(&s);
	journal_close(j);
	after = opened(&code);
	CHECK_STR(after, before);
}

static size_t last_line_start(const char *data, size_t len)
{
	size_t at = len - 1;

	while (at > 0 && data[at - 1] != '\n')
		at--;
	return at;
}

/* Every cut and every single-byte damage of the last record leads to the state before or after it. */
static void R5_any_damage_of_the_last_record_is_before_or_after(void)
{
	for (int kind = 0; kind < 2; kind++) {
		struct journal *j = fresh();
		_cleanup_free_ char *data = NULL, *before = NULL, *after = NULL;
		size_t len, start;
		int code;

		put(j, 2, ENDPOINT_UP);
		put(j, 3, ENDPOINT_UP);
		if (kind == 0)
			drop(j, 2, 77);
		else
			put(j, 4, ENDPOINT_UP);
		journal_close(j);
		CHECK_INT(file_read(path, 1 << 20, &data, &len), 0);
		start = last_line_start(data, len);
		before = replayed(data, start, &code);
		after = replayed(data, len, &code);
		CHECK(!streq(before, after));
		for (size_t cut = start; cut <= len; cut++) {
			_cleanup_free_ char *got = replayed(data, cut, &code);

			CHECK_INT(code, 0);
			CHECK_STR(got, cut == len ? after : before);
		}
		for (size_t at = start; at < len; at++) {
			for (int bit = 0; bit < 8; bit++) {
				_cleanup_free_ char *bad = xmalloc(len), *got = NULL;

				memcpy(bad, data, len);
				bad[at] ^= 1 << bit;
				got = replayed(bad, len, &code);
				CHECK_INT(code, 0);
				CHECK_STR(got, before);
			}
		}
	}
}

static void R5_after_recovery_writing_goes_on(void)
{
	struct journal *j = fresh();
	_cleanup_free_ char *data = NULL, *text = NULL, *again = NULL;
	size_t len;
	int code;

	put(j, 2, ENDPOINT_UP);
	put(j, 3, ENDPOINT_UP);
	journal_close(j);
	CHECK_INT(file_read(path, 1 << 20, &data, &len), 0);
	CHECK_INT(truncate(path, len - 5), 0);
	text = opened(&code);
	CHECK_STR(text, "c2:1:3:10.0.0.2 ");
	again = opened(&code); /* the half line is gone: what was appended behind it is whole */
	CHECK_INT(code, 0);
	CHECK_STR(again, "c2:1:3:10.0.0.2 ");
}

static void R5_damage_in_the_middle_is_refused(void)
{
	struct journal *j = fresh();
	_cleanup_free_ char *data = NULL;
	size_t len, start;

	for (unsigned n = 2; n < 6; n++)
		put(j, n, ENDPOINT_UP);
	journal_close(j);
	CHECK_INT(file_read(path, 1 << 20, &data, &len), 0);
	start = last_line_start(data, len);
	for (size_t at = 0; at < start - 1; at++) {
		_cleanup_free_ char *bad = xmalloc(len), *got = NULL;
		int code;

		memcpy(bad, data, len);
		bad[at] ^= 0x04;
		got = replayed(bad, len, &code);
		CHECK_INT(code, -EBADMSG);
	}
}

static void rubbish_never_crashes(void)
{
	uint64_t seed = 3;

	for (int i = 0; i < 20000; i++) {
		char data[200];
		_cleanup_free_ char *text = NULL;
		int code;

		for (size_t k = 0; k < sizeof(data); k++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			data[k] = seed >> 40;
			if (seed >> 60 == 0)
				data[k] = '\n';
		}
		text = replayed(data, sizeof(data), &code);
		CHECK(code == 0 || code == -EBADMSG);
	}
}

int main(void)
{
	assert(mkdtemp(dir));
	path = xasprintf("%s/journal", dir);
	RUN(changes_survive);
	RUN(a_reused_address_no_longer_rests);
	RUN(a_snapshot_is_the_same_state);
	RUN(R5_any_damage_of_the_last_record_is_before_or_after);
	RUN(R5_after_recovery_writing_goes_on);
	RUN(R5_damage_in_the_middle_is_refused);
	RUN(rubbish_never_crashes);
	unlink(path);
	rmdir(dir);
	free(path);
	return test_end();
}
