/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Why a packet was dropped: the one list from which enum, metric label and text come. Numbers index pinned counters, so
 * new reasons go to the end. Each has a test in tests/bpf that provokes it. */
#pragma once

/* clang-format off */
/* X(NAME, metric label, text) */
#define DROP_REASONS(X) \
	X(NO_ENDPOINT,          "no_endpoint",          "the interface belongs to no endpoint") \
	X(SOURCE_MAC,           "source_mac",           "a pod sent from a MAC address that is not its own") \
	X(DESTINATION_MAC,      "destination_mac",      "a frame of a pod that is not to its gateway, or one for a pod to a group") \
	X(SOURCE_ADDRESS,       "source_address",       "a pod sent from an address that is not its own") \
	X(VLAN,                 "vlan",                 "a frame of a VLAN, of a pod or out of a tunnel") \
	X(ETHERTYPE,            "ethertype",            "neither IPv4 nor IPv6") \
	X(ARP,                  "arp",                  "ARP from a pod, whose neighbour entries are permanent") \
	X(TRUNCATED,            "truncated",            "the packet ends within a header") \
	X(MALFORMED,            "malformed",            "header fields contradict each other or the packet") \
	X(V4_MAPPED,            "v4_mapped",            "an IPv6 packet with an IPv4-mapped address") \
	X(EXTENSION_HEADERS,    "extension_headers",    "more IPv6 extension headers than are followed") \
	X(SOURCE_ROUTE,         "source_route",         "source routing: IPv4 option or IPv6 routing header") \
	X(MULTICAST,            "multicast",            "multicast or broadcast from a pod") \
	X(ROUTER_SOLICITATION,  "router_solicitation",  "router solicitation from a pod, which has its routes") \
	X(ROUTER_ADVERTISEMENT, "router_advertisement", "router advertisement from a pod") \
	X(MLD,                  "mld",                  "multicast listener discovery from a pod") \
	X(ICMP_REDIRECT,        "icmp_redirect",        "ICMP redirect from a pod") \
	X(ND_SPOOF,             "nd_spoof",             "neighbour discovery that claims what is not the pod's, or is not between a pod and its gateway") \
	X(FRAGMENT_TINY,        "fragment_tiny",        "a first fragment without the whole transport header") \
	X(FRAGMENT_OVERLAP,     "fragment_overlap",     "a later fragment that reaches into the transport header") \
	X(FRAGMENT_UNKNOWN,     "fragment_unknown",     "a later fragment whose first has not been seen") \
	X(ICMP_UNRELATED,       "icmp_unrelated",       "an ICMP error about no flow of its receiver") \
	X(FLOW_SHARE,           "flow_share",           "the endpoint's share of the flow table is used up") \
	X(FLOW_TABLE_FULL,      "flow_table_full",      "the flow table is full") \
	X(NOT_FOR_POD,          "not_for_pod",          "the packet is not for an address of this pod") \
	X(NET_SOURCE,           "net_source",           "a packet from elsewhere that claims a local address, or one that no host has") \
	X(TUNNEL_VNI,           "tunnel_vni",           "a tunnel packet with another network identifier") \
	X(TUNNEL_SOURCE,        "tunnel_source",        "an inner source that does not belong to the outer one's node") \
	X(TUNNEL_DESTINATION,   "tunnel_destination",   "a tunnel packet for neither a local pod nor this node, or sent to another of its addresses") \
	X(NAT_EXHAUSTED,        "nat_exhausted",        "no free port towards this destination") \
	X(NAT_SHARE,            "nat_share",            "the endpoint's share of the translation table is used up") \
	X(NAT_TABLE_FULL,       "nat_table_full",       "the translation table is full") \
	X(NAT_ADDRESS,          "nat_address",          "the uplink has no address of this family to masquerade with") \
	X(PLAIN_SOURCE,         "plain_source",         "a packet from outside, as it is, of another node or a pod there, whose packets come another way") \
	X(PLAINTEXT_OUT,        "plaintext_out",        "a packet of a pod was about to leave unencrypted") \
	X(PLAINTEXT_IN,         "plaintext_in",         "a packet of a pod came in unencrypted") \
	X(POLICY_EGRESS,        "policy_egress",        "no policy lets the pod send this") \
	X(POLICY_INGRESS,       "policy_ingress",       "no policy lets the pod receive this") \
	X(POLICY_UNKNOWN_POD,   "policy_unknown_pod",   "policy denied it, and the peer is a pod that this node does not know (yet)") \
	X(POLICY_LOCKED,        "policy_locked",        "the pod's policy is not known or could not be put in place: locked down") \
	X(GENEVE_HEADER,        "geneve_header",        "a Geneve packet of another version, without a frame inside, or with options in a fragment") \
	X(GENEVE_CONTROL,       "geneve_control",       "a Geneve control packet") \
	X(GENEVE_CRITICAL,      "geneve_critical",      "a Geneve packet with an option that must be understood") \
	X(SERVICE_REFUSED,      "service_refused",      "a Service that nobody serves, or a port that it has not; answered") \
	X(SERVICE_NO_LOCAL,     "service_no_local",     "a Service that nobody on this node serves, as its traffic policy asks") \
	X(SERVICE_SOURCE,       "service_source",       "a client that the Service's source ranges keep out") \
	X(SERVICE_PORT,         "service_port",         "a fragment would need another port, and its checksum covers what is in others") \
	X(TOO_BIG,              "too_big",              "too big for the path, not to be fragmented; answered") \
	X(FLOW_UNANSWERED,      "flow_unanswered",      "the endpoint has begun more flows than were answered to it, beyond its bound") \
	X(NAT_UNANSWERED,       "nat_unanswered",       "the endpoint has been given more ports than were answered to, beyond its bound") \
	X(NAT_TUNNEL,           "nat_tunnel",           "a packet to the tunnel's port, which would have left as this node's own") \
	X(HOP_LIMIT,            "hop_limit",            "for a Service or from it, and may go no hop further") \
	X(LOOPBACK,             "loopback",             "a loopback address, which never leaves its host") \
	X(STRAY_SOURCE,         "stray_source",         "an address of another node or of a pod there, by an interface that is none of Weft's") \
	X(POD_TUNNEL,           "pod_tunnel",           "a tunnel's or IPsec's packet of a pod, for a node") \
	X(VLAN_ZERO,            "vlan_zero",            "a pod sent a frame with a tag of VLAN 0") \
	X(QINQ,                 "qinq",                 "a frame of a pod with two tags, or one from outside with two that say nothing") \
	X(DHCP,                 "dhcp",                 "DHCP on a pod's link") \
	X(VXLAN_HEADER,         "vxlan_header",         "a VXLAN packet with flags that are not known, or reserved bits")
/* clang-format on */

enum drop_reason {
	DROP_NONE,
#define DROP_ENUM(name, label, text) DROP_##name,
	DROP_REASONS(DROP_ENUM)
#undef DROP_ENUM
	DROP_REASON_COUNT, /* DROP_NONE is counted, as a place that stays zero */
};

enum { DROP_POLICY_REASONS = DROP_POLICY_LOCKED - DROP_POLICY_EGRESS + 1 };

static inline __attribute__((always_inline)) int drop_is_by_policy(unsigned reason)
{
	return reason >= DROP_POLICY_EGRESS && reason <= DROP_POLICY_LOCKED;
}
