/* SPDX-License-Identifier: Apache-2.0 */
/* A CNI call: the five variables and standard input, joined by form feeds (an empty variable is not set). A call that is
 * accepted holds nothing unchecked, its result can be written in every version, and CHECK accepts what ADD has said. */
#include "cni/cni.h"
#include "fuzz.h"

static json_t *read_env(struct fuzz_input *in)
{
	json_t *env = json_object();

	for (int i = 0; i < 5; i++) {
		_cleanup_free_ char *value = fuzz_text(in, NULL);

		if (*value)
			json_object_set_new(env, cni_env_names[i], json_string(value));
	}
	return env;
}

static void check_error(const struct cni_error *e, int r, const char *version)
{
	_cleanup_json_ json_t *j = cni_error_format(version, e);

	REQUIRE(r < 0 && e->code == -r);
	fuzz_require_line(e->msg);
	REQUIRE(json_integer_value(json_at(j, "code")) == e->code && streq(json_str_at(j, "msg"), e->msg) &&
		streq(json_str_at(j, "cniVersion"), version));
}

static bool is_path_part(const char *s)
{
	return !strchr(s, '/') && !streq(s, ".") && !streq(s, "..") && strlen(s) < 256;
}

static void check_fields(const struct cni_request *r)
{
	REQUIRE(r->version && is_path_part(r->network) && is_path_part(r->container) && is_path_part(r->ifname));
	REQUIRE(strlen(r->ifname) < 16 && !strstr(r->netns, "/../") && (!*r->netns || *r->netns == '/'));
	REQUIRE(!*r->pod_namespace || name_is_dns_label(r->pod_namespace));
	REQUIRE(is_path_part(r->pod_name));
	if (*r->pod_name)
		fuzz_require_line(r->pod_name);
	REQUIRE(is_path_part(r->pod_uid));
	REQUIRE(r->command > CNI_CHECK || (*r->container && *r->ifname));
	REQUIRE(addr_is_zero(&r->want[0]) || addr_is_v4(&r->want[0]));
	REQUIRE(addr_is_zero(&r->want[1]) || !addr_is_v4(&r->want[1]));
}

/* The result of an ADD with the addresses asked for, in one version. */
static void check_result(const struct cni_request *asked, const char *version)
{
	struct cni_request req = *asked;
	struct cni_result ours = { .host_ifname = "weftabcdefghijk", .ifname = req.ifname, .netns = req.netns,
				   .host_mac = { 2, 0x57, 1 }, .pod_mac = { 2, 0x57, 2 }, .mtu = 1500, .route_mtu = 1450 };
	_cleanup_json_ json_t *j = NULL;
	_cleanup_cni_error_ struct cni_error e = { 0 };
	_cleanup_free_ char *text = NULL;

	memcpy(ours.addrs, req.want, sizeof(ours.addrs));
	req.version = version;
	j = cni_result_format(&req, &ours);
	REQUIRE(j && streq(json_str_at(j, "cniVersion"), version));
	text = json_text(j);
	if (strcmp(version, "0.3.0") < 0 || json_array_size(json_object_get(asked->prev_result, "interfaces")))
		return;
	req.prev_result = j;
	REQUIRE(cni_check_prev(&req, &ours, &e) == 0);
}

static void check_results(const struct cni_request *r)
{
	_cleanup_json_ json_t *versions = cni_version_format("1.1.0");
	json_t *v;
	size_t i;

	json_array_foreach(json_object_get(versions, "supportedVersions"), i, v)
		check_result(r, json_string_value(v));
}

static void check_against_prev(const struct cni_request *r)
{
	const struct cni_result ours = { .host_ifname = "weft0", .ifname = r->ifname, .netns = r->netns };
	_cleanup_cni_error_ struct cni_error e = { 0 };
	int code = cni_check_prev(r, &ours, &e);

	if (code < 0)
		check_error(&e, code, r->version);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	_cleanup_json_ json_t *env = read_env(&in);
	_cleanup_cni_request_ struct cni_request r = { 0 };
	_cleanup_cni_error_ struct cni_error e = { 0 };
	size_t len = in.size;
	_cleanup_free_ char *config = xmalloc(len + 1), *dir = NULL;
	int code;

	memcpy(config, in.data, len);
	config[len] = 0;
	dir = cni_run_dir(config, len);
	REQUIRE(*dir == '/' && !strstr(dir, "/../"));
	code = cni_request_parse(env, config, len, &r, &e);
	if (code < 0) {
		check_error(&e, code, cni_answer_version(config, len));
		return 0;
	}
	REQUIRE(!e.code);
	check_fields(&r);
	if (r.command == CNI_ADD)
		check_results(&r);
	if (r.command == CNI_CHECK)
		check_against_prev(&r);
	return 0;
}
