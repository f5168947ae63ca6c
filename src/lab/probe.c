/* SPDX-License-Identifier: Apache-2.0 */
/* One attempt at a time: it ends with finish(), by its socket, its process or its time-out; the next begins a period after the
 * last began. Connections come from the node, as a kubelet's do. */
#include "lab/probe.h"
#include "base/buf.h"
#include "base/str.h"
#include "net/addr.h"

#include <signal.h>
#include <sys/wait.h>

enum { ANSWER_MAX = 4096, SECOND_US = 1000000 };

enum handler { H_TCP, H_HTTP, H_EXEC };

struct probe {
	sd_event *event;
	struct probe_config c;
	enum handler handler;
	uint16_t port;
	struct addr addr;
	uint64_t period_us, timeout_us;
	unsigned success_threshold, failure_threshold, successes, failures;
	bool ok;
	sd_event_source *tick, *io, *deadline;
	struct proc *proc;
	char **argv;
	struct buf answer;
	int fd;
};

static const json_t *handler_spec(const struct probe *p)
{
	return json_at(p->c.spec, p->handler == H_HTTP ? "httpGet" : p->handler == H_TCP ? "tcpSocket" : "exec");
}

static void end_attempt(struct probe *p)
{
	p->io = sd_event_source_disable_unref(p->io);
	p->deadline = sd_event_source_disable_unref(p->deadline);
	p->fd = close_fd(p->fd);
	p->proc = proc_free(p->proc);
	buf_done(&p->answer);
	p->answer = (struct buf){ .max = ANSWER_MAX };
}

static void finish(struct probe *p, bool success, const char *why)
{
	bool was = p->ok;

	end_attempt(p);
	p->successes = success ? p->successes + 1 : 0;
	p->failures = success ? 0 : p->failures + 1;
	if (p->successes >= p->success_threshold)
		p->ok = true;
	if (p->failures >= p->failure_threshold)
		p->ok = false;
	if (p->ok != was)
		p->c.fn(p->ok, why, p->c.ctx); /* may free us */
}

static int on_deadline(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	finish(ctx, false, "timed out");
	return 0;
}

/* "HTTP/1.1 204 …": 200 to 399 is a success. */
static void judge_http(struct probe *p)
{
	int status = 0;
	char why[64];

	if (!p->answer.data || sscanf(p->answer.data, "HTTP/1.%*d %d", &status) != 1) {
		finish(p, false, "the answer is not HTTP");
		return;
	}
	snprintf(why, sizeof(why), "HTTP status %d", status);
	finish(p, status >= 200 && status < 400, why);
}

static int on_answer(sd_event_source *s _unused_, int fd, uint32_t revents _unused_, void *ctx)
{
	struct probe *p = ctx;
	ssize_t n = buf_read_fd(&p->answer, fd);

	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n <= 0 || memchr(p->answer.data, '\n', p->answer.len))
		judge_http(p);
	return 0;
}

static void send_request(struct probe *p)
{
	const json_t *h = handler_spec(p), *header;
	struct buf b = { 0 };
	size_t i;
	ssize_t n;

	buf_addf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: kube-probe/1.32\r\nConnection: close\r\n",
		 json_str_or(json_at(h, "path"), "/"), json_str_or(json_at(h, "host"), p->c.address));
	json_array_foreach (json_at(h, "httpHeaders"), i, header)
		buf_addf(&b, "%s: %s\r\n", json_str_or(json_at(header, "name"), ""), json_str_or(json_at(header, "value"), ""));
	buf_adds(&b, "\r\n");
	n = send(p->fd, b.data, b.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	buf_done(&b);
	p->io = sd_event_source_disable_unref(p->io);
	if (n < 0)
		finish(p, false, strerror(errno));
	else if (sd_event_add_io(p->event, &p->io, p->fd, EPOLLIN, on_answer, p) < 0)
		finish(p, false, "no event source");
}

static int on_connected(sd_event_source *s _unused_, int fd, uint32_t revents _unused_, void *ctx)
{
	struct probe *p = ctx;
	int error = 0;
	socklen_t n = sizeof(error);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
		error = errno;
	if (error)
		finish(p, false, strerror(error));
	else if (p->handler == H_TCP)
		finish(p, true, "");
	else
		send_request(p);
	return 0;
}

static void start_connect(struct probe *p)
{
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(&p->addr, p->port, &sa);

	p->fd = socket(addr_family(&p->addr), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->fd < 0 || (connect(p->fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS))
		finish(p, false, strerror(errno));
	else if (sd_event_add_io(p->event, &p->io, p->fd, EPOLLOUT, on_connected, p) < 0)
		finish(p, false, "no event source");
}

static void on_exec_end(int status, void *ctx)
{
	struct probe *p = ctx;
	char why[64];

	p->proc = NULL;
	snprintf(why, sizeof(why), "the command ended with exit code %d", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	finish(p, WIFEXITED(status) && WEXITSTATUS(status) == 0, why);
}

static void start_exec(struct probe *p)
{
	struct spawn s = { .argv = (const char *const *)p->argv, .envp = p->c.env, .cgroup_fd = p->c.cgroup_fd, .netns_fd = p->c.netns_fd };
	const char *what;
	int r = proc_start(p->event, &s, on_exec_end, p, &p->proc, &what);

	if (r < 0)
		finish(p, false, strerror(-r));
}

static int on_tick(sd_event_source *s, uint64_t usec _unused_, void *ctx)
{
	struct probe *p = ctx;
	int r = sd_event_source_set_time_relative(s, p->period_us);

	if (r >= 0)
		r = sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	if (r < 0 || p->fd >= 0 || p->proc)
		return r; /* the last attempt is still under way: its time-out is longer than the period */
	r = sd_event_add_time_relative(p->event, &p->deadline, CLOCK_MONOTONIC, p->timeout_us, 0, on_deadline, p);
	if (r < 0)
		return r;
	if (p->handler == H_EXEC)
		start_exec(p);
	else
		start_connect(p);
	return 0;
}

static uint64_t number(const json_t *spec, const char *key, json_int_t fallback, json_int_t min)
{
	json_int_t v = json_is_integer(json_at(spec, key)) ? json_integer_value(json_at(spec, key)) : fallback;

	return MAX(v, min);
}

static int find_port(const json_t *container, const json_t *port)
{
	json_t *p;
	size_t i;

	if (json_is_integer(port))
		return json_integer_value(port);
	json_array_foreach (json_at(container, "ports"), i, p)
		if (json_is_string(port) && streq(json_str_at(p, "name"), json_string_value(port)))
			return json_integer_value(json_at(p, "containerPort"));
	return 0;
}

static int read_handler(struct probe *p, const char **ret_why)
{
	const json_t *spec = p->c.spec, *command = json_at(spec, "exec", "command");
	const char *host;
	int port;

	*ret_why = "expected httpGet, tcpSocket or exec";
	if (json_array_size(command) > 0) {
		size_t n = json_array_size(command);

		p->handler = H_EXEC;
		p->argv = xnew0_array(char *, n + 1);
		for (size_t i = 0; i < n; i++)
			p->argv[i] = xstrdup(json_str_or(json_array_get(command, i), ""));
		return 0;
	}
	if (!json_at(spec, "httpGet") && !json_at(spec, "tcpSocket"))
		return -EINVAL;
	p->handler = json_at(spec, "httpGet") ? H_HTTP : H_TCP;
	*ret_why = "HTTPS is not supported by the lab's probes";
	if (streq(json_str_at(handler_spec(p), "scheme"), "HTTPS"))
		return -EINVAL;
	port = find_port(p->c.container, json_at(handler_spec(p), "port"));
	host = p->handler == H_TCP ? json_str_or(json_at(handler_spec(p), "host"), p->c.address) : p->c.address;
	*ret_why = "no such port or host";
	if (port < 1 || port > 65535 || addr_parse(host, &p->addr) < 0)
		return -EINVAL;
	p->port = port;
	return 0;
}

int probe_new(sd_event *event, const struct probe_config *config, struct probe **ret, const char **ret_why)
{
	struct probe *p = xnew0(struct probe);
	int r;

	*p = (struct probe){ .event = event, .c = *config, .fd = -1, .ok = config->ok_at_start, .answer = { .max = ANSWER_MAX } };
	p->period_us = number(config->spec, "periodSeconds", 10, 1) * SECOND_US;
	p->timeout_us = number(config->spec, "timeoutSeconds", 1, 1) * SECOND_US;
	p->success_threshold = number(config->spec, "successThreshold", 1, 1);
	p->failure_threshold = number(config->spec, "failureThreshold", 3, 1);
	r = read_handler(p, ret_why);
	if (r == 0) {
		*ret_why = "no timer";
		r = sd_event_add_time_relative(event, &p->tick, CLOCK_MONOTONIC,
					       number(config->spec, "initialDelaySeconds", 0, 0) * SECOND_US + 20000, 1000, on_tick, p);
	}
	if (r < 0) {
		probe_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

struct probe *probe_free(struct probe *p)
{
	if (!p)
		return NULL;
	end_attempt(p);
	sd_event_source_disable_unref(p->tick);
	for (char **a = p->argv; a && *a; a++)
		free(*a);
	free(p->argv);
	free(p);
	return NULL;
}
