/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/service.h"
#include "base/log.h"
#include "base/str.h"

#include <signal.h>
#include <sys/wait.h>

enum { LONG_LIFE_US = 1000000, DELAY_MIN_US = 20000, DELAY_MAX_US = 2000000 };

struct service {
	sd_event *event;
	sd_event_source *timer;
	struct proc *proc;
	char **argv;
	int cgroup_fd, log_fd, keep_fd, keep2_fd;
	unsigned restarts;
	uint64_t started_us, delay_us;
};

static void start(struct service *s);

static uint64_t now_us(struct service *s)
{
	uint64_t t = 0;

	sd_event_now(s->event, CLOCK_MONOTONIC, &t);
	return t;
}

static int on_timer(sd_event_source *t _unused_, uint64_t usec _unused_, void *ctx)
{
	start(ctx);
	return 0;
}

static void start_later(struct service *s)
{
	bool long_life = now_us(s) - s->started_us >= LONG_LIFE_US;

	s->delay_us = long_life ? DELAY_MIN_US : MIN(s->delay_us * 2, (uint64_t)DELAY_MAX_US);
	s->restarts++;
	s->timer = sd_event_source_disable_unref(s->timer);
	if (sd_event_add_time_relative(s->event, &s->timer, CLOCK_MONOTONIC, s->delay_us, 1000, on_timer, s) < 0)
		log_error("cannot set a timer: the program stays down", L_STR("program", s->argv[0]));
}

static void on_end(int status, void *ctx)
{
	struct service *s = ctx;

	s->proc = NULL;
	if (WIFSIGNALED(status))
		log_warn("a program was killed, it is started again", L_STR("program", s->argv[0]), L_INT("signal", WTERMSIG(status)));
	else
		log_warn("a program has ended, it is started again", L_STR("program", s->argv[0]), L_INT("exit_code", WEXITSTATUS(status)));
	start_later(s);
}

static void start(struct service *s)
{
	struct spawn sp = {
		.argv = (const char *const *)s->argv,
		.out = s->log_fd,
		.err = s->log_fd,
		.keep = s->keep_fd,
		.keep2 = s->keep2_fd,
		.cgroup_fd = s->cgroup_fd,
		.session = true,
	};
	const char *what;
	int r;

	s->started_us = now_us(s);
	r = proc_start(s->event, &sp, on_end, s, &s->proc, &what);
	if (r < 0) {
		log_error("cannot start a program", L_STR("program", s->argv[0]), L_STR("step", what), L_ERRNO(r));
		start_later(s);
	}
}

int service_new(sd_event *event, const char *const *argv, int cgroup_fd, int log_fd, int keep_fd, int keep2_fd,
		struct service **ret)
{
	struct service *s = xnew0(struct service);
	size_t n = 0;

	while (argv[n])
		n++;
	*s = (struct service){
		.event = event,
		.argv = xnew0_array(char *, n + 1),
		.cgroup_fd = cgroup_fd,
		.log_fd = log_fd,
		.keep_fd = keep_fd,
		.keep2_fd = keep2_fd,
		.delay_us = DELAY_MIN_US,
	};
	for (size_t i = 0; i < n; i++)
		s->argv[i] = xstrdup(argv[i]);
	start(s);
	*ret = s;
	return 0;
}

unsigned service_restarts(const struct service *s)
{
	return s->restarts;
}

struct service *service_free(struct service *s)
{
	if (!s)
		return NULL;
	sd_event_source_disable_unref(s->timer);
	proc_free(s->proc);
	for (char **a = s->argv; *a; a++)
		free(*a);
	free(s->argv);
	free(s);
	return NULL;
}
