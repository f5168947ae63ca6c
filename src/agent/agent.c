/* SPDX-License-Identifier: Apache-2.0 */
/* The loop, from start to end: what sources ask for becomes a pass (pass.c), soon; one that fails is repeated with backoff. Now and then
 * everything is looked at. At the end of the process nothing is undone: packets flow on. */
#include "agent/agent.h"
#include "agent/announcer.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <fcntl.h>
#include <signal.h>
#include <time.h>

enum {
	TICK_US = 1000000, /* things that are looked at now and then */
	CONNECT_TICKS = 5, /* a kubeconfig that was missing or bad */
	BACKOFF_MIN_MS = 500,
	BACKOFF_MAX_MS = 30000,
};

uint64_t agent_now_us(struct agent *a)
{
	uint64_t now = 0;

	sd_event_now(a->event, CLOCK_MONOTONIC, &now);
	return now;
}

void agent_mark_dirty(struct agent *a, uint64_t delay_ms)
{
	uint64_t at = agent_now_us(a) + delay_ms * 1000;

	if (a->next_pass_us && a->next_pass_us <= at)
		return;
	a->next_pass_us = at;
	sd_event_source_set_time(a->pass_timer, at);
	sd_event_source_set_enabled(a->pass_timer, SD_EVENT_ONESHOT);
}

static int on_pass(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *ctx)
{
	struct agent *a = ctx;
	uint64_t delay;
	int r;

	a->next_pass_us = 0;
	a->resync_said = false;
	a->passes++;
	model_take_dirty(a->model);
	r = agent_pass(a);
	agent_services_check(a);
	agent_services_changed(a);
	agent_announce_changed(a);
	a->failures = r < 0 ? a->failures + 1 : 0;
	if (r < 0) {
		delay = (uint64_t)BACKOFF_MIN_MS << MIN(a->failures - 1, 6u);
		agent_mark_dirty(a, MIN(delay, (uint64_t)BACKOFF_MAX_MS));
	}
	return 0;
}

static int on_tick(sd_event_source *s, uint64_t usec, void *ctx)
{
	static unsigned tick;
	struct agent *a = ctx;

	tick++;
	if (!a->client && tick % CONNECT_TICKS == 0)
		agent_start_watches(a);
	agent_restore_run_dir(a);
	agent_drain_del_queue(a);
	agent_services_tick(a);
	agent_retry_adds(a);
	agent_audit_policies(a);
	if (agent_policy_is_synced(a))
		policies_remember(a->policies, usec);
	agent_tell_policy_status(a);
	if (usec >= a->next_audit_us) {
		a->next_audit_us = usec + a->opt.audit_seconds * 1000000;
		a->pass_full = true;
		outer_forget(a);
		agent_look_at_firewall(a);
		agent_services_settle(a);
		agent_mark_dirty(a, 0);
	}
	if (usec >= a->next_reconcile_us) {
		a->next_reconcile_us = usec + a->opt.reconcile_seconds * 1000000;
		endpoints_reconcile(a->endpoints, agent_pod_is_gone, a);
	}
	if (!endpoints_not_ready(a->endpoints))
		agent_tell_node_condition(a);
	sd_event_source_set_time(s, usec + TICK_US);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* ---- start and end ---- */

static void on_status(struct ipc_request *req, _unused_ json_t *params, void *ctx)
{
	ipc_reply(req, agent_status(ctx));
}

static void on_services(struct ipc_request *req, json_t *params, void *ctx)
{
	json_t *answer = agent_services_json(ctx, params);

	if (answer)
		ipc_reply(req, answer);
	else
		ipc_reply_error(req, ENOENT, "this node knows no Service of that name", NULL);
}

static const struct ipc_method methods[] = {
    {"cni", agent_on_cni}, {"observe", agent_on_observe}, {"policy", agent_on_policy}, {"services", on_services},
    {"status", on_status}, {"rotateKey", agent_on_rotate_key}, {"why", agent_on_why},	      {NULL, NULL}};

/* A node without metrics still has a network: what is wrong is said, and that is all. */
static void start_metrics(struct agent *a)
{
	int fd = *a->opt.metrics_listen ? scrape_listen(a->opt.metrics_listen) : -ENOENT, r;

	if (fd == -ENOENT)
		return;
	r = fd < 0 ? fd : scrape_new(a->event, fd, agent_metrics, a, &a->scrape);
	if (r < 0)
		log_error("cannot serve metrics", L_STR("address", a->opt.metrics_listen), L_ERRNO(r));
}

static int start_sources(struct agent *a)
{
	struct ipc_server_config config = {
	    .path = a->socket_path, .mode = 0600, .max_clients = 256, .idle_ms = 65000, .methods = methods, .ctx = a};
	uint64_t now = agent_now_us(a);
	int r = agent_start_monitor(a);

	if (r >= 0)
		r = sd_event_add_time(a->event, &a->pass_timer, CLOCK_MONOTONIC, now, 1000, on_pass, a);
	if (r >= 0)
		r = sd_event_add_time(a->event, &a->tick_timer, CLOCK_MONOTONIC, now + TICK_US, 100000, on_tick, a);
	if (r < 0)
		return r;
	a->pass_full = true;
	agent_drain_del_queue(a);
	r = ipc_server_new(a->event, &config, &a->server);
	if (r < 0)
		log_error("cannot listen", L_STR("socket", a->socket_path), L_ERRNO(r));
	else
		agent_start_watches(a);
	start_metrics(a);
	agent_services_start(a);
	agent_start_meter(a);
	return r;
}

static int start(struct agent *a)
{
	_cleanup_free_ char *dir = xasprintf("%s/state/", a->opt.run_dir), *why = NULL;
	sigset_t stop;
	int r = a->lock = agent_lock(&a->opt); /* held until the process ends */

	if (r < 0)
		return r;
	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	sigprocmask(SIG_BLOCK, &stop, NULL);
	signal(SIGPIPE, SIG_IGN);
	r = sd_event_default(&a->event);
	if (r >= 0)
		r = sd_event_add_signal(a->event, NULL, SIGTERM, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(a->event, NULL, SIGINT, NULL, NULL);
	if (r >= 0)
		r = rtnl_open(&a->nl);
	if (r < 0) {
		log_error("cannot start", L_ERRNO(r));
		return r;
	}
	r = endpoints_open(a->event, dir, a->nl, a->opt.rest_seconds * 1000, &a->endpoints, &why);
	if (r < 0) {
		log_error("cannot open the state of endpoints", L_STR("why", why));
		return r;
	}
	endpoints_set_repairs(a->endpoints, &a->repairs);
	r = agent_watch_firewall(a);
	if (r < 0) {
		log_error("cannot follow changes of nf_tables", L_ERRNO(r));
		return r;
	}
	agent_look_at_firewall(a);
	agent_services_settle(a);
	r = node_install_plugin(&a->opt);
	if (r < 0)
		log_warn("cannot install the CNI plugin", L_STR("directory", a->opt.cni_bin_dir), L_ERRNO(r));
	r = agent_start_policies(a);
	if (r < 0)
		return r;
	r = agent_mesh_start(a);
	if (r < 0)
		return r;
	r = outer_start(a);
	if (r < 0) {
		log_error("cannot follow IPsec policies", L_ERRNO(r));
		return r;
	}
	agent_resume(a);
	return start_sources(a);
}

static void stop(struct agent *a)
{
	agent_refuse_adds(a);
	a->server = ipc_server_free(a->server);
	a->stream = stream_free(a->stream);
	a->scrape = scrape_free(a->scrape);
	a->meter = meter_free(a->meter);
	agent_stop_watches(a);
	a->monitor = rtnl_monitor_free(a->monitor);
	a->prober = prober_free(a->prober);
	free(a->prober_file);
	free(a->probe_warning);
	a->endpoints = endpoints_close(a->endpoints);
	agent_announce_stop(a);
	agent_services_stop(a);
	agent_mesh_stop(a);
	outer_stop(a);
	agent_close_datapath(a);
	agent_stop_policies(a);
	sd_event_source_disable_unref(a->pass_timer);
	sd_event_source_disable_unref(a->look_timer);
	sd_event_source_disable_unref(a->tick_timer);
	route_plan_done(&a->plan);
	node_facts_done(&a->facts);
	a->model = model_free(a->model);
	a->nl = rtnl_close(a->nl);
	health_done(&a->health);
	agent_unwatch_firewall(a);
	free(a->host_boot_warning);
	free(a->socket_path);
	options_done(&a->opt);
	sd_event_unref(a->event);
}

int agent_run(struct options *opt)
{
	struct agent a = {.opt = *opt, .started_s = time(NULL), .model = model_new(), .outer.ipsec_fd = -1, .firewall.events_fd = -1};
	int r;

	list_init(&a.waiting_adds);
	list_init(&a.telling_pods);
	list_init(&a.waiting_confirms);

	*opt = (struct options){0};
	a.socket_path = xasprintf("%s/weftd.sock", a.opt.run_dir);
	health_init(&a.health, "starting");
	a.stream = stream_new(a.opt.observe_keep, a.opt.node_name);
	log_info("weftd starts", L_STR("version", WEFT_VERSION), L_STR("node", a.opt.node_name));
	r = start(&a);
	if (r >= 0)
		r = sd_event_loop(a.event);
	if (r >= 0)
		log_info("weftd ends; the datapath goes on");
	stop(&a);
	return r < 0 ? 1 : 0;
}
