/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* cgroup: a socket asks for a Service and is connected with an endpoint at once, so its packets need no translation. What it hears
 * afterwards (the peer's name, the sender of a datagram) is put back, from what the socket itself remembers.
 *
 * An IPv6 socket may speak IPv4 (::ffff:a.b.c.d): addresses have that form here anyway. */
#include "lib/service_apart.h"
#include "lib/service_sock.h"

#include <linux/errno.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct service_netns);
} service_netns SEC(".maps");

enum { DENY, ALLOW };

static __always_inline void read_peer(const struct bpf_sock_addr *ctx, bool v6, struct ip_addr *addr)
{
	if (v6) {
		addr->w[0] = ctx->user_ip6[0];
		addr->w[1] = ctx->user_ip6[1];
		addr->w[2] = ctx->user_ip6[2];
		addr->w[3] = ctx->user_ip6[3];
	} else {
		addr_from_v4(addr, ctx->user_ip4);
	}
}

static __always_inline void write_peer(struct bpf_sock_addr *ctx, bool v6, const struct ip_addr *addr, __be16 port)
{
	if (v6) {
		ctx->user_ip6[0] = addr->w[0];
		ctx->user_ip6[1] = addr->w[1];
		ctx->user_ip6[2] = addr->w[2];
		ctx->user_ip6[3] = addr->w[3];
	} else {
		ctx->user_ip4 = addr->w[3];
	}
	ctx->user_port = port;
}

/* To whom a socket that asks for the unspecified address speaks: itself. No Service's. */
static __always_inline bool is_ours_to_see(const struct bpf_sock_addr *ctx, const struct ip_addr *addr)
{
	return (ctx->protocol == IPPROTO_TCP || ctx->protocol == IPPROTO_UDP) && !addr_is_any(addr);
}

/* As whom the socket's packets leave, as far as that is known: a pod has one address of a family; the host is known by the node's. */
static __always_inline struct service_netns *find_pod(struct bpf_sock_addr *ctx)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);

	return bpf_map_lookup_elem(&service_netns, &cookie);
}

static __always_inline void client_addr(const struct service_netns *pod, bool v4, struct ip_addr *ret)
{
	if (pod)
		*ret = v4 ? pod->addrs[0] : pod->addrs[1];
	else if (v4)
		addr_from_config(ret, &config.node_addrs[0]);
	else
		addr_from_config(ret, &config.node_addrs[1]);
}

/* Whom source ranges judge: the host's own sockets come to a load balancer's address by the node's address in its network. */
static __always_inline bool may_come(const struct service_frontend *f, const struct service_netns *pod, bool v4, const struct ip_addr *client)
{
	struct ip_addr source = *client;

	if (!pod && v4 && config.underlay[0].b[0] != ADDR_ABSENT_BYTE)
		addr_from_config(&source, &config.underlay[0]);
	else if (!pod && !v4 && config.underlay[1].b[0] != ADDR_ABSENT_BYTE)
		addr_from_config(&source, &config.underlay[1]);
	return service_lets_in(f, &source);
}

static __always_inline void forget(struct bpf_sock_addr *ctx)
{
	struct service_sock *s = ctx->sk ? bpf_sk_storage_get(&service_socks, ctx->sk, NULL, 0) : NULL;

	if (s)
		__builtin_memset(s, 0, sizeof(*s));
}

static __always_inline bool same_vip(const struct service_pair *p, const struct ip_addr *addr, __be16 port)
{
	return p->id && p->vip_port == port && addr_eq(&p->vip, addr);
}

/* Is the pair's backend still one of those that may be chosen? */
static __always_inline bool pair_lives(const struct service_frontend *f, const struct service_pair *p)
{
	return service_backend_of(f, p->id);
}

/* An unconnected socket that goes on speaking to a Service stays with its endpoint as long as that serves. */
static __always_inline bool find_pair(struct bpf_sock_addr *ctx, const struct service_frontend *f, const struct ip_addr *vip,
				      __be16 port, struct service_pair *ret)
{
	struct service_sock *s = bpf_sk_storage_get(&service_socks, ctx->sk, NULL, 0);

	if (!s)
		return false;
#pragma unroll
	for (int i = 0; i < SERVICE_PAIRS; i++)
		if (same_vip(&s->pairs[i], vip, port) && pair_lives(f, &s->pairs[i])) {
			*ret = s->pairs[i];
			return true;
		}
	return false;
}

/* Does the socket need what it remembers there? */
static __noinline bool pair_is_needed(struct bpf_sock_addr *ctx, const struct service_pair *of)
{
	struct service_pair p = *of; /* before 6.3 a map's key must lie in the function's own stack */
	struct service_frontend *f = service_find(&p.vip, p.vip_port, ctx->protocol, SERVICE_INTERNAL);

	return f && pair_lives(f, &p);
}

/* Where the next one goes when all places are taken: of whom may be heard no more. A pod's socket leaves a fifth Service to packets as long as there
 * is none; the host's loses the oldest, and hears that endpoint by its own name. */
static __always_inline __u32 find_place(struct bpf_sock_addr *ctx, const struct service_sock *s, bool pod)
{
#pragma unroll
	for (int i = 0; i < SERVICE_PAIRS; i++)
		if (!s->pairs[i].id || !pair_is_needed(ctx, &s->pairs[i]))
			return i;
	return pod ? SERVICE_PAIRS : s->next % SERVICE_PAIRS;
}

/* Remembers the way back. Return: false when the socket speaks to the backend under another name already: what comes from it could
 * not be told apart; and when it has no room. */
static __always_inline bool remember(struct bpf_sock_addr *ctx, const struct service_pair *pair, bool only, bool pod)
{
	struct service_sock *s = bpf_sk_storage_get(&service_socks, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	__u32 place;

	if (!s)
		return false;
	if (only) {
		__builtin_memset(s, 0, sizeof(*s));
		s->pairs[0] = *pair;
		s->next = 1;
		return true;
	}
	place = SERVICE_PAIRS;
#pragma unroll
	for (int i = 0; i < SERVICE_PAIRS; i++) {
		struct service_pair *p = &s->pairs[i];

		if (!p->id)
			continue;
		if (same_vip(p, &pair->vip, pair->vip_port))
			place = i; /* its endpoint is gone */
		else if (p->backend_port == pair->backend_port && addr_eq(&p->backend, &pair->backend))
			return false;
	}
	if (place >= SERVICE_PAIRS)
		place = find_place(ctx, s, pod);
	if (place >= SERVICE_PAIRS)
		return false;
	s->pairs[place] = *pair;
	s->next = place + 1;
	return true;
}

static __always_inline int refuse(int error)
{
	bpf_set_retval(error);
	return DENY;
}

/* To a pod's own endpoint the packet goes out and comes back in (from_pod), so that policy sees it; and so does whatever the socket
 * cannot tell apart. The host has no such way. */
static __always_inline int leave_to_packets(const struct service_netns *pod)
{
	service_count(SERVICE_LEFT_TO_PACKETS);
	return pod ? ALLOW : refuse(-EADDRNOTAVAIL);
}

static __always_inline int no_endpoint(enum service_answer answer, const struct service_netns *pod)
{
	if (answer == SERVICE_REFUSE) {
		service_count(SERVICE_REFUSED);
		return refuse(-ECONNREFUSED);
	}
	service_count(SERVICE_DROPPED);
	return pod ? ALLOW : refuse(-ETIMEDOUT); /* from_pod drops it */
}

/* Of a socket that speaks to others as well. Without a port it has not spoken yet, to nobody. */
static __always_inline int leave_datagram(struct bpf_sock_addr *ctx, const struct service_netns *pod, const struct ip_addr *client, const struct ip_addr *vip,
					  __be16 port)
{
	struct service_apart key = { .client = *client, .vip = *vip, .vip_port = port };
	__u32 nothing = 0;

	if (ctx->sk)
		key.client_port = bpf_htons(ctx->sk->src_port);
	if (pod && key.client_port && !bpf_map_lookup_elem(&service_aparts, &key))
		bpf_map_update_elem(&service_aparts, &key, &nothing, BPF_ANY);
	return leave_to_packets(pod);
}

/* @only: the socket speaks to nobody else from now on */
static __always_inline int translate(struct bpf_sock_addr *ctx, bool v6, bool only)
{
	struct service_backend b = {};
	struct service_pair pair = {};
	struct service_frontend *f;
	struct service_netns *pod;
	struct service_ask ask;
	struct ip_addr vip;
	__be16 port = ctx->user_port;
	bool v4;

	read_peer(ctx, v6, &vip);
	if (!is_ours_to_see(ctx, &vip))
		return ALLOW;
	f = service_find(&vip, port, ctx->protocol, SERVICE_INTERNAL);
	if (likely(!f)) {
		if (only)
			forget(ctx);
		return ALLOW;
	}
	pod = find_pod(ctx);
	v4 = addr_is_v4(&vip);
	client_addr(pod, v4, &ask.client);
	if (!may_come(f, pod, v4, &ask.client))
		return no_endpoint(SERVICE_DROP, pod);
	if (only && pod && config.inbound && ctx->protocol == IPPROTO_UDP)
		return leave_to_packets(pod); /* connected, it would never come here again, and stay with an endpoint that is gone */
	if (f->slots == 0)
		return no_endpoint(service_empty(f), pod);
	if (!only && find_pair(ctx, f, &vip, port, &pair)) {
		write_peer(ctx, v6, &pair.backend, pair.backend_port);
		return ALLOW;
	}
	ask.hash = bpf_get_prandom_u32();
	if (service_choose(f, &ask, &b, &pair.id) != SERVICE_CHOSEN)
		return no_endpoint(SERVICE_REFUSE, pod);
	if (pod && addr_eq(&b.addr, &ask.client))
		return leave_to_packets(pod);
	pair.vip = vip;
	pair.vip_port = port;
	pair.backend = b.addr;
	pair.backend_port = b.port;
	if (!remember(ctx, &pair, only, pod))
		return only ? leave_to_packets(pod) : leave_datagram(ctx, pod, &ask.client, &vip, port);
	service_count(SERVICE_TRANSLATED_SOCKET);
	write_peer(ctx, v6, &b.addr, b.port);
	return ALLOW;
}

/* The name under which the socket asked for whoever it hears from. */
static __always_inline int restore(struct bpf_sock_addr *ctx, bool v6)
{
	struct service_sock *s = ctx->sk ? bpf_sk_storage_get(&service_socks, ctx->sk, NULL, 0) : NULL;
	struct ip_addr peer;

	if (likely(!s))
		return ALLOW;
	read_peer(ctx, v6, &peer);
#pragma unroll
	for (int i = 0; i < SERVICE_PAIRS; i++) {
		struct service_pair *p = &s->pairs[i];

		if (p->id && p->backend_port == (__be16)ctx->user_port && addr_eq(&p->backend, &peer)) {
			write_peer(ctx, v6, &p->vip, p->vip_port);
			return ALLOW;
		}
	}
	return ALLOW;
}

SEC("cgroup/connect4")
int sock_connect4(struct bpf_sock_addr *ctx)
{
	return translate(ctx, false, true);
}

SEC("cgroup/connect6")
int sock_connect6(struct bpf_sock_addr *ctx)
{
	return translate(ctx, true, true);
}

/* A connected socket hears its peer only, whomever it sends to. It comes here with an address of its own making when it is an IPv6
 * one that speaks IPv4, for each datagram. */
static __always_inline int translate_datagram(struct bpf_sock_addr *ctx, bool v6)
{
	enum { CONNECTED = 1 /* TCP_ESTABLISHED */ };

	return ctx->sk && ctx->sk->state == CONNECTED ? ALLOW : translate(ctx, v6, false);
}

SEC("cgroup/sendmsg4")
int sock_sendmsg4(struct bpf_sock_addr *ctx)
{
	return translate_datagram(ctx, false);
}

SEC("cgroup/sendmsg6")
int sock_sendmsg6(struct bpf_sock_addr *ctx)
{
	return translate_datagram(ctx, true);
}

SEC("cgroup/recvmsg4")
int sock_recvmsg4(struct bpf_sock_addr *ctx)
{
	return restore(ctx, false);
}

SEC("cgroup/recvmsg6")
int sock_recvmsg6(struct bpf_sock_addr *ctx)
{
	return restore(ctx, true);
}

SEC("cgroup/getpeername4")
int sock_getpeer4(struct bpf_sock_addr *ctx)
{
	return restore(ctx, false);
}

SEC("cgroup/getpeername6")
int sock_getpeer6(struct bpf_sock_addr *ctx)
{
	return restore(ctx, true);
}

char _license[] SEC("license") = "Dual BSD/GPL";
