/* SPDX-License-Identifier: Apache-2.0 */
/* A lab: what its user asked for, where its things are, and its address plan. Kept in DIR/lab.json, read by every program
 * of the lab. */
#pragma once

#include "base/json.h"
#include "base/str.h"
#include "net/addr.h"

enum {
	LAB_NODES_MAX = 200,  /* host part 10 + number within a /24 */
	LAB_SUBNETS_MAX = 16,
	LAB_ZONES_MAX = 16,
	LAB_NAME_MAX = 40,
	LAB_HUB_PORT = 6443,  /* on the fabric */
};

enum lab_family { LAB_DUAL, LAB_DUAL6, LAB_IPV4, LAB_IPV6 }; /* LAB_DUAL6: Nodes name their IPv6 address first */

struct lab_node {
	char *name;
	unsigned number; /* from 1 */
	bool stopped;	 /* powered off on purpose */
};

enum { LAB_MTU_MIN = 1280, LAB_MTU_MAX = 65535 };

struct lab {
	char *name;
	char *dir;	 /* /run/weft-lab/NAME */
	char *bin;	 /* directory of the programs */
	char *transport;
	enum lab_family family;
	unsigned subnets, zones;
	unsigned mtu; /* of every cable between nodes; 0: 1500 */
	char **set; /* KEY=VALUE for the agents */
	size_t n_set, cap_set;
	struct lab_node *nodes;
	size_t n_nodes, cap_nodes;
};

/* The directory that holds all labs. */
#define LAB_ROOT "/run/weft-lab"

void lab_done(struct lab *lab);
#define _cleanup_lab_ _cleanup_(lab_done)

/**
 * lab_load() - read DIR/lab.json of the lab @name
 *
 * Return: 0, -ENOENT when there is no such lab, -EBADMSG when the file is damaged, -errno.
 */
int lab_load(const char *name, struct lab *ret);
int lab_save(const struct lab *lab);

char *lab_dir(const char *name); /* owned by the caller */
char *lab_path(const struct lab *lab, const char *file);
struct lab_node *lab_find_node(const struct lab *lab, const char *name); /* or NULL */
/* Appends the next node (nN); the lab is not saved. Return: the node, NULL at LAB_NODES_MAX. */
struct lab_node *lab_add_node(struct lab *lab);

bool lab_has(const struct lab *lab, int family); /* AF_INET, AF_INET6 */
bool lab_is_dual(const struct lab *lab);
const char *lab_family_text(enum lab_family f);
int lab_family_parse(const char *s, enum lab_family *ret);

/* The address plan. Families that the lab has not are still computed; callers ask lab_has(). */
unsigned lab_subnet_of(const struct lab *lab, const struct lab_node *n);
unsigned lab_zone_of(const struct lab *lab, const struct lab_node *n); /* from 1 */
struct prefix lab_subnet_prefix(unsigned subnet, int family);
struct addr lab_router_address(unsigned subnet, int family);
struct addr lab_node_address(const struct lab *lab, const struct lab_node *n, int family);
struct prefix lab_world_prefix(int family);
struct addr lab_world_router(int family);
struct addr lab_world_address(int family);
const char *lab_cluster_range(int family);
const char *lab_service_range(int family);
/* What agents and node runners talk to: the first subnet's router, IPv4 where the lab has it. Owned by the caller. */
char *lab_hub_url(const struct lab *lab);

/* Interface names and MACs of the fabric: made up here, so that both ends agree. */
enum lab_mac_kind { LAB_MAC_BRIDGE = 1, LAB_MAC_NODE, LAB_MAC_PORT, LAB_MAC_WORLD };
void lab_mac(enum lab_mac_kind kind, unsigned number, uint8_t ret[6]);

/**
 * lab_lock() - the lab's lock, held until the descriptor is closed
 *
 * Every verb that changes a lab holds it. The file goes away with the lab, so the winner checks that what it locked is
 * still the file of that name.
 *
 * Return: descriptor, -errno.
 */
int lab_lock(const char *name);
void lab_unlink_lock(const char *name); /* while holding it */
