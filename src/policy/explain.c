/* SPDX-License-Identifier: Apache-2.0 */
/* Which objects there are, and which apply to an endpoint, in the order in which they are asked. For people: JSON. A policy may list a hundred thousand
 * peers: of what applies to an endpoint so much is shown as people read and the agent's socket takes in one answer, and the rest is counted. */
#include "policy/store.h"

static const char *const verdicts[] = { [POLICY_ALLOW] = "accept", [POLICY_DENY] = "deny", [POLICY_PASS] = "pass" };
static const char *const tiers[] = { [TIER_ADMIN] = "admin", [TIER_NETWORK] = "network", [TIER_BASELINE] = "baseline" };

/* Peers, and ports, of a rule; bytes of all rules of an answer, and of a rule without its peers and ports. */
enum { LIST_SHOWN_MAX = 1000, SHOWN_MAX = 400 << 10, RULE_BYTES = 256 };

/* What is told of an endpoint. */
struct view {
	const struct pset *of;
	size_t left; /* bytes */
};

static bool has_room(struct view *v, size_t bytes)
{
	if (v->left < bytes)
		return false;
	v->left -= bytes;
	return true;
}

static const char *protocol_name(uint8_t protocol)
{
	return protocol == IPPROTO_TCP ? "TCP" : protocol == IPPROTO_UDP ? "UDP" : protocol == IPPROTO_SCTP ? "SCTP" : "";
}

static json_t *port_json(const struct port_spec *p)
{
	const char *protocol = protocol_name(p->protocol);

	if (p->name)
		return json_sprintf("%s%s%s", protocol, *protocol ? " " : "", p->name);
	if (p->lo == 0 && p->hi == 65535)
		return json_string(protocol);
	return p->lo == p->hi ? json_sprintf("%s %u", protocol, p->lo) : json_sprintf("%s %u-%u", protocol, p->lo, p->hi);
}

static bool observes(const struct policy *p, const struct policy_spec *s)
{
	return p->observe_all || s->observes;
}

/* Does a NetworkPolicy decide for these pods in the direction, before the object of the Baseline tier is asked? One that only observes does where that does, too. */
static bool is_isolated_before(const struct policy *p, const struct object *o, const struct pset *of, enum policy_direction d)
{
	for (unsigned i = 0; of && o->spec->tier == TIER_BASELINE && i < of->n_objects; i++) {
		const struct policy_spec *s = of->objects[i]->spec;

		if (s->isolates[d] && (!observes(p, s) || observes(p, o->spec)))
			return true;
	}
	return false;
}

static json_t *peers_json(const struct object_rule *r, struct view *v)
{
	json_t *peers = json_array();

	for (unsigned i = 0; i < r->spec->n_peers && i < LIST_SHOWN_MAX && has_room(v, strlen(r->peers[i]->text) + 4); i++)
		json_array_append_new(peers, json_string(r->peers[i]->text));
	return peers;
}

static json_t *ports_json(const struct rule_spec *s, struct view *v)
{
	json_t *ports = json_array();

	for (unsigned i = 0; i < s->n_ports && i < LIST_SHOWN_MAX && has_room(v, 32); i++)
		json_array_append_new(ports, port_json(&s->ports[i]));
	return ports;
}

/* @never: nobody gets so far as to ask it */
static json_t *rule_json(const struct object_rule *r, bool never, struct view *v)
{
	const struct rule_spec *s = r->spec;
	json_t *peers = peers_json(r, v), *ports = ports_json(s, v);

	return json_pack("{ss, si, ss, ss, sb, so, sI, sb, so, sI, sb}", "direction", s->direction == POLICY_EGRESS ? "egress" : "ingress", "index", (int)s->index,
			 "verdict", verdicts[s->verdict], "name", s->name ? s->name : "", "anyPeer", s->any_peer, "peers", peers, "morePeers",
			 (json_int_t)(s->n_peers - json_array_size(peers)), "anyPort", s->any_port, "ports", ports, "morePorts",
			 (json_int_t)(s->n_ports - json_array_size(ports)), "isolated", never);
}

/* All that select the pod, those that only observe too; NULL: none. */
static const struct pset *all_of(const struct pod *pod)
{
	return pod->trial ? pod->trial : pod->pset;
}

static unsigned count_pods(const struct policy *p, const struct object *o)
{
	struct pod *pod;
	unsigned n = 0;

	list_for_each(pod, &p->local, local_link)
		for (unsigned i = 0; all_of(pod) && i < all_of(pod)->n_objects; i++)
			n += all_of(pod)->objects[i] == o;
	return n;
}

static const char *mode_of(const struct policy *p, const struct policy_spec *s)
{
	if (p->hostless && s->of_nodes)
		return "off";
	return observes(p, s) ? "observe" : "enforce";
}

/* @v: of the pod whose rules are to be shown, too; or NULL */
static json_t *object_json(const struct policy *p, const struct object *o, struct view *v)
{
	const struct policy_spec *s = o->spec;
	json_t *j = json_pack("{ss, ss, ss, ss, ss, si, sb, sb, sI}", "mode", mode_of(p, s), "kind", policy_kind_name(s->kind), "namespace", s->namespace_, "name",
			      s->name, "tier", tiers[s->tier], "priority", s->priority, "isolatesIngress", s->isolates[POLICY_INGRESS],
			      "isolatesEgress", s->isolates[POLICY_EGRESS], "pods", (json_int_t)count_pods(p, o));
	json_t *list = json_array(), *errors = json_array();

	for (unsigned i = 0; i < s->errors.n; i++)
		json_array_append_new(errors, json_string(s->errors.text[i]));
	for (unsigned i = 0; v && i < s->n_rules && has_room(v, RULE_BYTES); i++)
		json_array_append_new(list, rule_json(&o->rules[i], is_isolated_before(p, o, v->of, s->rules[i].direction), v));
	if (v)
		json_object_set_new(j, "moreRules", json_integer(s->n_rules - json_array_size(list)));
	if (object_trouble(p, o))
		json_object_set_new(j, "trouble", json_string(object_trouble(p, o)));
	json_object_set_new(j, "errors", errors);
	json_object_set_new(j, "subject", json_string(o->subject->text));
	json_object_set_new(j, "rules", list);
	return j;
}

static int cmp_objects(const void *a, const void *b)
{
	return object_cmp(*(struct object *const *)a, *(struct object *const *)b);
}

json_t *policy_list_json(const struct policy *p)
{
	_cleanup_free_ struct object **all = xnew0_array(struct object *, p->objects.count + 1);
	json_t *list = json_array();
	struct htab_node *n;
	size_t count = 0;

	for (n = htab_begin(&p->objects); n; n = htab_next(&p->objects, n))
		if (!container_of(n, struct object, by_name)->spec->after) /* they are there by their names, as what is on trial */
			all[count++] = container_of(n, struct object, by_name);
	qsort(all, count, sizeof(*all), cmp_objects);
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, object_json(p, all[i], NULL));
	return list;
}

static const char *state_of(const struct policy *p, const struct pod *pod)
{
	if (pod->locked && p->observe_all)
		return "would be locked: the labels of its namespace are not known";
	if (pod->locked)
		return "locked: the labels of its namespace are not known";
	if (pod->pset && pod->pset->no_room)
		return "locked: what policies name on this node is too much for its maps (policy.addressTableSize, policy.ruleTableSize), its own most of all";
	if (pod->pset && pod->pset->too_large)
		return "locked: its policies are too large";
	if (pod->trial && (pod->trial->idle || pod->trial->no_room))
		return "what only observes finds no room: not observed";
	if (pod->trial && pod->trial->too_large)
		return "would be locked: with those that only observe its policies are too large";
	if (pod->trial && !pod->pset)
		return "open: what selects it only observes";
	return pod->pset ? "" : "open: no policy selects it";
}

json_t *policy_pod_json(const struct policy *p, const char *namespace_, const char *name)
{
	json_t *objects = json_array();
	struct pod *pod, *found = NULL;
	struct view v = { .left = SHOWN_MAX };

	list_for_each(pod, &p->local, local_link)
		if (!(pod->host && p->hostless) && streq(pod->ns->name, namespace_) && streq(pod->name, name))
			found = pod;
	v.of = found ? all_of(found) : NULL;
	for (unsigned i = 0; v.of && i < v.of->n_objects; i++)
		json_array_append_new(objects, object_json(p, v.of->objects[i], &v));
	if (!found) {
		json_decref(objects);
		return NULL;
	}
	return json_pack("{ss, ss, ss, ss, so}", "namespace", namespace_, "name", name, "state", state_of(p, found), "default",
			 p->deny_default ? "deny" : "allow", "policies", objects);
}
