/* SPDX-License-Identifier: Apache-2.0 */
/* Size classes in steps of 64 bytes, chunks of 64 KiB that are never given back: a device's peers come and go, but
 * seldom shrink by orders of magnitude. */
#include "wg/secret.h"

#include "wg/crypto.h"

#include <sys/mman.h>

enum { STEP = 64, CLASSES = 8192 / STEP, CHUNK = 64 << 10 };

struct free_block {
	struct free_block *next;
};
static struct free_block *pools[CLASSES + 1];

static void grow_pool(size_t class)
{
	size_t size = class * STEP;
	uint8_t *chunk = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (chunk == MAP_FAILED) {
		fprintf(stderr, "weft-wg: out of memory\n");
		abort();
	}
	(void)madvise(chunk, CHUNK, MADV_DONTDUMP); /* refused only by kernels without it */
	(void)mlock2(chunk, CHUNK, MLOCK_ONFAULT);  /* best effort: RLIMIT_MEMLOCK may be small */
	for (size_t at = 0; at + size <= CHUNK; at += size) {
		struct free_block *b = (struct free_block *)(chunk + at);

		b->next = pools[class];
		pools[class] = b;
	}
}

void *secret_alloc(size_t size)
{
	size_t class = (size + STEP - 1) / STEP;
	struct free_block *b;

	assert(class > 0 && class <= CLASSES);
	if (!pools[class])
		grow_pool(class);
	b = pools[class];
	pools[class] = b->next;
	b->next = NULL;
	return b;
}

void secret_free(void *p, size_t size)
{
	size_t class = (size + STEP - 1) / STEP;
	struct free_block *b = p;

	if (!p)
		return;
	wipe(p, class * STEP);
	b->next = pools[class];
	pools[class] = b;
}
