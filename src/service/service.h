/* SPDX-License-Identifier: Apache-2.0 */
/* The Service compiler: pure. One Service, its EndpointSlices and this node go in; out comes the Service as this node serves it:
 * the addresses under which it is reached and the endpoints that may be used, by kube-proxy's rules (docs/services.md).
 *
 * Services are compiled one by one; what one of them wants does not depend on another, except for addresses that two claim: the older
 * one has them, and both are compiled anew when one of them changes (model/service.h). */
#pragma once

#include "model/model.h"
#include "model/service.h"
#include "weft/service.h" /* bpf/abi: enum service_scope, service_role, service_flag */

enum service_tier { SERVICE_TIER_NODE, SERVICE_TIER_ZONE, SERVICE_TIER_REGION, SERVICE_TIER_FAR, SERVICE_TIERS };
const char *service_tier_name(enum service_tier tier); /* "node", "zone", "region", "far" */

struct service_api {
	struct addr addr;
	uint16_t port; /* host order */
};

/* What the compiler must know beside the Service. Borrowed for the call. */
struct service_env {
	const struct model *model; /* nodes: zones and regions of endpoints */
	const char *node;	   /* this node's name; its zone and region are in the model, too */
	const struct prefix *pod_ranges; /* of the cluster: no Service may claim an address in them */
	size_t n_pod_ranges;
	const struct service_api *api; /* where this node's agent asks for the API server; default/kubernetes says where the servers are */
	size_t n_api;
	const struct addr *own; /* this node's addresses, where host ports are */
	size_t n_own;
	const struct addr *held; /* those of its uplinks that lie in a network: a lone address (/32, /128) may be one that moves between nodes for a Service */
	size_t n_held;
	bool host_ports;   /* are they served? */
	bool external_ips; /* are spec.externalIPs served? */
	bool tiers;	   /* prefer near endpoints where nobody hints */
	bool dsr;	   /* DSR unless the Service says otherwise */
	unsigned nodes[SERVICE_TIERS]; /* with tiers: how many nodes there are in this node's zone, region and in all, itself included */
};

/* An endpoint of one port in one family. Those that may not be used are there only where connections to removed ones are reset: not to be
 * used is not to be removed. */
struct service_endpoint {
	struct addr addr;
	uint16_t port; /* host order */
	uint8_t roles; /* bits 1 << enum service_role: the sets that it is in */
	uint8_t tier;  /* enum service_tier */
	uint8_t weight; /* in the set SERVICE_CLUSTER: slots it gets beside the others; 1 where nobody spills */
	bool terminating;
	bool local;
	bool host; /* its address is a node's */
};

/* Where the port is reached. */
enum service_kind { SERVICE_CLUSTER_IP, SERVICE_NODE_PORT, SERVICE_LOAD_BALANCER, SERVICE_EXTERNAL_IP, SERVICE_HOST_PORT };

struct service_address {
	struct addr addr; /* unspecified of its family for SERVICE_NODE_PORT */
	uint16_t port;	  /* host order */
	uint8_t kind;	  /* enum service_kind */
	uint8_t scope;	  /* enum service_scope */
	uint8_t role;	  /* enum service_role: which set serves it */
	uint8_t flags;	  /* enum service_flag */
};

/* Compared as bytes. */
_Static_assert(sizeof(struct service_endpoint) == 24 && sizeof(struct service_address) == 22, "no padding");

/* One port of a Service in one family. */
struct service_port {
	char *name;	  /* "" for the unnamed one */
	uint16_t port;	  /* host order */
	uint8_t proto;	  /* IPPROTO_* */
	bool v6;
	bool maglev;
	bool any_endpoint; /* somebody could serve, if not for this node: an empty set drops rather than refuses */
	uint32_t affinity_s; /* 0: none */
	struct service_address *addresses;
	size_t n_addresses;
	struct service_endpoint *endpoints; /* sorted by address and port; each once */
	size_t n_endpoints;
	struct prefix *sources; /* who may come where an address has SERVICE_SOURCES; of the port's family */
	size_t n_sources;
};

enum { SERVICE_REFUSED_MAX = 16 };

/* A Service as this node serves it. */
struct service_view {
	char *namespace_, *name;
	struct service_port *ports;
	size_t n_ports;
	struct addr *vips; /* cluster addresses: every other port of them is refused */
	size_t n_vips;
	char *refused[SERVICE_REFUSED_MAX]; /* endpoints and addresses that were not taken, a line for people each */
	bool refused_here[SERVICE_REFUSED_MAX]; /* only this node knows of it */
	size_t n_refused;
	uint16_t health_port; /* healthCheckNodePort; 0: none */
	uint32_t local_ready; /* ready endpoints of this node, for the health check */
};

/**
 * service_compile() - one Service as this node serves it
 *
 * Headless and ExternalName Services and those of another proxy have no ports. O(endpoints log endpoints).
 *
 * Return: never NULL; the caller's to service_view_free().
 */
struct service_view *service_compile(const struct service_env *env, const struct model_service *svc);
/**
 * service_compile_host_ports() - the host ports of a pod, as if they were a Service's with one endpoint
 *
 * Served at addresses of the pod's node: from inside at the client's own node, as node ports are, so that policy sees the client; from
 * outside at that node. Of two pods that ask for one port the older has it; a Service's node port goes before both.
 * The view's name is MODEL_HOST_POD and the pod's.
 *
 * Return: never NULL, without ports when the pod has no address (any more); the caller's.
 */
struct service_view *service_compile_host_ports(const struct service_env *env, const struct model_pod *pod);
struct service_view *service_view_free(struct service_view *v);
DEFINE_CLEANUP(struct service_view *, service_view_free)

/* Do two views want the same of the kernel? */
bool service_view_eq(const struct service_view *a, const struct service_view *b);
