/* SPDX-License-Identifier: Apache-2.0 */
/* CAP_NET_ADMIN stays: marks on new sockets and buffers beyond the limit; CAP_NET_BIND_SERVICE: a port below 1024;
 * CAP_IPC_LOCK: memory that holds keys. The list of system calls is an allow-list; another one fails with EPERM, so a
 * library that tries something new degrades instead of dying, except those that only an intruder wants: they end us. */
#include "wg/harden.h"

#include "base/log.h"

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

void harden_early(void)
{
	struct rlimit none = { 0, 0 };

	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct have[2] = { 0 };
	const uint32_t keep = 1u << CAP_NET_ADMIN | 1u << CAP_NET_BIND_SERVICE | 1u << CAP_IPC_LOCK;

	if (syscall(SYS_capget, &header, have) < 0)
		return -errno;
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++) {
		if (cap < 32 && keep & 1u << cap)
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EPERM && errno != EINVAL)
			return -errno; /* EPERM: an unprivileged user, who could not gain it anyway */
	}
	have[0].effective &= keep;
	have[0].permitted &= keep;
	have[0].inheritable = 0;
	have[1] = (struct __user_cap_data_struct){ 0 };
	return syscall(SYS_capset, &header, have) < 0 ? -errno : 0;
}

#if defined(__x86_64__)
enum { OUR_ARCH = AUDIT_ARCH_X86_64 };
#elif defined(__aarch64__)
enum { OUR_ARCH = AUDIT_ARCH_AARCH64 };
#endif

#if defined(__x86_64__) || defined(__aarch64__)
static const int allowed_calls[] = {
	/* the data path */
	SYS_read, SYS_readv, SYS_write, SYS_writev, SYS_recvmsg, SYS_recvmmsg, SYS_sendmsg, SYS_sendmmsg, SYS_sendto,
	SYS_recvfrom, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_epoll_ctl, SYS_epoll_create1, SYS_eventfd2, SYS_futex,
	SYS_clock_gettime, SYS_gettimeofday, SYS_sched_yield, SYS_nanosleep, SYS_clock_nanosleep, SYS_ppoll,
	/* sockets, timers, the configuration socket */
	SYS_socket, SYS_bind, SYS_listen, SYS_accept, SYS_accept4, SYS_connect, SYS_getsockname, SYS_getsockopt, SYS_setsockopt,
	SYS_shutdown, SYS_timerfd_create, SYS_timerfd_settime, SYS_timerfd_gettime, SYS_signalfd4, SYS_inotify_init1,
	SYS_inotify_add_watch, SYS_inotify_rm_watch, SYS_ioctl, SYS_fcntl,
	/* files: the saved state */
	SYS_openat, SYS_close, SYS_fstat, SYS_newfstatat, SYS_faccessat, SYS_faccessat2,
	SYS_lseek, SYS_fsync, SYS_fdatasync, SYS_renameat, SYS_renameat2, SYS_unlinkat, SYS_mkdirat,
	SYS_umask, SYS_fchmod, SYS_fchmodat, SYS_ftruncate, SYS_dup, SYS_dup3, SYS_pipe2, SYS_readlinkat, SYS_statx, SYS_getcwd,
	/* memory and threads */
	SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_mlock, SYS_mlock2, SYS_munlock, SYS_brk, SYS_clone, SYS_clone3,
	SYS_set_robust_list, SYS_rseq, SYS_exit, SYS_exit_group, SYS_gettid, SYS_getpid, SYS_sched_getaffinity, SYS_sched_setaffinity, SYS_prlimit64,
	SYS_set_tid_address, SYS_getrandom, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_restart_syscall,
	SYS_tgkill, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_prctl, SYS_sysinfo, SYS_uname, SYS_membarrier, SYS_getppid,
#ifdef __x86_64__ /* older ones, which newer architectures do without; each has its successor above */
	SYS_epoll_wait, SYS_time, SYS_poll, SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_rename, SYS_unlink, SYS_mkdir, SYS_dup2, SYS_readlink,
#endif
};

static const int deadly_calls[] = {
	SYS_execve, SYS_execveat, SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_init_module, SYS_finit_module,
	SYS_mount, SYS_setns, SYS_unshare, SYS_bpf, SYS_kexec_load, SYS_pivot_root, SYS_chroot, SYS_setuid, SYS_setresuid,
};

enum { CALLS_MAX = ARRAY_SIZE(allowed_calls) + ARRAY_SIZE(deadly_calls) };

static unsigned add_calls(struct sock_filter *f, const int *calls, size_t n, uint32_t verdict)
{
	unsigned at = 0;

	for (size_t i = 0; i < n; i++) {
		f[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i], 0, 1);
		f[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict);
	}
	return at;
}

static int filter_calls(void)
{
	struct sock_filter f[2 * CALLS_MAX + 8];
	struct sock_fprog prog = { .filter = f };
	unsigned n = 0;

	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	n += add_calls(f + n, allowed_calls, ARRAY_SIZE(allowed_calls), SECCOMP_RET_ALLOW);
	n += add_calls(f + n, deadly_calls, ARRAY_SIZE(deadly_calls), SECCOMP_RET_KILL_PROCESS);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	prog.len = n;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0 ? -errno : 0;
}
#else
static int filter_calls(void)
{
	return -EOPNOTSUPP;
}
#endif

int harden_late(bool seccomp)
{
	int r = drop_capabilities();

	if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = -errno;
	if (r == 0 && seccomp) {
		r = filter_calls();
		if (r == -EINVAL || r == -EOPNOTSUPP) { /* a kernel built without it, an architecture whose calls nobody has looked at */
			log_warn("system calls are not restricted", L_ERRNO(r));
			r = 0;
		}
	}
	return r;
}
