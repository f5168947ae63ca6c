/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/scripted.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/list.h"
#include "base/str.h"
#include "base/test.h"

#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

struct conn {
	struct list link;
	int fd;
	sd_event_source *io;
	struct buf in;
};

struct scripted scripted;
static int listen_fd, step_uses;
static struct list conns;

static void conn_free(struct conn *c)
{
	list_remove(&c->link);
	sd_event_source_disable_unref(c->io);
	close(c->fd);
	buf_done(&c->in);
	free(c);
}

/* Streams go in two chunks, so that lines are cut; CUT ends the connection in mid-stream. */
static void answer(struct conn *c, const struct step *s)
{
	size_t n = strlen(s->body), half = n / 2;
	struct buf b = {0};

	buf_addf(&b, "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n%s\r\n",
		 s->status, s->headers ? s->headers : "");
	if (half)
		buf_addf(&b, "%zx\r\n%.*s\r\n", half, (int)half, s->body);
	if (n)
		buf_addf(&b, "%zx\r\n%s\r\n", n - half, s->body + half);
	if (s->then == END)
		buf_adds(&b, "0\r\n\r\n");
	if (write_all(c->fd, b.data, b.len) < 0)
		snprintf(scripted.mismatch, sizeof(scripted.mismatch), "cannot answer");
	buf_done(&b);
}

static int on_request(sd_event_source *src _unused_, int fd, uint32_t revents _unused_, void *ctx)
{
	struct conn *c = ctx;
	ssize_t n = buf_read_fd(&c->in, fd);
	const struct step *s = scripted.script;

	if (n <= 0) {
		if (n != -EAGAIN)
			conn_free(c);
		return 0;
	}
	if (!strstr(c->in.data, "\r\n\r\n") ||
	    (strstr(c->in.data, "Content-Length: ") && str_has_suffix(c->in.data, "\r\n\r\n")))
		return 0;
	scripted.requests++;
	if (!s->status || !strstr(c->in.data, s->want) || (s->unwanted && strstr(c->in.data, s->unwanted))) {
		snprintf(scripted.mismatch, sizeof(scripted.mismatch), "request %d: wanted \"%s\": %.300s", scripted.requests,
			 s->want ? s->want : "none", c->in.data);
		conn_free(c);
		return 0;
	}
	c->in.len = 0;
	if (++step_uses >= MAX(s->times, 1)) {
		scripted.script++;
		step_uses = 0;
	}
	answer(c, s);
	if (s->then == CUT)
		conn_free(c);
	return 0;
}

static int on_connect(sd_event_source *src _unused_, int fd, uint32_t revents _unused_, void *ctx _unused_)
{
	struct conn *c = xnew0(struct conn);

	c->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	list_push_back(&conns, &c->link);
	scripted.accepted++;
	sd_event_add_io(scripted.event, &c->io, c->fd, EPOLLIN, on_request, c);
	return 0;
}

int scripted_start(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	socklen_t size = sizeof(in);

	if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return -errno;
	list_init(&conns);
	listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (ioctl(listen_fd, SIOCSIFFLAGS, &ifr) < 0 || bind(listen_fd, (struct sockaddr *)&in, sizeof(in)) < 0 ||
	    listen(listen_fd, 16) < 0 || getsockname(listen_fd, (struct sockaddr *)&in, &size) < 0)
		return -errno;
	scripted.port = ntohs(in.sin_port);
	if (sd_event_new(&scripted.event) < 0)
		return -ENOMEM;
	return sd_event_add_io(scripted.event, NULL, listen_fd, EPOLLIN, on_connect, NULL);
}

void scripted_play(const struct step *steps)
{
	struct conn *c, *next;

	list_for_each_safe(c, next, &conns, link)
		conn_free(c);
	scripted.script = steps;
	step_uses = scripted.requests = scripted.accepted = 0;
	scripted.mismatch[0] = 0;
}

bool scripted_run_until(bool (*done)(void))
{
	uint64_t start, now;

	sd_event_now(scripted.event, CLOCK_MONOTONIC, &start);
	do {
		if (sd_event_run(scripted.event, 100000) < 0)
			return false;
		sd_event_now(scripted.event, CLOCK_MONOTONIC, &now);
	} while (!done() && !*scripted.mismatch && now - start < 20000000);
	if (*scripted.mismatch)
		printf("# %s\n", scripted.mismatch);
	return done() && !*scripted.mismatch;
}

struct kube_client *scripted_client(void)
{
	_cleanup_free_ char *server = xasprintf("http://127.0.0.1:%u", scripted.port);
	struct kube_config config = {.server = server, .token = (char *)"secret"};
	struct kube_client *c = NULL;

	CHECK_INT(kube_client_new(scripted.event, &config, "weft-test/1", &c, NULL), 0);
	return c;
}

void scripted_stop(void)
{
	scripted_play(NULL);
	scripted.event = sd_event_unref(scripted.event);
}
