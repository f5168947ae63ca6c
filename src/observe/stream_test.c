/* SPDX-License-Identifier: Apache-2.0 */
/* The method `observe` over a real socket: what is kept, who follows, and what a reader that does not read is told. The server
 * runs in a child, because the client blocks. */
#include "observe/stream.h"
#include "base/str.h"
#include "base/test.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>

enum { KEEP = 500, TIMEOUT_MS = 30000 };

static char path[64];
static struct stream *stream;

static void put_one(uint16_t port)
{
	struct observe_event e = { .at_ms = 1000 + port, .reason = "arp", .text = "t", .hook = "from_pod", .path = "" };

	e.src.port = port;
	e.src.name = xstrdup("a");
	stream_put(stream, &e);
}

/* {n, from}: events whose source ports are from, from + 1, … */
static void on_put(struct ipc_request *req, json_t *params, _unused_ void *ctx)
{
	json_int_t n = json_integer_value(json_object_get(params, "n")), from = json_integer_value(json_object_get(params, "from"));

	for (json_int_t i = 0; i < n; i++)
		put_one(from + i);
	ipc_reply(req, json_true());
}

static void on_observe(struct ipc_request *req, json_t *params, _unused_ void *ctx)
{
	stream_read(stream, req, params);
}

static void on_stats(struct ipc_request *req, _unused_ json_t *params, _unused_ void *ctx)
{
	struct stream_stats s = stream_stats(stream);

	ipc_reply(req, json_pack("{sI, sI, sI}", "readers", (json_int_t)s.readers, "lost", (json_int_t)s.lost, "events",
				 (json_int_t)s.events[OBSERVE_DROP]));
}

static void serve(int ready)
{
	static const struct ipc_method methods[] = { { "put", on_put }, { "observe", on_observe }, { "stats", on_stats }, {} };
	struct ipc_server_config config = { .path = path, .any_user = true, .methods = methods };
	struct ipc_server *server;
	sd_event *event;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	stream = stream_new(KEEP, "n1");
	if (sd_event_new(&event) < 0 || ipc_server_new(event, &config, &server) < 0 || write(ready, "x", 1) != 1)
		_exit(1);
	_exit(sd_event_loop(event));
}

static pid_t start(void)
{
	int ready[2];
	pid_t pid;
	char c;

	if (pipe(ready) < 0)
		return -1;
	pid = fork();
	if (pid == 0)
		serve(ready[1]);
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		return -1;
	close(ready[0]);
	return pid;
}

static void put(unsigned n, unsigned from)
{
	_cleanup_json_ json_t *params = json_pack("{si, si}", "n", (int)n, "from", (int)from);
	_cleanup_ipc_answer_ struct ipc_answer a = { 0 };

	CHECK_INT(ipc_call(path, "put", params, TIMEOUT_MS, &a), 0);
}

static long long stat(const char *name)
{
	_cleanup_ipc_answer_ struct ipc_answer a = { 0 };

	CHECK_INT(ipc_call(path, "stats", NULL, TIMEOUT_MS, &a), 0);
	return json_integer_value(json_object_get(a.result, name));
}

static struct ipc_stream *ask(const char *params)
{
	_cleanup_json_ json_t *j = json_parse("params", params, strlen(params), NULL);
	struct ipc_stream *s;

	CHECK(j != NULL);
	CHECK_INT(ipc_stream_open(path, "observe", j, TIMEOUT_MS, &s), 0);
	return s;
}

/* Return: the source port of the next event, 0 at the end, minus the number of those lost. */
static long long next(struct ipc_stream *s)
{
	_cleanup_ipc_answer_ struct ipc_answer a = { 0 };
	int r = ipc_stream_next(s, TIMEOUT_MS, &a);

	CHECK(r >= 0);
	if (r == 0)
		return 0;
	CHECK(a.result != NULL);
	if (json_object_get(a.result, "lost"))
		return -json_integer_value(json_object_get(a.result, "lost"));
	return json_integer_value(json_at(a.result, "source", "port"));
}

static void the_last_ones_and_the_end(void)
{
	struct ipc_stream *s;

	put(20, 1);
	s = ask("{\"last\":3}");
	for (int port = 18; port <= 20; port++)
		CHECK_INT(next(s), port);
	CHECK_INT(next(s), 0);
	ipc_stream_close(s);
	s = ask("{\"port\":7}");
	CHECK_INT(next(s), 7);
	CHECK_INT(next(s), 0);
	ipc_stream_close(s);
	s = ask("{\"sinceMs\":1020}");
	CHECK_INT(next(s), 20);
	CHECK_INT(next(s), 0);
	ipc_stream_close(s);
}

static void who_follows_gets_what_comes(void)
{
	struct ipc_stream *all = ask("{\"follow\":true}"), *one = ask("{\"follow\":true,\"port\":101,\"last\":0}");

	while (stat("readers") < 2)
		;
	put(2, 100);
	CHECK_INT(next(all), 100);
	CHECK_INT(next(all), 101);
	CHECK_INT(next(one), 101);
	ipc_stream_close(all);
	ipc_stream_close(one);
	while (stat("readers") > 0)
		;
}

static void a_slow_reader_is_told_what_passed_by(void)
{
	struct ipc_stream *s = ask("{\"follow\":true}");
	long long seen = 0, lost = 0, got = 0, total = 20000;

	while (stat("readers") < 1)
		;
	for (int i = 0; i < 40; i++)
		put(500, 1000 + i * 500);
	for (long long last = 999; seen + lost < total; seen += got > 0) {
		got = next(s);
		CHECK(got != 0);
		if (got < 0)
			lost -= got;
		CHECK(got < 0 || got == last + 1 || lost);
		last = got > 0 ? got : last - got;
	}
	CHECK(lost > 0 && seen > KEEP / 2);
	CHECK_INT(seen + lost, total);
	CHECK_INT(stat("lost"), lost);
	ipc_stream_close(s);
	while (stat("readers") > 0)
		;
}

static void more_kept_than_a_socket_takes(void)
{
	struct ipc_stream *s;
	int n = 0;

	put(KEEP, 5000);
	s = ask("{}");
	while (next(s) != 0)
		n++;
	CHECK_INT(n, KEEP);
	ipc_stream_close(s);
}

static void too_many_and_nonsense_are_refused(void)
{
	_cleanup_json_ json_t *bad = json_pack("{ss}", "verdict", "x");
	_cleanup_ipc_answer_ struct ipc_answer a = { 0 }, b = { 0 };
	struct ipc_stream *s[STREAM_READERS_MAX];

	CHECK_INT(ipc_call(path, "observe", bad, TIMEOUT_MS, &a), 0);
	CHECK(!a.result);
	CHECK_INT(a.code, 7);
	for (int i = 0; i < STREAM_READERS_MAX; i++)
		s[i] = ask("{\"follow\":true}");
	while (stat("readers") < STREAM_READERS_MAX)
		;
	CHECK_INT(ipc_call(path, "observe", NULL, TIMEOUT_MS, &b), 0);
	CHECK(!b.result);
	CHECK_INT(b.code, 11);
	for (int i = 0; i < STREAM_READERS_MAX; i++)
		ipc_stream_close(s[i]);
	while (stat("readers") > 0)
		;
}

int main(void)
{
	pid_t pid;

	snprintf(path, sizeof(path), "/tmp/weft-stream-test.%d", getpid());
	pid = start();
	if (pid < 0)
		return 1;
	RUN(the_last_ones_and_the_end);
	RUN(who_follows_gets_what_comes);
	RUN(a_slow_reader_is_told_what_passed_by);
	RUN(more_kept_than_a_socket_takes);
	RUN(too_many_and_nonsense_are_refused);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(path);
	return test_end();
}
