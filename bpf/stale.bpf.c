/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* An iterator over the sockets that remember a Service: it names the connected UDP sockets whose endpoint serves no more. They would
 * never ask again, and no packet program stands on the node's own way out. Whom it names the agent aborts (src/datapath/stale.c). */
#include "lib/service_sock.h"

/* Of the kernel's own types only what is read here; the loader finds out where it lies. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sock_common {
	volatile unsigned char skc_state;
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

/* A socket is connected through one name only: connect() forgets the others. */
static __always_inline bool pair_serves(const struct service_pair *p)
{
	struct service_frontend *f = service_find(&p->vip, p->vip_port, IPPROTO_UDP, SERVICE_INTERNAL);

	return f && service_backend_of(f, p->id);
}

SEC("iter/bpf_sk_storage_map")
int find_stale(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	enum { CONNECTED = 1 /* TCP_ESTABLISHED */ };
	struct service_sock *value = ctx->value;
	struct service_stale stale = {};
	struct sock *sk = ctx->sk;

	if (!sk || !value || sk->sk_protocol != IPPROTO_UDP || sk->__sk_common.skc_state != CONNECTED)
		return 0;
	stale.pair = value->pairs[0];
	if (!stale.pair.id || pair_serves(&stale.pair))
		return 0;
	stale.cookie = bpf_get_socket_cookie(sk);
	bpf_seq_write(ctx->meta->seq, &stale, sizeof(stale));
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
