/* SPDX-License-Identifier: Apache-2.0 */
#include "mesh/plan.h"

const char *mesh_peer_state_name(enum mesh_peer_state s)
{
	static const char *const names[] = {"ok", "no-key", "no-endpoint", "duplicate-key"};

	return names[s];
}

/* A key with the MeshNode that says it. */
struct use {
	const uint8_t *key;
	const struct model_mesh_node *node;
};

/* By key; of one key, the node that was there first. */
static int cmp_use(const void *x, const void *y)
{
	const struct use *a = x, *b = y;
	int r = memcmp(a->key, b->key, MESH_KEY);

	if (r == 0 && a->node->created != b->node->created)
		r = a->node->created < b->node->created ? -1 : 1;
	if (r == 0)
		r = strcmp(a->node->uid, b->node->uid);
	return r ? r : strcmp(a->node->name, b->node->name);
}

struct compiling {
	const struct mesh_config *config;
	const struct model *model;
	struct use *uses; /* sorted */
	size_t n_uses;
	struct prefix *claimed; /* by address; disjoint */
	size_t n_claimed;
	struct mesh_plan *plan;
};

static void collect_uses(struct compiling *c)
{
	_cleanup_free_ struct model_mesh_node **nodes = NULL;
	size_t n;

	nodes = model_mesh_nodes_sorted(c->model, &n);
	c->uses = xnew0_array(struct use, 2 * n + 1);
	for (size_t i = 0; i < n; i++) {
		c->uses[c->n_uses++] = (struct use){nodes[i]->key, nodes[i]};
		if (nodes[i]->has_next)
			c->uses[c->n_uses++] = (struct use){nodes[i]->next_key, nodes[i]};
	}
	qsort(c->uses, c->n_uses, sizeof(*c->uses), cmp_use);
}

/* Whose is the key? NULL when nobody has published it. */
static const struct model_mesh_node *holder_of(const struct compiling *c, const uint8_t key[static MESH_KEY])
{
	size_t low = 0, high = c->n_uses;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (memcmp(c->uses[mid].key, key, MESH_KEY) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low < c->n_uses && memcmp(c->uses[low].key, key, MESH_KEY) == 0 ? c->uses[low].node : NULL;
}

/* The name of another node that has the key, or NULL. */
static const char *foreign_holder(const struct compiling *c, const char *name, const uint8_t key[static MESH_KEY])
{
	const struct model_mesh_node *holder = holder_of(c, key);

	if (memcmp(key, c->config->public_key, MESH_KEY) == 0 && !streq(name, c->config->node))
		return c->config->node; /* no tunnel to ourselves, whoever was first */
	return holder && !streq(holder->name, name) ? holder->name : NULL;
}

static int cmp_prefix(const void *a, const void *b)
{
	return addr_cmp(&((const struct prefix *)a)->addr, &((const struct prefix *)b)->addr);
}

/* Ranges only: a node's own address is where it may well be reached. */
static void collect_claimed(struct compiling *c, const struct mesh_claim *claims, size_t n)
{
	c->claimed = xnew0_array(struct prefix, n + 1);
	for (size_t i = 0; i < n; i++)
		if (claims[i].prefix.len < 128)
			c->claimed[c->n_claimed++] = claims[i].prefix;
	qsort(c->claimed, c->n_claimed, sizeof(*c->claimed), cmp_prefix);
}

/* An endpoint among the pods would send encrypted packets into the tunnel again. */
static bool is_claimed(const struct compiling *c, const struct addr *a)
{
	size_t low = 0, high = c->n_claimed;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (addr_cmp(&c->claimed[mid].addr, a) <= 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low > 0 && prefix_contains(&c->claimed[low - 1], a);
}

static bool choose_endpoint(const struct compiling *c, const struct model_mesh_node *node, struct mesh_peer *peer)
{
	struct model_mesh_endpoint usable[MESH_ENDPOINTS_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < node->n_endpoints; i++)
		if ((addr_is_v4(&node->endpoints[i].addr) ? c->config->ipv4 : c->config->ipv6) && !is_claimed(c, &node->endpoints[i].addr))
			usable[n++] = node->endpoints[i];
	if (!n)
		return false;
	peer->endpoint = usable[c->config->attempt % n].addr;
	peer->port = usable[c->config->attempt % n].port;
	return true;
}

static struct mesh_peer *add_peer(struct compiling *c, const struct model_mesh_node *node, const uint8_t key[static MESH_KEY], bool *ret_reached)
{
	struct mesh_peer *p = mesh_device_add(&c->plan->device, key);

	*ret_reached = choose_endpoint(c, node, p);
	p->keepalive_s = *ret_reached ? c->config->keepalive_s : 0;
	p->begins = memcmp(key, c->config->public_key, MESH_KEY) < 0;
	return p;
}

/* One node: its claims are claims[0] to claims[n - 1]. */
static void plan_node(struct compiling *c, const struct mesh_claim *claims, size_t n)
{
	const struct model_mesh_node *node = model_find_mesh_node(c->model, claims[0].node);
	struct mesh_found *found = &c->plan->found[c->plan->n_found++];
	bool reached = false, next_reached;
	struct mesh_peer *peer;

	*found = (struct mesh_found){.name = claims[0].node, .state = MESH_PEER_NO_KEY};
	if (!node)
		return;
	memcpy(found->key, node->key, MESH_KEY);
	found->holder = foreign_holder(c, node->name, node->key);
	if (found->holder) {
		found->state = MESH_PEER_DUPLICATE;
		return;
	}
	found->has_next = node->has_next && memcmp(node->next_key, node->key, MESH_KEY) != 0 && !foreign_holder(c, node->name, node->next_key);
	if (found->has_next) {
		memcpy(found->next_key, node->next_key, MESH_KEY);
		peer = add_peer(c, node, node->next_key, &next_reached);
		peer->has_predecessor = true;
		memcpy(peer->predecessor, node->key, MESH_KEY);
	}
	peer = add_peer(c, node, node->key, &reached); /* last: what was added before may have moved */
	peer->has_successor = found->has_next;
	memcpy(peer->successor, found->next_key, MESH_KEY);
	for (size_t i = 0; i < n; i++)
		mesh_peer_allow(peer, &claims[i].prefix);
	found->state = reached ? MESH_PEER_OK : MESH_PEER_NO_ENDPOINT;
}

void mesh_compile(const struct mesh_config *config, const struct model *m, const struct mesh_claim *claims, size_t n,
		  struct mesh_plan *ret)
{
	struct compiling c = {.config = config, .model = m, .plan = ret};
	const struct model_mesh_node *own;
	size_t end;

	*ret = (struct mesh_plan){.device = {.has_key = true, .port = config->port, .mark = config->mark}};
	memcpy(ret->device.key, config->private_key, MESH_KEY);
	ret->found = xnew0_array(struct mesh_found, n + 1);
	collect_uses(&c);
	collect_claimed(&c, claims, n);
	for (size_t i = 0; i < n; i = end) {
		for (end = i + 1; end < n && streq(claims[end].node, claims[i].node); end++)
			;
		plan_node(&c, claims + i, end - i);
	}
	own = holder_of(&c, config->public_key);
	ret->own_holder = own && !streq(own->name, config->node) ? own->name : NULL;
	mesh_device_sort(&ret->device);
	free(c.uses);
	free(c.claimed);
}

void mesh_plan_done(struct mesh_plan *p)
{
	mesh_device_done(&p->device);
	free(p->found);
	*p = (struct mesh_plan){0};
}

static int cmp_found(const void *key, const void *x)
{
	return strcmp(key, ((const struct mesh_found *)x)->name);
}

const struct mesh_found *mesh_plan_find(const struct mesh_plan *p, const char *node)
{
	return p->n_found ? bsearch(node, p->found, p->n_found, sizeof(*p->found), cmp_found) : NULL;
}
