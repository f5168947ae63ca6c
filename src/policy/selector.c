/* SPDX-License-Identifier: Apache-2.0 */
/* Canonical form: matchLabels become terms like any other, values and terms are sorted and said once. The text of that
 * form is the identity; label keys and values cannot hold the characters that separate them, so it is unambiguous. */
#include "policy/selector.h"
#include "base/buf.h"
#include "base/str.h"

enum { TERMS_MAX = 256, VALUES_MAX = 4096 };

static void term_done(struct selector_term *t)
{
	for (unsigned i = 0; i < t->n; i++)
		free(t->values[i]);
	free(t->values);
	free(t->key);
}

struct selector *selector_free(struct selector *s)
{
	if (!s)
		return NULL;
	for (unsigned i = 0; i < s->n; i++)
		term_done(&s->terms[i]);
	free(s->terms);
	free(s->text);
	free(s);
	return NULL;
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* [A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?, at most 63 bytes */
static bool is_label_name(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > 63 || !is_alnum(s[0]) || !is_alnum(s[n - 1]))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!is_alnum(s[i]) && !strchr("-_.", s[i]))
			return false;
	return true;
}

static bool is_label_key(const char *s)
{
	const char *slash = strchr(s, '/');
	_cleanup_free_ char *domain = NULL;

	if (!slash)
		return is_label_name(s);
	domain = xstrndup(s, slash - s);
	return name_is_dns_subdomain(domain) && is_label_name(slash + 1);
}

static bool is_label_value(const char *s)
{
	return !*s || is_label_name(s);
}

static int cmp_str(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_values(struct selector_term *t)
{
	unsigned out = 0;

	if (t->n)
		qsort(t->values, t->n, sizeof(*t->values), cmp_str);
	for (unsigned i = 0; i < t->n; i++) {
		if (out && streq(t->values[out - 1], t->values[i]))
			free(t->values[i]);
		else
			t->values[out++] = t->values[i];
	}
	t->n = out;
}

static void term_text(struct buf *b, const struct selector_term *t)
{
	if (t->op == SELECTOR_EXISTS || t->op == SELECTOR_NOT_EXISTS) {
		(void)buf_addf(b, "%s%s", t->op == SELECTOR_EXISTS ? "" : "!", t->key);
		return;
	}
	(void)buf_addf(b, "%s %s (", t->key, t->op == SELECTOR_IN ? "in" : "notin");
	for (unsigned i = 0; i < t->n; i++)
		(void)buf_addf(b, "%s%s", i ? "," : "", t->values[i]);
	(void)buf_adds(b, ")");
}

static int cmp_term(const void *a, const void *b)
{
	const struct selector_term *x = a, *y = b;
	int c = strcmp(x->key, y->key);

	if (!c)
		c = (int)x->op - (int)y->op;
	if (!c)
		c = (int)x->n - (int)y->n;
	for (unsigned i = 0; !c && i < x->n; i++)
		c = strcmp(x->values[i], y->values[i]);
	return c;
}

static void canonicalize(struct selector *s)
{
	struct buf b = { 0 };
	unsigned out = 0;

	if (s->n)
		qsort(s->terms, s->n, sizeof(*s->terms), cmp_term);
	for (unsigned i = 0; i < s->n; i++) {
		if (out && cmp_term(&s->terms[out - 1], &s->terms[i]) == 0)
			term_done(&s->terms[i]);
		else
			s->terms[out++] = s->terms[i];
	}
	s->n = out;
	for (unsigned i = 0; i < s->n; i++) {
		if (i)
			(void)buf_adds(&b, ",");
		term_text(&b, &s->terms[i]);
	}
	s->text = b.data ? b.data : xstrdup("");
}

struct selector *selector_new_any(void)
{
	struct selector *s = xnew0(struct selector);

	canonicalize(s);
	return s;
}

static struct selector_term *add_term(struct selector *s, const char *key, enum selector_op op)
{
	s->terms = xrealloc(s->terms, s->n + 1, sizeof(*s->terms));
	s->terms[s->n] = (struct selector_term){ .key = xstrdup(key), .op = op };
	return &s->terms[s->n++];
}

static void add_value(struct selector_term *t, const char *value)
{
	t->values = xrealloc(t->values, t->n + 1, sizeof(*t->values));
	t->values[t->n++] = xstrdup(value);
}

static int check_key(const char *key, const struct at *at, struct policy_errors *e)
{
	if (is_label_key(key))
		return 0;
	policy_error_value(e, at, key, "expected a label key ([domain/]name, letters, digits, '-', '_', '.')");
	return -EINVAL;
}

static int check_value(const char *value, const struct at *at, struct policy_errors *e)
{
	if (is_label_value(value))
		return 0;
	policy_error_value(e, at, value, "expected a label value (at most 63 letters, digits, '-', '_', '.')");
	return -EINVAL;
}

static int parse_labels(struct selector *s, const json_t *j, const struct at *at, struct policy_errors *e)
{
	const char *key;
	json_t *v;

	if (!j || json_is_null(j))
		return 0;
	if (!json_is_object(j) || json_object_size(j) > TERMS_MAX) {
		policy_error(e, at, "expected an object of at most %d labels", TERMS_MAX);
		return -EINVAL;
	}
	json_object_foreach((json_t *)j, key, v) {
		const char *value = json_string_value(v);

		if (!value) {
			policy_error(e, AT_KEY(at, key), "expected a string");
			return -EINVAL;
		}
		if (check_key(key, AT_KEY(at, key), e) < 0 || check_value(value, AT_KEY(at, key), e) < 0)
			return -EINVAL;
		add_value(add_term(s, key, SELECTOR_IN), value);
	}
	return 0;
}

static int parse_op(const char *text, enum selector_op *ret)
{
	static const char *const names[] = { "In", "NotIn", "Exists", "DoesNotExist" };

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (streq(names[i], text)) {
			*ret = i;
			return 0;
		}
	return -EINVAL;
}

static int parse_values(struct selector_term *t, const json_t *j, const struct at *at, struct policy_errors *e)
{
	size_t n = json_array_size(j);

	if (j && !json_is_null(j) && !json_is_array(j)) {
		policy_error(e, at, "expected an array of strings");
		return -EINVAL;
	}
	if ((t->op == SELECTOR_IN || t->op == SELECTOR_NOT_IN) ? n == 0 || n > VALUES_MAX : n > 0) {
		policy_error(e, at, "In and NotIn need 1 to %d values, Exists and DoesNotExist none", VALUES_MAX);
		return -EINVAL;
	}
	for (size_t i = 0; i < n; i++) {
		const char *value = json_string_value(json_array_get(j, i));

		if (!value) {
			policy_error(e, AT_INDEX(at, i), "expected a string");
			return -EINVAL;
		}
		if (check_value(value, AT_INDEX(at, i), e) < 0)
			return -EINVAL;
		add_value(t, value);
	}
	sort_values(t);
	return 0;
}

static int parse_expression(struct selector *s, const json_t *j, const struct at *at, struct policy_errors *e)
{
	const char *key = json_str_at(j, "key"), *op_text = json_str_at(j, "operator");
	enum selector_op op;

	if (!key) {
		policy_error(e, AT_KEY(at, "key"), "expected a string");
		return -EINVAL;
	}
	if (check_key(key, AT_KEY(at, "key"), e) < 0)
		return -EINVAL;
	if (parse_op(op_text, &op) < 0) {
		policy_error_value(e, AT_KEY(at, "operator"), op_text ? op_text : "",
				   "expected In, NotIn, Exists or DoesNotExist");
		return -EINVAL;
	}
	return parse_values(add_term(s, key, op), json_object_get(j, "values"), AT_KEY(at, "values"), e);
}

static int parse_expressions(struct selector *s, const json_t *j, const struct at *at, struct policy_errors *e)
{
	if (!j || json_is_null(j))
		return 0;
	if (!json_is_array(j) || json_array_size(j) > TERMS_MAX) {
		policy_error(e, at, "expected an array of at most %d expressions", TERMS_MAX);
		return -EINVAL;
	}
	for (size_t i = 0; i < json_array_size(j); i++)
		if (parse_expression(s, json_array_get(j, i), AT_INDEX(at, i), e) < 0)
			return -EINVAL;
	return 0;
}

static int check_fields(const json_t *j, const struct at *at, struct policy_errors *e)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)j, key, v) {
		if (streq(key, "matchLabels") || streq(key, "matchExpressions"))
			continue;
		policy_error(e, AT_KEY(at, key), "unknown field of a selector");
		return -EINVAL;
	}
	return 0;
}

int selector_parse(const json_t *j, const struct at *at, struct policy_errors *e, struct selector **ret)
{
	_cleanup_(selector_freep) struct selector *s = xnew0(struct selector);

	if (j && !json_is_null(j)) {
		if (!json_is_object(j)) {
			policy_error(e, at, "expected a label selector");
			return -EINVAL;
		}
		if (check_fields(j, at, e) < 0 ||
		    parse_labels(s, json_object_get(j, "matchLabels"), AT_KEY(at, "matchLabels"), e) < 0 ||
		    parse_expressions(s, json_object_get(j, "matchExpressions"), AT_KEY(at, "matchExpressions"), e) < 0)
			return -EINVAL;
	}
	canonicalize(s);
	*ret = take_ptr(s);
	return 0;
}
