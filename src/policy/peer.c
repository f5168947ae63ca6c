/* SPDX-License-Identifier: Apache-2.0 */
/* Peers, interned by their canonical text. A peer in use marks the labels, the port names and the namespace that it looks
 * at; the rest of the cluster's labels leave no trace in profiles and classes. */
#include "base/buf.h"
#include "policy/store.h"

static char *peer_text(const struct peer_spec *s)
{
	struct buf b = { 0 };
	char text[PREFIX_TEXT_MAX];

	switch (s->type) {
	case PEER_PODS:
		if (s->namespace_)
			(void)buf_addf(&b, "pods [%s] in namespace %s", s->selector->text, s->namespace_);
		else
			(void)buf_addf(&b, "pods [%s] in namespaces [%s]", s->selector->text, s->namespaces->text);
		break;
	case PEER_BLOCK:
		(void)buf_addf(&b, "block %s", prefix_format(&s->cidr, text));
		for (unsigned i = 0; i < s->n_except; i++)
			(void)buf_addf(&b, " !%s", prefix_format(&s->except[i], text));
		break;
	case PEER_NODES:
		(void)buf_addf(&b, "nodes [%s]", s->selector->text);
		break;
	}
	return b.data;
}

static struct peer *peer_new(struct policy *p, const struct peer_spec *s)
{
	struct peer *peer = xnew(struct peer);

	*peer = (struct peer){ .type = s->type, .id = id_take(&p->peer_ids), .cidr = s->cidr, .n_except = s->n_except };
	if (s->namespace_)
		peer->ns = ns_get(p, s->namespace_);
	if (s->namespaces)
		peer->namespaces = sel_get(&p->labels, s->namespaces);
	if (s->selector)
		peer->selector = sel_get(&p->labels, s->selector);
	if (s->n_except) {
		peer->except = xnew0_array(struct prefix, s->n_except);
		memcpy(peer->except, s->except, s->n_except * sizeof(*s->except));
	}
	list_init(&peer->used);
	peer->any_pod = peer_is_any_pod(s);
	peer->any_node = s->type == PEER_NODES && selector_is_any(s->selector);
	peer->any_block = s->type == PEER_BLOCK && s->n_except == 0 && prefix_len_text(&s->cidr) == 0;
	return peer;
}

struct peer *peer_get(struct policy *p, const struct peer_spec *spec)
{
	_cleanup_free_ char *text = peer_text(spec);
	uint64_t h = hash_str(text);
	struct peer *peer = NULL;

	HTAB_FIND(&p->peers, h, peer, node, streq(peer->text, text));
	if (!peer) {
		peer = peer_new(p, spec);
		peer->text = take_ptr(text);
		htab_insert(&p->peers, h, &peer->node);
	}
	peer->refs++;
	return peer;
}

static void peer_free(struct policy *p, struct peer *peer)
{
	assert(peer->in_use == 0 && peer->n_classes == 0);
	htab_remove(&p->peers, &peer->node);
	if (peer->ns)
		ns_put(p, peer->ns);
	sel_put(&p->labels, peer->namespaces);
	sel_put(&p->labels, peer->selector);
	id_rest(&p->peer_ids, peer->id, p->compiled);
	free(peer->except);
	free(peer->classes);
	free(peer->text);
	free(peer);
}

/* Freed only by peers_sweep(): classes and block sets may still name it until they are made anew. */
void peer_put(struct policy *p, struct peer *peer)
{
	if (--peer->refs == 0)
		p->dead_peers = true;
}

void peers_sweep(struct policy *p)
{
	struct htab_node *n, *next;

	if (!p->dead_peers)
		return;
	for (n = htab_begin(&p->peers); n; n = next) {
		struct peer *peer = container_of(n, struct peer, node);

		next = htab_next(&p->peers, n);
		if (peer->refs == 0)
			peer_free(p, peer);
	}
	p->dead_peers = false;
}

static void list_used(struct policy *p, struct peer *peer, bool used)
{
	list_remove(&peer->used);
	if (used)
		list_push_back(&p->used[peer->type], &peer->used);
	p->n_used += used ? 1 : -1;
}

static void use_pods(struct policy *p, struct peer *peer, int by)
{
	sel_use(&p->labels, peer->selector, USE_POD, by);
	if (peer->namespaces) {
		sel_use(&p->labels, peer->namespaces, USE_NAMESPACE, by);
	} else {
		unsigned before = peer->ns->fixed_uses;

		peer->ns->fixed_uses += by;
		if (!before != !peer->ns->fixed_uses)
			peer->ns->dirty = p->ns_dirty = true;
	}
}

/* All of a family is a wildcard class, except where a rule names ports: those belong to pods, and so to classes. */
static void use_block(struct policy *p, struct peer *peer, bool names_ports, int by)
{
	unsigned before = peer->in_table;

	if (peer->any_block && !names_ports)
		return;
	peer->in_table += by;
	if (!before == !peer->in_table)
		return;
	list_used(p, peer, !before);
	p->n_table_blocks += before ? -1 : 1;
	p->n_table_marks += before ? -(1 + (size_t)peer->n_except) : 1 + (size_t)peer->n_except;
	p->blocks_dirty = true;
}

void peer_use(struct policy *p, struct peer *peer, bool names_ports, int by)
{
	unsigned before = peer->in_use;

	peer->in_use += by;
	if (peer->type == PEER_BLOCK)
		use_block(p, peer, names_ports, by);
	if (!before == !peer->in_use || peer->any_pod || peer->any_node)
		return;
	if (peer->type != PEER_BLOCK)
		list_used(p, peer, !before);
	if (peer->type == PEER_PODS) {
		use_pods(p, peer, by);
		p->peers_dirty = true;
	} else if (peer->type == PEER_NODES) {
		p->nodes_dirty = true;
	}
}
