/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of the objects that a reader is in, innermost last: none may come twice in one object. */
#pragma once

#include "base/json_scan.h"

struct json_key {
	uint64_t mark; /* of its length and ends: keys of different marks differ */
	const char *text; /* decoded */
	size_t len;
	char *owned; /* the text, where it is not the document's; or NULL */
};

struct json_keys {
	struct json_key *all;
	size_t n, cap;
};

/* @first: where the keys of its object begin, `n` when that began. It becomes the last. Return: is it new? (Of an object with many it is not known yet.) */
bool json_keys_add(struct json_keys *k, size_t first, const struct json_span *span);

/* The object is over. Return: do its keys differ? */
bool json_keys_end(struct json_keys *k, size_t first);

void json_keys_done(struct json_keys *k); /* also amid objects */
