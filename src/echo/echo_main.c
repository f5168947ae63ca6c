/* SPDX-License-Identifier: Apache-2.0 */
/* One thread, one epoll instance. SIGTERM changes nothing: a pod that is being ended goes on serving what still reaches it
 * until its grace period is over, when the kubelet kills it. */
#include "echo/echo.h"
#include "base/log.h"
#include "base/str.h"

#include <signal.h>
#include <sys/resource.h>

static int epoll_fd = -1;

int echo_watch(struct watch *w, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = w };

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, w->fd, &e) < 0 ? -errno : 0;
}

int echo_rewatch(struct watch *w, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = w };

	return epoll_ctl(epoll_fd, EPOLL_CTL_MOD, w->fd, &e) < 0 ? -errno : 0;
}

static int bind_family(int family, int type, uint16_t port)
{
	_cleanup_close_ int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	int one = 1, zero = 0, r;

	if (fd < 0)
		return -errno;
	if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero)) < 0)
		return -errno;
	if (type == SOCK_STREAM && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -errno;
	r = family == AF_INET6 ? bind(fd, (struct sockaddr *)&v6, sizeof(v6)) : bind(fd, (struct sockaddr *)&v4, sizeof(v4));
	return r < 0 ? -errno : take_fd(fd);
}

int echo_bind(int type, uint16_t port)
{
	int fd = bind_family(AF_INET6, type, port);

	return fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL ? bind_family(AF_INET, type, port) : fd;
}

static int usage(FILE *f)
{
	fputs("Usage: weft-echo [PORT[/tcp|/udp]]...\n"
	      "Answers on each port (TCP and UDP unless one is named), IPv4 and IPv6: an HTTP request with 200 and JSON,\n"
	      "anything else with one line of the same JSON: pod, namespace and node (from POD_NAME, POD_NAMESPACE and\n"
	      "NODE_NAME), and both ends of the connection as the server sees them. SIGTERM is ignored.\n"
	      "Without a port it only waits.\n"
	      "  --help  --version\n",
	      f);
	return f == stdout ? 0 : 2;
}

static int listen_on(const char *arg)
{
	_cleanup_free_ char *number = xstrndup(arg, strcspn(arg, "/"));
	const char *protocol = arg + strlen(number);
	uint64_t port;
	int r = 0;

	if (parse_u64(number, 65535, &port) < 0 || port == 0 || !(*protocol == 0 || streq(protocol, "/tcp") || streq(protocol, "/udp"))) {
		log_error("bad argument, expected PORT, PORT/tcp or PORT/udp with a port of 1 to 65535", L_STR("argument", arg));
		return -EINVAL;
	}
	if (!streq(protocol, "/udp"))
		r = tcp_listen(port);
	if (r == 0 && !streq(protocol, "/tcp"))
		r = udp_listen(port);
	if (r < 0)
		log_error("cannot listen", L_STR("port", arg), L_ERRNO(r));
	return r;
}

static void raise_fd_limit(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l); /* with fewer, later connections wait: no reason to stop */
	}
}

static int serve(void)
{
	for (;;) {
		struct epoll_event e[64];
		int n = epoll_wait(epoll_fd, e, ARRAY_SIZE(e), -1);

		if (n < 0 && errno != EINTR) {
			log_error("cannot wait for connections", L_ERRNO(errno));
			return 1;
		}
		for (int i = 0; i < n; i++) {
			struct watch *w = e[i].data.ptr;

			w->on_ready(w, e[i].events);
		}
	}
}

int main(int argc, char **argv)
{
	if (argc == 2 && streq(argv[1], "--help"))
		return usage(stdout);
	if (argc == 2 && streq(argv[1], "--version"))
		return puts("weft-echo " WEFT_VERSION) < 0;
	if (argc > 1 && argv[1][0] == '-')
		return usage(stderr);
	signal(SIGTERM, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	raise_fd_limit();
	answer_init();
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0) {
		log_error("cannot create the event loop", L_ERRNO(errno));
		return 1;
	}
	for (int i = 1; i < argc; i++)
		if (listen_on(argv[i]) < 0)
			return 1;
	return serve();
}
