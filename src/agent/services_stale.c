/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets that have lost their endpoint are aborted where they are: in the node's network namespace, or in a pod's. Those of other
 * containers, which the agent does not know, stay. */
#include "agent/agent.h"
#include "agent/services_internal.h"
#include "net/netns.h"

enum { SAY_EVERY_S = 60 };

struct search {
	struct agent *agent;
	struct dp_stale stale;
	uint64_t netns; /* where the thread is */
	int aborted, error; /* the first */
};

static int abort_here(void *ctx)
{
	struct search *s = ctx;

	return datapath_abort_stale(s->agent->dp, &s->stale, s->netns);
}

static void note(struct search *s, int r)
{
	if (r < 0 && s->error == 0)
		s->error = r;
	s->aborted += MAX(r, 0);
}

static void abort_in_pod(int netns_fd, uint64_t cookie, void *ctx)
{
	struct search *s = ctx;

	s->netns = cookie;
	if (dp_stale_has(&s->stale, cookie))
		note(s, netns_run(netns_fd, abort_here, s));
}

static void say(struct services_view *v, const struct search *s)
{
	uint64_t now;

	if (s->aborted)
		log_info("sockets were connected with endpoints that are gone, and were aborted", L_UINT("sockets", s->aborted));
	if (s->error == 0 || sd_event_now(s->agent->event, CLOCK_MONOTONIC, &now) < 0 || (v->stale_said && now < v->stale_said + SAY_EVERY_S * 1000000ull))
		return;
	v->stale_said = now;
	log_warn("cannot abort the sockets whose endpoints are gone", L_ERRNO(s->error));
}

void services_abort_stale(struct agent *a)
{
	struct search s = {.agent = a};

	if (a->services.cannot_abort)
		return;
	s.error = datapath_find_stale(a->dp, &s.stale);
	if (s.stale.n) {
		if (netns_cookie_of_self(&s.netns) == 0)
			note(&s, abort_here(&s));
		endpoints_each_netns(a->endpoints, abort_in_pod, &s);
		free(s.stale.list);
	}
	if (s.error == -EOPNOTSUPP)
		a->services.cannot_abort = true; /* the kernel is built without; it says so once */
	else if (s.error < 0)
		datapath_stale_remain(a->dp);
	say(&a->services, &s);
}
