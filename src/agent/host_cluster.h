/* SPDX-License-Identifier: Apache-2.0 */
/* What of the cluster the node's own policies are judged by, kept for a boot after which the API is long in answering: the nodes, this one among them,
 * with their labels, addresses and pod ranges, and where the API servers are. Pods are not in it: after a boot they may be others. */
#pragma once

#include "agent/failsafe.h"
#include "model/model.h"

#define HOST_CLUSTER_FILE "host-cluster.json" /* in mesh.dir */
enum { HOST_CLUSTER_MAX = 64 << 20 };

/* The same cluster gives the same text. Owned by the caller. */
char *host_cluster_format(const struct model *m, const struct failsafe_api *api);

/**
 * host_cluster_parse() - from the file's text
 * @into: gets the nodes; those that cannot be read are left out
 * @ret_error: owned by the caller
 *
 * Return: 0, -EINVAL.
 */
int host_cluster_parse(const char *what, const char *text, size_t len, struct model *into, struct failsafe_api *ret_api, char **ret_error);
