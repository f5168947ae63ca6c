/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for objects that hold keys: locked where the limits allow it, left out of core dumps, zero when handed out and
 * wiped when given back. Blocks of one size class come from one pool; one thread allocates. */
#pragma once

#include "base/macro.h"

void *secret_alloc(size_t size); /* at most 8 KiB, zeroed, 64-byte aligned; never NULL */
void secret_free(void *p, size_t size);
