/* SPDX-License-Identifier: Apache-2.0 */
/* Failures on demand, for tests: WEFT_FAULT_FILE names a file with one line, "POINT error" or "POINT kill". Without
 * that variable in the environment a point is a comparison with NULL. */
#pragma once

/* Return: 0, or -EIO when this point is to fail. With "kill" it does not return. */
int fault_point(const char *name);
