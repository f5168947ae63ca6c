/* SPDX-License-Identifier: Apache-2.0 */
/* What the decoders look at. The large parts of an object (managedFields, a pod's environment, volumes and statuses of containers, a node's images) are not in it.
 * fuzz_model holds models of whole objects against models of these fields only. */
#include "model/model.h"

#define META "metadata(name,namespace,uid,generation,creationTimestamp,deletionTimestamp,labels,annotations)"
#define CONDITIONS "conditions(type,status,message)"

const char *model_fields(enum model_table table)
{
	static const char *const fields[MODEL_TABLES] = {
		[MODEL_NODES] = META ",spec(podCIDRs,podCIDR,taints,unschedulable),status(addresses," CONDITIONS ")",
		[MODEL_PODS] = META ",spec(nodeName,hostNetwork,containers(ports),initContainers(ports,restartPolicy)),"
				    "status(phase,podIP,podIPs," CONDITIONS ")",
		[MODEL_NAMESPACES] = META,
		[MODEL_POLICIES] = META ",spec",
		[MODEL_MESH_NODES] = META ",spec",
		[MODEL_SERVICES] = META ",spec,status(loadBalancer,conditions)",
		[MODEL_SLICES] = META ",addressType,ports,endpoints",
		[MODEL_CLUSTER_POLICIES] = META ",spec,status(conditions)",
		[MODEL_ADMIN_POLICIES] = META ",spec,status(conditions)",
		[MODEL_BASELINE_POLICIES] = META ",spec,status(conditions)",
	};

	return fields[table];
}
