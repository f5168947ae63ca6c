/* SPDX-License-Identifier: Apache-2.0 */
/* Headers are copied and corrected for each segment: lengths, IPv4 id, TCP sequence number, FIN and PSH only on the last,
 * CWR only on the first. The kernel has put the pseudo header's sum into the checksum field; since the lengths change
 * it is made anew. */
#include "wg/segment.h"

#include "wg/packet.h"

static int begin_single(struct segmenter *s, const struct virtio_net_hdr *hdr)
{
	s->pos = 0;
	s->mss = 0;
	s->headers = 0;
	if (!(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return 1;
	s->l4 = hdr->csum_start;
	s->csum_at = (size_t)hdr->csum_start + hdr->csum_offset;
	if (s->csum_at + 2 > s->len)
		return -EINVAL;
	return 1;
}

static int check_l4(struct segmenter *s, const struct virtio_net_hdr *hdr, bool tcp)
{
	size_t ip_hdr = s->pkt[0] >> 4 == 4 ? (size_t)(s->pkt[0] & 15) * 4 : IP6_HDR;

	s->l4 = hdr->csum_start;
	if (!(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || s->l4 < ip_hdr || ip_hdr < IP4_HDR)
		return -EINVAL;
	if (s->pkt[0] >> 4 == 4 && s->l4 != ip_hdr)
		return -EINVAL;
	if (s->l4 + (tcp ? TCP_HDR : UDP_HDR) > s->len || hdr->csum_offset != (tcp ? 16 : 6))
		return -EINVAL;
	s->headers = s->l4 + (tcp ? (size_t)(s->pkt[s->l4 + 12] >> 4) * 4 : UDP_HDR);
	if (tcp && s->headers < s->l4 + TCP_HDR)
		return -EINVAL;
	return s->headers < s->len ? 0 : -EINVAL;
}

int segment_begin(struct segmenter *s, const struct virtio_net_hdr *hdr, const uint8_t *pkt, size_t len)
{
	uint8_t type = hdr->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;
	uint8_t version = pkt[0] >> 4;

	*s = (struct segmenter){ .pkt = pkt, .len = len };
	if (len < IP4_HDR || len > 65535 + IP6_HDR)
		return -EINVAL;
	switch (type) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return begin_single(s, hdr);
	case VIRTIO_NET_HDR_GSO_TCPV4:
	case VIRTIO_NET_HDR_GSO_TCPV6:
		if (version != (type == VIRTIO_NET_HDR_GSO_TCPV4 ? 4 : 6))
			return -EINVAL;
		s->proto = IPPROTO_TCP;
		break;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		if (version != 4 && version != 6)
			return -EINVAL;
		s->proto = IPPROTO_UDP;
		break;
	default:
		return -EINVAL;
	}
	if ((version == 6 && len < IP6_HDR) || !hdr->gso_size || check_l4(s, hdr, s->proto == IPPROTO_TCP) < 0)
		return -EINVAL;
	s->mss = hdr->gso_size;
	s->pos = s->headers;
	s->csum_at = s->l4 + (s->proto == IPPROTO_TCP ? 16 : 6);
	return (len - s->headers + s->mss - 1) / s->mss;
}

size_t segment_next_len(const struct segmenter *s)
{
	if (s->pos >= s->len)
		return 0;
	return s->mss ? s->headers + MIN(s->mss, s->len - s->pos) : s->len;
}

static void fix_ip(const struct segmenter *s, uint8_t *out, size_t len)
{
	if (out[0] >> 4 == 4) {
		put16(out + 2, len);
		put16(out + 4, get16(s->pkt + 4) + s->index);
		ip4_set_checksum(out, s->l4);
	} else {
		put16(out + 4, len - IP6_HDR);
	}
}

static void fix_l4(const struct segmenter *s, uint8_t *out, size_t len, bool last)
{
	uint8_t *l4 = out + s->l4;

	if (s->proto == IPPROTO_UDP) {
		put16(l4 + 4, len - s->l4);
		return;
	}
	put32(l4 + 4, get32(l4 + 4) + (uint32_t)(s->pos - s->headers));
	if (!last)
		l4[13] &= ~(TCP_FIN | TCP_PSH);
	if (s->index)
		l4[13] &= ~TCP_CWR;
}

/* The field holds the pseudo header's sum already when the packet is handed on whole. */
static void finish_checksum(const struct segmenter *s, uint8_t *out, size_t len)
{
	uint64_t sum = 0;
	uint16_t c;

	if (s->mss) {
		memset(out + s->csum_at, 0, 2);
		sum = csum_pseudo(out, s->proto, len - s->l4);
	}
	c = ~csum_fold(csum_add(out + s->l4, len - s->l4, sum));
	if (!c && (s->mss ? s->proto == IPPROTO_UDP : s->csum_at - s->l4 == 6))
		c = 0xffff; /* RFC 768: zero means none */
	memcpy(out + s->csum_at, &c, 2);
}

void segment_next(struct segmenter *s, uint8_t *out)
{
	size_t len = segment_next_len(s), payload = len - s->headers;
	bool last = s->pos + payload >= s->len;

	memcpy(out, s->pkt, s->headers);
	memcpy(out + s->headers, s->pkt + s->pos, payload);
	if (s->mss) {
		fix_ip(s, out, len);
		fix_l4(s, out, len, last);
	}
	if (s->csum_at)
		finish_checksum(s, out, len);
	s->pos += payload;
	s->index++;
}
