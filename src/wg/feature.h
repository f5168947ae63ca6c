/* SPDX-License-Identifier: Apache-2.0 */
/* The offloads and shortcuts of the data path: each is used where the kernel has it, and can be switched off (by
 * --disable or WEFT_WG_DISABLE) to test the fallback and to measure what it gives. */
#pragma once

#include "base/macro.h"

#define FEATURES(X)                                                                                                    \
	X(vnet_hdr, "super-packets to and from the TUN; without it one packet a call")                                  \
	X(tso, "TCP segmentation by us instead of the kernel")                                                         \
	X(uso, "UDP segmentation by us")                                                                               \
	X(coalesce, "joining received packets before they are written to the TUN")                                     \
	X(udp_gso, "many datagrams a send (UDP_SEGMENT)")                                                              \
	X(udp_gro, "many datagrams a receive (UDP_GRO)")                                                               \
	X(mmsg, "many messages a system call")                                                                         \
	X(batch, "many packets a loop turn")                                                                            \
	X(lanes, "own vector code that encrypts several packets side by side")                                          \
	X(steer, "packets that come one by one are handled on the processor where they come")

struct features {
#define X(name, help) bool name;
	FEATURES(X)
#undef X
};

/**
 * features_parse() - all features but the comma-separated ones of @disable (NULL: none)
 * @ret_bad: on -EINVAL, where in @disable the unknown name begins
 */
int features_parse(const char *disable, struct features *ret, const char **ret_bad);
