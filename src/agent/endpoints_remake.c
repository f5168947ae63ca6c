/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's interface that somebody deleted, or moved to another namespace, while the pod lives is made again, with the same name, addresses, MACs and routes, as
 * long as the pod's namespace is at its path. Where it is not known or does not let us, the endpoint says what is wrong.
 *
 * The record stays "up", as the pod has been promised its addresses; it is written with no interface's number before the link
 * is made. So an agent that dies in between leaves a link that the next one takes for half-made, and makes again. */
#include "agent/endpoints_internal.h"
#include "base/log.h"

/* Somebody who deletes it again and again (a pod may, with CAP_NET_ADMIN) does not keep the agent busy: the audit comes round. */
enum { REMAKE_REST_MS = 10 * 1000 };

/* Where somebody has moved the host's end to another namespace, the pod still has the other one. */
static int make_pair(struct endpoints *e, struct endpoint_record *r, int netns_fd, char **error)
{
	int code = pod_link_create(e->nl, netns_fd, r, error);

	if (code != -EEXIST || pod_link_remove_inside(netns_fd, r) < 0)
		return code;
	free(*error);
	*error = NULL;
	return pod_link_create(e->nl, netns_fd, r, error);
}

static int make_again(struct endpoints *e, struct endpoint_record *r, int netns_fd, char **error)
{
	uint32_t old = r->ifindex;
	struct dp_endpoint d;
	int code;

	r->ifindex = 0;
	code = journal_put(e->journal, r);
	if (code == 0)
		code = make_pair(e, r, netns_fd, error);
	if (code < 0)
		return code;
	d = endpoint_dp(r);
	code = datapath_put_endpoint(e->node.dp, &d);
	if (old)
		datapath_del_endpoint(e->node.dp, old); /* its shares and flows are the new one's now */
	if (code == 0)
		code = pod_link_up_host(e->nl, r, &e->node.env, error);
	if (code == 0)
		code = pod_link_up_pod(netns_fd, r, &e->node.env, error);
	return code < 0 ? code : journal_put(e->journal, r);
}

/* What cannot be made whole is not left half: it is tried anew by the next audit. */
static void unmake(struct endpoints *e, struct endpoint_record *r)
{
	if (!r->ifindex)
		return;
	datapath_del_endpoint(e->node.dp, r->ifindex);
	rtnl_del_link(e->nl, r->ifindex);
	r->ifindex = 0;
}

static char *problem_of(const struct endpoint_record *r, int code, const char *error)
{
	if (code == -EEXIST)
		return xasprintf("its interface was deleted, and %s or %s is somebody else's now: delete that, or the pod", r->ifname,
				 r->host_ifname);
	return xasprintf("its interface was deleted and cannot be made again: %s; delete the pod unless that goes away",
			 error ? error : strerror(-code));
}

/* Takes @problem. Said once, when it begins or changes. */
static void set_problem(struct endpoint *ep, bool misnamed, char *problem)
{
	if (problem && !streq(problem, ep->problem))
		log_warn(misnamed ? "a pod's interface has another name" : "a pod has no network", L_STR("namespace", ep->record->pod_namespace),
			 L_STR("pod", ep->record->pod_name), L_STR("container", ep->record->container),
			 L_STR("why", problem));
	free(ep->problem);
	ep->problem = problem;
	ep->misnamed = misnamed;
}

static void remake(struct endpoints *e, struct endpoint *ep)
{
	struct endpoint_record *r = ep->record;
	_cleanup_close_ int fd = netns_open(r->netns);
	_cleanup_free_ char *error = NULL;
	char text[160];
	int code = fd < 0 ? fd : make_again(e, r, fd, &error);

	if (code < 0) {
		unmake(e, r);
		set_problem(ep, false, problem_of(r, code, error));
		return;
	}
	set_problem(ep, false, NULL);
	ep->remade_ms = endpoints_now_ms();
	snprintf(text, sizeof(text), "%s of %s/%s had been deleted or moved", r->host_ifname, r->pod_namespace, r->pod_name);
	repairs_note(e->repairs, REPAIR_LINK, 1, text);
}

void endpoint_lost_its_link(struct endpoints *e, struct endpoint *ep)
{
	const struct endpoint_record *r = ep->record;

	if (!*r->netns)
		set_problem(ep, false, xstrdup("its interface was deleted, and the agent does not know the pod's namespace (the endpoint was "
					"adopted from the kernel): delete the pod"));
	else if (!endpoint_netns_is_there(r))
		return; /* the pod has ended, DEL is under way; without it reconciliation frees the addresses */
	else if (ep->remade_ms && endpoints_now_ms() - ep->remade_ms < REMAKE_REST_MS)
		set_problem(ep, false, xstrdup("its interface was deleted again soon after it had been made again: the next audit makes it"));
	else
		remake(e, ep);
}

void endpoint_has_its_link(struct endpoint *ep)
{
	set_problem(ep, false, NULL);
}

void endpoint_has_another_name(struct endpoint *ep, const char *name)
{
	set_problem(ep, true, xasprintf("its interface %s was renamed to %s, and another one has the name now: rename or delete that", ep->record->host_ifname, name));
}

const char *endpoints_problem(const struct endpoints *e, const struct endpoint_record *r)
{
	const struct endpoint *ep = endpoint_find(e, r->container, r->ifname);

	return ep ? ep->problem : NULL;
}

static size_t count_problems(const struct endpoints *e, bool misnamed, const struct endpoint_record **ret_first)
{
	size_t n = 0;

	for (struct htab_node *h = htab_begin(&e->by_key); h; h = htab_next(&e->by_key, h)) {
		const struct endpoint *ep = container_of(h, struct endpoint, by_key);

		if (ep->problem && ep->misnamed == misnamed && n++ == 0)
			*ret_first = ep->record;
	}
	return n;
}

size_t endpoints_without_link(const struct endpoints *e, const struct endpoint_record **ret_first)
{
	return count_problems(e, false, ret_first);
}

size_t endpoints_misnamed(const struct endpoints *e, const struct endpoint_record **ret_first)
{
	return count_problems(e, true, ret_first);
}
