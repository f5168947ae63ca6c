/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/schema_meta.h"

static const struct schema owner_reference = {
	"io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference", "Names the object that this one belongs to.",
	FIELDS(STR("apiVersion", "API version of the owner.", .required = true, .pb = 5),
	       STR("kind", "Kind of the owner.", .required = true, .pb = 1), STR("name", "Name of the owner.", .required = true, .pb = 3),
	       STR("uid", "UID of the owner.", .required = true, .pb = 4),
	       BOOL("controller", "The owner manages this object.", .pb = 6),
	       BOOL("blockOwnerDeletion", "A foreground deletion of the owner waits for this object.", .pb = 7))
};

static const struct schema managed_fields_entry = {
	"io.k8s.apimachinery.pkg.apis.meta.v1.ManagedFieldsEntry", "Which fields a manager has set.",
	FIELDS(STR("manager", "Who."), STR("operation", "Apply or Update."), STR("apiVersion", "Version of the field names."),
	       TIME("time", "When."), STR("fieldsType", "Format of fieldsV1: FieldsV1."),
	       ANY("fieldsV1", "The set of fields."), STR("subresource", "The subresource that was written."))
};

const struct schema schema_object_meta = {
	"io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "What every object has: its name, labels and history.",
	FIELDS(STR("name", "Unique within the namespace (and the kind); cannot be changed.", .pb = 1),
	       STR("generateName", "Prefix of a name that the server completes.", .pb = 2),
	       STR("namespace", "The namespace that holds the object; cannot be changed.", .pb = 3),
	       STR("selfLink", "Not used any more."), STR("uid", "Unique in time and space; set by the server.", .pb = 5),
	       STR("resourceVersion", "Changes with every write. Send it back to make an update conditional.", .pb = 6),
	       LONG("generation", "Counts changes of the wanted state; set by the server.", .pb = 7),
	       TIME("creationTimestamp", "When the object was created; set by the server.", .pb = 8),
	       TIME("deletionTimestamp", "When the object will go, once deletion was asked for; set by the server.", .pb = 9),
	       LONG("deletionGracePeriodSeconds", "How long a graceful deletion may take; set by the server.", .pb = 10),
	       STR_MAP("labels", "Keys and values to select objects by.", .pb = 11),
	       STR_MAP("annotations", "Keys and values that nothing selects by.", .pb = 12),
	       OBJ_KEYED("ownerReferences", &owner_reference, "uid", "The objects that this one belongs to.", .pb = 13),
	       STR("finalizers", "The object stays until this list is empty.", .shape = SET, .pb = 14),
	       OBJ_LIST("managedFields", &managed_fields_entry, "Which manager has set which fields."))
};

static const struct schema label_selector_requirement = {
	"io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelectorRequirement", "One condition of a label selector.",
	FIELDS(STR("key", "The label looked at.", .required = true),
	       STR("operator", "In, NotIn, Exists or DoesNotExist.", .required = true,
		   .values = VALUES("In", "NotIn", "Exists", "DoesNotExist")),
	       STR_LIST("values", "For In and NotIn: at least one; else empty."))
};

const struct schema schema_label_selector = {
	"io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector", "Selects objects by labels; all conditions hold. Empty: all.",
	FIELDS(STR_MAP("matchLabels", "Labels with exactly these values."),
	       OBJ_LIST("matchExpressions", &label_selector_requirement, "Further conditions."))
};

const struct schema schema_condition = {
	"io.k8s.apimachinery.pkg.apis.meta.v1.Condition", "One aspect of an object's state.",
	FIELDS(STR("type", "Which aspect.", .required = true),
	       STR("status", "True, False or Unknown.", .required = true, .values = VALUES("True", "False", "Unknown")),
	       LONG("observedGeneration", "The generation that this was said about."),
	       TIME("lastTransitionTime", "When status changed last.", .required = true),
	       STR("reason", "Why, as one word.", .required = true), STR("message", "Why, for people."))
};

const struct schema schema_object_reference = {
	"io.k8s.api.core.v1.ObjectReference", "Names another object.",
	FIELDS(STR("apiVersion", "Its API version."), STR("kind", "Its kind."), STR("namespace", "Its namespace."),
	       STR("name", "Its name."), STR("uid", "Its UID."), STR("resourceVersion", "The version that is meant."),
	       STR("fieldPath", "The part that is meant, such as spec.containers{web}."))
};
