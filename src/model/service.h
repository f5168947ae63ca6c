/* SPDX-License-Identifier: Apache-2.0 */
/* Services and EndpointSlices in the model: what a proxy needs of them, decoded. Strings are interned (equal ones are one pointer)
 * unless said otherwise; all is borrowed until the next change. */
#pragma once

#include "model/model.h"

enum {
	SERVICE_PORTS_MAX = 1000,
	SERVICE_ADDRESSES_MAX = 256, /* external, and of the load balancer */
	SERVICE_SOURCE_PREFIXES_MAX = 4096,
	SLICE_ENDPOINTS_MAX = 1000,
	SLICE_PORTS_MAX = 20000, /* as the API server has it */
	SLICE_HINTS_MAX = 64,
};

struct model_service_port {
	const char *name; /* "" for the unnamed one */
	uint16_t port, node_port; /* host order; 0: none */
	uint8_t proto;		  /* IPPROTO_TCP, _UDP, _SCTP */
};

enum model_service_address_kind { SERVICE_ADDR_CLUSTER, SERVICE_ADDR_LOAD_BALANCER, SERVICE_ADDR_EXTERNAL };

struct model_service_addr {
	struct htab_node node;
	struct addr addr;
	uint8_t kind; /* enum model_service_address_kind */
	struct model_service *of;
};

struct model_service {
	struct htab_node by_name;
	const char *namespace_, *name, *uid; /* uid: not interned */
	int64_t created;
	uint64_t digest; /* of what it was decoded from: to see changes */
	struct model_service_port *ports;
	unsigned n_ports;
	struct model_service_addr *addrs; /* ipMode Proxy is not among them */
	unsigned n_addrs;
	struct prefix *sources; /* loadBalancerSourceRanges */
	unsigned n_sources;
	uint32_t affinity_s;  /* sessionAffinity ClientIP; 0: none */
	uint16_t health_port; /* healthCheckNodePort; 0: none */
	bool proxied;	      /* false: headless, ExternalName, or another proxy's */
	bool internal_local, external_local; /* traffic policies */
	bool maglev;	      /* annotation weft.dev/service.algorithm: maglev */
	bool pooled;	      /* a LoadBalancerPool gave its load balancer addresses; false: another controller did, if it has some */
	bool dsr;	      /* annotation weft.dev/service.forwarding: dsr */
	bool reset;	      /* annotation weft.dev/service.removed-endpoints: reset */
	unsigned generation;
};

struct model_slice_port {
	const char *name;
	uint16_t port; /* host order; 0: not said */
	uint8_t proto;
};

enum model_endpoint_flag { ENDPOINT_READY = 1, ENDPOINT_SERVING = 2, ENDPOINT_TERMINATING = 4 };

struct model_endpoint {
	struct addr addr;	/* of several, the first: they are fungible */
	const char *node, *zone; /* "" when not said */
	const char **hints;	/* n_nodes names of nodes, then n_zones names of zones; NULL without */
	uint8_t n_nodes, n_zones;
	uint8_t flags;		/* enum model_endpoint_flag */
};

struct model_slice {
	struct htab_node by_name;
	struct list by_service; /* in its model_service_ref */
	const char *namespace_, *name, *service; /* service: "" when it belongs to none */
	struct model_slice_port *ports;
	struct model_endpoint *endpoints;
	unsigned n_ports, n_endpoints;
	bool v6;
	unsigned generation;
};

/* The Service whose endpoints are the API servers. Claims of addresses are looked at again when it changes. */
#define MODEL_API_NAMESPACE "default"
#define MODEL_API_SERVICE "kubernetes"

/* NULL when there is none. */
struct model_service *model_find_service(const struct model *m, const char *namespace_, const char *name);
/* Return false to stop. */
typedef bool model_service_fn(struct model_service *svc, void *ctx);
void model_each_service(const struct model *m, model_service_fn *fn, void *ctx);
typedef bool model_slice_fn(struct model_slice *slice, void *ctx);
/* The slices of a Service, by name. IPv4 and IPv6 ones; FQDN, and those of headless Services, are not kept. */
void model_each_slice_of(const struct model *m, const struct model_service *svc, model_slice_fn *fn, void *ctx);
/* Who uses or claims an address. */
typedef bool model_service_addr_fn(const struct model_service_addr *a, void *ctx);
void model_each_service_at(const struct model *m, const struct addr *addr, model_service_addr_fn *fn, void *ctx);

/* All of them, as if each had changed. */
void model_mark_services_dirty(struct model *m);
/* The name of a Service; it may be gone. A pod with host ports is served like a Service, and comes under a name that none can have. */
#define MODEL_HOST_POD "pod:"
struct model_service_name {
	char namespace_[64];
	char name[254 + sizeof(MODEL_HOST_POD)];
};
/* Does a Service that is proxied here have the node port? @proto: IPPROTO_TCP, _UDP, _SCTP. */
bool model_node_port_is_used(const struct model *m, uint8_t proto, uint16_t port);
/* Pods with host ports, in no order: return false to stop. */
typedef bool model_host_ports_fn(const struct model_host_ports *h, void *ctx);
void model_each_host_ports(const struct model *m, model_host_ports_fn *fn, void *ctx);
/* Has anything been marked that was not taken yet? */
bool model_services_are_dirty(const struct model *m);
/* Services that have changed since they were asked for the last time, slices and rival claims of addresses included. A Service comes
 * once, however often it has changed. Return: was there one? */
bool model_take_dirty_service(struct model *m, struct model_service_name *ret);
