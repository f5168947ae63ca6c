/* SPDX-License-Identifier: Apache-2.0 */
#include "mesh/genl.h"

#include <linux/genetlink.h>
#include <linux/wireguard.h>

enum { PEERS_MAX = 65536, ATTRS_MAX = 32 };

static const uint8_t no_key[MESH_KEY];

struct nlmsghdr *mesh_genl_find_family(void *buf)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct genlmsghdr *g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));

	nlh->nlmsg_type = GENL_ID_CTRL;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	g->cmd = CTRL_CMD_GETFAMILY;
	g->version = 1;
	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, WG_GENL_NAME);
	return nlh;
}

static struct nlmsghdr *begin(void *buf, uint16_t family, uint8_t command, uint16_t flags, uint32_t ifindex)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct genlmsghdr *g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));

	nlh->nlmsg_type = family;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	g->cmd = command;
	g->version = WG_GENL_VERSION;
	mnl_attr_put_u32(nlh, WGDEVICE_A_IFINDEX, ifindex);
	return nlh;
}

struct nlmsghdr *mesh_genl_get(void *buf, uint16_t family, uint32_t ifindex)
{
	return begin(buf, family, WG_CMD_GET_DEVICE, NLM_F_DUMP, ifindex);
}

struct nlmsghdr *mesh_genl_set_device(void *buf, uint16_t family, uint32_t ifindex, const struct mesh_change *c)
{
	struct nlmsghdr *nlh;

	if (!c->set_key && !c->set_port && !c->set_mark)
		return NULL;
	nlh = begin(buf, family, WG_CMD_SET_DEVICE, NLM_F_ACK, ifindex);
	if (c->set_key)
		mnl_attr_put(nlh, WGDEVICE_A_PRIVATE_KEY, MESH_KEY, c->key);
	if (c->set_port)
		mnl_attr_put_u16(nlh, WGDEVICE_A_LISTEN_PORT, c->port);
	if (c->set_mark)
		mnl_attr_put_u32(nlh, WGDEVICE_A_FWMARK, c->mark);
	return nlh;
}

static void put_prefixes(struct nlmsghdr *nlh, const struct prefix *p, size_t n)
{
	struct nlattr *list = mnl_attr_nest_start(nlh, WGPEER_A_ALLOWEDIPS);

	for (size_t i = 0; i < n; i++) {
		struct nlattr *one = mnl_attr_nest_start(nlh, 0);
		bool v4 = prefix_len_text(&p[i]) != p[i].len || (addr_is_v4(&p[i].addr) && p[i].len >= V4_BITS_BEFORE);

		mnl_attr_put_u16(nlh, WGALLOWEDIP_A_FAMILY, v4 ? AF_INET : AF_INET6);
		mnl_attr_put(nlh, WGALLOWEDIP_A_IPADDR, v4 ? 4 : 16, v4 ? p[i].addr.b + 12 : p[i].addr.b);
		mnl_attr_put_u8(nlh, WGALLOWEDIP_A_CIDR_MASK, prefix_len_text(&p[i]));
		mnl_attr_nest_end(nlh, one);
	}
	mnl_attr_nest_end(nlh, list);
}

static void put_endpoint(struct nlmsghdr *nlh, const struct mesh_step *s)
{
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(&s->endpoint, s->port, &sa);

	mnl_attr_put(nlh, WGPEER_A_ENDPOINT, len, &sa);
}

struct nlmsghdr *mesh_genl_set_peer(void *buf, uint16_t family, uint32_t ifindex, const struct mesh_step *s, size_t from, size_t *ret_next)
{
	struct nlmsghdr *nlh = begin(buf, family, WG_CMD_SET_DEVICE, NLM_F_ACK, ifindex);
	struct nlattr *peers = mnl_attr_nest_start(nlh, WGDEVICE_A_PEERS), *peer = mnl_attr_nest_start(nlh, 0);
	size_t n = MIN(s->n_add - from, (size_t)MESH_GENL_PREFIXES);
	uint32_t flags = (s->remove ? WGPEER_F_REMOVE_ME : 0) | (s->create && from == 0 ? 0 : WGPEER_F_UPDATE_ONLY);

	mnl_attr_put(nlh, WGPEER_A_PUBLIC_KEY, MESH_KEY, s->key);
	mnl_attr_put_u32(nlh, WGPEER_A_FLAGS, flags);
	if (!s->remove && from == 0 && s->set_endpoint)
		put_endpoint(nlh, s);
	if (!s->remove && from == 0 && s->set_keepalive)
		mnl_attr_put_u16(nlh, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, s->keepalive_s);
	if (!s->remove && from == 0 && s->clear_psk)
		mnl_attr_put(nlh, WGPEER_A_PRESHARED_KEY, MESH_KEY, no_key);
	if (!s->remove && n)
		put_prefixes(nlh, s->add + from, n);
	mnl_attr_nest_end(nlh, peer);
	mnl_attr_nest_end(nlh, peers);
	*ret_next = from + n < s->n_add ? from + n : 0;
	return nlh;
}

struct mesh_step mesh_genl_bin(const struct prefix *take, size_t n)
{
	/* A point of small order: no private key has it, and no handshake with it succeeds. */
	struct mesh_step s = {.create = true, .add = (struct prefix *)take, .n_add = n, .key = {1}};

	return s;
}

/* ---- answers ---- */

struct attrs {
	const struct nlattr *at[ATTRS_MAX];
};

static int take_attr(const struct nlattr *a, void *ctx)
{
	struct attrs *t = ctx;

	if (mnl_attr_get_type(a) < ATTRS_MAX)
		t->at[mnl_attr_get_type(a)] = a;
	return MNL_CB_OK;
}

static bool has(const struct attrs *t, unsigned type, size_t size)
{
	return t->at[type] && mnl_attr_get_payload_len(t->at[type]) == size;
}

static int parse_prefix(const struct nlattr *one, struct mesh_peer *p)
{
	struct attrs t = {0};
	struct prefix prefix;
	struct addr a;
	size_t size;
	uint8_t len;

	if (mnl_attr_parse_nested(one, take_attr, &t) < 0 || !t.at[WGALLOWEDIP_A_IPADDR] || !has(&t, WGALLOWEDIP_A_CIDR_MASK, 1))
		return -EBADMSG;
	size = mnl_attr_get_payload_len(t.at[WGALLOWEDIP_A_IPADDR]);
	len = mnl_attr_get_u8(t.at[WGALLOWEDIP_A_CIDR_MASK]);
	if (addr_from_raw(mnl_attr_get_payload(t.at[WGALLOWEDIP_A_IPADDR]), size, &a) < 0 || len > 8 * size)
		return -EBADMSG;
	prefix = prefix_of(&a, size == 4 ? len + V4_BITS_BEFORE : len);
	mesh_peer_allow(p, &prefix);
	return 0;
}

static int parse_endpoint(const struct nlattr *a, struct mesh_peer *p)
{
	struct sockaddr_storage sa = {0};
	size_t n = mnl_attr_get_payload_len(a);

	if (n > sizeof(sa) || n < sizeof(struct sockaddr_in))
		return -EBADMSG;
	memcpy(&sa, mnl_attr_get_payload(a), n);
	if (sa.ss_family == AF_INET6 && n < sizeof(struct sockaddr_in6))
		return -EBADMSG;
	return addr_from_sockaddr((struct sockaddr *)&sa, &p->endpoint, &p->port) < 0 ? -EBADMSG : 0;
}

/* A peer with many prefixes goes on in the next message, under the same key. */
static struct mesh_peer *peer_of(struct mesh_device *d, const uint8_t *key)
{
	struct mesh_peer *last = d->n_peers ? &d->peers[d->n_peers - 1] : NULL;

	return last && memcmp(last->key, key, MESH_KEY) == 0 ? last : mesh_device_add(d, key);
}

static int parse_peer(const struct nlattr *one, struct mesh_device *d)
{
	const struct nlattr *prefix;
	struct attrs t = {0};
	struct mesh_peer *p;
	int r = 0;

	if (mnl_attr_parse_nested(one, take_attr, &t) < 0 || !has(&t, WGPEER_A_PUBLIC_KEY, MESH_KEY))
		return -EBADMSG;
	if (d->n_peers >= PEERS_MAX)
		return -E2BIG;
	p = peer_of(d, mnl_attr_get_payload(t.at[WGPEER_A_PUBLIC_KEY]));
	if (t.at[WGPEER_A_ENDPOINT])
		r = parse_endpoint(t.at[WGPEER_A_ENDPOINT], p);
	if (has(&t, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, 2))
		p->keepalive_s = mnl_attr_get_u16(t.at[WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL]);
	if (has(&t, WGPEER_A_PRESHARED_KEY, MESH_KEY)) /* whether there is one is all that is kept of it */
		p->has_psk = memcmp(mnl_attr_get_payload(t.at[WGPEER_A_PRESHARED_KEY]), no_key, MESH_KEY) != 0;
	if (has(&t, WGPEER_A_LAST_HANDSHAKE_TIME, 16)) /* struct __kernel_timespec */
		memcpy(&p->handshake_s, mnl_attr_get_payload(t.at[WGPEER_A_LAST_HANDSHAKE_TIME]), 8);
	if (has(&t, WGPEER_A_RX_BYTES, 8))
		p->rx_bytes = mnl_attr_get_u64(t.at[WGPEER_A_RX_BYTES]);
	if (has(&t, WGPEER_A_TX_BYTES, 8))
		p->tx_bytes = mnl_attr_get_u64(t.at[WGPEER_A_TX_BYTES]);
	if (t.at[WGPEER_A_ALLOWEDIPS])
		mnl_attr_for_each_nested(prefix, t.at[WGPEER_A_ALLOWEDIPS])
			r = r ? r : parse_prefix(prefix, p);
	return r;
}

int mesh_genl_parse(const struct nlmsghdr *nlh, struct mesh_device *ret)
{
	const struct nlattr *peer;
	struct attrs t = {0};
	int r = 0;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(struct genlmsghdr) ||
	    mnl_attr_parse(nlh, sizeof(struct genlmsghdr), take_attr, &t) < 0)
		return -EBADMSG;
	if (has(&t, WGDEVICE_A_PRIVATE_KEY, MESH_KEY)) {
		ret->has_key = true;
		memcpy(ret->key, mnl_attr_get_payload(t.at[WGDEVICE_A_PRIVATE_KEY]), MESH_KEY);
	}
	if (has(&t, WGDEVICE_A_LISTEN_PORT, 2))
		ret->port = mnl_attr_get_u16(t.at[WGDEVICE_A_LISTEN_PORT]);
	if (has(&t, WGDEVICE_A_FWMARK, 4))
		ret->mark = mnl_attr_get_u32(t.at[WGDEVICE_A_FWMARK]);
	if (t.at[WGDEVICE_A_PEERS])
		mnl_attr_for_each_nested(peer, t.at[WGDEVICE_A_PEERS])
			r = r ? r : parse_peer(peer, ret);
	return r;
}

int mesh_genl_parse_family(const struct nlmsghdr *nlh)
{
	struct attrs t = {0};

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(struct genlmsghdr) ||
	    mnl_attr_parse(nlh, sizeof(struct genlmsghdr), take_attr, &t) < 0 || !has(&t, CTRL_ATTR_FAMILY_ID, 2))
		return -ENOENT;
	return mnl_attr_get_u16(t.at[CTRL_ATTR_FAMILY_ID]);
}
