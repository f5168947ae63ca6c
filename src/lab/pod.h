/* SPDX-License-Identifier: Apache-2.0 */
/* A pod on this node, from the API's word to the last process. Internal to pod*.c and container.c. */
#pragma once

#include "lab/cni.h"
#include "lab/kubelet.h"
#include "lab/podspec.h"
#include "lab/probe.h"

enum pod_state {
	POD_WAITS,    /* no sandbox: before the first try, between tries, or the network is not ready */
	POD_ADDS,     /* CNI ADD is under way */
	POD_RUNS,     /* containers run, are started again, or have ended for good one by one */
	POD_ENDS,     /* containers have been asked to end */
	POD_REMOVES,  /* all are gone; sandbox, cgroup and, when it was deleted, the object are taken away */
	POD_FINISHED, /* Succeeded or Failed: nothing is left but the object */
};

enum container_state { CONTAINER_WAITS, CONTAINER_RUNS, CONTAINER_ENDED };

struct pod;

struct container {
	struct pod *pod;
	const json_t *spec; /* inside the pod's object */
	const char *name;
	bool init;
	enum container_state state;
	char *reason, *message; /* of waiting, or of the last end */
	int exit_code;
	time_t started, ended;
	bool ran_before; /* the fields below are set */
	int last_exit_code;
	time_t last_started, last_ended;
	unsigned restarts;
	bool ready;
	bool unhealthy; /* its liveness probe failed: ended to be started again */
	uint64_t delay_us;
	sd_event_source *timer; /* until the next start, or until a liveness kill becomes SIGKILL */
	struct proc *proc;
	struct probe *readiness, *liveness;
	char *cgroup;
	int cgroup_fd;
	char **env;
	char *running; /* what was started, for people */
};

struct pod {
	struct list link;
	struct kubelet *k;
	enum pod_state state;
	json_t *object, *spec_object; /* newest; the one whose spec was started */
	char *ns, *name, *uid;
	bool host_network, deleting, gone; /* gone: not in the API any more */
	bool seen;
	char *sandbox_id, *netns;
	int netns_fd;
	bool added; /* ADD has succeeded: DEL is owed */
	bool failed;  /* to become Failed although no container said so */
	json_t *ips, *host_ips, *cni_result;
	struct cni_call *cni;
	struct container *inits, *containers;
	size_t n_inits, n_containers, init_at;
	sd_event_source *timer; /* sandbox retry, end of grace, removal retry: one at a time */
	uint64_t delay_us;
	time_t started;
	char *waiting_for; /* why there is no sandbox */
	char *cgroup;
	struct event_memory events;
	sd_event_source *status_source;
	bool status_busy, status_dirty;
	char *status_sent;
	bool ready_sent;     /* the condition in it */
	uint64_t status_rev; /* of the object as the last update that the API took left it */
	struct kube_call *call;
};

/* pod.c */
void pod_new(struct kubelet *k, json_t *object);
void pod_update(struct pod *p, json_t *object);
void pod_gone(struct pod *p); /* the object was deleted by force */
void pod_start(struct pod *p);
void pod_container_changed(struct pod *p); /* one has ended for good, or an init container has done its part */

/* container.c */
void container_init(struct container *c, struct pod *p, const json_t *spec, bool init, unsigned restarts);
void container_done(struct container *c);
void container_start(struct container *c);
void container_end(struct container *c, bool force); /* SIGTERM, or SIGKILL to everything in it; not started again */
bool container_is_over(const struct container *c);   /* neither runs nor will be started */

/* podstatus.c */
json_t *podstatus_encode(const struct pod *p);
const char *podstatus_phase(const struct pod *p);
void podstatus_changed(struct pod *p); /* sends it soon */
void podstatus_check(struct pod *p);   /* an object has come: sends it again if somebody else has changed what it says of Ready */
