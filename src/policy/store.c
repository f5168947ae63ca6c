/* SPDX-License-Identifier: Apache-2.0 */
/* Events in: the tables of pods, namespaces, nodes, addresses and policy objects, and the marks of what they made stale.
 * Nothing is computed here. */
#include "policy/store.h"

static const char name_label[] = "kubernetes.io/metadata.name";

struct policy *policy_new(void)
{
	struct policy *p = xnew0(struct policy);

	p->labels.generation = 1; /* what was never touched has 0 */
	list_init(&p->local);
	list_init(&p->dirty_pods);
	list_init(&p->cluster_objects);
	for (unsigned i = 0; i < ARRAY_SIZE(p->used); i++)
		list_init(&p->used[i]);
	p->class_ids.next = POLICY_CLASS_FIRST;
	p->policy_ids.next = POLICY_ID_FIRST;
	p->port_ids.next = 1;
	p->blocks_dirty = p->all_classes_dirty = true;
	policy_set_limits(p, 0, 0, 0);
	policy_set_rule_room(p, 0);
	classes_init(p);
	return p;
}

void policy_set_limits(struct policy *p, size_t entries, size_t memberships, size_t prefixes)
{
	p->max_prefixes = prefixes ? prefixes : SIZE_MAX;
	p->blocks_dirty = true;
	p->max_entries = entries ? entries : 1u << 17;
	p->max_memberships = memberships ? memberships : 1u << 22;
	p->room_stale = true;
}

void policy_set_rule_room(struct policy *p, size_t entries)
{
	p->max_rules = entries ? entries : SIZE_MAX;
	p->room_stale = true;
}

void policy_set_ranges(struct policy *p, const struct prefix *ranges, size_t n)
{
	p->room_stale = true;
	free(p->ranges);
	p->ranges = xnew0_array(struct prefix, n);
	if (n)
		memcpy(p->ranges, ranges, n * sizeof(*ranges));
	p->n_ranges = n;
	p->blocks_dirty = true;
}

/* Namespaces. */

struct ns *ns_get(struct policy *p, const char *name)
{
	uint64_t h = hash_str(name);
	struct ns *ns = NULL;

	HTAB_FIND(&p->namespaces, h, ns, by_name, streq(ns->name, name));
	if (!ns) {
		ns = xcalloc(1, sizeof(*ns) + strlen(name) + 1);
		strcpy(ns->name, name);
		list_init(&ns->pods);
		list_init(&ns->objects);
		ns->labels = label_set_get(&p->labels, NULL, 0);
		ns->dirty = p->ns_dirty = true;
		htab_insert(&p->namespaces, h, &ns->by_name);
	}
	ns->refs++;
	return ns;
}

void ns_put(struct policy *p, struct ns *ns)
{
	if (--ns->refs)
		return;
	if (ns->profile)
		ns_profile_put(p, ns->profile);
	label_set_put(&p->labels, ns->labels);
	htab_remove(&p->namespaces, &ns->by_name);
	free(ns);
}

static void ns_touch(struct policy *p, struct ns *ns)
{
	ns->dirty = p->ns_dirty = true;
	ns->subjects_dirty = p->subjects_dirty = true;
}

static void ns_set(struct policy *p, struct ns *ns, bool known, const struct label_in *labels, size_t n)
{
	struct label_set *set = label_set_get(&p->labels, labels, n);
	bool same = set == ns->labels && known == ns->known;

	label_set_put(&p->labels, ns->labels);
	ns->labels = set;
	ns->known = known;
	if (!same)
		ns_touch(p, ns);
}

void policy_put_namespace(struct policy *p, const char *name, const struct label_in *labels, size_t n)
{
	_cleanup_free_ struct label_in *all = xnew0_array(struct label_in, n + 1);
	struct ns *ns = ns_get(p, name);
	bool was_known = ns->known;
	size_t count = 0;

	p->room_stale = true;
	for (size_t i = 0; i < n; i++)
		if (!*name || !streq(labels[i].key, name_label))
			all[count++] = labels[i];
	if (*name) /* the node's labels are as they are */
		all[count++] = (struct label_in){ name_label, name };
	ns_set(p, ns, true, all, count);
	if (was_known)
		ns_put(p, ns);
}

bool policy_del_namespace(struct policy *p, const char *name)
{
	struct ns *ns = NULL;

	p->room_stale = true;
	HTAB_FIND(&p->namespaces, hash_str(name), ns, by_name, streq(ns->name, name));
	if (!ns || !ns->known)
		return false;
	ns_set(p, ns, false, NULL, 0);
	ns_put(p, ns);
	return true;
}

/* Addresses. */

static struct address *address_get(struct policy *p, const struct addr *addr)
{
	uint64_t h = hash_mem(addr, sizeof(*addr));
	struct address *a = NULL;

	HTAB_FIND(&p->addresses, h, a, node, addr_eq(&a->addr, addr));
	if (a)
		return a;
	a = xnew(struct address);
	*a = (struct address){ .addr = *addr };
	htab_insert(&p->addresses, h, &a->node);
	return a;
}

void address_touch(struct policy *p, struct address *a)
{
	if (a->dirty)
		return;
	a->dirty = true;
	GROW(p->dirty, p->n_dirty, p->cap_dirty);
	p->dirty[p->n_dirty++] = a;
}

static void claim_add(struct policy *p, struct claim *c, const struct addr *addr, struct pod *pod, struct node *node,
		      bool reported)
{
	struct address *a = address_get(p, addr);

	*c = (struct claim){ .next = a->claims, .address = a, .pod = pod, .node_ = node, .reported = reported };
	a->claims = c;
	address_touch(p, a);
}

/* The address itself goes with the next compile, which takes it out of the maps as well. */
static void claim_drop(struct policy *p, struct claim *c)
{
	struct claim **at = &c->address->claims;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	address_touch(p, c->address);
}

static bool pod_beats(const struct pod *a, const struct pod *b)
{
	int c;

	if (a->serial != b->serial)
		return a->serial > b->serial;
	c = strcmp(a->ns->name, b->ns->name);
	return (c ? c : strcmp(a->name, b->name)) > 0;
}

struct pod *claim_winner(const struct address *a, struct node **ret_node)
{
	struct pod *pod = NULL;
	struct node *node = NULL;

	for (const struct claim *c = a->claims; c; c = c->next) {
		if (c->node_ && c->reported && (!node || strcmp(c->node_->name, node->name) > 0))
			node = c->node_;
		if (c->pod && (!pod || pod_beats(c->pod, pod)))
			pod = c->pod;
	}
	*ret_node = pod ? NULL : node;
	return pod;
}

/* Pods. */

static struct pod *find_pod(const struct policy *p, const char *ns, const char *name, uint64_t *ret_hash)
{
	struct pod *pod = NULL;

	*ret_hash = hash_str(ns) * 31 + hash_str(name);
	HTAB_FIND(&p->pods, *ret_hash, pod, by_name, streq(pod->name, name) && streq(pod->ns->name, ns));
	return pod;
}

static void pod_clear(struct policy *p, struct pod *pod)
{
	for (unsigned i = 0; i < pod->n_claims; i++)
		claim_drop(p, &pod->claims[i]);
	for (unsigned i = 0; i < pod->n_ports; i++)
		label_key_put(&p->labels, pod->ports[i].name);
	free(pod->ports);
	pod->ports = NULL;
	pod->n_claims = pod->n_ports = 0;
	pod->labels = label_set_put(&p->labels, pod->labels);
}

static void profile_touch(struct policy *p, struct pod *pod)
{
	list_remove(&pod->dirty_link);
	list_push_back(&p->dirty_pods, &pod->dirty_link);
}

static bool has_port(const struct pod *pod, const char *name, uint8_t protocol)
{
	for (unsigned i = 0; i < pod->n_ports; i++)
		if (pod->ports[i].protocol == protocol && streq(pod->ports[i].name->name, name))
			return true;
	return false;
}

static void pod_fill(struct policy *p, struct pod *pod, const struct policy_pod_in *in)
{
	pod->labels = label_set_get(&p->labels, in->labels, in->n_labels);
	pod->ports = in->n_ports ? xnew0_array(struct named_port, in->n_ports) : NULL;
	for (size_t i = 0; i < in->n_ports; i++)
		if (!has_port(pod, in->ports[i].name, in->ports[i].protocol))
			pod->ports[pod->n_ports++] = (struct named_port){ label_key_get(&p->labels, in->ports[i].name),
									  in->ports[i].protocol, in->ports[i].number };
	pod->serial = in->serial;
	for (unsigned i = 0; i < in->n_addrs && i < ARRAY_SIZE(pod->claims); i++)
		claim_add(p, &pod->claims[pod->n_claims++], &in->addrs[i], pod, NULL, false);
	profile_touch(p, pod);
	pod->host = in->host;
	pod->after = in->after;
	pod->local = in->local && (in->n_addrs || in->host);
	pod->subject_dirty = p->subjects_dirty = true;
}

static void put_psets(struct policy *p, struct pod *pod)
{
	if (pod->pset)
		pset_put(p, pod->pset);
	if (pod->trial)
		trial_put(p, pod->trial);
	if (pod->failsafe)
		pset_put(p, pod->failsafe);
	pod->pset = pod->trial = pod->failsafe = NULL;
}

void policy_put_pod(struct policy *p, const struct policy_pod_in *in)
{
	uint64_t h;
	struct pod *pod = find_pod(p, in->namespace_, in->name, &h);

	p->room_stale = true;
	if (pod) {
		pod_clear(p, pod);
	} else {
		pod = xcalloc(1, sizeof(*pod) + strlen(in->name) + 1);
		strcpy(pod->name, in->name);
		pod->ns = ns_get(p, in->namespace_);
		list_push_back(&pod->ns->pods, &pod->by_ns);
		list_init(&pod->local_link);
		list_init(&pod->dirty_link);
		htab_insert(&p->pods, h, &pod->by_name);
	}
	pod_fill(p, pod, in);
	list_remove(&pod->local_link);
	if (pod->local)
		list_push_back(&p->local, &pod->local_link);
	if (!pod->local)
		put_psets(p, pod);
}

static void pod_free(struct policy *p, struct pod *pod)
{
	pod_clear(p, pod);
	put_psets(p, pod);
	if (pod->profile)
		profile_put(p, pod->profile);
	list_remove(&pod->by_ns);
	list_remove(&pod->local_link);
	list_remove(&pod->dirty_link);
	htab_remove(&p->pods, &pod->by_name);
	ns_put(p, pod->ns);
	free(pod);
}

bool policy_del_pod(struct policy *p, const char *namespace_, const char *name)
{
	uint64_t h;
	struct pod *pod = find_pod(p, namespace_, name, &h);

	p->room_stale = true;
	if (!pod)
		return false;
	pod_free(p, pod);
	return true;
}

/* Nodes. */

static struct node *find_node(const struct policy *p, const char *name)
{
	struct node *node = NULL;

	HTAB_FIND(&p->nodes, hash_str(name), node, by_name, streq(node->name, name));
	return node;
}

static void node_clear(struct policy *p, struct node *node)
{
	for (unsigned i = 0; i < node->n_claims; i++)
		claim_drop(p, &node->claims[i]);
	free(node->claims);
	node->claims = NULL;
	node->n_claims = 0;
	node->labels = label_set_put(&p->labels, node->labels);
}

void policy_put_node(struct policy *p, const char *name, const struct label_in *labels, size_t n_labels,
		     const struct addr *addrs, size_t n_addrs, const struct addr *others, size_t n_others)
{
	struct node *node = find_node(p, name);

	p->room_stale = true;
	if (node) {
		node_clear(p, node);
	} else {
		node = xcalloc(1, sizeof(*node) + strlen(name) + 1);
		strcpy(node->name, name);
		htab_insert(&p->nodes, hash_str(name), &node->by_name);
	}
	node->labels = label_set_get(&p->labels, labels, n_labels);
	node->claims = xnew0_array(struct claim, n_addrs + n_others);
	for (size_t i = 0; i < n_addrs; i++)
		claim_add(p, &node->claims[node->n_claims++], &addrs[i], NULL, node, true);
	for (size_t i = 0; i < n_others; i++)
		claim_add(p, &node->claims[node->n_claims++], &others[i], NULL, node, false);
	p->nodes_dirty = true;
}

static void node_free(struct policy *p, struct node *node)
{
	node_clear(p, node);
	htab_remove(&p->nodes, &node->by_name);
	free(node->peers);
	free(node);
}

bool policy_del_node(struct policy *p, const char *name)
{
	struct node *node = find_node(p, name);

	p->room_stale = true;
	if (!node)
		return false;
	node_free(p, node);
	return true;
}

/* The host: a pod in a namespace that no object can name, whose labels are the node's. */

static bool has_addr(const struct addr *list, size_t n, const struct addr *a)
{
	for (size_t i = 0; i < n; i++)
		if (addr_eq(&list[i], a))
			return true;
	return false;
}

void policy_set_host(struct policy *p, const struct label_in *labels, size_t n_labels, const struct addr *addrs, size_t n_addrs)
{
	p->room_stale = true;
	policy_put_namespace(p, "", labels, n_labels);
	policy_put_pod(p, &(struct policy_pod_in){ .namespace_ = "", .name = "node", .local = true, .host = true });
	policy_put_pod(p, &(struct policy_pod_in){ .namespace_ = "", .name = "(after)", .local = true, .host = true, .after = true });
	free(p->host_addrs);
	p->host_addrs = xnew0_array(struct addr, n_addrs);
	p->n_host_addrs = 0;
	for (size_t i = 0; i < n_addrs; i++)
		if (!has_addr(p->host_addrs, p->n_host_addrs, &addrs[i]))
			p->host_addrs[p->n_host_addrs++] = addrs[i];
}

void policy_set_hostless(struct policy *p)
{
	p->hostless = true;
}

void policy_set_host_times(struct policy *p, struct policy_host_times times)
{
	p->host_times = times;
}

const struct pod *policy_host(const struct policy *p)
{
	uint64_t hash;

	return find_pod(p, "", "node", &hash);
}

bool object_means_host(const struct policy *p, const struct object *o)
{
	const struct pod *host = policy_host(p);

	return host && object_selects(o, host);
}

bool policy_selects_host(struct policy *p, const struct policy_spec *spec)
{
	const struct pod *host = policy_host(p);
	struct peer *subject;
	bool is;

	if (!host || !spec->of_nodes)
		return false;
	subject = peer_get(p, &spec->subject);
	is = subject_means(subject, host);
	peer_put(p, subject);
	return is;
}

/* Policy objects. */

static struct object *find_object(const struct policy *p, enum policy_kind kind, const char *ns, const char *name,
				  uint64_t *ret_hash)
{
	struct object *o = NULL;

	*ret_hash = hash_str(ns) * 31 + hash_str(name) + kind;
	HTAB_FIND(&p->objects, *ret_hash, o, by_name,
		  o->spec->kind == kind && streq(o->spec->name, name) && streq(o->spec->namespace_, ns));
	return o;
}

void policy_set_modes(struct policy *p, bool observe, bool deny)
{
	p->observe_all = observe;
	p->deny_default = deny;
}

void policy_set_patient(struct policy *p)
{
	p->patient = true;
}

bool policy_room_is_stale(const struct policy *p)
{
	return p->room_stale && (p->n_left_out || p->trials_left_out);
}

void policy_ask_room(struct policy *p)
{
	p->asked = true;
}

void policy_set_trial_room(struct policy *p, size_t entries)
{
	p->trial_room = entries;
	p->room_stale = true;
}

const struct policy_errors *policy_object_errors(const struct policy *p, enum policy_kind kind, const char *namespace_, const char *name)
{
	uint64_t h;
	const struct object *o = find_object(p, kind, namespace_, name, &h);

	return o ? &o->spec->errors : NULL;
}

bool policy_object_is_used(const struct policy *p, enum policy_kind kind, const char *namespace_, const char *name)
{
	uint64_t h;
	const struct object *o = find_object(p, kind, namespace_, name, &h);

	return o && o->in_use;
}

/* Whom an object may select has to be looked at again. */
static void touch_subjects(struct policy *p, const struct object *o)
{
	p->subjects_dirty = true;
	*(o->ns ? &o->ns->subjects_dirty : &p->all_subjects_dirty) = true;
}

static void object_remove(struct policy *p, struct object *o)
{
	struct ns *ns = o->ns;

	htab_remove(&p->objects, &o->by_name);
	list_remove(&o->by_ns);
	touch_subjects(p, o);
	o->ns = NULL;
	object_put(p, o);
	if (ns)
		ns_put(p, ns);
}

void policy_put_object(struct policy *p, struct policy_spec *spec)
{
	uint64_t h;
	struct object *old = find_object(p, spec->kind, spec->namespace_, spec->name, &h);
	p->room_stale = true;
	struct object *o = object_new(p, spec); /* before the old one goes, so that what both name stays interned */

	if (old)
		object_remove(p, old);
	htab_insert(&p->objects, h, &o->by_name);
	if (spec->kind == KIND_NETWORK_POLICY) {
		o->ns = ns_get(p, spec->namespace_);
		list_push_back(&o->ns->objects, &o->by_ns);
	} else {
		list_push_back(&p->cluster_objects, &o->by_ns);
	}
	touch_subjects(p, o);
}

bool policy_del_object(struct policy *p, enum policy_kind kind, const char *namespace_, const char *name)
{
	uint64_t h;
	struct object *o = find_object(p, kind, namespace_, name, &h);

	p->room_stale = true;
	if (!o)
		return false;
	object_remove(p, o);
	return true;
}

/* The whole. */

static void drop_tables(struct policy *p)
{
	struct htab_node *n, *next;

	for (n = htab_begin(&p->objects); n; n = next) {
		next = htab_next(&p->objects, n);
		object_remove(p, container_of(n, struct object, by_name));
	}
	for (n = htab_begin(&p->pods); n; n = next) {
		next = htab_next(&p->pods, n);
		pod_free(p, container_of(n, struct pod, by_name));
	}
	for (n = htab_begin(&p->nodes); n; n = next) {
		next = htab_next(&p->nodes, n);
		node_free(p, container_of(n, struct node, by_name));
	}
	for (n = htab_begin(&p->namespaces); n; n = next) { /* those that are not known go with the peers that name them */
		next = htab_next(&p->namespaces, n);
		policy_del_namespace(p, container_of(n, struct ns, by_name)->name);
	}
}

struct policy *policy_free(struct policy *p)
{
	if (!p)
		return NULL;
	drop_tables(p);
	/* Compiled and settled, an empty cluster leaves nothing: the destructor is the ordinary way down. */
	policy_maps_put(policy_compile(p));
	policy_settle(p, UINT64_MAX);
	policy_maps_put(policy_compile(p));
	policy_settle(p, UINT64_MAX);
	classes_done(p);
	blocks_done(&p->blocks);
	policy_maps_put(p->maps);
	label_pool_clean(&p->labels);
	struct htab *tables[] = { &p->namespaces, &p->pods, &p->nodes, &p->objects, &p->addresses, &p->peers, &p->classes, &p->psets,
				  &p->profiles, &p->ns_profiles, &p->port_tables, &p->owners, &p->rule_ids };
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		assert(tables[i]->count == 0);
		htab_done(tables[i]);
	}
	label_pool_done(&p->labels);
	id_pool_done(&p->class_ids);
	id_pool_done(&p->policy_ids);
	id_pool_done(&p->port_ids);
	id_pool_done(&p->peer_ids);
	free(p->ranges);
	free(p->host_addrs);
	free(p->sorted);
	free(p->added);
	free(p->dirty);
	free(p->rules);
	free(p->free_rules);
	free(p->ported);
	free(p);
	return NULL;
}
