/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* An iterator over the sockets that remember a Service: it names those whose endpoint is lost to them. Connected UDP would never ask again,
 * and no packet program stands on the node's own way out. TCP goes on with its endpoint until that is removed, and is named then only
 * where the Service asks for it. Whom it names the agent aborts (src/datapath/stale.c). */
#include "lib/service_sock.h"

/* Of the kernel's own types only what is read here; the loader finds out where it lies. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct net {
	__u64 net_cookie;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	volatile unsigned char skc_state;
	possible_net_t skc_net;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *sk;
	struct service_sock *value;
};
#pragma clang attribute pop

/* Not one that waits for its own end only (include/net/tcp_states.h). */
static __always_inline bool is_connected(__u8 proto, __u8 state)
{
	enum { ESTABLISHED = 1, SYN_SENT = 2, FIN_WAIT1 = 4, FIN_WAIT2 = 5, CLOSE_WAIT = 8 };
	const __u32 tcp = 1 << ESTABLISHED | 1 << SYN_SENT | 1 << FIN_WAIT1 | 1 << FIN_WAIT2 | 1 << CLOSE_WAIT;

	return proto == IPPROTO_UDP ? state == ESTABLISHED : proto == IPPROTO_TCP && tcp >> (state & 31) & 1;
}

/* As long as it is some endpoint of the Service, ready or not, a connection may go on: it may be about to end in good order. */
static __always_inline bool is_removed(__u32 id)
{
	struct service_backend *b = bpf_map_lookup_elem(&service_backends, &id);

	return !b || b->flags & SERVICE_GONE;
}

/* A socket is connected through one name only: connect() forgets the others. */
static __always_inline bool is_lost(__u8 proto, const struct service_pair *p)
{
	struct service_frontend *f = service_find(&p->vip, p->vip_port, proto, SERVICE_INTERNAL);

	if (proto == IPPROTO_UDP)
		return !f || !service_backend_of(f, p->id);
	return f && f->flags & SERVICE_RESET && is_removed(p->id);
}

SEC("iter/bpf_sk_storage_map")
int find_stale(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct service_sock *value = ctx->value;
	struct service_stale stale = {};
	struct sock *sk = ctx->sk;

	if (!sk || !value)
		return 0;
	stale.proto = sk->sk_protocol;
	stale.pair = value->pairs[0];
	if (!stale.pair.id || !is_connected(stale.proto, sk->__sk_common.skc_state) || !is_lost(stale.proto, &stale.pair))
		return 0;
	stale.netns = sk->__sk_common.skc_net.net->net_cookie;
	stale.cookie = bpf_get_socket_cookie(sk);
	bpf_seq_write(ctx->meta->seq, &stale, sizeof(stale));
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
