/* SPDX-License-Identifier: Apache-2.0 */
/* Ports by which this node speaks for clients from outside: of those that translation may use, ones that the kernel gives to none of
 * the node's own connections. Pure. */
#pragma once

#include "base/macro.h"

/**
 * inbound_ports_beside() - the larger part of @min to @max that lies outside of @local_min to @local_max
 *
 * When less than a thousand would be left, all of them: then a connection of the node's may find its answer taken.
 */
void inbound_ports_beside(uint16_t min, uint16_t max, uint16_t local_min, uint16_t local_max, uint16_t *ret_min, uint16_t *ret_max);

/* The same with this node's net.ipv4.ip_local_port_range. */
void inbound_ports(uint16_t min, uint16_t max, uint16_t *ret_min, uint16_t *ret_max);
