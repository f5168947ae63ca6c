/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"
#include "base/test.h"
#include "observe/filter.h"
#include "observe/line.h"

static struct addr addr(const char *s)
{
	struct addr a;

	CHECK(addr_parse(s, &a) == 0);
	return a;
}

/* A denied connection of default/a (n1) to shop/web (n2), port 80. */
static struct observe_event sample(void)
{
	return (struct observe_event){
		.seq = 7,
		.at_ms = 1795874347038,
		.kind = OBSERVE_DROP,
		.verdict = OBSERVE_DENIED,
		.src = { OBSERVE_POD, addr("10.244.1.2"), 40000, xstrdup("default"), xstrdup("a"), xstrdup("n1") },
		.dst = { OBSERVE_POD, addr("10.244.0.2"), 80, xstrdup("shop"), xstrdup("web"), xstrdup("n2") },
		.proto = IPPROTO_TCP,
		.tcp_flags = 0x02,
		.len = 74,
		.missed = 3,
		.reason = "policy_denied",
		.text = "a policy says no",
		.hook = "from_pod",
		.path = "",
		.via = xstrdup("default/a"),
		.rule = xstrdup("NetworkPolicy default/web ingress[0]"),
	};
}

static void line_names_everything(void)
{
	struct observe_event e = sample();
	_cleanup_json_ json_t *j = observe_event_json(&e, "n1");
	struct buf out = { 0 };

	observe_line(j, &out);
	CHECK(strstr(out.data, ".038 denied    drop    TCP S  default/a (10.244.1.2:40000, n1) → shop/web (10.244.0.2:80, n2)"
			       "  policy_denied: a policy says no  by NetworkPolicy default/web ingress[0]  [from_pod of default/a]"
			       "  (3 more not shown before it)\n"));
	buf_done(&out);
	observe_event_done(&e);
}

static void test_X14_hostile_names_move_no_cursor(void)
{
	struct observe_event e = sample();
	_cleanup_json_ json_t *j = NULL;
	struct buf out = { 0 };

	free(e.src.name);
	e.src.name = xstrdup("a\033[2J\n\xc2\x9b" "1m\xff");
	j = observe_event_json(&e, "n1");
	CHECK(j != NULL);
	observe_line(j, &out);
	CHECK(!strchr(out.data, '\033') && !strstr(out.data, "\xc2\x9b") && strchr(out.data, '\n') == out.data + out.len - 1);
	buf_done(&out);
	observe_event_done(&e);
}

static bool matches(const char *params)
{
	_cleanup_json_ json_t *j = json_parse("test", params, strlen(params), NULL);
	struct observe_event e = sample();
	struct observe_filter f;
	char *error = NULL;
	bool yes;

	if (observe_filter_parse(j, &f, &error) < 0) {
		printf("# %s\n", error);
		free(error);
		observe_event_done(&e);
		CHECK(!"parsed");
	}
	yes = observe_filter_matches(&f, &e);
	observe_filter_done(&f);
	observe_event_done(&e);
	return yes;
}

static void filters(void)
{
	static const char *const yes[] = {
		"{}", "{\"verdict\":\"denied\"}", "{\"verdict\":[\"forwarded\",\"denied\"]}", "{\"kind\":[\"drop\"]}",
		"{\"pod\":\"default/a\"}", "{\"pod\":\"shop/web\"}", "{\"from\":\"default/\"}", "{\"to\":\"10.244.0.0/24\"}",
		"{\"to\":\"10.244.0.2\"}", "{\"to\":\"pod\",\"from\":\"pod\"}", "{\"to\":\"node:n2\"}", "{\"protocol\":\"tcp\"}",
		"{\"protocol\":\"6\"}", "{\"port\":80}", "{\"port\":40000}", "{\"reason\":\"policy_denied\"}",
		"{\"sinceMs\":1795874347038}",
	};
	static const char *const no[] = {
		"{\"verdict\":\"dropped\"}", "{\"kind\":\"new\"}", "{\"pod\":\"shop/a\"}", "{\"from\":\"shop/web\"}",
		"{\"to\":\"default/\"}", "{\"to\":\"10.244.1.0/24\"}", "{\"to\":\"fd00::/8\"}", "{\"from\":\"world\"}",
		"{\"from\":\"node:n2\"}", "{\"protocol\":\"udp\"}", "{\"port\":81}", "{\"reason\":\"arp\"}", "{\"sinceMs\":1795874347039}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
		CHECK(matches(yes[i]));
	for (size_t i = 0; i < ARRAY_SIZE(no); i++)
		CHECK(!matches(no[i]));
}

static void bad_filters_are_refused(void)
{
	static const char *const bad[] = {
		"{\"verdikt\":\"denied\"}", "{\"verdict\":\"bad\"}", "{\"verdict\":[]}", "{\"verdict\":[7]}", "{\"verdict\":7}",
		"{\"pod\":\"a\"}", "{\"pod\":\"/a\"}", "{\"pod\":\"A/b\"}", "{\"pod\":\"a/b/c\"}", "{\"pod\":\"node:\"}",
		"{\"pod\":\"10.0.0.0/33\"}", "{\"pod\":7}", "{\"port\":0}", "{\"port\":65536}", "{\"port\":\"80\"}", "{\"protocol\":\"x\"}",
		"{\"protocol\":6}", "{\"protocol\":\"256\"}", "{\"reason\":\"\"}", "{\"reason\":\"a b\"}", "{\"last\":-1}",
		"{\"last\":1e3}", "{\"follow\":1}", "{\"sinceMs\":-1}", "{\"pod\":\"a/b\",\"x\":1}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_json_ json_t *j = json_parse("test", bad[i], strlen(bad[i]), NULL);
		_cleanup_free_ char *error = NULL;
		struct observe_filter f;

		CHECK(j != NULL);
		CHECK_INT(observe_filter_parse(j, &f, &error), -EINVAL);
		CHECK(error != NULL && *error);
	}
}

static void words_and_numbers(void)
{
	char text[PROTOCOL_TEXT_MAX], flags[9];
	uint8_t proto;

	CHECK_STR(protocol_format(IPPROTO_ICMPV6, text), "ICMPv6");
	CHECK_STR(protocol_format(47, text), "47");
	CHECK(protocol_parse_text("icmpv6", &proto) == 0 && proto == IPPROTO_ICMPV6);
	CHECK_STR(tcp_flags_format(0x12, flags), "S.");
	CHECK_STR(tcp_flags_format(0xff, flags), "FSRP.UEW");
}

int main(void)
{
	RUN(line_names_everything);
	RUN(test_X14_hostile_names_move_no_cursor);
	RUN(filters);
	RUN(bad_filters_are_refused);
	RUN(words_and_numbers);
	return test_end();
}
