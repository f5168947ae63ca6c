/* SPDX-License-Identifier: Apache-2.0 */
/* Nanoseconds a packet of the programs on established flows, over one flow and over 64k flows; and the verifier's instruction
 * counts against the budget. Prints a table; `--budget FILE` checks instead, as TAP. */
#include "base/file.h"
#include "base/str.h"
#include "harness.h"

#include "weft/config.h"

#include "next_flow.skel.h"

#include <bpf/bpf.h>
#include <err.h>
#include <sys/param.h>

enum { FLOWS = 65536, REPEAT = 1 << 20, ROUNDS = 7, EPOCHS = 4 };

static const char *const hooks[] = { "from_pod", "to_pod", "from_net", "from_tunnel", "to_net", "to_tunnel", "from_mesh", "to_mesh" };

/* As flow_create() would have made them: what comes out of the stack, or goes to where only the stack leads, keeps to it. */
static void fill_flows(const char *pod, const char *peer, bool pod_first)
{
	struct addr pod_addr = addr_of(pod);
	bool via_stack = streq(peer, WORLD4);
	_cleanup_free_ struct flow_key *keys = xcalloc(FLOWS, sizeof(*keys));
	_cleanup_free_ struct flow *values = xcalloc(FLOWS, sizeof(*values));
	uint32_t n = FLOWS, all = 0;
	uint64_t held = FLOWS;

	for (int i = 0; i < FLOWS; i++) {
		keys[i] = pod_first ? flow_key_of(IPPROTO_TCP, pod, i, peer, 80) : flow_key_of(IPPROTO_TCP, peer, i, pod, 80);
		values[i].state = (struct flow_state){ .seen = ticks_now(), .owner = 1, .stage = FLOW_OPEN };
		if (via_stack)
			values[i].state.stack = memcmp(&keys[i].addr[0], &pod_addr, 16) == 0 ? 1 : 2;
	}
	if (bpf_map_update_elem(datapath_map_fd(dp, "endpoint_flows"), &all, &held, BPF_ANY) < 0)
		err(1, "endpoint_flows");
	if (bpf_map_update_batch(datapath_map_fd(dp, "flows"), keys, values, &n, NULL) < 0)
		err(1, "filling the flow table, %u of %d", n, FLOWS);
}

/* Nanoseconds a run, of one round of about 0.1 s. */
static double round_of(int prog_fd, const struct frame *f, uint32_t ifindex)
{
	struct __sk_buff ctx = { .ifindex = ifindex };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->data, .data_size_in = f->len, .ctx_in = &ctx, .ctx_size_in = sizeof(ctx),
		    .repeat = REPEAT);

	if (bpf_prog_test_run_opts(prog_fd, &opts) < 0)
		err(1, "test run");
	return opts.duration;
}

static double best_of(int prog_fd, const struct frame *f, uint32_t ifindex)
{
	double best = 1e9;

	for (int i = 0; i < ROUNDS; i++)
		best = MIN(best, round_of(prog_fd, f, ifindex));
	return best;
}

/* Over whole epochs of flows_recent (a second each): in every one each flow is looked up once in the table, which the best round would
 * leave out. */
static double mean_of(int prog_fd, const struct frame *f, uint32_t ifindex)
{
	double sum = 0;
	unsigned n = 0;

	for (uint32_t began = ticks_now(); ticks_now() - began < FLOW_TICKS(EPOCHS); n++)
		sum += round_of(prog_fd, f, ifindex);
	return sum / n;
}

/* Of the program alone: what next_flow costs by itself is taken off. */
static double ns_per_packet(const char *hook, const struct frame *f, uint32_t ifindex, uint32_t flows)
{
	struct next_flow *skel = next_flow__open();
	uint32_t zero = 0;
	double alone, both;
	int fd = datapath_program_fd(dp, hook);

	if (!skel)
		err(1, "next_flow");
	skel->rodata->flow_mask = flows - 1;
	memcpy((void *)skel->rodata->macs, f->data, 12);
	if (next_flow__load(skel) < 0)
		err(1, "next_flow");
	alone = best_of(bpf_program__fd(skel->progs.next_flow), f, ifindex);
	if (bpf_map_update_elem(bpf_map__fd(skel->maps.next), &zero, &fd, BPF_ANY) < 0)
		err(1, "next");
	both = (flows > 1 ? mean_of : best_of)(bpf_program__fd(skel->progs.next_flow), f, ifindex);
	next_flow__destroy(skel);
	return both - alone;
}

static void bench(const char *hook, const char *src, const char *dst, uint32_t ifindex, const char *what)
{
	bool from_pod = streq(hook, "from_pod");
	struct frame f;

	flows_clear();
	fill_flows(from_pod ? src : dst, from_pod ? dst : src, from_pod);
	frame_ether(&f, mac_host_a, mac_pod_a, ETH_P_IP);
	frame_ip(&f, src, dst, IPPROTO_TCP);
	frame_tcp(&f, 0, 80, "A");
	frame_payload(&f, 64);
	frame_end(&f);
	printf("%-10s %-34s %8.0f %8.0f\n", hook, what, ns_per_packet(hook, &f, ifindex, 1),
	       ns_per_packet(hook, &f, ifindex, FLOWS));
}

static uint32_t verified_instructions(const char *hook)
{
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(datapath_program_fd(dp, hook), &info, &size) < 0)
		err(1, "%s", hook);
	return info.verified_insns;
}

/* Lines "HOOK INSTRUCTIONS", '#' begins a comment. Return: 0 when the hook has none. */
static uint32_t budget_of(const char *text, const char *hook)
{
	size_t n = strlen(hook);

	for (const char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
		if (strncmp(line, hook, n) == 0 && line[n] == ' ')
			return strtoul(line + n, NULL, 10);
	return 0;
}

static int check_budget(const char *path)
{
	_cleanup_free_ char *text = NULL;
	int failed = 0;
	size_t len;

	if (file_read(path, 65536, &text, &len) < 0)
		errx(1, "cannot read %s", path);
	printf("1..%zu\n", ARRAY_SIZE(hooks));
	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++) {
		uint32_t used = verified_instructions(hooks[i]), budget = budget_of(text, hooks[i]);
		bool ok = used > 0 && used <= budget;

		printf("%sok %zu - %s: the verifier looked at %u instructions, budget %u\n", ok ? "" : "not ", i + 1, hooks[i], used,
		       budget);
		failed += !ok;
	}
	return failed ? 1 : 0;
}

int main(int argc, char **argv)
{
	bool budget = argc == 3 && streq(argv[1], "--budget");
	char *path = budget ? realpath(argv[2], NULL) : NULL;
	int r = 0;

	harness_init();
	dp_config.flow_max = dp_config.flow_share = 2 * FLOWS;
	dp_config.inbound = true; /* as agents have it */
	dp_config.mss_clamp = dp_config.host = budget; /* what an option adds counts for the verifier, not for the clock */
	harness_reopen();
	if (budget) {
		r = path ? check_budget(path) : 1;
	} else {
		printf("%-10s %-34s %8s %8s   ns a packet; 1 flow: best of %d, 64k: mean over %d epochs\n", "", "established TCP", "1 flow", "64k", ROUNDS,
		       EPOCHS);
		bench("to_pod", WORLD4, A4, if_a, "from the stack");
		bench("from_pod", A4, B4, if_a, "to a pod of this node");
		bench("from_pod", A4, DIRECT4, if_a, "to another node, direct");
		bench("from_pod", A4, TUNNEL4, if_a, "to another node, tunnel");
		bench("from_pod", A4, WORLD4, if_a, "to the stack");
		bench("from_net", DIRECT4, A4, if_uplink, "to a pod");
		for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
			printf("%-10s %u instructions verified\n", hooks[i], verified_instructions(hooks[i]));
	}
	harness_done();
	free(path);
	return r;
}
