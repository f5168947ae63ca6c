/* SPDX-License-Identifier: Apache-2.0 */
/* What a pod is behind a service: one endpoint of an EndpointSlice a family, and the ports that it answers on. Pure. */
#pragma once

#include "base/json.h"

#define LABEL_SERVICE_NAME "kubernetes.io/service-name"
#define LABEL_MANAGED_BY "endpointslice.kubernetes.io/managed-by"
#define LABEL_HEADLESS "service.kubernetes.io/headless"
#define SLICES_MANAGER "endpointslice-controller.k8s.io"

/* Whether the controller writes slices for it: it selects pods, and clients are not sent elsewhere. */
bool service_has_endpoints(const json_t *svc);
/* Whether the user asks for hints by zones' shares of the CPUs (topology mode Auto); then nothing else makes hints. */
bool service_asks_topology(const json_t *svc);
/* The service's selector on a pod's labels. */
bool service_selects(const json_t *svc, const json_t *pod);

/**
 * endpoint_new() - the endpoint that a pod is
 * @node:   the pod's Node, or NULL when there is none: then only publishNotReadyAddresses publishes it
 * @family: "IPv4" or "IPv6"
 *
 * Return: a new reference, or NULL when the pod is none: it has ended, or has no address of the family.
 */
json_t *endpoint_new(const json_t *svc, const json_t *pod, const json_t *node, const char *family);

/**
 * endpoint_ports() - the service's ports as this pod has them
 *
 * A target port named by the service is looked up in the pod's containers, of the same protocol; a port that this
 * pod has not is left out.
 *
 * Return: a new reference to EndpointSlice.ports.
 */
json_t *endpoint_ports(const json_t *svc, const json_t *pod);

/* The same text for the same set of ports, in whatever order; the caller's. */
char *endpoint_ports_key(const json_t *ports);

/* Whether two states of a pod may be different endpoints. */
bool endpoint_differs(const json_t *pod, const json_t *other);
