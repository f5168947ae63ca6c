/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets that lose their endpoint: whom the iterator names, and who is aborted. The sockets are this process's, in a cgroup of its own; endpoints
 * are on its loopback interface. A kernel without iterators over sockets (no BTF, or no programs of that kind) has nothing to test. */
#include "base/test.h"
#include "datapath/service.h"
#include "harness.h"
#include "net/rtnl.h"
#include "own_cgroup.h"

#include <err.h>
#include <netinet/in.h>
#include <poll.h>

enum { SERVERS = 2, PORT = 8080 };

/* Endpoints of a family, and two Services that have them: one asks for a reset. */
static const struct family {
	const char *servers[SERVERS], *resets, *keeps;
} families[] = { { { "10.8.0.1", "10.8.0.2" }, "10.96.0.1", "10.96.0.2" }, { { "fd08::1", "fd08::2" }, "fd96::1", "fd96::2" } };

static uint64_t netns; /* this process's, as the kernel numbers it */

/* ---- the stage ---- */

static int open_at(const char *address, int type)
{
	struct addr a = addr_of(address);
	struct sockaddr_storage sa;
	socklen_t n = addr_to_sockaddr(&a, PORT, &sa);
	int fd = socket(addr_family(&a), type | SOCK_CLOEXEC, 0);

	for (int i = 0; fd >= 0 && i < 1000 && bind(fd, (void *)&sa, n) < 0 && errno == EADDRNOTAVAIL; i++)
		poll(NULL, 0, 10); /* an IPv6 address is there a moment after it was added */
	if (fd < 0 || (type == SOCK_STREAM && listen(fd, 64) < 0))
		err(1, "server at %s", address);
	return fd;
}

static void make_servers(void)
{
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	socklen_t n = sizeof(netns);
	int fd = -1;

	if (rtnl_open(&nl) < 0 || rtnl_set_link_up(nl, 1, true) < 0)
		errx(1, "loopback");
	for (size_t i = 0; i < ARRAY_SIZE(families); i++)
		for (int k = 0; k < SERVERS; k++) {
			struct link_addr a = { .ifindex = 1, .addr = addr_of(families[i].servers[k]), .len = 128 };

			if (rtnl_replace_addr(nl, &a) < 0)
				errx(1, "%s: %s", families[i].servers[k], rtnl_error_text(nl));
			open_at(families[i].servers[k], SOCK_STREAM);
			fd = open_at(families[i].servers[k], SOCK_DGRAM);
		}
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &netns, &n) < 0)
		err(1, "SO_NETNS_COOKIE");
}

static size_t fill(const struct dp_service *s, enum service_role role, uint32_t *ret)
{
	size_t n = 0;

	for (uint32_t i = 0; i < s->n_backends; i++)
		if (s->backends[i].roles & 1 << role)
			ret[n++] = i;
	return n;
}

/* @roles: of both servers; -1: it is no endpoint. */
static void put(const struct family *f, const char *vip, uint8_t proto, uint8_t flags, const int roles[SERVERS])
{
	struct dp_service_frontend frontend = { .addr = addr_of(vip), .port = 80, .flags = flags };
	struct dp_service_backend backends[SERVERS];
	struct dp_service s = { .key = vip, .proto = proto, .frontends = &frontend, .n_frontends = 1, .backends = backends, .fill = fill };

	for (int i = 0; i < SERVERS; i++)
		if (roles[i] >= 0)
			backends[s.n_backends++] = (struct dp_service_backend){ addr_of(f->servers[i]), PORT, roles[i], 0, 1 };
	CHECK_INT(datapath_put_service(dp, &s), 0);
}

static int connect_to(const char *address, uint16_t port, int type)
{
	struct addr a = addr_of(address);
	struct sockaddr_storage sa;
	socklen_t n = addr_to_sockaddr(&a, port, &sa);
	int fd = socket(addr_family(&a), type | SOCK_CLOEXEC, 0);

	CHECK_INT(connect(fd, (void *)&sa, n), 0);
	return fd;
}

static int error_of(int fd)
{
	int e = 0;
	socklen_t n = sizeof(e);

	CHECK_INT(getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n), 0);
	return e;
}

/* Looks for them, and aborts who is found. Return: how many; sockets that were closed a moment ago may be found, too. */
static int abort_stale(void)
{
	struct dp_stale stale;
	int n;

	CHECK_INT(datapath_find_stale(dp, &stale), 0);
	CHECK_INT(dp_stale_has(&stale, netns), stale.n > 0);
	n = datapath_abort_stale(dp, &stale, netns);
	free(stale.list);
	return n;
}

static void forget(const struct family *f)
{
	CHECK_INT(datapath_del_service(dp, f->resets), 0);
	CHECK_INT(datapath_del_service(dp, f->keeps), 0);
	abort_stale(); /* what has been left of them is looked at here */
}

/* ---- tests ---- */

enum { CHOSEN = 1 << SERVICE_CLUSTER, WAITS = 0, GONE = -1 };

static void SVC_20_tcp_is_aborted_where_asked_for(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		const struct family *f = &families[i];
		int meant, kept, direct;

		put(f, f->resets, IPPROTO_TCP, SERVICE_RESET, (int[]){ CHOSEN, GONE });
		put(f, f->keeps, IPPROTO_TCP, 0, (int[]){ CHOSEN, GONE });
		meant = connect_to(f->resets, 80, SOCK_STREAM);
		kept = connect_to(f->keeps, 80, SOCK_STREAM);
		direct = connect_to(f->servers[0], PORT, SOCK_STREAM);
		put(f, f->resets, IPPROTO_TCP, SERVICE_RESET, (int[]){ WAITS, CHOSEN }); /* it ends in good order */
		put(f, f->keeps, IPPROTO_TCP, 0, (int[]){ WAITS, CHOSEN });
		CHECK_INT(abort_stale(), 0);
		put(f, f->resets, IPPROTO_TCP, SERVICE_RESET, (int[]){ GONE, CHOSEN });
		put(f, f->keeps, IPPROTO_TCP, 0, (int[]){ GONE, CHOSEN });
		CHECK_INT(abort_stale(), 1);
		CHECK_INT(error_of(meant), ECONNABORTED);
		CHECK_INT(error_of(kept), 0);
		CHECK_INT(error_of(direct), 0);
		CHECK_INT(abort_stale(), 0);
		close(meant);
		close(kept);
		close(direct);
		meant = connect_to(f->resets, 80, SOCK_STREAM); /* anew: it has the other */
		CHECK_INT(abort_stale(), 0);
		CHECK_INT(error_of(meant), 0);
		close(meant);
		forget(f);
	}
}

static void SVC_21_connected_udp_is_aborted_as_soon_as_its_endpoint_serves_no_more(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		const struct family *f = &families[i];
		int meant, other;

		put(f, f->resets, IPPROTO_UDP, 0, (int[]){ CHOSEN, GONE });
		put(f, f->keeps, IPPROTO_UDP, 0, (int[]){ CHOSEN, GONE });
		meant = connect_to(f->resets, 80, SOCK_DGRAM);
		other = connect_to(f->keeps, 80, SOCK_DGRAM);
		put(f, f->resets, IPPROTO_UDP, 0, (int[]){ CHOSEN, CHOSEN });
		CHECK_INT(abort_stale(), 0);
		put(f, f->resets, IPPROTO_UDP, 0, (int[]){ WAITS, CHOSEN });
		CHECK_INT(abort_stale(), 1);
		CHECK_INT(error_of(meant), ECONNABORTED);
		CHECK_INT(error_of(other), 0);
		close(meant);
		close(other);
		forget(f);
	}
}

int main(void)
{
	struct dp_service_stats stats;

	own_cgroup_enter("stale-test");
	harness_init();
	dp_config.cgroup = own_cgroup;
	make_servers();
	harness_reopen();
	if (datapath_read_service_stats(dp, &stats) < 0 || !stats.aborts) {
		puts("1..0 # SKIP this kernel loads no BPF iterator over sockets");
		harness_done();
		return 0;
	}
	RUN(SVC_20_tcp_is_aborted_where_asked_for);
	RUN(SVC_21_connected_udp_is_aborted_as_soon_as_its_endpoint_serves_no_more);
	harness_done();
	return test_end();
}
