/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/trouble.h"
#include "base/test.h"

static void nothing(void)
{
	_cleanup_(trouble_done) struct trouble t = {0};
	char *why = NULL;

	trouble_note(&t, TROUBLE_ROUTES, 0, "all is well");
	CHECK(!trouble_has(&t, TROUBLE_ROUTES));
	CHECK_INT(trouble_sum(&t, &why), 0);
	CHECK(!why);
}

/* In the order of the steps, whatever comes first; of a kind the first. */
static void one_line_for_each_kind(void)
{
	_cleanup_(trouble_done) struct trouble t = {0};
	_cleanup_free_ char *why = NULL;

	trouble_note(&t, TROUBLE_ROUTES, -EACCES, "10.0.0.0/8 refused");
	trouble_note(&t, TROUBLE_ROUTES, -EINVAL, "10.1.0.0/16 refused");
	trouble_note(&t, TROUBLE_SYSCTLS, -EROFS, "cannot write 1");
	trouble_note(&t, TROUBLE_RULES, -EPERM, "");
	trouble_note(&t, TROUBLE_NEIGHBOURS, 0, NULL);
	CHECK(trouble_has(&t, TROUBLE_ROUTES) && trouble_has(&t, TROUBLE_SYSCTLS) && trouble_has(&t, TROUBLE_RULES) && !trouble_has(&t, TROUBLE_NEIGHBOURS));
	CHECK_INT(trouble_sum(&t, &why), -EROFS);
	CHECK_STR(why, "sysctls: cannot write 1; routes: 10.0.0.0/8 refused; rules: Operation not permitted");
}

int main(void)
{
	RUN(nothing);
	RUN(one_line_for_each_kind);
	return test_end();
}
