/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel takes the compiled plan as it is and says the same back. */
#include "base/str.h"
#include "base/test.h"
#include "net/rtnl.h"
#include "route/plan.h"

#include <sched.h>

static struct rtnl *nl;

static void node(struct model *m, int i, bool six_first)
{
	_cleanup_json_ json_t *j = NULL;
	char name[8], v4[32], v6[64], a4[32], a6[32];

	snprintf(name, sizeof(name), "n%d", i);
	snprintf(v4, sizeof(v4), "10.244.%d.0/24", i);
	snprintf(v6, sizeof(v6), "fd00:244:0:%d::/64", i);
	snprintf(a4, sizeof(a4), "172.30.0.%d", 10 + i);
	snprintf(a6, sizeof(a6), "fd30::%d", 10 + i);
	j = json_pack("{s:{s:s},s:{s:[s,s]},s:{s:[{s:s,s:s},{s:s,s:s}]}}", "metadata", "name", name, "spec", "podCIDRs",
		      v4, v6, "status", "addresses", "type", "InternalIP", "address", six_first ? a6 : a4, "type", "InternalIP",
		      "address", six_first ? a4 : a6);
	if (model_upsert(m, MODEL_NODES, j, NULL) < 0)
		abort();
}

static uint32_t uplink, vxlan;

static int set_up(void)
{
	struct link_spec up = {.name = "up0", .mac = (uint8_t[]){2, 0, 0, 0, 0, 1}, .up = true};
	struct link_spec other = {.name = "up1", .mac = (uint8_t[]){2, 0, 0, 0, 0, 2}, .up = true};
	struct link_spec vx = {
	    .name = "weft-vxlan", .mac = (uint8_t[]){2, 0x57, 10, 244, 1, 1}, .mtu = 1450, .up = true};
	struct link_addr a4 = {.len = 120}, a6 = {.len = 64, .flags = IFA_F_NODAD};
	int r;

	if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return -errno;
	r = rtnl_open(&nl);
	if (r == 0)
		r = rtnl_set_link_up(nl, 1, true);
	if (r == 0)
		r = rtnl_add_veth(nl, &up, &other, &uplink);
	if (r == 0)
		r = rtnl_add_vxlan(nl, &vx, 4789, &vxlan);
	if (r < 0 || addr_parse("172.30.0.11", &a4.addr) < 0 || addr_parse("fd30::11", &a6.addr) < 0)
		return r < 0 ? r : -EINVAL;
	a4.ifindex = a6.ifindex = uplink;
	r = rtnl_replace_addr(nl, &a4);
	return r < 0 ? r : rtnl_replace_addr(nl, &a6);
}

static void apply(const struct route_plan *p, size_t *ret_changed)
{
	size_t routes, rules, neighs;

	for (size_t i = 0; i < p->n_addrs; i++)
		CHECK_INT(rtnl_replace_addr(nl, &p->addrs[i]), 0);
	CHECK_INT(rtnl_apply_neighs(nl, p->neighs, p->n_neighs, NULL, 0, &neighs), 0);
	CHECK_INT(rtnl_apply_routes(nl, p->routes, p->n_routes, NULL, 0, &routes), 0);
	CHECK_INT(rtnl_apply_rules(nl, p->rules, p->n_rules, &rules), 0);
	*ret_changed = routes + rules + neighs;
}

static void plan_into_kernel(enum route_transport t, bool six_first)
{
	struct route_underlay underlays[2] = {{.ifindex = uplink, .mtu = 1500}, {.ifindex = uplink, .mtu = 1500}};
	struct route_config config = {.node = "n1",
				      .transport = t,
				      .ipv4 = true,
				      .ipv6 = true,
				      .underlays = underlays,
				      .n_underlays = 2,
				      .tunnel_ifindex = vxlan,
				      .vni = 1};
	_cleanup_(model_freep) struct model *m = model_new();
	_cleanup_(route_plan_done) struct route_plan p, fewer;
	size_t changed;

	CHECK_INT(addr_parse("172.30.0.11", &underlays[0].addr), 0);
	CHECK_INT(prefix_parse("172.30.0.0/24", &underlays[0].net, NULL), 0);
	CHECK_INT(addr_parse("fd30::11", &underlays[1].addr), 0);
	CHECK_INT(prefix_parse("fd30::/64", &underlays[1].net, NULL), 0);
	for (int i = 1; i <= 20; i++)
		node(m, i, six_first);
	route_compile(&config, m, &p);
	apply(&p, &changed);
	CHECK_INT(changed, p.n_routes + p.n_rules + p.n_neighs);
	apply(&p, &changed);
	CHECK_INT(changed, 0); /* what the kernel says back is what was wanted */
	_cleanup_json_ json_t *gone = json_pack("{s:{s:s}}", "metadata", "name", "n7");
	CHECK_INT(model_delete(m, MODEL_NODES, gone), 1);
	route_compile(&config, m, &fewer);
	apply(&fewer, &changed);
	CHECK_INT(changed, p.n_routes - fewer.n_routes + p.n_neighs - fewer.n_neighs);
	CHECK_INT(rtnl_apply_routes(nl, NULL, 0, NULL, 0, NULL), 0);
	CHECK_INT(rtnl_apply_rules(nl, NULL, 0, NULL), 0);
	CHECK_INT(rtnl_apply_neighs(nl, NULL, 0, NULL, 0, NULL), 0);
}

static void direct_plan(void)
{
	plan_into_kernel(ROUTE_DIRECT, false);
}

static void vxlan_plan(void)
{
	plan_into_kernel(ROUTE_VXLAN, false);
}

static void vxlan_plan_over_ipv6(void)
{
	plan_into_kernel(ROUTE_VXLAN, true);
}

int main(void)
{
	int r = set_up();

	if (r < 0) {
		printf("Bail out! no namespace to work in: %s %s\n", strerror(-r), nl ? rtnl_error_text(nl) : "");
		return 1;
	}
	RUN(direct_plan);
	RUN(vxlan_plan);
	RUN(vxlan_plan_over_ipv6);
	rtnl_close(nl);
	return test_end();
}
