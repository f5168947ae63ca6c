/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of Services for which from_net answers in the networks of this node's uplinks (weft/announce.h). What is announced stays so
 * while no agent runs. */
#pragma once

#include "datapath/datapath.h"

struct dp_announced {
	struct addr addr;
	uint32_t ifindex; /* the uplink */
	uint8_t mac[6];	  /* its MAC address */
};

/* From now on asked for and answered. Return: 0, -E2BIG, -errno. */
int datapath_announce(struct datapath *dp, const struct dp_announced *a);
/* Return: 0, also when it was not announced (any more), -errno. */
int datapath_withdraw(struct datapath *dp, const struct addr *addr, uint32_t ifindex);
/* Everything that is announced. @ret: the caller's to free(). Return: 0, -errno. */
int datapath_list_announced(struct datapath *dp, struct dp_announced **ret, size_t *ret_n);

/* MAC addresses (six bytes each) of the nodes to which an announcement gives way while the agent sleeps. Makes the set exactly this.
 * Return: 0, -E2BIG, or the first error. */
int datapath_apply_announce_peers(struct datapath *dp, const uint8_t (*macs)[6], size_t n);
/* For that long from now the agent hears other nodes' announcements itself. */
int datapath_announce_awake(struct datapath *dp, uint32_t for_ms);
