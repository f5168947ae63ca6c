/* SPDX-License-Identifier: Apache-2.0 */
/* Can this node make a new connection to the API server, now? Asked by a client of its own, since that of the watches keeps its connections. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

struct api_trial;

/* @reached: a server has answered, whatever it said. @why: of the last attempt, when none did. Called from the loop. */
typedef void api_trial_fn(bool reached, const char *why, void *ctx);

/* @kubeconfig: as the option, borrowed. Return: NULL when the loop takes no more. */
struct api_trial *api_trial_new(sd_event *event, const char *kubeconfig, api_trial_fn *fn, void *ctx);
struct api_trial *api_trial_free(struct api_trial *t);

/* Calls @fn once: at the first answer, or when several attempts in a row had none (some 15 s). While it is under way: nothing more. */
void api_trial_begin(struct api_trial *t);
/* @fn is not called any more. */
void api_trial_stop(struct api_trial *t);
