/* SPDX-License-Identifier: Apache-2.0 */
/* One Service: each of its ports, in each family in which it has a cluster address, with endpoints (endpoints.c) and addresses
 * (addresses.c). */
#include "service/compile_internal.h"
#include "base/str.h"
#include "net/netobj.h"

#include <sys/socket.h>

const char *service_tier_name(enum service_tier tier)
{
	static const char *const names[SERVICE_TIERS] = {"node", "zone", "region", "far"};

	return names[tier];
}

static void note_line(struct service_view *v, bool here, const char *fmt, va_list ap)
{
	_cleanup_free_ char *line = xvasprintf(fmt, ap);

	for (size_t i = 0; i < v->n_refused; i++)
		if (streq(v->refused[i], line))
			return;
	if (v->n_refused == SERVICE_REFUSED_MAX)
		return;
	v->refused_here[v->n_refused] = here;
	v->refused[v->n_refused++] = take_ptr(line);
}

void service_note_refused(struct service_view *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note_line(v, false, fmt, ap);
	va_end(ap);
}

void service_note_refused_here(struct service_view *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note_line(v, true, fmt, ap);
	va_end(ap);
}

bool service_has_family(const struct model_service *svc, bool v6)
{
	for (unsigned i = 0; i < svc->n_addrs; i++)
		if (svc->addrs[i].kind == SERVICE_ADDR_CLUSTER && addr_is_v4(&svc->addrs[i].addr) != v6)
			return true;
	return false;
}

/* Addresses are 16 bytes, so ::/0 would let IPv4 in. */
static void collect_sources(const struct model_service *svc, struct service_port *p)
{
	p->sources = xnew0_array(struct prefix, svc->n_sources + 1);
	for (unsigned i = 0; i < svc->n_sources; i++)
		if ((prefix_family(&svc->sources[i]) == AF_INET6) == p->v6)
			p->sources[p->n_sources++] = svc->sources[i];
}

static void add_port(const struct service_env *env, const struct model_service *svc, struct service_view *v,
		     const struct model_service_port *sp, bool v6)
{
	struct service_port *p = &v->ports[v->n_ports++];

	*p = (struct service_port){.name = xstrdup(sp->name),
				   .port = sp->port,
				   .proto = sp->proto,
				   .v6 = v6,
				   .maglev = svc->maglev,
				   .affinity_s = svc->affinity_s};
	collect_sources(svc, p);
	service_collect_endpoints(env, svc, v, p);
	service_collect_addresses(env, svc, v, sp, p);
}

static void collect_vips(const struct service_env *env, const struct model_service *svc, struct service_view *v)
{
	v->vips = xnew0_array(struct addr, svc->n_addrs + 1);
	for (unsigned i = 0; i < svc->n_addrs; i++)
		if (svc->addrs[i].kind == SERVICE_ADDR_CLUSTER && service_may_claim(env, v, &svc->addrs[i]))
			v->vips[v->n_vips++] = svc->addrs[i].addr;
}

static bool is_ready_here(const struct service_endpoint *e)
{
	return e->local && !e->terminating && e->roles & 1 << SERVICE_LOCAL;
}

static int addr_order(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct addr));
}

/* Of one family: each address once, however many of the ports it serves. */
static uint32_t count_ready_addrs(const struct service_view *v, bool v6)
{
	_cleanup_free_ struct addr *all = NULL;
	uint32_t distinct = 0;
	size_t n = 0;

	for (size_t i = 0; i < v->n_ports; i++)
		n += v->ports[i].v6 == v6 ? v->ports[i].n_endpoints : 0;
	all = xnew0_array(struct addr, n + 1);
	n = 0;
	for (size_t i = 0; i < v->n_ports; i++)
		for (size_t k = 0; v->ports[i].v6 == v6 && k < v->ports[i].n_endpoints; k++)
			if (is_ready_here(&v->ports[i].endpoints[k]))
				all[n++] = v->ports[i].endpoints[k].addr;
	qsort(all, n, sizeof(*all), addr_order);
	for (size_t i = 0; i < n; i++)
		distinct += i == 0 || !addr_eq(&all[i], &all[i - 1]);
	return distinct;
}

/* Ready endpoints of this node, of whichever ports: the health check's answer (KEP-1669: one that ends does not count). A pod has an address of each
 * family. */
static uint32_t count_local_ready(const struct service_view *v)
{
	return MAX(count_ready_addrs(v, false), count_ready_addrs(v, true));
}

struct service_view *service_compile(const struct service_env *env, const struct model_service *svc)
{
	struct service_view *v = xnew0(struct service_view);

	v->namespace_ = xstrdup(svc->namespace_);
	v->name = xstrdup(svc->name);
	if (!svc->proxied)
		return v;
	v->ports = xnew0_array(struct service_port, 2 * svc->n_ports + 1);
	collect_vips(env, svc, v);
	for (unsigned i = 0; i < svc->n_ports; i++)
		for (int v6 = 0; v6 < 2; v6++)
			if (service_has_family(svc, v6))
				add_port(env, svc, v, &svc->ports[i], v6);
	v->health_port = svc->health_port;
	v->local_ready = count_local_ready(v);
	return v;
}

struct service_view *service_view_free(struct service_view *v)
{
	if (!v)
		return NULL;
	for (size_t i = 0; i < v->n_ports; i++) {
		free(v->ports[i].name);
		free(v->ports[i].addresses);
		free(v->ports[i].endpoints);
		free(v->ports[i].sources);
	}
	for (size_t i = 0; i < v->n_refused; i++)
		free(v->refused[i]);
	free(v->ports);
	free(v->vips);
	free(v->namespace_);
	free(v->name);
	free(v);
	return NULL;
}

static bool port_eq(const struct service_port *a, const struct service_port *b)
{
	if (!streq(a->name, b->name) || a->port != b->port || a->proto != b->proto || a->v6 != b->v6 || a->maglev != b->maglev ||
	    a->affinity_s != b->affinity_s || a->any_endpoint != b->any_endpoint || a->n_addresses != b->n_addresses ||
	    a->n_endpoints != b->n_endpoints || a->n_sources != b->n_sources)
		return false;
	/* neither struct has padding (asserted in service.h) */
	return (!a->n_addresses || memcmp(a->addresses, b->addresses, a->n_addresses * sizeof(*a->addresses)) == 0) &&
	       (!a->n_endpoints || memcmp(a->endpoints, b->endpoints, a->n_endpoints * sizeof(*a->endpoints)) == 0) &&
	       (!a->n_sources || memcmp(a->sources, b->sources, a->n_sources * sizeof(*a->sources)) == 0);
}

bool service_view_eq(const struct service_view *a, const struct service_view *b)
{
	if (a->n_ports != b->n_ports || a->n_vips != b->n_vips || a->health_port != b->health_port ||
	    a->local_ready != b->local_ready)
		return false;
	for (size_t i = 0; i < a->n_ports; i++)
		if (!port_eq(&a->ports[i], &b->ports[i]))
			return false;
	return !a->n_vips || memcmp(a->vips, b->vips, a->n_vips * sizeof(*a->vips)) == 0;
}
