/* SPDX-License-Identifier: Apache-2.0 */
/* Entries of Services' maps that somebody else took away or changed are put back. As with policy's, each look takes the next few: all of a
 * small node at once, those of a large one within the time of an audit. A Service is looked at whole. */
#include "base/str.h"
#include "datapath/service_internal.h"

enum { LOOKS = 8192, VALUE_MAX = sizeof(struct service_slot_chunk) };

/* One turn of the audit. */
struct turn {
	struct datapath *dp;
	unsigned looks, mended;
	int error; /* the first one */
};

static void look(struct turn *t, enum dp_map map, const void *key, const void *want, size_t size)
{
	uint8_t there[VALUE_MAX];
	int r = bpf_map_lookup_elem(t->dp->maps[map], key, there);

	assert(size <= sizeof(there));
	t->looks++;
	if (r == 0 && memcmp(there, want, size) == 0)
		return;
	if (r == 0 || r == -ENOENT)
		r = bpf_map_update_elem(t->dp->maps[map], key, want, BPF_ANY);
	t->mended += r == 0;
	dp_note_error(&t->error, r);
}

static void look_at_set(struct turn *t, const struct set_state *set)
{
	for (uint32_t i = 0; i < chunks_of(set->n); i++) {
		struct service_slot_key key = { .set = set->id, .chunk = i };
		struct service_slot_chunk chunk = {};

		memcpy(chunk.backend, set->backends + i * SERVICE_CHUNK, MIN(set->n - i * SERVICE_CHUNK, (uint32_t)SERVICE_CHUNK) * sizeof(uint32_t));
		look(t, MAP_SERVICE_SLOTS, &key, &chunk, sizeof(chunk));
	}
}

/* In the order in which they are put: what a frontend names is there before it. (A prefix that may come is found in the trie also when a wider one
 * is, and then it makes no difference.) */
static void look_at_service(struct turn *t, struct services *s, const struct service_state *st)
{
	uint32_t yes = 1;

	for (size_t i = 0; i < st->n_backends; i++) {
		struct service_backend value = services_encode_backend(st, &st->backends[i], st->backends[i].roles);

		look(t, MAP_SERVICE_BACKENDS, &st->backends[i].id, &value, sizeof(value));
	}
	for (int role = 0; role < SERVICE_ROLES; role++)
		look_at_set(t, &st->sets[role]);
	for (size_t i = 0; i < st->n_sources; i++) {
		struct service_source_key key = services_source_key(st->id, &st->sources[i]);

		look(t, MAP_SERVICE_SOURCES, &key, &yes, sizeof(yes));
	}
	for (size_t i = 0; i < st->n_frontends; i++) {
		const struct frontend_state *f = services_find_frontend(s, &st->frontends[i]);

		if (f && f->value.service == st->id) /* else another Service has it, or it could not be written */
			look(t, MAP_SERVICE_FRONTENDS, &f->key, &f->value, sizeof(f->value));
	}
}

static void look_at_nodes(struct turn *t, struct services *s)
{
	for (; s->audit.node < s->n_nodes && t->looks < LOOKS; s->audit.node++) {
		const struct service_node_entry *n = &s->nodes[s->audit.node];

		look(t, MAP_SERVICE_NODES, &n->addr, &n->kind, sizeof(n->kind));
	}
}

static void look_at_services(struct turn *t, struct services *s)
{
	while (s->audit.at && t->looks < LOOKS) {
		struct service_state *st = container_of(s->audit.at, struct service_state, by_key);

		s->audit.at = htab_next(&s->by_key, s->audit.at);
		if (!st->failed)
			look_at_service(t, s, st);
	}
}

int datapath_audit_services(struct datapath *dp)
{
	struct services *s = dp->services;
	struct turn t = { .dp = dp };
	unsigned nodes;

	if (!s)
		return 0;
	if (s->audit.node >= s->n_nodes && !s->audit.at) { /* from the beginning */
		s->audit.node = 0;
		s->audit.at = htab_begin(&s->by_key);
	}
	look_at_nodes(&t, s);
	nodes = t.mended;
	look_at_services(&t, s);
	if (nodes)
		dp_repaired(dp, DP_REPAIR_ENTRY, "%u addresses of nodes, where node ports are", nodes);
	if (t.mended > nodes)
		dp_repaired(dp, DP_REPAIR_ENTRY, "%u entries of Services", t.mended - nodes);
	return t.error;
}
