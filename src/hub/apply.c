/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/apply.h"

json_t *server_side_apply(const struct write *w, const json_t *patch, json_t **ret, bool *ret_created)
{
	(void)w;
	(void)patch;
	(void)ret;
	(void)ret_created;
	return status_new(415, "UnsupportedMediaType", "server-side apply is not served by this version");
}
