/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests: TAP on standard output, one line a test. A test is a function; CHECK() ends it on the first failure.
 *
 *	static void parses_ipv4(void) { CHECK(addr_parse("10.0.0.1", &a) == 0); CHECK_STR(text, "10.0.0.1"); }
 *	int main(void) { RUN(parses_ipv4); return test_end(); }
 */
#pragma once

#include "base/macro.h"

#include <setjmp.h>

static jmp_buf test_failed;
static int test_count, test_failures;

#define CHECK(cond)                                                                                                    \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			printf("# %s:%d: %s\n", __FILE__, __LINE__, #cond);                                            \
			longjmp(test_failed, 1);                                                                       \
		}                                                                                                      \
	} while (0)
#define CHECK_INT(a, b)                                                                                                \
	do {                                                                                                           \
		long long _x = (a), _y = (b);                                                                          \
		if (_x != _y) {                                                                                        \
			printf("# %s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #a, _x, _y);                     \
			longjmp(test_failed, 1);                                                                       \
		}                                                                                                      \
	} while (0)
#define CHECK_STR(a, b)                                                                                                \
	do {                                                                                                           \
		const char *_x = (a), *_y = (b);                                                                       \
		if (!streq(_x, _y)) {                                                                                  \
			printf("# %s:%d: %s is \"%s\", not \"%s\"\n", __FILE__, __LINE__, #a, _x ? _x : "(null)",      \
			       _y ? _y : "(null)");                                                                    \
			longjmp(test_failed, 1);                                                                       \
		}                                                                                                      \
	} while (0)

#define RUN(fn)                                                                                                        \
	do {                                                                                                           \
		test_count++;                                                                                          \
		if (setjmp(test_failed) == 0) {                                                                        \
			fn();                                                                                          \
			printf("ok %d - %s\n", test_count, #fn);                                                       \
		} else {                                                                                               \
			test_failures++;                                                                               \
			printf("not ok %d - %s\n", test_count, #fn);                                                   \
		}                                                                                                      \
		fflush(stdout);                                                                                        \
	} while (0)

static inline int test_end(void)
{
	printf("1..%d\n", test_count);
	return test_failures ? 1 : 0;
}
