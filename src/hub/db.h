/* SPDX-License-Identifier: Apache-2.0 */
/* The durable side of the store: two tables in SQLite (WAL). */
#pragma once

#include "hub/store.h"

struct db;

struct db_row {
	uint64_t rev;
	int type; /* of a change; -1 for an object */
	const char *group, *resource;
	const char *data, *prev; /* prev NULL: none */
};
typedef int db_row_fn(void *ctx, const struct db_row *row); /* 0, or an error that ends the reading */

int db_open(const char *path, struct db **ret, char **ret_error);
struct db *db_free(struct db *db);
int db_read(struct db *db, uint64_t *ret_rev, db_row_fn *on_object, db_row_fn *on_change, void *ctx, char **ret_error);
int db_commit(struct db *db, const struct change *c, uint64_t forget_before);
int64_t db_bytes(struct db *db);
