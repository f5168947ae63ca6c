/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's IPsec policies: only whether there are any, and when that may have changed. In the thread's network namespace. */
#pragma once

#include <stdbool.h>

/* Is there a policy for packets that leave or are for this host? A kernel without IPsec has none. Return: 0, -errno. */
int xfrm_has_policy(bool *ret);

/* A socket that becomes readable when policies change. Return: a descriptor (non-blocking), -EPROTONOSUPPORT without IPsec, -errno. */
int xfrm_monitor_open(void);
/* Takes away what is there to be read: something has changed. */
void xfrm_monitor_drain(int fd);
