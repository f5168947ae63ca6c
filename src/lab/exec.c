/* SPDX-License-Identifier: Apache-2.0 */
/* `weft lab exec`: a child enters the target's cgroup first (its sockets count there), then its namespaces, and becomes
 * the command; we hand signals on and take over its exit code. */
#include "base/file.h"
#include "lab/cgroup.h"
#include "lab/podfile.h"
#include "lab/verbs.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct place {
	pid_t pid;     /* whose namespaces */
	int flags;     /* CLONE_NEW… of it */
	int netns_fd;  /* a pod's, or -1 */
	char *cgroup;  /* as the machine sees it */
};

static void place_done(struct place *p)
{
	close_fd(p->netns_fd);
	free(p->cgroup);
}

static pid_t runner_of(const struct lab *lab, const char *part)
{
	_cleanup_free_ char *cgroup = cgroup_of(lab->name, part);

	return cgroup ? cgroup_first_pid(cgroup) : 0;
}

static pid_t node_pid(const struct lab *lab, const struct lab_node *n)
{
	_cleanup_free_ char *part = xasprintf("%s/runner", n->name);

	return runner_of(lab, part);
}

static int find_world(const struct lab *lab, struct place *p)
{
	p->pid = runner_of(lab, "world");
	p->flags = CLONE_NEWNET | CLONE_NEWUTS;
	p->cgroup = cgroup_of(lab->name, "world/exec");
	return p->pid ? 0 : lab_fail("world is not running; `weft lab down` and `up` again");
}

static int find_node(const struct lab *lab, const struct lab_node *n, struct place *p)
{
	_cleanup_free_ char *part = xasprintf("%s/exec", n->name);

	p->pid = node_pid(lab, n);
	p->flags = CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWCGROUP;
	p->cgroup = cgroup_of(lab->name, part);
	if (p->pid)
		return 0;
	return lab_fail("node %s is not running%s", n->name, n->stopped ? ": it was stopped" : "");
}

/* Reads the pod's file through the runner's root. Return: 0 when it is there. */
static int read_pod(const struct lab *lab, const struct lab_node *n, const char *pod, struct place *p)
{
	pid_t pid = node_pid(lab, n);
	_cleanup_free_ char *file = xasprintf("/proc/%d/root" POD_FILE_DIR "/%s", (int)pid, pod), *text = NULL;
	_cleanup_free_ char *part = NULL, *ns = NULL;
	char netns[256], cgroup[256];

	if (!pid || file_read(file, 600, &text, NULL) < 0)
		return -ENOENT;
	if (sscanf(text, "%255s %255s", netns, cgroup) != 2)
		return -EBADMSG;
	if (find_node(lab, n, p) != 0)
		return -ESRCH;
	part = xasprintf("%s%s/exec", n->name, cgroup);
	free(p->cgroup);
	p->cgroup = cgroup_of(lab->name, part);
	if (streq(netns, "-"))
		return 0;
	ns = xasprintf("/proc/%d/root%s", (int)pid, netns);
	p->netns_fd = open(ns, O_RDONLY | O_CLOEXEC);
	return p->netns_fd < 0 ? -errno : 0;
}

static bool valid_pod(const char *target)
{
	_cleanup_free_ char *ns = xstrndup(target, strcspn(target, "/"));
	const char *name = target + strlen(ns) + 1;

	return name_is_dns_label(ns) && name_is_dns_subdomain(name);
}

static int find_pod(const struct lab *lab, const char *target, struct place *p)
{
	if (!valid_pod(target))
		return lab_fail("\"%s\" is no NAMESPACE/POD", target);
	for (size_t i = 0; i < lab->n_nodes; i++) {
		int r = read_pod(lab, &lab->nodes[i], target, p);

		if (r == 0)
			return 0;
		if (r != -ENOENT)
			return lab_fail("pod %s on node %s: %s", target, lab->nodes[i].name, strerror(-r));
	}
	return lab_fail("no pod %s runs in lab \"%s\"; `kubectl get pods -A -o wide` shows what does", target, lab->name);
}

static int find_place(const struct lab *lab, const char *target, struct place *p)
{
	struct lab_node *n = lab_find_node(lab, target);
	char shown[80];

	if (streq(target, "world"))
		return find_world(lab, p);
	if (n)
		return find_node(lab, n, p);
	str_escape(shown, sizeof(shown), target);
	if (strchr(target, '/'))
		return find_pod(lab, shown, p);
	if (!lab->n_nodes)
		return lab_fail("lab \"%s\" has no node yet: `weft lab node add` makes one", lab->name);
	return lab_fail("lab \"%s\" has no \"%s\": expected a node (n1 to %s), NAMESPACE/POD or world", lab->name, shown,
			lab->nodes[lab->n_nodes - 1].name);
}

static int enter(const struct place *p)
{
	_cleanup_close_ int fd = syscall(SYS_pidfd_open, p->pid, 0);
	int r;

	if (fd < 0)
		return -errno;
	r = cgroup_make(p->cgroup);
	if (r == 0)
		r = cgroup_enter(p->cgroup);
	if (r < 0)
		return r;
	if (setns(fd, p->flags) < 0)
		return -errno;
	if (p->netns_fd >= 0 && setns(p->netns_fd, CLONE_NEWNET) < 0)
		return -errno;
	return 0;
}

/* The programs of the lab are at hand inside, wherever they were built. */
static void extend_path(const struct lab *lab)
{
	const char *path = getenv("PATH");
	_cleanup_free_ char *longer =
		xasprintf("%s:%s", path ? path : "/usr/sbin:/usr/bin:/sbin:/bin", lab->bin);

	setenv("PATH", longer, 1);
}

_noreturn_ static void become(const struct lab *lab, const struct place *p, char **command)
{
	_cleanup_free_ char *cwd = getcwd(NULL, 0);
	int r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	r = enter(p);
	if (r < 0) {
		lab_fail("cannot enter: %s", strerror(-r));
		_exit(126);
	}
	if (!cwd || chdir(cwd) < 0) /* the directory may be hidden in there */
		r = chdir("/");
	extend_path(lab);
	execvp(command[0], command);
	r = errno;
	lab_fail("%s: %s", command[0], strerror(r));
	_exit(r == ENOENT ? 127 : 126);
}

static pid_t child;

/* What a terminal sends reaches the child by itself: it is in our process group. */
static void hand_on(int sig, siginfo_t *info, void *context _unused_)
{
	if (child > 0 && info->si_code != SI_KERNEL)
		kill(child, sig);
}

static void hand_signals_on(void)
{
	static const int handed[] = { SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT };
	struct sigaction a = { .sa_sigaction = hand_on, .sa_flags = SA_RESTART | SA_SIGINFO };

	for (size_t i = 0; i < ARRAY_SIZE(handed); i++)
		sigaction(handed[i], &a, NULL);
}

static int run(const struct lab *lab, const struct place *p, char **command)
{
	int status;

	child = fork();
	if (child < 0)
		return lab_fail("cannot fork: %s", strerror(errno));
	if (child == 0)
		become(lab, p, command);
	hand_signals_on();
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return lab_fail("cannot wait: %s", strerror(errno));
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int lab_exec(const struct lab_args *a)
{
	_cleanup_lab_ struct lab lab = { 0 };
	_cleanup_(place_done) struct place p = { .netns_fd = -1 };

	if (lab_get(a, &lab) < 0)
		return 1;
	return find_place(&lab, a->target, &p) != 0 ? 1 : run(&lab, &p, a->command);
}
