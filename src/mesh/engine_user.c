/* SPDX-License-Identifier: Apache-2.0 */
/* weft-wg, by its configuration socket. One connection stays open: its end tells at once that the engine has ended, whoever
 * had started it, and the next connection finds a successor or makes one. The interface is ours and persistent, so that
 * addresses, routes and programs stay while there is no engine; packets then go nowhere.
 *
 * The engine is started detached (a grandchild in a session of its own), so it lives on when we end. */
#include "base/buf.h"
#include "base/log.h"
#include "base/str.h"
#include "mesh/engine.h"
#include "mesh/uapi.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

enum {
	RETRY_US = 5000,	 /* while the engine starts */
	WAIT_US = 20000,	 /* for the interface */
	START_US = 3000000,	 /* it should stand by then; else it is started again */
	ANSWER_US = 10000000,	 /* an engine that does not answer is asked anew */
	BACKOFF_MAX_US = 5000000,
	QUEUE_LEN = 4000, /* as weft-wg makes its own: what comes while it waits for a processor */
};

struct user {
	struct mesh *mesh;
	int fd;
	sd_event_source *io, *timer;
	struct buf in, out;
	size_t sent;
	bool reading; /* what the answer is to */
	bool asked;
	uint64_t started_us, backoff_us; /* when it was started last; 0: not since the last connection */
};

static void connect_now(struct user *u);

static int make_device(const struct mesh_options *o, struct rtnl *nl _unused_, uint32_t mtu)
{
	_cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC), sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE}; /* as weft-wg opens it */

	if (fd < 0 || sock < 0)
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", o->name);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETPERSIST, 1) < 0)
		return -errno;
	ifr.ifr_mtu = mtu;
	if (ioctl(sock, SIOCSIFMTU, &ifr) < 0)
		return -errno;
	ifr.ifr_qlen = QUEUE_LEN;
	return ioctl(sock, SIOCSIFTXQLEN, &ifr) < 0 ? -errno : 0;
}

static uint64_t now_us(const struct user *u)
{
	uint64_t t = 0;

	(void)sd_event_now(u->mesh->event, CLOCK_MONOTONIC, &t);
	return t;
}

static void disconnect(struct user *u)
{
	u->io = sd_event_source_disable_unref(u->io);
	u->fd = close_fd(u->fd);
	buf_done(&u->in);
	buf_done(&u->out);
	u->asked = false;
}

static void after(struct user *u, uint64_t us)
{
	(void)sd_event_source_set_time_relative(u->timer, us);
	(void)sd_event_source_set_enabled(u->timer, SD_EVENT_ONESHOT);
}

/* ---- the process ---- */

static _noreturn_ void exec_engine(const struct mesh_options *o)
{
	char *const argv[] = {(char *)"weft-wg",	(char *)"--foreground", (char *)"--persist", (char *)"--state-dir", (char *)o->state_dir,
			      (char *)"--run-dir", (char *)o->run_dir,	   (char *)o->name,    NULL};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	setenv("LOG_LEVEL", "info", 1); /* to our standard error */
	execv(o->program, argv);
	_exit(127);
}

/* Twice forked: nobody has to wait for it, and our end is not its end. */
static int spawn(const struct mesh_options *o)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		(void)setsid();
		pid = fork();
		if (pid == 0)
			exec_engine(o);
		_exit(pid < 0 ? 1 : 0);
	}
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EAGAIN;
}

static void start_engine(struct user *u)
{
	struct mesh *m = u->mesh;
	int r = spawn(&m->options);

	u->started_us = now_us(u);
	m->starts++;
	if (r < 0)
		log_error("cannot start the WireGuard engine", L_STR("program", m->options.program), L_ERRNO(r));
	else
		log_info("started the WireGuard engine", L_STR("program", m->options.program), L_STR("interface", m->options.name));
}

/* Nobody listens: start it, or wait for the one that was just started. */
static void on_absent(struct user *u)
{
	if (if_nametoindex(u->mesh->options.name) == 0) { /* it would make one of its own, which nobody knows as ours */
		after(u, WAIT_US);
		return;
	}
	if (u->started_us && now_us(u) - u->started_us < START_US) {
		after(u, RETRY_US);
		return;
	}
	if (u->started_us) { /* it does not come up */
		mesh_on_down(u->mesh, "the WireGuard engine does not start; its log says why");
		u->backoff_us = MIN(u->backoff_us ? u->backoff_us * 2 : (uint64_t)RETRY_US, (uint64_t)BACKOFF_MAX_US);
		u->started_us = 0;
		after(u, u->backoff_us);
		return;
	}
	start_engine(u);
	after(u, RETRY_US);
}

/* ---- the connection ---- */

static void lost(struct user *u, const char *why)
{
	disconnect(u);
	mesh_on_down(u->mesh, why);
	connect_now(u);
}

static void answered(struct user *u)
{
	struct mesh_device d = {0};
	bool reading = u->reading;
	int r;

	u->in.data[u->in.len - 1] = '\0'; /* the empty line */
	r = mesh_uapi_parse(u->in.data, &d);
	buf_done(&u->in);
	u->asked = false;
	(void)sd_event_source_set_enabled(u->timer, SD_EVENT_OFF);
	if (reading)
		mesh_on_read(u->mesh, r, &d);
	else
		mesh_on_written(u->mesh, r);
	mesh_device_done(&d);
}

static int flush(struct user *u)
{
	while (u->sent < u->out.len) {
		ssize_t n = send(u->fd, u->out.data + u->sent, u->out.len - u->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			return sd_event_source_set_io_events(u->io, EPOLLIN | EPOLLOUT);
		if (n < 0)
			return -errno;
		u->sent += n;
	}
	buf_done(&u->out);
	u->sent = 0;
	return sd_event_source_set_io_events(u->io, EPOLLIN);
}

static int on_io(sd_event_source *s _unused_, int fd, uint32_t events, void *ctx)
{
	struct user *u = ctx;

	if (events & EPOLLOUT && flush(u) < 0) {
		lost(u, "the WireGuard engine has closed its socket");
		return 0;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		ssize_t n = buf_read_fd(&u->in, fd);

		if (n == -EAGAIN)
			return 0;
		if (n <= 0) {
			lost(u, "the WireGuard engine has ended; it is being started again");
			return 0;
		}
		if (!u->asked || strlen(u->in.data) != u->in.len)
			lost(u, "the WireGuard engine answers what nobody asked");
		else if (u->in.len >= 2 && strcmp(u->in.data + u->in.len - 2, "\n\n") == 0)
			answered(u);
	}
	return 0;
}

static void connect_now(struct user *u)
{
	const struct mesh_options *o = &u->mesh->options;
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	u->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (u->fd < 0 || snprintf(a.sun_path, sizeof(a.sun_path), "%s/%s.sock", o->run_dir, o->name) >= (int)sizeof(a.sun_path)) {
		u->fd = close_fd(u->fd);
		mesh_on_down(u->mesh, "the WireGuard engine's socket cannot be named");
		return;
	}
	if (connect(u->fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		u->fd = close_fd(u->fd);
		on_absent(u);
		return;
	}
	u->in.max = MESH_UAPI_ANSWER_MAX;
	u->started_us = u->backoff_us = 0;
	if (sd_event_add_io(u->mesh->event, &u->io, u->fd, EPOLLIN, on_io, u) < 0) {
		disconnect(u);
		after(u, RETRY_US);
		return;
	}
	(void)sd_event_source_set_enabled(u->timer, SD_EVENT_OFF);
	mesh_on_ready(u->mesh);
}

static int on_timer(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	struct user *u = ctx;

	if (u->fd >= 0)
		lost(u, "the WireGuard engine does not answer");
	else
		connect_now(u);
	return 0;
}

/* ---- what mesh.c calls ---- */

static int start(struct mesh *m)
{
	struct user *u = m->engine_data;
	int r;

	if (u)
		return u->fd >= 0 ? 0 : -ENOTCONN; /* on its way */
	u = xnew0(struct user);
	*u = (struct user){.mesh = m, .fd = -1, .in.secret = true, .out.secret = true};
	r = sd_event_add_time_relative(m->event, &u->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, u);
	if (r < 0) {
		free(u);
		return r;
	}
	m->engine_data = u; /* connects in the next turn of the loop */
	return -ENOTCONN;
}

static void stop(struct mesh *m)
{
	struct user *u = m->engine_data;

	if (!u)
		return;
	disconnect(u);
	sd_event_source_disable_unref(u->timer);
	free(u);
	m->engine_data = NULL;
}

static void ask(struct user *u, bool reading)
{
	u->reading = reading;
	u->asked = true;
	u->sent = 0;
	after(u, ANSWER_US);
	if (flush(u) < 0)
		after(u, 0); /* the timer gives the connection up */
}

static void read_device(struct mesh *m)
{
	struct user *u = m->engine_data;

	(void)buf_adds(&u->out, "get=1\n\n");
	ask(u, true);
}

static void write_device(struct mesh *m, const struct mesh_change *c)
{
	struct user *u = m->engine_data;

	mesh_uapi_format(c, &u->out);
	ask(u, false);
}

const struct mesh_engine_ops mesh_userspace = {
    .name = "userspace",
    .link_kind = "tun",
    .knows_heirs = true,
    .make_device = make_device,
    .start = start,
    .stop = stop,
    .read = read_device,
    .write = write_device,
};
