/* SPDX-License-Identifier: Apache-2.0 */
#include "net/netns.h"
#include "base/file.h"
#include "base/str.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

static const char own_path[] = "/proc/thread-self/ns/net";

int netns_open(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct statfs fs;

	if (fd < 0)
		return -errno;
	if (fstatfs(fd, &fs) < 0)
		return -errno;
	if (fs.f_type != NSFS_MAGIC || ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
		return -EINVAL;
	return take_fd(fd);
}

int netns_open_self(void)
{
	return netns_open(own_path);
}

int netns_id_of(int fd, struct netns_id *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*ret = (struct netns_id){.dev = st.st_dev, .ino = st.st_ino};
	return 0;
}

static void go_back(int fd)
{
	if (setns(fd, CLONE_NEWNET) == 0)
		return;
	/* whatever came next would happen in the wrong namespace */
	fprintf(stderr, "cannot return to the own network namespace: %s\n", strerror(errno));
	abort();
}

int netns_run(int netns_fd, int (*fn)(void *ctx), void *ctx)
{
	_cleanup_close_ int own = netns_open_self();
	int r;

	if (own < 0)
		return own;
	if (setns(netns_fd, CLONE_NEWNET) < 0)
		return -errno;
	r = fn(ctx);
	go_back(own);
	return r;
}

static int read_cookie(void *ctx)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof(uint64_t);

	return fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, ctx, &size) < 0 ? -errno : 0;
}

int netns_cookie_of_self(uint64_t *ret)
{
	return read_cookie(ret);
}

int netns_cookie_of(int netns_fd, uint64_t *ret)
{
	return netns_run(netns_fd, read_cookie, ret);
}

/* The thread's namespace, bound to @path. */
static int bind_own_to(const char *path)
{
	_cleanup_close_ int file = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	int r;

	if (file < 0)
		return -errno;
	if (mount(own_path, path, NULL, MS_BIND, NULL) == 0)
		return 0;
	r = -errno;
	unlink(path);
	return r;
}

int netns_create(const char *path)
{
	_cleanup_close_ int own = netns_open_self(), fd = -1;
	int r;

	if (own < 0)
		return own;
	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	fd = netns_open_self();
	r = fd < 0 ? fd : path ? bind_own_to(path) : 0;
	go_back(own);
	return r < 0 ? r : take_fd(fd);
}

int netns_remove(const char *path)
{
	/* EINVAL: no mount there, a file left over by a crash between creating and mounting */
	if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
		return -errno;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

struct sysctl {
	const char *path, *value;
};

static int write_sysctl(void *ctx)
{
	struct sysctl *s = ctx;

	return file_write(s->path, s->value);
}

int netns_sysctl(int netns_fd, const char *name, const char *value)
{
	_cleanup_free_ char *path = xasprintf("/proc/sys/net/%s", name);

	if (strstr(name, ".."))
		return -EINVAL;
	return netns_run(netns_fd, write_sysctl, &(struct sysctl){path, value});
}
