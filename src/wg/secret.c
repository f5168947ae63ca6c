/* SPDX-License-Identifier: Apache-2.0 */
/* Size classes in steps of 64 bytes, cut one after the other out of chunks of 64 KiB that are never given back: a device's peers come and go, but
 * seldom shrink by orders of magnitude. What is not cut is not touched, and the many sizes that OpenSSL asks for a few times share their pages. */
#include "wg/secret.h"

#include "wg/crypto.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <sys/mman.h>

enum { STEP = 64, POOLED_MAX = 8192, CLASSES = POOLED_MAX / STEP, CHUNK = 64 << 10 };

struct free_block {
	struct free_block *next;
};
static struct free_block *pools[CLASSES + 1];
static uint8_t *uncut;
static size_t n_uncut;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint8_t *map(size_t size)
{
	uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		fprintf(stderr, "weft-wg: out of memory\n");
		abort();
	}
	(void)madvise(p, size, MADV_DONTDUMP); /* refused only by kernels without it */
	(void)mlock2(p, size, MLOCK_ONFAULT);  /* best effort: RLIMIT_MEMLOCK may be small */
	return p;
}

static void give_back(void *p, size_t class)
{
	struct free_block *b = p;

	b->next = pools[class];
	pools[class] = b;
}

/* All zero, as the kernel gave it. */
static void *cut(size_t class)
{
	size_t size = class * STEP;
	uint8_t *p;

	if (n_uncut < size) {
		if (n_uncut)
			give_back(uncut, n_uncut / STEP);
		uncut = map(CHUNK);
		n_uncut = CHUNK;
	}
	p = uncut;
	uncut += size;
	n_uncut -= size;
	return p;
}

void *secret_alloc(size_t size)
{
	size_t class = (size + STEP - 1) / STEP;
	struct free_block *b;

	assert(size > 0);
	if (size > POOLED_MAX)
		return map(size);
	pthread_mutex_lock(&lock);
	b = pools[class];
	if (b) {
		pools[class] = b->next;
		b->next = NULL;
	} else {
		b = cut(class);
	}
	pthread_mutex_unlock(&lock);
	return b;
}

void secret_free(void *p, size_t size)
{
	size_t class = (size + STEP - 1) / STEP;

	if (!p)
		return;
	if (size > POOLED_MAX) {
		munmap(p, size); /* the kernel gives no page away uncleared */
		return;
	}
	wipe(p, class * STEP);
	pthread_mutex_lock(&lock);
	give_back(p, class);
	pthread_mutex_unlock(&lock);
}

/* ---- OpenSSL does not say how big a block is that it gives back: the size stands before it ---- */

enum { BEFORE = 16 };

static void *openssl_alloc(size_t n, const char *file _unused_, int line _unused_)
{
	uint8_t *p;

	if (n == 0 || n > SIZE_MAX - BEFORE)
		return NULL;
	p = secret_alloc(n + BEFORE);
	memcpy(p, &n, sizeof(n));
	return p + BEFORE;
}

static size_t size_of(const uint8_t *p)
{
	size_t n;

	memcpy(&n, p - BEFORE, sizeof(n));
	return n;
}

static void openssl_free(void *p, const char *file _unused_, int line _unused_)
{
	if (p)
		secret_free((uint8_t *)p - BEFORE, size_of(p) + BEFORE);
}

static void *openssl_realloc(void *p, size_t n, const char *file, int line)
{
	uint8_t *ret = openssl_alloc(n, file, line);

	if (p && ret)
		memcpy(ret, p, MIN(n, size_of(p)));
	if (ret || n == 0)
		openssl_free(p, file, line);
	return ret;
}

int secret_serve_openssl(void)
{
	return CRYPTO_set_mem_functions(openssl_alloc, openssl_realloc, openssl_free) == 1 ? 0 : -EALREADY;
}
