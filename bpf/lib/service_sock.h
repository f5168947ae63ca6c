/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What sockets remember of Services: the programs at the socket write it, the one that looks for lost sockets walks over it. */
#pragma once

#include "lib/service.h"

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct service_sock);
} service_socks SEC(".maps");
