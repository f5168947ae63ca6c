/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/field.h"
#include "base/str.h"

enum { AT_ONCE = 8, TEXT_MAX = 600 };

const char *field_text(const json_t *o, const char *key)
{
	static char bufs[AT_ONCE][TEXT_MAX];
	static unsigned next;
	char *out = bufs[next++ % AT_ONCE];

	str_show(out, TEXT_MAX, json_str_or(json_object_get(o, key), ""));
	return out;
}

long long field_number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}
