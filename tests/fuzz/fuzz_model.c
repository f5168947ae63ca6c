/* SPDX-License-Identifier: Apache-2.0 */
/* A history of the agent's model: steps joined by form feeds, each a letter for the table, one for what happens, and an
 * object (JSON). Whatever the history, the indexes agree with a walk over everything; and a model that is told only the fields that
 * it says to look at takes the same, refuses the same, and has changed when the other has. */
#include "base/json_read.h"
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

/* What neither a return nor a mark says. */
static bool is_policy_known(struct model_policy *p, void *part)
{
	const struct model_policy *of = model_find_policy_of(part, p->table, p->namespace_, p->name);

	REQUIRE(of && of->object_generation == p->object_generation && streq(of->spec, p->spec));
	REQUIRE(of->condition == p->condition || json_equal(of->condition, p->condition));
	return true;
}

static bool are_host_ports_known(const struct model_host_ports *h, void *part)
{
	const struct model_pod *of = model_find_pod(part, h->pod->namespace_, h->pod->name);

	REQUIRE(of && of->host_ports && of->host_ports->created == h->created);
	return true;
}

static bool is_pod_known(struct model_pod *p, void *part)
{
	const struct model_pod *of = model_find_pod(part, p->namespace_, p->name);

	REQUIRE(of && streq(of->uid, p->uid) && of->phase == p->phase && of->has_addrs == p->has_addrs);
	return true;
}

static void check_part(const struct model *m, struct model *part)
{
	static const enum model_table policies[] = { MODEL_POLICIES, MODEL_CLUSTER_POLICIES, MODEL_ADMIN_POLICIES, MODEL_BASELINE_POLICIES };

	for (size_t i = 0; i < ARRAY_SIZE(policies); i++)
		model_each_policy(m, policies[i], is_policy_known, part);
	model_each_host_ports(m, are_host_ports_known, part);
	model_each_pod(m, is_pod_known, part);
}

/* Return: as model_upsert(). */
static int take_object(struct model *m, enum model_table t, uint8_t what, const json_t *obj, char **ret_error)
{
	int r;

	if (what == 'd')
		return model_delete(m, t, obj);
	r = model_upsert(m, t, obj, ret_error);
	REQUIRE(r == 0 || r == 1 || r == -EINVAL);
	REQUIRE((r < 0) == (*ret_error != NULL));
	if (r < 0)
		fuzz_require_line(*ret_error);
	return r;
}

/* @part: knows only what it says to look at. */
static void take_step(struct model *m, struct model *part, struct fuzz_input *step)
{
	enum model_table t = fuzz_byte(step) % MODEL_TABLES;
	uint8_t what = fuzz_byte(step);
	_cleanup_(json_fields_freep) struct json_fields *fields = json_fields_new(model_fields(t));
	_cleanup_json_ json_t *obj = json_parse("object", (const char *)step->data, step->size, NULL);
	_cleanup_json_ json_t *less = json_read("object", (const char *)step->data, step->size, fields, NULL);
	_cleanup_free_ char *error = NULL, *error_of_less = NULL;

	if (what == 'b') {
		model_replace_begin(m, t);
		model_replace_begin(part, t);
	} else if (what == 'e') {
		REQUIRE(model_replace_end(m, t) == model_replace_end(part, t));
	} else if (obj) {
		REQUIRE(take_object(m, t, what, obj, &error) == take_object(part, t, what, less, &error_of_less));
		REQUIRE(streq(error, error_of_less));
	}
	REQUIRE(model_take_dirty(m) == model_take_dirty(part) && model_services_are_dirty(m) == model_services_are_dirty(part));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(model_freep) struct model *m = model_new(), *part = model_new();
	struct fuzz_input in = { data, size };

	while (in.size) {
		size_t len;
		_cleanup_free_ char *text = fuzz_text(&in, &len);
		struct fuzz_input step = { (uint8_t *)text, len };

		take_step(m, part, &step);
		check(m);
		check_part(m, part);
	}
	return 0;
}
