/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "lab/runner.h"

#include <fcntl.h>
#include <signal.h>

void report_line(struct report *r, const char *fmt, ...)
{
	_cleanup_free_ char *line = NULL;
	va_list ap;

	if (r->fd < 0)
		return;
	va_start(ap, fmt);
	line = xvasprintf(fmt, ap);
	va_end(ap);
	for (char *p = line; *p; p++) /* one line, whatever is in it */
		*p = *p == '\n' ? ' ' : *p;
	if (dprintf(r->fd, "%s\n", line) < 0)
		r->fd = close_fd(r->fd); /* `weft lab` has gone away; nobody waits */
}

void report_end(struct report *r)
{
	r->fd = close_fd(r->fd);
}

static int usage(FILE *f)
{
	fputs("Usage: weft-lab-runner keeper LAB HUB-FD REPORT-FD\n"
	      "       weft-lab-runner node LAB NODE REPORT-FD\n"
	      "       weft-lab-runner world\n"
	      "Started by `weft lab`; not for people.\n",
	      f);
	return f == stdout ? 0 : 2;
}

static int parse_fd(const char *text)
{
	uint64_t fd;

	if (parse_u64(text, 1 << 20, &fd) < 0 || fcntl(fd, F_GETFD) < 0) {
		log_error("bad descriptor", L_STR("argument", text));
		return -EBADF;
	}
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	return fd;
}

static int run(int argc, char **argv)
{
	_cleanup_lab_ struct lab lab = { 0 };
	struct report report = { .fd = parse_fd(argv[argc - 1]) };
	struct lab_node *node;
	int r = lab_load(argv[2], &lab), hub_fd;

	if (r < 0 || report.fd < 0) {
		log_error("cannot read the lab's description", L_STR("lab", argv[2]), L_ERRNO(r));
		return 1;
	}
	if (streq(argv[1], "keeper")) {
		hub_fd = parse_fd(argv[3]);
		return hub_fd < 0 ? 1 : keeper_main(&lab, &report, hub_fd);
	}
	node = lab_find_node(&lab, argv[3]);
	if (!node) {
		log_error("the lab has no such node", L_STR("node", argv[3]));
		return 1;
	}
	return node_main(&lab, node, &report);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc == 2 && streq(argv[1], "--help"))
		return usage(stdout);
	if (argc == 2 && streq(argv[1], "--version"))
		return puts("weft-lab-runner " WEFT_VERSION) < 0;
	if (argc == 2 && streq(argv[1], "world"))
		for (;;)
			pause();
	if (argc == 5 && (streq(argv[1], "keeper") || streq(argv[1], "node")))
		return run(argc, argv);
	return usage(stderr);
}
