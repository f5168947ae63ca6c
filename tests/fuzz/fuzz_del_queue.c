/* SPDX-License-Identifier: Apache-2.0 */
/* A queued DEL as somebody else left it on the disk: it is handed over with both fields, or removed; never twice, and
 * never in the way of the next one. */
#include "base/file.h"
#include "base/log.h"
#include "cni/queue.h"
#include "fuzz.h"

static unsigned calls, good;

static bool on_del(const char *container, const char *ifname, _unused_ void *ctx)
{
	REQUIRE(container && ifname);
	calls++;
	good += streq(container, "good") && streq(ifname, "eth0");
	return true;
}

static bool keep(_unused_ const char *container, _unused_ const char *ifname, _unused_ void *ctx)
{
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *dir = xstrdup(fuzz_path("queue")), *file = xasprintf("%s/foreign.json", dir);
	int n;

	log_set_level(LOG_ERROR);
	calls = good = 0;
	REQUIRE(del_queue_put(dir, "good", "eth0") == 0);
	REQUIRE(file_write_atomic(file, data, size, 0600) == 0);
	REQUIRE(del_queue_drain(dir, keep, NULL) <= 1); /* the foreign file may be no DEL: then it goes */
	n = del_queue_drain(dir, on_del, NULL);
	REQUIRE(n >= 1 && n <= 2 && calls == (unsigned)n && good >= 1);
	REQUIRE(del_queue_drain(dir, on_del, NULL) == 0 && access(file, F_OK) < 0);
	return 0;
}
