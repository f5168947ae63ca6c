/* SPDX-License-Identifier: Apache-2.0 */
/* What the datapath tells: counters, table sizes, events. */
#include "datapath/inspect.h"
#include "datapath/priv.h"
#include "base/str.h"
#include "weft/event.h"
#include "weft/nat.h"

static int read_counters(struct datapath *dp, uint32_t from, size_t n, struct dp_counter *ret)
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ struct counter *values = NULL;

	if (cpus < 0)
		return cpus;
	values = xnew0_array(struct counter, cpus);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t index = from + i;
		int r = bpf_map_lookup_elem(dp->maps[MAP_COUNTERS], &index, values);

		if (r < 0)
			return r;
		ret[i] = (struct dp_counter){};
		for (int cpu = 0; cpu < cpus; cpu++) {
			ret[i].packets += values[cpu].packets;
			ret[i].bytes += values[cpu].bytes;
		}
	}
	return 0;
}

int datapath_read_drops(struct datapath *dp, struct dp_counter ret[DROP_REASON_COUNT])
{
	return read_counters(dp, COUNTER_DROPS, DROP_REASON_COUNT, ret);
}

int datapath_read_forwards(struct datapath *dp, struct dp_counter ret[FORWARD_WAY_COUNT])
{
	return read_counters(dp, COUNTER_FORWARDS, FORWARD_WAY_COUNT, ret);
}

int datapath_read_audits(struct datapath *dp, struct dp_counter ret[DROP_POLICY_REASONS])
{
	return read_counters(dp, COUNTER_AUDITS, DROP_POLICY_REASONS, ret);
}

int datapath_read_xdp_packets(struct datapath *dp, struct dp_counter *ret)
{
	return read_counters(dp, COUNTER_XDP, 1, ret);
}

int datapath_read_fragments_pushed_out(struct datapath *dp, struct dp_counter *ret)
{
	return read_counters(dp, COUNTER_FRAGMENTS_PUSHED_OUT, 1, ret);
}

const char *drop_reason_label(unsigned reason)
{
	static const char *const labels[] = {
#define LABEL(name, label, text) [DROP_##name] = label,
		DROP_REASONS(LABEL)
#undef LABEL
	};

	return reason > DROP_NONE && reason < DROP_REASON_COUNT ? labels[reason] : "unknown";
}

const char *drop_reason_text(unsigned reason)
{
	static const char *const texts[] = {
#define TEXT(name, label, text) [DROP_##name] = text,
		DROP_REASONS(TEXT)
#undef TEXT
	};

	return reason > DROP_NONE && reason < DROP_REASON_COUNT ? texts[reason] : "unknown";
}

const char *forward_way_label(unsigned way)
{
	static const char *const labels[] = {
#define LABEL(name, label, text) [FORWARD_##name] = label,
		FORWARD_WAYS(LABEL)
#undef LABEL
	};

	return way < FORWARD_WAY_COUNT ? labels[way] : "unknown";
}

/* Entries of a map. Batches keep it to a few calls a thousand entries. */
static int count_entries(int map, uint64_t *ret)
{
	enum { BATCH = 4096 };
	struct bpf_map_info info = {};
	uint32_t size = sizeof(info), in, out;
	_cleanup_free_ uint8_t *keys = NULL, *values = NULL;
	bool first = true;
	uint64_t n = 0;
	int r;

	r = bpf_obj_get_info_by_fd(map, &info, &size);
	if (r < 0)
		return r;
	keys = xcalloc(BATCH, info.key_size);
	values = xcalloc(BATCH, info.value_size);
	do {
		uint32_t count = BATCH;

		r = bpf_map_lookup_batch(map, first ? NULL : &in, &out, keys, values, &count, NULL);
		if (r < 0 && r != -ENOENT)
			return r;
		n += count;
		in = out;
		first = false;
	} while (r == 0);
	*ret = n;
	return 0;
}

/* The trie has no batches worth it: it is small. */
static uint64_t count_keys(int map)
{
	uint8_t key[64];
	uint64_t n = 0;

	for (void *last = NULL; bpf_map_get_next_key(map, last, key) == 0; last = key)
		n++;
	return n;
}

int datapath_read_stats(struct datapath *dp, struct dp_stats *ret)
{
	struct dp_stats s = { .flow_max = dp->flow_max, .nat_max = dp->nat_max, .attach = dp->tcx ? "tcx" : "clsact" };
	uint32_t all = 0, nat_all = NAT_OWNER_ALL;
	struct flow_sweep sweep;
	int r;

	r = bpf_map_lookup_elem(dp->maps[MAP_ENDPOINT_FLOWS], &all, &s.flows);
	if (r == 0)
		r = bpf_map_lookup_elem(dp->maps[MAP_NAT_SHARES], &nat_all, &s.nat);
	if (r == 0)
		r = count_entries(dp->maps[MAP_FLOWS_NEW], &s.flows_new);
	if (r == 0)
		r = bpf_map_lookup_elem(dp->maps[MAP_FLOW_SWEEP], &(uint32_t){ 0 }, &sweep);
	if (r < 0)
		return r;
	s.searches = sweep.searches;
	s.endpoints = count_keys(dp->maps[MAP_POD_IFACES]);
	s.node_routes = count_keys(dp->maps[MAP_NODE_ROUTES]);
	*ret = s;
	return 0;
}

static struct dp_event event_decode(const struct event *e)
{
	struct dp_event r = {
		.kind = e->kind < EVENT_KINDS ? (enum dp_event_kind)e->kind : DP_EVENT_DROP,
		.time_ns = e->time_ns,
		.reason = e->reason,
		.ifindex = e->ifindex,
		.sport = ntohs(e->sport),
		.dport = ntohs(e->dport),
		.proto = e->proto,
		.tcp_flags = e->tcp_flags,
		.len = e->len,
		.missed = e->missed,
		.rule = e->rule,
		.hook = e->hook > 0 && e->hook <= HOOK_COUNT ? dp_hook_names[e->hook - 1] : "",
	};

	memcpy(&r.src, &e->src, sizeof(r.src));
	memcpy(&r.dst, &e->dst, sizeof(r.dst));
	return r;
}

/* A negative result ends the round; what was handed out is consumed. */
static int on_ring_event(void *ctx, void *data, size_t size)
{
	struct dp_reader *reader = &((struct datapath *)ctx)->reader;
	struct dp_event e;

	if (size < sizeof(struct event) || !reader->fn)
		return -EPROTO;
	e = event_decode(data);
	reader->fn(&e, reader->ctx);
	return ++reader->n >= reader->max ? -EINTR : 0;
}

int datapath_events_fd(struct datapath *dp)
{
	if (!dp->ring)
		dp->ring = ring_buffer__new(dp->maps[MAP_EVENTS], on_ring_event, dp, NULL);
	return dp->ring ? ring_buffer__epoll_fd(dp->ring) : -errno;
}

int datapath_read_events(struct datapath *dp, unsigned max, dp_event_fn *fn, void *ctx)
{
	int r = datapath_events_fd(dp);

	if (r < 0 || max == 0)
		return r < 0 ? r : 0;
	dp->reader = (struct dp_reader){ .fn = fn, .ctx = ctx, .max = max };
	r = ring_buffer__consume(dp->ring);
	return r < 0 && r != -EINTR ? r : (int)dp->reader.n;
}

int datapath_read_missed(struct datapath *dp, uint64_t *ret)
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ struct event_rate *rates = NULL;
	uint64_t sum = 0;

	if (cpus < 0)
		return cpus;
	rates = xnew0_array(struct event_rate, cpus);
	for (uint32_t i = 0; i < EVENT_RATES; i++) {
		int r = bpf_map_lookup_elem(dp->maps[MAP_EVENT_RATES], &i, rates);

		if (r < 0)
			return r;
		for (int cpu = 0; cpu < cpus; cpu++)
			sum += rates[cpu].missed;
	}
	*ret = sum;
	return 0;
}

void dp_close_events(struct datapath *dp)
{
	ring_buffer__free(dp->ring);
}

int datapath_program_fd(struct datapath *dp, const char *hook)
{
	for (int i = 0; i < HOOK_COUNT; i++)
		if (streq(hook, dp_hook_names[i]) && dp->objects[i])
			return dp->programs[i];
	return -ENOENT;
}

int datapath_map_fd(struct datapath *dp, const char *name)
{
	for (int i = 0; i <= HOOK_COUNT; i++) {
		struct bpf_object *object = i < HOOK_COUNT ? dp->objects[i] : dp->sock;
		struct bpf_map *map = object ? bpf_object__find_map_by_name(object, name) : NULL;

		if (map)
			return bpf_map__fd(map);
	}
	return -ENOENT;
}
