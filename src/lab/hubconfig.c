/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/hubconfig.h"
#include "lab/spawn.h"

#include <sys/mman.h>
#include <sys/wait.h>

static int wait_for(int pidfd)
{
	siginfo_t info = { 0 };

	while (waitid(P_PIDFD, pidfd, &info, WEXITED) < 0)
		if (errno != EINTR)
			return -errno;
	return info.si_code == CLD_EXITED && info.si_status == 0 ? 0 : -EPROTO;
}

int hub_kubeconfig(const struct lab *lab, const char *server, const char *user, const char *group, char **ret, char **ret_error)
{
	_cleanup_free_ char *program = xasprintf("%s/weft-hub", lab->bin), *data = lab_path(lab, "hub"), *said = NULL;
	_cleanup_close_ int out = memfd_text("", 0), err = memfd_text("", 0), pidfd = -1;
	const char *argv[] = { program, "kubeconfig", "--data", data, "--server", server, "--user", user, "--group", group, NULL };
	struct spawn s = { .argv = argv, .out = out, .err = err };
	const char *what = "run";
	pid_t pid;
	int r = spawn_start(&s, &pid, &pidfd, &what);

	if (r == 0) {
		what = "run";
		r = wait_for(pidfd);
	}
	if (r == 0)
		return memfd_read(out, 1 << 20, ret, NULL);
	if (memfd_read(err, 4096, &said, NULL) < 0 || !*said) {
		free(said);
		said = xstrdup(strerror(-r));
	}
	said[strcspn(said, "\n")] = 0;
	*ret_error = xasprintf("cannot %s %s kubeconfig: %s", what, program, said);
	return r;
}
