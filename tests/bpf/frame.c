/* SPDX-License-Identifier: Apache-2.0 */
#include "frame.h"

struct addr addr_of(const char *text)
{
	struct addr a;
	int r = addr_parse(text, &a);

	assert(r == 0);
	return a;
}

void *frame_put(struct frame *f, const void *data, size_t n)
{
	void *p = f->data + f->len;

	assert(f->len + n <= sizeof(f->data));
	if (data)
		memcpy(p, data, n);
	else
		memset(p, 0, n);
	f->len += n;
	return p;
}

void frame_ether(struct frame *f, const uint8_t dst[6], const uint8_t src[6], uint16_t type)
{
	struct ethhdr eth = { .h_proto = htons(type) };

	f->len = f->l4 = 0;
	memcpy(eth.h_dest, dst, 6);
	memcpy(eth.h_source, src, 6);
	frame_put(f, &eth, sizeof(eth));
	f->l3 = f->len;
}

void *frame_ip(struct frame *f, const char *src, const char *dst, uint8_t proto)
{
	struct addr s = addr_of(src), d = addr_of(dst);
	struct iphdr ip4 = { .version = 4, .ihl = 5, .ttl = 64, .protocol = proto };
	struct ipv6hdr ip6 = { .version = 6, .hop_limit = 64, .nexthdr = proto };
	void *p;

	f->l3 = f->len;
	if (addr_is_v4(&s)) {
		memcpy(&ip4.saddr, addr_raw(&s), 4);
		memcpy(&ip4.daddr, addr_raw(&d), 4);
		p = frame_put(f, &ip4, sizeof(ip4));
	} else {
		memcpy(&ip6.saddr, s.b, 16);
		memcpy(&ip6.daddr, d.b, 16);
		p = frame_put(f, &ip6, sizeof(ip6));
	}
	f->l4 = f->len;
	return p;
}

struct tcphdr *frame_tcp(struct frame *f, uint16_t sport, uint16_t dport, const char *flags)
{
	struct tcphdr tcp = {
		.source = htons(sport),
		.dest = htons(dport),
		.doff = 5,
		.syn = strchr(flags, 'S') != NULL,
		.ack = strchr(flags, 'A') != NULL,
		.fin = strchr(flags, 'F') != NULL,
		.rst = strchr(flags, 'R') != NULL,
		.window = htons(1000),
	};

	f->l4 = f->len;
	return frame_put(f, &tcp, sizeof(tcp));
}

struct udphdr *frame_udp(struct frame *f, uint16_t sport, uint16_t dport)
{
	struct udphdr udp = { .source = htons(sport), .dest = htons(dport), .len = htons(8) };

	f->l4 = f->len;
	return frame_put(f, &udp, sizeof(udp));
}

void frame_icmp(struct frame *f, uint8_t type, uint8_t code, uint16_t id)
{
	uint8_t header[8] = { type, code, 0, 0, id >> 8, id, 0, 1 };

	f->l4 = f->len;
	frame_put(f, header, sizeof(header));
}

void frame_payload(struct frame *f, size_t n)
{
	uint8_t *p = frame_put(f, NULL, n);

	for (size_t i = 0; i < n; i++)
		p[i] = i;
}

static uint16_t checksum(const uint8_t *p, size_t n)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < n; i += 2)
		sum += p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

bool frame_ip4_checksum_ok(const uint8_t *ip)
{
	return checksum(ip, (ip[0] & 15) * 4) == 0;
}

void frame_end(struct frame *f)
{
	struct iphdr *ip4 = frame_ip4(f);

	if (ip4->version == 4) {
		ip4->tot_len = htons(f->len - f->l3);
		ip4->check = 0;
		ip4->check = htons(checksum((uint8_t *)ip4, ip4->ihl * 4));
	} else {
		frame_ip6(f)->payload_len = htons(f->len - f->l3 - sizeof(struct ipv6hdr));
	}
}
