/* SPDX-License-Identifier: Apache-2.0 */
/* Slow and plain on purpose: sets are arrays, every read is checked against the frame's end, nothing is shared with bpf/. */
#include "packets_model.h"

enum { KNOWN_MAX = 256, EXTENSIONS_MAX = 7, NEXT_FRAGMENT = 44, NEXT_AH = 51 };
enum fragment_kind { WHOLE, FIRST, LATER };
enum icmp_kind { NO_ICMP, QUERY, ERROR, REDIRECT, NEIGHBOUR };

struct view {
	const uint8_t *data;
	size_t len;
};

struct ends {
	struct addr src, dst;
	uint16_t sport, dport;
	uint32_t id; /* of fragments */
	size_t header; /* bytes of a first one, after which later ones begin */
	uint8_t proto;
};

struct parsed {
	struct ends e;
	bool v6;
	uint8_t ttl, icmp_type;
	enum fragment_kind fragment;
	enum icmp_kind icmp;
	size_t l3, l4, ip_len, fragment_off;
};

struct model_around model_around;
uint32_t if_c;

static struct ends flows[KNOWN_MAX], firsts[KNOWN_MAX];
static size_t n_flows, n_firsts;

void model_clear(void)
{
	n_flows = n_firsts = 0;
}

static bool has(const struct view *v, size_t off, size_t n)
{
	return off + n <= v->len;
}

static unsigned u16(const struct view *v, size_t off)
{
	return v->data[off] << 8 | v->data[off + 1];
}

static bool is(const struct addr *a, const char *text)
{
	struct addr b = addr_of(text);

	return addr_eq(a, &b);
}

static bool in(const struct addr *a, const char *text)
{
	struct prefix p;

	assert(prefix_parse(text, &p, NULL) == 0);
	return prefix_contains(&p, a);
}

static bool is_pod_a(const struct addr *a)
{
	return is(a, A4) || is(a, A6);
}

static bool is_pod_b(const struct addr *a)
{
	return is(a, B4) || is(a, B6);
}

/* --- what has been seen --- */

static bool same_flow(const struct ends *a, const struct ends *b)
{
	if (a->proto != b->proto)
		return false;
	if (addr_eq(&a->src, &b->src) && addr_eq(&a->dst, &b->dst) && a->sport == b->sport && a->dport == b->dport)
		return true;
	return addr_eq(&a->src, &b->dst) && addr_eq(&a->dst, &b->src) && a->sport == b->dport && a->dport == b->sport;
}

static bool flow_is_known(const struct ends *e)
{
	for (size_t i = 0; i < n_flows; i++)
		if (same_flow(&flows[i], e))
			return true;
	return false;
}

static void learn_flow(const struct ends *e)
{
	assert(n_flows < KNOWN_MAX);
	if (!flow_is_known(e))
		flows[n_flows++] = *e;
}

static struct ends *find_first(const struct ends *e)
{
	for (size_t i = 0; i < n_firsts; i++)
		if (addr_eq(&firsts[i].src, &e->src) && addr_eq(&firsts[i].dst, &e->dst) && firsts[i].id == e->id &&
		    (firsts[i].proto == e->proto || !addr_is_v4(&e->src)))
			return &firsts[i];
	return NULL;
}

static void learn_first(const struct ends *e)
{
	struct ends *known = find_first(e);

	assert(n_firsts < KNOWN_MAX);
	if (!known)
		known = &firsts[n_firsts++];
	*known = *e;
}

/* --- understanding a packet --- */

/* Bytes of header that a first fragment, and a packet, must have; 0: a protocol without ports. */
static size_t header_bytes(uint8_t proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return 20;
	case IPPROTO_SCTP:
		return 12;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return 8;
	default:
		return 0;
	}
}

/* IPv4 options: no source routes, and lengths that add up. */
static enum drop_reason options(const struct view *v, size_t off, size_t end)
{
	while (off < end) {
		if (!has(v, off, 1))
			return DROP_TRUNCATED;
		if (v->data[off] == 0)
			return DROP_NONE;
		if (v->data[off] == 1) {
			off++;
			continue;
		}
		if (v->data[off] == 131 || v->data[off] == 137)
			return DROP_SOURCE_ROUTE;
		if (off + 2 > end || !has(v, off, 2) || v->data[off + 1] < 2 || off + v->data[off + 1] > end)
			return DROP_MALFORMED;
		off += v->data[off + 1];
	}
	return DROP_NONE;
}

static enum drop_reason parse4(const struct view *v, bool quoted, struct parsed *p)
{
	size_t header;
	unsigned fragment;

	if (!has(v, p->l3, 20))
		return DROP_TRUNCATED;
	header = (v->data[p->l3] & 15) * 4;
	if (v->data[p->l3] >> 4 != 4 || header < 20)
		return DROP_MALFORMED;
	p->ip_len = u16(v, p->l3 + 2);
	if (!quoted && (p->ip_len < header || !has(v, p->l3, p->ip_len)))
		return DROP_MALFORMED;
	p->e.src = addr_from_v4((struct in_addr){ 0 });
	memcpy(p->e.src.b + 12, v->data + p->l3 + 12, 4);
	p->e.dst = p->e.src;
	memcpy(p->e.dst.b + 12, v->data + p->l3 + 16, 4);
	p->ttl = v->data[p->l3 + 8];
	p->e.proto = v->data[p->l3 + 9];
	p->l4 = p->l3 + header;
	fragment = u16(v, p->l3 + 6);
	p->fragment_off = (fragment & 0x1fff) * 8;
	p->fragment = p->fragment_off ? LATER : fragment & 0x2000 ? FIRST : WHOLE;
	p->e.id = u16(v, p->l3 + 4);
	return quoted ? DROP_NONE : options(v, p->l3 + 20, p->l4);
}

static bool is_extension(uint8_t next)
{
	static const uint8_t all[] = { 0, 43, NEXT_FRAGMENT, NEXT_AH, 60, 135 };

	return memchr(all, next, sizeof(all));
}

static enum drop_reason extensions(const struct view *v, struct parsed *p)
{
	size_t begun = 0;
	int followed = 0;

	for (; is_extension(p->e.proto); followed++) {
		uint8_t kind = p->e.proto;

		if (followed > EXTENSIONS_MAX)
			return DROP_EXTENSION_HEADERS;
		if (p->l4 + 8 > p->l3 + p->ip_len)
			return p->fragment == FIRST ? DROP_FRAGMENT_TINY : DROP_TRUNCATED;
		if (!has(v, p->l4, 8))
			return DROP_TRUNCATED;
		if (kind == 43 && (v->data[p->l4 + 2] == 0 || v->data[p->l4 + 3]))
			return DROP_SOURCE_ROUTE;
		p->e.proto = v->data[p->l4];
		if (kind == NEXT_FRAGMENT) {
			p->fragment_off = u16(v, p->l4 + 2) & 0xfff8;
			memcpy(&p->e.id, v->data + p->l4 + 4, 4);
			p->l4 += 8;
			if (p->fragment_off) {
				p->fragment = LATER;
				return DROP_NONE;
			}
			if (v->data[p->l4 - 8 + 3] & 1)
				p->fragment = FIRST;
			begun = p->l4;
		} else {
			size_t units = v->data[p->l4 + 1];

			p->l4 += kind == NEXT_AH ? (units + 2) * 4 : (units + 1) * 8;
		}
	}
	if (followed > EXTENSIONS_MAX)
		return DROP_EXTENSION_HEADERS;
	if (p->l4 > p->l3 + p->ip_len)
		return p->fragment == FIRST ? DROP_FRAGMENT_TINY : DROP_TRUNCATED;
	if (p->fragment == FIRST)
		p->e.header = p->l4 - begun;
	return p->e.header > 1536 ? DROP_EXTENSION_HEADERS : DROP_NONE;
}

static enum drop_reason parse6(const struct view *v, bool quoted, struct parsed *p)
{
	if (!has(v, p->l3, 40))
		return DROP_TRUNCATED;
	if (v->data[p->l3] >> 4 != 6)
		return DROP_MALFORMED;
	p->ip_len = u16(v, p->l3 + 4) + 40;
	if (!quoted && !has(v, p->l3, p->ip_len))
		return DROP_MALFORMED;
	memcpy(p->e.src.b, v->data + p->l3 + 8, 16);
	memcpy(p->e.dst.b, v->data + p->l3 + 24, 16);
	if (addr_is_v4(&p->e.src) || addr_is_v4(&p->e.dst))
		return DROP_V4_MAPPED;
	p->v6 = true;
	p->ttl = v->data[p->l3 + 7];
	p->e.proto = v->data[p->l3 + 6];
	p->l4 = p->l3 + 40;
	return extensions(v, p);
}

static enum icmp_kind kind_of_icmp(bool v6, uint8_t type)
{
	if (!v6)
		return type == 3 || type == 4 || type == 11 || type == 12 ? ERROR : type == 5 ? REDIRECT : QUERY;
	if (type < 128)
		return ERROR;
	if (type == 137)
		return REDIRECT;
	return (type >= 130 && type <= 136) || type == 143 ? NEIGHBOUR : QUERY;
}

static enum drop_reason icmp(const struct view *v, struct parsed *p)
{
	uint8_t type = v->data[p->l4];

	if (p->v6 != (p->e.proto == IPPROTO_ICMPV6))
		return DROP_MALFORMED;
	p->icmp_type = type;
	p->icmp = kind_of_icmp(p->v6, type);
	if (p->icmp != QUERY && p->fragment != WHOLE)
		return DROP_MALFORMED;
	if (p->v6 ? type == 128 || type == 129 : type == 0 || type == 8)
		p->e.sport = p->e.dport = u16(v, p->l4 + 4);
	return DROP_NONE;
}

static enum drop_reason transport(const struct view *v, bool quoted, struct parsed *p)
{
	size_t need = header_bytes(p->e.proto);

	if (p->fragment == LATER || !need)
		return DROP_NONE;
	if (quoted)
		need = 8;
	else if (p->l4 + need > p->l3 + p->ip_len)
		return p->fragment == FIRST ? DROP_FRAGMENT_TINY : DROP_TRUNCATED;
	if (!has(v, p->l4, need))
		return DROP_TRUNCATED;
	if (p->e.proto == IPPROTO_TCP && !quoted && v->data[p->l4 + 12] >> 4 < 5)
		return DROP_MALFORMED;
	if (p->e.proto == IPPROTO_ICMP || p->e.proto == IPPROTO_ICMPV6)
		return icmp(v, p);
	p->e.sport = u16(v, p->l4);
	p->e.dport = u16(v, p->l4 + 2);
	return DROP_NONE;
}

static enum drop_reason parse(const struct view *v, size_t off, unsigned ethertype, bool quoted, struct parsed *p)
{
	enum drop_reason why;

	*p = (struct parsed){ .l3 = off };
	if (ethertype == ETH_P_ARP)
		return DROP_ARP;
	if (ethertype != ETH_P_IP && ethertype != ETH_P_IPV6)
		return DROP_ETHERTYPE;
	why = ethertype == ETH_P_IP ? parse4(v, quoted, p) : parse6(v, quoted, p);
	return why == DROP_NONE ? transport(v, quoted, p) : why;
}

/* --- judging it --- */

/* The ports of a later fragment are those of its first. */
static enum drop_reason resolve(struct parsed *p)
{
	struct ends *e = &p->e;
	const struct ends *known;

	if (p->fragment != LATER)
		return DROP_NONE;
	if (p->fragment_off + p->ip_len - (p->v6 ? 48 : 0) > 65535)
		return DROP_MALFORMED;
	if (p->fragment_off < header_bytes(e->proto))
		return DROP_FRAGMENT_OVERLAP;
	known = find_first(e);
	if (!known)
		return DROP_FRAGMENT_UNKNOWN;
	if (p->fragment_off < known->header + header_bytes(known->proto))
		return DROP_FRAGMENT_OVERLAP;
	e->proto = known->proto;
	e->sport = known->sport;
	e->dport = known->dport;
	return DROP_NONE;
}

/* An error is about a packet that its receiver has sent; a pod complains about packets to itself only. */
static enum drop_reason related(const struct view *v, const struct parsed *p, bool from_pod)
{
	struct parsed q;
	enum drop_reason why = parse(v, p->l4 + 8, p->v6 ? ETH_P_IPV6 : ETH_P_IP, true, &q);

	if (why != DROP_NONE)
		return why;
	if (!addr_eq(&q.e.src, &p->e.dst) || (from_pod && !addr_eq(&q.e.dst, &p->e.src)))
		return DROP_ICMP_UNRELATED;
	if (resolve(&q) != DROP_NONE)
		return DROP_ICMP_UNRELATED;
	return flow_is_known(&q.e) ? DROP_NONE : DROP_ICMP_UNRELATED;
}

static enum drop_reason judge(const struct view *v, struct parsed *p, bool from_pod)
{
	enum drop_reason why = resolve(p);

	if (why != DROP_NONE)
		return why;
	if (p->icmp == NEIGHBOUR)
		return DROP_ND_SPOOF;
	if (p->icmp == ERROR)
		return related(v, p, from_pod);
	if (p->icmp == REDIRECT)
		return DROP_ICMP_REDIRECT;
	learn_flow(&p->e);
	if (p->fragment == FIRST)
		learn_first(&p->e);
	return DROP_NONE;
}

static bool speaks_as(const struct addr *a)
{
	return is(a, A6) || (in(a, "fe80::/10") && !is(a, "fe80::1"));
}

static bool stays_on_the_link(const struct addr *dst)
{
	return in(dst, "fe80::/10") || is(dst, NODE6) || is(dst, "fd30::1") || (dst->b[0] == 0xff && (dst->b[1] & 15) == 2);
}

static enum drop_reason neighbour(const struct view *v, const struct parsed *p)
{
	struct addr target;

	if (p->icmp_type == 133)
		return DROP_ROUTER_SOLICITATION;
	if (p->icmp_type == 134)
		return DROP_ROUTER_ADVERTISEMENT;
	if (p->icmp_type != 135 && p->icmp_type != 136)
		return DROP_MLD;
	if (p->l4 + 24 > p->l3 + p->ip_len || !has(v, p->l4, 24))
		return DROP_TRUNCATED;
	if (p->ttl != 255 || !stays_on_the_link(&p->e.dst))
		return DROP_ND_SPOOF;
	memcpy(target.b, v->data + p->l4 + 8, 16);
	if (p->icmp_type == 136)
		return speaks_as(&p->e.src) && speaks_as(&target) ? DROP_NONE : DROP_ND_SPOOF;
	return speaks_as(addr_is_zero(&p->e.src) ? &target : &p->e.src) ? DROP_NONE : DROP_ND_SPOOF;
}

static struct model_verdict dropped(enum drop_reason why)
{
	return (struct model_verdict){ WAY_DROP, why };
}

static struct model_verdict goes(enum model_way way)
{
	return (struct model_verdict){ way };
}

static struct model_verdict to_pod_of(const struct parsed *p)
{
	if (p->ttl <= 1)
		return goes(WAY_STACK);
	return (struct model_verdict){ WAY_LOCAL, .to_b = is_pod_b(&p->e.dst) };
}

/* What is behind the IP packet goes along, so it needs room, too. */
static struct model_verdict onwards(const struct view *v, const struct parsed *p)
{
	const struct addr *d = &p->e.dst;
	size_t len = v->len - p->l3;

	if (is_pod_a(d) || is_pod_b(d))
		return to_pod_of(p);
	if (p->ttl > 1 && len <= 1500 && (in(d, "10.9.2.0/24") || in(d, "fd09:0:0:2::/64")))
		return goes(WAY_DIRECT);
	if (p->ttl > 1 && len <= 1450 && (in(d, "10.9.3.0/24") || in(d, "fd09:0:0:3::/64")))
		return goes(WAY_TUNNEL);
	return goes(WAY_STACK);
}

static bool is_tag(unsigned ethertype)
{
	return ethertype == ETH_P_8021Q || ethertype == ETH_P_8021AD;
}

static bool is_tagged(const struct view *v)
{
	return is_tag(u16(v, 12));
}

static enum drop_reason frame_of_pod(const struct view *v)
{
	if (is_tagged(v) && !has(v, 14, 4))
		return DROP_TRUNCATED;
	if (is_tagged(v))
		return is_tag(u16(v, 16)) ? DROP_QINQ : u16(v, 14) & 0xfff ? DROP_VLAN : DROP_VLAN_ZERO;
	if (memcmp(v->data + 6, mac_pod_a, 6) != 0)
		return DROP_SOURCE_MAC;
	return memcmp(v->data, mac_host_a, 6) == 0 || v->data[0] & 1 ? DROP_NONE : DROP_DESTINATION_MAC;
}

static bool is_to_many(const struct parsed *p)
{
	return p->v6 ? p->e.dst.b[0] == 0xff : p->e.dst.b[12] >= 224;
}

/* To many, or from an address that is good for the link only. */
static bool is_dhcp(const struct parsed *p)
{
	bool own_link = p->v6 ? in(&p->e.src, "fe80::/10") : is(&p->e.src, "0.0.0.0");
	unsigned first = p->v6 ? 546 : 67;

	return p->e.proto == IPPROTO_UDP && p->fragment != LATER && p->e.sport - first < 2 && p->e.dport - first < 2 && (is_to_many(p) || own_link);
}

static enum drop_reason addresses_of_pod(const struct view *v, const struct parsed *p)
{
	if (!is(&p->e.src, p->v6 ? A6 : A4))
		return is_dhcp(p) ? DROP_DHCP : DROP_SOURCE_ADDRESS;
	if (is_to_many(p))
		return is_dhcp(p) ? DROP_DHCP : DROP_MULTICAST;
	return v->data[0] & 1 ? DROP_DESTINATION_MAC : DROP_NONE;
}

static bool is_loopback(const struct addr *a)
{
	return in(a, "127.0.0.0/8") || is(a, "::1");
}

/* What is link-local goes no further either. */
static bool is_nodes(const struct addr *a)
{
	return in(a, "fe80::/10") || is(a, NODE4) || is(a, NODE6) || is(a, "192.0.2.1") || is(a, "fd30::1");
}

static bool is_tunnel(uint8_t proto)
{
	static const uint8_t all[] = { 4, 41, 47, 50, 51, 108, 115, 137, 143 };

	return memchr(all, proto, sizeof(all));
}

struct model_verdict model_from_pod(const uint8_t *frame, size_t len)
{
	struct view v = { frame, len };
	struct parsed p;
	enum drop_reason why = frame_of_pod(&v);

	if (why == DROP_NONE)
		why = parse(&v, 14, u16(&v, 12), false, &p);
	if (why != DROP_NONE)
		return dropped(why);
	if (p.icmp == NEIGHBOUR) {
		why = neighbour(&v, &p);
		return why == DROP_NONE ? goes(WAY_STACK) : dropped(why);
	}
	why = addresses_of_pod(&v, &p);
	if (why == DROP_NONE && is_loopback(&p.e.dst))
		why = DROP_LOOPBACK;
	if (why == DROP_NONE && is_nodes(&p.e.dst) && is_tunnel(p.e.proto))
		why = DROP_POD_TUNNEL;
	if (why == DROP_NONE)
		why = judge(&v, &p, true);
	return why == DROP_NONE ? onwards(&v, &p) : dropped(why);
}

/* Addresses as they stand there, whatever else is wrong with the packet. */
static bool peek(const struct view *v, size_t l3, struct addr *src, struct addr *dst)
{
	unsigned type = u16(v, 12);

	if (type == ETH_P_IP && has(v, l3, 20)) {
		struct in_addr four;

		memcpy(&four, v->data + l3 + 12, 4);
		*src = addr_from_v4(four);
		memcpy(&four, v->data + l3 + 16, 4);
		*dst = addr_from_v4(four);
		return true;
	}
	if (type != ETH_P_IPV6 || !has(v, l3, 40))
		return false;
	memcpy(src->b, v->data + l3 + 8, 16);
	memcpy(dst->b, v->data + l3 + 24, 16);
	return true;
}

/* In one piece, without options and extension headers, to the tunnel's port. */
static bool is_outer(const struct view *v)
{
	bool v6 = u16(v, 12) == ETH_P_IPV6;
	size_t l4 = 14 + (v6 ? 40 : 20);

	if (!v6 && (v->data[14] != 0x45 || u16(v, 20) & 0x3fff))
		return false;
	return v->data[v6 ? 20 : 23] == IPPROTO_UDP && has(v, l4, 4) && u16(v, l4 + 2) == 4789;
}

/* What VXLAN's device would not take. */
static enum drop_reason judge_outer(const struct view *v)
{
	static const uint8_t flags[4] = { 8 };
	size_t udp = 14 + (u16(v, 12) == ETH_P_IPV6 ? 40 : 20), need = 30;

	if (!has(v, udp, 16))
		return DROP_TRUNCATED;
	if (memcmp(v->data + udp + 8, flags, 4) != 0 || v->data[udp + 15])
		return DROP_VXLAN_HEADER;
	if (!has(v, udp, need))
		return DROP_TRUNCATED;
	need += u16(v, udp + 28) == ETH_P_IP ? 20 : u16(v, udp + 28) == ETH_P_IPV6 ? 40 : 0;
	if (u16(v, udp + 4) < need)
		return DROP_TRUNCATED;
	return has(v, udp, u16(v, udp + 4)) ? DROP_NONE : DROP_MALFORMED;
}

static bool is_own(const struct addr *a)
{
	return is(a, NODE4) || is(a, NODE6) || is(a, "192.0.2.1") || is(a, "fd30::1");
}

/* No host beyond the link has it. */
static bool is_nobodys(const struct addr *a)
{
	if (addr_is_v4(a))
		return a->b[12] == 0 || a->b[12] == 127 || a->b[12] >= 224 || is(a, "169.254.1.1");
	return a->b[0] == 0xff || in(a, "fe80::/10") || is(a, "::") || is(a, "::1");
}

/* Of the one whose packets come as they are. */
static bool is_of_another_nodes_pod(const struct addr *src)
{
	return in(src, "10.9.2.0/24") || in(src, "fd09:0:0:2::/64");
}

struct model_verdict model_from_net(const uint8_t *frame, size_t len)
{
	struct view v = { frame, len };
	struct addr src, dst;
	struct parsed p;
	enum drop_reason why;

	if (!(v.data[0] & 1) && memcmp(v.data, mac_host_a, 6) != 0) /* another host's */
		return goes(WAY_STACK);
	if (is_tagged(&v) && (u16(&v, 14) & 0xfff) == 0) /* here no stack has taken one off: it is the second */
		return dropped(DROP_QINQ);
	if (!peek(&v, 14, &src, &dst))
		return goes(WAY_STACK);
	if ((is(&dst, "192.0.2.1") || is(&dst, "fd30::1")) && is_outer(&v)) {
		why = v.data[0] & 1 ? DROP_DESTINATION_MAC : is_own(&src) ? DROP_NET_SOURCE : judge_outer(&v);
		return why == DROP_NONE ? goes(WAY_STACK) : dropped(why);
	}
	if (is(&src, "192.0.2.1") || is(&src, "fd30::1") || in(&src, "10.9.1.0/24") || in(&src, "fd09:0:0:1::/64"))
		return dropped(DROP_NET_SOURCE);
	if (in(&src, "10.9.3.0/24") || in(&src, "fd09:0:0:3::/64"))
		return dropped(DROP_PLAIN_SOURCE);
	if (!is_pod_a(&dst) && !is_pod_b(&dst)) {
		if (is_loopback(&src) || is_loopback(&dst))
			return dropped(DROP_LOOPBACK);
		if (parse(&v, 14, u16(&v, 12), false, &p) != DROP_NONE || p.icmp == NEIGHBOUR || !is_of_another_nodes_pod(&src))
			return goes(WAY_STACK);
		return is_tunnel(p.e.proto) ? dropped(DROP_POD_TUNNEL) : goes(WAY_STACK);
	}
	if (is_nobodys(&src))
		return dropped(DROP_NET_SOURCE);
	if (v.data[0] & 1) /* to a group */
		return dropped(DROP_DESTINATION_MAC);
	why = parse(&v, 14, u16(&v, 12), false, &p);
	if (why == DROP_NONE)
		why = judge(&v, &p, false);
	return why == DROP_NONE ? to_pod_of(&p) : dropped(why);
}

/* A pod's or another node's: it has come in by their interfaces (harness.h), and others are sockets of the node. */
static bool is_forwarded(const struct addr *src)
{
	return is_pod_a(src) || is_pod_b(src) || in(src, "10.9.2.0/23") || in(src, "fd09:0:0:2::/63");
}

struct model_verdict model_to_pod(const uint8_t *frame, size_t len)
{
	struct view v = { frame, len };
	struct parsed p;
	enum drop_reason why = parse(&v, 14, u16(&v, 12), false, &p);

	if (why != DROP_NONE)
		return dropped(why);
	if (p.icmp == NEIGHBOUR && !is_forwarded(&p.e.src))
		return goes(WAY_STACK);
	if (!is(&p.e.dst, p.v6 ? A6 : A4))
		return dropped(DROP_NOT_FOR_POD);
	why = judge(&v, &p, false);
	return why == DROP_NONE ? goes(WAY_STACK) : dropped(why);
}

/* From another node, whose way is this one: for a pod or for this node, and for nobody else. */
static struct model_verdict arrives(struct view *v, struct parsed *p)
{
	enum drop_reason why;

	if (is_pod_a(&p->e.dst) || is_pod_b(&p->e.dst)) {
		why = judge(v, p, false);
		return why == DROP_NONE ? to_pod_of(p) : dropped(why);
	}
	if (!is_own(&p->e.dst))
		return dropped(DROP_TUNNEL_DESTINATION);
	if (p->icmp == NEIGHBOUR || p->icmp == REDIRECT)
		return dropped(p->icmp == NEIGHBOUR ? DROP_ND_SPOOF : DROP_ICMP_REDIRECT);
	return is_tunnel(p->e.proto) ? dropped(DROP_POD_TUNNEL) : goes(WAY_STACK);
}

/* Each family's pods of node 3 come in outer packets of that family; those of node 2, who has others to come by, in none. */
static enum drop_reason tunnel_source(const struct addr *src)
{
	const struct model_around *m = &model_around;
	bool three4 = in(src, "10.9.3.0/24"), three6 = in(src, "fd09:0:0:3::/64"), others = in(src, "10.9.2.0/24") || in(src, "fd09:0:0:2::/64") || is(src, MESH4) || is(src, MESH6);

	if ((!three4 && !three6 && !others) || !m->tunnelled || addr_is_v4(&m->outer_src) != three4)
		return DROP_TUNNEL_SOURCE;
	if (m->vni != 7)
		return DROP_TUNNEL_VNI;
	if (!is(&m->outer_src, three4 ? "192.0.2.3" : "fd30::3") || others)
		return DROP_TUNNEL_SOURCE;
	return is(&m->outer_dst, three4 ? "192.0.2.1" : "fd30::1") ? DROP_NONE : DROP_TUNNEL_DESTINATION;
}

struct model_verdict model_from_tunnel(const uint8_t *frame, size_t len)
{
	struct view v = { frame, len };
	struct parsed p;
	enum drop_reason why = parse(&v, 14, u16(&v, 12), false, &p);

	if (why == DROP_NONE)
		why = tunnel_source(&p.e.src);
	return why == DROP_NONE ? arrives(&v, &p) : dropped(why);
}

struct model_verdict model_from_mesh(const uint8_t *frame, size_t len)
{
	struct view v = { frame, len };
	struct parsed p;
	enum drop_reason why = parse(&v, 0, u16(&v, 12), false, &p);

	if (why == DROP_NONE && !is(&p.e.src, MESH4) && !is(&p.e.src, MESH6))
		why = DROP_TUNNEL_SOURCE;
	return why == DROP_NONE ? arrives(&v, &p) : dropped(why);
}

/* Who speaks as a pod of this node came by its interface; who speaks as another node, or as the gateway, by one that we look at. */
static struct model_verdict leaves(const uint8_t *frame, size_t len, size_t l3)
{
	struct view v = { frame, len };
	uint32_t by = model_around.came_by;
	struct addr src, dst;
	uint32_t own;

	if (!peek(&v, l3, &src, &dst))
		return goes(WAY_STACK);
	own = is_pod_a(&src) ? if_a : is_pod_b(&src) ? if_b : is(&src, C4) || is(&src, C6) ? if_c : 0;
	if (own)
		return by == own ? goes(WAY_STACK) : dropped(DROP_NET_SOURCE);
	if (by <= 1 || by == if_uplink || by == if_tunnel || by == if_a || by == if_b || by == if_c)
		return goes(WAY_STACK);
	if (in(&src, "10.9.2.0/23") || in(&src, "fd09:0:0:2::/63") || is(&src, MESH4) || is(&src, MESH6))
		return dropped(DROP_STRAY_SOURCE);
	return is(&src, "169.254.1.1") || is(&src, "fe80::1") ? dropped(DROP_NET_SOURCE) : goes(WAY_STACK);
}

struct model_verdict model_to_tunnel(const uint8_t *frame, size_t len)
{
	return leaves(frame, len, 14);
}

struct model_verdict model_to_mesh(const uint8_t *frame, size_t len)
{
	return leaves(frame, len, 0);
}
