/* SPDX-License-Identifier: Apache-2.0 */
/* A connection reads until it knows what its peer speaks. What could not be written waits in `out`; while anything waits,
 * nothing is read, so a peer that does not read its answers holds no more memory than one round of them. */
#include "echo/echo.h"
#include "base/log.h"
#include "echo/http.h"

#include <netinet/tcp.h>

struct conn {
	struct watch watch;
	struct sockaddr_storage server, client;
	struct buf in, out;
	uint64_t skip;	/* bytes of a request's body still to come */
	bool answered;	/* something was answered: an end of input needs no answer of its own */
	bool lines;	/* not HTTP, for good */
	bool closing;	/* close when `out` is written */
	bool draining;	/* written and shut down; reads to the end, so that no reset kills the answer */
};

static void conn_free(struct conn *c)
{
	close(c->watch.fd);
	buf_done(&c->in);
	buf_done(&c->out);
	free(c);
}

static void answer_line(struct conn *c)
{
	answer_add(&c->out, (struct sockaddr *)&c->server, (struct sockaddr *)&c->client);
	c->answered = true;
}

static void answer_http(struct conn *c, const struct http_request *q)
{
	struct buf body = { 0 };

	answer_add(&body, (struct sockaddr *)&c->server, (struct sockaddr *)&c->client);
	buf_addf(&c->out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n", body.len,
		 q->close ? "Connection: close\r\n" : "");
	if (!q->head_only)
		buf_add(&c->out, body.data, body.len);
	buf_done(&body);
	c->answered = true;
	c->closing |= q->close;
}

static void answer_bad(struct conn *c)
{
	buf_adds(&c->out, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	c->answered = c->closing = true;
}

static void skip_body(struct conn *c)
{
	size_t n = MIN(c->skip, (uint64_t)c->in.len);

	buf_drop(&c->in, n);
	c->skip -= n;
}

static void answer_lines(struct conn *c)
{
	size_t lines = 0;

	for (size_t i = 0; i < c->in.len; i++)
		lines += c->in.data[i] == '\n';
	if (lines == 0 || c->in.data[c->in.len - 1] != '\n')
		lines++;
	while (lines--)
		answer_line(c);
	buf_drop(&c->in, c->in.len);
}

/* One step of understanding `in`. Returns whether there may be another. */
static bool step(struct conn *c)
{
	struct http_request q;
	enum http_kind kind;

	skip_body(c);
	if (c->in.len == 0 || c->closing)
		return false;
	kind = c->lines ? HTTP_NONE : http_parse(c->in.data, c->in.len, &q);
	if (kind == HTTP_MORE)
		return false;
	if (kind == HTTP_NONE) {
		c->lines = true;
		answer_lines(c);
		return false;
	}
	if (kind == HTTP_BAD) {
		answer_bad(c);
		return false;
	}
	if (q.expect_continue && q.body_len > c->in.len - q.head_len)
		buf_adds(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
	buf_drop(&c->in, q.head_len);
	c->skip = q.chunked ? 0 : q.body_len;
	answer_http(c, &q);
	return true;
}

/* Return: false when the connection is gone. */
static bool flush(struct conn *c)
{
	while (c->out.len > 0) {
		ssize_t n = send(c->watch.fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			return echo_rewatch(&c->watch, EPOLLOUT) == 0;
		if (n < 0)
			return false;
		buf_drop(&c->out, n);
	}
	if (c->closing && !c->draining) {
		shutdown(c->watch.fd, SHUT_WR);
		c->draining = true;
	}
	return echo_rewatch(&c->watch, EPOLLIN) == 0;
}

static bool on_input(struct conn *c)
{
	ssize_t n = buf_read_fd(&c->in, c->watch.fd);

	if (n == -EAGAIN || n == -EINTR)
		return true;
	if (n < 0)
		return false;
	if (c->draining) {
		buf_drop(&c->in, c->in.len);
		return n > 0;
	}
	while (step(c))
		;
	if (n == 0) { /* the peer has said all: what was waited for will not come */
		if (c->in.len > 0 || !c->answered)
			answer_line(c);
		buf_drop(&c->in, c->in.len);
		c->closing = true;
		if (!flush(c))
			return false;
		return c->out.len > 0;
	}
	return flush(c);
}

static void on_conn(struct watch *w, uint32_t events)
{
	struct conn *c = container_of(w, struct conn, watch);
	bool alive = (events & EPOLLOUT) ? flush(c) : on_input(c);

	if (!alive || ((events & (EPOLLERR | EPOLLHUP)) && !(events & EPOLLIN)))
		conn_free(c);
}

static void conn_new(int fd)
{
	struct conn *c = xnew0(struct conn);
	socklen_t n = sizeof(c->server), m = sizeof(c->client);
	int one = 1;

	c->watch = (struct watch){ .fd = fd, .on_ready = on_conn };
	c->in.max = HTTP_HEAD_MAX + 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* a matter of delay only */
	if (getsockname(fd, (struct sockaddr *)&c->server, &n) < 0 || getpeername(fd, (struct sockaddr *)&c->client, &m) < 0 ||
	    echo_watch(&c->watch, EPOLLIN) < 0)
		conn_free(c);
}

/* A few at a time, so that a flood of new connections does not starve the established ones. */
static void on_listener(struct watch *w, uint32_t events _unused_)
{
	for (int i = 0; i < 64; i++) {
		int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
			conn_new(fd);
		else if (errno != EINTR && errno != ECONNABORTED) {
			if (errno != EAGAIN)
				log_warn("cannot accept a connection", L_ERRNO(errno));
			return;
		}
	}
}

int tcp_listen(uint16_t port)
{
	struct watch *w = xnew0(struct watch);
	int r;

	w->fd = echo_bind(SOCK_STREAM, port);
	if (w->fd < 0) {
		r = w->fd;
		free(w);
		return r;
	}
	if (listen(w->fd, 4096) < 0)
		return -errno;
	w->on_ready = on_listener;
	return echo_watch(w, EPOLLIN);
}
