/* SPDX-License-Identifier: Apache-2.0 */
/* What happens to an object between the wire and the store: decoding, defaults, validation, allocation, system fields. */
#pragma once

#include "hub/api.h"

struct write {
	struct hub *hub;
	const struct kind *kind;
	const struct request *rq; /* NULL: the hub itself writes */
	struct reply *rp;	  /* receives warnings; NULL with rq */
	const struct object *old; /* NULL: create */
	bool status_only;	  /* the status subresource */
	bool dry_run;
};

/**
 * admit_decode() - a foreign value made into an object of the kind
 * @j: taken; changed in place
 *
 * fieldValidation of the request decides about unknown fields.
 *
 * Return: NULL and *ret set (the caller's), or a Status.
 */
json_t *admit_decode(const struct write *w, json_t *j, json_t **ret);

/**
 * admit_store() - take a decoded object through the rest, and store it (unless dry run)
 * @j:   taken
 * @ret: a reference of the caller's, to what is stored (or would be)
 *
 * Return: NULL, or a Status.
 */
json_t *admit_store(const struct write *w, json_t *j, struct object **ret);

/* Reads fieldValidation and dryRun. Return: NULL or a Status. */
json_t *admit_options(struct write *w);

/* The hub's own writes: all rules hold. Return: NULL or a Status (logged by the caller). */
json_t *admit_own(struct hub *hub, const struct kind *k, const struct object *old, json_t *j, struct object **ret);
/* The same for the status of an object that is there; what is outside of it in @j does not count. */
json_t *admit_own_status(struct hub *hub, const struct kind *k, const struct object *old, json_t *j);
