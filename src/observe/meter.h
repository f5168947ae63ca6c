/* SPDX-License-Identifier: Apache-2.0 */
/* Latency and loss between nodes, measured all the time: an echo request from our address in the pod range to each peer's, so along the
 * way that pods' packets take. Each peer once an interval, spread evenly over it. */
#pragma once

#include "net/addr.h"

#include <systemd/sd-event.h>

struct meter;

enum { METER_KEPT = 64 };

struct meter_peer {
	const char *name;
	struct addr addr, own; /* of one family */
};

/* What is known of one peer in one family. */
struct meter_result {
	const char *name; /* borrowed */
	struct addr addr;
	uint64_t sent, lost; /* in all; the one that is under way counts as neither answered nor lost */
	double rtt_s;	     /* smoothed; 0 before the first answer */
	double recent_loss;  /* of the latest METER_KEPT that are decided: 0 to 1 */
};

/* @interval_ms: of each peer's probes. Return: 0, -errno of the sockets. */
int meter_new(sd_event *event, uint64_t interval_ms, struct meter **ret);
struct meter *meter_free(struct meter *p);
DEFINE_CLEANUP(struct meter *, meter_free)

/* Whom to probe: exactly these; who stays keeps what is known of it. */
void meter_set_peers(struct meter *p, const struct meter_peer *peers, size_t n);

/* Sorted as they were set. */
typedef void meter_fn(const struct meter_result *r, void *ctx);
void meter_each(const struct meter *p, meter_fn *fn, void *ctx);
