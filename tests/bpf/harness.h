/* SPDX-License-Identifier: Apache-2.0 */
/* A node of its own to run programs in: namespaces, a bpf file system, two pods on veths, another node behind each transport.
 *
 *	pod A  10.9.1.2  fd09:0:0:1::2	  this node  10.9.1.1  fd09:0:0:1::1, underlay 192.0.2.1  fd30::1
 *	pod B  10.9.1.3  fd09:0:0:1::3
 *	direct node 10.9.2.0/24, fd09:0:0:2::/64 (MTU 1500)    tunnel node 10.9.3.0/24, fd09:0:0:3::/64 (MTU 1450)
 *
 * The host ends of pod A, the uplink and the tunnel have one MAC address, mac_host_a: a test's frame is for this node wherever it comes in.
 */
#pragma once

#include "datapath/datapath.h"
#include "datapath/inspect.h"
#include "frame.h"
#include "weft/flow.h"

#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#define A4 "10.9.1.2"
#define A6 "fd09:0:0:1::2"
#define B4 "10.9.1.3"
#define B6 "fd09:0:0:1::3"
#define NODE4 "10.9.1.1"
#define NODE6 "fd09:0:0:1::1"
#define DIRECT4 "10.9.2.7"
#define DIRECT6 "fd09:0:0:2::7"
#define TUNNEL4 "10.9.3.7"
#define TUNNEL6 "fd09:0:0:3::7"
#define WORLD4 "198.51.100.9"
#define WORLD6 "2001:db8::9"

enum { FLOW_MAX = 256, FLOW_SHARE = 64, NAT_MAX = 256, NAT_SHARE = 128 };

extern const uint8_t mac_pod_a[6], mac_host_a[6], mac_pod_b[6], mac_host_b[6], mac_vtep[6], mac_other[6];
extern uint32_t if_a, if_b, if_uplink, if_tunnel;
extern struct datapath *dp;
extern struct dp_config dp_config;

/* Said before harness_init(): false where the pods' ends need IPv6 of their own. Else they have none, so nothing but the test's frames is seen (a kernel
 * speaks of multicast groups by itself, and on a busy machine late). */
extern bool harness_quiet;
/* Ends the test program with a message when the node cannot be made (it needs root). */
void harness_init(void);
/* Closes and opens the datapath with dp_config as it is now, endpoints and routes applied. */
void harness_reopen(void);
void harness_done(void);
/* Off, the kernel tells programs of no route, and of no address of its own. (At first it is as the machine has it.) */
void harness_forward(bool on);
/* These interfaces have programs that see what comes in; 0, 0: nobody has said so. harness_reopen(): the uplink and the tunnel. */
void harness_judge(uint32_t a, uint32_t b);
/* The interface by which packets have come to the stack of the node. 0: as their source says: of a pod or another node by its, else by none, as a
 * socket of the node has sent them; so it is of all with HARNESS_BY_NODE. */
extern uint32_t harness_came_by;
#define HARNESS_BY_NODE UINT32_MAX

struct outcome {
	int verdict;
	uint8_t data[2048];
	size_t len;
};

/* Runs the program over a frame that arrives at (or leaves by) @ifindex. @gso_size 0: a plain packet. */
struct outcome run_gso(const char *program, const struct frame *f, uint32_t ifindex, uint32_t gso_size);
static inline struct outcome run(const char *program, const struct frame *f, uint32_t ifindex)
{
	return run_gso(program, f, ifindex, 0);
}

uint64_t drops_of(enum drop_reason why);
uint64_t forwards_of(enum forward_way way);

/* The program drops the frame, for this reason, and no other counter of drops moves. */
#define CHECK_DROP(program, f, ifindex, why)                                                                           \
	do {                                                                                                           \
		uint64_t _before = drops_of(why), _all = all_drops();                                                  \
		CHECK_INT(run((program), (f), (ifindex)).verdict, TC_ACT_SHOT);                                        \
		CHECK_STR(drop_reason_label(last_drop()), drop_reason_label(why));                                     \
		CHECK_INT(drops_of(why), _before + 1);                                                                 \
		CHECK_INT(all_drops(), _all + 1);                                                                      \
	} while (0)
/* The program forwards the frame this way. */
#define CHECK_WAY(program, f, ifindex, way, expected)                                                                  \
	({                                                                                                             \
		uint64_t _before = forwards_of(way);                                                                   \
		struct outcome _o = run((program), (f), (ifindex));                                                    \
		if (_o.verdict != (expected))                                                                          \
			printf("# last drop: %s\n", drop_reason_label(last_drop()));                                   \
		CHECK_INT(_o.verdict, (expected));                                                                     \
		CHECK_INT(forwards_of(way), _before + 1);                                                              \
		_o;                                                                                                    \
	})
uint64_t all_drops(void);
enum drop_reason last_drop(void); /* whose counter has moved since the last look at any */

/* The entry of the flow between two ends, or false. */
bool flow_get(const char *map, uint8_t proto, const char *a, uint16_t aport, const char *b, uint16_t bport,
	      struct flow_state *ret);
/* The same of `flows`, once a sweep has moved it there; false when none does within 10 s. */
bool flow_moved(uint8_t proto, const char *a, uint16_t aport, const char *b, uint16_t bport, struct flow_state *ret);
struct flow_key flow_key_of(uint8_t proto, const char *a, uint16_t aport, const char *b, uint16_t bport);
void flows_clear(void);
void flows_forgive(void); /* nobody has begun what was not answered */
uint64_t share_of(uint32_t id); /* entries of `flows` that the endpoint holds; 0 counts all */
uint32_t ticks_now(void);
