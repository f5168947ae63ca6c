/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The end at the pod: what every packet towards a local pod goes through, whatever way it came. */
#pragma once

#include "lib/fragment.h"
#include "lib/icmp.h"
#include "lib/mss.h"

/* @place: FLOW_OUT_OF_STACK, FLOW_OF_NODE, or nothing */
static __always_inline enum drop_reason arrive_check(struct __sk_buff *skb, struct packet *pkt, __u32 endpoint_id, __u8 place)
{
	enum drop_reason why = fragment_resolve(pkt);

	if (why != DROP_NONE)
		return why;
	if (unlikely(pkt->icmp == ICMP_ERROR))
		return icmp_check_error(skb, pkt, false);
	why = icmp_check_link(pkt);
	if (why != DROP_NONE)
		return why;
	why = flow_track(pkt, endpoint_id, FLOW_AT_DESTINATION | place);
	if (why != DROP_NONE)
		return why;
	fragment_note(pkt);
	mss_clamp(skb, pkt, MSS_POD_GETS);
	return DROP_NONE;
}
