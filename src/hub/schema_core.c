/* SPDX-License-Identifier: Apache-2.0 */
/* Namespace, Node, ConfigMap, Lease, Event. */
#include "hub/schema_meta.h"

static const struct schema namespace_condition = {
	"io.k8s.api.core.v1.NamespaceCondition", "One aspect of a namespace's state.",
	FIELDS(STR("type", "Which aspect.", .required = true), STR("status", "True, False or Unknown.", .required = true),
	       TIME("lastTransitionTime", "When status changed last."), STR("reason", "Why, as one word."),
	       STR("message", "Why, for people."))
};

const struct schema schema_namespace = {
	"io.k8s.api.core.v1.Namespace", "A scope for names; deleting it deletes what it holds.",
	FIELDS(META,
	       OBJ("spec",
		   (&(const struct schema){ "io.k8s.api.core.v1.NamespaceSpec", "Behaviour of a namespace.",
					    FIELDS(STR("finalizers", "The namespace stays until this list is empty.",
						       .shape = SET)) }),
		   "Behaviour of the namespace."),
	       OBJ("status",
		   (&(const struct schema){ "io.k8s.api.core.v1.NamespaceStatus", "State of a namespace.",
					    FIELDS(STR("phase", "Active or Terminating."),
						   OBJ_KEYED("conditions", &namespace_condition, "type",
							     "Aspects of its state.")) }),
		   "State of the namespace."))
};

static const struct schema taint = {
	"io.k8s.api.core.v1.Taint", "Keeps pods off a node that do not tolerate it.",
	FIELDS(STR("key", "Name of the taint.", .required = true), STR("value", "Value of the taint."),
	       STR("effect", "NoSchedule, PreferNoSchedule or NoExecute.", .required = true,
		   .values = VALUES("NoSchedule", "PreferNoSchedule", "NoExecute")),
	       TIME("timeAdded", "When the taint was added."))
};

static const struct schema node_spec = {
	"io.k8s.api.core.v1.NodeSpec", "What a node should be.",
	FIELDS(STR("podCIDR", "The pod range of the first family; equals podCIDRs[0]. Cannot be changed."),
	       STR("podCIDRs", "The node's pod ranges, at most one of each family. Cannot be changed.", .shape = SET),
	       STR("providerID", "The node's name with its cloud provider."), BOOL("unschedulable", "No new pods."),
	       OBJ_LIST("taints", &taint, "The node's taints."), ANY("configSource", "Not used any more."),
	       STR("externalID", "Not used any more."))
};

static const struct schema node_condition = {
	"io.k8s.api.core.v1.NodeCondition", "One aspect of a node's state.",
	FIELDS(STR("type", "Which aspect, for example Ready.", .required = true),
	       STR("status", "True, False or Unknown.", .required = true), TIME("lastHeartbeatTime", "When it was last said."),
	       TIME("lastTransitionTime", "When status changed last."), STR("reason", "Why, as one word."),
	       STR("message", "Why, for people."))
};

static const struct schema node_address = {
	"io.k8s.api.core.v1.NodeAddress", "An address of a node.",
	FIELDS(STR("type", "InternalIP, ExternalIP, Hostname, InternalDNS or ExternalDNS.", .required = true),
	       STR("address", "The address or name.", .required = true))
};

static const struct schema node_system_info = {
	"io.k8s.api.core.v1.NodeSystemInfo", "What runs on a node.",
	FIELDS(STR("machineID", "Identifies the machine."), STR("systemUUID", "Identifies the machine."),
	       STR("bootID", "Identifies the boot."), STR("kernelVersion", "Kernel release."), STR("osImage", "Distribution."),
	       STR("containerRuntimeVersion", "Container runtime and version."), STR("kubeletVersion", "Kubelet version."),
	       STR("kubeProxyVersion", "Proxy version."), STR("operatingSystem", "Operating system."),
	       STR("architecture", "CPU architecture."), ANY("swap", "Swap."))
};

static const struct schema node_status = {
	"io.k8s.api.core.v1.NodeStatus", "What a node is.",
	FIELDS(QUANTITY("capacity", "All resources of the node.", .shape = MAP),
	       QUANTITY("allocatable", "Resources that pods may use.", .shape = MAP), STR("phase", "Not used any more."),
	       OBJ_KEYED("conditions", &node_condition, "type", "Aspects of its state."),
	       OBJ_LIST("addresses", &node_address, "The node's addresses."),
	       ANY("daemonEndpoints", "Ports of the node's daemons."), OBJ("nodeInfo", &node_system_info, "What runs there."),
	       ANY("images", "Images on the node.", .shape = LIST), STR_LIST("volumesInUse", "Volumes in use."),
	       ANY("volumesAttached", "Volumes attached.", .shape = LIST), ANY("config", "Configuration."),
	       ANY("runtimeHandlers", "Runtime handlers.", .shape = LIST), ANY("features", "Features."))
};

const struct schema schema_node = { "io.k8s.api.core.v1.Node", "A machine of the cluster.",
				    FIELDS(META, OBJ("spec", &node_spec, "What the node should be."),
					   OBJ("status", &node_status, "What the node is.")) };

const struct schema schema_configmap = {
	"io.k8s.api.core.v1.ConfigMap", "Configuration as keys and values.",
	FIELDS(META, STR_MAP("data", "Text values.", .pb = 2), STR_MAP("binaryData", "Binary values, in base64."),
	       BOOL("immutable", "data and binaryData cannot be changed any more.", .pb = 4))
};

const struct schema schema_lease = {
	"io.k8s.api.coordination.v1.Lease", "Who holds a role, until when.",
	FIELDS(META, OBJ("spec",
			 (&(const struct schema){
				 "io.k8s.api.coordination.v1.LeaseSpec", "Holder and times of a lease.",
				 FIELDS(STR("holderIdentity", "Who holds it."),
					INT("leaseDurationSeconds", "How long after renewTime it lasts.", .min = 1,
					    .max = INT32_MAX),
					MICROTIME("acquireTime", "When the holder got it."),
					MICROTIME("renewTime", "When the holder renewed it last."),
					INT("leaseTransitions", "How often the holder changed.", .min = 0, .max = INT32_MAX),
					STR("strategy", "How a new holder is chosen."),
					STR("preferredHolder", "Who should get it next.")) }),
			 "Holder and times."))
};

static const struct schema event_source = { "io.k8s.api.core.v1.EventSource", "Who reported an event.",
					    FIELDS(STR("component", "The program."), STR("host", "The node.")) };
static const struct schema event_series = {
	"io.k8s.api.core.v1.EventSeries", "Repetitions of an event.",
	FIELDS(INT("count", "How often."), MICROTIME("lastObservedTime", "When last."))
};

const struct schema schema_event = {
	"io.k8s.api.core.v1.Event", "Something that happened to an object. Kept for an hour.",
	FIELDS(META, OBJ("involvedObject", &schema_object_reference, "What it happened to.", .required = true),
	       STR("reason", "What, as one word."), STR("message", "What, for people."),
	       OBJ("source", &event_source, "Who reported it."), TIME("firstTimestamp", "When first."),
	       TIME("lastTimestamp", "When last."), INT("count", "How often."), STR("type", "Normal or Warning."),
	       MICROTIME("eventTime", "When first."), OBJ("series", &event_series, "Repetitions."),
	       STR("action", "What was done about it."), OBJ("related", &schema_object_reference, "A second object."),
	       STR("reportingComponent", "The controller that reported it."),
	       STR("reportingInstance", "Which instance of the controller."))
};
