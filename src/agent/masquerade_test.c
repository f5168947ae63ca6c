/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/masquerade.h"
#include "base/test.h"

static struct prefix prefix(const char *text)
{
	struct prefix p = {};

	if (*text)
		CHECK_INT(prefix_parse(text, &p, NULL), 0);
	return p;
}

static void set(struct options *o, const char *name, const char *value)
{
	char *error = NULL;

	CHECK_INT(options_set(o, "test", name, value, &error), 0);
}

static void by_family_and_range(void)
{
	static const struct {
		const char *value, *range;
		bool v4, v6;
	} cases[] = {
		{ "auto", "10.244.0.0/24", true, false }, { "auto", "fd00:244::/64", false, true }, { "auto", "2001:db8::/64", false, false },
		{ "on", "2001:db8::/64", false, true },	  { "off", "fd00:244::/64", false, false }, { "off", "10.244.0.0/24", false, false },
		{ "on", "", false, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct prefix range = prefix(cases[i].range), none = {};
		bool v6 = strchr(cases[i].range, ':');
		struct options o;

		options_init(&o);
		set(&o, "masquerade.ipv4", cases[i].value);
		set(&o, "masquerade.ipv6", cases[i].value);
		CHECK_INT(masquerade_is_on(&o, 0, v6 ? &none : &range), cases[i].v4);
		CHECK_INT(masquerade_is_on(&o, 1, v6 ? &range : &none), cases[i].v6);
		options_done(&o);
	}
}

static size_t count(const struct dp_exempt *list, size_t n, const char *text, bool source)
{
	struct prefix p = prefix(text);
	size_t found = 0;

	for (size_t i = 0; i < n; i++)
		found += prefix_eq(&list[i].prefix, &p) && list[i].source == source;
	return found;
}

static void exemptions_are_there_once(void)
{
	_cleanup_free_ struct dp_exempt *list = NULL;
	struct model *m = model_new();
	struct options o;
	size_t n;

	options_init(&o);
	set(&o, "masquerade.exclude", "10.0.0.0/8, 224.0.0.0/4, 10.0.0.0/8");
	set(&o, "masquerade.excludePools", "10.0.0.0/8");
	n = masquerade_exempt(&o, m, &list);
	CHECK_INT(n, 5 + 1 + 1);
	CHECK_INT(count(list, n, "10.0.0.0/8", false), 1);
	CHECK_INT(count(list, n, "10.0.0.0/8", true), 1);
	CHECK_INT(count(list, n, "224.0.0.0/4", false), 1);
	CHECK_INT(count(list, n, "fe80::/10", false), 1);
	options_done(&o);
	model_free(m);
}

int main(void)
{
	RUN(by_family_and_range);
	RUN(exemptions_are_there_once);
	return test_end();
}
