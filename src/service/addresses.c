/* SPDX-License-Identifier: Apache-2.0 */
/* Where a Service is reached, and who may claim an address. Whoever can write a Service could else have the packets that are meant
 * for a node, the API or another Service (CVE-2020-8554): an address that somebody has already is not to be claimed. */
#include "service/compile_internal.h"

const char *service_addr_fault(const struct addr *a)
{
	static const struct addr any4 = {{[10] = 0xff, [11] = 0xff}}, any6, loopback6 = {{[15] = 1}};

	if (addr_eq(a, &any4) || addr_eq(a, &any6))
		return "the unspecified address";
	if (addr_eq(a, &loopback6) || (addr_is_v4(a) && a->b[12] == 127))
		return "a loopback address";
	if (addr_is_v4(a) ? a->b[12] == 169 && a->b[13] == 254 : a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80)
		return "a link-local address";
	if (addr_is_v4(a) ? a->b[12] >= 224 : a->b[0] == 0xff)
		return "no address of one host";
	return NULL;
}

struct rivals {
	const struct service_env *env;
	const struct model_service *svc;
	bool from_pool; /* a pool gave it to @svc */
	const struct model_service *winner; /* who has the address, or the port of it, if it is not @svc */
	const struct model_service_port *port; /* NULL: only cluster addresses count */
};

static bool is_older(const struct model_service *a, const struct model_service *b)
{
	if (a->created != b->created)
		return a->created < b->created;
	if (!streq(a->namespace_, b->namespace_))
		return strcmp(a->namespace_, b->namespace_) < 0;
	return strcmp(a->name, b->name) < 0;
}

/* Its port that is the same, or NULL. */
static const struct model_service_port *find_port(const struct model_service *s, const struct model_service_port *port)
{
	for (unsigned i = 0; i < s->n_ports; i++)
		if (s->ports[i].port == port->port && s->ports[i].proto == port->proto)
			return &s->ports[i];
	return NULL;
}

/* Whoever does not serve an address keeps nobody from it: else anybody could name an address in a Service of no use, and close it. */
static bool is_served(const struct service_env *env, const struct model_service_addr *a)
{
	return a->of->proxied && (a->kind != SERVICE_ADDR_EXTERNAL || env->external_ips) && service_has_family(a->of, !addr_is_v4(&a->addr));
}

static bool has_port(const struct service_env *env, const struct model_service_addr *a, const struct model_service_port *port)
{
	const struct model_service_port *its = find_port(a->of, port);

	return its && !service_takes_api(env, a, its);
}

/* The administrator's word before anybody's: else an older Service could name the addresses of a pool in its externalIPs, and take them from whoever gets
 * one. Of equal claims the older one counts. */
static bool goes_before(const struct rivals *r, const struct model_service_addr *a)
{
	bool from_pool = service_is_from_pool(a);

	return from_pool != r->from_pool ? from_pool : is_older(a->of, r->svc);
}

static bool look_at_rival(const struct model_service_addr *a, void *ctx)
{
	struct rivals *r = ctx;

	if (a->of == r->svc || !is_served(r->env, a))
		return true;
	if (a->kind == SERVICE_ADDR_CLUSTER ||
	    (r->port && goes_before(r, a) && has_port(r->env, a, r->port)))
		r->winner = a->of;
	return !r->winner;
}

/* Several Services may share an address, but not a port of it. @a: as @a->of claims it. */
static const struct model_service *find_winner(const struct service_env *env, const struct model_service_addr *a, const struct model_service_port *port)
{
	struct rivals r = {.env = env, .svc = a->of, .from_pool = service_is_from_pool(a), .port = port};

	model_each_service_at(env->model, &a->addr, look_at_rival, &r);
	return r.winner;
}

static const char *kind_text(uint8_t kind)
{
	return kind == SERVICE_ADDR_EXTERNAL ? "external address" : kind == SERVICE_ADDR_LOAD_BALANCER ? "load balancer address" : "cluster address";
}

bool service_is_from_pool(const struct model_service_addr *a)
{
	return a->kind == SERVICE_ADDR_LOAD_BALANCER && a->of->pooled;
}

/* What another controller has given may be on the uplink for that very reason. */
static bool is_held(const struct service_env *env, const struct model_service_addr *a)
{
	if (a->kind == SERVICE_ADDR_LOAD_BALANCER && !a->of->pooled)
		return false;
	for (size_t i = 0; i < env->n_held; i++)
		if (addr_eq(&env->held[i], &a->addr))
			return true;
	return false;
}

bool service_may_claim(const struct service_env *env, struct service_view *v, const struct model_service_addr *a)
{
	const struct model_service *other;
	const char *fault = service_addr_fault(&a->addr), *kind = kind_text(a->kind);
	char text[ADDR_TEXT_MAX];

	addr_format(&a->addr, text);
	if (fault) {
		service_note_refused(v, "%s %s: %s", kind, text, fault);
		return false;
	}
	if (a->kind == SERVICE_ADDR_CLUSTER) /* the API server gives each once */
		return true;
	if (model_is_node_addr(env->model, &a->addr)) {
		service_note_refused(v, "%s %s: a node has it", kind, text);
		return false;
	}
	if (is_held(env, a)) {
		service_note_refused_here(v, "%s %s: node %s has it on an uplink", kind, text, env->node);
		return false;
	}
	for (size_t i = 0; i < env->n_pod_ranges; i++)
		if (prefix_contains(&env->pod_ranges[i], &a->addr)) {
			service_note_refused(v, "%s %s: in a range of pods", kind, text);
			return false;
		}
	other = find_winner(env, a, NULL);
	if (other)
		service_note_refused(v, "%s %s: Service %s/%s has it", kind, text, other->namespace_, other->name);
	return !other;
}

bool service_may_claim_quietly(const struct service_env *env, const struct model_service_addr *a)
{
	struct service_view scratch = {};
	bool may = service_may_claim(env, &scratch, a);

	for (size_t i = 0; i < scratch.n_refused; i++)
		free(scratch.refused[i]);
	return may;
}

struct holder {
	const struct service_env *env;
	struct model_service_port port;
	const struct model_service *found;
};

static bool look_at_holder(const struct model_service_addr *a, void *ctx)
{
	struct holder *h = ctx;

	if (is_served(h->env, a) && has_port(h->env, a, &h->port) && service_may_claim_quietly(h->env, a))
		h->found = a->of;
	return !h->found;
}

const struct model_service *service_find_holder(const struct service_env *env, const struct addr *addr, uint8_t proto, uint16_t port)
{
	struct holder h = {.env = env, .port = {.port = port, .proto = proto}};

	model_each_service_at(env->model, addr, look_at_holder, &h);
	return h.found;
}

struct adder {
	const struct service_env *env;
	const struct model_service *svc;
	struct service_view *view;
	struct service_port *port;
};

static void add(struct adder *a, const struct addr *addr, uint16_t port, enum service_kind kind, enum service_scope scope,
		enum service_role role, uint8_t flags)
{
	struct service_port *p = a->port;

	p->addresses[p->n_addresses++] = (struct service_address){.addr = *addr,
								  .port = port,
								  .kind = kind,
								  .scope = scope,
								  .role = role,
								  .flags = flags | (p->maglev ? SERVICE_MAGLEV : 0) | (a->svc->reset ? SERVICE_RESET : 0) |
									   (role == SERVICE_LOCAL && p->any_endpoint ? SERVICE_DROP_EMPTY : 0)};
}

/* From inside, an external address is a short way to the Service itself: traffic policy Local is about what comes from outside. */
static void add_external(struct adder *a, const struct addr *addr, uint16_t port, enum service_kind kind)
{
	enum service_role role = a->svc->external_local ? SERVICE_LOCAL : SERVICE_CLUSTER;
	uint8_t flags = a->svc->external_local ? SERVICE_KEEP_CLIENT : a->env->dsr || a->svc->dsr ? SERVICE_DSR : 0;
	uint8_t sources = kind == SERVICE_LOAD_BALANCER && a->svc->n_sources ? SERVICE_SOURCES : 0;

	add(a, addr, port, kind, SERVICE_INTERNAL, SERVICE_CLUSTER, sources);
	add(a, addr, port, kind, SERVICE_EXTERNAL, role, flags | sources);
	if (flags & SERVICE_DSR)
		add(a, addr, port, kind, SERVICE_FORWARDED, SERVICE_LOCAL, sources);
}

static void add_addr(struct adder *a, const struct model_service_addr *at, const struct model_service_port *sp)
{
	const struct model_service *other;
	char text[ADDR_TEXT_MAX];

	if (addr_is_v4(&at->addr) == a->port->v6 || (at->kind == SERVICE_ADDR_EXTERNAL && !a->env->external_ips) ||
	    !service_may_claim(a->env, a->view, at))
		return;
	if (at->kind == SERVICE_ADDR_CLUSTER) {
		enum service_role role = a->svc->internal_local ? SERVICE_LOCAL : SERVICE_CLUSTER;

		add(a, &at->addr, sp->port, SERVICE_CLUSTER_IP, SERVICE_INTERNAL, role, 0);
		return;
	}
	if (service_takes_api(a->env, at, sp)) {
		service_note_refused(a->view, "%s %s, port %u: the API server has it", kind_text(at->kind), addr_format(&at->addr, text), sp->port);
		return;
	}
	other = find_winner(a->env, at, sp);
	if (other)
		service_note_refused(a->view, "%s %s, port %u: Service %s/%s has it", kind_text(at->kind),
				     addr_format(&at->addr, text), sp->port, other->namespace_, other->name);
	else
		add_external(a, &at->addr, sp->port,
			     at->kind == SERVICE_ADDR_EXTERNAL ? SERVICE_EXTERNAL_IP : SERVICE_LOAD_BALANCER);
}

void service_collect_addresses(const struct service_env *env, const struct model_service *svc, struct service_view *v,
			       const struct model_service_port *sp, struct service_port *p)
{
	static const struct addr any[2] = {{{[10] = 0xff, [11] = 0xff}}};
	struct adder a = {env, svc, v, p};

	p->addresses = xnew0_array(struct service_address, 3 * (svc->n_addrs + 1));
	for (unsigned i = 0; i < svc->n_addrs; i++)
		add_addr(&a, &svc->addrs[i], sp);
	if (sp->node_port)
		add_external(&a, &any[p->v6], sp->node_port, SERVICE_NODE_PORT);
}
