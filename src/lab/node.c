/* SPDX-License-Identifier: Apache-2.0 */
/* A node of the lab. The process starts in the node's cgroup; it takes what it needs from outside (the lab's directory, a
 * kubeconfig, the fabric), then makes the node's own namespaces and file systems around itself, plugs the cable in, starts
 * the agent and plays kubelet. Whatever lives in the node is its descendant or joined it by `weft lab exec`; ending the
 * cgroup is pulling the plug. */
#include "base/file.h"
#include "base/log.h"
#include "lab/cgroup.h"
#include "lab/cni.h"
#include "lab/hubconfig.h"
#include "lab/kubelet.h"
#include "lab/links.h"
#include "lab/podfile.h"
#include "lab/runner.h"
#include "lab/service.h"
#include "net/netns.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>

#define CGROUP_ROOT "/sys/fs/cgroup"

struct node {
	struct lab *lab;
	struct lab_node *node;
	struct report *report;
	struct kubelet k;
	struct node_object *object;
	struct service *agent;
	char *kubeconfig; /* text */
	int fabric_fd, agent_log;
};

static int failed(struct node *n, const char *what, int r, char *why)
{
	log_error(what, L_STR("why", why), L_ERRNO(r));
	report_line(n->report, "error %s: %s", what, why ? why : strerror(-r));
	free(why);
	return r < 0 ? r : -EIO;
}

static int open_fabric(const struct lab *lab)
{
	_cleanup_free_ char *cgroup = cgroup_of(lab->name, "keeper"), *path = NULL;
	pid_t pid = cgroup ? cgroup_first_pid(cgroup) : 0;

	if (!pid)
		return -ESRCH;
	path = xasprintf("/proc/%d/ns/net", (int)pid);
	return netns_open(path);
}

/* What has to be had before the machine's /run is out of sight. */
static int gather(struct node *n)
{
	_cleanup_free_ char *url = lab_hub_url(n->lab), *user = xasprintf("system:node:%s", n->node->name);
	_cleanup_free_ char *logs = xasprintf("%s/logs", n->lab->dir), *pods = xasprintf("%s/%s", logs, n->node->name);
	_cleanup_free_ char *agent = xasprintf("%s/%s-weftd.log", logs, n->node->name);
	char *why = NULL;
	int r = hub_kubeconfig(n->lab, url, user, "system:nodes", &n->kubeconfig, &why);

	if (r < 0)
		return failed(n, "cannot get a kubeconfig", r, why);
	n->fabric_fd = open_fabric(n->lab);
	if (n->fabric_fd < 0)
		return failed(n, "cannot find the fabric (is the keeper running?)", n->fabric_fd, NULL);
	r = mkdir_parents(pods, 0700);
	n->k.logs_fd = r < 0 ? r : open(pods, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	n->agent_log = open(agent, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (n->k.logs_fd < 0 || n->agent_log < 0)
		return failed(n, "cannot open the logs", -errno, NULL);
	return 0;
}

static int mount_at(const char *type, const char *at, const char *options)
{
	return mount(type, at, type, MS_NOSUID | MS_NODEV, options) < 0 ? -errno : 0;
}

/* The machine's directory shows through; what the node writes goes to its own tmpfs. */
static int mount_overlay(const char *at)
{
	_cleanup_free_ char *slug = xstrdup(at + 1), *upper = NULL, *work = NULL, *options = NULL;
	int r;

	for (char *p = slug; *p; p++)
		*p = *p == '/' ? '-' : *p;
	upper = xasprintf("/run/.overlay/%s/upper", slug);
	work = xasprintf("/run/.overlay/%s/work", slug);
	options = xasprintf("lowerdir=%s,upperdir=%s,workdir=%s", at, upper, work);
	r = mkdir_parents(upper, 0755);
	if (r == 0)
		r = mkdir_parents(work, 0755);
	if (r == 0 && mount("overlay", at, "overlay", 0, options) < 0)
		r = -errno;
	return r;
}

static int mount_all(const char **ret_where)
{
	static const char *const overlays[] = { "/etc", "/opt", "/var/lib" };
	int r;

	*ret_where = "/";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	*ret_where = "/run";
	r = mount_at("tmpfs", "/run", "mode=0755");
	*ret_where = r == 0 ? "/sys" : *ret_where;
	if (r == 0)
		r = mount_at("sysfs", "/sys", NULL);
	*ret_where = r == 0 ? "/sys/fs/bpf" : *ret_where;
	if (r == 0)
		r = mount_at("bpf", "/sys/fs/bpf", "mode=0700");
	*ret_where = r == 0 ? CGROUP_ROOT : *ret_where;
	if (r == 0)
		r = mount_at("cgroup2", CGROUP_ROOT, NULL);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(overlays); i++) {
		*ret_where = overlays[i];
		r = mount_overlay(overlays[i]);
	}
	return r;
}

/* A boot has an identity of its own, although all nodes share one kernel. */
static int write_boot_id(void)
{
	unsigned char b[16];
	char text[64];

	if (getrandom(b, sizeof(b), 0) != sizeof(b))
		return -EIO;
	snprintf(text, sizeof(text), "%02x%02x%02x%02x-%02x%02x-4%01x%02x-8%01x%02x-%02x%02x%02x%02x%02x%02x\n", b[0], b[1], b[2], b[3], b[4],
		 b[5], b[6] & 15, b[7], b[8] & 15, b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
	return file_write_atomic("/run/boot_id", text, strlen(text), 0444);
}

static int populate(struct node *n, const char **ret_where)
{
	static const char *const dirs[] = { "/run/netns", "/run/lock", POD_FILE_DIR, "/etc/weft", "/var/lib/weft", CNI_CONF_DIR, CNI_BIN_DIR,
					    CGROUP_ROOT "/runner", CGROUP_ROOT "/weftd", CGROUP_ROOT "/cni", CGROUP_ROOT "/pods" };
	/* what the machine's own runtime has there is none of the node's: it would be Ready by another network's list */
	static const char *const hidden[] = { CNI_CONF_DIR, CNI_BIN_DIR };
	_cleanup_free_ char *plugin = xasprintf("%s/weft-cni", n->lab->bin);
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(dirs); i++) {
		*ret_where = dirs[i];
		r = mkdir_parents(dirs[i], 0755);
	}
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(hidden); i++) {
		*ret_where = hidden[i];
		r = mount_at("tmpfs", hidden[i], "mode=0755");
	}
	if (r < 0)
		return r;
	*ret_where = "/run/boot_id";
	r = write_boot_id();
	if (r < 0)
		return r;
	*ret_where = CNI_BIN_DIR "/weft-cni";
	if (unlink(*ret_where) < 0 && errno != ENOENT)
		return -errno;
	if (symlink(plugin, *ret_where) < 0)
		return -errno;
	*ret_where = "/etc/weft/kubeconfig";
	return file_write_atomic(*ret_where, n->kubeconfig, strlen(n->kubeconfig), 0600);
}

static int make_node(struct node *n)
{
	const char *where = "";
	char *why = NULL;
	int r;

	if (unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWCGROUP) < 0 ||
	    sethostname(n->node->name, strlen(n->node->name)) < 0)
		return failed(n, "cannot make the node's namespaces", -errno, NULL);
	r = mount_all(&where);
	if (r < 0)
		return failed(n, "cannot mount", r, xasprintf("%s: %s", where, strerror(-r)));
	r = populate(n, &where);
	if (r < 0)
		return failed(n, "cannot write", r, xasprintf("%s: %s", where, strerror(-r)));
	r = cgroup_enter(CGROUP_ROOT "/runner");
	if (r < 0)
		return failed(n, "cannot enter the runner's cgroup", r, NULL);
	r = node_plug(n->lab, n->node, n->fabric_fd, &why);
	if (r < 0)
		return failed(n, "cannot connect to the fabric", r, why);
	n->fabric_fd = close_fd(n->fabric_fd);
	return 0;
}

/* The file is there for `weft` and for people who look; the lab's own choices come as arguments. */
static int start_agent(struct node *n)
{
	_cleanup_free_ char *program = xasprintf("%s/weftd", n->lab->bin), *transport = xasprintf("transport=%s", n->lab->transport);
	_cleanup_free_ char *name = xasprintf("node.name=%s", n->node->name);
	_cleanup_free_ char *ranges = xasprintf("mesh.podRanges=%s,%s", lab_cluster_range(AF_INET), lab_cluster_range(AF_INET6));
	_cleanup_free_ char *services = xasprintf("service.ranges=%s,%s", lab_service_range(AF_INET), lab_service_range(AF_INET6));
	_cleanup_free_ const char **argv = xnew0_array(const char *, 14 + 2 * n->lab->n_set);
	int cgroup = cgroup_open(CGROUP_ROOT "/weftd"), r;
	size_t i = 0;

	argv[i++] = program;
	argv[i++] = "--set";
	argv[i++] = name;
	argv[i++] = "--set";
	argv[i++] = transport;
	argv[i++] = "--set";
	argv[i++] = ranges; /* what the guard keeps off the fabric, also of nodes that are still to come */
	argv[i++] = "--set";
	argv[i++] = "service.inbound=on"; /* nobody else serves node ports here */
	argv[i++] = "--set";
	argv[i++] = services;
	for (size_t s = 0; s < n->lab->n_set; s++) {
		argv[i++] = "--set";
		argv[i++] = n->lab->set[s];
	}
	if (cgroup < 0)
		return failed(n, "cannot start the agent", cgroup, NULL);
	r = service_new(n->k.event, argv, cgroup, n->agent_log, 0, 0, &n->agent);
	return r < 0 ? failed(n, "cannot start the agent", r, NULL) : 0;
}

static void on_ready(struct kubelet *k, const json_t *object)
{
	struct node *n = container_of(k, struct node, k);
	_cleanup_free_ char *ranges = xstrdup("");
	size_t i;
	json_t *r;

	json_array_foreach (json_at(object, "spec", "podCIDRs"), i, r) {
		char *longer = xasprintf("%s %s", ranges, json_str_or(r, ""));

		free(ranges);
		ranges = longer;
	}
	report_line(n->report, "ready%s", ranges);
	report_end(n->report);
}

static int start_kubelet(struct node *n)
{
	struct kube_config config = { 0 };
	char *why = NULL;
	int r = kube_config_parse("the node's kubeconfig", n->kubeconfig, strlen(n->kubeconfig), "/", &config, &why);

	if (r == 0)
		r = kube_client_new(n->k.event, &config, "weft-lab/" WEFT_VERSION, &n->k.client, &why);
	kube_config_done(&config);
	n->k.cni_cgroup = cgroup_open(CGROUP_ROOT "/cni");
	if (r == 0 && n->k.cni_cgroup < 0)
		r = n->k.cni_cgroup;
	if (r == 0)
		r = pods_start(&n->k);
	if (r == 0)
		r = node_object_start(&n->k, on_ready, &n->object);
	return r < 0 ? failed(n, "cannot start the kubelet's part", r, why) : 0;
}

int node_main(struct lab *lab, struct lab_node *node, struct report *report)
{
	struct node n = { .lab = lab, .node = node, .report = report, .fabric_fd = -1 };
	int r = sd_event_new(&n.k.event);

	if (r < 0)
		return 1;
	n.k.lab = lab;
	n.k.node = node;
	list_init(&n.k.pods);
	if (gather(&n) < 0 || make_node(&n) < 0 || start_agent(&n) < 0 || start_kubelet(&n) < 0)
		return 1;
	r = sd_event_loop(n.k.event);
	return r != 0;
}
