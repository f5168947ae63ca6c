/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics as text, from a table that also makes the reference: OpenMetrics 1.0, or the text format 0.0.4 before it. */
#pragma once

#include "base/buf.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric {
	const char *name; /* of a counter without its "_total" */
	enum metric_type type;
	const char *labels; /* "reason", "range, state"; "" for none: for the reference */
	const char *help;   /* a sentence without quotes and backslashes */
};

struct exposition {
	struct buf *out;
	bool openmetrics;
};

void metric_head(struct exposition *x, const struct metric *m);
/* @labels: NULL, or one format for all of them: "reason=\"%s\""; values must hold no quotes, backslashes, newlines. */
void metric_value(struct exposition *x, const struct metric *m, double value, const char *labels, ...) _printf_(4, 5);

enum { METRIC_BUCKETS = 11 };
extern const double metric_bounds[METRIC_BUCKETS]; /* seconds, 1 ms to 2.5 s */

struct metric_histogram {
	uint64_t buckets[METRIC_BUCKETS]; /* not cumulative */
	uint64_t count;
	double sum;
};
void metric_observe(struct metric_histogram *h, double seconds);
void metric_histogram_value(struct exposition *x, const struct metric *m, const struct metric_histogram *h,
			    const char *labels, ...) _printf_(4, 5);
/* Ends the page. */
void metric_end(struct exposition *x);
/* One row of the reference, in markdown. */
void metric_describe(const struct metric *m, FILE *to);
