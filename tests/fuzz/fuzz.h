/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz targets share. A target is one file, fuzz_NAME.c, with LLVMFuzzerTestOneInput(); it is built twice: with
 * replay.c, which runs it over corpus/NAME in every build, and with libFuzzer by `make fuzz`.
 *
 * A target says what must hold for every input by REQUIRE(); a sanitizer says the rest. Inputs that consist of several
 * texts are joined by form feeds, so that they can be written by hand. */
#pragma once

#include "base/str.h"

#include <ftw.h>
#include <jansson.h>
#include <sys/socket.h>
#include <sys/un.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(cond)                                                                                                  \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #cond);                      \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

/* The rest of an input, eaten from the front. */
struct fuzz_input {
	const uint8_t *data;
	size_t size;
};

/* Up to the next form feed (which is dropped) or the end: a copy in memory of exactly its size, NUL-terminated. */
static inline char *fuzz_text(struct fuzz_input *in, size_t *ret_len)
{
	const uint8_t *end = in->size ? memchr(in->data, '\f', in->size) : NULL;
	size_t n = end ? (size_t)(end - in->data) : in->size;
	char *copy = xmalloc(n + 1);

	if (n)
		memcpy(copy, in->data, n);
	copy[n] = 0;
	in->data += n + (end != NULL);
	in->size -= n + (end != NULL);
	if (ret_len)
		*ret_len = n;
	return copy;
}

static inline uint8_t fuzz_byte(struct fuzz_input *in)
{
	if (!in->size)
		return 0;
	in->size--;
	return *in->data++;
}

/* Texts for people: present, one line, UTF-8, nothing that moves a cursor. */
static inline void fuzz_require_line(const char *s)
{
	json_t *j;

	REQUIRE(s && *s);
	j = json_string(s);
	REQUIRE(j); /* jansson takes UTF-8 only */
	json_decref(j);
	for (; *s; s++)
		REQUIRE((unsigned char)*s >= 0x20 && *s != 0x7f && !(*s == '\xc2' && (unsigned char)s[1] < 0xa0));
}

/* A name below a directory of this process: the runner's (in memory, so that an fsync costs nothing), or one that is
 * removed at exit. */
static inline void fuzz_remove_dir(void);
static inline const char *fuzz_dir(void)
{
	static char dir[96];
	const char *given = getenv("WEFT_FUZZ_DIR");

	if (*dir)
		return dir;
	if (!given)
		given = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	REQUIRE(snprintf(dir, sizeof(dir), "%s/weft-fuzz-XXXXXX", given) < (int)sizeof(dir) && mkdtemp(dir));
	atexit(fuzz_remove_dir);
	return dir;
}

static inline const char *fuzz_path(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", fuzz_dir(), name);
	return path;
}

static inline struct sockaddr_un fuzz_socket(const char *name)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	REQUIRE(snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%s", fuzz_dir(), name) < (int)sizeof(sun.sun_path));
	return sun;
}

static inline int fuzz_remove_one(const char *path, _unused_ const struct stat *st, _unused_ int flag, _unused_ struct FTW *at)
{
	return remove(path);
}

static inline void fuzz_remove_dir(void)
{
	nftw(fuzz_dir(), fuzz_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}
