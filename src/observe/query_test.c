/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"
#include "base/test.h"
#include "observe/query.h"

/* The words as parameters, then what is asked; "" when it is refused. Owned by the caller. */
static char *asked(const char *source, const char *destination)
{
	_cleanup_json_ json_t *params = json_object();
	_cleanup_free_ char *error = NULL;
	char from[ADDR_TEXT_MAX], to[ADDR_TEXT_MAX], *out;
	struct query q;

	query_split(source, destination, params);
	if (query_parse(params, &q, &error) < 0)
		return xstrdup("");
	out = xasprintf("%d:%s/%s %d:%s/%s %u %u", q.from.how, q.from.namespace_ ? q.from.namespace_ : "",
			q.from.how == QUERY_ADDRESS ? addr_format(&q.from.addr, from) : q.from.name ? q.from.name : "", q.to.how,
			q.to.namespace_ ? q.to.namespace_ : "",
			q.to.how == QUERY_ADDRESS ? addr_format(&q.to.addr, to) : q.to.name ? q.to.name : "", q.protocol, q.port);
	query_done(&q);
	return out;
}

static void words(void)
{
	static const struct {
		const char *source, *destination, *asked;
	} cases[] = {
		{ "default/a", "default/b:80", "1:default/a 1:default/b 6 80" },
		{ "default/a", "default/b:53/udp", "1:default/a 1:default/b 17 53" },
		{ "default/a", "default/b", "1:default/a 1:default/b 1 0" },
		{ "default/a", "default/b/icmp", "1:default/a 1:default/b 1 0" },
		{ "default/a", "default/tcp", "1:default/a 1:default/tcp 1 0" },
		{ "10.0.0.1", "10.0.0.2:80/sctp", "0:/10.0.0.1 0:/10.0.0.2 132 80" },
		{ "10.0.0.1", "10.0.0.2/icmp", "0:/10.0.0.1 0:/10.0.0.2 1 0" },
		{ "fd00::1", "[fd00::2]:80", "0:/fd00::1 0:/fd00::2 6 80" },
		{ "fd00::1", "fd00::2", "0:/fd00::1 0:/fd00::2 1 0" },
		{ "fd00::1", "fd00::2/icmpv6", "0:/fd00::1 0:/fd00::2 1 0" },
		{ "world", "node:n1:22", "3:/ 2:/n1 6 22" },
		{ "node:n1", "world", "2:/n1 3:/ 1 0" },
		{ "node:n1", "world/47", "2:/n1 3:/ 47 0" },
		{ "a", "default/b:80", "" },
		{ "default/a", "default/b:0", "" },
		{ "default/a", "default/b:99999", "" },
		{ "default/a", "default/b:x", "" },
		{ "default/a", "default/b:80/icmp", "" },
		{ "default/a", "10.0.0.1/tcp", "" },
		{ "default/a", "default/b:80/foo", "" },
		{ "default/a", "[fd00::1", "" },
		{ "default/a", "[]", "" },
		{ "default/a", "", "" },
		{ "", "default/a", "" },
		{ "\xff", "default/a", "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *is = asked(cases[i].source, cases[i].destination);

		CHECK_STR(is, cases[i].asked);
	}
}

static void parameters(void)
{
	static const char *const bad[] = {
		"{}", "{\"from\":\"a/b\"}", "{\"from\":\"a/b\",\"to\":7}", "{\"from\":\"a/b\",\"to\":\"a/c\"}",
		"{\"from\":\"a/b\",\"to\":\"a/c\",\"port\":\"80\"}", "{\"from\":\"a/b\",\"to\":\"a/c\",\"port\":80,\"x\":1}",
		"{\"from\":\"a/b\",\"to\":\"a/c\",\"port\":80,\"family\":5}", "{\"from\":\"a/b\",\"to\":\"a/c\",\"port\":80,\"bytes\":0}",
		"{\"from\":\"a/b\",\"to\":\"a/c\",\"protocol\":\"icmp\",\"sourcePort\":5}",
		"{\"from\":\"a/b\",\"to\":\"a/c\",\"protocol\":17}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_json_ json_t *j = json_parse("test", bad[i], strlen(bad[i]), NULL);
		_cleanup_free_ char *error = NULL;
		struct query q;

		CHECK(j != NULL);
		CHECK_INT(query_parse(j, &q, &error), -EINVAL);
		CHECK(error != NULL && *error);
	}
}

int main(void)
{
	RUN(words);
	RUN(parameters);
	return test_end();
}
