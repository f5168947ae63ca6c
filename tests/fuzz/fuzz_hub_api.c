/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to a hub of their own, from an administrator, joined by form feeds. Each is a first line
 * "METHOD /path?query CONTENT-TYPE" and a body. Every one gets an answer that is JSON where it says so, the store stays
 * consistent, and nothing is left behind. */
#include "fuzz.h"
#include "base/log.h"
#include "hub/api.h"
#include "hub/load_balancers.h"
#include "hub/slices.h"
#include "hub/watch.h"

enum { REQUESTS_MAX = 12 };

static struct pool *pool(const char *cidr, uint8_t len)
{
	struct prefix p;
	struct pool *pool;

	REQUIRE(prefix_parse(cidr, &p, NULL) == 0 && pool_new(&p, len, &pool) == 0);
	return pool;
}

static void start(struct hub *hub)
{
	static const uint16_t port = 6443;
	char *error = NULL;
	struct addr a;

	log_set_level(LOG_ERROR);
	*hub = (struct hub){ .ready = true };
	list_init(&hub->watches);
	REQUIRE(sd_event_new(&hub->event) >= 0 && store_open(":memory:", &hub->store, &error) == 0);
	hub->nodes = (struct ranges){ { pool("10.244.0.0/16", V4_BITS_BEFORE + 24), pool("fd00:244::/48", 64) }, 2 };
	hub->services = (struct ranges){ { pool("10.96.0.0/28", 128), pool("fd00:96::/124", 128) }, 2 };
	addr_parse("172.30.0.1", &a);
	store_listen(hub->store, watches_on_change, hub);
	REQUIRE(controllers_start(hub, &a, &port, 1) >= 0);
}

static void stop(struct hub *hub)
{
	controllers_stop(hub);
	for (size_t i = 0; i < FAMILIES_MAX; i++) {
		pool_free(hub->nodes.pools[i]);
		pool_free(hub->services.pools[i]);
	}
	store_free(hub->store);
	sd_event_unref(hub->event);
}

/* Up to @c, which is overwritten by a NUL; the rest, or the end. */
static char *split(char *s, char c)
{
	char *at = strchr(s, c);

	if (!at)
		return s + strlen(s);
	*at = 0;
	return at + 1;
}

static json_t *read_query(char *text)
{
	json_t *q = json_object();

	while (*text) {
		char *rest = split(text, '&'), *value = split(text, '=');

		json_object_set_new(q, text, json_string(value));
		text = rest;
	}
	return q;
}

static void check_reply(const struct reply *rp)
{
	_cleanup_json_ json_t *j = NULL;

	if (rp->watch)
		return;
	REQUIRE(rp->code >= 200 && rp->code < 600 && rp->code != 500);
	if (!streq(rp->content_type, "application/json"))
		return;
	j = json_parse("answer", rp->body.data, rp->body.len, NULL);
	REQUIRE(json_is_object(j) || json_is_array(j));
	REQUIRE(rp->code < 400 || json_integer_value(json_object_get(j, "code")) == rp->code);
}

static void check_store(const struct hub *hub)
{
	for (size_t i = 0; i < kinds_count; i++) {
		size_t n;
		struct object *const *all = store_all(hub->store, &kinds[i], &n);

		for (size_t k = 0; k < n; k++) {
			REQUIRE(store_get(hub->store, &kinds[i], all[k]->ns, all[k]->name) == all[k]);
			REQUIRE(all[k]->rev && all[k]->rev <= store_rev(hub->store) && meta_rev(all[k]->json) == all[k]->rev);
			REQUIRE(k == 0 || object_key_cmp(all[k - 1]->ns, all[k - 1]->name, all[k]->ns, all[k]->name) < 0);
		}
	}
}

static void ask(struct hub *hub, const struct identity *id, char *text, size_t len)
{
	char *body = split(text, '\n'), *path = split(text, ' '), *type = split(path, ' '), *query = split(path, '?');
	_cleanup_json_ json_t *utf8 = json_string(path);
	struct request rq = { .method = text, .path = path, .accept = "application/json", .content_type = type, .body = body, .id = id };
	struct reply rp = { 0 };

	if (!utf8 || *path != '/') /* HTTP's side takes no such paths */
		return;
	rq.query = read_query(query);
	rq.body_len = len - (body - text);
	if (streq(query_str(&rq, "accept"), "table"))
		rq.accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
	api_handle(hub, &rq, &rp);
	slices_run(hub->slices, 1000); /* what the event loop would do between requests */
	load_balancers_run(hub->load_balancers);
	check_reply(&rp);
	request_done(&rq);
	reply_done(&rp);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	struct identity id = { xstrdup("admin"), json_pack("[s]", "system:masters") };
	struct hub hub;

	start(&hub);
	for (int i = 0; in.size && i < REQUESTS_MAX; i++) {
		size_t len;
		_cleanup_free_ char *text = fuzz_text(&in, &len);

		ask(&hub, &id, text, len);
		check_store(&hub);
	}
	while (sd_event_run(hub.event, 0) > 0) /* what was put off to the loop */
		;
	check_store(&hub);
	stop(&hub);
	identity_done(&id);
	return 0;
}
