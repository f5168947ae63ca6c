/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's parts, wired together. One thread, one loop: sources change the model or mark dirty, one pass compiles
 * and applies (pass.c); CNI calls are answered in between. */
#pragma once

#include "agent/endpoints.h"
#include "agent/events.h"
#include "agent/firewall.h"
#include "agent/health.h"
#include "agent/mesh_agent.h"
#include "agent/metrics.h"
#include "agent/node.h"
#include "agent/options.h"
#include "agent/outer.h"
#include "agent/prober.h"
#include "agent/policies.h"
#include "agent/repair.h"
#include "agent/services.h"
#include "agent/seeing.h"
#include "agent/trouble.h"
#include "ipc/server.h"
#include "kube/watch.h"
#include "net/rtnl_monitor.h"
#include "observe/meter.h"
#include "observe/scrape.h"
#include "route/plan.h"

struct agent {
	struct options opt;
	sd_event *event;
	uint64_t started_s;
	struct health health;

	/* sources */
	struct model *model;
	struct kube_client *client;
	struct kube_watch *watches[MODEL_TABLES];
	struct watch_ctx {
		struct agent *agent;
		enum model_table table;
	} watch_ctx[MODEL_TABLES];
	bool synced[MODEL_TABLES];
	struct rtnl_monitor *monitor;
	struct ipc_server *server;
	char *socket_path;
	int lock; /* on the run directory */
	int run_dir_error; /* of the last try to make it anew, or 0 */
	int socket_error; /* of the last try to listen anew, or 0 */
	struct scrape *scrape; /* or NULL */
	struct meter *meter; /* or NULL */

	/* what is wanted, and what it was applied to */
	struct rtnl *nl;
	struct node_facts facts;
	struct route_plan plan;
	bool planned;
	bool applied[TROUBLE_KINDS]; /* of this plan, or one that equals it, once, as far as it is of that kind: what is missing since was taken away */
	uint32_t tunnel_mtu; /* of the underlay, for which its device was made; 0: none yet */
	bool tunnel_lost; /* the device between nodes is not there, and could not be made */
	struct node_state state; /* survives a restart: see node.h */
	struct outer outer;
	struct datapath *dp;
	struct dp_config dp_config; /* of dp; strings borrowed from opt */
	sd_event_source *dp_events;
	uint64_t dp_generation; /* grows with each that is opened */
	sd_event_source *pin_watches[DP_PIN_DIRS];
	struct endpoints *endpoints;
	struct services_view services;
	sd_event_source *announce_timer; /* announcer.h */
	struct lan_announcer *lan; /* or NULL: lan.c */
	struct agent_mesh mesh;
	struct prober *prober;	/* transport auto, from the first pass on */
	char *prober_file;
	char *probe_warning; /* or NULL */
	struct firewall firewall;
	struct repairs repairs;
	uint64_t passes;
	bool resync_said;

	/* policy: on its own clock, as it is to be felt at once */
	struct policies *policies;
	sd_event_source *policy_timer, *settle_timer, *room_timer;
	uint64_t room_stale_us; /* since when it has been due to ask who finds room; 0: it is not */
	bool policy_applied; /* since the start */
	size_t pods_locked; /* addresses that were locked down when this agent began, until policy_applied */
	bool host_booted; /* host_boot.c has nothing (more) to do */
	char *host_boot_warning; /* or NULL */
	struct list waiting_confirms; /* struct waiting_confirm, policy_confirm.c */
	char *api_host; /* as the kubeconfig names it */
	uint16_t api_port;
	struct events events;	     /* of policy's problems */
	bool status_pending;	     /* a policy's status is being written */
	struct list waiting_adds; /* struct waiting_add, cni_calls.c */
	struct list telling_pods; /* struct pod_told, pod_addrs.c */
	bool pod_addrs_unanswered, pod_addrs_refused; /* what became of the last that were told */
	uint64_t pod_addrs_retry_us;

	/* the pass */
	sd_event_source *pass_timer, *tick_timer;
	uint64_t next_reconcile_us, next_audit_us;
	bool pass_full;	   /* list what endpoints have as well */
	sd_event_source *look_timer;
	bool looking;	   /* at them, turn by turn */
	uint64_t looks, look_turns; /* at all endpoints; a few of them */
	unsigned failures; /* passes in a row */
	uint64_t next_pass_us;

	bool conflist_written; /* by this agent, or found as it should be */

	/* the node's object */
	bool condition_set, condition_pending;
	uint64_t condition_retry_us;
	bool ready_said;

	struct stream *stream; /* of events: seeing.h */
	uint64_t limit_logged_us[DROP_REASON_COUNT];
	uint64_t cni_calls, cni_failures;
	struct cni_metrics cni_metrics;
};

/* Runs until SIGTERM or SIGINT. @opt is taken. Return: exit code. */
int agent_run(struct options *opt);
/* Takes the node out of service: everything of ours is removed. @opt is borrowed. Return: exit code. */
int agent_teardown(const struct options *opt);

/* A second agent in one directory would fight with the first. Return: a descriptor to hold, or -errno, which is logged.
 */
int agent_lock(const struct options *o);
/* What is gone of the run directory is made anew, the socket included; each second. */
void agent_restore_run_dir(struct agent *a);
/* What of the plan must be known at the next start is written, though nothing has changed. */
void agent_keep_state(struct agent *a);

/* Asks for a pass, soon; several requests become one. */
void agent_mark_dirty(struct agent *a, uint64_t delay_ms);

uint64_t agent_now_us(struct agent *a);

/* pass.c */
/* One pass. Return: 0, or -errno: it is to be repeated. */
int agent_pass(struct agent *a);
/* What an earlier agent has left goes on before the API answers. */
void agent_resume(struct agent *a);

/* What the kernel says of uplinks and their addresses; @node: of this node, or NULL. Return: 0, -errno, -ENODEV. */
int agent_read_facts(struct agent *a, const struct model_node *node, char **ret_error);
void agent_find_underlays(const struct agent *a, struct addr ret[2]); /* the first of each family that other nodes reach */

/* host_boot.c: before the API has told everything the node's own policies are in force as the record says. Return: 0, -errno: to be repeated. */
int agent_boot_host_policy(struct agent *a);

/* tables.c: the node's own addresses; neighbours, routes and rules. Each is tried; @t: what the kernel refuses. */
/* Return: 0, -errno when an address that is not the node's any more could not be taken away. */
int agent_apply_node_addrs(struct agent *a, struct trouble *t);
void agent_apply_tables(struct agent *a, struct trouble *t);

/* node_datapath.c */
/* Opens the datapath for the node as a->state says; a changed node opens it anew. What it carries goes on meanwhile. Return: 0, -errno. */
int agent_ensure_datapath(struct agent *a, char **ret_error);
/* The same, and all of the node that is in it. */
int agent_apply_datapath(struct agent *a, char **ret_error);
void agent_close_datapath(struct agent *a);
/* Programs on uplinks and the tunnel, behind the guard. Return: 0, -errno. */
int agent_apply_links(struct agent *a);
/* As whom pods speak to the world, to whom not, and from which ports never. Return: 0, -errno. */
int agent_apply_masquerade(struct agent *a);

/* sources.c */
int agent_start_watches(struct agent *a);
void agent_stop_watches(struct agent *a);
bool agent_pod_is_gone(const char *namespace_, const char *name, const char *uid, void *ctx); /* a pod_gone_fn */
void agent_tell_node_condition(struct agent *a);
void agent_format_time(char out[32]); /* now, as the API writes it */

/* kernel_events.c */
int agent_start_monitor(struct agent *a);
void agent_watch_pins(struct agent *a);
void agent_unwatch_pins(struct agent *a);

/* policy_loop.c */
int agent_start_policies(struct agent *a);
void agent_stop_policies(struct agent *a);
bool agent_policy_is_synced(const struct agent *a); /* has the API told everything once? */
/* Brings the datapath's policy up to date, now. Before the API has told everything nothing happens. Return: 0, -errno. */
int agent_update_policies(struct agent *a);
void agent_on_policy(struct ipc_request *req, json_t *params, void *ctx); /* the method `policy` */

/* Every second: entries of the policy maps that somebody took away come back. */
void agent_audit_policies(struct agent *a);
/* api_ports.c. @server: "https://HOST:PORT" */
void agent_note_api(struct agent *a, const char *server);
void agent_find_api(struct agent *a);
/* policy_confirm.c */
void agent_on_confirm(struct agent *a, struct ipc_request *req, const char *revision);
void agent_answer_confirms(struct agent *a); /* those who wait, as far as there is an answer now */
void agent_refuse_confirms(struct agent *a);
/* policy_events.c. Return: there is more to be told, later. */
bool agent_tell_policy_problems(struct agent *a);
/* Why a pod of this node is locked down though its policies could be compiled; NULL: it is not. */
const char *agent_find_policy_lock(const struct agent *a, const char *namespace_, const char *name);

/* policy_status.c, every second */
void agent_tell_policy_status(struct agent *a);

/* cni_calls.c */
/* ADDs whose pod the API had not told of: answers those that can be. */
void agent_retry_adds(struct agent *a);
void agent_refuse_adds(struct agent *a); /* the agent ends */
void agent_on_cni(struct ipc_request *req, json_t *params, void *ctx);
void agent_drain_del_queue(struct agent *a);

/* meter.c */
void agent_start_meter(struct agent *a);
void agent_apply_meter(struct agent *a); /* after the plan has changed */

/* status.c */
json_t *agent_status(struct agent *a);
