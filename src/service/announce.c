/* SPDX-License-Identifier: Apache-2.0 */
#include "service/announce.h"
#include "base/str.h"
#include "service/compile_internal.h"

#define LABEL_EXCLUDE "node.kubernetes.io/exclude-from-external-load-balancers"

/* A Service's claim of an address. */
struct claim {
	struct addr addr;
	bool from_pool;
	const struct model_service *svc;
};

struct collector {
	const struct service_env *env;
	enum announce_from from;
	struct claim *claims;
	size_t n, cap;
};

static bool is_announced(const struct collector *c, const struct model_service_addr *a)
{
	bool may = false;

	if (a->kind == SERVICE_ADDR_LOAD_BALANCER)
		may = c->from == ANNOUNCE_ALL || a->of->pooled;
	else if (a->kind == SERVICE_ADDR_EXTERNAL)
		may = c->from == ANNOUNCE_ALL && c->env->external_ips;
	may = may && service_may_claim_quietly(c->env, a); /* the compiler says what is refused */
	return may && (!service_is_api_address(c->env, &a->addr) || service_publishes_api(c->env, a));
}

static bool collect(struct model_service *svc, void *ctx)
{
	struct collector *c = ctx;

	for (unsigned i = 0; svc->proxied && i < svc->n_addrs; i++) {
		if (!is_announced(c, &svc->addrs[i]))
			continue;
		GROW(c->claims, c->n, c->cap);
		c->claims[c->n++] = (struct claim){svc->addrs[i].addr, service_is_from_pool(&svc->addrs[i]), svc};
	}
	return true;
}

/* By address, then who has its ports before the others (addresses.c). */
static int compare_claims(const void *x, const void *y)
{
	const struct claim *a = x, *b = y;
	int d = addr_cmp(&a->addr, &b->addr);

	if (d)
		return d;
	if (a->from_pool != b->from_pool)
		return a->from_pool ? -1 : 1;
	if (a->svc->created != b->svc->created)
		return a->svc->created < b->svc->created ? -1 : 1;
	d = strcmp(a->svc->namespace_, b->svc->namespace_);
	return d ? d : strcmp(a->svc->name, b->svc->name);
}

/* ---- nodes ---- */

struct local {
	bool ready, serves;
};

/* What nodes have of a Service themselves. */
struct locals {
	struct model_node *const *nodes; /* by name */
	size_t n;
	struct local *at; /* each of them */
};

static int compare_name(const void *name, const void *node)
{
	return strcmp(name, (*(struct model_node *const *)node)->name);
}

static struct local *local_at(const struct locals *l, const char *node)
{
	struct model_node *const *found = l->n ? bsearch(node, l->nodes, l->n, sizeof(*l->nodes), compare_name) : NULL;

	return found ? &l->at[found - l->nodes] : NULL;
}

static void note_endpoint(const char *node, bool ready, void *ctx)
{
	struct local *at = local_at(ctx, node);

	if (!at)
		return;
	at->serves = true;
	at->ready |= ready;
}

/* Of whichever ports, as the health check's answer has it. */
static void find_locals(const struct service_env *env, const struct claim *claim, struct locals *l)
{
	l->at = xnew0_array(struct local, l->n + 1);
	for (unsigned i = 0; i < claim->svc->n_ports; i++)
		service_each_served(env, claim->svc, &claim->svc->ports[i], !addr_is_v4(&claim->addr), note_endpoint, l);
}

typedef bool node_fn(const struct model_node *n, void *ctx);

static size_t count_nodes(const struct announcement *a, node_fn *good, void *ctx)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n_nodes; i++)
		n += good(a->nodes[i], ctx);
	return n;
}

static void keep(struct announcement *a, node_fn *good, void *ctx)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n_nodes; i++)
		if (good(a->nodes[i], ctx))
			a->nodes[n++] = a->nodes[i];
	a->n_nodes = n;
}

/* As keep(), unless nobody would be left. */
static void prefer(struct announcement *a, node_fn *good, void *ctx)
{
	if (count_nodes(a, good, ctx) > 0)
		keep(a, good, ctx);
}

static bool is_well(const struct model_node *n, _unused_ void *ctx)
{
	return n->ready && !n->cordoned && !n->leaving;
}

static bool is_ready_there(const struct model_node *n, void *ctx)
{
	return local_at(ctx, n->name)->ready;
}

static bool serves_there(const struct model_node *n, void *ctx)
{
	return local_at(ctx, n->name)->serves;
}

/* Only nodes that serve the Service themselves: ready endpoints, else those that serve while they end, else nobody. */
static void keep_local(struct announcement *a, struct locals *l)
{
	keep(a, count_nodes(a, is_ready_there, l) > 0 ? is_ready_there : serves_there, l);
}

/* @claims: of one address. Where several Services share it, every Local one of them narrows the choice as long as somebody is left. */
static void choose_nodes(const struct service_env *env, const struct claim *claims, size_t n, struct model_node *const *all, size_t n_all,
			 struct announcement *a)
{
	a->nodes = xnew0_array(const struct model_node *, n_all + 1);
	for (size_t i = 0; i < n_all; i++)
		if (!model_label(all[i]->labels, LABEL_EXCLUDE))
			a->nodes[a->n_nodes++] = all[i];
	for (size_t i = 0; i < n; i++) {
		struct locals l = {.nodes = all, .n = n_all};

		if (!claims[i].svc->external_local)
			continue;
		find_locals(env, &claims[i], &l);
		if (i == 0)
			keep_local(a, &l);
		else
			prefer(a, is_ready_there, &l);
		free(l.at);
	}
	prefer(a, is_well, NULL);
}

struct announcement *service_announcements(const struct service_env *env, enum announce_from from, size_t *ret_n)
{
	struct collector c = {.env = env, .from = from};
	struct announcement *list;
	size_t n = 0, n_nodes;
	_cleanup_free_ struct model_node **nodes = model_nodes_sorted(env->model, &n_nodes);

	model_each_service(env->model, collect, &c);
	if (c.n)
		qsort(c.claims, c.n, sizeof(*c.claims), compare_claims);
	list = xnew0_array(struct announcement, c.n + 1);
	for (size_t i = 0, end; i < c.n; i = end) {
		for (end = i + 1; end < c.n && addr_eq(&c.claims[end].addr, &c.claims[i].addr);)
			end++;
		list[n] = (struct announcement){.addr = c.claims[i].addr, .namespace_ = c.claims[i].svc->namespace_,
						.name = c.claims[i].svc->name};
		choose_nodes(env, &c.claims[i], end - i, nodes, n_nodes, &list[n++]);
	}
	free(c.claims);
	*ret_n = n;
	return list;
}

void announcements_free(struct announcement *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i].nodes);
	free(list);
}
