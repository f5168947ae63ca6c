/* SPDX-License-Identifier: Apache-2.0 */
/* A history of the agent's model: steps joined by form feeds, each a letter for the table, one for what happens, and an
 * object (JSON). Whatever the history, the indexes agree with a walk over everything. */
#include "fuzz.h"
#include "model/service.h"

struct walk {
	const struct model *m;
	size_t n;
};

static bool on_pod(struct model_pod *p, void *ctx)
{
	struct walk *w = ctx;

	REQUIRE(model_find_pod(w->m, p->namespace_, p->name) == p);
	for (int f = 0; f < POD_ADDRS_MAX; f++) {
		struct model_pod *owner;

		if (addr_is_zero(&p->addrs[f].addr))
			continue;
		owner = model_find_pod_by_addr(w->m, &p->addrs[f].addr);
		REQUIRE(!p->has_addrs || (owner && owner->serial >= p->serial));
		REQUIRE(!owner || owner->has_addrs);
	}
	w->n++;
	return true;
}

static bool on_host_ports(const struct model_host_ports *h, void *ctx)
{
	const struct walk *w = ctx;

	REQUIRE(model_find_pod(w->m, h->pod->namespace_, h->pod->name) == h->pod && h->pod->host_ports == h);
	REQUIRE(h->n > 0 && h->n <= POD_HOST_PORTS_MAX && !h->pod->host_network);
	return true;
}

static bool on_policy(struct model_policy *p, void *ctx)
{
	struct walk *w = ctx;

	REQUIRE(model_find_policy(w->m, p->namespace_, p->name) == p);
	w->n++;
	return true;
}

static bool on_refused(const struct model_refused *r, void *ctx)
{
	struct walk *w = ctx;

	fuzz_require_line(r->reason);
	REQUIRE(r->name);
	w->n++;
	return true;
}

static bool on_pod_of_node(_unused_ struct model_pod *p, void *ctx)
{
	(*(size_t *)ctx)++;
	return true;
}

static void check_nodes(const struct model *m)
{
	struct model_node **nodes;
	size_t n, pods = 0;

	nodes = model_nodes_sorted(m, &n);
	REQUIRE(n == model_count(m, MODEL_NODES));
	for (size_t i = 0; i < n; i++) {
		REQUIRE(model_find_node(m, nodes[i]->name) == nodes[i]);
		REQUIRE(i == 0 || strcmp(nodes[i - 1]->name, nodes[i]->name) < 0);
		for (unsigned k = 0; k < nodes[i]->n_addrs; k++)
			REQUIRE(model_find_node_by_addr(m, &nodes[i]->addrs[k]));
		model_each_pod_on(m, nodes[i]->name, on_pod_of_node, &pods);
	}
	REQUIRE(pods <= model_count(m, MODEL_PODS));
	free(nodes);
}

static void check(const struct model *m)
{
	struct walk pods = { m }, policies = { m }, refused = { m };

	model_each_pod(m, on_pod, &pods);
	model_each_policy(m, MODEL_POLICIES, on_policy, &policies);
	model_each_refused(m, on_refused, &refused);
	model_each_host_ports(m, on_host_ports, &pods);
	REQUIRE(pods.n == model_count(m, MODEL_PODS) && policies.n == model_count(m, MODEL_POLICIES));
	REQUIRE(refused.n == model_refused_count(m));
	check_nodes(m);
}

static void take_step(struct model *m, struct fuzz_input *step)
{
	enum model_table t = fuzz_byte(step) % MODEL_TABLES;
	uint8_t what = fuzz_byte(step);
	_cleanup_json_ json_t *obj = json_parse("object", (const char *)step->data, step->size, NULL);
	_cleanup_free_ char *error = NULL;
	int r;

	if (what == 'b')
		model_replace_begin(m, t);
	else if (what == 'e')
		model_replace_end(m, t);
	else if (what == 'd' && obj)
		model_delete(m, t, obj);
	else if (obj) {
		r = model_upsert(m, t, obj, &error);
		REQUIRE(r == 0 || r == 1 || r == -EINVAL);
		REQUIRE((r < 0) == (error != NULL));
		if (error)
			fuzz_require_line(error);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(model_freep) struct model *m = model_new();
	struct fuzz_input in = { data, size };

	while (in.size) {
		size_t len;
		_cleanup_free_ char *text = fuzz_text(&in, &len);
		struct fuzz_input step = { (uint8_t *)text, len };

		take_step(m, &step);
		check(m);
	}
	return 0;
}
