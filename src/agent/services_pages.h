/* SPDX-License-Identifier: Apache-2.0 */
/* What load balancers are told of this node: the bodies and codes that they know from kube-proxy. Pure. */
#pragma once

#include "observe/scrape.h"
#include "service/service.h"

#include <time.h>

/* A Service's health check (SVC-30), whatever the path. @healthy: the node's Services are programmed as they should be. */
void services_page_check(struct page *ret, const struct service_view *v, bool healthy);

struct services_health {
	bool healthy;
	bool leaving; /* the node is about to go */
	time_t healthy_at, now;
};

/* /healthz, which a node that leaves fails, and /livez, which does not care (SVC-31). Others: 404. */
void services_page_proxy(struct page *ret, const char *path, const struct services_health *h);
