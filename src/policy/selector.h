/* SPDX-License-Identifier: Apache-2.0 */
/* LabelSelector: parsed, checked, in canonical form, so that selectors which say the same in other words are equal. */
#pragma once

#include "base/json.h"
#include "policy/errors.h"

enum selector_op { SELECTOR_IN, SELECTOR_NOT_IN, SELECTOR_EXISTS, SELECTOR_NOT_EXISTS };

struct selector_term {
	char *key;
	enum selector_op op;
	unsigned n;
	char **values; /* sorted, each once */
};

struct selector {
	unsigned n; /* terms that must all hold; 0 selects everything */
	struct selector_term *terms; /* sorted, each once; matchLabels are IN with one value */
	char *text; /* canonical: equal text, equal selector. "app in (a,b),!x", "" selects everything */
};

struct selector *selector_free(struct selector *s);
DEFINE_CLEANUP(struct selector *, selector_free)
struct selector *selector_new_any(void);

/**
 * selector_parse() - a LabelSelector as the API has it
 * @j: the object; NULL or null is the empty selector
 *
 * Keys and values are held to the API's rules for labels. Return: 0, -EINVAL with at least one error added.
 */
int selector_parse(const json_t *j, const struct at *at, struct policy_errors *e, struct selector **ret);

static inline bool selector_is_any(const struct selector *s)
{
	return s->n == 0;
}
