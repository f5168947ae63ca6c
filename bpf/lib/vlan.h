/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Tags of VLANs. The stack takes the first one off before a program sees the frame, and tells it beside the frame. */
#pragma once

#include "lib/packet.h"

enum { VLAN_ID = 0xfff };

static __always_inline bool proto_is_vlan(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

/* Why a pod's tagged frame is dropped: for its second tag, for one that says but a priority, or for its VLAN. */
__global enum drop_reason vlan_reason(struct __sk_buff *skb)
{
	struct {
		__be16 tci, next;
	} tag = {};

	if (skb->vlan_present) {
		tag.tci = bpf_htons(skb->vlan_tci);
		tag.next = skb->protocol;
	} else if (bpf_skb_load_bytes(skb, ETH_LEN, &tag, sizeof(tag))) {
		return DROP_TRUNCATED;
	}
	if (proto_is_vlan(tag.next))
		return DROP_QINQ;
	return tag.tci & bpf_htons(VLAN_ID) ? DROP_VLAN : DROP_VLAN_ZERO;
}
