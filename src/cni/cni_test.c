/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"
#include "base/test.h"
#include "cni/cni.h"

#define CONF(version, more) "{\"cniVersion\":\"" version "\",\"name\":\"weft\",\"type\":\"weft-cni\"" more "}"

static json_t *environment(const char *command)
{
	return json_pack("{ss, ss, ss, ss}", "CNI_COMMAND", command, "CNI_CONTAINERID", "c1", "CNI_NETNS",
			 "/run/netns/c1", "CNI_IFNAME", "eth0");
}

static int parse(json_t *env, const char *config, struct cni_request *r, struct cni_error *e)
{
	return cni_request_parse(env, config, strlen(config), r, e);
}

static void CNI_1_versions(void)
{
	static const char *const good[] = {"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};
	static const char *const bad[] = {"0.0.1", "1.2.0", "2", "", "1.0", "1.1.0 "};
	_cleanup_json_ json_t *env = environment("ADD");

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		_cleanup_free_ char *conf = xasprintf("{\"cniVersion\":\"%s\",\"name\":\"a\",\"type\":\"b\"}", good[i]);
		_cleanup_cni_request_ struct cni_request r = {0};
		_cleanup_cni_error_ struct cni_error e = {0};

		CHECK_INT(parse(env, conf, &r, &e), 0);
		CHECK_STR(r.version, good[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_free_ char *conf = xasprintf("{\"cniVersion\":\"%s\",\"name\":\"a\",\"type\":\"b\"}", bad[i]);
		_cleanup_cni_error_ struct cni_error e = {0};
		struct cni_request r;

		CHECK_INT(parse(env, conf, &r, &e), -CNI_ERR_VERSION);
	}
}

static void CNI_3_environment(void)
{
	static const struct {
		const char *key, *value; /* NULL: taken away */
		const char *names;	 /* in the message */
	} cases[] = {
	    {"CNI_COMMAND", NULL, "CNI_COMMAND"},
	    {"CNI_COMMAND", "add", "CNI_COMMAND"},
	    {"CNI_CONTAINERID", NULL, "CNI_CONTAINERID"},
	    {"CNI_CONTAINERID", "../x", "CNI_CONTAINERID"},
	    {"CNI_CONTAINERID", "-x", "CNI_CONTAINERID"},
	    {"CNI_CONTAINERID", "a/b", "CNI_CONTAINERID"},
	    {"CNI_CONTAINERID", "a b\n", "CNI_CONTAINERID"},
	    {"CNI_NETNS", NULL, "CNI_NETNS"},
	    {"CNI_NETNS", "run/netns/a", "CNI_NETNS"},
	    {"CNI_NETNS", "/run/../etc", "CNI_NETNS"},
	    {"CNI_IFNAME", NULL, "CNI_IFNAME"},
	    {"CNI_IFNAME", "..", "CNI_IFNAME"},
	    {"CNI_IFNAME", "a/b", "CNI_IFNAME"},
	    {"CNI_IFNAME", "a234567890123456", "CNI_IFNAME"},
	    {"CNI_IFNAME", "eth 0", "CNI_IFNAME"},
	    {"CNI_ARGS", "K8S_POD_NAME", "CNI_ARGS"},
	    {"CNI_ARGS", "K8S_POD_NAME=_a", "CNI_ARGS"},
	    {"CNI_ARGS", "=x", "CNI_ARGS"},
	    {"CNI_ARGS", "K8S_POD_NAMESPACE=../..", "CNI_ARGS"},
	    {"CNI_ARGS", "K8S_POD_NAME=a;K8S_POD_UID=a/../b", "CNI_ARGS"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_json_ json_t *env = environment("ADD");
		_cleanup_cni_error_ struct cni_error e = {0};
		struct cni_request r;

		if (cases[i].value)
			json_object_set_new(env, cases[i].key, json_string(cases[i].value));
		else
			json_object_del(env, cases[i].key);
		CHECK_INT(parse(env, CONF("1.1.0", ""), &r, &e), -CNI_ERR_ENV);
		CHECK(strstr(e.msg, cases[i].names));
	}
}

static void CNI_3_all_missing_variables_are_named(void)
{
	_cleanup_json_ json_t *env = json_pack("{ss}", "CNI_COMMAND", "ADD");
	_cleanup_cni_error_ struct cni_error e = {0};
	struct cni_request r;

	CHECK_INT(parse(env, CONF("1.1.0", ""), &r, &e), -CNI_ERR_ENV);
	CHECK_STR(e.msg, "missing in the environment of ADD: CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME");
}

static void CNI_2_4_configuration(void)
{
	static const struct {
		const char *config;
		int code;
	} cases[] = {
	    {"", CNI_ERR_DECODE},
	    {"{", CNI_ERR_DECODE},
	    {"[]", CNI_ERR_DECODE},
	    {"{\"cniVersion\":1}", CNI_ERR_CONFIG},
	    {"{\"cniVersion\":\"1.0.0\",\"type\":\"b\"}", CNI_ERR_CONFIG},
	    {"{\"cniVersion\":\"1.0.0\",\"name\":\"../a\",\"type\":\"b\"}", CNI_ERR_CONFIG},
	    {"{\"cniVersion\":\"1.0.0\",\"name\":\"a\"}", CNI_ERR_CONFIG},
	    {"{\"cniVersion\":\"1.0.0\",\"name\":\"a\",\"type\":\"../b\"}", CNI_ERR_CONFIG},
	    {CONF("1.0.0", ",\"ipam\":{\"type\":\"host-local\"}"), CNI_ERR_FIELD},
	    {CONF("1.0.0", ",\"prevResult\":[]"), CNI_ERR_CONFIG},
	    {CONF("1.0.0", ",\"runtimeConfig\":{\"ips\":\"10.0.0.1\"}"), CNI_ERR_CONFIG},
	    {CONF("1.0.0", ",\"runtimeConfig\":{\"ips\":[\"10.0.0.1\",\"10.0.0.2\"]}"), CNI_ERR_CONFIG},
	    {CONF("1.0.0", ",\"args\":{\"cni\":{\"ips\":[\"x\"]}}"), CNI_ERR_CONFIG},
	    {CONF("1.0.0", ",\"runtimeConfig\":{\"ips\":[\"::\"]}"), CNI_ERR_CONFIG},
	    {CONF("1.0.0", ",\"surprise\":{\"a\":[1,2]},\"ipam\":{},\"cni.dev/x\":1,\"args\":{\"o\":1}"), 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_json_ json_t *env = environment("ADD");
		_cleanup_cni_error_ struct cni_error e = {0};
		_cleanup_cni_request_ struct cni_request r = {0};

		CHECK_INT(parse(env, cases[i].config, &r, &e), -cases[i].code);
		CHECK((e.msg != NULL) == (cases[i].code != 0));
	}
}

static void CNI_4_unsupported_field_names_key_and_value(void)
{
	_cleanup_json_ json_t *env = environment("ADD");
	_cleanup_cni_error_ struct cni_error e = {0};
	struct cni_request r;

	parse(env, CONF("1.0.0", ",\"ipam\":{\"type\":\"host-local\"}"), &r, &e);
	CHECK(strstr(e.msg, "ipam.type") && strstr(e.msg, "host-local"));
}

static void commands_exist_since_their_version(void)
{
	static const struct {
		const char *command, *config;
		int code;
	} cases[] = {
	    {"CHECK", CONF("0.3.1", ""), CNI_ERR_VERSION},
	    {"CHECK", CONF("0.4.0", ""), CNI_ERR_CONFIG}, /* CNI-30: prevResult is needed */
	    {"CHECK", CONF("0.4.0", ",\"prevResult\":{}"), 0},
	    {"GC", CONF("1.0.0", ",\"cni.dev/valid-attachments\":[]"), CNI_ERR_VERSION},
	    {"GC", CONF("1.1.0", ",\"cni.dev/valid-attachments\":[]"), 0},
	    {"GC", CONF("1.1.0", ""), CNI_ERR_CONFIG},
	    {"GC", CONF("1.1.0", ",\"cni.dev/valid-attachments\":[1]"), CNI_ERR_CONFIG},
	    {"STATUS", CONF("1.0.0", ""), CNI_ERR_VERSION},
	    {"STATUS", CONF("1.1.0", ""), 0},
	    {"VERSION", "{\"cniVersion\":\"0.3.1\"}", 0},
	    {"DEL", CONF("0.1.0", ",\"prevResult\":7"), 0}, /* R3: a corrupted prevResult is no reason to leak */
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_json_ json_t *env = environment(cases[i].command);
		_cleanup_cni_error_ struct cni_error e = {0};
		_cleanup_cni_request_ struct cni_request r = {0};

		CHECK_INT(parse(env, cases[i].config, &r, &e), -cases[i].code);
	}
}

static void CNI_20_netns_is_optional_for_DEL(void)
{
	_cleanup_json_ json_t *env = environment("DEL");
	_cleanup_cni_error_ struct cni_error e = {0};
	_cleanup_cni_request_ struct cni_request r = {0};

	json_object_del(env, "CNI_NETNS");
	CHECK_INT(parse(env, CONF("1.0.0", ""), &r, &e), 0);
	CHECK_STR(r.netns, "");
}

static char *formatted(const char *version, const char *more, bool two_families)
{
	_cleanup_free_ char *conf = xasprintf("{\"cniVersion\":\"%s\",\"name\":\"a\",\"type\":\"b\"%s}", version, more);
	_cleanup_json_ json_t *env = environment("ADD"), *out = NULL;
	_cleanup_cni_request_ struct cni_request r = {0};
	_cleanup_cni_error_ struct cni_error e = {0};
	struct cni_result result = {.host_ifname = "weft1",
				    .ifname = "eth0",
				    .netns = "/run/netns/c1",
				    .mtu = 1500,
				    .route_mtu = 1450,
				    .host_mac = {2},
				    .pod_mac = {2, 1}};

	addr_parse("10.0.0.2", &result.addrs[0]);
	if (two_families)
		addr_parse("fd00::2", &result.addrs[1]);
	CHECK_INT(parse(env, conf, &r, &e), 0);
	out = cni_result_format(&r, &result);
	return json_text(out);
}

static void CNI_11_result_forms(void)
{
	_cleanup_free_ char *v02 = formatted("0.2.0", "", true), *v04 = formatted("0.4.0", "", false),
			    *v10 = formatted("1.0.0", "", true), *v11 = formatted("1.1.0", "", false);

	CHECK_STR(
	    v02,
	    "{\"cniVersion\":\"0.2.0\",\"ip4\":{\"ip\":\"10.0.0.2/32\",\"gateway\":\"169.254.1.1\",\"routes\":"
	    "[{\"dst\":\"0.0.0.0/0\",\"gw\":\"169.254.1.1\"}]},\"ip6\":{\"ip\":\"fd00::2/128\",\"gateway\":\"fe80::1\","
	    "\"routes\":[{\"dst\":\"::/0\",\"gw\":\"fe80::1\"}]},\"dns\":{}}");
	CHECK_STR(
	    v04,
	    "{\"cniVersion\":\"0.4.0\",\"interfaces\":[{\"name\":\"weft1\",\"mac\":\"02:00:00:00:00:00\"},{\"name\":"
	    "\"eth0\",\"mac\":\"02:01:00:00:00:00\",\"sandbox\":\"/run/netns/c1\"}],\"ips\":[{\"address\":\"10.0.0.2/"
	    "32\","
	    "\"gateway\":\"169.254.1.1\",\"interface\":1,\"version\":\"4\"}],\"routes\":[{\"dst\":\"0.0.0.0/0\",\"gw\":"
	    "\"169.254.1.1\"}],\"dns\":{}}");
	CHECK(!strstr(v10, "\"version\"") && !strstr(v10, "mtu") && strstr(v10, "fd00::2/128"));
	CHECK(strstr(v11, "\"mtu\":1500") && strstr(v11, "\"mtu\":1450"));
}

static void CNI_12_prevResult_stays(void)
{
	_cleanup_free_ char *text = formatted(
	    "1.0.0",
	    ",\"prevResult\":{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"x0\"}],\"ips\":[{\"address\":"
	    "\"1.2.3.4/24\",\"interface\":0}],\"dns\":{\"domain\":\"d\"},\"other\":1}",
	    false);

	CHECK_STR(
	    text,
	    "{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"x0\"},{\"name\":\"weft1\",\"mac\":\"02:00:00:00:00:"
	    "00\"},"
	    "{\"name\":\"eth0\",\"mac\":\"02:01:00:00:00:00\",\"sandbox\":\"/run/netns/c1\"}],\"ips\":[{\"address\":"
	    "\"1.2.3.4/24\",\"interface\":0},{\"address\":\"10.0.0.2/"
	    "32\",\"gateway\":\"169.254.1.1\",\"interface\":2}],"
	    "\"dns\":{\"domain\":\"d\"},\"other\":1,\"routes\":[{\"dst\":\"0.0.0.0/0\",\"gw\":\"169.254.1.1\"}]}");
}

static void CNI_30_prevResult_is_consulted(void)
{
	static const struct {
		const char *prev;
		int code;
	} cases[] = {
	    {"{}", CNI_ERR_CHECK},
	    {"{\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/run/netns/c1\"}],\"ips\":[{\"address\":\"10.0.0.2/"
	     "32\"}]}",
	     0},
	    {"{\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/other\"}],\"ips\":[{\"address\":\"10.0.0.2/32\"}]}",
	     CNI_ERR_CHECK},
	    {"{\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/run/netns/"
	     "c1\",\"mac\":\"02:02:00:00:00:00\"}],\"ips\":"
	     "[{\"address\":\"10.0.0.2/32\"}]}",
	     CNI_ERR_CHECK},
	    {"{\"interfaces\":[{\"name\":\"x\"},{\"name\":\"eth0\",\"sandbox\":\"/run/netns/"
	     "c1\",\"mac\":\"02:01:00:00:00:00\"}],"
	     "\"ips\":[{\"address\":\"9.9.9.9/32\"},{\"address\":\"10.0.0.2/32\"}],\"more\":[]}",
	     0},
	    {"{\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/run/netns/c1\"}],\"ips\":[{\"address\":\"10.0.0.3/"
	     "32\"}]}",
	     CNI_ERR_CHECK},
	};
	struct cni_result ours = {.ifname = "eth0", .netns = "/run/netns/c1", .pod_mac = {2, 1}};

	addr_parse("10.0.0.2", &ours.addrs[0]);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cni_request r = {.prev_result = json_parse("x", cases[i].prev, strlen(cases[i].prev), NULL)};
		_cleanup_cni_error_ struct cni_error e = {0};
		int code = cni_check_prev(&r, &ours, &e);

		json_decref(r.prev_result);
		CHECK_INT(code, -cases[i].code);
	}
}

static void K8S_args_are_taken(void)
{
	_cleanup_json_ json_t *env = environment("ADD");
	_cleanup_cni_request_ struct cni_request r = {0};
	_cleanup_cni_error_ struct cni_error e = {0};

	json_object_set_new(env, "CNI_ARGS",
			    json_string("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a.b;"
					"K8S_POD_INFRA_CONTAINER_ID=x;K8S_POD_UID=11-22;OTHER=;"));
	CHECK_INT(parse(env, CONF("1.1.0", ",\"runtimeConfig\":{\"ips\":[\"10.0.0.9/24\",\"fd00::9\"]}"), &r, &e), 0);
	CHECK_STR(r.pod_namespace, "default");
	CHECK_STR(r.pod_name, "a.b");
	CHECK_STR(r.pod_uid, "11-22");
	CHECK(!addr_is_zero(&r.want[0]) && !addr_is_zero(&r.want[1]));
}

static void run_dir_is_checked(void)
{
	_cleanup_free_ char *a = cni_run_dir("{\"runDir\":\"/x/y\"}", 17),
			    *b = cni_run_dir("{\"runDir\":\"/x/../y\"}", 20), *c = cni_run_dir("{", 1);

	CHECK_STR(a, "/x/y");
	CHECK_STR(b, "/run/weft");
	CHECK_STR(c, "/run/weft");
}

/* Cut and flipped configurations: each is accepted or refused with a code and a message. */
static void rubbish_gets_a_code(void)
{
	static const char good[] =
	    CONF("1.1.0", ",\"runtimeConfig\":{\"ips\":[\"10.0.0.9\"]},\"prevResult\":{\"ips\":[]},"
			  "\"ipam\":{\"type\":\"weft\"}");
	_cleanup_json_ json_t *env = environment("ADD");
	uint64_t seed = 11;

	for (int i = 0; i < 50000; i++) {
		_cleanup_cni_request_ struct cni_request r = {0};
		_cleanup_cni_error_ struct cni_error e = {0};
		char text[sizeof(good)];
		size_t len = sizeof(good) - 1;
		int code;

		memcpy(text, good, sizeof(good));
		for (int k = 0; k < 1 + i % 3; k++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			text[(seed >> 33) % len] = seed >> 50;
		}
		if (i % 4 == 0)
			len = (seed >> 20) % len;
		code = cni_request_parse(env, text, len, &r, &e);
		CHECK(code == 0 ? !e.msg : e.msg && e.code == -code);
	}
}

int main(void)
{
	RUN(CNI_1_versions);
	RUN(CNI_3_environment);
	RUN(CNI_3_all_missing_variables_are_named);
	RUN(CNI_2_4_configuration);
	RUN(CNI_4_unsupported_field_names_key_and_value);
	RUN(commands_exist_since_their_version);
	RUN(CNI_20_netns_is_optional_for_DEL);
	RUN(CNI_11_result_forms);
	RUN(CNI_12_prevResult_stays);
	RUN(CNI_30_prevResult_is_consulted);
	RUN(K8S_args_are_taken);
	RUN(run_dir_is_checked);
	RUN(rubbish_gets_a_code);
	return test_end();
}
