/* SPDX-License-Identifier: Apache-2.0 */
/* Just enough of HTTP/1 (RFC 9112) to answer any request: where its head ends, how long its body is, what it expects. */
#pragma once

#include "base/macro.h"

enum { HTTP_HEAD_MAX = 16384 };

enum http_kind {
	HTTP_MORE,  /* could become a request: read on */
	HTTP_REQUEST,
	HTTP_NONE,  /* something else */
	HTTP_BAD,   /* a request whose head is too long or whose length is no number */
};

struct http_request {
	size_t head_len;      /* bytes up to and including the empty line */
	uint64_t body_len;    /* what Content-Length says */
	bool head_only;	      /* HEAD: no body in the answer */
	bool close;	      /* the connection ends after the answer */
	bool expect_continue; /* wants "100 Continue" before it sends the body */
	bool chunked;	      /* a body of unknown length follows: the connection cannot be used again */
};

/**
 * http_parse() - what the first bytes of a connection are
 * @data: @n bytes, not NUL-terminated
 * @ret:  filled for HTTP_REQUEST only
 */
enum http_kind http_parse(const char *data, size_t n, struct http_request *ret);
