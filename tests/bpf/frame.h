/* SPDX-License-Identifier: Apache-2.0 */
/* Frames, built field by field. A frame grows by what is put behind its end; lengths and checksums are set by frame_end(),
 * unless a test sets them to something wrong afterwards. */
#pragma once

#include "net/addr.h"

#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

struct frame {
	uint8_t data[2048];
	size_t len;
	size_t l3, l4; /* where the network and transport headers are */
};

struct addr addr_of(const char *text); /* a literal that is an address */

void frame_ether(struct frame *f, const uint8_t dst[6], const uint8_t src[6], uint16_t type);
/* By the family of @src; TTL 64. Returns the header. */
void *frame_ip(struct frame *f, const char *src, const char *dst, uint8_t proto);
/* Room for any other header: IP options, extension headers, rubbish. */
void *frame_put(struct frame *f, const void *data, size_t n);
struct tcphdr *frame_tcp(struct frame *f, uint16_t sport, uint16_t dport, const char *flags); /* "S", "SA", "A", "F", "R" */
struct udphdr *frame_udp(struct frame *f, uint16_t sport, uint16_t dport);
void frame_icmp(struct frame *f, uint8_t type, uint8_t code, uint16_t id); /* of either family: the type says which */
void frame_payload(struct frame *f, size_t n);
void frame_end(struct frame *f);

static inline struct iphdr *frame_ip4(struct frame *f)
{
	return (struct iphdr *)(f->data + f->l3);
}
static inline struct ipv6hdr *frame_ip6(struct frame *f)
{
	return (struct ipv6hdr *)(f->data + f->l3);
}
bool frame_ip4_checksum_ok(const uint8_t *ip);
