/* SPDX-License-Identifier: Apache-2.0 */
/* A request of the API and its answer, without HTTP's mechanics. */
#pragma once

#include "hub/hub.h"
#include "hub/status.h"

struct watch_spec;

struct identity {
	char *user;	/* NULL: anonymous */
	json_t *groups; /* array of strings */
};
void identity_done(struct identity *id);

struct request {
	const char *method;
	const char *path;  /* decoded, without the query */
	json_t *query;	   /* object: name -> value (the last one counts) */
	const char *accept, *content_type; /* "" when missing */
	const char *body;
	size_t body_len;
	const struct identity *id;

	/* from the path, by api_handle() */
	const char *verb; /* "get", "list", …: a constant */
	const struct kind *kind;
	char *ns, *name, *sub; /* NULL when the path has none */
};

struct reply {
	int code;
	const char *content_type; /* a constant */
	struct buf body;
	json_t *warnings; /* array of strings, or NULL */
	struct watch_spec *watch; /* instead of a body: a watch is to be opened. Owned. */
	int retry_after_s;
};
void reply_done(struct reply *r);
void reply_json(struct reply *r, int code, const json_t *j);
void reply_object(struct reply *r, int code, const struct object *o);
void reply_status(struct reply *r, json_t *status); /* takes @status */
void reply_text(struct reply *r, int code, const char *text);
void reply_warn(struct reply *r, const char *fmt, ...) _printf_(2, 3);

/* Answers anything. */
void api_handle(struct hub *hub, struct request *rq, struct reply *rp);
void request_done(struct request *rq);

const char *query_str(const struct request *rq, const char *name); /* "" when missing */
bool query_bool(const struct request *rq, const char *name);

/* Whether Accept names a Table of v1, and the includeObject parameter. */
bool wants_table(const struct request *rq);

/* read.c */
void api_get(struct hub *hub, struct request *rq, struct reply *rp);
void api_list(struct hub *hub, struct request *rq, struct reply *rp);
void api_watch(struct hub *hub, struct request *rq, struct reply *rp);
/* write.c */
void api_create(struct hub *hub, struct request *rq, struct reply *rp);
void api_update(struct hub *hub, struct request *rq, struct reply *rp);
void api_patch(struct hub *hub, struct request *rq, struct reply *rp);
void api_bind(struct hub *hub, struct request *rq, struct reply *rp);
/* delete.c */
void api_delete(struct hub *hub, struct request *rq, struct reply *rp);
void api_delete_collection(struct hub *hub, struct request *rq, struct reply *rp);
void namespace_sync(struct hub *hub, const char *name); /* carries the deletion of a namespace on */
/* discovery.c; return false when the path is none of theirs */
bool discovery_handle(struct hub *hub, const struct request *rq, struct reply *rp);
/* openapi.c */
bool openapi_handle(const struct request *rq, struct reply *rp);
/* authz.c: NULL when allowed, or a Status 403 */
json_t *authorize(const struct hub *hub, const struct request *rq);
/* The same after the object is known: @old and @obj may be NULL. */
json_t *authorize_object(const struct request *rq, const json_t *old, const json_t *obj);
