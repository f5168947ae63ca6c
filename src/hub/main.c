/* SPDX-License-Identifier: Apache-2.0 */
/* weft-hub: options, then the parts wired together, then one loop. */
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "hub/http.h"
#include "hub/options.h"
#include "hub/watch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

enum { EXIT_USAGE = 2, SOCKETS_MAX = 2 * LISTEN_MAX };

struct program {
	struct options options;
	struct hub hub;
	struct pki *pki;
	struct http *http[SOCKETS_MAX];
	int fds[SOCKETS_MAX];
	struct addr addresses[SOCKETS_MAX];
	uint16_t ports[SOCKETS_MAX];
	size_t n;
};

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "weft-hub: %s: %s\n", what, why);
	return -EIO;
}

static int add_socket(struct program *p, int fd)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof(ss);
	int listening = 0;
	socklen_t len = sizeof(listening);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 || !listening)
		return fail("--listen-fd", "expected a listening socket");
	if (getsockname(fd, (struct sockaddr *)&ss, &n) < 0 ||
	    addr_from_sockaddr((struct sockaddr *)&ss, &p->addresses[p->n], &p->ports[p->n]) < 0)
		return fail("--listen-fd", "expected a TCP socket");
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	p->fds[p->n++] = fd;
	return 0;
}

static int open_listener(struct program *p, const struct addr *a, uint16_t port)
{
	struct sockaddr_storage ss;
	socklen_t n = addr_to_sockaddr(a, port, &ss);
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
	char text[ENDPOINT_TEXT_MAX];

	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (ss.ss_family == AF_INET6)
			setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	}
	if (fd < 0 || bind(fd, (struct sockaddr *)&ss, n) < 0 || listen(fd, SOMAXCONN) < 0) {
		fail(addr_port_format(a, port, text), strerror(errno));
		close_fd(fd);
		return -EIO;
	}
	return add_socket(p, fd);
}

static int open_sockets(struct program *p)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->options.n_listen; i++)
		r = open_listener(p, &p->options.listen[i].addr, p->options.listen[i].port);
	for (size_t i = 0; r == 0 && i < p->options.n_listen_fds; i++)
		r = add_socket(p, p->options.listen_fds[i]);
	return r;
}

static int make_ranges(const struct prefix *prefixes, size_t n, const struct options *nodes, struct ranges *ret)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		bool v4 = addr_is_v4(&prefixes[i].addr);
		uint8_t len = !nodes ? 128 : v4 ? nodes->node_mask_v4 + V4_BITS_BEFORE : nodes->node_mask_v6;

		r = pool_new(&prefixes[i], len, &ret->pools[i]);
		ret->n = i + 1;
	}
	return r;
}

static int open_store(struct program *p)
{
	_cleanup_free_ char *error = NULL, *path = xasprintf("%s/hub.db", p->options.data);

	if (mkdir_parents(p->options.data, 0700) < 0)
		return fail(p->options.data, strerror(errno));
	if (pki_open(p->options.data, &p->pki, &error) < 0)
		return fail("certificate authority", error);
	if (store_open(path, &p->hub.store, &error) < 0)
		return fail(path, error);
	return 0;
}

/* Everything that a client may call us: what we listen on, localhost, the kubernetes service, and --tls-san. */
static int issue_server(struct program *p, struct pki_pair *ret)
{
	char texts[SOCKETS_MAX + 2][ADDR_TEXT_MAX];
	const char *names[SOCKETS_MAX + 2 + NAMES_MAX + 4] = { "localhost", "kubernetes", "kubernetes.default.svc" };
	size_t n = 3, t = 0;

	for (size_t i = 0; i < p->n; i++)
		names[n++] = addr_format(&p->addresses[i], texts[t++]);
	for (size_t i = 0; i < p->options.n_service; i++) {
		struct addr first = addr_add(&p->options.service[i].addr, 1);

		names[n++] = addr_format(&first, texts[t++]);
	}
	for (size_t i = 0; i < p->options.n_names; i++)
		names[n++] = p->options.names[i];
	names[n] = NULL;
	return pki_issue_server(p->pki, names, ret);
}

static int start_http(struct program *p)
{
	struct pki_pair pair = { 0 };
	int r = issue_server(p, &pair);

	for (size_t i = 0; r == 0 && i < p->n; i++)
		r = http_new(&p->hub, take_fd(p->fds[i]), &pair, pki_ca_pem(p->pki), &p->http[i]);
	pki_pair_done(&pair);
	return r < 0 ? fail("HTTPS", strerror(-r)) : 0;
}

static int write_addresses(struct program *p)
{
	_cleanup_free_ char *path = xasprintf("%s/addresses", p->options.data);
	struct buf b = { 0 };
	int r;

	for (size_t i = 0; i < p->n; i++) {
		char text[ENDPOINT_TEXT_MAX];

		buf_addf(&b, "%s\n", addr_port_format(&p->addresses[i], p->ports[i], text));
	}
	r = file_write_atomic(path, b.data, b.len, 0644);
	buf_done(&b);
	return r < 0 ? fail(path, strerror(-r)) : 0;
}

/* For the administrator on this machine; made once. */
static int write_admin(struct program *p)
{
	_cleanup_free_ char *path = xasprintf("%s/admin.kubeconfig", p->options.data), *text = NULL, *server = NULL;
	char where[ENDPOINT_TEXT_MAX];
	struct pki_pair pair = { 0 };
	int r = pki_issue_client(p->pki, "admin", (const char *const[]){ "system:masters", NULL }, &pair);

	if (r == 0) {
		server = xasprintf("https://%s", addr_port_format(&p->addresses[0], p->ports[0], where));
		text = kubeconfig_text(p->pki, server, "admin", &pair);
		r = file_write_atomic(path, text, strlen(text), 0600);
	}
	pki_pair_done(&pair);
	return r < 0 ? fail(path, strerror(-r)) : 0;
}

static void tell_ready(struct program *p)
{
	static const char line[] = "ready\n";

	p->hub.ready = true;
	if (p->options.ready_fd >= 0) {
		if (write_all(p->options.ready_fd, line, sizeof(line) - 1) < 0)
			log_warn("cannot write to --ready-fd", L_INT("fd", p->options.ready_fd));
		close(p->options.ready_fd);
	}
	sd_notify(0, "READY=1");
	log_info("serving", L_UINT("revision", store_rev(p->hub.store)), L_UINT("sockets", p->n));
}

static int start(struct program *p)
{
	int r = open_sockets(p);

	if (r == 0)
		r = open_store(p);
	if (r == 0)
		r = make_ranges(p->options.cluster, p->options.n_cluster, &p->options, &p->hub.nodes);
	if (r == 0)
		r = make_ranges(p->options.service, p->options.n_service, NULL, &p->hub.services);
	if (r < 0)
		return r;
	node_ports_init(&p->hub.node_ports, p->options.node_port_first, p->options.node_port_last);
	store_listen(p->hub.store, watches_on_change, &p->hub);
	r = controllers_start(&p->hub, p->addresses, p->ports, p->n);
	if (r >= 0)
		r = start_http(p);
	if (r == 0)
		r = write_addresses(p);
	if (r == 0)
		r = write_admin(p);
	if (r == 0)
		tell_ready(p);
	return r;
}

static void stop(struct program *p)
{
	for (size_t i = 0; i < p->n; i++) {
		http_free(p->http[i]);
		close_fd(p->fds[i]);
	}
	controllers_stop(&p->hub);
	for (size_t i = 0; i < FAMILIES_MAX; i++) {
		pool_free(p->hub.nodes.pools[i]);
		pool_free(p->hub.services.pools[i]);
	}
	store_free(p->hub.store);
	pki_free(p->pki);
	sd_event_unref(p->hub.event);
}

static int serve(struct program *p)
{
	sigset_t signals;
	int r;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	r = sd_event_new(&p->hub.event);
	if (r >= 0)
		r = sd_event_add_signal(p->hub.event, NULL, SIGTERM, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(p->hub.event, NULL, SIGINT, NULL, NULL);
	if (r >= 0)
		r = start(p);
	if (r >= 0)
		r = sd_event_loop(p->hub.event);
	stop(p);
	return r < 0 ? 1 : 0;
}

static int print_kubeconfig(const struct kubeconfig_options *o)
{
	_cleanup_(pki_freep) struct pki *pki = NULL;
	_cleanup_free_ char *error = NULL, *text = NULL;
	struct pki_pair pair = { 0 };

	if (pki_open(o->data, &pki, &error) < 0) {
		fail("certificate authority", error);
		return 1;
	}
	if (pki_issue_client(pki, o->user, o->groups, &pair) < 0) {
		fail("certificate", "cannot be made for this user and these groups");
		return 1;
	}
	text = kubeconfig_text(pki, o->server, o->user, &pair);
	pki_pair_done(&pair);
	return fputs(text, stdout) < 0 || fflush(stdout) != 0;
}

static int main_kubeconfig(int argc, char **argv)
{
	struct kubeconfig_options o;
	int r = kubeconfig_options_parse(argc, argv, &o);

	return r > 0 ? 0 : r < 0 ? EXIT_USAGE : print_kubeconfig(&o);
}

int main(int argc, char **argv)
{
	static struct program p;
	int r;

	if (argc > 1 && streq(argv[1], "kubeconfig"))
		return main_kubeconfig(argc - 1, argv + 1);
	r = options_parse(argc, argv, &p.options);
	if (r != 0)
		return r > 0 ? 0 : EXIT_USAGE;
	list_init(&p.hub.watches);
	for (size_t i = 0; i < SOCKETS_MAX; i++)
		p.fds[i] = -1;
	return serve(&p);
}
