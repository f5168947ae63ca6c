/* SPDX-License-Identifier: Apache-2.0 */
/* "Unreachable" for a packet that the interface has nobody to send to. */
#pragma once

#include "base/macro.h"

enum { ICMP_UNREACHABLE_MAX = 1280 };

/**
 * icmp_unreachable() - the answer to @pkt, to be written to the TUN
 *
 * Its source is the address that cannot be reached: that one is routed through the interface, so no reverse path filter
 * minds, and no own address needs to be known.
 *
 * Return: its length in @out (ICMP_UNREACHABLE_MAX bytes); 0 when there must be none: for ICMP errors, later fragments,
 * multicast, or what is no IP packet.
 */
size_t icmp_unreachable(const uint8_t *pkt, size_t len, uint8_t *out);
