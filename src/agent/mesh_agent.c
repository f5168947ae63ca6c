/* SPDX-License-Identifier: Apache-2.0 */
/* What belongs to whom is decided once, by the compiler of routes; the same prefixes are WireGuard's allowed addresses, the
 * datapath's node routes and the kernel's routes.
 *
 * The engine's own packets need no mark and no rule: routes to peers' node addresses through the interface stand in the table of
 * peers, which only packets *from pods* are looked up in, and an endpoint inside a pod range is never taken. */
#include "agent/agent.h"
#include "agent/lists.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/str.h"

#include <sys/prctl.h>

const char MESH_DEVICE[] = "weft-wg";
static const char RUN_DIR[] = "/var/run/wireguard";

static void tell_foreign(struct agent *a)
{
	struct mesh_status s;

	mesh_status(a->mesh.mesh, &s);
	if (s.lost != a->mesh.lost)
		repairs_note(&a->repairs, REPAIR_PEER, s.lost - a->mesh.lost, MESH_DEVICE);
	if (s.changed != a->mesh.changed)
		repairs_note(&a->repairs, REPAIR_DEVICE, s.changed - a->mesh.changed, "key, port or mark of weft-wg");
	a->mesh.lost = s.lost;
	a->mesh.changed = s.changed;
}

static void on_mesh(void *ctx)
{
	struct agent *a = ctx;

	tell_foreign(a);
	agent_mesh_set_health(a);
	agent_mesh_publish(a);
}

/* Programs stand beside each other. */
static char *engine_program(void)
{
	char self[4096] = "";

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return xstrdup("/usr/sbin/weft-wg");
	*strrchr(self, '/') = '\0';
	return xasprintf("%s/weft-wg", self);
}

static int on_attempt(sd_event_source *s, uint64_t usec, void *ctx)
{
	struct agent *a = ctx;

	a->mesh.attempt++;
	if (a->planned && a->synced[MODEL_NODES])
		agent_mesh_apply(a);
	(void)sd_event_source_set_time(s, usec + MESH_ATTEMPT_S * 1000000ull);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

int agent_mesh_start(struct agent *a)
{
	_cleanup_free_ char *path = xasprintf("%s/mesh.key", a->opt.mesh_dir), *why = NULL;
	struct agent_mesh *m = &a->mesh;
	struct mesh_options o = {.name = MESH_DEVICE, .choice = (enum mesh_choice)a->opt.mesh_engine, .run_dir = RUN_DIR};
	int r;

	if (!mesh_is_on(&a->opt)) {
		health_set(&a->health, PART_MESH, NULL);
		return 0;
	}
	if (prctl(PR_SET_DUMPABLE, 0) < 0) /* no core: the key would be in it */
		log_warn("a core dump of the agent would hold the node's WireGuard key", L_ERRNO(errno));
	r = mesh_key_load(path, a->opt.node_name, &m->key, &why);
	if (r < 0) {
		log_error("cannot have a WireGuard key", L_STR("why", why), L_ERRNO(r));
		return r;
	}
	if (r > 0)
		log_info("this node has a new WireGuard key", L_STR("file", path));
	o.program = m->program = engine_program();
	o.state_dir = m->state_dir = xasprintf("%s/wg", a->opt.mesh_dir);
	r = mesh_new(a->event, &o, on_mesh, a, &m->mesh);
	if (r == 0)
		r = sd_event_add_time_relative(a->event, &m->attempt_timer, CLOCK_MONOTONIC, MESH_ATTEMPT_S * 1000000ull, 0, on_attempt, a);
	if (r >= 0)
		agent_mesh_resume_rotation(a);
	return MIN(r, 0);
}

void agent_mesh_stop(struct agent *a)
{
	struct agent_mesh *m = &a->mesh;

	m->mesh = mesh_free(m->mesh);
	sd_event_source_disable_unref(m->attempt_timer);
	sd_event_source_disable_unref(m->rotation_timer);
	agent_mesh_publish_done(a);
	mesh_plan_done(&m->plan);
	mesh_key_done(&m->key);
	free(m->refused);
	free(m->program);
	free(m->state_dir);
}

int agent_mesh_ensure(struct agent *a, uint32_t mtu, bool mtu_is_new, uint32_t *ret_ifindex, const char **ret_mended, char **ret_error)
{
	mtu = MAX(route_transport_mtu(ROUTE_WIREGUARD, mtu), (uint32_t)IPV6_LEAST_MTU); /* the routes say what fits */
	return mesh_ensure_device(a->mesh.mesh, a->nl, mtu, mtu_is_new, ret_ifindex, ret_mended, ret_error);
}

/* ---- the guard ---- */

struct guarded {
	struct dp_guarded *list;
	size_t n, cap;
};

static void guard_prefix(struct guarded *g, const struct prefix *p, bool node)
{
	GROW(g->list, g->n, g->cap);
	g->list[g->n++] = (struct dp_guarded){.prefix = *p, .node = node};
}

static void guard_node(struct guarded *g, const struct addr *a)
{
	struct prefix host = prefix_host(a);

	guard_prefix(g, &host, true);
}

static bool is_among_pods(const struct guarded *pods, const struct addr *a)
{
	for (size_t i = 0; i < pods->n; i++)
		if (prefix_contains(&pods->list[i].prefix, a))
			return true;
	return false;
}

/* Not its addresses in pod ranges, as the longer prefix counts: there they are guarded as pods', also towards other nodes. */
static void guard_own(struct guarded *g, const struct node_facts *f, const struct guarded *pods)
{
	for (size_t i = 0; i < f->n_own; i++)
		if (!is_among_pods(pods, &f->own[i]))
			guard_node(g, &f->own[i]);
}

int agent_mesh_guard(struct agent *a)
{
	struct prefix configured[LIST_PREFIXES_MAX];
	_cleanup_free_ struct model_node **nodes = NULL;
	struct guarded g = {0}, pods = {0};
	size_t n_nodes, n_configured;
	int r = list_prefixes(a->opt.mesh_pod_ranges, configured, &n_configured);

	if (!mesh_is_on(&a->opt))
		return 0;
	assert(r == 0); /* checked when it was read */
	nodes = model_nodes_sorted(a->model, &n_nodes);
	for (size_t i = 0; i < n_nodes; i++)
		for (unsigned k = 0; k < nodes[i]->n_cidrs; k++)
			guard_prefix(&pods, &nodes[i]->cidrs[k], false);
	for (size_t i = 0; i < n_configured; i++)
		guard_prefix(&pods, &configured[i], false);
	for (size_t i = 0; i < n_nodes; i++)
		for (unsigned k = 0; k < nodes[i]->n_addrs; k++)
			guard_node(&g, &nodes[i]->addrs[k]);
	for (size_t i = 0; i < a->facts.n_underlays; i++)
		guard_node(&g, &a->facts.underlays[i].addr);
	guard_own(&g, &a->facts, &pods);
	for (size_t i = 0; i < pods.n; i++) /* after the addresses: of two equal prefixes the later counts */
		guard_prefix(&g, &pods.list[i].prefix, false);
	r = datapath_apply_guard(a->dp, g.list, g.n);
	free(pods.list);
	free(g.list);
	return r;
}

/* ---- the interface ---- */

static int cmp_claim(const void *x, const void *y)
{
	const struct mesh_claim *a = x, *b = y;
	int r = strcmp(a->node, b->node);

	return r ? r : addr_cmp(&a->prefix.addr, &b->prefix.addr);
}

static size_t list_claims(const struct agent *a, struct mesh_claim **ret)
{
	struct mesh_claim *list = xnew0_array(struct mesh_claim, a->plan.n_node_routes + 1);
	size_t n = 0;

	for (size_t i = 0; i < a->plan.n_node_routes; i++)
		if (a->plan.node_routes[i].transport == ROUTE_WIREGUARD)
			list[n++] = (struct mesh_claim){a->plan.node_routes[i].node, a->plan.node_routes[i].prefix};
	qsort(list, n, sizeof(*list), cmp_claim);
	*ret = list;
	return n;
}

/* Nodes that get no tunnel, as their key is another's: said once for each change. */
static void tell_refused(struct agent_mesh *m)
{
	struct buf text = {.max = 1024}; /* who fits is enough */

	for (size_t i = 0; i < m->plan.n_found; i++)
		if (m->plan.found[i].state == MESH_PEER_DUPLICATE)
			(void)buf_addf(&text, "%s%s has the key of %s", text.len ? ", " : "", m->plan.found[i].name, m->plan.found[i].holder);
	if (text.data && !streq(m->refused, text.data))
		log_warn("no tunnel to nodes that have another's WireGuard key", L_STR("nodes", text.data));
	free(m->refused);
	m->refused = text.data;
}

void agent_mesh_apply(struct agent *a)
{
	struct agent_mesh *m = &a->mesh;
	_cleanup_free_ struct mesh_claim *claims = NULL;
	struct mesh_config c = {.node = a->opt.node_name,
				.private_key = m->key.uses_next ? m->key.next_private : m->key.private_key,
				.public_key = m->key.public_key,
				.port = a->opt.mesh_port,
				.keepalive_s = a->opt.mesh_keepalive,
				.attempt = m->attempt};
	size_t n = list_claims(a, &claims);

	for (size_t i = 0; i < a->facts.n_between; i++) {
		c.ipv4 |= addr_is_v4(&a->facts.underlays[i].addr);
		c.ipv6 |= !addr_is_v4(&a->facts.underlays[i].addr);
	}
	if (!a->synced[MODEL_MESH_NODES])
		return; /* after a restart: the engine goes on with the peers that it has */
	mesh_plan_done(&m->plan);
	mesh_compile(&c, a->model, claims, n, &m->plan);
	m->planned = true;
	tell_refused(m);
	mesh_apply(m->mesh, &m->plan.device);
	agent_mesh_set_health(a);
	agent_mesh_publish(a);
}

void agent_mesh_set_health(struct agent *a)
{
	struct agent_mesh *m = &a->mesh;
	_cleanup_free_ char *why = NULL;
	struct mesh_status s;

	if (!m->mesh)
		return;
	mesh_status(m->mesh, &s);
	if (m->planned && m->plan.own_holder)
		why = xasprintf("this node's key is that of the older MeshNode %s: nobody talks to this node under it; remove %s/mesh.key",
				m->plan.own_holder, a->opt.mesh_dir);
	else if (s.error)
		why = xstrdup(s.error);
	else if (m->told.error)
		why = xasprintf("this node's MeshNode cannot be written: %s", m->told.error);
	else if (!s.settled)
		why = xstrdup("the WireGuard interface is being configured");
	health_set(&a->health, PART_MESH, why);
}
