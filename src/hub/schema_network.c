/* SPDX-License-Identifier: Apache-2.0 */
/* Service, EndpointSlice, NetworkPolicy. */
#include "hub/schema_meta.h"

#define PROTOCOLS VALUES("TCP", "UDP", "SCTP")

static const struct schema service_port = {
	"io.k8s.api.core.v1.ServicePort", "A port of a service.",
	FIELDS(STR("name", "Unique in the service; needed when there are several ports.", .pb = 1),
	       STR("protocol", "TCP, UDP or SCTP.", .values = PROTOCOLS, .pb = 2),
	       STR("appProtocol", "What is spoken on the port.", .pb = 6),
	       INT("port", "The port that clients connect to.", .required = true, .min = 1, .max = 65535, .pb = 3),
	       INT_OR_STR("targetPort", "Number or name of the pods' port; default: the same as port.", .pb = 4),
	       INT("nodePort", "The port on every node, for types NodePort and LoadBalancer.", .min = 0, .max = 65535, .pb = 5))
};

static const struct schema service_spec = {
	"io.k8s.api.core.v1.ServiceSpec", "What a service should be.",
	FIELDS(OBJ_KEYED("ports", &service_port, "port", "The service's ports.", .pb = 1),
	       STR_MAP("selector", "Labels of the pods behind the service.", .pb = 2),
	       STR("clusterIP", "The service's address, \"None\" for a headless service, empty: one is chosen.", .pb = 3),
	       STR_LIST("clusterIPs", "The service's addresses, at most one of each family.", .pb = 18),
	       STR("type", "ClusterIP, NodePort, LoadBalancer or ExternalName.",
		   .values = VALUES("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"), .pb = 4),
	       STR_LIST("externalIPs", "Addresses for which nodes also accept traffic.", .pb = 5),
	       STR("sessionAffinity", "None or ClientIP.", .values = VALUES("ClientIP", "None"), .pb = 7),
	       STR("loadBalancerIP", "Address asked for; type LoadBalancer.", .pb = 8),
	       STR_LIST("loadBalancerSourceRanges", "Clients that may come through the load balancer.", .pb = 9),
	       STR("externalName", "DNS name that the service stands for; type ExternalName.", .pb = 10),
	       STR("externalTrafficPolicy", "Cluster or Local.", .values = VALUES("Cluster", "Local"), .pb = 11),
	       STR("internalTrafficPolicy", "Cluster or Local.", .values = VALUES("Cluster", "Local"), .pb = 22),
	       INT("healthCheckNodePort", "Port of the health check; LoadBalancer with Local.", .min = 0, .max = 65535, .pb = 12),
	       BOOL("publishNotReadyAddresses", "Pods that are not ready are published as ready.", .pb = 13),
	       OBJ("sessionAffinityConfig",
		   (&(const struct schema){
			   "io.k8s.api.core.v1.SessionAffinityConfig", "Settings of session affinity.",
			   FIELDS(OBJ("clientIP",
				      (&(const struct schema){ "io.k8s.api.core.v1.ClientIPConfig", "Affinity by client.",
							       FIELDS(INT("timeoutSeconds", "How long it lasts.", .min = 1,
									  .max = 86400)) }),
				      "Affinity by the client's address.")) }),
		   "Settings of session affinity."),
	       STR_LIST("ipFamilies", "IPv4, IPv6: the families of clusterIPs, in their order.", .pb = 19),
	       STR("ipFamilyPolicy", "SingleStack, PreferDualStack or RequireDualStack.",
		   .values = VALUES("SingleStack", "PreferDualStack", "RequireDualStack"), .pb = 17),
	       BOOL("allocateLoadBalancerNodePorts", "Type LoadBalancer also gets node ports; default true.", .pb = 20),
	       STR("loadBalancerClass", "The load balancer that should serve this service.", .pb = 21),
	       STR("trafficDistribution", "Preference among endpoints, for example PreferClose.",
		   .values = VALUES("PreferClose", "PreferSameZone", "PreferSameNode"), .pb = 23))
};

static const struct schema load_balancer_ingress = {
	"io.k8s.api.core.v1.LoadBalancerIngress", "One way in.",
	FIELDS(STR("ip", "Address."), STR("hostname", "Name."), STR("ipMode", "VIP or Proxy."),
	       ANY("ports", "State of the ports.", .shape = LIST))
};

static const struct schema service_status = {
	"io.k8s.api.core.v1.ServiceStatus", "What a service is.",
	FIELDS(OBJ("loadBalancer",
		   (&(const struct schema){ "io.k8s.api.core.v1.LoadBalancerStatus", "State of the load balancer.",
					    FIELDS(OBJ_LIST("ingress", &load_balancer_ingress, "The ways in.")) }),
		   "State of the load balancer."),
	       OBJ_KEYED("conditions", &schema_condition, "type", "Aspects of its state."))
};

const struct schema schema_service = { "io.k8s.api.core.v1.Service", "A stable address for a set of pods.",
				       FIELDS(META, OBJ("spec", &service_spec, "What the service should be.", .pb = 2),
					      OBJ("status", &service_status, "What the service is.")) };

static const struct schema for_zone = { "io.k8s.api.discovery.v1.ForZone", "A zone.",
					FIELDS(STR("name", "Name of the zone.", .required = true)) };
static const struct schema for_node = { "io.k8s.api.discovery.v1.ForNode", "A node.",
					FIELDS(STR("name", "Name of the node.", .required = true)) };

static const struct schema endpoint = {
	"io.k8s.api.discovery.v1.Endpoint", "One backend of a service.",
	FIELDS(STR("addresses", "Its addresses; all mean the same backend.", .shape = SET, .required = true),
	       OBJ("conditions",
		   (&(const struct schema){ "io.k8s.api.discovery.v1.EndpointConditions", "State of an endpoint.",
					    FIELDS(BOOL("ready", "Takes new connections; unset means true."),
						   BOOL("serving", "Answers, even while terminating."),
						   BOOL("terminating", "Is about to go.")) }),
		   "Its state."),
	       STR("hostname", "Its host name."), OBJ("targetRef", &schema_object_reference, "The pod."),
	       STR_MAP("deprecatedTopology", "Not used any more."), STR("nodeName", "The node that it runs on."),
	       STR("zone", "The zone that it runs in."),
	       OBJ("hints",
		   (&(const struct schema){ "io.k8s.api.discovery.v1.EndpointHints", "Who should use an endpoint.",
					    FIELDS(OBJ_LIST("forZones", &for_zone, "Clients in these zones."),
						   OBJ_LIST("forNodes", &for_node, "Clients on these nodes.")) }),
		   "Who should use it."))
};

static const struct schema endpoint_port = {
	"io.k8s.api.discovery.v1.EndpointPort", "A port of all endpoints of a slice.",
	FIELDS(STR("name", "The service port's name."), STR("protocol", "TCP, UDP or SCTP.", .values = PROTOCOLS),
	       INT("port", "Number; unset: all ports.", .min = 1, .max = 65535), STR("appProtocol", "What is spoken there."))
};

const struct schema schema_endpointslice = {
	"io.k8s.api.discovery.v1.EndpointSlice", "A part of a service's endpoints.",
	FIELDS(META,
	       STR("addressType", "IPv4, IPv6 or FQDN. Cannot be changed.", .required = true,
		   .values = VALUES("FQDN", "IPv4", "IPv6")),
	       OBJ_LIST("endpoints", &endpoint, "At most 1000 backends."),
	       OBJ_LIST("ports", &endpoint_port, "At most 100 ports; the same for all of them."))
};

static const struct schema network_policy_port = {
	"io.k8s.api.networking.v1.NetworkPolicyPort", "A port, or a range of them.",
	FIELDS(STR("protocol", "TCP, UDP or SCTP; default TCP.", .values = PROTOCOLS),
	       INT_OR_STR("port", "Number or name; unset: all ports."), INT("endPort", "Last port of a range."))
};

static const struct schema ip_block = {
	"io.k8s.api.networking.v1.IPBlock", "A range of addresses.",
	FIELDS(STR("cidr", "The range.", .required = true), STR_LIST("except", "Ranges within it that do not count."))
};

static const struct schema network_policy_peer = {
	"io.k8s.api.networking.v1.NetworkPolicyPeer", "Pods or addresses at the other end.",
	FIELDS(OBJ("podSelector", &schema_label_selector, "Pods, in the policy's namespace or in those of namespaceSelector."),
	       OBJ("namespaceSelector", &schema_label_selector, "Namespaces."),
	       OBJ("ipBlock", &ip_block, "Addresses; stands alone."))
};

static const struct schema ingress_rule = {
	"io.k8s.api.networking.v1.NetworkPolicyIngressRule", "What may come in.",
	FIELDS(OBJ_LIST("ports", &network_policy_port, "To these ports; empty: all."),
	       OBJ_LIST("from", &network_policy_peer, "From these peers; empty: all."))
};

static const struct schema egress_rule = {
	"io.k8s.api.networking.v1.NetworkPolicyEgressRule", "What may go out.",
	FIELDS(OBJ_LIST("ports", &network_policy_port, "To these ports; empty: all."),
	       OBJ_LIST("to", &network_policy_peer, "To these peers; empty: all."))
};

const struct schema schema_networkpolicy = {
	"io.k8s.api.networking.v1.NetworkPolicy", "Which traffic pods may have.",
	FIELDS(META, OBJ("spec",
			 (&(const struct schema){
				 "io.k8s.api.networking.v1.NetworkPolicySpec", "What is allowed for whom.",
				 FIELDS(OBJ("podSelector", &schema_label_selector, "The pods that the policy is for."),
					OBJ_LIST("ingress", &ingress_rule, "What may come in; empty: nothing."),
					OBJ_LIST("egress", &egress_rule, "What may go out; empty: nothing."),
					STR_LIST("policyTypes", "Ingress, Egress: the directions that the policy judges.",
						 .values = VALUES("Ingress", "Egress"))) }),
			 "What is allowed for whom."))
};
