/* SPDX-License-Identifier: Apache-2.0 */
/* Time, as a Service's affinity knows it: stamps of clients' latest connections, which a test may lay back. */
#pragma once

#include "base/test.h"
#include "harness.h"
#include "weft/flow.h"
#include "weft/service.h"

#include <bpf/bpf.h>

/* The one client's latest connection was so much longer ago. */
static inline void affinity_lay_back(uint32_t seconds)
{
	int fd = datapath_map_fd(dp, "service_affinity");
	struct service_affinity a = {};
	struct service_client client, none;

	CHECK_INT(bpf_map_get_next_key(fd, NULL, &client), 0);
	CHECK(bpf_map_get_next_key(fd, &client, &none) < 0);
	CHECK_INT(bpf_map_lookup_elem(fd, &client, &a), 0);
	a.seen -= FLOW_TICKS(seconds);
	CHECK_INT(bpf_map_update_elem(fd, &client, &a, BPF_EXIST), 0);
}

/**
 * affinity_lasts_and_ends() - what must hold of an affinity of a minute
 * @connect: makes a connection of the same client; returns which endpoint it has
 *
 * Whoever comes back within the minute, counted from its latest connection, has the endpoint that it had; later it may get any.
 */
static inline void affinity_lasts_and_ends(int (*connect)(void *ctx), void *ctx)
{
	int first = connect(ctx), now = first;

	CHECK(first >= 0);
	for (int i = 0; i < 20; i++) { /* 13 minutes */
		affinity_lay_back(40);
		CHECK_INT(connect(ctx), first);
	}
	for (int i = 0; i < 200 && now == first; i++) { /* by chance 1 of 2^200 sees no other */
		affinity_lay_back(61);
		now = connect(ctx);
	}
	CHECK(now >= 0 && now != first);
	for (int i = 0; i < 20; i++)
		CHECK_INT(connect(ctx), now);
}
