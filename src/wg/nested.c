/* SPDX-License-Identifier: Apache-2.0 */
/* Routes may lead the datagrams of one interface into another one, and that one's into the first. Each turn seals them again, and as
 * they are fragmented where they get too big, their number grows without an end. What they carry is encrypted: nothing in it tells
 * how often that has happened, and the interfaces may be of different processes and namespaces. RFC 2473 (4.1.1) has a field of its own for
 * the number of encapsulations that are left; here the outer hop limit is it. A packet that is no WireGuard message leaves with
 * the usual one, a message with NESTED_HOPS less than it has, so at most 16 tunnels are within each other.
 *
 * A fragment after the first does not show what it is. It is what the first one was: the latest of those are remembered. Each fragment
 * of a loop would else begin anew. */
#include "wg/nested.h"

#include "base/htab.h"
#include "wg/message.h"
#include "wg/packet.h"

static bool is_message(const uint8_t *p, size_t n)
{
	uint32_t type;

	if (n < sizeof(type))
		return false;
	memcpy(&type, p, sizeof(type));
	switch (le32toh(type)) {
	case MSG_INITIATION:
		return n == sizeof(struct msg_initiation);
	case MSG_RESPONSE:
		return n == sizeof(struct msg_response);
	case MSG_COOKIE:
		return n == sizeof(struct msg_cookie);
	case MSG_DATA:
		return n >= DATA_OVERHEAD;
	}
	return false;
}

/* What all fragments of a datagram have in common; 0: it is whole. */
static uint64_t datagram_of(const uint8_t *p, size_t len, bool *ret_later)
{
	uint8_t key[36] = { 0 };
	uint16_t place;

	*ret_later = false;
	if (p[0] >> 4 == 4) {
		place = get16(p + 6) & 0x3fff;
		if (!place || p[9] != IPPROTO_UDP)
			return 0;
		*ret_later = place & 0x1fff;
		memcpy(key, p + 12, 8);
		memcpy(key + 32, p + 4, 2);
	} else {
		if (p[6] != IPPROTO_FRAGMENT || len < IP6_HDR + 8 || p[IP6_HDR] != IPPROTO_UDP)
			return 0;
		place = get16(p + IP6_HDR + 2);
		*ret_later = place & 0xfff8;
		memcpy(key, p + 8, 32);
		memcpy(key + 32, p + IP6_HDR + 4, 4);
	}
	return hash_mem(key, sizeof(key)) | 1;
}

static bool is_known(const struct nested *n, uint64_t datagram)
{
	for (unsigned i = 0; i < NESTED_FRAGMENTS; i++)
		if (n->fragments[i] == datagram)
			return true;
	return false;
}

int nested_hop_limit(struct nested *n, const uint8_t *pkt, size_t len)
{
	uint8_t hops = pkt[0] >> 4 == 4 ? pkt[8] : pkt[7];
	bool later;
	uint64_t datagram = datagram_of(pkt, len, &later);
	size_t at = ip_udp_at(pkt, len);

	if (later ? !is_known(n, datagram) : !at || !is_message(pkt + at + UDP_HDR, len - at - UDP_HDR))
		return 0;
	if (datagram && !later)
		n->fragments[n->at++ % NESTED_FRAGMENTS] = datagram;
	if (hops <= NESTED_HOPS)
		return -ELOOP;
	return MIN(hops, NESTED_HOPS_FIRST) - NESTED_HOPS;
}
