/* SPDX-License-Identifier: Apache-2.0 */
/* A large document of which little is read: as json_parse(), but values are made only of what is meant (json_fields.h), the rest is checked and passed over. It
 * takes what json_parse() takes and refuses what that refuses, with the same words: fuzz_json_read holds them against each other. */
#pragma once

#include "base/json.h"
#include "base/json_fields.h"
#include "base/json_keys.h"

/**
 * json_read() - text to value
 * @fields: what is meant of it; &json_fields_all: everything
 * @ret_error: as of json_parse()
 *
 * Return: the value (a new reference) or NULL.
 */
json_t *json_read(const char *what, const char *text, size_t len, const struct json_fields *fields, char **ret_error);

/* A document apart from the elements of one of its lists, which are whole, known to be good, and not made yet. They stand in the document's text, which must stay. */
struct json_pieces {
	json_t *rest; /* the document, with none of them in the list */
	size_t n;
	/* private: */
	const struct json_fields *fields; /* of an element */
	struct json_stretch *all, *idle;  /* idle: in them, what is not meant and long, in order */
	struct json_keys keys; /* room for those of the next one */
	size_t cap, n_idle, cap_idle, at, at_idle;
};
void json_pieces_done(struct json_pieces *p);

/**
 * json_read_pieces() - a document whose list of that name is read one element after the other, so that there are never the values of all
 * @list: the member; when it is no list, or not meant, it is read with the rest
 * @fields: what is meant of the document and of the elements; must stay
 * @ret: the caller's, to json_pieces_done(), which may be called on one that is zero
 *
 * The whole document is checked first. Return: 0, -EBADMSG (then @ret_error as of json_parse()).
 */
int json_read_pieces(const char *what, const char *text, size_t len, const char *list, const struct json_fields *fields, struct json_pieces *ret,
		     char **ret_error);

/* Return: the next of the elements (a new reference), NULL after the last. */
json_t *json_next_piece(struct json_pieces *p);
