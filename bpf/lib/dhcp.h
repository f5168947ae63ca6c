/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* DHCP of a pod, which has its addresses and gives nobody any: a client that asks, or a server that answers on the link. What two hosts say to each
 * other by these ports, from their own addresses, is theirs (a relay and its server). */
#pragma once

#include "lib/endpoint.h"
#include "lib/packet.h"

enum { DHCP_SERVER = 67, DHCP_CLIENT = 68, DHCP6_CLIENT = 546, DHCP6_SERVER = 547 };

static __always_inline bool dhcp_port(__be16 port, bool v6)
{
	return v6 ? port == bpf_htons(DHCP6_CLIENT) || port == bpf_htons(DHCP6_SERVER) : port == bpf_htons(DHCP_CLIENT) || port == bpf_htons(DHCP_SERVER);
}

static __always_inline bool packet_is_dhcp(const struct packet *pkt)
{
	if (pkt->proto != IPPROTO_UDP || pkt->fragment == FRAGMENT_LATER || !dhcp_port(pkt->sport, pkt->v6) || !dhcp_port(pkt->dport, pkt->v6))
		return false;
	return packet_is_multicast(pkt) || (pkt->v6 ? addr_is_link_local(&pkt->src) : pkt->src.w[3] == 0);
}
