/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/str.h"
#include "ipc/ipc.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

struct ipc_stream {
	int fd;
	struct buf in;
};

void ipc_answer_done(struct ipc_answer *a)
{
	json_decref(a->result);
	free(a->msg);
	free(a->details);
	*a = (struct ipc_answer){0};
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

/* The time at which a time-out is over; negative ones never are. */
static int64_t deadline_of(int timeout_ms)
{
	return timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
}

/* Return: 0 when @fd is ready for @events (or broken: the next call on it says how), -ETIMEDOUT. */
static int await(int fd, short events, int64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = events};

	for (;;) {
		int64_t left = deadline == INT64_MAX ? -1 : MAX(deadline - now_ms(), 0);
		int r = poll(&p, 1, MIN(left, (int64_t)INT32_MAX));

		if (r > 0)
			return 0;
		if (r == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

static int connect_to(const char *path, int64_t deadline)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;

	if (strlen(path) >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	strcpy(sun.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	while (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		/* the server's backlog is full, which poll() cannot wait for */
		if (now_ms() >= deadline)
			return -ETIMEDOUT;
		poll(NULL, 0, 2);
	}
	return take_fd(fd);
}

static int send_all(int fd, const char *data, size_t n, int64_t deadline)
{
	while (n) {
		ssize_t sent = send(fd, data, n, MSG_NOSIGNAL);
		int r;

		if (sent >= 0) {
			data += sent;
			n -= sent;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		r = await(fd, POLLOUT, deadline);
		if (r < 0)
			return r;
	}
	return 0;
}

static char *request_line(const char *method, const json_t *params)
{
	_cleanup_json_ json_t *j = json_object();
	_cleanup_free_ char *text = NULL;

	json_object_set_new(j, "method", json_string(method));
	if (params)
		json_object_set(j, "params", (json_t *)params);
	text = json_text(j);
	return text ? xasprintf("%s\n", text) : NULL;
}

/* Reads until a whole line is there. Return: its length, without the newline; 0 at the end of the stream; -errno. */
static ssize_t read_line(struct ipc_stream *s, int64_t deadline)
{
	size_t scanned = 0;

	for (;;) {
		char *nl = s->in.len > scanned ? memchr(s->in.data + scanned, '\n', s->in.len - scanned) : NULL;
		ssize_t n;
		int r;

		if (nl)
			return nl - s->in.data;
		scanned = s->in.len;
		n = buf_read_fd(&s->in, s->fd);
		if (n == 0)
			return s->in.len ? -EBADMSG : 0;
		if (n > 0)
			continue;
		if (n != -EAGAIN)
			return n;
		r = await(s->fd, POLLIN, deadline);
		if (r < 0)
			return r;
	}
}

static int parse_answer(const char *line, size_t len, struct ipc_answer *ret)
{
	_cleanup_json_ json_t *j = json_parse("answer", line, len, NULL);
	const json_t *error = json_at(j, "error");
	json_t *result = json_object_get(j, "result");

	if (result) {
		*ret = (struct ipc_answer){.result = json_incref(result)};
		return 0;
	}
	if (!json_is_integer(json_at(error, "code")) || !json_str_at(error, "msg"))
		return -EBADMSG;
	*ret = (struct ipc_answer){.code = json_integer_value(json_at(error, "code")),
				   .msg = xstrdup(json_str_at(error, "msg"))};
	if (json_str_at(error, "details"))
		ret->details = xstrdup(json_str_at(error, "details"));
	return 0;
}

static int next_answer(struct ipc_stream *s, int64_t deadline, struct ipc_answer *ret)
{
	ssize_t n = read_line(s, deadline);
	int r;

	if (n <= 0 && !(n == 0 && s->in.len))
		return n;
	r = parse_answer(s->in.data, n, ret);
	buf_drop(&s->in, n + 1);
	return r < 0 ? r : 1;
}

static int open_stream(const char *path, const char *method, const json_t *params, int64_t deadline,
		       struct ipc_stream **ret)
{
	_cleanup_(ipc_stream_closep) struct ipc_stream *s = xnew0(struct ipc_stream);
	_cleanup_free_ char *line = request_line(method, params);
	int r;

	s->fd = -1;
	s->in.max = IPC_ANSWER_MAX + 1;
	if (!line)
		return -EINVAL;
	if (strlen(line) > IPC_LINE_MAX)
		return -EMSGSIZE;
	r = s->fd = connect_to(path, deadline);
	if (r < 0)
		return r;
	r = send_all(s->fd, line, strlen(line), deadline);
	/* a server that hangs up on us may have said why: let the reader see it first */
	if (r < 0 && r != -EPIPE && r != -ECONNRESET)
		return r;
	*ret = take_ptr(s);
	return 0;
}

int ipc_call(const char *path, const char *method, const json_t *params, int timeout_ms, struct ipc_answer *ret)
{
	_cleanup_(ipc_stream_closep) struct ipc_stream *s = NULL;
	int64_t deadline = deadline_of(timeout_ms);
	int r;

	r = open_stream(path, method, params, deadline, &s);
	if (r < 0)
		return r;
	r = next_answer(s, deadline, ret);
	if (r == 0)
		return -EPIPE;
	return r < 0 ? r : 0;
}

int ipc_stream_open(const char *path, const char *method, const json_t *params, int timeout_ms, struct ipc_stream **ret)
{
	return open_stream(path, method, params, deadline_of(timeout_ms), ret);
}

int ipc_stream_next(struct ipc_stream *s, int timeout_ms, struct ipc_answer *ret)
{
	return next_answer(s, deadline_of(timeout_ms), ret);
}

int ipc_stream_fd(const struct ipc_stream *s)
{
	return s->fd;
}

struct ipc_stream *ipc_stream_close(struct ipc_stream *s)
{
	if (!s)
		return NULL;
	close_fd(s->fd);
	buf_done(&s->in);
	free(s);
	return NULL;
}
