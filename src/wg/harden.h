/* SPDX-License-Identifier: Apache-2.0 */
/* Less to lose: no core dumps, and after the start only the capabilities and system calls that the work needs. */
#pragma once

#include "base/macro.h"

/* Before any key is read. */
void harden_early(void);
/* Before any thread is made. Return: 0 or -errno. */
int harden_late(bool seccomp);
