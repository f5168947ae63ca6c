/* SPDX-License-Identifier: Apache-2.0 */
/* LoadBalancerPool: schema, rules, columns. Who gets which address is decided in lb_plan.c. */
#include "base/str.h"
#include "hub/kind_hooks.h"
#include "hub/lb_range.h"
#include "hub/schema_meta.h"
#include "hub/validate.h"

enum { RANGES_MAX = 64 };

const struct schema schema_lb_pool = {
	"dev.weft.v1alpha1.LoadBalancerPool", "Addresses for Services of type LoadBalancer.",
	FIELDS(META,
	       OBJ("spec",
		   (&(const struct schema){
			   "dev.weft.v1alpha1.LoadBalancerPoolSpec", "Which addresses, and for whom.",
			   FIELDS(STR_LIST("addresses", "CIDRs, ranges (FIRST-LAST) and single addresses, of one family or both.",
					   .required = true),
				  STR("loadBalancerClass", "Serves Services of this class; unset: those without a class."),
				  OBJ("serviceSelector", &schema_label_selector, "Services with these labels; unset: all."),
				  OBJ("namespaceSelector", &schema_label_selector,
				      "Services in namespaces with these labels; unset: all."),
				  BOOL("autoAssign",
				       "false: only Services that ask for the pool or for one of its addresses; default true.")) }),
		   "Which addresses, and for whom.", .required = true),
	       OBJ("status",
		   (&(const struct schema){
			   "dev.weft.v1alpha1.LoadBalancerPoolStatus", "State of the pool.",
			   FIELDS(LONG("total", "Addresses that can be given out; 2^53 stands for that many or more."),
				  LONG("assigned", "Addresses that Services hold."),
				  OBJ_KEYED("conditions", &schema_condition, "type", "Aspects of its state.")) }),
		   "State of the pool."))
};

void lb_pool_defaults(json_t *obj, const json_t *old)
{
	json_t *spec = default_object(obj, "spec");

	(void)old;
	if (!json_object_get(spec, "autoAssign"))
		json_object_set_new(spec, "autoAssign", json_true());
}

static void validate_range(const json_t *v, const struct path *at, struct errors *e)
{
	struct lb_range r;

	if (lb_range_parse(json_str_or(v, ""), &r) < 0)
		err_invalid(e, at, v,
			    "must be a CIDR without host bits, a range FIRST-LAST of one family, or an address (e.g. 192.0.2.0/28, "
			    "2001:db8::10-2001:db8::20)");
	else if (lb_range_fault(&r))
		err_invalid(e, at, v, "%s", lb_range_fault(&r));
}

void lb_pool_validate(const json_t *obj, const json_t *old, struct errors *e)
{
	const struct path *at = PATH(NULL, "spec"), *addresses = PATH(at, "addresses");
	const json_t *spec = json_object_get(obj, "spec"), *list = json_object_get(spec, "addresses"), *v;
	const json_t *services = json_object_get(spec, "serviceSelector"), *namespaces = json_object_get(spec, "namespaceSelector");
	size_t i;

	(void)old;
	if (json_array_size(list) == 0)
		err_required(e, addresses, NULL);
	if (json_array_size(list) > RANGES_MAX)
		err_invalid(e, addresses, list, "must have at most %d items", RANGES_MAX);
	json_array_foreach(list, i, v)
		validate_range(v, PATH_AT(addresses, i), e);
	if (services)
		validate_label_selector(services, PATH(at, "serviceSelector"), e);
	if (namespaces)
		validate_label_selector(namespaces, PATH(at, "namespaceSelector"), e);
}

static void cell_addresses(const json_t *obj, struct buf *out)
{
	cell_list(json_at(obj, "spec", "addresses"), out);
}

static void cell_class(const json_t *obj, struct buf *out)
{
	buf_adds(out, json_str_or(json_at(obj, "spec", "loadBalancerClass"), "<none>"));
}

static void cell_auto_assign(const json_t *obj, struct buf *out)
{
	buf_adds(out, json_is_false(json_at(obj, "spec", "autoAssign")) ? "false" : "true");
}

static void cell_assigned(const json_t *obj, struct buf *out)
{
	buf_addf(out, "%lld", (long long)json_integer_value(json_at(obj, "status", "assigned")));
}

static void cell_ready(const json_t *obj, struct buf *out)
{
	json_t *c;
	size_t i;

	json_array_foreach(json_at(obj, "status", "conditions"), i, c)
		if (streq(json_str_at(c, "type"), "Ready")) {
			buf_adds(out, json_str_or(json_object_get(c, "status"), "Unknown"));
			return;
		}
	buf_adds(out, "Unknown");
}

const struct column lb_pool_columns[] = {
	COLUMN_NAME,
	{ "Addresses", "string", 0, .cell = cell_addresses, .doc = "What it holds." },
	{ "Class", "string", 0, .cell = cell_class, .doc = "The class of Services that it serves." },
	{ "Auto-Assign", "string", 0, .cell = cell_auto_assign, .doc = "Whether Services get addresses from it without asking." },
	{ "Assigned", "string", 0, .cell = cell_assigned, .doc = "Addresses given out." },
	{ "Ready", "string", 0, .cell = cell_ready, .doc = "Whether all of its addresses can be given out." },
	COLUMN_AGE,
	{ 0 },
};
