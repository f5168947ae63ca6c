/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper lives in the fabric's network namespace, which exists as long as it does. It makes the fabric and the world
 * host, keeps the hub running (which listens on the fabric for the nodes, and on a socket that was opened outside for the
 * user) and, once the hub answers, schedules. */
#include "base/file.h"
#include "base/log.h"
#include "kube/client.h"
#include "lab/cgroup.h"
#include "lab/hubconfig.h"
#include "lab/links.h"
#include "lab/runner.h"
#include "lab/scheduler.h"
#include "lab/service.h"
#include "net/netns.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>

struct keeper {
	struct lab *lab;
	struct report *report;
	sd_event *event;
	struct service *hub;
	struct kube_client *client;
	struct scheduler *scheduler;
	int ready_fd;
	sd_event_source *ready;
};

static int failed(struct keeper *k, const char *what, int r, char *why)
{
	log_error(what, L_STR("why", why), L_ERRNO(r));
	report_line(k->report, "error %s: %s", what, why ? why : strerror(-r));
	free(why);
	return r < 0 ? r : -EIO;
}

static int open_log(const struct lab *lab, const char *name)
{
	_cleanup_free_ char *path = xasprintf("%s/logs/%s.log", lab->dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : fd;
}

static int open_part(const struct lab *lab, const char *part)
{
	_cleanup_free_ char *path = cgroup_of(lab->name, part);
	int r = path ? cgroup_make(path) : -ENOENT;

	return r < 0 ? r : cgroup_open(path);
}

/* The world host: a namespace, and a process that is in it for as long as the lab is up. */
static int start_world(struct keeper *k, int world_fd)
{
	_cleanup_free_ char *program = xasprintf("%s/weft-lab-runner", k->lab->bin);
	const char *argv[] = { program, "world", NULL };
	int cgroup = open_part(k->lab, "world"), log = open_log(k->lab, "world");
	struct spawn s = { .argv = argv, .netns_fd = world_fd, .cgroup_fd = cgroup, .err = log, .hostname = "world", .session = true };
	const char *what;
	pid_t pid;
	int pidfd, r;

	if (cgroup < 0 || log < 0)
		return cgroup < 0 ? cgroup : log;
	r = spawn_start(&s, &pid, &pidfd, &what); /* never waited for: it ends with the lab */
	close(cgroup);
	close(log);
	return r;
}

static int build(struct keeper *k)
{
	_cleanup_close_ int world_fd = -1;
	char *why = NULL;
	int r;

	if (unshare(CLONE_NEWNET | CLONE_NEWUTS) < 0 || sethostname("fabric", 6) < 0)
		return failed(k, "cannot make the fabric's namespace", -errno, NULL);
	world_fd = netns_create(NULL);
	if (world_fd < 0)
		return failed(k, "cannot make the world's namespace", world_fd, NULL);
	r = fabric_build(k->lab, world_fd, &why);
	if (r < 0)
		return failed(k, "cannot build the fabric", r, why);
	r = start_world(k, world_fd);
	if (r < 0)
		return failed(k, "cannot start the world host", r, NULL);
	report_line(k->report, "fabric");
	return 0;
}

static int connect_client(struct keeper *k)
{
	_cleanup_free_ char *url = lab_hub_url(k->lab), *text = NULL;
	struct kube_config config = { 0 };
	char *why = NULL;
	int r = hub_kubeconfig(k->lab, url, "system:kube-scheduler", "system:masters", &text, &why);

	if (r == 0)
		r = kube_config_parse("the keeper's kubeconfig", text, strlen(text), "/", &config, &why);
	if (r == 0)
		r = kube_client_new(k->event, &config, "weft-lab/" WEFT_VERSION, &k->client, &why);
	kube_config_done(&config);
	if (r == 0)
		r = scheduler_new(k->event, k->client, k->lab->name, &k->scheduler);
	return r < 0 ? failed(k, "cannot schedule", r, why) : 0;
}

/* The hub says something on this pipe each time it is ready; the first time starts the rest. */
static int on_hub_ready(sd_event_source *s _unused_, int fd, uint32_t revents _unused_, void *ctx)
{
	struct keeper *k = ctx;
	char text[256];

	if (read(fd, text, sizeof(text)) <= 0 || k->scheduler)
		return 0;
	if (connect_client(k) < 0)
		return sd_event_exit(k->event, 1);
	report_line(k->report, "hub");
	report_end(k->report);
	return 0;
}

struct argv {
	char *a[64];
	size_t n;
};

static void add(struct argv *v, char *text)
{
	assert(v->n + 1 < ARRAY_SIZE(v->a));
	v->a[v->n++] = text;
}

static void add_pair(struct argv *v, const char *option, char *value)
{
	add(v, xstrdup(option));
	add(v, value);
}

static char *ranges(const struct lab *lab, const char *(*range)(int family))
{
	if (lab_is_dual(lab))
		return xasprintf("%s,%s", range(AF_INET), range(AF_INET6));
	return xstrdup(range(lab_has(lab, AF_INET) ? AF_INET : AF_INET6));
}

static void hub_arguments(const struct lab *lab, int hub_fd, int ready_fd, struct argv *v)
{
	char text[ENDPOINT_TEXT_MAX];

	add(v, xasprintf("%s/weft-hub", lab->bin));
	add_pair(v, "--data", lab_path(lab, "hub"));
	for (int i = 0; i < 2; i++) {
		int family = i ? AF_INET6 : AF_INET;
		struct addr a = lab_router_address(0, family);

		if (!lab_has(lab, family))
			continue;
		add_pair(v, "--listen", xstrdup(addr_port_format(&a, LAB_HUB_PORT, text)));
		add_pair(v, "--tls-san", xstrdup(addr_format(&a, text)));
	}
	add_pair(v, "--listen-fd", xasprintf("%d", hub_fd));
	add_pair(v, "--tls-san", xstrdup("127.0.0.1"));
	add_pair(v, "--tls-san", xstrdup("localhost"));
	add_pair(v, "--cluster-cidr", ranges(lab, lab_cluster_range));
	add_pair(v, "--service-cidr", ranges(lab, lab_service_range));
	add_pair(v, "--ready-fd", xasprintf("%d", ready_fd));
}

static int start_hub(struct keeper *k, int hub_fd)
{
	_cleanup_free_ char *data = lab_path(k->lab, "hub");
	int log = open_log(k->lab, "hub"), cgroup = open_part(k->lab, "hub"), fds[2], r;
	struct argv v = { 0 };

	if (log < 0 || cgroup < 0)
		return failed(k, "cannot start the hub", log < 0 ? log : cgroup, NULL);
	r = mkdir_parents(data, 0700);
	if (r < 0 || pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return failed(k, "cannot start the hub", r < 0 ? r : -errno, NULL);
	k->ready_fd = fds[1];
	hub_arguments(k->lab, hub_fd, fds[1], &v);
	r = sd_event_add_io(k->event, &k->ready, fds[0], EPOLLIN, on_hub_ready, k);
	if (r == 0)
		r = service_new(k->event, (const char *const *)v.a, cgroup, log, hub_fd, fds[1], &k->hub);
	while (v.n > 0)
		free(v.a[--v.n]);
	return r < 0 ? failed(k, "cannot start the hub", r, NULL) : 0;
}

int keeper_main(struct lab *lab, struct report *report, int hub_fd)
{
	struct keeper k = { .lab = lab, .report = report };
	int r = sd_event_new(&k.event);

	if (r < 0)
		return 1;
	if (build(&k) < 0 || start_hub(&k, hub_fd) < 0)
		return 1;
	r = sd_event_loop(k.event);
	return r != 0;
}
