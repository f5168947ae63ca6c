/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's socket, client side: one JSON object a line over a unix stream socket (docs/architecture.md).
 * Blocking, with time-outs, and no dependency but jansson, for programs that must start fast. The server is
 * ipc/server.h. */
#pragma once

#include "base/json.h"

/* Anybody who may ask may send a line; what one question is answered with may say much (a list of all policies), and has a line of its own. */
enum { IPC_LINE_MAX = 1024 * 1024, IPC_ANSWER_MAX = 16 * 1024 * 1024 };

/* An answer: a result, or, when @result is NULL, an error with a code of the CNI specification. */
struct ipc_answer {
	json_t *result;
	int code;
	char *msg, *details; /* details may be NULL */
};
void ipc_answer_done(struct ipc_answer *a);
#define _cleanup_ipc_answer_ _cleanup_(ipc_answer_done)

/**
 * ipc_call() - connect, ask, wait for one answer, hang up
 * @params:     borrowed; NULL for none
 * @timeout_ms: for everything together
 *
 * Return: 0 (an error answer included); -ENOENT or -ECONNREFUSED when nobody listens there, -EPIPE/-ECONNRESET when the
 * server hung up before it answered, -ETIMEDOUT, -EMSGSIZE when the request is past IPC_LINE_MAX, or the answer past IPC_ANSWER_MAX, -EBADMSG when
 * the answer is none, -ENAMETOOLONG for @path, -errno.
 */
int ipc_call(const char *path, const char *method, const json_t *params, int timeout_ms, struct ipc_answer *ret);

/* A streaming call: open, then next until the server hangs up. */
struct ipc_stream;
int ipc_stream_open(const char *path, const char *method, const json_t *params, int timeout_ms,
		    struct ipc_stream **ret);
/* Return: 1 with an answer, 0 at the end of the stream, -ETIMEDOUT (@timeout_ms -1 waits for ever), else as ipc_call().
 */
int ipc_stream_next(struct ipc_stream *s, int timeout_ms, struct ipc_answer *ret);
int ipc_stream_fd(const struct ipc_stream *s); /* to poll; lines that are buffered already do not show there */
struct ipc_stream *ipc_stream_close(struct ipc_stream *s);
DEFINE_CLEANUP(struct ipc_stream *, ipc_stream_close)
