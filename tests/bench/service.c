/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of Services, from the API's objects to the kernel's maps and to a client's connect(): one JSON object a line. docs/services.md has
 * the table. Needs root: it makes namespaces and a cgroup of its own. With --check it fails where a target is missed (test-full). With
 * --hold N it programs so many Services, says where ("ready"), and stays until its input ends: services.py measures clients in there.
 *
 * Programming is CPU time of the one thread, so that whatever else the machine does counts little; the JSON text is parsed before the
 * clock starts, decoding is part of it. The first packet's cost is that of connect() on a UDP socket, which is the socket
 * program and little else: pairs are measured in turns. */
#include "agent/services_internal.h"
#include "base/str.h"
#include "model/model.h"

#include <err.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

enum { ENDPOINTS = 10, CHANGES = 1000, ROUNDS = 200, CONNECTS = 200 };

static struct model *model;
static struct service_env env = {.node = "n1"};
static struct datapath *dp;
static char *cgroup;
static bool failed;

static double now_ms(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void judge(const char *what, double value, double limit, bool check)
{
	if (check && value > limit) {
		fprintf(stderr, "%s: %.3f, at most %.3f wanted\n", what, value, limit);
		failed = true;
	}
}

/* ---- the stage ---- */

static void leave_cgroup(void)
{
	_cleanup_free_ char *procs = xasprintf("%s/../cgroup.procs", cgroup);
	_cleanup_close_ int fd = open(procs, O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "0", 1) == 1)
		rmdir(cgroup);
}

static void enter_cgroup(void)
{
	struct statfs fs;
	bool pure = statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
	_cleanup_free_ char *procs = NULL;
	_cleanup_close_ int fd = -1;

	cgroup = xasprintf("/sys/fs/cgroup%s/weft-service-bench-%d", pure ? "" : "/unified", getpid());
	procs = xasprintf("%s/cgroup.procs", cgroup);
	if (mkdir(cgroup, 0755) < 0)
		err(1, "%s", cgroup);
	atexit(leave_cgroup);
	fd = open(procs, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		err(1, "%s", procs);
}

static void open_datapath(void)
{
	struct dp_config c = {.pin_dir = "/sys/fs/bpf/weft", .fast_path = true, .flow_max = 1024, .nat_max = 1024, .nat_port_min = 1024, .nat_port_max = 65535, .cgroup = cgroup,
			      .service_max = 262144};
	char *why = NULL;

	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL) < 0)
		err(1, "namespaces and a bpf file system (root is needed)");
	if (datapath_open(&c, &dp, &why) < 0)
		errx(1, "%s", why);
}

/* ---- objects ---- */

static json_t *service_object(unsigned i)
{
	return json_pack("{s{so, ss}, s{so, s[{si}]}}", "metadata", "name", json_sprintf("s%u", i), "namespace", "default", "spec", "clusterIP",
			 json_sprintf("10.%u.%u.%u", 100 + i / 65536, i / 256 % 256, i % 256), "ports", "port", 80);
}

static json_t *slice_object(unsigned i, unsigned n)
{
	json_t *endpoints = json_array();

	for (unsigned k = 0; k < n; k++)
		json_array_append_new(endpoints, json_pack("{s[o], ss, s{sb}}", "addresses",
							   json_sprintf("10.%u.%u.%u", 10 + k, i / 256 % 256, i % 256), "nodeName", k ? "n2" : "n1",
							   "conditions", "ready", true));
	return json_pack("{s{so, ss, s{so}}, ss, s[{ss, si}], so}", "metadata", "name", json_sprintf("s%u-a", i), "namespace", "default",
			 "labels", "kubernetes.io/service-name", json_sprintf("s%u", i), "addressType", "IPv4", "ports", "name", "", "port", 8080,
			 "endpoints", endpoints);
}

static void put_object(enum model_table table, const json_t *o)
{
	char *why = NULL;

	if (model_upsert(model, table, o, &why) < 0)
		errx(1, "%s", why);
}

static unsigned update(void)
{
	struct model_service_name name;
	unsigned n = 0;

	for (; model_take_dirty_service(model, &name); n++) {
		_cleanup_(service_view_freep) struct service_view *v =
		    service_compile(&env, model_find_service(model, name.namespace_, name.name));

		for (size_t i = 0; i <= v->n_ports; i++)
			if (services_put_port(dp, v, i) < 0)
				errx(1, "%s: the maps are full", name.name);
	}
	return n;
}

/* ---- figures ---- */

static void program_all(unsigned services, bool check)
{
	json_t **objects = xnew0_array(json_t *, 2 * services);
	double start, all, wall;
	unsigned n;

	for (unsigned i = 0; i < services; i++) {
		objects[2 * i] = service_object(i);
		objects[2 * i + 1] = slice_object(i, ENDPOINTS);
	}
	wall = now_ms(CLOCK_MONOTONIC);
	start = now_ms(CLOCK_PROCESS_CPUTIME_ID);
	for (unsigned i = 0; i < services; i++) {
		put_object(MODEL_SERVICES, objects[2 * i]);
		put_object(MODEL_SLICES, objects[2 * i + 1]);
	}
	n = update();
	all = now_ms(CLOCK_PROCESS_CPUTIME_ID) - start;
	wall = now_ms(CLOCK_MONOTONIC) - wall;
	printf("{\"figure\": \"program\", \"services\": %u, \"endpoints\": %u, \"cpu_ms\": %.1f, \"wall_ms\": %.1f}\n", n, services * ENDPOINTS, all, wall);
	if (services == 10000)
		judge("programming 10,000 Services (ms)", all, 1000, check);
	for (unsigned i = 0; i < 2 * services; i++)
		json_decref(objects[i]);
	free(objects);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static uint64_t writes(void)
{
	struct dp_service_stats s;

	if (datapath_read_service_stats(dp, &s) < 0)
		errx(1, "statistics");
	return s.writes;
}

static void change_one(unsigned services, bool check)
{
	static double ms[CHANGES];
	uint64_t before = writes();

	for (unsigned i = 0; i < CHANGES; i++) {
		json_t *o = slice_object(7919u * (i / 2) % services, i % 2 ? ENDPOINTS : ENDPOINTS - 1);
		double start = now_ms(CLOCK_PROCESS_CPUTIME_ID);

		put_object(MODEL_SLICES, o);
		update();
		ms[i] = now_ms(CLOCK_PROCESS_CPUTIME_ID) - start;
		json_decref(o);
	}
	qsort(ms, CHANGES, sizeof(*ms), compare);
	printf("{\"figure\": \"change\", \"endpoints\": %u, \"p50_us\": %.1f, \"p99_us\": %.1f, \"writes\": %.2f}\n", services * ENDPOINTS,
	       ms[CHANGES / 2] * 1e3, ms[CHANGES * 99 / 100] * 1e3, (double)(writes() - before) / CHANGES);
	judge("one endpoint's change, p99 (ms)", ms[CHANGES * 99 / 100], 2, check);
}

/* Nanoseconds of one connect(), of @n Services in turn. */
static double connect_ns(unsigned n)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	static unsigned at;
	double start = now_ms(CLOCK_PROCESS_CPUTIME_ID);

	for (unsigned i = 0; i < CONNECTS; i++) {
		unsigned s = (at += 7919) % n;
		struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(80),
					 .sin_addr.s_addr = htonl(10u << 24 | (100 + s / 65536) << 16 | (s / 256 % 256) << 8 | s % 256)};

		connect(fd, (void *)&to, sizeof(to)); /* there is no route: the program has run before that is seen */
	}
	start = now_ms(CLOCK_PROCESS_CPUTIME_ID) - start;
	close(fd);
	return start * 1e6 / CONNECTS;
}

static double median_connect(unsigned n)
{
	static double ns[ROUNDS];

	for (unsigned i = 0; i < ROUNDS; i++)
		ns[i] = connect_ns(n);
	qsort(ns, ROUNDS, sizeof(*ns), compare);
	return ns[ROUNDS / 2];
}

static double first_packet(unsigned services)
{
	double few = median_connect(MIN(services, 10u)), all = median_connect(services);

	printf("{\"figure\": \"connect\", \"services\": %u, \"ns\": %.0f, \"ns_same_ten\": %.0f}\n", services, all, few);
	return few;
}

/* For clients of others: this process's network namespace, in this cgroup. */
static void hold(unsigned services)
{
	char c;

	program_all(services, false);
	change_one(services, false);
	printf("{\"figure\": \"ready\", \"pid\": %d, \"cgroup\": \"%s\"}\n", getpid(), cgroup);
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
}

static void measure(bool check)
{
	static const unsigned sizes[] = {10, 100, 10000, 100000};
	double first = 0, last = 0;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		program_all(sizes[i], check);
		change_one(sizes[i], check);
		last = first_packet(sizes[i]);
		first = first ? first : last;
	}
	printf("{\"figure\": \"flat\", \"ratio\": %.3f}\n", last / first);
	judge("a first packet among 100,000 Services beside one among 10", last / first, 1.1, check);
}

int main(int argc, char **argv)
{
	uint64_t n = 0;

	if (argc == 3 && streq(argv[1], "--hold") && (parse_u64(argv[2], 100000, &n) < 0 || n < 10))
		errx(2, "--hold: expected a number from 10 to 100000");
	model = model_new();
	env.model = model;
	enter_cgroup();
	open_datapath();
	if (n)
		hold(n);
	else
		measure(argc > 1 && streq(argv[1], "--check"));
	dp = datapath_close(dp);
	datapath_remove("/sys/fs/bpf/weft");
	model_free(model);
	return failed;
}
