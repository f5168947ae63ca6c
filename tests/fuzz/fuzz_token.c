/* SPDX-License-Identifier: Apache-2.0 */
/* Continue tokens come back from clients: only what the hub could have written is taken, and it is written the same. */
#include "fuzz.h"
#include "hub/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	_cleanup_free_ char *text = fuzz_text(&in, NULL), *again = NULL;
	struct continue_token t, back;

	if (continue_token_parse(text, &t) < 0)
		return 0;
	REQUIRE(t.rev > 0 && t.rev <= INT64_MAX && name_is_dns_subdomain(t.name) && (!*t.ns || name_is_dns_label(t.ns)));
	again = continue_token_format(t.rev, t.ns, t.name);
	REQUIRE(continue_token_parse(again, &back) == 0 && back.rev == t.rev && streq(back.ns, t.ns) && streq(back.name, t.name));
	continue_token_done(&t);
	continue_token_done(&back);
	return 0;
}
