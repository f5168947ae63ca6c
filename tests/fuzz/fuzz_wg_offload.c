/* SPDX-License-Identifier: Apache-2.0 */
/* Segmentation and coalescing. The first byte picks:
 *   's' a vnet header and a packet as they are: cutting them stays in bounds, and all parts are as long as promised;
 *   else a batch of packets: each is 2 bytes of length, then its bytes; a length with the top bit set makes it a packet
 *   of a stream (valid headers and checksums, payload of that length) instead. Cutting what was joined gives every packet
 *   back unchanged (but for the id of IPv4 packets that may not be fragmented), each flow in its order. */
#include "fuzz.h"
#include "wg/coalesce.h"
#include "wg/packet.h"
#include "wg/segment.h"

enum { PACKETS = 128, SIZE = 2048 };

static struct {
	uint8_t data[SIZE];
	size_t len;
	bool seen;
} sent[PACKETS];
static unsigned n_sent, n_seen;

static void segment_only(struct fuzz_input *in)
{
	static uint8_t out[70000];
	struct virtio_net_hdr hdr;
	struct segmenter s;
	size_t n, parts = 0;
	uint8_t *pkt;
	int count;

	if (in->size < sizeof(hdr) + 1)
		return;
	memcpy(&hdr, in->data, sizeof(hdr));
	n = in->size - sizeof(hdr);
	pkt = xmalloc(n); /* of its exact size, for the sanitizer */
	memcpy(pkt, in->data + sizeof(hdr), n);
	count = segment_begin(&s, &hdr, pkt, n);
	while (count > 0 && (n = segment_next_len(&s))) {
		REQUIRE(n <= sizeof(out));
		segment_next(&s, out);
		parts++;
	}
	REQUIRE(count < 0 || parts == (size_t)count);
	free(pkt);
}

static bool same(const uint8_t *a, const uint8_t *b, size_t n)
{
	uint8_t x[SIZE], y[SIZE];

	memcpy(x, a, n);
	memcpy(y, b, n);
	if (n >= IP4_HDR && x[0] == 0x45 && y[0] == 0x45 && get16(x + 6) == 0x4000 && get16(y + 6) == 0x4000) {
		memset(x + 4, 0, 2);
		memset(y + 4, 0, 2);
		memset(x + 10, 0, 2);
		memset(y + 10, 0, 2);
	}
	return memcmp(x, y, n) == 0;
}

/* Whole TCP or UDP packets with the same addresses and ports. IPv4 with options counts as none: its ports are elsewhere. */
static bool same_flow(unsigned i, unsigned k)
{
	const uint8_t *a = sent[i].data, *b = sent[k].data;
	bool v4 = a[0] == 0x45;
	size_t from = v4 ? 12 : 8, l4 = v4 ? IP4_HDR : IP6_HDR, proto = v4 ? 9 : 6;

	if ((!v4 && a[0] >> 4 != 6) || a[0] >> 4 != b[0] >> 4 || (v4 && b[0] != 0x45) || MIN(sent[i].len, sent[k].len) < l4 + 4)
		return false;
	if (v4 && (get16(a + 6) & 0x3fff || get16(b + 6) & 0x3fff))
		return false;
	return a[proto] == b[proto] && (a[proto] == IPPROTO_TCP || a[proto] == IPPROTO_UDP) && memcmp(a + from, b + from, l4 + 4 - from) == 0;
}

static bool is_next_of_its_flow(unsigned i)
{
	for (unsigned k = 0; k < i; k++)
		if (!sent[k].seen && same_flow(i, k))
			return false;
	return true;
}

static int deliver(_unused_ void *ctx, const struct iovec *iov, int n, unsigned packets)
{
	static uint8_t whole[70000], out[70000];
	struct virtio_net_hdr hdr;
	struct segmenter s;
	size_t len = 0, part;
	unsigned i;

	memcpy(&hdr, iov[0].iov_base, sizeof(hdr));
	for (int k = 1; k < n; k++) {
		REQUIRE(len + iov[k].iov_len <= sizeof(whole));
		memcpy(whole + len, iov[k].iov_base, iov[k].iov_len);
		len += iov[k].iov_len;
	}
	if (len < IP4_HDR) { /* too short to be an IP packet: handed on as it is */
		REQUIRE(packets == 1);
		n_seen++;
		return 0;
	}
	REQUIRE(segment_begin(&s, &hdr, whole, len) == (int)packets);
	while ((part = segment_next_len(&s))) {
		segment_next(&s, out);
		for (i = 0; i < n_sent; i++) {
			if (!sent[i].seen && sent[i].len == part && same(sent[i].data, out, part))
				break;
		}
		REQUIRE(i < n_sent && is_next_of_its_flow(i));
		sent[i].seen = true;
		n_seen++;
	}
	return 0;
}

static void make_stream_packet(uint8_t *p, size_t payload, uint8_t how, uint32_t *seq, uint16_t *id)
{
	bool udp = how & 1;
	size_t headers = IP4_HDR + (udp ? UDP_HDR : TCP_HDR), len = headers + payload;
	uint8_t *l4 = p + IP4_HDR;
	uint16_t c;

	memset(p, 0, headers);
	p[0] = 0x45;
	put16(p + 2, len);
	put16(p + 4, (*id)++);
	put16(p + 6, how & 2 ? 0x4000 : 0);
	p[8] = 64;
	p[9] = udp ? IPPROTO_UDP : IPPROTO_TCP;
	put32(p + 12, 0x0a000001);
	put32(p + 16, 0x0a000002);
	ip4_set_checksum(p, IP4_HDR);
	put16(l4, how >> 6);
	if (udp) {
		put16(l4 + 4, len - IP4_HDR);
	} else {
		put32(l4 + 4, *seq);
		l4[12] = 5 << 4;
		l4[13] = how & 4 ? how : TCP_ACK;
		*seq += payload;
	}
	memset(p + headers, how, payload);
	c = ~csum_fold(csum_add(l4, len - IP4_HDR, csum_pseudo(p, p[9], len - IP4_HDR)));
	if (udp && !c)
		c = 0xffff;
	memcpy(l4 + (udp ? 6 : 16), &c, 2);
}

static void batch(struct fuzz_input *in)
{
	static struct coalescer join = { .deliver = deliver, .tcp = true, .udp = true };
	static uint8_t work[PACKETS][SIZE];
	uint32_t seq = 0xfffffff0;
	uint16_t id = 0xfffe;

	n_sent = n_seen = 0;
	while (in->size >= 3 && n_sent < PACKETS) {
		unsigned v = fuzz_byte(in) << 8;
		size_t n;

		v |= fuzz_byte(in);
		if (v & 0x8000) {
			n = v & 0x3ff;
			make_stream_packet(sent[n_sent].data, n, fuzz_byte(in), &seq, &id);
			n = get16(sent[n_sent].data + 2);
		} else {
			n = MIN((size_t)(v & 0x7ff), in->size);
			memcpy(sent[n_sent].data, in->data, n);
			in->data += n;
			in->size -= n;
			n = ip_length(sent[n_sent].data, n); /* as the receiving side trims it */
		}
		if (!n)
			continue;
		sent[n_sent].len = n;
		sent[n_sent].seen = false;
		memcpy(work[n_sent], sent[n_sent].data, n);
		n_sent++;
		coalesce_add(&join, work[n_sent - 1], n);
	}
	coalesce_flush(&join);
	REQUIRE(n_seen == n_sent);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };

	if (fuzz_byte(&in) == 's')
		segment_only(&in);
	else
		batch(&in);
	return 0;
}
