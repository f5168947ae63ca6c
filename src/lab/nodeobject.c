/* SPDX-License-Identifier: Apache-2.0 */
/* The Node object of this node: created or taken over at start, then its status is renewed every few seconds, and at once
 * when the network becomes ready or not. The network is ready when a runtime would say so: there is a CNI configuration,
 * and (from CNI 1.1 on) its plugins answer STATUS well. */
#include "base/file.h"
#include "base/log.h"
#include "lab/apitime.h"
#include "lab/cni.h"
#include "lab/kubelet.h"

#include <sys/utsname.h>

enum { RENEW_US = 10000000, LOOK_READY_US = 2000000, LOOK_WAITING_US = 20000, RETRY_US = 250000 };

struct node_object {
	struct kubelet *k;
	void (*on_ready)(struct kubelet *k, const json_t *node);
	struct cni_call *status_call;
	json_t *list; /* the configuration that STATUS is asked about */
	sd_event_source *look, *renew;
	bool registered, busy, again, announced;
	bool ready, ready_known;
	char *why; /* not ready */
	char since[API_TIME_MAX];
};

static void send_status(struct node_object *n);

static json_t *addresses(const struct kubelet *k)
{
	json_t *a = json_array();
	char text[ADDR_TEXT_MAX];

	for (int i = 0; i < 2; i++) {
		int family = i != (k->lab->family == LAB_DUAL6) ? AF_INET6 : AF_INET;
		struct addr addr = lab_node_address(k->lab, k->node, family);

		if (lab_has(k->lab, family))
			json_array_append_new(a, json_pack("{s:s,s:s}", "type", "InternalIP", "address", addr_format(&addr, text)));
	}
	json_array_append_new(a, json_pack("{s:s,s:s}", "type", "Hostname", "address", k->node->name));
	return a;
}

static json_t *node_info(void)
{
	_cleanup_free_ char *boot = NULL, *machine = NULL;
	struct utsname u = { 0 };

	uname(&u);
	if (file_read("/run/boot_id", 100, &boot, NULL) < 0)
		boot = xstrdup("");
	if (file_read("/etc/machine-id", 100, &machine, NULL) < 0)
		machine = xstrdup("");
	boot[strcspn(boot, "\n")] = 0;
	machine[strcspn(machine, "\n")] = 0;
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "machineID", machine, "systemUUID", machine, "bootID", boot,
			 "kernelVersion", u.release, "osImage", "weft lab", "containerRuntimeVersion", "weft-lab://" WEFT_VERSION,
			 "kubeletVersion", "v1.32.0-weft-lab", "kubeProxyVersion", "", "operatingSystem", "linux", "architecture",
			 streq(u.machine, "aarch64") ? "arm64" : "amd64");
}

static json_t *labels(const struct kubelet *k)
{
	_cleanup_free_ char *zone = xasprintf("z%u", lab_zone_of(k->lab, k->node)), *subnet = xasprintf("%u", lab_subnet_of(k->lab, k->node));

	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "kubernetes.io/hostname", k->node->name, "kubernetes.io/os", "linux",
			 "kubernetes.io/arch", "amd64", "topology.kubernetes.io/region", "lab", "topology.kubernetes.io/zone", zone,
			 "weft.dev/subnet", subnet);
}

static json_t *status_of(struct node_object *n)
{
	const char *message = n->ready ? "kubelet is posting ready status" : n->why ? n->why : "container runtime network not ready";
	char now[API_TIME_MAX];
	json_t *ready = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "type", "Ready", "status", n->ready ? "True" : "False", "reason",
				  n->ready ? "KubeletReady" : "KubeletNotReady", "message", message, "lastHeartbeatTime", api_now(now),
				  "lastTransitionTime", n->since);
	json_t *capacity = json_pack("{s:s,s:s,s:s}", "cpu", "4", "memory", "8Gi", "pods", "250");

	return json_pack("{s:o,s:[o],s:o,s:O,s:o}", "addresses", addresses(n->k), "conditions", ready, "nodeInfo", node_info(), "capacity",
			 capacity, "allocatable", capacity);
}

static int retry(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	struct node_object *n = ctx;

	n->renew = sd_event_source_disable_unref(n->renew);
	send_status(n);
	return 0;
}

static void send_later(struct node_object *n, uint64_t delay_us)
{
	n->renew = sd_event_source_disable_unref(n->renew);
	if (sd_event_add_time_relative(n->k->event, &n->renew, CLOCK_MONOTONIC, delay_us, 0, retry, n) < 0)
		log_error("cannot set a timer: the node's status is not renewed");
}

static void on_status(const struct kube_response *res, void *ctx)
{
	struct node_object *n = ctx;

	n->busy = false;
	if (res->status == 404)
		n->registered = false; /* somebody deleted the Node: it comes back */
	else if (res->status < 200 || res->status > 299)
		log_warn("cannot update the node's status, it is tried again", L_INT("status", res->status), L_STR("why", res->error));
	else if (n->ready && !n->announced && !n->again) {
		n->announced = true;
		n->on_ready(n->k, res->body);
	}
	if (n->again)
		send_status(n);
	else
		send_later(n, res->status >= 200 && res->status < 300 ? RENEW_US : RETRY_US);
}

static void on_registered(const struct kube_response *res, void *ctx)
{
	struct node_object *n = ctx;

	n->busy = false;
	n->registered = res->status == 200 || res->status == 201 || res->status == 409; /* 409: it is there from an earlier boot */
	if (n->registered) {
		send_status(n);
		return;
	}
	log_warn("cannot register the node, it is tried again", L_INT("status", res->status), L_STR("why", res->error));
	send_later(n, RETRY_US);
}

static int send_node(struct node_object *n)
{
	_cleanup_json_ json_t *node = json_pack("{s:s,s:s,s:{s:s,s:o}}", "apiVersion", "v1", "kind", "Node", "metadata", "name",
						n->k->node->name, "labels", labels(n->k));
	struct kube_request req = { .method = "POST", .path = "/api/v1/nodes", .body = node };

	return kube_send(n->k->client, &req, on_registered, n, NULL);
}

static void send_status(struct node_object *n)
{
	_cleanup_free_ char *path = kube_path("/api/v1", NULL, "nodes", n->k->node->name, "status");
	_cleanup_json_ json_t *patch = NULL;
	struct kube_request req = { .method = "PATCH", .path = path, .content_type = "application/strategic-merge-patch+json" };
	int r;

	if (n->busy) {
		n->again = true;
		return;
	}
	n->again = false;
	if (n->registered) {
		patch = json_pack("{s:o}", "status", status_of(n));
		req.body = patch;
		r = kube_send(n->k->client, &req, on_status, n, NULL);
	} else {
		r = send_node(n);
	}
	n->busy = r == 0;
	if (r < 0)
		send_later(n, RETRY_US);
}

static void set_ready(struct node_object *n, bool ready, json_t *list, const char *why)
{
	bool changed = ready != n->ready || !n->ready_known;

	if (changed)
		api_now(n->since);
	n->ready = ready;
	n->ready_known = true;
	free(n->why);
	n->why = ready ? NULL : xasprintf("container runtime network not ready: %s", why);
	json_decref(n->k->network);
	n->k->network = ready ? json_incref(list) : NULL;
	if (changed) {
		log_info(ready ? "the network is ready" : "the network is not ready", L_STR("why", n->why));
		send_status(n);
	}
	if (ready)
		pods_network_changed(n->k);
}

static int look(sd_event_source *s, uint64_t usec, void *ctx);

static void look_later(struct node_object *n)
{
	n->look = sd_event_source_disable_unref(n->look);
	if (sd_event_add_time_relative(n->k->event, &n->look, CLOCK_MONOTONIC, n->ready ? LOOK_READY_US : LOOK_WAITING_US, 1000, look, n) < 0)
		log_error("cannot set a timer: the network's state is not followed");
}

static void on_cni_status(unsigned code, const char *msg, json_t *result _unused_, void *ctx)
{
	struct node_object *n = ctx;

	n->status_call = NULL;
	set_ready(n, code == 0, n->list, msg);
	json_decref(n->list);
	n->list = NULL;
	look_later(n);
}

/* STATUS came with CNI 1.1; older configurations count as ready when they are there. */
static bool has_status_verb(const json_t *list)
{
	unsigned major = 0, minor = 0;

	sscanf(json_str_or(json_at(list, "cniVersion"), ""), "%u.%u", &major, &minor);
	return major > 1 || (major == 1 && minor >= 1);
}

static int look(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	struct node_object *n = ctx;
	_cleanup_free_ char *why = NULL;
	_cleanup_json_ json_t *list = NULL;

	if (n->status_call)
		return 0;
	if (cni_load(CNI_CONF_DIR, &list, &why) < 0) {
		set_ready(n, false, NULL, why);
		look_later(n);
		return 0;
	}
	if (!has_status_verb(list)) {
		set_ready(n, true, list, NULL);
		look_later(n);
		return 0;
	}
	if (cni_start(n->k->event, list, "STATUS", NULL, n->k->cni_cgroup, on_cni_status, n, &n->status_call) < 0) {
		look_later(n);
		return 0;
	}
	n->list = take_ptr(list);
	return 0;
}

int node_object_start(struct kubelet *k, void (*on_ready)(struct kubelet *k, const json_t *node), struct node_object **ret)
{
	struct node_object *n = xnew0(struct node_object);

	*n = (struct node_object){ .k = k, .on_ready = on_ready };
	api_now(n->since);
	send_status(n);
	look(NULL, 0, n);
	*ret = n;
	return 0;
}
