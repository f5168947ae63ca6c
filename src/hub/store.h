/* SPDX-License-Identifier: Apache-2.0 */
/* All objects: a cache in memory over SQLite. A write is in the database before anybody sees it. Each write has the
 * next revision; the last ones are kept as a history, in memory and in the database, which gives watches a place to resume
 * (also over a restart) and lists a past state to page through. */
#pragma once

#include "hub/object.h"

enum change_type { CHANGE_ADDED, CHANGE_MODIFIED, CHANGE_DELETED };

struct change {
	uint64_t rev;
	enum change_type type;
	struct object *obj;  /* after the change; for a delete: the last state, with the delete's revision */
	struct object *prev; /* before it; NULL for an addition */
};

struct store;

/* Called after a change is in place; may write to the store itself (changes are then delivered in order). */
typedef void store_fn(void *ctx, const struct change *c);

/**
 * store_open() - open or make the database, read everything
 * @path:      of the SQLite file; ":memory:" for tests
 * @ret_error: what went wrong, the caller's, when not 0
 *
 * Objects of kinds that this version does not know are kept in the database and not served.
 *
 * Return: 0, -EIO, -EUCLEAN when the content is damaged.
 */
int store_open(const char *path, struct store **ret, char **ret_error);
struct store *store_free(struct store *s);
DEFINE_CLEANUP(struct store *, store_free)

void store_listen(struct store *s, store_fn *fn, void *ctx); /* at most 8 listeners, called in this order */
void store_unlisten(struct store *s, const void *ctx); /* all that were added with @ctx; not from within one */

uint64_t store_rev(const struct store *s);
uint64_t store_oldest(const struct store *s); /* history is complete for changes after this revision */

/* Borrowed until the next write; NULL when there is none. O(log n). */
struct object *store_get(const struct store *s, const struct kind *k, const char *ns, const char *name);

/* The objects of a kind, sorted by namespace and name; borrowed until the next write. */
struct object *const *store_all(const struct store *s, const struct kind *k, size_t *ret_n);
/* Those of one namespace; the same rules. O(log n + found) */
struct object *const *store_namespace(const struct store *s, const struct kind *k, const char *ns, size_t *ret_n);
size_t store_count(const struct store *s, const struct kind *k);

/**
 * store_put() - create or replace
 * @json: taken; its metadata names the object; resourceVersion is set here
 * @ret:  borrowed until the next write
 *
 * Return: 0, -EIO (nothing has changed).
 */
int store_put(struct store *s, const struct kind *k, json_t *json, struct object **ret);
/* @last: taken, may be NULL: the state that watchers are told, if it differs from the stored one. Return: 0, -ENOENT, -EIO */
int store_delete(struct store *s, const struct kind *k, const char *ns, const char *name, json_t *last);

/* The i-th change of the history, oldest first. */
size_t store_history_count(const struct store *s);
const struct change *store_history(const struct store *s, size_t i);
/* Index of the first change after @rev (the count when there is none). O(log n) */
size_t store_history_after(const struct store *s, uint64_t rev);

/**
 * store_snapshot() - the objects of a kind as they were at @rev
 * @ret: sorted, referenced; free each and the array (store_snapshot_free)
 *
 * O(objects of the kind + history after @rev).
 *
 * Return: 0, -ESTALE when the history no longer reaches back so far.
 */
int store_snapshot(const struct store *s, const struct kind *k, uint64_t rev, struct object ***ret, size_t *ret_n);
void store_snapshot_free(struct object **objects, size_t n);

int64_t store_bytes(const struct store *s); /* size of the database file */
