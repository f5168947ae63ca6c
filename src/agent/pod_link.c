/* SPDX-License-Identifier: Apache-2.0 */
/* Order of the steps: both ends are born down; the caller publishes the endpoint in the datapath; then the host's side
 * comes up with its routes, and last the pod's. A link carries traffic only when both ends are up, so no packet meets
 * a half-made endpoint. Undoing is deleting the host's end: all else goes with it.
 *
 * The alias "weft: pod CONTAINER IFNAME" lets an agent that lost its journal adopt the link. */
#include "agent/pod_link.h"
#include "base/file.h"
#include "base/str.h"
#include "cni/cni.h"
#include "net/netns.h"

static const char ALIAS_PREFIX[] = "weft: pod ";
enum { ALIAS_TEXT_MAX = LINK_ALIAS_MAX - 1 };

const char POD_LINK_PREFIX[] = "weft";

static uint64_t key_hash(const struct endpoint_record *r, uint64_t seed)
{
	_cleanup_free_ char *key = xasprintf("%s/%s", r->container, r->ifname);

	return hash_bytes(key, strlen(key), seed);
}

static void name_of(char name[16], uint64_t hash)
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuv";

	memcpy(name, POD_LINK_PREFIX, 4);
	for (int i = 0; i < 11; i++, hash >>= 5)
		name[4 + i] = digits[hash & 31];
	name[15] = '\0';
}

static void mac_of(uint8_t mac[6], uint8_t role, uint64_t hash)
{
	mac[0] = 0x02;
	mac[1] = 0x57;
	mac[2] = role;
	for (int i = 3; i < 6; i++, hash >>= 8)
		mac[i] = hash;
}

/* FNV leaves the low bits of similar keys similar: the halves are folded. */
static uint64_t folded(uint64_t h)
{
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdull;
	return h ^ h >> 33;
}

void pod_link_names(struct endpoint_record *r)
{
	uint64_t h = folded(key_hash(r, 0));

	name_of(r->host_ifname, h);
	mac_of(r->host_mac, 0x48, folded(key_hash(r, 1)));
	mac_of(r->pod_mac, 0x50, folded(key_hash(r, 2)));
}

static int fail(char **ret_error, const char *step, int r, struct rtnl *nl)
{
	const char *text = nl ? rtnl_error_text(nl) : "";

	*ret_error = *text ? xasprintf("%s: %s", step, text) : xasprintf("%s: %s", step, strerror(-r));
	return r;
}

/* Return: false when the key is too long to be kept there; such a pod cannot be adopted without the journal. */
static bool alias_of(const struct endpoint_record *r, char ret[LINK_ALIAS_MAX])
{
	return snprintf(ret, LINK_ALIAS_MAX, "%s%s %s", ALIAS_PREFIX, r->container, r->ifname) <= ALIAS_TEXT_MAX;
}

int pod_link_create(struct rtnl *nl, int netns_fd, struct endpoint_record *r, char **ret_error)
{
	struct link_spec host = {.name = r->host_ifname, .mac = r->host_mac, .mtu = r->mtu};
	struct link_spec pod = {.name = r->ifname, .mac = r->pod_mac, .mtu = r->mtu, .netns_fd = netns_fd};
	char alias[LINK_ALIAS_MAX];
	int code = rtnl_add_veth(nl, &host, &pod, &r->ifindex);

	if (code < 0)
		return fail(ret_error, "create the veth pair", code, nl);
	if (!alias_of(r, alias))
		return 0;
	code = rtnl_set_link_alias(nl, r->ifindex, alias);
	return code < 0 ? fail(ret_error, "name the host's link", code, nl) : 0;
}

static int sysctl(const char *family, const char *ifname, const char *key, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family, ifname, key);
	return file_write(path, value);
}

static bool has_v6(const struct endpoint_record *r)
{
	return !addr_is_zero(&r->addrs[IPAM_V6]);
}

/* A kernel without IPv6 has no such files, and then nothing to be set. */
static const struct {
	const char *family, *key, *value;
	bool v6;
} host_values[] = {{"ipv4", "rp_filter", "0"},
		   {"ipv4", "forwarding", "1"},
		   {"ipv6", "disable_ipv6", "0", true},
		   {"ipv6", "accept_ra", "0", true},
		   {"ipv6", "forwarding", "1", true}};

static int host_sysctls(const struct endpoint_record *r)
{
	int code = 0;

	for (size_t i = 0; i < ARRAY_SIZE(host_values) && code == 0; i++)
		if (!host_values[i].v6 || has_v6(r))
			code = sysctl(host_values[i].family, r->host_ifname, host_values[i].key, host_values[i].value);
	return code;
}

static bool sysctl_differs(const char *family, const char *ifname, const char *key, const char *value)
{
	_cleanup_free_ char *text = NULL;
	char path[128];

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family, ifname, key);
	return file_read(path, 64, &text, NULL) == 0 && strncmp(text, value, strlen(value)) != 0;
}

static bool has_other_alias(const struct endpoint_record *r, const struct link *l)
{
	char alias[LINK_ALIAS_MAX];

	return alias_of(r, alias) && !streq(l->alias, alias);
}

bool pod_link_needs_mending(const struct endpoint_record *r, const struct link *l)
{
	return !(l->flags & IFF_UP) || l->master || !streq(l->name, r->host_ifname) || memcmp(l->mac, r->host_mac, 6) != 0 || l->mtu != r->mtu || has_other_alias(r, l);
}

/* Before Linux 6.2 an interface that is up keeps its name, and the kernel says so before it looks whether the name is free. */
static int rename_down(struct rtnl *nl, const struct endpoint_record *r, const struct link *l)
{
	int up, code = rtnl_set_link_up(nl, l->ifindex, false);

	if (code < 0)
		return code;
	code = rtnl_set_link_name(nl, l->ifindex, r->host_ifname);
	up = rtnl_set_link_up(nl, l->ifindex, true);
	return code < 0 ? code : up;
}

int pod_link_rename_back(struct rtnl *nl, const struct endpoint_record *r, const struct link *l)
{
	struct link other;
	int code = rtnl_find_link(nl, r->host_ifname, &other);

	if (code != -ENODEV)
		return code < 0 ? code : -EEXIST;
	code = rtnl_set_link_name(nl, l->ifindex, r->host_ifname);
	return code == -EBUSY && (l->flags & IFF_UP) ? rename_down(nl, r, l) : code;
}

/* Each step is tried. */
struct mending {
	const char *what; /* was wrong and is right now, the last of it */
	int error;	  /* the first */
};

static void tried(struct mending *m, int code, const char *what)
{
	if (code == 0)
		m->what = what;
	else if (!m->error)
		m->error = code;
}

static void mend_sysctls(const struct endpoint_record *r, const char *name, struct mending *m)
{
	for (size_t i = 0; i < ARRAY_SIZE(host_values); i++)
		if ((!host_values[i].v6 || has_v6(r)) && sysctl_differs(host_values[i].family, name, host_values[i].key, host_values[i].value))
			tried(m, sysctl(host_values[i].family, name, host_values[i].key, host_values[i].value), host_values[i].key);
}

int pod_link_mend_host(struct rtnl *nl, const struct endpoint_record *r, const struct link *l, const char **ret_what)
{
	struct mending m = {0};
	char alias[LINK_ALIAS_MAX];

	if (l->master) /* before all else: what it is in may hold its address and MTU */
		tried(&m, rtnl_set_link_master(nl, l->ifindex, 0), "was put under another interface");
	if (memcmp(l->mac, r->host_mac, 6) != 0)
		tried(&m, rtnl_set_link_mac(nl, l->ifindex, r->host_mac), "had another MAC address");
	if (l->mtu != r->mtu)
		tried(&m, rtnl_set_link_mtu(nl, l->ifindex, r->mtu), "had another MTU");
	if (has_other_alias(r, l) && alias_of(r, alias))
		tried(&m, rtnl_set_link_alias(nl, l->ifindex, alias), "had another alias");
	mend_sysctls(r, l->name, &m);
	if (!(l->flags & IFF_UP))
		tried(&m, rtnl_set_link_up(nl, l->ifindex, true), "was down");
	*ret_what = m.what;
	return m.error;
}

size_t pod_link_routes(const struct endpoint_record *r, const struct pod_link_env *env, struct route ret[IPAM_FAMILIES])
{
	size_t n = 0;

	for (int f = 0; f < IPAM_FAMILIES; f++) {
		if (addr_is_zero(&r->addrs[f]))
			continue;
		ret[n++] =
		    (struct route){.dst = prefix_host(&r->addrs[f]), .src = env->node_addrs[f], .oif = r->ifindex};
	}
	return n;
}

size_t pod_link_neighs(const struct endpoint_record *r, struct neigh ret[IPAM_FAMILIES])
{
	size_t n = 0;

	for (int f = 0; f < IPAM_FAMILIES; f++) {
		if (addr_is_zero(&r->addrs[f]))
			continue;
		ret[n] = (struct neigh){.ifindex = r->ifindex, .addr = r->addrs[f]};
		memcpy(ret[n++].mac, r->pod_mac, 6);
	}
	return n;
}

int pod_link_up_host(struct rtnl *nl, const struct endpoint_record *r, const struct pod_link_env *env, char **ret_error)
{
	struct route routes[IPAM_FAMILIES];
	struct neigh neighs[IPAM_FAMILIES];
	size_t n_routes = pod_link_routes(r, env, routes), n_neighs = pod_link_neighs(r, neighs);
	int code = host_sysctls(r);

	if (code < 0)
		return fail(ret_error, "set the host link's sysctls", code, NULL);
	rtnl_batch(nl);
	rtnl_set_link_addrgen(nl, r->ifindex, false);
	rtnl_set_link_up(nl, r->ifindex, true);
	for (size_t i = 0; i < n_neighs; i++)
		rtnl_replace_neigh(nl, &neighs[i]);
	for (size_t i = 0; i < n_routes; i++)
		rtnl_replace_route(nl, &routes[i]);
	code = rtnl_commit(nl, NULL, NULL);
	return code < 0 ? fail(ret_error, "bring the host's side up", code, nl) : 0;
}

/* What happens inside the pod's namespace. */
struct inside {
	const struct endpoint_record *r;
	const struct pod_link_env *env;
	char *error;
};

static struct addr gateway_of(int family)
{
	struct addr a;
	int r = addr_parse(family == IPAM_V4 ? CNI_GATEWAY_V4 : CNI_GATEWAY_V6, &a);

	assert(r == 0);
	(void)r;
	return a;
}

static void queue_family(struct rtnl *nl, const struct inside *in, uint32_t ifindex, int family)
{
	const struct endpoint_record *r = in->r;
	struct link_addr addr = {
	    .ifindex = ifindex, .addr = r->addrs[family], .len = 128, .flags = family == IPAM_V6 ? IFA_F_NODAD : 0};
	struct neigh neigh = {.ifindex = ifindex, .addr = gateway_of(family)};
	uint32_t mtu = in->env->route_mtu;
	struct route route = {.dst = prefix_any(family == IPAM_V4 ? AF_INET : AF_INET6),
			      .via = gateway_of(family),
			      .oif = ifindex,
			      .onlink = true};

	if (family == IPAM_V6) /* RFC 8200 5: the tunnel carries it in two pieces (route/transport.c) */
		mtu = MAX(mtu, (uint32_t)IPV6_LEAST_MTU);
	if (in->env->route_mtu && mtu < r->mtu)
		route.mtu = mtu;
	memcpy(neigh.mac, r->host_mac, 6);
	rtnl_replace_addr(nl, &addr);
	rtnl_replace_neigh(nl, &neigh);
	rtnl_replace_route(nl, &route);
}

static int configure_inside(void *ctx)
{
	struct inside *in = ctx;
	const struct endpoint_record *r = in->r;
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	struct link l;
	int code = rtnl_open(&nl);

	if (code < 0)
		return fail(&in->error, "open rtnetlink in the pod", code, NULL);
	if (has_v6(r)) {
		code = sysctl("ipv6", r->ifname, "disable_ipv6", "0");
		if (code == 0)
			code = sysctl("ipv6", r->ifname, "accept_ra", "0");
		if (code < 0)
			return fail(&in->error, "set the pod link's sysctls", code, NULL);
	}
	code = rtnl_find_link(nl, r->ifname, &l);
	if (code < 0)
		return fail(&in->error, "find the pod's link", code, nl);
	rtnl_batch(nl);
	rtnl_set_link_up(nl, 1, true); /* lo is always 1 */
	rtnl_set_link_up(nl, l.ifindex, true);
	for (int f = 0; f < IPAM_FAMILIES; f++)
		if (!addr_is_zero(&r->addrs[f]))
			queue_family(nl, in, l.ifindex, f);
	code = rtnl_commit(nl, NULL, NULL);
	return code < 0 ? fail(&in->error, "configure the pod's interface", code, nl) : 0;
}

int pod_link_up_pod(int netns_fd, const struct endpoint_record *r, const struct pod_link_env *env, char **ret_error)
{
	struct inside in = {.r = r, .env = env};
	int code = netns_run(netns_fd, configure_inside, &in);

	if (code < 0)
		*ret_error = in.error ? in.error : xasprintf("enter the pod's namespace: %s", strerror(-code));
	return code;
}

static int remove_inside(void *ctx)
{
	const struct endpoint_record *r = ctx;
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	struct link l;
	int code = rtnl_open(&nl);

	if (code == 0)
		code = rtnl_find_link(nl, r->ifname, &l);
	if (code == 0 && (!streq(l.kind, "veth") || memcmp(l.mac, r->pod_mac, 6) != 0))
		code = -EEXIST;
	return code < 0 ? code : rtnl_del_link(nl, l.ifindex);
}

int pod_link_remove_inside(int netns_fd, struct endpoint_record *r)
{
	return netns_run(netns_fd, remove_inside, r);
}

int pod_link_withdraw(struct rtnl *nl, const struct endpoint_record *r)
{
	struct pod_link_env env = {0};
	struct route routes[IPAM_FAMILIES];
	struct neigh neighs[IPAM_FAMILIES];
	size_t n_routes = pod_link_routes(r, &env, routes), n_neighs = pod_link_neighs(r, neighs);
	int code;

	if (!r->ifindex)
		return 0;
	rtnl_batch(nl);
	for (size_t i = 0; i < n_routes; i++)
		rtnl_del_route(nl, &routes[i]);
	for (size_t i = 0; i < n_neighs; i++)
		rtnl_del_neigh(nl, &neighs[i]);
	code = rtnl_commit(nl, NULL, NULL);
	return code == -ENODEV || code == -ESRCH || code == -ENOENT ? 0 : code;
}

static int missing(char **ret_error, const char *what, const char *detail)
{
	*ret_error = xasprintf("%s%s%s", what, *detail ? " " : "", detail);
	return -ESTALE;
}

static int check_link(struct rtnl *nl, const char *name, const uint8_t mac[6], const char *where, struct link *ret,
		      char **ret_error)
{
	char text[64];
	int code = rtnl_find_link(nl, name, ret);

	snprintf(text, sizeof(text), "interface %s %s", name, where);
	if (code == -ENODEV)
		return missing(ret_error, text, "is missing");
	if (code < 0)
		return fail(ret_error, text, code, nl);
	if (!(ret->flags & IFF_UP))
		return missing(ret_error, text, "is down");
	return memcmp(ret->mac, mac, 6) == 0 ? 0 : missing(ret_error, text, "has another MAC address");
}

static int check_addr(struct rtnl *nl, uint32_t ifindex, const struct addr *a, char **ret_error)
{
	_cleanup_free_ struct link_addr *addrs = NULL;
	char text[ADDR_TEXT_MAX];
	size_t n;
	int code = rtnl_list_addrs(nl, addr_family(a), ifindex, &addrs, &n);

	if (code < 0)
		return fail(ret_error, "list the pod's addresses", code, nl);
	for (size_t i = 0; i < n; i++)
		if (addr_eq(&addrs[i].addr, a) && addrs[i].len == 128)
			return 0;
	return missing(ret_error, "the pod has lost its address", addr_format(a, text));
}

static int check_route(struct rtnl *nl, const struct prefix *dst, const struct addr *via, uint32_t oif,
		       const char *where, char **ret_error)
{
	_cleanup_free_ struct route *routes = NULL;
	char text[PREFIX_TEXT_MAX], what[PREFIX_TEXT_MAX + 16];
	size_t n;
	int code = rtnl_list_routes(nl, prefix_family(dst), RT_TABLE_MAIN, NET_PROTO_WEFT, &routes, &n);

	if (code < 0)
		return fail(ret_error, "list routes", code, nl);
	for (size_t i = 0; i < n; i++)
		if (prefix_eq(&routes[i].dst, dst) && routes[i].oif == oif && addr_eq(&routes[i].via, via))
			return 0;
	snprintf(what, sizeof(what), "route %s %s", prefix_format(dst, text), where);
	return missing(ret_error, what, "is missing or goes elsewhere");
}

static int check_neigh(struct rtnl *nl, uint32_t ifindex, const struct addr *a, const uint8_t mac[6], const char *where,
		       char **ret_error)
{
	_cleanup_free_ struct neigh *neighs = NULL;
	char text[ADDR_TEXT_MAX], what[ADDR_TEXT_MAX + 24];
	size_t n;
	int code = rtnl_list_neighs(nl, addr_family(a), ifindex, 0, &neighs, &n);

	if (code < 0)
		return fail(ret_error, "list neighbours", code, nl);
	for (size_t i = 0; i < n; i++)
		if (addr_eq(&neighs[i].addr, a) && (neighs[i].state & NUD_PERMANENT) &&
		    memcmp(neighs[i].mac, mac, 6) == 0)
			return 0;
	snprintf(what, sizeof(what), "neighbour %s %s", addr_format(a, text), where);
	return missing(ret_error, what, "is missing or wrong");
}

static int check_inside(void *ctx)
{
	struct inside *in = ctx;
	const struct endpoint_record *r = in->r;
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	struct link l;
	int code = rtnl_open(&nl);

	if (code < 0)
		return fail(&in->error, "open rtnetlink in the pod", code, NULL);
	code = check_link(nl, r->ifname, r->pod_mac, "of the pod", &l, &in->error);
	for (int f = 0; f < IPAM_FAMILIES && code == 0; f++) {
		struct addr gw = gateway_of(f);
		struct prefix any = prefix_any(f == IPAM_V4 ? AF_INET : AF_INET6);

		if (addr_is_zero(&r->addrs[f]))
			continue;
		code = check_addr(nl, l.ifindex, &r->addrs[f], &in->error);
		if (code == 0)
			code = check_route(nl, &any, &gw, l.ifindex, "of the pod", &in->error);
		if (code == 0)
			code = check_neigh(nl, l.ifindex, &gw, r->host_mac, "of the pod", &in->error);
	}
	return code;
}

int pod_link_check(struct rtnl *nl, int netns_fd, const struct endpoint_record *r, char **ret_error)
{
	struct inside in = {.r = r};
	static const struct addr none;
	struct link l;
	int code = netns_run(netns_fd, check_inside, &in);

	if (code < 0) {
		*ret_error = in.error ? in.error : xasprintf("enter the pod's namespace: %s", strerror(-code));
		return code;
	}
	code = check_link(nl, r->host_ifname, r->host_mac, "of the host", &l, ret_error);
	if (code == 0 && l.ifindex != r->ifindex)
		return missing(ret_error, "the host's interface is another one", "");
	for (int f = 0; f < IPAM_FAMILIES && code == 0; f++) {
		struct prefix dst = prefix_host(&r->addrs[f]);

		if (addr_is_zero(&r->addrs[f]))
			continue;
		code = check_route(nl, &dst, &none, r->ifindex, "of the host", ret_error);
		if (code == 0)
			code = check_neigh(nl, r->ifindex, &r->addrs[f], r->pod_mac, "of the host", ret_error);
	}
	return code;
}

bool pod_link_is_ours(const struct link *l)
{
	return streq(l->kind, "veth") && str_has_prefix(l->name, "weft") &&
	       (str_has_prefix(l->alias, ALIAS_PREFIX) || l->group == POD_LINK_DOOMED_GROUP || strlen(l->name) == 15) &&
	       l->mac[0] == 0x02 && l->mac[1] == 0x57 && l->mac[2] == 0x48;
}

int pod_link_key(const struct link *l, char **ret_container, char **ret_ifname)
{
	const char *key = l->alias + strlen(ALIAS_PREFIX), *space;

	if (!str_has_prefix(l->alias, ALIAS_PREFIX) || !(space = strchr(key, ' ')) || space == key || !space[1])
		return -ENOENT;
	*ret_container = xstrndup(key, space - key);
	*ret_ifname = xstrdup(space + 1);
	return 0;
}
