/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel's network tables hold, as plain structs: links, addresses, routes, rules, neighbours. Compilers write
 * them, net/rtnl.h reads and writes them in a kernel. All zero means "nothing said" for every field, unless noted. */
#pragma once

#include "net/addr.h"

#include <linux/rtnetlink.h>
#include <net/if.h>

enum {
	NET_PROTO_WEFT = 87,	/* 'W': routes, rules and neighbours with this protocol are ours */
	NET_TABLE_PEERS = 5757, /* routes from pods to the peers' own addresses with a tunnel transport */
	NET_TABLE_PROBES = 5758, /* the plain way to the peers, for the probes of transport auto alone */
	LINK_ALIAS_MAX = 256,
};

struct link {
	uint32_t ifindex;
	char name[IF_NAMESIZE];
	uint8_t mac[6]; /* zero where the link has none */
	uint32_t mtu;
	uint16_t type;	 /* ARPHRD_*: ARPHRD_ETHER has Ethernet headers */
	uint32_t flags;	 /* IFF_UP, IFF_LOWER_UP, … */
	uint32_t master; /* ifindex of the bridge it is in */
	uint32_t group;
	char kind[16]; /* "veth", "vxlan", …; "" for physical ones and lo */
	char alias[LINK_ALIAS_MAX];
	uint32_t peer_ifindex; /* IFLA_LINK: a veth's other end; in that end's namespace */
	int32_t peer_netnsid;  /* -1: the other end is in this namespace */
	struct {
		bool external; /* metadata mode */
		uint32_t vni;
		uint16_t port; /* host order */
		bool udp_zero_csum6_tx, udp_zero_csum6_rx;
	} vxlan; /* when kind is "vxlan" */
};

struct link_addr {
	uint32_t ifindex;
	struct addr addr;
	uint8_t len;	/* in the 16-byte form: an IPv4 /24 is 120 */
	uint8_t scope;	/* RT_SCOPE_* */
	uint32_t flags; /* IFA_F_NODAD, IFA_F_TENTATIVE, … */
};

struct route_encap { /* lwt "ip" or "ip6", as the family of @dst says; none when @dst is zero */
	uint64_t id; /* VNI, host order */
	struct addr dst, src;
	uint8_t ttl;
	uint8_t tos;
	uint16_t flags; /* TUNNEL_* of <linux/if_tunnel.h>, host order; 0x04 is TUNNEL_KEY */
};

struct route {
	struct prefix dst; /* the default route of IPv4 is ::ffff:0.0.0.0/96, of IPv6 ::/0 */
	struct addr via;
	struct addr src; /* preferred source */
	uint32_t oif;
	uint32_t table;	 /* 0 writes RT_TABLE_MAIN; decoded it is never 0 */
	uint32_t metric; /* 0 is the kernel's default: 0 for IPv4, 1024 for IPv6; decoded as the kernel says */
	uint32_t mtu;
	uint8_t proto; /* 0 writes NET_PROTO_WEFT */
	uint8_t type;  /* RTN_*; 0 writes RTN_UNICAST */
	uint8_t scope; /* RT_SCOPE_*; 0 (universe) with no gateway writes RT_SCOPE_LINK for IPv4 */
	bool onlink;
	struct route_encap encap;
	uint8_t lwt;	  /* decoded: the kind of its encapsulation (LWTUNNEL_ENCAP_*), of which only "ip" and "ip6" are in @encap */
	uint8_t nexthops; /* decoded: more than 1 for a multipath route, of which only the first hop is above */
};

struct rule {
	int family; /* AF_INET, AF_INET6 */
	uint32_t priority;
	struct prefix from, to; /* len 0: any */
	uint8_t ip_proto;	/* 0: any */
	uint16_t dport;		/* 0: any */
	uint32_t table;
	uint8_t proto;	/* 0 writes NET_PROTO_WEFT */
	uint8_t action; /* FR_ACT_*; 0 writes FR_ACT_TO_TBL */
};

struct neigh {
	uint32_t ifindex;
	struct addr addr;
	uint8_t mac[6];
	uint16_t state; /* NUD_*; 0 writes NUD_PERMANENT */
	uint8_t flags;	/* NTF_* */
	uint8_t proto;	/* 0 writes NET_PROTO_WEFT */
};

/* Family of what a prefix holds: ::/0 is IPv6, ::ffff:0:0/96 is IPv4. */
static inline int prefix_family(const struct prefix *p)
{
	return p->len >= V4_BITS_BEFORE && addr_is_v4(&p->addr) ? AF_INET : AF_INET6;
}
/* 0.0.0.0/0 or ::/0 */
struct prefix prefix_any(int family);

/* Do two routes occupy the same slot (family, table, prefix, metric), so that one replaces the other? */
bool route_same_slot(const struct route *a, const struct route *b);
/* Are they the same in all that a wanted route says? Defaults are filled in first. */
bool route_eq(const struct route *a, const struct route *b);
bool rule_eq(const struct rule *a, const struct rule *b);
bool neigh_same_slot(const struct neigh *a, const struct neigh *b);
bool neigh_eq(const struct neigh *a, const struct neigh *b);
