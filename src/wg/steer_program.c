/* SPDX-License-Identifier: Apache-2.0 */
#include "wg/steer_program.h"

#include "base/macro.h"

#include <linux/bpf.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>

enum { PLACES_BITS = 10, PLACES = 1 << PLACES_BITS }; /* flows with the same place share a worker */

struct place {
	uint64_t last_ns;
	uint32_t worker, unused;
};

static int bpf(int command, union bpf_attr *attr)
{
	int r = syscall(SYS_bpf, command, attr, sizeof(*attr));

	return r < 0 ? -errno : r;
}

static int make_array(uint32_t value_size, uint32_t entries, uint32_t flags)
{
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_ARRAY,
				.key_size = sizeof(uint32_t),
				.value_size = value_size,
				.max_entries = entries,
				.map_flags = flags };

	return bpf(BPF_MAP_CREATE, &attr);
}

/* An assembler of a few lines: jumps name a label, and labels are taken out again. */
enum label { L_V6, L_PROTOCOL, L_PORTS, L_HASHED, L_DUE, L_STAY, L_TAKE, L_NOTHING, N_LABELS };

enum { LABEL_CODE = 0xff, CODE_MAX = 128 };

#define LABEL(l) { .code = LABEL_CODE, .imm = (l) }
#define CALL(f) { .code = BPF_JMP | BPF_CALL, .imm = (f) }
#define EXIT { .code = BPF_JMP | BPF_EXIT }
#define MOVE(to, from) { .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = (to), .src_reg = (from) }
#define SET(to, value) WITH(BPF_MOV, to, value)
#define WITH(op, to, value) { .code = BPF_ALU64 | (op) | BPF_K, .dst_reg = (to), .imm = (value) }
#define WITH_REG(op, to, from) { .code = BPF_ALU64 | (op) | BPF_X, .dst_reg = (to), .src_reg = (from) }
#define IF(op, reg, value, label) { .code = BPF_JMP | (op) | BPF_K, .dst_reg = (reg), .imm = (value), .off = (label) }
#define IF_REG(op, reg, other, label) { .code = BPF_JMP | (op) | BPF_X, .dst_reg = (reg), .src_reg = (other), .off = (label) }
#define GOTO(label) { .code = BPF_JMP | BPF_JA, .off = (label) }
#define LOAD(size, to, from, at) { .code = BPF_LDX | BPF_MEM | (size), .dst_reg = (to), .src_reg = (from), .off = (at) }
#define STORE(size, to, at, from) { .code = BPF_STX | BPF_MEM | (size), .dst_reg = (to), .src_reg = (from), .off = (at) }
#define STORE_VALUE(size, to, at, value) { .code = BPF_ST | BPF_MEM | (size), .dst_reg = (to), .off = (at), .imm = (value) }
#define LOAD_MAP(to, map) { .code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = (to), .src_reg = BPF_PSEUDO_MAP_FD, .imm = (map) }, { 0 }
/* Of the packet, to R0; R1 to R5 are lost. A packet that ends before goes to worker 0. */
#define PACKET(size, at) { .code = BPF_LD | BPF_ABS | (size), .imm = base + (at) }
/* The hash, in R7, takes R0. The factor is odd, and the kernel widens it with its sign. */
#define MIX WITH_REG(BPF_XOR, BPF_REG_7, BPF_REG_0), WITH(BPF_MUL, BPF_REG_7, (int32_t)0x9e3779b1)
#define MIX_WORD(at) PACKET(BPF_W, at), MIX

static bool is_jump(const struct bpf_insn *i)
{
	return (i->code & 7) == BPF_JMP && i->code != (BPF_JMP | BPF_CALL) && i->code != (BPF_JMP | BPF_EXIT);
}

/* Return: how many are left. */
static unsigned resolve(const struct bpf_insn *code, unsigned n, struct bpf_insn out[static CODE_MAX])
{
	unsigned at[N_LABELS] = { 0 }, left = 0;

	for (unsigned i = 0; i < n; i++) {
		if (code[i].code == LABEL_CODE)
			at[code[i].imm] = left;
		else
			out[left++] = code[i];
	}
	for (unsigned i = 0; i < left; i++)
		if (is_jump(&out[i]))
			out[i].off = (int)at[out[i].off] - (int)i - 1;
	return left;
}

/*	hash = seed, addresses and, where each packet shows them, ports
 *	place = &places[hash];
 *	due = (board->near ? processor : hash) % workers;
 *	last = place->last_ns;
 *	place->last_ns = now;
 *	if (due != place->worker) {
 *		slot = &board->slots[place->worker];
 *		if (last && slot->empty_at <= last + STEER_GIVEN_NS)
 *			slot->wanted = 1;
 *		else
 *			place->worker = due;
 *	}
 *	return place->worker;
 *
 * R6: the packet, then the place; R7: the hash; R8: the time; R9: the worker that is due. On the stack: -4 the place's number, -16 the processor.
 */
static int load_code(int base, unsigned workers, int places, int board, int32_t seed)
{
	const struct bpf_insn code[] = {
		MOVE(BPF_REG_6, BPF_REG_1),
		CALL(BPF_FUNC_get_smp_processor_id),
		STORE(BPF_DW, BPF_REG_10, -16, BPF_REG_0),
		CALL(BPF_FUNC_ktime_get_boot_ns), /* the workers' clock */
		MOVE(BPF_REG_8, BPF_REG_0),
		SET(BPF_REG_7, seed),
		PACKET(BPF_B, 0),
		MOVE(BPF_REG_9, BPF_REG_0),
		WITH(BPF_RSH, BPF_REG_0, 4),
		IF(BPF_JEQ, BPF_REG_0, 6, L_V6),
		IF(BPF_JNE, BPF_REG_0, 4, L_HASHED),
		MIX_WORD(12),
		MIX_WORD(16),
		PACKET(BPF_H, 6),
		IF(BPF_JSET, BPF_REG_0, 0x3fff, L_HASHED), /* a datagram's fragments go one way */
		IF(BPF_JNE, BPF_REG_9, 0x45, L_HASHED),
		PACKET(BPF_B, 9),
		MOVE(BPF_REG_9, BPF_REG_0),
		PACKET(BPF_W, 20),
		GOTO(L_PROTOCOL),
		LABEL(L_V6),
		MIX_WORD(8),
		MIX_WORD(12),
		MIX_WORD(16),
		MIX_WORD(20),
		MIX_WORD(24),
		MIX_WORD(28),
		MIX_WORD(32),
		MIX_WORD(36),
		PACKET(BPF_B, 6),
		MOVE(BPF_REG_9, BPF_REG_0),
		PACKET(BPF_W, 40),
		LABEL(L_PROTOCOL),
		IF(BPF_JEQ, BPF_REG_9, IPPROTO_TCP, L_PORTS),
		IF(BPF_JNE, BPF_REG_9, IPPROTO_UDP, L_HASHED),
		LABEL(L_PORTS),
		MIX,
		LABEL(L_HASHED),
		WITH(BPF_RSH, BPF_REG_7, 64 - PLACES_BITS),
		STORE(BPF_W, BPF_REG_10, -4, BPF_REG_7),
		MOVE(BPF_REG_2, BPF_REG_10),
		WITH(BPF_ADD, BPF_REG_2, -4),
		LOAD_MAP(BPF_REG_1, places),
		CALL(BPF_FUNC_map_lookup_elem),
		IF(BPF_JEQ, BPF_REG_0, 0, L_NOTHING),
		MOVE(BPF_REG_6, BPF_REG_0),
		STORE_VALUE(BPF_W, BPF_REG_10, -4, 0),
		MOVE(BPF_REG_2, BPF_REG_10),
		WITH(BPF_ADD, BPF_REG_2, -4),
		LOAD_MAP(BPF_REG_1, board),
		CALL(BPF_FUNC_map_lookup_elem),
		IF(BPF_JEQ, BPF_REG_0, 0, L_NOTHING),
		MOVE(BPF_REG_9, BPF_REG_7),
		LOAD(BPF_DW, BPF_REG_1, BPF_REG_0, offsetof(struct steer_board, near)),
		IF(BPF_JEQ, BPF_REG_1, 0, L_DUE),
		LOAD(BPF_DW, BPF_REG_9, BPF_REG_10, -16),
		LABEL(L_DUE),
		WITH(BPF_MOD, BPF_REG_9, workers),
		LOAD(BPF_DW, BPF_REG_1, BPF_REG_6, offsetof(struct place, last_ns)),
		STORE(BPF_DW, BPF_REG_6, offsetof(struct place, last_ns), BPF_REG_8),
		LOAD(BPF_W, BPF_REG_2, BPF_REG_6, offsetof(struct place, worker)),
		IF_REG(BPF_JEQ, BPF_REG_9, BPF_REG_2, L_STAY),
		IF(BPF_JEQ, BPF_REG_1, 0, L_TAKE),
		MOVE(BPF_REG_3, BPF_REG_2),
		WITH(BPF_AND, BPF_REG_3, TUN_QUEUES_MAX - 1),
		WITH(BPF_MUL, BPF_REG_3, sizeof(struct steer_slot)),
		WITH_REG(BPF_ADD, BPF_REG_3, BPF_REG_0),
		LOAD(BPF_DW, BPF_REG_4, BPF_REG_3, offsetof(struct steer_board, slots) + offsetof(struct steer_slot, empty_at)),
		WITH(BPF_ADD, BPF_REG_1, STEER_GIVEN_NS),
		IF_REG(BPF_JGT, BPF_REG_4, BPF_REG_1, L_TAKE),
		STORE_VALUE(BPF_DW, BPF_REG_3, offsetof(struct steer_board, slots) + offsetof(struct steer_slot, wanted), 1),
		LABEL(L_STAY),
		MOVE(BPF_REG_0, BPF_REG_2),
		EXIT,
		LABEL(L_TAKE),
		STORE(BPF_W, BPF_REG_6, offsetof(struct place, worker), BPF_REG_9),
		MOVE(BPF_REG_0, BPF_REG_9),
		EXIT,
		LABEL(L_NOTHING),
		SET(BPF_REG_0, 0),
		EXIT,
	};
	struct bpf_insn resolved[CODE_MAX];
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
				.insns = (uintptr_t)resolved,
				.insn_cnt = resolve(code, ARRAY_SIZE(code), resolved),
				.license = (uintptr_t) "" };

	_Static_assert(ARRAY_SIZE(code) <= CODE_MAX, "resolve() has no room");
	return bpf(BPF_PROG_LOAD, &attr);
}

static int map_board(struct steer_program *p)
{
	void *board = mmap(NULL, sizeof(struct steer_board), PROT_READ | PROT_WRITE, MAP_SHARED, p->board_fd, 0);

	if (board == MAP_FAILED)
		return -errno;
	p->board = board;
	return 0;
}

/* @base: where the packet begins in what the program is shown. */
static int load(int base, unsigned workers, struct steer_program *p)
{
	_cleanup_close_ int places = make_array(sizeof(struct place), PLACES, 0); /* the program keeps it */
	int32_t seed = 0;

	if (places < 0)
		return places;
	p->board_fd = make_array(sizeof(struct steer_board), 1, BPF_F_MMAPABLE);
	if (p->board_fd < 0)
		return p->board_fd;
	(void)getrandom(&seed, sizeof(seed), GRND_NONBLOCK); /* who knows it can have flows share a worker, no more */
	p->fd = load_code(base, workers, places, p->board_fd, seed);
	return p->fd < 0 ? p->fd : map_board(p);
}

static void done(struct steer_program *p)
{
	if (p->board)
		munmap(p->board, sizeof(*p->board));
	close_fd(p->fd);
	close_fd(p->board_fd);
	*p = STEER_PROGRAM_NONE;
}

int steer_programs_load(unsigned workers, struct steer_programs *ret)
{
	struct steer_programs p = STEER_PROGRAMS_NONE;
	int r = load(0, workers, &p.tun);

	if (r == 0)
		r = load(SKF_NET_OFF, workers, &p.sockets); /* they are shown what UDP carries */
	if (r < 0)
		steer_programs_done(&p);
	else
		*ret = p;
	return r;
}

void steer_programs_fds(const struct steer_programs *p, int fds[static STEER_FDS])
{
	fds[0] = p->tun.fd;
	fds[1] = p->tun.board_fd;
	fds[2] = p->sockets.fd;
	fds[3] = p->sockets.board_fd;
}

int steer_programs_adopt(const int fds[static STEER_FDS], struct steer_programs *ret)
{
	struct steer_programs p = { { fds[0], fds[1], NULL }, { fds[2], fds[3], NULL } };
	int r = map_board(&p.tun);

	if (r == 0)
		r = map_board(&p.sockets);
	if (r < 0)
		steer_programs_done(&p);
	else
		*ret = p;
	return r;
}

void steer_programs_done(struct steer_programs *p)
{
	done(&p->tun);
	done(&p->sockets);
}
