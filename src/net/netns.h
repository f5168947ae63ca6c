/* SPDX-License-Identifier: Apache-2.0 */
/* Network namespaces: open, identify, enter for the length of a call, create. */
#pragma once

#include "base/macro.h"

#include <stdint.h>
#include <sys/types.h>

/* A namespace's identity as long as it lives; the kernel gives a number again after that, so pair it with a boot id. */
struct netns_id {
	dev_t dev;
	ino_t ino;
};

/**
 * netns_open() - a descriptor (close-on-exec) for the namespace at @path
 *
 * Return: descriptor, -ENOENT, -EINVAL when @path is no network namespace, -errno.
 */
int netns_open(const char *path);
int netns_open_self(void); /* the calling thread's */
int netns_id_of(int fd, struct netns_id *ret);
static inline bool netns_id_eq(struct netns_id a, struct netns_id b)
{
	return a.dev == b.dev && a.ino == b.ino;
}

/**
 * netns_run() - call @fn inside a namespace, and be back afterwards
 *
 * The thread is in the other namespace only during the call; when the way back fails, the process ends (it would
 * otherwise go on in a pod's namespace). Only the network namespace changes: /sys still shows the old one,
 * /proc/sys/net and sockets are the new one's. About 2 us.
 *
 * Return: what @fn returned, or -errno when the namespace could not be entered.
 */
int netns_run(int netns_fd, int (*fn)(void *ctx), void *ctx);

/**
 * netns_create() - a new, empty network namespace (lo is down)
 * @path: when not NULL, it is kept alive by a bind mount on this file, which is created and must not exist
 *
 * Return: descriptor, -EEXIST, -errno.
 */
int netns_create(const char *path);
/* Takes such a bind mount and its file away. Missing is a success. Return: 0, -errno. */
int netns_remove(const char *path);

/* The number by which the kernel names it to programs and sockets (SO_NETNS_COOKIE), of the thread's namespace, or another's. Return: 0,
 * -ENOPROTOOPT before Linux 5.14, -errno. */
int netns_cookie_of_self(uint64_t *ret);
int netns_cookie_of(int netns_fd, uint64_t *ret);

/* Writes below /proc/sys/net of a namespace: sysctl_write_in(fd, "ipv6/conf/all/forwarding", "1"). @name must not hold
 * "..". */
int netns_sysctl(int netns_fd, const char *name, const char *value);
