/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel has of Services, for people and for metrics; and where NodePorts are. */
#include "datapath/service_internal.h"
#include "weft/flow.h"

static int add_slot(struct datapath *dp, struct dp_service_set *set, uint32_t id)
{
	struct service_backend b;
	struct dp_service_slot *slot;

	for (size_t i = 0; i < set->n_backends; i++)
		if (set->backends[i].id == id) {
			set->backends[i].slots++;
			return 0;
		}
	if (bpf_map_lookup_elem(dp->maps[MAP_SERVICE_BACKENDS], &id, &b) < 0)
		return -ENOENT;
	set->backends = xrealloc(set->backends, set->n_backends + 1, sizeof(*set->backends));
	slot = &set->backends[set->n_backends++];
	*slot = (struct dp_service_slot){ .port = ntohs(b.port), .id = id, .slots = 1, .roles = b.roles, .flags = b.flags };
	memcpy(&slot->addr, &b.addr, sizeof(slot->addr));
	return 0;
}

int datapath_read_service(struct datapath *dp, const struct dp_service_frontend *f, uint8_t proto, struct dp_service_set *ret)
{
	struct service_key key = { .port = htons(f->port), .proto = proto, .scope = f->scope };
	struct service_slot_chunk chunk = {};
	struct service_frontend value;
	int r;

	*ret = (struct dp_service_set){ .frontend = *f };
	memcpy(&key.addr, &f->addr, sizeof(key.addr));
	r = bpf_map_lookup_elem(dp->maps[MAP_SERVICE_FRONTENDS], &key, &value);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	ret->there = true;
	ret->service = value.service;
	ret->set = value.set;
	ret->slots = value.slots;
	ret->affinity_s = (uint64_t)value.affinity * (1u << FLOW_TICK_SHIFT) / 1000000000u;
	ret->frontend.flags = value.flags;
	ret->frontend.role = value.role;
	for (uint32_t i = 0; i < MIN(value.slots, (uint32_t)SERVICE_SLOTS_MAX); i++) {
		struct service_slot_key at = { value.set, i / SERVICE_CHUNK };

		if (i % SERVICE_CHUNK == 0 && bpf_map_lookup_elem(dp->maps[MAP_SERVICE_SLOTS], &at, &chunk) < 0)
			memset(&chunk, 0, sizeof(chunk));
		add_slot(dp, ret, chunk.backend[i % SERVICE_CHUNK]);
	}
	return 0;
}

const char *service_count_label(unsigned what)
{
	static const char *const labels[SERVICE_COUNTS] = {
		[SERVICE_TRANSLATED_SOCKET] = "socket", [SERVICE_TRANSLATED_PACKET] = "packet", [SERVICE_REFUSED] = "refused",
		[SERVICE_DROPPED] = "dropped",		[SERVICE_LEFT_TO_PACKETS] = "left_to_packets",
	};

	return what < SERVICE_COUNTS ? labels[what] : "unknown";
}

static int read_counts(struct datapath *dp, uint64_t ret[SERVICE_COUNTS])
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ uint64_t *values = NULL;

	if (cpus < 0)
		return cpus;
	values = xnew0_array(uint64_t, cpus);
	for (uint32_t i = 0; i < SERVICE_COUNTS; i++) {
		int r = bpf_map_lookup_elem(dp->maps[MAP_SERVICE_COUNTS], &i, values);

		if (r < 0)
			return r;
		for (int cpu = 0; cpu < cpus; cpu++)
			ret[i] += values[cpu];
	}
	return 0;
}

int datapath_read_service_stats(struct datapath *dp, struct dp_service_stats *ret)
{
	const struct services *s = dp->services;
	struct dp_service_stats stats = { .sockets = dp->sock_links[0] >= 0, .aborts = dp->stale_link };
	int r = read_counts(dp, stats.counts);

	if (r < 0)
		return r;
	if (s) {
		stats.services = s->by_key.count;
		stats.frontends = s->frontends.count;
		stats.backends = s->n_backends;
		stats.slots = s->n_slots;
		stats.writes = s->writes;
		stats.aborted = s->aborted;
	}
	*ret = stats;
	return 0;
}

static bool is_wanted(const struct dp_service_node *nodes, size_t n, const struct ip_addr *addr)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(&nodes[i].addr, addr, sizeof(*addr)) == 0)
			return true;
	return false;
}

/* For the audit. Of an address that was named twice the last word counts, so it is asked for. */
static void note_nodes(struct services *s, int map, const struct dp_service_node *nodes, size_t n)
{
	free(s->nodes);
	s->nodes = xnew0_array(struct service_node_entry, n + 1);
	s->n_nodes = s->audit.node = 0;
	for (size_t i = 0; i < n; i++) {
		struct service_node_entry *e = &s->nodes[s->n_nodes];

		memcpy(&e->addr, &nodes[i].addr, sizeof(e->addr));
		s->n_nodes += bpf_map_lookup_elem(map, &e->addr, &e->kind) == 0;
	}
}

int datapath_apply_service_nodes(struct datapath *dp, const struct dp_service_node *nodes, size_t n)
{
	int map = dp->maps[MAP_SERVICE_NODES], first = 0, r;
	struct ip_addr key, next;
	struct services *s;
	bool more;

	if (n > SERVICE_NODES_MAX)
		return -E2BIG;
	r = services_get(dp, &s);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		uint32_t want = nodes[i].this_node ? SERVICE_NODE_THIS : SERVICE_NODE_OTHER, there = 0;

		if (bpf_map_lookup_elem(map, &nodes[i].addr, &there) < 0 || there != want)
			dp_note_error(&first, bpf_map_update_elem(map, &nodes[i].addr, &want, BPF_ANY));
	}
	more = bpf_map_get_next_key(map, NULL, &next) == 0;
	while (more) {
		key = next;
		more = bpf_map_get_next_key(map, &key, &next) == 0;
		if (!is_wanted(nodes, n, &key))
			dp_note_error(&first, bpf_map_delete_elem(map, &key));
	}
	note_nodes(s, map, nodes, n);
	return first;
}
