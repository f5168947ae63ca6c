/* SPDX-License-Identifier: Apache-2.0 */
/* `weft lab down`: everything of a lab hangs on its processes (namespaces, and in them links, mounts, pinned objects), and its
 * processes are those of its cgroup, however they came to be. So: kill the cgroup, remove it, remove the files.
 *
 * The kernel dismantles network namespaces after the last process is gone, one batch after the other. To be able to say that
 * nothing is left, a namespace of our own is sent after them: when its end of a link has gone, so have they. */
#include "base/file.h"
#include "lab/cgroup.h"
#include "lab/spawn.h"
#include "lab/verbs.h"
#include "net/netns.h"
#include "net/rtnl.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

enum { KILL_TIMEOUT_MS = 20000, DISMANTLE_TIMEOUT_S = 20 };

static int remove_tree_at(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r = 0;
	struct dirent *e;
	DIR *d;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	d = fdopendir(fd);
	if (!d) {
		r = -errno;
		close(fd);
		return r;
	}
	while ((e = readdir(d))) {
		if (streq(e->d_name, ".") || streq(e->d_name, ".."))
			continue;
		if (unlinkat(fd, e->d_name, 0) == 0)
			continue;
		r = errno == EISDIR || errno == EPERM ? remove_tree_at(fd, e->d_name) : -errno;
		if (r < 0)
			break;
	}
	closedir(d);
	if (r == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0)
		r = -errno;
	return r;
}

static int remove_cgroup(const char *path)
{
	double end = lab_seconds() + KILL_TIMEOUT_MS / 1000.0;
	int r;

	while ((r = cgroup_remove(path)) == -EBUSY && lab_seconds() < end)
		poll(NULL, 0, 2); /* zombies count until their parents have looked */
	return r;
}

static void wait_for_dismantling(void)
{
	_cleanup_close_ int here = netns_create(NULL), after = netns_create(NULL);
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	double end = lab_seconds() + DISMANTLE_TIMEOUT_S;
	uint32_t ifindex;
	struct link l;

	if (here < 0 || after < 0 || rtnl_open_in(here, &nl) < 0 ||
	    rtnl_add_veth(nl, &(struct link_spec){ .name = "mark" }, &(struct link_spec){ .name = "end", .netns_fd = after },
			  &ifindex) < 0)
		return; /* then only the wait is lost */
	after = close_fd(after);
	while (rtnl_get_link(nl, ifindex, &l) == 0 && lab_seconds() < end)
		poll(NULL, 0, 2);
}

int lab_teardown(const char *name)
{
	_cleanup_free_ char *cgroup = cgroup_of(name, NULL);
	bool populated = cgroup && cgroup_is_populated(cgroup);
	int r = cgroup ? cgroup_kill(cgroup, KILL_TIMEOUT_MS) : 0, root;

	if (r == 0 && cgroup)
		r = remove_cgroup(cgroup);
	if (r < 0) {
		lab_fail("cannot end all processes of lab \"%s\": %s", name, strerror(-r));
		return r;
	}
	if (populated)
		wait_for_dismantling();
	root = open(LAB_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = root < 0 ? (errno == ENOENT ? 0 : -errno) : remove_tree_at(root, name);
	close_fd(root);
	if (r < 0)
		lab_fail("cannot remove " LAB_ROOT "/%s: %s", name, strerror(-r));
	return r;
}

int lab_down(const struct lab_args *a)
{
	_cleanup_free_ char *dir = lab_dir(a->name), *cgroup = cgroup_of(a->name, NULL);
	_cleanup_close_ int lock = lab_lock(a->name);
	bool was;
	int r;

	if (lock < 0)
		return lab_fail("cannot lock lab \"%s\": %s", a->name, strerror(-lock));
	was = access(dir, F_OK) == 0 || (cgroup && access(cgroup, F_OK) == 0);
	r = lab_teardown(a->name);
	if (r == 0)
		lab_unlink_lock(a->name);
	if (r == 0)
		printf(was ? "lab \"%s\" is down (%.2f s), nothing of it is left\n" : "there is no lab \"%s\" (%.2f s)\n", a->name,
		       lab_seconds());
	return r < 0;
}
