/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses to classes. A class's content (group, peers, ports that rules name, blocks) never changes, so an update is:
 * make the classes that are new, move addresses, let go of classes that nobody is in. Splitting and merging is nothing more.
 *
 * Those that are let go leave their peers' lists together, at the end: with many classes of many peers each (selectors that say what a pod must not have
 * match nearly all) to look for one in each list would cost the square of their number. */
#include "policy/store.h"

static void group_init(struct policy *p, uint32_t group)
{
	p->groups[group] = (struct class_){ .id = group, .group = group, .members = 1 };
}

void classes_init(struct policy *p)
{
	for (uint32_t g = POLICY_CLASS_WORLD; g <= POLICY_CLASS_NODE; g++)
		group_init(p, g);
}

static void peer_add_class(struct policy *p, struct peer *peer, struct class_ *c)
{
	GROW(peer->classes, peer->n_classes, peer->cap_classes);
	peer->classes[peer->n_classes++] = c;
	peer->version = p->generation;
}

static void peer_drop_gone(struct peer *peer)
{
	unsigned out = 0;

	if (!peer->stale)
		return;
	for (unsigned i = 0; i < peer->n_classes; i++)
		if (peer->classes[i]->members)
			peer->classes[out++] = peer->classes[i];
	peer->n_classes = out;
	peer->stale = false;
}

static void list_ported(struct policy *p, struct class_ *c)
{
	GROW(p->ported, p->n_ported, p->cap_ported);
	p->ported[p->n_ported++] = c;
	p->ported_version = p->generation;
}

static void unlist_ported(struct policy *p, const struct class_ *c)
{
	size_t i = 0;

	while (p->ported[i] != c)
		i++;
	p->ported[i] = p->ported[--p->n_ported];
	p->ported_version = p->generation;
}

struct content {
	uint32_t group;
	unsigned n_peers, n_ports;
	struct peer *const *peers;
	const struct named_port *ports;
	const struct block_set *blocks;
};

static uint64_t content_hash(const struct content *k)
{
	uint64_t h = hash_mem(k->peers, k->n_peers * sizeof(*k->peers)) * 31 + k->group;

	for (unsigned i = 0; i < k->n_ports; i++)
		h = h * 31 + (uintptr_t)k->ports[i].name + k->ports[i].number * 3 + k->ports[i].protocol;
	return h * 31 + hash_mem(k->blocks->peers, k->blocks->n * sizeof(*k->peers));
}

static bool content_is(const struct content *k, const struct class_ *c)
{
	if (c->group != k->group || c->n_peers != k->n_peers || c->n_ports != k->n_ports || c->n_blocks != k->blocks->n)
		return false;
	for (unsigned i = 0; i < k->n_ports; i++)
		if (c->ports[i].name != k->ports[i].name || c->ports[i].protocol != k->ports[i].protocol ||
		    c->ports[i].number != k->ports[i].number)
			return false;
	return (!k->n_peers || memcmp(c->peers, k->peers, k->n_peers * sizeof(*k->peers)) == 0) &&
	       memcmp(c->peers + k->n_peers, k->blocks->peers, k->blocks->n * sizeof(*k->peers)) == 0;
}

static struct class_ *class_new(struct policy *p, const struct content *k)
{
	struct class_ *c = xnew(struct class_);
	unsigned n = k->n_peers + k->blocks->n;

	*c = (struct class_){ .id = id_take(&p->class_ids), .group = k->group, .n_peers = k->n_peers,
			      .n_blocks = k->blocks->n, .n_ports = k->n_ports };
	c->peers = xnew0_array(struct peer *, n);
	if (k->n_peers)
		memcpy(c->peers, k->peers, k->n_peers * sizeof(*k->peers));
	memcpy(c->peers + k->n_peers, k->blocks->peers, k->blocks->n * sizeof(*k->peers));
	c->ports = xnew0_array(struct named_port, k->n_ports);
	for (unsigned i = 0; i < k->n_ports; i++) {
		c->ports[i] = k->ports[i];
		c->ports[i].name->refs++;
	}
	for (unsigned i = 0; i < n; i++)
		peer_add_class(p, c->peers[i], c);
	if (k->n_ports)
		list_ported(p, c);
	return c;
}

/* A membership of the caller's. */
static struct class_ *class_get(struct policy *p, const struct content *k)
{
	struct class_ *c = NULL;
	uint64_t h;

	if (!k->n_peers && !k->n_ports && !k->blocks->n) {
		p->groups[k->group].members++;
		return &p->groups[k->group];
	}
	h = content_hash(k);
	HTAB_FIND(&p->classes, h, c, node, content_is(k, c));
	if (!c) {
		c = class_new(p, k);
		htab_insert(&p->classes, h, &c->node);
	}
	c->members++;
	return c;
}

static void class_put_member(struct policy *p, struct class_ *c)
{
	if (!c || --c->members)
		return;
	htab_remove(&p->classes, &c->node);
	for (unsigned i = 0; i < c->n_peers + c->n_blocks; i++) {
		c->peers[i]->stale = true;
		c->peers[i]->version = p->generation;
	}
	if (c->n_ports)
		unlist_ported(p, c);
	for (unsigned i = 0; i < c->n_ports; i++)
		label_key_put(&p->labels, c->ports[i].name);
	id_rest(&p->class_ids, c->id, p->compiled);
	c->next_gone = p->gone;
	p->gone = c;
}

static void free_gone(struct policy *p)
{
	struct class_ *c, *next;

	for (c = p->gone; c; c = c->next_gone)
		for (unsigned i = 0; i < c->n_peers + c->n_blocks; i++)
			peer_drop_gone(c->peers[i]);
	for (c = p->gone; c; c = next) {
		next = c->next_gone;
		free(c->peers);
		free(c->ports);
		free(c);
	}
	p->gone = NULL;
}

/* Nodes: few, so each is matched against each peer. */

static void match_node(struct node *node, struct peer *const *peers, size_t n)
{
	free(node->peers);
	node->peers = xnew0_array(struct peer *, n);
	node->n_peers = 0;
	for (size_t i = 0; i < n; i++)
		if (sel_matches(peers[i]->selector, node->labels->pairs, node->labels->n))
			node->peers[node->n_peers++] = peers[i];
}

static int cmp_peer(const void *a, const void *b)
{
	const struct peer *x = *(struct peer *const *)a, *y = *(struct peer *const *)b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* Peers of a type that classes know, by id. */
static struct peer **collect_peers(const struct policy *p, enum peer_type type, size_t *ret_n)
{
	struct peer **all = xnew0_array(struct peer *, p->n_used + 1);
	struct peer *peer;
	size_t count = 0;

	list_for_each(peer, &p->used[type], used)
		all[count++] = peer;
	if (count)
		qsort(all, count, sizeof(*all), cmp_peer);
	*ret_n = count;
	return all;
}

static void update_nodes(struct policy *p)
{
	size_t n_peers;
	_cleanup_free_ struct peer **peers = collect_peers(p, PEER_NODES, &n_peers);
	struct htab_node *n;

	for (n = htab_begin(&p->nodes); n; n = htab_next(&p->nodes, n)) {
		struct node *node = container_of(n, struct node, by_name);

		match_node(node, peers, n_peers);
		for (unsigned i = 0; i < node->n_claims; i++)
			address_touch(p, node->claims[i].address);
	}
	p->nodes_dirty = false;
}

/* Addresses. */

static struct class_ *class_of_pod(struct policy *p, const struct pod *pod, struct block_set *blocks)
{
	struct profile *pr = pod->profile;
	struct content k = { .group = POLICY_CLASS_POD, .n_peers = pr->n_peers, .n_ports = pr->n_ports,
			     .peers = pr->peers, .ports = pr->ports, .blocks = blocks };

	if (!pod->ns->known)
		return class_get(p, &(struct content){ .group = POLICY_CLASS_UNKNOWN, .blocks = blocks });
	if (pr->last_class && pr->last_blocks == blocks) {
		pr->last_class->members++;
		return pr->last_class;
	}
	pr->last_blocks = blocks;
	pr->last_class = class_get(p, &k);
	return pr->last_class;
}

static void drop_address(struct policy *p, struct address *a)
{
	class_put_member(p, a->class_);
	htab_remove(&p->addresses, &a->node);
	a->class_ = NULL;
	a->gone = true;
	if (!a->listed)
		free(a);
}

static void update_address(struct policy *p, struct address *a)
{
	struct class_ *old = a->class_;
	struct node *node;
	struct pod *pod = claim_winner(a, &node);

	a->dirty = false;
	if (!a->claims) {
		drop_address(p, a);
		return;
	}
	if (!a->blocks || a->build != p->blocks.build)
		a->blocks = blocks_find(&p->blocks, &a->addr)->set;
	a->build = p->blocks.build;
	if (node)
		a->class_ = class_get(p, &(struct content){ .group = POLICY_CLASS_NODE, .n_peers = node->n_peers,
							    .peers = node->peers, .blocks = a->blocks });
	else if (pod)
		a->class_ = class_of_pod(p, pod, a->blocks);
	else
		a->class_ = class_get(p, &(struct content){ .group = POLICY_CLASS_WORLD, .blocks = a->blocks });
	class_put_member(p, old); /* after the new one is taken: an unchanged class does not die in between */
	if (a->listed)
		return;
	a->listed = true;
	GROW(p->added, p->n_added, p->cap_added);
	p->added[p->n_added++] = a;
}

static void update_all_addresses(struct policy *p)
{
	struct htab_node *n, *next;

	for (n = htab_begin(&p->addresses); n; n = next) {
		next = htab_next(&p->addresses, n);
		update_address(p, container_of(n, struct address, node));
	}
}

/* A profile remembers its last class; the memory must not outlive the class. */
static void forget_classes(struct policy *p)
{
	struct htab_node *n;

	for (n = htab_begin(&p->profiles); n; n = htab_next(&p->profiles, n))
		container_of(n, struct profile, node)->last_class = NULL;
}

static void drop_cidr_classes(struct policy *p, struct class_ **classes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		class_put_member(p, classes[i]);
	free(classes);
}

static void update_cidrs(struct policy *p)
{
	struct class_ **old = p->cidr_classes;
	size_t n_old = p->n_cidr_classes;

	p->n_cidr_classes = p->blocks.n_prefixes;
	p->cidr_classes = xnew0_array(struct class_ *, p->n_cidr_classes);
	for (size_t i = 0; i < p->n_cidr_classes; i++) {
		const struct block_prefix *bp = &p->blocks.prefixes[i];
		uint32_t group = bp->in_range ? POLICY_CLASS_UNKNOWN : POLICY_CLASS_WORLD;

		p->cidr_classes[i] = class_get(p, &(struct content){ .group = group, .blocks = bp->set });
	}
	drop_cidr_classes(p, old, n_old);
}

static void update_blocks(struct policy *p)
{
	size_t n;
	_cleanup_free_ struct peer **peers = collect_peers(p, PEER_BLOCK, &n);

	blocks_build(&p->blocks, peers, n, p->ranges, p->n_ranges, p->max_memberships);
	p->all_classes_dirty = true;
	update_cidrs(p);
	p->blocks_dirty = false;
}

void classes_update(struct policy *p)
{
	forget_classes(p);
	if (p->nodes_dirty)
		update_nodes(p);
	if (p->blocks_dirty)
		update_blocks(p);
	if (p->all_classes_dirty && p->n_dirty < p->addresses.count) {
		update_all_addresses(p);
	} else { /* or all are in the list, in the order in which they came */
		for (size_t i = 0; i < p->n_dirty; i++)
			update_address(p, p->dirty[i]);
	}
	p->n_dirty = 0;
	p->all_classes_dirty = false;
	free_gone(p);
	blocks_sweep(&p->blocks);
	forget_classes(p);
}

/* One that is made again while it is asked who finds room is the same then, and no address has to be written anew. */
void classes_hold(struct policy *p)
{
	struct htab_node *n;

	p->held = xnew0_array(struct class_ *, p->classes.count + 1);
	for (n = htab_begin(&p->classes); n; n = htab_next(&p->classes, n)) {
		struct class_ *c = container_of(n, struct class_, node);

		c->held = true;
		c->members++;
		p->held[p->n_held++] = c;
	}
}

void classes_release(struct policy *p)
{
	for (size_t i = 0; i < p->n_held; i++) {
		p->held[i]->held = false;
		class_put_member(p, p->held[i]);
	}
	free(p->held);
	p->held = NULL;
	p->n_held = 0;
	free_gone(p);
}

void classes_done(struct policy *p)
{
	drop_cidr_classes(p, p->cidr_classes, p->n_cidr_classes);
	free_gone(p);
	p->cidr_classes = NULL;
	p->n_cidr_classes = 0;
}
