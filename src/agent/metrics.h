/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's metrics for Prometheus. One table names them all: the page, `weftd --print-metrics` and docs/metrics.md. */
#pragma once

#include "cni/cni.h"
#include "observe/exposition.h"

struct agent;

enum { CNI_UNKNOWN = CNI_VERSION + 1, CNI_COMMANDS };

/* What CNI calls there were and how long they took. */
struct cni_metrics {
	uint64_t done[CNI_COMMANDS], failed[CNI_COMMANDS];
	struct metric_histogram duration[CNI_COMMANDS];
};
void cni_metrics_count(struct cni_metrics *m, unsigned command, bool ok, double seconds);

/* The page; a scrape_fn with the agent as @ctx. */
void agent_metrics(struct buf *out, bool openmetrics, void *ctx);
/* The reference in docs/metrics.md: a markdown table. */
void agent_metrics_print(FILE *to);
