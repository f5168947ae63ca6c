/* SPDX-License-Identifier: Apache-2.0 */
/* The file host-policy.json. What is read of it is whole and is written as it was read; whatever its times are, a trial that goes on ends
 * within the time that trials have. */
#include "agent/host_record.h"
#include "fuzz.h"

enum { LONGEST = 60, GRACE = 3 };

/* Written, read, written: nothing more changes. */
static void check_stable(const struct host_record *r)
{
	_cleanup_free_ char *once = host_record_format(r), *twice = NULL;
	struct host_record again;
	char *why = NULL;

	REQUIRE(once);
	REQUIRE(host_record_parse(&again, "file", once, strlen(once), &why) == 0 && !why);
	twice = host_record_format(&again);
	REQUIRE(twice && streq(once, twice));
	host_record_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	uint64_t now = 1000 + fuzz_byte(&in);
	size_t len;
	_cleanup_free_ char *text = fuzz_text(&in, &len), *why = NULL;
	struct host_record r;
	int error = host_record_parse(&r, "file", text, len, &why);

	REQUIRE((error < 0) == (why != NULL) && (error == 0 || error == -EINVAL));
	if (why)
		fuzz_require_line(why);
	REQUIRE(json_is_object(r.confirmed) && json_is_object(r.last) && (r.trial || (!r.taken_back && !r.until)));
	check_stable(&r);
	host_record_revive(&r, "this boot", now, LONGEST, GRACE);
	REQUIRE(!r.trial || r.taken_back || (now < r.until && r.until <= now + LONGEST));
	REQUIRE(r.since <= now && streq(r.boot, "this boot"));
	check_stable(&r);
	host_record_done(&r);
	return 0;
}
