/* SPDX-License-Identifier: Apache-2.0 */
/* Outer packets in hostile formats. What this node does not speak is dropped at the uplink with a reason, not by the tunnel's device without one; what it
 * speaks goes on to where what is inside is judged. */
#include "hostile.h"

#include <arpa/inet.h>

enum { TUNNEL_LEN = 8, ETHER_LEN = 14, VXLAN_PORT = 4789, GENEVE_PORT = 6081 };

static const uint8_t plain_vxlan[TUNNEL_LEN] = { 8, 0, 0, 0, 0, 0, 7, 0 }, plain_geneve[TUNNEL_LEN] = { 0, 0, 0x65, 0x58, 0, 0, 7, 0 };

static struct udphdr *outer_udp(void)
{
	return (void *)(f.data + f.l4);
}

/* Up to the tunnel's header, of node 3. */
static void outer(bool v6)
{
	begin(v6 ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, v6 ? "fd30::3" : "192.0.2.3", v6 ? "fd30::1" : "192.0.2.1", IPPROTO_UDP);
	frame_udp(&f, 50000, dp_config.tunnel_port);
}

static void end(void)
{
	frame_end(&f);
	outer_udp()->len = htons(f.len - f.l4);
	outer_udp()->check = 0;
}

/* The first @n bytes of a frame of that type, with one of a pod of node 3 inside. */
static void put_inner(uint16_t type, size_t n)
{
	struct frame inner;

	frame_ether(&inner, mac_host_a, mac_vtep, type);
	frame_ip(&inner, type == ETH_P_IPV6 ? TUNNEL6 : TUNNEL4, type == ETH_P_IPV6 ? A6 : A4, IPPROTO_UDP);
	frame_udp(&inner, 1, 2);
	frame_payload(&inner, 64);
	frame_end(&inner);
	frame_put(&f, inner.data, n < inner.len ? n : inner.len);
}

static void with_header(bool v6, const uint8_t header[TUNNEL_LEN])
{
	outer(v6);
	frame_put(&f, header, TUNNEL_LEN);
	put_inner(v6 ? ETH_P_IPV6 : ETH_P_IP, 1000);
	end();
}

static void vxlan_with_other_flags(void)
{
	static const uint8_t headers[][TUNNEL_LEN] = {
		{ 0x88, 0, 0, 5, 0, 0, 7, 0 }, /* a group's policy */
		{ 0x88, 0x40, 0, 5, 0, 0, 7, 0 }, { 0x0c, 0, 0, 3, 0, 0, 7, 0 }, /* VXLAN-GPE: Ethernet */
		{ 0x0c, 0, 0, 1, 0, 0, 7, 0 }, /* IPv4, without a frame */
		{ 0x09, 0, 0, 0, 0, 0, 7, 0 }, /* its OAM */
		{ 0x28, 0, 0, 0, 0, 0, 7, 0 }, /* remote checksum offload */
		{ 0x00, 0, 0, 0, 0, 0, 7, 0 }, { 0x08, 1, 0, 0, 0, 0, 7, 0 }, { 0x08, 0, 1, 0, 0, 0, 7, 0 }, { 0x08, 0, 0, 1, 0, 0, 7, 0 },
		{ 0x08, 0, 0, 0, 0, 0, 7, 1 }, { 0, 0, 0x65, 0x58, 0, 0, 7, 0 }, /* Geneve */
		{ 2, 0, 0x65, 0x58, 0, 0, 7, 0 },
	};

	for (int v6 = 0; v6 < 2; v6++) {
		for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
			with_header(v6, headers[i]);
			DROPPED("from_net", if_uplink, DROP_VXLAN_HEADER);
		}
		with_header(v6, plain_vxlan);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
	}
}

/* In both formats: Geneve without options has become VXLAN by then. */
static void what_ends_before_it_begins(void)
{
	static const struct {
		uint16_t type;
		size_t least;
	} inners[] = { { ETH_P_IP, 14 + 20 }, { ETH_P_IPV6, 14 + 40 }, { ETH_P_ARP, 14 } /* goes on, and ends in from_tunnel */ };
	const uint8_t *header = dp_config.geneve ? plain_geneve : plain_vxlan;

	for (int v6 = 0; v6 < 2; v6++) {
		for (size_t n = 0; n < TUNNEL_LEN; n++) {
			outer(v6);
			frame_put(&f, header, n);
			end();
			DROPPED("from_net", if_uplink, DROP_TRUNCATED);
		}
		for (size_t i = 0; i < ARRAY_SIZE(inners); i++)
			for (size_t n = 0; n < inners[i].least + 2; n++) {
				outer(v6);
				frame_put(&f, header, TUNNEL_LEN);
				put_inner(inners[i].type, n);
				end();
				if (n < inners[i].least)
					DROPPED("from_net", if_uplink, DROP_TRUNCATED);
				else
					CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
			}
	}
}

static void lengths_that_lie(void)
{
	const uint8_t *header = dp_config.geneve ? plain_geneve : plain_vxlan;

	for (int v6 = 0; v6 < 2; v6++) {
		with_header(v6, header);
		outer_udp()->len = htons(f.len - f.l4 + 1);
		DROPPED("from_net", if_uplink, DROP_MALFORMED);
		outer_udp()->len = htons(0xffff);
		DROPPED("from_net", if_uplink, DROP_MALFORMED);
		outer_udp()->len = htons(8 + TUNNEL_LEN + ETHER_LEN + 19);
		DROPPED("from_net", if_uplink, DROP_TRUNCATED);
		outer_udp()->len = 0;
		DROPPED("from_net", if_uplink, DROP_TRUNCATED);
	}
}

/* With four bytes of an option behind the header. */
static void geneve_with(bool v6, const uint8_t header[TUNNEL_LEN], const uint8_t option[4])
{
	outer(v6);
	frame_put(&f, header, TUNNEL_LEN);
	if (option)
		frame_put(&f, option, 4);
	put_inner(v6 ? ETH_P_IPV6 : ETH_P_IP, 1000);
	end();
}

#define GENEVE_DROPPED(v6, why, option, ...)                                                                           \
	do {                                                                                                           \
		geneve_with(v6, (const uint8_t[TUNNEL_LEN]){ __VA_ARGS__ }, option);                                   \
		DROPPED("from_net", if_uplink, why);                                                                   \
	} while (0)

/* RFC 8926 3.4: another version, control packets, options that must be understood; and what is inside must be a frame. */
static void geneve_that_is_not_spoken(void)
{
	static const uint8_t unknown[4] = { 0x01, 0x02, 0x03, 0 }, critical[4] = { 0x01, 0x02, 0x83, 0 };

	for (int v6 = 0; v6 < 2; v6++) {
		GENEVE_DROPPED(v6, DROP_GENEVE_HEADER, NULL, 0x40, 0, 0x65, 0x58, 0, 0, 7, 0); /* versions */
		GENEVE_DROPPED(v6, DROP_GENEVE_HEADER, NULL, 0xc0, 0, 0x65, 0x58, 0, 0, 7, 0);
		GENEVE_DROPPED(v6, DROP_GENEVE_HEADER, NULL, 0, 0, 0x08, 0x00, 0, 0, 7, 0); /* packets without a frame */
		GENEVE_DROPPED(v6, DROP_GENEVE_HEADER, NULL, 0, 0, 0x86, 0xdd, 0, 0, 7, 0);
		GENEVE_DROPPED(v6, DROP_GENEVE_HEADER, NULL, 8, 0, 0, 0, 0, 0, 7, 0); /* VXLAN */
		GENEVE_DROPPED(v6, DROP_GENEVE_HEADER, NULL, 0x3f, 0, 0x65, 0x58, 0, 0, 7, 0); /* options longer than the packet */
		GENEVE_DROPPED(v6, DROP_GENEVE_CONTROL, NULL, 0, 0x80, 0x65, 0x58, 0, 0, 7, 0);
		GENEVE_DROPPED(v6, DROP_GENEVE_CONTROL, critical, 1, 0xc0, 0x65, 0x58, 0, 0, 7, 0);
		GENEVE_DROPPED(v6, DROP_GENEVE_CRITICAL, critical, 1, 0x40, 0x65, 0x58, 0, 0, 7, 0);
		GENEVE_DROPPED(v6, DROP_GENEVE_CRITICAL, NULL, 0, 0x40, 0x65, 0x58, 0, 0, 7, 0);
		geneve_with(v6, (const uint8_t[TUNNEL_LEN]){ 1, 0, 0x65, 0x58, 0, 0, 7, 0 }, unknown); /* it need not be understood */
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
	}
}

static void without_the_fast_path(void)
{
	dp_config.fast_path = false;
	harness_reopen();
}

static void by_geneve(void)
{
	dp_config.geneve = true;
	dp_config.tunnel_port = GENEVE_PORT;
	harness_reopen();
}

static void with_the_fast_path(void)
{
	dp_config.fast_path = true;
	harness_reopen();
}

int main(void)
{
	harness_init();
	RUN(vxlan_with_other_flags);
	RUN(what_ends_before_it_begins);
	RUN(lengths_that_lie);
	RUN(without_the_fast_path);
	RUN(vxlan_with_other_flags);
	RUN(what_ends_before_it_begins);
	RUN(lengths_that_lie);
	RUN(by_geneve);
	RUN(geneve_that_is_not_spoken);
	RUN(what_ends_before_it_begins);
	RUN(lengths_that_lie);
	RUN(with_the_fast_path);
	RUN(geneve_that_is_not_spoken);
	RUN(what_ends_before_it_begins);
	RUN(lengths_that_lie);
	harness_done();
	return test_end();
}
