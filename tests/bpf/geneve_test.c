/* SPDX-License-Identifier: Apache-2.0 */
/* ENC-2: the first word of VXLAN becomes Geneve's on the way out, and Geneve VXLAN's on the way in; what of Geneve we do not speak. */
#include "base/test.h"
#include "harness.h"

static struct frame f;

#define OWN4 "192.0.2.1"
#define PEER4 "192.0.2.3"
#define OWN6 "fd30::1"
#define PEER6 "fd30::3"

static const uint8_t vxlan[8] = { 8, 0, 0, 0, 0, 0, 7, 0 }, geneve[8] = { 0, 0, 0x65, 0x58, 0, 0, 7, 0 };

/* The UDP checksum of what is at @ip: over the addresses, length, protocol, and all from @udp to @end. */
static uint16_t udp_checksum(const uint8_t *ip, const uint8_t *udp, const uint8_t *end)
{
	bool v6 = ip[0] >> 4 == 6;
	const uint8_t *parts[2] = { ip + (v6 ? 8 : 12), udp };
	size_t lens[2] = { v6 ? 32 : 8, end - udp };
	uint32_t sum = IPPROTO_UDP + (end - udp);

	for (int k = 0; k < 2; k++)
		for (size_t i = 0; i < lens[k]; i++)
			if (parts[k] + i != udp + 6 && parts[k] + i != udp + 7)
				sum += i % 2 ? parts[k][i] : parts[k][i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff ? 0xffff : ~sum;
}

/* An outer packet with @header, @options bytes of Geneve options, and something inside. */
static void outer(const char *src, const char *dst, const uint8_t header[8], size_t options)
{
	static const uint8_t option[8] = { 0x01, 0x02, 0x03, 1, 0xaa, 0xbb, 0xcc, 0xdd }; /* not critical, four bytes */
	struct udphdr *udp;

	frame_ether(&f, mac_host_a, mac_other, strchr(src, ':') ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, src, dst, IPPROTO_UDP);
	frame_udp(&f, 50000, 6081);
	frame_put(&f, header, 8);
	for (size_t i = 0; i < options; i += sizeof(option))
		frame_put(&f, option, sizeof(option));
	frame_payload(&f, 64);
	udp = (void *)(f.data + f.l4);
	udp->len = htons(f.len - f.l4);
	frame_end(&f);
	udp->check = htons(udp_checksum(f.data + f.l3, f.data + f.l4, f.data + f.len));
}

/* Behind the outer headers. */
static const uint8_t *header_of(const struct outcome *o)
{
	return o->data + f.l4 + 8;
}

/* Of the outer packet in @o: lengths agree, the checksum is right or is none. */
static void check_outer(const struct outcome *o, bool v6, bool has_checksum)
{
	const struct udphdr *udp = (const void *)(o->data + f.l4);
	const struct iphdr *ip4 = (const void *)(o->data + f.l3);
	const struct ipv6hdr *ip6 = (const void *)(o->data + f.l3);

	CHECK_INT(ntohs(udp->len), o->len - f.l4);
	CHECK_INT(v6 ? ntohs(ip6->payload_len) + 40 : ntohs(ip4->tot_len), o->len - f.l3);
	CHECK(v6 || frame_ip4_checksum_ok(o->data + f.l3));
	CHECK_INT(udp->check != 0, has_checksum);
	if (has_checksum)
		CHECK_INT(ntohs(udp->check), udp_checksum(o->data + f.l3, o->data + f.l4, o->data + o->len));
}

static void leaves_as_geneve(void)
{
	struct outcome o;

	for (int v6 = 0; v6 < 2; v6++) {
		outer(v6 ? OWN6 : OWN4, v6 ? PEER6 : PEER4, vxlan, 0);
		o = run("to_net", &f, if_uplink);
		CHECK_INT(o.verdict, TC_ACT_OK);
		CHECK(memcmp(header_of(&o), geneve, 8) == 0);
		check_outer(&o, v6, true);
	}
	outer("192.0.2.9", PEER4, vxlan, 0); /* somebody else's packet, forwarded */
	CHECK(memcmp(header_of(&(struct outcome[]){ run("to_net", &f, if_uplink) }[0]), vxlan, 8) == 0);
	outer(OWN4, PEER4, (const uint8_t[8]){ 8, 0, 0, 0, 0, 0, 2, 0 }, 0); /* another network's */
	CHECK_INT(header_of(&(struct outcome[]){ run("to_net", &f, if_uplink) }[0])[0], 8);
}

static void arrives_as_vxlan(void)
{
	static const size_t options[] = { 0, 8, 16, 248 };
	struct outcome o;

	for (int v6 = 0; v6 < 2; v6++)
		for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
			uint8_t header[8];

			memcpy(header, geneve, 8);
			header[0] = options[i] / 4;
			header[7] = 0x7f; /* reserved: ignored on receipt */
			outer(v6 ? PEER6 : PEER4, v6 ? OWN6 : OWN4, header, options[i]);
			o = run("from_net", &f, if_uplink);
			CHECK_INT(o.verdict, TC_ACT_OK);
			CHECK_INT(o.len, f.len - options[i]);
			CHECK(memcmp(header_of(&o), vxlan, 8) == 0);
			CHECK(memcmp(o.data + o.len - 64, f.data + f.len - 64, 64) == 0);
			check_outer(&o, v6, options[i] == 0);
		}
	outer(PEER4, WORLD4, geneve, 0); /* not for us */
	CHECK(memcmp(header_of(&(struct outcome[]){ run("from_net", &f, if_uplink) }[0]), geneve, 8) == 0);
}

/* A tunnel without a checksum stays one. */
static void no_checksum_stays_none(void)
{
	struct outcome o;

	outer(OWN4, PEER4, vxlan, 0);
	((struct udphdr *)(f.data + f.l4))->check = 0;
	o = run("to_net", &f, if_uplink);
	CHECK(memcmp(header_of(&o), geneve, 8) == 0);
	check_outer(&o, false, false);
	outer(PEER4, OWN4, geneve, 0);
	((struct udphdr *)(f.data + f.l4))->check = 0;
	o = run("from_net", &f, if_uplink);
	CHECK(memcmp(header_of(&o), vxlan, 8) == 0);
	check_outer(&o, false, false);
}

/* A fragmented outer packet: the header is in the first one; the others pass. */
static void fragments(void)
{
	struct outcome o;

	outer(PEER4, OWN4, geneve, 0);
	frame_ip4(&f)->frag_off = htons(0x2000);
	o = run("from_net", &f, if_uplink);
	CHECK(memcmp(header_of(&o), vxlan, 8) == 0);
	outer(PEER4, OWN4, geneve, 0);
	frame_ip4(&f)->frag_off = htons(100);
	o = run("from_net", &f, if_uplink);
	CHECK_INT(o.verdict, TC_ACT_OK);
	CHECK(memcmp(header_of(&o), geneve, 8) == 0);
	outer(PEER4, OWN4, (const uint8_t[8]){ 2, 0, 0x65, 0x58, 0, 0, 1, 0 }, 8);
	frame_ip4(&f)->frag_off = htons(0x2000);
	CHECK_DROP("from_net", &f, if_uplink, DROP_GENEVE_HEADER);
}

int main(void)
{
	harness_init();
	dp_config.geneve = true;
	dp_config.tunnel_port = 6081;
	harness_reopen();
	RUN(leaves_as_geneve);
	RUN(arrives_as_vxlan);
	RUN(no_checksum_stays_none);
	RUN(fragments);
	harness_done();
	return test_end();
}
