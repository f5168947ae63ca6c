/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Policy as packets see it. docs/policy.md tells the story; in short, one direction of one packet is judged so:
 *
 *	peer address -> class            policy_addrs (hash), on a miss policy_cidrs (LPM; ::/0 and ::ffff:0:0/96 are always there)
 *	local endpoint -> policy id      policy_endpoints (struct ip_addr; an address that is not there is no endpoint of this node)
 *	(policy, direction, class), (…, group of the class), (…, any class of the family): three probes of policy_rules
 *	each hit carries what holds for all protocols and ports, and names a port table with the prefix lengths in use there
 *	(port table, protocol, port cut to a length): policy_ports, only for those lengths
 *
 * In each of the two stages the highest precedence of all that was found wins, however specific it is. Stage 0 is the
 * Admin tier; when it says PASS or nothing, stage 1 decides: NetworkPolicy where the endpoint is isolated, else the
 * Baseline tier. A policy always has an entry for "any class" that decides stage 1; when nothing is found the packet is dropped. */
#pragma once

#include <linux/types.h>

enum policy_direction { POLICY_INGRESS, POLICY_EGRESS };
enum { POLICY_DIRECTIONS = 2 };

/* Reserved class ids. Each address has one class; a class that no selector in use tells apart is its group itself. */
enum policy_class {
	POLICY_CLASS_ANY4 = 1, /* wildcard: every IPv4 address */
	POLICY_CLASS_ANY6,     /* wildcard: every IPv6 address */
	POLICY_CLASS_WORLD,    /* group: outside of the cluster, as far as this node knows */
	POLICY_CLASS_POD,      /* group: addresses of known pods */
	POLICY_CLASS_UNKNOWN,  /* group: in the cluster's pod ranges, pod not known (yet) */
	POLICY_CLASS_NODE,     /* group: addresses of nodes */
	POLICY_CLASS_FIRST = 16,
};

/* Reserved policy ids. */
enum policy_id {
	POLICY_OPEN = 0,   /* no policy applies: everything is allowed */
	POLICY_LOCKED = 1, /* has no entries, so everything is dropped: policy too large, map full, namespace unknown */
	POLICY_ID_FIRST = 16,
};

enum policy_verdict { POLICY_NONE, POLICY_ALLOW, POLICY_DENY, POLICY_PASS };

enum { POLICY_STAGES = 2, POLICY_PORT_LEN_MAX = 16 };

struct policy_addr_key {
	__u8 addr[16]; /* network order, IPv4 mapped */
};

struct policy_cidr_key {
	__u32 prefixlen; /* of the 16-byte form */
	__u8 addr[16];
};

struct policy_class_value {
	__u32 class_id;
	__u32 group; /* POLICY_CLASS_WORLD … _NODE */
};

struct policy_rule_key {
	__u32 policy;
	__u32 class_id;
	__u32 direction;
};

struct policy_slot {
	__u32 precedence; /* precedence << 2 | verdict; 0: nothing here. The larger wins */
	__u32 rule;	  /* rule id, 0: no rule (the default) */
};

struct policy_rule_value {
	struct policy_slot slot[POLICY_STAGES]; /* what holds for every protocol and port */
	__u32 ports;	 /* port table, 0: none */
	__u32 port_lens; /* bit n: the table has prefixes of n bits */
};

struct policy_port_key {
	__u32 ports;
	__u16 port; /* host order, bits beyond len are zero */
	__u8 protocol;
	__u8 len; /* 0 … 16 */
};

struct policy_port_value {
	struct policy_slot slot[POLICY_STAGES];
};

struct policy_endpoint_value {
	__u32 policy;
	__u32 trial; /* the policy if those that only observe were in force too; 0: none does. POLICY_LOCKED: it would be locked down */
	/* Of the node's own addresses, else 0; nanoseconds since boot. */
	__u64 until;  /* from then on `after` is in force, whether or not an agent lives: nobody has confirmed the policy. 0: for ever */
	__u64 adopts; /* until then a connection of which nobody saw the beginning may be older than the policy */
	__u32 after;  /* what was confirmed last */
	__u32 gone;   /* as if there were no entry */
};

/* In policy_endpoints, for all groups that packets for the node may go to (multicast, and 255.255.255.255): the first of each family, which no group has
 * (RFC 1112 4, RFC 4291 2.7). */
#define POLICY_GROUPS4 { [10] = 0xff, 0xff, 224 }
#define POLICY_GROUPS6 { 0xff }

/* An update takes effect at one instant: what it makes of an address or an endpoint stands beside what was, and holds from the revision `since` on, which
 * policy_state gets when all is written. A program reads the revision once for all that it asks for one packet. The first members are those of the struct
 * without "turn" in its name, and what holds then; so an older agent's entry is one that has turned. */
struct policy_class_turn { /* value of policy_addrs */
	__u32 class_id;
	__u32 group;
	struct policy_class_value before;
	__u32 since;
};

struct policy_endpoint_turn { /* value of policy_endpoints */
	__u32 policy;
	__u32 trial;
	__u64 until;
	__u64 adopts;
	__u32 after;
	__u32 gone;
	struct policy_endpoint_value before;
	__u32 since;
	__u32 pad;
};

/* In the kernel ids (from _FIRST on) and addresses bear the generation of the compiler that gave them, because an agent that was
 * started anew counts anew: what it writes stands beside what is in force, and takes over endpoint by endpoint. */
#define POLICY_GENERATION_SHIFT 24
#define POLICY_ID_MASK ((1u << POLICY_GENERATION_SHIFT) - 1)

struct policy_addr_at { /* key of policy_addrs */
	__u32 generation;
	__u8 addr[16];
};

struct policy_cidr_at { /* key of policy_cidrs */
	__u32 prefixlen; /* 32 more: the generation's */
	__u32 generation;
	__u8 addr[16];
};

/* `policy_state`: one element. Flows remember the revision under which they were judged: a change lets each be judged anew by its
 * next packet. Even; 0 until the first policies were applied: everything is allowed. At the end of the trial of the node's own policies, nanoseconds since
 * boot (0: there is none), it becomes the odd one by itself. */
struct policy_state {
	__u32 revision;
	__u32 writing; /* entries may say what holds from the next revision on: to be undone if the agent that writes them is no more */
	__u64 until;
};

_Static_assert(sizeof(struct policy_cidr_key) == 20, "abi");
_Static_assert(sizeof(struct policy_rule_key) == 12, "abi");
_Static_assert(sizeof(struct policy_rule_value) == 24, "abi");
_Static_assert(sizeof(struct policy_port_key) == 8, "abi");
_Static_assert(sizeof(struct policy_port_value) == 16, "abi");
_Static_assert(sizeof(struct policy_endpoint_value) == 32, "abi");
_Static_assert(__builtin_offsetof(struct policy_class_turn, before) == sizeof(struct policy_class_value), "abi");
_Static_assert(__builtin_offsetof(struct policy_endpoint_turn, before) == sizeof(struct policy_endpoint_value), "abi");
_Static_assert(sizeof(struct policy_class_turn) == 20, "abi");
_Static_assert(sizeof(struct policy_endpoint_turn) == 72, "abi");
_Static_assert(sizeof(struct policy_state) == 16, "abi");
_Static_assert(sizeof(struct policy_addr_at) == 20, "abi");
_Static_assert(sizeof(struct policy_cidr_at) == 24, "abi");
