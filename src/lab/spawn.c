/* SPDX-License-Identifier: Apache-2.0 */
/* clone3() puts the child into its cgroup at birth: moving it later would take the whole system's thread group lock and
 * leave sockets behind that were made before. Between clone and exec the child only makes system calls (another thread
 * may have held malloc's lock); a pipe that closes on exec brings back what failed. */
#include "lab/spawn.h"
#include "base/str.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct failure {
	int error;
	int step;
};

enum { STEP_CLONE, STEP_NETNS, STEP_UTS, STEP_CWD, STEP_STDIO, STEP_EXEC };
static const char *const step_names[] = { "clone", "setns", "set the host name", "chdir", "standard files", "exec" };

char *spawn_find(const char *name, char *const *envp)
{
	const char *path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

	if (strchr(name, '/'))
		return xstrdup(name);
	for (; envp && *envp; envp++)
		if (str_has_prefix(*envp, "PATH="))
			path = *envp + 5;
	while (*path) {
		size_t n = strcspn(path, ":");
		_cleanup_free_ char *full = xasprintf("%.*s/%s", (int)n, path, name);

		if (access(full, X_OK) == 0)
			return take_ptr(full);
		path += n + (path[n] == ':');
	}
	return NULL;
}

_noreturn_ static void fail(int fd, int step)
{
	struct failure f = { .error = errno, .step = step };
	ssize_t n = write(fd, &f, sizeof(f));

	_exit(n == sizeof(f) ? 127 : 126);
}

static int install(int from, int to, int null)
{
	return dup2(from > 0 ? from : null, to);
}

static void reset_signals(void)
{
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

_noreturn_ static void child(const struct spawn *s, const char *program, char *const *envp, int null, int report)
{
	reset_signals();
	if (s->session)
		setsid();
	if (s->netns_fd > 0 && setns(s->netns_fd, CLONE_NEWNET) < 0)
		fail(report, STEP_NETNS);
	if (s->hostname && (unshare(CLONE_NEWUTS) < 0 || sethostname(s->hostname, strlen(s->hostname)) < 0))
		fail(report, STEP_UTS);
	if (chdir(s->cwd ? s->cwd : "/") < 0)
		fail(report, STEP_CWD);
	if (install(s->in, 0, null) < 0 || install(s->out, 1, null) < 0 || install(s->err, 2, null) < 0)
		fail(report, STEP_STDIO);
	if (s->keep > 2 && fcntl(s->keep, F_SETFD, 0) < 0)
		fail(report, STEP_STDIO);
	if (s->keep2 > 2 && fcntl(s->keep2, F_SETFD, 0) < 0)
		fail(report, STEP_STDIO);
	execve(program, (char *const *)s->argv, envp);
	fail(report, STEP_EXEC);
}

static int do_clone(int cgroup_fd, int *ret_pidfd)
{
	struct clone_args a = {
		.flags = CLONE_PIDFD | (cgroup_fd > 0 ? CLONE_INTO_CGROUP : 0),
		.pidfd = (uintptr_t)ret_pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = cgroup_fd > 0 ? cgroup_fd : 0,
	};

	return syscall(SYS_clone3, &a, sizeof(a));
}

static void reap(int pidfd)
{
	siginfo_t info;

	while (waitid(P_PIDFD, pidfd, &info, WEXITED) < 0 && errno == EINTR)
		;
}

int spawn_start(const struct spawn *s, pid_t *ret_pid, int *ret_pidfd, const char **ret_what)
{
	char *const *envp = s->envp ? s->envp : environ;
	_cleanup_free_ char *program = spawn_find(s->argv[0], envp);
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC), report_in = -1, report_out = -1, pidfd = -1;
	struct failure f;
	int fds[2];
	pid_t pid;

	*ret_what = step_names[STEP_EXEC];
	if (!program)
		return -ENOENT;
	*ret_what = step_names[STEP_CLONE];
	if (null < 0 || pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	report_in = fds[0];
	report_out = fds[1];
	pid = do_clone(s->cgroup_fd, &pidfd);
	if (pid < 0)
		return -errno;
	if (pid == 0)
		child(s, program, envp, null, report_out);
	report_out = close_fd(report_out);
	if (read(report_in, &f, sizeof(f)) == sizeof(f)) {
		reap(pidfd);
		*ret_what = step_names[f.step];
		return -f.error;
	}
	*ret_pid = pid;
	*ret_pidfd = take_fd(pidfd);
	return 0;
}

struct proc {
	sd_event_source *source;
	int pidfd;
	pid_t pid;
	proc_exit_fn *fn;
	void *ctx;
};

static void proc_release(struct proc *p)
{
	sd_event_source_disable_unref(p->source);
	close(p->pidfd);
	free(p);
}

static int on_exit_of(sd_event_source *s _unused_, int fd, uint32_t revents _unused_, void *data)
{
	struct proc *p = data;
	proc_exit_fn *fn = p->fn;
	void *ctx = p->ctx;
	siginfo_t info = { 0 };
	int status;

	if (waitid(P_PIDFD, fd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
		return 0;
	status = info.si_code == CLD_EXITED ? W_EXITCODE(info.si_status, 0) : W_EXITCODE(0, info.si_status);
	proc_release(p);
	fn(status, ctx);
	return 0;
}

int proc_start(sd_event *event, const struct spawn *s, proc_exit_fn *fn, void *ctx, struct proc **ret, const char **ret_what)
{
	struct proc *p = xnew0(struct proc);
	int r = spawn_start(s, &p->pid, &p->pidfd, ret_what);

	if (r < 0) {
		free(p);
		return r;
	}
	p->fn = fn;
	p->ctx = ctx;
	r = sd_event_add_io(event, &p->source, p->pidfd, EPOLLIN, on_exit_of, p);
	if (r < 0) {
		proc_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

void proc_kill(struct proc *p, int signal)
{
	syscall(SYS_pidfd_send_signal, p->pidfd, signal, NULL, 0); /* gone already is as good */
}

pid_t proc_pid(const struct proc *p)
{
	return p->pid;
}

struct proc *proc_free(struct proc *p)
{
	if (!p)
		return NULL;
	proc_kill(p, SIGKILL);
	reap(p->pidfd);
	proc_release(p);
	return NULL;
}

int memfd_text(const char *text, size_t len)
{
	int fd = memfd_create("text", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (len > 0 && pwrite(fd, text, len, 0) != (ssize_t)len) {
		close(fd);
		return -EIO;
	}
	return fd;
}

int memfd_read(int fd, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_free_ char *text = NULL;
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((size_t)st.st_size > max)
		return -EFBIG;
	text = xmalloc(st.st_size + 1);
	n = pread(fd, text, st.st_size, 0);
	if (n < 0)
		return -errno;
	text[n] = 0;
	if (ret_len)
		*ret_len = n;
	*ret = take_ptr(text);
	return 0;
}
