/* SPDX-License-Identifier: Apache-2.0 */
/* Opens the datapath in the namespace it runs in, applies what the command line says, and ends; what is pinned carries on.
 *
 *	dp_tool PIN_DIR remove
 *	dp_tool PIN_DIR [attach=auto|tcx|clsact] [fast=0] [vni=N] [flow_max=N] [node=ADDR]… [underlay=ADDR]…
 *		[pod=IFNAME,ID,POD-MAC,HOST-MAC,ADDR[,ADDR]]… [route=PREFIX,direct|vxlan|mesh,UNDERLAY,IFNAME,MTU[,VTEP-MAC]]…
 *		[uplink=IFNAME]… [xdp=native|generic] [tunnel=IFNAME]… [mesh=IFNAME]… [service=PROTO,ADDR,PORT,ENDPOINT,ENDPOINT-PORT[,here]]… [stats]
 *
 * Pods, routes and links are applied as the whole set when any of their kind is given. A Service has one endpoint, and is served to
 * everybody; at the unspecified address it is a node port, of the underlay addresses. */
#include "base/str.h"
#include "datapath/service.h"

#include <err.h>
#include <net/if.h>

enum { ARGS_MAX = 64, FIELDS_MAX = 8 };

static size_t split(char *text, char *ret[FIELDS_MAX])
{
	size_t n = 0;

	for (char *f = strtok(text, ","); f && n < FIELDS_MAX; f = strtok(NULL, ","))
		ret[n++] = f;
	return n;
}

static uint32_t link_index(const char *name)
{
	uint32_t i = if_nametoindex(name);

	if (!i)
		err(1, "link %s", name);
	return i;
}

static void set_addr(struct addr pair[2], const char *text)
{
	struct addr a;

	if (addr_parse(text, &a) < 0)
		errx(1, "%s: expected an address", text);
	pair[addr_is_v4(&a) ? 0 : 1] = a;
}

static struct dp_endpoint parse_pod(char *text)
{
	struct dp_endpoint ep = {};
	char *f[FIELDS_MAX];
	size_t n = split(text, f);

	if (n < 5 || mac_parse(f[2], ep.pod_mac) < 0 || mac_parse(f[3], ep.host_mac) < 0)
		errx(1, "pod: expected IFNAME,ID,POD-MAC,HOST-MAC,ADDR[,ADDR]");
	ep.ifindex = link_index(f[0]);
	ep.id = atoi(f[1]);
	for (size_t i = 4; i < n; i++)
		set_addr(ep.addrs, f[i]);
	return ep;
}

static struct dp_node_route parse_route(char *text)
{
	struct dp_node_route r = {};
	char *f[FIELDS_MAX];
	size_t n = split(text, f);

	if (n < 5 || prefix_parse(f[0], &r.prefix, NULL) < 0 || addr_parse(f[2], &r.underlay) < 0 ||
	    (n > 5 && mac_parse(f[5], r.vtep_mac) < 0))
		errx(1, "route: expected PREFIX,direct|vxlan|mesh,UNDERLAY,IFNAME,MTU[,VTEP-MAC]");
	r.transport = streq(f[1], "vxlan") ? DP_TUNNEL : streq(f[1], "mesh") ? DP_MESH : DP_DIRECT;
	r.plain = r.transport == DP_DIRECT;
	if (r.transport == DP_TUNNEL)
		r.outer = r.underlay;
	r.ifindex = link_index(f[3]);
	r.mtu = atoi(f[4]);
	return r;
}

/* One port of one Service, as the compiler would want it. */
struct service {
	char *key;
	uint8_t proto;
	struct dp_service_frontend frontends[2];
	struct dp_service_backend backend;
};

static struct service parse_service(char *text)
{
	struct service s = { .key = xstrdup(text) };
	struct dp_service_frontend at = {};
	char *f[FIELDS_MAX];
	size_t n = split(text, f);

	if (n < 5 || addr_parse(f[1], &at.addr) < 0 || addr_parse(f[3], &s.backend.addr) < 0)
		errx(1, "service: expected PROTO,ADDR,PORT,ENDPOINT,ENDPOINT-PORT[,here]");
	s.proto = atoi(f[0]);
	at.port = atoi(f[2]);
	s.backend.port = atoi(f[4]);
	s.backend.roles = 1 << SERVICE_CLUSTER;
	s.backend.weight = 1;
	s.backend.flags = n > 5 ? SERVICE_ON_THIS_NODE : 0;
	s.frontends[0] = s.frontends[1] = at;
	s.frontends[0].scope = SERVICE_INTERNAL;
	s.frontends[1].scope = SERVICE_EXTERNAL;
	return s;
}

static size_t the_one(const struct dp_service *s, enum service_role role, uint32_t *ret)
{
	ret[0] = 0;
	return role == SERVICE_CLUSTER ? s->n_backends : 0;
}

struct wanted {
	struct dp_config config;
	struct dp_endpoint pods[ARGS_MAX];
	struct dp_node_route routes[ARGS_MAX];
	struct dp_link links[ARGS_MAX];
	struct service services[ARGS_MAX];
	size_t n_pods, n_routes, n_links, n_services;
	bool stats;
};

static enum dp_attach parse_attach(const char *text)
{
	return streq(text, "tcx") ? DP_ATTACH_TCX : streq(text, "clsact") ? DP_ATTACH_CLSACT : DP_ATTACH_AUTO;
}

static struct dp_link parse_link(struct wanted *w, const char *role, const char *name)
{
	struct dp_link link = { link_index(name), streq(role, "tunnel") ? DP_LINK_TUNNEL : streq(role, "mesh") ? DP_LINK_MESH : DP_LINK_UPLINK };

	if (link.role == DP_LINK_TUNNEL)
		w->config.tunnel_ifindex = link.ifindex;
	return link;
}

static void parse_arg(struct wanted *w, char *arg)
{
	char *value = strchr(arg, '=');

	if (streq(arg, "stats")) {
		w->stats = true;
		return;
	}
	if (!value)
		errx(1, "%s: expected KEY=VALUE", arg);
	*value++ = 0;
	if (streq(arg, "attach"))
		w->config.attach = parse_attach(value);
	else if (streq(arg, "fast"))
		w->config.fast_path = atoi(value);
	else if (streq(arg, "vni"))
		w->config.vni = atoi(value);
	else if (streq(arg, "geneve") || streq(arg, "vxlan")) {
		w->config.geneve = streq(arg, "geneve");
		w->config.tunnel_port = atoi(value);
	} else if (streq(arg, "flow_max"))
		w->config.flow_max = atoi(value);
	else if (streq(arg, "node"))
		set_addr(w->config.node_addrs, value);
	else if (streq(arg, "underlay"))
		set_addr(w->config.underlay, value);
	else if (streq(arg, "pod"))
		w->pods[w->n_pods++] = parse_pod(value);
	else if (streq(arg, "route"))
		w->routes[w->n_routes++] = parse_route(value);
	else if (streq(arg, "service"))
		w->services[w->n_services++] = parse_service(value);
	else if (streq(arg, "xdp"))
		w->config.xdp = streq(value, "native") ? DP_XDP_NATIVE : DP_XDP_GENERIC;
	else if (streq(arg, "uplink") || streq(arg, "tunnel") || streq(arg, "mesh"))
		w->links[w->n_links++] = parse_link(w, arg, value);
	else
		errx(1, "%s: unknown", arg);
}

static void check(const char *what, int r)
{
	if (r < 0)
		errx(1, "%s: %s", what, strerror(-r));
}

static void print_stats(struct datapath *dp)
{
	struct dp_counter drops[DROP_REASON_COUNT], ways[FORWARD_WAY_COUNT], xdp;
	struct dp_stats s;

	check("drops", datapath_read_drops(dp, drops));
	check("forwards", datapath_read_forwards(dp, ways));
	check("stats", datapath_read_stats(dp, &s));
	check("xdp", datapath_read_xdp_packets(dp, &xdp));
	printf("attach %s\nflows %lu\nflows_new %lu\nendpoints %lu\nnode_routes %lu\n", s.attach, s.flows, s.flows_new,
	       s.endpoints, s.node_routes);
	for (unsigned i = 0; i < FORWARD_WAY_COUNT; i++)
		printf("forward_%s %lu\n", forward_way_label(i), ways[i].packets);
	printf("xdp %lu\n", xdp.packets);
	for (unsigned i = 1; i < DROP_REASON_COUNT; i++)
		if (drops[i].packets)
			printf("drop_%s %lu\n", drop_reason_label(i), drops[i].packets);
}

static void put_services(struct datapath *dp, const struct wanted *w)
{
	struct dp_service_node nodes[2] = { { w->config.underlay[0], true }, { w->config.underlay[1], true } };

	check("node ports", datapath_apply_service_nodes(dp, nodes, ARRAY_SIZE(nodes)));
	for (size_t i = 0; i < w->n_services; i++) {
		const struct service *s = &w->services[i];
		struct dp_service want = { .key = s->key, .proto = s->proto, .frontends = s->frontends, .n_frontends = ARRAY_SIZE(s->frontends),
					   .backends = &s->backend, .n_backends = 1, .fill = the_one };

		check("service", datapath_put_service(dp, &want));
	}
}

int main(int argc, char **argv)
{
	static struct wanted w = { .config = { .fast_path = true, .vni = 1, .flow_max = 65536, .nat_max = 4096, .nat_port_min = 1024, .nat_port_max = 65535 } };
	_cleanup_(datapath_closep) struct datapath *dp = NULL;
	char *error = NULL;

	if (argc < 3)
		errx(1, "usage: dp_tool PIN_DIR remove | KEY=VALUE…");
	if (streq(argv[2], "remove")) {
		check("remove", datapath_remove(argv[1]));
		return 0;
	}
	if (argc > ARGS_MAX)
		errx(1, "at most %d arguments", ARGS_MAX);
	w.config.pin_dir = argv[1];
	for (int i = 2; i < argc; i++)
		parse_arg(&w, argv[i]);
	w.config.inbound = w.n_services;
	if (datapath_open(&w.config, &dp, &error) < 0)
		errx(1, "%s", error);
	if (w.n_pods)
		check("endpoints", datapath_apply_endpoints(dp, w.pods, w.n_pods));
	if (w.n_routes)
		check("routes", datapath_apply_node_routes(dp, w.routes, w.n_routes));
	if (w.n_links)
		check("links", datapath_apply_links(dp, w.links, w.n_links));
	if (w.n_services)
		put_services(dp, &w);
	if (w.stats)
		print_stats(dp);
	return 0;
}
