/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to a Kubernetes API from an sd-event loop: libcurl multi, one connection pool, HTTP/2 where the server has
 * it. Nothing blocks, bodies are bounded, each request has a deadline. Watching is kube/watch.h. */
#pragma once

#include "kube/kubeconfig.h"

#include <systemd/sd-event.h>

struct kube_client;
struct kube_call;

/* @config is borrowed for the call. @user_agent: for example "weftd/0.1.0". Return: 0, -EINVAL with @ret_error, -errno.
 */
int kube_client_new(sd_event *event, const struct kube_config *config, const char *user_agent, struct kube_client **ret,
		    char **ret_error);
/* Cancels what is under way; no callback comes any more. Free watches first. */
struct kube_client *kube_client_free(struct kube_client *c);
DEFINE_CLEANUP(struct kube_client *, kube_client_free)

enum { KUBE_PLACES_MAX = 8 };

/* Where a connection leads: the server, or the proxy before it. */
struct kube_place {
	char ip[46]; /* as text */
	uint16_t port;
};

/* Where requests have been sent, the last few different places; a name may stand for several. Borrowed. Return: how many, up to KUBE_PLACES_MAX. */
size_t kube_client_places(const struct kube_client *c, const struct kube_place **ret);

struct kube_response {
	int status;	   /* HTTP status; 0 when there was no complete answer */
	json_t *body;	   /* borrowed for the callback; NULL when it is no JSON */
	const char *error; /* status 0: why ("cannot connect: …", "larger than 64 MiB", "timed out"); status >= 400: the
			      API's message or the body's begin, escaped */
	uint64_t retry_after_ms; /* Retry-After of the answer, 0 without; bounded to 5 minutes */
};
typedef void kube_response_fn(const struct kube_response *res, void *ctx);

struct kube_request {
	const char *method; /* "GET", "POST", "PUT", "PATCH", "DELETE" */
	const char *path;   /* with query, percent-encoded: "/api/v1/nodes/n1?fieldManager=weftd"; see kube_path() */
	const json_t *body; /* borrowed for the call of kube_send(), or NULL */
	const char *content_type; /* NULL: application/json, for PATCH application/merge-patch+json */
	uint64_t timeout_ms;	  /* 0 takes 30 s */
	size_t max_body;	  /* of the answer; 0 takes 64 MiB */
};

/**
 * kube_send() - start a request; @fn is called exactly once, from the loop, never from inside this call
 * @ret: for kube_cancel(); may be NULL. The handle is dead when @fn is called.
 *
 * Return: 0, -EINVAL for a bad method or path, -EAGAIN when 256 requests are under way.
 */
int kube_send(struct kube_client *c, const struct kube_request *req, kube_response_fn *fn, void *ctx,
	      struct kube_call **ret);
void kube_cancel(struct kube_call *call); /* no callback comes any more */

/* Convenience for the common calls. */
int kube_get(struct kube_client *c, const char *path, kube_response_fn *fn, void *ctx);
int kube_patch(struct kube_client *c, const char *path, const json_t *merge_patch, kube_response_fn *fn, void *ctx);

/**
 * kube_path() - "/api/v1/namespaces/default/pods/a/status" from its parts, each percent-encoded; owned by the caller
 * @base: "/api/v1" or "/apis/networking.k8s.io/v1"
 * @ns, @name, @sub: NULL leaves the part out
 */
char *kube_path(const char *base, const char *ns, const char *resource, const char *name, const char *sub);
/* Appends ?key=value or &key=value, percent-encoded; takes and returns @path. */
char *kube_path_query(char *path, const char *key, const char *value);
