/* SPDX-License-Identifier: Apache-2.0 */
/* A kind of object is a row of one table (kinds.c): names, scope, schema, columns, hooks. Everything else in the hub
 * is written against the row, so a new kind is a new row and a schema. */
#pragma once

#include "hub/schema.h"

struct hub;
struct buf;

struct column {
	const char *name, *type; /* type: "string", "integer", "date" */
	int priority;		 /* 0 always, 1 with -o wide */
	const char *path;	 /* dotted path of the value; or: */
	void (*cell)(const json_t *obj, struct buf *out);
	const char *doc;
};

enum name_rule { NAME_SUBDOMAIN, NAME_LABEL, NAME_SERVICE /* RFC 1035 label */, NAME_ADDRESS };

struct kind {
	const char *group, *version; /* group "" is the core */
	const char *resource, *singular, *kind;
	const char *const *short_names; /* NULL-terminated; NULL: none */
	const char *const *categories;
	bool namespaced;
	bool has_status;	  /* a status subresource; the main resource leaves status alone */
	bool keeps_status;	  /* status is accepted with a create (nodes report themselves, the hub its own) */
	bool has_generation;	  /* metadata.generation counts changes outside of metadata and status */
	bool protobuf;		  /* its schema carries all numbers that clients need */
	bool graceful;		  /* a delete first sets deletionTimestamp; a delete with grace 0 ends it */
	bool read_only;		  /* the hub alone writes it */
	enum name_rule name_rule;
	const struct schema *schema;
	const struct column *columns;	   /* ends with a NULL name; NULL: name and age */
	const char *const *field_labels;   /* field selectors beyond metadata.name and metadata.namespace */

	/* Fills in what the user left out. @old: the stored object of an update, or NULL. */
	void (*defaults)(json_t *obj, const json_t *old);
	/* What the schema cannot say. @old: NULL on create. */
	void (*validate)(const json_t *obj, const json_t *old, struct errors *errors);
	/* Takes what the object needs from the cluster's ranges; part of validation: refusals go to @errors. A dry
	 * run only looks. */
	void (*allocate)(struct hub *hub, json_t *obj, const json_t *old, bool dry_run, struct errors *errors);
	/* Gives back what a deleted (or changed, @now) object held. */
	void (*release)(struct hub *hub, const json_t *old, const json_t *now);
};

extern const struct kind kinds[]; /* ends with a NULL resource */
extern const size_t kinds_count;

const struct kind *kind_find(const char *group, const char *version, const char *resource);
const struct kind *kind_of(const char *kind_name); /* by its kind, which is unique here */
static inline size_t kind_index(const struct kind *k)
{
	return k - kinds;
}
char *kind_api_version(const struct kind *k); /* "v1", "discovery.k8s.io/v1"; the caller's */
