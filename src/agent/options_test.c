/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/options.h"
#include "base/str.h"
#include "base/test.h"

static int load(const char *text, struct options *o, char **ret_error)
{
	options_init(o);
	return options_load_text(o, "weftd.yaml", text, strlen(text), ret_error);
}

static void defaults_are_valid(void)
{
	struct options o;
	char *error = NULL;

	options_init(&o);
	CHECK_INT(o.transport, TRANSPORT_VXLAN);
	CHECK_INT(o.vxlan_port, 4789);
	CHECK_INT(o.rest_seconds, 60);
	CHECK(o.fast_path);
	CHECK_STR(o.run_dir, "/run/weft");
	CHECK_INT(options_finish(&o, &error), 0);
	CHECK(*o.node_name);
	options_done(&o);
}

static void nested_and_dotted_keys_are_one(void)
{
	struct options o;
	char *error = NULL;

	CHECK_INT(
	    load("datapath: {fastPath: off, attach: clsact}\nvxlan.port: 4790\ncni:\n  confDir: \"\"\n", &o, &error),
	    0);
	CHECK(!o.fast_path);
	CHECK_INT(o.attach, ATTACH_CLSACT);
	CHECK_INT(o.vxlan_port, 4790);
	CHECK_STR(o.cni_conf_dir, "");
	options_done(&o);
}

static void errors_name_file_line_option_and_expectation(void)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
	    {"mtu: 1500\n\nvxlan:\n  port: 70000\n",
	     "weftd.yaml: line 4: vxlan.port: \"70000\" is not valid; expected a number from 1 to 65535"},
	    {"vxlan:\n  porto: 1\n", "weftd.yaml: line 2: unknown option \"vxlan.porto\"; expected one of those that "
				     "weftd --help lists"},
	    {"transport: smoke\n",
	     "weftd.yaml: line 1: transport: \"smoke\" is not valid; expected direct or vxlan or auto or wireguard or geneve"},
	    {"mtu: -1\n", "weftd.yaml: line 1: mtu: \"-1\" is not valid; expected a number from 0 to 65535"},
	    {"mtu: 1.5\n", "weftd.yaml: line 1: mtu: \"1.5\" is not valid; expected a number from 0 to 65535"},
	    {"uplinks: [a, b]\n", "weftd.yaml: line 1: uplinks: expected a single value, not a list"},
	    {"run.dir: ../x\n", "weftd.yaml: line 1: run.dir: \"../x\" is not valid; expected an absolute path without "
				"\"..\""},
	    {"run.dir: /a/../x\n", "weftd.yaml: line 1: run.dir: \"/a/../x\" is not valid; expected an absolute path "
				   "without \"..\""},
	    {"node.name: \"A\\nb\"\n", "weftd.yaml: line 1: node.name: \"A\\nb\" is not valid; expected a DNS name of "
				       "lower-case letters, digits, '-' and '.'"},
	    {"- a\n", "weftd.yaml: line 1: expected one YAML mapping of options"},
	    {"a: 1\n---\nb: 2\n", "weftd.yaml: line 1: expected one YAML mapping of options"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *error = NULL;
		struct options o;

		CHECK(load(cases[i].text, &o, &error) < 0);
		CHECK_STR(error, cases[i].error);
		options_done(&o);
	}
}

static void empty_files_change_nothing(void)
{
	static const char *const texts[] = {"", "# nothing\n", "---\n", "{}\n"};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct options o;
		char *error = NULL;

		CHECK_INT(load(texts[i], &o, &error), 0);
		CHECK_INT(o.mtu, 0);
		options_done(&o);
	}
}

/* Bytes flipped and cut anywhere: every file is either accepted or refused with a text. */
static void rubbish_is_refused_with_a_text(void)
{
	static const char good[] = "datapath:\n  attach: tcx\n  fastPath: on\nmtu: 1400\nuplinks: \"eth0,eth1\"\n";
	unsigned seed = 1;

	for (int i = 0; i < 20000; i++) {
		char text[sizeof(good)];
		size_t len = sizeof(good) - 1;
		struct options o;
		_cleanup_free_ char *error = NULL;

		memcpy(text, good, sizeof(good));
		seed = seed * 1103515245 + 12345;
		text[(seed >> 16) % len] = (seed >> 8) & 0xff;
		if (i % 3 == 0)
			len = (seed >> 4) % len;
		options_init(&o);
		CHECK((options_load_text(&o, "f", text, len, &error) < 0) == (error != NULL));
		options_done(&o);
	}
}

int main(void)
{
	RUN(defaults_are_valid);
	RUN(nested_and_dotted_keys_are_one);
	RUN(errors_name_file_line_option_and_expectation);
	RUN(empty_files_change_nothing);
	RUN(rubbish_is_refused_with_a_text);
	return test_end();
}
