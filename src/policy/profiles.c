/* SPDX-License-Identifier: Apache-2.0 */
/* Which pods do the selectors in use tell apart?
 *
 * A pod's labels are cut down to what those selectors look at (label_project), its ports to those that rules name, its
 * namespace likewise. What is left is the profile; a million pods with labels of their own fall into a few hundred. Only
 * profiles are matched against peers, and only against those that could match: each peer hangs on one label (or key, or
 * namespace) that a match must have, its anchor. */
#include "policy/store.h"

struct anchored {
	const void *anchor; /* NULL: nothing that a match must have */
	struct peer *peer;
};

static int cmp_anchored(const void *a, const void *b)
{
	const struct anchored *k = a, *l = b;
	uintptr_t x = (uintptr_t)k->anchor, y = (uintptr_t)l->anchor;

	if (x != y)
		return x < y ? -1 : 1;
	return k->peer->id < l->peer->id ? -1 : k->peer->id > l->peer->id;
}

static const void *anchor_of_sel(const struct sel *s)
{
	const void *key = NULL;

	for (unsigned i = 0; i < s->n; i++) {
		const struct sel_term *t = &s->terms[i];

		if (t->op == SELECTOR_IN && t->n == 1)
			return t->values[0];
		if (t->op == SELECTOR_IN || t->op == SELECTOR_EXISTS)
			key = t->key;
	}
	return key;
}

static const void *anchor_of(const struct peer *peer)
{
	const void *anchor = anchor_of_sel(peer->selector);

	if (anchor)
		return anchor;
	return peer->ns ? (const void *)peer->ns : anchor_of_sel(peer->namespaces);
}

static struct anchored *collect_peers(const struct policy *p, size_t *ret_n)
{
	struct anchored *all = xnew0_array(struct anchored, p->n_used + 1);
	struct peer *peer;
	size_t count = 0;

	list_for_each(peer, &p->used[PEER_PODS], used)
		all[count++] = (struct anchored){ anchor_of(peer), peer };
	if (count)
		qsort(all, count, sizeof(*all), cmp_anchored);
	*ret_n = count;
	return all;
}

/* Matching one profile. */
struct match {
	const struct anchored *all;
	size_t n_all;
	const struct profile *profile;
	struct peer **found;
	size_t n_found, cap_found;
};

static bool peer_matches(const struct peer *peer, const struct profile *pr)
{
	if (peer->ns ? peer->ns != pr->ns->fixed : !sel_matches(peer->namespaces, pr->ns->pairs, pr->ns->n))
		return false;
	return sel_matches(peer->selector, pr->pairs, pr->n_pairs);
}

static void match_anchor(struct match *m, const void *anchor)
{
	size_t lo = 0, hi = m->n_all;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if ((uintptr_t)m->all[mid].anchor < (uintptr_t)anchor)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < m->n_all && m->all[lo].anchor == anchor; lo++) {
		if (!peer_matches(m->all[lo].peer, m->profile))
			continue;
		GROW(m->found, m->n_found, m->cap_found);
		m->found[m->n_found++] = m->all[lo].peer;
	}
}

static void match_pairs(struct match *m, struct label_pair *const *pairs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		match_anchor(m, pairs[i]);
		match_anchor(m, pairs[i]->key);
	}
}

static int cmp_peer(const void *a, const void *b)
{
	const struct peer *x = *(struct peer *const *)a, *y = *(struct peer *const *)b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static bool is_sorted(struct peer *const *peers, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (peers[i - 1]->id > peers[i]->id)
			return false;
	return true;
}

/* What was found up to @from is sorted: now all is. What one anchor has is sorted already, and may be nearly all peers: selectors that say what a pod must
 * not have hang on nothing, or on a namespace. */
static void sort_in(struct match *m, size_t from)
{
	_cleanup_free_ struct peer **rest = NULL;
	size_t n = m->n_found - from, at = m->n_found;

	if (n && !is_sorted(m->found + from, n))
		qsort(m->found + from, n, sizeof(*m->found), cmp_peer);
	if (!n || !from || m->found[from - 1]->id < m->found[from]->id)
		return;
	rest = xnew0_array(struct peer *, n);
	memcpy(rest, m->found + from, n * sizeof(*rest));
	while (n)
		m->found[--at] = !from || m->found[from - 1]->id < rest[n - 1]->id ? rest[--n] : m->found[--from];
}

static void match_profile(struct policy *p, struct match *m, struct profile *pr)
{
	size_t out = 0, anywhere;

	m->profile = pr;
	m->n_found = 0;
	match_anchor(m, NULL);
	anywhere = m->n_found;
	if (pr->ns->fixed)
		match_anchor(m, pr->ns->fixed);
	sort_in(m, anywhere);
	anywhere = m->n_found;
	match_pairs(m, pr->ns->pairs, pr->ns->n);
	match_pairs(m, pr->pairs, pr->n_pairs);
	sort_in(m, anywhere);
	for (size_t i = 0; i < m->n_found; i++) /* the label of a pod and of its namespace can be one anchor */
		if (!out || m->found[out - 1] != m->found[i])
			m->found[out++] = m->found[i];
	pr->last_class = NULL;
	if (!pr->fresh && out == pr->n_peers && (!out || memcmp(m->found, pr->peers, out * sizeof(*pr->peers)) == 0))
		return;
	p->all_classes_dirty |= !pr->fresh;
	free(pr->peers);
	pr->peers = xnew0_array(struct peer *, out);
	if (out)
		memcpy(pr->peers, m->found, out * sizeof(*pr->peers));
	pr->n_peers = out;
	pr->fresh = false;
}

static void match_profiles(struct policy *p, bool all)
{
	struct match m = { 0 };
	_cleanup_free_ struct anchored *anchored = collect_peers(p, &m.n_all);
	struct htab_node *n;

	m.all = anchored;
	for (n = htab_begin(&p->profiles); n; n = htab_next(&p->profiles, n)) {
		struct profile *pr = container_of(n, struct profile, node);

		if (all || pr->fresh)
			match_profile(p, &m, pr);
	}
	free(m.found);
}

/* Interning. */

void ns_profile_put(struct policy *p, struct ns_profile *np)
{
	if (--np->refs)
		return;
	htab_remove(&p->ns_profiles, &np->node);
	free(np);
}

static struct ns_profile *ns_profile_get(struct policy *p, struct ns *ns)
{
	_cleanup_free_ struct label_pair **pairs = xnew0_array(struct label_pair *, ns->labels->n);
	unsigned n = label_project(ns->labels, USE_NAMESPACE, pairs);
	struct ns *fixed = ns->fixed_uses ? ns : NULL;
	uint64_t h = hash_mem(pairs, n * sizeof(*pairs)) ^ (uintptr_t)fixed;
	struct ns_profile *np = NULL;

	HTAB_FIND(&p->ns_profiles, h, np, node,
		  np->fixed == fixed && np->n == n && memcmp(np->pairs, pairs, n * sizeof(*pairs)) == 0);
	if (!np) {
		np = xcalloc(1, sizeof(*np) + n * sizeof(*pairs));
		np->fixed = fixed;
		np->n = n;
		memcpy(np->pairs, pairs, n * sizeof(*pairs));
		htab_insert(&p->ns_profiles, h, &np->node);
	}
	np->refs++;
	return np;
}

void profile_put(struct policy *p, struct profile *pr)
{
	if (--pr->refs)
		return;
	htab_remove(&p->profiles, &pr->node);
	ns_profile_put(p, pr->ns);
	free(pr->pairs);
	free(pr->ports);
	free(pr->peers);
	free(pr);
}

static int cmp_port(const void *a, const void *b)
{
	const struct named_port *x = a, *y = b;

	if (x->name != y->name)
		return (uintptr_t)x->name < (uintptr_t)y->name ? -1 : 1;
	return (int)x->protocol - (int)y->protocol;
}

static unsigned project_ports(const struct pod *pod, struct named_port *ret)
{
	unsigned n = 0;

	for (unsigned i = 0; i < pod->n_ports; i++)
		if (pod->ports[i].name->used[USE_PORT])
			ret[n++] = pod->ports[i];
	if (n > 1)
		qsort(ret, n, sizeof(*ret), cmp_port);
	return n;
}

static bool same_ports(const struct named_port *a, const struct named_port *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (cmp_port(&a[i], &b[i]) != 0 || a[i].number != b[i].number)
			return false;
	return true;
}

static struct profile *profile_get(struct policy *p, const struct pod *pod)
{
	enum { ON_STACK = 64 };
	struct label_pair *few[ON_STACK];
	_cleanup_free_ struct label_pair **many = NULL;
	struct label_pair **pairs = pod->labels->n <= ON_STACK ? few : (many = xnew0_array(struct label_pair *, pod->labels->n));
	unsigned n = label_project(pod->labels, USE_POD, pairs), n_ports = 0;
	_cleanup_free_ struct named_port *ports = NULL;
	struct profile *pr = NULL;
	uint64_t h;

	if (pod->n_ports) {
		ports = xnew0_array(struct named_port, pod->n_ports);
		n_ports = project_ports(pod, ports);
	}
	h = hash_mem(pairs, n * sizeof(*pairs)) ^ (uintptr_t)pod->ns->profile;
	for (unsigned i = 0; i < n_ports; i++)
		h = h * 31 + ports[i].number;
	HTAB_FIND(&p->profiles, h, pr, node,
		  pr->ns == pod->ns->profile && pr->n_pairs == n && memcmp(pr->pairs, pairs, n * sizeof(*pairs)) == 0 &&
			  pr->n_ports == n_ports && same_ports(pr->ports, ports, n_ports));
	if (!pr) {
		pr = xnew(struct profile);
		*pr = (struct profile){ .ns = pod->ns->profile, .n_pairs = n, .n_ports = n_ports, .fresh = true };
		pr->ns->refs++;
		pr->pairs = xnew0_array(struct label_pair *, n);
		memcpy(pr->pairs, pairs, n * sizeof(*pairs));
		pr->ports = take_ptr(ports);
		htab_insert(&p->profiles, h, &pr->node);
	}
	pr->refs++;
	return pr;
}

static void set_profile(struct policy *p, struct pod *pod)
{
	struct profile *pr = profile_get(p, pod);

	list_remove(&pod->dirty_link);
	if (pr == pod->profile) {
		profile_put(p, pr);
		return;
	}
	if (pod->profile)
		profile_put(p, pod->profile);
	pod->profile = pr;
	for (unsigned i = 0; i < pod->n_claims; i++)
		address_touch(p, pod->claims[i].address);
}

static bool ports_dirty(const struct policy *p, const struct pod *pod)
{
	for (unsigned i = 0; i < pod->n_ports; i++)
		if (pod->ports[i].name->touched == p->labels.generation)
			return true;
	return false;
}

static void update_ns_profile(struct policy *p, struct ns *ns)
{
	struct ns_profile *np = ns_profile_get(p, ns);

	if (ns->profile)
		ns_profile_put(p, ns->profile);
	ns->profile = np;
	ns->dirty = false;
	ns->changed = p->generation;
}

static void update_ns_profiles(struct policy *p)
{
	struct htab_node *n;

	for (n = htab_begin(&p->namespaces); n; n = htab_next(&p->namespaces, n)) {
		struct ns *ns = container_of(n, struct ns, by_name);

		if (ns->dirty || !ns->profile || label_set_dirty(&p->labels, ns->labels))
			update_ns_profile(p, ns);
	}
	p->ns_dirty = false;
}

/* A namespace that became known or unknown changes what its pods are, even with the same profile. */
static void update_pods_of(struct policy *p, struct ns *ns)
{
	struct pod *pod;

	list_for_each(pod, &ns->pods, by_ns) {
		set_profile(p, pod);
		for (unsigned i = 0; i < pod->n_claims; i++)
			address_touch(p, pod->claims[i].address);
	}
}

static void update_all_pods(struct policy *p)
{
	struct htab_node *n;

	label_pool_mark_sets(&p->labels);
	for (n = htab_begin(&p->pods); n; n = htab_next(&p->pods, n)) {
		struct pod *pod = container_of(n, struct pod, by_name);

		if (!pod->profile || pod->labels->touched == p->labels.generation || ports_dirty(p, pod))
			set_profile(p, pod);
	}
}

/* Pods of which nothing was said: their namespace has changed, or selectors see more or less of them now. */
static void update_others(struct policy *p)
{
	struct htab_node *n;

	for (n = htab_begin(&p->namespaces); n; n = htab_next(&p->namespaces, n)) {
		struct ns *ns = container_of(n, struct ns, by_name);

		if (ns->changed == p->generation)
			update_pods_of(p, ns);
	}
	if (p->labels.dirty)
		update_all_pods(p);
}

/* New pods in the order in which they came, which mostly is that of memory: where all are new, at a start, the others' walks would cost more than what they find. */
void profiles_update(struct policy *p)
{
	struct pod *pod, *next;
	size_t n = 0;

	if (p->ns_dirty || p->labels.dirty)
		update_ns_profiles(p);
	list_for_each_safe(pod, next, &p->dirty_pods, dirty_link) {
		set_profile(p, pod);
		n++;
	}
	if (n < p->pods.count)
		update_others(p);
	label_pool_clean(&p->labels);
	match_profiles(p, p->peers_dirty);
	p->peers_dirty = false;
}
