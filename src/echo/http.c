/* SPDX-License-Identifier: Apache-2.0 */
#include "echo/http.h"
#include "base/str.h"

#include <strings.h>

static const char *const methods[] = { "GET ",	   "HEAD ",    "POST ",	 "PUT ",    "DELETE ",
				       "OPTIONS ", "CONNECT ", "TRACE ", "PATCH " };

static bool may_be_method(const char *data, size_t n)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (memcmp(data, methods[i], MIN(n, strlen(methods[i]))) == 0)
			return true;
	return false;
}

/* The request line must name the protocol, so that a line of text that starts with "GET " stays a line of text. */
static bool line_is_http(const char *line, size_t n, bool *ret_old)
{
	if (n > 0 && line[n - 1] == '\r')
		n--;
	if (n < 9 || memcmp(line + n - 9, " HTTP/1.", 8) != 0)
		return false;
	*ret_old = line[n - 1] == '0';
	return true;
}

static bool header_is(const char *line, size_t n, const char *name, const char **ret_value, size_t *ret_len)
{
	size_t len = strlen(name);

	if (n <= len || line[len] != ':' || strncasecmp(line, name, len) != 0)
		return false;
	line += len + 1;
	n -= len + 1;
	while (n > 0 && (*line == ' ' || *line == '\t'))
		line++, n--;
	while (n > 0 && strchr(" \t\r", line[n - 1]))
		n--;
	*ret_value = line;
	*ret_len = n;
	return true;
}

static bool value_is(const char *v, size_t n, const char *text)
{
	return n == strlen(text) && strncasecmp(v, text, n) == 0;
}

static bool read_header(const char *line, size_t n, struct http_request *q)
{
	const char *v;
	char number[24];
	size_t len;

	if (header_is(line, n, "Content-Length", &v, &len)) {
		if (len >= sizeof(number))
			return false;
		memcpy(number, v, len);
		number[len] = 0;
		return parse_u64(number, UINT64_MAX, &q->body_len) == 0;
	}
	if (header_is(line, n, "Connection", &v, &len))
		q->close = value_is(v, len, "close") || (q->close && !value_is(v, len, "keep-alive"));
	if (header_is(line, n, "Transfer-Encoding", &v, &len))
		q->chunked = q->close = true;
	if (header_is(line, n, "Expect", &v, &len))
		q->expect_continue = value_is(v, len, "100-continue");
	return true;
}

static enum http_kind more(size_t n)
{
	return n >= HTTP_HEAD_MAX ? HTTP_BAD : HTTP_MORE;
}

enum http_kind http_parse(const char *data, size_t n, struct http_request *ret)
{
	struct http_request q = { 0 };
	const char *line = data, *end = data + n, *eol;

	if (!may_be_method(data, n))
		return HTTP_NONE;
	eol = memchr(data, '\n', n);
	if (!eol)
		return more(n);
	if (!line_is_http(data, eol - data, &q.close))
		return HTTP_NONE;
	q.head_only = memcmp(data, "HEAD", 4) == 0;
	for (line = eol + 1; (eol = memchr(line, '\n', end - line)); line = eol + 1) {
		if (eol == line || (eol == line + 1 && *line == '\r')) {
			q.head_len = eol + 1 - data;
			q.close |= q.chunked;
			*ret = q;
			return HTTP_REQUEST;
		}
		if (!read_header(line, eol - line, &q))
			return HTTP_BAD;
	}
	return more(n);
}
