/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* XDP on an uplink: a packet of a Service's connection that is under way, and leaves by the uplink that it came by, is sent on before the
 * kernel makes an skb of it. Clients' to an endpoint on another node or outside, and what such an endpoint answers.
 *
 * Nothing is decided here but what can be decided again (lib/dsr_way.h): of DSR by Maglev the first packet as well is sent on. from_net makes all other entries, and judges
 * all that begins, ends or is out of the ordinary: whatever this program does not find to be plain and known it passes, untouched, so that the result is from_net's. What it sends is what from_net would send, byte
 * by byte (tests/bpf/xdp_test.c), and entries and counters are kept by the same functions.
 *
 * The neighbour: bpf_redirect_neigh() tells the kernel that one is in use, a lookup does not, and one that nobody uses is never asked whether
 * it still has its MAC address. So each connection leaves a packet to from_net now and then (is_turn_of_stack()).
 *
 * An skb's checksum may be one that is still to be computed (veth, virtio without a wire in between): then the field holds the sum of the
 * pseudo header, which is mended another way. Only an skb says so, so a packet that might be one is passed.
 *
 * What became of the packet before is remembered for a moment (lib/xdp_recent.h): of a connection that is busy the most packets need no more than that. */
#include "lib/counter.h"
#include "lib/guard.h"
#include "lib/hop.h"
#include "lib/inbound.h"
#include "lib/xdp_recent.h"

#include <linux/tcp.h>
#include <linux/udp.h>

enum { XDP_STACK_TURN_TICKS = 8, XDP_NO_MTU = 0xffff, XDP_AF_INET = 2, XDP_AF_INET6 = 10 };

/* Where the headers of a packet are in the frame. The program is there twice, once a family, so each lies at a distance that the compiler knows, and
 * the verifier what may be read. */
struct headers {
	bool v6;
	bool bare; /* nothing is behind TCP's header */
	__u32 len; /* of the frame */
	struct ethhdr *eth;
	__sum16 *sum; /* of the transport header */
};

static __always_inline struct iphdr *ip4_of(const struct headers *h)
{
	return (void *)(h->eth + 1);
}

static __always_inline struct ipv6hdr *ip6_of(const struct headers *h)
{
	return (void *)(h->eth + 1);
}

/* Source, destination. */
static __always_inline __be16 *ports_of(const struct headers *h)
{
	return h->v6 ? (void *)(ip6_of(h) + 1) : (void *)(ip4_of(h) + 1);
}

/* Of TCP; of UDP it means nothing. */
static __always_inline __be32 seq_of(const struct headers *h)
{
	return *(__be32 *)(ports_of(h) + 2);
}

/* What becomes of a packet, and how that was found. */
struct onward {
	struct xdp_onward *to;
	const struct ip_addr *hop; /* of a node; NULL: the kernel's routes know */
	struct nat_claim *claim; /* what it goes by: one of these */
	struct nat_forward *forward;
	struct dsr_way *way;
	bool busy; /* not the first one of the tick */
	struct xdp_recent *fresh; /* a line for a connection that a SYN begins; NULL: there is none */
};

/* ---- what is plain ---- */

static __always_inline bool find_tcp(void *l4, const void *end, struct packet *pkt, struct headers *h)
{
	struct tcphdr *tcp = l4;

	if ((void *)(tcp + 1) > end || tcp->doff < 5)
		return false;
	pkt->tcp_flags = ((__u8 *)l4)[13];
	h->sum = &tcp->check;
	h->bare = pkt->l4_off + 4 * tcp->doff == pkt->l3_off + pkt->ip_len;
	return true;
}

static __always_inline bool find_transport(void *l4, const void *end, struct packet *pkt, struct headers *h)
{
	struct udphdr *udp = l4;

	if (pkt->l4_off + transport_len(pkt->proto, false) > pkt->l3_off + pkt->ip_len || (void *)(udp + 1) > end)
		return false;
	pkt->sport = udp->source;
	pkt->dport = udp->dest;
	if (pkt->proto == IPPROTO_TCP)
		return find_tcp(l4, end, pkt, h);
	h->sum = &udp->check;
	return pkt->proto == IPPROTO_UDP && !(config.tunnel_port && pkt->dport == bpf_htons(config.tunnel_port));
}

static __always_inline bool find_ipv4(const void *end, struct packet *pkt, struct headers *h)
{
	struct iphdr *ip = ip4_of(h);

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
	struct ipv6hdr *ip = ip6_of(h);

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

/* TCP or UDP, without options, extension headers or fragments, whole, and with a hop left to go. */
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
static __always_inline bool may_come(struct packet *pkt, __u32 ifindex)
{
	if (config.guard && guard_forbids(&pkt->src, &pkt->dst))
		return false;
	if (addr_is_node(&pkt->src) || addr_is_in_range(&pkt->src) || endpoint_find(&pkt->src))
		return false;
	return addr_may_come_plain(&pkt->src, ifindex, false);
}

/* ---- what is known ---- */

/* @seen: tick of the connection's latest packet this way */
static __always_inline bool is_turn_of_stack(struct onward *o, __u32 seen)
{
	__u32 now = tick_now();

	o->busy = seen == now;
	return !o->busy && now % XDP_STACK_TURN_TICKS == 0;
}

/* An endpoint's answer, to a client that came by this uplink. */
static __always_inline bool find_way_back(struct xdp_md *ctx, struct nat_claim *claim, struct onward *o)
{
	if (claim->uplink != ctx->ingress_ifindex || claim->state.stage != FLOW_OPEN || claim->state.origin & FLOW_ASKED ||
	    is_turn_of_stack(o, claim->state.seen))
		return false;
	o->to->src = claim->front;
	o->to->sport = claim->front_port;
	o->to->dst = claim->addr;
	o->to->dport = claim->port;
	o->to->way = FORWARD_CLIENT;
	o->to->mtu = XDP_NO_MTU;
	o->claim = claim;
	return true;
}

/* By which way is the endpoint reached? Another node's by no tunnel, one outside as the kernel routes. */
static __always_inline bool find_endpoint(struct xdp_md *ctx, const struct packet *pkt, struct ip_addr *to, struct onward *o)
{
	struct node_route *route = node_route_find(to);

	if (endpoint_find(to))
		return false;
	o->to->way = FORWARD_CLIENT;
	o->to->mtu = XDP_NO_MTU;
	if (!route)
		return !addr_is_node(to);
	o->to->way = FORWARD_DIRECT;
	o->to->mtu = route->mtu < XDP_NO_MTU ? route->mtu : XDP_NO_MTU;
	o->hop = &route->underlay;
	return route->transport == TRANSPORT_DIRECT && route->ifindex == ctx->ingress_ifindex && pkt->ip_len <= route->mtu;
}

/* Stays as it is. */
static __always_inline void put_onward(const struct packet *pkt, struct xdp_onward *to)
{
	to->src = pkt->src;
	to->sport = pkt->sport;
	to->dst = pkt->dst;
	to->dport = pkt->dport;
}

/* By DSR, without entries. Who begins has been chosen for (choose()); without a line of its own it must have no way, either, which the next packet would take. Of datagrams
 * the first one of a tick is from_net's, which asks whether the way still stands. */
static __always_inline bool find_dsr_way(struct xdp_md *ctx, const struct packet *pkt, const struct nat_key *key, struct onward *o)
{
	struct dsr_way *way = o->fresh ? NULL : dsr_way_find(key);
	struct ip_addr to = o->to->dst;

	if (tcp_begins(pkt))
		return !way && find_endpoint(ctx, pkt, &to, o) && o->to->way == FORWARD_DIRECT;
	if (!way || !inbound_backend_serves(pkt, way->backend) || is_turn_of_stack(o, way->seen) || (pkt->proto == IPPROTO_UDP && !o->busy))
		return false;
	o->way = way;
	o->to->backend = pkt->proto == IPPROTO_TCP ? 0 : way->backend;
	to = way->to;
	put_onward(pkt, o->to);
	return find_endpoint(ctx, pkt, &to, o) && o->to->way == FORWARD_DIRECT;
}

/* A client's, for an endpoint. */
static __always_inline bool find_way_out(struct xdp_md *ctx, struct packet *pkt, struct onward *o)
{
	struct nat_forward *forward;
	struct ip_addr to;
	struct nat_key key;

	nat_key_of(pkt, true, &key);
	forward = o->fresh ? NULL : bpf_map_lookup_elem(&nat_forward, &key); /* what an earlier connection left is looked at when this one goes on */
	if (!forward || !forward->backend)
		return find_dsr_way(ctx, pkt, &key, o);
	if (tcp_begins(pkt) || !forward->open || !inbound_backend_serves(pkt, forward->backend) || is_turn_of_stack(o, forward->seen))
		return false;
	to = forward->to;
	o->forward = forward;
	o->to->backend = pkt->proto == IPPROTO_TCP ? 0 : forward->backend;
	put_onward(pkt, o->to);
	if (!forward->direct) {
		o->to->src = forward->addr;
		o->to->sport = forward->port;
		o->to->dst = to;
		o->to->dport = forward->to_port;
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
			return !tcp_begins(pkt) && find_way_back(ctx, claim, o);
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
	ask->ipv4_src = o->to->src.w[3];
	ask->ipv4_dst = o->to->dst.w[3];
	ask->tos = ip4_of(h)->tos;
}

static __always_inline void ask_ipv6(const struct headers *h, const struct onward *o, struct bpf_fib_lookup *ask)
{
	ask->family = XDP_AF_INET6;
	__builtin_memcpy(ask->ipv6_src, &o->to->src, 16);
	__builtin_memcpy(ask->ipv6_dst, &o->to->dst, 16);
	ask->flowinfo = *(__be32 *)ip6_of(h) & bpf_htonl(0x0fffffff);
}

/* Did the kernel find the hop itself, and no router to it? */
static __always_inline bool is_hop(const struct bpf_fib_lookup *ask, const struct ip_addr *hop)
{
	if (ask->family == XDP_AF_INET)
		return ask->ipv4_dst == hop->w[3];
	return ask->ipv6_dst[0] == hop->w[0] && ask->ipv6_dst[1] == hop->w[1] && ask->ipv6_dst[2] == hop->w[2] && ask->ipv6_dst[3] == hop->w[3];
}

/* Asks as bpf_redirect_neigh() does. The frame must have come to the address that the answer will leave from. */
static __always_inline bool find_neighbour(struct xdp_md *ctx, const struct packet *pkt, const struct headers *h, struct onward *o,
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
	__builtin_memcpy(o->to->dmac, ask->dmac, ETH_ALEN);
	__builtin_memcpy(o->to->smac, ask->smac, ETH_ALEN);
	if (ask->mtu_result < o->to->mtu)
		o->to->mtu = ask->mtu_result;
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
static __always_inline __u64 put_addrs4(const struct packet *pkt, struct iphdr *ip, const struct xdp_onward *to)
{
	__u64 change = change_of(pkt->src.w[3], to->src.w[3]) + change_of(pkt->dst.w[3], to->dst.w[3]);

	ip->check = nat_mend(ip->check, diff_of(change));
	ip->saddr = to->src.w[3];
	ip->daddr = to->dst.w[3];
	return change;
}

static __always_inline __u64 put_addrs6(const struct packet *pkt, struct ipv6hdr *ip, const struct xdp_onward *to)
{
	__builtin_memcpy(&ip->saddr, &to->src, 2 * sizeof(to->src));
	return (__u32)bpf_csum_diff((__be32 *)pkt->src.w, 2 * sizeof(pkt->src), (__be32 *)to->src.w, 2 * sizeof(to->src), 0);
}

/* As nat_rewrite() does for each end: one difference comes to the same sum as two. */
static __always_inline void put_ends(const struct packet *pkt, const struct headers *h, const struct xdp_onward *to)
{
	__be16 *ports = ports_of(h);
	__u64 change = h->v6 ? put_addrs6(pkt, ip6_of(h), to) : put_addrs4(pkt, ip4_of(h), to);

	change += change_of((__u32)pkt->sport | (__u32)pkt->dport << 16, (__u32)to->sport | (__u32)to->dport << 16);
	ports[0] = to->sport;
	ports[1] = to->dport;
	if (pkt->proto == IPPROTO_UDP && !*h->sum)
		return;
	*h->sum = nat_mend(*h->sum, diff_of(change));
	if (pkt->proto == IPPROTO_UDP && !*h->sum)
		*h->sum = 0xffff;
}

static __always_inline int send(const struct packet *pkt, const struct headers *h, const struct xdp_onward *to)
{
	put_ends(pkt, h, to);
	if (h->v6)
		hop_take6(ip6_of(h));
	else
		hop_take4(ip4_of(h));
	__builtin_memcpy(h->eth->h_dest, to->dmac, ETH_ALEN);
	__builtin_memcpy(h->eth->h_source, to->smac, ETH_ALEN);
	count_bytes(COUNTER_FORWARDS + to->way, h->len);
	count_bytes(COUNTER_XDP, h->len);
	return XDP_TX;
}

/* ---- the ways to it ---- */

static __always_inline bool find_recent(struct xdp_md *ctx, const struct packet *pkt, const struct headers *h, struct xdp_recent_at *ret)
{
	return xdp_recent_at(pkt, ctx->ingress_ifindex, h->v6 ? *(__be32 *)ip6_of(h) : ip4_of(h)->tos, ret);
}

/* Does what is asked of each packet hold for this one, too? */
static __always_inline bool may_follow(const struct packet *pkt, const struct headers *h, const struct xdp_onward *to)
{
	__u32 id = to->backend;
	struct service_backend *b;

	if (pkt->ip_len > to->mtu || !mac_eq(to->smac, h->eth->h_dest) || is_sum_to_come(pkt, h))
		return false;
	if (!id)
		return true;
	b = bpf_map_lookup_elem(&service_backends, &id);
	return b && b->roles;
}

/* It stays as it is. */
static __always_inline void begin(const struct packet *pkt, const struct xdp_recent_at *at, const struct onward *o)
{
	if (o->fresh)
		xdp_recent_begin(o->fresh, at, o->to);
	put_onward(pkt, o->to);
	service_count(SERVICE_TRANSLATED_PACKET);
}

/* The long way. A function of its own, whose stack is free again when the packet is written. @ret: of a connection that begins as choose() left it, else empty */
static __noinline bool look_up(struct xdp_md *ctx, struct packet *pkt, const struct headers *h, const struct xdp_recent_at *at, struct xdp_onward *ret)
{
	struct bpf_fib_lookup neighbour = {};
	struct onward o = { .to = ret };

	if (tcp_begins(pkt))
		o.fresh = xdp_recent_unused(at);
	if (!find_way(ctx, pkt, &o))
		return false;
	if (!may_come(pkt, ctx->ingress_ifindex) || is_sum_to_come(pkt, h) || !find_neighbour(ctx, pkt, h, &o, &neighbour))
		return false;
	if (tcp_begins(pkt)) {
		begin(pkt, at, &o);
		return true;
	}
	xdp_recent_put(at, ret, o.busy);
	if (o.claim)
		nat_touch_in(pkt, o.claim);
	else if (o.forward)
		nat_touch_out(pkt, o.forward);
	else if (o.way)
		dsr_way_touch(pkt, o.way);
	return true;
}

/* As inbound_choose() does, where it can be done again, and leads to another node's pod for which a packet of DSR needs no tunnel: that is of node ports only. Not in
 * the stack's turn. */
__global int choose(const struct packet *pkt, struct xdp_onward *ret)
{
	struct service_key key = { .scope = SERVICE_EXTERNAL };
	struct service_frontend *f;
	struct service_backend *b;
	__u32 id;

	if (!pkt || !ret)
		return false;
	key.addr = pkt->dst;
	key.port = pkt->dport;
	key.proto = pkt->proto;
	if (bpf_map_lookup_elem(&service_frontends, &key)) /* an address's own goes before (service_find()); a node's are never a Service's as a whole */
		return false;
	f = service_find_node_port(&key);
	if (!f || !service_tells_again(f) || !f->slots || !inbound_is_client(&pkt->src) || !service_lets_in(f, &pkt->src) ||
	    tick_now() % XDP_STACK_TURN_TICKS == 0)
		return false;
	id = service_draw(f, inbound_hash(pkt));
	b = service_backend_of(f, id);
	if (!b || b->flags & (SERVICE_ON_THIS_NODE | SERVICE_HOST))
		return false;
	ret->dst = b->addr;
	ret->backend = id;
	return true;
}

/* Does an earlier connection of the same ends stand, which its client has not ended? Who it is that speaks nobody knows, so it stays. */
static __always_inline bool earlier_stands(struct nat_key *inside, const struct ip_addr *to)
{
	struct nat_forward *forward = bpf_map_lookup_elem(&nat_forward, inside);
	struct nat_key key = *inside;
	struct nat_claim *claim;
	struct dsr_way *way;

	if (!forward || !forward->backend) {
		way = dsr_way_find(inside);
		return way && !way->ends && !way->gone && !addr_eq(&way->to, to);
	}
	nat_key_outside(&key, forward);
	claim = bpf_map_lookup_elem(&nat_claims, &key);
	if (claim && claim->state.stage == FLOW_OPEN && !claim->state.fin)
		return true;
	inbound_forget(inside, forward);
	return false;
}

/* The client of a connection that a SYN began speaks again, as its number shows: it has a way from now on, and its line says what such lines say. Whatever else
 * comes from those ends goes the way that it went before. */
__global int go_on(const struct packet *pkt, struct xdp_recent *line, __be32 seq)
{
	struct ip_addr to;
	struct nat_key key;

	if (!pkt || !line)
		return 0;
	nat_key_of(pkt, true, &key);
	to = line->to.dst;
	if (bpf_ntohl(seq) != bpf_ntohl(line->to.src.w[0]) + 1 || earlier_stands(&key, &to)) {
		line->mark = 0;
		return 0;
	}
	dsr_way_put(&key, &to, line->to.backend);
	put_onward(pkt, &line->to);
	line->to.backend = 0;
	line->to.way &= ~XDP_BEGUN;
	return 0;
}

/* A plain SYN, in which nothing has to be changed. */
static __always_inline bool may_begin(const struct packet *pkt, const struct headers *h)
{
	return !config.mss_clamp && h->bare && tcp_begins(pkt) && !(pkt->tcp_flags & (TCP_FIN | TCP_RST));
}

static __always_inline int look_at(struct xdp_md *ctx, struct ethhdr *eth, bool v6)
{
	struct headers h = { .v6 = v6, .eth = eth };
	const struct xdp_onward *recent;
	struct xdp_recent_at at = {};
	struct xdp_recent *begun;
	struct xdp_onward to = {};
	struct packet pkt = {};

	if (!find_headers(ctx, &pkt, &h) || !find_recent(ctx, &pkt, &h, &at))
		return XDP_PASS;
	at.seq = seq_of(&h);
	if (!tcp_begins(&pkt)) {
		begun = xdp_recent_begun(&at);
		if (unlikely(begun))
			go_on(&pkt, begun, at.seq);
	}
	if (pkt.tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)) {
		xdp_recent_forget(&at);
		if (!may_begin(&pkt, &h))
			return XDP_PASS;
	}
	recent = xdp_recent_find(&at);
	if (recent)
		return may_follow(&pkt, &h, recent) ? send(&pkt, &h, recent) : XDP_PASS;
	if (tcp_begins(&pkt) && !choose(&pkt, &to))
		return XDP_PASS;
	return look_up(ctx, &pkt, &h, &at, &to) ? send(&pkt, &h, &to) : XDP_PASS;
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
