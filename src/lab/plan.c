/* SPDX-License-Identifier: Apache-2.0 */
/* The address plan: docs/architecture.md, "The lab". */
#include "lab/lab.h"

static const struct {
	const char *subnets, *world, *cluster, *service;
	unsigned subnet_shift; /* distance of two subnets, in bits from the end */
	uint8_t len;
} plan[] = {
	{ "172.30.0.0", "172.31.0.0", "10.244.0.0/16", "10.96.0.0/16", 8, 120 },
	{ "fd30::", "fd31::", "fd00:244::/48", "fd00:96::/112", 64, 64 },
};

enum { HOST_ROUTER = 1, HOST_WORLD = 10, HOST_NODES = 10 };

static struct addr parse(const char *text)
{
	struct addr a;
	int r = addr_parse(text, &a);

	assert(r == 0);
	return a;
}

static size_t row(int family)
{
	return family == AF_INET6;
}

static struct addr subnet_base(unsigned subnet, int family)
{
	struct addr a = parse(plan[row(family)].subnets);

	assert(subnet < LAB_SUBNETS_MAX);
	a.b[15 - plan[row(family)].subnet_shift / 8] += subnet;
	return a;
}

bool lab_is_dual(const struct lab *lab)
{
	return lab->family == LAB_DUAL || lab->family == LAB_DUAL6;
}

bool lab_has(const struct lab *lab, int family)
{
	return lab_is_dual(lab) || (family == AF_INET6) == (lab->family == LAB_IPV6);
}

unsigned lab_subnet_of(const struct lab *lab, const struct lab_node *n)
{
	return (n->number - 1) % lab->subnets;
}

unsigned lab_zone_of(const struct lab *lab, const struct lab_node *n)
{
	return (n->number - 1) % lab->zones + 1;
}

struct prefix lab_subnet_prefix(unsigned subnet, int family)
{
	struct addr a = subnet_base(subnet, family);

	return prefix_of(&a, plan[row(family)].len);
}

struct addr lab_router_address(unsigned subnet, int family)
{
	struct addr a = subnet_base(subnet, family);

	return addr_add(&a, HOST_ROUTER);
}

struct addr lab_node_address(const struct lab *lab, const struct lab_node *n, int family)
{
	struct addr a = subnet_base(lab_subnet_of(lab, n), family);

	return addr_add(&a, HOST_NODES + n->number);
}

struct prefix lab_world_prefix(int family)
{
	struct addr a = parse(plan[row(family)].world);

	return prefix_of(&a, plan[row(family)].len);
}

struct addr lab_world_router(int family)
{
	struct addr a = parse(plan[row(family)].world);

	return addr_add(&a, HOST_ROUTER);
}

struct addr lab_world_address(int family)
{
	struct addr a = parse(plan[row(family)].world);

	return addr_add(&a, HOST_WORLD);
}

const char *lab_cluster_range(int family)
{
	return plan[row(family)].cluster;
}

const char *lab_service_range(int family)
{
	return plan[row(family)].service;
}

char *lab_hub_url(const struct lab *lab)
{
	struct addr a = lab_router_address(0, lab_has(lab, AF_INET) ? AF_INET : AF_INET6);
	char text[ENDPOINT_TEXT_MAX];

	return xasprintf("https://%s", addr_port_format(&a, LAB_HUB_PORT, text));
}

void lab_mac(enum lab_mac_kind kind, unsigned number, uint8_t ret[6])
{
	const uint8_t mac[6] = { 0x02, 0x1a, 0xb0, kind, number >> 8, number };

	memcpy(ret, mac, sizeof(mac));
}
