/* SPDX-License-Identifier: Apache-2.0 */
/* `weft lab up`: description, keeper (fabric, hub), kubeconfig, then all nodes at once. What fails half way is taken down
 * again. */
#include "agent/options.h"
#include "base/file.h"
#include "lab/cgroup.h"
#include "lab/hubconfig.h"
#include "lab/verbs.h"

#include <fcntl.h>
#include <libgen.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

static void progress(const char *fmt, ...) _printf_(1, 2);
static void progress(const char *fmt, ...)
{
	va_list ap;

	printf("%6.2f s  ", lab_seconds());
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

/* The agents would refuse a bad option one by one; the user hears it here, once. */
static int check_set(const struct lab_args *a)
{
	struct options o = { 0 };
	int r = 0;

	options_init(&o);
	for (size_t i = 0; r == 0 && i < a->n_set; i++) {
		_cleanup_free_ char *name = xstrndup(a->set[i], strcspn(a->set[i], "=")), *error = NULL;

		r = options_set(&o, "--set", name, strchr(a->set[i], '=') + 1, &error);
		if (r < 0)
			lab_fail("%s", error);
	}
	options_done(&o);
	return r;
}

static char *program_directory(void)
{
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n < 0)
		return NULL;
	path[n] = 0;
	return xstrdup(dirname(path));
}

static int describe(const struct lab_args *a, struct lab *lab)
{
	*lab = (struct lab){
		.name = xstrdup(a->name),
		.dir = lab_dir(a->name),
		.bin = program_directory(),
		.transport = xstrdup(a->transport),
		.family = a->family,
		.subnets = a->subnets,
		.zones = a->zones,
		.mtu = a->mtu,
	};
	for (size_t i = 0; i < a->n_set; i++) {
		GROW(lab->set, lab->n_set, lab->cap_set);
		lab->set[lab->n_set++] = xstrdup(a->set[i]);
	}
	for (unsigned i = 0; i < a->nodes; i++)
		lab_add_node(lab);
	return lab->bin ? 0 : -ENOENT;
}

/* Only the machine's own loopback, and the port that is free. */
static int open_hub_socket(uint16_t *ret_port)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof(sa);

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, n) < 0 || listen(fd, 512) < 0 || getsockname(fd, (struct sockaddr *)&sa, &n) < 0)
		return -errno;
	*ret_port = ntohs(sa.sin_port);
	return take_fd(fd);
}

static void describe_fabric(const struct lab *lab)
{
	struct addr w4 = lab_world_address(AF_INET), w6 = lab_world_address(AF_INET6);
	char a[ADDR_TEXT_MAX], b[ADDR_TEXT_MAX];

	progress("fabric: %u IP network%s, a router, and the outside host 'world' %s%s%s", lab->subnets, lab->subnets > 1 ? "s" : "",
		 lab_has(lab, AF_INET) ? addr_format(&w4, a) : "", lab_is_dual(lab) ? " " : "",
		 lab_has(lab, AF_INET6) ? addr_format(&w6, b) : "");
}

static const struct lab *shown; /* for the report's callback */
static uint16_t hub_port;

static void on_keeper_line(const char *name _unused_, const char *line)
{
	if (streq(line, "fabric"))
		describe_fabric(shown);
	if (streq(line, "hub"))
		progress("hub: the Kubernetes API answers at https://127.0.0.1:%u", hub_port);
}

static void on_node_line(const char *name, const char *line)
{
	if (str_has_prefix(line, "ready"))
		progress("%s: ready, pods get%s", name, line[5] ? line + 5 : " no addresses");
}

static int start_keeper(const struct lab *lab)
{
	_cleanup_free_ char *program = xasprintf("%s/weft-lab-runner", lab->bin), *number = NULL;
	_cleanup_close_ int fd = open_hub_socket(&hub_port);
	const char *argv[6] = { program, "keeper", lab->name };
	const char *name = "keeper";
	int report;

	if (fd < 0) {
		lab_fail("cannot open a port on 127.0.0.1: %s", strerror(-fd));
		return fd;
	}
	number = xasprintf("%d", fd);
	argv[3] = number;
	report = lab_start_runner(lab, name, argv, fd);
	if (report < 0)
		return report;
	return lab_wait_reports(lab, &report, &name, 1, "hub", on_keeper_line);
}

static int write_kubeconfig(const struct lab *lab)
{
	_cleanup_free_ char *url = xasprintf("https://127.0.0.1:%u", hub_port), *text = NULL, *error = NULL;
	_cleanup_free_ char *path = lab_path(lab, "kubeconfig");
	int r = hub_kubeconfig(lab, url, "admin", "system:masters", &text, &error);

	if (r < 0) {
		lab_fail("%s", error);
		return r;
	}
	r = file_write_atomic(path, text, strlen(text), 0600);
	if (r < 0)
		lab_fail("cannot write %s: %s", path, strerror(-r));
	return r;
}

static int start_nodes(const struct lab *lab)
{
	_cleanup_free_ int *fds = xnew0_array(int, lab->n_nodes);
	_cleanup_free_ const char **names = xnew0_array(const char *, lab->n_nodes);

	for (size_t i = 0; i < lab->n_nodes; i++) {
		names[i] = lab->nodes[i].name;
		fds[i] = lab_start_node(lab, &lab->nodes[i]);
		if (fds[i] < 0)
			return fds[i];
	}
	return lab_wait_reports(lab, fds, names, lab->n_nodes, "ready", on_node_line);
}

static int build(const struct lab *lab)
{
	_cleanup_free_ char *logs = lab_path(lab, "logs");
	int r = mkdir_parents(logs, 0700);

	if (r == 0)
		r = lab_save(lab);
	if (r < 0) {
		lab_fail("cannot write %s: %s", lab->dir, strerror(-r));
		return r;
	}
	shown = lab;
	r = start_keeper(lab);
	if (r == 0)
		r = write_kubeconfig(lab);
	return r < 0 ? r : start_nodes(lab);
}

static void say_what_next(const struct lab *lab)
{
	const char *flag = streq(lab->name, "lab") ? "" : " --name ";
	const char *name = streq(lab->name, "lab") ? "" : lab->name;

	printf("\nLab \"%s\" is up. Try:\n"
	       "  export KUBECONFIG=$(weft lab kubeconfig%s%s)\n"
	       "  kubectl get nodes -o wide\n"
	       "  kubectl run hello --image=none --port=8080       # without a command it runs weft-echo\n"
	       "  kubectl get pods -o wide\n"
	       "  weft lab status%s%s\n"
	       "  weft lab exec%s%s n1 -- weft status              # a node's view\n"
	       "  weft lab exec%s%s default/hello -- ip addr       # inside a pod\n"
	       "  weft lab down%s%s                                # removes every trace\n",
	       lab->name, flag, name, flag, name, flag, name, flag, name, flag, name);
}

static int up_locked(const struct lab_args *a)
{
	_cleanup_lab_ struct lab lab = { 0 };
	int r = lab_load(a->name, &lab);

	if (r != -ENOENT) {
		if (r == 0)
			return lab_fail("lab \"%s\" is up already, with %zu nodes; `weft lab down --name %s` removes it", a->name,
					lab.n_nodes, a->name);
		return lab_fail("there are remains of a lab \"%s\"; `weft lab down --name %s` removes them", a->name, a->name);
	}
	if (lab_teardown(a->name) < 0) /* what an `up` that was killed left behind */
		return 1;
	if (describe(a, &lab) < 0)
		return lab_fail("cannot find my own program's directory");
	printf("Lab \"%s\": %zu node%s, transport %s, %s, %u subnet%s, %u zone%s\n", lab.name, lab.n_nodes,
	       lab.n_nodes > 1 ? "s" : "", lab.transport, lab.family == LAB_DUAL ? "IPv4 and IPv6" : lab.family == LAB_DUAL6 ? "IPv6 and IPv4" : lab.family == LAB_IPV4 ? "IPv4" : "IPv6",
	       lab.subnets, lab.subnets > 1 ? "s" : "", lab.zones, lab.zones > 1 ? "s" : "");
	fflush(stdout);
	r = build(&lab);
	if (r < 0) {
		lab_teardown(a->name);
		return lab_fail("lab \"%s\" did not come up; everything was taken down again", a->name);
	}
	say_what_next(&lab);
	return 0;
}

int lab_up(const struct lab_args *a)
{
	_cleanup_close_ int lock = -1;
	int r;

	if (check_set(a) < 0)
		return 2;
	lock = lab_lock(a->name);
	if (lock < 0)
		return lab_fail("cannot lock lab \"%s\": %s", a->name, strerror(-lock));
	r = up_locked(a);
	if (r != 0) {
		_cleanup_free_ char *dir = lab_dir(a->name);

		if (access(dir, F_OK) < 0)
			lab_unlink_lock(a->name);
	}
	return r;
}
