/* SPDX-License-Identifier: Apache-2.0 */
/* Label and field selectors in the API's text form, parsed once, matched often. Pure functions. */
#pragma once

#include "hub/object.h"

struct selector;

/**
 * selector_parse() - a label selector: "a=b,c!=d,e,!f,g in (x,y),h notin (z),i>1,j<5"
 * @text:      empty selects everything
 * @ret_error: what is wrong, the caller's
 *
 * At most 16 KiB and 256 requirements.
 *
 * Return: 0, -EINVAL.
 */
int selector_parse(const char *text, struct selector **ret, char **ret_error);
struct selector *selector_free(struct selector *s);
DEFINE_CLEANUP(struct selector *, selector_free)
bool selector_matches(const struct selector *s, const json_t *labels); /* labels NULL: none */
bool selector_is_empty(const struct selector *s);

struct field_selector;

/**
 * field_selector_parse() - "metadata.name=a,status.phase!=Running"; "\," and "\=" stand for themselves in values
 * @k: tells which labels the kind supports besides metadata.name and metadata.namespace
 *
 * Return: 0, -EINVAL.
 */
int field_selector_parse(const char *text, const struct kind *k, struct field_selector **ret, char **ret_error);
struct field_selector *field_selector_free(struct field_selector *s);
DEFINE_CLEANUP(struct field_selector *, field_selector_free)
bool field_selector_matches(const struct field_selector *s, const json_t *obj);
/* The value that metadata.name must have, or NULL. */
const char *field_selector_name(const struct field_selector *s);

/* Label syntax: "[prefix/]name", and values: "" or up to 63 of [-A-Za-z0-9_.] between alphanumerics. */
bool label_key_is_valid(const char *s);
bool label_value_is_valid(const char *s);

/* A dotted path of object keys; borrowed, or NULL. */
json_t *json_dotted(const json_t *obj, const char *path);
