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

static int put_addresses(struct datapath *dp, const struct service_view *v, const char *key)
{
	_cleanup_free_ struct dp_service_frontend *f = xnew0_array(struct dp_service_frontend, v->n_vips + 1);
	struct dp_service s = {.key = key, .frontends = f, .n_frontends = v->n_vips};

	for (size_t i = 0; i < v->n_vips; i++)
		f[i] = (struct dp_service_frontend){.addr = v->vips[i], .scope = SERVICE_INTERNAL, .flags = SERVICE_ADDRESS};
	return datapath_put_service(dp, &s);
}

int services_put_port(struct datapath *dp, const struct service_view *v, size_t port)
{
	_cleanup_free_ char *key = services_key(v, port);
	_cleanup_free_ struct dp_service_frontend *f = NULL;
	_cleanup_free_ struct dp_service_backend *b = NULL;
	const struct service_port *p = &v->ports[port];
	struct dp_service s = {.key = key};

	if (port == v->n_ports)
		return put_addresses(dp, v, key);
	f = xnew0_array(struct dp_service_frontend, p->n_addresses + 1);
	b = xnew0_array(struct dp_service_backend, p->n_endpoints + 1);
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
	s.proto = p->proto;
	s.affinity_s = p->affinity_s;
	s.frontends = f;
	s.n_frontends = p->n_addresses;
	s.backends = b;
	s.n_backends = p->n_endpoints;
	s.sources = p->sources;
	s.n_sources = p->n_sources;
	s.fill = p->maglev ? fill_maglev : fill_random;
	return datapath_put_service(dp, &s);
}
