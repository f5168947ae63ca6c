/* SPDX-License-Identifier: Apache-2.0 */
/* Gives each pod without a node the next ready one (round robin over those its nodeSelector allows), and tells the API
 * when a node's runner is gone. */
#pragma once

#include "kube/client.h"
#include "lab/lab.h"

struct scheduler;

/* @client is borrowed until scheduler_free(). Return: 0 or -errno. */
int scheduler_new(sd_event *event, struct kube_client *client, const char *lab_name, struct scheduler **ret);
struct scheduler *scheduler_free(struct scheduler *s);
