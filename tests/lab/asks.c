/* SPDX-License-Identifier: Apache-2.0 */
/* lab-asks: so many requests a second by new TCP connections, EACH of them one after another on each, until its input ends.
 *
 *	lab-asks ADDRESS PORT RATE EACH
 *
 * A request is one line, its answer one line of weft-echo's JSON. It is lost, with those that were to follow it, when the connection is
 * refused or reset before the whole answer, or when that does not come within PATIENCE_MS. At most AT_ONCE connections are under way: a client that cannot keep up asks less and says
 * so, as `rate`. Who has its answers resets the connection, so that no port waits for a minute afterwards. Prints
 * {"connections", "asked", "answered", "lost", "slowest_ms", "seconds", "rate", "first_error", "pods": {NAME: answers}}. */
#include "base/json.h"
#include "base/str.h"
#include "net/addr.h"

#include <err.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

enum { AT_ONCE = 500, RATE_MAX = 100000, PATIENCE_MS = 10000, TICK_MS = 2, OWED_MS = 100, PODS_MAX = 256 };
#define POD "\"pod\":\""

struct talk {
	int fd; /* -1: free */
	bool begun;
	unsigned to_come; /* answers */
	size_t len;
	double since;
	char answer[400];
};

static struct sockaddr_storage server;
static socklen_t server_len;
static struct talk talks[AT_ONCE];
static unsigned under_way;
static uint64_t each, connections, asked, answered, lost;
static double slowest;
static int epoll_fd, first_error;
static struct answers {
	const char *name;
	size_t len;
	uint64_t n;
} by_pod[PODS_MAX];
static size_t n_by_pod;

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static void end(struct talk *t)
{
	struct linger now = {.l_onoff = 1};

	setsockopt(t->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(t->fd);
	t->fd = -1;
	under_way--;
}

static void lose(struct talk *t, int error)
{
	lost += t->to_come;
	first_error = first_error ? first_error : error;
	end(t);
}

static void ask(struct talk *t)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = t};

	*t = (struct talk){.fd = socket(server.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), .to_come = each, .since = now_ms()};
	if (t->fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, t->fd, &e) < 0)
		err(1, "socket");
	connections++;
	asked += each;
	under_way++;
	if (connect(t->fd, (struct sockaddr *)&server, server_len) < 0 && errno != EINPROGRESS)
		lose(t, errno);
}

/* An answer is parsed when it is the first of its kind: of thousands a second that would be most of the work. */
static const char *name_in(const char *answer)
{
	_cleanup_json_ json_t *j = json_loads(answer, 0, NULL);
	const char *name = json_string_value(json_object_get(j, "pod"));

	if (!name)
		errx(1, "expected an answer of weft-echo, not %s", answer);
	return xstrdup(name);
}

static void count_pod(const char *answer)
{
	const char *at = strstr(answer, POD);

	for (struct answers *a = by_pod; a < by_pod + n_by_pod; a++)
		if (at && strncmp(at + strlen(POD), a->name, a->len) == 0 && at[strlen(POD) + a->len] == '"') {
			a->n++;
			return;
		}
	if (n_by_pod == PODS_MAX)
		errx(1, "more than %d pods answer", PODS_MAX);
	by_pod[n_by_pod].name = name_in(answer);
	by_pod[n_by_pod].len = strlen(by_pod[n_by_pod].name);
	by_pod[n_by_pod++].n = 1;
}

static void say(struct talk *t)
{
	if (send(t->fd, "q\n", 2, MSG_NOSIGNAL) != 2)
		lose(t, errno);
}

static void hear(struct talk *t)
{
	ssize_t n = recv(t->fd, t->answer + t->len, sizeof(t->answer) - 1 - t->len, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		lose(t, n ? errno : ECONNRESET); /* an end before the answer's */
		return;
	}
	t->len += n;
	if (t->answer[t->len - 1] != '\n')
		return;
	count_pod(t->answer);
	answered++;
	slowest = MAX(slowest, now_ms() - t->since);
	t->since = now_ms();
	t->len = 0;
	if (--t->to_come)
		say(t);
	else
		end(t);
}

static void on_ready(struct talk *t, uint32_t events)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (events & EPOLLERR && getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error) {
		lose(t, error);
		return;
	}
	if (events & EPOLLOUT && !t->begun) {
		t->begun = true;
		say(t);
	}
	if (t->fd >= 0 && events & (EPOLLIN | EPOLLHUP))
		hear(t);
}

static void look(void)
{
	struct epoll_event e[64];
	int n = epoll_wait(epoll_fd, e, ARRAY_SIZE(e), TICK_MS);

	for (int i = 0; i < n; i++)
		on_ready(e[i].data.ptr, e[i].events);
}

static void give_up(double now)
{
	for (unsigned i = 0; i < AT_ONCE; i++)
		if (talks[i].fd >= 0 && now - talks[i].since > PATIENCE_MS)
			lose(&talks[i], ETIMEDOUT);
}

static bool input_ended(void)
{
	struct pollfd p = {.fd = 0, .events = POLLIN};
	char c[64];

	return poll(&p, 1, 0) > 0 && read(0, c, sizeof(c)) <= 0;
}

/* What was owed while the machine did something else is made up for, but for no more than OWED_MS. */
static void run(double rate) /* at least once */
{
	double owed = each, most = MAX(rate * OWED_MS / 1e3, (double)each), then = now_ms();

	do {
		double now = now_ms();

		owed = MIN(owed + (now - then) * rate / 1e3, most);
		then = now;
		for (unsigned i = 0; owed >= each && i < AT_ONCE; i++)
			if (talks[i].fd < 0) {
				ask(&talks[i]);
				owed -= each;
			}
		look();
		give_up(now);
	} while (!input_ended());
	while (under_way) {
		look();
		give_up(now_ms());
	}
}

static void print_pods(void)
{
	putchar('{');
	for (size_t i = 0; i < n_by_pod; i++)
		printf("%s\"%s\": %llu", i ? ", " : "", by_pod[i].name, (unsigned long long)by_pod[i].n);
	puts("}}");
}

int main(int argc, char **argv)
{
	uint64_t port, rate;
	double start, seconds;
	struct addr a;

	if (argc != 5 || addr_parse(argv[1], &a) < 0 || parse_u64(argv[2], 65535, &port) < 0 || parse_u64(argv[3], RATE_MAX, &rate) < 0 ||
	    parse_u64(argv[4], RATE_MAX, &each) < 0 || !each)
		errx(2, "usage: lab-asks ADDRESS PORT RATE EACH");
	server_len = addr_to_sockaddr(&a, port, &server);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned i = 0; i < AT_ONCE; i++)
		talks[i].fd = -1;
	puts("asking");
	fflush(stdout);
	start = now_ms();
	run(rate);
	seconds = (now_ms() - start) / 1e3;
	printf("{\"connections\": %llu, \"asked\": %llu, \"answered\": %llu, \"lost\": %llu, \"slowest_ms\": %.0f, \"seconds\": %.1f, \"rate\": %.0f, \"first_error\": \"%s\", \"pods\": ",
	       (unsigned long long)connections, (unsigned long long)asked, (unsigned long long)answered, (unsigned long long)lost, slowest, seconds, answered / seconds,
	       first_error ? strerrorname_np(first_error) : "");
	print_pods();
	return 0;
}
