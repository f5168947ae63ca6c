/* SPDX-License-Identifier: Apache-2.0 */
/* Schemas that several kinds share, and the words to write a schema with. */
#pragma once

#include "hub/schema.h"

#define STR(n, d, ...) { .name = (n), .type = F_STRING, .doc = (d), ##__VA_ARGS__ }
#define INT(n, d, ...) { .name = (n), .type = F_INT, .doc = (d), ##__VA_ARGS__ }
#define LONG(n, d, ...) { .name = (n), .type = F_LONG, .doc = (d), ##__VA_ARGS__ }
#define BOOL(n, d, ...) { .name = (n), .type = F_BOOL, .doc = (d), ##__VA_ARGS__ }
#define TIME(n, d, ...) { .name = (n), .type = F_TIME, .doc = (d), ##__VA_ARGS__ }
#define MICROTIME(n, d, ...) { .name = (n), .type = F_MICROTIME, .doc = (d), ##__VA_ARGS__ }
#define INT_OR_STR(n, d, ...) { .name = (n), .type = F_INT_OR_STRING, .doc = (d), ##__VA_ARGS__ }
#define QUANTITY(n, d, ...) { .name = (n), .type = F_QUANTITY, .doc = (d), ##__VA_ARGS__ }
#define ANY(n, d, ...) { .name = (n), .type = F_ANY, .doc = (d), ##__VA_ARGS__ }
#define OBJ(n, s, d, ...) { .name = (n), .type = F_OBJECT, .of = (s), .doc = (d), ##__VA_ARGS__ }
#define STR_MAP(n, d, ...) STR(n, d, .shape = MAP, ##__VA_ARGS__)
#define STR_LIST(n, d, ...) STR(n, d, .shape = LIST, ##__VA_ARGS__)
#define OBJ_LIST(n, s, d, ...) OBJ(n, s, d, .shape = LIST, ##__VA_ARGS__)
#define OBJ_KEYED(n, s, k, d, ...) OBJ(n, s, d, .shape = KEYED, .key = (k), ##__VA_ARGS__)
#define FIELDS(...) ((const struct field[]){ __VA_ARGS__, { 0 } })
#define META                                                                                                           \
	STR("apiVersion", "Version of the schema that this object follows."),                                          \
		STR("kind", "What this object is."),                                                                   \
		OBJ("metadata", &schema_object_meta, "Name, labels and what else every object has.", .pb = 1)

extern const struct schema schema_object_meta, schema_label_selector, schema_condition, schema_object_reference;

extern const struct schema schema_namespace, schema_node, schema_pod, schema_service, schema_endpointslice,
	schema_networkpolicy, schema_configmap, schema_lease, schema_event, schema_lb_pool, schema_meshnode, schema_cluster_policy, schema_admin_policy, schema_baseline_policy,
	schema_service_cidr, schema_ip_address;
