/* SPDX-License-Identifier: Apache-2.0 */
/* A node with Services, for the tests of their packets: the maps as the agent fills them, with one endpoint each. The node is 192.0.2.1 and
 * fd30::1 on its uplink. */
#pragma once

#include "base/test.h"
#include "../lab/sctp.h"
#include "harness.h"
#include "view.h"
#include "weft/nat.h"
#include "weft/service.h"

#include <bpf/bpf.h>
#include <netinet/in.h>

#define OURS4 "192.0.2.1"
#define OURS6 "fd30::1"

enum { NODE_PORT = 30080, REDIRECT = TC_ACT_REDIRECT };

static const struct family {
	const char *client, *ours, *local, *remote, *own, *any;
} families[] = {
	{ WORLD4, OURS4, A4, TUNNEL4, NODE4, "0.0.0.0" },
	{ WORLD6, OURS6, A6, TUNNEL6, NODE6, "::" },
};

static struct frame f;
static struct outcome out;

static inline struct ip_addr ip_of(const char *text)
{
	struct addr a = addr_of(text);
	struct ip_addr r;

	memcpy(&r, &a, 16);
	return r;
}

static inline void put(const char *map, const void *key, const void *value)
{
	CHECK_INT(bpf_map_update_elem(datapath_map_fd(dp, map), key, value, BPF_ANY), 0);
}

/* One Service with one endpoint, reached at @addr:@port. @scope: enum service_scope. @backend NULL: nobody serves. */
static inline void service_in(uint8_t scope, const char *addr, uint16_t port, uint8_t proto, const char *backend, uint16_t to, uint8_t flags, uint32_t id)
{
	struct service_key key = { .addr = ip_of(addr), .port = htons(port), .proto = proto, .scope = scope };
	struct service_frontend fe = { .service = id, .set = id, .slots = backend ? 1 : 0, .flags = flags };
	struct service_slot_key slot = { .set = id };
	struct service_slot_chunk chunk = { .backend = { id } };
	bool local = backend && (streq(backend, A4) || streq(backend, A6) || streq(backend, B4) || streq(backend, B6));
	struct service_backend b = { .port = htons(to), .proto = proto, .roles = 1, .flags = local ? SERVICE_ON_THIS_NODE : 0,
				     .service = id };

	if (backend) {
		b.addr = ip_of(backend);
		put("service_backends", &id, &b);
		put("service_slots", &slot, &chunk);
	}
	put("service_frontends", &key, &fe);
}

/* Two endpoints at one address: ports @to and @to + 1. Who has been there comes back to the same within @affinity ticks. */
static inline void service_of_two(uint8_t scope, const char *addr, uint16_t port, uint8_t proto, const char *backend, uint16_t to, uint32_t affinity)
{
	struct service_key key = { .addr = ip_of(addr), .port = htons(port), .proto = proto, .scope = scope };
	struct service_frontend fe = { .service = 1, .set = 1, .slots = 2, .affinity = affinity };
	struct service_slot_key slot = { .set = 1 };
	struct service_slot_chunk chunk = { .backend = { 1, 2 } };

	for (uint32_t id = 1; id <= 2; id++) {
		struct service_backend b = { .addr = ip_of(backend), .port = htons(to + id - 1), .proto = proto, .roles = 1, .flags = SERVICE_ON_THIS_NODE,
					     .service = 1 };

		put("service_backends", &id, &b);
	}
	put("service_slots", &slot, &chunk);
	put("service_frontends", &key, &fe);
}

/* For clients outside. */
static inline void service(const char *addr, uint16_t port, uint8_t proto, const char *backend, uint16_t to, uint8_t flags, uint32_t id)
{
	service_in(SERVICE_EXTERNAL, addr, port, proto, backend, to, flags, id);
}

static inline void clear(const char *name)
{
	uint8_t key[64];

	while (bpf_map_get_next_key(datapath_map_fd(dp, name), NULL, key) == 0)
		bpf_map_delete_elem(datapath_map_fd(dp, name), key);
}

static inline void forget(void)
{
	uint32_t ids[] = { NAT_OWNER_ALL, 1, 2, NAT_OWNER_NODE, NAT_OWNER_INBOUND, NAT_OWNER_FOREIGN }, this = SERVICE_NODE_THIS;
	uint64_t none = 0;

	flows_clear();
	clear("nat_claims");
	clear("nat_forward");
	clear("service_frontends");
	clear("service_backends");
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		put("nat_shares", &ids[i], &none);
	for (size_t i = 0; i < 2; i++) {
		struct ip_addr ours = ip_of(families[i].ours);

		put("service_nodes", &ours, &this);
	}
}

static inline void packet(uint8_t proto, const char *src, uint16_t sport, const char *dst, uint16_t dport, const char *flags, size_t payload)
{
	frame_ether(&f, mac_host_a, mac_other, strchr(src, ':') ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, src, dst, proto);
	if (proto == IPPROTO_TCP)
		frame_tcp(&f, sport, dport, flags);
	else
		frame_udp(&f, sport, dport);
	frame_payload(&f, payload);
	frame_end(&f);
	set_transport_sum(&f);
}

static inline void from_pod_a(void)
{
	memcpy(f.data, mac_host_a, 6);
	memcpy(f.data + 6, mac_pod_a, 6);
}

static inline void from_pod_b(void)
{
	memcpy(f.data, mac_host_b, 6);
	memcpy(f.data + 6, mac_pod_b, 6);
}

/* What comes out of a program that sends it on. */
static inline struct view through(const char *program, uint32_t ifindex)
{
	struct view v;

	out = run(program, &f, ifindex);
	CHECK_INT(out.verdict, REDIRECT);
	v = view_of(out.data + ETH_HLEN);
	return v;
}

#define CHECK_ENDS(v, s, sp, d, dp_)                                                                                   \
	do {                                                                                                           \
		struct addr _s = addr_of(s), _d = addr_of(d);                                                          \
		CHECK(addr_eq(&(v).src, &_s));                                                                         \
		CHECK(addr_eq(&(v).dst, &_d));                                                                         \
		CHECK_INT((v).sport, sp);                                                                              \
		CHECK_INT((v).dport, dp_);                                                                             \
	} while (0)
#define CHECK_SUMS(v)                                                                                                  \
	do {                                                                                                           \
		CHECK((v)->v6 || frame_ip4_checksum_ok((v)->ip));                                                      \
		CHECK_INT(transport_sum(v), 0xffff);                                                                   \
	} while (0)

static inline void sctp(const char *src, uint16_t sport, const char *dst, uint16_t dport, size_t payload)
{
	uint8_t header[12] = { sport >> 8, sport, dport >> 8, dport, 1, 2, 3, 4 };
	uint32_t sum;

	frame_ether(&f, mac_host_a, mac_other, strchr(src, ':') ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, src, dst, IPPROTO_SCTP);
	f.l4 = f.len;
	frame_put(&f, header, sizeof(header));
	frame_payload(&f, payload);
	frame_end(&f);
	sum = sctp_crc32c(f.data + f.l4, f.len - f.l4);
	for (int i = 0; i < 4; i++)
		f.data[f.l4 + 8 + i] = sum >> 8 * i;
}

static inline bool sctp_is_whole(const struct view *v, size_t len)
{
	struct sctp_packet s;
	uint8_t copy[2048];
	uint32_t sum;

	memcpy(copy, v->ip + v->l4, len);
	memcpy(s.sum, copy + 8, 4);
	memset(copy + 8, 0, 4);
	sum = sctp_crc32c(copy, len);
	return s.sum[0] == (uint8_t)sum && s.sum[1] == (uint8_t)(sum >> 8) && s.sum[2] == (uint8_t)(sum >> 16) && s.sum[3] == sum >> 24;
}
