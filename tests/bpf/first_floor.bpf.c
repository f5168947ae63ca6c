/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* For the bench: what a new flow to a Service costs in look-ups and insertions alone, on maps as a datapath has them: the frontend, the slot and the
 * endpoint; both directions of the connection, looked for and noted; two identities and two verdicts. No packet is parsed, nothing is
 * judged, counted or translated. What a program with the same work takes more is its own. */
#include "lib/prelude.h"

enum { FLOWS = 131072, FEW = 16384 };

struct flow_key_like {
	__u64 addr[4];
	__u32 ports, proto;
};

struct value {
	__u64 a, b;
};

#define HASH(name, kind, n, key_type)                 \
	struct {                                      \
		__uint(type, BPF_MAP_TYPE_##kind);    \
		__uint(max_entries, n);               \
		__type(key, key_type);                \
		__type(value, struct value);          \
	} name SEC(".maps")

HASH(frontends, HASH, FEW, struct value);
HASH(slots, HASH, FEW, __u64);
HASH(backends, HASH, FEW, __u32);
HASH(identities, HASH, FEW, struct value);
HASH(verdicts, HASH, FEW, struct value);
HASH(connections, LRU_HASH, FLOWS, struct flow_key_like);

__u32 turn;

static __always_inline __u64 found(const struct value *v)
{
	return v ? v->a : 1;
}

static __always_inline void note(struct flow_key_like *key, __u64 what)
{
	struct value fresh = { what, turn };

	if (!bpf_map_lookup_elem(&connections, key))
		bpf_map_update_elem(&connections, key, &fresh, BPF_ANY);
}

SEC("tc")
int first_floor(struct __sk_buff *skb)
{
	__u32 n = (turn++ + skb->mark) * 40503u; /* an order that no prefetcher follows */
	struct value any = {};
	__u64 set = 0, sum = 0;
	__u32 id = 0;
	struct flow_key_like key = { .addr = { 1, 2, 3, 4 }, .ports = n, .proto = IPPROTO_TCP };

	sum += found(bpf_map_lookup_elem(&frontends, &any));
	sum += found(bpf_map_lookup_elem(&slots, &set));
	sum += found(bpf_map_lookup_elem(&backends, &id));
	for (any.b = 0; any.b < 2; any.b++) {
		sum += found(bpf_map_lookup_elem(&identities, &any));
		sum += found(bpf_map_lookup_elem(&verdicts, &any));
	}
	note(&key, sum);
	key.addr[0] = 5; /* the way back */
	note(&key, sum);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
