/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for objects that hold keys: locked where the limits allow it, left out of core dumps, zero when handed out and
 * wiped when given back. Blocks of one size class come from one pool; bigger ones are mappings of their own. Any thread. */
#pragma once

#include "base/macro.h"

void *secret_alloc(size_t size); /* zeroed, 64-byte aligned; never NULL */
void secret_free(void *p, size_t size);
/* OpenSSL's contexts hold keys, too: all of its memory comes from here. Before it is used first. Return: 0, -EALREADY. */
int secret_serve_openssl(void);
