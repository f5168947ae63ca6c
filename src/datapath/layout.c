/* SPDX-License-Identifier: Apache-2.0 */
#include "datapath/layout.h"

enum { DEPTH_MAX = 8 }; /* our own structs; a loop in foreign BTF ends here */

/* Through typedefs and qualifiers. */
static const struct btf_type *resolve(struct layout *l)
{
	const struct btf_type *t = btf__type_by_id(l->btf, l->id);

	while (t && (btf_is_mod(t) || btf_is_typedef(t))) {
		l->id = t->type;
		t = btf__type_by_id(l->btf, l->id);
	}
	return t;
}

static size_t size_of(struct layout l)
{
	long size = btf__resolve_size(l.btf, l.id);

	return size < 0 ? 0 : size;
}

static struct layout member_of(struct layout l, const struct btf_member *m)
{
	return (struct layout){ l.btf, m->type };
}

static const struct btf_member *find_member(struct layout l, const struct btf_type *t, const char *name)
{
	const struct btf_member *m = btf_members(t);

	for (unsigned i = 0; i < btf_vlen(t); i++)
		if (streq(btf__name_by_offset(l.btf, m[i].name_off), name))
			return &m[i];
	return NULL;
}

static bool same(struct layout a, struct layout b, int depth)
{
	const struct btf_type *x = resolve(&a), *y = resolve(&b);

	if (!x || !y || depth > DEPTH_MAX)
		return x == y;
	if (btf_kind(x) != btf_kind(y) || size_of(a) != size_of(b))
		return false;
	if (btf_is_array(x))
		return btf_array(x)->nelems == btf_array(y)->nelems &&
		       same((struct layout){ a.btf, btf_array(x)->type }, (struct layout){ b.btf, btf_array(y)->type }, depth + 1);
	if (!btf_is_composite(x))
		return true;
	if (btf_vlen(x) != btf_vlen(y))
		return false;
	for (unsigned i = 0; i < btf_vlen(x); i++) {
		const struct btf_member *m = btf_members(x) + i, *n = btf_members(y) + i;

		if (m->offset != n->offset ||
		    !streq(btf__name_by_offset(a.btf, m->name_off), btf__name_by_offset(b.btf, n->name_off)) ||
		    !same(member_of(a, m), member_of(b, n), depth + 1))
			return false;
	}
	return true;
}

bool layout_same(struct layout a, struct layout b)
{
	if (!a.id || !b.id)
		return a.id == b.id;
	return same(a, b, 0);
}

static void copy(struct layout to, uint8_t *dst, struct layout from, const uint8_t *src, int depth);

static void copy_struct(struct layout to, const struct btf_type *x, uint8_t *dst, struct layout from,
			const struct btf_type *y, const uint8_t *src, int depth)
{
	for (unsigned i = 0; i < btf_vlen(x); i++) {
		const struct btf_member *m = btf_members(x) + i, *n;

		n = find_member(from, y, btf__name_by_offset(to.btf, m->name_off));
		if (n)
			copy(member_of(to, m), dst + m->offset / 8, member_of(from, n), src + n->offset / 8, depth + 1);
	}
}

static void copy_array(struct layout to, const struct btf_array *x, uint8_t *dst, struct layout from,
		       const struct btf_array *y, const uint8_t *src, int depth)
{
	struct layout a = { to.btf, x->type }, b = { from.btf, y->type };
	size_t size_a = size_of(a), size_b = size_of(b);

	for (uint32_t i = 0; i < MIN(x->nelems, y->nelems); i++)
		copy(a, dst + i * size_a, b, src + i * size_b, depth + 1);
}

static void copy(struct layout to, uint8_t *dst, struct layout from, const uint8_t *src, int depth)
{
	const struct btf_type *x = resolve(&to), *y = resolve(&from);

	if (!x || !y || depth > DEPTH_MAX)
		return;
	if (btf_is_struct(x) && btf_is_struct(y))
		copy_struct(to, x, dst, from, y, src, depth);
	else if (btf_is_array(x) && btf_is_array(y))
		copy_array(to, btf_array(x), dst, from, btf_array(y), src, depth);
	else if (btf_kind(x) == btf_kind(y) || (!btf_is_composite(x) && !btf_is_composite(y)))
		memcpy(dst, src, MIN(size_of(to), size_of(from)));
}

void layout_copy(struct layout to, void *dst, struct layout from, const void *src)
{
	copy(to, dst, from, src, 0);
}
