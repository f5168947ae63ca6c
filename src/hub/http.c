/* SPDX-License-Identifier: Apache-2.0 */
/* libmicrohttpd without threads of its own: its epoll descriptor is one more source of the loop.
 *
 * A watch is a response without an end. When its buffer is empty the connection is suspended, and resumed when the
 * watch wakes. libmicrohttpd does not look at a suspended connection, so the loop watches its socket for a hang-up itself.
 *
 * Against slow clients: what a request may take is bounded (body, header memory, connections), an idle connection is closed
 * after a while by libmicrohttpd, and a sweep closes connections that have been sending one request for too long; bytes that
 * arrived since the last answer tell a request under way from an idle connection (TCP_INFO). */
#include "hub/http.h"
#include "base/log.h"
#include "base/str.h"
#include "hub/api.h"
#include "hub/peer.h"
#include "hub/watch.h"

#include <linux/tcp.h>
#include <microhttpd.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
	BODY_MAX = 3 << 20,
	CONNECTIONS_MAX = 4096,
	CONNECTION_MEMORY = 64 << 10,
	IDLE_S = 120,
	REQUEST_S = 20,
	SWEEP_S = 2,
	WATCH_BLOCK = 32 << 10,
};

struct http {
	struct hub *hub;
	struct MHD_Daemon *daemon;
	sd_event_source *io, *timer, *sweep;
	struct list conns, calls;
	bool kicked; /* a connection was resumed: MHD_run() has to look */
};

/* A connection, from accept to close. */
struct conn {
	struct list node;
	int fd;
	struct identity id;
	bool identified;
	bool busy;	   /* an answer is being made or sent */
	uint64_t bytes;	   /* received when the last request ended */
	uint64_t since_us; /* when the request under way was first seen, 0: none */
};

/* A request. */
struct call {
	struct list node;
	struct http *http;
	struct conn *conn;
	struct MHD_Connection *mhd;
	struct buf body;
	bool too_large;
	struct watch *watch;
	bool suspended, gone;
	sd_event_source *hangup;
};

static uint64_t now_us(struct http *h)
{
	uint64_t t = 0;

	sd_event_now(h->hub->event, CLOCK_MONOTONIC, &t);
	return t;
}

static uint64_t received_bytes(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t n = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0 ? info.tcpi_bytes_received : 0;
}

static void arm_timer(struct http *h)
{
	MHD_UNSIGNED_LONG_LONG ms;

	if (h->kicked) {
		ms = 0;
	} else if (MHD_get_timeout(h->daemon, &ms) != MHD_YES) {
		sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
		return;
	}
	sd_event_source_set_time_relative(h->timer, ms * 1000ull);
	sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT);
}

static void run(struct http *h)
{
	h->kicked = false;
	MHD_run(h->daemon);
	arm_timer(h);
}

static int on_io(sd_event_source *s, int fd, uint32_t events, void *ctx)
{
	(void)s;
	(void)fd;
	(void)events;
	run(ctx);
	return 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *ctx)
{
	(void)s;
	(void)usec;
	run(ctx);
	return 0;
}

static void sweep_conn(struct http *h, struct conn *c, uint64_t now)
{
	if (c->busy) {
		c->since_us = 0;
		return;
	}
	if (received_bytes(c->fd) == c->bytes && c->bytes) {
		c->since_us = 0;
		return;
	}
	if (!c->since_us)
		c->since_us = now;
	else if (now - c->since_us > REQUEST_S * 1000000ull)
		shutdown(c->fd, SHUT_RDWR);
	(void)h;
}

static int on_sweep(sd_event_source *s, uint64_t usec, void *ctx)
{
	struct http *h = ctx;
	struct conn *c;

	(void)usec;
	list_for_each(c, &h->conns, node)
		sweep_conn(h, c, now_us(h));
	sd_event_source_set_time_relative(s, SWEEP_S * 1000000ull);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static void on_connection(void *ctx, struct MHD_Connection *mhd, void **socket_ctx, enum MHD_ConnectionNotificationCode code)
{
	struct http *h = ctx;
	struct conn *c = *socket_ctx;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		c = xnew0(struct conn);
		c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
		list_push_back(&h->conns, &c->node);
		*socket_ctx = c;
	} else if (c) {
		list_remove(&c->node);
		identity_done(&c->id);
		free(c);
		*socket_ctx = NULL;
	}
}

static void wake(void *ctx)
{
	struct call *call = ctx;

	if (!call->suspended)
		return;
	call->suspended = false;
	MHD_resume_connection(call->mhd);
	/* Its epoll descriptor does not tell of a resume from outside of MHD_run(): another daemon's write, a timer. */
	call->http->kicked = true;
	arm_timer(call->http);
}

static int on_hangup(sd_event_source *s, int fd, uint32_t events, void *ctx)
{
	struct call *call = ctx;

	(void)s;
	(void)fd;
	(void)events;
	call->gone = true;
	call->hangup = sd_event_source_disable_unref(call->hangup);
	wake(call);
	return 0;
}

static ssize_t read_watch(void *ctx, uint64_t pos, char *out, size_t max)
{
	struct call *call = ctx;
	ssize_t n;

	(void)pos;
	if (call->gone)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	n = watch_read(call->watch, out, max);
	if (n < 0)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (n == 0) {
		call->suspended = true;
		MHD_suspend_connection(call->mhd);
	}
	return n;
}

static void call_free(struct call *call)
{
	sd_event_source_disable_unref(call->hangup);
	list_remove(&call->node);
	watch_free(call->watch);
	buf_done(&call->body);
	free(call);
}

static void on_completed(void *ctx, struct MHD_Connection *mhd, void **con_cls, enum MHD_RequestTerminationCode why)
{
	struct call *call = *con_cls;

	(void)ctx;
	(void)mhd;
	(void)why;
	if (!call)
		return;
	call->conn->busy = false;
	call->conn->bytes = received_bytes(call->conn->fd);
	call_free(call);
	*con_cls = NULL;
}

static struct MHD_Response *watch_response(struct call *call, struct reply *rp)
{
	call->watch = watch_new(call->http->hub, rp->watch, wake, call);
	/* EPOLLRDHUP: half-closed counts as gone, a watcher has nothing more to say. */
	if (sd_event_add_io(call->http->hub->event, &call->hangup, call->conn->fd, EPOLLRDHUP | EPOLLET, on_hangup, call) < 0)
		return NULL;
	return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, WATCH_BLOCK, read_watch, call, NULL);
}

static void add_warnings(struct MHD_Response *response, const json_t *warnings)
{
	json_t *w;
	size_t i;

	json_array_foreach(warnings, i, w) {
		char escaped[512];
		_cleanup_free_ char *text = NULL;

		str_escape(escaped, sizeof(escaped), json_string_value(w));
		text = xasprintf("299 - \"%s\"", escaped);
		MHD_add_response_header(response, "Warning", text);
	}
}

static enum MHD_Result send_reply(struct call *call, struct reply *rp)
{
	struct MHD_Response *response;
	enum MHD_Result r;

	if (rp->watch)
		response = watch_response(call, rp);
	else
		response = MHD_create_response_from_buffer(rp->body.len, take_ptr(rp->body.data), MHD_RESPMEM_MUST_FREE);
	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, "Content-Type", rp->content_type);
	MHD_add_response_header(response, "Cache-Control", "no-cache, private");
	add_warnings(response, rp->warnings);
	r = MHD_queue_response(call->mhd, rp->code, response);
	MHD_destroy_response(response);
	return r;
}

struct query {
	json_t *values;
	bool garbled; /* not UTF-8: what was meant as a selector must not be passed over */
};

static enum MHD_Result add_query(void *ctx, enum MHD_ValueKind kind, const char *key, const char *value)
{
	struct query *q = ctx;
	json_t *v = json_string(value ? value : "");

	(void)kind;
	if (!v || json_object_set_new(q->values, key, v) < 0)
		q->garbled = true;
	return MHD_YES;
}

static const char *header(struct call *call, const char *name)
{
	const char *v = MHD_lookup_connection_value(call->mhd, MHD_HEADER_KIND, name);

	return v ? v : "";
}

static bool is_text(const char *s)
{
	json_t *j = json_string(s); /* valid UTF-8 */

	json_decref(j);
	return j != NULL;
}

static enum MHD_Result answer(struct call *call, const char *url, const char *method)
{
	struct reply rp = { 0 };
	struct request rq = {
		.method = method,
		.path = url,
		.query = json_object(),
		.accept = header(call, "Accept"),
		.content_type = header(call, "Content-Type"),
		.body = call->body.data ? call->body.data : "",
		.body_len = call->body.len,
		.id = &call->conn->id,
	};
	struct query query = { rq.query };
	enum MHD_Result r;

	MHD_get_connection_values(call->mhd, MHD_GET_ARGUMENT_KIND, add_query, &query);
	if (!call->conn->identified)
		peer_identify(MHD_get_connection_info(call->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION)->tls_session,
			      &call->conn->id);
	call->conn->identified = true;
	if (call->too_large)
		reply_status(&rp, status_new(413, "RequestEntityTooLarge", "Request entity too large: limit is %d", BODY_MAX));
	else if (!is_text(url) || query.garbled)
		reply_status(&rp, status_bad_request("the path or the query is not UTF-8"));
	else
		api_handle(call->http->hub, &rq, &rp);
	r = send_reply(call, &rp);
	request_done(&rq);
	reply_done(&rp);
	return r;
}

static bool announces_too_much(struct call *call)
{
	uint64_t n;
	const char *text = header(call, "Content-Length");

	return *text && (parse_u64(text, INT64_MAX, &n) < 0 || n > BODY_MAX);
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *mhd, const char *url, const char *method,
				  const char *version, const char *data, size_t *data_len, void **con_cls)
{
	struct call *call = *con_cls;

	(void)version;
	if (!call) {
		*con_cls = call = xnew0(struct call);
		call->http = ctx;
		call->mhd = mhd;
		list_push_back(&call->http->calls, &call->node);
		call->body.max = BODY_MAX;
		call->conn = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
		call->too_large = announces_too_much(call); /* read and dropped, else the client never sees the answer */
		return MHD_YES;
	}
	if (*data_len > 0) {
		if (!call->too_large && buf_add(&call->body, data, *data_len) < 0)
			call->too_large = true;
		*data_len = 0;
		return MHD_YES;
	}
	call->conn->busy = true;
	return answer(call, url, method);
}

static void on_log(void *ctx, const char *fmt, va_list ap)
{
	_cleanup_free_ char *text = xvasprintf(fmt, ap);
	size_t n = strlen(text);

	(void)ctx;
	if (n && text[n - 1] == '\n')
		text[n - 1] = 0;
	log_debug("http", L_STR("message", text));
}

static int hex_value(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;

	return at ? at - digits : -1;
}

/* Percent-decoding in place, for path and query. `%00` stays as it is written: decoded it would end the string early, and
 * a request for one thing would become a request for everything above it. */
static size_t unescape(void *ctx, struct MHD_Connection *mhd, char *text)
{
	char *out = text;

	(void)ctx;
	(void)mhd;
	for (const char *in = text; *in; in++) {
		int high = *in == '%' ? hex_value(in[1]) : -1, low = high >= 0 ? hex_value(in[2]) : -1;

		if (low >= 0 && (high || low)) {
			*out++ = high << 4 | low;
			in += 2;
		} else {
			*out++ = *in;
		}
	}
	*out = 0;
	return out - text;
}

static int start_daemon(struct http *h, int fd, const struct pki_pair *server, const char *ca_pem)
{
	h->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_USE_TLS | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, h,
		MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_HTTPS_MEM_KEY, server->key,
		MHD_OPTION_HTTPS_MEM_CERT, server->cert, MHD_OPTION_HTTPS_MEM_TRUST, ca_pem, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_END);
	return h->daemon ? 0 : -EIO;
}

int http_new(struct hub *hub, int fd, const struct pki_pair *server, const char *ca_pem, struct http **ret)
{
	struct http *h = xnew0(struct http);
	const union MHD_DaemonInfo *info;
	int r;

	h->hub = hub;
	list_init(&h->conns);
	list_init(&h->calls);
	r = start_daemon(h, fd, server, ca_pem);
	if (r < 0) {
		close(fd);
		free(h);
		return r;
	}
	info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	r = sd_event_add_io(hub->event, &h->io, info->epoll_fd, EPOLLIN, on_io, h);
	if (r >= 0)
		r = sd_event_add_time(hub->event, &h->timer, CLOCK_MONOTONIC, UINT64_MAX, 1000, on_timer, h);
	if (r >= 0)
		r = sd_event_add_time_relative(hub->event, &h->sweep, CLOCK_MONOTONIC, SWEEP_S * 1000000ull, 0, on_sweep, h);
	if (r < 0) {
		http_free(h);
		return r;
	}
	arm_timer(h);
	*ret = h;
	return 0;
}

struct http *http_free(struct http *h)
{
	struct call *call;

	if (!h)
		return NULL;
	/* Suspended connections have to be resumed before the daemon stops. */
	list_for_each(call, &h->calls, node) {
		call->gone = true;
		wake(call);
	}
	MHD_run(h->daemon);
	sd_event_source_disable_unref(h->io);
	sd_event_source_disable_unref(h->timer);
	sd_event_source_disable_unref(h->sweep);
	MHD_stop_daemon(h->daemon);
	free(h);
	return NULL;
}
