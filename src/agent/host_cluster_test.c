/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/host_cluster.h"
#include "base/json.h"
#include "base/test.h"

static const char whole[] =
	"{\"api\":{\"in\":[6443],\"out\":[6443,17003]},\"nodes\":[{\"metadata\":{\"labels\":{\"zone\":\"a\"},\"name\":\"n1\"},"
	"\"spec\":{\"podCIDRs\":[\"10.1.0.0/24\",\"fd00:1::/64\"]},\"status\":{\"addresses\":[{\"address\":\"192.0.2.1\",\"type\":\"InternalIP\"},"
	"{\"address\":\"198.51.100.1\",\"type\":\"ExternalIP\"}]}},{\"metadata\":{\"labels\":{},\"name\":\"n2\"},\"spec\":{\"podCIDRs\":[]},"
	"\"status\":{\"addresses\":[]}}]}";

static int parse(const char *text, struct model *m, struct failsafe_api *api)
{
	_cleanup_free_ char *why = NULL;
	int r = host_cluster_parse("file", text, strlen(text), m, api, &why);

	CHECK(r == 0 ? !why : why && strncmp(why, "file: ", 6) == 0);
	return r;
}

static void what_is_written_is_read(void)
{
	struct model *m = model_new();
	struct failsafe_api api;
	const struct model_node *node;
	_cleanup_free_ char *again = NULL;

	CHECK_INT(parse(whole, m, &api), 0);
	node = model_find_node(m, "n1");
	CHECK(node && node->n_cidrs == 2 && node->n_addrs == 1 && node->n_external == 1);
	CHECK_STR(model_label(node->labels, "zone"), "a");
	CHECK(api.n_in == 1 && api.n_out == 2 && api.out[1] == 17003);
	again = host_cluster_format(m, &api);
	CHECK_STR(again, whole);
	model_free(m);
}

/* Whatever stands there: an error, or what of it can be read. */
static void rubbish_is_refused(void)
{
	static const char *const bad[] = { "", "{", "[]", "{\"nodes\":{}}", "null" };
	static const char odd[] = "{\"nodes\":[1,{},{\"metadata\":{\"name\":\"../x\"}},{\"metadata\":{\"name\":\"n1\"},\"spec\":{\"podCIDRs\":[\"10.0.0.0/99\"]}},"
				  "{\"metadata\":{\"name\":\"n2\"}}],\"api\":{\"in\":[0,-1,65536,\"x\"],\"out\":7}}";
	struct model *m = model_new();
	struct failsafe_api api;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_INT(parse(bad[i], m, &api), -EINVAL);
	CHECK_INT(parse(odd, m, &api), 0);
	CHECK(!model_find_node(m, "n1") && model_find_node(m, "n2"));
	CHECK(api.n_in == 0 && api.n_out == 0);
	model_free(m);
}

int main(void)
{
	RUN(what_is_written_is_read);
	RUN(rubbish_is_refused);
	return test_end();
}
