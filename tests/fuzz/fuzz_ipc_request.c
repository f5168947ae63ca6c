/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever comes in on the agent's socket, each line gets exactly one answer in JSON, or the server hangs up after saying
 * why. Nothing is left pending. */
#include "fuzz.h"
#include "ipc/server.h"

enum { REQUEST_MAX = 16384 };

static sd_event *event;
static struct ipc_server *server;
static size_t called;

static void on_echo(struct ipc_request *req, json_t *params, _unused_ void *ctx)
{
	REQUIRE(json_is_object(params));
	called++;
	ipc_reply(req, json_incref(params));
}

static void on_refuse(struct ipc_request *req, json_t *params, _unused_ void *ctx)
{
	called++;
	ipc_reply_error(req, 7, "no", json_str_or(json_object_get(params, "why"), "not said"));
}

static void start(const char *path)
{
	static const struct ipc_method methods[] = { { "echo", on_echo }, { "refuse", on_refuse }, { NULL, NULL } };
	const struct ipc_server_config config = { .path = path, .any_user = true, .methods = methods };

	REQUIRE(sd_event_new(&event) >= 0 && ipc_server_new(event, &config, &server) == 0);
}

static int connect_to_server(void)
{
	struct sockaddr_un sun = fuzz_socket("socket");
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	REQUIRE(fd >= 0 && connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	return fd;
}

/* Reads what is there. Return: lines seen, each checked. */
static size_t read_answers(int fd, char *text, size_t *len, size_t max)
{
	size_t lines = 0;
	ssize_t n;
	char *nl;

	while ((n = recv(fd, text + *len, max - *len, 0)) > 0)
		*len += n;
	while ((nl = memchr(text, '\n', *len))) {
		_cleanup_json_ json_t *j = json_parse("answer", text, nl - text, NULL);

		REQUIRE(j && (json_at(j, "result") || (json_str_at(j, "error", "msg") && json_at(j, "error", "code"))));
		*len -= nl + 1 - text;
		memmove(text, nl + 1, *len);
		lines++;
	}
	REQUIRE(*len < max);
	return lines;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char answers[1 << 20];
	size_t len = 0, lines = 0, sent_lines = 0;
	int fd;

	if (size > REQUEST_MAX)
		return 0;
	if (!server)
		start(fuzz_path("socket"));
	for (size_t i = 0; i < size; i++)
		sent_lines += data[i] == '\n';
	called = 0;
	fd = connect_to_server();
	REQUIRE(size == 0 || send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size);
	shutdown(fd, SHUT_WR);
	for (int turn = 0; turn == 0 || ipc_server_clients(server); turn++) {
		REQUIRE(turn < 100000);
		sd_event_run(event, 0);
		lines += read_answers(fd, answers, &len, sizeof(answers));
	}
	lines += read_answers(fd, answers, &len, sizeof(answers));
	close(fd);
	REQUIRE(len == 0 && called <= lines && lines <= sent_lines + 1);
	return 0;
}
