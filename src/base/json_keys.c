/* SPDX-License-Identifier: Apache-2.0 */
/* Most objects have few keys: each new one is compared with those before it, by a mark first. From FEW on they are sorted when the object is over, so that who
 * sends very many does not make us compare each with each. */
#include "base/json_keys.h"

enum { FEW = 48 };

static uint64_t load(const char *at, size_t n)
{
	uint64_t v = 0;

	memcpy(&v, at, n);
	return v;
}

static uint64_t mark_of(const char *text, size_t len)
{
	uint64_t head, tail;

	if (len >= 8) {
		head = load(text, 8);
		tail = load(text + len - 8, 8);
	} else if (len >= 4) {
		head = load(text, 4);
		tail = load(text + len - 4, 4);
	} else {
		head = len ? (uint8_t)text[0] | (uint8_t)text[len / 2] << 8 : 0;
		tail = len ? (uint8_t)text[len - 1] : 0;
	}
	return (head * 0x9e3779b97f4a7c15ull ^ tail) * 0xff51afd7ed558ccdull + len;
}

static bool is_same(const struct json_key *a, const struct json_key *b)
{
	return a->mark == b->mark && a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

bool json_keys_add(struct json_keys *k, size_t first, const struct json_span *span)
{
	struct json_key key = { .text = span->text, .len = span->len };
	size_t from = k->n - first < FEW ? first : k->n;

	if (span->escaped) {
		key.text = key.owned = xmalloc(span->len);
		key.len = json_span_decode(span, key.owned);
	}
	key.mark = mark_of(key.text, key.len);
	GROW(k->all, k->n, k->cap);
	k->all[k->n++] = key;
	for (size_t i = from; i < k->n - 1; i++)
		if (is_same(&k->all[i], &key))
			return false;
	return true;
}

static int compare(const void *a, const void *b)
{
	const struct json_key *x = a, *y = b;

	if (x->mark != y->mark)
		return x->mark < y->mark ? -1 : 1;
	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return memcmp(x->text, y->text, x->len);
}

static bool differ(struct json_key *keys, size_t n)
{
	qsort(keys, n, sizeof(*keys), compare);
	for (size_t i = 1; i < n; i++)
		if (is_same(&keys[i - 1], &keys[i]))
			return false;
	return true;
}

static void drop(struct json_keys *k, size_t first)
{
	for (size_t i = first; i < k->n; i++)
		free(k->all[i].owned);
	k->n = first;
}

bool json_keys_end(struct json_keys *k, size_t first)
{
	bool good = k->n - first <= FEW || differ(k->all + first, k->n - first);

	drop(k, first);
	return good;
}

void json_keys_done(struct json_keys *k)
{
	drop(k, 0);
	free(k->all);
	*k = (struct json_keys){ 0 };
}
