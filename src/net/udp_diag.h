/* SPDX-License-Identifier: Apache-2.0 */
/* Connected UDP sockets of the thread's network namespace, and their end by somebody else's hand. */
#pragma once

#include "net/addr.h"

struct udp_peer {
	uint64_t cookie; /* names the socket among all of this kernel */
	struct addr addr;
	uint16_t port; /* host order */
};

typedef bool udp_is_meant_fn(const struct udp_peer *peer, void *ctx);

/**
 * udp_abort() - abort the connected UDP sockets that are meant
 *
 * Their owners get ECONNABORTED once; then the socket is unconnected. It is aborted by its cookie: one that has come into its place
 * meanwhile is left alone.
 *
 * Return: how many were aborted, -EOPNOTSUPP when the kernel cannot (CONFIG_INET_DIAG_DESTROY), -errno.
 */
int udp_abort(udp_is_meant_fn *is_meant, void *ctx);
