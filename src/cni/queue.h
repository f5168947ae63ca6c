/* SPDX-License-Identifier: Apache-2.0 */
/* DELs that came while the agent was away: one small file each, written by the plugin, drained by the agent. */
#pragma once

#include "base/macro.h"

enum { DEL_QUEUE_MAX = 4096 };

/**
 * del_queue_put() - keep a DEL for later
 * @dir: made when missing
 *
 * Atomic, and idempotent: the file's name is a hash of the key. Return: 0, -ENOSPC when the queue is full, -errno.
 */
int del_queue_put(const char *dir, const char *container, const char *ifname);

/* Called for each; true: done, the file goes. */
typedef bool del_queue_fn(const char *container, const char *ifname, void *ctx);
/* All that are queued; files that are none are removed and logged. Return: how many were done, or -errno. */
int del_queue_drain(const char *dir, del_queue_fn *fn, void *ctx);
/* Only this one, when it is there. */
int del_queue_drain_one(const char *dir, const char *container, const char *ifname, del_queue_fn *fn, void *ctx);
