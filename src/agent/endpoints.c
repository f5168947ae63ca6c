/* SPDX-License-Identifier: Apache-2.0 */
/* ADD writes ahead what it is about to make ("adding"), makes it, writes "up", and answers. So whatever instant the
 *agent dies at, the next one finds either nothing, or a record to undo, or an endpoint that is whole:
 *
 *	allocate → journal adding → veth pair, both ends down → datapath entry and programs → host side up, routes →
 *	pod side: addresses, routes, up → journal up → answer
 *
 * DEL withdraws what packets need, then writes the record's end, then answers; deleting a veth takes the kernel some 20
 *ms, so links are gathered and deleted in groups when the agent is idle. A link without a record is deleted at the next
 * start. Everything runs in one thread in steps of at most a few milliseconds, so calls never overlap. */
#include "agent/endpoints_internal.h"
#include "agent/fault.h"
#include "base/file.h"
#include "base/log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

enum { DOOM_IDLE_US = 50 * 1000, DOOM_MAX_US = 1000 * 1000, DOOM_MAX = 256 };

uint64_t endpoints_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

static uint64_t key_hash(const char *container, const char *ifname)
{
	return hash_str(container) * 31 + hash_str(ifname);
}

struct endpoint *endpoint_find(const struct endpoints *e, const char *container, const char *ifname)
{
	struct endpoint *ep = NULL;

	HTAB_FIND(&e->by_key, key_hash(container, ifname), ep, by_key,
		  streq(ep->record->container, container) && streq(ep->record->ifname, ifname));
	return ep;
}

struct endpoint *endpoint_insert(struct endpoints *e, struct endpoint_record *record)
{
	struct endpoint *ep = xnew0(struct endpoint);

	ep->record = record;
	htab_insert(&e->by_key, key_hash(record->container, record->ifname), &ep->by_key);
	e->last_id = MAX(e->last_id, record->id);
	return ep;
}

static bool snapshot_freed(const struct addr *a, uint64_t freed_ms, void *ctx)
{
	struct journal_state *s = ctx;

	GROW(s->freed, s->n_freed, s->freed_cap);
	s->freed[s->n_freed++] = (struct journal_freed){*a, freed_ms, 0};
	return true;
}

static int snapshot(struct endpoints *e)
{
	struct journal_state s = {0};
	int r;

	for (struct htab_node *n = htab_begin(&e->by_key); n; n = htab_next(&e->by_key, n)) {
		GROW(s.records, s.n_records, s.records_cap);
		s.records[s.n_records++] = container_of(n, struct endpoint, by_key)->record;
	}
	ipam_each_freed(e->ipam, snapshot_freed, &s);
	r = journal_snapshot(e->journal, &s);
	free(s.records); /* the records are the table's */
	free(s.freed);
	return r;
}

/* Keeps the journal short: its length follows what lives, not what happened. */
static void snapshot_if_long(struct endpoints *e)
{
	int r = journal_is_long(e->journal, e->by_key.count) ? snapshot(e) : 0;

	if (r < 0)
		log_warn("cannot shorten the journal", L_ERRNO(r));
}

int endpoints_keep(struct endpoints *e)
{
	int r;

	if (journal_is_there(e->journal))
		return 0;
	r = mkdir_parents(e->dir, 0700);
	if (r == 0)
		r = snapshot(e);
	return r < 0 ? r : 1;
}

int endpoint_forget(struct endpoints *e, struct endpoint *ep, uint64_t freed_ms)
{
	int r = journal_remove(e->journal, ep->record, freed_ms);

	if (r < 0)
		return r;
	for (int f = 0; f < IPAM_FAMILIES; f++) {
		if (freed_ms == UINT64_MAX)
			ipam_cancel(e->ipam, &ep->record->addrs[f]);
		else
			ipam_release(e->ipam, &ep->record->addrs[f], freed_ms);
	}
	htab_remove(&e->by_key, &ep->by_key);
	endpoint_record_free(ep->record);
	free(ep->problem);
	free(ep);
	snapshot_if_long(e);
	return 0;
}

uint32_t endpoints_next_id(struct endpoints *e)
{
	for (;;) {
		bool taken = ++e->last_id == 0;

		for (struct htab_node *n = htab_begin(&e->by_key); n && !taken && e->last_id < 4096;
		     n = htab_next(&e->by_key, n))
			taken = container_of(n, struct endpoint, by_key)->record->id == e->last_id;
		if (!taken)
			return e->last_id;
	}
}

bool endpoint_netns_is_there(const struct endpoint_record *r)
{
	_cleanup_close_ int fd = *r->netns ? netns_open(r->netns) : -ENOENT;
	struct netns_id id;

	return fd >= 0 && netns_id_of(fd, &id) == 0 && id.ino == r->netns_ino && id.dev == r->netns_dev;
}

/* ---- links that wait for their deletion ---- */

void endpoints_flush_doomed(struct endpoints *e)
{
	_cleanup_free_ uint32_t *live = NULL;
	size_t n = 0;
	int r;

	if (e->n_doomed == 0)
		return;
	live = xnew0_array(uint32_t, e->n_doomed);
	for (size_t i = 0; i < e->n_doomed; i++) {
		struct link l; /* an index may have gone with its namespace, and belong to somebody else by now */

		if (rtnl_get_link(e->nl, e->doomed[i].ifindex, &l) == 0 && streq(l.name, e->doomed[i].name))
			live[n++] = l.ifindex;
	}
	r = n ? rtnl_del_links(e->nl, live, n, POD_LINK_DOOMED_GROUP) : 0;
	if (r < 0 && r != -ENODEV)
		log_warn("cannot delete links of former pods, again in a minute", L_UINT("links", n), L_ERRNO(r));
	e->n_doomed = 0;
	e->first_doomed_us = 0;
}

static int on_doom_timer(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *ctx)
{
	endpoints_flush_doomed(ctx);
	return 0;
}

void endpoints_doom(struct endpoints *e, uint32_t ifindex, const char *name)
{
	uint64_t now = 0, at;

	if (!ifindex)
		return;
	GROW(e->doomed, e->n_doomed, e->doomed_cap);
	e->doomed[e->n_doomed].ifindex = ifindex;
	snprintf(e->doomed[e->n_doomed++].name, sizeof(e->doomed->name), "%s", name);
	sd_event_now(e->event, CLOCK_MONOTONIC, &now);
	if (!e->first_doomed_us)
		e->first_doomed_us = now;
	at = MIN(now + DOOM_IDLE_US, e->first_doomed_us + DOOM_MAX_US);
	if (e->n_doomed >= DOOM_MAX)
		at = now;
	sd_event_source_set_time(e->doom_timer, at);
	sd_event_source_set_enabled(e->doom_timer, SD_EVENT_ONESHOT);
}

/* ---- the node ---- */

/* The smallest path MTU has changed: pods that run get it into their routes. */
static void renew_pod_routes(struct endpoints *e)
{
	for (struct htab_node *n = htab_begin(&e->by_key); n; n = htab_next(&e->by_key, n)) {
		const struct endpoint_record *r = container_of(n, struct endpoint, by_key)->record;
		_cleanup_free_ char *why = NULL;
		_cleanup_close_ int fd = -1;

		if (r->state != ENDPOINT_UP || !endpoint_netns_is_there(r))
			continue;
		fd = netns_open(r->netns);
		if (fd >= 0 && pod_link_up_pod(fd, r, &e->node.env, &why) < 0)
			log_warn("cannot renew a pod's routes", L_STR("container", r->container), L_STR("why", why));
	}
}

void endpoints_set_node(struct endpoints *e, const struct endpoints_node *node)
{
	bool renew = e->node_known && e->node.env.route_mtu != node->env.route_mtu;

	e->node = *node;
	e->node_known = true;
	for (int f = 0; f < IPAM_FAMILIES; f++)
		ipam_set_range(e->ipam, f, node->ranges[f].len ? &node->ranges[f] : NULL);
	if (renew)
		renew_pod_routes(e);
}

void endpoints_set_obstacle(struct endpoints *e, const char *why)
{
	free(e->obstacle);
	e->obstacle = why ? xstrdup(why) : NULL;
}

const char *endpoints_not_ready(const struct endpoints *e)
{
	if (e->obstacle && !e->node.ranges[0].len && !e->node.ranges[1].len)
		return e->obstacle;
	if (!e->node_known || (!e->node.ranges[0].len && !e->node.ranges[1].len))
		return "the node has no address range yet (spec.podCIDRs of its Node object)";
	return e->node.dp ? NULL : "the datapath is not loaded";
}

/* ---- ADD ---- */

static struct endpoint_record *record_new(struct endpoints *e, const struct cni_request *req, struct netns_id ns)
{
	struct endpoint_record *r = xnew0(struct endpoint_record);

	r->container = xstrdup(req->container);
	r->ifname = xstrdup(req->ifname);
	r->state = ENDPOINT_ADDING;
	r->netns = xstrdup(req->netns);
	r->netns_dev = ns.dev;
	r->netns_ino = ns.ino;
	r->boot_id = xstrdup(e->boot_id);
	r->network = xstrdup(req->network);
	r->pod_namespace = xstrdup(req->pod_namespace);
	r->pod_name = xstrdup(req->pod_name);
	r->pod_uid = xstrdup(req->pod_uid);
	r->mtu = e->node.device_mtu;
	r->id = endpoints_next_id(e);
	r->added_s = time(NULL);
	pod_link_names(r);
	return r;
}

/* 0 when the namespace is not there, or the kernel (before 5.14) does not say. */
static uint64_t netns_cookie(const struct endpoint_record *r)
{
	_cleanup_close_ int fd = endpoint_netns_is_there(r) ? netns_open(r->netns) : -1;
	uint64_t cookie = 0;

	return fd < 0 || netns_cookie_of(fd, &cookie) < 0 ? 0 : cookie;
}

void endpoints_each_netns(struct endpoints *e, endpoint_netns_fn *fn, void *ctx)
{
	for (struct htab_node *n = htab_begin(&e->by_key); n; n = htab_next(&e->by_key, n)) {
		const struct endpoint_record *r = container_of(n, struct endpoint, by_key)->record;
		_cleanup_close_ int fd = -1;
		uint64_t cookie;

		if (r->state != ENDPOINT_UP || !endpoint_netns_is_there(r))
			continue;
		fd = netns_open(r->netns);
		if (fd >= 0 && netns_cookie_of(fd, &cookie) == 0)
			fn(fd, cookie, ctx);
	}
}

struct dp_endpoint endpoint_dp(const struct endpoint_record *r)
{
	struct dp_endpoint d = {.ifindex = r->ifindex,
				.id = r->id,
				.addrs = {r->addrs[0], r->addrs[1]},
				.netns_cookie = netns_cookie(r),
				.open = endpoint_is_open(r)};

	memcpy(d.pod_mac, r->pod_mac, 6);
	memcpy(d.host_mac, r->host_mac, 6);
	return d;
}

static int step(const char *point, int code, const char *what, char **error)
{
	int r = code < 0 ? code : fault_point(point);

	if (r < 0 && !*error)
		*error = xasprintf("%s: %s", what, strerror(-r));
	return r;
}

/* The steps from nothing to an endpoint that carries traffic. */
static int make(struct endpoints *e, struct endpoint_record *r, int netns_fd, char **error)
{
	struct dp_endpoint d;
	int code = step("add.journal", journal_put(e->journal, r), "write the journal", error);

	if (code == 0)
		code = step("add.link", pod_link_create(e->nl, netns_fd, r, error), "create the link", error);
	if (code < 0)
		return code;
	d = endpoint_dp(r);
	code = step("add.policy", e->node.before_publish(e->node.ctx), "put the policy of the pod in place", error);
	if (code < 0)
		return code;
	code =
	    step("add.datapath", datapath_put_endpoint(e->node.dp, &d), "publish the endpoint in the datapath", error);
	if (code == 0)
		code = step("add.host", pod_link_up_host(e->nl, r, &e->node.env, error), "bring the host's side up",
			    error);
	if (code == 0)
		code = step("add.pod", pod_link_up_pod(netns_fd, r, &e->node.env, error), "configure the pod", error);
	if (code < 0)
		return code;
	r->state = ENDPOINT_UP;
	return step("add.commit", journal_put(e->journal, r), "write the journal", error);
}

static void undo(struct endpoints *e, struct endpoint *ep)
{
	struct endpoint_record *r = ep->record;
	int code;

	r->state = ENDPOINT_ADDING;
	if (r->ifindex) {
		if (e->node.dp)
			datapath_del_endpoint(e->node.dp, r->ifindex);
		pod_link_withdraw(e->nl, r);
		code = rtnl_del_link(e->nl, r->ifindex);
		if (code < 0 && code != -ENODEV)
			log_warn("cannot delete the link of a failed ADD, again in a minute",
				 L_STR("link", r->host_ifname), L_ERRNO(code));
	}
	code = endpoint_forget(e, ep, r->ifindex ? endpoints_now_ms() : UINT64_MAX);
	if (code < 0)
		log_warn("cannot write the end of a failed ADD, again in a minute", L_STR("container", r->container),
			 L_ERRNO(code));
}

/* A link with the name that this key leads to, though no record has it: left by an agent that died. */
static void remove_stale_link(struct endpoints *e, const char *name)
{
	struct link l;

	endpoints_flush_doomed(e);
	if (rtnl_find_link(e->nl, name, &l) == 0 && pod_link_is_ours(&l))
		rtnl_del_link(e->nl, l.ifindex);
}

static bool link_is_doomed_or_stale(struct endpoints *e, const char *name)
{
	struct link l;

	return rtnl_find_link(e->nl, name, &l) == 0;
}

static int add_new(struct endpoints *e, const struct cni_request *req, int netns_fd, struct netns_id ns,
		   struct endpoint **ret, struct cni_error *ret_error)
{
	struct endpoint_record *r = record_new(e, req, ns);
	_cleanup_free_ char *why = NULL;
	struct endpoint *ep;
	int code;

	if (link_is_doomed_or_stale(e, r->host_ifname))
		remove_stale_link(e, r->host_ifname);
	code = ipam_alloc(e->ipam, endpoints_now_ms(), req->want, r->addrs, &why);
	if (code < 0) {
		endpoint_record_free(r);
		return cni_fail(ret_error, code == -EAGAIN ? CNI_ERR_TRY_AGAIN : CNI_ERR_ADDRESSES, "%s", why);
	}
	ep = endpoint_insert(e, r);
	code = make(e, r, netns_fd, &why);
	if (code < 0) {
		bool taken = code == -EEXIST && !r->ifindex;

		undo(e, ep);
		if (taken)
			return cni_fail(ret_error, CNI_ERR_EXISTS, "interface %s exists already in %s", req->ifname,
					req->netns);
		return cni_fail(ret_error, CNI_ERR_KERNEL, "%s", why);
	}
	*ret = ep;
	return 0;
}

/* An endpoint with this key: alive, that is an error; left from a namespace that is gone, it makes way. */
static int make_way(struct endpoints *e, struct endpoint *old, struct netns_id ns, struct cni_error *ret_error)
{
	struct endpoint_record *r = old->record;
	bool same = r->netns_ino == ns.ino && r->netns_dev == ns.dev;
	struct link l;
	int code;

	if (r->state == ENDPOINT_UP && same && rtnl_get_link(e->nl, r->ifindex, &l) == 0)
		return cni_fail(ret_error, CNI_ERR_EXISTS, "container %s has interface %s already", r->container,
				r->ifname);
	if (r->state == ENDPOINT_UP && !same && endpoint_netns_is_there(r))
		return cni_fail(ret_error, CNI_ERR_EXISTS, "container %s has interface %s already, in %s", r->container,
				r->ifname, r->netns);
	code = endpoint_retire(e, old);
	return code < 0 ? cni_fail(ret_error, CNI_ERR_TRY_AGAIN, "cannot write the journal: %s", strerror(-code)) : 0;
}

static int enter_netns(struct endpoints *e, const char *path, struct netns_id *ret_id, struct cni_error *ret_error)
{
	int fd = netns_open(path), code;

	if (fd < 0)
		return cni_fail(ret_error, CNI_ERR_NETNS, "CNI_NETNS %s: %s", path,
				fd == -EINVAL ? "not a network namespace" : strerror(-fd));
	code = netns_id_of(fd, ret_id);
	if (code == 0 && netns_id_eq(*ret_id, e->self))
		cni_fail(ret_error, CNI_ERR_ENV, "CNI_NETNS %s is the node's own namespace", path);
	else if (code < 0)
		cni_fail(ret_error, CNI_ERR_NETNS, "CNI_NETNS %s: %s", path, strerror(-code));
	if (!ret_error->code)
		return fd;
	close(fd);
	return -ret_error->code;
}

static void result_of(const struct endpoints *e, const struct endpoint_record *r, struct cni_result *ret)
{
	*ret = (struct cni_result){.host_ifname = r->host_ifname,
				   .ifname = r->ifname,
				   .netns = r->netns,
				   .mtu = r->mtu,
				   .route_mtu = e->node.env.route_mtu,
				   .addrs = {r->addrs[0], r->addrs[1]}};
	memcpy(ret->host_mac, r->host_mac, 6);
	memcpy(ret->pod_mac, r->pod_mac, 6);
}

int endpoints_add(struct endpoints *e, const struct cni_request *req, struct cni_result *ret,
		  struct cni_error *ret_error)
{
	const char *why = endpoints_not_ready(e);
	struct endpoint *ep;
	struct netns_id ns;
	_cleanup_close_ int fd = -1;
	int code = 0;

	if (why)
		return cni_fail(ret_error, CNI_ERR_TRY_AGAIN, "%s; try again later", why);
	fd = enter_netns(e, req->netns, &ns, ret_error);
	if (fd < 0)
		return fd;
	ep = endpoint_find(e, req->container, req->ifname);
	if (ep)
		code = make_way(e, ep, ns, ret_error);
	if (code == 0)
		code = add_new(e, req, fd, ns, &ep, ret_error);
	if (code < 0)
		return code;
	result_of(e, ep->record, ret);
	return 0;
}

/* ---- DEL, GC ---- */

int endpoint_retire(struct endpoints *e, struct endpoint *ep)
{
	struct endpoint_record *r = ep->record;
	uint32_t ifindex = r->ifindex;
	char name[16];
	int code = 0;

	memcpy(name, r->host_ifname, sizeof(name));
	if (ifindex && e->node.dp)
		code = datapath_del_endpoint(e->node.dp, ifindex);
	if (code < 0 && code != -ENOENT)
		log_warn("cannot withdraw an endpoint from the datapath", L_STR("container", r->container),
			 L_ERRNO(code));
	code = fault_point("del.datapath");
	if (code == 0)
		code = pod_link_withdraw(e->nl, r);
	if (code == 0)
		code = fault_point("del.link");
	if (code == 0)
		code = endpoint_forget(e, ep, endpoints_now_ms());
	if (code == 0)
		endpoints_doom(e, ifindex, name);
	return code;
}

int endpoints_del(struct endpoints *e, const char *container, const char *ifname, struct cni_error *ret_error)
{
	struct endpoint *ep = endpoint_find(e, container, ifname);
	struct endpoint_record key = {.container = (char *)container, .ifname = (char *)ifname};
	struct link l;
	int code;

	if (ep) {
		code = endpoint_retire(e, ep);
		if (code == 0)
			code = fault_point("del.answer");
		return code < 0
			   ? cni_fail(ret_error, CNI_ERR_TRY_AGAIN, "cannot remove the endpoint: %s", strerror(-code))
			   : 0;
	}
	pod_link_names(&key);
	if (rtnl_find_link(e->nl, key.host_ifname, &l) == 0 && pod_link_is_ours(&l))
		endpoints_doom(e, l.ifindex, l.name);
	return 0;
}

static bool is_valid(const struct cni_request *req, const struct endpoint_record *r)
{
	for (size_t i = 0; i < req->n_valid; i++)
		if (streq(req->valid[i].container, r->container) && streq(req->valid[i].ifname, r->ifname))
			return true;
	return false;
}

/* An endpoint that was adopted from the kernel has lost its network's name: it counts as everybody's. */
static bool in_network(const struct endpoint_record *r, const char *network)
{
	return !*r->network || streq(r->network, network);
}

int endpoints_gc(struct endpoints *e, const struct cni_request *req, struct cni_error *ret_error)
{
	int failed = 0, last = 0;

	for (struct htab_node *n = htab_begin(&e->by_key), *next; n; n = next) {
		struct endpoint *ep = container_of(n, struct endpoint, by_key);
		int code;

		next = htab_next(&e->by_key, n);
		if (!in_network(ep->record, req->network) || is_valid(req, ep->record))
			continue;
		log_info("garbage collection removes an endpoint", L_STR("container", ep->record->container),
			 L_STR("interface", ep->record->ifname));
		code = endpoint_retire(e, ep);
		failed += code < 0;
		last = code < 0 ? code : last;
	}
	return failed
		   ? cni_fail(ret_error, CNI_ERR_TRY_AGAIN, "cannot remove %d endpoints: %s", failed, strerror(-last))
		   : 0;
}

/* ---- CHECK ---- */

int endpoints_check(struct endpoints *e, const struct cni_request *req, struct cni_error *ret_error)
{
	struct endpoint *ep = endpoint_find(e, req->container, req->ifname);
	_cleanup_free_ char *why = NULL;
	struct cni_result ours;
	struct dp_endpoint d;
	struct netns_id ns;
	_cleanup_close_ int fd = -1;
	int code;

	if (!ep || ep->record->state != ENDPOINT_UP)
		return cni_fail(ret_error, CNI_ERR_UNKNOWN, "container %s has no interface %s here", req->container,
				req->ifname);
	result_of(e, ep->record, &ours);
	ours.netns = req->netns;
	code = cni_check_prev(req, &ours, ret_error);
	if (code < 0)
		return code;
	fd = enter_netns(e, req->netns, &ns, ret_error);
	if (fd < 0)
		return fd;
	if (ep->record->netns_ino && ns.ino != ep->record->netns_ino)
		return cni_fail(ret_error, CNI_ERR_CHECK, "CNI_NETNS %s is another namespace than at ADD", req->netns);
	if (pod_link_check(e->nl, fd, ep->record, &why) < 0)
		return cni_fail(ret_error, CNI_ERR_CHECK, "%s", why);
	d = endpoint_dp(ep->record);
	code = e->node.dp ? datapath_check_endpoint(e->node.dp, &d) : -ENOENT;
	return code < 0
		   ? cni_fail(ret_error, CNI_ERR_CHECK, "the datapath's entry of the endpoint: %s", strerror(-code))
		   : 0;
}

/* ---- looking at them ---- */

size_t endpoints_count(const struct endpoints *e)
{
	return e->by_key.count;
}

static int by_number(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

uint32_t *endpoints_links(const struct endpoints *e, size_t *ret_n)
{
	uint32_t *links = xnew0_array(uint32_t, e->by_key.count + e->n_doomed + 1);
	size_t n = 0;

	for (struct htab_node *h = htab_begin(&e->by_key); h; h = htab_next(&e->by_key, h))
		links[n++] = container_of(h, struct endpoint, by_key)->record->ifindex;
	for (size_t i = 0; i < e->n_doomed; i++)
		links[n++] = e->doomed[i].ifindex;
	qsort(links, n, sizeof(*links), by_number);
	*ret_n = n;
	return links;
}

static int by_pod(const void *a, const void *b)
{
	const struct endpoint_record *x = *(struct endpoint_record *const *)a, *y = *(struct endpoint_record *const *)b;
	int d = strcmp(x->pod_namespace, y->pod_namespace);

	d = d ? d : strcmp(x->pod_name, y->pod_name);
	d = d ? d : strcmp(x->container, y->container);
	return d ? d : strcmp(x->ifname, y->ifname);
}

void endpoints_each(const struct endpoints *e, endpoints_fn *fn, void *ctx)
{
	_cleanup_free_ struct endpoint_record **all = xnew0_array(struct endpoint_record *, e->by_key.count + 1);
	size_t n = 0;

	for (struct htab_node *h = htab_begin(&e->by_key); h; h = htab_next(&e->by_key, h))
		all[n++] = container_of(h, struct endpoint, by_key)->record;
	qsort(all, n, sizeof(*all), by_pod);
	for (size_t i = 0; i < n; i++)
		fn(all[i], ctx);
}

const struct endpoint_record *endpoints_find_pod(const struct endpoints *e, const char *namespace_, const char *name)
{
	for (struct htab_node *h = htab_begin(&e->by_key); h; h = htab_next(&e->by_key, h)) {
		const struct endpoint_record *r = container_of(h, struct endpoint, by_key)->record;

		if (r->state == ENDPOINT_UP && streq(r->pod_namespace, namespace_) && streq(r->pod_name, name))
			return r;
	}
	return NULL;
}

const struct endpoint_record *endpoints_find_addr(const struct endpoints *e, const struct addr *a)
{
	for (struct htab_node *h = htab_begin(&e->by_key); h; h = htab_next(&e->by_key, h)) {
		const struct endpoint_record *r = container_of(h, struct endpoint, by_key)->record;

		if (r->state == ENDPOINT_UP && (addr_eq(&r->addrs[0], a) || addr_eq(&r->addrs[1], a)))
			return r;
	}
	return NULL;
}

const struct endpoint_record *endpoints_find_link(const struct endpoints *e, uint32_t ifindex)
{
	for (struct htab_node *h = htab_begin(&e->by_key); h; h = htab_next(&e->by_key, h)) {
		const struct endpoint_record *r = container_of(h, struct endpoint, by_key)->record;

		if (ifindex && r->ifindex == ifindex)
			return r;
	}
	return NULL;
}

struct ipam_use endpoints_ipam_use(const struct endpoints *e, int family)
{
	return ipam_use(e->ipam, family, endpoints_now_ms());
}

const char *endpoints_warning(const struct endpoints *e)
{
	return e->warning;
}

/* ---- opening, closing ---- */

static int read_boot_id(char **ret)
{
	int r = file_read("/proc/sys/kernel/random/boot_id", 128, ret, NULL);

	if (r == 0)
		(*ret)[strcspn(*ret, "\n")] = '\0';
	return r;
}

/* A damaged journal is put aside for people to look at; the kernel then says what lives. */
static int open_journal(struct endpoints *e, struct journal_state *ret_state, bool *ret_lost, char **ret_error)
{
	_cleanup_free_ char *path = xasprintf("%s/journal", e->dir), *aside = xasprintf("%s/journal.damaged", e->dir);
	int r = journal_open(path, e->boot_id, &e->journal, ret_state, ret_error);

	*ret_lost = r == 0 && !ret_state->boot_id; /* each journal begins with one: new, or emptied by somebody */
	if (r != -EBADMSG)
		return r;
	log_error("the journal of endpoints is damaged; adopting what lives in the kernel", L_STR("why", *ret_error),
		  L_STR("kept as", aside));
	e->warning = take_ptr(*ret_error);
	if (rename(path, aside) < 0) {
		*ret_error = xasprintf("%s: %s", aside, strerror(errno));
		return -errno;
	}
	*ret_lost = true;
	return journal_open(path, e->boot_id, &e->journal, ret_state, ret_error);
}

static int open_self(struct endpoints *e)
{
	_cleanup_close_ int fd = netns_open_self();

	return fd < 0 ? fd : netns_id_of(fd, &e->self);
}

int endpoints_open(sd_event *event, const char *dir, struct rtnl *nl, uint64_t rest_ms, struct endpoints **ret,
		   char **ret_error)
{
	_cleanup_(endpoints_closep) struct endpoints *e = xnew0(struct endpoints);
	struct journal_state state = {0};
	bool lost;
	int r;

	*e = (struct endpoints){.event = sd_event_ref(event), .nl = nl, .dir = xstrdup(dir), .ipam = ipam_new(rest_ms)};
	r = mkdir_parents(dir, 0700);
	if (r == 0)
		r = read_boot_id(&e->boot_id);
	if (r == 0)
		r = open_self(e);
	if (r == 0)
		r = sd_event_add_time(event, &e->doom_timer, CLOCK_MONOTONIC, 0, 1000, on_doom_timer, e);
	if (r >= 0)
		r = sd_event_source_set_enabled(e->doom_timer, SD_EVENT_OFF);
	if (r < 0) {
		*ret_error = xasprintf("%s: %s", dir, strerror(-r));
		return r;
	}
	r = open_journal(e, &state, &lost, ret_error);
	if (r < 0)
		return r;
	r = endpoints_settle(e, &state, lost);
	journal_state_done(&state);
	if (r < 0) {
		*ret_error = xasprintf("settle endpoints with the kernel: %s", strerror(-r));
		return r;
	}
	*ret = take_ptr(e);
	return 0;
}

struct endpoints *endpoints_close(struct endpoints *e)
{
	if (!e)
		return NULL;
	endpoints_flush_doomed(e);
	for (struct htab_node *n = htab_begin(&e->by_key), *next; n; n = next) {
		struct endpoint *ep = container_of(n, struct endpoint, by_key);

		next = htab_next(&e->by_key, n);
		endpoint_record_free(ep->record);
		free(ep->problem);
		free(ep);
	}
	htab_done(&e->by_key);
	sd_event_source_disable_unref(e->doom_timer);
	sd_event_unref(e->event);
	journal_close(e->journal);
	ipam_free(e->ipam);
	free(e->doomed);
	free(e->dir);
	free(e->boot_id);
	free(e->warning);
	free(e->obstacle);
	free(e);
	return NULL;
}
