/* SPDX-License-Identifier: Apache-2.0 */
/* What may be joined is what the kernel's own GRO joins. Order is kept: a flow's packets stay in order since a packet
 * that does not fit closes the flow's open item and starts a new one behind it, and items leave in the order in which
 * they were begun. A checksum is verified before a packet is joined, since the super-packet's is declared as "to be
 * computed": joining a damaged packet would heal it. */
#include "wg/coalesce.h"

#include "base/str.h"
#include "wg/packet.h"
#include "wg/segment.h"

enum { JOINABLE_FLAGS = TCP_ACK | TCP_PSH | TCP_ECE, IP_DF = 0x4000, TOTAL_MAX = 65535 };

struct view {
	uint8_t *pkt;
	size_t len, l4, headers;
	uint32_t hash;
	bool udp;
};

static bool checksum_ok(const struct view *v)
{
	uint64_t sum = csum_pseudo(v->pkt, v->udp ? IPPROTO_UDP : IPPROTO_TCP, v->len - v->l4);

	return csum_fold(csum_add(v->pkt + v->l4, v->len - v->l4, sum)) == 0xffff;
}

static bool look_ip(const struct coalescer *c, struct view *v)
{
	uint8_t proto;

	if (v->pkt[0] == 0x45) {
		if (v->len < IP4_HDR || get16(v->pkt + 6) & ~IP_DF)
			return false;
		v->l4 = IP4_HDR;
		proto = v->pkt[9];
	} else if (v->pkt[0] >> 4 == 6 && v->len >= IP6_HDR) {
		v->l4 = IP6_HDR;
		proto = v->pkt[6];
	} else {
		return false;
	}
	v->udp = proto == IPPROTO_UDP;
	return (proto == IPPROTO_TCP && c->tcp) || (v->udp && c->udp);
}

/* Whether the packet can be part of a super-packet at all. */
static bool look(const struct coalescer *c, struct view *v)
{
	const uint8_t *l4;

	if (!look_ip(c, v))
		return false;
	l4 = v->pkt + v->l4;
	if (v->udp) {
		v->headers = v->l4 + UDP_HDR;
		if (v->len <= v->headers || get16(l4 + 4) != v->len - v->l4 || !get16(l4 + 6))
			return false;
	} else {
		if (v->len < v->l4 + TCP_HDR)
			return false;
		v->headers = v->l4 + (size_t)(l4[12] >> 4) * 4;
		if (v->headers < v->l4 + TCP_HDR || v->len <= v->headers)
			return false;
		if (l4[13] & ~JOINABLE_FLAGS || !(l4[13] & TCP_ACK))
			return false;
	}
	if (v->pkt[0] >> 4 == 4 && csum_fold(csum_add(v->pkt, IP4_HDR, 0)) != 0xffff)
		return false;
	if (!checksum_ok(v))
		return false;
	v->hash = hash_bytes(l4, 4, v->pkt[v->l4 - 1]) * 31;
	return true;
}

/* The same flow: addresses, ports, version. */
static bool same_flow(const struct coalesce_item *it, const struct view *v)
{
	size_t addrs = v->l4 == IP4_HDR ? 12 : 8;

	return it->hash == v->hash && it->l4 == v->l4 && it->udp == v->udp &&
	       memcmp(it->pkt + addrs, v->pkt + addrs, v->l4 - addrs) == 0 &&
	       memcmp(it->pkt + v->l4, v->pkt + v->l4, 4) == 0;
}

static bool same_ip_fields(const struct coalesce_item *it, const struct view *v)
{
	const uint8_t *a = it->pkt, *b = v->pkt;
	uint16_t id;

	if (v->l4 == IP6_HDR)
		return memcmp(a, b, 4) == 0 && a[7] == b[7]; /* traffic class, flow label; hop limit */
	if (a[1] != b[1] || a[8] != b[8] || memcmp(a + 6, b + 6, 2) != 0)
		return false;
	id = get16(b + 4);
	if (id == it->next_id && !it->fixed_id)
		return true;
	return get16(a + 6) & IP_DF && id == get16(a + 4) && (it->count == 1 || it->fixed_id);
}

static bool same_tcp_fields(const struct coalesce_item *it, const struct view *v)
{
	const uint8_t *a = it->pkt + it->l4, *b = v->pkt + v->l4;

	return get32(b + 4) == it->next_seq && memcmp(a + 8, b + 8, 5) == 0 && /* ack, data offset */
	       ((it->last_flags ^ b[13]) & ~TCP_PSH) == 0 && memcmp(a + 14, b + 14, 2) == 0 &&
	       memcmp(a + TCP_HDR, b + TCP_HDR, v->headers - v->l4 - TCP_HDR) == 0;
}

static bool fits(const struct coalescer *c, const struct coalesce_item *it, const struct view *v)
{
	size_t payload = v->len - v->headers;

	return it->open && v->headers == it->headers && payload <= it->mss && it->count < COALESCE_PER_ITEM &&
	       it->total + payload <= TOTAL_MAX && c->n_more < COALESCE_PACKETS && same_ip_fields(it, v) &&
	       (it->udp || same_tcp_fields(it, v));
}

static void join(struct coalescer *c, struct coalesce_item *it, const struct view *v)
{
	size_t payload = v->len - v->headers;
	unsigned at = c->n_more++;

	c->more[at].data = v->pkt + v->headers;
	c->more[at].len = payload;
	c->more[at].next = 0;
	if (it->count == 1) {
		it->first_more = at;
		it->fixed_id = v->l4 == IP4_HDR && get16(v->pkt + 4) != it->next_id;
	} else {
		c->more[it->last_more].next = at;
	}
	it->last_more = at;
	it->count++;
	it->total += payload;
	it->next_id++;
	if (!it->udp) {
		it->next_seq += payload;
		it->last_flags = v->pkt[v->l4 + 13];
		it->open = !(it->last_flags & TCP_PSH);
	}
	if (payload < it->mss)
		it->open = false;
}

static struct coalesce_item *new_item(struct coalescer *c, uint8_t *pkt, size_t len)
{
	struct coalesce_item *it;

	if (c->n_items == COALESCE_ITEMS)
		coalesce_flush(c);
	it = &c->items[c->n_items++];
	*it = (struct coalesce_item){ .pkt = pkt, .len = len, .total = len, .count = 1 };
	return it;
}

static void start_item(struct coalescer *c, const struct view *v)
{
	struct coalesce_item *it = new_item(c, v->pkt, v->len);
	const uint8_t *l4 = v->pkt + v->l4;
	uint8_t bucket = v->hash ^ v->hash >> 8 ^ v->hash >> 16;

	it->l4 = v->l4;
	it->headers = v->headers;
	it->mss = v->len - v->headers;
	it->hash = v->hash;
	it->udp = v->udp;
	it->next_id = get16(v->pkt + 4) + 1;
	it->open = true;
	if (!v->udp) {
		it->next_seq = get32(l4 + 4) + (uint32_t)it->mss;
		it->last_flags = l4[13];
		it->open = !(l4[13] & TCP_PSH);
	}
	it->chain = c->buckets[bucket];
	c->buckets[bucket] = it - c->items + 1;
}

/* A packet that cannot be joined must not be overtaken by later ones of its flow: no item of its flow stays open. */
static void close_flow_of(struct coalescer *c, const struct view *v)
{
	const uint8_t *pkt = v->pkt;
	size_t addrs = pkt[0] >> 4 == 4 ? 12 : 8, n = pkt[0] >> 4 == 4 ? 8 : 32;

	if (v->len < addrs + n)
		return;
	for (unsigned i = 0; i < c->n_items; i++) {
		struct coalesce_item *it = &c->items[i];

		if (!it->open || it->pkt[0] >> 4 != pkt[0] >> 4 || memcmp(it->pkt + addrs, pkt + addrs, n) != 0)
			continue;
		/* ports where there are any to see; a fragment or a packet with options closes them all */
		if (!v->l4 || v->len < v->l4 + 4 || memcmp(it->pkt + it->l4, pkt + v->l4, 4) == 0)
			it->open = false;
	}
}

void coalesce_add(struct coalescer *c, uint8_t *pkt, size_t len)
{
	struct view v = { .pkt = pkt, .len = len };
	uint8_t bucket;

	if (!look(c, &v)) {
		close_flow_of(c, &v);
		new_item(c, pkt, len);
		return;
	}
	bucket = v.hash ^ v.hash >> 8 ^ v.hash >> 16;
	for (unsigned i = c->buckets[bucket]; i; i = c->items[i - 1].chain) {
		struct coalesce_item *it = &c->items[i - 1];

		if (!same_flow(it, &v))
			continue;
		if (fits(c, it, &v)) {
			join(c, it, &v);
			return;
		}
		it->open = false; /* the newest item of a flow is found first */
		break;
	}
	start_item(c, &v);
}

static void make_super(const struct coalesce_item *it, struct virtio_net_hdr *hdr)
{
	uint8_t *ip = it->pkt, *l4 = ip + it->l4;
	uint8_t proto = it->udp ? IPPROTO_UDP : IPPROTO_TCP;
	bool v4 = it->l4 == IP4_HDR;
	uint16_t sum;

	if (v4) {
		put16(ip + 2, it->total);
		ip4_set_checksum(ip, IP4_HDR);
	} else {
		put16(ip + 4, it->total - IP6_HDR);
	}
	sum = csum_fold(csum_pseudo(ip, proto, it->total - it->l4));
	if (it->udp) {
		put16(l4 + 4, it->total - it->l4);
		memcpy(l4 + 6, &sum, 2);
		hdr->gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
	} else {
		l4[13] = it->last_flags;
		memcpy(l4 + 16, &sum, 2);
		hdr->gso_type = v4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
	}
	hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	hdr->hdr_len = it->headers;
	hdr->gso_size = it->mss;
	hdr->csum_start = it->l4;
	hdr->csum_offset = it->udp ? 6 : 16;
}

static void flush_item(struct coalescer *c, const struct coalesce_item *it)
{
	struct virtio_net_hdr hdr = { 0 };
	struct iovec iov[COALESCE_PER_ITEM + 1];
	unsigned at = it->first_more;
	int n = 2;

	if (it->count > 1)
		make_super(it, &hdr);
	iov[0] = (struct iovec){ &hdr, sizeof(hdr) };
	iov[1] = (struct iovec){ it->pkt, it->len };
	for (unsigned i = 1; i < it->count; i++, at = c->more[at].next)
		iov[n++] = (struct iovec){ c->more[at].data, c->more[at].len };
	c->deliver(c->ctx, iov, n, it->count);
}

void coalesce_flush(struct coalescer *c)
{
	if (!c->n_items)
		return;
	for (unsigned i = 0; i < c->n_items; i++)
		flush_item(c, &c->items[i]);
	c->n_items = c->n_more = 0;
	memset(c->buckets, 0, sizeof(c->buckets));
}
