/* SPDX-License-Identifier: Apache-2.0 */
/* Small files, whole: bounded reads, writes that are there entirely or not at all. */
#pragma once

#include "base/macro.h"

#include <sys/types.h>

/**
 * file_read() - the whole of a file as a NUL-terminated string, owned by the caller
 * @max: largest size accepted
 *
 * Works for files of unknown size (/proc, /sys, pipes).
 *
 * Return: 0, -EFBIG above @max, -errno of open or read.
 */
int file_read(const char *path, size_t max, char **ret, size_t *ret_len);

/**
 * file_write_atomic() - replace a file: temporary sibling, fsync, rename, fsync of the directory
 *
 * Return: 0 or -errno; the old content is untouched on failure.
 */
int file_write_atomic(const char *path, const void *data, size_t n, mode_t mode);

/**
 * file_is_at() - does @path lead to what @fd has open?
 *
 * Return: true also when that cannot be told.
 */
bool file_is_at(int fd, const char *path);

/**
 * file_write() - write into an existing file such as one of /proc or /sys
 *
 * Return: 0 or -errno.
 */
int file_write(const char *path, const char *text);

/**
 * mkdir_parents() - the directory and all above it; existing ones are left alone
 *
 * Return: 0 or -errno.
 */
int mkdir_parents(const char *path, mode_t mode);

/**
 * write_all() - write @n bytes, however many calls it takes (blocking descriptors)
 *
 * Return: 0 or -errno.
 */
int write_all(int fd, const void *data, size_t n);
