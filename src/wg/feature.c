/* SPDX-License-Identifier: Apache-2.0 */
#include "wg/feature.h"

static const struct {
	const char *name;
	size_t offset;
} table[] = {
#define X(name, help) { #name, offsetof(struct features, name) },
	FEATURES(X)
#undef X
};

int features_parse(const char *disable, struct features *ret, const char **ret_bad)
{
	struct features f;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		*(bool *)((char *)&f + table[i].offset) = true;
	while (disable && *disable) {
		size_t n = strcspn(disable, ","), i;

		for (i = 0; i < ARRAY_SIZE(table); i++) {
			if (strlen(table[i].name) == n && memcmp(table[i].name, disable, n) == 0)
				break;
		}
		if (i == ARRAY_SIZE(table)) {
			*ret_bad = disable;
			return -EINVAL;
		}
		*(bool *)((char *)&f + table[i].offset) = false;
		disable += n + (disable[n] == ',');
	}
	*ret = f;
	return 0;
}
