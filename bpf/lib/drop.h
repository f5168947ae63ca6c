/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The end of a packet: counted by reason, told to the agent. */
#pragma once

#include "lib/counter.h"
#include "lib/event.h"

__global int drop(struct __sk_buff *skb, const struct packet *pkt, enum drop_reason why)
{
	count(skb, COUNTER_DROPS + why);
	if (pkt)
		event_drop(skb, pkt, why);
	return TC_ACT_SHOT;
}
