/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Run once by the loader, after it has written entries into `flows` or `nat_claims` (which a change of layout makes it do): only
 * a program can start their timers. */
#include "lib/nat.h"

static long arm(void *map __attribute__((unused)), struct flow_key *key, struct flow *f,
		void *ctx __attribute__((unused)))
{
	flow_arm(key, f);
	return 0;
}

static long arm_claim(void *map __attribute__((unused)), struct nat_key *key, struct nat_claim *claim,
		      void *ctx __attribute__((unused)))
{
	nat_arm(key, claim);
	return 0;
}

SEC("tc")
int arm_flows(struct __sk_buff *skb __attribute__((unused)))
{
	bpf_for_each_map_elem(&flows, arm, NULL, 0);
	bpf_for_each_map_elem(&nat_claims, arm_claim, NULL, 0);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
