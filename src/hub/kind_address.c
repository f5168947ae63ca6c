/* SPDX-License-Identifier: Apache-2.0 */
/* ServiceCIDR and IPAddress: schemas and columns. The hub writes these objects (address_objects.c); others read. */
#include "hub/kind_hooks.h"
#include "hub/schema_meta.h"

const struct schema schema_service_cidr = {
	"io.k8s.api.networking.v1.ServiceCIDR", "Ranges that the cluster addresses of services come from.",
	FIELDS(META,
	       OBJ("spec",
		   (&(const struct schema){ "io.k8s.api.networking.v1.ServiceCIDRSpec", "Which ranges.",
					    FIELDS(STR_LIST("cidrs", "The ranges, at most one of each family.", .required = true)) }),
		   "Which ranges.", .required = true),
	       OBJ("status",
		   (&(const struct schema){ "io.k8s.api.networking.v1.ServiceCIDRStatus", "State of the ranges.",
					    FIELDS(OBJ_KEYED("conditions", &schema_condition, "type", "Aspects of their state.")) }),
		   "State of the ranges."))
};

static const struct schema parent_reference = {
	"io.k8s.api.networking.v1.ParentReference", "The object that an address belongs to.",
	FIELDS(STR("group", "Its API group; unset: the core."), STR("resource", "Its kind's resource.", .required = true),
	       STR("namespace", "Its namespace."), STR("name", "Its name.", .required = true))
};

const struct schema schema_ip_address = {
	"io.k8s.api.networking.v1.IPAddress", "An address that is taken, named as it is written.",
	FIELDS(META,
	       OBJ("spec",
		   (&(const struct schema){ "io.k8s.api.networking.v1.IPAddressSpec", "Whose it is.",
					    FIELDS(OBJ("parentRef", &parent_reference, "Whose it is.", .required = true)) }),
		   "Whose it is.", .required = true))
};

static void cell_cidrs(const json_t *obj, struct buf *out)
{
	cell_list(json_at(obj, "spec", "cidrs"), out);
}

static void cell_parent(const json_t *obj, struct buf *out)
{
	const json_t *p = json_at(obj, "spec", "parentRef");

	buf_addf(out, "%s/%s/%s", json_str_or(json_object_get(p, "resource"), ""), json_str_or(json_object_get(p, "namespace"), ""),
		 json_str_or(json_object_get(p, "name"), ""));
}

const struct column service_cidr_columns[] = {
	COLUMN_NAME,
	{ "CIDRs", "string", 0, .cell = cell_cidrs, .doc = "The ranges." },
	COLUMN_AGE,
	{ 0 },
};

const struct column ip_address_columns[] = {
	COLUMN_NAME,
	{ "ParentRef", "string", 0, .cell = cell_parent, .doc = "Whose it is." },
	COLUMN_AGE,
	{ 0 },
};
