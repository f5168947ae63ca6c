/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One datagram socket asks several Services: of some the programs at the socket translate the datagrams, of others from_pod does, as the socket could
 * not tell apart who answers, or has no room. Both ways may lead to one endpoint. So the latter have another port there, and the socket says so
 * before the datagram leaves: which one comes by first does not matter. */
#pragma once

#include "lib/prelude.h"
#include "weft/service.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SERVICE_APARTS_MAX);
	__type(key, struct service_apart);
	__type(value, __u32);
} service_aparts SEC(".maps");
