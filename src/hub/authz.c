/* SPDX-License-Identifier: Apache-2.0 */
/* Two roles: system:masters may do everything; a node's agent (group system:nodes, user system:node:NAME) reads what the
 * network needs and writes what is its own. Checks that need the object are made by the writers (authorize_object). */
#include "hub/api.h"
#include "base/str.h"

static bool in_group(const struct identity *id, const char *group)
{
	json_t *g;
	size_t i;

	json_array_foreach(id->groups, i, g)
		if (streq(json_string_value(g), group))
			return true;
	return false;
}

/* The node's name when the request is a node's, else NULL. */
static const char *node_of(const struct identity *id)
{
	static const char prefix[] = "system:node:";

	if (in_group(id, "system:masters") || !in_group(id, "system:nodes") || !str_has_prefix(id->user, prefix))
		return NULL;
	return id->user + sizeof(prefix) - 1;
}

static json_t *forbidden(const struct request *rq, const char *why)
{
	const struct kind *k = rq->kind;
	_cleanup_free_ char *what = xasprintf("%s%s%s", k->resource, rq->sub ? "/" : "", rq->sub ? rq->sub : "");
	_cleanup_free_ char *scope = rq->ns ? xasprintf("in the namespace \"%s\"", rq->ns) : xstrdup("at the cluster scope");
	_cleanup_free_ char *whole = xasprintf("%s%s%s", k->resource, *k->group ? "." : "", k->group);
	_cleanup_free_ char *quoted = rq->name ? xasprintf(" \"%s\"", rq->name) : xstrdup("");

	return status_new(403, "Forbidden", "%s%s is forbidden: User \"%s\" cannot %s resource \"%s\" in API group \"%s\" %s%s%s",
			  whole, quoted, rq->id->user, rq->verb, what, k->group, scope, *why ? ": " : "", why);
}

static bool is_read(const struct request *rq)
{
	return streq(rq->verb, "get") || streq(rq->verb, "list") || streq(rq->verb, "watch");
}

static bool node_may(const struct request *rq, const char *node)
{
	const char *r = rq->kind->resource;
	bool collection = streq(rq->verb, "deletecollection");

	if (is_read(rq))
		return true;
	if (collection)
		return false;
	if (streq(r, "nodes"))
		return !streq(rq->verb, "delete") && (!rq->name || streq(rq->name, node));
	if (streq(r, "meshnodes"))
		return !rq->name || streq(rq->name, node);
	if (streq(r, "leases"))
		return streq(rq->ns, "kube-node-lease") && (!rq->name || streq(rq->name, node));
	if (streq(rq->kind->group, "policy.networking.k8s.io")) /* each node may say that it understands one */
		return streq(rq->sub, "status") && streq(rq->verb, "patch");
	if (streq(r, "events"))
		return !streq(rq->verb, "delete");
	/* mirror pods aside, which node and pod are meant is seen by authorize_object() */
	return streq(r, "pods") && !streq(rq->verb, "create");
}

json_t *authorize(const struct hub *hub, const struct request *rq)
{
	const char *node = node_of(rq->id);

	(void)hub;
	if (in_group(rq->id, "system:masters") || (node && node_may(rq, node)))
		return NULL;
	return forbidden(rq, "");
}

json_t *authorize_object(const struct request *rq, const json_t *old, const json_t *obj)
{
	const char *node = node_of(rq->id), *r = rq->kind->resource;

	if (!node)
		return NULL;
	if (streq(r, "pods") && !streq(json_str_at(old ? old : obj, "spec", "nodeName"), node))
		return forbidden(rq, "the pod is not bound to this node");
	if ((streq(r, "nodes") || streq(r, "leases") || streq(r, "meshnodes")) && obj && !streq(meta_str(obj, "name"), node))
		return forbidden(rq, "the name is another node's");
	if (streq(r, "nodes") && old && obj && !streq(rq->sub, "status") &&
	    !json_equal(json_at(obj, "spec", "taints"), json_at(old, "spec", "taints")) && json_at(old, "spec", "taints"))
		return forbidden(rq, "a node may not change its taints");
	return NULL;
}
