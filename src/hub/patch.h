/* SPDX-License-Identifier: Apache-2.0 */
/* The three forms of PATCH bodies, as pure functions. Each returns a new value, or NULL with @ret_error (the caller's). */
#pragma once

#include "hub/schema.h"

/* RFC 7386; cannot fail */
json_t *patch_merge(const json_t *target, const json_t *patch);

/* RFC 6902, at most 10,000 operations that copy or move at most 3 MiB in all, and no value deeper than 512 levels. *ret_failed_test: a "test" did not hold */
json_t *patch_json(const json_t *target, const json_t *patch, bool *ret_failed_test, char **ret_error);

/* Strategic merge: lists are merged by the schema's keys; $patch: replace|delete|merge, $retainKeys, $deleteFromPrimitiveList/F,
 * $setElementOrder/F directives. */
json_t *patch_strategic(const struct schema *s, const json_t *target, const json_t *patch, char **ret_error);
