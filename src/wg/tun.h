/* SPDX-License-Identifier: Apache-2.0 */
/* The TUN interface: one descriptor a queue, with vnet headers and segmentation offloads where the kernel has them. */
#pragma once

#include "base/macro.h"
#include "wg/feature.h"

#include <linux/virtio_net.h>
#include <net/if.h>
#include <sys/uio.h>

enum { TUN_QUEUES_MAX = 32, TUN_READ_MAX = 65535 + 64 };

struct tun {
	char name[IF_NAMESIZE];
	int fds[TUN_QUEUES_MAX];
	unsigned n;
	bool created;  /* not there before us */
	bool vnet_hdr;
	bool tso, uso; /* super-packets may be read; uso: UDP super-packets may also be written */
};

#define TUN_NONE ((struct tun){ .n = 0 })

/**
 * tun_open() - attach to an interface, made if it does not exist
 * @queues: how many are wanted; fewer where the interface has only one
 *
 * Return: 0 or -errno (-EBUSY: somebody else is attached, -EINVAL: exists and is no TUN).
 */
int tun_open(const char *name, unsigned queues, const struct features *want, struct tun *ret);
/* An already attached descriptor from somebody else; takes it over on success. */
int tun_adopt(int fd, const struct features *want, struct tun *ret);
/* Return: how many queues programs have opened of an interface that can have several; 0 also when it is not there; -errno. */
int tun_queues(const char *name);
void tun_close(struct tun *t);
/* The interface outlives us. Return: 0 or -errno. */
int tun_persist(const struct tun *t);

/**
 * tun_read() - one packet
 * @buf: TUN_READ_MAX bytes
 *
 * Return: its length, -EAGAIN, or -errno (-EBADFD: the interface is gone).
 */
ssize_t tun_read(const struct tun *t, int fd, struct virtio_net_hdr *ret_hdr, uint8_t *buf);
/* @iov[0] is the vnet header, left out where the interface has none. Return: 0 or -errno. */
int tun_write(const struct tun *t, int fd, const struct iovec *iov, int n);
/* Its index, as our namespace knows it. Return: 0: the interface is in another one; -errno: it is gone. */
int tun_ifindex(const struct tun *t);
/* Whether the interface is up, seen from wherever it was moved to. Return: 1, 0, -errno. */
int tun_is_up(const struct tun *t);
