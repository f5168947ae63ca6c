/* SPDX-License-Identifier: Apache-2.0 */
/* Starting processes in a cgroup and namespaces, and following them from an event loop. */
#pragma once

#include "base/macro.h"

#include <sys/types.h>
#include <systemd/sd-event.h>

/* 0 in a descriptor field means "nothing": /dev/null for the standard ones (which are never 0 themselves here). */
struct spawn {
	const char *const *argv; /* argv[0] is looked up in the PATH of @envp when it has no slash */
	char *const *envp;	 /* NULL: ours */
	const char *cwd;	 /* NULL: "/" */
	int in, out, err;
	int keep;		 /* one more descriptor that stays open, under its number */
	int keep2;
	int cgroup_fd;		 /* born there, so that its first socket counts there */
	int netns_fd;
	const char *hostname;	 /* with a UTS namespace of its own */
	bool session;		 /* of its own: survives our terminal */
};

/**
 * spawn_start() - fork and exec
 * @ret_pidfd: close-on-exec; the caller waits with waitid(P_PIDFD)
 * @ret_what: on failure, what was tried when it failed ("exec", "setns", …), static text
 *
 * Return: 0 once the program runs; -errno also for what failed in the child, which is reaped then.
 */
int spawn_start(const struct spawn *s, pid_t *ret_pid, int *ret_pidfd, const char **ret_what);

/* The full path of a program, looked up in @envp's PATH as execvp() would. Return: owned by the caller, or NULL. */
char *spawn_find(const char *name, char *const *envp);

/* A process followed from a loop. */
struct proc;
/* @status as of wait(2); the proc is dead when this is called, the callee must not touch it afterwards. */
typedef void proc_exit_fn(int status, void *ctx);
int proc_start(sd_event *event, const struct spawn *s, proc_exit_fn *fn, void *ctx, struct proc **ret, const char **ret_what);
void proc_kill(struct proc *p, int signal);
pid_t proc_pid(const struct proc *p);
/* Forgets the process without a callback; it is killed. NULL is fine. */
struct proc *proc_free(struct proc *p);

/* An unnamed file with this content, position 0. Return: descriptor, -errno. */
int memfd_text(const char *text, size_t len);
/* What is in such a file, at most @max bytes; NUL-terminated, owned by the caller. Return: 0, -EFBIG, -errno. */
int memfd_read(int fd, size_t max, char **ret, size_t *ret_len);
