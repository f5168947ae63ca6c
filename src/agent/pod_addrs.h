/* SPDX-License-Identifier: Apache-2.0 */
/* Telling the API a pod's addresses before the pod runs. */
#pragma once

#include "net/addr.h"

struct agent;

typedef void pod_told_fn(void *ctx);

/**
 * agent_tell_pod_addrs() - tell the API, and call @fn when it is told, or need not be waited for any longer
 * @uid: of the pod, or "": whatever pod has the name
 * @addrs: one of a family; zero: none
 *
 * @fn is called once, perhaps from inside of this call, and after a second at most.
 */
void agent_tell_pod_addrs(struct agent *a, const char *namespace_, const char *name, const char *uid, const struct addr addrs[2],
			  pod_told_fn *fn, void *ctx);
/* Nobody is waited for any more; before the client is freed. */
void agent_stop_telling_pods(struct agent *a);
