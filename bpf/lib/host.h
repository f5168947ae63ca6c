/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The node's own traffic. Once a policy selects the node its addresses are in `policy_endpoints`, as a pod's are; from then on what is for the
 * node, and what it sends, is noted and judged where it passes an uplink, the tunnel or the mesh. Without such a policy nothing is.
 *
 * Its flows live in `flows_new` only: they have no share that could be used up, so nothing the node needs is dropped for want of room, and where
 * a flood pushes one out, its next packet is judged by the rules as if it had begun one. What the node says to its own pods and they to it is judged with
 * their flows: a node reaches its own pods always (lib/policy.h). */
#pragma once

#include "lib/flow.h"

/* What is asked about a packet of the node's. */
enum host_end {
	HOST_OPEN,   /* nothing: no policy speaks of the address (any more: the time of the one on trial is over) */
	HOST_JUDGED,
	HOST_ADOPTS, /* and what nobody saw begin may have begun before the policy */
};

/* What goes to a group, or to all on a link, is for this node, too: policies speak of all of them by one address of each family. */
static __always_inline void host_name_groups(struct ip_addr *addr)
{
	if (addr_is_v4(addr)) {
		if ((addr->b[12] & 0xf0) == 0xe0 || addr->w[3] == bpf_htonl(INADDR_BROADCAST))
			*addr = (struct ip_addr){ .b = POLICY_GROUPS4 };
	} else if (addr->b[0] == 0xff) {
		*addr = (struct ip_addr){ .b = POLICY_GROUPS6 };
	}
}

/* Does a policy speak of this address of the node's? */
__global enum host_end host_end_of(const struct ip_addr *addr)
{
	struct policy_endpoint_value *v;
	struct ip_addr name;

	if (!addr)
		return HOST_OPEN;
	name = *addr;
	host_name_groups(&name);
	v = policy_endpoint_of(&name, policy_revision());
	if (!v || (policy_is_over(v) && v->after == POLICY_OPEN))
		return HOST_OPEN;
	return v->adopts && bpf_ktime_get_boot_ns() < v->adopts ? HOST_ADOPTS : HOST_JUDGED;
}

static __always_inline bool host_is_end(const struct ip_addr *addr)
{
	return host_end_of(addr) != HOST_OPEN;
}

/* Of which groups the node is: without, switches and routers that listen to it would bring it none. IPv6's word of it is ICMP_ND. */
static __always_inline bool host_is_igmp(const struct packet *pkt)
{
	return !pkt->v6 && pkt->proto == IPPROTO_IGMP && packet_is_multicast(pkt);
}

/* Errors and neighbours are no conversations; later fragments are nothing without their first. */
static __always_inline bool host_has_flow(const struct packet *pkt)
{
	return (pkt->icmp == ICMP_NOT || pkt->icmp == ICMP_QUERY) && pkt->fragment != FRAGMENT_LATER && !host_is_igmp(pkt);
}

/* In flow_state.stack, which says nothing else of a flow of the node's: nobody saw who began it. */
enum { HOST_ADOPTED = 1 };

/* Where nobody saw who began a TCP connection it goes on if either end might have. */
static __always_inline enum drop_reason host_judge(struct flow_key *key, struct flow_state *f, struct packet *pkt, __u32 revision)
{
	enum drop_reason why = policy_check(key, f, pkt, revision);

	if (why == DROP_NONE || !(f->stack & HOST_ADOPTED))
		return why;
	f->initiator ^= 1;
	return policy_check(key, f, pkt, revision);
}

static __always_inline enum drop_reason host_begin(struct flow_key *key, __u8 end, struct packet *pkt, __u32 now, bool adopts)
{
	struct flow_state f = { .seen = now, .initiator = end, .stage = FLOW_HALF_OPEN, .stack = adopts && !flow_is_begun(pkt) ? HOST_ADOPTED : 0 };
	__u32 revision = policy_revision();
	enum drop_reason why = host_judge(key, &f, pkt, revision);

	if (why == DROP_NONE)
		bpf_map_update_elem(&flows_new, key, &f, BPF_ANY);
	return why;
}

/* How a packet meets host_track(). A connection that is not known may be one that nobody saw begin: while the node's first policy is young (the agent's to the API
 * is older), and always where the node sends, as only a socket that has the connection does. Else whoever sends would begin it. */
enum { HOST_SENDS = 1, HOST_IS_YOUNG = 2 };

/* What is denied in its midst keeps its entry: without, its next packet might pass as somebody else's.
 *
 * To a group it has the flow of all groups where it comes in, as that has the policy. Where the node sends, a group is nobody, as another host is: what it says
 * there does not meet its own ingress. @how: bits of the enum above. */
__global enum drop_reason host_track(struct packet *pkt, __u8 how)
{
	__u32 now = tick_now(), revision = policy_revision();
	struct flow_state *f;
	struct flow_key key;
	enum drop_reason why;
	__u8 end;

	if (!pkt)
		return DROP_NONE;
	end = flow_key_of(pkt, &key);
	if (!(how & HOST_SENDS))
		host_name_groups(&key.addr[end ^ 1]);
	f = bpf_map_lookup_elem(&flows_new, &key);
	if (!f || flow_is_stale(key.proto, f, now) || (packet_asks(pkt) && (end != f->initiator || f->stage == FLOW_RESET))) /* the ports are used again */
		return host_begin(&key, end, pkt, now, how);
	if (f->seen != now)
		f->seen = now;
	why = host_judge(&key, f, pkt, revision);
	if (why == DROP_NONE && key.proto == IPPROTO_TCP && pkt->tcp_flags & TCP_RST)
		f->stage = FLOW_RESET;
	else if (why == DROP_NONE && end != f->initiator && f->stage == FLOW_HALF_OPEN)
		f->stage = FLOW_OPEN;
	return why;
}

/**
 * host_check() - may a packet that is for this node, or from it, pass?
 * @end: which of the packet's addresses is the node's
 */
static __always_inline enum drop_reason host_check(struct packet *pkt, const struct ip_addr *end)
{
	enum host_end what;

	if (!config.host || !host_has_flow(pkt))
		return DROP_NONE;
	what = host_end_of(end);
	return what == HOST_OPEN ? DROP_NONE : host_track(pkt, (end == &pkt->src ? HOST_SENDS : 0) | (what == HOST_ADOPTS ? HOST_IS_YOUNG : 0));
}
