/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that waits for the disk: with a disk that can be held, and a system that refuses threads. */
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "wg/saver.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>

static bool no_threads, held;
static sem_t asked, released;

/* In place of the library's. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

	if (no_threads)
		return EAGAIN;
	if (!real)
		real = (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(RTLD_NEXT, "pthread_create");
	return real(thread, attr, fn, arg);
}

int fdatasync(int fd)
{
	if (held) {
		sem_post(&asked);
		while (sem_wait(&released) < 0)
			;
	}
	return fsync(fd);
}

enum { JOBS = 20 };

static char dir[32];
static sd_event *event;
static struct saver *saver;
static struct {
	int job, r;
} told[JOBS];
static unsigned n_told;
static int numbers[JOBS];

static void on_saved(void *ctx, int r)
{
	told[n_told].job = *(int *)ctx;
	told[n_told++].r = r;
}

static void start(void)
{
	n_told = 0;
	no_threads = held = false;
	for (int i = 0; i < JOBS; i++)
		numbers[i] = i;
	CHECK(sd_event_new(&event) >= 0);
	CHECK_INT(saver_new(event, &saver), 0);
}

static void end(void)
{
	saver = saver_free(saver);
	event = sd_event_unref(event);
}

static void replace(const char *name, int job)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
	struct buf text = { 0 };

	CHECK_INT(buf_addf(&text, "text of job %d", job), 0);
	saver_replace(saver, path, &text, on_saved, &numbers[job]);
	CHECK(!text.data); /* taken */
}

static bool reads(const char *name, int job)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", dir, name), *wanted = xasprintf("text of job %d", job), *text = NULL;
	size_t n;

	return file_read(path, 100, &text, &n) == 0 && n == strlen(wanted) && memcmp(text, wanted, n) == 0;
}

static void run_until_told(unsigned n)
{
	while (n_told < n)
		CHECK(sd_event_run(event, UINT64_MAX) >= 0);
}

static void jobs_are_done_in_their_order(void)
{
	start();
	for (int i = 0; i < JOBS; i++)
		replace("a", i);
	CHECK_INT(n_told, 0); /* by the owner's loop only */
	run_until_told(JOBS);
	for (int i = 0; i < JOBS; i++)
		CHECK(told[i].job == i && told[i].r == 0);
	CHECK(reads("a", JOBS - 1));
	end();
}

static void who_waits_is_told_all(void)
{
	start();
	saver_wait(saver); /* for nothing */
	for (int i = 0; i < 5; i++)
		replace("b", i);
	saver_wait(saver);
	CHECK_INT(n_told, 5);
	CHECK(reads("b", 4));
	for (int i = 5; i < 8; i++)
		replace("b", i);
	end();
	CHECK_INT(n_told, 8);
	CHECK(reads("b", 7));
}

static void an_error_is_told_and_the_rest_is_done(void)
{
	start();
	replace("no such directory/c", 0);
	saver_sync(saver, -1, on_saved, &numbers[1]);
	replace("c", 2);
	saver_wait(saver);
	CHECK(told[0].job == 0 && told[0].r == -ENOENT);
	CHECK(told[1].job == 1 && told[1].r == -EBADF);
	CHECK(told[2].job == 2 && told[2].r == 0);
	CHECK(reads("c", 2));
	end();
}

/* The descriptor is the caller's, who may close it at once. */
static void a_disk_that_is_held_holds_nobody(void)
{
	_cleanup_free_ char *path = xasprintf("%s/d", dir);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	start();
	held = true;
	saver_sync(saver, fd, on_saved, &numbers[0]);
	close(fd);
	replace("e", 1);
	while (sem_wait(&asked) < 0)
		;
	for (int i = 0; i < 10; i++)
		CHECK_INT(sd_event_run(event, 0), 0); /* the loop goes on, with nothing to do */
	CHECK_INT(n_told, 0);
	CHECK(!reads("e", 1)); /* in their order */
	sem_post(&released);
	run_until_told(2);
	CHECK(told[0].job == 0 && told[0].r == 0 && told[1].job == 1 && reads("e", 1));
	end();
}

static void without_a_thread_it_is_done_at_once(void)
{
	start();
	no_threads = true;
	replace("f", 0);
	CHECK(reads("f", 0));
	saver_wait(saver); /* for nobody */
	CHECK_INT(n_told, 1);
	replace("f", 1);
	no_threads = false;
	replace("f", 2);
	run_until_told(3);
	CHECK(told[1].job == 1 && told[2].job == 2 && reads("f", 2));
	end();
}

int main(void)
{
	int r;

	snprintf(dir, sizeof(dir), "/tmp/weft-wg-saver-XXXXXX");
	if (!mkdtemp(dir) || sem_init(&asked, 0, 0) < 0 || sem_init(&released, 0, 0) < 0)
		return 1;
	RUN(jobs_are_done_in_their_order);
	RUN(who_waits_is_told_all);
	RUN(an_error_is_told_and_the_rest_is_done);
	RUN(a_disk_that_is_held_holds_nobody);
	RUN(without_a_thread_it_is_done_at_once);
	r = test_end();
	for (const char *name = "abcdef"; *name; name++) {
		_cleanup_free_ char *path = xasprintf("%s/%c", dir, *name);

		(void)unlink(path);
	}
	(void)rmdir(dir);
	return r;
}
