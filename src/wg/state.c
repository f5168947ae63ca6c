/* SPDX-License-Identifier: Apache-2.0 */
/* NAME.conf is the text of the configuration protocol, secrets included, mode 0600, replaced atomically at most ten times
 * a second, when the configuration has changed. NAME.peers (ledger.h) has what changes by itself: an accepted initiation is in it before it is answered, so
 * that after a crash a recorded one is as old as before it, and the answer to one of ours before the session is used, so that the peer is asked at once; where peers
 * are and when they confirmed a session follows within a tenth of a second. NAME.timestamp is a TAI64N stamp a minute ahead of the newest one sent: a start takes it as "sent", so a
 * clock that was set back (a machine without a battery, a restored image) never makes us send an old one, and it is
 * written about once a minute instead of at each handshake.
 *
 * What an engine has written outlives it; a machine that loses its power may lose what was accepted in the last second: the ledger is
 * synced once a second and not for each handshake, which would cost more than the handshake. A disk that takes nothing is
 * counted, and does not stop the engine: peers without a tunnel are no safer. Nor does a slow one: a thread waits for it (saver.h), but at the start,
 * at the end, and where the ledger is written anew. */
#include "wg/state.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "wg/engine.h"
#include "wg/ledger.h"
#include "wg/saver.h"

#include <dirent.h>
#include <sys/stat.h>

enum { SAVE_DELAY_USEC = 100 * 1000, RETRY_USEC = 1000 * 1000, SYNC_USEC = 1000 * 1000, RESERVE_S = 60, SPARE_RECORDS = 1024 };

struct kept {
	char *path;   /* NULL: nothing is kept */
	bool failing; /* the last write was in vain, and that was said */
};

struct state {
	struct engine *engine;
	struct kept conf, timestamp, peers;
	uint8_t reserved[TIMESTAMP_LEN], reserved_next[TIMESTAMP_LEN];
	sd_event_source *timer, *sync_timer;
	bool dirty;
	struct saver *saver;
	bool saves_conf, saves_timestamp, syncs; /* jobs of its that are not done */

	bool begins; /* the peers of the start are still to be written */
	struct ledger ledger;
	size_t rewrite_at;   /* records */
	bool unsynced;
	struct list unsaved; /* peers, for the next round */
	struct state_stats stats;
};

static void note_result(struct state *s, struct kept *file, int r)
{
	s->stats.errors += r < 0;
	if (r < 0 && !file->failing)
		log_error("cannot save the state; trying on", L_STR("file", file->path), L_ERRNO(r));
	file->failing = r < 0;
}

static void arm(struct state *s, sd_event_source *timer, uint64_t delay)
{
	uint64_t now;

	if (sd_event_now(s->engine->event, CLOCK_MONOTONIC, &now) < 0)
		return;
	(void)sd_event_source_set_time(timer, now + delay);
	(void)sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

/* The ledger. */

static struct ledger_record record_of(struct peer *p)
{
	struct ledger_record r = { .handshake_ns = p->last_handshake_real_ns };
	struct endpoint e = peer_endpoint(p);

	memcpy(r.pub, p->noise.pub, KEY_LEN);
	memcpy(r.newest, p->noise.newest_timestamp, TIMESTAMP_LEN);
	ledger_set_endpoint(&r, &e);
	return r;
}

static bool is_news(const struct ledger_record *r)
{
	return r->family || r->handshake_ns || !secret_is_zero(r->newest, TIMESTAMP_LEN);
}

static int rewrite(struct state *s)
{
	struct buf all = { 0 };
	struct peer *p;
	int r;

	list_for_each(p, &s->engine->device.order, all) {
		struct ledger_record record = record_of(p);

		if (is_news(&record))
			(void)buf_add(&all, &record, sizeof(record));
	}
	r = ledger_rewrite(&s->ledger, s->peers.path, &all);
	s->begins = false;
	s->rewrite_at = (r < 0 ? s->ledger.records : 2 * s->ledger.records) + SPARE_RECORDS;
	s->stats.rewrites += r == 0;
	buf_done(&all);
	return r;
}

static int add_records(struct state *s, struct ledger_record *records, size_t n)
{
	int r = s->ledger.fd < 0 || s->ledger.records + n > s->rewrite_at ? rewrite(s) : 0; /* they are in it then: once too often */

	if (n && s->ledger.fd >= 0) {
		if (r < 0) /* the old file goes on */
			note_result(s, &s->peers, r);
		r = ledger_append(&s->ledger, records, n);
	}
	note_result(s, &s->peers, r);
	if (r < 0)
		return r;
	s->stats.records += n;
	if (!s->unsynced)
		arm(s, s->sync_timer, SYNC_USEC);
	s->unsynced = true;
	return 0;
}

void state_accepted(struct state *s, struct peer *p)
{
	struct ledger_record record;

	if (!s || !s->peers.path)
		return;
	if (s->ledger.fd < 0 && !s->begins) { /* could not be made: not tried at each handshake */
		state_touch_peer(s, p);
		return;
	}
	record = record_of(p);
	/* The peer has a session in a moment, whether or not we live to hear it: then it is to be asked for another. */
	record.handshake_ns = s->engine->device.ops->real_time(s->engine);
	if (add_records(s, &record, 1) < 0)
		state_touch_peer(s, p);
}

/* Before its records are written anew at the start, the file of before says of most peers that they had a session: while all of them answer, nobody waits for the
 * disk to hear it again. */
void state_answered(struct state *s, struct peer *p)
{
	const struct device *d = p->device;

	if (s && s->begins && d->ops->real_time(d->ctx) - p->last_handshake_real_ns < d->limits.reject_after_time)
		state_touch_peer(s, p);
	else
		state_accepted(s, p);
}

static void forget_unsaved(struct state *s)
{
	struct peer *p, *tmp;

	list_for_each_safe(p, tmp, &s->unsaved, unsaved)
		list_remove(&p->unsaved);
}

/* What could not be written stays unsaved. */
static int save_peers(struct state *s)
{
	struct buf some = { 0 };
	struct peer *p;
	int r = 0;

	list_for_each(p, &s->unsaved, unsaved) {
		struct ledger_record record = record_of(p);

		(void)buf_add(&some, &record, sizeof(record));
	}
	if (some.len)
		r = add_records(s, (struct ledger_record *)some.data, some.len / sizeof(struct ledger_record));
	buf_done(&some);
	if (r == 0)
		forget_unsaved(s);
	return r;
}

static void on_synced(void *ctx, int r)
{
	struct state *s = ctx;

	s->syncs = false;
	note_result(s, &s->peers, r);
}

static int on_sync_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *ctx)
{
	struct state *s = ctx;

	if (s->syncs) { /* the disk is slow */
		arm(s, s->sync_timer, SYNC_USEC);
		return 0;
	}
	s->unsynced = false;
	if (s->ledger.fd < 0)
		return 0;
	s->syncs = true;
	saver_sync(s->saver, s->ledger.fd, on_synced, s);
	return 0;
}

/* Configuration. */

static void on_conf_saved(void *ctx, int r)
{
	struct state *s = ctx;

	s->saves_conf = false;
	note_result(s, &s->conf, r);
	if (r < 0)
		state_touch(s);
}

static void save(struct state *s)
{
	struct buf text = { .secret = true };
	struct uapi_host host = engine_host(s->engine);

	uapi_format(&host, &text);
	s->dirty = false;
	s->saves_conf = true;
	saver_replace(s->saver, s->conf.path, &text, on_conf_saved, s);
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *ctx)
{
	struct state *s = ctx;

	if (s->dirty && !s->saves_conf)
		save(s);
	if (s->begins)
		note_result(s, &s->peers, rewrite(s));
	if (save_peers(s) < 0 || s->dirty)
		arm(s, s->timer, s->conf.failing || s->peers.failing ? RETRY_USEC : SAVE_DELAY_USEC);
	return 0;
}

static bool timer_runs(const struct state *s)
{
	return s->dirty || s->begins || !list_empty(&s->unsaved);
}

/* Not at once: packets wait for the data path, which comes first, and a sync takes what the disk takes. What is accepted before is written then. */
void state_begin(struct state *s)
{
	if (!s || !s->peers.path)
		return;
	if (!timer_runs(s))
		arm(s, s->timer, SAVE_DELAY_USEC);
	s->begins = true;
}

void state_touch(struct state *s)
{
	if (!s || !s->conf.path || s->dirty)
		return;
	if (!timer_runs(s))
		arm(s, s->timer, s->conf.failing ? RETRY_USEC : SAVE_DELAY_USEC);
	s->dirty = true;
}

void state_touch_peer(struct state *s, struct peer *p)
{
	if (!s || !s->peers.path || !list_empty(&p->unsaved))
		return;
	if (!timer_runs(s))
		arm(s, s->timer, SAVE_DELAY_USEC);
	list_push_back(&s->unsaved, &p->unsaved);
}

/* The clock. */

static uint64_t stamp_seconds(const uint8_t t[static TIMESTAMP_LEN])
{
	uint64_t v;

	memcpy(&v, t, sizeof(v));
	return be64toh(v);
}

static void on_reserved(void *ctx, int r)
{
	struct state *s = ctx;

	s->saves_timestamp = false;
	note_result(s, &s->timestamp, r);
	if (r == 0)
		memcpy(s->reserved, s->reserved_next, TIMESTAMP_LEN);
}

/* RESERVE_S from @timestamp on. */
static void reserve(struct state *s, const uint8_t timestamp[static TIMESTAMP_LEN])
{
	uint64_t seconds = htobe64(stamp_seconds(timestamp) + RESERVE_S);
	struct buf text = { 0 };

	memcpy(s->reserved_next, timestamp, TIMESTAMP_LEN);
	memcpy(s->reserved_next, &seconds, sizeof(seconds));
	for (int i = 0; i < TIMESTAMP_LEN; i++)
		(void)buf_addf(&text, "%02x", s->reserved_next[i]);
	(void)buf_adds(&text, "\n");
	s->saves_timestamp = true;
	saver_replace(s->saver, s->timestamp.path, &text, on_reserved, s);
}

void state_reserve_timestamp(struct state *s, const uint8_t timestamp[static TIMESTAMP_LEN])
{
	if (!s || !s->timestamp.path || stamp_seconds(timestamp) + RESERVE_S / 2 < stamp_seconds(s->reserved))
		return;
	if (!s->saves_timestamp)
		reserve(s, timestamp);
	if (memcmp(timestamp, s->reserved, TIMESTAMP_LEN) < 0)
		return;
	saver_wait(s->saver); /* it is sent in a moment */
	if (memcmp(timestamp, s->reserved, TIMESTAMP_LEN) >= 0 && !s->timestamp.failing) { /* what was under way was for an earlier one */
		reserve(s, timestamp);
		saver_wait(s->saver);
	}
	if (memcmp(timestamp, s->reserved, TIMESTAMP_LEN) >= 0) /* in vain, and said: not tried at each handshake */
		memcpy(s->reserved, s->reserved_next, TIMESTAMP_LEN);
}

static int load_timestamp(struct state *s)
{
	_cleanup_free_ char *text = NULL;
	uint8_t stamp[TIMESTAMP_LEN];
	size_t n;
	int r = file_read(s->timestamp.path, 64, &text, &n);

	if (r == -ENOENT)
		return 0;
	for (int i = 0; r == 0 && i < TIMESTAMP_LEN; i++) {
		if (n < 2 * TIMESTAMP_LEN || sscanf(text + 2 * i, "%2hhx", &stamp[i]) != 1)
			r = -EINVAL;
	}
	if (r < 0) {
		log_error("cannot read the saved handshake timestamp", L_STR("file", s->timestamp.path), L_ERRNO(r));
		return r;
	}
	memcpy(s->reserved, stamp, TIMESTAMP_LEN);
	memcpy(s->engine->device.last_timestamp, stamp, TIMESTAMP_LEN);
	return 0;
}

static int load_conf(struct state *s)
{
	struct uapi_host host = engine_host(s->engine);
	char *text = NULL;
	const char *bad = "";
	size_t n = 0;
	int r = file_read(s->conf.path, UAPI_REQUEST_MAX, &text, &n);

	if (r == -ENOENT)
		return 0;
	if (r == 0) {
		r = uapi_apply(&host, text, true, clock_now(), &bad);
		wipe(text, n);
	}
	free(text);
	if (r < 0)
		log_error("cannot read the saved configuration", L_STR("file", s->conf.path), L_STR("key", bad), L_ERRNO(r));
	return r;
}

static void on_record(void *ctx, const struct ledger_record *r)
{
	struct state *s = ctx;
	struct peer *p = device_find_peer(&s->engine->device, r->pub);
	struct endpoint e = ledger_endpoint(r);

	if (!p) /* removed since */
		return;
	memcpy(p->noise.newest_timestamp, r->newest, TIMESTAMP_LEN);
	if (endpoint_is_set(&e))
		peer_set_endpoint(p, &e);
	if (r->handshake_ns)
		device_restore_handshake(p, r->handshake_ns);
}

static int load_peers(struct state *s)
{
	struct ledger_found found = { 0 };
	char *data = NULL;
	size_t n = 0;
	int r = file_read(s->peers.path, LEDGER_FILE_MAX, &data, &n);

	if (r == -ENOENT) /* of an older version, or never spoken to */
		return 0;
	if (r == 0)
		r = ledger_read(data, n, on_record, s, &found);
	free(data);
	if (r < 0)
		log_error(r == -EPROTONOSUPPORT ? "the saved state of the peers is another version's" : "cannot read the saved state of the peers",
			  L_STR("file", s->peers.path), L_ERRNO(r));
	else if (found.bad)
		log_warn("some of the saved state of the peers is damaged; what is older counts for them", L_STR("file", s->peers.path),
			 L_UINT("records", found.bad));
	return r;
}

/* Of writes that were cut off by a kill: copies of keys, under names that no later write takes again ("PATH.PID.tmp", base/file.c). */
static void remove_unfinished(const char *path)
{
	_cleanup_free_ char *dir = xstrdup(path);
	char *name = strrchr(dir, '/');
	struct dirent *d;
	DIR *list;

	*name++ = '\0';
	list = opendir(*dir ? dir : "/");
	while (list && (d = readdir(list))) {
		const char *end = str_has_prefix(d->d_name, name) ? d->d_name + strlen(name) : "";
		size_t digits = *end == '.' ? strspn(end + 1, "0123456789") : 0;

		if (digits && streq(end + 1 + digits, ".tmp"))
			(void)unlinkat(dirfd(list), d->d_name, 0);
	}
	if (list)
		closedir(list);
}

int state_new(struct engine *e, const char *dir, bool read, struct state **ret)
{
	struct state *s = xnew0(struct state);
	int r;

	s->engine = e;
	s->ledger = LEDGER_NONE;
	list_init(&s->unsaved);
	*ret = s;
	if (!dir)
		return 0;
	r = mkdir_parents(dir, 0700);
	if (r < 0) {
		log_error("cannot make the state directory", L_STR("directory", dir), L_ERRNO(r));
		return r;
	}
	r = saver_new(e->event, &s->saver);
	if (r >= 0)
		r = sd_event_add_time(e->event, &s->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, s);
	if (r >= 0)
		r = sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time(e->event, &s->sync_timer, CLOCK_MONOTONIC, 0, 1000, on_sync_timer, s);
	if (r >= 0)
		r = sd_event_source_set_enabled(s->sync_timer, SD_EVENT_OFF);
	if (r < 0)
		return r;
	s->timestamp.path = xasprintf("%s/%s.timestamp", dir, e->tun.name);
	s->conf.path = xasprintf("%s/%s.conf", dir, e->tun.name);
	s->peers.path = xasprintf("%s/%s.peers", dir, e->tun.name);
	remove_unfinished(s->conf.path);
	remove_unfinished(s->timestamp.path);
	remove_unfinished(s->peers.path);
	if (!read)
		return 0;
	r = load_timestamp(s);
	if (r == 0)
		r = load_conf(s);
	if (r == 0)
		r = load_peers(s);
	if (r < 0) /* leave the files as they are for whoever looks */
		state_disown(s);
	return r;
}

const struct state_stats *state_stats(const struct state *s)
{
	return &s->stats;
}

void state_wait(struct state *s)
{
	if (s->saver)
		saver_wait(s->saver);
}

void state_disown(struct state *s)
{
	s->saver = saver_free(s->saver);
	s->dirty = s->begins = false;
	forget_unsaved(s);
	ledger_close(&s->ledger);
	free(s->conf.path);
	free(s->timestamp.path);
	free(s->peers.path);
	s->conf.path = s->timestamp.path = s->peers.path = NULL;
}

struct state *state_free(struct state *s)
{
	if (!s)
		return NULL;
	state_wait(s); /* what could not be saved is dirty then */
	if (s->conf.path && s->dirty)
		save(s);
	(void)save_peers(s);
	if (s->unsynced && s->ledger.fd >= 0)
		saver_sync(s->saver, s->ledger.fd, on_synced, s);
	state_disown(s); /* waits for all that */
	sd_event_source_unref(s->timer);
	sd_event_source_unref(s->sync_timer);
	free(s);
	return NULL;
}
