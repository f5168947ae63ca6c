/* SPDX-License-Identifier: Apache-2.0 */
/* One grammar for what is meant and what is not: a value comes out of each rule, or nothing where nobody asks for it. A document that is no good is given to
 * json_parse(), which says where it is wrong.
 *
 * A list that is read in pieces is passed over twice: it is checked, then each piece is made when its turn comes. What the first time was found not to be meant
 * need not be looked at the second time. */
#include "base/json_read.h"

enum {
	DEPTH_MAX = 2048, /* jansson's: of values, the outermost and scalars counted */
	LONG = 64,	  /* what is worth noting */
};

struct json_stretch {
	const char *from, *end;
};

struct reader {
	struct json_scan text;
	struct json_keys *keys;
	unsigned depth;
	const char *list; /* the member of the document that is read in pieces; or NULL */
	struct json_pieces *pieces;
	bool checks; /* amid the list: nothing is made, pieces are found */
	bool makes;  /* of a piece: it has been checked */
};

static bool read_value(struct reader *r, const struct json_fields *want, json_t **ret);

static bool is_made(const struct reader *r, const struct json_fields *want)
{
	return want && !r->checks;
}

static bool read_word(struct reader *r, const char *word, json_t *value, const struct json_fields *want, json_t **ret)
{
	if (!json_scan_word(&r->text, word, strlen(word)))
		return false;
	if (is_made(r, want))
		*ret = value; /* jansson counts no references of these */
	return true;
}

static bool read_number(struct reader *r, const struct json_fields *want, json_t **ret)
{
	_cleanup_json_ json_t *other = NULL;
	const char *from = r->text.at;
	int64_t n;

	switch (json_scan_number(&r->text, &n)) {
	case JSON_NUMBER_SHORT:
		if (is_made(r, want))
			*ret = json_integer(n);
		return true;
	case JSON_NUMBER_OTHER:
		other = json_loadb(from, r->text.at - from, JSON_DECODE_ANY, NULL);
		if (is_made(r, want))
			*ret = json_incref(other);
		return other;
	default:
		return false;
	}
}

static json_t *string_of(const struct json_span *span)
{
	_cleanup_free_ char *decoded = NULL;

	if (!span->escaped)
		return json_stringn_nocheck(span->text, span->len);
	decoded = xmalloc(span->len);
	return json_stringn_nocheck(decoded, json_span_decode(span, decoded));
}

static bool read_string(struct reader *r, const struct json_fields *want, json_t **ret)
{
	struct json_span span;

	if (!json_scan_string(&r->text, &span))
		return false;
	if (is_made(r, want))
		*ret = string_of(&span);
	return true;
}

static bool read_element(struct reader *r, const struct json_fields *want, json_t *list)
{
	json_t *value = NULL;

	json_scan_space(&r->text);
	if (!read_value(r, want, &value))
		return false;
	if (value)
		json_array_append_new(list, value);
	json_scan_space(&r->text);
	return true;
}

static bool read_elements(struct reader *r, const struct json_fields *want, json_t *list)
{
	do {
		if (!read_element(r, want, list))
			return false;
	} while (json_scan_take(&r->text, ','));
	return json_scan_take(&r->text, ']');
}

static bool read_list(struct reader *r, const struct json_fields *want, json_t **ret)
{
	json_t *list = is_made(r, want) ? json_array() : NULL;

	r->text.at++;
	json_scan_space(&r->text);
	if (!json_scan_take(&r->text, ']') && !read_elements(r, want, list)) {
		json_decref(list);
		return false;
	}
	*ret = list;
	return true;
}

static bool find_piece(struct reader *r, const struct json_fields *want)
{
	struct json_pieces *p = r->pieces;
	json_t *none = NULL;
	const char *from;

	json_scan_space(&r->text);
	from = r->text.at;
	if (!read_value(r, want, &none))
		return false;
	GROW(p->all, p->n, p->cap);
	p->all[p->n++] = (struct json_stretch){ from, r->text.at };
	json_scan_space(&r->text);
	return true;
}

static bool find_pieces(struct reader *r, const struct json_fields *want)
{
	r->text.at++;
	json_scan_space(&r->text);
	if (json_scan_take(&r->text, ']'))
		return true;
	do {
		if (!find_piece(r, want))
			return false;
	} while (json_scan_take(&r->text, ','));
	return json_scan_take(&r->text, ']');
}

/* The list, as a value of the document: with nothing in it. */
static bool read_pieces(struct reader *r, const struct json_fields *want, json_t **ret)
{
	bool good;

	r->pieces->fields = want;
	r->checks = true;
	r->depth++;
	good = find_pieces(r, want);
	r->depth--;
	r->checks = false;
	if (good)
		*ret = json_array();
	return good;
}

static bool is_in_pieces(const struct reader *r, const struct json_key *key)
{
	return r->list && r->depth == 1 && key->len == strlen(r->list) && memcmp(key->text, r->list, key->len) == 0 && json_scan_peek(&r->text) == '[';
}

/* Something that is not meant. */
static bool pass_over(struct reader *r)
{
	struct json_pieces *p = r->pieces;
	const char *from = r->text.at;
	json_t *none = NULL;

	if (r->makes && p->at_idle < p->n_idle && p->idle[p->at_idle].from == from) {
		r->text.at = p->idle[p->at_idle++].end;
		return true;
	}
	if (!read_value(r, NULL, &none))
		return false;
	if (r->checks && r->text.at - from >= LONG) {
		GROW(p->idle, p->n_idle, p->cap_idle);
		p->idle[p->n_idle++] = (struct json_stretch){ from, r->text.at };
	}
	return true;
}

/* The key becomes the last of the reader's. */
static bool read_key(struct reader *r, size_t first_key)
{
	struct json_span name;

	json_scan_space(&r->text);
	if (json_scan_peek(&r->text) != '"' || !json_scan_string(&r->text, &name))
		return false;
	json_scan_space(&r->text);
	if (!json_scan_take(&r->text, ':'))
		return false;
	json_scan_space(&r->text);
	return json_keys_add(r->keys, first_key, &name);
}

static bool read_value_of(struct reader *r, const struct json_fields *object, const struct json_key *key, json_t **ret)
{
	const struct json_fields *want = object ? json_fields_find(object, key->text, key->len) : NULL;

	if (want && is_in_pieces(r, key))
		return read_pieces(r, want, ret);
	return object && !want ? pass_over(r) : read_value(r, want, ret);
}

static bool read_member(struct reader *r, const struct json_fields *want, size_t first_key, json_t *object)
{
	const struct json_key *key;
	size_t at = r->keys->n;
	json_t *value = NULL;

	if (!read_key(r, first_key) || !read_value_of(r, want, &r->keys->all[at], &value))
		return false;
	key = &r->keys->all[at];
	if (value)
		json_object_setn_new_nocheck(object, key->text, key->len, value);
	json_scan_space(&r->text);
	return true;
}

static bool read_members(struct reader *r, const struct json_fields *want, json_t *object)
{
	size_t first_key = r->keys->n;

	do {
		if (!read_member(r, want, first_key, object))
			return false;
	} while (json_scan_take(&r->text, ','));
	return json_keys_end(r->keys, first_key) && json_scan_take(&r->text, '}');
}

static bool read_object(struct reader *r, const struct json_fields *want, json_t **ret)
{
	json_t *object = is_made(r, want) ? json_object() : NULL;

	r->text.at++;
	json_scan_space(&r->text);
	if (!json_scan_take(&r->text, '}') && !read_members(r, want, object)) {
		json_decref(object);
		return false;
	}
	*ret = object;
	return true;
}

static bool read_any(struct reader *r, const struct json_fields *want, json_t **ret)
{
	switch (json_scan_peek(&r->text)) {
	case '{':
		return read_object(r, want, ret);
	case '[':
		return read_list(r, want, ret);
	case '"':
		return read_string(r, want, ret);
	case 't':
		return read_word(r, "true", json_true(), want, ret);
	case 'f':
		return read_word(r, "false", json_false(), want, ret);
	case 'n':
		return read_word(r, "null", json_null(), want, ret);
	default:
		return read_number(r, want, ret);
	}
}

/* @want: NULL: it is not meant. @ret: written when it is good and made. */
static bool read_value(struct reader *r, const struct json_fields *want, json_t **ret)
{
	bool good;

	if (r->depth == DEPTH_MAX)
		return false;
	r->depth++;
	good = read_any(r, want, ret);
	r->depth--;
	return good;
}

static json_t *read_document(struct reader *r, const struct json_fields *fields)
{
	json_t *j = NULL;
	bool good;

	json_scan_space(&r->text);
	good = read_value(r, fields, &j);
	json_scan_space(&r->text);
	if (good && r->text.at == r->text.end)
		return j;
	json_decref(j);
	return NULL;
}

json_t *json_read(const char *what, const char *text, size_t len, const struct json_fields *fields, char **ret_error)
{
	_cleanup_(json_keys_done) struct json_keys keys = { 0 };
	struct reader r = { .text = { text, text + len }, .keys = &keys };
	json_t *j = read_document(&r, fields);

	return j ? j : json_parse(what, text, len, ret_error);
}

int json_read_pieces(const char *what, const char *text, size_t len, const char *list, const struct json_fields *fields, struct json_pieces *ret,
		     char **ret_error)
{
	struct json_pieces found = { 0 };
	struct reader r = { .text = { text, text + len }, .keys = &found.keys, .list = list, .pieces = &found };

	found.rest = read_document(&r, fields);
	if (!found.rest) {
		json_pieces_done(&found);
		json_decref(json_parse(what, text, len, ret_error));
		return -EBADMSG;
	}
	*ret = found;
	return 0;
}

json_t *json_next_piece(struct json_pieces *p)
{
	struct reader r = { .keys = &p->keys, .pieces = p, .makes = true };
	json_t *j;

	if (p->at == p->n)
		return NULL;
	r.text = (struct json_scan){ p->all[p->at].from, p->all[p->at].end };
	p->at++;
	j = read_document(&r, p->fields);
	assert(j);
	return j;
}

void json_pieces_done(struct json_pieces *p)
{
	json_decref(p->rest);
	free(p->all);
	free(p->idle);
	json_keys_done(&p->keys);
	*p = (struct json_pieces){ 0 };
}
