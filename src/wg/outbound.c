/* SPDX-License-Identifier: Apache-2.0 */
/* The buffer is filled front to back: header, packet, padding and tag of one datagram, then the next. So a run's datagrams
 * are contiguous and UDP_SEGMENT cuts them where we joined them. Full-size TCP segments line up by construction.
 * Packets of one session are sealed together, a few at a time while the processor's cache still has them. */
#include "wg/outbound.h"

#include "wg/icmp.h"
#include "wg/packet.h"
#include "wg/segment.h"

enum { ICMP_PER_SECOND = 100, ICMP_BURST = 50 };

void outbound_init(struct outbound *o, struct device *d, struct data_stats *stats)
{
	static const struct mtus none;

	*o = (struct outbound){ .device = d, .stats = stats, .gso = true };
	aead_init(&o->aead, true);
	o->mtus = &none;
	o->buf = xmalloc(OUTBOUND_BUF);
}

void outbound_done(struct outbound *o)
{
	aead_done(&o->aead);
	free(o->buf);
	o->buf = NULL;
}

static void seal_waiting(struct outbound *o)
{
	if (o->n_unsealed)
		aead_seal_many(&o->aead, o->session->id, o->session->send_key, o->unsealed, o->n_unsealed);
	o->n_unsealed = 0;
}

void outbound_flush(struct outbound *o)
{
	seal_waiting(o);
	if (o->n_runs)
		o->send(o->ctx, o->runs, o->n_runs);
	o->n_runs = 0;
	o->used = 0;
}

static bool run_takes(const struct outbound *o, const struct run *r, const struct peer *p, size_t len, uint8_t ds, uint8_t hops)
{
	return o->gso && r->peer == p && r->ds == ds && r->hops == hops && len <= r->segment && r->count < RUN_SEGMENTS_MAX &&
	       r->len + len <= RUN_BYTES_MAX && r->len == (uint32_t)r->count * r->segment;
}

/* Room for a datagram of @len bytes at the end of the last run, or of a new one. */
static uint8_t *reserve(struct outbound *o, struct peer *p, size_t len, uint8_t ds, uint8_t hops)
{
	struct run *r = o->n_runs ? &o->runs[o->n_runs - 1] : NULL;
	uint8_t *at;

	if (o->used + len > OUTBOUND_BUF || (o->n_runs == RUNS_MAX && !run_takes(o, r, p, len, ds, hops))) {
		outbound_flush(o);
		r = NULL;
	}
	at = o->buf + o->used;
	o->used += len;
	if (r && run_takes(o, r, p, len, ds, hops)) {
		r->len += len;
		r->count++;
		return at;
	}
	o->runs[o->n_runs++] = (struct run){ .peer = p,
					     .to = peer_endpoint(p),
					     .data = at,
					     .len = len,
					     .segment = len,
					     .count = 1,
					     .ds = ds,
					     .hops = hops };
	return at;
}

static void seal(struct outbound *o, struct session *s, uint64_t counter, uint8_t *at, size_t len, size_t padded)
{
	struct msg_data h = { .type = htole32(MSG_DATA),
			      .receiver = htole32(s->remote_index),
			      .counter = htole64(counter) };

	memcpy(at, &h, sizeof(h));
	memset(at + sizeof(h) + len, 0, padded - len);
	if (o->session != s || o->n_unsealed == UNSEALED_MAX)
		seal_waiting(o);
	o->session = s;
	o->unsealed[o->n_unsealed++] = (struct aead_packet){ .text = at + sizeof(h), .len = padded, .counter = counter };
}

/* Counters for @n messages. They end long before they wrap: REJECT_AFTER_MESSAGES leaves 2^13 spare ones. */
static uint64_t take_counters(struct session *s, unsigned n)
{
	return atomic_fetch_add_explicit(&s->sent, n, memory_order_relaxed);
}

void outbound_keepalive(struct outbound *o, struct peer *p, struct session *s, int64_t now)
{
	struct endpoint to = peer_endpoint(p);

	if (!endpoint_is_set(&to))
		return;
	seal(o, s, take_counters(s, 1), reserve(o, p, DATA_OVERHEAD, 0, 0), 0, 0);
	STAT_ADD(o->stats, keepalives_sent, 1);
	device_note_sent(p, s, now, DATA_OVERHEAD, false);
}

/* ECN of the inner packet goes outside; a mark that it already carries does not (RFC 6040 4.1). */
static uint8_t outer_ds(const uint8_t *pkt)
{
	uint8_t ecn = ip_ecn(pkt);

	return ecn == ECN_CE ? ECN_ECT0 : ecn;
}

void outbound_on_session(struct outbound *o, struct peer *p, struct session *s, const struct virtio_net_hdr *hdr,
			 const uint8_t *pkt, size_t len, int64_t now)
{
	size_t n, bytes = 0;
	uint8_t ds = outer_ds(pkt);
	struct segmenter seg;
	int count = segment_begin(&seg, hdr, pkt, len), hops;
	uint64_t counter;

	if (count < 0) {
		STAT_ADD(o->stats, drop_malformed_tun, 1);
		return;
	}
	hops = nested_hop_limit(&o->nested, pkt, len);
	if (hops < 0) {
		STAT_ADD(o->stats, drop_loop, count);
		return;
	}
	counter = take_counters(s, count);
	while ((n = segment_next_len(&seg))) {
		size_t padded = padded_len(n, o->mtus);
		uint8_t *at;

		if (padded + DATA_OVERHEAD > 65507) /* no datagram can carry it */
			padded = n;
		at = reserve(o, p, padded + DATA_OVERHEAD, ds, hops);
		segment_next(&seg, at + sizeof(struct msg_data));
		seal(o, s, counter++, at, n, padded);
		bytes += padded + DATA_OVERHEAD;
	}
	STAT_ADD(o->stats, tun_read_packets, count);
	device_note_sent(p, s, now, bytes, true);
}

static struct peer *find_peer(const struct device *d, const uint8_t *pkt, size_t len)
{
	if (len >= IP4_HDR && pkt[0] >> 4 == 4)
		return allowedips_find_v4(&d->allowed, pkt + 16);
	if (len >= IP6_HDR && pkt[0] >> 4 == 6)
		return allowedips_find_v6(&d->allowed, pkt + 24);
	return NULL;
}

static bool may_send_icmp(struct outbound *o, int64_t now)
{
	const int64_t cost = NS_PER_S / ICMP_PER_SECOND;

	o->icmp_tokens_ns = MIN(cost * ICMP_BURST, o->icmp_tokens_ns + now - o->icmp_filled_at);
	o->icmp_filled_at = now;
	if (o->icmp_tokens_ns < cost)
		return false;
	o->icmp_tokens_ns -= cost;
	return true;
}

/* Our own datagram to the peer: its endpoint lies behind itself. Sealing it again would go on for ever. */
static bool is_loop(const struct outbound *o, struct peer *p, const uint8_t *pkt, size_t len)
{
	uint16_t port = atomic_load_explicit(&o->device->port, memory_order_relaxed);
	size_t at = port ? ip_udp_at(pkt, len) : 0;
	struct endpoint to;

	if (!at || memcmp(pkt + at, &port, sizeof(port)) != 0)
		return false;
	to = peer_endpoint(p);
	if (memcmp(pkt + at + 2, &to.to.in4.sin_port, 2) != 0) /* at the same place for both families */
		return false;
	return pkt[0] >> 4 == 4 ? to.to.sa.sa_family == AF_INET && memcmp(pkt + 16, &to.to.in4.sin_addr, 4) == 0 :
				  to.to.sa.sa_family == AF_INET6 && memcmp(pkt + 24, &to.to.in6.sin6_addr, 16) == 0;
}

static void refuse(struct outbound *o, const uint8_t *pkt, size_t len, int64_t now)
{
	uint8_t icmp[ICMP_UNREACHABLE_MAX];
	size_t n = may_send_icmp(o, now) ? icmp_unreachable(pkt, len, icmp) : 0;

	if (n && o->reply)
		o->reply(o->ctx, icmp, n);
}

void outbound_packet(struct outbound *o, const struct virtio_net_hdr *hdr, const uint8_t *pkt, size_t len, int64_t now)
{
	struct session *s;
	struct endpoint to;
	struct peer *p;

	STAT_ADD(o->stats, tun_reads, 1);
	if (!ip_length(pkt, len)) {
		STAT_ADD(o->stats, drop_malformed_tun, 1);
		return;
	}
	p = find_peer(o->device, pkt, len);
	if (!p) {
		STAT_ADD(o->stats, drop_no_peer, 1);
		refuse(o, pkt, len, now);
		return;
	}
	if (is_loop(o, p, pkt, len)) {
		STAT_ADD(o->stats, drop_loop, 1);
		return;
	}
	s = device_sending_session(p, now);
	if (s && !atomic_load_explicit(&p->staged_count, memory_order_relaxed)) {
		outbound_on_session(o, p, s, hdr, pkt, len, now);
		return;
	}
	to = peer_endpoint(p);
	if (!endpoint_is_set(&to)) {
		STAT_ADD(o->stats, drop_no_endpoint, 1);
		refuse(o, pkt, len, now);
		return;
	}
	STAT_ADD(o->stats, drop_staged, peer_stage(p, hdr, pkt, len));
	device_post(p, s ? PEER_STAGED : PEER_WANTS_HANDSHAKE);
}
