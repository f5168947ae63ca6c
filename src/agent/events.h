/* SPDX-License-Identifier: Apache-2.0 */
/* What an administrator must see on the object that it concerns: Kubernetes Events. The caller says, each time it looks, what is the
 * case now; what has become so since is told once. */
#pragma once

#include "base/htab.h"
#include "kube/client.h"

enum { EVENTS_REMEMBERED = 1024, EVENTS_BURST = 20, EVENTS_IN_FLIGHT = 16, EVENTS_NAME_PART = 200 };

/* The object, and what is to be said of it. Borrowed for the call. */
struct event_in {
	const char *api_version, *kind, *namespace_, *name, *uid; /* namespace_ "": the object has none; uid "": not known */
	const char *reason;	  /* CamelCase */
	const char *message;
	const char *gone_reason, *gone_message; /* told, as a normal event, when it is no longer the case; NULL: nothing is */
};

struct events {
	sd_event *event;
	struct kube_client **client; /* *client may be NULL: nobody to tell, later */
	const char *node;
	struct htab told;
	unsigned tokens, in_flight;
	uint64_t refilled_us;
	uint64_t sent, failed, held; /* held: not now, for one of the bounds; it is tried at the next look */
};

/* The name of an Event about the object @of: its name, cut where it is long but not at a dash or dot, which no part of a name may end in. */
char *events_name(const char *of, uint64_t number);

/* @client and @node are borrowed. */
void events_init(struct events *e, sd_event *event, struct kube_client **client, const char *node);
void events_done(struct events *e);

/**
 * events_begin(), events_is_so(), events_end() - a look at everything: begin, each that is the case, end
 * @there: is the object of what is no longer the case still there, to be told of?
 *
 * Return of events_end(): whether something was held back; then look again soon.
 */
void events_begin(struct events *e);
void events_is_so(struct events *e, const struct event_in *in);
bool events_end(struct events *e, bool (*there)(const struct event_in *in, void *ctx), void *ctx);
/* The client is gone: answers no longer come. */
void events_forget_calls(struct events *e);
