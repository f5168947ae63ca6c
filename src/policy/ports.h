/* SPDX-License-Identifier: Apache-2.0 */
/* Port ranges as prefixes, because a hash can be asked for a prefix. */
#pragma once

#include "base/macro.h"

struct port_prefix {
	uint16_t port; /* bits beyond len are zero */
	uint8_t len;
};

enum { PORT_PREFIXES_MAX = 30 }; /* the worst range, 1 to 65534 */

/* The fewest prefixes that make up @lo … @hi, in ascending order. Return: how many. */
unsigned ports_to_prefixes(uint16_t lo, uint16_t hi, struct port_prefix ret[static PORT_PREFIXES_MAX]);
