/* SPDX-License-Identifier: Apache-2.0 */
/* What a router says of an outer packet: anybody may send it. */
#include "agent/too_big.h"
#include "fuzz.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = xmalloc(size + 1);
	struct too_big told;
	int r;

	if (size)
		memcpy(copy, data, size);
	r = too_big_read(copy, size, &told);
	REQUIRE(r == 0 || r == -ENOMSG || r == -EBADMSG);
	REQUIRE(r < 0 || (size >= 56 && copy[0] == 2 && copy[14] == 17 && told.mtu >= 1280));
	REQUIRE(r < 0 || (memcmp(&told.from, copy + 16, 16) == 0 && memcmp(&told.to, copy + 32, 16) == 0));
	free(copy);
	return 0;
}
