/* SPDX-License-Identifier: Apache-2.0 */
/* An interpreter for what libbpf has handed to the kernel. The verifier has proved each access before, so none is checked here. Addresses are those of this
 * process; a value of a map is read by a system call when it is looked up, and the same for the same key afterwards. */
#include "steps.h"
#include "base/file.h"
#include "base/macro.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <time.h>

enum { FRAMES = 8, STACK = 512, HEADROOM = 256, PACKET = 2048, STEPS_MAX = 1 << 20 };

/* A value that was looked up. */
struct looked {
	struct looked *next;
	int fd;
	void *key, *value;
};

struct run {
	struct bpf_object *obj;
	struct __sk_buff ctx;
	uint8_t packet[HEADROOM + PACKET];
	uint8_t stack[FRAMES][STACK] __attribute__((aligned(8)));
	uint64_t reg[FRAMES][11];
	size_t back[FRAMES];
	unsigned depth;
	struct looked *looked;
	struct steps *steps;
	const char *why;
};

static uint64_t of_pointer(const void *p)
{
	return (uintptr_t)p;
}

static void *pointer(uint64_t v)
{
	return (void *)(uintptr_t)v;
}

/* --- memory --- */

static uint64_t load(struct run *run, uint64_t at, unsigned size)
{
	uint64_t v = 0, in_ctx = at - of_pointer(&run->ctx);
	uint8_t *data = run->packet + HEADROOM;

	if (in_ctx == offsetof(struct __sk_buff, data)) /* 32 bits to a program, a pointer to the kernel */
		return of_pointer(data);
	if (in_ctx == offsetof(struct __sk_buff, data_end))
		return of_pointer(data + run->ctx.len);
	memcpy(&v, pointer(at), size);
	return v;
}

static void store(uint64_t at, uint64_t v, unsigned size)
{
	memcpy(pointer(at), &v, size);
}

static unsigned size_of(uint8_t code)
{
	switch (BPF_SIZE(code)) {
	case BPF_B:
		return 1;
	case BPF_H:
		return 2;
	case BPF_W:
		return 4;
	default:
		return 8;
	}
}

/* --- maps --- */

static struct bpf_map *map_of_fd(struct run *run, int fd)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, run->obj)
		if (bpf_map__fd(map) == fd)
			return map;
	return NULL;
}

static size_t room_for_value(const struct bpf_map *map)
{
	enum bpf_map_type t = bpf_map__type(map);
	bool per_cpu = t == BPF_MAP_TYPE_PERCPU_HASH || t == BPF_MAP_TYPE_PERCPU_ARRAY || t == BPF_MAP_TYPE_LRU_PERCPU_HASH;

	return per_cpu ? (size_t)libbpf_num_possible_cpus() * ((bpf_map__value_size(map) + 7) & ~7u) : bpf_map__value_size(map);
}

static uint64_t look_up(struct run *run, int fd, const void *key)
{
	struct bpf_map *map = map_of_fd(run, fd);
	struct looked *l;
	size_t key_size;

	run->steps->lookups++;
	if (!map) {
		run->why = "a map of no object";
		return 0;
	}
	key_size = bpf_map__key_size(map);
	for (l = run->looked; l; l = l->next)
		if (l->fd == fd && memcmp(l->key, key, key_size) == 0)
			return of_pointer(l->value);
	l = xnew0(struct looked);
	*l = (struct looked){ .next = run->looked, .fd = fd, .key = xcalloc(1, key_size) };
	run->looked = l;
	memcpy(l->key, key, key_size);
	l->value = xcalloc(1, room_for_value(map));
	if (bpf_map_lookup_elem(fd, key, l->value) < 0) {
		free(l->value);
		l->value = NULL;
	}
	return of_pointer(l->value);
}

static void forget(struct run *run)
{
	while (run->looked) {
		struct looked *l = run->looked;

		run->looked = l->next;
		free(l->key);
		free(l->value);
		free(l);
	}
}

/* --- calls --- */

static uint64_t now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Only a program knows them. */
static uint32_t jiffies_part(struct run *run, int shift)
{
	const struct bpf_insn ask[] = {
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_jiffies64 },
		{ .code = BPF_ALU64 | BPF_RSH | BPF_K, .dst_reg = 0, .imm = shift },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	_cleanup_close_ int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "jiffies", "GPL", ask, ARRAY_SIZE(ask), NULL);
	uint8_t packet[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));

	if (fd < 0 || bpf_prog_test_run_opts(fd, &opts) < 0)
		run->why = "jiffies cannot be read";
	return opts.retval;
}

static uint64_t packet_bytes(struct run *run, uint32_t offset, void *buf, uint32_t len, bool to_packet)
{
	uint8_t *data = run->packet + HEADROOM + offset;

	if (offset > run->ctx.len || len > run->ctx.len - offset)
		return -EFAULT;
	memcpy(to_packet ? (void *)data : buf, to_packet ? buf : (void *)data, len);
	return 0;
}

static uint64_t helper(struct run *run, int id, const uint64_t r[11])
{
	switch (id) {
	case BPF_FUNC_map_lookup_elem:
		return look_up(run, (int)r[1], pointer(r[2]));
	case BPF_FUNC_map_update_elem:
	case BPF_FUNC_map_delete_elem:
		run->steps->changes++;
		return 0;
	case BPF_FUNC_skb_load_bytes:
		return packet_bytes(run, r[2], pointer(r[3]), r[4], false);
	case BPF_FUNC_skb_store_bytes:
		return packet_bytes(run, r[2], pointer(r[3]), r[4], true);
	case BPF_FUNC_ktime_get_ns:
		return now(CLOCK_MONOTONIC);
	case BPF_FUNC_ktime_get_coarse_ns:
		return now(CLOCK_MONOTONIC_COARSE);
	case BPF_FUNC_ktime_get_boot_ns:
		return now(CLOCK_BOOTTIME);
	case BPF_FUNC_jiffies64:
		return (uint64_t)jiffies_part(run, 32) << 32 | jiffies_part(run, 0);
	case BPF_FUNC_redirect:
	case BPF_FUNC_redirect_peer:
	case BPF_FUNC_redirect_neigh:
		return 7; /* TC_ACT_REDIRECT */
	case BPF_FUNC_get_hash_recalc:
	case BPF_FUNC_skb_change_type:
	case BPF_FUNC_skb_pull_data:
	case BPF_FUNC_l3_csum_replace:
	case BPF_FUNC_l4_csum_replace:
		return 0;
	default:
		run->why = "a helper that is not known here";
		printf("# helper %d\n", id);
		return 0;
	}
}

/* --- instructions --- */

static uint64_t alu(struct run *run, uint8_t op, uint64_t a, uint64_t b, unsigned bits)
{
	uint64_t shift = b & (bits - 1);

	switch (op) {
	case BPF_ADD:
		return a + b;
	case BPF_SUB:
		return a - b;
	case BPF_MUL:
		return a * b;
	case BPF_DIV:
		return b ? a / b : 0;
	case BPF_MOD:
		return b ? a % b : a;
	case BPF_OR:
		return a | b;
	case BPF_AND:
		return a & b;
	case BPF_XOR:
		return a ^ b;
	case BPF_LSH:
		return a << shift;
	case BPF_RSH:
		return a >> shift;
	case BPF_ARSH:
		return bits == 64 ? (uint64_t)((int64_t)a >> shift) : (uint64_t)((int32_t)a >> shift);
	case BPF_NEG:
		return -a;
	case BPF_MOV:
		return b;
	default:
		run->why = "an operation that is not known here";
		return 0;
	}
}

static uint64_t swap(uint64_t v, int bits, bool to_big)
{
	if (bits == 16)
		return to_big ? __builtin_bswap16(v) : (uint16_t)v;
	if (bits == 32)
		return to_big ? __builtin_bswap32(v) : (uint32_t)v;
	return to_big ? __builtin_bswap64(v) : v;
}

static void calculate(struct run *run, const struct bpf_insn *i, uint64_t r[11])
{
	bool wide = BPF_CLASS(i->code) == BPF_ALU64;
	uint64_t b = BPF_SRC(i->code) == BPF_X ? r[i->src_reg] : (uint64_t)(int64_t)i->imm, a = r[i->dst_reg];

	if (!wide && BPF_OP(i->code) == BPF_END)
		r[i->dst_reg] = swap(a, i->imm, BPF_SRC(i->code) == BPF_TO_BE);
	else if (wide)
		r[i->dst_reg] = alu(run, BPF_OP(i->code), a, b, 64);
	else
		r[i->dst_reg] = (uint32_t)alu(run, BPF_OP(i->code), (uint32_t)a, (uint32_t)b, 32);
}

static bool holds(struct run *run, const struct bpf_insn *i, const uint64_t r[11])
{
	bool wide = BPF_CLASS(i->code) == BPF_JMP;
	uint64_t a = r[i->dst_reg], b = BPF_SRC(i->code) == BPF_X ? r[i->src_reg] : (uint64_t)(int64_t)i->imm;
	int64_t sa, sb;

	if (!wide)
		a = (uint32_t)a, b = (uint32_t)b;
	sa = wide ? (int64_t)a : (int32_t)a;
	sb = wide ? (int64_t)b : (int32_t)b;
	switch (BPF_OP(i->code)) {
	case BPF_JA:
		return true;
	case BPF_JEQ:
		return a == b;
	case BPF_JNE:
		return a != b;
	case BPF_JGT:
		return a > b;
	case BPF_JGE:
		return a >= b;
	case BPF_JLT:
		return a < b;
	case BPF_JLE:
		return a <= b;
	case BPF_JSET:
		return a & b;
	case BPF_JSGT:
		return sa > sb;
	case BPF_JSGE:
		return sa >= sb;
	case BPF_JSLT:
		return sa < sb;
	case BPF_JSLE:
		return sa <= sb;
	default:
		run->why = "a jump that is not known here";
		return false;
	}
}

/* Nobody else works on the copies. */
static void exchange(struct run *run, const struct bpf_insn *i, uint64_t r[11])
{
	uint64_t at = r[i->dst_reg] + i->off;
	unsigned size = size_of(i->code);
	uint64_t before = load(run, at, size), v = r[i->src_reg];

	switch (i->imm & ~BPF_FETCH) {
	case BPF_ADD:
	case BPF_OR:
	case BPF_AND:
	case BPF_XOR:
		store(at, alu(run, i->imm & ~BPF_FETCH, before, v, 64), size);
		break;
	case BPF_XCHG & ~BPF_FETCH:
		store(at, v, size);
		break;
	case BPF_CMPXCHG & ~BPF_FETCH:
		if (before == (size == 4 ? (uint32_t)r[0] : r[0]))
			store(at, v, size);
		r[0] = before;
		return;
	default:
		run->why = "an atomic operation that is not known here";
	}
	if (i->imm & BPF_FETCH)
		r[i->src_reg] = before;
}

static uint64_t wide_constant(struct run *run, const struct bpf_insn *i)
{
	struct bpf_map *map;
	size_t size;

	switch (i->src_reg) {
	case 0:
		return (uint32_t)i[0].imm | (uint64_t)(uint32_t)i[1].imm << 32;
	case BPF_PSEUDO_MAP_FD:
		return i->imm;
	case BPF_PSEUDO_MAP_VALUE:
		map = map_of_fd(run, i->imm);
		return map ? of_pointer(bpf_map__initial_value(map, &size)) + i[1].imm : 0;
	default:
		return 0; /* a function, for a helper that is not known here */
	}
}

static size_t call(struct run *run, const struct bpf_insn *i, size_t at)
{
	uint64_t *r = run->reg[run->depth], *of;

	if (i->src_reg != BPF_PSEUDO_CALL) {
		r[0] = helper(run, i->imm, r);
		return at + 1;
	}
	run->back[run->depth] = at + 1;
	run->depth++;
	of = run->reg[run->depth];
	memcpy(of, r, sizeof(run->reg[0]));
	of[10] = of_pointer(run->stack[run->depth] + STACK);
	return at + 1 + i->imm;
}

/* Return: the next instruction's place, or SIZE_MAX at the end. */
static size_t step(struct run *run, const struct bpf_insn *insns, size_t at)
{
	const struct bpf_insn *i = &insns[at];
	uint64_t *r = run->reg[run->depth];

	switch (BPF_CLASS(i->code)) {
	case BPF_ALU:
	case BPF_ALU64:
		calculate(run, i, r);
		return at + 1;
	case BPF_LD:
		r[i->dst_reg] = wide_constant(run, i);
		return at + 2;
	case BPF_LDX:
		r[i->dst_reg] = load(run, r[i->src_reg] + i->off, size_of(i->code));
		return at + 1;
	case BPF_ST:
		store(r[i->dst_reg] + i->off, (int64_t)i->imm, size_of(i->code));
		return at + 1;
	case BPF_STX:
		if (BPF_MODE(i->code) == BPF_ATOMIC)
			exchange(run, i, r);
		else
			store(r[i->dst_reg] + i->off, r[i->src_reg], size_of(i->code));
		return at + 1;
	default:
		break;
	}
	if (i->code == (BPF_JMP | BPF_CALL))
		return call(run, i, at);
	if (i->code != (BPF_JMP | BPF_EXIT))
		return at + 1 + (holds(run, i, r) ? i->off : 0);
	if (run->depth == 0)
		return SIZE_MAX;
	run->depth--;
	run->reg[run->depth][0] = r[0];
	return run->back[run->depth];
}

int steps_of(struct bpf_program *prog, struct bpf_object *obj, const struct frame *f, uint32_t ifindex, uint32_t came_by, struct steps *ret,
	     const char **ret_why)
{
	const struct bpf_insn *insns = bpf_program__insns(prog);
	struct run *run = xnew0(struct run);
	int r;

	*ret = (struct steps){ 0 };
	run->obj = obj;
	run->steps = ret;
	memcpy(run->packet + HEADROOM, f->data, f->len);
	memcpy(&run->ctx.protocol, f->data + 12, 2);
	run->ctx.len = run->ctx.wire_len = f->len;
	run->ctx.ifindex = ifindex;
	run->ctx.ingress_ifindex = came_by;
	run->reg[0][1] = of_pointer(&run->ctx);
	run->reg[0][10] = of_pointer(run->stack[0] + STACK);
	for (size_t at = 0; at != SIZE_MAX && !run->why; ret->instructions++) {
		at = step(run, insns, at);
		if (ret->instructions >= STEPS_MAX)
			run->why = "no end";
	}
	ret->verdict = (int)run->reg[0][0];
	*ret_why = run->why;
	r = run->why ? -ENOTSUP : 0;
	forget(run);
	free(run);
	return r;
}
