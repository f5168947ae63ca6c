/* SPDX-License-Identifier: Apache-2.0 */
/* A page of metrics over HTTP, in the caller's loop: GET /metrics, nothing else. */
#pragma once

#include "base/buf.h"

#include <systemd/sd-event.h>

struct scrape;

/* Writes the page. @openmetrics: the scraper asked for that format, else for the older text format. */
typedef void scrape_fn(struct buf *out, bool openmetrics, void *ctx);

/* "127.0.0.1:10287", "[::1]:10287". Return: a listening descriptor, -EINVAL, -errno. */
int scrape_listen(const char *where);
/* Takes @fd over. Return: 0, -errno. */
int scrape_new(sd_event *event, int fd, scrape_fn *fn, void *ctx, struct scrape **ret);
struct scrape *scrape_free(struct scrape *s);
