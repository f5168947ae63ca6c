/* SPDX-License-Identifier: Apache-2.0 */
/* The status of cluster-wide policies (CNP-10): condition Accepted, whether Weft understands the object. It follows from the object alone, so
 * every node would write the same, and one is enough: the nodes have an order of their own for each policy, and each waits for its turn
 * before it writes what is still not there. So the first writes at once, and where it is away the second does a little later. All
 * write under one name (server-side apply), beside whoever else writes conditions. */
#include "agent/agent.h"
#include "base/str.h"

enum { TURN_US = 2000000, LAST_TURN = 30, RETRY_US = 30000000 };

static const char manager[] = "weft";

/* Its place in the policy's order of nodes. */
static unsigned turn_of(const struct agent *a, const struct model_policy *p)
{
	uint64_t own = hash_str(a->opt.node_name) ^ hash_str(p->uid) * 31;
	size_t n;
	_cleanup_free_ struct model_node **nodes = model_nodes_sorted(a->model, &n);
	unsigned turn = 0;

	for (size_t i = 0; i < n; i++)
		turn += (hash_str(nodes[i]->name) ^ hash_str(p->uid) * 31) < own;
	return MIN(turn, (unsigned)LAST_TURN);
}

static json_t *wanted_condition(const struct agent *a, const struct model_policy *p, enum policy_kind kind)
{
	const struct policy_errors *e = policy_object_errors(policies_compiler(a->policies), kind, p->namespace_, p->name);
	_cleanup_free_ char *message = NULL;
	bool observes = streq(p->mode, "observe");

	if (!e)
		return NULL;
	if (!e->n)
		message = xasprintf("understood%s%s%s", observes ? "; it only observes" : "",
				    policy_subject_is_nodes(p->subject) ? "; nodes where policy.host is off do not " : "",
				    !policy_subject_is_nodes(p->subject) ? "" : observes ? "observe" : "enforce it");
	else if (e->total == 1)
		message = xasprintf("fails closed: %s", e->text[0]);
	else
		message = xasprintf("fails closed: %s (and %u more)", e->text[0], e->total - 1);
	return json_pack("{ss, ss, ss, ss, sI}", "type", "Accepted", "status", e->n ? "False" : "True", "reason", e->n ? "Invalid" : "Accepted",
			 "message", message, "observedGeneration", (json_int_t)p->object_generation);
}

static bool stands(const struct model_policy *p, const json_t *want)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)want, key, v)
		if (!json_equal(v, json_object_get(p->condition, key)))
			return false;
	return true;
}

/* Since when its status has been what it is: of the text alone it says nothing. */
static const char *since(const struct model_policy *p, const json_t *condition, char now[32])
{
	const char *before = json_str_at(p->condition, "lastTransitionTime");

	if (before && json_equal(json_object_get(p->condition, "status"), json_object_get(condition, "status")))
		return before;
	agent_format_time(now);
	return now;
}

static void on_answer(const struct kube_response *res, void *ctx)
{
	struct agent *a = ctx;

	a->status_pending = false;
	if (res->status < 200 || res->status >= 300)
		log_warn("cannot write a policy's status", L_INT("status", res->status), L_STR("why", res->error));
}

static void write_status(struct agent *a, const struct model_policy *p, enum policy_kind kind, json_t *condition)
{
	static const char *const resources[KIND_COUNT] = { [KIND_CLUSTER] = "clusternetworkpolicies", [KIND_ADMIN] = "adminnetworkpolicies",
							   [KIND_BASELINE] = "baselineadminnetworkpolicies" };
	_cleanup_free_ char *base = xasprintf("/apis/%s", policy_kind_api_version(kind));
	_cleanup_free_ char *path = kube_path_query(kube_path_query(kube_path(base, NULL, resources[kind], p->name, "status"), "fieldManager",
								    manager), "force", "true");
	_cleanup_json_ json_t *body = NULL;
	struct kube_request req = { .method = "PATCH", .path = path, .content_type = "application/apply-patch+yaml" };
	char now[32];

	json_object_set_new(condition, "lastTransitionTime", json_string(since(p, condition, now)));
	body = json_pack("{ss, ss, s{ss}, s{s[O]}}", "apiVersion", policy_kind_api_version(kind), "kind", policy_kind_name(kind), "metadata",
			 "name", p->name, "status", "conditions", condition);
	req.body = body;
	a->status_pending = kube_send(a->client, &req, on_answer, a, NULL) == 0;
}

struct look {
	struct agent *a;
	enum policy_kind kind;
	uint64_t now;
};

/* Return: go on? One request at a time. */
static bool look_at(struct model_policy *p, void *ctx)
{
	struct look *l = ctx;
	_cleanup_json_ json_t *want = wanted_condition(l->a, p, l->kind);

	if (!want || stands(p, want)) {
		p->status_due_us = 0;
		return true;
	}
	if (!p->status_due_us)
		p->status_due_us = l->now + turn_of(l->a, p) * TURN_US;
	if (l->now < p->status_due_us)
		return true;
	p->status_due_us = l->now + RETRY_US;
	write_status(l->a, p, l->kind, want);
	return false;
}

void agent_tell_policy_status(struct agent *a)
{
	static const struct {
		enum model_table table;
		enum policy_kind kind;
	} kinds[] = { { MODEL_CLUSTER_POLICIES, KIND_CLUSTER }, { MODEL_ADMIN_POLICIES, KIND_ADMIN }, { MODEL_BASELINE_POLICIES, KIND_BASELINE } };
	struct look l = { .a = a };

	(void)sd_event_now(a->event, CLOCK_MONOTONIC, &l.now);
	for (size_t i = 0; i < ARRAY_SIZE(kinds) && a->client && a->policy_applied && !a->status_pending; i++) {
		l.kind = kinds[i].kind;
		model_each_policy(a->model, kinds[i].table, look_at, &l);
	}
}
