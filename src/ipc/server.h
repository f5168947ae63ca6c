/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's socket, server side, inside an sd-event loop: nothing blocks, every client is bounded.
 *
 * A connection carries one request at a time: the next line is read when the former is answered. A request handle is
 * the handler's until it answers (at once or later); it stays valid when its client leaves, the answer is thrown away
 * then. */
#pragma once

#include "ipc/ipc.h"

#include <sys/socket.h>
#include <systemd/sd-event.h>

struct ipc_server;
struct ipc_request;

/* @params: borrowed for the call (keep it with json_incref()); an empty object when the client sent none. */
typedef void ipc_method_fn(struct ipc_request *req, json_t *params, void *ctx);

struct ipc_method {
	const char *name;
	ipc_method_fn *fn;
};

struct ipc_server_config {
	const char *path;		  /* replaced when a socket is there that nobody listens on */
	mode_t mode;			  /* of the socket's file; 0 takes 0600 */
	bool any_user;			  /* false: callers must be root (SO_PEERCRED); true: leave it to @mode */
	unsigned max_clients;		  /* 0 takes 64; the next one is told "busy" (code 11) and hung up on */
	uint64_t idle_ms;		  /* without a pending request, also while a line is incomplete; 0 takes 30 s */
	size_t max_queue;		  /* bytes of a stream unread by a client before it is cut off; 0 takes 4 MiB */
	const struct ipc_method *methods; /* terminated by a NULL name; must outlive the server */
	void *ctx;			  /* handed to the methods */
};

/**
 * ipc_server_new() - listen
 *
 * Return: 0, -EADDRINUSE when another process answers there, -ENAMETOOLONG, -errno.
 */
int ipc_server_new(sd_event *event, const struct ipc_server_config *config, struct ipc_server **ret);
/**
 * ipc_server_restore() - listen anew where somebody has removed the socket's file, or put another one there
 *
 * Who is connected stays so. Return: 1 it was done, 0 all is as it was, -errno.
 */
int ipc_server_restore(struct ipc_server *s);
/* Hangs up on all clients and removes the socket's file; handles that are still out stay valid to answer. */
struct ipc_server *ipc_server_free(struct ipc_server *s);
DEFINE_CLEANUP(struct ipc_server *, ipc_server_free)
unsigned ipc_server_clients(const struct ipc_server *s);

/* Each of these ends the request and frees the handle. @result is taken. */
void ipc_reply(struct ipc_request *req, json_t *result);
void ipc_reply_error(struct ipc_request *req, int code, const char *msg, const char *details);

/**
 * ipc_send() - one line of a stream; @result is taken; the handle stays
 * ipc_end() - the stream is over: what is queued is still sent, then the connection is closed; frees the handle
 *
 * Return of ipc_send(): 0, -EPIPE when the client has left or was cut off because it does not read.
 */
int ipc_send(struct ipc_request *req, json_t *result);
void ipc_end(struct ipc_request *req);

/* Called once when the client leaves before the request has ended (not from inside ipc_send(), whose -EPIPE says the
 * same); the handle is still to be ended by its owner, which it may do in here. */
typedef void ipc_gone_fn(struct ipc_request *req, void *ctx);
void ipc_on_gone(struct ipc_request *req, ipc_gone_fn *fn, void *ctx);
/* Bytes that the client has not read yet, beyond what its socket holds; 0 when it has left. */
size_t ipc_unread(const struct ipc_request *req);
/* Called when the client has read what was queued, each time; not from inside ipc_send(). It may end the request. */
typedef void ipc_writable_fn(struct ipc_request *req, void *ctx);
void ipc_on_writable(struct ipc_request *req, ipc_writable_fn *fn, void *ctx);
struct ucred ipc_peer(const struct ipc_request *req);
