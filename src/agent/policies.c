/* SPDX-License-Identifier: Apache-2.0 */
/* The endpoints of this node are pods whose addresses we know before the API does, so for them the addresses come from the endpoint and
 * the labels from the API. A pod that the API has no more keeps the labels that it had until its endpoint goes. An endpoint
 * of which the API has never said what it is, is locked down: it goes to the compiler as a pod of a namespace that nobody knows. */
#include "agent/policies.h"
#include "agent/host_cluster.h"
#include "agent/policy_nodes.h"
#include "base/file.h"
#include "base/json_read.h"
#include "base/log.h"
#include "model/service.h"

#include <stdlib.h>

enum { LABELS_MAX = 4096, REMEMBER_US = 10000000 };
static const char nowhere[] = "?"; /* no namespace has this name */

struct local {
	struct htab_node by_pod;
	char *namespace_, *name, *uid; /* as the compiler knows it */
	struct addr addrs[2];
	bool seen;
};

struct policies {
	struct model *model;
	const struct options *opt;
	const char *node;
	policies_wake_fn *wake;
	void *wake_ctx;
	struct policy *policy;
	struct host_policy *host; /* NULL: policy.host is off */
	struct route_underlay *links;
	size_t n_links;
	struct addr *own; /* as bytes in order */
	size_t n_own;
	struct policy_apply apply;
	struct htab locals;
	bool dirty, nodes_dirty, cluster_dirty, failed;
	char *cluster; /* as it is kept for a boot (host_cluster.h), or NULL */
	uint64_t cluster_next_us;
	struct failsafe_api cluster_api;
	size_t rule_room;     /* of the table, for all that is in force */
	uint64_t rests_since; /* policy_compiled() at the last policies_settle() */
	struct label_in *labels; /* LABELS_MAX */
};

static uint64_t hash_pod(const char *namespace_, const char *name)
{
	return hash_str(namespace_) * 31 + hash_str(name);
}

static struct local *find_local(const struct policies *p, const char *namespace_, const char *name)
{
	struct local *l;

	HTAB_FIND(&p->locals, hash_pod(namespace_, name), l, by_pod, streq(l->namespace_, namespace_) && streq(l->name, name));
	return l;
}

static void touch(struct policies *p)
{
	p->dirty = true;
	p->wake(p->wake_ctx);
}

static size_t labels_of(struct policies *p, const struct model_labels *l)
{
	size_t n = 0;

	for (unsigned i = 0; l && i < l->n && n < LABELS_MAX; i++)
		p->labels[n++] = (struct label_in){ l->kv[i].key, l->kv[i].value };
	return n;
}

/* --- pods --- */

static void add_addrs(struct policy_pod_in *in, const struct addr *a)
{
	if (!addr_is_zero(a))
		in->addrs[in->n_addrs++] = *a;
}

static void put_pod(struct policies *p, const struct model_pod *pod, const struct local *local)
{
	struct policy_port_in ports[POD_PORTS_MAX];
	struct policy_pod_in in = { .namespace_ = pod->namespace_, .name = pod->name, .labels = p->labels, .ports = ports,
				    .n_labels = labels_of(p, pod->labels), .n_ports = pod->n_ports, .local = local,
				    .serial = pod->serial + (local ? 1ull << 62 : 0) };

	for (unsigned i = 0; i < pod->n_ports; i++)
		ports[i] = (struct policy_port_in){ pod->ports[i].name, pod->ports[i].proto, pod->ports[i].number };
	for (int i = 0; i < 2; i++) {
		if (local)
			add_addrs(&in, &local->addrs[i]);
		else if (pod->has_addrs)
			add_addrs(&in, &pod->addrs[i].addr);
	}
	policy_put_pod(p->policy, &in);
}

static void put_nameless(struct policies *p, const struct local *local)
{
	struct policy_pod_in in = { .namespace_ = nowhere, .name = local->name, .local = true, .serial = 1ull << 63 };

	for (int i = 0; i < 2; i++)
		add_addrs(&in, &local->addrs[i]);
	policy_put_pod(p->policy, &in);
}

static void on_pod(struct policies *p, const struct model_pod *pod, bool gone)
{
	const struct local *local = find_local(p, pod->namespace_, pod->name);

	if (local && (gone || (*local->uid && !streq(local->uid, pod->uid))))
		return; /* the endpoint is still what it was; sync_locals() sees to a new pod of its name */
	if (gone)
		policy_del_pod(p->policy, pod->namespace_, pod->name);
	else
		put_pod(p, pod, local);
}

/* --- the other tables --- */

static void on_namespace(struct policies *p, const struct model_namespace *ns, bool gone)
{
	if (gone)
		policy_del_namespace(p->policy, ns->name);
	else
		policy_put_namespace(p->policy, ns->name, p->labels, labels_of(p, ns->labels));
}

static struct policy_links links_of(const struct policies *p)
{
	return (struct policy_links){ p->links, p->n_links, p->own, p->n_own };
}

static void on_node(struct policies *p, const struct model_node *node, bool gone)
{
	bool own = streq(node->name, p->node);
	struct policy_links links = links_of(p);

	p->nodes_dirty = p->cluster_dirty = true;
	if (gone) {
		policy_del_node(p->policy, node->name);
		return;
	}
	policy_nodes_put(p->policy, node, own ? &links : NULL);
	if (own && p->host)
		host_policy_node_changed(p->host);
}

static int cmp_addr(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct addr));
}

static bool same_links(const struct policies *p, const struct policy_links *links)
{
	bool same = links->n == p->n_links && links->n_own == p->n_own;

	for (size_t i = 0; same && i < links->n; i++)
		same = addr_eq(&links->all[i].addr, &p->links[i].addr) && prefix_eq(&links->all[i].net, &p->links[i].net);
	return same && (p->n_own == 0 || memcmp(links->own, p->own, p->n_own * sizeof(*p->own)) == 0);
}

void policies_set_links(struct policies *p, const struct policy_links *told)
{
	_cleanup_free_ struct addr *own = xnew0_array(struct addr, told->n_own + 1);
	struct policy_links links = *told;
	const struct model_node *node;

	for (size_t i = 0; i < told->n_own; i++)
		own[i] = told->own[i];
	qsort(own, told->n_own, sizeof(*own), cmp_addr); /* the kernel lists them in any order */
	links.own = own;
	if (!p->host || same_links(p, &links))
		return;
	free(p->links);
	p->links = xnew0_array(struct route_underlay, links.n + 1);
	for (size_t i = 0; i < links.n; i++)
		p->links[i] = links.all[i];
	p->n_links = links.n;
	free(p->own);
	p->own = take_ptr(own);
	p->n_own = links.n_own;
	host_policy_set_links(p->host, p->links, p->n_links);
	node = model_find_node(p->model, p->node);
	if (!node)
		return;
	links = links_of(p);
	policy_nodes_put(p->policy, node, &links);
	touch(p);
}

static enum policy_kind kind_of(enum model_table table)
{
	switch (table) {
	case MODEL_CLUSTER_POLICIES:
		return KIND_CLUSTER;
	case MODEL_ADMIN_POLICIES:
		return KIND_ADMIN;
	case MODEL_BASELINE_POLICIES:
		return KIND_BASELINE;
	default:
		return KIND_NETWORK_POLICY;
	}
}

static json_t *object_json(const struct model_policy *policy, enum policy_kind kind)
{
	json_t *spec = json_read("spec", policy->spec, strlen(policy->spec), &json_fields_all, NULL);

	assert(spec); /* its text is ours */
	return json_pack("{ss, s{ss, ss, s{ss*, ss*}}, so}", "kind", policy_kind_name(kind), "metadata", "namespace", policy->namespace_,
			 "name", policy->name, "annotations", POLICY_MODE_ANNOTATION, policy->mode, POLICY_SUBJECT_ANNOTATION, policy->subject,
			 "spec", spec);
}

static void on_policy(struct policies *p, const struct model_policy *policy, bool gone)
{
	enum policy_kind kind = kind_of(policy->table);
	bool of_nodes = kind == KIND_CLUSTER && policy_subject_is_nodes(policy->subject);
	_cleanup_json_ json_t *object = NULL;
	_cleanup_free_ char *why = NULL;
	struct policy_spec *spec;

	object = gone ? NULL : object_json(policy, kind);
	if (p->host && kind == KIND_CLUSTER && !gone && !of_nodes)
		host_policy_not_of_nodes(p->host, policy->name);
	if (p->host && kind == KIND_CLUSTER)
		host_policy_put(p->host, policy->name, of_nodes ? object : NULL);
	if (gone) {
		policy_del_object(p->policy, kind, policy->namespace_, policy->name);
		return;
	}
	if (p->host && of_nodes)
		return; /* in force when the trial says so */
	if (policy_spec_parse(object, NULL, &spec, &why) == 0)
		policy_put_object(p->policy, spec);
	else
		log_error("a policy cannot be read", L_STR("namespace", policy->namespace_), L_STR("name", policy->name), L_STR("why", why));
}

static bool is_of_api(const struct model_slice *slice)
{
	return streq(slice->namespace_, "default") && streq(slice->service, "kubernetes");
}

void policies_on_object(enum model_table table, void *object, bool gone, void *ctx)
{
	struct policies *p = ctx;

	switch (table) {
	case MODEL_PODS:
		on_pod(p, object, gone);
		break;
	case MODEL_NAMESPACES:
		on_namespace(p, object, gone);
		break;
	case MODEL_NODES:
		on_node(p, object, gone);
		break;
	case MODEL_SLICES:
		if (!p->host || !is_of_api(object))
			return;
		break; /* failsafe ports */
	case MODEL_POLICIES:
	case MODEL_CLUSTER_POLICIES:
	case MODEL_ADMIN_POLICIES:
	case MODEL_BASELINE_POLICIES:
		on_policy(p, object, gone);
		break;
	default:
		return;
	}
	touch(p);
}

static void update_ranges(struct policies *p)
{
	if (p->nodes_dirty)
		policy_nodes_put_ranges(p->policy, p->model);
	p->nodes_dirty = false;
}

/* --- endpoints --- */

static struct local *local_new(struct policies *p, const char *namespace_, const char *name, const char *uid)
{
	struct local *l = xnew0(struct local);

	l->namespace_ = xstrdup(namespace_);
	l->name = xstrdup(name);
	l->uid = xstrdup(uid);
	htab_insert(&p->locals, hash_pod(namespace_, name), &l->by_pod);
	return l;
}

static void local_free(struct policies *p, struct local *l)
{
	htab_remove(&p->locals, &l->by_pod);
	free(l->namespace_);
	free(l->name);
	free(l->uid);
	free(l);
}

/* What the API says of the endpoint; NULL: nothing (now). An endpoint that was adopted from the kernel has lost its pod's name. */
static const struct model_pod *pod_of(const struct policies *p, const struct endpoint_record *r)
{
	const struct model_pod *pod;

	if (*r->pod_name) {
		pod = model_find_pod(p->model, r->pod_namespace, r->pod_name);
		return pod && (!*r->pod_uid || streq(pod->uid, r->pod_uid)) ? pod : NULL;
	}
	for (int i = 0; i < 2; i++) {
		pod = addr_is_zero(&r->addrs[i]) ? NULL : model_find_pod_by_addr(p->model, &r->addrs[i]);
		if (pod && streq(pod->node, p->node))
			return pod;
	}
	return NULL;
}

static void put_local(struct policies *p, struct local *l, const struct endpoint_record *r, const struct model_pod *pod)
{
	bool moved = !addr_eq(&l->addrs[0], &r->addrs[0]) || !addr_eq(&l->addrs[1], &r->addrs[1]);

	l->seen = true;
	if (!moved)
		return;
	memcpy(l->addrs, r->addrs, sizeof(l->addrs));
	p->dirty = true;
	if (pod)
		put_pod(p, pod, l);
	else
		put_nameless(p, l);
}

static void see_endpoint(const struct endpoint_record *r, void *ctx)
{
	struct policies *p = ctx;
	const struct model_pod *pod = pod_of(p, r);
	struct local *l;

	if (endpoint_is_open(r))
		return;
	if (!pod) {
		l = find_local(p, r->pod_namespace, r->pod_name);
		if (l && streq(l->uid, r->pod_uid) && addr_eq(&l->addrs[0], &r->addrs[0]) && addr_eq(&l->addrs[1], &r->addrs[1])) {
			l->seen = true; /* it was known once */
			return;
		}
		l = find_local(p, nowhere, r->container);
		put_local(p, l ? l : local_new(p, nowhere, r->container, ""), r, NULL);
		return;
	}
	l = find_local(p, pod->namespace_, pod->name);
	if (l && *l->uid && !streq(l->uid, pod->uid)) { /* of the former pod of this name: whose endpoint goes on nameless, if it is still there */
		local_free(p, l);
		l = NULL;
	}
	put_local(p, l ? l : local_new(p, pod->namespace_, pod->name, pod->uid), r, pod);
}

/* The endpoint is gone: the pod is what the API says. */
static void end_local(struct policies *p, struct local *l)
{
	const struct model_pod *pod = model_find_pod(p->model, l->namespace_, l->name);
	_cleanup_free_ char *namespace_ = xstrdup(l->namespace_), *name = xstrdup(l->name);

	local_free(p, l);
	p->dirty = true;
	if (pod)
		put_pod(p, pod, NULL);
	else
		policy_del_pod(p->policy, namespace_, name);
}

static void sync_locals(struct policies *p, const struct endpoints *endpoints)
{
	struct htab_node *n, *next;

	for (n = htab_begin(&p->locals); n; n = htab_next(&p->locals, n))
		container_of(n, struct local, by_pod)->seen = false;
	endpoints_each(endpoints, see_endpoint, p);
	for (n = htab_begin(&p->locals); n; n = next) {
		struct local *l = container_of(n, struct local, by_pod);

		next = htab_next(&p->locals, n);
		if (!l->seen)
			end_local(p, l);
	}
}

/* --- compile, apply --- */

int policies_update(struct policies *p, const struct endpoints *endpoints, struct datapath *dp)
{
	_cleanup_(policy_maps_putp) struct policy_maps *maps = NULL;
	int r;

	if (p->host)
		host_policy_synced(p->host); /* the caller has waited for the API */
	sync_locals(p, endpoints);
	if (!p->dirty && !p->failed && p->apply.dp == dp)
		return 0;
	update_ranges(p);
	maps = policy_compile(p->policy);
	p->dirty = false;
	r = policy_apply(&p->apply, dp, maps);
	p->failed = r < 0 || policy_apply_is_failed(&p->apply);
	return r;
}

bool policies_settle(struct policies *p)
{
	uint64_t rested = p->rests_since;
	int r = policy_apply_finish(&p->apply);

	p->rests_since = policy_compiled(p->policy);
	if (r < 0)
		log_warn("cannot remove old entries of policy maps", L_ERRNO(r));
	if (!policy_settle(p->policy, rested))
		return false;
	p->dirty = true;
	return true;
}

bool policies_room_is_stale(const struct policies *p)
{
	return policy_room_is_stale(p->policy);
}

void policies_ask_room(struct policies *p)
{
	policy_ask_room(p->policy);
	p->dirty = true;
}

bool policies_rest(const struct policies *p)
{
	return policy_apply_is_leaving(&p->apply) || policy_rests(p->policy);
}

bool policies_wait_for_room(const struct policies *p)
{
	const struct policy_apply *a = &p->apply;
	size_t bound = a->applied ? a->applied->n[POLICY_MAP_RULES] : 0;

	for (size_t i = 0; i < ARRAY_SIZE(a->leaving); i++)
		bound += a->leaving[i] ? a->leaving[i]->n[POLICY_MAP_RULES] : 0;
	return (a->leaving[0] || a->leaving[1]) && bound > p->rule_room && policy_apply_count_rules(a) > p->rule_room;
}

int policies_audit(struct policies *p, struct datapath *dp)
{
	return p->apply.dp == dp ? policy_apply_audit(&p->apply) : 0;
}

void policies_forget_datapath(struct policies *p)
{
	policy_apply_forget(&p->apply);
}

bool policies_know(const struct policies *p, const char *namespace_, const char *name, const char *uid)
{
	const struct model_pod *pod = *name ? model_find_pod(p->model, namespace_, name) : NULL;

	if (!*name || !*namespace_)
		return true;
	return pod && (!*uid || streq(pod->uid, uid)) && model_find_namespace(p->model, namespace_);
}

/* --- for a boot --- */

void policies_remember(struct policies *p, uint64_t now_us)
{
	const struct failsafe_api *api = p->host ? host_policy_api(p->host) : NULL;
	_cleanup_free_ char *path = NULL, *text = NULL;
	int r;

	if (!api || !host_policy_is_any(p->host) || (!p->cluster_dirty && memcmp(api, &p->cluster_api, sizeof(*api)) == 0) || now_us < p->cluster_next_us)
		return;
	p->cluster_dirty = false;
	p->cluster_api = *api;
	p->cluster_next_us = now_us + REMEMBER_US;
	text = host_cluster_format(p->model, api);
	if (!text || streq(text, p->cluster))
		return;
	path = xasprintf("%s/" HOST_CLUSTER_FILE, p->opt->mesh_dir);
	r = mkdir_parents(p->opt->mesh_dir, 0700);
	if (r == 0)
		r = file_write_atomic(path, text, strlen(text), 0600);
	if (r < 0) {
		log_error("what the node's own policies are judged by after a boot cannot be kept", L_STR("file", path), L_ERRNO(r));
		p->cluster_dirty = true;
		return;
	}
	free(p->cluster);
	p->cluster = take_ptr(text);
}

/* --- what is wrong --- */

struct problems {
	char *first;
	size_t n;
};

static void note_problem(_unused_ enum policy_problem what, const char *subject, const char *detail, void *ctx)
{
	struct problems *found = ctx;

	if (found->n++ == 0)
		found->first = xasprintf("%s: %s", subject, detail);
}

char *policies_problem(const struct policies *p)
{
	struct problems found = { 0 };
	char *text;

	if (policy_apply_host_is_failed(&p->apply))
		return xasprintf("the policy maps are full: the node's own policies find no room (policy.ruleTableSize, policy.addressTableSize): %s",
				 p->apply.applied && p->apply.applied->host_until ? "what was confirmed last goes on" : "only its failsafe ports are open");
	if (p->apply.locked && p->apply.room.n)
		return xasprintf("the policy maps are full: %zu addresses of pods are locked down, and %zu addresses and prefixes have no class of their own "
				 "(policy.addressTableSize)", p->apply.locked, p->apply.room.n);
	if (p->apply.locked)
		return xasprintf("the policy maps are full: %zu addresses of pods are locked down (policy.ruleTableSize)", p->apply.locked);
	if (p->apply.room.n)
		return xasprintf("the policy maps are full: %zu addresses and prefixes have no class of their own (policy.addressTableSize)",
				 p->apply.room.n);
	if (p->host && host_policy_is_rolled_back(p->host))
		return xstrdup(host_policy_is_tested(p->host) ?
				       "policies of the node itself were taken back: nobody had confirmed them (weft policy confirm)" :
				       "policies of the node itself were taken back: the API server was not reached under them (weft policy confirm tries them again)");
	policy_each_problem(p->policy, note_problem, &found);
	if (found.n < 2)
		return found.first;
	text = xasprintf("%s (and %zu more)", found.first, found.n - 1);
	free(found.first);
	return text;
}

const struct model_policy *policies_find_object(const struct policies *p, enum policy_kind kind, const char *namespace_, const char *name)
{
	static const enum model_table tables[KIND_COUNT] = { [KIND_NETWORK_POLICY] = MODEL_POLICIES, [KIND_CLUSTER] = MODEL_CLUSTER_POLICIES,
							     [KIND_ADMIN] = MODEL_ADMIN_POLICIES, [KIND_BASELINE] = MODEL_BASELINE_POLICIES };

	return model_find_policy_of(p->model, tables[kind], namespace_, name);
}

const struct policy *policies_compiler(const struct policies *p)
{
	return p->policy;
}

const struct policy_apply *policies_applied(const struct policies *p)
{
	return &p->apply;
}

static void host_changed(void *ctx)
{
	touch(ctx);
}

struct host_policy *policies_host(const struct policies *p)
{
	return p->host;
}

struct policies *policies_new(sd_event *event, struct model *m, const struct options *opt, policies_wake_fn *wake, void *ctx)
{
	struct policies *p = xnew0(struct policies);

	p->model = m;
	p->opt = opt;
	p->node = opt->node_name;
	p->wake = wake;
	p->wake_ctx = ctx;
	p->policy = policy_new();
	policy_set_modes(p->policy, opt->policy_mode == POLICY_MODE_OBSERVE, opt->policy_default == POLICY_DEFAULT_DENY);
	policy_set_patient(p->policy);
	policy_set_trial_room(p->policy, opt->policy_rule_table_size / 2);
	p->rule_room = opt->policy_rule_table_size / 2;
	policy_set_rule_room(p->policy, p->rule_room);
	policy_set_limits(p->policy, 0, 0, opt->policy_address_table_size);
	if (!opt->policy_host) {
		policy_set_hostless(p->policy);
	} else {
		p->host = host_policy_new(event, opt, p->policy, host_changed, p);
		if (!p->host)
			return policies_free(p);
	}
	p->labels = xnew0_array(struct label_in, LABELS_MAX);
	p->dirty = p->cluster_dirty = true;
	return p;
}

struct policies *policies_free(struct policies *p)
{
	struct htab_node *n;

	if (!p)
		return NULL;
	while ((n = htab_any(&p->locals)))
		local_free(p, container_of(n, struct local, by_pod));
	htab_done(&p->locals);
	host_policy_free(p->host);
	policy_apply_forget(&p->apply);
	policy_free(p->policy);
	free(p->labels);
	free(p->links);
	free(p->own);
	free(p->cluster);
	free(p);
	return NULL;
}
