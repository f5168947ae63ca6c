/* SPDX-License-Identifier: Apache-2.0 */
/* The socket programs: one object, a cgroup link each, pinned in cgroup/. A link that is there gets the new program; one that hangs on
 * another cgroup is made anew. A link (BPF_LINK_CREATE) lets others attach beside it and below it, which BPF_PROG_ATTACH does not. */
#include "base/str.h"
#include "datapath/priv.h"
#include "datapath/service.h"

#include <fcntl.h>
#include <sys/stat.h>

static const struct {
	const char *name;
	enum bpf_attach_type type;
} hooks[SOCK_HOOKS] = {
	{ "sock_connect4", BPF_CGROUP_INET4_CONNECT },
	{ "sock_connect6", BPF_CGROUP_INET6_CONNECT },
	{ "sock_sendmsg4", BPF_CGROUP_UDP4_SENDMSG },
	{ "sock_sendmsg6", BPF_CGROUP_UDP6_SENDMSG },
	{ "sock_recvmsg4", BPF_CGROUP_UDP4_RECVMSG },
	{ "sock_recvmsg6", BPF_CGROUP_UDP6_RECVMSG },
	{ "sock_getpeer4", BPF_CGROUP_INET4_GETPEERNAME },
	{ "sock_getpeer6", BPF_CGROUP_INET6_GETPEERNAME },
};

static char *pin_of(const struct datapath *dp, int hook)
{
	return xasprintf("%s/cgroup/%s", dp->dir, hooks[hook].name);
}

static int program_of(const struct datapath *dp, int hook)
{
	return bpf_program__fd(bpf_object__find_program_by_name(dp->sock, hooks[hook].name));
}

/* A cgroup's id is its inode's number. Return: 0 when there is none. */
static uint64_t cgroup_id(int cgroup)
{
	struct stat st;

	return fstat(cgroup, &st) < 0 ? 0 : st.st_ino;
}

static bool hangs_on(int link, uint64_t cgroup)
{
	struct bpf_link_info info = {};
	uint32_t size = sizeof(info);

	return bpf_obj_get_info_by_fd(link, &info, &size) == 0 && info.type == BPF_LINK_TYPE_CGROUP &&
	       info.cgroup.cgroup_id == cgroup;
}

static int attach(struct datapath *dp, int hook, int cgroup)
{
	_cleanup_free_ char *pin = pin_of(dp, hook);
	_cleanup_close_ int link = bpf_obj_get(pin);
	int r;

	if (link >= 0 && hangs_on(link, cgroup_id(cgroup))) {
		r = bpf_link_update(link, program_of(dp, hook), NULL);
		dp->sock_links[hook] = r < 0 ? -1 : take_fd(link);
		return r;
	}
	if (link >= 0 && unlink(pin) < 0)
		return -errno;
	r = dp->sock_links[hook] = bpf_link_create(program_of(dp, hook), cgroup, hooks[hook].type, NULL);
	return r < 0 ? r : bpf_obj_pin(r, pin);
}

int dp_attach_sockets(struct datapath *dp, const char *cgroup, char **ret_error)
{
	_cleanup_close_ int fd = *cgroup ? open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int r = 0;

	if (*cgroup && fd < 0) {
		r = -errno;
		*ret_error = xasprintf("cannot open the cgroup %s: %s", cgroup, strerror(-r));
		return r;
	}
	for (int i = 0; i < SOCK_HOOKS && r == 0; i++) {
		_cleanup_free_ char *pin = pin_of(dp, i);

		if (*cgroup)
			r = attach(dp, i, fd);
		else if (unlink(pin) < 0 && errno != ENOENT)
			r = -errno;
		if (r < 0)
			*ret_error = xasprintf("cannot attach %s to the cgroup %s: %s", hooks[i].name, cgroup, strerror(-r));
	}
	if (r == 0 && *cgroup)
		dp->cgroup = xstrdup(cgroup);
	return r;
}

void dp_close_sockets(struct datapath *dp)
{
	for (int i = 0; i < SOCK_HOOKS; i++)
		close_fd(dp->sock_links[i]);
	free(dp->cgroup);
	bpf_object__close(dp->sock);
}

static int mend(struct datapath *dp, int hook, int cgroup)
{
	_cleanup_free_ char *pin = pin_of(dp, hook);
	bool hangs = dp->sock_links[hook] >= 0 && hangs_on(dp->sock_links[hook], cgroup_id(cgroup));
	int r;

	if (hangs && access(pin, F_OK) == 0)
		return 0;
	if (hangs) {
		r = bpf_obj_pin(dp->sock_links[hook], pin);
		if (r == 0)
			dp_repaired(dp, DP_REPAIR_PIN, "cgroup/%s", hooks[hook].name);
		return r;
	}
	dp->sock_links[hook] = close_fd(dp->sock_links[hook]); /* detached: it is there, and hangs on nothing */
	r = attach(dp, hook, cgroup);
	if (r == 0)
		dp_repaired(dp, DP_REPAIR_PROGRAM, "%s at the cgroup", hooks[hook].name);
	return r;
}

int dp_mend_sockets(struct datapath *dp)
{
	_cleanup_close_ int fd = dp->cgroup ? open(dp->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int first = 0;

	if (!dp->cgroup)
		return 0;
	if (fd < 0)
		return -errno;
	for (int i = 0; i < SOCK_HOOKS; i++)
		dp_note_error(&first, mend(dp, i, fd));
	return first;
}
