/* SPDX-License-Identifier: Apache-2.0 */
/* weft-wg: WireGuard in user space. Started as users of wireguard-go start that one, with more options. */
#include "base/log.h"
#include "base/str.h"
#include "wg/curve.h"
#include "wg/handover.h"
#include "wg/harden.h"
#include "wg/metrics.h"
#include "wg/secret.h"
#include "wg/server.h"
#include "wg/state.h"

#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#define RUN_DIR "/var/run/wireguard"
enum { DEFAULT_MTU = 1420, DEFAULT_QUEUE = 4000, WORKERS_DEFAULT_MAX = 8 };

struct options {
	const char *interface, *run_dir, *metrics;
	struct engine_options engine;
	bool foreground, takeover, seccomp;
	bool keeps_log; /* in the background */
};

static const char usage_text[] =
	"weft-wg [OPTION]... INTERFACE\n"
	"\n"
	"Makes the WireGuard interface INTERFACE, or takes it over, and serves it; configure it with wg(8).\n"
	"\n"
	"  -f, --foreground      do not go into the background (also WG_PROCESS_FOREGROUND=1)\n"
	"      --workers N       threads of the data path (default: one a core, at most 8)\n"
	"      --state-dir DIR   save configuration, handshake times and the clock there; read them at the start\n"
	"      --persist         the interface with its addresses and routes stays when the engine ends\n"
	"      --takeover        continue for the running engine of this interface, losing nothing; start anew if there is none\n"
	"      --metrics WHERE   Prometheus page on ADDRESS:PORT or unix:PATH\n"
	"      --run-dir DIR     where the configuration socket is (default " RUN_DIR ")\n"
	"      --disable LIST    do without: vnet_hdr, tso, uso, coalesce, udp_gso, udp_gro, mmsg, batch, lanes, steer\n"
	"      --no-seccomp      do not restrict system calls\n"
	"      --version, --help\n"
	"\n"
	"Environment: WG_TUN_FD, WG_UAPI_FD (descriptors to use), LOG_LEVEL (verbose, error, silent),\n"
	"WEFT_WG_DISABLE, WEFT_WG_WORKERS as the options, WEFT_WG_TIMERS (for tests: rekey_after_time=5,...).\n";

static _noreturn_ void fail_usage(const char *what, const char *value, const char *expected)
{
	char shown[128];

	str_escape(shown, sizeof(shown), value);
	fprintf(stderr, "weft-wg: %s \"%s\": expected %s\n", what, shown, expected);
	exit(2);
}

static unsigned default_workers(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

	n = MIN(n, (int)WORKERS_DEFAULT_MAX);
	return MAX(n, 1);
}

static void set_workers(struct options *o, const char *what, const char *value)
{
	uint64_t n;

	if (parse_u64(value, TUN_QUEUES_MAX, &n) < 0 || n == 0)
		fail_usage(what, value, "a number from 1 to 32");
	o->engine.workers = n;
}

static void set_features(struct options *o, const char *what, const char *value)
{
	const char *bad = NULL;

	if (features_parse(value, &o->engine.features, &bad) < 0)
		fail_usage(what, bad, "names out of vnet_hdr, tso, uso, coalesce, udp_gso, udp_gro, mmsg, batch, lanes, steer");
}

static void read_environment(struct options *o)
{
	const char *v = getenv("WEFT_WG_WORKERS");

	if (v)
		set_workers(o, "WEFT_WG_WORKERS", v);
	set_features(o, "WEFT_WG_DISABLE", getenv("WEFT_WG_DISABLE"));
	v = getenv("WEFT_WG_TIMERS");
	if (v && limits_parse(v, &o->engine.limits) < 0)
		fail_usage("WEFT_WG_TIMERS", v, "NAME=SECONDS,...");
	v = getenv("WG_PROCESS_FOREGROUND");
	o->foreground = v && streq(v, "1");
	v = getenv("LOG_LEVEL");
	o->keeps_log = v && *v && !streq(v, "silent");
	if (!v || streq(v, "error") || streq(v, "silent"))
		log_set_level(LOG_ERROR);
	else if (streq(v, "verbose") || streq(v, "debug"))
		log_set_level(LOG_DEBUG);
	else
		log_set_level(LOG_INFO);
}

static bool name_ok(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n >= IF_NAMESIZE || streq(s, ".") || streq(s, ".."))
		return false;
	for (; *s; s++) {
		if (*s == '/' || *s == ':' || *s == '%' || *s <= ' ' || *s == 0x7f)
			return false;
	}
	return true;
}

static void read_arguments(struct options *o, int argc, char **argv)
{
	enum { WORKERS = 256, STATE_DIR, PERSIST, TAKEOVER, METRICS, RUN, DISABLE, NO_SECCOMP, VERSION, HELP };
	static const struct option longs[] = {
		{ "foreground", no_argument, NULL, 'f' },	 { "workers", required_argument, NULL, WORKERS },
		{ "state-dir", required_argument, NULL, STATE_DIR }, { "persist", no_argument, NULL, PERSIST },
		{ "takeover", no_argument, NULL, TAKEOVER },	 { "metrics", required_argument, NULL, METRICS },
		{ "run-dir", required_argument, NULL, RUN },	 { "disable", required_argument, NULL, DISABLE },
		{ "no-seccomp", no_argument, NULL, NO_SECCOMP }, { "version", no_argument, NULL, VERSION },
		{ "help", no_argument, NULL, HELP },		 { 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "f", longs, NULL)) != -1) {
		switch (c) {
		case 'f':
			o->foreground = true;
			break;
		case WORKERS:
			set_workers(o, "--workers", optarg);
			break;
		case STATE_DIR:
			o->engine.state_dir = optarg;
			break;
		case PERSIST:
			o->engine.persist = true;
			break;
		case TAKEOVER:
			o->takeover = true;
			break;
		case METRICS:
			o->metrics = optarg;
			break;
		case RUN:
			o->run_dir = optarg;
			break;
		case DISABLE:
			set_features(o, "--disable", optarg);
			break;
		case NO_SECCOMP:
			o->seccomp = false;
			break;
		case VERSION:
			printf("weft-wg %s\n", WEFT_VERSION);
			exit(0);
		case HELP:
			fputs(usage_text, stdout);
			exit(0);
		default:
			fputs(usage_text, stderr);
			exit(2);
		}
	}
	if (optind + 1 != argc) {
		fputs(usage_text, stderr);
		exit(2);
	}
	o->interface = argv[optind];
	if (!name_ok(o->interface))
		fail_usage("interface name", o->interface, "1 to 15 characters without slash, colon, percent or space");
}

static int env_fd(const char *name)
{
	const char *v = getenv(name);
	uint64_t fd;

	if (!v)
		return -1;
	if (parse_u64(v, INT32_MAX, &fd) < 0)
		fail_usage(name, v, "a descriptor number");
	return fd;
}

/* The queue holds what comes while we are not scheduled: on a busy machine that is several milliseconds. With 1,000 packets
 * (a TUN's own default is 500) small ones were lost from 100,000 a second on, with 4,000 none at 200,000. */
static void set_link_defaults(const struct tun *t)
{
	struct ifreq mtu = { .ifr_mtu = DEFAULT_MTU }, queue = { .ifr_qlen = DEFAULT_QUEUE };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(mtu.ifr_name, t->name, IF_NAMESIZE);
	memcpy(queue.ifr_name, t->name, IF_NAMESIZE);
	if (fd < 0 || ioctl(fd, SIOCSIFMTU, &mtu) < 0 || ioctl(fd, SIOCSIFTXQLEN, &queue) < 0)
		log_warn("cannot set the interface's MTU and queue", L_STR("interface", t->name), L_ERRNO(errno));
	close_fd(fd);
}

/* What the engine stands on: the TUN and the configuration socket, new, given or taken over. */
struct ground {
	struct tun tun;
	int listen_fd;
	struct handover handover;
	bool taken_over;
};

/* An engine that answers under another name, as its interface has been given this one, or that is another program: each of its queues gets a part of the packets.
 * One that was killed may still be about to let go. */
static int await_queues(const char *name)
{
	const int64_t end = clock_now() + NS_PER_S;
	int r;

	while ((r = tun_queues(name)) > 0 && clock_now() < end)
		usleep(10 * 1000);
	return r > 0 ? -EBUSY : r;
}

static int open_ground(const struct options *o, struct ground *g)
{
	int tun_fd = env_fd("WG_TUN_FD"), r;

	g->listen_fd = env_fd("WG_UAPI_FD");
	if (o->takeover) {
		r = handover_take(o->run_dir, o->interface, &g->handover);
		if (r == 0) {
			g->tun = g->handover.tun;
			g->listen_fd = g->handover.listen_fd;
			g->taken_over = true;
			return 0;
		}
		if (r != -ENOENT && r != -ECONNREFUSED) {
			log_error("cannot take over", L_STR("interface", o->interface), L_ERRNO(r));
			return r;
		}
	}
	/* Before the TUN, whose packets would be spread over our queues, too. */
	r = tun_fd < 0 && g->listen_fd < 0 ? server_probe(o->run_dir, o->interface) : 0;
	if (r < 0) {
		log_error(r == -ENAMETOOLONG ? "the path of the configuration socket is too long" :
			  r == -EADDRINUSE   ? "another engine answers for the interface" :
					       "cannot look for another engine",
			  L_STR("directory", o->run_dir), L_STR("interface", o->interface), L_ERRNO(r));
		return r;
	}
	r = tun_fd >= 0 ? 0 : await_queues(o->interface);
	if (r < 0) {
		log_error(r == -EBUSY ? "another program serves the interface" : "cannot look for another program's queues", L_STR("interface", o->interface),
			  L_ERRNO(r));
		return r;
	}
	r = tun_fd >= 0 ? tun_adopt(tun_fd, &o->engine.features, &g->tun) :
			  tun_open(o->interface, o->engine.workers, &o->engine.features, &g->tun);
	if (r < 0) {
		log_error("cannot open the TUN interface", L_STR("interface", o->interface), L_ERRNO(r));
		return r;
	}
	if (g->tun.created)
		set_link_defaults(&g->tun);
	if (g->listen_fd >= 0)
		return 0;
	g->listen_fd = r = server_listen(o->run_dir, g->tun.name);
	if (r < 0)
		log_error("cannot listen for configuration", L_STR("directory", o->run_dir), L_STR("interface", g->tun.name),
			  L_ERRNO(r));
	return MIN(r, 0);
}

static int compare_fds(const void *a, const void *b)
{
	const int *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Who goes into the background keeps nothing of whoever started it: a lock, or a pipe that somebody reads to its end. */
static void close_inherited(int ready)
{
	int keep[] = { STDERR_FILENO, ready, env_fd("WG_TUN_FD"), env_fd("WG_UAPI_FD") };

	qsort(keep, ARRAY_SIZE(keep), sizeof(keep[0]), compare_fds);
	for (size_t i = 0; i < ARRAY_SIZE(keep); i++) {
		int first = MAX(keep[i], STDERR_FILENO) + 1, last = i + 1 < ARRAY_SIZE(keep) ? keep[i + 1] - 1 : INT_MAX;

		if (first <= last)
			(void)close_range(first, last, 0);
	}
}

/* The parent returns from here only through exit, when the child stands or has failed. First of all, as locked memory is not
 * locked any more after a fork. */
static int go_background(int *ret_ready)
{
	int pipe_fds[2], status;
	char byte;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid > 0) {
		close(pipe_fds[1]);
		if (read(pipe_fds[0], &byte, 1) == 1)
			exit(0);
		exit(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
	}
	close_inherited(pipe_fds[1]);
	(void)setsid();
	*ret_ready = pipe_fds[1];
	return 0;
}

/* Who asks for a log by LOG_LEVEL gets it in the background, too, as of wireguard-go. Who does not, and takes over, goes on with the predecessor's. */
static void detach_output(bool keeps_log, int log_fd)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	if (!keeps_log)
		dup2(log_fd >= 0 ? log_fd : null, STDERR_FILENO);
}

/* A socket or the TUN in the place of one of them would be written to as if it were the log. */
static void fill_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	close_fd(fd);
}

/* Texts of a configuration of thousands of peers are big and short-lived. The C library would have the heap grow for them after the first one that is freed, and
 * what lives on above them would keep it so: mappings of their own go back at once. */
static void give_back_big_blocks(void)
{
	enum { BIG = 64 << 10 };

	(void)mallopt(M_MMAP_THRESHOLD, BIG);
	(void)mallopt(M_TRIM_THRESHOLD, BIG);
}

static int on_hangup(sd_event_source *s _unused_, const struct signalfd_siginfo *si _unused_, void *ctx _unused_)
{
	return 0; /* a closed terminal is no reason to end */
}

static int block_signals(sd_event *event)
{
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	signal(SIGPIPE, SIG_IGN);
	r = sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGHUP, on_hangup, NULL);
	return r;
}

/* At the place where the predecessor has its page, on its socket: who is refused after all has taken nothing away. */
static int open_metrics(const struct options *o, struct ground *g, struct engine *e, struct metrics **ret)
{
	int fd = handover_take_metrics(&g->handover, o->metrics), r;

	if (fd < 0)
		fd = metrics_listen(o->metrics);
	if (fd == -EINVAL)
		fail_usage("--metrics", o->metrics, "ADDRESS:PORT or unix:PATH");
	r = fd < 0 ? fd : metrics_new(e, fd, o->metrics, ret);
	if (r < 0)
		log_error("cannot serve metrics", L_STR("address", o->metrics), L_ERRNO(r));
	return r;
}

static int start(struct options *o, struct ground *g, struct engine *e, struct server **server, struct metrics **metrics)
{
	_cleanup_free_ char *path = xasprintf("%s/%s.sock", o->run_dir, e->tun.name);
	int r = 0;

	if (g->taken_over)
		r = handover_restore(&g->handover, e);
	/* A socket that was given to us is ours to watch, and to remove, only where users look for it. */
	if (r == 0)
		r = server_new(e, g->listen_fd, getenv("WG_UAPI_FD") && !server_is_at(g->listen_fd, path) ? NULL : path, server);
	if (r == 0 && o->metrics)
		r = open_metrics(o, g, e, metrics);
	if (r == 0)
		r = harden_late(o->seccomp);
	if (r == 0 && g->taken_over)
		r = handover_finish(&g->handover);
	if (r == 0 && o->engine.persist) /* whoever made the interface */
		r = tun_persist(&e->tun);
	if (r == 0)
		r = engine_start(e);
	if (r < 0 && g->taken_over) { /* they are the predecessor's, which goes on */
		if (*server)
			server_disown(*server);
		state_disown(e->state);
	}
	handover_done(&g->handover);
	return r;
}

/* A data path that is handed over goes on with its workers. One that has not begun has as many as we are told, and queues beyond those go:
 * packets in them would wait for nobody. */
static void choose_workers(struct options *o, struct ground *g)
{
	if (g->handover.n_udp)
		o->engine.workers = g->handover.n_udp;
	while (g->tun.n > o->engine.workers)
		close(g->tun.fds[--g->tun.n]);
}

static int run(struct options *o, struct ground *g, int ready)
{
	_cleanup_(sd_event_unrefp) sd_event *event = NULL;
	_cleanup_close_ int log_fd = take_fd(g->handover.log_fd);
	struct engine *e = NULL;
	struct server *server = NULL;
	struct metrics *metrics = NULL;
	int r = sd_event_new(&event);

	if (r >= 0)
		r = block_signals(event);
	if (r >= 0) {
		choose_workers(o, g);
		o->engine.taken_over = g->taken_over;
		o->engine.steer = &g->handover.steer;
		r = engine_new(event, &g->tun, &o->engine, &e);
	}
	if (r >= 0)
		r = start(o, g, e, &server, &metrics);
	if (r < 0) {
		log_error("cannot start", L_STR("interface", o->interface), L_ERRNO(r));
	} else {
		if (ready >= 0) {
			(void)!write(ready, "", 1);
			close(ready);
			detach_output(o->keeps_log, log_fd);
			log_fd = close_fd(log_fd);
		}
		r = sd_event_loop(event);
	}
	metrics_free(metrics);
	server_free(server);
	engine_free(e);
	return r < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct options o = { .run_dir = RUN_DIR, .seccomp = true };
	struct ground g = { .tun = TUN_NONE, .listen_fd = -1, .handover = HANDOVER_NONE };
	int ready = -1, r;

	fill_standard_descriptors();
	harden_early();
	give_back_big_blocks();
	o.engine.workers = default_workers();
	o.engine.limits = default_limits;
	read_environment(&o);
	read_arguments(&o, argc, argv);
	if (!o.foreground) {
		r = go_background(&ready);
		if (r < 0) {
			log_error("cannot go into the background", L_ERRNO(r));
			return 1;
		}
	}
	r = secret_serve_openssl();
	if (r < 0)
		log_warn("keys in OpenSSL's contexts are in ordinary memory", L_ERRNO(r));
	r = crypto_init();
	if (r < 0) {
		log_error(r == -EBADMSG ? "the cipher or the curve fails its test" : "OpenSSL lacks an algorithm",
			  L_ERRNO(r));
		return 1;
	}
	if (!o.engine.features.lanes) {
		aead_use_lanes(NULL);
		dh_use_lanes(NULL);
	}
	if (open_ground(&o, &g) < 0)
		return 1;
	return run(&o, &g, ready);
}
