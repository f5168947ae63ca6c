/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: an API server that answers by a script, in the test's own loop and on lo of a namespace of its own. Each request takes the
 * next answer, and must look as the script expects. */
#pragma once

#include "kube/client.h"

#include <systemd/sd-event.h>

enum then { END, CUT, HANG };

struct step {
	const char *want;     /* the request must contain this */
	const char *unwanted; /* and not this */
	int status;
	const char *headers; /* with \r\n each */
	const char *body;
	enum then then;
	int times; /* 0: once */
};

struct scripted {
	sd_event *event;
	uint16_t port;
	const struct step *script; /* what is left of it; its end has no status */
	int requests, accepted;	   /* since scripted_play() */
	char mismatch[4096];	   /* the request that was not as expected, "": none */
};

extern struct scripted scripted;

/* Return: 0 or -errno. */
int scripted_start(void);
/* From the first of @steps, with no connection. */
void scripted_play(const struct step *steps);
/* Runs the loop until @done or 20 s are over. */
bool scripted_run_until(bool (*done)(void));
struct kube_client *scripted_client(void);
void scripted_stop(void);
