/* SPDX-License-Identifier: Apache-2.0 */
/* Nonblocking throughout: a client that reads or writes slowly, or never, costs a bounded buffer and after a while its
 * connection. Requests of thousands of peers come in pieces, each byte of which is looked at once; the answer to "get" is made in one go, and before it has left nothing
 * more is read. */
#include "wg/server.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/list.h"
#include "base/log.h"
#include "base/str.h"
#include "wg/engine.h"
#include "wg/handover.h"
#include "wg/state.h"

#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { CLIENTS_MAX = 32, REQUEST_LINE_MAX = 4096 /* the longest that means something has some hundred bytes */ };
#define IDLE_USEC (UINT64_C(60) * 1000 * 1000)

struct client {
	struct list all;
	struct server *server;
	int fd;
	struct buf in, out;
	size_t begin, line, seen; /* in @in: of the request, and of its line, that are not whole yet; what was looked at */
	size_t sent;
	bool ended; /* asks no more, and may still read */
	sd_event_source *io, *timer;
};

struct server {
	struct engine *engine;
	int fd, inotify_fd;
	char *path;
	struct list clients;
	unsigned n_clients;
	sd_event_source *io, *watch;
};

static int fill_address(struct sockaddr_un *a, const char *dir, const char *name)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	return snprintf(a->sun_path, sizeof(a->sun_path), "%s/%s.sock", dir, name) < (int)sizeof(a->sun_path) ?
		       0 :
		       -ENAMETOOLONG;
}

int server_probe(const char *dir, const char *name)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a;
	int r = fill_address(&a, dir, name);

	if (fd < 0)
		return -errno;
	if (r < 0)
		return r;
	return connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 ? -EADDRINUSE : 0;
}

int server_listen(const char *dir, const char *name)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_un a;
	mode_t mask;
	int r;

	if (fd < 0)
		return -errno;
	r = fill_address(&a, dir, name);
	if (r == 0)
		r = mkdir_parents(dir, 0755);
	if (r == 0)
		r = server_probe(dir, name);
	if (r < 0)
		return r;
	if (unlink(a.sun_path) < 0 && errno != ENOENT) /* left behind by one that was killed */
		return -errno;
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, CLIENTS_MAX) < 0 ? -errno : 0;
	umask(mask);
	return r < 0 ? r : take_fd(fd);
}

bool server_is_at(int fd, const char *path)
{
	struct sockaddr_un a = { 0 };
	socklen_t len = sizeof(a) - 1;
	struct stat bound, there;

	return getsockname(fd, (struct sockaddr *)&a, &len) == 0 && a.sun_path[0] && stat(a.sun_path, &bound) == 0 && stat(path, &there) == 0 &&
	       S_ISSOCK(there.st_mode) && bound.st_dev == there.st_dev && bound.st_ino == there.st_ino;
}

static void client_free(struct client *c)
{
	list_remove(&c->all);
	c->server->n_clients--;
	sd_event_source_unref(c->io);
	sd_event_source_unref(c->timer);
	close_fd(c->fd);
	buf_done(&c->in);
	buf_done(&c->out);
	free(c);
}

static int flush_out(struct client *c)
{
	while (c->sent < c->out.len) {
		ssize_t n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			return sd_event_source_set_io_events(c->io, EPOLLOUT);
		if (n < 0)
			return -errno;
		c->sent += n;
	}
	buf_done(&c->out);
	c->sent = 0;
	return sd_event_source_set_io_events(c->io, EPOLLIN);
}

static int answer(struct client *c, char *request)
{
	struct engine *e = c->server->engine;
	struct uapi_host host = engine_host(e);
	const char *bad = NULL;
	int r;

	if (streq(request, "get=1")) {
		uapi_format(&host, &c->out);
		r = 0;
	} else if (str_has_prefix(request, "set=1\n") || streq(request, "set=1")) {
		r = uapi_apply(&host, request + MIN(strlen(request), strlen("set=1\n")), false, clock_now(), &bad);
		engine_kick(e);
		state_touch(e->state);
		if (r < 0)
			log_warn("configuration refused", L_STR("interface", e->tun.name), L_STR("key", bad), L_ERRNO(r));
	} else if (streq(request, "handover=1")) {
		r = handover_give(e, c->server, c->fd);
		if (r == 0)
			return sd_event_exit(e->event, 0);
		log_error("handing over failed; going on", L_STR("interface", e->tun.name), L_ERRNO(r));
	} else {
		r = -EINVAL;
	}
	(void)buf_addf(&c->out, "errno=%d\n\n", r);
	return flush_out(c);
}

/* Looks for the empty line that ends a request. Return: whether there is one, at @line; -EINVAL for what is no text: a NUL would hide what follows it. */
static int find_end(struct client *c)
{
	while (c->seen < c->in.len) {
		const char *from = c->in.data + c->seen;
		const char *end = memchr(from, '\n', c->in.len - c->seen);
		size_t at = end ? (size_t)(end - c->in.data) : c->in.len;

		if (at - c->line > REQUEST_LINE_MAX || memchr(from, 0, at - c->seen))
			return -EINVAL;
		c->seen = at + (end != NULL);
		if (!end)
			break;
		if (at == c->line)
			return 1;
		c->line = c->seen;
	}
	return 0;
}

static void drop_served(struct client *c)
{
	if (c->begin == c->in.len)
		buf_done(&c->in);
	else
		buf_drop(&c->in, c->begin);
	c->line -= c->begin;
	c->seen -= c->begin;
	c->begin = 0;
}

static int refuse(struct client *c)
{
	c->begin = c->line = c->seen = c->in.len;
	c->ended = true;
	(void)buf_addf(&c->out, "errno=%d\n\n", -EINVAL);
	return flush_out(c);
}

/* All whole requests that have come. */
static int serve(struct client *c)
{
	int r = 0, found;

	while (r == 0 && !c->out.len && (found = find_end(c))) {
		char *request = c->in.data + c->begin;

		if (found < 0) {
			r = refuse(c);
			break;
		}
		c->in.data[MAX(c->line, c->begin + 1) - 1] = '\0'; /* the line before ends here; one that begins with its end has none */
		r = answer(c, request);
		wipe(request, c->seen - c->begin);
		c->begin = c->line = c->seen;
	}
	drop_served(c);
	return r;
}

static int on_client(sd_event_source *s _unused_, int fd, uint32_t events, void *ctx)
{
	struct client *c = ctx;
	int r = 0;

	(void)sd_event_source_set_time_relative(c->timer, IDLE_USEC);
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR) && c->out.len)
		r = flush_out(c);
	if (r == 0 && !c->out.len && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		ssize_t n = buf_read_fd(&c->in, fd);

		c->ended |= n == 0;
		r = n < 0 && n != -EAGAIN ? n : 0;
	}
	if (r == 0)
		r = serve(c);
	if (r == 0 && c->ended)
		r = c->out.len ? sd_event_source_set_io_events(c->io, EPOLLOUT) : -EPIPE;
	if (r < 0)
		client_free(c);
	return 0;
}

static int on_idle(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	client_free(ctx);
	return 0;
}

static int on_connection(sd_event_source *source _unused_, int fd, uint32_t events _unused_, void *ctx)
{
	struct server *s = ctx;
	int conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct client *c;

	if (conn < 0)
		return 0;
	if (s->n_clients == CLIENTS_MAX) {
		close(conn);
		return 0;
	}
	c = xnew0(struct client);
	c->server = s;
	c->fd = conn;
	c->in.max = UAPI_REQUEST_MAX;
	c->in.secret = c->out.secret = true;
	list_push_back(&s->clients, &c->all);
	s->n_clients++;
	if (sd_event_add_io(s->engine->event, &c->io, conn, EPOLLIN, on_client, c) < 0 ||
	    sd_event_add_time_relative(s->engine->event, &c->timer, CLOCK_MONOTONIC, IDLE_USEC, 0, on_idle, c) < 0)
		client_free(c);
	return 0;
}

static int on_removed(sd_event_source *source _unused_, int fd, uint32_t events _unused_, void *ctx)
{
	struct server *s = ctx;
	char buf[4096];

	if (read(fd, buf, sizeof(buf)) < 0)
		return 0;
	if (!s->path || access(s->path, F_OK) == 0 || errno != ENOENT)
		return 0;
	log_info("the configuration socket was removed: ending", L_STR("interface", s->engine->tun.name));
	return sd_event_exit(s->engine->event, 0);
}

static int watch_path(struct server *s)
{
	_cleanup_free_ char *dir = xstrdup(s->path);

	*strrchr(dir, '/') = '\0';
	s->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (s->inotify_fd < 0 || inotify_add_watch(s->inotify_fd, dir, IN_DELETE | IN_MOVED_FROM) < 0)
		return -errno;
	return sd_event_add_io(s->engine->event, &s->watch, s->inotify_fd, EPOLLIN, on_removed, s);
}

int server_new(struct engine *e, int fd, const char *path, struct server **ret)
{
	struct server *s = xnew0(struct server);
	int r;

	*s = (struct server){ .engine = e, .fd = fd, .inotify_fd = -1, .path = path ? xstrdup(path) : NULL };
	list_init(&s->clients);
	r = sd_event_add_io(e->event, &s->io, fd, EPOLLIN, on_connection, s);
	if (r >= 0 && path)
		r = watch_path(s);
	if (r < 0) {
		server_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void server_disown(struct server *s)
{
	free(s->path);
	s->path = NULL;
}

int server_fd(const struct server *s)
{
	return s->fd;
}

struct server *server_free(struct server *s)
{
	struct client *c, *tmp;

	if (!s)
		return NULL;
	list_for_each_safe(c, tmp, &s->clients, all)
		client_free(c);
	sd_event_source_unref(s->io);
	sd_event_source_unref(s->watch);
	if (s->path)
		unlink(s->path);
	close_fd(s->fd);
	close_fd(s->inotify_fd);
	free(s->path);
	free(s);
	return NULL;
}
