/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* NAT: who speaks to whom under which address and port. docs/nat.md tells the story.
 *
 * `nat_claims` (hash) says which (our address, port) towards one remote end is taken, and by whom: it is the allocation, the way
 * back of replies, and the state of the connection, and its turns end it (lib/turns.h). `nat_forward` (hash) is the way out: as whom an
 * inside end speaks to a remote one. A claim exists before its forward entry and is deleted after it, so no packet leaves
 * with a port that is not claimed. Neither is ever an LRU map: a flood would evict what idle connections live on.
 *
 * A port of the node's own is never taken. The range has to overlap with the ports from which the kernel picks for the node's
 * sockets (55,000 towards one destination do not fit beside them), so it is settled for each remote end:
 *  - a port for which the node has a socket that would get the reply (listening, connected, TIME_WAIT) is passed over;
 *  - a socket that comes later, and speaks to the same remote end from a port that is claimed, is given a claim of its own:
 *    the node is then one more inside end (NAT_OWNER_NODE), translated like a pod's;
 *  - what the node forwards with its own address (its netfilter translates, as for containers behind a bridge) has no socket that could be asked for, so
 *    it has claims of its own from its first packet on (NAT_OWNER_FOREIGN), of the port that it has where no pod has it already;
 *  - where there is no port to choose (no ports in the protocol, or under its checksum) the node wins: the pod's claim ends, and the node has
 *    one itself for as long as it speaks.
 * What comes from outside for a Service (lib/inbound.h) is translated at both ends: the client is the inside end, and speaks to the
 * backend as itself or as this node; the address that it spoke to is the claim's `front`. Where it speaks as this node, ports
 * are used from which the kernel picks none for the node's sockets (inbound_port_min … inbound_port_max): nothing has to be settled.
 * Setting ip_local_reserved_ports would leave the node less than half of its ports; ranges apart would leave pods less. */
#pragma once

#include "weft/addr.h"
#include "weft/flow.h"

/* One side of a connection. ICMP echo: the identifier is local_port, remote_port is 0; 0 where the protocol has no ports. */
struct nat_key {
	struct ip_addr local, remote;
	__be16 local_port, remote_port;
	__u8 proto;
	__u8 turn; /* in the queue `nat_turns`, else 0 */
	__u8 pad[2];
};

/* `nat_forward`: local is the inside end → as whom it speaks. */
struct nat_forward {
	struct ip_addr addr;
	__be16 port;
	__u16 open;  /* the claim's stage is FLOW_OPEN, as far as this side knows */
	__u32 seen; /* tick of the latest packet on the way out */
	struct ip_addr to; /* inbound: the backend */
	__be16 to_port;
	__u16 direct; /* 1: DSR: packets go to the backend's node as they are, and answers do not come back here */
	__u32 backend; /* its id (weft/service.h); 0: not inbound, the remote end is as it is */
};

/* `nat_claims`: local is what the remote end sees → the inside end. */
struct nat_claim {
	struct ip_addr addr;
	struct ip_addr front; /* inbound: the address and port that the inside end speaks to */
	__be16 port, front_port;
	__u32 uplink; /* ifindex by which the inside end came, and answers leave; 0: not inbound */
	struct flow_state state; /* seen: on the way in; stages: HALF_OPEN until a reply, then OPEN, CLOSING, RESET; fin: bit 0 inside */
	__u8 turn; /* the latest in `nat_turns`; 0: none */
	__u8 pad[3];
};

/* `nat_shares`: owner (__u32) → claims that it holds (__u64). Endpoint ids, and: */
#define NAT_OWNER_ALL 0
#define NAT_OWNER_NODE 0xffffffff
#define NAT_OWNER_INBOUND 0xfffffffe /* connections from outside to Services */
#define NAT_OWNER_FOREIGN 0xfffffffd /* what the node forwards with its own address: others' NAT. The least of those that are no endpoint's */

/* `nat_uplinks`: ifindex (__u32) → as whom packets leave by it; ADDR_ABSENT_BYTE where it has no address. */
struct nat_uplink {
	struct ip_addr addrs[2]; /* IPv4, IPv6 */
};

#define NAT_UPLINKS_MAX 64

/* `nat_exempt` (LPM): what is not masqueraded, by destination or by source. */
enum nat_exempt_side { NAT_TO, NAT_FROM };

struct nat_exempt_key {
	__u32 len; /* 32 + bits of addr that count */
	__u32 side; /* enum nat_exempt_side */
	__be32 addr[4];
};

#define NAT_EXEMPT_MAX 32768

/* `nat_reserved` (array): bit port % 64 of element port / 64: never claimed (ports in host order). */
#define NAT_RESERVED_WORDS 1024

/* `nat_asks` (LRU hash): endpoint id (__u32) → its claims that nobody has answered (struct flow_asks; lib/nat_asks.h). */
#define NAT_ASKS_MIN 256	 /* as many it may have where an eighth of the ports is less */
#define NAT_TIMEOUT_UNANSWERED 8 /* seconds that a claim of TCP lives when no answer comes; a repeated SYN begins anew */

/* Ports that are looked at for one new connection after the one it came with. At 9 of 10 ports taken all of them are
 * taken for 1 in 700,000 connections. */
#define NAT_TRIES 128
/* Claims that are looked at to make room for a client from outside. */
#define NAT_ROOM_TRIES 8

ABI_SIZE(struct nat_key, 40);
ABI_SIZE(struct nat_forward, 48);
ABI_SIZE(struct nat_claim, 64);
ABI_SIZE(struct nat_exempt_key, 24);
