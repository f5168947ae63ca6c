/* SPDX-License-Identifier: Apache-2.0 */
#include "net/neighbour.h"

#include <arpa/inet.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <netinet/icmp6.h>
#include <netinet/ip6.h>

/* RFC 826, for IPv4 on Ethernet. */
struct arp {
	uint16_t hardware, protocol;
	uint8_t hardware_len, protocol_len;
	uint16_t op;
	uint8_t sender_mac[6], sender[4], target_mac[6], target[4];
};
_Static_assert(sizeof(struct arp) == 28, "no padding");

/* RFC 4861 4.3, 4.4 with one option: a link-layer address. */
struct nd {
	uint8_t type, code;
	uint16_t sum;
	uint8_t flags, reserved[3];
	uint8_t target[16];
	uint8_t option, option_len, mac[6];
};
_Static_assert(sizeof(struct nd) == 32, "no padding");

enum { ND_SOLICITED = 0x40, ND_OVERRIDE = 0x20, HOPS = 255, OPTION_SOURCE = 1, OPTION_TARGET = 2 };
_Static_assert(NEIGHBOUR_FRAME_MAX == sizeof(struct ethhdr) + sizeof(struct ip6_hdr) + sizeof(struct nd), "the longest frame");

static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t all_nodes[16] = {0xff, 0x02, [15] = 1}, all_nodes_mac[6] = {0x33, 0x33, 0, 0, 0, 1};

void neighbour_group(const struct addr *about, struct addr *ret_group, uint8_t ret_mac[6])
{
	*ret_group = (struct addr){{0xff, 0x02, [11] = 1, [12] = 0xff}};
	memcpy(ret_group->b + 13, about->b + 13, 3);
	ret_mac[0] = ret_mac[1] = 0x33;
	memcpy(ret_mac + 2, ret_group->b + 12, 4);
}

static uint8_t *put_ether(uint8_t *frame, const uint8_t *to, const uint8_t *from, uint16_t type)
{
	struct ethhdr e = {.h_proto = htons(type)};

	memcpy(e.h_dest, to, 6);
	memcpy(e.h_source, from, 6);
	memcpy(frame, &e, sizeof(e));
	return frame + sizeof(e);
}

static size_t encode_arp(const struct neighbour *n, const uint8_t *to, uint8_t *frame)
{
	struct arp a = {.hardware = htons(ARPHRD_ETHER), .protocol = htons(ETH_P_IP), .hardware_len = 6, .protocol_len = 4,
			.op = htons(ARPOP_REQUEST)};
	const struct addr *sender = n->kind == NEIGHBOUR_CLAIM ? &n->about : &n->from;

	memcpy(a.sender_mac, n->mac, 6);
	if (!addr_is_zero(sender))
		memcpy(a.sender, addr_raw(sender), 4);
	memcpy(a.target, addr_raw(&n->about), 4);
	frame = put_ether(frame, to ? to : everybody, n->mac, ETH_P_ARP);
	memcpy(frame, &a, sizeof(a));
	return sizeof(struct ethhdr) + sizeof(a);
}

static uint32_t add_words(uint32_t sum, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < n; i += 2)
		sum += p[i] << 8 | p[i + 1];
	return sum;
}

/* RFC 4443 2.3; @nd with its sum as it is: 0 before sending, and over a received one the result is 0. */
static uint16_t nd_sum(const struct ip6_hdr *ip, const void *nd, size_t len)
{
	uint32_t sum = add_words(IPPROTO_ICMPV6 + len, &ip->ip6_src, 32);

	sum = add_words(sum, nd, len);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static size_t encode_nd(const struct neighbour *n, const uint8_t *to, uint8_t *frame)
{
	bool claim = n->kind == NEIGHBOUR_CLAIM;
	struct ip6_hdr ip = {.ip6_flow = htonl(6u << 28), .ip6_plen = htons(sizeof(struct nd)), .ip6_nxt = IPPROTO_ICMPV6, .ip6_hlim = HOPS};
	struct nd nd = {.type = claim ? ND_NEIGHBOR_ADVERT : ND_NEIGHBOR_SOLICIT, .flags = claim ? ND_OVERRIDE : 0,
			.option = claim ? OPTION_TARGET : OPTION_SOURCE, .option_len = 1};
	struct addr group;
	uint8_t mac[6];

	neighbour_group(&n->about, &group, mac);
	memcpy(&ip.ip6_src, claim ? n->about.b : n->from.b, 16);
	memcpy(&ip.ip6_dst, claim ? all_nodes : to ? n->about.b : group.b, 16);
	memcpy(nd.target, n->about.b, 16);
	memcpy(nd.mac, n->mac, 6);
	nd.sum = htons(nd_sum(&ip, &nd, sizeof(nd)));
	frame = put_ether(frame, claim ? all_nodes_mac : to ? to : mac, n->mac, ETH_P_IPV6);
	memcpy(frame, &ip, sizeof(ip));
	memcpy(frame + sizeof(ip), &nd, sizeof(nd));
	return NEIGHBOUR_FRAME_MAX;
}

size_t neighbour_encode(const struct neighbour *n, const uint8_t *to, uint8_t ret[static NEIGHBOUR_FRAME_MAX])
{
	return addr_is_v4(&n->about) ? encode_arp(n, to, ret) : encode_nd(n, to, ret);
}

static int parse_arp(const uint8_t *data, size_t len, struct neighbour *ret)
{
	struct arp a;

	if (len < sizeof(a))
		return -EBADMSG;
	memcpy(&a, data, sizeof(a));
	if (a.hardware != htons(ARPHRD_ETHER) || a.protocol != htons(ETH_P_IP) || a.hardware_len != 6 || a.protocol_len != 4)
		return -EBADMSG;
	memcpy(ret->mac, a.sender_mac, 6);
	addr_from_raw(a.sender, 4, &ret->about);
	if (memcmp(a.sender, a.target, 4) == 0) { /* as a request or as a reply (RFC 5227 3) */
		ret->kind = NEIGHBOUR_CLAIM;
	} else if (a.op == htons(ARPOP_REPLY)) {
		ret->kind = NEIGHBOUR_ANSWER;
	} else if (a.op == htons(ARPOP_REQUEST)) {
		ret->kind = NEIGHBOUR_ASK;
		ret->from = memcmp(a.sender, "\0\0\0\0", 4) ? ret->about : (struct addr){0};
		addr_from_raw(a.target, 4, &ret->about);
	} else {
		return -EBADMSG;
	}
	return 0;
}

/* The option of this type, or NULL. @p: options, RFC 4861 4.6 */
static const uint8_t *find_option(const uint8_t *p, size_t len, uint8_t type)
{
	while (len >= 8 && p[1] && p[1] * 8u <= len) {
		if (p[0] == type)
			return p;
		len -= p[1] * 8u;
		p += p[1] * 8u;
	}
	return NULL;
}

static int parse_nd(const uint8_t *frame, const uint8_t *data, size_t len, struct neighbour *ret)
{
	const size_t fixed = offsetof(struct nd, option);
	const uint8_t *option;
	struct ip6_hdr ip;
	struct nd nd = {0};
	size_t n;

	if (len < sizeof(ip) + fixed)
		return -EBADMSG;
	memcpy(&ip, data, sizeof(ip));
	n = ntohs(ip.ip6_plen);
	if (ip.ip6_nxt != IPPROTO_ICMPV6 || ip.ip6_hlim != HOPS || n < fixed || n % 2 || n > len - sizeof(ip) ||
	    nd_sum(&ip, data + sizeof(ip), n) != 0)
		return -EBADMSG;
	memcpy(&nd, data + sizeof(ip), fixed);
	if (nd.code != 0 || nd.target[0] == 0xff || addr_is_v4((const struct addr *)nd.target) ||
	    (nd.type != ND_NEIGHBOR_ADVERT && nd.type != ND_NEIGHBOR_SOLICIT))
		return -EBADMSG;
	option = find_option(data + sizeof(ip) + fixed, n - fixed, nd.type == ND_NEIGHBOR_ADVERT ? OPTION_TARGET : OPTION_SOURCE);
	memcpy(ret->mac, option ? option + 2 : frame + 6, 6);
	memcpy(ret->about.b, nd.target, 16);
	if (nd.type == ND_NEIGHBOR_SOLICIT)
		memcpy(ret->from.b, &ip.ip6_src, 16);
	ret->kind = nd.type == ND_NEIGHBOR_SOLICIT ? NEIGHBOUR_ASK : nd.flags & ND_SOLICITED ? NEIGHBOUR_ANSWER : NEIGHBOUR_CLAIM;
	return 0;
}

int neighbour_parse(const uint8_t *frame, size_t len, struct neighbour *ret)
{
	struct ethhdr e;

	*ret = (struct neighbour){0};
	if (len < sizeof(e))
		return -EBADMSG;
	memcpy(&e, frame, sizeof(e));
	if (e.h_proto == htons(ETH_P_ARP))
		return parse_arp(frame + sizeof(e), len - sizeof(e), ret);
	if (e.h_proto == htons(ETH_P_IPV6))
		return parse_nd(frame, frame + sizeof(e), len - sizeof(e), ret);
	return -EBADMSG;
}
