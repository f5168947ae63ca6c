/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"
#include "observe/exposition.h"

static const struct metric drops = {"x_drops", METRIC_COUNTER, "reason", "Drops."};
static const struct metric flows = {"x_flows", METRIC_GAUGE, "", "Flows."};
static const struct metric time_ = {"x_seconds", METRIC_HISTOGRAM, "command", "Time."};

static void counter_and_gauge(void)
{
	struct buf text = {0}, open = {0};
	struct exposition x = {&text, false}, y = {&open, true};

	metric_head(&x, &drops);
	metric_value(&x, &drops, 12345678901234, "reason=\"%s\"", "arp");
	metric_head(&x, &flows);
	metric_value(&x, &flows, 3, NULL);
	metric_end(&x);
	CHECK_STR(text.data, "# HELP x_drops_total Drops.\n# TYPE x_drops_total counter\n"
			     "x_drops_total{reason=\"arp\"} 12345678901234\n"
			     "# HELP x_flows Flows.\n# TYPE x_flows gauge\nx_flows 3\n");
	metric_head(&y, &drops);
	metric_value(&y, &drops, 1, "reason=\"%s\"", "arp");
	metric_end(&y);
	CHECK_STR(open.data, "# HELP x_drops Drops.\n# TYPE x_drops counter\nx_drops_total{reason=\"arp\"} 1\n# EOF\n");
	buf_done(&text);
	buf_done(&open);
}

static void histogram(void)
{
	struct metric_histogram h = {0};
	struct buf text = {0};
	struct exposition x = {&text, true};

	metric_observe(&h, 0.001); /* bounds are inclusive */
	metric_observe(&h, 0.002);
	metric_observe(&h, 100);
	metric_histogram_value(&x, &time_, &h, "command=\"%s\"", "ADD");
	CHECK(strstr(text.data, "x_seconds_bucket{command=\"ADD\",le=\"0.001\"} 1\n") != NULL);
	CHECK(strstr(text.data, "x_seconds_bucket{command=\"ADD\",le=\"1.0\"} 2\n") != NULL);
	CHECK(strstr(text.data, "x_seconds_bucket{command=\"ADD\",le=\"2.5\"} 2\n") != NULL);
	CHECK(strstr(text.data, "x_seconds_bucket{command=\"ADD\",le=\"+Inf\"} 3\n") != NULL);
	CHECK(strstr(text.data, "x_seconds_count{command=\"ADD\"} 3\n") != NULL);
	CHECK(strstr(text.data, "x_seconds_sum{command=\"ADD\"} 100.003\n") != NULL);
	buf_done(&text);
}

int main(void)
{
	RUN(counter_and_gauge);
	RUN(histogram);
	return test_end();
}
