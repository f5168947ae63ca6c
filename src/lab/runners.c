/* SPDX-License-Identifier: Apache-2.0 */
/* Starting the long-lived processes of a lab and hearing from them. */
#include "base/buf.h"
#include "base/file.h"
#include "lab/cgroup.h"
#include "lab/spawn.h"
#include "lab/verbs.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

enum { START_TIMEOUT_S = 120, LINE_MAX_BYTES = 4096, LOG_TAIL_LINES = 8 };

static volatile sig_atomic_t interrupted;

static void on_signal(int s _unused_)
{
	interrupted = 1;
}

static void catch_signals(void)
{
	struct sigaction a = { .sa_handler = on_signal }; /* no SA_RESTART: poll() returns */

	sigaction(SIGINT, &a, NULL);
	sigaction(SIGTERM, &a, NULL);
	sigaction(SIGHUP, &a, NULL);
}

static int open_log(const struct lab *lab, const char *part)
{
	_cleanup_free_ char *dir = lab_path(lab, "logs"), *path = xasprintf("%s/%s.log", dir, part);
	int r = mkdir_parents(dir, 0700), fd;

	if (r < 0)
		return r;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

int lab_start_runner(const struct lab *lab, const char *part, const char **argv, int keep)
{
	_cleanup_free_ char *path = cgroup_of(lab->name, part), *number = NULL;
	_cleanup_close_ int cgroup = -1, log = open_log(lab, part), report_in = -1, report_out = -1, pidfd = -1;
	const char *what = "cgroup";
	int fds[2], r = path ? cgroup_make(path) : -ENOENT;
	struct spawn s = { .argv = argv, .keep = keep, .session = true };
	size_t n = 0;
	pid_t pid;

	if (r == 0)
		r = cgroup = cgroup_open(path);
	if (r >= 0)
		r = log < 0 ? log : 0;
	if (r == 0 && pipe2(fds, O_CLOEXEC) < 0)
		r = -errno;
	if (r < 0) {
		lab_fail("cannot prepare %s: %s", part, strerror(-r));
		return r;
	}
	report_in = fds[0];
	report_out = fds[1];
	number = xasprintf("%d", report_out);
	while (argv[n])
		n++;
	argv[n] = number;
	s.out = s.err = log;
	s.keep2 = report_out;
	s.cgroup_fd = cgroup;
	r = spawn_start(&s, &pid, &pidfd, &what);
	argv[n] = NULL;
	if (r < 0) {
		lab_fail("cannot start %s: %s: %s", argv[0], what, strerror(-r));
		return r;
	}
	return take_fd(report_in);
}

int lab_start_node(const struct lab *lab, const struct lab_node *node)
{
	_cleanup_free_ char *program = xasprintf("%s/weft-lab-runner", lab->bin);
	const char *argv[6] = { program, "node", lab->name, node->name };

	return lab_start_runner(lab, node->name, argv, 0);
}

static void show_log_tail(const struct lab *lab, const char *name)
{
	_cleanup_free_ char *path = xasprintf("%s/logs/%s.log", lab->dir, name), *text = NULL;
	char *tail;
	int lines = 0;

	if (file_read(path, 64 << 20, &text, NULL) < 0 || !*text)
		return;
	for (tail = text + strlen(text) - 1; tail > text; tail--)
		if (tail[-1] == '\n' && ++lines > LOG_TAIL_LINES)
			break;
	fprintf(stderr, "the end of %s:\n%s", path, tail);
}

/* Of a runner, and of the agent if it is a node's: why a node is not ready is seldom the runner's fault. */
static void show_log_tails(const struct lab *lab, const char *name)
{
	_cleanup_free_ char *agent = xasprintf("%s-weftd", name);

	show_log_tail(lab, name);
	show_log_tail(lab, agent);
}

struct follower {
	struct buf buf;
	bool done;
	bool failed;
};

static bool take_line(struct buf *b, char *line, size_t size)
{
	char *eol = b->data ? memchr(b->data, '\n', b->len) : NULL;

	if (!eol)
		return false;
	snprintf(line, size, "%.*s", (int)(eol - b->data), b->data);
	buf_drop(b, eol + 1 - b->data);
	return true;
}

static void follow(struct follower *f, int fd, const char *name, const char *last, void (*on_line)(const char *, const char *))
{
	char line[LINE_MAX_BYTES];
	ssize_t n = buf_read_fd(&f->buf, fd);

	while (take_line(&f->buf, line, sizeof(line))) {
		if (str_has_prefix(line, "error ")) {
			lab_fail("%s: %s", name, line + 6);
			f->failed = true;
			return;
		}
		if (on_line)
			on_line(name, line);
		f->done |= streq(line, last) || (str_has_prefix(line, last) && line[strlen(last)] == ' ');
	}
	if (n <= 0 && !f->done && n != -EINTR) {
		lab_fail("%s ended before it was ready", name);
		f->failed = true;
	}
}

static int wait_some(const struct lab *lab, struct pollfd *p, struct follower *f, const char *const *names, size_t n,
		     const char *last, void (*on_line)(const char *, const char *))
{
	double end = lab_seconds() + START_TIMEOUT_S;
	size_t left = n;

	while (left > 0 && !interrupted) {
		int r = poll(p, n, 1000);

		if (r < 0 && errno != EINTR)
			return -errno;
		for (size_t i = 0; r > 0 && i < n; i++) {
			if (!p[i].revents)
				continue;
			follow(&f[i], p[i].fd, names[i], last, on_line);
			if (f[i].failed) {
				show_log_tails(lab, names[i]);
				return -EPROTO;
			}
			if (f[i].done) {
				p[i].fd = -1;
				left--;
			}
		}
		if (lab_seconds() > end)
			break;
	}
	if (left == 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		if (!f[i].done) {
			lab_fail("%s is not ready after %.0f s", names[i], START_TIMEOUT_S - (end - lab_seconds()));
			show_log_tails(lab, names[i]);
		}
	return interrupted ? -EINTR : -ETIMEDOUT;
}

int lab_wait_reports(const struct lab *lab, int *fds, const char *const *names, size_t n, const char *last,
		     void (*on_line)(const char *name, const char *line))
{
	_cleanup_free_ struct pollfd *p = xnew0_array(struct pollfd, n);
	_cleanup_free_ struct follower *f = xnew0_array(struct follower, n);
	int r;

	catch_signals();
	for (size_t i = 0; i < n; i++) {
		p[i] = (struct pollfd){ .fd = fds[i], .events = POLLIN };
		f[i].buf.max = 4 * LINE_MAX_BYTES;
	}
	r = wait_some(lab, p, f, names, n, last, on_line);
	for (size_t i = 0; i < n; i++) {
		buf_done(&f[i].buf);
		fds[i] = close_fd(fds[i]);
	}
	if (r == -EINTR)
		lab_fail("interrupted");
	return r;
}
