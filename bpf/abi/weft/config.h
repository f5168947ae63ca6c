/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a program is told when it is loaded: constants to the verifier, which removes the branches that they close. */
#pragma once

#include "weft/addr.h"
#include "weft/flow.h"

struct config {
	struct ip_addr node_addrs[2]; /* this node's in the pod ranges: IPv4, IPv6; ADDR_ABSENT_BYTE where it has none */
	struct ip_addr ranges[2], masks[2]; /* this node's pod ranges: nothing outside has an address of them; none: as node_addrs */
	struct ip_addr underlay[2];
	__u32 vni;
	__u32 flow_max;	  /* entries of `flows` */
	__u32 flow_share; /* entries that one endpoint may hold */
	__u32 fast_path;  /* 0: to the stack after the checks */
	__u32 foreign_nat; /* somebody else translates addresses in this node's stack: flows that went through it return through it */
	__u32 masquerade; /* bit 0: IPv4, bit 1: IPv6 */
	__u32 nat_max;	  /* claims: of all, of one endpoint */
	__u32 nat_share;
	__u16 nat_port_min, nat_port_max; /* host order */
	__u32 nat_modulus;		  /* the smallest prime that is not below the number of ports */
	__u16 tunnel_port;		  /* host order; 0 without a tunnel */
	__u16 hook;			  /* which of the loader's programs this is, from 1: for events */
	__u16 inbound_port_min, inbound_port_max; /* host order: by which this node speaks for clients from outside */
	__u32 inbound_modulus;			  /* as nat_modulus */
	__u32 inbound;				  /* 1: Services are served to the outside */
	__u8 guard;			  /* 1: pods' packets pass no uplink unencrypted */
	__u8 geneve;			  /* 1: the tunnel device's packets travel as Geneve */
	__u8 flow_events;		  /* 1: connections are events, too */
	__u8 mss_clamp;			  /* 1: SYNs speak of no larger segments than the path carries */
	__u8 host;			  /* 1: policies may speak of the node itself */
	__u8 pod_tunnels;		  /* 1: pods may send tunnels' protocols to nodes */
	__u8 pad[2];
	__u32 recent_lines; /* of `flows_recent`, behind the first */
	__u32 xdp_pairs; /* of `xdp_recent`, a CPU's */
	__u64 recent_key[FLOW_RECENT_TERMS][FLOW_RECENT_ROWS]; /* random, anew each time the programs are loaded */
};

ABI_SIZE(struct config, 512);
