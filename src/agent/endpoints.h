/* SPDX-License-Identifier: Apache-2.0 */
/* The endpoints of this node: who has which address and interface, from ADD to DEL and across restarts of the agent. */
#pragma once

#include "agent/pod_link.h"
#include "agent/repair.h"
#include "cni/cni.h"
#include "datapath/datapath.h"

#include <systemd/sd-event.h>

struct endpoints;

/**
 * endpoints_open() - read the journal and settle it with the kernel
 * @dir:  the state directory, made when missing
 * @nl:   borrowed for the life of the object
 *
 * Endpoints whose interface lives are adopted, half-made ones undone, interfaces without a record removed. When the
 * journal is damaged it is put aside, and all that lives in the kernel is adopted; endpoints_warning() then says so.
 *
 * Return: 0, -errno with @ret_error.
 */
int endpoints_open(sd_event *event, const char *dir, struct rtnl *nl, uint64_t rest_ms, struct endpoints **ret,
		   char **ret_error);
/* Interfaces and state stay as they are. Links that wait to be deleted are deleted. */
struct endpoints *endpoints_close(struct endpoints *e);
DEFINE_CLEANUP(struct endpoints *, endpoints_close)
const char *endpoints_warning(const struct endpoints *e); /* or NULL */

/* What ADD needs to know of the node; until it is said, ADD answers "try again later". @dp is borrowed, may change. */
struct endpoints_node {
	struct datapath *dp;
	struct prefix ranges[IPAM_FAMILIES]; /* len 0: none */
	struct pod_link_env env;
	uint32_t device_mtu;
	int (*before_publish)(void *ctx); /* an endpoint is about to be published: its policy must be in place. 0 or -errno */
	void *ctx;
};
/* Something that is no pod of the cluster: no policy applies to it. (Without a network's name it was adopted from the kernel, and may
 * be one.) */
static inline bool endpoint_is_open(const struct endpoint_record *r)
{
	return !(*r->pod_namespace && *r->pod_name) && *r->network;
}

void endpoints_set_node(struct endpoints *e, const struct endpoints_node *node);
/* What keeps the node from having ranges, as far as is known; NULL: nothing. Copied. */
void endpoints_set_obstacle(struct endpoints *e, const char *why);
/* NULL when ADD would work now, else why not. */
const char *endpoints_not_ready(const struct endpoints *e);

/**
 * endpoints_add() - CNI ADD
 * @ret: borrowed from the endpoint, until the loop runs again
 *
 * Return: 0 or a CNI code, negated, with @ret_error; then nothing is left behind.
 */
int endpoints_add(struct endpoints *e, const struct cni_request *req, struct cni_result *ret,
		  struct cni_error *ret_error);
/* CNI DEL: idempotent. Returns when address, maps and routes are withdrawn; the link goes soon after. */
int endpoints_del(struct endpoints *e, const char *container, const char *ifname, struct cni_error *ret_error);
int endpoints_check(struct endpoints *e, const struct cni_request *req, struct cni_error *ret_error);
/* CNI GC: removes what is not in the request's list and belongs to its network. Goes on after errors. */
int endpoints_gc(struct endpoints *e, const struct cni_request *req, struct cni_error *ret_error);

/* Does the cluster no longer have this pod? True only when that is certain: a complete list said so. */
typedef bool pod_gone_fn(const char *namespace_, const char *name, const char *uid, void *ctx);
/**
 * endpoints_reconcile() - free what nobody will free: DEL never came (reboot, crash of the runtime, namespace gone)
 * @gone: may be NULL
 *
 * An address is freed only when its interface is gone, or when its namespace's path is gone and the pod is gone as
 * well.
 */
void endpoints_reconcile(struct endpoints *e, pod_gone_fn *gone, void *ctx);

/**
 * endpoints_apply() - routes, neighbours and datapath entries of all endpoints as they should be; what is missing comes back
 *
 * Each of them costs system calls that wait for the kernel's one lock over all links, which on a busy node others hold for long. So a call does some
 * of them, and endpoints_apply_more() the next, for the caller to do something else in between.
 *
 * Return: 1: there are more; 0, or the first error among all of them.
 */
int endpoints_apply(struct endpoints *e);
int endpoints_apply_more(struct endpoints *e);
/* The journal is written anew where its file is gone, with its directory. Return: 1 when it was, 0, -errno. */
int endpoints_keep(struct endpoints *e);
/* Where to note what had to be put back; borrowed. Before the first endpoints_apply(). */
void endpoints_set_repairs(struct endpoints *e, struct repairs *repairs);

/* Why a pod has no interface any more, or one of another name, and what to do about it; NULL: it has its own. */
const char *endpoints_problem(const struct endpoints *e, const struct endpoint_record *r);
/* How many have no interface; how many one of another name. @ret_first is one of them. */
size_t endpoints_without_link(const struct endpoints *e, const struct endpoint_record **ret_first);
size_t endpoints_misnamed(const struct endpoints *e, const struct endpoint_record **ret_first);

/* The network namespaces of endpoints that are up, each as an open descriptor and the kernel's cookie. About 15 us each. */
typedef void endpoint_netns_fn(int netns_fd, uint64_t cookie, void *ctx);
void endpoints_each_netns(struct endpoints *e, endpoint_netns_fn *fn, void *ctx);

size_t endpoints_count(const struct endpoints *e);
/* Host-side interface indexes, sorted; owned by the caller. */
uint32_t *endpoints_links(const struct endpoints *e, size_t *ret_n);
typedef void endpoints_fn(const struct endpoint_record *r, void *ctx);
void endpoints_each(const struct endpoints *e, endpoints_fn *fn, void *ctx); /* sorted by pod */
/* Of those that are up; each O(n). */
const struct endpoint_record *endpoints_find_pod(const struct endpoints *e, const char *namespace_, const char *name);
const struct endpoint_record *endpoints_find_addr(const struct endpoints *e, const struct addr *a);
const struct endpoint_record *endpoints_find_link(const struct endpoints *e, uint32_t ifindex);
struct ipam_use endpoints_ipam_use(const struct endpoints *e, int family);
