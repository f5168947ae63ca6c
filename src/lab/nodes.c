/* SPDX-License-Identifier: Apache-2.0 */
/* `weft lab node add|stop|start`. */
#include "lab/cgroup.h"
#include "lab/verbs.h"

enum { KILL_TIMEOUT_MS = 20000 };

static int power_off(const struct lab *lab, const struct lab_node *n)
{
	_cleanup_free_ char *cgroup = cgroup_of(lab->name, n->name);
	int r = cgroup ? cgroup_kill(cgroup, KILL_TIMEOUT_MS) : -ENOENT;

	if (r == 0)
		r = cgroup_remove(cgroup);
	if (r < 0)
		lab_fail("cannot end all processes of node %s: %s", n->name, strerror(-r));
	return r;
}

static int boot(const struct lab *lab, const struct lab_node *n)
{
	const char *name = n->name;
	int fd = lab_start_node(lab, n);

	return fd < 0 ? fd : lab_wait_reports(lab, &fd, &name, 1, "ready", NULL);
}

static int save(const struct lab *lab)
{
	int r = lab_save(lab);

	if (r < 0)
		lab_fail("cannot write the description of lab \"%s\": %s", lab->name, strerror(-r));
	return r;
}

/* Locks and loads. Returns the lock, or -errno (said). */
static int open_lab(const struct lab_args *a, struct lab *lab)
{
	_cleanup_close_ int lock = -1;
	int r = lab_get(a, lab); /* before the lock: it would make a file for a lab that is not there */

	if (r < 0)
		return r;
	lab_done(lab);
	lock = lab_lock(a->name);
	if (lock < 0) {
		lab_fail("cannot lock lab \"%s\": %s", a->name, strerror(-lock));
		return lock;
	}
	r = lab_get(a, lab);
	if (r < 0) {
		lab_unlink_lock(a->name);
		return r;
	}
	return take_fd(lock);
}

static struct lab_node *find(const struct lab_args *a, const struct lab *lab)
{
	struct lab_node *n = lab_find_node(lab, a->target);
	char shown[80];

	if (!lab->n_nodes) {
		lab_fail("lab \"%s\" has no node yet: `weft lab node add` makes one", lab->name);
	} else if (!n) {
		str_escape(shown, sizeof(shown), a->target);
		lab_fail("lab \"%s\" has no node \"%s\"; it has n1 to %s", lab->name, shown, lab->nodes[lab->n_nodes - 1].name);
	}
	return n;
}

int lab_node_add(const struct lab_args *a)
{
	_cleanup_lab_ struct lab lab = { 0 };
	_cleanup_close_ int lock = open_lab(a, &lab);
	struct lab_node *n;

	if (lock < 0)
		return 1;
	n = lab_add_node(&lab);
	if (!n)
		return lab_fail("a lab has at most %d nodes", LAB_NODES_MAX);
	if (save(&lab) < 0)
		return 1;
	if (boot(&lab, n) < 0) {
		power_off(&lab, n);
		free(n->name);
		lab.n_nodes--;
		save(&lab);
		return lab_fail("the new node did not come up; it was taken away again");
	}
	puts(n->name);
	return 0;
}

int lab_node_stop(const struct lab_args *a)
{
	_cleanup_lab_ struct lab lab = { 0 };
	_cleanup_close_ int lock = open_lab(a, &lab);
	struct lab_node *n = lock < 0 ? NULL : find(a, &lab);

	if (!n)
		return 1;
	if (n->stopped)
		return lab_fail("node %s is stopped already", n->name);
	n->stopped = true;
	if (power_off(&lab, n) < 0 || save(&lab) < 0)
		return 1;
	printf("node %s is off (%.2f s)\n", n->name, lab_seconds());
	return 0;
}

int lab_node_start(const struct lab_args *a)
{
	_cleanup_lab_ struct lab lab = { 0 };
	_cleanup_close_ int lock = open_lab(a, &lab);
	struct lab_node *n = lock < 0 ? NULL : find(a, &lab);
	_cleanup_free_ char *part = NULL, *cgroup = NULL;

	if (!n)
		return 1;
	part = xasprintf("%s/runner", n->name);
	cgroup = cgroup_of(lab.name, part);
	if (cgroup && cgroup_is_populated(cgroup))
		return lab_fail("node %s is running already", n->name);
	if (power_off(&lab, n) < 0) /* what a runner that died left behind */
		return 1;
	n->stopped = false;
	if (save(&lab) < 0 || boot(&lab, n) < 0)
		return 1;
	printf("node %s is ready (%.2f s)\n", n->name, lab_seconds());
	return 0;
}
