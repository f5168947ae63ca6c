/* SPDX-License-Identifier: Apache-2.0 */
/* kubeconfigs: accepted ones name a server on one line, a certificate with its key; refused ones say why. */
#include "fuzz.h"
#include "kube/kubeconfig.h"

static void check_line(const char *s)
{
	REQUIRE(!s || (*s && !strpbrk(s, "\r\n")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(kube_config_done) struct kube_config c = { 0 };
	struct fuzz_input in = { data, size };
	_cleanup_free_ char *text = NULL, *error = NULL;
	size_t len;
	int r;

	text = fuzz_text(&in, &len);
	if (strstr(text, "/dev") || strstr(text, "/proc")) /* a kubeconfig may name files, and reading those may wait */
		return 0;
	r = kube_config_parse("config", text, len, "/nonexistent", &c, &error);
	REQUIRE((r < 0) == (error != NULL));
	if (r < 0) {
		fuzz_require_line(error);
		REQUIRE(str_has_prefix(error, "config: ") && !c.server);
		return 0;
	}
	REQUIRE(str_has_prefix(c.server, "http://") || str_has_prefix(c.server, "https://"));
	REQUIRE(!str_has_suffix(c.server, "/") && !strpbrk(c.server, " ?#@"));
	REQUIRE(!c.cert == !c.key);
	check_line(c.server);
	check_line(c.token);
	check_line(c.tls_server_name);
	check_line(c.namespace_);
	return 0;
}
