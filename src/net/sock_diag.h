/* SPDX-License-Identifier: Apache-2.0 */
/* Connected sockets of the thread's network namespace, and their end by somebody else's hand. */
#pragma once

#include "net/addr.h"

#include <linux/netlink.h>

struct sock_peer {
	uint64_t cookie; /* names the socket among all of this kernel */
	struct addr addr;
	uint16_t port; /* host order */
};

typedef bool sock_is_meant_fn(const struct sock_peer *peer, void *ctx);

/**
 * sock_abort() - abort the connected sockets that are meant
 * @proto: IPPROTO_TCP or IPPROTO_UDP
 *
 * Their owners get ECONNABORTED. A UDP socket is unconnected then; of a TCP one the other end gets a reset. It is aborted by its cookie:
 * one that has come into its place meanwhile is left alone. TCP sockets that wait for their end only (TIME_WAIT, LAST_ACK) are no longer
 * anybody's.
 *
 * Return: how many were aborted, -EOPNOTSUPP when the kernel cannot (CONFIG_INET_DIAG_DESTROY), -errno.
 */
int sock_abort(uint8_t proto, sock_is_meant_fn *is_meant, void *ctx);

/* A message of the kernel's list. Return: 0, -ENOMSG when it is about no socket, -EBADMSG. */
int sock_diag_decode(const struct nlmsghdr *nlh, struct sock_peer *ret);
