/* SPDX-License-Identifier: Apache-2.0 */
#include "wg/icmp.h"

#include "wg/packet.h"

enum { ICMP4_UNREACHABLE = 3, ICMP4_HOST = 1, ICMP6_UNREACHABLE = 1, ICMP6_ADDRESS = 3, ICMP_HDR = 8, TTL = 64 };

static bool icmp4_is_error(uint8_t type)
{
	return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

/* RFC 1122 3.2.2, RFC 1812 4.3.2.7. */
static bool may_answer_v4(const uint8_t *pkt, size_t len)
{
	size_t hdr = (pkt[0] & 15) * 4;

	if (get16(pkt + 6) & 0x1fff || pkt[16] >= 224 || pkt[12] >= 224 || get32(pkt + 12) == 0)
		return false;
	return !(pkt[9] == IPPROTO_ICMP && (len <= hdr || icmp4_is_error(pkt[hdr])));
}

static size_t unreachable_v4(const uint8_t *pkt, size_t len, uint8_t *out)
{
	size_t quoted = MIN(len, (size_t)(576 - IP4_HDR - ICMP_HDR)), total = IP4_HDR + ICMP_HDR + quoted;
	uint8_t *icmp = out + IP4_HDR;
	uint16_t c;

	if (!may_answer_v4(pkt, len))
		return 0;
	memset(out, 0, IP4_HDR + ICMP_HDR);
	out[0] = 0x45;
	put16(out + 2, total);
	out[8] = TTL;
	out[9] = IPPROTO_ICMP;
	memcpy(out + 12, pkt + 16, 4);
	memcpy(out + 16, pkt + 12, 4);
	ip4_set_checksum(out, IP4_HDR);
	icmp[0] = ICMP4_UNREACHABLE;
	icmp[1] = ICMP4_HOST;
	memcpy(icmp + ICMP_HDR, pkt, quoted);
	c = ~csum_fold(csum_add(icmp, ICMP_HDR + quoted, 0));
	memcpy(icmp + 2, &c, 2);
	return total;
}

static size_t unreachable_v6(const uint8_t *pkt, size_t len, uint8_t *out)
{
	size_t quoted = MIN(len, (size_t)(ICMP_UNREACHABLE_MAX - IP6_HDR - ICMP_HDR));
	uint8_t *icmp = out + IP6_HDR;
	uint16_t c;

	/* RFC 4443 2.4 (e): not for errors (types below 128), multicast, the unspecified address */
	if (pkt[24] == 0xff || pkt[8] == 0xff || (get32(pkt + 8) | get32(pkt + 12) | get32(pkt + 16) | get32(pkt + 20)) == 0 ||
	    (pkt[6] == IPPROTO_ICMPV6 && (len <= IP6_HDR || pkt[IP6_HDR] < 128)) || pkt[6] == IPPROTO_FRAGMENT)
		return 0;
	memset(out, 0, IP6_HDR + ICMP_HDR);
	out[0] = 0x60;
	put16(out + 4, ICMP_HDR + quoted);
	out[6] = IPPROTO_ICMPV6;
	out[7] = TTL;
	memcpy(out + 8, pkt + 24, 16);
	memcpy(out + 24, pkt + 8, 16);
	icmp[0] = ICMP6_UNREACHABLE;
	icmp[1] = ICMP6_ADDRESS;
	memcpy(icmp + ICMP_HDR, pkt, quoted);
	c = ~csum_fold(csum_add(icmp, ICMP_HDR + quoted, csum_pseudo(out, IPPROTO_ICMPV6, ICMP_HDR + quoted)));
	memcpy(icmp + 2, &c, 2);
	return IP6_HDR + ICMP_HDR + quoted;
}

size_t icmp_unreachable(const uint8_t *pkt, size_t len, uint8_t *out)
{
	if (!ip_length(pkt, len))
		return 0;
	return pkt[0] >> 4 == 4 ? unreachable_v4(pkt, len, out) : unreachable_v6(pkt, len, out);
}
