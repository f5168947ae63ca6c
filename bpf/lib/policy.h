/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Policy: the verdict on a flow, and its memory in the flow's entry. weft/policy.h says how a verdict is found.
 *
 * A flow is always judged as its initiator's: egress at the initiator if that is a pod of this node, ingress at the other end
 * likewise; so whichever end of it a packet meets first, and in whichever direction it travels, all judgements that this
 * node has to make are made together, and one revision in the entry stands for them. Where that is the current one, nothing is looked up. A
 * denial is not remembered but made again for each packet, so that its event names the rule.
 *
 * Policies that only observe are not in what decides. An end that has some has a second policy, on trial, with all of them: it is
 * asked when the first lets the flow pass, at the same moments, and what it would deny is told and counted, once for a flow. */
#pragma once

#include "lib/counter.h"
#include "lib/flow_event.h"
#include "lib/packet.h"
#include "weft/flow.h"
#include "weft/policy.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct policy_state);
} policy_state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192); /* two addresses each */
	__type(key, struct ip_addr);
	__type(value, struct policy_endpoint_turn);
} policy_endpoints SEC(".maps");

/* The loader sets the sizes of these. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct policy_addr_at);
	__type(value, struct policy_class_turn);
} policy_addrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct policy_cidr_at);
	__type(value, struct policy_class_value);
} policy_cidrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct policy_rule_key);
	__type(value, struct policy_rule_value);
} policy_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct policy_port_key);
	__type(value, struct policy_port_value);
} policy_ports SEC(".maps");

/* Read once, and before anything that it stands for: a verdict made of older maps is then never kept under a newer revision. */
static __always_inline __u32 policy_revision(void)
{
	__u32 zero = 0;
	struct policy_state *s = bpf_map_lookup_elem(&policy_state, &zero);
	__u32 revision;

	if (!s)
		return 0;
	revision = *(volatile __u32 *)&s->revision;
	return config.host && unlikely(s->until) && bpf_ktime_get_boot_ns() >= s->until ? revision | 1 : revision;
}

/* For those whose stack is short. */
__global __u32 policy_now(void)
{
	return policy_revision();
}

/* Revisions are compared as numbers that wrap round. */
static __always_inline bool policy_has_turned(__u32 since, __u32 revision)
{
	return (__s32)(revision - since) >= 0;
}

/* What is asked of one policy in one direction, and the best that was found so far. */
struct policy_ask {
	__u32 policy;
	__u32 class_id;
	__u32 direction;
	__u16 port; /* host order */
	__u8 proto;
	__u8 unknown; /* found: the peer is a pod that nobody knows */
	struct policy_slot best[POLICY_STAGES];
};

static __always_inline void policy_offer(struct policy_ask *ask, const struct policy_slot found[POLICY_STAGES])
{
#pragma unroll
	for (int s = 0; s < POLICY_STAGES; s++)
		if (found[s].precedence > ask->best[s].precedence)
			ask->best[s] = found[s];
}

/* One class of the peer: what holds for every port, and what its ports say. */
__global int policy_probe(struct policy_ask *ask)
{
	struct policy_port_key port = {};
	struct policy_port_value *of_port;
	struct policy_rule_value *found;
	struct policy_rule_key key = {};
	__u32 lens;

	if (!ask)
		return 0;
	key.policy = ask->policy;
	key.class_id = ask->class_id;
	key.direction = ask->direction;
	found = bpf_map_lookup_elem(&policy_rules, &key);
	if (!found)
		return 0;
	policy_offer(ask, found->slot);
	port.ports = found->ports;
	port.protocol = ask->proto;
	lens = found->ports ? found->port_lens : 0;
	for (int len = 0; len <= POLICY_PORT_LEN_MAX; len++) {
		if (!(lens >> len & 1))
			continue;
		port.len = len;
		port.port = ask->port & (__u16)(0xffff0000 >> len);
		of_port = bpf_map_lookup_elem(&policy_ports, &port);
		if (of_port)
			policy_offer(ask, of_port->slot);
	}
	return 0;
}

/* The key of the hash is the end of the prefix's. */
static __always_inline struct policy_class_value *policy_class_of(struct policy_cidr_at *at, __u32 revision)
{
	struct policy_class_turn *t = bpf_map_lookup_elem(&policy_addrs, &at->generation);

	if (!t)
		return bpf_map_lookup_elem(&policy_cidrs, at);
	return policy_has_turned(t->since, revision) ? (struct policy_class_value *)t : &t->before;
}

/* Stage 0 decides, unless it passes or says nothing. */
static __always_inline bool policy_allows(const struct policy_ask *ask, __u32 *ret_rule)
{
	__u32 first = ask->best[0].precedence & 3;
	bool decided = first == POLICY_ALLOW || first == POLICY_DENY;

	*ret_rule = decided ? ask->best[0].rule : ask->best[1].rule;
	return (decided ? first : ask->best[1].precedence & 3) == POLICY_ALLOW;
}

/* Asks one policy about one peer; @ask says the policy, the direction, protocol and port. What can be read again where it is needed is not kept: the stack is
 * short. */
static __always_inline bool policy_asks(struct policy_ask *ask, struct policy_cidr_at *peer, __u32 revision, __u32 *ret_rule)
{
	struct policy_class_value *class;
	__u32 group;

	peer->prefixlen = 32 + 128;
	peer->generation = ask->policy >> POLICY_GENERATION_SHIFT;
	class = policy_class_of(peer, revision);
	if (!class) /* the roots are always there: half written, or emptied by somebody */
		return false;
	group = class->group;
	ask->unknown = group == POLICY_CLASS_UNKNOWN;
	ask->class_id = class->class_id;
	policy_probe(ask);
	if (ask->class_id != group) {
		ask->class_id = group;
		policy_probe(ask);
	}
	ask->class_id = addr_is_v4((const struct ip_addr *)peer->addr) ? POLICY_CLASS_ANY4 : POLICY_CLASS_ANY6;
	policy_probe(ask);
	return policy_allows(ask, ret_rule);
}

/* Beside the bits of enum flow_origin, in one byte with them because the stack is short: by the policies on trial. */
enum { POLICY_BY_TRIAL = 0x80 };
/* Not a reason: it may pass, and is to be judged by the policies on trial, too. */
#define POLICY_ON_TRIAL 0x100

/* One of the four questions about a flow (0 and 1: both ends, by the one that began it; 2 and 3: as if the other had begun it), and with it, in one
 * word because the stack is short, which end began the flow, and enum flow_origin bits and POLICY_BY_TRIAL. */
enum { POLICY_ASK_INITIATOR_SHIFT = 8, POLICY_ASK_HOW_SHIFT = 16 };

/* A trial ends by itself, lest an agent that its policy has cut off, or killed, keep the node closed to whom it was open, or open to whom it was closed. */
static __always_inline bool policy_is_over(const struct policy_endpoint_value *v)
{
	return unlikely(v->until) && bpf_ktime_get_boot_ns() >= v->until;
}

/* What is said of an address at a revision; NULL: nothing. */
static __always_inline struct policy_endpoint_value *policy_endpoint_of(const struct ip_addr *addr, __u32 revision)
{
	struct ip_addr key = *addr; /* before 6.3 a map's key must lie in the function's own stack */
	struct policy_endpoint_turn *t = bpf_map_lookup_elem(&policy_endpoints, &key);
	struct policy_endpoint_value *v;

	if (!t)
		return NULL;
	v = policy_has_turned(t->since, revision) ? (struct policy_endpoint_value *)t : &t->before;
	return v->gone ? NULL : v;
}

/* The policies of an address: in the lower half what decides, in the upper what is on trial; 0: it is no pod of this node, or nothing is said about it. A
 * function of its own, as the stack of those that ask is short. */
__global __u64 policy_of(const struct ip_addr *addr, __u32 revision)
{
	struct policy_endpoint_value *v = addr ? policy_endpoint_of(addr, revision) : NULL;

	if (!v)
		return 0;
	return policy_is_over(v) ? v->after : (__u64)v->trial << 32 | v->policy;
}

/* One end of a flow. Return: DROP_NONE or why not; and POLICY_ON_TRIAL, if there are policies on trial. A function of its own, as the stack is short. */
__global int policy_judge_end(const struct flow_key *key, __u32 question, struct packet *pkt, __u32 revision)
{
	struct policy_cidr_at peer = {};
	struct policy_ask ask = {};
	__u32 rule = 0, how = question >> POLICY_ASK_HOW_SHIFT;
	__u8 began = question >> POLICY_ASK_INITIATOR_SHIFT & 1, by = (began ^ question >> 1) & 1, end = (by ^ question) & 1, other = end ^ 1;
	__u64 of;
	int trial;

	if (!key || !pkt)
		return DROP_POLICY_LOCKED;
	ask.direction = end == by ? POLICY_EGRESS : POLICY_INGRESS;
	ask.proto = key->proto;
	if (!proto_is_icmp(key->proto)) /* there it is the identifier */
		ask.port = bpf_ntohs(by ? key->port[0] : key->port[1]);
	if (how & FLOW_TO_ITSELF) /* CNP-12 */
		end = other = began ^ 1;
	__builtin_memcpy(peer.addr, end ? &key->addr[1] : &key->addr[0], sizeof(peer.addr));
	of = policy_of((const struct ip_addr *)peer.addr, revision);
	trial = of >> 32 ? POLICY_ON_TRIAL : 0;
	ask.policy = how & POLICY_BY_TRIAL ? of >> 32 : (__u32)of;
	if (ask.policy == POLICY_OPEN) /* nothing is said about it */
		return trial;
	if (ask.policy == POLICY_LOCKED) {
		pkt->rule = 0;
		return DROP_POLICY_LOCKED;
	}
	__builtin_memcpy(peer.addr, other ? &key->addr[1] : &key->addr[0], sizeof(peer.addr));
	if (policy_asks(&ask, &peer, revision, &rule))
		return trial;
	pkt->rule = rule;
	if (ask.unknown)
		return DROP_POLICY_UNKNOWN_POD;
	return ask.direction == POLICY_EGRESS ? DROP_POLICY_EGRESS : DROP_POLICY_INGRESS;
}

/* Both ends as those of a flow that @initiator began; when that is not known, also as if the other had. @how: enum flow_origin
 * bits, and POLICY_BY_TRIAL.
 *
 * All of it at one revision, so that a packet meets an update at both ends or at none. The caller has read one before, under which the verdict is kept: if this
 * one is later the next packet asks again. */
__global int policy_judge(const struct flow_key *key, __u8 initiator, __u8 how, struct packet *pkt)
{
	__u32 question = initiator << POLICY_ASK_INITIATOR_SHIFT | how << POLICY_ASK_HOW_SHIFT, revision;
	int trial = 0;

	if (!key || !pkt)
		return DROP_POLICY_LOCKED;
	if (how & FLOW_FROM_NODE || addr_eq(&key->addr[0], &key->addr[1])) /* a pod to its own address */
		return DROP_NONE;
	revision = policy_now();
	for (int i = 0; i < 4; i++, question++) {
		int why;

		if (i == 2 && !(question >> POLICY_ASK_HOW_SHIFT & FLOW_UNSURE))
			break;
		why = policy_judge_end(key, question, pkt, revision);
		if (why & ~POLICY_ON_TRIAL)
			return why & ~POLICY_ON_TRIAL;
		trial |= why;
	}
	return trial;
}

/* Read where it is needed, not kept: the stack is short. */
static __always_inline void policy_note_audited(struct flow_state *f, bool back, bool audited)
{
	__u8 bit = 1 << (f->initiator ^ back);

	f->audited = audited ? f->audited | bit : f->audited & ~bit;
}

/* It may pass: what if the policies that only observe were in force? @back: as policy_judge_begun() */
static __always_inline void policy_try(const struct flow_key *key, struct flow_state *f, bool back, struct packet *pkt)
{
	__u32 fragment_id = pkt->fragment_id; /* where the rule is told */
	enum drop_reason why = policy_judge(key, f->initiator ^ back, (back ? 0 : f->origin) | POLICY_BY_TRIAL, pkt);

	if (why == POLICY_ON_TRIAL || why == DROP_NONE) { /* nothing is on trial any more: it was taken away since the first look */
		policy_note_audited(f, back, false);
		return;
	}
	if (!(f->audited & 1 << (f->initiator ^ back))) {
		policy_note_audited(f, back, true);
		count_audit(why, pkt->ip_len);
		flow_event_send(pkt, EVENT_AUDIT, why);
	}
	pkt->fragment_id = fragment_id; /* it passes */
}

/* May the flow pass, or, @back, what its receiver begins? What only observes denies nothing. @origin: enum flow_origin bits */
static __always_inline enum drop_reason policy_judge_begun(const struct flow_key *key, struct flow_state *f, bool back, __u8 origin, struct packet *pkt)
{
	enum drop_reason why = policy_judge(key, f->initiator ^ back, origin, pkt);

	if (unlikely(why == POLICY_ON_TRIAL)) {
		policy_try(key, f, back, pkt);
		return DROP_NONE;
	}
	policy_note_audited(f, back, false);
	return why;
}

/* The policy is another than when the flow was judged, or it never was, or it was denied. */
static __always_inline enum drop_reason policy_check_anew(const struct flow_key *key, struct flow_state *f, struct packet *pkt,
							  __u32 revision)
{
	enum drop_reason why = policy_judge_begun(key, f, false, f->origin, pkt);

	if (why == DROP_NONE ? f->origin & FLOW_DENIED : f->judged != 0)
		flow_event(pkt, EVENT_FLOW_CHANGED, why);
	f->judged = why == DROP_NONE ? revision : 0;
	f->origin = why == DROP_NONE ? (f->origin & ~FLOW_DENIED) | FLOW_PASSED : f->origin | FLOW_DENIED;
	return why;
}

/**
 * policy_check() - may a packet of the flow pass?
 * @revision: policy_revision(), read before
 *
 * The flow's entry remembers the answer. Return: DROP_NONE, or why not; @pkt->rule then says which rule.
 */
static __always_inline enum drop_reason policy_check(const struct flow_key *key, struct flow_state *f, struct packet *pkt,
						     __u32 revision)
{
	return likely(f->judged == revision) ? DROP_NONE : policy_check_anew(key, f, pkt, revision);
}
