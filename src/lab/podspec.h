/* SPDX-License-Identifier: Apache-2.0 */
/* What a Pod's manifest asks of the node. Pure: JSON in, values out. */
#pragma once

#include "base/json.h"
#include "base/str.h"

/* Values that the downward API and the environment can name. */
struct pod_facts {
	const json_t *pod;
	const char *node;
	const json_t *pod_ips, *host_ips; /* arrays of strings */
};

/* A NULL-terminated array of strings that owns them. */
void strings_free(char **s);

/**
 * podspec_env() - a container's environment
 * @base_path: PATH unless the manifest sets one
 *
 * `value` with $(NAME) of earlier variables, `valueFrom.fieldRef` of the usual fields; POD_NAME, POD_NAMESPACE and
 * NODE_NAME are there unless the manifest sets them.
 *
 * Return: 0, -ENOTSUP with @ret_why (owned by the caller) for a source that the lab does not have.
 */
int podspec_env(const struct pod_facts *f, const json_t *container, const char *base_path, char ***ret, char **ret_why);

/**
 * podspec_argv() - what to run for a container
 * @bin: directory of weft-echo
 * @env: for $(NAME)
 *
 * `command` followed by `args`; without a command weft-echo on every declared port: the declared protocol, and the other one of
 * TCP and UDP unless another port of the pod declares it.
 *
 * Return: never NULL.
 */
char **podspec_argv(const json_t *pod, const json_t *container, const char *bin, char *const *env);

/* Comma-separated parts of the manifest that a real kubelet would honour and the lab does not; NULL when there are none. */
char *podspec_ignored(const json_t *pod);

/* The value of a fieldRef path. Return: owned by the caller, NULL for an unknown path. */
char *podspec_field(const struct pod_facts *f, const char *path);

/* spec.restartPolicy and what it says after an exit code. */
bool podspec_restarts(const json_t *pod, int exit_code);
