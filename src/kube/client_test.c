/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and their answers, from a server that answers by a script. */
#include "base/str.h"
#include "base/test.h"
#include "kube/scripted.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

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
	CHECK(scripted_run_until(answered));
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
	_cleanup_(kube_client_freep) struct kube_client *c = scripted_client();
	_cleanup_json_ json_t *body = json_pack("{s:s}", "x", "y");

	scripted_play(steps);
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

	CHECK_INT(kube_client_new(scripted.event, &config, "weft-test/1", &c, NULL), 0);
	memset(&got, 0, sizeof(got));
	CHECK_INT(kube_send(c, &(struct kube_request){.method = "GET", .path = "/x"}, on_response, NULL, &call), 0);
	for (int i = 0; i < 20 && socket_that_connects() < 0; i++)
		CHECK(sd_event_run(scripted.event, 1000) >= 0);
	held = dup(socket_that_connects());
	CHECK(held >= 0);
	CHECK(sd_event_run(scripted.event, 1000) >= 0);
	kube_cancel(call);
	CHECK(sd_event_run(scripted.event, 1000) >= 0);
	CHECK_INT(socket_that_connects(), held); /* the client has closed its own */
	shutdown(held, SHUT_RDWR);		 /* something happens to it */
	for (int i = 0; i < 10; i++)
		CHECK(sd_event_run(scripted.event, 1000) >= 0);
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
	_cleanup_(kube_client_freep) struct kube_client *c = scripted_client();

	scripted_play(steps);
	memset(&got, 0, sizeof(got));
	for (int i = 0; i < 100; i++)
		CHECK_INT(kube_send(c, &(struct kube_request){.method = "GET", .path = "/x"}, on_response, NULL, NULL), 0);
	CHECK(scripted_run_until(crowd_answered));
	CHECK_INT(got.status, 200);
	CHECK(scripted.accepted >= 1 && scripted.accepted <= 8);
}

/* Behind a name there may be several servers, or others tomorrow. */
static void it_knows_where_requests_go(void)
{
	static const struct step steps[] = {{.want = "GET /x ", .status = 200, .body = "{}", .times = 2}, {0}};
	_cleanup_free_ char *server = xasprintf("http://localhost:%u", scripted.port);
	struct kube_config named = {.server = server}, nobody = {.server = (char[]){"http://127.0.0.1:1"}};
	_cleanup_(kube_client_freep) struct kube_client *c = NULL, *deaf = NULL;
	const struct kube_place *places;

	CHECK_INT(kube_client_new(scripted.event, &named, "t", &c, NULL), 0);
	CHECK_INT(kube_client_places(c, &places), 0);
	scripted_play(steps);
	for (int i = 0; i < 2; i++)
		request(c, (struct kube_request){.method = "GET", .path = "/x"});
	CHECK_INT(kube_client_places(c, &places), 1);
	CHECK_STR(places[0].ip, "127.0.0.1");
	CHECK_INT(places[0].port, scripted.port);
	CHECK_INT(kube_client_new(scripted.event, &nobody, "t", &deaf, NULL), 0);
	request(deaf, (struct kube_request){.method = "GET", .path = "/x"});
	CHECK_INT(kube_client_places(deaf, &places), 0);
}

static void requests_that_cannot_be(void)
{
	_cleanup_free_ char *server = xasprintf("http://127.0.0.1:%u", 1);
	struct kube_config nobody = {.server = server};
	_cleanup_(kube_client_freep) struct kube_client *c = scripted_client(), *deaf = NULL;
	struct kube_call *call;

	CHECK_INT(kube_send(c, &(struct kube_request){.method = "EAT", .path = "/x"}, on_response, NULL, NULL),
		  -EINVAL);
	CHECK_INT(kube_send(c, &(struct kube_request){.method = "GET", .path = "x"}, on_response, NULL, NULL), -EINVAL);
	CHECK_INT(kube_send(c, &(struct kube_request){.method = "GET", .path = "/x y"}, on_response, NULL, NULL),
		  -EINVAL);
	CHECK_INT(kube_client_new(scripted.event, &nobody, "t", &deaf, NULL), 0);
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
	sd_event_run(scripted.event, 10000);
	CHECK_INT(got.count, 0);
}

int main(void)
{
	int r = scripted_start();

	if (r < 0) {
		printf("Bail out! no server in a namespace of my own: %s\n", strerror(-r));
		return 1;
	}
	RUN(requests_and_answers);
	RUN(a_crowd_of_requests_shares_connections);
	RUN(it_knows_where_requests_go);
	RUN(requests_that_cannot_be);
	RUN(given_up_while_it_connects);
	scripted_stop();
	return test_end();
}
