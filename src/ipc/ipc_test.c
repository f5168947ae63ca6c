/* SPDX-License-Identifier: Apache-2.0 */
/* A server in a child process, and clients of every kind: good, slow, greedy, rude. */
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "ipc/server.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { MAX_CLIENTS = 8, HASTY_IDLE_MS = 300, QUEUE = 2 << 20 };

static char dir[] = "/tmp/weft-ipc-XXXXXX";
static char *path;
/* A server that hangs up soon. Nothing else is asked of it: this program may wait long for a CPU. */
static char *hasty_path;
static pid_t hasty;

/* --- the server's side --- */

static struct ipc_server *server;
static struct ipc_request *held[16];
static unsigned n_held, n_gone;
static sd_event_source *flood_source;

static void on_echo(struct ipc_request *req, json_t *params, void *ctx _unused_)
{
	ipc_reply(req, json_incref(params));
}

static void on_fail(struct ipc_request *req, json_t *params _unused_, void *ctx _unused_)
{
	ipc_reply_error(req, 11, "try again later", "the agent is \"starting\"");
}

static void on_gone(struct ipc_request *req, void *ctx _unused_)
{
	for (unsigned i = 0; i < n_held; i++)
		if (held[i] == req)
			held[i] = held[--n_held];
	n_gone++;
	ipc_reply(req, json_null());
}

static void on_hold(struct ipc_request *req, json_t *params _unused_, void *ctx _unused_)
{
	ipc_on_gone(req, on_gone, NULL);
	held[n_held++] = req;
}

static void on_release(struct ipc_request *req, json_t *params _unused_, void *ctx _unused_)
{
	unsigned n = n_held;

	while (n_held)
		ipc_reply(held[--n_held], json_string("released"));
	ipc_reply(req, json_integer(n));
}

static void on_stats(struct ipc_request *req, json_t *params _unused_, void *ctx _unused_)
{
	struct ucred peer = ipc_peer(req);

	ipc_reply(req, json_pack("{s:i,s:i,s:i,s:i}", "clients", ipc_server_clients(server), "held", n_held, "gone",
				 n_gone, "pid", peer.pid));
}

static void on_count(struct ipc_request *req, json_t *params, void *ctx _unused_)
{
	int n = json_integer_value(json_object_get(params, "n"));

	for (int i = 0; i < n; i++)
		if (ipc_send(req, json_integer(i)) < 0)
			break;
	ipc_end(req);
}

static int flood(sd_event_source *s, void *ctx)
{
	struct ipc_request *req = ctx;
	char text[10001];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	if (ipc_send(req, json_string(text)) == 0)
		return 0;
	n_gone++;
	sd_event_source_set_enabled(s, SD_EVENT_OFF);
	ipc_end(req);
	return 0;
}

static void on_flood(struct ipc_request *req, json_t *params _unused_, void *ctx)
{
	sd_event_source_disable_unref(flood_source);
	sd_event_add_defer(ctx, &flood_source, flood, req);
	sd_event_source_set_enabled(flood_source, SD_EVENT_ON);
}

static void on_huge(struct ipc_request *req, json_t *params, void *ctx _unused_)
{
	size_t n = json_integer_value(json_object_get(params, "n"));
	_cleanup_free_ char *text = xmalloc(n + 1);

	memset(text, 'x', n);
	text[n] = 0;
	ipc_reply(req, json_string(text));
}

static void serve(const char *at, uint64_t idle_ms, int ready)
{
	static const struct ipc_method methods[] = {{"echo", on_echo},	     {"fail", on_fail},	  {"hold", on_hold},
						    {"release", on_release}, {"stats", on_stats}, {"count", on_count},
						    {"flood", on_flood},     {"huge", on_huge},	  {}};
	sd_event *event;
	struct ipc_server_config config = {.path = at,
					   .any_user = true,
					   .max_clients = MAX_CLIENTS,
					   .idle_ms = idle_ms,
					   .max_queue = QUEUE,
					   .methods = methods};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (sd_event_new(&event) < 0)
		_exit(1);
	config.ctx = event;
	if (ipc_server_new(event, &config, &server) < 0 || write(ready, "x", 1) != 1)
		_exit(1);
	_exit(sd_event_loop(event));
}

static pid_t start_server(const char *at, uint64_t idle_ms)
{
	int ready[2];
	char byte;
	pid_t pid;

	if (pipe(ready) < 0)
		return -1;
	pid = fork();
	if (pid == 0)
		serve(at, idle_ms, ready[1]);
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		pid = -1;
	close(ready[0]);
	return pid;
}

/* --- the clients' side --- */

static int raw_connect(const char *at)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(sun.sun_path, at);
	CHECK(connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	return fd;
}

/* All that comes until the server hangs up (at most 10 s). */
static char *read_to_end(int fd)
{
	char *text = xcalloc(1, 65536);
	size_t len = 0;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n = poll(&p, 1, 10000) == 1 ? recv(fd, text + len, 65535 - len, 0) : -1;

		if (n <= 0)
			break;
		len += n;
	}
	text[len] = 0;
	return text;
}

static int stat_of(const char *at, const char *key)
{
	_cleanup_ipc_answer_ struct ipc_answer a = {0};

	if (ipc_call(at, "stats", NULL, 10000, &a) < 0)
		return -1;
	return json_integer_value(json_object_get(a.result, key));
}

/* Waits until a statistic has a value. */
static bool await_stat(const char *at, const char *key, int value)
{
	for (int i = 0; i < 500; i++) {
		if (stat_of(at, key) == value)
			return true;
		usleep(10000);
	}
	return false;
}

static void call_and_answer(void)
{
	_cleanup_ipc_answer_ struct ipc_answer a = {0}, e = {0};
	_cleanup_json_ json_t *params = json_pack("{s:s,s:[i,i]}", "name", "gr\xc3\xbc\xc3\x9f\n", "list", 1, 2);

	CHECK_INT(ipc_call(path, "echo", params, 10000, &a), 0);
	CHECK(json_equal(a.result, params));
	CHECK_INT(ipc_call(path, "fail", NULL, 10000, &e), 0);
	CHECK(!e.result);
	CHECK_INT(e.code, 11);
	CHECK_STR(e.msg, "try again later");
	CHECK_STR(e.details, "the agent is \"starting\"");
	CHECK_INT(stat_of(path, "pid"), getpid());
}

static void unknown_method(void)
{
	_cleanup_ipc_answer_ struct ipc_answer a = {0};

	CHECK_INT(ipc_call(path, "no-such", NULL, 10000, &a), 0);
	CHECK(!a.result && a.code == 7);
	CHECK_STR(a.msg, "no such method: no-such");
}

static void nobody_there(void)
{
	_cleanup_free_ char *missing = xasprintf("%s/missing", dir), *deaf = xasprintf("%s/deaf", dir);
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct ipc_answer a;
	char longer[200];

	CHECK_INT(ipc_call(missing, "echo", NULL, 1000, &a), -ENOENT);
	strcpy(sun.sun_path, deaf);
	CHECK(bind(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	CHECK_INT(ipc_call(deaf, "echo", NULL, 1000, &a), -ECONNREFUSED);
	CHECK(listen(fd, 1) == 0);
	CHECK_INT(ipc_call(deaf, "echo", NULL, 50, &a), -ETIMEDOUT);
	unlink(deaf);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	CHECK_INT(ipc_call(longer, "echo", NULL, 50, &a), -ENAMETOOLONG);
}

static void large_requests(void)
{
	size_t fits = IPC_LINE_MAX - 100;
	_cleanup_free_ char *text = xmalloc(IPC_LINE_MAX + 1);
	_cleanup_ipc_answer_ struct ipc_answer a = {0};
	_cleanup_json_ json_t *params = json_object(), *bigger = json_object(), *most = json_pack("{si}", "n", IPC_ANSWER_MAX - 100),
			      *beyond = json_pack("{si}", "n", IPC_ANSWER_MAX);

	memset(text, 'x', IPC_LINE_MAX);
	text[IPC_LINE_MAX] = 0;
	json_object_set_new(params, "t", json_stringn(text, fits));
	CHECK_INT(ipc_call(path, "echo", params, 10000, &a), 0);
	CHECK(json_equal(a.result, params));
	json_object_set_new(bigger, "t", json_string(text));
	CHECK_INT(ipc_call(path, "echo", bigger, 10000, &a), -EMSGSIZE);
	/* an answer may be longer; past its bound it is not sent in pieces */
	ipc_answer_done(&a);
	CHECK_INT(ipc_call(path, "huge", most, 60000, &a), 0);
	CHECK_INT(json_string_length(a.result), IPC_ANSWER_MAX - 100);
	ipc_answer_done(&a);
	CHECK_INT(ipc_call(path, "huge", beyond, 60000, &a), -EPIPE);
}

static void rude_requests(void)
{
	static const struct {
		const char *sent, *answer;
	} cases[] = {
	    {"{\n", "{\"error\":{\"code\":6,\"msg\":\"request: line 1, column "},
	    {"\n", "{\"error\":{\"code\":6,\"msg\":\"request: "},
	    {"[]\n", "{\"error\":{\"code\":6,\"msg\":\"request: "},
	    {"{\"method\":5}\n", "{\"error\":{\"code\":6,\"msg\":\"request: expected an object"},
	    {"{\"method\":\"echo\",\"params\":[]}\n",
	     "{\"error\":{\"code\":6,\"msg\":\"request: \\\"params\\\" is no object"},
	    {"{\"method\":\"\xff\xfe\"}\n", "{\"error\":{\"code\":6,\"msg\":\"request: "},
	    {"GET / HTTP/1.1\r\n\r\n", "{\"error\":{\"code\":6,\"msg\":\"request: "},
	    {"{\"method\":\"echo\"", "{\"error\":{\"code\":6,\"msg\":\"request: the line has no end"},
	    {"", ""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_close_ int fd = raw_connect(path);
		_cleanup_free_ char *answer = NULL;

		CHECK_INT(write_all(fd, cases[i].sent, strlen(cases[i].sent)), 0);
		shutdown(fd, SHUT_WR);
		answer = read_to_end(fd);
		CHECK(str_has_prefix(answer, cases[i].answer));
		CHECK(answer[0] == 0 || str_has_suffix(answer, "}\n"));
	}
	CHECK(await_stat(path, "clients", 1));
}

static void endless_line(void)
{
	_cleanup_close_ int fd = raw_connect(path);
	_cleanup_free_ char *answer = NULL;
	char chunk[4096];
	size_t sent = 0;

	memset(chunk, '[', sizeof(chunk));
	while (sent < 4u << 20) {
		ssize_t n = send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL);

		if (n < 0)
			break;
		sent += n;
	}
	CHECK(sent < 4u << 20); /* cut off long before */
	answer = read_to_end(fd);
	CHECK(strstr(answer, "longer than 1 MiB"));
}

static void pipelined_requests_are_answered_in_order(void)
{
	static const char text[] = "{\"method\":\"echo\",\"params\":{\"n\":1}}\n{\"method\":\"hold\"}\n"
				   "{\"method\":\"echo\",\"params\":{\"n\":2}}\n";
	_cleanup_close_ int fd = raw_connect(path);
	_cleanup_ipc_answer_ struct ipc_answer a = {0};
	_cleanup_free_ char *answer = NULL;

	CHECK_INT(write_all(fd, text, strlen(text)), 0);
	shutdown(fd, SHUT_WR);
	CHECK(await_stat(path, "held", 1));
	CHECK_INT(ipc_call(path, "release", NULL, 10000, &a), 0);
	answer = read_to_end(fd);
	CHECK_STR(answer, "{\"result\":{\"n\":1}}\n{\"result\":\"released\"}\n{\"result\":{\"n\":2}}\n");
}

static void client_leaves_before_the_answer(void)
{
	int before = stat_of(path, "gone"), fd = raw_connect(path);

	CHECK_INT(write_all(fd, "{\"method\":\"hold\"}\n", 18), 0);
	CHECK(await_stat(path, "held", 1));
	close(fd);
	CHECK(await_stat(path, "gone", before + 1));
	CHECK_INT(stat_of(path, "held"), 0);
	CHECK(await_stat(path, "clients", 1));
}

static void streaming(void)
{
	_cleanup_(ipc_stream_closep) struct ipc_stream *s = NULL;
	_cleanup_json_ json_t *params = json_pack("{s:i}", "n", 1000);
	struct ipc_answer a = {0};

	CHECK_INT(ipc_stream_open(path, "count", params, 10000, &s), 0);
	for (int i = 0; i < 1000; i++) {
		CHECK_INT(ipc_stream_next(s, 10000, &a), 1);
		CHECK_INT(json_integer_value(a.result), i);
		ipc_answer_done(&a);
	}
	CHECK_INT(ipc_stream_next(s, 10000, &a), 0);
}

static void who_does_not_read_is_cut_off(void)
{
	int before = stat_of(path, "gone"), fd = raw_connect(path);

	CHECK_INT(write_all(fd, "{\"method\":\"flood\"}\n", 19), 0);
	CHECK(await_stat(path, "gone", before + 1));
	close(fd);
	CHECK(await_stat(path, "clients", 1));
}

static void idle_clients_are_hung_up_on(void)
{
	_cleanup_close_ int silent = -1, half = -1;
	_cleanup_free_ char *a = NULL, *b = NULL;

	CHECK_INT(kill(hasty, SIGSTOP), 0); /* its clock begins when it has seen both, and what the one sent */
	silent = raw_connect(hasty_path);
	half = raw_connect(hasty_path);
	CHECK_INT(write_all(half, "{\"met", 5), 0);
	CHECK_INT(kill(hasty, SIGCONT), 0);
	a = read_to_end(silent);
	b = read_to_end(half);
	CHECK(a[0] == 0 && b[0] == 0);
	CHECK(await_stat(hasty_path, "clients", 1));
}

static void too_many_clients(void)
{
	_cleanup_ipc_answer_ struct ipc_answer a = {0};
	int fds[MAX_CLIENTS];

	for (int i = 0; i < MAX_CLIENTS; i++) {
		fds[i] = raw_connect(path);
		CHECK_INT(write_all(fds[i], "{\"method\":\"hold\"}\n", 18), 0);
	}
	CHECK_INT(ipc_call(path, "echo", NULL, 10000, &a), 0);
	CHECK(!a.result && a.code == 11);
	for (int i = 0; i < MAX_CLIENTS; i++)
		close(fds[i]);
	CHECK(await_stat(path, "clients", 1));
}

static void socket_file(void)
{
	struct ipc_server_config config = {.path = path, .methods = (struct ipc_method[]){{}}};
	_cleanup_free_ char *stale = xasprintf("%s/stale", dir), *file = xasprintf("%s/file", dir);
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct ipc_server *s = NULL;
	sd_event *event;
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	CHECK(sd_event_new(&event) >= 0);
	CHECK_INT(ipc_server_new(event, &config, &s), -EADDRINUSE);
	strcpy(sun.sun_path, stale);
	CHECK(bind(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	close(fd);
	config.path = stale;
	CHECK_INT(ipc_server_new(event, &config, &s), 0);
	CHECK(stat(stale, &st) == 0 && (st.st_mode & 07777) == 0600);
	CHECK_INT(ipc_server_restore(s), 0);
	unlink(stale); /* somebody tidies up */
	CHECK_INT(ipc_server_restore(s), 1);
	CHECK(stat(stale, &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 07777) == 0600);
	CHECK_INT(ipc_server_restore(s), 0);
	unlink(stale);
	CHECK_INT(file_write_atomic(stale, "x", 1, 0600), 0);
	CHECK_INT(ipc_server_restore(s), -EEXIST);
	unlink(stale);
	CHECK_INT(ipc_server_restore(s), 1);
	s = ipc_server_free(s);
	CHECK(stat(stale, &st) < 0);
	CHECK_INT(file_write_atomic(file, "x", 1, 0600), 0);
	config.path = file;
	CHECK_INT(ipc_server_new(event, &config, &s), -EEXIST);
	unlink(file);
	sd_event_unref(event);
}

static void restart_with_handles_out(void)
{
	/* in one process: the server goes while a handle is out, the late answer harms nothing */
	static const struct ipc_method methods[] = {{"hold", on_hold}, {}};
	_cleanup_free_ char *own = xasprintf("%s/own", dir);
	struct ipc_server_config config = {.path = own, .any_user = true, .methods = methods};
	_cleanup_(ipc_stream_closep) struct ipc_stream *stream = NULL;
	struct ipc_answer a;
	struct ipc_server *s;
	sd_event *event;

	CHECK(sd_event_new(&event) >= 0);
	CHECK_INT(ipc_server_new(event, &config, &s), 0);
	CHECK_INT(ipc_stream_open(own, "hold", NULL, 1000, &stream), 0);
	for (int i = 0; i < 100 && n_held == 0; i++)
		sd_event_run(event, 10000);
	CHECK_INT(n_held, 1);
	ipc_on_gone(held[0], NULL, NULL);
	s = ipc_server_free(s);
	CHECK_INT(ipc_send(held[0], json_true()), -EPIPE);
	ipc_reply(held[0], json_true());
	n_held = 0;
	CHECK_INT(ipc_stream_next(stream, 1000, &a), 0);
	sd_event_unref(event);
}

int main(void)
{
	pid_t pid;

	if (!mkdtemp(dir))
		return 1;
	path = xasprintf("%s/s", dir);
	hasty_path = xasprintf("%s/hasty", dir);
	pid = start_server(path, 0);
	hasty = start_server(hasty_path, HASTY_IDLE_MS);
	if (pid < 0 || hasty < 0) {
		printf("Bail out! the server did not start\n");
		return 1;
	}
	RUN(call_and_answer);
	RUN(unknown_method);
	RUN(nobody_there);
	RUN(large_requests);
	RUN(rude_requests);
	RUN(endless_line);
	RUN(pipelined_requests_are_answered_in_order);
	RUN(client_leaves_before_the_answer);
	RUN(streaming);
	RUN(who_does_not_read_is_cut_off);
	RUN(idle_clients_are_hung_up_on);
	RUN(too_many_clients);
	RUN(socket_file);
	RUN(restart_with_handles_out);
	kill(pid, SIGKILL);
	kill(hasty, SIGKILL);
	waitpid(pid, NULL, 0);
	waitpid(hasty, NULL, 0);
	unlink(path);
	unlink(hasty_path);
	rmdir(dir);
	free(path);
	free(hasty_path);
	return test_end();
}
