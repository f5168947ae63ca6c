/* SPDX-License-Identifier: Apache-2.0 */
/* An object of any kind on its way into the hub: decoded by the schema, defaulted, validated
 * alone and as an update of itself. What passes is stable, and the agent's model takes it as well. */
#include "fuzz.h"
#include "hub/kind.h"
#include "hub/status.h"
#include "hub/validate.h"
#include "model/model.h"

static void check_status(json_t *status)
{
	_cleanup_json_ json_t *s = status;
	_cleanup_free_ char *text = NULL;

	REQUIRE(s && status_code(s) >= 400 && json_str_at(s, "message"));
	text = json_text(s);
}

/* Return: does it fit? */
static bool decode(const struct kind *k, json_t *obj)
{
	_cleanup_json_ json_t *unknown = json_array(), *copy = NULL;
	struct errors e = { 0 };
	bool good;

	schema_decode(k->schema, obj, NULL, unknown, &e);
	REQUIRE(json_array_size(unknown) <= 100);
	good = !errors_any(&e);
	if (!good)
		check_status(status_invalid(k, "a", &e));
	errors_done(&e);
	if (!good)
		return false;
	copy = json_deep_copy(obj);
	json_array_clear(unknown);
	schema_decode(k->schema, copy, NULL, unknown, &e);
	REQUIRE(!errors_any(&e) && json_array_size(unknown) == 0 && json_equal(copy, obj));
	return true;
}

static bool validate(const struct kind *k, json_t *obj, const json_t *old)
{
	struct errors e = { 0 };
	bool good;

	if (k->defaults)
		k->defaults(obj, old);
	validate_meta(k, obj, &e);
	if (old)
		validate_meta_update(obj, old, &e);
	schema_validate(k->schema, obj, NULL, &e);
	if (k->validate)
		k->validate(obj, old, &e);
	good = !errors_any(&e);
	if (!good)
		check_status(status_invalid(k, json_str_or(json_at(obj, "metadata", "name"), ""), &e));
	errors_done(&e);
	return good;
}

static void check_model(const struct kind *k, const json_t *obj)
{
	static const struct {
		const char *kind;
		enum model_table table;
	} tables[] = { { "Node", MODEL_NODES }, { "Pod", MODEL_PODS }, { "Namespace", MODEL_NAMESPACES }, { "NetworkPolicy", MODEL_POLICIES } };

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		_cleanup_(model_freep) struct model *m = NULL;
		_cleanup_free_ char *error = NULL;

		if (!streq(tables[i].kind, k->kind))
			continue;
		m = model_new();
		if (model_upsert(m, tables[i].table, obj, &error) != 1) {
			fprintf(stderr, "%s\n", error);
			REQUIRE(!"the model takes what the hub has taken");
		}
		REQUIRE(model_count(m, tables[i].table) == 1 && model_upsert(m, tables[i].table, obj, NULL) == 0);
		REQUIRE(model_delete(m, tables[i].table, obj) == 1 && model_count(m, tables[i].table) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_json_ json_t *obj = json_parse("object", (const char *)data, size, NULL), *again = NULL;
	const struct kind *k = kind_of(json_str_or(json_object_get(obj, "kind"), ""));

	if (!k || !decode(k, obj))
		return 0;
	meta_of(obj);
	if (k->namespaced) /* it must be the request's, and that one must exist */
		json_object_set_new(meta_of(obj), "namespace", json_string("default"));
	if (!validate(k, obj, NULL))
		return 0;
	again = json_deep_copy(obj);
	REQUIRE(validate(k, again, obj) && json_equal(again, obj));
	check_model(k, obj);
	return 0;
}
