/* SPDX-License-Identifier: Apache-2.0 */
/* Keys on the command lines of test programs. */
#pragma once

#include "wg/crypto.h"

#include <stdio.h>
#include <string.h>

/* Return: whether it is one. */
static inline bool read_hex(const char *text, uint8_t ret[static KEY_LEN])
{
	unsigned v;

	if (strlen(text) != 2 * KEY_LEN)
		return false;
	for (int i = 0; i < KEY_LEN; i++) {
		if (sscanf(text + 2 * i, "%2x", &v) != 1)
			return false;
		ret[i] = v;
	}
	return true;
}
