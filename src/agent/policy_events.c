/* SPDX-License-Identifier: Apache-2.0 */
/* Pods that are locked down, and policies that fail closed, say so on the object: `kubectl describe` shows it. A pod's node tells of the
 * pod; of a policy each node that has a pod which it selects, in the same words, so that one Event comes of it. */
#include "agent/agent.h"

static void tell_pod(struct agent *a, const char *namespace_, const char *name, const char *reason, const char *message)
{
	const struct model_pod *pod = model_find_pod(a->model, namespace_, name);

	if (pod)
		events_is_so(&a->events, &(struct event_in){ "v1", "Pod", namespace_, name, pod->uid, reason, message, "PolicyInForce",
							     "its policies are in force again" });
}

static void tell_object(struct agent *a, enum policy_kind kind, const char *namespace_, const char *name, const char *detail)
{
	const struct model_policy *p = policies_find_object(a->policies, kind, namespace_, name);
	_cleanup_free_ char *message = xasprintf("fails closed: %s", detail);

	if (p && policy_object_is_used(policies_compiler(a->policies), kind, namespace_, name))
		events_is_so(&a->events, &(struct event_in){ policy_kind_api_version(kind), policy_kind_name(kind), namespace_, name, p->uid,
							     "PolicyInvalid", message, NULL, NULL });
}

/* What is so on this node. */
static void tell_not_enforced(struct agent *a, enum policy_kind kind, const char *namespace_, const char *name, const char *detail)
{
	const struct model_policy *p = policies_find_object(a->policies, kind, namespace_, name);

	if (p)
		events_is_so(&a->events, &(struct event_in){ policy_kind_api_version(kind), policy_kind_name(kind), namespace_, name, p->uid,
							     "PolicyNotEnforced", detail, NULL, NULL });
}

static void tell_no_room(struct agent *a, enum policy_kind kind, const char *namespace_, const char *name, const char *detail)
{
	_cleanup_free_ char *message = xasprintf("on node %s: %s", a->opt.node_name, detail);

	tell_not_enforced(a, kind, namespace_, name, message);
}

/* @subject: "NetworkPolicy a/b", "AdminNetworkPolicy b"; of what concerns a pod: "a/b" */
static void on_problem(enum policy_problem what, const char *subject, const char *detail, void *ctx)
{
	struct agent *a = ctx;
	const char *space = strchr(subject, ' '), *rest = space ? space + 1 : subject, *slash = strchr(rest, '/');
	_cleanup_free_ char *kind_name = xstrndup(subject, space ? space - subject : 0);
	_cleanup_free_ char *namespace_ = slash ? xstrndup(rest, slash - rest) : xstrdup("");
	const char *name = slash ? slash + 1 : rest;
	enum policy_kind kind;

	if (what == PROBLEM_TOO_LARGE || what == PROBLEM_TOO_MANY_BLOCKS)
		tell_pod(a, namespace_, name, "PolicyLocked", detail);
	else if (what == PROBLEM_TRIAL_TOO_LARGE || what == PROBLEM_TRIAL_NO_ROOM)
		tell_pod(a, namespace_, name, "PolicyNotObserved", detail);
	else if (what == PROBLEM_HOSTLESS)
		tell_not_enforced(a, KIND_CLUSTER, "", name, detail);
	else if (what == PROBLEM_NO_ROOM && policy_kind_parse(kind_name, &kind) == 0)
		tell_no_room(a, kind, namespace_, name, detail);
	else if (what == PROBLEM_INVALID_OBJECT && policy_kind_parse(kind_name, &kind) == 0)
		tell_object(a, kind, namespace_, name, detail);
}

static const char *no_room(bool blind)
{
	return blind ? "addresses that its policies tell apart find no room in this node's policy maps (policy.addressTableSize)" :
		       "its policies find no room in this node's policy maps (policy.ruleTableSize)";
}

static void on_locked(const struct addr *addr, bool blind, void *ctx)
{
	struct agent *a = ctx;
	const struct endpoint_record *r = endpoints_find_addr(a->endpoints, addr);
	_cleanup_free_ char *message = xasprintf("%s: locked down", no_room(blind));

	if (r && *r->pod_name)
		tell_pod(a, r->pod_namespace, r->pod_name, "PolicyLocked", message);
}

struct lock {
	const struct agent *agent;
	const char *namespace_, *name, *why;
};

static void look_for_lock(const struct addr *addr, bool blind, void *ctx)
{
	struct lock *l = ctx;
	const struct endpoint_record *r = endpoints_find_addr(l->agent->endpoints, addr);

	if (r && streq(r->pod_namespace, l->namespace_) && streq(r->pod_name, l->name))
		l->why = no_room(blind);
}

const char *agent_find_policy_lock(const struct agent *a, const char *namespace_, const char *name)
{
	struct lock l = { .agent = a, .namespace_ = namespace_, .name = name };

	policy_apply_each_locked(policies_applied(a->policies), look_for_lock, &l);
	return l.why;
}

struct host_room {
	struct agent *a;
	const char *detail;
};

static bool tell_host_policy(struct model_policy *p, void *ctx)
{
	struct host_room *h = ctx;

	if (policy_subject_is_nodes(p->subject) && policy_object_is_used(policies_compiler(h->a->policies), KIND_CLUSTER, "", p->name))
		tell_no_room(h->a, KIND_CLUSTER, "", p->name, h->detail);
	return true;
}

/* The maps have none for the node's own policies; what the compiler knows comes as PROBLEM_NO_ROOM. */
static void tell_host_without_room(struct agent *a)
{
	struct host_room h = { a, "the policy maps are full (policy.ruleTableSize, policy.addressTableSize): its policies have no room there, and "
				  "what was confirmed last goes on while they are on trial, else only its failsafe ports are open" };

	if (policy_apply_host_is_failed(policies_applied(a->policies)))
		model_each_policy(a->model, MODEL_CLUSTER_POLICIES, tell_host_policy, &h);
}

/* Each node that took them back says so in words of its own: others may have confirmed them. */
static void tell_taken_back(struct agent *a)
{
	const struct host_policy *h = policies_host(a->policies);
	_cleanup_free_ char *message = NULL;
	const char *name;
	json_t *object;

	if (!h || !host_policy_is_rolled_back(h))
		return;
	message = xasprintf(host_policy_is_tested(h) ?
				    "nobody has confirmed it on node %s in time (weft policy confirm): what was confirmed last is in force there" :
				    "with it node %s did not reach the API server by a new connection: what was confirmed last is in force there",
			    a->opt.node_name);
	json_object_foreach((json_t *)host_policy_tried(h), name, object) {
		const struct model_policy *p = policies_find_object(a->policies, KIND_CLUSTER, "", name);

		if (p)
			events_is_so(&a->events, &(struct event_in){ policy_kind_api_version(KIND_CLUSTER), policy_kind_name(KIND_CLUSTER), "", name, p->uid,
								     "PolicyTakenBack", message, NULL, NULL });
	}
}

/* The pod of a resolved problem may be gone as well. */
static bool still_there(const struct event_in *in, void *ctx)
{
	const struct agent *a = ctx;
	const struct model_pod *pod = model_find_pod(a->model, in->namespace_, in->name);

	return pod && streq(pod->uid, in->uid);
}

bool agent_tell_policy_problems(struct agent *a)
{
	events_begin(&a->events);
	policy_each_problem(policies_compiler(a->policies), on_problem, a);
	policy_apply_each_locked(policies_applied(a->policies), on_locked, a);
	tell_host_without_room(a);
	tell_taken_back(a);
	return events_end(&a->events, still_there, a);
}
