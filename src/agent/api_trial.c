/* SPDX-License-Identifier: Apache-2.0 */
/* Each attempt has a client, and with it a connection, of its own. The client is freed, and the caller told, from a timer of ours: not from inside of its own
 * callback. */
#include "agent/api_trial.h"
#include "base/str.h"
#include "kube/client.h"

enum { ATTEMPTS = 3, ATTEMPT_MS = 4000, PAUSE_US = 1000000 };

struct api_trial {
	sd_event *event;
	const char *kubeconfig;
	api_trial_fn *fn;
	void *ctx;
	sd_event_source *next; /* what is to be done after an attempt, or before the first */
	struct kube_client *client;
	unsigned failed;
	bool runs, reached;
	char *why;
};

static void wake_in(struct api_trial *t, uint64_t us)
{
	sd_event_source_set_time_relative(t->next, us);
	sd_event_source_set_enabled(t->next, SD_EVENT_ONESHOT);
}

static void note_failure(struct api_trial *t, const char *why)
{
	free(t->why);
	t->why = xstrdup(why);
	t->failed++;
	wake_in(t, t->failed < ATTEMPTS ? PAUSE_US : 0);
}

static void on_answer(const struct kube_response *res, void *ctx)
{
	struct api_trial *t = ctx;

	if (!res->status) {
		note_failure(t, res->error);
		return;
	}
	t->reached = true;
	wake_in(t, 0);
}

static int attempt(struct api_trial *t, char **ret_why)
{
	struct kube_request req = { .method = "GET", .path = "/version", .timeout_ms = ATTEMPT_MS };
	struct kube_config config = { 0 };
	int r = kube_config_load(t->kubeconfig, &config, ret_why);

	if (r == 0)
		r = kube_client_new(t->event, &config, "weftd/" WEFT_VERSION, &t->client, ret_why);
	kube_config_done(&config);
	return r < 0 ? r : kube_send(t->client, &req, on_answer, t, NULL);
}

static int on_next(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *ctx)
{
	_cleanup_free_ char *why = NULL;
	struct api_trial *t = ctx;
	int r;

	t->client = kube_client_free(t->client);
	if (t->reached || t->failed == ATTEMPTS) {
		t->runs = false;
		t->fn(t->reached, t->why, t->ctx);
		return 0;
	}
	r = attempt(t, &why);
	if (r < 0)
		note_failure(t, why ? why : strerror(-r));
	return 0;
}

void api_trial_begin(struct api_trial *t)
{
	if (t->runs)
		return;
	t->runs = true;
	t->reached = false;
	t->failed = 0;
	wake_in(t, 0);
}

void api_trial_stop(struct api_trial *t)
{
	t->runs = false;
	sd_event_source_set_enabled(t->next, SD_EVENT_OFF);
	t->client = kube_client_free(t->client);
}

struct api_trial *api_trial_new(sd_event *event, const char *kubeconfig, api_trial_fn *fn, void *ctx)
{
	struct api_trial *t = xnew0(struct api_trial);

	*t = (struct api_trial){ .event = event, .kubeconfig = kubeconfig, .fn = fn, .ctx = ctx };
	if (sd_event_add_time_relative(event, &t->next, CLOCK_MONOTONIC, 0, 1000, on_next, t) < 0)
		return api_trial_free(t);
	sd_event_source_set_enabled(t->next, SD_EVENT_OFF);
	return t;
}

struct api_trial *api_trial_free(struct api_trial *t)
{
	if (!t)
		return NULL;
	kube_client_free(t->client);
	sd_event_source_disable_unref(t->next);
	free(t->why);
	free(t);
	return NULL;
}
