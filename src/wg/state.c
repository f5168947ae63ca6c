/* SPDX-License-Identifier: Apache-2.0 */
/* NAME.conf is the text of the configuration protocol, secrets included, mode 0600, replaced atomically at most ten times
 * a second. NAME.timestamp is a TAI64N stamp a minute ahead of the newest one sent: a start takes it as "sent", so a
 * clock that was set back (a machine without a battery, a restored image) never makes us send an old one, and it is
 * written about once a minute instead of at each handshake. */
#include "wg/state.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "wg/engine.h"

#include <sys/stat.h>

enum { SAVE_DELAY_USEC = 100 * 1000, RESERVE_S = 60 };

struct state {
	struct engine *engine;
	char *conf, *timestamp; /* paths; NULL: nothing is kept */
	uint8_t reserved[TIMESTAMP_LEN];
	sd_event_source *timer;
	bool dirty;
};

static int save(struct state *s)
{
	struct buf text = { .secret = true };
	struct uapi_host host = engine_host(s->engine);
	int r;

	s->dirty = false;
	uapi_format(&host, &text);
	r = file_write_atomic(s->conf, text.data ? text.data : "", text.len, 0600);
	buf_done(&text);
	if (r < 0)
		log_error("cannot save the configuration", L_STR("file", s->conf), L_ERRNO(r));
	return r;
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *ctx)
{
	struct state *s = ctx;

	if (s->dirty)
		(void)save(s);
	return 0;
}

void state_touch(struct state *s)
{
	uint64_t now;

	if (!s || !s->conf || s->dirty)
		return;
	s->dirty = true;
	if (sd_event_now(s->engine->event, CLOCK_MONOTONIC, &now) < 0)
		return;
	(void)sd_event_source_set_time(s->timer, now + SAVE_DELAY_USEC);
	(void)sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static uint64_t stamp_seconds(const uint8_t t[static TIMESTAMP_LEN])
{
	uint64_t v;

	memcpy(&v, t, sizeof(v));
	return be64toh(v);
}

void state_reserve_timestamp(struct state *s, const uint8_t timestamp[static TIMESTAMP_LEN])
{
	uint64_t seconds;
	char text[2 * TIMESTAMP_LEN + 2];
	int r;

	if (!s || !s->timestamp || memcmp(timestamp, s->reserved, TIMESTAMP_LEN) < 0)
		return;
	memcpy(s->reserved, timestamp, TIMESTAMP_LEN);
	seconds = htobe64(stamp_seconds(timestamp) + RESERVE_S);
	memcpy(s->reserved, &seconds, sizeof(seconds));
	for (int i = 0; i < TIMESTAMP_LEN; i++)
		snprintf(text + 2 * i, 3, "%02x", s->reserved[i]);
	strcpy(text + 2 * TIMESTAMP_LEN, "\n");
	r = file_write_atomic(s->timestamp, text, strlen(text), 0600);
	if (r < 0)
		log_error("cannot save the handshake timestamp", L_STR("file", s->timestamp), L_ERRNO(r));
}

static int load_timestamp(struct state *s)
{
	_cleanup_free_ char *text = NULL;
	uint8_t stamp[TIMESTAMP_LEN];
	size_t n;
	int r = file_read(s->timestamp, 64, &text, &n);

	if (r == -ENOENT)
		return 0;
	for (int i = 0; r == 0 && i < TIMESTAMP_LEN; i++) {
		if (n < 2 * TIMESTAMP_LEN || sscanf(text + 2 * i, "%2hhx", &stamp[i]) != 1)
			r = -EINVAL;
	}
	if (r < 0) {
		log_error("cannot read the saved handshake timestamp", L_STR("file", s->timestamp), L_ERRNO(r));
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
	int r = file_read(s->conf, UAPI_REQUEST_MAX, &text, &n);

	if (r == -ENOENT)
		return 0;
	if (r == 0) {
		r = uapi_apply(&host, text, true, clock_now(), &bad);
		wipe(text, n);
	}
	free(text);
	if (r < 0)
		log_error("cannot read the saved configuration", L_STR("file", s->conf), L_STR("key", bad), L_ERRNO(r));
	return r;
}

int state_new(struct engine *e, const char *dir, struct state **ret)
{
	struct state *s = xnew0(struct state);
	int r;

	s->engine = e;
	*ret = s;
	if (!dir)
		return 0;
	r = mkdir_parents(dir, 0700);
	if (r < 0) {
		log_error("cannot make the state directory", L_STR("directory", dir), L_ERRNO(r));
		return r;
	}
	r = sd_event_add_time(e->event, &s->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, s);
	if (r < 0)
		return r;
	r = sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
	if (r < 0)
		return r;
	s->timestamp = xasprintf("%s/%s.timestamp", dir, e->tun.name);
	s->conf = xasprintf("%s/%s.conf", dir, e->tun.name);
	r = load_timestamp(s);
	if (r == 0)
		r = load_conf(s);
	if (r < 0) { /* leave the files as they are for whoever looks */
		free(s->conf);
		s->conf = NULL;
	}
	return r;
}

void state_disown(struct state *s)
{
	free(s->conf);
	free(s->timestamp);
	s->conf = s->timestamp = NULL;
}

struct state *state_free(struct state *s)
{
	if (!s)
		return NULL;
	if (s->conf && s->dirty)
		(void)save(s);
	sd_event_source_unref(s->timer);
	free(s->conf);
	free(s->timestamp);
	free(s);
	return NULL;
}
