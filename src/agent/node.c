/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/node.h"
#include "agent/pod_link.h"
#include "agent/transport.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <dirent.h>

const char NODE_VXLAN_NAME[] = "weft-vxlan";
static const char VXLAN_ALIAS[] = "weft: tunnels to other nodes";
/* A device of less than 1280 bytes carries no IPv6; routes say what a path carries. */
enum { VXLAN_OVERHEAD_V4 = 50 };

void node_facts_done(struct node_facts *f)
{
	free(f->underlays);
	free(f->own);
	free(f->uplinks_problem);
	*f = (struct node_facts){0};
}

/* What one look at the kernel gives. */
struct tables {
	struct link *links;
	struct link_addr *addrs;
	uint32_t *defaults; /* links of default routes */
	size_t n_links, n_addrs, n_defaults;
};

static void tables_done(struct tables *t)
{
	free(t->links);
	free(t->addrs);
	free(t->defaults);
}

static int tables_read(struct rtnl *nl, struct tables *t)
{
	int r = rtnl_list_links(nl, &t->links, &t->n_links);

	if (r == 0)
		r = rtnl_list_addrs(nl, AF_UNSPEC, 0, &t->addrs, &t->n_addrs);
	return r ? r : rtnl_list_default_links(nl, &t->defaults, &t->n_defaults);
}

static const struct link *link_of(const struct tables *t, uint32_t ifindex)
{
	for (size_t i = 0; i < t->n_links; i++)
		if (t->links[i].ifindex == ifindex)
			return &t->links[i];
	return NULL;
}

static bool is_internal(const struct model_node *node, const struct addr *a)
{
	for (unsigned i = 0; node && i < node->n_addrs; i++)
		if (addr_eq(&node->addrs[i], a))
			return true;
	return false;
}

static void add_underlay(struct node_facts *f, const struct tables *t, const struct options *o, const struct link_addr *a)
{
	const struct link *l = link_of(t, a->ifindex);

	if (l && a->scope == RT_SCOPE_UNIVERSE)
		f->underlays[f->n_underlays++] = (struct route_underlay){.addr = a->addr,
									 .net = prefix_of(&a->addr, a->len),
									 .ifindex = a->ifindex,
									 .mtu = o->mtu ? o->mtu : l->mtu};
}

/* Those by which nodes reach each other, first those of the Node object and in its order, which others know, too; the kernel lists the one
 * that came last before the others. */
static void add_underlays_between(struct node_facts *f, const struct tables *t, const struct options *o, const struct model_node *node,
				  const struct uplinks *u)
{
	for (unsigned k = 0; node && k < node->n_addrs; k++)
		for (size_t i = 0; i < t->n_addrs; i++)
			if (addr_eq(&t->addrs[i].addr, &node->addrs[k]) && uplinks_is_between(u, t->addrs[i].ifindex))
				add_underlay(f, t, o, &t->addrs[i]);
	for (size_t i = 0; i < t->n_addrs; i++)
		if (!is_internal(node, &t->addrs[i].addr) && uplinks_is_between(u, t->addrs[i].ifindex))
			add_underlay(f, t, o, &t->addrs[i]);
	f->n_between = f->n_underlays;
}

static void add_underlays_beyond(struct node_facts *f, const struct tables *t, const struct options *o, const struct uplinks *u)
{
	for (size_t i = 0; i < t->n_addrs; i++)
		if (uplinks_is_beyond(u, t->addrs[i].ifindex))
			add_underlay(f, t, o, &t->addrs[i]);
}

static void add_own(struct node_facts *f, const struct tables *t)
{
	for (size_t i = 0; i < t->n_addrs; i++) {
		const struct link *l = link_of(t, t->addrs[i].ifindex);

		if (addr_is_routable(&t->addrs[i].addr) && !(l && streq(l->name, "kube-ipvs0")))
			f->own[f->n_own++] = t->addrs[i].addr;
	}
}

static void add_uplinks(struct node_facts *f, const struct uplinks *u)
{
	for (size_t i = 0; i < u->n; i++) {
		if (!u->list[i].ethernet)
			continue;
		memcpy(f->uplink_names[f->n_uplinks], u->list[i].name, IF_NAMESIZE);
		f->uplinks[f->n_uplinks++] = u->list[i].ifindex;
	}
	f->uplinks_problem = uplinks_problem(u);
}

int node_read_facts(struct rtnl *nl, const struct options *o, const struct model_node *node, struct node_facts *ret,
		    char **ret_error)
{
	_cleanup_(tables_done) struct tables t = {0};
	struct uplinks_look look;
	struct node_facts f = {0};
	struct uplinks u;
	int r = tables_read(nl, &t);

	if (r < 0) {
		*ret_error = xasprintf("cannot list interfaces: %s", rtnl_error_text(nl));
		return r;
	}
	look = (struct uplinks_look){t.links, t.n_links, t.addrs, t.n_addrs, t.defaults, t.n_defaults};
	r = uplinks_choose(&look, o->uplinks, node, &u, ret_error);
	if (r < 0)
		return r;
	add_uplinks(&f, &u);
	f.underlays = xnew0_array(struct route_underlay, t.n_addrs + 1);
	add_underlays_between(&f, &t, o, node, &u);
	add_underlays_beyond(&f, &t, o, &u);
	f.own = xnew0_array(struct addr, t.n_addrs + 1);
	add_own(&f, &t);
	*ret = f;
	return 0;
}

/* ---- sysctls ---- */

static long sysctl_read(const char *family, const char *ifname, const char *key)
{
	char path[128];
	_cleanup_free_ char *text = NULL;

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family, ifname, key);
	return file_read(path, 64, &text, NULL) < 0 ? -1 : atol(text);
}

struct sysctls {
	char *changed; /* the last one written */
	struct trouble *trouble;
};

static void note_unwritten(struct sysctls *s, const char *key, int r, const char *path, const char *value)
{
	_cleanup_free_ char *why = xasprintf("%s: cannot write %s: %s", path, value, strerror(-r));

	/* An interface may have nothing of a family, as one too small for IPv6 has not. */
	trouble_note(s->trouble, streq(key, "forwarding") && r != -ENOENT ? TROUBLE_FORWARDING : TROUBLE_SYSCTLS, r, why);
}

/* Writes only what differs: each write of forwarding walks all interfaces. */
static int sysctl_set(struct sysctls *s, const char *family, const char *ifname, const char *key, long value)
{
	char path[128], text[16];
	int r;

	if (sysctl_read(family, ifname, key) == value)
		return 0;
	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family, ifname, key);
	snprintf(text, sizeof(text), "%ld", value);
	r = file_write(path, text);
	if (r == 0) {
		free(s->changed);
		s->changed = xasprintf("net.%s.conf.%s.%s = %s", family, ifname, key, text);
	} else {
		note_unwritten(s, key, r, path, text);
	}
	return r;
}

/* The kernel takes the larger of "all" and the interface's rp_filter. So "all" goes to 0, after every interface got the
 * value that was in force for it: only pods' links, which are made with 0, lose the filter. */
static void relax_rp_filter(struct sysctls *s)
{
	long all = sysctl_read("ipv4", "all", "rp_filter");
	int r = 0;
	DIR *d;

	if (all <= 0)
		return;
	d = opendir("/proc/sys/net/ipv4/conf");
	if (!d) {
		trouble_note(s->trouble, TROUBLE_SYSCTLS, -errno, NULL);
		return;
	}
	for (const struct dirent *e; r == 0 && (e = readdir(d));)
		if (*e->d_name != '.' && !streq(e->d_name, "all") && !str_has_prefix(e->d_name, POD_LINK_PREFIX) &&
		    sysctl_read("ipv4", e->d_name, "rp_filter") < all)
			r = sysctl_set(s, "ipv4", e->d_name, "rp_filter", all);
	closedir(d);
	if (r == 0)
		sysctl_set(s, "ipv4", "all", "rp_filter", 0);
}

/* "all" is a switch that is copied when it is thrown: an interface can have been changed since. */
static void forward_by(struct sysctls *s, const struct node_facts *f, const char *family)
{
	sysctl_set(s, family, "all", "forwarding", 1);
	for (size_t i = 0; i < f->n_uplinks; i++)
		sysctl_set(s, family, f->uplink_names[i], "forwarding", 1);
}

/* The route back may be the other way for a moment, or for good: RFC 3704 2.4. */
static void loosen_rp_filter(struct sysctls *s, const struct node_facts *f)
{
	for (size_t i = 0; i < f->n_uplinks; i++)
		if (sysctl_read("ipv4", f->uplink_names[i], "rp_filter") == 1)
			sysctl_set(s, "ipv4", f->uplink_names[i], "rp_filter", 2);
	if (sysctl_read("ipv4", NODE_VXLAN_NAME, "rp_filter") == 1)
		sysctl_set(s, "ipv4", NODE_VXLAN_NAME, "rp_filter", 2);
}

/* Off, by default for new interfaces or by hand, the kernel drops addresses, routes and neighbours there, and refuses new ones. */
static void enable_v6(struct sysctls *s, const char *tunnel)
{
	sysctl_set(s, "ipv6", "lo", "disable_ipv6", 0);
	if (tunnel)
		sysctl_set(s, "ipv6", tunnel, "disable_ipv6", 0);
}

void node_set_sysctls(const struct node_facts *f, const struct node_wants *want, struct trouble *t, char **ret_changed)
{
	struct sysctls s = {.trouble = t};

	if (want->ipv4) {
		relax_rp_filter(&s);
		if (want->either_way)
			loosen_rp_filter(&s, f);
		forward_by(&s, f, "ipv4");
	}
	if (want->ipv6) {
		/* a forwarding host ignores router advertisements unless told 2: without them the default route expires */
		for (size_t i = 0; i < f->n_uplinks; i++)
			if (sysctl_read("ipv6", f->uplink_names[i], "accept_ra") == 1)
				sysctl_set(&s, "ipv6", f->uplink_names[i], "accept_ra", 2);
		forward_by(&s, f, "ipv6");
		enable_v6(&s, want->tunnel);
	}
	*ret_changed = s.changed;
}

/* ---- the tunnel device ---- */

static bool vxlan_is_as_wanted(const struct link *l, const struct options *o)
{
	return streq(l->kind, "vxlan") && l->vxlan.external && l->vxlan.port == transport_port(o);
}

/* Who has the port? */
static char *port_owner(struct rtnl *nl, uint64_t port)
{
	_cleanup_free_ struct link *links = NULL;
	size_t n = 0;

	if (rtnl_list_links(nl, &links, &n) == 0)
		for (size_t i = 0; i < n; i++)
			if (streq(links[i].kind, "vxlan") && links[i].vxlan.port == port &&
			    !streq(links[i].name, NODE_VXLAN_NAME))
				return xasprintf("the VXLAN device %s", links[i].name);
	return xstrdup("another program");
}

static int vxlan_failed(struct rtnl *nl, const struct options *o, int r, char **ret_error)
{
	_cleanup_free_ char *text = xstrdup(rtnl_error_text(nl)), *owner = NULL;

	if (r != -EADDRINUSE && r != -EEXIST) {
		*ret_error = xasprintf("device %s: %s", NODE_VXLAN_NAME, text);
		return r;
	}
	owner = port_owner(nl, transport_port(o));
	*ret_error =
	    xasprintf("UDP port %u is in use by %s: remove it, or give Weft another one by the option %s.port",
		      transport_port(o), owner, route_transport_name(transport_of(o)));
	return -EADDRINUSE;
}

static int make_vxlan(struct rtnl *nl, const struct options *o, const uint8_t mac[6], uint32_t mtu, uint32_t *ret)
{
	struct link_spec spec = {.name = NODE_VXLAN_NAME, .mac = mac, .mtu = mtu};
	int r = rtnl_add_vxlan(nl, &spec, transport_port(o), ret);

	if (r == 0)
		r = rtnl_set_link_alias(nl, *ret, VXLAN_ALIAS);
	if (r == 0)
		r = rtnl_set_link_addrgen(nl, *ret, false);
	return r;
}

static int mend_vxlan(struct rtnl *nl, const struct link *l, const uint8_t mac[6], uint32_t mtu, bool mtu_is_new, const char **ret_mended)
{
	int r = 0;

	if (l->master) { /* before all else: what it is in may hold its address and MTU */
		*ret_mended = "weft-vxlan was put under another interface";
		r = rtnl_set_link_master(nl, l->ifindex, 0);
	}
	if (r == 0 && memcmp(l->mac, mac, 6) != 0) {
		*ret_mended = "weft-vxlan had another MAC address";
		r = rtnl_set_link_mac(nl, l->ifindex, mac);
	}
	if (r == 0 && l->mtu != mtu) {
		*ret_mended = mtu_is_new ? *ret_mended : "weft-vxlan had another MTU";
		r = rtnl_set_link_mtu(nl, l->ifindex, mtu);
	}
	if (r == 0 && (l->flags & (IFF_UP | IFF_NOARP)) != (IFF_UP | IFF_NOARP)) {
		*ret_mended = l->flags & IFF_UP ? "weft-vxlan had ARP on" : "weft-vxlan was down";
		r = rtnl_set_link_flags(nl, l->ifindex, IFF_UP | IFF_NOARP, IFF_UP | IFF_NOARP);
	}
	return r;
}

/* Our own device under another name holds the port. */
static int remove_renamed(struct rtnl *nl)
{
	_cleanup_free_ struct link *links = NULL;
	size_t n = 0;
	int r = rtnl_list_links(nl, &links, &n);

	for (size_t i = 0; i < n && r == 0; i++) {
		if (!streq(links[i].kind, "vxlan") || !streq(links[i].alias, VXLAN_ALIAS))
			continue;
		log_warn("somebody has renamed the tunnel device: it is made anew", L_STR("name", links[i].name));
		r = rtnl_del_link(nl, links[i].ifindex);
	}
	return r;
}

int node_ensure_vxlan(struct rtnl *nl, const struct options *o, const uint8_t mac[6], uint32_t mtu, bool mtu_is_new,
		      uint32_t *ret_ifindex, const char **ret_mended, char **ret_error)
{
	const char *mended = NULL;
	uint32_t ifindex = 0, want_mtu = MAX(mtu, (uint32_t)IPV6_LEAST_MTU + VXLAN_OVERHEAD_V4) - VXLAN_OVERHEAD_V4;
	struct link l;
	int r = rtnl_find_link(nl, NODE_VXLAN_NAME, &l);

	if (r == 0 && !vxlan_is_as_wanted(&l, o)) {
		log_info("replacing the tunnel device, which was made with other options",
			 L_STR("device", NODE_VXLAN_NAME));
		r = rtnl_del_link(nl, l.ifindex);
		r = r ? r : -ENODEV;
	}
	if (r == -ENODEV) {
		r = remove_renamed(nl);
		r = r ? r : make_vxlan(nl, o, mac, want_mtu, &ifindex);
		if (r == 0)
			r = rtnl_get_link(nl, ifindex, &l);
	}
	if (r == 0)
		r = mend_vxlan(nl, &l, mac, want_mtu, mtu_is_new, &mended);
	if (r < 0) {
		r = vxlan_failed(nl, o, r, ret_error);
		if (ifindex)
			rtnl_del_link(nl, ifindex);
		return r;
	}
	*ret_ifindex = l.ifindex;
	*ret_mended = ifindex ? "weft-vxlan was gone" : mended;
	return 0;
}

int node_remove_vxlan(struct rtnl *nl)
{
	struct link l;
	int r = rtnl_find_link(nl, NODE_VXLAN_NAME, &l);

	if (r < 0)
		return r == -ENODEV ? 0 : r;
	return streq(l.kind, "vxlan") ? rtnl_del_link(nl, l.ifindex) : 0;
}
