/* SPDX-License-Identifier: Apache-2.0 */
/* What an agent keeps of the trial of the node's own policies, for the one that is started after it: the file host-policy.json. */
#pragma once

#include "base/json.h"

/* Sets of policies: name → object. Times are microseconds since boot (CLOCK_BOOTTIME), 0: none. */
struct host_record {
	char *boot;	   /* the boot that the times are of; NULL: not known */
	json_t *confirmed; /* comes back when a trial ends without a word; never NULL */
	json_t *last;	   /* the last that was confirmed and not empty: it needs no trial again; never NULL */
	bool unmeant;	   /* `last` was in force until it no longer meant the node, and the API has had it since: nothing has opened the node for good */
	json_t *trial;	   /* NULL: none */
	bool taken_back;   /* the trial has ended without a word */
	bool tested;	   /* under it a new connection to the API server was made */
	uint64_t until;	   /* of the trial */
	uint64_t since;	   /* when the node became an endpoint */
};

void host_record_init(struct host_record *r);
void host_record_done(struct host_record *r);

/**
 * host_record_parse() - from the file's text; whatever stands there, what is set is whole
 * @r: done before
 * @ret_error: owned by the caller
 *
 * Return: 0, -EINVAL: @r is as after host_record_init().
 */
int host_record_parse(struct host_record *r, const char *what, const char *text, size_t len, char **ret_error);
/* The same record gives the same text. Owned by the caller. */
char *host_record_format(const struct host_record *r);

/**
 * host_record_revive() - what a record means to an agent that has been started now
 * @boot: this one's, NULL: not known; times of another mean nothing: a trial begins anew
 * @longest: no trial ends later than that from now
 * @grace: so long after the end the datapath has put by itself in force what was confirmed; where that is nothing the node has been open since, and connections
 *	may be older than what closes it again
 */
void host_record_revive(struct host_record *r, const char *boot, uint64_t now, uint64_t longest, uint64_t grace);
