/* SPDX-License-Identifier: Apache-2.0 */
/* The TUN asks a program for the queue, the sockets of one port ask one for the socket; both say "the processor's number" (modulo the workers), and worker i
 * may then run on the processors with that number only. A flow whose packets begin to come on another processor stays with its
 * queue until it has been silent for CALM_NS, so that its packets never wait in two. */
#include "wg/steer.h"

#include "base/log.h"
#include "wg/engine.h"
#include "wg/message.h"

#include <linux/bpf.h>
#include <linux/if_tun.h>
#include <stddef.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

static int set_program(const struct tun *t, int fd)
{
	return ioctl(t->fds[0], TUNSETSTEERINGEBPF, &fd) < 0 ? -errno : 0;
}

enum { FLOWS = 1024 }; /* flows with the same place share a queue while one of them speaks */

struct flow {
	uint64_t last_ns;
	uint32_t queue, unused;
};

static int make_flows(void)
{
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_ARRAY,
				.key_size = sizeof(uint32_t),
				.value_size = sizeof(struct flow),
				.max_entries = FLOWS };

	return syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
}

#define CALL(f) { .code = BPF_JMP | BPF_CALL, .imm = (f) }
#define MOVE(to, from) { .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = (to), .src_reg = (from) }
#define LOAD(size, to, from, at) { .code = BPF_LDX | BPF_MEM | (size), .dst_reg = (to), .src_reg = (from), .off = (at) }
#define STORE(size, to, at, from) { .code = BPF_STX | BPF_MEM | (size), .dst_reg = (to), .src_reg = (from), .off = (at) }

/* Where a packet's flow has its place, to R1: of the TUN's its hash; of a datagram the upper half of the receiver's index, which is random and one
 * for all that a peer sends on a session. What is too short for one goes to worker 0. */
static const struct bpf_insn place_of_packet[] = {
	LOAD(BPF_W, BPF_REG_0, BPF_REG_6, offsetof(struct __sk_buff, hash)),
	MOVE(BPF_REG_1, BPF_REG_0),
};
static const struct bpf_insn place_of_datagram[] = {
	{ .code = BPF_LD | BPF_ABS | BPF_W, .imm = offsetof(struct msg_data, receiver) }, /* big endian: the last bits are the index's first */
	MOVE(BPF_REG_1, BPF_REG_0),
};

/*	flow = &flows[place % FLOWS];
 *	if (now - flow->last_ns >= CALM_NS)
 *		flow->queue = processor;
 *	flow->last_ns = now;
 *	return flow->queue % workers;
 */
static int load_program(const struct bpf_insn place[static 2], unsigned workers)
{
	_cleanup_close_ int flows = make_flows(); /* the program keeps it */
	struct bpf_insn code[] = {
		MOVE(BPF_REG_6, BPF_REG_1),
		CALL(BPF_FUNC_get_smp_processor_id),
		MOVE(BPF_REG_7, BPF_REG_0),
		CALL(BPF_FUNC_ktime_get_ns),
		MOVE(BPF_REG_8, BPF_REG_0),
		place[0],
		place[1],
		{ .code = BPF_ALU64 | BPF_AND | BPF_K, .dst_reg = BPF_REG_1, .imm = FLOWS - 1 },
		STORE(BPF_W, BPF_REG_10, -4, BPF_REG_1),
		{ .code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = BPF_REG_1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = flows },
		{ 0 },
		MOVE(BPF_REG_2, BPF_REG_10),
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_2, .imm = -4 },
		CALL(BPF_FUNC_map_lookup_elem),
		{ .code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = BPF_REG_0, .imm = 0, .off = 6 },
		LOAD(BPF_DW, BPF_REG_1, BPF_REG_0, offsetof(struct flow, last_ns)),
		STORE(BPF_DW, BPF_REG_0, offsetof(struct flow, last_ns), BPF_REG_8),
		{ .code = BPF_ALU64 | BPF_SUB | BPF_X, .dst_reg = BPF_REG_8, .src_reg = BPF_REG_1 },
		{ .code = BPF_JMP | BPF_JGE | BPF_K, .dst_reg = BPF_REG_8, .imm = CALM_NS, .off = 1 },
		LOAD(BPF_W, BPF_REG_7, BPF_REG_0, offsetof(struct flow, queue)),
		STORE(BPF_W, BPF_REG_0, offsetof(struct flow, queue), BPF_REG_7),
		MOVE(BPF_REG_0, BPF_REG_7),
		{ .code = BPF_ALU64 | BPF_MOD | BPF_K, .dst_reg = BPF_REG_0, .imm = workers },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
				.insns = (uintptr_t)code,
				.insn_cnt = ARRAY_SIZE(code),
				.license = (uintptr_t) "" };

	return flows < 0 ? -1 : syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

void steer_init(struct steer *s, const struct tun *t, const struct features *features, unsigned workers)
{
	bool can = t->n > 1 && set_program(t, -1) == 0; /* a predecessor that was killed may have left one */

	s->program = s->socket_program = -1;
	if (!can || !features->steer || workers < 2 || t->n != workers)
		return;
	s->program = load_program(place_of_packet, workers);
	if (s->program >= 0)
		s->socket_program = load_program(place_of_datagram, workers);
	if (s->socket_program < 0) {
		log_warn("packets are not steered to the processor where they come: the program for it cannot be loaded (CAP_BPF is needed)",
			 L_STR("interface", t->name), L_ERRNO(-errno));
		steer_done(s);
	}
}

void steer_done(struct steer *s)
{
	s->program = close_fd(s->program);
	s->socket_program = close_fd(s->socket_program);
}

static int steer_socket(int fd, int program)
{
	return fd < 0 || setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program, sizeof(program)) == 0 ? 0 : -errno;
}

static int release_socket(int fd)
{
	int none = 0;

	return fd < 0 || setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &none, sizeof(none)) == 0 || errno == ENOENT ? 0 : -errno;
}

/* The processors of worker @id, or all that we may use. */
static int bind_worker(const struct worker *w, bool near, unsigned workers)
{
	cpu_set_t all, own;
	int r = sched_getaffinity(0, sizeof(all), &all) < 0 ? -errno : 0; /* the owner's thread is never bound */

	if (r < 0)
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

/* The TUN's program is changed under the kernel's lock of all interfaces, for which we may wait: workers are bound last and let
 * go first. Return: the first of what went wrong; all is tried. */
static int set_near(struct engine *e, bool near)
{
	int program = e->steer.socket_program, r[4];

	r[0] = near ? 0 : bind_workers(e, false);
	r[1] = near ? steer_socket(e->udp[0].fd4, program) : release_socket(e->udp[0].fd4);
	if (r[1] == 0)
		r[1] = near ? steer_socket(e->udp[0].fd6, program) : release_socket(e->udp[0].fd6);
	r[2] = set_program(&e->tun, near ? e->steer.program : -1);
	r[3] = near ? bind_workers(e, true) : 0;
	e->steer.changes++;
	return r[0] ? r[0] : r[1] ? r[1] : r[2] ? r[2] : r[3];
}

/* What cannot be done once is not tried again. */
static void give_up(struct engine *e, int r)
{
	log_warn("packets are not steered to the processor where they come", L_STR("interface", e->tun.name), L_ERRNO(r));
	(void)set_near(e, false); /* as far as it went */
	e->steer.program = close_fd(e->steer.program);
}

void steer_decide(struct engine *e)
{
	struct calm *c = &e->steer.calm;
	int r;

	if (e->steer.program < 0 || !e->udp || !calm_decide(c, clock_now()))
		return;
	r = set_near(e, atomic_load(&c->near));
	if (r < 0)
		give_up(e, r);
}

void steer_data_path(struct engine *e, bool on)
{
	int r = 0;

	if (e->steer.program < 0)
		return;
	if (!on && atomic_load(&e->steer.calm.near))
		r = set_near(e, false);
	calm_reset(&e->steer.calm, clock_now());
	if (r < 0)
		give_up(e, r);
}
