/* SPDX-License-Identifier: Apache-2.0 */
/* This node's MeshNode: key and endpoints for the others, and what became of it for people. Only this node writes it, so what
 * was accepted last is what stands there, unless the watch says otherwise. */
#include "agent/agent.h"
#include "base/base64.h"
#include "base/str.h"

#include <time.h>

enum { RETRY_US = 5000000 };

static const char BASE[] = "/apis/weft.dev/v1alpha1";

static json_t *wanted_spec(const struct agent *a)
{
	char key[BASE64_LEN(MESH_KEY) + 1], text[ENDPOINT_TEXT_MAX];
	json_t *endpoints = json_array(), *spec;

	for (size_t i = 0; i < a->facts.n_between && i < MESH_ENDPOINTS_MAX; i++)
		json_array_append_new(endpoints, json_string(addr_port_format(&a->facts.underlays[i].addr, a->opt.mesh_port, text)));
	spec = json_pack("{ss, so, so}", "publicKey", base64_encode(a->mesh.key.public_key, MESH_KEY, key), "endpoints", endpoints,
			 "nextKey", json_null());
	if (a->mesh.key.has_next)
		json_object_set_new(spec, "nextKey", json_string(base64_encode(a->mesh.key.next_public, MESH_KEY, key)));
	return spec;
}

/* Is what the API has what it should have? */
static bool spec_stands(const struct agent *a, const json_t *want)
{
	const struct model_mesh_node *own = model_find_mesh_node(a->model, a->opt.node_name);

	if (!own || memcmp(own->key, a->mesh.key.public_key, MESH_KEY) != 0 || own->has_next != a->mesh.key.has_next ||
	    (own->has_next && memcmp(own->next_key, a->mesh.key.next_public, MESH_KEY) != 0) ||
	    own->n_endpoints != json_array_size(json_object_get(want, "endpoints")))
		return false;
	for (unsigned i = 0; i < own->n_endpoints; i++)
		if (!addr_eq(&own->endpoints[i].addr, &a->facts.underlays[i].addr) || own->endpoints[i].port != a->opt.mesh_port)
			return false;
	return true;
}

static json_t *wanted_status(const struct agent *a)
{
	const char *holder = a->mesh.planned ? a->mesh.plan.own_holder : NULL;
	struct mesh_status s;

	mesh_status(a->mesh.mesh, &s);
	return json_pack("{ss, s[{ss, ss, ss, ss+}]}", "engine", s.engine, "conditions", "type", "Accepted", "status",
			 holder ? "False" : "True", "reason", holder ? "DuplicateKey" : "Accepted", "message",
			 holder ? "the key is that of the older MeshNode " : "the other nodes may encrypt to this key", holder ? holder : "");
}

static void on_answer(struct agent *a, const struct kube_response *res, json_t **told)
{
	struct mesh_publication *t = &a->mesh.told;

	t->pending = false;
	free(t->error);
	t->error = NULL;
	(void)sd_event_now(a->event, CLOCK_MONOTONIC, &t->retry_us);
	t->retry_us += RETRY_US;
	if (res->status >= 200 && res->status < 300) { /* the watch will say the same, and the pass then tells the rest */
		agent_mesh_set_health(a);
		return;
	}
	json_decref(*told);
	*told = NULL; /* to be said again */
	t->error = xstrdup(res->error ? res->error : "no answer");
	log_warn("cannot write this node's MeshNode", L_INT("status", res->status), L_STR("why", res->error));
	agent_mark_dirty(a, RETRY_US / 1000 + 100);
	agent_mesh_set_health(a);
}

static void on_spec(const struct kube_response *res, void *ctx)
{
	struct agent *a = ctx;

	on_answer(a, res, &a->mesh.told.spec);
}

static void on_status(const struct kube_response *res, void *ctx)
{
	struct agent *a = ctx;

	on_answer(a, res, &a->mesh.told.status);
}

static void send_body(struct agent *a, const char *method, const char *path, const json_t *body, kube_response_fn *fn)
{
	struct kube_request req = {.method = method, .path = path, .body = body};

	a->mesh.told.pending = kube_send(a->client, &req, fn, a, NULL) == 0;
}

/* With its Node it goes. */
static json_t *object_of(const struct agent *a, json_t *spec)
{
	const struct model_node *node = model_find_node(a->model, a->opt.node_name);
	json_t *o = json_pack("{ss, ss, s{ss}, sO}", "apiVersion", "weft.dev/v1alpha1", "kind", "MeshNode", "metadata", "name",
			      a->opt.node_name, "spec", spec);

	if (node && *node->uid)
		json_object_set_new(json_object_get(o, "metadata"), "ownerReferences",
				    json_pack("[{ss, ss, ss, ss}]", "apiVersion", "v1", "kind", "Node", "name", node->name, "uid", node->uid));
	json_object_del(json_object_get(o, "spec"), "nextKey"); /* null is for patches */
	return o;
}

static void tell_spec(struct agent *a, json_t *spec)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_json_ json_t *body = NULL;

	json_decref(a->mesh.told.spec);
	a->mesh.told.spec = json_deep_copy(spec);
	if (model_find_mesh_node(a->model, a->opt.node_name)) {
		path = kube_path(BASE, NULL, "meshnodes", a->opt.node_name, NULL);
		body = json_pack("{sO}", "spec", spec);
		send_body(a, "PATCH", path, body, on_spec);
	} else {
		path = kube_path(BASE, NULL, "meshnodes", NULL, NULL);
		body = object_of(a, spec);
		send_body(a, "POST", path, body, on_spec);
	}
}

static void tell_status(struct agent *a, json_t *status)
{
	_cleanup_free_ char *path = kube_path(BASE, NULL, "meshnodes", a->opt.node_name, "status");
	_cleanup_json_ json_t *body = json_pack("{sO}", "status", status);
	char at[32];

	json_decref(a->mesh.told.status);
	a->mesh.told.status = json_deep_copy(status);
	agent_format_time(at);
	json_object_set_new(json_array_get(json_object_get(status, "conditions"), 0), "lastTransitionTime", json_string(at));
	send_body(a, "PATCH", path, body, on_status);
}

void agent_mesh_publish(struct agent *a)
{
	_cleanup_json_ json_t *spec = NULL, *status = NULL;
	struct mesh_publication *t = &a->mesh.told;
	uint64_t now = 0;

	(void)sd_event_now(a->event, CLOCK_MONOTONIC, &now);
	if (!a->mesh.mesh || !a->client || !a->synced[MODEL_MESH_NODES] || !a->facts.n_between || t->pending)
		return;
	spec = wanted_spec(a);
	status = wanted_status(a);
	if (!spec_stands(a, spec)) {
		if (now >= t->retry_us || (t->spec && !json_equal(t->spec, spec)))
			tell_spec(a, spec);
	} else if (!json_equal(t->status, status)) {
		tell_status(a, status);
	}
}

void agent_mesh_publish_done(struct agent *a)
{
	json_decref(a->mesh.told.spec);
	json_decref(a->mesh.told.status);
	free(a->mesh.told.error);
}
