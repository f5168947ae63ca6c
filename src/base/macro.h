/* SPDX-License-Identifier: Apache-2.0 */
/* The handful of macros that C cannot say otherwise. */
#pragma once

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
#define MIN(a, b) ({ __typeof__(a) _a = (a); __typeof__(b) _b = (b); _a < _b ? _a : _b; })
#define MAX(a, b) ({ __typeof__(a) _a = (a); __typeof__(b) _b = (b); _a > _b ? _a : _b; })

#define _printf_(fmt, args) __attribute__((format(printf, fmt, args)))
#define _unused_ __attribute__((unused))
#define _noreturn_ __attribute__((noreturn))

/* Scope-bound ownership: the cleanup function gets the variable's address and copes with "nothing". */
#define _cleanup_(fn) __attribute__((cleanup(fn)))

/* Defines NAMEp(T **) for a destructor `T *NAME(T *)`, to be used with _cleanup_(). */
#define DEFINE_CLEANUP(T, name)                                                                                        \
	static inline void name##p(T *p)                                                                               \
	{                                                                                                              \
		if (*p)                                                                                                \
			name(*p);                                                                                      \
	}

/* Moves ownership out of a variable that _cleanup_() watches. */
#define take_ptr(p)                                                                                                    \
	({                                                                                                             \
		__typeof__(p) _taken = (p);                                                                            \
		(p) = NULL;                                                                                            \
		_taken;                                                                                                \
	})
#define take_fd(fd)                                                                                                    \
	({                                                                                                             \
		int _taken = (fd);                                                                                     \
		(fd) = -1;                                                                                             \
		_taken;                                                                                                \
	})

static inline void freep(void *p)
{
	free(*(void **)p);
}
#define _cleanup_free_ _cleanup_(freep)

static inline int close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
	return -1;
}
static inline void closep(int *fd)
{
	close_fd(*fd);
}
#define _cleanup_close_ _cleanup_(closep)

static inline void fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}
#define _cleanup_fclose_ _cleanup_(fclosep)

/* Allocation of small things never fails: the program ends with one line instead (the datapath forwards on).
 * Sizes that come from outside are checked before they get here. */
void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n, size_t size);
#define xnew(T) ((T *)xmalloc(sizeof(T)))
#define xnew0(T) ((T *)xcalloc(1, sizeof(T)))
#define xnew0_array(T, n) ((T *)xcalloc((n), sizeof(T)))

/* Grows an array of `n` used elements so that one more fits; `cap` holds the allocated count. */
#define GROW(array, n, cap)                                                                                            \
	do {                                                                                                           \
		if ((n) >= (cap)) {                                                                                    \
			(cap) = (cap) ? (cap) * 2 : 8;                                                                 \
			(array) = xrealloc((array), (cap), sizeof(*(array)));                                          \
		}                                                                                                      \
	} while (0)

static inline bool streq(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}
