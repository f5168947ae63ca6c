/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that waits for the disk, so that the engine's owner, which answers handshakes and questions, never does. Jobs are done in their order; it comes
 * into being with the first one. */
#pragma once

#include "base/buf.h"

#include <systemd/sd-event.h>

struct saver;

/* In the owner's loop. @r: 0 or -errno. */
typedef void saver_fn(void *ctx, int r);

/* Return: 0 or -errno. */
int saver_new(sd_event *event, struct saver **ret);
/* All jobs are done, and told of, before it returns. */
struct saver *saver_free(struct saver *s);

/* @path is replaced by @text, which is taken, and is on the disk. */
void saver_replace(struct saver *s, const char *path, struct buf *text, saver_fn *fn, void *ctx);
/* What was written to @fd, which stays the caller's. */
void saver_sync(struct saver *s, int fd, saver_fn *fn, void *ctx);
/* Waits until no job is left. */
void saver_wait(struct saver *s);
