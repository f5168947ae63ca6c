/* SPDX-License-Identifier: Apache-2.0 */
/* lab-first: what a pod says in its first instruction, and who hears it.
 *
 *	lab-first say WORD ADDRESS PORT		sends WORD and a number from 0 on, every 50 ms for 20 s, then twice a second
 *	lab-first hear PORT FILE		appends "MILLISECONDS WORD NUMBER" for each to the file (CLOCK_MONOTONIC, the machine's) */
#include "base/str.h"
#include "net/addr.h"

#include <err.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PAUSE_NS = 50000000, TIMES = 400, LATER_NS = 500000000 };

static struct sockaddr_in at(const char *address, const char *port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };
	struct addr a;
	uint64_t n;

	if (addr_parse(address, &a) < 0 || !addr_is_v4(&a) || parse_u64(port, UINT16_MAX, &n) < 0)
		errx(2, "%s %s: expected an IPv4 address and a port", address, port);
	memcpy(&sa.sin_addr, a.b + 12, 4);
	sa.sin_port = htons(n);
	return sa;
}

static void say(const char *word, const struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char text[128];

	for (unsigned i = 0;; i++) { /* for as long as it lives: its address may be long in coming to the API */
		int n = snprintf(text, sizeof(text), "%s %u", word, i);

		(void)sendto(fd, text, n, 0, (const struct sockaddr *)to, sizeof(*to)); /* denied or not */
		nanosleep(&(struct timespec){ .tv_nsec = i < TIMES ? PAUSE_NS : LATER_NS }, NULL);
	}
}

static void hear(const struct sockaddr_in *on, const char *path)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0), out = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
	char text[128], line[160];
	struct timespec t;

	if (out < 0 || bind(fd, (const struct sockaddr *)on, sizeof(*on)) < 0)
		err(1, "%s", path);
	for (;;) {
		ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

		if (n < 0)
			err(1, "recv");
		text[n] = 0;
		clock_gettime(CLOCK_MONOTONIC, &t);
		n = snprintf(line, sizeof(line), "%lld %s\n", (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000, text);
		if (write(out, line, n) != n)
			err(1, "%s", path);
	}
}

int main(int argc, char **argv)
{
	if (argc == 5 && streq(argv[1], "say")) {
		struct sockaddr_in to = at(argv[3], argv[4]);

		say(argv[2], &to);
	}
	if (argc == 4 && streq(argv[1], "hear")) {
		struct sockaddr_in on = at("0.0.0.0", argv[2]);

		hear(&on, argv[3]);
	}
	errx(2, "usage: lab-first say WORD ADDRESS PORT | hear PORT FILE");
}
