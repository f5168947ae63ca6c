/* SPDX-License-Identifier: Apache-2.0 */
/* The table of kinds. */
#include "hub/kind_hooks.h"
#include "hub/schema_meta.h"
#include "base/str.h"

/* clang-format off */
const struct kind kinds[] = {
	{ "", "v1", "namespaces", "namespace", "Namespace", VALUES("ns"),
	  .has_status = true, .protobuf = true, .name_rule = NAME_LABEL, .schema = &schema_namespace, .columns = namespace_columns,
	  .field_labels = VALUES("status.phase"), .defaults = namespace_defaults },
	{ "", "v1", "nodes", "node", "Node", VALUES("no"),
	  .has_status = true, .keeps_status = true, .schema = &schema_node, .columns = node_columns,
	  .field_labels = VALUES("spec.unschedulable"),
	  .defaults = node_defaults, .validate = node_validate, .allocate = node_allocate, .release = node_release },
	{ "", "v1", "pods", "pod", "Pod", VALUES("po"), VALUES("all"),
	  .namespaced = true, .has_status = true, .graceful = true, .has_generation = true,
	  .schema = &schema_pod, .columns = pod_columns,
	  .field_labels = VALUES("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
				 "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName"),
	  .defaults = pod_defaults, .validate = pod_validate },
	{ "", "v1", "services", "service", "Service", VALUES("svc"), VALUES("all"),
	  .namespaced = true, .has_status = true, .protobuf = true, .name_rule = NAME_SERVICE, .schema = &schema_service,
	  .columns = service_columns, .field_labels = VALUES("spec.clusterIP", "spec.type"),
	  .defaults = service_defaults, .validate = service_validate,
	  .allocate = service_allocate, .release = service_release },
	{ "", "v1", "configmaps", "configmap", "ConfigMap", VALUES("cm"),
	  .namespaced = true, .protobuf = true, .schema = &schema_configmap, .columns = configmap_columns, .validate = configmap_validate },
	{ "", "v1", "events", "event", "Event", VALUES("ev"),
	  .namespaced = true, .schema = &schema_event, .columns = event_columns,
	  .field_labels = VALUES("involvedObject.kind", "involvedObject.namespace", "involvedObject.name",
				 "involvedObject.uid", "involvedObject.apiVersion", "involvedObject.resourceVersion",
				 "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type"),
	  .defaults = event_defaults, .validate = event_validate },
	{ "coordination.k8s.io", "v1", "leases", "lease", "Lease",
	  .namespaced = true, .schema = &schema_lease, .columns = lease_columns },
	{ "discovery.k8s.io", "v1", "endpointslices", "endpointslice", "EndpointSlice",
	  .namespaced = true, .has_generation = true, .schema = &schema_endpointslice, .columns = endpointslice_columns,
	  .defaults = endpointslice_defaults, .validate = endpointslice_validate },
	{ "networking.k8s.io", "v1", "networkpolicies", "networkpolicy", "NetworkPolicy", VALUES("netpol"),
	  .namespaced = true, .has_generation = true, .schema = &schema_networkpolicy, .columns = networkpolicy_columns,
	  .defaults = networkpolicy_defaults, .validate = networkpolicy_validate },
	{ "networking.k8s.io", "v1", "servicecidrs", "servicecidr", "ServiceCIDR",
	  .has_status = true, .keeps_status = true, .has_generation = true, .read_only = true, .schema = &schema_service_cidr, .columns = service_cidr_columns },
	{ "networking.k8s.io", "v1", "ipaddresses", "ipaddress", "IPAddress", VALUES("ip"),
	  .has_generation = true, .read_only = true, .name_rule = NAME_ADDRESS, .schema = &schema_ip_address, .columns = ip_address_columns,
	  .field_labels = VALUES("spec.parentRef.name", "spec.parentRef.namespace", "spec.parentRef.resource") },
	{ "policy.networking.k8s.io", "v1alpha2", "clusternetworkpolicies", "clusternetworkpolicy", "ClusterNetworkPolicy", VALUES("cnp"),
	  .has_status = true, .has_generation = true, .schema = &schema_cluster_policy, .columns = cluster_policy_columns,
	  .validate = cluster_policy_validate },
	{ "policy.networking.k8s.io", "v1alpha1", "adminnetworkpolicies", "adminnetworkpolicy", "AdminNetworkPolicy", VALUES("anp"),
	  .has_status = true, .has_generation = true, .schema = &schema_admin_policy, .columns = admin_policy_columns,
	  .defaults = admin_policy_defaults, .validate = admin_policy_validate },
	{ "policy.networking.k8s.io", "v1alpha1", "baselineadminnetworkpolicies", "baselineadminnetworkpolicy", "BaselineAdminNetworkPolicy", VALUES("banp"),
	  .has_status = true, .has_generation = true, .schema = &schema_baseline_policy,
	  .defaults = admin_policy_defaults, .validate = baseline_policy_validate },
	{ "weft.dev", "v1alpha1", "loadbalancerpools", "loadbalancerpool", "LoadBalancerPool", VALUES("lbpool"),
	  .has_status = true, .has_generation = true, .schema = &schema_lb_pool, .columns = lb_pool_columns,
	  .defaults = lb_pool_defaults, .validate = lb_pool_validate },
	{ "weft.dev", "v1alpha1", "meshnodes", "meshnode", "MeshNode", VALUES("mesh"),
	  .has_status = true, .has_generation = true, .schema = &schema_meshnode, .columns = meshnode_columns,
	  .validate = meshnode_validate, .allocate = meshnode_allocate },
	{ 0 },
};
/* clang-format on */
const size_t kinds_count = ARRAY_SIZE(kinds) - 1;

const struct kind *kind_find(const char *group, const char *version, const char *resource)
{
	for (const struct kind *k = kinds; k->resource; k++)
		if (streq(k->group, group) && streq(k->resource, resource) && (!version || streq(k->version, version)))
			return k;
	return NULL;
}

const struct kind *kind_of(const char *kind_name)
{
	for (const struct kind *k = kinds; k->resource; k++)
		if (streq(k->kind, kind_name))
			return k;
	return NULL;
}

char *kind_api_version(const struct kind *k)
{
	return *k->group ? xasprintf("%s/%s", k->group, k->version) : xstrdup(k->version);
}
