/* SPDX-License-Identifier: Apache-2.0 */
/* What `weft why` is asked: the words of the command line, and the parameters as somebody else may send them. What is accepted is
 * within its bounds, what is refused is one line. */
#include "fuzz.h"
#include "base/json.h"
#include "observe/query.h"

static void check_end(const struct query_end *e)
{
	REQUIRE(e->how <= QUERY_WORLD);
	REQUIRE((e->how == QUERY_POD) == (e->namespace_ != NULL));
	REQUIRE((e->how == QUERY_POD || e->how == QUERY_NODE) == (e->name != NULL));
	REQUIRE(!e->name || name_is_dns_subdomain(e->name));
}

static void check(const json_t *params)
{
	char *error = NULL;
	struct query q;

	if (query_parse(params, &q, &error) < 0) {
		fuzz_require_line(error);
		free(error);
		return;
	}
	REQUIRE(!error);
	check_end(&q.from);
	check_end(&q.to);
	REQUIRE((q.protocol == IPPROTO_TCP || q.protocol == IPPROTO_UDP || q.protocol == IPPROTO_SCTP) == (q.port != 0));
	query_done(&q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	size_t n;
	_cleanup_free_ char *source = fuzz_text(&in, NULL), *destination = fuzz_text(&in, NULL), *text = fuzz_text(&in, &n);
	_cleanup_json_ json_t *words = json_object(), *params = json_parse("params", text, n, NULL);

	query_split(source, destination, words);
	check(words);
	if (json_is_object(params))
		check(params);
	return 0;
}
