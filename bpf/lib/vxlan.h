/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Outer packets that the tunnel's device would drop without a word (drivers/net/vxlan): they have a reason here. Flags that another format means (a group's
 * policy, VXLAN-GPE's protocol, Geneve's header), bits that are reserved, and frames that end before what they begin with. */
#pragma once

#include "lib/encap.h"
#include "lib/packet.h"

#include <linux/udp.h>

struct vxlan_packet {
	struct udphdr udp;
	__be32 words[2];
	struct ethhdr inner; /* what follows is no part of it: the structure is longer by its padding */
};

enum { VXLAN_LEAST = offsetof(struct vxlan_packet, inner) + ETH_LEN };

static __always_inline __u32 vxlan_inner_least(__be16 type)
{
	return type == bpf_htons(ETH_P_IP) ? sizeof(struct iphdr) : type == bpf_htons(ETH_P_IPV6) ? sizeof(struct ipv6hdr) : 0;
}

/* Of one that outer_is_tunnel(). The lengths of a superpacket are for who cuts it. */
__global enum drop_reason vxlan_judge(struct __sk_buff *skb)
{
	__u32 at = ETH_LEN + (skb->protocol == bpf_htons(ETH_P_IP) ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
	struct vxlan_packet v = {};
	__u32 len;

	if (bpf_skb_load_bytes(skb, at, &v, offsetof(struct vxlan_packet, inner)))
		return DROP_TRUNCATED;
	if (v.words[0] != VXLAN_WORD || v.words[1] & bpf_htonl(0xff))
		return DROP_VXLAN_HEADER;
	if (bpf_skb_load_bytes(skb, at, &v, VXLAN_LEAST))
		return DROP_TRUNCATED;
	len = bpf_ntohs(v.udp.len);
	if (skb->gso_size)
		return DROP_NONE;
	if (len < VXLAN_LEAST + vxlan_inner_least(v.inner.h_proto))
		return DROP_TRUNCATED;
	return at + len > skb->len ? DROP_MALFORMED : DROP_NONE;
}
