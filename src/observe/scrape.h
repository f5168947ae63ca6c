/* SPDX-License-Identifier: Apache-2.0 */
/* Small pages over HTTP, in the caller's loop: metrics (GET /metrics, nothing else), or what a caller answers. */
#pragma once

#include "base/buf.h"

#include <systemd/sd-event.h>

struct scrape;

/* An answer: the body is the answerer's to fill. */
struct page {
	unsigned code; /* 200 */
	const char *type;
	char header[64]; /* "Name: value", or "" */
	struct buf body;
};

/* Answers GET and HEAD of any path. */
typedef void page_fn(const char *path, struct page *ret, void *ctx);

/* Writes the page. @openmetrics: the scraper asked for that format, else for the older text format. */
typedef void scrape_fn(struct buf *out, bool openmetrics, void *ctx);

/* "127.0.0.1:10287", "[::1]:10287"; "[::]:80" takes IPv4 as well, and is all of IPv4 where there is no IPv6. Return: a listening descriptor, -EINVAL, -errno. */
int scrape_listen(const char *where);
/* Takes @fd over. Return: 0, -errno. */
int scrape_new(sd_event *event, int fd, scrape_fn *fn, void *ctx, struct scrape **ret);
/* The same for any page. At most 16 connections, each for one answer and five seconds. */
int scrape_new_pages(sd_event *event, int fd, page_fn *fn, void *ctx, struct scrape **ret);
struct scrape *scrape_free(struct scrape *s);
