/* SPDX-License-Identifier: Apache-2.0 */
/* lab-dial: new connections one after another to a server that echoes, beside others that stay idle; until its input
 *ends.
 *
 *	lab-dial ADDRESS PORT IDLE RATE		IDLE connections that are used at the beginning and at the end only
 *
 * A new connection has succeeded when its bytes come back; `repeated` are those that needed more than one SYN. Prints
 * {"new", "failed", "repeated", "idle", "idle_failed"}. */
#include "base/str.h"
#include "net/addr.h"

#include <err.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

enum { PATIENCE_S = 5, RATE_MAX = 1000, IDLE_MAX = 16000 };

static struct sockaddr_storage server;
static socklen_t server_len;
static unsigned made, failed, repeated;

/* What it says is its own: an answer to another connection is none. */
static bool echoes(int fd)
{
	uint32_t said[2] = { getpid(), fd }, heard[2];

	return send(fd, said, sizeof(said), MSG_NOSIGNAL) == sizeof(said) && recv(fd, heard, sizeof(heard), MSG_WAITALL) == sizeof(heard) &&
	       memcmp(said, heard, sizeof(said)) == 0;
}

/* A connected socket, or -1. */
static int dial(void)
{
	int fd = socket(server.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval patience = {.tv_sec = PATIENCE_S};

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
		err(1, "socket");
	if (connect(fd, (struct sockaddr *)&server, server_len) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool was_repeated(int fd)
{
	struct tcp_info info = {};
	socklen_t len = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_total_retrans;
}

static void try_one(void)
{
	int fd = dial();

	made++;
	repeated += fd >= 0 && was_repeated(fd);
	if (fd < 0 || !echoes(fd))
		failed++;
	if (fd >= 0)
		close(fd);
}

static bool input_ended(void)
{
	struct pollfd p = {.fd = 0, .events = POLLIN};
	char c[64];

	return poll(&p, 1, 0) > 0 && read(0, c, sizeof(c)) <= 0;
}

int main(int argc, char **argv)
{
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	static int idle[IDLE_MAX];
	uint64_t port, n_idle, rate, ticks, silent = 0;
	struct itimerspec every = {.it_value = {.tv_nsec = 1}};
	struct addr a;

	if (argc != 5 || addr_parse(argv[1], &a) < 0 || parse_u64(argv[2], 65535, &port) < 0 ||
	    parse_u64(argv[3], IDLE_MAX, &n_idle) < 0 || parse_u64(argv[4], RATE_MAX, &rate) < 0 || rate < 2)
		errx(2, "usage: lab-dial ADDRESS PORT IDLE RATE");
	server_len = addr_to_sockaddr(&a, port, &server);
	for (uint64_t i = 0; i < n_idle; i++)
		if ((idle[i] = dial()) < 0 || !echoes(idle[i]))
			err(1, "idle connection %llu", (unsigned long long)i);
	every.it_interval.tv_nsec = 1000000000 / rate;
	if (timerfd_settime(timer, 0, &every, NULL) < 0)
		err(1, "timer");
	puts("dialling");
	fflush(stdout);
	while (!input_ended() && read(timer, &ticks, sizeof(ticks)) == sizeof(ticks))
		try_one();
	for (uint64_t i = 0; i < n_idle; i++)
		silent += !echoes(idle[i]);
	printf("{\"new\": %u, \"failed\": %u, \"repeated\": %u, \"idle\": %llu, \"idle_failed\": %llu}\n", made, failed,
	       repeated, (unsigned long long)n_idle, (unsigned long long)silent);
	return 0;
}
