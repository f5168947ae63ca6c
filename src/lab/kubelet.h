/* SPDX-License-Identifier: Apache-2.0 */
/* The kubelet's stand-in of a node: the Node object, and the pods that the API gives to this node. */
#pragma once

#include "base/list.h"
#include "kube/client.h"
#include "kube/watch.h"
#include "lab/lab.h"

struct kubelet {
	sd_event *event;
	const struct lab *lab;
	const struct lab_node *node;
	struct kube_client *client;
	struct kube_watch *watch;
	json_t *network; /* the CNI configuration list while the network is ready, else NULL */
	int logs_fd;	 /* directory for the containers' output */
	int cni_cgroup;	 /* where plugins run */
	struct list pods;
};

/* Events about an object, kept short and rare: the same event about one object is not repeated within 10 s. */
enum { EVENTS_REMEMBERED = 8 };
struct event_memory {
	struct {
		char *text; /* "REASON MESSAGE" */
		uint64_t at_us;
	} last[EVENTS_REMEMBERED];
	unsigned next;
};
void event_memory_done(struct event_memory *m);
/* @object: metadata of the pod or node it is about; @type: "Normal" or "Warning". */
void kubelet_event(struct kubelet *k, struct event_memory *m, const json_t *object, const char *kind, const char *type,
		   const char *reason, const char *fmt, ...) _printf_(7, 8);

/* Watches spec.nodeName=NODE and runs what it finds. Return: 0 or -errno. */
int pods_start(struct kubelet *k);
void pods_network_changed(struct kubelet *k); /* pods that waited for it go on */

/**
 * node_object_start() - register the Node and keep its status fresh
 * @on_ready: called once when the API has taken a status that says Ready
 */
struct node_object;
int node_object_start(struct kubelet *k, void (*on_ready)(struct kubelet *k, const json_t *node), struct node_object **ret);
