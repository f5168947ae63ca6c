/* SPDX-License-Identifier: Apache-2.0 */
/* Options that are lists: joined by commas, blanks around each are fine, an empty text is an empty list. */
#pragma once

#include "net/addr.h"

enum { LIST_PREFIXES_MAX = 256, PORTS = 65536 };

/**
 * list_prefixes() - "10.0.0.0/8, fd00::/8, 192.0.2.1" (an address is a prefix of its own)
 * @ret: at least LIST_PREFIXES_MAX of them
 *
 * Host bits must be zero. Return: 0, -EINVAL, -E2BIG.
 */
int list_prefixes(const char *text, struct prefix *ret, size_t *ret_n);

/* "30000-32767, 8472": sets ret[PORT] for each, clears none. Return: 0, -EINVAL. */
int list_ports(const char *text, bool ret[static PORTS]);

/* "1024-65535", one range, from 1. Return: 0, -EINVAL. */
int port_range_parse(const char *text, uint16_t *ret_min, uint16_t *ret_max);
