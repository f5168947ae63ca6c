/* SPDX-License-Identifier: Apache-2.0 */
/* Each kind has a sorted array of objects: lookups by bisection, lists in key order for free. The history is a ring
 * of changes, bounded by number and by bytes; it starts after `oldest`. A write made by a listener while changes are being
 * delivered is queued behind them by the ring itself: `delivered` trails the ring's end and one loop catches up. */
#include "hub/store.h"
#include "base/log.h"
#include "base/str.h"
#include "hub/db.h"

enum { HISTORY_MAX = 16384, LISTENERS_MAX = 8, TRIM_EVERY = 512 };
static const size_t HISTORY_BYTES_MAX = 64 << 20;

struct table {
	struct object **objects;
	size_t n, cap;
};

struct store {
	struct db *db;
	struct table *tables; /* one a kind */
	uint64_t rev, oldest, delivered, trimmed;
	struct change *ring; /* HISTORY_MAX entries */
	size_t first, count, bytes;
	struct {
		store_fn *fn;
		void *ctx;
	} listeners[LISTENERS_MAX];
	size_t n_listeners;
	bool delivering;
};

static size_t table_search(const struct table *t, const char *ns, const char *name, bool *ret_found)
{
	size_t lo = 0, hi = t->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (object_key_cmp(t->objects[mid]->ns, t->objects[mid]->name, ns, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*ret_found = lo < t->n && object_key_cmp(t->objects[lo]->ns, t->objects[lo]->name, ns, name) == 0;
	return lo;
}

static void table_insert(struct table *t, size_t at, struct object *o)
{
	GROW(t->objects, t->n, t->cap);
	memmove(t->objects + at + 1, t->objects + at, (t->n - at) * sizeof(*t->objects));
	t->objects[at] = o;
	t->n++;
}

static void table_remove(struct table *t, size_t at)
{
	memmove(t->objects + at, t->objects + at + 1, (t->n - at - 1) * sizeof(*t->objects));
	t->n--;
}

static size_t change_bytes(const struct change *c)
{
	return sizeof(*c) + c->obj->text_len * 3; /* text and tree; prev is mostly the last change's obj */
}

static void ring_drop_first(struct store *s)
{
	struct change *c = &s->ring[s->first];

	s->oldest = c->rev;
	s->bytes -= change_bytes(c);
	object_unref(c->obj);
	object_unref(c->prev);
	s->first = (s->first + 1) % HISTORY_MAX;
	s->count--;
}

static void ring_push(struct store *s, const struct change *c)
{
	size_t bytes = change_bytes(c);

	while (s->count > 0 && (s->count == HISTORY_MAX || s->bytes + bytes > HISTORY_BYTES_MAX))
		ring_drop_first(s);
	s->ring[(s->first + s->count) % HISTORY_MAX] = *c;
	s->count++;
	s->bytes += bytes;
}

static struct object *load_object(const struct db_row *row, const char *text, int *ret_error)
{
	const struct kind *k = kind_find(row->group, NULL, row->resource);
	json_t *j;

	*ret_error = 0;
	if (!k)
		return NULL;
	j = json_parse("database", text, strlen(text), NULL);
	if (!json_is_object(j) || !*meta_str(j, "name")) {
		json_decref(j);
		*ret_error = -EUCLEAN;
		return NULL;
	}
	return object_new(k, j, xstrdup(text));
}

static int on_object(void *ctx, const struct db_row *row)
{
	struct store *s = ctx;
	struct table *t;
	bool found;
	size_t at;
	int r;
	struct object *o = load_object(row, row->data, &r);

	if (!o)
		return r;
	t = &s->tables[kind_index(o->kind)];
	at = table_search(t, o->ns, o->name, &found);
	table_insert(t, at, o);
	if (o->rev > s->rev)
		s->rev = o->rev;
	return 0;
}

static int on_change(void *ctx, const struct db_row *row)
{
	struct store *s = ctx;
	struct change c = { .rev = row->rev, .type = row->type };
	int r;

	if (s->count == 0)
		s->oldest = row->rev - 1;
	c.obj = load_object(row, row->data, &r);
	if (!c.obj)
		return r;
	if (row->prev)
		c.prev = load_object(row, row->prev, &r);
	if (r < 0) {
		object_unref(c.obj);
		return r;
	}
	ring_push(s, &c);
	return 0;
}

int store_open(const char *path, struct store **ret, char **ret_error)
{
	_cleanup_(store_freep) struct store *s = xnew0(struct store);
	uint64_t rev = 0;
	int r;

	s->tables = xnew0_array(struct table, kinds_count);
	s->ring = xnew0_array(struct change, HISTORY_MAX);
	r = db_open(path, &s->db, ret_error);
	if (r == 0)
		r = db_read(s->db, &rev, on_object, on_change, s, ret_error);
	if (r < 0)
		return r;
	rev = MAX(rev, (uint64_t)1); /* 0 would mean "any" to a client */
	s->rev = MAX(s->rev, rev);
	if (s->count == 0)
		s->oldest = s->rev;
	s->delivered = s->rev;
	s->trimmed = s->oldest;
	*ret = take_ptr(s);
	return 0;
}

struct store *store_free(struct store *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; i < kinds_count; i++) {
		for (size_t j = 0; j < s->tables[i].n; j++)
			object_unref(s->tables[i].objects[j]);
		free(s->tables[i].objects);
	}
	while (s->count)
		ring_drop_first(s);
	free(s->tables);
	free(s->ring);
	db_free(s->db);
	free(s);
	return NULL;
}

void store_listen(struct store *s, store_fn *fn, void *ctx)
{
	assert(s->n_listeners < LISTENERS_MAX);
	s->listeners[s->n_listeners].fn = fn;
	s->listeners[s->n_listeners++].ctx = ctx;
}

void store_unlisten(struct store *s, const void *ctx)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->n_listeners; i++)
		if (s->listeners[i].ctx != ctx)
			s->listeners[kept++] = s->listeners[i];
	s->n_listeners = kept;
}

uint64_t store_rev(const struct store *s)
{
	return s->rev;
}

uint64_t store_oldest(const struct store *s)
{
	return s->oldest;
}

struct object *store_get(const struct store *s, const struct kind *k, const char *ns, const char *name)
{
	const struct table *t = &s->tables[kind_index(k)];
	bool found;
	size_t at = table_search(t, ns, name, &found);

	return found ? t->objects[at] : NULL;
}

struct object *const *store_all(const struct store *s, const struct kind *k, size_t *ret_n)
{
	*ret_n = s->tables[kind_index(k)].n;
	return s->tables[kind_index(k)].objects;
}

struct object *const *store_namespace(const struct store *s, const struct kind *k, const char *ns, size_t *ret_n)
{
	const struct table *t = &s->tables[kind_index(k)];
	bool found;
	size_t first = table_search(t, ns, "", &found), end = first;

	while (end < t->n && streq(t->objects[end]->ns, ns))
		end++;
	*ret_n = end - first;
	return t->n ? t->objects + first : NULL;
}

size_t store_count(const struct store *s, const struct kind *k)
{
	return s->tables[kind_index(k)].n;
}

/* Listeners may write: the new changes are delivered by the loop that is already running. */
static void deliver(struct store *s)
{
	if (s->delivering)
		return;
	s->delivering = true;
	while (s->delivered < s->rev) {
		const struct change *at = store_history(s, store_history_after(s, s->delivered));
		struct change c = { at->rev, at->type, object_ref(at->obj), object_ref(at->prev) };

		s->delivered = c.rev;
		for (size_t i = 0; i < s->n_listeners; i++)
			s->listeners[i].fn(s->listeners[i].ctx, &c);
		object_unref(c.obj);
		object_unref(c.prev);
	}
	s->delivering = false;
}

/* Takes the references in @c. */
static int commit(struct store *s, struct change *c, size_t at)
{
	struct table *t = &s->tables[kind_index(c->obj->kind)];
	bool trim = s->oldest >= s->trimmed + TRIM_EVERY;
	int r = db_commit(s->db, c, trim ? s->oldest : 0);

	if (r < 0) {
		object_unref(c->obj);
		object_unref(c->prev);
		return r;
	}
	if (trim)
		s->trimmed = s->oldest;
	s->rev = c->rev;
	if (c->type == CHANGE_ADDED) {
		table_insert(t, at, object_ref(c->obj));
	} else {
		object_unref(t->objects[at]);
		if (c->type == CHANGE_MODIFIED)
			t->objects[at] = object_ref(c->obj);
		else
			table_remove(t, at);
	}
	ring_push(s, c);
	deliver(s);
	return 0;
}

static void set_rev(json_t *json, uint64_t rev)
{
	_cleanup_free_ char *text = xasprintf("%llu", (unsigned long long)rev);

	json_object_set_new(meta_of(json), "resourceVersion", json_string(text));
}

int store_put(struct store *s, const struct kind *k, json_t *json, struct object **ret)
{
	struct table *t = &s->tables[kind_index(k)];
	struct change c = { .rev = s->rev + 1 };
	struct object *obj;
	bool found;
	size_t at;
	int r;

	set_rev(json, c.rev);
	obj = c.obj = object_new(k, json, NULL);
	at = table_search(t, obj->ns, obj->name, &found);
	c.type = found ? CHANGE_MODIFIED : CHANGE_ADDED;
	if (found)
		c.prev = object_ref(t->objects[at]);
	r = commit(s, &c, at);
	if (r == 0 && ret)
		*ret = obj;
	return r;
}

int store_delete(struct store *s, const struct kind *k, const char *ns, const char *name, json_t *last)
{
	struct table *t = &s->tables[kind_index(k)];
	struct change c = { .rev = s->rev + 1, .type = CHANGE_DELETED };
	bool found;
	size_t at = table_search(t, ns, name, &found);

	if (!found) {
		json_decref(last);
		return -ENOENT;
	}
	c.prev = object_ref(t->objects[at]);
	if (!last)
		last = json_deep_copy(c.prev->json);
	set_rev(last, c.rev);
	c.obj = object_new(k, last, NULL);
	return commit(s, &c, at);
}

size_t store_history_count(const struct store *s)
{
	return s->count;
}

const struct change *store_history(const struct store *s, size_t i)
{
	assert(i < s->count);
	return &s->ring[(s->first + i) % HISTORY_MAX];
}

size_t store_history_after(const struct store *s, uint64_t rev)
{
	size_t lo = 0, hi = s->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (store_history(s, mid)->rev <= rev)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Undoes one change in a sorted array of references. */
static void undo(struct table *t, const struct change *c)
{
	bool found;
	size_t at = table_search(t, c->obj->ns, c->obj->name, &found);

	if (found) {
		object_unref(t->objects[at]);
		table_remove(t, at);
	}
	if (c->prev)
		table_insert(t, at, object_ref(c->prev));
}

int store_snapshot(const struct store *s, const struct kind *k, uint64_t rev, struct object ***ret, size_t *ret_n)
{
	const struct table *now = &s->tables[kind_index(k)];
	struct table t = { .n = now->n, .cap = now->n };

	if (rev < s->oldest)
		return -ESTALE;
	t.objects = xnew0_array(struct object *, now->n);
	for (size_t i = 0; i < now->n; i++)
		t.objects[i] = object_ref(now->objects[i]);
	for (size_t first = store_history_after(s, rev), i = s->count; i > first; i--)
		if (store_history(s, i - 1)->obj->kind == k)
			undo(&t, store_history(s, i - 1));
	*ret = t.objects;
	*ret_n = t.n;
	return 0;
}

void store_snapshot_free(struct object **objects, size_t n)
{
	for (size_t i = 0; i < n; i++)
		object_unref(objects[i]);
	free(objects);
}

int64_t store_bytes(const struct store *s)
{
	return db_bytes(s->db);
}
