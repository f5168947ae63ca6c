/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tc egress on the WireGuard interface: what goes to other nodes, past the stack or through it, before it is encrypted. */
#include "lib/leave.h"

SEC("tc")
int to_mesh(struct __sk_buff *skb)
{
	return leave_node(skb, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
