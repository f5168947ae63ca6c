/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's options: a file, then `--set` arguments. Whatever comes, every option has a value within its bounds, and
 * every refusal says where and what. */
#include "agent/options.h"
#include "fuzz.h"

static void check_text(const char *s)
{
	REQUIRE(s);
	for (; *s; s++)
		REQUIRE((unsigned char)*s >= 0x20 && *s != 0x7f);
}

static void check_path(const char *s, bool may_be_empty)
{
	check_text(s);
	REQUIRE(*s ? *s == '/' && !strstr(s, "/../") : may_be_empty);
}

static void check_bounds(const struct options *o)
{
	check_text(o->node_name);
	check_text(o->uplinks);
	check_path(o->kubeconfig, false);
	check_path(o->run_dir, false);
	check_path(o->bpf_dir, false);
	check_path(o->cni_conf_dir, true);
	check_path(o->cni_bin_dir, true);
	REQUIRE(*o->uplinks && (!*o->node_name || name_is_dns_subdomain(o->node_name)));
	REQUIRE(o->transport <= TRANSPORT_GENEVE && o->attach <= ATTACH_CLSACT && o->log_level <= LOG_DEBUG);
	REQUIRE(o->mtu <= 65535 && o->vxlan_port >= 1 && o->vxlan_port <= 65535);
	REQUIRE(o->vxlan_vni >= 1 && o->vxlan_vni < 1 << 24 && o->rest_seconds <= 86400);
	REQUIRE(o->flow_table_size >= 1024 && o->flow_table_size <= 1 << 24);
}

static void check_error(int r, char *error, const char *where)
{
	REQUIRE((r < 0) == (error != NULL));
	if (error) {
		fuzz_require_line(error);
		REQUIRE(strstr(error, where) == error);
	}
	free(error);
}

static void set_one(struct options *o, char *arg)
{
	char *eq = strchr(arg, '='), *error = NULL;
	int r;

	if (!eq)
		return;
	*eq = 0;
	r = options_set(o, "--set", arg, eq + 1, &error);
	REQUIRE(r == 0 || r == -ENOENT || r == -EINVAL || r == -ERANGE);
	check_error(r, error, "--set: ");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	size_t len;
	_cleanup_free_ char *text = fuzz_text(&in, &len);
	char *error = NULL;
	struct options o;
	int r;

	options_init(&o);
	check_bounds(&o);
	r = options_load_text(&o, "weftd.yaml", text, len, &error);
	check_error(r, error, "weftd.yaml: line ");
	while (in.size) {
		_cleanup_free_ char *arg = fuzz_text(&in, NULL);

		set_one(&o, arg);
	}
	error = NULL;
	r = options_finish(&o, &error);
	check_error(r, error, "host name: ");
	check_bounds(&o);
	options_done(&o);
	return 0;
}
