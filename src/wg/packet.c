/* SPDX-License-Identifier: Apache-2.0 */
#include "wg/packet.h"

/* Four pairs of 32-bit words at a time, each word into a 64-bit lane: no carry to propagate. */
typedef uint64_t lanes __attribute__((vector_size(32)));

static inline __attribute__((always_inline)) uint64_t sum_bytes(const uint8_t *p, size_t n, uint64_t sum)
{
	const lanes low = { UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX };
	lanes even = { 0 }, odd = { 0 };
	uint32_t w;

	for (; n >= sizeof(lanes); p += sizeof(lanes), n -= sizeof(lanes)) {
		lanes v;

		memcpy(&v, p, sizeof(v));
		even += v & low;
		odd += v >> 32;
	}
	even += odd;
	sum += even[0] + even[1] + even[2] + even[3];
	for (; n >= 4; p += 4, n -= 4) {
		memcpy(&w, p, 4);
		sum += w;
	}
	if (n) {
		w = 0;
		memcpy(&w, p, n);
		sum += w;
	}
	return sum;
}

#ifdef __x86_64__
static __attribute__((target("avx2"))) uint64_t sum_bytes_avx2(const uint8_t *p, size_t n, uint64_t sum)
{
	return sum_bytes(p, n, sum);
}

uint64_t csum_add(const uint8_t *p, size_t n, uint64_t sum)
{
	return __builtin_cpu_supports("avx2") ? sum_bytes_avx2(p, n, sum) : sum_bytes(p, n, sum);
}
#else
uint64_t csum_add(const uint8_t *p, size_t n, uint64_t sum)
{
	return sum_bytes(p, n, sum);
}
#endif

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

size_t ip_udp_at(const uint8_t *p, size_t len)
{
	size_t at = p[0] >> 4 == 4 ? (size_t)(p[0] & 15) * 4 : IP6_HDR;
	uint8_t proto = p[0] >> 4 == 4 ? p[9] : p[6];

	if (p[0] >> 4 == 4 && get16(p + 6) & 0x1fff)
		return 0;
	if (p[0] >> 4 == 6 && proto == IPPROTO_FRAGMENT && len >= at + 8 && !(get16(p + at + 2) & 0xfff8)) {
		proto = p[at];
		at += 8;
	}
	return proto == IPPROTO_UDP && len >= at + UDP_HDR ? at : 0;
}
