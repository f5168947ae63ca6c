/* SPDX-License-Identifier: Apache-2.0 */
/* The file host-cluster.json. What can be read of it is written so that it is read again as the same; an error is one line. */
#include "agent/host_cluster.h"
#include "fuzz.h"

/* Of what a model has taken in nothing is lost by writing it. */
static void check_stable(const struct model *m, const struct failsafe_api *api)
{
	_cleanup_free_ char *once = host_cluster_format(m, api), *twice = NULL, *why = NULL;
	_cleanup_(model_freep) struct model *again = model_new();
	struct failsafe_api ports = { 0 };

	REQUIRE(once);
	REQUIRE(host_cluster_parse("file", once, strlen(once), again, &ports, &why) == 0 && !why);
	twice = host_cluster_format(again, &ports);
	REQUIRE(twice && streq(once, twice));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(model_freep) struct model *m = model_new();
	struct fuzz_input in = { data, size };
	size_t len;
	_cleanup_free_ char *text = fuzz_text(&in, &len), *why = NULL;
	struct failsafe_api api = { 0 };
	int error = host_cluster_parse("file", text, len, m, &api, &why);

	REQUIRE((error < 0) == (why != NULL) && (error == 0 || error == -EINVAL));
	if (why)
		fuzz_require_line(why);
	REQUIRE(api.n_in <= FAILSAFE_API_MAX && api.n_out <= FAILSAFE_API_MAX);
	check_stable(m, &api);
	return 0;
}
