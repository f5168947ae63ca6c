/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/lab.h"
#include "base/test.h"

static void addresses_follow_the_plan(void)
{
	struct lab lab = { .subnets = 2, .zones = 3 };
	char text[PREFIX_TEXT_MAX];
	struct addr a;
	struct prefix p;

	for (int i = 0; i < 4; i++)
		CHECK(lab_add_node(&lab));
	CHECK_STR(lab.nodes[3].name, "n4");
	CHECK_INT(lab_subnet_of(&lab, &lab.nodes[3]), 1);
	CHECK_INT(lab_zone_of(&lab, &lab.nodes[3]), 1);
	a = lab_node_address(&lab, &lab.nodes[3], AF_INET);
	CHECK_STR(addr_format(&a, text), "172.30.1.14");
	a = lab_node_address(&lab, &lab.nodes[3], AF_INET6);
	CHECK_STR(addr_format(&a, text), "fd30:0:0:1::e");
	p = lab_subnet_prefix(1, AF_INET);
	CHECK_STR(prefix_format(&p, text), "172.30.1.0/24");
	p = lab_subnet_prefix(1, AF_INET6);
	CHECK_STR(prefix_format(&p, text), "fd30:0:0:1::/64");
	a = lab_router_address(1, AF_INET6);
	CHECK_STR(addr_format(&a, text), "fd30:0:0:1::1");
	lab_done(&lab);
}

static void families_are_chosen(void)
{
	struct lab lab = { .family = LAB_IPV6, .subnets = 1, .zones = 1 };
	_cleanup_free_ char *url = lab_hub_url(&lab);

	CHECK(!lab_has(&lab, AF_INET) && lab_has(&lab, AF_INET6));
	CHECK_STR(url, "https://[fd30::1]:6443");
}

static void nodes_are_bounded(void)
{
	struct lab lab = { .subnets = 1, .zones = 1 };

	for (int i = 0; i < LAB_NODES_MAX; i++)
		CHECK(lab_add_node(&lab));
	CHECK(!lab_add_node(&lab));
	lab_done(&lab);
}

int main(void)
{
	RUN(addresses_follow_the_plan);
	RUN(families_are_chosen);
	RUN(nodes_are_bounded);
	return test_end();
}
