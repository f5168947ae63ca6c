/* SPDX-License-Identifier: Apache-2.0 */
/* A small TCP load tool for `make bench`: the server echoes, the client measures.
 *
 *	netbench server PORT                      PORT: ping-pong; PORT + 1: one byte each way, then the server closes; PORT + 2: bulk
 *	netbench rr|crr|bulk ADDRESS PORT SECONDS prints one JSON object: rate, p50_us, p99_us, cpu_s
 *
 * rr sends one byte and waits for one byte on one connection; crr makes a connection for each exchange; bulk sends a megabyte (2^20)
 * and waits for one byte on one connection. cpu_s is the machine's busy time meanwhile, both ends included. */
#include "net/addr.h"
#include "base/str.h"

#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

enum { SAMPLES_MAX = 1 << 22, BULK = 1 << 20, CHUNK = 128 << 10 };

static _noreturn_ void die(const char *what)
{
	fprintf(stderr, "netbench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* user, nice, system, irq and softirq time of all CPUs; /proc/stat counts in hundredths of a second. */
static double busy_seconds(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/stat", "r");
	unsigned long long v[7];

	if (!f || fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu", v, v + 1, v + 2, v + 3, v + 4, v + 5, v + 6) != 7)
		die("/proc/stat");
	return (v[0] + v[1] + v[2] + v[5] + v[6]) / 100.0;
}

static void no_delay(int fd)
{
	int one = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
		die("TCP_NODELAY");
}

static int listen_on(uint16_t port)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int one = 1, fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 || listen(fd, 1024) < 0)
		die("listen");
	return fd;
}

static void *pingpong(void *arg)
{
	int fd = (intptr_t)arg;
	char c;

	no_delay(fd);
	while (read(fd, &c, 1) == 1 && write(fd, &c, 1) == 1)
		;
	close(fd);
	return NULL;
}

/* Return: whether all of it came. */
static bool take_bulk(int fd, char *buf)
{
	for (size_t n = 0; n < BULK;) {
		ssize_t got = read(fd, buf, MIN((size_t)CHUNK, BULK - n));

		if (got <= 0)
			return false;
		n += got;
	}
	return true;
}

/* Not in real time, if that is how we run: softirqs that are left to ksoftirqd would not run while there is more to send. */
static void leave_real_time(void)
{
	const struct sched_param none = { 0 };

	if (sched_setscheduler(0, SCHED_OTHER, &none) < 0 || setpriority(PRIO_PROCESS, gettid(), -19) < 0)
		die("priority");
}

static void *bulk_server(void *arg)
{
	int listener = (intptr_t)arg;
	char *buf = xcalloc(1, CHUNK);

	leave_real_time();

	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			continue;
		no_delay(fd);
		while (take_bulk(fd, buf) && write(fd, buf, 1) == 1)
			;
		close(fd);
	}
	return NULL;
}

static void *one_shot_server(void *arg)
{
	int listener = (intptr_t)arg;

	for (;;) {
		int fd = accept(listener, NULL, NULL);
		char c;

		if (fd < 0)
			continue;
		if (read(fd, &c, 1) == 1 && write(fd, &c, 1) != 1)
			perror("netbench: write");
		close(fd);
	}
	return NULL;
}

static _noreturn_ void serve(uint16_t port)
{
	int listener = listen_on(port), one_shot = listen_on(port + 1), bulk = listen_on(port + 2);
	pthread_t t;

	if (pthread_create(&t, NULL, one_shot_server, (void *)(intptr_t)one_shot) != 0 || pthread_create(&t, NULL, bulk_server, (void *)(intptr_t)bulk) != 0)
		die("pthread_create");
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd >= 0 && pthread_create(&t, NULL, pingpong, (void *)(intptr_t)fd) == 0)
			pthread_detach(t);
	}
}

static int dial(const struct addr *to, uint16_t port)
{
	struct sockaddr_storage ss;
	socklen_t n = addr_to_sockaddr(to, port, &ss);
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&ss, n) < 0)
		die("connect");
	no_delay(fd);
	return fd;
}

static void exchange(int fd)
{
	char c = 'x';

	if (write(fd, &c, 1) != 1 || read(fd, &c, 1) != 1)
		die("exchange");
}

static void send_bulk(int fd)
{
	static char buf[CHUNK];
	char c;

	for (size_t n = 0; n < BULK;) {
		ssize_t sent = write(fd, buf, MIN((size_t)CHUNK, BULK - n));

		if (sent <= 0)
			die("bulk");
		n += sent;
	}
	if (read(fd, &c, 1) != 1)
		die("bulk");
}

static void one_connection(const struct addr *to, uint16_t port)
{
	int fd = dial(to, port);
	char c;

	exchange(fd);
	if (read(fd, &c, 1) != 0)
		die("the server did not close");
	close(fd);
}

static int cmp_float(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

enum mode { RR, CRR, BULKS, MODES };
static const char *const modes[] = { "rr", "crr", "bulk" };

static enum mode mode_of(const char *name)
{
	enum mode m = 0;

	while (m < MODES && !streq(modes[m], name))
		m++;
	return m;
}

static void measure(enum mode mode, const struct addr *to, uint16_t port, double seconds)
{
	float *us = xnew0_array(float, SAMPLES_MAX);
	int fd = mode == CRR ? -1 : dial(to, mode == BULKS ? port + 2 : port);
	double start = seconds_now(), busy = busy_seconds(), now;
	size_t n = 0;

	do {
		double t = seconds_now();

		if (mode == CRR)
			one_connection(to, port + 1);
		else if (mode == BULKS)
			send_bulk(fd);
		else
			exchange(fd);
		now = seconds_now();
		us[n++] = (now - t) * 1e6;
	} while (now - start < seconds && n < SAMPLES_MAX);
	busy = busy_seconds() - busy;
	qsort(us, n, sizeof(*us), cmp_float);
	printf("{\"rate\": %.1f, \"p50_us\": %.2f, \"p99_us\": %.2f, \"cpu_s\": %.2f}\n", n / (now - start), us[n / 2],
	       us[n * 99 / 100], busy);
	free(us);
	close_fd(fd);
}

int main(int argc, char **argv)
{
	struct addr to;
	uint64_t port;

	signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && streq(argv[1], "server") && parse_u64(argv[2], UINT16_MAX - 2, &port) == 0)
		serve(port);
	if (argc == 5 && mode_of(argv[1]) < MODES && addr_parse(argv[2], &to) == 0 && parse_u64(argv[3], UINT16_MAX - 2, &port) == 0 &&
	    atof(argv[4]) > 0) {
		measure(mode_of(argv[1]), &to, port, atof(argv[4]));
		return 0;
	}
	fputs("usage: netbench server PORT | rr|crr|bulk ADDRESS PORT SECONDS\n", stderr);
	return 2;
}
