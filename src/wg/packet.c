/* SPDX-License-Identifier: Apache-2.0 */
#include "wg/packet.h"

/* 32-bit words into 64-bit lanes: no carry to propagate, so the compiler makes vectors of it. */
__attribute__((target_clones("avx2", "default"), optimize("O3"))) uint64_t csum_add(const uint8_t *p, size_t n, uint64_t sum)
{
	uint64_t lanes[8] = { 0 };
	uint32_t w[8];

	for (; n >= sizeof(w); p += sizeof(w), n -= sizeof(w)) {
		memcpy(w, p, sizeof(w));
		for (int i = 0; i < 8; i++)
			lanes[i] += w[i];
	}
	for (int i = 0; i < 8; i++)
		sum += lanes[i];
	for (; n >= 4; p += 4, n -= 4) {
		memcpy(w, p, 4);
		sum += w[0];
	}
	if (n) {
		w[0] = 0;
		memcpy(w, p, n);
		sum += w[0];
	}
	return sum;
}

uint16_t csum_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

uint64_t csum_pseudo(const uint8_t *ip, uint8_t proto, size_t l4_len)
{
	uint64_t sum = htobe32(l4_len) + (uint64_t)htobe32(proto);

	return ip[0] >> 4 == 4 ? csum_add(ip + 12, 8, sum) : csum_add(ip + 8, 32, sum);
}

void ip4_set_checksum(uint8_t *ip, size_t hdr_len)
{
	uint16_t c;

	memset(ip + 10, 0, 2);
	c = ~csum_fold(csum_add(ip, hdr_len, 0));
	memcpy(ip + 10, &c, 2);
}

void ip_mark_congestion(uint8_t *ip)
{
	uint8_t ecn = ip_ecn(ip);

	if (ecn == 0 || ecn == ECN_CE)
		return;
	if (ip[0] >> 4 == 6) {
		ip[1] |= ECN_CE << 4;
	} else {
		ip[1] |= ECN_CE;
		ip4_set_checksum(ip, (ip[0] & 15) * 4);
	}
}

size_t ip_length(const uint8_t *p, size_t len)
{
	size_t total;

	if (len >= IP4_HDR && p[0] >> 4 == 4) {
		size_t hdr = (p[0] & 15) * 4;

		total = get16(p + 2);
		return hdr >= IP4_HDR && total >= hdr && total <= len ? total : 0;
	}
	if (len >= IP6_HDR && p[0] >> 4 == 6) {
		total = IP6_HDR + (size_t)get16(p + 4);
		return total <= len ? total : 0;
	}
	return 0;
}
