/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of hostile packets have in common: a frame, of pod A unless said otherwise, and that it is dropped. */
#pragma once

#include "base/test.h"
#include "harness.h"

static struct frame f;

/* The program drops it for this reason. */
#define DROPPED(program, ifindex, why) CHECK_DROP((program), &f, (ifindex), (why))

static inline void begin(uint16_t type)
{
	frame_ether(&f, mac_host_a, mac_pod_a, type);
}

/* A UDP packet. */
static inline void udp_between(const char *src, uint16_t sport, const char *dst, uint16_t dport)
{
	begin(strchr(src, ':') ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, src, dst, IPPROTO_UDP);
	frame_udp(&f, sport, dport);
	frame_payload(&f, 32);
	frame_end(&f);
}

static inline void udp(const char *src, const char *dst)
{
	udp_between(src, 1000, dst, 2000);
}
