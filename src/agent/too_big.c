/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/too_big.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>

int too_big_read(const void *message, size_t size, struct too_big *ret)
{
	struct icmp6_hdr icmp;
	struct ip6_hdr ip;
	struct udphdr udp;
	const char *at = message;

	if (size < sizeof(icmp))
		return -EBADMSG;
	memcpy(&icmp, at, sizeof(icmp));
	if (icmp.icmp6_type != ICMP6_PACKET_TOO_BIG)
		return -ENOMSG;
	if (size < sizeof(icmp) + sizeof(ip) + sizeof(udp))
		return -EBADMSG;
	memcpy(&ip, at + sizeof(icmp), sizeof(ip));
	memcpy(&udp, at + sizeof(icmp) + sizeof(ip), sizeof(udp));
	if (ip.ip6_nxt != IPPROTO_UDP)
		return -ENOMSG;
	*ret = (struct too_big){ .port = ntohs(udp.uh_dport), .mtu = ntohl(icmp.icmp6_mtu) };
	memcpy(&ret->from, &ip.ip6_src, sizeof(ret->from));
	memcpy(&ret->to, &ip.ip6_dst, sizeof(ret->to));
	return ret->mtu >= IPV6_LEAST_MTU ? 0 : -EBADMSG; /* no link of IPv6 has less */
}
