/* SPDX-License-Identifier: Apache-2.0 */
/* Which events somebody wants to see: read from the parameters of the method `observe`, which the command line makes of its
 * options. Pure: no clock, no model. */
#pragma once

#include "observe/event.h"

enum { OBSERVE_LAST_MAX = 1 << 20 };

/* One end: "NS/NAME" a pod or service, "NS/" any of a namespace, "node:NAME" a node or what is on it, an address or prefix,
 * or a kind ("world", "node", "pod", …). */
struct observe_match {
	enum { MATCH_ANY, MATCH_OBJECT, MATCH_NAMESPACE, MATCH_ON_NODE, MATCH_PREFIX, MATCH_KIND } how;
	char *namespace_, *name;
	struct prefix prefix;
	enum observe_end_kind kind;
};

struct observe_filter {
	unsigned verdicts, kinds;	     /* bits; 0: all */
	struct observe_match either, from, to; /* either: pod */
	bool has_protocol;
	uint8_t protocol;
	uint16_t port; /* of either end; 0: any */
	char *reason;  /* label, or NULL */
	uint64_t since_ms; /* since 1970; 0: all that is kept */
	uint64_t last;	   /* at most so many of those that are kept */
	bool follow;	   /* and then what comes */
};

/**
 * observe_filter_parse() - from the parameters of a request
 * @ret_error: on failure: which parameter, what was expected; one line, owned by the caller
 *
 * verdict, kind: a word or a list of them; pod, from, to: an end; protocol: a name or number; port, sinceMs, last: numbers;
 * reason; follow: a boolean. Unknown ones are refused. Without `last` none of the kept ones are wanted when it follows, else all.
 *
 * Return: 0, -EINVAL.
 */
int observe_filter_parse(const json_t *params, struct observe_filter *ret, char **ret_error);
void observe_filter_done(struct observe_filter *f);
bool observe_filter_matches(const struct observe_filter *f, const struct observe_event *e);
