/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/table.h"
#include "base/str.h"
#include "hub/kind_hooks.h"
#include "hub/selector.h"

static const struct column *columns_of(const struct kind *k)
{
	return k->columns ? k->columns : default_columns;
}

static void write_string(struct buf *out, const char *s)
{
	_cleanup_json_ json_t *j = json_string(s);
	_cleanup_free_ char *text = json_text(j ? j : json_null());

	buf_adds(out, text);
}

void table_write_columns(const struct kind *k, struct buf *out)
{
	buf_adds(out, "\"columnDefinitions\":[");
	for (const struct column *c = columns_of(k); c->name; c++) {
		buf_adds(out, c == columns_of(k) ? "{\"name\":" : ",{\"name\":");
		write_string(out, c->name);
		buf_addf(out, ",\"type\":\"%s\",\"format\":\"%s\",\"priority\":%d,\"description\":", c->type,
			 streq(c->name, "Name") ? "name" : "", c->priority);
		write_string(out, c->doc);
		buf_adds(out, "}");
	}
	buf_adds(out, "]");
}

static void write_cell(const struct column *c, const json_t *obj, struct buf *out)
{
	const json_t *value = c->cell ? NULL : json_dotted(obj, c->path);
	struct buf text = { 0 };

	if (json_is_integer(value)) {
		buf_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		return;
	}
	if (c->cell)
		c->cell(obj, &text);
	else
		buf_adds(&text, json_str_or(value, c->priority ? "<none>" : ""));
	write_string(out, text.data ? text.data : "");
	buf_done(&text);
}

void table_write_row(const struct object *o, enum table_object with, struct buf *out)
{
	buf_adds(out, "{\"cells\":[");
	for (const struct column *c = columns_of(o->kind); c->name; c++) {
		if (c != columns_of(o->kind))
			buf_adds(out, ",");
		write_cell(c, o->json, out);
	}
	buf_adds(out, "]");
	if (with == TABLE_OBJECT) {
		buf_adds(out, ",\"object\":");
		buf_add(out, o->text, o->text_len);
	} else if (with == TABLE_METADATA) {
		_cleanup_free_ char *meta = json_text(json_object_get(o->json, "metadata"));

		buf_adds(out, ",\"object\":{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":");
		buf_adds(out, meta);
		buf_adds(out, "}");
	}
	buf_adds(out, "}");
}
