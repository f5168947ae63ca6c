/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: two devices joined by a wire that the test controls, in virtual time. Nothing here sleeps. A test with more
 * devices defines PAIR_NODES first, and makes those and their peers itself. */
#pragma once

#include "wg/inbound.h"
#include "wg/outbound.h"
#include "wg/packet.h"

#ifndef PAIR_NODES
#define PAIR_NODES 2
#endif
enum { WIRE_MAX = 4096, WIRE_MSG = 2048 };

struct pair;

struct node {
	struct pair *pair;
	int id; /* place among the nodes; also the port it sends from */
	struct device device;
	struct peer *peer;
	struct outbound out;
	struct inbound in;
	struct data_stats stats;
	int64_t real_offset; /* its wall clock minus virtual time */
	unsigned initiations, responses, cookies, keepalives, data; /* messages sent */
	unsigned delivered;
	uint32_t last_payload;
	bool in_order;
	int way_out;	    /* what it is told about routes; 0: nothing */
	size_t queue_depth; /* told to the device with each handshake message */
	struct handshake_message waiting[HANDSHAKES_MAX];
	unsigned n_waiting;
};

struct wire_msg {
	int to;
	size_t len;
	struct endpoint from;
	uint8_t data[WIRE_MSG];
};

struct pair {
	struct node n[PAIR_NODES];
	int64_t now;
	bool together; /* handshake messages are taken together, when nothing is on the wire any more */
	struct wire_msg wire[WIRE_MAX];
	unsigned head, count;
	/* Return: whether the message may pass; may change it. NULL: all pass. */
	bool (*filter)(struct pair *p, struct wire_msg *m);
	void *ctx;
};

static inline struct endpoint pair_endpoint(int id)
{
	struct endpoint e = { .to.in4 = { .sin_family = AF_INET, .sin_port = htons(1000 + id) } };

	e.to.in4.sin_addr.s_addr = htonl(0xc0000200 + id);
	return e;
}

static inline void pair_count(struct node *n, const uint8_t *msg, size_t len)
{
	switch (msg[0]) {
	case MSG_INITIATION:
		n->initiations++;
		break;
	case MSG_RESPONSE:
		n->responses++;
		break;
	case MSG_COOKIE:
		n->cookies++;
		break;
	default:
		n->keepalives += len == DATA_OVERHEAD;
		n->data += len > DATA_OVERHEAD;
	}
}

static inline void pair_put(struct node *n, const struct endpoint *to, const void *msg, size_t len)
{
	struct pair *p = n->pair;
	struct wire_msg *m = &p->wire[(p->head + p->count) % WIRE_MAX];

	pair_count(n, msg, len);
	if (p->count == WIRE_MAX || len > WIRE_MSG)
		return;
	m->to = ntohs(to->to.in4.sin_port) - 1000;
	m->len = len;
	m->from = pair_endpoint(n->id);
	memcpy(m->data, msg, len);
	if (m->to < 0 || m->to >= PAIR_NODES)
		return;
	if (!p->filter || p->filter(p, m))
		p->count++;
}

static inline void pair_op_send(void *ctx, struct peer *peer _unused_, const struct endpoint *to, const void *msg, size_t len)
{
	pair_put(ctx, to, msg, len);
}

static inline void pair_send_runs(void *ctx, const struct run *runs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		for (uint32_t at = 0; at < runs[i].len; at += runs[i].segment)
			pair_put(ctx, &runs[i].to, runs[i].data + at, MIN(runs[i].len - at, (uint32_t)runs[i].segment));
	}
}

static inline void pair_op_keepalive(void *ctx, struct peer *peer, struct session *s, int64_t now)
{
	struct node *n = ctx;

	outbound_keepalive(&n->out, peer, s, now);
	outbound_flush(&n->out);
}

static inline void pair_op_staged(void *ctx, struct peer *peer, struct session *s, int64_t now)
{
	struct node *n = ctx;
	struct staged *w;
	bool some = false;

	while ((w = peer_unstage(peer))) {
		if (w->len) {
			outbound_on_session(&n->out, peer, s, &w->hdr, w->data, w->len, now);
			some = true;
		}
		outbound_flush(&n->out);
		peer_staged_done(peer, w);
	}
	if (!some)
		pair_op_keepalive(ctx, peer, s, now);
}

static inline int pair_op_way_out(void *ctx, const struct endpoint *e _unused_)
{
	return ((struct node *)ctx)->way_out;
}

static inline void pair_op_wake(void *ctx _unused_)
{
}

static inline int64_t pair_op_real_time(void *ctx)
{
	struct node *n = ctx;

	return n->pair->now + n->real_offset;
}

static inline void pair_op_keys_gone(void *ctx)
{
	struct node *n = ctx;

	aead_forget(&n->in.aead);
	aead_forget(&n->out.aead);
}

static const struct device_ops pair_ops = { .send = pair_op_send,
					    .send_keepalive = pair_op_keepalive,
					    .send_staged = pair_op_staged,
					    .way_out = pair_op_way_out,
					    .wake = pair_op_wake,
					    .keys_gone = pair_op_keys_gone,
					    .real_time = pair_op_real_time };

static inline int pair_deliver(void *ctx, const struct iovec *iov, int n, unsigned packets)
{
	struct node *node = ctx;
	uint32_t payload;

	if (n == 2 && iov[1].iov_len >= IP4_HDR + 4) {
		payload = get32((const uint8_t *)iov[1].iov_base + IP4_HDR);
		node->in_order &= payload > node->last_payload;
		node->last_payload = payload;
	}
	node->delivered += packets;
	return 0;
}

static inline void pair_take_waiting(struct node *n)
{
	unsigned waiting = n->n_waiting;

	n->n_waiting = 0;
	if (waiting)
		device_on_handshakes(&n->device, n->pair->now, n->waiting, waiting, n->queue_depth);
}

static inline void pair_on_handshake(void *ctx, const uint8_t *msg, size_t len, const struct endpoint *from)
{
	struct node *n = ctx;
	struct handshake_message *m = &n->waiting[n->n_waiting++];

	m->from = *from;
	m->len = len;
	memcpy(m->msg, msg, len);
	if (!n->pair->together || n->n_waiting == HANDSHAKES_MAX)
		pair_take_waiting(n);
}

static inline void pair_init_node(struct pair *p, int id, const uint8_t *priv)
{
	struct node *n = &p->n[id];

	n->pair = p;
	n->id = id;
	n->in_order = true;
	n->real_offset = INT64_C(1700000000) * NS_PER_S;
	device_init(&n->device, &pair_ops, n);
	device_set_key(&n->device, priv);
	outbound_init(&n->out, &n->device, &n->stats);
	n->out.send = pair_send_runs;
	n->out.ctx = n;
	inbound_init(&n->in, &n->device, &n->stats);
	n->in.handshake = pair_on_handshake;
	n->in.ctx = n;
	n->in.join.deliver = pair_deliver;
	n->in.join.ctx = n;
}

/* Node i has address 10.0.0.i; node 0 knows where node 1 is. Both are up. */
static inline void pair_init(struct pair *p)
{
	uint8_t priv[2][KEY_LEN];
	struct endpoint other = pair_endpoint(1);

	memset(p, 0, sizeof(*p));
	p->now = 1000 * NS_PER_S;
	for (int i = 0; i < 2; i++) {
		memset(priv[i], 0x41 + i, KEY_LEN);
		pair_init_node(p, i, priv[i]);
	}
	for (int i = 0; i < 2; i++) {
		struct prefix range;
		struct addr host;

		p->n[i].peer = device_add_peer(&p->n[i].device, p->n[!i].device.identity.pub);
		prefix_parse(i ? "10.0.0.0/32" : "10.0.0.1/32", &range, &host);
		allowedips_insert(&p->n[i].device.allowed, &range, p->n[i].peer, &p->n[i].peer->allowed);
		device_set_up(&p->n[i].device, true, p->now);
	}
	peer_set_endpoint(p->n[0].peer, &other);
}

static inline void pair_done(struct pair *p)
{
	for (int i = 0; i < 2; i++) {
		outbound_done(&p->n[i].out);
		inbound_done(&p->n[i].in);
		device_done(&p->n[i].device);
	}
}

static inline void pair_receive(struct node *n, uint8_t *data, size_t len, const struct endpoint *from)
{
	inbound_message(&n->in, data, len, len, from, 0, n->pair->now);
	inbound_flush(&n->in, n->pair->now);
}

/* The first message on the wire arrives. */
static inline void pair_pass_one(struct pair *p)
{
	struct wire_msg m = p->wire[p->head];

	p->head = (p->head + 1) % WIRE_MAX;
	p->count--;
	pair_receive(&p->n[m.to], m.data, m.len, &m.from);
}

/* Until nothing is on the wire and nothing is due at this moment. */
static inline void pair_settle(struct pair *p)
{
	for (;;) {
		for (int i = 0; i < PAIR_NODES; i++)
			device_run(&p->n[i].device, p->now);
		if (!p->count)
			break;
		while (p->count)
			pair_pass_one(p);
		for (int i = 0; p->together && i < PAIR_NODES; i++)
			pair_take_waiting(&p->n[i]);
	}
}

/* Lets time pass, stopping at each deadline. */
static inline void pair_run_until(struct pair *p, int64_t end)
{
	for (;;) {
		int64_t next;

		pair_settle(p);
		next = MIN(device_run(&p->n[0].device, p->now), device_run(&p->n[1].device, p->now));
		if (p->count)
			continue;
		if (next >= end)
			break;
		p->now = MAX(next, p->now + 1);
	}
	p->now = end;
	pair_settle(p);
}

/* One packet of 100 bytes that carries @payload. */
static inline void pair_send_to(struct pair *p, int from, int to, uint32_t payload)
{
	struct virtio_net_hdr hdr = { 0 };
	uint8_t pkt[100] = { 0x45 };

	put16(pkt + 2, sizeof(pkt));
	pkt[8] = 64;
	pkt[9] = 253; /* experimental: never joined */
	put32(pkt + 12, 0x0a000000 + from);
	put32(pkt + 16, 0x0a000000 + to);
	ip4_set_checksum(pkt, IP4_HDR);
	put32(pkt + IP4_HDR, payload);
	outbound_packet(&p->n[from].out, &hdr, pkt, sizeof(pkt), p->now);
	outbound_flush(&p->n[from].out);
}

static inline void pair_send(struct pair *p, int from, uint32_t payload)
{
	pair_send_to(p, from, !from, payload);
}
