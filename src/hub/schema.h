/* SPDX-License-Identifier: Apache-2.0 */
/* What an object may hold: one description drives decoding, unknown-field checks, generic validation, strategic
 * merge, server-side apply and the published OpenAPI documents. Schemas are constant data. */
#pragma once

#include "hub/errors.h"

enum field_type {
	F_STRING,
	F_INT,		 /* 32 bits */
	F_LONG,		 /* 64 bits */
	F_BOOL,
	F_NUMBER,
	F_INT_OR_STRING,
	F_QUANTITY,
	F_TIME,		 /* RFC 3339 */
	F_MICROTIME,
	F_OBJECT,	 /* described by .of */
	F_ANY,		 /* an object whose content nobody here looks at */
};

enum field_shape {
	ONE,
	LIST,	/* replaced as a whole by patches */
	SET,	/* of scalars, merged by value */
	KEYED,	/* of objects, merged by .key */
	MAP,	/* string keys, values of .type */
};

struct field {
	const char *name;
	enum field_type type;
	enum field_shape shape;
	const struct schema *of;
	const char *key;	       /* KEYED: the merge key */
	const char *const *values;     /* F_STRING: the only values accepted, NULL-terminated */
	long min, max;		       /* F_INT, F_LONG: checked when max > min */
	bool required;
	unsigned pb;		       /* number in the protobuf form; 0: not known there */
	const char *doc;
};

struct schema {
	const char *name; /* as published, for example io.k8s.api.core.v1.Pod */
	const char *doc;
	const struct field *fields; /* ends with a NULL name */
};

#define VALUES(...) ((const char *const[]){ __VA_ARGS__, NULL })

const struct field *schema_field(const struct schema *s, const char *name); /* or NULL */

/**
 * schema_decode() - make a foreign object fit the schema
 * @obj:     changed in place: unknown fields and nulls are taken out
 * @unknown: receives the path of each unknown field, as strings; at most 100
 * @errors:  receives one cause for each value of a wrong type
 */
void schema_decode(const struct schema *s, json_t *obj, const struct path *at, json_t *unknown, struct errors *errors);

/**
 * schema_validate() - required fields, value lists and ranges, on a decoded object
 */
void schema_validate(const struct schema *s, const json_t *obj, const struct path *at, struct errors *errors);

bool quantity_is_valid(const char *s);	/* "100m", "1.5Gi", "1e3" */
bool rfc3339_is_valid(const char *s);
