/* SPDX-License-Identifier: Apache-2.0 */
/* Services in the kernel, with sockets of this process: it moves into a cgroup of its own, to which the socket programs are attached,
 * and speaks to servers on its loopback interface, which has the endpoints' addresses. */
#include "base/str.h"
#include "base/test.h"
#include "datapath/service.h"
#include "affinity.h"
#include "harness.h"
#include "net/rtnl.h"
#include "own_cgroup.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <err.h>
#include <fcntl.h>
#include <poll.h>

#define VIP4 "10.96.0.1"
#define VIP6 "fd96::1"

enum { SERVERS = 3, PORT = 8080 };

/* Endpoint i has 10.8.0.i+1 and fd08::i+1; -1 where nobody listens. */
static int tcp[SERVERS], udp[SERVERS], tcp6[SERVERS];

static const char *server4(unsigned i)
{
	static char text[2][32];
	static unsigned turn;

	snprintf(text[++turn % 2], sizeof(text[0]), "10.8.0.%u", i + 1);
	return text[turn % 2];
}

/* ---- the stage ---- */

static int listen_on(const char *address, int type)
{
	struct addr a = addr_of(address);
	struct sockaddr_storage sa;
	socklen_t n = addr_to_sockaddr(&a, PORT, &sa);
	int fd = socket(addr_family(&a), type | SOCK_CLOEXEC, 0);

	for (int i = 0; fd >= 0 && i < 1000 && bind(fd, (void *)&sa, n) < 0 && errno == EADDRNOTAVAIL; i++)
		poll(NULL, 0, 10); /* an IPv6 address is there a moment after it was added */
	if (fd < 0 || (type == SOCK_STREAM && listen(fd, 4096) < 0))
		err(1, "listen on %s", address);
	return fd;
}

static void add_address(struct rtnl *nl, const char *address)
{
	struct link_addr a = { .ifindex = 1, .addr = addr_of(address), .len = 128 };

	if (rtnl_replace_addr(nl, &a) < 0)
		errx(1, "%s: %s", address, rtnl_error_text(nl));
}

static void make_servers(void)
{
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;

	if (rtnl_open(&nl) < 0 || rtnl_set_link_up(nl, 1, true) < 0)
		errx(1, "loopback");
	for (unsigned i = 0; i < SERVERS; i++) {
		char six[32];

		snprintf(six, sizeof(six), "fd08::%u", i + 1);
		add_address(nl, server4(i));
		add_address(nl, six);
		tcp[i] = listen_on(server4(i), SOCK_STREAM);
		udp[i] = listen_on(server4(i), SOCK_DGRAM);
		tcp6[i] = listen_on(six, SOCK_STREAM);
	}
}

/* ---- what is wanted ---- */

static struct dp_service_backend backends[64];
static struct dp_service_frontend frontend;
static bool maglev_like;

/* Each as often as its weight; or the same backend for every slot. */
static size_t fill(const struct dp_service *s, enum service_role role, uint32_t *ret)
{
	size_t n = 0;

	for (uint32_t i = 0; i < s->n_backends; i++)
		for (uint32_t k = 0; (s->backends[i].roles & 1 << role) && k < s->backends[i].weight; k++)
			ret[n++] = i;
	return n;
}

static struct dp_service service_of(const char *key, const char *vip, uint8_t proto, size_t n)
{
	bool v6 = strchr(vip, ':');

	frontend = (struct dp_service_frontend){ .addr = addr_of(vip), .port = 80, .flags = maglev_like ? SERVICE_MAGLEV : 0 };
	for (size_t i = 0; i < n; i++) {
		char six[32];

		snprintf(six, sizeof(six), "fd08::%zu", i + 1);
		backends[i] = (struct dp_service_backend){ .addr = addr_of(v6 ? six : server4(i)), .port = PORT, .roles = 1 << SERVICE_CLUSTER, .weight = 1 };
	}
	return (struct dp_service){ .key = key, .proto = proto, .frontends = &frontend, .n_frontends = 1, .backends = backends, .n_backends = n, .fill = fill };
}

static void put(const char *key, const char *vip, uint8_t proto, size_t n)
{
	struct dp_service s = service_of(key, vip, proto, n);

	CHECK_INT(datapath_put_service(dp, &s), 0);
}

/* ---- clients ---- */

static int connect_to(const char *address, uint16_t port, int type, int family, int *ret_errno)
{
	struct addr a = addr_of(address);
	struct sockaddr_storage sa;
	socklen_t n = addr_to_sockaddr(&a, port, &sa);
	struct sockaddr_in6 mapped = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int fd = socket(family, type | SOCK_CLOEXEC, 0), r;

	memcpy(&mapped.sin6_addr, &a, 16);
	r = family == AF_INET6 ? connect(fd, (void *)&mapped, sizeof(mapped)) : connect(fd, (void *)&sa, n);
	*ret_errno = r < 0 ? errno : 0;
	if (r == 0)
		return fd;
	close(fd);
	return -1;
}

/* Which of the servers got the connection? It is taken and closed. */
static int who_accepts(const int *fds)
{
	struct pollfd p[SERVERS];

	for (int i = 0; i < SERVERS; i++)
		p[i] = (struct pollfd){ .fd = fds[i], .events = POLLIN };
	if (poll(p, SERVERS, 5000) <= 0)
		return -1;
	for (int i = 0; i < SERVERS; i++)
		if (p[i].revents) {
			close(accept(fds[i], NULL, NULL));
			return i;
		}
	return -1;
}

static int connect_once(const char *vip, const int *fds)
{
	int e, fd = connect_to(vip, 80, SOCK_STREAM, strchr(vip, ':') ? AF_INET6 : AF_INET, &e), who;

	if (fd < 0)
		return -e;
	who = who_accepts(fds);
	close(fd);
	return who;
}

static void check_peer(int fd, const char *address, uint16_t port)
{
	struct sockaddr_storage sa;
	socklen_t n = sizeof(sa);
	struct addr a, want = addr_of(address);
	uint16_t p;

	CHECK_INT(getpeername(fd, (void *)&sa, &n), 0);
	if (sa.ss_family == AF_INET6)
		memcpy(&a, &((struct sockaddr_in6 *)&sa)->sin6_addr, 16), p = ntohs(((struct sockaddr_in6 *)&sa)->sin6_port);
	else
		CHECK_INT(addr_from_sockaddr((void *)&sa, &a, &p), 0);
	CHECK(addr_eq(&a, &want));
	CHECK_INT(p, port);
}

/* ---- tests ---- */

static void SVC_20_connections_are_spread_evenly(void)
{
	enum { N = 600 };
	int counts[SERVERS] = { 0 };
	double chi = 0;

	put("even", VIP4, IPPROTO_TCP, SERVERS);
	for (int i = 0; i < N; i++) {
		int who = connect_once(VIP4, tcp);

		CHECK(who >= 0);
		counts[who]++;
	}
	for (int i = 0; i < SERVERS; i++)
		chi += (counts[i] - N / 3.0) * (counts[i] - N / 3.0) / (N / 3.0);
	printf("# %d %d %d, chi square %.1f\n", counts[0], counts[1], counts[2], chi);
	CHECK(chi < 18.4); /* 2 degrees of freedom: 1 in 10,000 */
	CHECK_INT(datapath_del_service(dp, "even"), 0);
}

static void SVC_1_both_families_and_mapped_sockets(void)
{
	int e, fd;

	put("four", VIP4, IPPROTO_TCP, 1);
	put("six", VIP6, IPPROTO_TCP, 1);
	CHECK_INT(connect_once(VIP6, tcp6), 0);
	fd = connect_to(VIP4, 80, SOCK_STREAM, AF_INET6, &e);
	CHECK(fd >= 0);
	CHECK_INT(who_accepts(tcp), 0);
	check_peer(fd, VIP4, 80);
	close(fd);
	CHECK_INT(datapath_del_service(dp, "four"), 0);
	CHECK_INT(datapath_del_service(dp, "six"), 0);
}

static void SVC_8_19_nobody_serves(void)
{
	struct dp_service_frontend vip = { .addr = addr_of(VIP4), .flags = SERVICE_ADDRESS };
	struct dp_service all = { .key = "all", .frontends = &vip, .n_frontends = 1 };
	struct dp_service s = service_of("empty", VIP4, IPPROTO_TCP, 0);
	int e;

	CHECK_INT(datapath_put_service(dp, &s), 0);
	CHECK_INT(datapath_put_service(dp, &all), 0);
	CHECK_INT(connect_to(VIP4, 80, SOCK_STREAM, AF_INET, &e), -1);
	CHECK_INT(e, ECONNREFUSED);
	CHECK_INT(connect_to(VIP4, 81, SOCK_STREAM, AF_INET, &e), -1); /* a port that it has not */
	CHECK_INT(e, ECONNREFUSED);
	frontend.flags = SERVICE_DROP_EMPTY; /* traffic policy Local; this process is no pod */
	CHECK_INT(datapath_put_service(dp, &s), 0);
	CHECK_INT(connect_to(VIP4, 80, SOCK_STREAM, AF_INET, &e), -1);
	CHECK_INT(e, ETIMEDOUT);
	CHECK_INT(datapath_del_service(dp, "empty"), 0);
	CHECK_INT(datapath_del_service(dp, "all"), 0);
}

static size_t count_keys(const char *map)
{
	int fd = datapath_map_fd(dp, map);
	uint8_t key[64];
	size_t n = 0;

	for (void *last = NULL; bpf_map_get_next_key(fd, last, key) == 0; last = key)
		n++;
	return n;
}

static void SVC_42_source_ranges(void)
{
	struct dp_service s = service_of("ranges", VIP4, IPPROTO_TCP, 1);
	struct prefix in, out;
	int e;

	prefix_parse("192.0.2.0/24", &in, NULL); /* the node's address in its network is there */
	prefix_parse("10.9.1.0/24", &out, NULL); /* that in the pods' range */
	frontend.flags = SERVICE_SOURCES;
	s.sources = &out;
	s.n_sources = 1;
	CHECK_INT(datapath_put_service(dp, &s), 0);
	CHECK_INT(connect_to(VIP4, 80, SOCK_STREAM, AF_INET, &e), -1);
	CHECK_INT(e, ETIMEDOUT);
	s.sources = &in;
	CHECK_INT(datapath_put_service(dp, &s), 0);
	CHECK_INT(connect_once(VIP4, tcp), 0);
	harness_reopen(); /* the ranges change while no agent runs */
	s.sources = &out;
	CHECK_INT(datapath_put_service(dp, &s), 0);
	CHECK_INT(count_keys("service_sources"), 1);
	CHECK_INT(connect_to(VIP4, 80, SOCK_STREAM, AF_INET, &e), -1);
	CHECK_INT(e, ETIMEDOUT);
	harness_reopen(); /* and here the Service goes */
	CHECK_INT(datapath_services_end(dp), 0);
	CHECK_INT(count_keys("service_sources"), 0);
}

/* For want of room, say: the port is not as it should be until the range is written. */
static void a_range_that_is_not_written_is_tried_again(void)
{
	struct dp_service s = service_of("ranges", VIP4, IPPROTO_TCP, 1);
	struct prefix ranges[3] = { [1] = { .len = 200 } }; /* the kernel takes no such one */

	prefix_parse("192.0.2.0/24", &ranges[0], NULL);
	prefix_parse("10.9.1.0/24", &ranges[2], NULL);
	frontend.flags = SERVICE_SOURCES;
	s.sources = ranges;
	s.n_sources = 3;
	for (int i = 0; i < 3; i++)
		CHECK_INT(datapath_put_service(dp, &s), -EINVAL);
	CHECK_INT(count_keys("service_sources"), 2);
	prefix_parse("10.9.2.0/24", &ranges[1], NULL);
	CHECK_INT(datapath_put_service(dp, &s), 0);
	CHECK_INT(count_keys("service_sources"), 3);
	s.n_sources = 1;
	CHECK_INT(datapath_put_service(dp, &s), 0);
	CHECK_INT(count_keys("service_sources"), 1);
	CHECK_INT(datapath_del_service(dp, "ranges"), 0);
	CHECK_INT(count_keys("service_sources"), 0);
}

static void clear_affinity(void)
{
	struct service_client key;

	while (bpf_map_get_next_key(datapath_map_fd(dp, "service_affinity"), NULL, &key) == 0)
		CHECK_INT(bpf_map_delete_elem(datapath_map_fd(dp, "service_affinity"), &key), 0);
}

static void SVC_18_affinity_holds_and_ends_with_its_endpoint(void)
{
	struct dp_service s = service_of("affine", VIP4, IPPROTO_TCP, SERVERS);
	int first, other;

	s.affinity_s = 3600;
	CHECK_INT(datapath_put_service(dp, &s), 0);
	first = connect_once(VIP4, tcp);
	for (int i = 0; i < 30; i++)
		CHECK_INT(connect_once(VIP4, tcp), first);
	harness_reopen(); /* as an agent that is started anew */
	s = service_of("affine", VIP4, IPPROTO_TCP, SERVERS);
	s.affinity_s = 3600;
	CHECK_INT(datapath_put_service(dp, &s), 0);
	CHECK_INT(datapath_services_end(dp), 0);
	for (int i = 0; i < 30; i++)
		CHECK_INT(connect_once(VIP4, tcp), first);
	backends[first] = backends[--s.n_backends]; /* it goes */
	if (first == 0) {
		struct dp_service_backend b = backends[0]; /* sorted by address */

		backends[0] = backends[1];
		backends[1] = b;
	}
	CHECK_INT(datapath_put_service(dp, &s), 0);
	other = connect_once(VIP4, tcp);
	CHECK(other >= 0 && other != first);
	for (int i = 0; i < 30; i++)
		CHECK_INT(connect_once(VIP4, tcp), other);
	CHECK_INT(datapath_del_service(dp, "affine"), 0);
}

static int connect_by_tcp(void *ctx)
{
	return connect_once(ctx, strchr(ctx, ':') ? tcp6 : tcp);
}

static void SVC_18_affinity_lasts_as_long_as_asked_for(void)
{
	static const char *const vips[] = { VIP4, VIP6 };

	for (size_t i = 0; i < ARRAY_SIZE(vips); i++) {
		struct dp_service s = service_of("a minute", vips[i], IPPROTO_TCP, SERVERS);

		clear_affinity();
		s.affinity_s = 60;
		CHECK_INT(datapath_put_service(dp, &s), 0);
		affinity_lasts_and_ends(connect_by_tcp, (void *)vips[i]);
		CHECK_INT(datapath_del_service(dp, "a minute"), 0);
	}
}

/* A datagram from an unconnected socket: who gets it, and under which name does the answer come? */
static int ask(int fd, const char *vip, struct sockaddr_in *ret_from)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(80) }, client;
	socklen_t n = sizeof(client);
	struct pollfd p[SERVERS];
	char byte;

	inet_pton(AF_INET, vip, &to.sin_addr);
	if (sendto(fd, "q", 1, 0, (void *)&to, sizeof(to)) != 1)
		return -errno;
	for (int i = 0; i < SERVERS; i++)
		p[i] = (struct pollfd){ .fd = udp[i], .events = POLLIN };
	if (poll(p, SERVERS, 5000) <= 0)
		return -ETIMEDOUT;
	for (int i = 0; i < SERVERS; i++)
		if (p[i].revents) {
			recvfrom(udp[i], &byte, 1, 0, (void *)&client, &n);
			sendto(udp[i], "a", 1, 0, (void *)&client, n);
			n = sizeof(*ret_from);
			recvfrom(fd, &byte, 1, 0, (void *)ret_from, &n);
			return i;
		}
	return -EIO;
}

static void SVC_21_datagrams_follow_their_endpoint(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), first, now;
	struct sockaddr_in from;
	struct dp_service s;

	put("udp", VIP4, IPPROTO_UDP, SERVERS);
	first = ask(fd, VIP4, &from);
	CHECK(first >= 0);
	CHECK_STR(inet_ntoa(from.sin_addr), VIP4);
	CHECK_INT(ntohs(from.sin_port), 80);
	for (int i = 0; i < 10; i++)
		CHECK_INT(ask(fd, VIP4, &from), first); /* a socket stays */
	s = service_of("udp", VIP4, IPPROTO_UDP, SERVERS);
	memmove(&backends[first], &backends[first + 1], (--s.n_backends - first) * sizeof(*backends));
	CHECK_INT(datapath_put_service(dp, &s), 0);
	now = ask(fd, VIP4, &from);
	CHECK(now >= 0 && now != first); /* and leaves at once when its endpoint goes */
	CHECK_STR(inet_ntoa(from.sin_addr), VIP4);
	close(fd);
	CHECK_INT(datapath_del_service(dp, "udp"), 0);
}

static void an_untranslated_peer_keeps_its_name(void)
{
	int e, fd;

	put("peer", VIP4, IPPROTO_TCP, 1);
	fd = connect_to(VIP4, 80, SOCK_STREAM, AF_INET, &e);
	CHECK(fd >= 0 && who_accepts(tcp) == 0);
	check_peer(fd, VIP4, 80);
	close(fd);
	fd = connect_to(server4(0), PORT, SOCK_STREAM, AF_INET, &e);
	CHECK(fd >= 0 && who_accepts(tcp) == 0);
	check_peer(fd, server4(0), PORT);
	close(fd);
	CHECK_INT(datapath_del_service(dp, "peer"), 0);
}

static uint64_t writes(void)
{
	struct dp_service_stats s;

	CHECK_INT(datapath_read_service_stats(dp, &s), 0);
	return s.writes;
}

/* One endpoint's change costs what that Service has, however many others there are. */
static void one_change_writes_what_it_concerns(void)
{
	uint64_t costs[2];

	for (int round = 0; round < 2; round++) {
		unsigned services = round ? 10000 : 100; /* of ten endpoints each */
		uint64_t before;

		for (unsigned i = 0; i < services; i++) {
			_cleanup_free_ char *key = xasprintf("many-%u", i), *vip = xasprintf("10.97.%u.%u", i / 250, i % 250 + 1);

			put(key, vip, IPPROTO_TCP, 10);
		}
		before = writes();
		put("many-7", "10.97.0.8", IPPROTO_TCP, 10); /* as it was */
		CHECK_INT(writes(), before);
		put("many-7", "10.97.0.8", IPPROTO_TCP, 9);
		costs[round] = writes() - before;
	}
	printf("# writes for one endpoint among 1,000 and among 100,000: %lu, %lu\n", costs[0], costs[1]);
	CHECK_INT(costs[0], costs[1]);
	CHECK(costs[1] <= 5); /* a chunk, a frontend, a backend */
}

/* What is out of use goes after a second. */
static void collect(size_t backends_left)
{
	for (int i = 0; i < 200 && count_keys("service_backends") > backends_left; i++) {
		datapath_services_collect(dp);
		poll(NULL, 0, 50);
	}
	CHECK_INT(count_keys("service_backends"), backends_left);
}

/* ---- what somebody else takes away ---- */

static char told[256];

static void on_repair(enum dp_repair what, const char *text, void *ctx)
{
	(void)ctx;
	CHECK_INT(what, DP_REPAIR_ENTRY);
	snprintf(told, sizeof(told), "%s", text);
}

/* All entries of a map, to be compared. */
struct dump {
	size_t n;
	uint8_t key[8][64], value[8][64];
};

static struct dump dump_of(const char *map)
{
	int fd = datapath_map_fd(dp, map);
	struct dump d = {};

	for (void *last = NULL; d.n < 8 && bpf_map_get_next_key(fd, last, d.key[d.n]) == 0; last = d.key[d.n++])
		CHECK_INT(bpf_map_lookup_elem(fd, d.key[d.n], d.value[d.n]), 0);
	CHECK(d.n < 8);
	return d;
}

/* @changed: else it is deleted. */
static void damage(const char *map, const struct dump *d, bool changed)
{
	for (size_t i = 0; i < d->n; i++) {
		uint8_t value[64] = {};

		CHECK_INT(changed ? bpf_map_update_elem(datapath_map_fd(dp, map), d->key[i], value, BPF_ANY) :
				    bpf_map_delete_elem(datapath_map_fd(dp, map), d->key[i]), 0);
	}
}

static void check_mended(const char *map, const char *text)
{
	struct dump before = dump_of(map), after;

	CHECK(before.n > 0);
	for (int changed = 0; changed < 2; changed++) {
		*told = 0;
		damage(map, &before, changed && !streq(map, "service_sources"));
		CHECK_INT(datapath_audit_services(dp), 0);
		CHECK_STR(told, text);
		after = dump_of(map);
		CHECK_INT(after.n, before.n);
		for (size_t i = 0; i < before.n; i++) {
			uint8_t value[64] = {};

			CHECK_INT(bpf_map_lookup_elem(datapath_map_fd(dp, map), before.key[i], value), 0);
			CHECK(memcmp(value, before.value[i], sizeof(value)) == 0);
		}
		*told = 0;
		CHECK_INT(datapath_audit_services(dp), 0);
		CHECK_STR(told, "");
	}
}

/* A node that is named twice is no reason to write it again and again. */
static void what_somebody_takes_away_is_put_back_and_told(void)
{
	struct dp_service_node nodes[] = { { addr_of("192.0.2.1"), false }, { addr_of("192.0.2.2"), false }, { addr_of("192.0.2.1"), true } };
	struct prefix source = prefix_of(&(struct addr[]){ addr_of("10.8.0.0") }[0], 120);
	struct dp_service s;

	harness_reopen();
	datapath_on_repair(dp, on_repair, NULL);
	s = service_of("mended", VIP4, IPPROTO_TCP, 3);
	frontend.flags |= SERVICE_SOURCES;
	s.sources = &source;
	s.n_sources = 1;
	CHECK_INT(datapath_put_service(dp, &s), 0);
	CHECK_INT(datapath_services_end(dp), 0);
	collect(3);
	CHECK_INT(datapath_apply_service_nodes(dp, nodes, ARRAY_SIZE(nodes)), 0);
	check_mended("service_nodes", "2 addresses of nodes, where node ports are");
	check_mended("service_frontends", "1 entries of Services");
	check_mended("service_slots", "1 entries of Services");
	check_mended("service_backends", "3 entries of Services");
	check_mended("service_sources", "1 entries of Services");
	CHECK_INT(datapath_apply_service_nodes(dp, NULL, 0), 0);
	CHECK_INT(datapath_del_service(dp, "mended"), 0);
	CHECK_INT(datapath_audit_services(dp), 0); /* what has gone does not come back */
	CHECK_INT(count_keys("service_frontends"), 0);
	collect(0);
}

/* ---- what is wanted beside what there is ---- */

static const struct dp_service *compared;
static char differences[2048];

static void on_difference(void *ctx, const struct dp_service *want, const struct dp_service_frontend *f, const char *text)
{
	size_t n = strlen(differences);

	(void)ctx;
	if (want != compared)
		return;
	snprintf(differences + n, sizeof(differences) - n, "%s%s\n", f ? "frontend: " : "", text);
}

/* Each in a line. Other ports are compared beside it. */
static const char *compare(const struct dp_service *s)
{
	static const struct dp_service nothing = { .key = "nothing" };

	*differences = 0;
	compared = s;
	CHECK_INT(datapath_compare_services(dp, (const struct dp_service *[]){ &nothing, s, &nothing }, 3, on_difference, NULL), 0);
	return differences;
}

/* One entry of a map (the first), a byte of its value at @at changed by @flip; told is @text. @at is below 0: the entry is deleted. */
struct planted {
	const char *map;
	int at;
	uint8_t flip;
	const char *text;
};

#define AT(type, field) (int)offsetof(struct type, field)

static void check_planted(const struct dp_service *s, const struct planted *p, const struct dump *was)
{
	int fd = datapath_map_fd(dp, p->map);
	uint8_t value[64];

	memcpy(value, was->value[0], sizeof(value));
	if (p->at >= 0)
		value[p->at] ^= p->flip;
	CHECK_INT(p->at < 0 ? bpf_map_delete_elem(fd, was->key[0]) : bpf_map_update_elem(fd, was->key[0], value, BPF_ANY), 0);
	CHECK_STR(compare(s), p->text);
	CHECK_INT(bpf_map_update_elem(fd, was->key[0], was->value[0], BPF_ANY), 0);
	CHECK_STR(compare(s), "");
}

static const char *textf(const char *format, ...)
{
	static char texts[32][256];
	static unsigned turn;
	va_list args;

	va_start(args, format);
	vsnprintf(texts[++turn % 32], sizeof(texts[0]), format, args);
	va_end(args);
	return texts[turn % 32];
}

static void each_field_that_is_not_as_wanted_is_told(const struct dp_service *s)
{
	struct dump frontends = dump_of("service_frontends"), slots = dump_of("service_slots"), all = dump_of("service_backends"),
		    sources = dump_of("service_sources");
	const struct service_frontend *f = (const void *)frontends.value[0];
	const struct service_slot_chunk *chunk = (const void *)slots.value[0];
	const struct service_backend *b = (const void *)all.value[0];
	uint32_t id = *(const uint32_t *)all.key[0], set = f->set, in_slot = 0;
	struct in_addr v4 = { b->addr.w[3] };
	char name[32], other[32];

	while (chunk->backend[in_slot] != id)
		in_slot++;
	snprintf(name, sizeof(name), "%s:8080", inet_ntoa(v4));
	v4.s_addr ^= htonl(128);
	snprintf(other, sizeof(other), "%s:8080", inet_ntoa(v4));
	const struct planted cases[] = {
		{ "service_frontends", -1, 0, "frontend: the kernel has no such frontend\n" },
		{ "service_frontends", AT(service_frontend, service), 128, textf("frontend: service is %u, not %u\n", f->service ^ 128, f->service) },
		{ "service_frontends", AT(service_frontend, set), 128, textf("frontend: set is %u, not %u\n", set ^ 128, set) },
		{ "service_frontends", AT(service_frontend, slots), 1, "frontend: slots is 2, not 3\n" },
		{ "service_frontends", AT(service_frontend, affinity), 1, textf("frontend: affinity, in ticks, is %u, not %u\n", f->affinity ^ 1, f->affinity) },
		{ "service_frontends", AT(service_frontend, flags), SERVICE_SOURCES, textf("frontend: flags is %u, not %u\n", f->flags ^ SERVICE_SOURCES, f->flags) },
		{ "service_frontends", AT(service_frontend, role), 1, "frontend: role is 1, not 0\n" },
		{ "service_slots", -1, 0, textf("set %u has no slots from 0 on\n", set) },
		{ "service_slots", AT(service_slot_chunk, backend[in_slot]) + 1, 128,
		  textf("slot %u of set %u is backend %u, which is not there, not %s\n", in_slot, set, id ^ 128 << 8, name) },
		{ "service_slots", AT(service_slot_chunk, backend[7]) + 1, 128, textf("slot 7 of set %u is backend %u, which is not there, not nobody's\n", set, 128 << 8) },
		{ "service_backends", -1, 0, textf("backend %s is not in the kernel\n", name) },
		{ "service_backends", AT(service_backend, addr) + 15, 128, textf("backend %s: it is %s\n", name, other) },
		{ "service_backends", AT(service_backend, port), 1, textf("backend %s: it is %s\n", name, textf("%.*s:7824", (int)(strlen(name) - 5), name)) },
		{ "service_backends", AT(service_backend, proto), IPPROTO_TCP ^ IPPROTO_UDP, textf("backend %s: protocol is 17, not 6\n", name) },
		{ "service_backends", AT(service_backend, roles), 3, textf("backend %s: roles is 2, not 1\n", name) },
		{ "service_backends", AT(service_backend, flags), SERVICE_ON_THIS_NODE, textf("backend %s: flags is 1, not 0\n", name) },
		{ "service_backends", AT(service_backend, service), 128, textf("backend %s: service is %u, not %u\n", name, b->service ^ 128, b->service) },
		{ "service_sources", -1, 0, "source range 10.8.0.0/24 is not in the kernel\n" },
	};

	CHECK_INT(frontends.n, 1);
	CHECK_INT(slots.n, 1);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *map = cases[i].map;

		check_planted(s, &cases[i], streq(map, "service_frontends") ? &frontends : streq(map, "service_slots") ? &slots : streq(map, "service_backends") ? &all : &sources);
	}
}

static void what_is_only_in_the_maps_is_told(const struct dp_service *s)
{
	struct dump frontends = dump_of("service_frontends"), all = dump_of("service_backends"), sources = dump_of("service_sources");
	struct service_key *key = (void *)frontends.key[0];
	struct service_source_key *source = (void *)sources.key[0];
	struct service_backend *b = (void *)all.value[0];
	uint32_t id = 4711, yes = 1;

	key->port = htons(81);
	CHECK_INT(bpf_map_update_elem(datapath_map_fd(dp, "service_frontends"), key, frontends.value[0], BPF_ANY), 0);
	CHECK_STR(compare(s), "frontend 10.96.0.1:81, protocol 6, scope 0 is only in the kernel\n");
	CHECK_INT(bpf_map_delete_elem(datapath_map_fd(dp, "service_frontends"), key), 0);
	b->port = htons(9);
	CHECK_INT(bpf_map_update_elem(datapath_map_fd(dp, "service_backends"), &id, b, BPF_ANY), 0);
	CHECK(strstr(compare(s), ":9 is only in the kernel, as 4711\n"));
	b->flags |= SERVICE_GONE; /* so it waits to be deleted */
	CHECK_INT(bpf_map_update_elem(datapath_map_fd(dp, "service_backends"), &id, b, BPF_ANY), 0);
	CHECK_STR(compare(s), "");
	CHECK_INT(bpf_map_delete_elem(datapath_map_fd(dp, "service_backends"), &id), 0);
	source->len = 32; /* all may come */
	memset(source->addr, 0, sizeof(source->addr));
	CHECK_INT(bpf_map_update_elem(datapath_map_fd(dp, "service_sources"), source, &yes, BPF_ANY), 0);
	CHECK(strstr(compare(s), "is only in the kernel\n") && str_has_prefix(differences, "source range "));
	CHECK_INT(bpf_map_delete_elem(datapath_map_fd(dp, "service_sources"), source), 0);
}

static void every_difference_is_told(void)
{
	struct prefix source = prefix_of(&(struct addr[]){ addr_of("10.8.0.0") }[0], 120);
	struct dp_service s = service_of("compared", VIP4, IPPROTO_TCP, 3), other;

	frontend.flags |= SERVICE_SOURCES;
	s.sources = &source;
	s.n_sources = 1;
	s.affinity_s = 60;
	CHECK_STR(compare(&s), "set 0 has no slots from 0 on\nfrontend: the kernel has no such frontend\nbackend 10.8.0.1:8080 is not in the kernel\n"
			       "backend 10.8.0.2:8080 is not in the kernel\nbackend 10.8.0.3:8080 is not in the kernel\n"
			       "source range 10.8.0.0/24 is not in the kernel\n"); /* nothing is put yet */
	CHECK_INT(datapath_put_service(dp, &s), 0);
	CHECK_STR(compare(&s), "");
	each_field_that_is_not_as_wanted_is_told(&s);
	what_is_only_in_the_maps_is_told(&s);
	other = s;
	other.n_backends = 2; /* another is wanted than was put */
	CHECK(strstr(compare(&other), "frontend: slots is 3, not 2\n"));
	CHECK_INT(datapath_put_service(dp, &other), 0);
	CHECK_STR(compare(&other), ""); /* the third waits to be deleted */
	CHECK_INT(datapath_del_service(dp, "compared"), 0);
	collect(0);
}

/* Of 10,000 Services each look takes some, so that nobody waits for it; and all have been looked at before half a minute is over. */
static void a_large_audit_goes_in_turns(void)
{
	int fd = datapath_map_fd(dp, "service_frontends"), looks = 0;
	struct service_key key = {};

	CHECK_INT(datapath_audit_services(dp), 0);
	CHECK_INT(bpf_map_get_next_key(fd, NULL, &key), 0);
	CHECK_INT(bpf_map_delete_elem(fd, &key), 0);
	for (struct service_frontend f; bpf_map_lookup_elem(fd, &key, &f) < 0 && looks < 30; looks++)
		CHECK_INT(datapath_audit_services(dp), 0);
	printf("# looks until one of %zu frontends was back: %d\n", count_keys("service_frontends"), looks);
	CHECK(looks > 0 && looks < 30);
}

static void what_is_left_behind_goes_after_a_restart(void)
{
	uint64_t before;
	struct pollfd none;

	harness_reopen();
	put("many-7", "10.97.0.8", IPPROTO_TCP, 9);
	before = writes();
	CHECK_INT(before, 0); /* adopted as it is */
	CHECK_INT(datapath_services_end(dp), 0);
	CHECK_INT(count_keys("service_frontends"), 1);
	for (int i = 0; i < 200 && count_keys("service_backends") + count_keys("service_slots") > 10; i++) {
		datapath_services_collect(dp);
		poll(&none, 0, 50); /* the grace period is a second */
	}
	CHECK_INT(count_keys("service_backends"), 9);
	CHECK_INT(count_keys("service_slots"), 1);
	CHECK_INT(datapath_del_service(dp, "many-7"), 0);
}

enum { WAITS_AT = 7777 };

/* One that serves, and one that is not ready. */
static struct dp_service waiting_service(void)
{
	struct dp_service s = service_of("waits", "10.97.9.9", IPPROTO_TCP, 2);

	backends[0].port = backends[1].port = WAITS_AT;
	backends[1].roles = 0;
	return s;
}

/* Not ready, but there: who is connected with it is not told that it has gone. */
static void an_endpoint_that_waits_keeps_its_entry_over_a_restart(void)
{
	struct dp_service s = waiting_service();
	unsigned serving = 0, waiting = 0;
	uint32_t id, *at = NULL;
	struct service_backend b;

	CHECK_INT(datapath_put_service(dp, &s), 0);
	harness_reopen();
	s = waiting_service();
	CHECK_INT(datapath_put_service(dp, &s), 0);
	CHECK_INT(writes(), 0);
	CHECK_INT(datapath_services_end(dp), 0);
	for (; bpf_map_get_next_key(datapath_map_fd(dp, "service_backends"), at, &id) == 0; at = &id) {
		CHECK_INT(bpf_map_lookup_elem(datapath_map_fd(dp, "service_backends"), &id, &b), 0);
		if (b.port != htons(WAITS_AT))
			continue;
		CHECK(!(b.flags & SERVICE_GONE));
		serving += b.roles != 0;
		waiting += b.roles == 0;
	}
	CHECK_INT(serving, 1);
	CHECK_INT(waiting, 1);
	CHECK_INT(datapath_del_service(dp, "waits"), 0);
}

enum { LARGE = 2100 };

/* The first @n of so many endpoints. */
static struct dp_service large_service(size_t n)
{
	static struct dp_service_backend many[LARGE];
	struct dp_service s = service_of("large", VIP4, IPPROTO_TCP, 0);

	for (uint32_t i = 0; i < LARGE; i++)
		many[i] = (struct dp_service_backend){ .addr = addr_from_v4((struct in_addr){ htonl(0x0a090000 + i) }), .port = PORT, .roles = 1 << SERVICE_CLUSTER, .weight = 1 };
	s.backends = many;
	s.n_backends = n;
	return s;
}

/* More endpoints and slots than go into one call of the kernel, some of them new: all are there, each once. */
static void a_large_service_is_written_in_pieces(void)
{
	static const size_t sizes[] = { 129, 130, LARGE };

	for (size_t k = 0; k < ARRAY_SIZE(sizes); k++) {
		struct dp_service s = large_service(sizes[k]);
		struct dp_service_set set;

		CHECK_INT(datapath_put_service(dp, &s), 0);
		CHECK_INT(datapath_read_service(dp, &frontend, IPPROTO_TCP, &set), 0);
		CHECK_INT(set.slots, s.n_backends);
		CHECK_INT(set.n_backends, s.n_backends);
		for (size_t i = 0; i < set.n_backends; i++) {
			CHECK(addr_eq(&set.backends[i].addr, &s.backends[i].addr));
			CHECK_INT(set.backends[i].slots, 1);
		}
		free(set.backends);
	}
	CHECK_INT(datapath_del_service(dp, "large"), 0);
	collect(0);
}

static void a_full_map_is_said_and_harms_nobody(void)
{
	struct dp_service large;
	unsigned i, r = 0;

	dp_config.service_max = 64;
	harness_reopen();
	CHECK_INT(datapath_services_end(dp), 0);
	put("full", "10.98.1.2", IPPROTO_TCP, 10);
	large = large_service(LARGE);
	CHECK_INT(datapath_put_service(dp, &large), -E2BIG); /* after some have been written; they go, and nobody else's */
	collect(10);
	CHECK_INT(count_keys("service_frontends"), 1);
	CHECK_INT(datapath_del_service(dp, "full"), 0);
	for (i = 0; i < 100 && !r; i++) {
		_cleanup_free_ char *key = xasprintf("full-%u", i), *vip = xasprintf("10.98.0.%u", i + 1);
		struct dp_service s = service_of(key, vip, IPPROTO_TCP, 1);

		r = -datapath_put_service(dp, &s);
	}
	CHECK_INT(r, E2BIG);
	CHECK_INT(connect_once("10.98.0.1", tcp), 0);
	dp_config.service_max = 0;
}

int main(void)
{
	own_cgroup_enter("service-test");
	harness_init();
	dp_config.cgroup = own_cgroup;
	make_servers();
	harness_reopen();
	RUN(SVC_20_connections_are_spread_evenly);
	RUN(SVC_1_both_families_and_mapped_sockets);
	RUN(SVC_8_19_nobody_serves);
	RUN(SVC_42_source_ranges);
	RUN(a_range_that_is_not_written_is_tried_again);
	RUN(SVC_18_affinity_holds_and_ends_with_its_endpoint);
	RUN(SVC_18_affinity_lasts_as_long_as_asked_for);
	RUN(SVC_21_datagrams_follow_their_endpoint);
	RUN(an_untranslated_peer_keeps_its_name);
	RUN(one_change_writes_what_it_concerns);
	RUN(a_large_audit_goes_in_turns);
	RUN(what_is_left_behind_goes_after_a_restart);
	RUN(an_endpoint_that_waits_keeps_its_entry_over_a_restart);
	RUN(what_somebody_takes_away_is_put_back_and_told);
	RUN(every_difference_is_told);
	RUN(a_large_service_is_written_in_pieces);
	RUN(a_full_map_is_said_and_harms_nobody);
	harness_done();
	return test_end();
}
