/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/events.h"
#include "base/test.h"

static void an_events_name_is_a_name(void)
{
	char of[300];
	char *name = events_name("web-1.example", 0xab);

	CHECK_STR(name, "web-1.example.00000000000000ab");
	free(name);
	memset(of, 'a', sizeof(of) - 1);
	of[sizeof(of) - 1] = 0;
	memcpy(of + EVENTS_NAME_PART - 3, "b.-", 3);
	name = events_name(of, 1);
	CHECK_INT(strlen(name), EVENTS_NAME_PART - 2 + 17);
	CHECK(strncmp(name + EVENTS_NAME_PART - 4, "ab.0", 4) == 0);
	free(name);
}

int main(void)
{
	RUN(an_events_name_is_a_name);
	return test_end();
}
