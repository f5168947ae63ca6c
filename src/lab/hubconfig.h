/* SPDX-License-Identifier: Apache-2.0 */
/* Kubeconfigs, made by the hub's own program. */
#pragma once

#include "lab/lab.h"

/**
 * hub_kubeconfig() - a kubeconfig for a user, as text
 *
 * Blocks while `weft-hub kubeconfig` runs (milliseconds).
 *
 * Return: 0; -errno with @ret_error (owned by the caller).
 */
int hub_kubeconfig(const struct lab *lab, const char *server, const char *user, const char *group, char **ret, char **ret_error);
