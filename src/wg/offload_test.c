/* SPDX-License-Identifier: Apache-2.0 */
/* Segmentation and coalescing undo each other, whatever order and mixture packets come in. */
#include "base/test.h"
#include "wg/coalesce.h"
#include "wg/packet.h"
#include "wg/segment.h"

enum { PACKETS = 200, SIZE = 1600 };

static struct sent {
	uint8_t data[SIZE];
	size_t len;
	bool seen;
} sent[PACKETS];
static unsigned n_sent, n_got, n_writes;

struct flow {
	bool v6, udp;
	uint16_t sport, id;
	uint32_t seq;
	size_t mss;
};

static void set_l4_checksum(uint8_t *p, size_t len, size_t l4, bool udp)
{
	uint8_t *field = p + l4 + (udp ? 6 : 16);
	uint16_t c;

	memset(field, 0, 2);
	c = ~csum_fold(csum_add(p + l4, len - l4, csum_pseudo(p, udp ? IPPROTO_UDP : IPPROTO_TCP, len - l4)));
	if (udp && !c)
		c = 0xffff;
	memcpy(field, &c, 2);
}

static size_t make_packet(struct flow *f, uint8_t *p, size_t payload, uint8_t flags)
{
	size_t l4 = f->v6 ? IP6_HDR : IP4_HDR, hdr = l4 + (f->udp ? UDP_HDR : 32), len = hdr + payload;

	memset(p, 0, hdr);
	if (f->v6) {
		p[0] = 0x60;
		put16(p + 4, len - IP6_HDR);
		p[6] = f->udp ? IPPROTO_UDP : IPPROTO_TCP;
		p[7] = 64;
		p[8] = 0xfd;
		p[24] = 0xfd;
		p[39] = 2;
	} else {
		p[0] = 0x45;
		put16(p + 2, len);
		put16(p + 4, f->id++);
		p[8] = 64;
		p[9] = f->udp ? IPPROTO_UDP : IPPROTO_TCP;
		put32(p + 12, 0x0a000001);
		put32(p + 16, 0x0a000002);
		ip4_set_checksum(p, IP4_HDR);
	}
	put16(p + l4, f->sport);
	put16(p + l4 + 2, 80);
	if (f->udp) {
		put16(p + l4 + 4, len - l4);
	} else {
		put32(p + l4 + 4, f->seq);
		put32(p + l4 + 8, 77);
		p[l4 + 12] = 8 << 4;
		p[l4 + 13] = flags;
		put16(p + l4 + 14, 500);
		memcpy(p + l4 + 20, "\x01\x01\x08\x0a\1\2\3\4\5\6\7\x08", 12);
		f->seq += payload;
	}
	for (size_t i = 0; i < payload; i++)
		p[hdr + i] = random();
	set_l4_checksum(p, len, l4, f->udp);
	return len;
}

static bool same_packet(const struct sent *s, const uint8_t *p, size_t len)
{
	return s->len == len && memcmp(s->data, p, len) == 0;
}

/* Packets of one flow must come out in order: the first one not seen with these ports must be this one. */
static bool take(const uint8_t *p, size_t len)
{
	for (unsigned i = 0; i < n_sent; i++) {
		size_t l4 = p[0] >> 4 == 4 ? IP4_HDR : IP6_HDR;

		if (sent[i].seen || sent[i].data[0] != p[0] || memcmp(sent[i].data + l4, p + l4, 4) != 0 ||
		    sent[i].data[l4 == IP4_HDR ? 9 : 6] != p[l4 == IP4_HDR ? 9 : 6])
			continue;
		sent[i].seen = true;
		n_got++;
		return same_packet(&sent[i], p, len);
	}
	return false;
}

static bool all_good;

static int deliver(void *ctx _unused_, const struct iovec *iov, int n, unsigned packets)
{
	static uint8_t whole[70000], out[70000];
	struct virtio_net_hdr hdr;
	struct segmenter s;
	size_t len = 0, part;
	int count;

	n_writes++;
	memcpy(&hdr, iov[0].iov_base, sizeof(hdr));
	for (int i = 1; i < n; i++) {
		memcpy(whole + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	count = segment_begin(&s, &hdr, whole, len);
	all_good &= count == (int)packets && ip_length(whole, len) == len;
	while (count > 0 && (part = segment_next_len(&s))) {
		segment_next(&s, out);
		all_good &= take(out, part);
	}
	return 0;
}

static struct coalescer join = { .deliver = deliver, .tcp = true, .udp = true };

static void send_packet(struct flow *f, size_t payload, uint8_t flags)
{
	static uint8_t work[PACKETS][SIZE];

	sent[n_sent].len = make_packet(f, sent[n_sent].data, payload, flags);
	sent[n_sent].seen = false;
	memcpy(work[n_sent], sent[n_sent].data, sent[n_sent].len);
	coalesce_add(&join, work[n_sent], sent[n_sent].len);
	n_sent++;
}

static void reset(void)
{
	n_sent = n_got = n_writes = 0;
	all_good = true;
}

static void one_stream_becomes_one_write(void)
{
	for (int kind = 0; kind < 4; kind++) {
		struct flow f = { .v6 = kind & 1, .udp = kind & 2, .sport = 1000, .id = 65530, .seq = 0xffffff00 };

		reset();
		for (int i = 0; i < 40; i++)
			send_packet(&f, 1300, TCP_ACK);
		send_packet(&f, 700, TCP_ACK | TCP_PSH);
		coalesce_flush(&join);
		CHECK(all_good);
		CHECK_INT(n_got, 41);
		CHECK_INT(n_writes, 1);
	}
}

static void random_mixtures(void)
{
	unsigned writes = 0, packets = 0;

	srandom(3);
	for (int round = 0; round < 300; round++) {
		struct flow f[6];

		reset();
		for (int i = 0; i < 6; i++)
			f[i] = (struct flow){ .v6 = random() & 1, .udp = random() & 1, .sport = 1000 + i, .seq = random(),
					      .id = random(), .mss = 1 + random() % 1400 };
		while (n_sent < PACKETS) {
			struct flow *g = &f[random() % 6];
			unsigned what = random() % 40, run = 1 + random() % 8;

			if (what == 0)
				g->seq += 5; /* a gap */
			if (what == 1)
				g->id += 3;
			while (run-- && n_sent < PACKETS)
				send_packet(g, what == 2 ? 0 : what == 3 ? random() % 1400 : g->mss,
					    what == 4 ? TCP_ACK | TCP_FIN :
					    what == 5 ? TCP_ACK | TCP_CWR :
					    what == 6 ? TCP_SYN :
					    what == 7 ? TCP_ACK | TCP_PSH :
							TCP_ACK);
		}
		coalesce_flush(&join);
		CHECK(all_good);
		CHECK_INT(n_got, n_sent);
		writes += n_writes;
		packets += n_sent;
	}
	CHECK(writes * 2 < packets);
}

static void a_bad_checksum_stays_bad(void)
{
	struct flow f = { .sport = 9 };
	static uint8_t p[3][SIZE];
	size_t len = 0;

	reset();
	for (int i = 0; i < 3; i++)
		len = make_packet(&f, p[i], 100, TCP_ACK);
	p[1][IP4_HDR + 40] ^= 1;
	for (int i = 0; i < 3; i++) {
		memcpy(sent[i].data, p[i], len);
		sent[i].len = len;
		sent[i].seen = false;
	}
	n_sent = 3;
	for (int i = 0; i < 3; i++)
		coalesce_add(&join, p[i], len);
	coalesce_flush(&join);
	CHECK(all_good);
	CHECK_INT(n_writes, 3);
}

static void unfinished_checksums_are_finished(void)
{
	struct flow f = { .sport = 9, .udp = true };
	uint8_t want[SIZE], p[SIZE], out[SIZE];
	size_t len = make_packet(&f, want, 333, 0);
	struct virtio_net_hdr hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = IP4_HDR, .csum_offset = 6 };
	uint16_t pseudo = csum_fold(csum_pseudo(want, IPPROTO_UDP, len - IP4_HDR));
	struct segmenter s;

	memcpy(p, want, len);
	memcpy(p + IP4_HDR + 6, &pseudo, 2);
	CHECK_INT(segment_begin(&s, &hdr, p, len), 1);
	CHECK_INT(segment_next_len(&s), len);
	segment_next(&s, out);
	CHECK(memcmp(out, want, len) == 0);
	CHECK_INT(segment_next_len(&s), 0);
}

static void bad_vnet_headers_are_refused(void)
{
	struct flow f = { .sport = 9 };
	uint8_t p[SIZE];
	size_t len = make_packet(&f, p, 500, TCP_ACK);
	const struct virtio_net_hdr good = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
					     .csum_start = IP4_HDR, .csum_offset = 16, .gso_size = 100 };
	struct virtio_net_hdr h = good;
	struct segmenter s;

	CHECK_INT(segment_begin(&s, &h, p, len), 5);
	h.gso_size = 0;
	CHECK_INT(segment_begin(&s, &h, p, len), -EINVAL);
	h = good;
	h.flags = 0;
	CHECK_INT(segment_begin(&s, &h, p, len), -EINVAL);
	h = good;
	h.csum_start = 24;
	CHECK_INT(segment_begin(&s, &h, p, len), -EINVAL);
	h = good;
	h.csum_start = len;
	CHECK_INT(segment_begin(&s, &h, p, len), -EINVAL);
	h = good;
	h.gso_type = VIRTIO_NET_HDR_GSO_TCPV6;
	CHECK_INT(segment_begin(&s, &h, p, len), -EINVAL);
	h = good;
	h.gso_type = 77;
	CHECK_INT(segment_begin(&s, &h, p, len), -EINVAL);
	h = good;
	CHECK_INT(segment_begin(&s, &h, p, 52), -EINVAL); /* headers only */
	h = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 65535, .csum_offset = 65535 };
	CHECK_INT(segment_begin(&s, &h, p, len), -EINVAL);
}

static void congestion_marks(void)
{
	struct flow f = { .sport = 9 };
	uint8_t p[SIZE];

	make_packet(&f, p, 10, TCP_ACK);
	ip_mark_congestion(p);
	CHECK_INT(ip_ecn(p), 0); /* cannot carry it */
	p[1] |= ECN_ECT0;
	ip4_set_checksum(p, IP4_HDR);
	ip_mark_congestion(p);
	CHECK_INT(ip_ecn(p), ECN_CE);
	CHECK_INT(csum_fold(csum_add(p, IP4_HDR, 0)), 0xffff);
	f.v6 = true;
	make_packet(&f, p, 10, TCP_ACK);
	p[1] |= 1 << 4;
	ip_mark_congestion(p);
	CHECK_INT(ip_ecn(p), ECN_CE);
	CHECK_INT(p[0] >> 4, 6);
}

static void checksums_against_a_plain_sum(void)
{
	uint8_t p[300];

	for (size_t n = 0; n < sizeof(p); n++) {
		uint32_t plain = 0;
		uint16_t got;

		for (size_t i = 0; i < sizeof(p); i++)
			p[i] = random();
		for (size_t i = 0; i < n; i += 2)
			plain += p[i] << 8 | (i + 1 < n ? p[i + 1] : 0);
		while (plain >> 16)
			plain = (plain & 0xffff) + (plain >> 16);
		got = csum_fold(csum_add(p, n, 0));
		CHECK_INT(be16toh(got), plain);
	}
}

int main(void)
{
	RUN(checksums_against_a_plain_sum);
	RUN(one_stream_becomes_one_write);
	RUN(random_mixtures);
	RUN(a_bad_checksum_stays_bad);
	RUN(unfinished_checksums_are_finished);
	RUN(bad_vnet_headers_are_refused);
	RUN(congestion_marks);
	return test_end();
}
