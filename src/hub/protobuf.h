/* SPDX-License-Identifier: Apache-2.0 */
/* Objects in the protobuf form of Kubernetes, which typed clients send with `kubectl create namespace|configmap|service`. */
#pragma once

#include "hub/kind.h"

/**
 * protobuf_decode() - an enveloped object ("k8s\0" + runtime.Unknown) as JSON
 * @ret_error: what is wrong, the caller's
 *
 * Fields whose number the schema does not know are skipped. A pure function.
 *
 * Return: the object (a new reference), or NULL.
 */
json_t *protobuf_decode(const struct schema *s, const void *data, size_t n, char **ret_error);
