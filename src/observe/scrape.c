/* SPDX-License-Identifier: Apache-2.0 */
/* libmicrohttpd without threads of its own: its epoll descriptor is one more source of the loop.
 *
 * A connection is good for one answer and a few seconds, whatever its client does or does not do: libmicrohttpd bounds
 * headers and the number of connections, a sweep ends what has lasted too long. Bodies are not read. */
#include "observe/scrape.h"
#include "base/list.h"
#include "base/log.h"
#include "base/str.h"
#include "net/addr.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
	CONNECTIONS_MAX = 16,
	CONNECTION_MEMORY = 16 << 10, /* request line and headers; more is answered by 431 */
	LIFE_US = 5 * 1000000,
	SWEEP_US = 1000000,
};

struct scrape {
	sd_event *event;
	struct MHD_Daemon *daemon;
	sd_event_source *io, *timer, *sweep;
	struct list conns;
	bool ended; /* a connection did, during MHD_run() */
	scrape_fn *fn; /* or: */
	page_fn *page;
	void *ctx;
};

struct conn {
	struct list node;
	int fd;
	uint64_t since_us;
};

static uint64_t now_us(struct scrape *s)
{
	uint64_t now = 0;

	sd_event_now(s->event, CLOCK_MONOTONIC, &now);
	return now;
}

static void run(struct scrape *s)
{
	MHD_UNSIGNED_LONG_LONG ms;

	do { /* at its limit it does not listen; a connection that ended makes room, which the next run sees */
		s->ended = false;
		MHD_run(s->daemon);
	} while (s->ended);
	if (MHD_get_timeout(s->daemon, &ms) != MHD_YES) {
		sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
		return;
	}
	sd_event_source_set_time_relative(s->timer, ms * 1000ull);
	sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static int on_io(_unused_ sd_event_source *source, _unused_ int fd, _unused_ uint32_t events, void *ctx)
{
	run(ctx);
	return 0;
}

static int on_timer(_unused_ sd_event_source *source, _unused_ uint64_t usec, void *ctx)
{
	run(ctx);
	return 0;
}

static int on_sweep(sd_event_source *source, _unused_ uint64_t usec, void *ctx)
{
	struct scrape *s = ctx;
	struct conn *c;

	list_for_each(c, &s->conns, node)
		if (now_us(s) - c->since_us > LIFE_US)
			shutdown(c->fd, SHUT_RDWR);
	sd_event_source_set_time_relative(source, SWEEP_US);
	return sd_event_source_set_enabled(source, list_empty(&s->conns) ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

static void on_connection(void *ctx, struct MHD_Connection *mhd, void **socket_ctx,
			  enum MHD_ConnectionNotificationCode code)
{
	struct scrape *s = ctx;
	struct conn *c = *socket_ctx;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		c = xnew0(struct conn);
		c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
		c->since_us = now_us(s);
		list_push_back(&s->conns, &c->node);
		*socket_ctx = c;
		sd_event_source_set_time_relative(s->sweep, SWEEP_US);
		sd_event_source_set_enabled(s->sweep, SD_EVENT_ONESHOT);
	} else if (c) {
		list_remove(&c->node);
		free(c);
		s->ended = true;
		*socket_ctx = NULL;
	}
}

static void add_header(struct MHD_Response *r, const char *header)
{
	const char *colon = strstr(header, ": ");
	_cleanup_free_ char *name = colon ? xstrndup(header, colon - header) : NULL;

	if (name)
		MHD_add_response_header(r, name, colon + 2);
}

static enum MHD_Result answer(struct MHD_Connection *mhd, unsigned code, const char *type, const char *header, struct buf *body)
{
	struct MHD_Response *r =
	    MHD_create_response_from_buffer(body->len, body->data ? body->data : xstrdup(""), MHD_RESPMEM_MUST_FREE);
	enum MHD_Result result;

	*body = (struct buf){0};
	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, "Content-Type", type);
	add_header(r, header);
	MHD_add_response_header(r, "Connection", "close");
	if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, "Allow", "GET, HEAD");
	result = MHD_queue_response(mhd, code, r);
	MHD_destroy_response(r);
	return result;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *mhd, const char *url, const char *method,
				  _unused_ const char *version, _unused_ const char *data, size_t *data_len,
				  _unused_ void **con_cls)
{
	const char *accept = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Accept");
	bool openmetrics = accept && strstr(accept, "application/openmetrics-text");
	struct scrape *s = ctx;
	struct buf body = {0};
	struct page page = {.code = MHD_HTTP_OK, .type = "text/plain; charset=utf-8"};

	*data_len = 0;
	if (!streq(method, "GET") && !streq(method, "HEAD")) {
		buf_adds(&body, "GET or HEAD are expected\n");
		return answer(mhd, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "", &body);
	}
	if (s->page) {
		s->page(url, &page, s->ctx);
		return answer(mhd, page.code, page.type, page.header, &page.body);
	}
	if (!streq(url, "/metrics")) {
		buf_adds(&body, "there is /metrics, and nothing else\n");
		return answer(mhd, MHD_HTTP_NOT_FOUND, "text/plain; charset=utf-8", "", &body);
	}
	s->fn(&body, openmetrics, s->ctx);
	return answer(mhd, MHD_HTTP_OK,
		      openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
				  : "text/plain; version=0.0.4; charset=utf-8",
		      "", &body);
}

static void on_log(_unused_ void *ctx, const char *fmt, va_list ap)
{
	_cleanup_free_ char *text = xvasprintf(fmt, ap);

	text[strcspn(text, "\n")] = '\0';
	log_debug("HTTP", L_STR("message", text));
}

/* Does "[::]" mean IPv4 as well? Said, as net.ipv6.bindv6only may say otherwise. */
static int open_socket(bool v4, const struct addr *a)
{
	int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, only = !addr_is_zero(a);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    (!v4 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) < 0)) {
		int r = -errno;

		if (fd >= 0)
			close(fd);
		return r;
	}
	return fd;
}

int scrape_listen(const char *where)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	struct sockaddr_in in4 = {.sin_family = AF_INET};
	_cleanup_close_ int fd = -1;
	struct addr a;
	uint16_t port;
	bool v4;
	int r;

	if (addr_port_parse(where, &a, &port) < 0)
		return -EINVAL;
	v4 = addr_is_v4(&a);
	memcpy(v4 ? (void *)&in4.sin_addr : (void *)&in6.sin6_addr, addr_raw(&a), addr_raw_len(&a));
	in4.sin_port = in6.sin6_port = htons(port);
	r = open_socket(v4, &a);
	if (r == -EAFNOSUPPORT && !v4 && addr_is_zero(&a)) {
		v4 = true; /* without IPv6; in4 has the address 0.0.0.0 */
		r = open_socket(v4, &a);
	}
	if (r < 0)
		return r;
	fd = r;
	if (bind(fd, v4 ? (struct sockaddr *)&in4 : (struct sockaddr *)&in6, v4 ? sizeof(in4) : sizeof(in6)) < 0 ||
	    listen(fd, CONNECTIONS_MAX) < 0)
		return -errno;
	return take_fd(fd);
}

static int add_sources(struct scrape *s)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	int r = sd_event_add_io(s->event, &s->io, info->epoll_fd, EPOLLIN, on_io, s);

	if (r >= 0)
		r = sd_event_add_time(s->event, &s->timer, CLOCK_MONOTONIC, UINT64_MAX, 1000, on_timer, s);
	if (r >= 0)
		r = sd_event_add_time(s->event, &s->sweep, CLOCK_MONOTONIC, UINT64_MAX, 100000, on_sweep, s);
	return r;
}

static int start(sd_event *event, int fd, scrape_fn *fn, page_fn *page, void *ctx, struct scrape **ret)
{
	struct scrape *s = xnew0(struct scrape);
	int r;

	*s = (struct scrape){.event = sd_event_ref(event), .fn = fn, .page = page, .ctx = ctx};
	list_init(&s->conns);
	s->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, s,
				     MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
				     MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
				     MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
				     MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(LIFE_US / 1000000),
				     MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_END);
	r = s->daemon ? add_sources(s) : -EIO;
	if (r < 0) {
		if (!s->daemon)
			close(fd);
		scrape_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

int scrape_new(sd_event *event, int fd, scrape_fn *fn, void *ctx, struct scrape **ret)
{
	return start(event, fd, fn, NULL, ctx, ret);
}

int scrape_new_pages(sd_event *event, int fd, page_fn *fn, void *ctx, struct scrape **ret)
{
	return start(event, fd, NULL, fn, ctx, ret);
}

struct scrape *scrape_free(struct scrape *s)
{
	if (!s)
		return NULL;
	sd_event_source_disable_unref(s->io);
	sd_event_source_disable_unref(s->timer);
	if (s->daemon)
		MHD_stop_daemon(s->daemon); /* closes the socket; tells of the end of each connection */
	sd_event_source_disable_unref(s->sweep);
	sd_event_unref(s->event);
	free(s);
	return NULL;
}
