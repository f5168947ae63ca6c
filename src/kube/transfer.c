/* SPDX-License-Identifier: Apache-2.0 */
/* libcurl's multi interface on sd-event: it tells us which sockets and which one timer it waits for, we tell it when
 * they fire.
 *
 * libcurl calls back (body bytes) from inside of its own functions, and must not be called from there. Our callers
 * should not have to know: a start is only queued, a cancel only marks, and a deferred event source does both from the
 * loop.
 *
 * A few requests are under way at a time, the others wait: to a server that speaks HTTP/1.1 each one more would open a connection of its own,
 * and a hundred TLS handshakes at once cost it more than a hundred answers. */
#include "kube/transfer.h"
#include "base/file.h"
#include "base/str.h"
#include "kube/client_internal.h"
#include "kube/reflector.h"

#include <curl/curl.h>
#include <fcntl.h>

enum {
	TRANSFERS_MAX = 256,
	SHORT_MAX = 8, /* under way at a time, watches aside */
	TOKEN_MAX = 64 * 1024,
	TIMER_ACCURACY_US = 1000, /* 0 would be 250 ms, and each request waits for it */
};

struct kube_transfer {
	struct list link;
	struct kube_client *client;
	const struct kube_transfer_ops *ops; /* NULL: cancelled */
	void *ctx;
	CURL *easy;
	struct curl_slist *headers;
	bool added; /* to the multi handle */
	bool endless;
	char error[CURL_ERROR_SIZE];
};

static void transfer_free(struct kube_transfer *t)
{
	struct kube_client *c = t->client;

	list_remove(&t->link);
	c->n_transfers--;
	if (t->added)
		curl_multi_remove_handle(c->multi, t->easy);
	if (t->added && !t->endless) {
		c->n_short--;
		sd_event_source_set_enabled(c->later, SD_EVENT_ONESHOT); /* whose turn it is */
	}
	curl_easy_cleanup(t->easy);
	curl_slist_free_all(t->headers);
	free(t);
}

static uint64_t retry_after_of(CURL *easy)
{
	struct curl_header *h;

	if (curl_easy_header(easy, "Retry-After", 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
		return 0;
	return kube_retry_after_ms(h->value, strlen(h->value));
}

static void finish(struct kube_transfer *t, CURLcode code)
{
	const char *error = code == CURLE_OK ? NULL : *t->error ? t->error : curl_easy_strerror(code);

	if (t->ops)
		t->ops->done(kube_transfer_status(t), error, retry_after_of(t->easy), t->ctx);
	transfer_free(t);
}

static void collect_finished(struct kube_client *c)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(c->multi, &left))) {
		CURLcode code = msg->data.result;
		struct kube_transfer *t;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&t);
		finish(t, code);
	}
}

static bool may_start(const struct kube_transfer *t)
{
	return t->endless || t->client->n_short < SHORT_MAX;
}

static void start(struct kube_transfer *t)
{
	t->added = curl_multi_add_handle(t->client->multi, t->easy) == CURLM_OK;
	if (!t->added)
		finish(t, CURLE_FAILED_INIT);
	else if (!t->endless)
		t->client->n_short++;
}

/* Starts what is queued, ends what is cancelled: outside of libcurl's callbacks. */
static int on_later(sd_event_source *s _unused_, void *ctx)
{
	struct kube_client *c = ctx;
	struct kube_transfer *t, *next;

	list_for_each_safe(t, next, &c->transfers, link) {
		if (!t->ops) {
			transfer_free(t);
		} else if (!t->added && may_start(t)) {
			start(t);
		}
	}
	collect_finished(c);
	return 0;
}

static void call_curl(struct kube_client *c, curl_socket_t fd, int events)
{
	int running;

	curl_multi_socket_action(c->multi, fd, events, &running);
	collect_finished(c);
}

/* A socket of libcurl's that we watch, by a descriptor of our own: it closes those that it gives up while they connect
 * before it says so, and a socket that a child holds up to its exec would then stay in epoll, with a source that is gone. */
struct watched {
	struct kube_client *client;
	curl_socket_t socket;
	sd_event_source *source; /* owns the descriptor */
};

static int on_socket_ready(sd_event_source *s _unused_, int fd _unused_, uint32_t revents, void *ctx)
{
	struct watched *w = ctx;
	int events = 0;

	if (revents & (EPOLLIN | EPOLLHUP))
		events |= CURL_CSELECT_IN;
	if (revents & EPOLLOUT)
		events |= CURL_CSELECT_OUT;
	if (revents & EPOLLERR)
		events |= CURL_CSELECT_ERR;
	call_curl(w->client, w->socket, events);
	return 0;
}

static int on_timer(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	call_curl(ctx, CURL_SOCKET_TIMEOUT, 0);
	return 0;
}

static struct watched *watched_free(struct watched *w)
{
	if (w)
		sd_event_source_disable_unref(w->source);
	free(w);
	return NULL;
}

static struct watched *watched_new(struct kube_client *c, curl_socket_t socket, uint32_t events)
{
	struct watched *w = xnew0(struct watched);
	int fd = fcntl(socket, F_DUPFD_CLOEXEC, 3);

	*w = (struct watched){.client = c, .socket = socket};
	if (fd < 0 || sd_event_add_io(c->event, &w->source, fd, events, on_socket_ready, w) < 0) {
		close_fd(fd);
		return watched_free(w);
	}
	sd_event_source_set_io_fd_own(w->source, true);
	return w;
}

/* libcurl: wait for these events on that socket. What watches it hangs at it (curl_multi_assign). */
static int want_socket(CURL *easy _unused_, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
	uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	struct watched *w = socket_ctx;
	struct kube_client *c = ctx;

	if (what == CURL_POLL_REMOVE)
		w = watched_free(w);
	else if (w)
		return sd_event_source_set_io_events(w->source, events) < 0 ? -1 : 0;
	else if (!(w = watched_new(c, fd, events)))
		return -1;
	curl_multi_assign(c->multi, fd, w);
	return 0;
}

static int want_timer(CURLM *multi _unused_, long timeout_ms, void *ctx)
{
	struct kube_client *c = ctx;

	if (timeout_ms < 0)
		return sd_event_source_set_enabled(c->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
	sd_event_source_set_time_relative(c->timer, timeout_ms * 1000ull);
	return sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT) < 0 ? -1 : 0;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
	struct kube_transfer *t = ctx;

	return t->ops && t->ops->data(data, size * n, t->ctx) ? size * n : CURL_WRITEFUNC_ERROR;
}

/* Header lines as they come; the empty one ends the head (those of 1xx answers do not count). */
static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
	struct kube_transfer *t = ctx;
	int status = kube_transfer_status(t);

	if (t->ops && t->ops->head && size * n <= 2 && *line == '\r' && status >= 200)
		t->ops->head(status, t->ctx);
	return size * n;
}

static void note_place(struct kube_client *c, const char *ip, uint16_t port)
{
	struct kube_place *p;

	for (size_t i = 0; i < MIN(c->n_places, (uint64_t)KUBE_PLACES_MAX); i++)
		if (streq(c->places[i].ip, ip) && c->places[i].port == port)
			return;
	p = &c->places[c->n_places++ % KUBE_PLACES_MAX];
	snprintf(p->ip, sizeof(p->ip), "%s", ip);
	p->port = port;
}

/* libcurl: there is a connection, with whom TLS wants it to be, and the request is about to be sent. */
static int on_connected(void *ctx, char *ip, char *own_ip _unused_, int port, int own_port _unused_)
{
	struct kube_transfer *t = ctx;

	note_place(t->client, ip, port);
	return CURL_PREREQFUNC_OK;
}

static void add_header(struct kube_transfer *t, const char *name, const char *value)
{
	_cleanup_free_ char *line = xasprintf("%s: %s", name, value);

	t->headers = curl_slist_append(t->headers, line);
	explicit_bzero(line, strlen(line));
}

/* The token of now: service account tokens are rotated in their file. */
static void add_token(struct kube_transfer *t)
{
	const struct kube_config *config = &t->client->config;
	_cleanup_free_ char *file = NULL, *value = NULL;
	const char *token = config->token;
	size_t len;

	if (config->token_path && file_read(config->token_path, TOKEN_MAX, &file, &len) == 0) {
		file[strcspn(file, "\r\n")] = 0;
		token = file;
	}
	if (!token)
		return;
	value = xasprintf("Bearer %s", token);
	add_header(t, "Authorization", value);
	explicit_bzero(value, strlen(value));
	if (file)
		explicit_bzero(file, len);
}

static CURLcode set_blob(CURL *easy, CURLoption option, char *pem)
{
	struct curl_blob blob = {.data = pem, .len = pem ? strlen(pem) : 0, .flags = CURL_BLOB_NOCOPY};

	return pem ? curl_easy_setopt(easy, option, &blob) : CURLE_OK;
}

static void set_tls(CURL *easy, const struct kube_client *c)
{
	set_blob(easy, CURLOPT_CAINFO_BLOB, c->config.ca);
	set_blob(easy, CURLOPT_SSLCERT_BLOB, c->config.cert);
	set_blob(easy, CURLOPT_SSLKEY_BLOB, c->config.key);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (c->config.insecure) {
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	if (c->connect_to)
		curl_easy_setopt(easy, CURLOPT_CONNECT_TO, c->connect_to);
}

static void set_method(struct kube_transfer *t, const struct kube_transfer_spec *spec)
{
	if (spec->body) {
		curl_easy_setopt(t->easy, CURLOPT_COPYPOSTFIELDS, spec->body);
		add_header(t, "Content-Type", spec->content_type ? spec->content_type : "application/json");
		add_header(t, "Expect", ""); /* no waiting for "100 Continue" */
	}
	curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, spec->method);
}

static void set_limits(CURL *easy, const struct kube_transfer_spec *spec)
{
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 10000L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)spec->timeout_ms);
	if (spec->stall_ms) {
		curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)MAX(spec->stall_ms / 1000, 1));
	}
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 15L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5L);
}

int kube_transfer_start(struct kube_client *c, const struct kube_transfer_spec *spec,
			const struct kube_transfer_ops *ops, void *ctx, struct kube_transfer **ret)
{
	_cleanup_free_ char *url = xasprintf("%s%s", c->base, spec->path);
	struct kube_transfer *t;

	if (spec->path[0] != '/' || strpbrk(spec->path, " \r\n\t#"))
		return -EINVAL;
	if (c->n_transfers >= TRANSFERS_MAX)
		return -EAGAIN;
	t = xnew0(struct kube_transfer);
	*t = (struct kube_transfer){.client = c, .ops = ops, .ctx = ctx, .endless = spec->endless, .easy = curl_easy_init()};
	if (!t->easy) {
		free(t);
		return -ENOMEM;
	}
	list_push_back(&c->transfers, &t->link);
	c->n_transfers++;
	curl_easy_setopt(t->easy, CURLOPT_URL, url);
	curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
	curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->error);
	curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(t->easy, CURLOPT_PREREQFUNCTION, on_connected);
	curl_easy_setopt(t->easy, CURLOPT_PREREQDATA, t);
	curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(t->easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(t->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(t->easy, CURLOPT_PIPEWAIT, 1L); /* rather share a connection than open one */
	curl_easy_setopt(t->easy, CURLOPT_ACCEPT_ENCODING, "gzip");
	curl_easy_setopt(t->easy, CURLOPT_USERAGENT, c->user_agent);
	set_method(t, spec);
	set_limits(t->easy, spec);
	set_tls(t->easy, c);
	add_header(t, "Accept", "application/json");
	add_token(t);
	curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
	sd_event_source_set_enabled(c->later, SD_EVENT_ONESHOT);
	*ret = t;
	return 0;
}

void kube_transfer_cancel(struct kube_transfer *t)
{
	t->ops = NULL;
	sd_event_source_set_enabled(t->client->later, SD_EVENT_ONESHOT);
}

int kube_transfer_status(const struct kube_transfer *t)
{
	long status = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

/* With a tls-server-name the URL bears that name, and connections for it go to the real host. */
static int set_base(struct kube_client *c, char **ret_error)
{
	CURLU *u = curl_url();
	_cleanup_free_ char *entry = NULL;
	char *host = NULL, *port = NULL, *url = NULL;
	int r = -EINVAL;

	if (curl_url_set(u, CURLUPART_URL, c->config.server, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK)
		goto out;
	if (c->config.tls_server_name) {
		entry = xasprintf("%s:%s:%s:%s", c->config.tls_server_name, port, host, port);
		c->connect_to = curl_slist_append(NULL, entry);
		if (curl_url_set(u, CURLUPART_HOST, c->config.tls_server_name, 0) != CURLUE_OK)
			goto out;
	}
	if (curl_url_get(u, CURLUPART_URL, &url, 0) != CURLUE_OK)
		goto out;
	c->base = xstrdup(url);
	if (str_has_suffix(c->base, "/"))
		c->base[strlen(c->base) - 1] = 0;
	r = 0;
out:
	if (r < 0 && ret_error)
		*ret_error = xasprintf("bad server address \"%s\"", c->config.server);
	curl_free(host);
	curl_free(port);
	curl_free(url);
	curl_url_cleanup(u);
	return r;
}

static char *copy(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

static int set_up_loop(struct kube_client *c)
{
	int r;

	r = sd_event_add_time(c->event, &c->timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY_US, on_timer, c);
	if (r >= 0)
		r = sd_event_source_set_enabled(c->timer, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_defer(c->event, &c->later, on_later, c);
	if (r >= 0)
		r = sd_event_source_set_enabled(c->later, SD_EVENT_OFF);
	if (r < 0)
		return r;
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, want_timer);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
	return 0;
}

int kube_client_new(sd_event *event, const struct kube_config *config, const char *user_agent, struct kube_client **ret,
		    char **ret_error)
{
	_cleanup_(kube_client_freep) struct kube_client *c = xnew0(struct kube_client);
	int r;

	if (ret_error)
		*ret_error = NULL;
	list_init(&c->transfers);
	list_init(&c->calls);
	c->event = sd_event_ref(event);
	c->user_agent = xstrdup(user_agent);
	c->config = (struct kube_config){.server = copy(config->server),
					 .ca = copy(config->ca),
					 .cert = copy(config->cert),
					 .key = copy(config->key),
					 .token = copy(config->token),
					 .token_path = copy(config->token_path),
					 .tls_server_name = copy(config->tls_server_name),
					 .insecure = config->insecure};
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(c->multi = curl_multi_init()))
		return -ENOMEM;
	r = set_base(c, ret_error);
	if (r < 0)
		return r;
	r = set_up_loop(c);
	if (r < 0)
		return r;
	*ret = take_ptr(c);
	return 0;
}

struct kube_client *kube_client_free(struct kube_client *c)
{
	struct kube_transfer *t, *next;

	if (!c)
		return NULL;
	kube_client_drop_calls(c);
	list_for_each_safe(t, next, &c->transfers, link)
		transfer_free(t);
	if (c->multi)
		curl_multi_cleanup(c->multi);
	sd_event_source_disable_unref(c->timer);
	sd_event_source_disable_unref(c->later);
	curl_slist_free_all(c->connect_to);
	kube_config_done(&c->config);
	free(c->base);
	free(c->user_agent);
	sd_event_unref(c->event);
	free(c);
	return NULL;
}

size_t kube_client_places(const struct kube_client *c, const struct kube_place **ret)
{
	*ret = c->places;
	return MIN(c->n_places, (uint64_t)KUBE_PLACES_MAX);
}

sd_event *kube_client_event(const struct kube_client *c)
{
	return c->event;
}
