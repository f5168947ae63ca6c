/* SPDX-License-Identifier: Apache-2.0 */
/* What a packet pays for policy, however many there are: an established flow, whose entry has the verdict, and a denied one, which is
 * judged for each packet. Pod B is selected by all policies; each allows another block and port, the last one pod A on UDP port 2000. */
#include "agent/policy_apply.h"
#include "harness.h"
#include "policy/offline.h"

#include <bpf/bpf.h>
#include <err.h>

enum { REPEAT = 200000, ROUNDS = 7 };

static struct policy_apply applied;

static void put(struct offline *o, json_t *object)
{
	char *error = NULL;

	if (offline_put(o, object, NULL, &error) < 0)
		errx(1, "%s", error);
	json_decref(object);
}

static void put_pod(struct offline *o, const char *name, const char *ip)
{
	put(o, json_pack("{ss, s{ss, ss, s{ss}}, s{}, s{s[{ss}]}}", "kind", "Pod", "metadata", "namespace", "default", "name", name, "labels",
			 "app", name, "spec", "status", "podIPs", "ip", ip));
}

static void put_policy(struct offline *o, unsigned i)
{
	json_t *peer = i ? json_pack("{s{so}}", "ipBlock", "cidr", json_sprintf("172.%u.%u.0/24", 16 + i / 256, i % 256)) :
			   json_pack("{s{s{ss}}}", "podSelector", "matchLabels", "app", "a");

	put(o, json_pack("{ss, s{ss, so}, s{s{s{ss}}, s[s], s[{s[o], s[{ss, si}]}]}}", "kind", "NetworkPolicy", "metadata", "namespace",
			 "default", "name", json_sprintf("p%u", i), "spec", "podSelector", "matchLabels", "app", "b", "policyTypes", "Ingress",
			 "ingress", "from", peer, "ports", "protocol", "UDP", "port", (int)(2000 + i)));
}

static double measure(uint16_t port)
{
	double best = 1e9;
	struct frame f;

	frame_ether(&f, mac_host_a, mac_pod_a, ETH_P_IP);
	frame_ip(&f, A4, B4, IPPROTO_UDP);
	frame_udp(&f, 1000, port);
	frame_payload(&f, 32);
	frame_end(&f);
	for (int i = 0; i < ROUNDS; i++) {
		struct __sk_buff ctx = { .ifindex = if_a };
		LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f.data, .data_size_in = f.len, .ctx_in = &ctx, .ctx_size_in = sizeof(ctx),
			    .repeat = REPEAT);

		if (bpf_prog_test_run_opts(datapath_program_fd(dp, "from_pod"), &opts) < 0)
			errx(1, "test run");
		best = MIN(best, (double)opts.duration);
	}
	return best;
}

int main(void)
{
	static const unsigned counts[] = { 1, 100, 10000 };

	harness_init();
	printf("%10s %10s %14s %14s   ns a packet, best of %d\n", "policies", "entries", "established", "denied", ROUNDS);
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		_cleanup_(offline_freep) struct offline *o = offline_new();

		put(o, json_pack("{ss, s{ss}}", "kind", "Namespace", "metadata", "name", "default"));
		put_pod(o, "a", A4);
		put_pod(o, "b", B4);
		for (unsigned k = 0; k < counts[i]; k++)
			put_policy(o, k);
		offline_compile(o, false);
		if (policy_apply(&applied, dp, o->maps) < 0 || policy_apply_finish(&applied) < 0 || policy_apply_finish(&applied) < 0 || policy_apply_is_failed(&applied))
			errx(1, "apply");
		printf("%10u %10zu %14.0f %14.0f\n", counts[i], o->maps->n[POLICY_MAP_RULES], measure(2000), measure(1999));
	}
	policy_apply_forget(&applied);
	harness_done();
	return 0;
}
