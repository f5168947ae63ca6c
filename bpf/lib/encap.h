/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The tunnel: key of what is sent, check of what was received. */
#pragma once

#include "lib/route.h"

#define ENCAP_TTL 64
/* The first of the tunnel header's two words; the second one is the network identifier. */
#define VXLAN_WORD bpf_htonl(0x08000000)
#define GENEVE_WORD bpf_htonl(0x6558) /* version 0, no options, an Ethernet frame inside */

/* Says to the tunnel device where the packet goes. Return: 0, -errno. */
static __always_inline long encap_set_key(struct __sk_buff *skb, const struct node_route *route)
{
	struct bpf_tunnel_key key = { .tunnel_id = config.vni, .tunnel_ttl = ENCAP_TTL };

	if (addr_is_v4(&route->underlay)) {
		key.remote_ipv4 = bpf_ntohl(route->underlay.w[3]);
		key.local_ipv4 = bpf_ntohl(config.underlay[0].w[3]);
		return bpf_skb_set_tunnel_key(skb, &key, sizeof(key), BPF_F_ZERO_CSUM_TX);
	}
	__builtin_memcpy(key.remote_ipv6, &route->underlay, 16);
#pragma unroll
	for (int i = 0; i < 4; i++)
		key.local_ipv6[i] = config.underlay[1].w[i];
	return bpf_skb_set_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6 | BPF_F_ZERO_CSUM_TX);
}

/* Was the outer packet sent to the address by which other nodes know this one? The device takes what comes to any of the node's, and
 * peers use that one only. What did not come through a tunnel at all is for encap_check_source() to judge. */
__global int encap_is_for_us(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key = {};
	struct ip_addr to;

	if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0))
		addr_from_v4(&to, bpf_htonl(key.local_ipv4));
	else if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6))
		__builtin_memcpy(&to, key.local_ipv6, sizeof(to));
	else
		return 1;
	return addr_is_underlay(&to);
}

/* Did the packet come through our tunnel from the node that its inner source belongs to? */
static __always_inline enum drop_reason encap_check_source(struct __sk_buff *skb, const struct ip_addr *inner)
{
	const struct node_route *route = node_route_find(inner);
	struct bpf_tunnel_key key = {};
	struct ip_addr remote;
	bool v4;

	if (!route)
		return DROP_TUNNEL_SOURCE;
	v4 = addr_is_v4(&route->outer);
	if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), v4 ? 0 : BPF_F_TUNINFO_IPV6))
		return DROP_TUNNEL_SOURCE; /* no tunnel packet, or over the other family */
	if (key.tunnel_id != config.vni)
		return DROP_TUNNEL_VNI;
	if (v4)
		addr_from_v4(&remote, bpf_htonl(key.remote_ipv4));
	else
		__builtin_memcpy(&remote, key.remote_ipv6, sizeof(remote));
	return addr_eq(&remote, &route->outer) ? DROP_NONE : DROP_TUNNEL_SOURCE;
}
