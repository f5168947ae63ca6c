/* SPDX-License-Identifier: Apache-2.0 */
/* As little HTTP as a scraper needs: whatever is asked, up to an empty line, the answer is the page, then the connection
 * is closed. Eight connections at a time, five seconds each. */
#include "wg/metrics.h"

#include "base/list.h"
#include "base/log.h"
#include "base/str.h"
#include "wg/engine.h"
#include "wg/state.h"

#include <openssl/evp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { SCRAPERS_MAX = 8, REQUEST_MAX = 4096 };
#define SCRAPE_USEC (UINT64_C(5) * 1000 * 1000)

struct metrics {
	struct engine *engine;
	int fd;
	char where[METRICS_WHERE_MAX];
	sd_event_source *io;
	struct list scrapers;
	unsigned n;
};

struct scraper {
	struct list all;
	struct metrics *metrics;
	int fd;
	struct buf in, out;
	size_t sent;
	sd_event_source *io, *timer;
};

static const struct {
	const char *name, *help;
	size_t offset;
} data_stats[] = {
#define X(field, text) { #field, text, offsetof(struct data_stats, field) },
	DATA_STATS(X)
#undef X
};

enum { LABEL_MAX = 2 * IF_NAMESIZE };

/* The interface's name as a label's value: it may have quotes and backslashes. */
static const char *label(const struct engine *e, char ret[static LABEL_MAX])
{
	char *to = ret;

	for (const char *s = e->tun.name; *s; s++) {
		if (*s == '"' || *s == '\\')
			*to++ = '\\';
		*to++ = *s;
	}
	*to = '\0';
	return ret;
}

static void add(struct buf *out, const char *ifname, const char *name, const char *type, const char *help, uint64_t v)
{
	(void)buf_addf(out, "# HELP weft_wg_%s %s\n# TYPE weft_wg_%s %s\nweft_wg_%s{interface=\"%s\"} %llu\n", name, help, name,
		       type, name, ifname, (unsigned long long)v);
}

static void add_peers(struct engine *e, struct buf *out)
{
	static const struct {
		const char *name, *type, *help;
	} rows[] = {
		{ "peer_received_bytes_total", "counter", "bytes received from a peer, encrypted" },
		{ "peer_sent_bytes_total", "counter", "bytes sent to a peer, encrypted" },
		{ "peer_last_handshake_seconds", "gauge", "when the last handshake ended, Unix time" },
	};
	char text[LABEL_MAX];
	const char *ifname = label(e, text);
	struct peer *p;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		(void)buf_addf(out, "# HELP weft_wg_%s %s\n# TYPE weft_wg_%s %s\n", rows[i].name, rows[i].help, rows[i].name,
			       rows[i].type);
		list_for_each(p, &e->device.order, all) {
			uint64_t v = i == 0 ? atomic_load(&p->rx_bytes) :
				     i == 1 ? atomic_load(&p->tx_bytes) :
					      (uint64_t)(p->last_handshake_real_ns / NS_PER_S);
			char key[48];

			EVP_EncodeBlock((uint8_t *)key, p->noise.pub, KEY_LEN);
			(void)buf_addf(out, "weft_wg_%s{interface=\"%s\",public_key=\"%s\"} %llu\n", rows[i].name, ifname, key,
				       (unsigned long long)v);
		}
	}
}

void metrics_format(struct engine *e, struct buf *out)
{
	const struct device_stats *s = &e->device.stats;
	const struct {
		const char *name, *help;
		uint64_t value;
	} handshakes[] = {
		{ "handshakes_completed_total", "handshakes that gave a session", s->handshakes_completed },
		{ "initiations_sent_total", "handshake initiations sent", s->initiations_sent },
		{ "responses_sent_total", "handshake responses sent", s->responses_sent },
		{ "cookies_sent_total", "cookie replies sent, that is under load", s->cookies_sent },
		{ "cookies_received_total", "cookie replies accepted", s->cookies_received },
		{ "handshake_bad_mac_total", "handshake messages without a valid first MAC", s->bad_mac },
		{ "handshake_bad_total", "handshake messages that do not authenticate", s->bad_handshake },
		{ "handshake_replayed_total", "initiations with an old timestamp", s->replayed_handshake },
		{ "handshake_rate_limited_total", "handshake messages beyond a source's or peer's rate", s->rate_limited },
		{ "handshake_overload_dropped_total", "handshake messages neither answered nor accepted under load", s->overload_dropped },
		{ "handshake_unknown_index_total", "handshake messages for no handshake of ours", s->unknown_index },
		{ "handshake_staged_dropped_total", "packets dropped because no handshake succeeded", s->staged_dropped },
	};
	const struct state_stats *saved = state_stats(e->state);
	char name[64], text[LABEL_MAX];
	const char *ifname = label(e, text);

	add(out, ifname, "up", "gauge", "whether the interface is up", e->link_up);
	add(out, ifname, "peers", "gauge", "configured peers", e->device.peers.count);
	add(out, ifname, "handshake_queue", "gauge", "handshake messages waiting", engine_queue_depth(e));
	add(out, ifname, "near", "gauge", "whether packets are handled on the processor where they come", atomic_load(&e->steer.calm.near));
	add(out, ifname, "near_changes_total", "counter", "how often that has changed", e->steer.changes);
	add(out, ifname, "state_records_total", "counter", "records appended to the saved state of the peers", saved->records);
	add(out, ifname, "state_rewrites_total", "counter", "times that it was written anew", saved->rewrites);
	add(out, ifname, "state_errors_total", "counter", "failures to save something in the state directory", saved->errors);
	for (size_t i = 0; i < ARRAY_SIZE(handshakes); i++)
		add(out, ifname, handshakes[i].name, "counter", handshakes[i].help, handshakes[i].value);
	for (size_t i = 0; i < ARRAY_SIZE(data_stats); i++) {
		snprintf(name, sizeof(name), "%s_total", data_stats[i].name);
		add(out, ifname, name, "counter", data_stats[i].help, engine_stat(e, data_stats[i].offset));
	}
	add_peers(e, out);
}

static void scraper_free(struct scraper *s)
{
	list_remove(&s->all);
	s->metrics->n--;
	sd_event_source_unref(s->io);
	sd_event_source_unref(s->timer);
	close_fd(s->fd);
	buf_done(&s->in);
	buf_done(&s->out);
	free(s);
}

static void make_page(struct scraper *s)
{
	struct buf page = { 0 };

	metrics_format(s->metrics->engine, &page);
	(void)buf_addf(&s->out,
		       "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
		       "Content-Length: %zu\r\nConnection: close\r\n\r\n",
		       page.len);
	(void)buf_add(&s->out, page.data, page.len);
	buf_done(&page);
}

static int on_scraper(sd_event_source *source, int fd, uint32_t events, void *ctx)
{
	struct scraper *s = ctx;

	if (!s->out.len) {
		ssize_t n = buf_read_fd(&s->in, fd);

		if (n <= 0 && n != -EAGAIN) {
			scraper_free(s);
			return 0;
		}
		if (!s->in.data || !(strstr(s->in.data, "\r\n\r\n") || strstr(s->in.data, "\n\n")))
			return 0;
		make_page(s);
		(void)sd_event_source_set_io_events(source, EPOLLOUT);
	}
	if (events & (EPOLLOUT | EPOLLIN)) {
		ssize_t n = send(fd, s->out.data + s->sent, s->out.len - s->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		s->sent += n > 0 ? n : 0;
		if ((n < 0 && errno != EAGAIN) || s->sent == s->out.len)
			scraper_free(s);
	}
	return 0;
}

static int on_late(sd_event_source *source _unused_, uint64_t usec _unused_, void *ctx)
{
	scraper_free(ctx);
	return 0;
}

static int on_connection(sd_event_source *source _unused_, int fd, uint32_t events _unused_, void *ctx)
{
	struct metrics *m = ctx;
	int conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct scraper *s;

	if (conn < 0)
		return 0;
	if (m->n == SCRAPERS_MAX) {
		close(conn);
		return 0;
	}
	s = xnew0(struct scraper);
	*s = (struct scraper){ .metrics = m, .fd = conn, .in.max = REQUEST_MAX };
	list_push_back(&m->scrapers, &s->all);
	m->n++;
	if (sd_event_add_io(m->engine->event, &s->io, conn, EPOLLIN, on_scraper, s) < 0 ||
	    sd_event_add_time_relative(m->engine->event, &s->timer, CLOCK_MONOTONIC, SCRAPE_USEC, 0, on_late, s) < 0)
		scraper_free(s);
	return 0;
}

static int listen_unix(const char *path)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	_cleanup_close_ int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct stat there;

	if (fd < 0 || probe < 0)
		return -errno;
	if (!*path) /* the kernel would make up a name */
		return -EINVAL;
	if (snprintf(a.sun_path, sizeof(a.sun_path), "%s", path) >= (int)sizeof(a.sun_path))
		return -ENAMETOOLONG;
	if (connect(probe, (struct sockaddr *)&a, sizeof(a)) == 0 || errno == EAGAIN)
		return -EADDRINUSE;
	if (lstat(path, &there) == 0 && S_ISSOCK(there.st_mode))
		(void)unlink(path); /* left behind by one that has ended */
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, SCRAPERS_MAX) < 0)
		return -errno;
	return take_fd(fd);
}

int metrics_listen(const char *where)
{
	_cleanup_close_ int fd = -1;
	struct endpoint e;
	int one = 1;

	if (str_has_prefix(where, "unix:"))
		return listen_unix(where + strlen("unix:"));
	if (endpoint_parse(where, &e) < 0 || !e.to.in4.sin_port)
		return -EINVAL;
	fd = socket(e.to.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, &e.to.sa, endpoint_len(&e)) < 0 || listen(fd, SCRAPERS_MAX) < 0)
		return -errno;
	return take_fd(fd);
}

int metrics_fd(const struct metrics *m)
{
	return m->fd;
}

const char *metrics_where(const struct metrics *m)
{
	return m->where;
}

int metrics_new(struct engine *e, int fd, const char *where, struct metrics **ret)
{
	struct metrics *m = xnew0(struct metrics);
	int r;

	*m = (struct metrics){ .engine = e, .fd = fd };
	snprintf(m->where, sizeof(m->where), "%s", where);
	list_init(&m->scrapers);
	r = sd_event_add_io(e->event, &m->io, fd, EPOLLIN, on_connection, m);
	if (r < 0) {
		metrics_free(m);
		return r;
	}
	e->metrics = m;
	*ret = m;
	return 0;
}

struct metrics *metrics_free(struct metrics *m)
{
	struct scraper *s, *tmp;

	if (!m)
		return NULL;
	m->engine->metrics = NULL;
	list_for_each_safe(s, tmp, &m->scrapers, all)
		scraper_free(s);
	sd_event_source_unref(m->io);
	close_fd(m->fd);
	free(m);
	return NULL;
}
