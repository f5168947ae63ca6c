/* SPDX-License-Identifier: Apache-2.0 */
/* Where the outer packets of tunnels leave this node, so that the datapath can make them itself (bpf/lib/outer.h): the kernel is asked
 * once for each peer, by the very lookup that its tunnel device would make for each packet, and again when something has changed that
 * may change the answer. Where the answer is more than an uplink and a next hop (several paths, an encapsulation, IPsec, a path that is
 * narrower than its link) the device makes them. */
#pragma once

#include "base/htab.h"
#include "net/rtnl.h"
#include "route/plan.h"

#include <systemd/sd-event.h>

struct agent;

struct outer_way {
	struct htab_node node;
	struct addr remote;
	uint32_t uplink; /* 0: the device has to find out for each packet */
	struct addr next_hop;
	uint32_t mtu; /* of the path, as far as this node knows it */
	uint32_t link_mtu, entry_mtu; /* of the link, and what the route says (0: nothing) */
};

/* A path over IPv6 that is narrower than its link: there nobody cuts outer packets, so the routes of pods have to say what fits. */
struct outer_path {
	struct addr remote, next_hop;
	uint32_t uplink, link_mtu, mtu;
	uint64_t until_us; /* learned from routers: how long it is believed, as long as the way is the same. 0: a route says so */
};

struct outer {
	struct outer_way **ways;
	size_t n, cap;
	struct htab by_remote;
	struct outer_path *paths; /* sorted by address */
	size_t n_paths;
	bool known; /* what holds for all of them has been looked up */
	bool ipsec; /* it may concern outer packets */
	int ipsec_fd;
	sd_event_source *ipsec_events, *told_events;
	uint64_t told; /* routers' words of outer packets that are too big */
};

/* May the datapath take packets out of outer ones, past the device? */
bool outer_may_unwrap(struct agent *a);
/* The way to a peer's address from our own; NULL where the device is to make outer packets, or they would be larger than @largest. */
const struct outer_way *outer_find(struct agent *a, const struct addr *remote, uint32_t largest);
/* What is known of the ways to @peers of the last plan, for the next one. Return: sorted by address, to be freed. */
struct route_path *outer_paths(struct agent *a, const struct route_plan *last, size_t *ret_n);
/* A router says that the path to a peer is so narrow. Return: whether the next plan is another for it. */
bool outer_learn(struct agent *a, const struct addr *remote, uint32_t mtu);
/* outer_told.c: listens for that. Return: 0, -errno. */
int outer_listen(struct agent *a);
/* The kernel's tables have changed: everything is asked again. */
void outer_forget(struct agent *a);
/* Return: 0, -errno. */
int outer_start(struct agent *a);
void outer_stop(struct agent *a);
