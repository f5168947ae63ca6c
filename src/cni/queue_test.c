/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "cni/queue.h"

#include <fcntl.h>

static char base[] = "/tmp/weft-queue-XXXXXX";
static char *dir;

struct seen {
	int n;
	bool done;
	char last[64];
};

static bool see(const char *container, const char *ifname, void *ctx)
{
	struct seen *s = ctx;

	s->n++;
	snprintf(s->last, sizeof(s->last), "%s/%s", container, ifname);
	return s->done;
}

static void a_missing_queue_is_empty(void)
{
	struct seen s = {0};

	CHECK_INT(del_queue_drain(dir, see, &s), 0);
	CHECK_INT(s.n, 0);
}

static void each_is_drained_once(void)
{
	struct seen s = {.done = true};

	CHECK_INT(del_queue_put(dir, "c1", "eth0"), 0);
	CHECK_INT(del_queue_put(dir, "c1", "eth0"), 0);
	CHECK_INT(del_queue_put(dir, "c1", "eth1"), 0);
	CHECK_INT(del_queue_drain(dir, see, &s), 2);
	CHECK_INT(s.n, 2);
	CHECK_INT(del_queue_drain(dir, see, &s), 0);
}

static void what_is_not_done_stays(void)
{
	struct seen s = {.done = false};

	CHECK_INT(del_queue_put(dir, "c2", "eth0"), 0);
	CHECK_INT(del_queue_drain(dir, see, &s), 0);
	s.done = true;
	CHECK_INT(del_queue_drain_one(dir, "c3", "eth0", see, &s), 0);
	CHECK_INT(s.n, 1);
	CHECK_INT(del_queue_drain_one(dir, "c2", "eth0", see, &s), 1);
	CHECK_STR(s.last, "c2/eth0");
}

static void rubbish_is_removed(void)
{
	_cleanup_free_ char *path = xasprintf("%s/x.json", dir);
	struct seen s = {.done = true};

	CHECK_INT(file_write_atomic(path, "{\"containerID\":", 15, 0600), 0);
	CHECK_INT(del_queue_drain(dir, see, &s), 1);
	CHECK_INT(s.n, 0);
	CHECK(access(path, F_OK) < 0);
}

static void the_queue_is_bounded(void)
{
	struct seen s = {.done = true};
	char id[32];

	for (int i = 0; i < DEL_QUEUE_MAX; i++) {
		_cleanup_free_ char *path = xasprintf("%s/%d.json", dir, i);
		int fd = open(path, O_CREAT | O_WRONLY, 0600);

		CHECK(fd >= 0);
		close(fd);
	}
	snprintf(id, sizeof(id), "one-more");
	CHECK_INT(del_queue_put(dir, id, "eth0"), -ENOSPC);
	CHECK_INT(del_queue_drain(dir, see, &s), DEL_QUEUE_MAX);
	CHECK_INT(del_queue_put(dir, id, "eth0"), 0);
	CHECK_INT(del_queue_drain(dir, see, &s), 1);
}

int main(void)
{
	assert(mkdtemp(base));
	dir = xasprintf("%s/queue", base);
	freopen("/dev/null", "w", stderr); /* the warnings about rubbish are wanted here */
	RUN(a_missing_queue_is_empty);
	RUN(each_is_drained_once);
	RUN(what_is_not_done_stays);
	RUN(rubbish_is_removed);
	RUN(the_queue_is_bounded);
	rmdir(dir);
	rmdir(base);
	free(dir);
	return test_end();
}
