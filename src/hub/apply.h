/* SPDX-License-Identifier: Apache-2.0 */
/* Server-side apply: who has set which field is remembered in metadata.managedFields. */
#pragma once

#include "hub/admit.h"

/**
 * server_side_apply() - the object that results when a manager applies a configuration
 * @w:     w->old may be NULL: the object is created
 * @patch: the configuration
 *
 * Fields of the manager's last configuration that are not in this one, and that no other manager applies, go away. A field
 * that another manager applies with another value is a conflict unless force=true.
 *
 * Return: NULL and *ret (the caller's), or a Status.
 */
json_t *server_side_apply(const struct write *w, const json_t *patch, json_t **ret, bool *ret_created);
