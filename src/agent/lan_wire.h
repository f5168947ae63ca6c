/* SPDX-License-Identifier: Apache-2.0 */
/* ARP and neighbour discovery at one interface: who says that he has an address is heard, and told. */
#pragma once

#include "net/neighbour.h"

#include <systemd/sd-event.h>

struct lan_wire;
typedef void lan_heard_fn(const struct neighbour *n, void *ctx);

/* Return: 0, -errno. */
int lan_wire_new(sd_event *event, uint32_t ifindex, lan_heard_fn *fn, void *ctx, struct lan_wire **ret);
struct lan_wire *lan_wire_free(struct lan_wire *w);
/* What cannot be sent is as good as lost. */
void lan_wire_send(struct lan_wire *w, const struct neighbour *n, const uint8_t *to);
/* Hands out what waits, before anybody concludes from silence. */
void lan_wire_drain(struct lan_wire *w);
/* The interface takes frames to the group of an IPv6 address, also when this process has ended. */
void lan_wire_join(struct lan_wire *w, const struct addr *about, bool on);
