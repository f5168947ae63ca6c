/* SPDX-License-Identifier: Apache-2.0 */
#include "observe/exposition.h"
#include "base/str.h"

static const char *const type_names[] = {
    [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};

const double metric_bounds[METRIC_BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5};

static const char *suffix(const struct metric *m)
{
	return m->type == METRIC_COUNTER ? "_total" : "";
}

/* OpenMetrics names a counter's family without the suffix, the older format with it. */
void metric_head(struct exposition *x, const struct metric *m)
{
	const char *tail = x->openmetrics ? "" : suffix(m);

	buf_addf(x->out, "# HELP %s%s %s\n# TYPE %s%s %s\n", m->name, tail, m->help, m->name, tail, type_names[m->type]);
}

static void add_sample(struct exposition *x, const struct metric *m, const char *tail, const char *labels, const char *more,
		       double value)
{
	bool two = *labels && *more;

	buf_addf(x->out, "%s%s%s%s%s%s%s %.15g\n", m->name, tail, *labels || *more ? "{" : "", labels, two ? "," : "", more,
		 *labels || *more ? "}" : "", value);
}

void metric_value(struct exposition *x, const struct metric *m, double value, const char *labels, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, labels);
	text = labels ? xvasprintf(labels, ap) : xstrdup("");
	va_end(ap);
	add_sample(x, m, suffix(m), text, "", value);
}

void metric_observe(struct metric_histogram *h, double seconds)
{
	int i = 0;

	while (i < METRIC_BUCKETS && seconds > metric_bounds[i])
		i++;
	if (i < METRIC_BUCKETS)
		h->buckets[i]++;
	h->count++;
	h->sum += seconds;
}

void metric_histogram_value(struct exposition *x, const struct metric *m, const struct metric_histogram *h,
			    const char *labels, ...)
{
	_cleanup_free_ char *text = NULL;
	uint64_t so_far = 0;
	char bound[32];
	va_list ap;

	va_start(ap, labels);
	text = labels ? xvasprintf(labels, ap) : xstrdup("");
	va_end(ap);
	for (int i = 0; i < METRIC_BUCKETS; i++) {
		so_far += h->buckets[i];
		snprintf(bound, sizeof(bound), "le=\"%g%s\"", metric_bounds[i], metric_bounds[i] == (int)metric_bounds[i] ? ".0" : "");
		add_sample(x, m, "_bucket", text, bound, so_far);
	}
	add_sample(x, m, "_bucket", text, "le=\"+Inf\"", h->count);
	add_sample(x, m, "_count", text, "", h->count);
	add_sample(x, m, "_sum", text, "", h->sum);
}

void metric_end(struct exposition *x)
{
	if (x->openmetrics)
		buf_adds(x->out, "# EOF\n");
}

void metric_describe(const struct metric *m, FILE *to)
{
	fprintf(to, "| `%s%s` | %s | %s | %s |\n", m->name, suffix(m), type_names[m->type], *m->labels ? m->labels : "–",
		m->help);
}
