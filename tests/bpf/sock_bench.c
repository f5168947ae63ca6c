/* SPDX-License-Identifier: Apache-2.0 */
/* Nanoseconds a run of the socket programs, which the kernel's test run does not take: this process moves into a cgroup to which they are attached, and
 * the kernel counts how often and how long they run (BPF_ENABLE_STATS). The counting is in it; what a run costs that looks at nothing shows how much. */
#include "base/str.h"
#include "datapath/service.h"
#include "harness.h"
#include "net/rtnl.h"
#include "own_cgroup.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <err.h>
#include <fcntl.h>
#include <sys/param.h>

enum { RUNS = 20000, ROUNDS = 7, PORT = 8080 };

static int cgroup_fd, server;

static struct sockaddr_in at(const char *address, uint16_t port)
{
	return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = inet_addr(address)};
}

static size_t only(const struct dp_service *s _unused_, enum service_role role, uint32_t *ret)
{
	if (role != SERVICE_CLUSTER)
		return 0;
	*ret = 0;
	return 1;
}

static void make_service(void)
{
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	struct link_addr a = {.ifindex = 1, .addr = addr_of("10.8.0.1"), .len = 128};
	struct dp_service_frontend front = {.addr = addr_of("10.96.0.1"), .port = 80};
	struct dp_service_backend back = {.addr = a.addr, .port = PORT, .roles = 1 << SERVICE_CLUSTER, .weight = 1};
	struct dp_service s = {.key = "s", .proto = IPPROTO_UDP, .frontends = &front, .n_frontends = 1, .backends = &back, .n_backends = 1, .fill = only};

	if (rtnl_open(&nl) < 0 || rtnl_set_link_up(nl, 1, true) < 0 || rtnl_replace_addr(nl, &a) < 0)
		errx(1, "loopback");
	server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (bind(server, (const struct sockaddr *)&(struct sockaddr_in[]){at("10.8.0.1", PORT)}, sizeof(struct sockaddr_in)) < 0)
		err(1, "bind");
	if (datapath_put_service(dp, &s) < 0)
		errx(1, "the Service");
}

struct spent {
	uint64_t ns, runs;
};

/* What the program has done since it was attached. */
static struct spent spent_by(enum bpf_attach_type point)
{
	struct bpf_prog_info info = {};
	uint32_t id, n = 1, size = sizeof(info);
	_cleanup_close_ int fd = -1;

	if (bpf_prog_query(cgroup_fd, point, 0, NULL, &id, &n) < 0 || n != 1)
		errx(1, "no program at %d", point);
	fd = bpf_prog_get_fd_by_id(id);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		err(1, "program %u", id);
	return (struct spent){info.run_time_ns, info.run_cnt};
}

static int fd;

static void open_socket(void)
{
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		err(1, "socket");
}

static void connect_to(struct sockaddr_in to)
{
	open_socket();
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		err(1, "connect");
	close(fd);
}

static void nothing(void)
{
	connect_to(at("0.0.0.0", PORT));
}

static void connect_service(void)
{
	connect_to(at("10.96.0.1", 80));
}

static void connect_other(void)
{
	connect_to(at("10.8.0.1", PORT));
}

static void ask(struct sockaddr_in to)
{
	char byte = 0;

	if (sendto(fd, &byte, 1, 0, (struct sockaddr *)&to, sizeof(to)) != 1)
		err(1, "sendto");
}

static void answer(void)
{
	struct sockaddr_in from;
	socklen_t n = sizeof(from);
	char byte;

	if (recvfrom(server, &byte, 1, 0, (struct sockaddr *)&from, &n) != 1 || sendto(server, &byte, 1, 0, (struct sockaddr *)&from, n) != 1 ||
	    recvfrom(fd, &byte, 1, 0, (struct sockaddr *)&from, &n) != 1)
		err(1, "an answer");
}

static void first_datagram(void)
{
	open_socket();
	ask(at("10.96.0.1", 80));
	answer();
	close(fd);
}

static int talking = -1;

static void another_datagram(void)
{
	if (talking < 0) {
		open_socket();
		talking = fd;
	}
	fd = talking;
	ask(at("10.96.0.1", 80));
	answer();
}

/* clang-format off */
static const struct row {
	const char *program, *what;
	enum bpf_attach_type point;
	void (*once)(void);
	unsigned each; /* runs of the program that one call makes */
} rows[] = {
	{ "connect4", "to the unspecified address, which is no Service's: the counting", BPF_CGROUP_INET4_CONNECT, nothing, 1 },
	{ "connect4", "to an address that is no Service's", BPF_CGROUP_INET4_CONNECT, connect_other, 1 },
	{ "connect4", "to a Service", BPF_CGROUP_INET4_CONNECT, connect_service, 1 },
	{ "sendmsg4", "a socket's first datagram to a Service, and the server's answer", BPF_CGROUP_UDP4_SENDMSG, first_datagram, 2 },
	{ "sendmsg4", "another one, and the server's answer", BPF_CGROUP_UDP4_SENDMSG, another_datagram, 2 },
	{ "recvmsg4", "the answer, and what the server receives", BPF_CGROUP_UDP4_RECVMSG, another_datagram, 2 },
};
/* clang-format on */

static double round_of(const struct row *r)
{
	struct spent before = spent_by(r->point), after;

	for (int i = 0; i < RUNS; i++)
		r->once();
	after = spent_by(r->point);
	if (after.runs - before.runs != (uint64_t)RUNS * r->each)
		errx(1, "%s %s: %llu runs", r->program, r->what, (unsigned long long)(after.runs - before.runs));
	return (double)(after.ns - before.ns) / (after.runs - before.runs);
}

int main(void)
{
	int stats;

	own_cgroup_enter("sock-bench");
	cgroup_fd = open(own_cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	harness_init();
	dp_config.cgroup = own_cgroup;
	harness_reopen();
	make_service();
	stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
	if (stats < 0)
		err(1, "counting run time");
	printf("%-10s %-66s %8s   ns a run, best of %d\n", "", "Services at the socket", "", ROUNDS);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		double best = 1e9;

		for (int k = 0; k < ROUNDS; k++) {
			double ns = round_of(&rows[i]); /* MIN() evaluates twice */

			best = MIN(best, ns);
		}
		printf("%-10s %-66s %8.0f\n", rows[i].program, rows[i].what, best);
	}
	close(stats);
	harness_done();
	return 0;
}
