/* SPDX-License-Identifier: Apache-2.0 */
/* The TUN asks a program for the queue, the sockets of one port ask one for the socket (steer_program.h); while packets are handled near, worker i may
 * run on the processors with that number (modulo the workers) only. */
#include "wg/steer.h"

#include "base/file.h"
#include "base/log.h"
#include "wg/engine.h"

#include <linux/if_tun.h>
#include <sched.h>
#include <sys/ioctl.h>

static int set_program(const struct tun *t, int fd)
{
	return ioctl(t->fds[0], TUNSETSTEERINGEBPF, &fd) < 0 ? -errno : 0;
}

/* Workers tell the time of their time namespace, the programs that of the machine. */
static bool is_clock_shifted(void)
{
	_cleanup_free_ char *text = NULL;
	long long s = 0, ns = 0;
	const char *boottime;
	size_t n;

	if (file_read("/proc/self/timens_offsets", 256, &text, &n) < 0) /* a kernel without them */
		return false;
	boottime = strstr(text, "boottime");
	return boottime && sscanf(boottime, "boottime %lld %lld", &s, &ns) == 2 && (s || ns);
}

void steer_init(struct steer *s, const struct tun *t, const struct features *features, unsigned workers, struct steer_programs *adopted)
{
	int r;

	s->programs = STEER_PROGRAMS_NONE;
	if (!features->steer || workers < 2 || t->n != workers || is_clock_shifted())
		return;
	if (adopted->sockets.fd >= 0) {
		s->programs = *adopted;
		*adopted = STEER_PROGRAMS_NONE;
		return;
	}
	r = steer_programs_load(workers, &s->programs);
	if (r < 0)
		log_warn("packets are not steered to the processor where they come: the program for it cannot be loaded (CAP_BPF is needed)",
			 L_STR("interface", t->name), L_ERRNO(r));
}

void steer_disown(struct steer *s)
{
	s->attached = false;
}

void steer_done(struct steer *s, const struct tun *t)
{
	if (s->attached)
		(void)set_program(t, -1);
	steer_programs_done(&s->programs);
}

static int steer_socket(int fd, int program)
{
	return fd < 0 || setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program, sizeof(program)) == 0 ? 0 : -errno;
}

static int attach(struct engine *e)
{
	struct steer *s = &e->steer;
	int r = steer_socket(e->udp[0].fd4, s->programs.sockets.fd);

	if (r == 0)
		r = steer_socket(e->udp[0].fd6, s->programs.sockets.fd);
	if (r == 0)
		r = set_program(&e->tun, s->programs.tun.fd);
	s->attached = r == 0;
	return r;
}

/* The processors of worker @id, or all that we may use. */
static int bind_worker(const struct worker *w, bool near, unsigned workers)
{
	cpu_set_t all, own;
	int r = w->running && sched_getaffinity(0, sizeof(all), &all) < 0 ? -errno : 0; /* the owner's thread is never bound */

	if (r < 0 || !w->running)
		return r;
	CPU_ZERO(&own);
	for (unsigned i = w->id; i < CPU_SETSIZE; i += workers)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &own);
	return -pthread_setaffinity_np(w->thread, sizeof(all), near && CPU_COUNT(&own) ? &own : &all);
}

static int bind_workers(struct engine *e, bool near)
{
	int r = 0;

	for (unsigned i = 0; i < e->options.workers; i++) {
		int bound = bind_worker(&e->workers[i], near, e->options.workers);

		r = r ? r : bound;
	}
	return r;
}

static int set_near(struct engine *e, bool near)
{
	atomic_store(&e->steer.programs.tun.board->near, near);
	atomic_store(&e->steer.programs.sockets.board->near, near);
	e->steer.changes++;
	return bind_workers(e, near);
}

/* What cannot be done once is not tried again. Programs stay where they are, as packets keep their order with them. */
static void give_up(struct engine *e, int r)
{
	log_warn("packets are not steered to the processor where they come", L_STR("interface", e->tun.name), L_ERRNO(r));
	(void)set_near(e, false); /* as far as it went */
	e->steer.given_up = true;
}

void steer_decide(struct engine *e)
{
	struct calm *c = &e->steer.calm;
	int r;

	if (!steer_on(&e->steer) || e->steer.given_up || !e->udp || !calm_decide(c, clock_now()))
		return;
	r = set_near(e, atomic_load(&c->near));
	if (r < 0)
		give_up(e, r);
}

static void detach_socket(int fd)
{
	int none = 0;

	if (fd >= 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &none, sizeof(none));
}

/* What a predecessor has left: one that was killed, at the TUN; one that has handed over, at the sockets, too. Without us it would never let
 * a flow leave its worker. */
static void detach(struct engine *e)
{
	(void)set_program(&e->tun, -1);
	detach_socket(e->udp[0].fd4);
	detach_socket(e->udp[0].fd6);
}

void steer_data_path(struct engine *e, bool on)
{
	int r = 0;

	if (!steer_on(&e->steer)) {
		if (on)
			detach(e);
		return;
	}
	if (on)
		r = attach(e);
	else if (atomic_load(&e->steer.calm.near))
		r = set_near(e, false);
	calm_reset(&e->steer.calm, clock_now());
	if (r < 0)
		give_up(e, r);
}
