/* SPDX-License-Identifier: Apache-2.0 */
/* A growing byte buffer with a bound: what arrives from outside is collected here. Always NUL-terminated. */
#pragma once

#include "base/macro.h"

struct buf {
	char *data;  /* NULL while empty */
	size_t len, cap;
	size_t max;  /* largest len; 0 means no bound (only for what we produce ourselves) */
	bool secret; /* no copy of what it held stays behind when it grows or is done */
};

void buf_done(struct buf *b);

/**
 * buf_add() - append @n bytes
 *
 * Return: 0, -EMSGSIZE when @b->max would be passed (nothing is appended).
 */
int buf_add(struct buf *b, const void *data, size_t n);
int buf_addf(struct buf *b, const char *fmt, ...) _printf_(2, 3);
static inline int buf_adds(struct buf *b, const char *s)
{
	return buf_add(b, s, strlen(s));
}

/**
 * buf_drop() - forget the first @n bytes
 */
void buf_drop(struct buf *b, size_t n);

/**
 * buf_reserve() - room for @n more bytes, to be filled by the caller, who then adds to @b->len
 *
 * Return: where they go, or NULL when @b->max would be passed.
 */
char *buf_reserve(struct buf *b, size_t n);

/**
 * buf_read_fd() - read once from a descriptor
 *
 * Return: bytes read, 0 at the end, -EMSGSIZE when the bound is reached, or -errno (-EAGAIN included).
 */
ssize_t buf_read_fd(struct buf *b, int fd);
