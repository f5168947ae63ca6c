/* SPDX-License-Identifier: Apache-2.0 */
/* The node's own policies between a boot and the API's first answer.
 *
 * A restart finds them in the maps; after a boot there are none, and the API may be long in answering, or be cut off. So what the record says (host_record.h)
 * is compiled for the cluster as it was kept (host_cluster.h), by a compiler of its own that knows no pods: what they would be allowed they are not, what
 * they are denied they are. It is applied as an agent applies that will not live: when the API has told everything once, the agent's compiler takes
 * over as after a restart, by a generation of its own, address by address. */
#include "agent/agent.h"
#include "agent/host_cluster.h"
#include "agent/policy_nodes.h"
#include "base/file.h"
#include "base/log.h"

/* What is known of the cluster. */
struct past {
	struct model *model;
	const struct model_node *node; /* this one */
	struct failsafe_api api;
};

static void past_done(struct past *p)
{
	p->model = model_free(p->model);
}

static int recall(struct agent *a, struct past *ret, char **ret_error)
{
	_cleanup_free_ char *path = xasprintf("%s/" HOST_CLUSTER_FILE, a->opt.mesh_dir), *text = NULL;
	size_t len;
	int r = file_read(path, HOST_CLUSTER_MAX, &text, &len);

	if (r < 0)
		*ret_error = xasprintf("%s: %s", path, strerror(-r));
	else
		r = host_cluster_parse(path, text, len, ret->model, &ret->api, ret_error);
	if (r < 0)
		return r;
	ret->node = model_find_node(ret->model, a->opt.node_name);
	if (!ret->node || !ret->node->n_cidrs) {
		*ret_error = xasprintf("%s: this node is not in it", path);
		return -ENOENT;
	}
	failsafe_add_port(ret->api.out, &ret->api.n_out, a->api_port); /* of the kubeconfig, as it is now */
	return 0;
}

/* As the first pass will have it when the API has answered, but for the tunnel, which that makes. */
static struct node_state state_of(const struct agent *a, const struct model_node *node)
{
	struct node_state s = { 0 };

	for (unsigned i = node->n_cidrs; i-- > 0;) {
		int f = !addr_is_v4(&node->cidrs[i].addr);

		s.ranges[f] = node->cidrs[i];
		s.node_addrs[f] = addr_add(&node->cidrs[i].addr, 1);
	}
	agent_find_underlays(a, s.underlay);
	return s;
}

static int apply(struct agent *a, const struct past *past)
{
	_cleanup_(policy_freep) struct policy *compiler = policy_new();
	_cleanup_(policy_maps_putp) struct policy_maps *maps = NULL;
	struct policy_apply applied = { 0 };
	const struct policy_links links = { a->facts.underlays, a->facts.n_underlays, a->facts.own, a->facts.n_own };
	size_t n;
	_cleanup_free_ struct model_node **nodes = model_nodes_sorted(past->model, &n);
	int r;

	policy_set_modes(compiler, a->opt.policy_mode == POLICY_MODE_OBSERVE, false);
	policy_set_trial_room(compiler, a->opt.policy_rule_table_size / 2);
	policy_set_rule_room(compiler, a->opt.policy_rule_table_size / 2);
	policy_set_limits(compiler, 0, 0, a->opt.policy_address_table_size);
	policy_nodes_put_ranges(compiler, past->model);
	for (size_t i = 0; i < n; i++)
		policy_nodes_put(compiler, nodes[i], nodes[i] == past->node ? &links : NULL);
	host_policy_put_recorded(policies_host(a->policies), compiler, &past->api);
	maps = policy_compile(compiler);
	r = policy_apply(&applied, a->dp, maps);
	policy_apply_forget(&applied);
	return r;
}

/* Programs first: what passes until the policies are there passes as before, and an agent that is started after this one has died in between finds that nothing
 * was told, and does both. */
static int put_in_force(struct agent *a, const struct past *past, char **ret_error)
{
	int r = 0;

	if (!a->dp)
		r = agent_ensure_datapath(a, ret_error);
	if (r < 0 || !datapath_policy_is_untold(a->dp))
		return r;
	r = agent_apply_links(a);
	if (r == 0)
		r = apply(a, past);
	if (r < 0)
		*ret_error = xasprintf("cannot attach to the uplinks, or write the policy maps: %s", strerror(-r));
	else
		log_info("the node's own policies are in force as the record says: the API has not told everything yet");
	return r;
}

static int bring_up(struct agent *a, const struct past *past, char **ret_error)
{
	struct node_state kept = a->state;
	int r = a->synced[MODEL_NODES] ? 0 : agent_read_facts(a, past->node, ret_error);

	if (r < 0)
		return r;
	if (!a->dp)
		a->state = state_of(a, past->node);
	r = put_in_force(a, past, ret_error);
	a->state = kept; /* until the first pass no pod can be added */
	return r;
}

static void say(struct agent *a, const char *why)
{
	if (!streq(why, a->host_boot_warning))
		log_warn("the node's own policies are not in force until the API answers", L_STR("why", why));
	free(a->host_boot_warning);
	a->host_boot_warning = xstrdup(why);
}

int agent_boot_host_policy(struct agent *a)
{
	const struct host_policy *h = policies_host(a->policies);
	_cleanup_(past_done) struct past past = { 0 };
	_cleanup_free_ char *why = NULL;
	int r;

	if (a->host_booted)
		return 0;
	a->host_booted = true;
	if (!h || !host_policy_is_any(h) || agent_policy_is_synced(a) || (a->dp && !datapath_policy_is_untold(a->dp)))
		return 0;
	past.model = model_new();
	r = recall(a, &past, &why);
	if (r < 0) {
		say(a, why ? why : strerror(-r));
		return 0;
	}
	r = bring_up(a, &past, &why);
	if (r < 0)
		say(a, why ? why : strerror(-r));
	a->host_booted = r == 0;
	return r;
}
