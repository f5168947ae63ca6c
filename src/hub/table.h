/* SPDX-License-Identifier: Apache-2.0 */
/* meta.k8s.io/v1 Table: the server's side of `kubectl get`. */
#pragma once

#include "base/buf.h"
#include "hub/object.h"

enum table_object { TABLE_METADATA, TABLE_NONE, TABLE_OBJECT };

/* `"columnDefinitions":[…]` */
void table_write_columns(const struct kind *k, struct buf *out);
/* One row: {"cells":[…],"object":{…}} */
void table_write_row(const struct object *o, enum table_object with, struct buf *out);
