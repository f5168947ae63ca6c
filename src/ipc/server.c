/* SPDX-License-Identifier: Apache-2.0 */
/* A client is a connection with a buffer each way; a request is a handle that belongs to its handler.
 *
 * The two lives are independent: the client may leave first (the handle loses its client, its answer goes nowhere), or
 * the handle ends first (the client asks again or idles out). Each points at the other while both live, and whoever
 * ends first clears the other's pointer; nothing is counted.
 *
 * A connection is read only while no request of it is pending, so a client that pipelines fills its own socket and not
 * our memory. Freeing is deferred to an event source of its own (`later`): handlers run deep inside of the reading
 * code, and their ipc_reply() must not free what that code stands on. */
#include "ipc/server.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/log.h"
#include "base/str.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>

enum {
	DEFAULT_CLIENTS = 64,
	DEFAULT_IDLE_MS = 30000,
	DEFAULT_QUEUE = 4 << 20,
	CODE_TRY_AGAIN = 11,
	CODE_BAD_INPUT = 6, /* CNI: failed to decode content */
	CODE_REFUSED = 7,   /* CNI: invalid configuration; here: unknown method, not allowed */
};

struct client {
	struct list link;
	struct ipc_server *server;
	struct ipc_request *request; /* pending, or NULL */
	int fd;
	struct ucred peer;
	struct buf in, out;
	sd_event_source *io, *idle;
	bool closing; /* when what is queued has been sent */
	bool dead;    /* to be freed by on_later() */
	bool eof;     /* it will send no more */
};

struct ipc_request {
	struct client *client; /* NULL: it has left */
	struct ucred peer;
	ipc_gone_fn *gone;
	void *gone_ctx;
	ipc_writable_fn *writable;
	void *writable_ctx;
};

struct ipc_server {
	struct ipc_server_config config;
	sd_event *event;
	sd_event_source *io, *later;
	char *path;
	int fd;
	dev_t dev; /* the socket's file */
	ino_t ino;
	struct list clients;
	unsigned n_clients;
};

static void client_free(struct client *c)
{
	list_remove(&c->link);
	c->server->n_clients--;
	sd_event_source_disable_unref(c->io);
	sd_event_source_disable_unref(c->idle);
	close_fd(c->fd);
	buf_done(&c->in);
	buf_done(&c->out);
	free(c);
}

/* The client is gone: its handle learns it now, its memory goes in the next turn of the loop. */
static void client_kill(struct client *c)
{
	struct ipc_request *req = c->request;

	if (c->dead)
		return;
	c->dead = true;
	c->request = NULL;
	sd_event_source_set_enabled(c->io, SD_EVENT_OFF);
	sd_event_source_set_enabled(c->idle, SD_EVENT_OFF);
	sd_event_source_set_enabled(c->server->later, SD_EVENT_ONESHOT);
	if (req) {
		req->client = NULL;
		if (req->gone)
			req->gone(req, req->gone_ctx);
	}
}

static void take_lines(struct client *c);

/* What must not happen deep inside of other code: freeing, and the next line after a reply. */
static int on_later(sd_event_source *s _unused_, void *ctx)
{
	struct ipc_server *server = ctx;
	struct client *c, *next;

	list_for_each_safe(c, next, &server->clients, link) {
		if (!c->dead && !c->request && (c->in.len || c->eof))
			take_lines(c);
		if (c->dead)
			client_free(c);
	}
	return 0;
}

static void restart_idle(struct client *c)
{
	bool on = !c->request || c->out.len;

	sd_event_source_set_time_relative(c->idle, c->server->config.idle_ms * 1000);
	sd_event_source_set_enabled(c->idle, on ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

/* Reading while nothing is pending, writing while something is queued; hang-ups are always heard. */
static void update_events(struct client *c)
{
	uint32_t events = 0;

	if (c->dead)
		return;
	if (!c->request && !c->closing && !c->eof)
		events |= EPOLLIN;
	if (c->out.len)
		events |= EPOLLOUT;
	sd_event_source_set_io_events(c->io, events);
}

/* Return: false when the client is dead. */
static bool flush(struct client *c)
{
	size_t sent = 0;

	while (sent < c->out.len) {
		ssize_t n = send(c->fd, c->out.data + sent, c->out.len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			client_kill(c);
			return false;
		}
		sent += n;
	}
	if (sent) {
		buf_drop(&c->out, sent);
		restart_idle(c); /* it reads: it is alive */
	}
	if (!c->out.len && (c->closing || (c->eof && !c->request && !c->in.len))) {
		client_kill(c);
		return false;
	}
	update_events(c);
	return true;
}

/* Queues a line of at most @longest bytes, beside at most @room that are unread with it, and sends what the socket takes. Return: 0, -EPIPE. @j is taken. */
static int queue_line(struct client *c, json_t *j, size_t longest, size_t room)
{
	_cleanup_free_ char *text = json_text(j);
	size_t len = text ? strlen(text) : 0;
	bool was_empty = !c->out.len;

	json_decref(j);
	if (!text || len > longest || c->out.len + len + 1 > room) {
		log_warn("cutting off a client of the agent's socket: its answer is too large or it does not read",
			 L_INT("pid", c->peer.pid), L_UINT("queued", c->out.len), L_UINT("bytes", len));
		client_kill(c);
		return -EPIPE;
	}
	buf_add(&c->out, text, len);
	buf_add(&c->out, "\n", 1);
	if (!flush(c))
		return c->closing ? 0 : -EPIPE;
	if (was_empty && c->out.len)
		restart_idle(c);
	return 0;
}

/* The one line that answers a question. */
static int queue_answer(struct client *c, json_t *j)
{
	return queue_line(c, j, IPC_ANSWER_MAX, IPC_ANSWER_MAX + 1);
}

static json_t *error_object(int code, const char *msg, const char *details)
{
	json_t *e = json_object();

	json_object_set_new(e, "code", json_integer(code));
	json_object_set_new(e, "msg", json_string_or_escaped(msg));
	if (details)
		json_object_set_new(e, "details", json_string_or_escaped(details));
	return json_pack("{s:o}", "error", e);
}

/* An error that ends the connection: what follows on it cannot be trusted. */
static void refuse(struct client *c, int code, const char *msg)
{
	c->closing = true;
	queue_answer(c, error_object(code, msg, NULL));
}

static const struct ipc_method *find_method(const struct ipc_server *s, const char *name)
{
	for (const struct ipc_method *m = s->config.methods; m->name; m++)
		if (streq(m->name, name))
			return m;
	return NULL;
}

static void dispatch(struct client *c, const struct ipc_method *m, const json_t *j)
{
	_cleanup_json_ json_t *params = json_incref(json_object_get(j, "params"));
	struct ipc_request *req = xnew0(struct ipc_request);

	if (!params)
		params = json_object();
	req->client = c;
	req->peer = c->peer;
	c->request = req;
	restart_idle(c);
	update_events(c);
	m->fn(req, params, c->server->config.ctx);
}

static void on_line(struct client *c, const char *line, size_t len)
{
	_cleanup_free_ char *error = NULL;
	_cleanup_json_ json_t *j = json_parse("request", line, len, &error);
	const char *name = json_str_at(j, "method");
	const struct ipc_method *m;
	char text[128];

	if (!j)
		return refuse(c, CODE_BAD_INPUT, error);
	if (!name)
		return refuse(c, CODE_BAD_INPUT, "request: expected an object with a \"method\"");
	if (json_object_get(j, "params") && !json_is_object(json_object_get(j, "params")))
		return refuse(c, CODE_BAD_INPUT, "request: \"params\" is no object");
	m = find_method(c->server, name);
	if (m)
		return dispatch(c, m, j);
	snprintf(text, sizeof(text), "no such method: %.60s", name);
	queue_answer(c, error_object(CODE_REFUSED, text, NULL));
}

/* Takes whole lines out of the buffer while no request is pending. */
static void take_lines(struct client *c)
{
	while (!c->dead && !c->request && !c->closing) {
		char *nl = c->in.len ? memchr(c->in.data, '\n', c->in.len) : NULL;
		_cleanup_free_ char *line = NULL;
		size_t len;

		if (!nl)
			break;
		len = nl - c->in.data;
		line = xmalloc(len + 1);
		memcpy(line, c->in.data, len);
		line[len] = 0;
		buf_drop(&c->in, len + 1);
		restart_idle(c);
		on_line(c, line, len);
	}
	if (c->dead || c->request)
		return;
	if (c->in.len > IPC_LINE_MAX && !c->closing)
		refuse(c, CODE_BAD_INPUT, "request: longer than 1 MiB");
	else if (c->eof && c->in.len && !c->closing)
		refuse(c, CODE_BAD_INPUT, "request: the line has no end");
	else if (c->eof)
		flush(c);
}

static void read_client(struct client *c)
{
	ssize_t n = buf_read_fd(&c->in, c->fd);

	if (n == -EAGAIN)
		return;
	if (n < 0 && n != -EMSGSIZE)
		return client_kill(c);
	if (n == 0)
		c->eof = true;
	take_lines(c);
	update_events(c);
}

static int on_client(sd_event_source *s _unused_, int fd _unused_, uint32_t revents, void *ctx)
{
	struct client *c = ctx;

	if (revents & EPOLLIN && !c->request)
		read_client(c);
	if (!c->dead && revents & EPOLLOUT && flush(c) && !c->out.len && c->request && c->request->writable)
		c->request->writable(c->request, c->request->writable_ctx);
	/* not before what it had sent is read: a client may ask, shut down and wait */
	if (!c->dead && revents & (EPOLLHUP | EPOLLERR) && !(revents & EPOLLIN))
		client_kill(c);
	return 0;
}

static int on_idle(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	client_kill(ctx);
	return 0;
}

static bool is_allowed(const struct ipc_server *s, const struct ucred *peer)
{
	return s->config.any_user || peer->uid == 0;
}

/* Too many, or not root: one line, then good-bye. It is said without waiting: an empty socket takes it. */
static void turn_away(int fd, int code, const char *msg)
{
	_cleanup_json_ json_t *j = error_object(code, msg, NULL);
	_cleanup_free_ char *text = json_text(j), *line = xasprintf("%s\n", text);

	if (send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("cannot tell a client why it is turned away", L_ERRNO(errno));
}

static int add_client(struct ipc_server *s, int fd, const struct ucred *peer)
{
	struct client *c = xnew0(struct client);
	int r;

	c->server = s;
	c->fd = fd;
	c->peer = *peer;
	c->in.max = IPC_LINE_MAX + 1;
	list_push_back(&s->clients, &c->link);
	s->n_clients++;
	r = sd_event_add_io(s->event, &c->io, fd, EPOLLIN, on_client, c);
	if (r >= 0)
		r = sd_event_add_time_relative(s->event, &c->idle, CLOCK_MONOTONIC, s->config.idle_ms * 1000, 0,
					       on_idle, c);
	if (r < 0)
		client_free(c);
	return r;
}

static int on_connect(sd_event_source *src _unused_, int listen_fd, uint32_t revents _unused_, void *ctx)
{
	_cleanup_close_ int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ipc_server *s = ctx;
	struct ucred peer;
	socklen_t size = sizeof(peer);
	int r;

	if (fd < 0) {
		if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			log_warn("cannot accept on the agent's socket", L_ERRNO(errno));
		return 0;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return 0;
	if (!is_allowed(s, &peer)) {
		turn_away(fd, CODE_REFUSED, "only root may ask the agent");
	} else if (s->n_clients >= s->config.max_clients) {
		turn_away(fd, CODE_TRY_AGAIN, "too many clients at once, try again later");
	} else {
		r = add_client(s, fd, &peer);
		fd = -1; /* the client's, or closed with it */
		if (r < 0)
			log_warn("cannot serve a client of the agent's socket", L_ERRNO(r));
	}
	return 0;
}

/* A socket file that nobody listens on is left over from a crash. Return: 0, -EADDRINUSE, -EEXIST when it is no socket.
 */
static int clear_path(const struct sockaddr_un *sun)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (lstat(sun->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) == 0 || errno == EAGAIN)
		return -EADDRINUSE;
	return unlink(sun->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

static int listen_on(const char *path, mode_t mode)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;
	mode_t old;
	int r;

	if (strlen(path) >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	strcpy(sun.sun_path, path);
	r = clear_path(&sun);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	old = umask(0777); /* nobody connects before the mode is right */
	r = bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 ? -errno : 0;
	umask(old);
	if (r < 0)
		return r;
	if (chmod(path, mode) < 0 || listen(fd, 128) < 0)
		return -errno;
	return take_fd(fd);
}

static void set_defaults(struct ipc_server_config *c)
{
	c->mode = c->mode ? c->mode : 0600;
	c->max_clients = c->max_clients ? c->max_clients : DEFAULT_CLIENTS;
	c->idle_ms = c->idle_ms ? c->idle_ms : DEFAULT_IDLE_MS;
	c->max_queue = c->max_queue ? c->max_queue : DEFAULT_QUEUE;
}

static int start_listening(struct ipc_server *s)
{
	_cleanup_close_ int fd = listen_on(s->config.path, s->config.mode);
	sd_event_source *io = NULL;
	struct stat file;
	int r;

	if (fd < 0)
		return fd;
	if (stat(s->config.path, &file) < 0)
		return -errno;
	r = sd_event_add_io(s->event, &io, fd, EPOLLIN, on_connect, s);
	if (r < 0)
		return r;
	sd_event_source_disable_unref(s->io);
	close_fd(s->fd);
	s->io = io;
	s->fd = take_fd(fd);
	s->dev = file.st_dev;
	s->ino = file.st_ino;
	return 0;
}

int ipc_server_restore(struct ipc_server *s)
{
	struct stat file;
	int r;

	if (stat(s->path, &file) == 0 ? file.st_dev == s->dev && file.st_ino == s->ino : errno != ENOENT)
		return 0;
	r = start_listening(s);
	return r < 0 ? r : 1;
}

int ipc_server_new(sd_event *event, const struct ipc_server_config *config, struct ipc_server **ret)
{
	_cleanup_(ipc_server_freep) struct ipc_server *s = xnew0(struct ipc_server);
	int r;

	s->config = *config;
	set_defaults(&s->config);
	list_init(&s->clients);
	s->event = sd_event_ref(event);
	s->fd = -1;
	r = start_listening(s);
	if (r < 0)
		return r;
	s->config.path = s->path = xstrdup(config->path);
	r = sd_event_add_defer(event, &s->later, on_later, s);
	if (r < 0)
		return r;
	sd_event_source_set_enabled(s->later, SD_EVENT_OFF);
	*ret = take_ptr(s);
	return 0;
}

struct ipc_server *ipc_server_free(struct ipc_server *s)
{
	struct client *c, *next;

	if (!s)
		return NULL;
	list_for_each(c, &s->clients, link)
		client_kill(c);
	list_for_each_safe(c, next, &s->clients, link)
		client_free(c);
	sd_event_source_disable_unref(s->io);
	sd_event_source_disable_unref(s->later);
	close_fd(s->fd);
	if (s->path)
		unlink(s->path);
	free(s->path);
	sd_event_unref(s->event);
	free(s);
	return NULL;
}

unsigned ipc_server_clients(const struct ipc_server *s)
{
	return s->n_clients;
}

/* The handle is over. Return: its client, which may ask the next one; NULL when it has left. */
static struct client *end_request(struct ipc_request *req)
{
	struct client *c = req->client;

	free(req);
	if (!c)
		return NULL;
	c->request = NULL;
	restart_idle(c);
	update_events(c);
	if (c->in.len || c->eof)
		sd_event_source_set_enabled(c->server->later, SD_EVENT_ONESHOT);
	return c;
}

void ipc_reply(struct ipc_request *req, json_t *result)
{
	struct client *c = end_request(req);

	if (c)
		queue_answer(c, json_pack("{s:o}", "result", result));
	else
		json_decref(result);
}

void ipc_reply_error(struct ipc_request *req, int code, const char *msg, const char *details)
{
	struct client *c = end_request(req);

	if (c)
		queue_answer(c, error_object(code, msg, details));
}

int ipc_send(struct ipc_request *req, json_t *result)
{
	ipc_gone_fn *gone = req->gone;
	int r;

	if (!req->client) {
		json_decref(result);
		return -EPIPE;
	}
	req->gone = NULL; /* -EPIPE says it: a callback from in here could end the handle under its owner */
	r = queue_line(req->client, json_pack("{s:o}", "result", result), IPC_LINE_MAX, req->client->server->config.max_queue);
	req->gone = gone;
	return r;
}

void ipc_end(struct ipc_request *req)
{
	struct client *c = req->client;

	if (c)
		c->closing = true;
	end_request(req);
	if (c)
		flush(c);
}

void ipc_on_gone(struct ipc_request *req, ipc_gone_fn *fn, void *ctx)
{
	req->gone = fn;
	req->gone_ctx = ctx;
}

size_t ipc_unread(const struct ipc_request *req)
{
	return req->client ? req->client->out.len : 0;
}

void ipc_on_writable(struct ipc_request *req, ipc_writable_fn *fn, void *ctx)
{
	req->writable = fn;
	req->writable_ctx = ctx;
}

struct ucred ipc_peer(const struct ipc_request *req)
{
	return req->peer;
}
