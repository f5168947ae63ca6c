/* SPDX-License-Identifier: Apache-2.0 */
/* A container is a process in a cgroup of its own below the pod's. It starts in the pod's cgroup and network namespace; when it
 * has ended, what it left running is killed, and the restart policy decides what comes next. */
#include "lab/cgroup.h"
#include "lab/pod.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

enum { DELAY_MIN_US = 200000, DELAY_MAX_US = 30000000, LONG_LIFE_S = 60, EXIT_CANNOT_START = 128 };

static void set_text(char **where, char *text)
{
	free(*where);
	*where = text;
}

static const json_t *meta(const struct container *c)
{
	return json_at(c->pod->object, "metadata");
}

void container_init(struct container *c, struct pod *p, const json_t *spec, bool init, unsigned restarts)
{
	*c = (struct container){ .pod = p, .spec = spec, .name = json_str_or(json_at(spec, "name"), ""), .init = init, .restarts = restarts,
				 .delay_us = DELAY_MIN_US, .cgroup_fd = -1 };
	c->cgroup = xasprintf("%s/%s", p->cgroup, c->name);
}

static void stop_probes(struct container *c)
{
	c->readiness = probe_free(c->readiness);
	c->liveness = probe_free(c->liveness);
}

void container_done(struct container *c)
{
	stop_probes(c);
	sd_event_source_disable_unref(c->timer);
	proc_free(c->proc);
	close_fd(c->cgroup_fd);
	strings_free(c->env);
	free(c->reason);
	free(c->message);
	free(c->cgroup);
	free(c->running);
}

bool container_is_over(const struct container *c)
{
	return c->state == CONTAINER_ENDED && !c->timer;
}

static int on_timer(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	struct container *c = ctx;

	c->timer = sd_event_source_disable_unref(c->timer);
	c->restarts++;
	container_start(c);
	return 0;
}

static void restart_later(struct container *c)
{
	struct pod *p = c->pod;

	if (c->ended - c->started >= LONG_LIFE_S || c->unhealthy)
		c->delay_us = DELAY_MIN_US;
	c->unhealthy = false;
	c->ran_before = true;
	c->last_exit_code = c->exit_code;
	c->last_started = c->started;
	c->last_ended = c->ended;
	c->state = CONTAINER_WAITS;
	set_text(&c->reason, xstrdup("CrashLoopBackOff"));
	set_text(&c->message, xasprintf("back-off %.1fs restarting failed container=%s pod=%s_%s: exit code %d", c->delay_us / 1e6, c->name,
					p->name, p->ns, c->exit_code));
	kubelet_event(p->k, &p->events, meta(c), "Pod", "Warning", "BackOff", "Back-off restarting failed container %s in pod %s_%s",
		      c->name, p->name, p->ns);
	if (sd_event_add_time_relative(p->k->event, &c->timer, CLOCK_MONOTONIC, c->delay_us, 1000, on_timer, c) < 0)
		c->state = CONTAINER_ENDED;
	c->delay_us = MIN(c->delay_us * 2, (uint64_t)DELAY_MAX_US);
}

/* An init container that has done its part is not started again, whatever the policy. */
static bool wants_restart(const struct container *c)
{
	if (c->pod->state != POD_RUNS || (c->init && c->exit_code == 0))
		return false;
	return podspec_restarts(c->pod->spec_object, c->exit_code);
}

static void on_over(struct container *c)
{
	stop_probes(c);
	c->ready = c->init && c->exit_code == 0;
	c->state = CONTAINER_ENDED;
	c->timer = sd_event_source_disable_unref(c->timer);
	if (wants_restart(c))
		restart_later(c);
	podstatus_changed(c->pod);
	pod_container_changed(c->pod);
}

static void on_process_end(int status, void *ctx)
{
	struct container *c = ctx;

	c->proc = NULL;
	c->ended = time(NULL);
	c->exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	set_text(&c->reason, NULL);
	set_text(&c->message, NULL);
	cgroup_kill(c->cgroup, 0); /* what it left behind; the pod's end waits for it */
	on_over(c);
}

/* As if it had started and failed at once, so that the policy decides as for any failure. */
static void cannot_start(struct container *c, const char *reason, char *why)
{
	kubelet_event(c->pod->k, &c->pod->events, meta(c), "Pod", "Warning", "Failed", "container %s: %s", c->name, why);
	c->started = c->ended = time(NULL);
	c->exit_code = EXIT_CANNOT_START;
	set_text(&c->reason, xstrdup(reason));
	set_text(&c->message, why);
	on_over(c);
}

static void on_readiness(bool ok, const char *why, void *ctx)
{
	struct container *c = ctx;

	c->ready = ok;
	if (!ok)
		kubelet_event(c->pod->k, &c->pod->events, meta(c), "Pod", "Warning", "Unhealthy", "Readiness probe failed: %s", why);
	podstatus_changed(c->pod);
}

static int on_kill_time(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	struct container *c = ctx;

	c->timer = sd_event_source_disable_unref(c->timer);
	cgroup_kill(c->cgroup, 0);
	return 0;
}

static uint64_t grace_us(const struct pod *p)
{
	const json_t *g = json_at(p->spec_object, "spec", "terminationGracePeriodSeconds");

	return (json_is_integer(g) ? MAX(json_integer_value(g), 0) : 30) * UINT64_C(1000000);
}

static void on_liveness(bool ok, const char *why, void *ctx)
{
	struct container *c = ctx;

	if (ok || !c->proc)
		return;
	kubelet_event(c->pod->k, &c->pod->events, meta(c), "Pod", "Warning", "Unhealthy",
		      "Liveness probe failed: %s; container %s will be restarted", why, c->name);
	c->unhealthy = true;
	c->ready = false;
	podstatus_changed(c->pod);
	proc_kill(c->proc, SIGTERM);
	if (!c->timer && sd_event_add_time_relative(c->pod->k->event, &c->timer, CLOCK_MONOTONIC, grace_us(c->pod), 0, on_kill_time, c) < 0)
		cgroup_kill(c->cgroup, 0);
}

static void start_probe(struct container *c, const char *key, bool ok_at_start, probe_fn *fn, struct probe **ret)
{
	struct pod *p = c->pod;
	struct probe_config config = {
		.spec = json_at(c->spec, key),
		.container = c->spec,
		.address = json_str_or(json_array_get(p->ips, 0), ""),
		.ok_at_start = ok_at_start,
		.env = c->env,
		.cgroup_fd = c->cgroup_fd,
		.netns_fd = p->netns_fd,
		.fn = fn,
		.ctx = c,
	};
	const char *why;

	if (!config.spec)
		return;
	if (probe_new(p->k->event, &config, ret, &why) < 0)
		kubelet_event(p->k, &p->events, meta(c), "Pod", "Warning", "ProbeError", "%s of container %s: %s", key, c->name, why);
}

static int open_log(const struct container *c)
{
	_cleanup_free_ char *name = xasprintf("%s_%s_%s.log", c->pod->ns, c->pod->name, c->name);

	return openat(c->pod->k->logs_fd, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static char *describe(char **argv)
{
	char *s = xstrdup("");

	for (size_t i = 0; argv[i] && strlen(s) < 200; i++) {
		char *longer = xasprintf("%s%s%.100s", s, i ? " " : "", argv[i]);

		free(s);
		s = longer;
	}
	return s;
}

static void on_running(struct container *c)
{
	struct pod *p = c->pod;

	c->state = CONTAINER_RUNS;
	c->started = time(NULL);
	set_text(&c->reason, NULL);
	set_text(&c->message, NULL);
	kubelet_event(p->k, &p->events, meta(c), "Pod", "Normal", "Started", "Started container %s: %s", c->name, c->running);
	c->ready = !c->init && !json_at(c->spec, "readinessProbe");
	if (!c->init) {
		start_probe(c, "readinessProbe", false, on_readiness, &c->readiness);
		start_probe(c, "livenessProbe", true, on_liveness, &c->liveness);
	}
	podstatus_changed(p);
}

static int make_cgroup(struct container *c)
{
	int r = cgroup_make(c->cgroup);

	if (r < 0)
		return r;
	if (c->cgroup_fd < 0)
		c->cgroup_fd = cgroup_open(c->cgroup);
	return c->cgroup_fd < 0 ? c->cgroup_fd : 0;
}

void container_start(struct container *c)
{
	struct pod *p = c->pod;
	struct pod_facts facts = { .pod = p->object, .node = p->k->node->name, .pod_ips = p->ips, .host_ips = p->host_ips };
	_cleanup_free_ char *path = xasprintf("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:%s", p->k->lab->bin);
	_cleanup_close_ int log = open_log(c);
	const char *what = "open the log", *cwd = json_str_at(c->spec, "workingDir");
	char **argv, *why = NULL;
	struct spawn s = { .out = log, .err = log, .netns_fd = p->netns_fd, .session = true, .cwd = cwd };
	int r = log < 0 ? -errno : make_cgroup(c);

	strings_free(c->env);
	c->env = NULL;
	if (podspec_env(&facts, c->spec, path, &c->env, &why) < 0) {
		cannot_start(c, "CreateContainerConfigError", why);
		return;
	}
	argv = podspec_argv(p->spec_object, c->spec, p->k->lab->bin, c->env);
	set_text(&c->running, describe(argv));
	s.argv = (const char *const *)argv;
	s.envp = c->env;
	s.cgroup_fd = c->cgroup_fd;
	s.hostname = p->host_network ? NULL : p->name;
	if (r == 0)
		r = proc_start(p->k->event, &s, on_process_end, c, &c->proc, &what);
	if (r < 0)
		why = xasprintf("cannot %s \"%s\": %s (commands are programs of this machine; the lab has no images)", what, argv[0], strerror(-r));
	strings_free(argv);
	if (r < 0)
		cannot_start(c, "StartError", why);
	else
		on_running(c);
}

void container_end(struct container *c, bool force)
{
	c->timer = sd_event_source_disable_unref(c->timer);
	if (force)
		cgroup_kill(c->cgroup, 0);
	else if (c->proc)
		proc_kill(c->proc, SIGTERM);
	if (!c->proc && c->state != CONTAINER_ENDED) { /* it waited for its next start */
		c->state = CONTAINER_ENDED;
		c->ready = false;
	}
}
