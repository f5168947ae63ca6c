/* SPDX-License-Identifier: Apache-2.0 */
/* A path-compressed binary trie for each family. Nodes never change their prefix; a new node is complete before a pointer
 * to it is published, and a node that was taken out is freed after the readers that may still stand on it are gone. So a
 * lookup sees the trie before or after a change, never half of it. */
#include "wg/allowedips.h"

typedef _Atomic(struct allowed_node *) node_ptr;

static struct allowed_node *get(const node_ptr *p)
{
	return atomic_load_explicit(p, memory_order_acquire);
}

static void set(node_ptr *p, struct allowed_node *n)
{
	atomic_store_explicit(p, n, memory_order_release);
}

static unsigned bit(const struct addr *a, unsigned at)
{
	return a->b[at / 8] >> (7 - at % 8) & 1;
}

static unsigned common_bits(const struct addr *a, const struct addr *b, unsigned max)
{
	for (unsigned i = 0; i < 16 && i * 8 < max; i++) {
		uint8_t d = a->b[i] ^ b->b[i];

		if (d)
			return MIN(max, i * 8 + __builtin_clz(d) - 24);
	}
	return max;
}

static struct allowed_node *new_node(const struct prefix *p)
{
	struct allowed_node *n = xnew0(struct allowed_node);

	n->prefix = *p;
	list_init(&n->of_peer);
	return n;
}

static void free_node(void *ctx _unused_, void *p)
{
	free(p);
}

static void free_tree(struct allowed_node *n)
{
	if (!n)
		return;
	free_tree(get(&n->child[0]));
	free_tree(get(&n->child[1]));
	free(n);
}

void allowedips_init(struct allowedips *t, struct qsbr *qsbr)
{
	*t = (struct allowedips){ .qsbr = qsbr };
}

void allowedips_done(struct allowedips *t)
{
	free_tree(get(&t->v4));
	free_tree(get(&t->v6));
	allowedips_init(t, t->qsbr);
}

static node_ptr *root_of(struct allowedips *t, const struct prefix *p)
{
	return addr_is_v4(&p->addr) && p->len >= V4_BITS_BEFORE ? &t->v4 : &t->v6;
}

static void own(struct allowedips *t, struct allowed_node *n, struct peer *peer, struct list *of_peer)
{
	if (!atomic_load(&n->peer))
		t->count++;
	list_remove(&n->of_peer);
	list_push_back(of_peer, &n->of_peer);
	atomic_store_explicit(&n->peer, peer, memory_order_release);
}

/* The place where @p is or belongs. */
static node_ptr *descend(node_ptr *at, const struct prefix *p)
{
	for (;;) {
		struct allowed_node *n = get(at);

		if (!n || n->prefix.len >= p->len || !prefix_covers(&n->prefix, p))
			return at;
		at = &n->child[bit(&p->addr, n->prefix.len)];
	}
}

void allowedips_insert(struct allowedips *t, const struct prefix *p, struct peer *peer, struct list *of_peer)
{
	node_ptr *at = descend(root_of(t, p), p);
	struct allowed_node *below = get(at), *n;
	unsigned common;

	if (below && prefix_eq(&below->prefix, p)) {
		own(t, below, peer, of_peer);
		return;
	}
	n = new_node(p);
	own(t, n, peer, of_peer);
	if (!below) {
		set(at, n);
		return;
	}
	common = common_bits(&below->prefix.addr, &p->addr, MIN(below->prefix.len, p->len));
	if (common == p->len) {
		set(&n->child[bit(&below->prefix.addr, common)], below);
		set(at, n);
	} else {
		struct prefix shared = prefix_of(&p->addr, common);
		struct allowed_node *branch = new_node(&shared);

		set(&branch->child[bit(&p->addr, common)], n);
		set(&branch->child[bit(&below->prefix.addr, common)], below);
		set(at, branch);
	}
}

/* Takes out a node that owns nothing and has at most one child. Return: whether it did. */
static bool splice(struct allowedips *t, node_ptr *at)
{
	struct allowed_node *n = get(at), *left, *right;

	if (!n || atomic_load(&n->peer))
		return false;
	left = get(&n->child[0]);
	right = get(&n->child[1]);
	if (left && right)
		return false;
	set(at, left ? left : right);
	qsbr_retire(t->qsbr, n, free_node, NULL);
	return true;
}

static void disown(struct allowedips *t, struct allowed_node *n)
{
	struct prefix p = n->prefix;
	node_ptr *at = root_of(t, &p), *parent = NULL;

	atomic_store_explicit(&n->peer, NULL, memory_order_release);
	list_remove(&n->of_peer);
	t->count--;
	while (get(at) != n) {
		parent = at;
		at = &get(at)->child[bit(&p.addr, get(at)->prefix.len)];
	}
	if (splice(t, at) && parent)
		splice(t, parent);
}

int allowedips_remove(struct allowedips *t, const struct prefix *p, struct peer *peer)
{
	struct allowed_node *n = get(descend(root_of(t, p), p));

	if (!n || !prefix_eq(&n->prefix, p) || atomic_load(&n->peer) != peer)
		return -ENOENT;
	disown(t, n);
	return 0;
}

void allowedips_remove_all(struct allowedips *t, struct list *of_peer)
{
	struct allowed_node *n, *tmp;

	list_for_each_safe(n, tmp, of_peer, of_peer)
		disown(t, n);
}

static struct peer *find(const node_ptr *at, const struct addr *a)
{
	struct peer *best = NULL;
	struct allowed_node *n;

	while ((n = get(at)) && prefix_contains(&n->prefix, a)) {
		struct peer *p = atomic_load_explicit(&n->peer, memory_order_acquire);

		if (p)
			best = p;
		if (n->prefix.len == 128)
			break;
		at = &n->child[bit(a, n->prefix.len)];
	}
	return best;
}

struct peer *allowedips_find_v4(const struct allowedips *t, const uint8_t raw[static 4])
{
	struct addr a = { { [10] = 0xff, [11] = 0xff, raw[0], raw[1], raw[2], raw[3] } };

	return find(&t->v4, &a);
}

struct peer *allowedips_find_v6(const struct allowedips *t, const uint8_t raw[static 16])
{
	struct addr a;

	memcpy(a.b, raw, sizeof(a.b));
	return find(&t->v6, &a);
}
