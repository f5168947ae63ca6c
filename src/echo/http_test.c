/* SPDX-License-Identifier: Apache-2.0 */
#include "echo/http.h"
#include "base/test.h"

static struct http_request q;

static enum http_kind parse(const char *s)
{
	q = (struct http_request){ 0 };
	return http_parse(s, strlen(s), &q);
}

static void tells_requests_from_other_bytes(void)
{
	static const struct {
		const char *text;
		enum http_kind kind;
	} cases[] = {
		{ "", HTTP_MORE },
		{ "G", HTTP_MORE },
		{ "GET / HTTP/1.1\r\n", HTTP_MORE },
		{ "GET / HTTP/1.1\r\n\r\n", HTTP_REQUEST },
		{ "GET / HTTP/1.1\n\n", HTTP_REQUEST },
		{ "POST /x HTTP/1.0\r\nA: b\r\n\r\n", HTTP_REQUEST },
		{ "hello\n", HTTP_NONE },
		{ "Get / HTTP/1.1\r\n\r\n", HTTP_NONE },
		{ "GET me something\n", HTTP_NONE },
		{ "GETTER\n", HTTP_NONE },
		{ "\r\n", HTTP_NONE },
		{ "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", HTTP_BAD },
		{ "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999999\r\n\r\n", HTTP_BAD },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		CHECK_INT(parse(cases[i].text), cases[i].kind);
}

static void reads_the_head(void)
{
	CHECK_INT(parse("POST / HTTP/1.1\r\ncontent-length:  12 \r\nExpect: 100-continue\r\n\r\nrest"), HTTP_REQUEST);
	CHECK_INT(q.body_len, 12);
	CHECK_INT(q.head_len, 63);
	CHECK(q.expect_continue && !q.close && !q.head_only);
	CHECK_INT(parse("HEAD / HTTP/1.0\r\n\r\n"), HTTP_REQUEST);
	CHECK(q.head_only && q.close);
	CHECK_INT(parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), HTTP_REQUEST);
	CHECK(!q.close);
	CHECK_INT(parse("GET / HTTP/1.1\r\nConnection: close\r\n\r\n"), HTTP_REQUEST);
	CHECK(q.close);
	CHECK_INT(parse("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"), HTTP_REQUEST);
	CHECK(q.close && q.chunked);
}

static void bounds_the_head(void)
{
	_cleanup_free_ char *s = xmalloc(HTTP_HEAD_MAX + 1);

	memset(s, 'a', HTTP_HEAD_MAX);
	s[HTTP_HEAD_MAX] = 0;
	memcpy(s, "GET /", 5);
	CHECK_INT(parse(s), HTTP_BAD);
	memcpy(s, "GET / HTTP/1.1\r\n", 16);
	CHECK_INT(parse(s), HTTP_BAD);
}

int main(void)
{
	RUN(tells_requests_from_other_bytes);
	RUN(reads_the_head);
	RUN(bounds_the_head);
	return test_end();
}
