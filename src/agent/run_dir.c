/* SPDX-License-Identifier: Apache-2.0 */
/* The run directory: the lock that makes this agent the only one, the state that the next one goes on with, the socket. Somebody who tidies up takes it away
 * whole, and then nobody reaches the agent, another one may start beside it, and what it writes down goes into files without a name. So it is looked at each second,
 * and what is gone is made anew from what the agent knows. */
#include "agent/agent.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <fcntl.h>
#include <sys/file.h>

static char *lock_path(const struct options *o)
{
	return xasprintf("%s/weftd.lock", o->run_dir);
}

/* Return: the lock, held until it is closed; -EWOULDBLOCK when another agent has it, -errno. */
static int take_lock(const struct options *o)
{
	_cleanup_free_ char *path = lock_path(o);
	_cleanup_close_ int fd = -1;
	int r = mkdir_parents(o->run_dir, 0755);

	if (r < 0)
		return r;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	return take_fd(fd);
}

int agent_lock(const struct options *o)
{
	int r = take_lock(o);

	if (r < 0)
		log_error(r == -EWOULDBLOCK ? "another weftd runs with this directory" : "cannot lock the run directory",
			  L_STR("directory", o->run_dir), L_ERRNO(r));
	return r;
}

static bool lock_is_there(const struct agent *a)
{
	_cleanup_free_ char *path = lock_path(&a->opt);

	return file_is_at(a->lock, path);
}

/* Return: 1 when something was made anew, 0, -errno. */
static int make_anew(struct agent *a)
{
	int made = 0, r = 0;

	if (!lock_is_there(a)) {
		r = take_lock(&a->opt);
		if (r < 0)
			return r;
		close_fd(a->lock);
		a->lock = r;
		made = 1;
	}
	r = endpoints_keep(a->endpoints);
	if (r > 0) {
		agent_keep_state(a);
		if (a->prober)
			prober_keep(a->prober);
	}
	return r < 0 ? r : MAX(made, r);
}

/* Without it neither CNI nor `weft` reaches us. */
static void restore_socket(struct agent *a)
{
	int r = ipc_server_restore(a->server);

	if (r > 0)
		repairs_note(&a->repairs, REPAIR_SOCKET, 1, a->socket_path);
	else if (r < 0 && a->socket_error != r)
		log_error("cannot listen anew", L_STR("path", a->socket_path), L_ERRNO(r));
	a->socket_error = MIN(r, 0);
}

void agent_restore_run_dir(struct agent *a)
{
	int r = make_anew(a);

	if (r > 0)
		repairs_note(&a->repairs, REPAIR_FILE, 1, a->opt.run_dir);
	else if (r < 0 && a->run_dir_error != r)
		log_error("cannot make the run directory anew", L_STR("path", a->opt.run_dir), L_ERRNO(r));
	a->run_dir_error = MIN(r, 0);
	restore_socket(a);
}
