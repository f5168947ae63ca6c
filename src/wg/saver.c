/* SPDX-License-Identifier: Apache-2.0 */
#include "wg/saver.h"

#include "base/file.h"
#include "base/list.h"
#include "base/str.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>

struct job {
	struct list link;
	char *path; /* to be replaced; NULL: @fd is to be synced */
	struct buf text;
	int fd;
	int r;
	saver_fn *fn;
	void *ctx;
};

struct saver {
	pthread_mutex_t lock;
	pthread_cond_t work, rest; /* there is some; there is none, and none under way */
	struct list waiting, done;
	bool busy, ends;
	pthread_t thread;
	bool running;
	int wake_fd;
	sd_event_source *wake;
};

static void job_free(struct job *j)
{
	buf_done(&j->text);
	close_fd(j->fd);
	free(j->path);
	free(j);
}

static void do_job(struct job *j)
{
	if (j->r < 0)
		return;
	j->r = j->path ? file_write_atomic(j->path, j->text.data ? j->text.data : "", j->text.len, 0600) : fdatasync(j->fd) < 0 ? -errno : 0;
}

static void finish_job(struct saver *s, struct job *j)
{
	list_push_back(&s->done, &j->link);
	s->busy = false;
	if (list_empty(&s->waiting))
		pthread_cond_broadcast(&s->rest);
	(void)eventfd_write(s->wake_fd, 1);
}

static void *run(void *arg)
{
	struct saver *s = arg;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct job *j;

		while (list_empty(&s->waiting) && !s->ends)
			pthread_cond_wait(&s->work, &s->lock);
		if (list_empty(&s->waiting))
			break;
		j = list_entry(s->waiting.next, struct job, link);
		list_remove(&j->link);
		s->busy = true;
		pthread_mutex_unlock(&s->lock);
		do_job(j);
		pthread_mutex_lock(&s->lock);
		finish_job(s, j);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static void tell(struct saver *s)
{
	struct list done;
	struct job *j, *next;

	list_init(&done);
	pthread_mutex_lock(&s->lock);
	list_for_each_safe(j, next, &s->done, link) {
		list_remove(&j->link);
		list_push_back(&done, &j->link);
	}
	pthread_mutex_unlock(&s->lock);
	list_for_each_safe(j, next, &done, link) {
		list_remove(&j->link);
		j->fn(j->ctx, j->r);
		job_free(j);
	}
}

static int on_wake(sd_event_source *source _unused_, int fd, uint32_t events _unused_, void *ctx)
{
	eventfd_t value;

	(void)eventfd_read(fd, &value);
	tell(ctx);
	return 0;
}

int saver_new(sd_event *event, struct saver **ret)
{
	struct saver *s = xnew0(struct saver);
	int r;

	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->work, NULL);
	pthread_cond_init(&s->rest, NULL);
	list_init(&s->waiting);
	list_init(&s->done);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = s->wake_fd < 0 ? -errno : sd_event_add_io(event, &s->wake, s->wake_fd, EPOLLIN, on_wake, s);
	if (r < 0) {
		saver_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct saver *saver_free(struct saver *s)
{
	if (!s)
		return NULL;
	if (s->running) {
		pthread_mutex_lock(&s->lock);
		s->ends = true;
		pthread_cond_signal(&s->work);
		pthread_mutex_unlock(&s->lock);
		pthread_join(s->thread, NULL);
	}
	tell(s);
	sd_event_source_disable_unref(s->wake);
	close_fd(s->wake_fd);
	pthread_cond_destroy(&s->work);
	pthread_cond_destroy(&s->rest);
	pthread_mutex_destroy(&s->lock);
	free(s);
	return NULL;
}

/* Without a thread, as where none can be made, it is done at once. */
static void give(struct saver *s, struct job job)
{
	struct job *j = xnew(struct job);

	*j = job;
	s->running = s->running || pthread_create(&s->thread, NULL, run, s) == 0;
	if (!s->running)
		do_job(j);
	pthread_mutex_lock(&s->lock);
	if (s->running)
		list_push_back(&s->waiting, &j->link);
	else
		finish_job(s, j);
	pthread_cond_signal(&s->work);
	pthread_mutex_unlock(&s->lock);
}

void saver_replace(struct saver *s, const char *path, struct buf *text, saver_fn *fn, void *ctx)
{
	give(s, (struct job){ .path = xstrdup(path), .text = *text, .fd = -1, .fn = fn, .ctx = ctx });
	*text = (struct buf){ .secret = text->secret };
}

void saver_sync(struct saver *s, int fd, saver_fn *fn, void *ctx)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	give(s, (struct job){ .fd = own, .r = own < 0 ? -errno : 0, .fn = fn, .ctx = ctx });
}

void saver_wait(struct saver *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->running && (s->busy || !list_empty(&s->waiting)))
		pthread_cond_wait(&s->rest, &s->lock);
	pthread_mutex_unlock(&s->lock);
	tell(s);
}
