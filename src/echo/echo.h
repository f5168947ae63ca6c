/* SPDX-License-Identifier: Apache-2.0 */
/* weft-echo: what the lab runs in a container that has no command. It tells each client who it reached and as whom
 * it was seen. */
#pragma once

#include "base/buf.h"
#include "net/addr.h"

#include <sys/epoll.h>

/* What epoll hands back: each watched descriptor sits in an object that starts with this. */
struct watch {
	int fd;
	void (*on_ready)(struct watch *w, uint32_t events);
};

/* Adds a descriptor to the one epoll instance. Return: 0 or -errno. */
int echo_watch(struct watch *w, uint32_t events);
int echo_rewatch(struct watch *w, uint32_t events);

/**
 * answer_init() - take the names from POD_NAMESPACE, POD_NAME and NODE_NAME
 */
void answer_init(void);

/**
 * answer_add() - append `{"pod":…,"namespace":…,"node":…,"server":"ADDRESS:PORT","client":"ADDRESS:PORT"}` and a newline
 */
void answer_add(struct buf *b, const struct sockaddr *server, const struct sockaddr *client);

/**
 * tcp_listen() - answer on a port, both families; udp_listen() the same for datagrams
 *
 * An HTTP/1 request gets a 200 with the answer as JSON (keep-alive, any method and path). Anything else gets the answer as
 * one line: a line sent, a piece without line end, or the end of the input when nothing was sent.
 * Datagrams are answered from the address they were sent to.
 *
 * Return: 0 or -errno.
 */
int tcp_listen(uint16_t port);
int udp_listen(uint16_t port);

/* A dual-stack socket bound to the port, IPv4 only where the kernel has no IPv6. Return: descriptor or -errno. */
int echo_bind(int type, uint16_t port);
