/* SPDX-License-Identifier: Apache-2.0 */
/* The compiler's view of a port in the datapath's words. */
#include "agent/services_internal.h"
#include "base/str.h"
#include "service/slots.h"

static const char *proto_text(uint8_t proto)
{
	return proto == IPPROTO_TCP ? "tcp" : proto == IPPROTO_UDP ? "udp" : "sctp";
}

char *services_key(const struct service_view *v, size_t port)
{
	const struct service_port *p = &v->ports[port];

	if (port == v->n_ports)
		return xasprintf("%s/%s", v->namespace_, v->name);
	return xasprintf("%s/%s:%s/%u/%s%d", v->namespace_, v->name, p->name, p->port, proto_text(p->proto), p->v6 ? 6 : 4);
}

/* The same on every node, so that Maglev tables are; its low and its high half are used apart. */
static uint64_t hash_backend(const struct dp_service_backend *b)
{
	uint64_t h = hash_bytes(&b->addr, sizeof(b->addr), b->port);

	h = (h ^ h >> 33) * 0xff51afd7ed558ccdull;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53ull;
	return h ^ h >> 33;
}

static size_t fill(const struct dp_service *s, enum service_role role, uint32_t *ret, bool maglev)
{
	_cleanup_free_ struct slot_candidate *c = xnew0_array(struct slot_candidate, s->n_backends + 1);
	_cleanup_free_ uint32_t *which = xnew0_array(uint32_t, s->n_backends + 1);
	size_t n = 0, slots;

	for (size_t i = 0; i < s->n_backends; i++) {
		const struct dp_service_backend *b = &s->backends[i];

		if (!(b->roles & 1 << role))
			continue;
		c[n] = (struct slot_candidate){maglev ? hash_backend(b) : 0, role == SERVICE_CLUSTER ? b->weight : 1};
		which[n++] = i;
	}
	slots = maglev ? slots_maglev(c, n, ret) : slots_random(c, n, ret);
	for (size_t i = 0; i < slots; i++)
		ret[i] = which[ret[i]];
	return slots;
}

static size_t fill_random(const struct dp_service *s, enum service_role role, uint32_t *ret)
{
	return fill(s, role, ret, false);
}

static size_t fill_maglev(const struct dp_service *s, enum service_role role, uint32_t *ret)
{
	return fill(s, role, ret, true);
}

static void want_addresses(const struct service_view *v, struct services_want *w)
{
	w->frontends = xnew0_array(struct dp_service_frontend, v->n_vips + 1);
	for (size_t i = 0; i < v->n_vips; i++)
		w->frontends[i] = (struct dp_service_frontend){.addr = v->vips[i], .scope = SERVICE_INTERNAL, .flags = SERVICE_ADDRESS};
	w->service = (struct dp_service){.key = w->key, .frontends = w->frontends, .n_frontends = v->n_vips};
}

static void want_port(const struct service_port *p, struct services_want *w)
{
	struct dp_service_frontend *f = w->frontends = xnew0_array(struct dp_service_frontend, p->n_addresses + 1);
	struct dp_service_backend *b = w->backends = xnew0_array(struct dp_service_backend, p->n_endpoints + 1);

	for (size_t i = 0; i < p->n_addresses; i++) {
		const struct service_address *from = &p->addresses[i];

		f[i] = (struct dp_service_frontend){from->addr, from->port, from->scope, from->role, from->flags};
	}
	for (size_t i = 0; i < p->n_endpoints; i++) {
		const struct service_endpoint *from = &p->endpoints[i];

		b[i] = (struct dp_service_backend){from->addr, from->port, from->roles,
						   (from->local ? SERVICE_ON_THIS_NODE : 0) | (from->host ? SERVICE_HOST : 0),
						   from->weight};
	}
	w->service = (struct dp_service){.key = w->key,
					 .proto = p->proto,
					 .affinity_s = p->affinity_s,
					 .frontends = f,
					 .n_frontends = p->n_addresses,
					 .backends = b,
					 .n_backends = p->n_endpoints,
					 .sources = p->sources,
					 .n_sources = p->n_sources,
					 .fill = p->maglev ? fill_maglev : fill_random};
}

void services_want_init(struct services_want *w, const struct service_view *v, size_t port)
{
	*w = (struct services_want){.key = services_key(v, port)};
	if (port == v->n_ports)
		want_addresses(v, w);
	else
		want_port(&v->ports[port], w);
}

void services_want_done(struct services_want *w)
{
	free(w->key);
	free(w->frontends);
	free(w->backends);
}

int services_put_port(struct datapath *dp, const struct service_view *v, size_t port)
{
	_cleanup_(services_want_done) struct services_want w;

	services_want_init(&w, v, port);
	return datapath_put_service(dp, &w.service);
}
