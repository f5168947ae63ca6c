/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/client.h"
#include "base/buf.h"
#include "base/str.h"
#include "kube/client_internal.h"

enum { DEFAULT_TIMEOUT_MS = 30000, DEFAULT_BODY = 64 << 20 };

struct kube_call {
	struct list link;
	struct kube_transfer *transfer;
	struct buf body;
	bool too_large;
	kube_response_fn *fn;
	void *ctx;
};

static void call_free(struct kube_call *call)
{
	list_remove(&call->link);
	buf_done(&call->body);
	free(call);
}

void kube_client_drop_calls(struct kube_client *c)
{
	struct kube_call *call, *next;

	list_for_each_safe(call, next, &c->calls, link)
		call_free(call);
}

char *kube_error_text(int status, const json_t *body, const char *raw)
{
	const char *message = json_str_at(body, "message");
	char clean[256];

	str_escape(clean, sizeof(clean), message ? message : raw ? raw : "");
	return *clean ? xasprintf("HTTP %d: %s", status, clean) : xasprintf("HTTP %d", status);
}

static bool on_data(const char *data, size_t n, void *ctx)
{
	struct kube_call *call = ctx;

	call->too_large = buf_add(&call->body, data, n) < 0;
	return !call->too_large;
}

static void on_done(int status, const char *error, uint64_t retry_after_ms, void *ctx)
{
	struct kube_call *call = ctx;
	struct kube_response res = {.status = status, .retry_after_ms = retry_after_ms};
	_cleanup_json_ json_t *body = NULL;
	_cleanup_free_ char *text = NULL;

	if (call->too_large) {
		res.status = 0;
		text = xasprintf("the answer is larger than %zu bytes", call->body.max);
	} else if (error) {
		res.status = 0;
		text = xstrdup(error);
	} else {
		body = call->body.len ? json_parse("answer", call->body.data, call->body.len, NULL) : NULL;
		res.body = body;
		if (status >= 400)
			text = kube_error_text(status, body, call->body.data);
	}
	res.error = text;
	call->fn(&res, call->ctx);
	call_free(call);
}

static const char *default_content_type(const char *method)
{
	return streq(method, "PATCH") ? "application/merge-patch+json" : "application/json";
}

int kube_send(struct kube_client *c, const struct kube_request *req, kube_response_fn *fn, void *ctx,
	      struct kube_call **ret)
{
	static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
	static const struct kube_transfer_ops ops = {.data = on_data, .done = on_done};
	_cleanup_free_ char *body = req->body ? json_text(req->body) : NULL;
	struct kube_transfer_spec spec = {
	    .method = req->method,
	    .path = req->path,
	    .body = body,
	    .content_type = req->content_type ? req->content_type : default_content_type(req->method),
	    .timeout_ms = req->timeout_ms ? req->timeout_ms : DEFAULT_TIMEOUT_MS,
	};
	struct kube_call *call;
	bool known = false;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		known |= streq(req->method, methods[i]);
	if (!known)
		return -EINVAL;
	call = xnew0(struct kube_call);
	*call = (struct kube_call){.fn = fn, .ctx = ctx, .body.max = req->max_body ? req->max_body : DEFAULT_BODY};
	list_push_back(&c->calls, &call->link);
	r = kube_transfer_start(c, &spec, &ops, call, &call->transfer);
	if (r < 0) {
		call_free(call);
		return r;
	}
	if (ret)
		*ret = call;
	return 0;
}

void kube_cancel(struct kube_call *call)
{
	kube_transfer_cancel(call->transfer);
	call_free(call);
}

int kube_get(struct kube_client *c, const char *path, kube_response_fn *fn, void *ctx)
{
	return kube_send(c, &(struct kube_request){.method = "GET", .path = path}, fn, ctx, NULL);
}

int kube_patch(struct kube_client *c, const char *path, const json_t *merge_patch, kube_response_fn *fn, void *ctx)
{
	return kube_send(c, &(struct kube_request){.method = "PATCH", .path = path, .body = merge_patch}, fn, ctx,
			 NULL);
}

static void add_encoded(struct buf *b, const char *s)
{
	for (; *s; s++) {
		unsigned char c = *s;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c))
			buf_add(b, s, 1);
		else
			buf_addf(b, "%%%02X", c);
	}
}

static void add_part(struct buf *b, const char *part)
{
	if (!part)
		return;
	buf_adds(b, "/");
	add_encoded(b, part);
}

char *kube_path(const char *base, const char *ns, const char *resource, const char *name, const char *sub)
{
	struct buf b = {0};

	buf_adds(&b, base);
	if (ns)
		buf_adds(&b, "/namespaces");
	add_part(&b, ns);
	add_part(&b, resource);
	add_part(&b, name);
	add_part(&b, sub);
	return b.data;
}

char *kube_path_query(char *path, const char *key, const char *value)
{
	struct buf b = {0};

	buf_adds(&b, path);
	buf_adds(&b, strchr(path, '?') ? "&" : "?");
	add_encoded(&b, key);
	buf_adds(&b, "=");
	add_encoded(&b, value);
	free(path);
	return b.data;
}
