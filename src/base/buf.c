/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/str.h"

enum { READ_CHUNK = 16384 };

void buf_done(struct buf *b)
{
	if (b->secret && b->data)
		explicit_bzero(b->data, b->cap);
	free(b->data);
	*b = (struct buf){ .max = b->max, .secret = b->secret };
}

/* realloc() would leave the old place as it was. */
static void grow(struct buf *b, size_t cap)
{
	char *old = b->data;

	if (!b->secret || !old) {
		b->data = xrealloc(old, cap, 1);
	} else {
		b->data = xmalloc(cap);
		memcpy(b->data, old, b->len);
		explicit_bzero(old, b->cap);
		free(old);
	}
	b->cap = cap;
}

char *buf_reserve(struct buf *b, size_t n)
{
	size_t need = b->len + n + 1, cap;

	if (n >= SIZE_MAX / 2 - b->len || (b->max && b->len + n > b->max))
		return NULL;
	if (need > b->cap) {
		cap = MAX(b->cap * 2, (size_t)64);
		grow(b, MAX(cap, need));
	}
	b->data[b->len + n] = 0;
	return b->data + b->len;
}

int buf_add(struct buf *b, const void *data, size_t n)
{
	char *to = buf_reserve(b, n);

	if (!to)
		return -EMSGSIZE;
	if (n)
		memcpy(to, data, n);
	b->len += n;
	return 0;
}

int buf_addf(struct buf *b, const char *fmt, ...)
{
	_cleanup_free_ char *s = NULL;
	va_list ap;

	va_start(ap, fmt);
	s = xvasprintf(fmt, ap);
	va_end(ap);
	return buf_adds(b, s);
}

void buf_drop(struct buf *b, size_t n)
{
	assert(n <= b->len);
	if (n == 0)
		return;
	memmove(b->data, b->data + n, b->len - n + 1);
	b->len -= n;
}

ssize_t buf_read_fd(struct buf *b, int fd)
{
	size_t want = b->max ? MIN((size_t)READ_CHUNK, b->max - b->len) : READ_CHUNK;
	char *to = want ? buf_reserve(b, want) : NULL;
	ssize_t n;

	if (!to)
		return -EMSGSIZE;
	do
		n = read(fd, to, want);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		n = -errno;
		*to = 0;
		return n;
	}
	to[n] = 0;
	b->len += n;
	return n;
}
