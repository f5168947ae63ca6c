/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/errors.h"
#include "base/str.h"

void policy_errors_done(struct policy_errors *e)
{
	for (unsigned i = 0; i < e->n; i++)
		free(e->text[i]);
	free(e->text);
	*e = (struct policy_errors){ 0 };
}

static char *at_format(const struct at *at)
{
	_cleanup_free_ char *up = NULL;
	char key[128];

	if (!at)
		return xstrdup("");
	up = at_format(at->up);
	if (!at->key)
		return xasprintf("%s[%zu]", up, at->index);
	str_escape(key, sizeof(key), at->key);
	return xasprintf("%s%s%s", up, *up ? "." : "", key);
}

void policy_error(struct policy_errors *e, const struct at *at, const char *fmt, ...)
{
	_cleanup_free_ char *path = NULL, *text = NULL;
	va_list ap;

	if (!e || e->total++ >= POLICY_ERRORS_MAX)
		return;
	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	path = at_format(at);
	GROW(e->text, e->n, e->cap);
	e->text[e->n++] = xasprintf("%s: %s", path, text);
}

void policy_error_value(struct policy_errors *e, const struct at *at, const char *value, const char *message)
{
	char shown[128];

	str_escape(shown, sizeof(shown), value);
	policy_error(e, at, "\"%s\": %s", shown, message);
}
