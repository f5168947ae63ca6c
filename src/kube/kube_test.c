/* SPDX-License-Identifier: Apache-2.0 */
/* The pure parts by tables; client and watch against a scripted server in the same loop. The script is a list of
 * answers; each request takes the next one and must look as the script expects. All of it on lo of a namespace of the
 * test's own. */
#include "base/buf.h"
#include "base/file.h"
#include "base/list.h"
#include "base/str.h"
#include "base/test.h"
#include "kube/client.h"
#include "kube/reflector.h"
#include "kube/watch.h"

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* --- pure --- */

static void backoff(void)
{
	static const uint64_t rnds[] = {0, 1, 249, 250, 251, UINT64_MAX, 0x123456789abcdef};

	for (unsigned attempt = 0; attempt < 100; attempt++)
		for (size_t i = 0; i < ARRAY_SIZE(rnds); i++) {
			uint64_t full = attempt < 6 ? 500ull << attempt : 30000, ms;

			full = MIN(full, (uint64_t)30000);
			ms = kube_backoff_ms(attempt, 500, 30000, 0, rnds[i]);
			CHECK(ms >= full / 2 && ms <= full);
			CHECK(kube_backoff_ms(attempt, 500, 30000, 7000, rnds[i]) >= 7000);
		}
	CHECK(kube_backoff_ms(0, 500, 30000, 0, 0) != kube_backoff_ms(0, 500, 30000, 0, 100));
	CHECK_INT(kube_backoff_ms(3, 0, 0, 0, 5) <= 1, 1);
}

static void retry_after(void)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} cases[] = {{"1", 1000},
		     {" 7 ", 7000},
		     {"999999", 300000},
		     {"0", 0},
		     {"-1", 0},
		     {"", 0},
		     {"1 2", 0},
		     {"Fri, 20 Nov 2026 10:00:00 GMT", 0},
		     {"18446744073709551616", 0}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		CHECK_INT(kube_retry_after_ms(cases[i].text, strlen(cases[i].text)), cases[i].ms);
}

static void events(void)
{
	static const struct {
		const char *line;
		int type; /* -1: refused */
	} cases[] = {
	    {"{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"resourceVersion\":\"5\"}}}", KUBE_EVENT_ADDED},
	    {"{\"type\":\"DELETED\",\"object\":{\"metadata\":{\"resourceVersion\":\"5\"}}}", KUBE_EVENT_DELETED},
	    {"{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"5\"}}}", KUBE_EVENT_BOOKMARK},
	    {"{\"type\":\"ERROR\",\"object\":{\"code\":410}}", KUBE_EVENT_EXPIRED},
	    {"{\"type\":\"ERROR\",\"object\":{\"code\":500,\"details\":{\"retryAfterSeconds\":2}}}", KUBE_EVENT_ERROR},
	    {"{\"type\":\"ADDED\",\"object\":{\"metadata\":{}}}", -1},
	    {"{\"type\":\"ADDED\",\"object\":[]}", -1},
	    {"{\"type\":\"RENAMED\",\"object\":{\"metadata\":{\"resourceVersion\":\"5\"}}}", -1},
	    {"{\"type\":5}", -1},
	    {"[]", -1},
	    {"{", -1},
	    {"\xff", -1},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *error = NULL;
		struct kube_event ev = {0};
		int r = kube_event_parse(cases[i].line, strlen(cases[i].line), &ev, &error);

		CHECK_INT(r, cases[i].type < 0 ? -EBADMSG : 0);
		CHECK(r == 0 || error);
		CHECK(r < 0 || ev.type == cases[i].type);
		CHECK(ev.type != KUBE_EVENT_ERROR || r < 0 || ev.retry_after_ms == 2000);
		json_decref(ev.object);
	}
}

static bool collect_line(const char *line, size_t len, void *ctx)
{
	buf_add(ctx, line ? line : "(too long)", line ? len : 10);
	buf_adds(ctx, "|");
	return !(line && streq(line, "stop"));
}

static void lines_at_every_split(void)
{
	static const char text[] = "one\ntwo\n\n0123456789\n01234567890\nthree\n012345678901234567890\nfour\nhalf";

	for (size_t a = 0; a < sizeof(text); a++)
		for (size_t b = a; b < sizeof(text); b++) {
			struct kube_lines l = {.buf.max = 10};
			struct buf out = {0};

			CHECK(kube_lines_feed(&l, text, a, collect_line, &out));
			CHECK(kube_lines_feed(&l, text + a, b - a, collect_line, &out));
			CHECK(kube_lines_feed(&l, text + b, sizeof(text) - 1 - MIN(b, sizeof(text) - 1), collect_line,
					      &out));
			CHECK_STR(out.data, "one|two|0123456789|(too long)|three|(too long)|four|");
			kube_lines_done(&l);
			buf_done(&out);
		}
}

#define KUBECONFIG(cluster, user)                                                                     \
	"current-context: c\ncontexts:\n- name: c\n  context: {cluster: k, user: u, namespace: ns}\n" \
	"clusters:\n- name: k\n  cluster: {" cluster "}\nusers:\n- name: u\n  user: {" user "}\n"

static void kubeconfigs(void)
{
	static const struct {
		const char *text, *error; /* NULL: good */
	} cases[] = {
	    {KUBECONFIG("server: 'https://h:1/', certificate-authority-data: Q0E=",
			"client-certificate-data: Q0VSVA==, client-key-data: S0VZ, token: t"),
	     NULL},
	    {KUBECONFIG("server: 'ftp://h'", ""), "f: server: expected https://HOST:PORT, not \\\"ftp://h\\\""},
	    {KUBECONFIG("server: 'https://h', certificate-authority-data: '%%'", ""),
	     "f: certificate-authority-data is not base64"},
	    {KUBECONFIG("server: 'https://h', certificate-authority: /no/such", ""),
	     "f: cannot read /no/such: No such file or directory"},
	    {KUBECONFIG("server: 'https://h'", "client-certificate-data: QQ=="),
	     "f: the user has a client certificate without the key"},
	    {KUBECONFIG("server: 'https://h'", "exec: {command: x}"),
	     "f: the user's \\\"exec\\\" is not supported: use a client certificate or a token"},
	    {KUBECONFIG("x: y", ""), "f: the cluster has no server"},
	    {"current-context: c\n", "f: the current context \\\"c\\\" is not there"},
	    {"current-context: c\ncontexts: [{name: c, context: {cluster: z}}]\n",
	     "f: context \\\"c\\\" names the cluster \\\"z\\\", which is not there"},
	    {"a: b\n", "f: no current-context is set"},
	    {"[]", "f: expected a mapping with clusters, users, contexts"},
	    {"", "f: the file is empty"},
	    {"{\"current-context\": 1", "f: line 1, column "},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(kube_config_done) struct kube_config c = {0};
		_cleanup_free_ char *error = NULL;
		int r = kube_config_parse("f", cases[i].text, strlen(cases[i].text), NULL, &c, &error);

		CHECK_INT(r < 0, cases[i].error != NULL);
		if (r < 0) {
			CHECK(str_has_prefix(error, cases[i].error));
			continue;
		}
		CHECK_STR(c.server, "https://h:1");
		CHECK_STR(c.ca, "CA");
		CHECK_STR(c.cert, "CERT");
		CHECK_STR(c.key, "KEY");
		CHECK_STR(c.token, "t");
		CHECK_STR(c.namespace_, "ns");
	}
}

static void paths(void)
{
	char *p = kube_path("/api/v1", "a b", "pods", "x/../y", "status");

	p = kube_path_query(p, "labelSelector", "a=b,c in (d)");
	p = kube_path_query(p, "limit", "5");
	CHECK_STR(p, "/api/v1/namespaces/a%20b/pods/x%2F..%2Fy/status?labelSelector=a%3Db%2Cc%20in%20%28d%29&limit=5");
	free(p);
}

/* --- the scripted server --- */

enum then { END, CUT, HANG };

struct step {
	const char *want;     /* the request must contain this */
	const char *unwanted; /* and not this */
	int status;
	const char *headers; /* with \r\n each */
	const char *body;
	enum then then;
	int times; /* 0: once */
};

struct conn {
	struct list link;
	int fd;
	sd_event_source *io;
	struct buf in;
};

static sd_event *event;
static int listen_fd;
static uint16_t port;
static struct list conns;
static const struct step *script;
static int step_uses, requests, accepted;
static char mismatch[4096];

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
		snprintf(mismatch, sizeof(mismatch), "cannot answer");
	buf_done(&b);
}

static int on_request(sd_event_source *src _unused_, int fd, uint32_t revents _unused_, void *ctx)
{
	struct conn *c = ctx;
	ssize_t n = buf_read_fd(&c->in, fd);
	const struct step *s = script;

	if (n <= 0) {
		if (n != -EAGAIN)
			conn_free(c);
		return 0;
	}
	if (!strstr(c->in.data, "\r\n\r\n") ||
	    (strstr(c->in.data, "Content-Length: ") && str_has_suffix(c->in.data, "\r\n\r\n")))
		return 0;
	requests++;
	if (!s->status || !strstr(c->in.data, s->want) || (s->unwanted && strstr(c->in.data, s->unwanted))) {
		snprintf(mismatch, sizeof(mismatch), "request %d: wanted \"%s\": %.300s", requests,
			 s->want ? s->want : "none", c->in.data);
		conn_free(c);
		return 0;
	}
	c->in.len = 0;
	if (++step_uses >= MAX(s->times, 1)) {
		script++;
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
	accepted++;
	sd_event_add_io(event, &c->io, c->fd, EPOLLIN, on_request, c);
	return 0;
}

static int start_server(void)
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
	port = ntohs(in.sin_port);
	if (sd_event_new(&event) < 0)
		return -ENOMEM;
	return sd_event_add_io(event, NULL, listen_fd, EPOLLIN, on_connect, NULL);
}

static void play(const struct step *steps)
{
	struct conn *c, *next;

	list_for_each_safe(c, next, &conns, link)
		conn_free(c);
	script = steps;
	step_uses = requests = accepted = 0;
	mismatch[0] = 0;
}

/* Runs the loop until @done or 20 s are over. */
static bool run_until(bool (*done)(void))
{
	uint64_t start, now;

	sd_event_now(event, CLOCK_MONOTONIC, &start);
	do {
		if (sd_event_run(event, 100000) < 0)
			return false;
		sd_event_now(event, CLOCK_MONOTONIC, &now);
	} while (!done() && !*mismatch && now - start < 20000000);
	if (*mismatch)
		printf("# %s\n", mismatch);
	return done() && !*mismatch;
}

static struct kube_client *new_client(void)
{
	_cleanup_free_ char *server = xasprintf("http://127.0.0.1:%u", port);
	struct kube_config config = {.server = server, .token = (char *)"secret"};
	struct kube_client *c = NULL;

	CHECK_INT(kube_client_new(event, &config, "weft-test/1", &c, NULL), 0);
	return c;
}

/* --- requests --- */

static struct {
	int count, status;
	char text[512], error[512];
	uint64_t retry_after_ms;
} got;

static void on_response(const struct kube_response *res, void *ctx _unused_)
{
	_cleanup_free_ char *text = res->body ? json_text(res->body) : NULL;

	got.count++;
	got.status = res->status;
	got.retry_after_ms = res->retry_after_ms;
	snprintf(got.text, sizeof(got.text), "%s", text ? text : "");
	snprintf(got.error, sizeof(got.error), "%s", res->error ? res->error : "");
}

static bool answered(void)
{
	return got.count > 0;
}

static void request(struct kube_client *c, struct kube_request req)
{
	memset(&got, 0, sizeof(got));
	CHECK_INT(kube_send(c, &req, on_response, NULL, NULL), 0);
	CHECK_INT(got.count, 0); /* never from inside of the call */
	CHECK(run_until(answered));
	CHECK_INT(got.count, 1);
}

static void requests_and_answers(void)
{
	static const struct step steps[] = {
	    {.want = "GET /api/v1/nodes/n1 HTTP/1.1\r\n", .status = 200, .body = "{\"a\":1}"},
	    {.want = "Authorization: Bearer secret\r\n", .status = 200, .body = "{}"},
	    {.want = "Content-Type: application/merge-patch+json", .status = 200, .body = "{}"},
	    {.want = "{\"x\":\"y\"}", .status = 201, .body = "{}"},
	    {.want = "DELETE /x ", .status = 404, .body = "{\"kind\":\"Status\",\"message\":\"not \\\"there\\\"\\n\"}"},
	    {.want = "GET", .status = 503, .headers = "Retry-After: 3\r\n", .body = "<html>\x1b[2J"},
	    {.want = "GET", .status = 200, .body = "no json"},
	    {.want = "GET", .status = 200, .body = "{\"a\":", .then = CUT},
	    {.want = "GET", .status = 200, .body = "{\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\":1}"},
	    {.want = "GET", .status = 200, .body = "{\"a\":", .then = HANG},
	    {0},
	};
	_cleanup_(kube_client_freep) struct kube_client *c = new_client();
	_cleanup_json_ json_t *body = json_pack("{s:s}", "x", "y");

	play(steps);
	request(c, (struct kube_request){.method = "GET", .path = "/api/v1/nodes/n1"});
	CHECK(got.status == 200 && streq(got.text, "{\"a\":1}") && !*got.error);
	request(c, (struct kube_request){.method = "GET", .path = "/x"});
	CHECK_INT(got.status, 200);
	request(c, (struct kube_request){.method = "PATCH", .path = "/x", .body = body});
	CHECK_INT(got.status, 200);
	request(c, (struct kube_request){.method = "POST", .path = "/x", .body = body});
	CHECK_INT(got.status, 201);
	request(c, (struct kube_request){.method = "DELETE", .path = "/x"});
	CHECK_INT(got.status, 404);
	CHECK_STR(got.error, "HTTP 404: not \\\"there\\\"\\n");
	request(c, (struct kube_request){.method = "GET", .path = "/x"});
	CHECK(got.status == 503 && got.retry_after_ms == 3000);
	CHECK_STR(got.error, "HTTP 503: <html>\\x1b[2J");
	request(c, (struct kube_request){.method = "GET", .path = "/x"});
	CHECK(got.status == 200 && !*got.text);
	request(c, (struct kube_request){.method = "GET", .path = "/x"});
	CHECK(got.status == 0 && *got.error);
	request(c, (struct kube_request){.method = "GET", .path = "/x", .max_body = 20});
	CHECK_INT(got.status, 0);
	CHECK_STR(got.error, "the answer is larger than 20 bytes");
	request(c, (struct kube_request){.method = "GET", .path = "/x", .timeout_ms = 50});
	CHECK(got.status == 0 && *got.error);
}

/* One that does not answer: its queue is full. Return: its port. */
static unsigned listen_full(int *ret_fd, int *ret_waits)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	*ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	*ret_waits = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_INT(bind(*ret_fd, (struct sockaddr *)&in, sizeof(in)), 0);
	CHECK_INT(listen(*ret_fd, 0), 0);
	CHECK_INT(getsockname(*ret_fd, (struct sockaddr *)&in, &(socklen_t){sizeof(in)}), 0);
	CHECK_INT(connect(*ret_waits, (struct sockaddr *)&in, sizeof(in)), 0);
	return ntohs(in.sin_port);
}

static int socket_that_connects(void)
{
	struct tcp_info info;

	for (int fd = 3; fd < 256; fd++)
		if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &(socklen_t){sizeof(info)}) == 0 && info.tcpi_state == TCP_SYN_SENT)
			return fd;
	return -1;
}

/* A child holds its parent's sockets up to its exec: one that was given up meanwhile must not come back from epoll. */
static void given_up_while_it_connects(void)
{
	int listening, waits, held;
	_cleanup_free_ char *server = xasprintf("http://127.0.0.1:%u", listen_full(&listening, &waits));
	struct kube_config config = {.server = server};
	_cleanup_(kube_client_freep) struct kube_client *c = NULL;
	struct kube_call *call;

	CHECK_INT(kube_client_new(event, &config, "weft-test/1", &c, NULL), 0);
	memset(&got, 0, sizeof(got));
	CHECK_INT(kube_send(c, &(struct kube_request){.method = "GET", .path = "/x"}, on_response, NULL, &call), 0);
	for (int i = 0; i < 20 && socket_that_connects() < 0; i++)
		CHECK(sd_event_run(event, 1000) >= 0);
	held = dup(socket_that_connects());
	CHECK(held >= 0);
	CHECK(sd_event_run(event, 1000) >= 0);
	kube_cancel(call);
	CHECK(sd_event_run(event, 1000) >= 0);
	CHECK_INT(socket_that_connects(), held); /* the client has closed its own */
	shutdown(held, SHUT_RDWR);		 /* something happens to it */
	for (int i = 0; i < 10; i++)
		CHECK(sd_event_run(event, 1000) >= 0);
	CHECK_INT(got.count, 0);
	close(held);
	close(waits);
	close(listening);
}

static bool crowd_answered(void)
{
	return got.count == 100;
}

/* A node where a hundred pods start tells of each: it does not come with a hundred connections. */
static void a_crowd_of_requests_shares_connections(void)
{
	static const struct step steps[] = {{.want = "GET /x ", .status = 200, .body = "{}", .times = 100}, {0}};
	_cleanup_(kube_client_freep) struct kube_client *c = new_client();

	play(steps);
	memset(&got, 0, sizeof(got));
	for (int i = 0; i < 100; i++)
		CHECK_INT(kube_send(c, &(struct kube_request){.method = "GET", .path = "/x"}, on_response, NULL, NULL), 0);
	CHECK(run_until(crowd_answered));
	CHECK_INT(got.status, 200);
	CHECK(accepted >= 1 && accepted <= 8);
}

static void requests_that_cannot_be(void)
{
	_cleanup_free_ char *server = xasprintf("http://127.0.0.1:%u", 1);
	struct kube_config nobody = {.server = server};
	_cleanup_(kube_client_freep) struct kube_client *c = new_client(), *deaf = NULL;
	struct kube_call *call;

	CHECK_INT(kube_send(c, &(struct kube_request){.method = "EAT", .path = "/x"}, on_response, NULL, NULL),
		  -EINVAL);
	CHECK_INT(kube_send(c, &(struct kube_request){.method = "GET", .path = "x"}, on_response, NULL, NULL), -EINVAL);
	CHECK_INT(kube_send(c, &(struct kube_request){.method = "GET", .path = "/x y"}, on_response, NULL, NULL),
		  -EINVAL);
	CHECK_INT(kube_client_new(event, &nobody, "t", &deaf, NULL), 0);
	request(deaf, (struct kube_request){.method = "GET", .path = "/x"});
	CHECK(got.status == 0 && strstr(got.error, "onnect"));
	/* cancelled ones do not call back; a freed client's neither */
	memset(&got, 0, sizeof(got));
	CHECK_INT(kube_send(deaf, &(struct kube_request){.method = "GET", .path = "/x"}, on_response, NULL, &call), 0);
	kube_cancel(call);
	for (int i = 0; i < 256; i++)
		CHECK_INT(kube_get(c, "/x", on_response, NULL), 0);
	CHECK_INT(kube_get(c, "/x", on_response, NULL), -EAGAIN);
	c = kube_client_free(c);
	sd_event_run(event, 10000);
	CHECK_INT(got.count, 0);
}

/* --- watches --- */

static struct buf story;
static const char *expected;

static void tell(const char *what, json_t *o)
{
	buf_addf(&story, "%s%s%s ", what, o ? " " : "", o ? json_str_or(json_at(o, "metadata", "name"), "?") : "");
}
static void on_begin(void *ctx _unused_)
{
	tell("begin", NULL);
}
static void on_object(json_t *o, void *ctx _unused_)
{
	tell("obj", o);
}
static void on_synced(void *ctx _unused_)
{
	tell("synced", NULL);
}
static void on_upsert(json_t *o, void *ctx _unused_)
{
	tell("up", o);
}
static void on_del(json_t *o, void *ctx _unused_)
{
	tell("del", o);
}
static const struct kube_watch_ops watch_ops = {on_begin, on_object, on_synced, on_upsert, on_del, NULL};

static bool told_all(void)
{
	return story.len >= strlen(expected) && script->status == 0;
}

/* Plays @steps; the story must be @want in the end. */
static void watch(const struct step *steps, const char *want, struct kube_watch_config config,
		  struct kube_watch_status *ret)
{
	_cleanup_(kube_client_freep) struct kube_client *c = new_client();
	_cleanup_(kube_watch_freep) struct kube_watch *w = NULL;

	play(steps);
	buf_done(&story);
	expected = want;
	config.path = config.path ? config.path : "/api/v1/pods";
	config.ops = &watch_ops;
	config.backoff_min_ms = 4;
	config.backoff_max_ms = 16;
	CHECK_INT(kube_watch_new(c, &config, &w), 0);
	run_until(told_all);
	CHECK_STR(story.data, want);
	CHECK(!*mismatch && script->status == 0);
	kube_watch_status(w, ret);
	ret->path = ret->error = NULL;
}

#define EV(type, name, rv) \
	"{\"type\":\"" type "\",\"object\":{\"metadata\":{\"name\":\"" name "\",\"resourceVersion\":\"" rv "\"}}}\n"
#define LIST(rv, cont, items) \
	"{\"metadata\":{\"resourceVersion\":\"" rv "\",\"continue\":\"" cont "\"},\"items\":[" items "]}"
#define OBJ(name) "{\"metadata\":{\"name\":\"" name "\"}}"
#define GONE "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\"}}\n"

static void pages_then_events(void)
{
	static const struct step steps[] = {
	    {.want = "limit=2 ",
	     .unwanted = "continue",
	     .status = 200,
	     .body = LIST("9", "t/1", OBJ("a") "," OBJ("b"))},
	    {.want = "continue=t%2F1", .status = 200, .body = LIST("9", "t2", OBJ("c"))},
	    {.want = "continue=t2", .status = 200, .body = LIST("10", "", OBJ("d"))},
	    {.want = "resourceVersion=10&",
	     .status = 200,
	     .body = EV("ADDED", "e", "11") EV("MODIFIED", "a", "12") EV("DELETED", "b", "13")},
	    {.want = "resourceVersion=13&", .status = 200, .body = EV("BOOKMARK", "", "20")},
	    {.want = "resourceVersion=20&", .status = 200, .body = "", .then = HANG},
	    {0},
	};
	struct kube_watch_status s;

	watch(steps, "begin obj a obj b obj c obj d synced up e up a del b ", (struct kube_watch_config){.page = 2},
	      &s);
	CHECK(s.synced && s.lists == 1 && s.objects == 4 && s.events == 3 && s.bookmarks == 1 && s.refused == 0);
}

static void selectors_are_sent(void)
{
	static const struct step steps[] = {
	    {.want = "labelSelector=a%3Db&fieldSelector=spec.nodeName%3Dn1&limit=500 ",
	     .status = 200,
	     .body = LIST("1", "", "")},
	    {.want = "labelSelector=a%3Db&fieldSelector=spec.nodeName%3Dn1&watch=true",
	     .status = 200,
	     .body = "",
	     .then = HANG},
	    {0},
	};
	struct kube_watch_status s;

	watch(steps, "begin synced ",
	      (struct kube_watch_config){.label_selector = "a=b", .field_selector = "spec.nodeName=n1"}, &s);
}

static void resumes_after_a_cut_line(void)
{
	static const struct step steps[] = {
	    {.want = "limit", .status = 200, .body = LIST("1", "", "")},
	    {.want = "resourceVersion=1&",
	     .status = 200,
	     .body = EV("ADDED", "a", "2") "{\"type\":\"ADDED\",\"obj",
	     .then = CUT},
	    {.want = "resourceVersion=2&", .status = 200, .body = EV("ADDED", "b", "3"), .then = HANG},
	    {0},
	};
	struct kube_watch_status s;

	watch(steps, "begin synced up a up b ", (struct kube_watch_config){0}, &s);
	CHECK(s.lists == 1 && s.refused == 0 && s.connected);
}

static void expired_versions_are_listed_again(void)
{
	static const struct step steps[] = {
	    {.want = "limit", .status = 200, .body = LIST("1", "", OBJ("a"))},
	    {.want = "resourceVersion=1&", .status = 200, .body = GONE},
	    {.want = "limit", .unwanted = "resourceVersion", .status = 200, .body = LIST("5", "", OBJ("b"))},
	    {.want = "resourceVersion=5&", .status = 410, .body = "{\"kind\":\"Status\",\"code\":410}"},
	    {.want = "limit", .status = 200, .body = LIST("6", "t", OBJ("c"))},
	    {.want = "continue=t", .status = 410, .body = "{}"}, /* the list's own version expires */
	    {.want = "limit", .unwanted = "continue", .status = 200, .body = LIST("7", "", OBJ("d"))},
	    {.want = "resourceVersion=7&", .status = 200, .body = "", .then = HANG},
	    {0},
	};
	struct kube_watch_status s;

	watch(steps, "begin obj a synced begin obj b synced begin obj c begin obj d synced ",
	      (struct kube_watch_config){0}, &s);
	CHECK_INT(s.lists, 3);
}

static void repeated_and_reordered_events(void)
{
	static const struct step steps[] = {
	    {.want = "limit", .status = 200, .body = LIST("10", "", "")},
	    {.want = "resourceVersion=10&",
	     .status = 200,
	     .body = EV("ADDED", "a", "12") EV("ADDED", "old", "11") EV("DELETED", "b", "13") EV("ADDED", "b", "9")
		 EV("ADDED", "c", "14"),
	     .then = HANG},
	    {0},
	};
	struct kube_watch_status s;

	watch(steps, "begin synced up a del b up c ", (struct kube_watch_config){0}, &s);
}

static void storms_are_weathered(void)
{
	static const struct step steps[] = {
	    {.want = "limit", .status = 500, .body = "oops", .times = 12},
	    {.want = "limit", .status = 429, .headers = "Retry-After: 1\r\n", .body = "{}"},
	    {.want = "limit", .status = 200, .body = LIST("1", "", OBJ("a"))},
	    {.want = "resourceVersion=1&", .status = 503, .body = "", .times = 5},
	    {.want = "resourceVersion=1&",
	     .status = 200,
	     .body = "{\"type\":\"ERROR\",\"object\":{\"code\":500,\"message\":\"etcd\"}}\n"},
	    {.want = "resourceVersion=1&", .status = 200, .body = EV("ADDED", "b", "2"), .then = HANG},
	    {0},
	};
	struct kube_watch_status s;
	uint64_t start, end;

	sd_event_now(event, CLOCK_MONOTONIC, &start);
	watch(steps, "begin obj a synced up b ", (struct kube_watch_config){0}, &s);
	sd_event_now(event, CLOCK_MONOTONIC, &end);
	CHECK(end - start >= 1000000); /* Retry-After was kept */
	CHECK_INT(requests, 12 + 1 + 1 + 5 + 1 + 1);
	CHECK_INT(s.reconnects, 12 + 1 + 5 + 1);
}

static void garbage_is_refused(void)
{
	static const struct step steps[] = {
	    {.want = "limit", .status = 200, .body = "[]"},
	    {.want = "limit", .status = 200, .body = "{\"items\":[]}"},
	    {.want = "limit", .status = 200, .body = "<html>"},
	    {.want = "limit", .status = 200, .body = LIST("1", "", "7," OBJ("a"))},
	    {.want = "resourceVersion=1&", .status = 200, .body = "\xff\xfe\n" EV("ADDED", "lost", "2")},
	    {.want = "resourceVersion=1&", .status = 200, .body = EV("ADDED", "b", "2") "{\"type\":\"ODD\"}\n"},
	    {.want = "resourceVersion=2&",
	     .status = 200,
	     .body = "x\n",
	     .times = 2}, /* with the one before: three in a row */
	    {.want = "limit", .status = 200, .body = LIST("9", "", OBJ("c"))},
	    {.want = "resourceVersion=9&", .status = 200, .body = "", .then = HANG},
	    {0},
	};
	struct kube_watch_status s;

	watch(steps, "begin obj a synced up b begin obj c synced ", (struct kube_watch_config){0}, &s);
	CHECK_INT(s.refused, 5);
}

static void too_large_events_are_left_out(void)
{
	_cleanup_free_ char *name = xmalloc(5001), *stream = NULL;
	struct step steps[] = {
	    {.want = "limit", .status = 200, .body = LIST("1", "", "")},
	    {.want = "resourceVersion=1&", .status = 200, .then = HANG},
	    {0},
	};
	struct kube_watch_status s;

	memset(name, 'x', 5000);
	name[5000] = 0;
	stream = xasprintf(
	    "%s{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"%s\",\"resourceVersion\":\"3\"}}}\n%s",
	    EV("ADDED", "a", "2"), name, EV("ADDED", "b", "4"));
	steps[1].body = stream;
	watch(steps, "begin synced up a up b ", (struct kube_watch_config){.max_event = 4096}, &s);
	CHECK(s.refused == 1 && s.connected && s.events == 2);
}

static void lines_of_ten_megabytes_are_taken(void)
{
	size_t n = 10 << 20;
	struct kube_lines l = {.buf.max = 16 << 20};
	struct buf line = {0}, out = {0};

	memset(buf_reserve(&line, n), 'x', n);
	line.len = n;
	buf_adds(&line, "\n");
	for (size_t at = 0; at < line.len; at += 16384)
		CHECK(kube_lines_feed(&l, line.data + at, MIN((size_t)16384, line.len - at), collect_line, &out));
	CHECK_INT(out.len, n + 1);
	kube_lines_done(&l);
	buf_done(&line);
	buf_done(&out);
}

static void falls_back_to_an_older_version(void)
{
	static const struct step steps[] = {
	    {.want = "/apis/g/v1/x?", .status = 404, .body = "404 page not found"},
	    {.want = "/apis/g/v1beta1/x?", .status = 404, .body = "404 page not found"},
	    {.want = "/apis/g/v1/x?", .status = 404, .body = "404 page not found"},
	    {.want = "/apis/g/v1beta1/x?", .status = 200, .body = LIST("1", "", OBJ("a"))},
	    {.want = "/apis/g/v1beta1/x?watch", .status = 200, .body = "", .then = HANG},
	    {0},
	};
	struct kube_watch_status s;

	watch(steps, "begin obj a synced ",
	      (struct kube_watch_config){.path = "/apis/g/v1/x", .fallback_path = "/apis/g/v1beta1/x"}, &s);
}

int main(void)
{
	int r;

	RUN(backoff);
	RUN(retry_after);
	RUN(events);
	RUN(lines_at_every_split);
	RUN(kubeconfigs);
	RUN(paths);
	r = start_server();
	if (r < 0) {
		printf("Bail out! no server in a namespace of my own: %s\n", strerror(-r));
		return 1;
	}
	RUN(requests_and_answers);
	RUN(a_crowd_of_requests_shares_connections);
	RUN(requests_that_cannot_be);
	RUN(given_up_while_it_connects);
	RUN(pages_then_events);
	RUN(selectors_are_sent);
	RUN(resumes_after_a_cut_line);
	RUN(expired_versions_are_listed_again);
	RUN(repeated_and_reordered_events);
	RUN(storms_are_weathered);
	RUN(garbage_is_refused);
	RUN(too_large_events_are_left_out);
	RUN(lines_of_ten_megabytes_are_taken);
	RUN(falls_back_to_an_older_version);
	play(NULL);
	buf_done(&story);
	sd_event_unref(event);
	return test_end();
}
