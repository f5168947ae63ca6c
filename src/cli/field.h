/* SPDX-License-Identifier: Apache-2.0 */
/* Members of the agent's documents as they are shown. Names in them come from the cluster's users: text is escaped. */
#pragma once

#include "base/json.h"

/* A text, "" where there is none: in one of a few static buffers, enough for one line of output. */
const char *field_text(const json_t *o, const char *key);

/* A number, 0 where there is none. */
long long field_number(const json_t *o, const char *key);
