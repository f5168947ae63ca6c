/* SPDX-License-Identifier: Apache-2.0 */
/* Counters, in the text format of OpenMetrics. */
#pragma once

#include "base/buf.h"

enum { METRICS_REQUESTS_MAX = 512 };

struct metrics {
	struct request_counter {
		const char *verb;     /* constants */
		const char *resource;
		int code;
		uint64_t count;
	} requests[METRICS_REQUESTS_MAX];
	size_t n;
	uint64_t watch_events, slow_watches;
};

struct hub;

/* @verb and @resource are constants of the program. */
void metrics_count(struct metrics *m, const char *verb, const char *resource, int code);
void metrics_write(const struct hub *hub, struct buf *out);
