/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A packet, parsed once: both families become one struct, extension headers and options are followed. Headers are read where they lie;
 * those outside of the linear part, and rare ones, through bpf_skb_load_bytes(), whose call costs more than the reading. */
#pragma once

#include "lib/prelude.h"
#include "weft/drop.h"

#include <linux/icmpv6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

enum { EXTENSION_HEADERS_MAX = 8, IPPROTO_MOBILITY = 135, FRAGMENT_EXTENSIONS_MAX = 1536 };

enum packet_fragment { FRAGMENT_NONE, FRAGMENT_FIRST, FRAGMENT_LATER };

enum packet_icmp {
	ICMP_NOT,
	ICMP_ERROR, /* quotes the packet that it is about */
	ICMP_REDIRECTS,
	ICMP_QUERY, /* echo and whatever else is neither of these */
	ICMP_ND,    /* RFC 4861 and multicast listener discovery: stays on the link */
};

struct packet {
	struct ip_addr src, dst;
	__be16 sport, dport; /* ICMP echo: the identifier in both */
	__u8 proto;	     /* of the header at l4_off */
	__u8 tcp_flags;	     /* byte 13 of the header */
	__u8 icmp;	     /* enum packet_icmp */
	__u8 icmp_type;
	__u8 ttl;
	__u8 fragment; /* enum packet_fragment */
	__u16 fragment_off; /* bytes; of a first one: of the extension headers that are fragmented, too */
	union {
		__u32 fragment_id;
		__u32 rule; /* once policy has dropped it: by which rule, 0: by none. (The stack is short.) */
	};
	__u32 l3_off, l4_off; /* from the start of the frame */
	__u32 ip_len;	      /* the IP packet with its header */
	bool v6;
	bool translated; /* its flow came from outside for a Service: set by flow_track() */
	bool via_stack; /* its flow went through the stack and returns through it: set by flow_track(), icmp_check_error() */
	bool untagged; /* the four bytes behind the ports are zero: in SCTP of INIT only (RFC 9260 8.5.1) */
};

enum tcp_flag { TCP_FIN = 0x01, TCP_SYN = 0x02, TCP_RST = 0x04, TCP_ACK = 0x10 };

/* <linux/icmp.h> drags in C library headers. */
#define ICMP4_ECHO_REPLY 0
#define ICMP4_UNREACHABLE 3
#define ICMP4_SOURCE_QUENCH 4
#define ICMP4_REDIRECT 5
#define ICMP4_ECHO_REQUEST 8
#define ICMP4_TIME_EXCEEDED 11
#define ICMP4_PARAMETER_PROBLEM 12
#define ICMP4_TIMESTAMP_REPLY 14
#define ICMP4_INFORMATION_REPLY 16
#define ICMP4_MASK_REPLY 18

#define MLD_QUERY 130
#define MLD_REPORT 131
#define MLD_DONE 132
#define ND_ROUTER_SOLICIT 133
#define ND_ROUTER_ADVERT 134
#define ND_NEIGHBOUR_SOLICIT 135
#define ND_NEIGHBOUR_ADVERT 136
#define ND_REDIRECT 137
#define NI_REPLY 140 /* RFC 4620 */
#define MLD2_REPORT 143

static __always_inline bool proto_is_icmp(__u8 proto)
{
	return proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
}

static __always_inline enum packet_icmp icmp4_kind(__u8 type)
{
	switch (type) {
	case ICMP4_UNREACHABLE:
	case ICMP4_SOURCE_QUENCH:
	case ICMP4_TIME_EXCEEDED:
	case ICMP4_PARAMETER_PROBLEM:
		return ICMP_ERROR;
	case ICMP4_REDIRECT:
		return ICMP_REDIRECTS;
	default:
		return ICMP_QUERY;
	}
}

static __always_inline enum packet_icmp icmp6_kind(__u8 type)
{
	if (type < 128) /* RFC 4443 2.1 */
		return ICMP_ERROR;
	if (type == ND_REDIRECT)
		return ICMP_REDIRECTS;
	if ((type >= MLD_QUERY && type <= ND_NEIGHBOUR_ADVERT) || type == MLD2_REPORT)
		return ICMP_ND;
	return ICMP_QUERY;
}

/* Headers of common packets begin before this. */
#define PACKET_NEAR 256

/* Reads @n bytes (a constant, whole words, as @to is aligned) at @off. Return: 0, or not 0 when the packet is shorter. */
static __always_inline long packet_read(struct __sk_buff *skb, __u32 off, void *to, __u32 n)
{
	void *data = (void *)(long)skb->data;

	if (unlikely(off >= PACKET_NEAR || data + off + n > (void *)(long)skb->data_end))
		return bpf_skb_load_bytes(skb, off, to, n);
#pragma unroll
	for (__u32 i = 0; i < n / 4; i++)
		((__u32 *)to)[i] = ((const __u32 *)(data + off))[i];
	return 0;
}

/* What an ICMP error quotes is rare, and read far down the stack of calls, where there is no room for a second way. */
static __always_inline long packet_read_header(struct __sk_buff *skb, __u32 off, void *to, __u32 n, bool quoted)
{
	return quoted ? bpf_skb_load_bytes(skb, off, to, n) : packet_read(skb, off, to, n);
}

/* Bytes of transport header that must be there; a quoted packet is cut after 8 (RFC 792). */
static __always_inline __u32 transport_len(__u8 proto, bool quoted)
{
	if (quoted)
		return 8;
	if (proto == IPPROTO_TCP)
		return 20;
	return proto == IPPROTO_SCTP ? 12 : 8;
}

static __always_inline bool transport_is_known(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE || proto == IPPROTO_SCTP ||
	       proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
}

/* Source routes (RFC 791, options 131 and 137) would lead a packet around every judgement of its destination. */
__global enum drop_reason check_options(struct __sk_buff *skb, __u32 off, __u32 end)
{
	for (int i = 0; i < 40; i++) {
		__u8 option[2];

		if (off >= end)
			return DROP_NONE;
		if (bpf_skb_load_bytes(skb, off, option, 1))
			return DROP_TRUNCATED;
		if (option[0] == IPOPT_END)
			return DROP_NONE;
		if (option[0] == IPOPT_NOOP) {
			off++;
			continue;
		}
		if (option[0] == IPOPT_LSRR || option[0] == IPOPT_SSRR)
			return DROP_SOURCE_ROUTE;
		if (off + 2 > end || bpf_skb_load_bytes(skb, off, option, 2) || option[1] < 2 || off + option[1] > end)
			return DROP_MALFORMED;
		off += option[1];
	}
	return DROP_NONE;
}

static __always_inline enum drop_reason parse_ipv4(struct __sk_buff *skb, struct packet *pkt, bool quoted)
{
	struct iphdr ip;
	__u32 header, fragment;

	if (packet_read_header(skb, pkt->l3_off, &ip, sizeof(ip), quoted))
		return DROP_TRUNCATED;
	header = ip.ihl * 4;
	if (ip.version != 4 || header < sizeof(ip))
		return DROP_MALFORMED;
	pkt->ip_len = bpf_ntohs(ip.tot_len);
	if (!quoted) {
		if (pkt->ip_len == 0 && skb->gso_size) /* longer than 64 kB, on its way through this machine */
			pkt->ip_len = skb->len - pkt->l3_off;
		if (pkt->ip_len < header || pkt->l3_off + pkt->ip_len > skb->len)
			return DROP_MALFORMED;
	}
	addr_from_v4(&pkt->src, ip.saddr);
	addr_from_v4(&pkt->dst, ip.daddr);
	pkt->ttl = ip.ttl;
	pkt->proto = ip.protocol;
	pkt->l4_off = pkt->l3_off + header;
	fragment = bpf_ntohs(ip.frag_off);
	if (unlikely(fragment & 0x3fff)) {
		pkt->fragment_off = (fragment & 0x1fff) * 8;
		pkt->fragment = pkt->fragment_off ? FRAGMENT_LATER : FRAGMENT_FIRST;
		pkt->fragment_id = ip.id;
	}
	if (unlikely(header > sizeof(ip)) && !quoted)
		return check_options(skb, pkt->l3_off + sizeof(ip), pkt->l4_off);
	return DROP_NONE;
}

struct extension {
	__u8 next, len;
	union {
		__be16 offset; /* fragment header */
		struct {
			__u8 type, segments_left; /* routing header */
		};
	};
	__be32 id;
};

static __always_inline bool proto_is_extension(__u8 proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_DSTOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_FRAGMENT ||
	       proto == IPPROTO_AH || proto == IPPROTO_MOBILITY;
}

/* Follows the chain of extension headers from pkt->l4_off; leaves pkt at the transport header. The frame may be longer than the packet: what stands
 * behind its end is not what the receiver reads, who of a first fragment goes on in the next one (RFC 8200 4.5). */
__global enum drop_reason parse_extensions(struct __sk_buff *skb, struct packet *pkt)
{
	struct extension ext;
	__u32 off, end, begun = 0; /* what is fragmented */
	__u8 proto;

	if (!pkt)
		return DROP_MALFORMED;
	off = pkt->l4_off;
	end = pkt->l3_off + pkt->ip_len;
	proto = pkt->proto;
	for (int i = 0; i < EXTENSION_HEADERS_MAX; i++) {
		bool more = proto_is_extension(proto);

		if (off + (more ? sizeof(ext) : 0) > end)
			return pkt->fragment == FRAGMENT_FIRST ? DROP_FRAGMENT_TINY : DROP_TRUNCATED;
		if (!more) {
			if (pkt->fragment == FRAGMENT_FIRST) {
				if (off - begun > FRAGMENT_EXTENSIONS_MAX)
					return DROP_EXTENSION_HEADERS;
				pkt->fragment_off = off - begun;
			}
			pkt->l4_off = off;
			pkt->proto = proto;
			return DROP_NONE;
		}
		if (bpf_skb_load_bytes(skb, off, &ext, sizeof(ext)))
			return DROP_TRUNCATED;
		if (proto == IPPROTO_ROUTING && (ext.type == 0 || ext.segments_left)) /* RFC 5095 */
			return DROP_SOURCE_ROUTE;
		if (proto == IPPROTO_FRAGMENT) {
			off += sizeof(ext);
			pkt->fragment_off = bpf_ntohs(ext.offset) & 0xfff8;
			pkt->fragment_id = ext.id;
			if (pkt->fragment_off) { /* what follows is payload */
				pkt->fragment = FRAGMENT_LATER;
				pkt->l4_off = off;
				pkt->proto = ext.next;
				return DROP_NONE;
			}
			if (ext.offset & bpf_htons(1)) /* else RFC 6946: an atomic fragment is a whole packet */
				pkt->fragment = FRAGMENT_FIRST;
			begun = off;
		} else if (proto == IPPROTO_AH) {
			off += (ext.len + 2) * 4;
		} else {
			off += (ext.len + 1) * 8;
		}
		proto = ext.next;
	}
	return DROP_EXTENSION_HEADERS;
}

static __always_inline enum drop_reason parse_ipv6(struct __sk_buff *skb, struct packet *pkt, bool quoted)
{
	struct ipv6hdr ip;

	if (packet_read_header(skb, pkt->l3_off, &ip, sizeof(ip), quoted))
		return DROP_TRUNCATED;
	if (ip.version != 6)
		return DROP_MALFORMED;
	pkt->ip_len = bpf_ntohs(ip.payload_len) + sizeof(ip);
	if (!quoted) {
		if (ip.payload_len == 0 && skb->gso_size)
			pkt->ip_len = skb->len - pkt->l3_off;
		if (pkt->l3_off + pkt->ip_len > skb->len)
			return DROP_MALFORMED;
	}
	__builtin_memcpy(&pkt->src, &ip.saddr, 16);
	__builtin_memcpy(&pkt->dst, &ip.daddr, 16);
	if (addr_is_v4(&pkt->src) || addr_is_v4(&pkt->dst))
		return DROP_V4_MAPPED;
	pkt->v6 = true;
	pkt->ttl = ip.hop_limit;
	pkt->proto = ip.nexthdr;
	pkt->l4_off = pkt->l3_off + sizeof(ip);
	if (unlikely(proto_is_extension(ip.nexthdr)))
		return parse_extensions(skb, pkt);
	return DROP_NONE;
}

static __always_inline enum drop_reason parse_icmp(struct packet *pkt, const __u8 *header)
{
	__u8 type = header[0];
	bool echo = pkt->v6 ? type == ICMPV6_ECHO_REQUEST || type == ICMPV6_ECHO_REPLY :
			      type == ICMP4_ECHO_REQUEST || type == ICMP4_ECHO_REPLY;

	if (pkt->v6 != (pkt->proto == IPPROTO_ICMPV6)) /* the other family's ICMP means nothing here */
		return DROP_MALFORMED;
	pkt->icmp_type = type;
	pkt->icmp = pkt->v6 ? icmp6_kind(type) : icmp4_kind(type);
	if (pkt->icmp != ICMP_QUERY && pkt->fragment != FRAGMENT_NONE) /* RFC 6980 5; an error fits into every MTU */
		return DROP_MALFORMED;
	if (echo)
		pkt->sport = pkt->dport = *(const __be16 *)(header + 4);
	return DROP_NONE;
}

static __always_inline enum drop_reason parse_transport(struct __sk_buff *skb, struct packet *pkt, bool quoted)
{
	__u8 header[16] __attribute__((aligned(8)));
	__u32 need = transport_len(pkt->proto, quoted);

	if (pkt->fragment == FRAGMENT_LATER || !transport_is_known(pkt->proto))
		return DROP_NONE;
	if (!quoted && pkt->l4_off + need > pkt->l3_off + pkt->ip_len)
		return pkt->fragment == FRAGMENT_FIRST ? DROP_FRAGMENT_TINY : DROP_TRUNCATED;
	if (pkt->proto == IPPROTO_TCP && !quoted) {
		if (packet_read(skb, pkt->l4_off, header, 16))
			return DROP_TRUNCATED;
		if (header[12] >> 4 < 5)
			return DROP_MALFORMED;
		pkt->tcp_flags = header[13];
	} else if (packet_read_header(skb, pkt->l4_off, header, 8, quoted)) {
		return DROP_TRUNCATED;
	}
	if (pkt->proto == IPPROTO_ICMP || pkt->proto == IPPROTO_ICMPV6)
		return parse_icmp(pkt, header);
	pkt->sport = *(__be16 *)header;
	pkt->dport = *(__be16 *)(header + 2);
	pkt->untagged = *(__be32 *)(header + 4) == 0;
	return DROP_NONE;
}

/**
 * packet_parse() - understand the IP packet at @off
 * @protocol: ethertype, network order
 * @quoted: it is the payload of an ICMP error: may be cut off, and only its addresses and ports are of interest
 *
 * @pkt is filled as far as the packet was understood, also when it is to be dropped.
 */
static __always_inline enum drop_reason packet_parse(struct __sk_buff *skb, __u32 off, __be16 protocol, bool quoted,
						     struct packet *pkt)
{
	enum drop_reason why;

	pkt->l3_off = off;
	if (protocol == bpf_htons(ETH_P_IP))
		why = parse_ipv4(skb, pkt, quoted);
	else if (protocol == bpf_htons(ETH_P_IPV6))
		why = parse_ipv6(skb, pkt, quoted);
	else
		return protocol == bpf_htons(ETH_P_ARP) ? DROP_ARP : DROP_ETHERTYPE;
	if (why != DROP_NONE)
		return why;
	return parse_transport(skb, pkt, quoted);
}

static __always_inline bool icmp_is_reply(__u8 type, bool v6)
{
	if (v6)
		return type == ICMPV6_ECHO_REPLY || type == NI_REPLY;
	return type == ICMP4_ECHO_REPLY || type == ICMP4_TIMESTAMP_REPLY || type == ICMP4_INFORMATION_REPLY || type == ICMP4_MASK_REPLY;
}

/* A connection of TCP. */
static __always_inline bool tcp_begins(const struct packet *pkt)
{
	return (pkt->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Does it answer nothing, whoever began the flow? ICMP that is no reply, SCTP's INIT, TCP's SYN without ACK. */
static __always_inline bool packet_asks(const struct packet *pkt)
{
	if (pkt->proto == IPPROTO_TCP)
		return tcp_begins(pkt);
	return pkt->icmp == ICMP_QUERY ? !icmp_is_reply(pkt->icmp_type, pkt->v6) : pkt->untagged && pkt->proto == IPPROTO_SCTP;
}

static __always_inline bool packet_is_multicast(const struct packet *pkt)
{
	if (pkt->v6)
		return pkt->dst.b[0] == 0xff;
	return pkt->dst.b[12] >= 224; /* multicast, class E, broadcast */
}

/* Largest IP packet that this one becomes on the wire: a TCP or UDP superpacket is cut into segments. */
static __always_inline __u32 packet_wire_len(struct __sk_buff *skb, const struct packet *pkt)
{
	__u8 doff;

	if (!skb->gso_size)
		return pkt->ip_len;
	if (pkt->proto != IPPROTO_TCP)
		return pkt->l4_off - pkt->l3_off + 8 + skb->gso_size;
	if (bpf_skb_load_bytes(skb, pkt->l4_off + 12, &doff, 1))
		return pkt->ip_len;
	return pkt->l4_off - pkt->l3_off + (doff >> 4) * 4 + skb->gso_size;
}
