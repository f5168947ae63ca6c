/* SPDX-License-Identifier: Apache-2.0 */
/* `weft lab`: picks the verb. */
#include "lab/verbs.h"

#include <time.h>

static const char usage[] =
	"Usage: weft lab VERB [OPTION]... builds a cluster out of network namespaces on this machine.\n"
	"\n"
	"  up                     bring one up\n"
	"     --nodes N           (3); 0: they come by `node add`\n"
	"     --transport T       direct, vxlan, geneve, auto or wireguard (vxlan)\n"
	"     --family F          dual, ipv4 or ipv6 (dual); dual6: the nodes speak IPv6 with each other\n"
	"     --subnets N         nodes are spread over that many IP networks with a router between them (1)\n"
	"     --zones N           and over that many zones (1)\n"
	"     --mtu BYTES         of the cables between nodes (1500)\n"
	"     --set KEY=VALUE     an option of the agents, for example datapath.fastPath=off; repeatable\n"
	"  down                   remove every trace of it\n"
	"  status [-o json]       nodes, pods, services\n"
	"  kubeconfig             print the file that kubectl takes as --kubeconfig\n"
	"  node add               one more; prints its name\n"
	"  node stop NODE         power off\n"
	"  node start NODE        boot again\n"
	"  exec TARGET -- CMD...  run a command in a node (n1), a pod (NAMESPACE/POD) or on 'world', a host outside of the cluster\n"
	"\n"
	"Every verb takes --name LAB (lab). Labs stand side by side and touch nothing of the machine's own network.\n";

int lab_fail(const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	fprintf(stderr, "weft lab: %s\n", text);
	return 1;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static double started;

double lab_seconds(void)
{
	return now() - started;
}

int lab_get(const struct lab_args *a, struct lab *ret)
{
	int r = lab_load(a->name, ret);

	if (r == -ENOENT)
		lab_fail("no lab \"%s\"; `weft lab up --name %s` makes one", a->name, a->name);
	else if (r < 0)
		lab_fail("cannot read the description of lab \"%s\": %s; `weft lab down --name %s` cleans up", a->name, strerror(-r),
			 a->name);
	return r;
}

int lab_kubeconfig(const struct lab_args *a)
{
	_cleanup_lab_ struct lab lab = { 0 };
	_cleanup_free_ char *path = NULL;

	if (lab_get(a, &lab) < 0)
		return 1;
	path = lab_path(&lab, "kubeconfig");
	puts(path);
	return 0;
}

static int help(const struct lab_args *a _unused_)
{
	fputs(usage, stdout);
	return 0;
}

static const struct {
	int (*run)(const struct lab_args *a);
	bool root;
} verbs[] = {
	[VERB_HELP] = { help, false },
	[VERB_UP] = { lab_up, true },
	[VERB_DOWN] = { lab_down, true },
	[VERB_STATUS] = { lab_status, true },
	[VERB_KUBECONFIG] = { lab_kubeconfig, true },
	[VERB_NODE_ADD] = { lab_node_add, true },
	[VERB_NODE_STOP] = { lab_node_stop, true },
	[VERB_NODE_START] = { lab_node_start, true },
	[VERB_EXEC] = { lab_exec, true },
};

int lab_verb(int argc, char **argv)
{
	struct lab_args a = { 0 };
	_cleanup_free_ char *error = NULL;
	int r;

	started = now();
	if (argc < 2) {
		fputs(usage, stderr);
		return 2;
	}
	if (lab_args_parse(argc - 1, argv + 1, &a, &error) < 0) {
		lab_fail("%s", error);
		return 2;
	}
	if (verbs[a.verb].root && geteuid() != 0)
		r = lab_fail("namespaces need root: run it with sudo");
	else
		r = verbs[a.verb].run(&a);
	lab_args_done(&a);
	return r;
}
