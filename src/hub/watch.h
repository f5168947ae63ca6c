/* SPDX-License-Identifier: Apache-2.0 */
/* A watch: changes of one kind that pass its selectors, as lines of JSON in a bounded buffer that the HTTP side drains.
 * A client that does not keep up gets an error 410 and the end, so that it lists again. */
#pragma once

#include "hub/hub.h"
#include "hub/selector.h"
#include "hub/table.h"

enum { WATCH_BUFFER_MAX = 8 << 20 };

struct watch_spec {
	const struct kind *kind;
	char *ns, *name;		/* owned; NULL: all */
	struct selector *labels;	/* owned */
	struct field_selector *fields;	/* owned */
	bool table;
	enum table_object table_object;
	bool bookmarks;
	bool initial;			/* begin with the objects there are */
	bool initial_end;		/* … and mark their end by a bookmark (sendInitialEvents) */
	uint64_t rev;			/* begin after this revision; unless initial */
	unsigned timeout_s;		/* 0: half an hour or so */
};
void watch_spec_done(struct watch_spec *s);

struct watch;

/* Whether an object is what the spec selects. */
bool watch_spec_matches(const struct watch_spec *s, const struct object *o);

/* @spec is taken. @wake is called when there is something to read (or the end), never from within watch_read(). */
struct watch *watch_new(struct hub *hub, struct watch_spec *spec, void (*wake)(void *ctx), void *ctx);
struct watch *watch_free(struct watch *w);
/* Return: bytes copied, 0 when there is nothing yet, -EPIPE at the end. */
ssize_t watch_read(struct watch *w, char *out, size_t max);

/* For store_listen(): hands a change to all watches. */
void watches_on_change(void *ctx, const struct change *c);
void watches_send_bookmarks(struct hub *hub);
