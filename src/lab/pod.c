/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a pod: sandbox (namespace, CNI ADD), init containers one by one, containers, and back: SIGTERM, grace, SIGKILL,
 * CNI DEL, and the object's end in the API. Every step that fails is told as an Event and tried again; the sandbox of a
 * failed ADD is taken away and a new one made, as a kubelet does. */
#include "base/file.h"
#include "base/log.h"
#include "lab/cgroup.h"
#include "lab/links.h"
#include "lab/pod.h"
#include "lab/podfile.h"
#include "net/netns.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>

enum { DELAY_MIN_US = 50000, DELAY_MAX_US = 5000000, POLL_US = 5000 };

static void make_sandbox(struct pod *p);
static void remove_pod(struct pod *p);

static const json_t *meta(const struct pod *p)
{
	return json_at(p->object, "metadata");
}

static void after(struct pod *p, uint64_t delay_us, sd_event_time_handler_t fn)
{
	p->timer = sd_event_source_disable_unref(p->timer);
	if (sd_event_add_time_relative(p->k->event, &p->timer, CLOCK_MONOTONIC, delay_us, 1000, fn, p) < 0)
		log_error("cannot set a timer: a pod does not go on", L_STR("pod", p->name));
}

static void retry(struct pod *p, sd_event_time_handler_t fn)
{
	after(p, p->delay_us, fn);
	p->delay_us = MIN(p->delay_us * 2, (uint64_t)DELAY_MAX_US);
}

static void set_waiting_for(struct pod *p, const char *why)
{
	free(p->waiting_for);
	p->waiting_for = why ? xstrdup(why) : NULL;
	podstatus_changed(p);
}

/* What `weft lab exec` looks for. */
static void write_pod_file(struct pod *p)
{
	_cleanup_free_ char *dir = xasprintf(POD_FILE_DIR "/%s", p->ns), *path = xasprintf("%s/%s", dir, p->name);
	_cleanup_free_ char *text = xasprintf("%s /pods/%s\n", p->host_network ? "-" : p->netns, p->uid);
	int r = mkdir_parents(dir, 0755);

	if (r == 0)
		r = file_write_atomic(path, text, strlen(text), 0644);
	if (r < 0)
		log_error("cannot note a pod for `weft lab exec`", L_STR("pod", p->name), L_ERRNO(r));
}

static void remove_pod_file(struct pod *p)
{
	_cleanup_free_ char *path = xasprintf(POD_FILE_DIR "/%s/%s", p->ns, p->name), *text = NULL;

	if (file_read(path, 600, &text, NULL) == 0 && strstr(text, p->uid)) /* not that of a newer pod of the name */
		unlink(path);
}

static void start_containers(struct pod *p)
{
	if (p->init_at < p->n_inits) {
		container_start(&p->inits[p->init_at]);
		return;
	}
	for (size_t i = 0; i < p->n_containers && p->state == POD_RUNS; i++)
		if (p->containers[i].state == CONTAINER_WAITS && !p->containers[i].timer)
			container_start(&p->containers[i]);
}

static void run(struct pod *p)
{
	_cleanup_free_ char *ignored = podspec_ignored(p->spec_object);

	p->state = POD_RUNS;
	p->delay_us = DELAY_MIN_US;
	set_waiting_for(p, NULL);
	write_pod_file(p);
	if (ignored)
		kubelet_event(p->k, &p->events, meta(p), "Pod", "Warning", "Ignored", "the lab does not have and ignores: %s", ignored);
	start_containers(p);
}

static char *new_sandbox_id(void)
{
	unsigned char b[32];
	char *s = xmalloc(65);

	if (getrandom(b, sizeof(b), 0) != sizeof(b))
		abort(); /* the kernel's generator is up long before any pod */
	for (size_t i = 0; i < sizeof(b); i++)
		snprintf(s + 2 * i, 3, "%02x", b[i]);
	return s;
}

static void forget_sandbox(struct pod *p)
{
	p->netns_fd = close_fd(p->netns_fd);
	if (p->netns) {
		int r = netns_remove(p->netns);

		if (r < 0)
			log_error("cannot remove a pod's namespace", L_STR("netns", p->netns), L_ERRNO(r));
	}
	free(p->netns);
	free(p->sandbox_id);
	p->netns = p->sandbox_id = NULL;
	json_decref(p->cni_result);
	p->cni_result = NULL;
	p->added = false;
}

static int start_cni(struct pod *p, const char *command, cni_done_fn *fn)
{
	struct cni_attachment at = { .container_id = p->sandbox_id, .netns = p->netns, .ns = p->ns, .pod = p->name, .uid = p->uid,
				     .prev_result = p->cni_result };
	_cleanup_json_ json_t *list = json_incref(p->k->network);
	_cleanup_free_ char *why = NULL;

	if (!list && cni_load(CNI_CONF_DIR, &list, &why) < 0) /* DEL also while the network is not ready */
		return -ENOENT;
	return cni_start(p->k->event, list, command, &at, p->k->cni_cgroup, fn, p, &p->cni);
}

static int on_sandbox_time(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	struct pod *p = ctx;

	p->timer = sd_event_source_disable_unref(p->timer);
	make_sandbox(p);
	return 0;
}

static void on_undone(unsigned code, const char *msg, json_t *result _unused_, void *ctx)
{
	struct pod *p = ctx;

	p->cni = NULL;
	if (code)
		log_warn("DEL after a failed ADD failed", L_STR("pod", p->name), L_UINT("code", code), L_STR("why", msg));
	forget_sandbox(p);
	p->state = POD_WAITS;
	if (p->deleting || p->gone)
		remove_pod(p);
	else
		retry(p, on_sandbox_time);
}

static void sandbox_failed(struct pod *p, const char *why)
{
	kubelet_event(p->k, &p->events, meta(p), "Pod", "Warning", "FailedCreatePodSandBox", "Failed to create pod sandbox: %s", why);
	set_waiting_for(p, why);
	if (!p->netns || start_cni(p, "DEL", on_undone) < 0)
		on_undone(0, "", NULL, p);
}

static json_t *ips_of_result(const json_t *result)
{
	json_t *a = json_array(), *ip;
	size_t i;

	json_array_foreach (json_at(result, "ips"), i, ip) {
		const char *address = json_str_or(json_at(ip, "address"), "");

		json_array_append_new(a, json_stringn(address, strcspn(address, "/")));
	}
	return a;
}

static void on_added(unsigned code, const char *msg, json_t *result, void *ctx)
{
	struct pod *p = ctx;
	_cleanup_free_ char *why = NULL;

	p->cni = NULL;
	if (code) {
		why = xasprintf("plugin failed (add), code %u: %s", code, msg);
		sandbox_failed(p, why);
		return;
	}
	p->added = true;
	p->cni_result = json_incref(result);
	json_decref(p->ips);
	p->ips = ips_of_result(result);
	if (json_array_size(p->ips) == 0)
		sandbox_failed(p, "the CNI result has no addresses");
	else if (p->deleting || p->gone)
		remove_pod(p);
	else
		run(p);
}

static int make_namespace(struct pod *p)
{
	int r;

	p->sandbox_id = new_sandbox_id();
	p->netns = xasprintf("/run/netns/cni-%.32s", p->sandbox_id);
	r = p->netns_fd = netns_create(p->netns);
	return r < 0 ? r : lo_up(p->netns_fd);
}

static void make_sandbox(struct pod *p)
{
	_cleanup_free_ char *why = NULL;
	int r;

	if (p->host_network) {
		run(p);
		return;
	}
	if (!p->k->network) { /* pods_network_changed() comes back here */
		set_waiting_for(p, "network is not ready: the node's CNI configuration is missing or its plugin says so");
		kubelet_event(p->k, &p->events, meta(p), "Pod", "Warning", "NetworkNotReady", "network is not ready");
		return;
	}
	p->state = POD_ADDS;
	r = make_namespace(p);
	if (r == 0)
		r = start_cni(p, "ADD", on_added);
	if (r < 0) {
		why = xasprintf("cannot make the namespace: %s", strerror(-r));
		sandbox_failed(p, why);
	}
}

void pod_start(struct pod *p)
{
	if (p->state == POD_WAITS && !p->timer && !p->deleting && !p->gone)
		make_sandbox(p);
}

static void for_each_container(struct pod *p, void (*fn)(struct container *c))
{
	for (size_t i = 0; i < p->n_inits; i++)
		fn(&p->inits[i]);
	for (size_t i = 0; i < p->n_containers; i++)
		fn(&p->containers[i]);
}

static bool any_runs(const struct pod *p)
{
	for (size_t i = 0; i < p->n_inits; i++)
		if (p->inits[i].proc)
			return true;
	for (size_t i = 0; i < p->n_containers; i++)
		if (p->containers[i].proc)
			return true;
	return false;
}

static void pod_free(struct pod *p)
{
	list_remove(&p->link);
	for_each_container(p, container_done);
	if (p->call)
		kube_cancel(p->call);
	sd_event_source_disable_unref(p->timer);
	sd_event_source_disable_unref(p->status_source);
	cni_cancel(p->cni);
	forget_sandbox(p);
	event_memory_done(&p->events);
	json_decref(p->object);
	json_decref(p->spec_object);
	json_decref(p->ips);
	json_decref(p->host_ips);
	free(p->inits);
	free(p->containers);
	free(p->ns);
	free(p->name);
	free(p->uid);
	free(p->cgroup);
	free(p->waiting_for);
	free(p->status_sent);
	free(p);
}

static int on_removal_time(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	struct pod *p = ctx;

	p->timer = sd_event_source_disable_unref(p->timer);
	remove_pod(p);
	return 0;
}

static void on_object_deleted(const struct kube_response *res, void *ctx)
{
	struct pod *p = ctx;

	p->call = NULL;
	if ((res->status >= 200 && res->status < 300) || res->status == 404 || res->status == 409)
		pod_free(p); /* 409: the name is another pod's by now */
	else
		retry(p, on_removal_time);
}

static void delete_object(struct pod *p)
{
	_cleanup_free_ char *path = kube_path("/api/v1", p->ns, "pods", p->name, NULL);
	_cleanup_json_ json_t *body = json_pack("{s:s,s:s,s:i,s:{s:s}}", "apiVersion", "v1", "kind", "DeleteOptions", "gracePeriodSeconds", 0,
						"preconditions", "uid", p->uid);
	struct kube_request req = { .method = "DELETE", .path = path, .body = body };

	if (p->call) { /* a status update; it says nothing that still matters */
		kube_cancel(p->call);
		p->call = NULL;
		p->status_busy = false;
	}
	p->status_source = sd_event_source_disable_unref(p->status_source);
	p->status_busy = true; /* nothing more is sent about it */
	if (kube_send(p->k->client, &req, on_object_deleted, p, &p->call) < 0)
		retry(p, on_removal_time);
}

static void on_deleted_from_network(unsigned code, const char *msg, json_t *result _unused_, void *ctx)
{
	struct pod *p = ctx;

	p->cni = NULL;
	if (code) {
		kubelet_event(p->k, &p->events, meta(p), "Pod", "Warning", "FailedKillPod", "plugin failed (delete), code %u: %s", code, msg);
		retry(p, on_removal_time);
		return;
	}
	forget_sandbox(p);
	remove_pod(p);
}

/* Goes as far as it can; each step that has to wait comes back here. */
static void remove_pod(struct pod *p)
{
	if (p->state != POD_FINISHED)
		p->state = POD_REMOVES;
	if (cgroup_kill(p->cgroup, 0) < 0 || cgroup_remove(p->cgroup) < 0) {
		after(p, POLL_US, on_removal_time);
		return;
	}
	remove_pod_file(p);
	if (p->netns) {
		if (start_cni(p, "DEL", on_deleted_from_network) < 0)
			retry(p, on_removal_time);
		return;
	}
	if (p->gone)
		pod_free(p);
	else if (p->deleting)
		delete_object(p);
	else {
		p->state = POD_FINISHED;
		podstatus_changed(p);
	}
}

static void end_gently(struct container *c)
{
	container_end(c, false);
}

static void end_by_force(struct container *c)
{
	container_end(c, true);
}

static int on_grace_over(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	struct pod *p = ctx;

	p->timer = sd_event_source_disable_unref(p->timer);
	for_each_container(p, end_by_force);
	if (!any_runs(p))
		remove_pod(p);
	return 0;
}

/* The containers' ends come back through pod_container_changed(). */
static void end_pod(struct pod *p, uint64_t grace_us)
{
	if (p->state == POD_ADDS) /* on_added() or on_undone() sees that it is to go */
		return;
	if (p->state == POD_FINISHED || p->state == POD_WAITS) {
		if (!p->cni) {
			p->timer = sd_event_source_disable_unref(p->timer);
			remove_pod(p);
		}
		return;
	}
	if (p->state == POD_REMOVES)
		return;
	if (p->state == POD_RUNS)
		kubelet_event(p->k, &p->events, meta(p), "Pod", "Normal", "Killing", "Stopping the containers, grace period %.0f s",
			      grace_us / 1e6);
	p->state = POD_ENDS;
	for_each_container(p, end_gently);
	if (any_runs(p) && grace_us > 0)
		after(p, grace_us, on_grace_over);
	else
		on_grace_over(NULL, 0, p);
}

static bool all_over(const struct pod *p)
{
	for (size_t i = 0; i < p->n_containers; i++)
		if (!container_is_over(&p->containers[i]))
			return false;
	return true;
}

static void container_changed_while_running(struct pod *p)
{
	if (p->init_at < p->n_inits) {
		struct container *c = &p->inits[p->init_at];

		if (!container_is_over(c))
			return;
		if (c->exit_code == 0) {
			p->init_at++;
			start_containers(p);
			return;
		}
		p->failed = true;
		for (size_t i = 0; i < p->n_containers; i++)
			container_end(&p->containers[i], true);
	} else if (!all_over(p)) {
		return;
	}
	remove_pod(p); /* Succeeded or Failed: its network goes, its object stays */
}

void pod_container_changed(struct pod *p)
{
	if (p->state == POD_RUNS)
		container_changed_while_running(p);
	else if (p->state == POD_ENDS && !any_runs(p)) {
		p->timer = sd_event_source_disable_unref(p->timer);
		remove_pod(p);
	}
}

static json_t *host_ips(const struct kubelet *k)
{
	json_t *a = json_array();
	char text[ADDR_TEXT_MAX];

	for (int i = 0; i < 2; i++) {
		int family = i ? AF_INET6 : AF_INET;
		struct addr addr = lab_node_address(k->lab, k->node, family);

		if (lab_has(k->lab, family))
			json_array_append_new(a, json_string(addr_format(&addr, text)));
	}
	return a;
}

/* After a reboot the object remembers an earlier life of the container. */
static unsigned restarts_before(const json_t *statuses, const char *name)
{
	json_t *s;
	size_t i;

	json_array_foreach (statuses, i, s)
		if (streq(json_str_at(s, "name"), name) && json_str_at(s, "containerID") && *json_str_at(s, "containerID"))
			return json_integer_value(json_at(s, "restartCount")) + 1;
	return 0;
}

static void make_containers(struct pod *p, const char *key, const char *status_key, bool init, struct container **ret, size_t *ret_n)
{
	const json_t *specs = json_at(p->spec_object, "spec", key), *statuses = json_at(p->object, "status", status_key);
	size_t n = json_array_size(specs);

	*ret = xnew0_array(struct container, n ? n : 1);
	*ret_n = n;
	for (size_t i = 0; i < n; i++) {
		const json_t *spec = json_array_get(specs, i);

		container_init(&(*ret)[i], p, spec, init, restarts_before(statuses, json_str_or(json_at(spec, "name"), "")));
	}
}

static void take_object(struct pod *p, json_t *object)
{
	json_decref(p->object);
	p->object = json_incref(object);
	p->deleting = json_at(object, "metadata", "deletionTimestamp") != NULL;
}

static uint64_t deletion_grace_us(const struct pod *p)
{
	const json_t *g = json_at(p->object, "metadata", "deletionGracePeriodSeconds");

	return json_is_integer(g) ? MAX(json_integer_value(g), 0) * UINT64_C(1000000) : 30 * UINT64_C(1000000);
}

static bool has_finished(const json_t *object)
{
	const char *phase = json_str_at(object, "status", "phase");

	return streq(phase, "Succeeded") || streq(phase, "Failed");
}

void pod_new(struct kubelet *k, json_t *object)
{
	struct pod *p = xnew0(struct pod);

	*p = (struct pod){ .k = k, .netns_fd = -1, .delay_us = DELAY_MIN_US, .seen = true };
	list_push_back(&k->pods, &p->link);
	take_object(p, object);
	p->spec_object = json_incref(object);
	p->ns = xstrdup(json_str_at(object, "metadata", "namespace"));
	p->name = xstrdup(json_str_at(object, "metadata", "name"));
	p->uid = xstrdup(json_str_at(object, "metadata", "uid"));
	p->host_network = json_is_true(json_at(object, "spec", "hostNetwork"));
	p->cgroup = xasprintf("/sys/fs/cgroup/pods/%s", p->uid);
	p->host_ips = host_ips(k);
	p->ips = p->host_network ? json_copy(p->host_ips) : json_array();
	p->started = time(NULL);
	make_containers(p, "initContainers", "initContainerStatuses", true, &p->inits, &p->n_inits);
	make_containers(p, "containers", "containerStatuses", false, &p->containers, &p->n_containers);
	if (has_finished(object))
		p->state = POD_FINISHED;
	if (p->deleting)
		end_pod(p, 0);
	else if (p->state != POD_FINISHED)
		pod_start(p);
}

void pod_update(struct pod *p, json_t *object)
{
	uint64_t before = p->deleting ? deletion_grace_us(p) : UINT64_MAX;

	p->seen = true;
	take_object(p, object);
	if (p->deleting && deletion_grace_us(p) < before)
		end_pod(p, deletion_grace_us(p));
	else
		podstatus_check(p);
}

void pod_gone(struct pod *p)
{
	p->gone = true;
	if (p->state == POD_REMOVES && !p->cni && !p->timer && !p->netns) /* our own DELETE is under way */
		return;
	end_pod(p, 0);
}
