/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/ports.h"

unsigned ports_to_prefixes(uint16_t lo, uint16_t hi, struct port_prefix ret[static PORT_PREFIXES_MAX])
{
	unsigned n = 0;

	for (uint32_t at = lo; at <= hi;) {
		unsigned bits = at ? __builtin_ctz(at) : 16; /* the largest block that begins here */

		while (at + (1u << bits) - 1 > hi)
			bits--;
		ret[n++] = (struct port_prefix){ .port = at, .len = 16 - bits };
		at += 1u << bits;
	}
	return n;
}
