/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a peer on the agent's socket answers, the client reads a result, an error with a text, or fails. */
#include "fuzz.h"
#include "ipc/ipc.h"

enum { ANSWER_MAX = 32768 }; /* fits a socket's buffer: it is written before anybody reads */

static int listen_once(void)
{
	static int fd = -1;
	struct sockaddr_un sun = fuzz_socket("socket");

	if (fd >= 0)
		return fd;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	REQUIRE(fd >= 0 && bind(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0 && listen(fd, 4) == 0);
	return fd;
}

static void serve(int listener, const uint8_t *data, size_t size)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	char request[256];

	REQUIRE(fd >= 0 && recv(fd, request, sizeof(request), 0) > 0);
	REQUIRE(size == 0 || send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *path = fuzz_path("socket");
	int listener = listen_once(), r;
	struct ipc_stream *s;

	if (size > ANSWER_MAX)
		return 0;
	REQUIRE(ipc_stream_open(path, "status", NULL, 1000, &s) == 0);
	serve(listener, data, size);
	do {
		_cleanup_ipc_answer_ struct ipc_answer a = { 0 };

		r = ipc_stream_next(s, 1000, &a);
		REQUIRE(r <= 1 && r != -ETIMEDOUT);
		REQUIRE(r != 1 || a.result || a.msg);
	} while (r == 1);
	ipc_stream_close(s);
	return 0;
}
