/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tc egress on the tunnel device: what goes to other nodes, past the stack or through it. */
#include "lib/leave.h"
#include "lib/stray.h"

SEC("tc")
int to_tunnel(struct __sk_buff *skb)
{
	int r = leave_node(skb, ETH_LEN);

	if (r == TC_ACT_OK)
		tunnel_mark(skb);
	return r;
}

char _license[] SEC("license") = "Dual BSD/GPL";
