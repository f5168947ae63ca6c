/* SPDX-License-Identifier: Apache-2.0 */
/* objects holds the present, history the last changes with the state before each, so that a restarted hub serves
 * watches and pages from where they were. One change is one transaction over both. WAL with synchronous=NORMAL: a
 * commit is in the file before it is acknowledged, so a killed process loses nothing; a power failure may lose the last
 * moments, never consistency (https://www.sqlite.org/pragma.html#pragma_synchronous). */
#include "hub/db.h"
#include "base/log.h"
#include "base/str.h"

#include <sqlite3.h>
#include <sys/stat.h>

enum { SCHEMA_VERSION = 1 };

struct db {
	sqlite3 *sql;
	sqlite3_stmt *begin, *commit, *rollback, *put, *del, *log, *trim;
};

static const char tables[] =
	"CREATE TABLE IF NOT EXISTS objects (grp TEXT NOT NULL, resource TEXT NOT NULL, ns TEXT NOT NULL, "
	"name TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (grp, resource, ns, name)) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS history (rev INTEGER PRIMARY KEY, type INTEGER NOT NULL, grp TEXT NOT NULL, "
	"resource TEXT NOT NULL, data TEXT NOT NULL, prev TEXT);"
	"PRAGMA user_version = 1;";

static int fail(struct db *db, const char *what, char **ret_error)
{
	if (ret_error)
		*ret_error = xasprintf("%s: %s", what, db->sql ? sqlite3_errmsg(db->sql) : "out of memory");
	return -EIO;
}

struct db *db_free(struct db *db)
{
	if (!db)
		return NULL;
	sqlite3_stmt *all[] = { db->begin, db->commit, db->rollback, db->put, db->del, db->log, db->trim };
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		sqlite3_finalize(all[i]);
	sqlite3_close(db->sql);
	free(db);
	return NULL;
}
DEFINE_CLEANUP(struct db *, db_free)

static int check_version(struct db *db, char **ret_error)
{
	sqlite3_stmt *st = NULL;
	int version;

	if (sqlite3_prepare_v2(db->sql, "PRAGMA user_version", -1, &st, NULL) != SQLITE_OK ||
	    sqlite3_step(st) != SQLITE_ROW) {
		sqlite3_finalize(st);
		return fail(db, "cannot read the database", ret_error);
	}
	version = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	if (version == 0 || version == SCHEMA_VERSION)
		return 0;
	*ret_error = xasprintf("the database has version %d, this program knows %d", version, SCHEMA_VERSION);
	return -EUCLEAN;
}

static int prepare(struct db *db)
{
	const struct {
		sqlite3_stmt **stmt;
		const char *text;
	} all[] = {
		{ &db->begin, "BEGIN IMMEDIATE" },
		{ &db->commit, "COMMIT" },
		{ &db->rollback, "ROLLBACK" },
		{ &db->put, "INSERT OR REPLACE INTO objects (grp, resource, ns, name, data) VALUES (?1, ?2, ?3, ?4, ?5)" },
		{ &db->del, "DELETE FROM objects WHERE grp = ?1 AND resource = ?2 AND ns = ?3 AND name = ?4" },
		{ &db->log, "INSERT INTO history (rev, type, grp, resource, data, prev) VALUES (?1, ?2, ?3, ?4, ?5, ?6)" },
		{ &db->trim, "DELETE FROM history WHERE rev <= ?1" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (sqlite3_prepare_v3(db->sql, all[i].text, -1, SQLITE_PREPARE_PERSISTENT, all[i].stmt, NULL) != SQLITE_OK)
			return -EIO;
	return 0;
}

int db_open(const char *path, struct db **ret, char **ret_error)
{
	_cleanup_(db_freep) struct db *db = xnew0(struct db);
	mode_t mask = umask(0077); /* the file holds ConfigMaps: for us alone */
	int r = sqlite3_open(path, &db->sql);

	umask(mask);
	if (r != SQLITE_OK)
		return fail(db, "cannot open the database", ret_error);
	r = check_version(db, ret_error);
	if (r < 0)
		return r;
	sqlite3_busy_timeout(db->sql, 2000);
	/* EXCLUSIVE keeps the WAL index on our heap, and a second hub off the file. */
	if (sqlite3_exec(db->sql, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;", NULL,
			 NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(db->sql, tables, NULL, NULL, NULL) != SQLITE_OK || prepare(db) < 0)
		return fail(db, "cannot set up the database", ret_error);
	*ret = take_ptr(db);
	return 0;
}

static int read_rows(struct db *db, const char *query, bool history, db_row_fn *fn, void *ctx, uint64_t *rev,
		     char **ret_error)
{
	sqlite3_stmt *st = NULL;
	int r = 0, step = SQLITE_ERROR;

	if (sqlite3_prepare_v2(db->sql, query, -1, &st, NULL) != SQLITE_OK)
		return fail(db, "cannot read the database", ret_error);
	while (r == 0 && (step = sqlite3_step(st)) == SQLITE_ROW) {
		struct db_row row = {
			.rev = sqlite3_column_int64(st, 0),
			.type = history ? sqlite3_column_int(st, 1) : -1,
			.group = (const char *)sqlite3_column_text(st, 2),
			.resource = (const char *)sqlite3_column_text(st, 3),
			.data = (const char *)sqlite3_column_text(st, 4),
			.prev = (const char *)sqlite3_column_text(st, 5),
		};

		if (row.rev > *rev)
			*rev = row.rev;
		r = fn(ctx, &row);
	}
	if (r == 0 && step != SQLITE_DONE)
		r = fail(db, "cannot read the database", ret_error);
	else if (r < 0)
		*ret_error = xstrdup("the database holds something that is no object");
	sqlite3_finalize(st);
	return r;
}

int db_read(struct db *db, uint64_t *ret_rev, db_row_fn *on_object, db_row_fn *on_change, void *ctx, char **ret_error)
{
	uint64_t rev = 0;
	int r;

	r = read_rows(db, "SELECT 0, -1, grp, resource, data, NULL FROM objects ORDER BY grp, resource, ns, name", false,
		      on_object, ctx, &rev, ret_error);
	if (r == 0)
		r = read_rows(db, "SELECT rev, type, grp, resource, data, prev FROM history ORDER BY rev", true, on_change,
			      ctx, &rev, ret_error);
	if (r == 0)
		*ret_rev = rev;
	return r;
}

static int run(struct db *db, sqlite3_stmt *st)
{
	int r = sqlite3_step(st);

	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	if (r == SQLITE_DONE)
		return 0;
	log_error("database write failed", L_STR("error", sqlite3_errmsg(db->sql)));
	return -EIO;
}

static void bind_text(sqlite3_stmt *st, int i, const char *s)
{
	sqlite3_bind_text(st, i, s, -1, SQLITE_STATIC);
}

static int write_object(struct db *db, const struct change *c)
{
	sqlite3_stmt *st = c->type == CHANGE_DELETED ? db->del : db->put;

	bind_text(st, 1, c->obj->kind->group);
	bind_text(st, 2, c->obj->kind->resource);
	bind_text(st, 3, c->obj->ns);
	bind_text(st, 4, c->obj->name);
	if (c->type != CHANGE_DELETED)
		bind_text(st, 5, c->obj->text);
	return run(db, st);
}

static int write_history(struct db *db, const struct change *c)
{
	sqlite3_bind_int64(db->log, 1, c->rev);
	sqlite3_bind_int(db->log, 2, c->type);
	bind_text(db->log, 3, c->obj->kind->group);
	bind_text(db->log, 4, c->obj->kind->resource);
	bind_text(db->log, 5, c->obj->text);
	if (c->prev)
		bind_text(db->log, 6, c->prev->text);
	return run(db, db->log);
}

int db_commit(struct db *db, const struct change *c, uint64_t forget_before)
{
	int r = run(db, db->begin);

	if (r < 0)
		return r;
	r = write_object(db, c);
	if (r == 0)
		r = write_history(db, c);
	if (r == 0 && forget_before) {
		sqlite3_bind_int64(db->trim, 1, forget_before);
		r = run(db, db->trim);
	}
	if (r == 0)
		r = run(db, db->commit);
	if (r < 0 && !sqlite3_get_autocommit(db->sql))
		run(db, db->rollback);
	return r;
}

int64_t db_bytes(struct db *db)
{
	sqlite3_stmt *st = NULL;
	int64_t n = 0;

	if (sqlite3_prepare_v2(db->sql,
			       "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()", -1, &st,
			       NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		n = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return n;
}
