/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Other addresses and ports in a packet, and checksums that stay true: mended by the difference (RFC 1624), so that a packet
 * that was damaged before stays damaged.
 *
 * IPv6 addresses are stored with BPF_F_RECOMPUTE_CSUM: the pseudo-header flag makes the kernel take the difference out of a
 * whole-packet checksum (CHECKSUM_COMPLETE), which is right for IPv4, where the header checksum hides the new address, and
 * would be wrong for IPv6, where nothing does. */
#pragma once

#include "lib/crc32c.h"
#include "lib/nat.h"

enum nat_side { NAT_SOURCE, NAT_DESTINATION };

struct nat_sum {
	__u32 off; /* of the checksum in the transport header; 0: none */
	__u64 flags;
};

/* Whether addresses count is in the flags: ICMP for IPv4 has no pseudo header. */
static __always_inline struct nat_sum nat_sum_of(__u8 proto)
{
	if (proto == IPPROTO_TCP)
		return (struct nat_sum){ 16, BPF_F_PSEUDO_HDR };
	if (proto == IPPROTO_UDP)
		return (struct nat_sum){ 6, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 };
	if (proto == IPPROTO_UDPLITE)
		return (struct nat_sum){ 6, BPF_F_PSEUDO_HDR };
	if (proto == IPPROTO_ICMPV6)
		return (struct nat_sum){ 2, BPF_F_PSEUDO_HDR };
	if (proto == IPPROTO_ICMP)
		return (struct nat_sum){ 2, 0 };
	return (struct nat_sum){};
}

/* Where the port of an end is in the transport header. Only where nat_has_choice(). */
static __always_inline __u32 nat_port_off(__u8 proto, enum nat_side side)
{
	if (proto_is_icmp(proto))
		return 4;
	return side == NAT_SOURCE ? 0 : 2;
}

/* The address in the IP header, and the IPv4 header's checksum. @ret_diff: for checksums above. Return: 0, -errno. */
static __always_inline long nat_store_addr(struct __sk_buff *skb, const struct packet *pkt, enum nat_side side,
					   struct ip_addr *old, struct ip_addr *new, __s64 *ret_diff)
{
	__u32 off = pkt->l3_off;

	if (pkt->v6) {
		off += offsetof(struct ipv6hdr, saddr) + (side == NAT_SOURCE ? 0 : 16);
		*ret_diff = bpf_csum_diff(old->w, 16, new->w, 16, 0);
		return bpf_skb_store_bytes(skb, off, new, 16, BPF_F_RECOMPUTE_CSUM);
	}
	*ret_diff = bpf_csum_diff(&old->w[3], 4, &new->w[3], 4, 0);
	if (bpf_l3_csum_replace(skb, off + offsetof(struct iphdr, check), old->w[3], new->w[3], 4))
		return -1;
	off += offsetof(struct iphdr, saddr) + (side == NAT_SOURCE ? 0 : 4);
	return bpf_skb_store_bytes(skb, off, &new->w[3], 4, 0);
}

/**
 * nat_rewrite() - another address and port for one end of the packet; of SCTP the address only
 * @side: enum nat_side
 *
 * @pkt is changed with it. Return: 0, -1 when the headers cannot be written.
 */
__global int nat_rewrite(struct __sk_buff *skb, struct packet *pkt, __u32 side, const struct nat_end *to)
{
	struct ip_addr old, new;
	struct nat_sum sum;
	__be16 old_port;
	__s64 diff;
	__u32 off;

	if (!pkt || !to)
		return -1;
	old = side == NAT_SOURCE ? pkt->src : pkt->dst;
	old_port = side == NAT_SOURCE ? pkt->sport : pkt->dport;
	new = to->addr;
	if (nat_store_addr(skb, pkt, side, &old, &new, &diff))
		return -1;
	if (side == NAT_SOURCE)
		pkt->src = new;
	else
		pkt->dst = new;
	if (side == NAT_SOURCE || proto_is_icmp(pkt->proto))
		pkt->sport = to->port;
	if (side == NAT_DESTINATION || proto_is_icmp(pkt->proto))
		pkt->dport = to->port;
	sum = nat_sum_of(pkt->proto);
	if (pkt->fragment == FRAGMENT_LATER || !sum.off)
		return 0;
	off = pkt->l4_off + sum.off;
	if (sum.flags && bpf_l4_csum_replace(skb, off, 0, diff, sum.flags))
		return -1;
	if (old_port == to->port)
		return 0;
	if (bpf_l4_csum_replace(skb, off, old_port, to->port, (sum.flags & BPF_F_MARK_MANGLED_0) | 2))
		return -1;
	return bpf_skb_store_bytes(skb, pkt->l4_off + nat_port_off(pkt->proto, side), &to->port, 2, 0) ? -1 : 0;
}

/**
 * nat_rewrite_sctp_port() - another port for one end of an SCTP packet, whose checksum covers ports, not addresses
 *
 * A sum of zero is none (RFC 9653), or one that the kernel has still to compute (CHECKSUM_PARTIAL): it stays. @pkt is not changed:
 * nat_rewrite() does it. Return: 0, -1 when nobody knows how far the sum reaches, or the header cannot be written.
 */
__global int nat_rewrite_sctp_port(struct __sk_buff *skb, const struct packet *pkt, __u32 side, __u32 port)
{
	__be16 new = port, old;
	__u32 off, sum;

	if (!pkt)
		return -1;
	old = side == NAT_SOURCE ? pkt->sport : pkt->dport;
	off = pkt->l4_off;
	if (old == new || pkt->fragment == FRAGMENT_LATER)
		return 0;
	if (pkt->fragment != FRAGMENT_NONE || bpf_skb_load_bytes(skb, off + 8, &sum, 4))
		return -1;
	if (sum) { /* both ports, as a little-endian word */
		sum ^= crc32c_difference((__u32)(old ^ new) << (side == NAT_SOURCE ? 0 : 16), pkt->l3_off + pkt->ip_len - off);
		if (bpf_skb_store_bytes(skb, off + 8, &sum, 4, BPF_F_RECOMPUTE_CSUM))
			return -1;
	}
	return bpf_skb_store_bytes(skb, off + (side == NAT_SOURCE ? 0 : 2), &new, 2, BPF_F_RECOMPUTE_CSUM) ? -1 : 0;
}

/* Would a fragment of SCTP need other ports? Its checksum covers what is in others, so nobody can mend it. */
static __always_inline bool nat_is_stuck(const struct packet *pkt, __be16 sport, __be16 dport)
{
	return unlikely(pkt->proto == IPPROTO_SCTP && pkt->fragment != FRAGMENT_NONE) && (sport != pkt->sport || dport != pkt->dport);
}

/* Another address and port, whatever the protocol. Return: 0, -1: it may be half translated, and can only be dropped. */
static __always_inline int nat_translate(struct __sk_buff *skb, struct packet *pkt, enum nat_side side, const struct nat_end *to)
{
	if (unlikely(pkt->proto == IPPROTO_SCTP) && nat_rewrite_sctp_port(skb, pkt, side, to->port))
		return -1;
	return nat_rewrite(skb, pkt, side, to);
}

/* ---- ICMP errors ---- */

/* What changes within the quoted packet. */
struct nat_quoted {
	struct ip_addr addr;
	__be16 port, ip_sum, sum, pad;
};

static __always_inline __be16 nat_mend(__be16 sum, __s64 diff)
{
	__u64 s = (__u16)~sum + (__u64)(__u32)diff;

#pragma unroll
	for (int i = 0; i < 3; i++)
		s = (s & 0xffff) + (s >> 16);
	return ~s;
}

static __always_inline __s64 nat_diff_port(__be16 old, __be16 new)
{
	__be32 a = (__u16)old, b = (__u16)new;

	return bpf_csum_diff(&a, 4, &b, 4, 0);
}

/* The quoted packet's own checksum, if so much of it was quoted; UDP over IPv4 may have none. */
static __always_inline bool nat_quoted_sum(struct __sk_buff *skb, const struct packet *pkt, const struct packet *quoted,
					   struct nat_sum sum, __be16 *ret)
{
	__u32 off = quoted->l4_off + sum.off;

	if (!sum.off || quoted->fragment == FRAGMENT_LATER || off + 2 > pkt->l3_off + pkt->ip_len ||
	    bpf_skb_load_bytes(skb, off, ret, 2))
		return false;
	return *ret || quoted->proto != IPPROTO_UDP;
}

/**
 * nat_rewrite_quoted() - another end for the packet that an ICMP error quotes
 * @side: enum nat_side of the quoted packet, which went the other way than the error
 *
 * The error's own end is nat_rewrite()'s, with port 0. (Not called from here: the verifier adds up the stacks.) The sum of all
 * differences goes into the error's checksum. Return: 0, -1 when the headers cannot be written.
 */
__global int nat_rewrite_quoted(struct __sk_buff *skb, const struct packet *pkt, const struct packet *quoted, __u32 side,
				const struct nat_end *to)
{
	struct nat_quoted old = {}, new = {};
	struct nat_sum sum;
	__u32 addr_off, port_off;
	bool port, mend;
	__s64 diff;

	if (!pkt || !quoted || !to)
		return -1;
	sum = nat_sum_of(quoted->proto);
	addr_off = quoted->l3_off;
	port_off = quoted->l4_off + nat_port_off(quoted->proto, side);
	port = nat_has_choice(quoted) && quoted->fragment != FRAGMENT_LATER;
	old.addr = side == NAT_SOURCE ? quoted->src : quoted->dst;
	new.addr = to->addr;
	if (port) {
		old.port = side == NAT_SOURCE ? quoted->sport : quoted->dport;
		new.port = to->port;
	}
	diff = bpf_csum_diff(old.addr.w, 16, new.addr.w, 16, 0);
	mend = nat_quoted_sum(skb, pkt, quoted, sum, &old.sum);
	if (mend) {
		new.sum = sum.flags ? nat_mend(old.sum, diff) : old.sum;
		new.sum = nat_mend(new.sum, nat_diff_port(old.port, new.port));
		if (!new.sum && quoted->proto == IPPROTO_UDP)
			new.sum = 0xffff;
		if (bpf_skb_store_bytes(skb, quoted->l4_off + sum.off, &new.sum, 2, 0))
			return -1;
	}
	if (pkt->v6) {
		addr_off += offsetof(struct ipv6hdr, saddr) + (side == NAT_SOURCE ? 0 : 16);
		if (bpf_skb_store_bytes(skb, addr_off, &new.addr, 16, 0))
			return -1;
	} else {
		if (bpf_skb_load_bytes(skb, addr_off + offsetof(struct iphdr, check), &old.ip_sum, 2))
			return -1;
		new.ip_sum = nat_mend(old.ip_sum, diff);
		if (bpf_skb_store_bytes(skb, addr_off + offsetof(struct iphdr, check), &new.ip_sum, 2, 0))
			return -1;
		addr_off += offsetof(struct iphdr, saddr) + (side == NAT_SOURCE ? 0 : 4);
		if (bpf_skb_store_bytes(skb, addr_off, &new.addr.w[3], 4, 0))
			return -1;
	}
	if (port && bpf_skb_store_bytes(skb, port_off, &new.port, 2, 0))
		return -1;
	diff = bpf_csum_diff((__be32 *)&old, sizeof(old), (__be32 *)&new, sizeof(new), 0);
	return bpf_l4_csum_replace(skb, pkt->l4_off + 2, 0, diff, 0) ? -1 : 0;
}
