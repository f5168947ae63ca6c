/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* XDP on an uplink: a packet of a Service's connection that is under way, and leaves by the uplink that it came by, is sent on before the
 * kernel makes an skb of it. Clients' to an endpoint on another node or outside, and what such an endpoint answers.
 *
 * Nothing is decided here. from_net makes the entries, and judges all that begins, ends or is out of the ordinary: whatever this program does
 * not find to be plain and known it passes, untouched, so that the result is from_net's. What it sends is what from_net would send, byte
 * by byte (tests/bpf/xdp_test.c), and entries and counters are kept by the same functions.
 *
 * The neighbour: bpf_redirect_neigh() tells the kernel that one is in use, a lookup does not, and one that nobody uses is never asked whether
 * it still has its MAC address. So each connection leaves a packet to from_net now and then (is_turn_of_stack()).
 *
 * An skb's checksum may be one that is still to be computed (veth, virtio without a wire in between): then the field holds the sum of the
 * pseudo header, which is mended another way. Only an skb says so, so a packet that might be one is passed. */
#include "lib/counter.h"
#include "lib/guard.h"
#include "lib/hop.h"
#include "lib/inbound.h"

#include <linux/tcp.h>
#include <linux/udp.h>

enum { XDP_STACK_TURN_TICKS = 8, XDP_AF_INET = 2, XDP_AF_INET6 = 10 };

/* Where the headers of a packet are in the frame. Its address is never given away, so the compiler knows the family, and the verifier what may be
 * read: the program is there twice. */
struct headers {
	bool v6;
	struct ethhdr *eth;
	struct iphdr *ip4; /* or */
	struct ipv6hdr *ip6;
	__be16 *ports; /* source, destination */
	__sum16 *sum;  /* of the transport header */
	__u32 len;     /* of the frame */
};

/* What becomes of a packet. */
struct onward {
	struct nat_end src, dst;
	const struct ip_addr *hop; /* of a node; NULL: the kernel's routes know */
	enum forward_way way;
	struct nat_claim *claim; /* what it goes by: one of both */
	struct nat_forward *forward;
};

/* ---- what is plain ---- */

static __always_inline bool find_tcp(void *l4, const void *end, struct packet *pkt, struct headers *h)
{
	struct tcphdr *tcp = l4;

	if ((void *)(tcp + 1) > end || tcp->doff < 5)
		return false;
	pkt->tcp_flags = ((__u8 *)l4)[13];
	h->sum = &tcp->check;
	return !(pkt->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST));
}

static __always_inline bool find_transport(void *l4, const void *end, struct packet *pkt, struct headers *h)
{
	struct udphdr *udp = l4;

	if (pkt->l4_off + transport_len(pkt->proto, false) > pkt->l3_off + pkt->ip_len || (void *)(udp + 1) > end)
		return false;
	h->ports = l4;
	pkt->sport = h->ports[0];
	pkt->dport = h->ports[1];
	if (pkt->proto == IPPROTO_TCP)
		return find_tcp(l4, end, pkt, h);
	h->sum = &udp->check;
	return pkt->proto == IPPROTO_UDP && !(config.tunnel_port && pkt->dport == bpf_htons(config.tunnel_port));
}

static __always_inline bool find_ipv4(const void *end, struct packet *pkt, struct headers *h)
{
	struct iphdr *ip = h->ip4 = (void *)(h->eth + 1);

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl != 5 || ip->frag_off & bpf_htons(0x3fff))
		return false;
	addr_from_v4(&pkt->src, ip->saddr);
	addr_from_v4(&pkt->dst, ip->daddr);
	pkt->ttl = ip->ttl;
	pkt->proto = ip->protocol;
	pkt->ip_len = bpf_ntohs(ip->tot_len);
	pkt->l4_off = pkt->l3_off + sizeof(*ip);
	return find_transport(ip + 1, end, pkt, h);
}

static __always_inline bool find_ipv6(const void *end, struct packet *pkt, struct headers *h)
{
	struct ipv6hdr *ip = h->ip6 = (void *)(h->eth + 1);

	if ((void *)(ip + 1) > end || ip->version != 6)
		return false;
	__builtin_memcpy(&pkt->src, &ip->saddr, 16);
	__builtin_memcpy(&pkt->dst, &ip->daddr, 16);
	pkt->v6 = true;
	pkt->ttl = ip->hop_limit;
	pkt->proto = ip->nexthdr;
	pkt->ip_len = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	pkt->l4_off = pkt->l3_off + sizeof(*ip);
	return !addr_is_v4(&pkt->src) && !addr_is_v4(&pkt->dst) && find_transport(ip + 1, end, pkt, h);
}

/* TCP in its midst or UDP, without options, extension headers or fragments, whole, and with a hop left to go. */
static __always_inline bool find_headers(struct xdp_md *ctx, struct packet *pkt, struct headers *h)
{
	void *end = (void *)(long)ctx->data_end;

	pkt->l3_off = ETH_LEN;
	h->len = bpf_xdp_get_buff_len(ctx);
	return (h->v6 ? find_ipv6(end, pkt, h) : find_ipv4(end, pkt, h)) && pkt->ttl > 1 && pkt->l3_off + pkt->ip_len <= h->len;
}

/* Does the checksum's field hold the sum of the pseudo header? (Of a mapped IPv4 address the prefix counts as zero.) */
static __always_inline bool is_sum_to_come(const struct packet *pkt, const struct headers *h)
{
	__u64 sum = bpf_htonl(pkt->l3_off + pkt->ip_len - pkt->l4_off) + (__u64)bpf_htonl(pkt->proto);

#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += (__u64)pkt->src.w[i] + pkt->dst.w[i];
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return *h->sum == sum;
}

/* What from_net asks of every packet before it looks for a connection. */
static __always_inline bool may_come(struct packet *pkt)
{
	if (config.guard && guard_forbids(&pkt->src, &pkt->dst))
		return false;
	if (addr_is_node(&pkt->src) || addr_is_in_range(&pkt->src) || endpoint_find(&pkt->src))
		return false;
	return !config.tunnel_port || addr_may_come_plain(&pkt->src);
}

/* ---- what is known ---- */

/* @seen: tick of the connection's latest packet this way */
static __always_inline bool is_turn_of_stack(__u32 seen)
{
	__u32 now = tick_now();

	return seen != now && now % XDP_STACK_TURN_TICKS == 0;
}

/* An endpoint's answer, to a client that came by this uplink. */
static __always_inline bool find_way_back(struct xdp_md *ctx, struct nat_claim *claim, struct onward *o)
{
	if (claim->uplink != ctx->ingress_ifindex || claim->state.stage != FLOW_OPEN || claim->state.origin & FLOW_ASKED ||
	    is_turn_of_stack(claim->state.seen))
		return false;
	nat_front_of(claim, &o->src);
	o->dst.addr = claim->addr;
	o->dst.port = claim->port;
	o->way = FORWARD_CLIENT;
	o->claim = claim;
	return true;
}

/* By which way is the endpoint reached? Another node's by no tunnel, one outside as the kernel routes. */
static __always_inline bool find_endpoint(struct xdp_md *ctx, const struct packet *pkt, struct ip_addr *to, struct onward *o)
{
	struct node_route *route = node_route_find(to);

	if (endpoint_find(to))
		return false;
	o->way = FORWARD_CLIENT;
	if (!route)
		return !addr_is_node(to);
	o->way = FORWARD_DIRECT;
	o->hop = &route->underlay;
	return route->transport == TRANSPORT_DIRECT && route->ifindex == ctx->ingress_ifindex && pkt->ip_len <= route->mtu;
}

/* A client's, for an endpoint. */
static __always_inline bool find_way_out(struct xdp_md *ctx, struct packet *pkt, struct onward *o)
{
	struct nat_forward *forward;
	struct ip_addr to;
	struct nat_key key;

	nat_key_of(pkt, true, &key);
	forward = bpf_map_lookup_elem(&nat_forward, &key);
	if (!forward || !forward->backend || !forward->open || !inbound_backend_serves(pkt, forward) || is_turn_of_stack(forward->seen))
		return false;
	to = forward->to;
	o->forward = forward;
	o->src.addr = pkt->src;
	o->src.port = pkt->sport;
	o->dst.addr = pkt->dst;
	o->dst.port = pkt->dport;
	if (!forward->direct) {
		o->src.addr = forward->addr;
		o->src.port = forward->port;
		o->dst.addr = to;
		o->dst.port = forward->to_port;
	}
	return find_endpoint(ctx, pkt, &to, o);
}

static __always_inline bool find_way(struct xdp_md *ctx, struct packet *pkt, struct onward *o)
{
	struct nat_claim *claim;
	struct nat_key key;

	if (endpoint_find(&pkt->dst))
		return false;
	if (nat_may_claim(bpf_ntohs(pkt->dport))) { /* what a client asks for mostly cannot be: a look for nothing, in memory that is in no cache */
		nat_key_of(pkt, false, &key);
		claim = bpf_map_lookup_elem(&nat_claims, &key);
		if (claim)
			return find_way_back(ctx, claim, o);
	}
	return config.inbound && find_way_out(ctx, pkt, o);
}

/* ---- the neighbour ---- */

/* Of either family, whatever the packet's. */
static __always_inline void ask_hop(const struct ip_addr *hop, struct bpf_fib_lookup *ask)
{
	if (addr_is_v4(hop)) {
		ask->family = XDP_AF_INET;
		ask->ipv4_dst = hop->w[3];
	} else {
		ask->family = XDP_AF_INET6;
		__builtin_memcpy(ask->ipv6_dst, hop, 16);
	}
}

static __always_inline void ask_ipv4(const struct headers *h, const struct onward *o, struct bpf_fib_lookup *ask)
{
	ask->family = XDP_AF_INET;
	ask->ipv4_src = o->src.addr.w[3];
	ask->ipv4_dst = o->dst.addr.w[3];
	ask->tos = h->ip4->tos;
}

static __always_inline void ask_ipv6(const struct headers *h, const struct onward *o, struct bpf_fib_lookup *ask)
{
	ask->family = XDP_AF_INET6;
	__builtin_memcpy(ask->ipv6_src, &o->src.addr, 16);
	__builtin_memcpy(ask->ipv6_dst, &o->dst.addr, 16);
	ask->flowinfo = *(__be32 *)h->ip6 & bpf_htonl(0x0fffffff);
}

/* Did the kernel find the hop itself, and no router to it? */
static __always_inline bool is_hop(const struct bpf_fib_lookup *ask, const struct ip_addr *hop)
{
	if (ask->family == XDP_AF_INET)
		return ask->ipv4_dst == hop->w[3];
	return ask->ipv6_dst[0] == hop->w[0] && ask->ipv6_dst[1] == hop->w[1] && ask->ipv6_dst[2] == hop->w[2] && ask->ipv6_dst[3] == hop->w[3];
}

/* Asks as bpf_redirect_neigh() does. The frame must have come to the address that the answer will leave from. */
static __always_inline bool find_neighbour(struct xdp_md *ctx, const struct packet *pkt, const struct headers *h, const struct onward *o,
					   struct bpf_fib_lookup *ask)
{
	ask->ifindex = ctx->ingress_ifindex;
	ask->tot_len = pkt->ip_len;
	if (!o->hop)
		ask->l4_protocol = pkt->proto;
	if (o->hop)
		ask_hop(o->hop, ask);
	else if (h->v6)
		ask_ipv6(h, o, ask);
	else
		ask_ipv4(h, o, ask);
	if (bpf_fib_lookup(ctx, ask, sizeof(*ask), BPF_FIB_LOOKUP_OUTPUT) != BPF_FIB_LKUP_RET_SUCCESS ||
	    ask->ifindex != ctx->ingress_ifindex || !mac_eq(ask->smac, h->eth->h_dest))
		return false;
	return !o->hop || is_hop(ask, o->hop);
}

/* ---- the packet ---- */

/* In a checksum. */
static __always_inline __u64 change_of(__u32 old, __u32 new)
{
	return (__u64)(__u32)~old + new;
}

/* As bpf_csum_diff() gives it. */
static __always_inline __s64 diff_of(__u64 change)
{
	change = (change & 0xffffffff) + (change >> 32);
	return (change & 0xffffffff) + (change >> 32);
}

/* Return: what it is to the transport header's checksum. */
static __always_inline __u64 put_addrs4(const struct packet *pkt, struct iphdr *ip, const struct onward *o)
{
	__u64 change = change_of(pkt->src.w[3], o->src.addr.w[3]) + change_of(pkt->dst.w[3], o->dst.addr.w[3]);

	ip->check = nat_mend(ip->check, diff_of(change));
	ip->saddr = o->src.addr.w[3];
	ip->daddr = o->dst.addr.w[3];
	return change;
}

static __always_inline __u64 put_addrs6(const struct packet *pkt, struct ipv6hdr *ip, const struct onward *o)
{
	struct ip_addr old[2] = { pkt->src, pkt->dst }, new[2] = { o->src.addr, o->dst.addr };

	__builtin_memcpy(&ip->saddr, new, sizeof(new));
	return (__u32)bpf_csum_diff(old[0].w, sizeof(old), new[0].w, sizeof(new), 0);
}

/* As nat_rewrite() does for each end: one difference comes to the same sum as two. */
static __always_inline void put_ends(const struct packet *pkt, const struct headers *h, const struct onward *o)
{
	__u64 change = h->v6 ? put_addrs6(pkt, h->ip6, o) : put_addrs4(pkt, h->ip4, o);

	change += change_of((__u32)pkt->sport | (__u32)pkt->dport << 16, (__u32)o->src.port | (__u32)o->dst.port << 16);
	h->ports[0] = o->src.port;
	h->ports[1] = o->dst.port;
	if (pkt->proto == IPPROTO_UDP && !*h->sum)
		return;
	*h->sum = nat_mend(*h->sum, diff_of(change));
	if (pkt->proto == IPPROTO_UDP && !*h->sum)
		*h->sum = 0xffff;
}

static __always_inline int send(const struct packet *pkt, const struct headers *h, const struct onward *o, const struct bpf_fib_lookup *to)
{
	if (o->claim)
		nat_touch_in(pkt, o->claim);
	else if (o->forward)
		nat_touch_out(pkt, o->forward);
	put_ends(pkt, h, o);
	if (h->v6)
		hop_take6(h->ip6);
	else
		hop_take4(h->ip4);
	__builtin_memcpy(h->eth->h_dest, to->dmac, ETH_ALEN);
	__builtin_memcpy(h->eth->h_source, to->smac, ETH_ALEN);
	count_bytes(COUNTER_FORWARDS + o->way, h->len);
	count_bytes(COUNTER_XDP, h->len);
	return XDP_TX;
}

static __always_inline int look_at(struct xdp_md *ctx, struct ethhdr *eth, bool v6)
{
	struct headers h = { .v6 = v6, .eth = eth };
	struct bpf_fib_lookup neighbour = {};
	struct packet pkt = {};
	struct onward o = {};

	if (!find_headers(ctx, &pkt, &h) || !find_way(ctx, &pkt, &o))
		return XDP_PASS;
	if (!may_come(&pkt) || is_sum_to_come(&pkt, &h) || !find_neighbour(ctx, &pkt, &h, &o, &neighbour))
		return XDP_PASS;
	return send(&pkt, &h, &o, &neighbour);
}

SEC("xdp") /* frames in several buffers: open.c */
int xdp_net(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return look_at(ctx, eth, false);
	return eth->h_proto == bpf_htons(ETH_P_IPV6) ? look_at(ctx, eth, true) : XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
