/* SPDX-License-Identifier: Apache-2.0 */
/* `weft policy confirm`. Who asks while it is not known whether the API server is reached under the policies on trial waits for that; who leaves meanwhile has
 * confirmed nothing: it may be what he tried that has cut him off. */
#include "agent/agent.h"

struct waiting_confirm {
	struct list link; /* agent.waiting_confirms */
	struct ipc_request *ipc;
	char *revision; /* or NULL */
};

static const char *why_not(int r)
{
	switch (r) {
	case -ENOENT:
		return "nothing waits to be confirmed";
	case -ESTALE:
		return "other policies than those are on trial now: see \"weft policy list\"";
	default:
		return "in force, but it cannot be kept for the next start";
	}
}

/* @revision: as the policies were shown to whoever confirms; NULL: whatever is on trial. Return: whether that is the answer. */
static bool confirm(struct agent *a, struct ipc_request *req, const char *revision)
{
	struct host_policy *h = policies_host(a->policies);
	int r = host_policy_confirm(h, revision);

	if (r == -EAGAIN)
		return false;
	if (r < 0)
		ipc_reply_error(req, -r, why_not(r), NULL);
	else
		ipc_reply(req, host_policy_json(h));
	return true;
}

static void waiting_free(struct waiting_confirm *w)
{
	list_remove(&w->link);
	free(w->revision);
	free(w);
}

static void on_gone(struct ipc_request *req, void *ctx)
{
	waiting_free(ctx);
	ipc_reply_error(req, EPIPE, "nobody waits for it", NULL);
}

void agent_on_confirm(struct agent *a, struct ipc_request *req, const char *revision)
{
	struct waiting_confirm *w;

	if (!policies_host(a->policies)) {
		ipc_reply_error(req, ENOENT, "policies of the node itself are off (option policy.host)", NULL);
		return;
	}
	if (confirm(a, req, revision))
		return;
	w = xnew0(struct waiting_confirm);
	*w = (struct waiting_confirm){ .ipc = req, .revision = revision ? xstrdup(revision) : NULL };
	list_push_back(&a->waiting_confirms, &w->link);
	ipc_on_gone(req, on_gone, w);
}

void agent_refuse_confirms(struct agent *a)
{
	struct waiting_confirm *w, *next;

	list_for_each_safe(w, next, &a->waiting_confirms, link) {
		ipc_on_gone(w->ipc, NULL, NULL);
		ipc_reply_error(w->ipc, ESHUTDOWN, "the agent ends", NULL);
		waiting_free(w);
	}
}

/* What was taken back while somebody waited is not tried again by his word: he has not seen that. */
void agent_answer_confirms(struct agent *a)
{
	const struct host_policy *h = policies_host(a->policies);
	struct waiting_confirm *w, *next;

	list_for_each_safe(w, next, &a->waiting_confirms, link) {
		bool answered = true;

		ipc_on_gone(w->ipc, NULL, NULL);
		if (host_policy_is_rolled_back(h))
			ipc_reply_error(w->ipc, EHOSTUNREACH, "taken back: under these policies this node does not reach the API server", NULL);
		else
			answered = confirm(a, w->ipc, w->revision);
		if (answered)
			waiting_free(w);
		else
			ipc_on_gone(w->ipc, on_gone, w);
	}
}
