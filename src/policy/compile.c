/* SPDX-License-Identifier: Apache-2.0 */
/* The order of one compile. Each step looks only at what the earlier ones left, and costs what changed:
 *
 * subjects  which objects apply to each endpoint; so, which peers are in use
 * profiles  which pods those peers tell apart
 * classes   address -> class, peer -> classes
 * flatten   the policies whose objects or classes changed, to entries
 * emit      the arrays
 *
 * What only observes takes no room from what is in force (trials.c): where they find none together, all is done once more without it. Then, before what
 * is too much is made, who brings the most goes without: of blocks before there are classes (blocks_fit.c), of rules when there are (rules_fit.c).
 *
 * policy_settle() is the other half: policies that no endpoint has any more were kept (with their peers, and so with the
 * classes that their entries speak of) while packets could still be judged by them. */
#include "policy/store.h"

static void fit_blocks(struct policy *p, bool anew)
{
	if (!p->blocks_dirty && !anew)
		return;
	if (trials_take_part(p) && blocks_are_too_many(p, anew))
		trials_update(p, true);
	blocks_fit(p, anew);
}

static void make_classes(struct policy *p, bool anew)
{
	fit_blocks(p, anew);
	profiles_update(p);
	classes_update(p);
}

static void make(struct policy *p, bool anew)
{
	make_classes(p, anew);
	if (trials_take_part(p) && rules_are_too_many(p)) {
		trials_update(p, true);
		make_classes(p, anew);
	}
	while (rules_fit(p))
		make_classes(p, false);
	classes_release(p);
	flatten_update(p);
}

struct policy_maps *policy_compile(struct policy *p)
{
	bool again = p->patient ? p->asked : p->subjects_dirty, anew = p->patient ? p->asked : p->room_stale;

	p->generation++;
	if (p->n_left_out)
		classes_hold(p);
	subjects_update(p);
	anew &= p->n_left_out > 0;
	p->asked = false;
	p->room_stale &= p->patient && !again && (p->n_left_out || p->trials_left_out); /* else all take part in this one */
	trials_update(p, p->trials_left_out && !again);
	make(p, anew);
	if (trials_take_part(p) && trials_lack_room(p)) {
		p->generation++;
		trials_update(p, true);
		make(p, anew);
	}
	peers_sweep(p);
	policy_maps_put(p->maps);
	p->maps = maps_emit(p);
	p->compiled++;
	return policy_maps_get(p->maps);
}

uint64_t policy_compiled(const struct policy *p)
{
	return p->compiled;
}

bool policy_rests(const struct policy *p)
{
	return p->retiring || p->class_ids.n_resting || p->policy_ids.n_resting || p->port_ids.n_resting || p->peer_ids.n_resting;
}

bool policy_settle(struct policy *p, uint64_t compiled)
{
	struct htab_node *n, *next;
	bool any = false;

	id_pool_settle(&p->class_ids, compiled);
	id_pool_settle(&p->policy_ids, compiled);
	id_pool_settle(&p->port_ids, compiled);
	id_pool_settle(&p->peer_ids, compiled);
	for (n = htab_begin(&p->psets); p->retiring && n; n = next) {
		struct pset *s = container_of(n, struct pset, node);

		next = htab_next(&p->psets, n);
		if (!s->retiring || s->retired >= compiled)
			continue;
		any = p->room_stale = true;
		p->retiring--;
		pset_free(p, s);
	}
	return any;
}

struct policy_stats policy_stats(const struct policy *p)
{
	struct policy_stats s = { .pods = p->pods.count, .namespaces = p->namespaces.count, .objects = p->objects.count,
				  .profiles = p->profiles.count, .classes = p->classes.count, .policies = p->psets.count,
				  .blocks = p->blocks.n_prefixes };
	struct htab_node *n;

	for (n = htab_begin(&p->peers); n; n = htab_next(&p->peers, n))
		s.peers_in_use += container_of(n, struct peer, node)->in_use > 0;
	return s;
}

static const char *host_unfit(const struct policy *p)
{
	return p->host_times.until_ns ? "the policies of the node itself find no room: what was confirmed last goes on" :
					"the policies of the node itself find no room: only its failsafe ports are open";
}

const char *object_trouble(const struct policy *p, const struct object *o)
{
	const struct pod *host = o->spec->of_nodes ? policy_host(p) : NULL;

	if (host && host->pset && pset_is_unfit(host->pset) && !o->spec->observes && object_selects(o, host))
		return host_unfit(p);
	return o->left_out ? "what policies name on this node is too much for its maps (policy.addressTableSize, policy.ruleTableSize), its own most of all: whom it selects there is locked down" : NULL;
}

static void object_problems(const struct policy *p, const struct object *o, policy_problem_fn *fn, void *ctx)
{
	const struct policy_spec *s = o->spec;
	_cleanup_free_ char *name = xasprintf("%s %s%s%s", policy_kind_name(s->kind), s->namespace_, *s->namespace_ ? "/" : "", s->name);

	if (object_trouble(p, o))
		fn(PROBLEM_NO_ROOM, name, object_trouble(p, o), ctx);
	for (unsigned i = 0; i < s->errors.n; i++)
		fn(PROBLEM_INVALID_OBJECT, name, s->errors.text[i], ctx);
	if (p->hostless && object_means_host(p, o))
		fn(PROBLEM_HOSTLESS, name, "means nodes where policy.host is off: not enforced there", ctx);
}

static void pod_problems(const struct policy *p, const struct pod *pod, policy_problem_fn *fn, void *ctx)
{
	_cleanup_free_ char *name = xasprintf("%s/%s", pod->ns->name, pod->name);

	if (pod->host) {
		if (pod->after)
			return;
		if (pod->pset && pset_is_unfit(pod->pset))
			fn(PROBLEM_HOST_TOO_LARGE, name, host_unfit(p), ctx);
		return;
	}

	if (pod->locked)
		fn(PROBLEM_NAMESPACE_UNKNOWN, name, "the labels of its namespace are not known yet: locked down", ctx);
	if (pod->pset && pod->pset->too_large)
		fn(PROBLEM_TOO_LARGE, name, "its policies need more map entries than one policy may have: locked down", ctx);
	if (pod->trial && pod->trial->too_large)
		fn(PROBLEM_TRIAL_TOO_LARGE, name, "with those that only observe its policies are too large: would be locked down", ctx);
	if (pod->trial && (pod->trial->idle || pod->trial->no_room))
		fn(PROBLEM_TRIAL_NO_ROOM, name, "the policies that only observe find no room (policy.ruleTableSize, policy.addressTableSize): not observed", ctx);
	if (pod->pset && pod->pset->no_room)
		fn(PROBLEM_TOO_MANY_BLOCKS, name, "what policies name on this node is too much for its maps (policy.addressTableSize, policy.ruleTableSize), its own most of all: locked down", ctx);
}

void policy_each_problem(const struct policy *p, policy_problem_fn *fn, void *ctx)
{
	struct htab_node *n;
	struct pod *pod;

	for (n = htab_begin(&p->objects); n; n = htab_next(&p->objects, n))
		if (!container_of(n, struct object, by_name)->spec->after)
			object_problems(p, container_of(n, struct object, by_name), fn, ctx);
	list_for_each(pod, &p->local, local_link)
		pod_problems(p, pod, fn, ctx);
}
