/* SPDX-License-Identifier: Apache-2.0 */
/* An event as one line for people. */
#pragma once

#include "base/buf.h"
#include "base/json.h"

/* Appends the line and its end to @out. @event: what the method `observe` sends; whatever is in it, the line holds nothing that ends
 * a line or moves a cursor. Fields that are missing are left out. */
void observe_ends(const json_t *event, struct buf *out); /* the two ends alone, without the end of the line */
void observe_one_end(const json_t *end, struct buf *out);
void observe_line(const json_t *event, struct buf *out);
