/* SPDX-License-Identifier: Apache-2.0 */
/* Pod. Parts that neither the network nor the lab looks at (volumes' sources, affinity, …) are accepted as they are. */
#include "hub/schema_meta.h"

static const struct schema container_port = {
	"io.k8s.api.core.v1.ContainerPort", "A port that a container serves.",
	FIELDS(STR("name", "Unique in the pod; services may name it."),
	       INT("containerPort", "The port.", .required = true, .min = 1, .max = 65535),
	       INT("hostPort", "A port of the node that leads here.", .min = 0, .max = 65535),
	       STR("hostIP", "The node's address for hostPort."),
	       STR("protocol", "TCP, UDP or SCTP; default TCP.", .values = VALUES("SCTP", "TCP", "UDP")))
};

static const struct schema env_var = { "io.k8s.api.core.v1.EnvVar", "An environment variable.",
				       FIELDS(STR("name", "Its name.", .required = true), STR("value", "Its value."),
					      ANY("valueFrom", "Where its value comes from.")) };

static const struct schema volume_mount = {
	"io.k8s.api.core.v1.VolumeMount", "A volume in a container.",
	FIELDS(STR("name", "The volume.", .required = true), STR("mountPath", "Where it appears.", .required = true),
	       BOOL("readOnly", "No writes."), STR("subPath", "The part of the volume."),
	       STR("subPathExpr", "The same, with variables."), STR("mountPropagation", "How mounts propagate."),
	       STR("recursiveReadOnly", "Read-only below too."))
};

static const struct schema exec_action = { "io.k8s.api.core.v1.ExecAction", "A command.",
					   FIELDS(STR_LIST("command", "The command and its arguments.")) };
static const struct schema http_header = { "io.k8s.api.core.v1.HTTPHeader", "A header.",
					   FIELDS(STR("name", "Name.", .required = true),
						  STR("value", "Value.")) };
static const struct schema http_get_action = {
	"io.k8s.api.core.v1.HTTPGetAction", "An HTTP request.",
	FIELDS(STR("path", "Path."), INT_OR_STR("port", "Port or its name.", .required = true), STR("host", "Host."),
	       STR("scheme", "HTTP or HTTPS.", .values = VALUES("HTTP", "HTTPS")),
	       OBJ_LIST("httpHeaders", &http_header, "Further headers."))
};
static const struct schema tcp_socket_action = {
	"io.k8s.api.core.v1.TCPSocketAction", "A TCP connection.",
	FIELDS(INT_OR_STR("port", "Port or its name.", .required = true), STR("host", "Host."))
};

static const struct schema lifecycle_handler = {
	"io.k8s.api.core.v1.LifecycleHandler", "What to do.",
	FIELDS(OBJ("exec", &exec_action, "Run a command."), OBJ("httpGet", &http_get_action, "Make an HTTP request."),
	       OBJ("tcpSocket", &tcp_socket_action, "Not used any more."), ANY("sleep", "Wait."))
};

static const struct schema probe = {
	"io.k8s.api.core.v1.Probe", "How a container's health is seen.",
	FIELDS(OBJ("exec", &exec_action, "A command that ends with 0."), OBJ("httpGet", &http_get_action, "An HTTP request."),
	       OBJ("tcpSocket", &tcp_socket_action, "A TCP connection."), ANY("grpc", "A gRPC health request."),
	       INT("initialDelaySeconds", "Wait before the first probe.", .min = 0, .max = INT32_MAX),
	       INT("timeoutSeconds", "Time for one probe.", .min = 1, .max = INT32_MAX),
	       INT("periodSeconds", "Time between probes.", .min = 1, .max = INT32_MAX),
	       INT("successThreshold", "Successes that make it healthy.", .min = 1, .max = INT32_MAX),
	       INT("failureThreshold", "Failures that make it unhealthy.", .min = 1, .max = INT32_MAX),
	       LONG("terminationGracePeriodSeconds", "Grace period after a failure."))
};

static const struct schema resource_requirements = {
	"io.k8s.api.core.v1.ResourceRequirements", "What a container needs and may use.",
	FIELDS(QUANTITY("limits", "The most it may use.", .shape = MAP),
	       QUANTITY("requests", "What it needs.", .shape = MAP), ANY("claims", "Resource claims.", .shape = LIST))
};

#define CONTAINER_FIELDS                                                                                               \
	STR("name", "Unique in the pod.", .required = true), STR("image", "Image."),                                   \
		STR_LIST("command", "What runs instead of the image's entry point."),                                  \
		STR_LIST("args", "Its arguments."), STR("workingDir", "Working directory."),                           \
		OBJ_KEYED("ports", &container_port, "containerPort", "Ports that the container serves."),              \
		ANY("envFrom", "Sources of environment variables.", .shape = LIST),                                    \
		OBJ_KEYED("env", &env_var, "name", "Environment variables."),                                          \
		OBJ("resources", &resource_requirements, "What it needs and may use."),                                \
		ANY("resizePolicy", "What a resize of resources does.", .shape = LIST),                                \
		STR("restartPolicy", "Always: an init container that stays."),                                         \
		ANY("restartPolicyRules", "Rules for restarts.", .shape = LIST),                                       \
		OBJ_KEYED("volumeMounts", &volume_mount, "mountPath", "Volumes in the container."),                    \
		ANY("volumeDevices", "Block devices in the container.", .shape = LIST),                                \
		OBJ("livenessProbe", &probe, "Fails: the container is restarted."),                                    \
		OBJ("readinessProbe", &probe, "Fails: the pod gets no traffic from services."),                        \
		OBJ("startupProbe", &probe, "Holds the other probes back until it succeeds."),                         \
		OBJ("lifecycle",                                                                                       \
		    (&(const struct schema){ "io.k8s.api.core.v1.Lifecycle", "Hooks.",                                 \
					     FIELDS(OBJ("postStart", &lifecycle_handler, "After the start."),          \
						    OBJ("preStop", &lifecycle_handler, "Before the end."),             \
						    STR("stopSignal", "Signal that ends it.")) }),                     \
		    "Hooks."),                                                                                         \
		STR("terminationMessagePath", "File with the last words."),                                            \
		STR("terminationMessagePolicy", "File or FallbackToLogsOnError."),                                     \
		STR("imagePullPolicy", "Always, Never or IfNotPresent.",                                               \
		    .values = VALUES("Always", "IfNotPresent", "Never")),                                              \
		ANY("securityContext", "Privileges."), BOOL("stdin", "Keep standard input open."),                     \
		BOOL("stdinOnce", "Close it after the first client."), BOOL("tty", "With a terminal.")

static const struct schema container = { "io.k8s.api.core.v1.Container", "A program in a pod.",
					 FIELDS(CONTAINER_FIELDS) };
static const struct schema ephemeral_container = {
	"io.k8s.api.core.v1.EphemeralContainer", "A program added to a running pod.",
	FIELDS(CONTAINER_FIELDS, STR("targetContainerName", "The container to share a process namespace with."))
};

/* Sources that are given as they are: one field each. */
#define SOURCE(n) ANY(n, "A volume source.")
static const struct schema volume = {
	"io.k8s.api.core.v1.Volume", "A directory that containers may share.",
	FIELDS(STR("name", "Unique in the pod.", .required = true), SOURCE("awsElasticBlockStore"), SOURCE("azureDisk"),
	       SOURCE("azureFile"), SOURCE("cephfs"), SOURCE("cinder"), SOURCE("configMap"), SOURCE("csi"),
	       SOURCE("downwardAPI"), SOURCE("emptyDir"), SOURCE("ephemeral"), SOURCE("fc"), SOURCE("flexVolume"),
	       SOURCE("flocker"), SOURCE("gcePersistentDisk"), SOURCE("gitRepo"), SOURCE("glusterfs"), SOURCE("hostPath"),
	       SOURCE("image"), SOURCE("iscsi"), SOURCE("nfs"), SOURCE("persistentVolumeClaim"),
	       SOURCE("photonPersistentDisk"), SOURCE("portworxVolume"), SOURCE("projected"), SOURCE("quobyte"), SOURCE("rbd"),
	       SOURCE("scaleIO"), SOURCE("secret"), SOURCE("storageos"), SOURCE("vsphereVolume"))
};

static const struct schema toleration = {
	"io.k8s.api.core.v1.Toleration", "A taint that the pod does not mind.",
	FIELDS(STR("key", "Key of the taint; empty: all."), STR("operator", "Exists or Equal."), STR("value", "Value."),
	       STR("effect", "Effect; empty: all."), LONG("tolerationSeconds", "For how long."))
};
static const struct schema local_reference = { "io.k8s.api.core.v1.LocalObjectReference",
					       "Names an object of the same namespace.", FIELDS(STR("name", "Its name.")) };
static const struct schema readiness_gate = {
	"io.k8s.api.core.v1.PodReadinessGate", "A condition that readiness needs.",
	FIELDS(STR("conditionType", "Its type.", .required = true))
};
static const struct schema host_alias = {
	"io.k8s.api.core.v1.HostAlias", "A line of the pod's /etc/hosts.",
	FIELDS(STR("ip", "Address.", .required = true), STR_LIST("hostnames", "Its names."))
};
static const struct schema dns_config = {
	"io.k8s.api.core.v1.PodDNSConfig", "The pod's resolver.",
	FIELDS(STR_LIST("nameservers", "Servers."), STR_LIST("searches", "Search domains."),
	       OBJ_LIST("options",
			(&(const struct schema){ "io.k8s.api.core.v1.PodDNSConfigOption", "A resolver option.",
						 FIELDS(STR("name", "Its name."), STR("value", "Its value.")) }),
			"Options."))
};

static const struct schema pod_spec = {
	"io.k8s.api.core.v1.PodSpec", "What a pod should be.",
	FIELDS(OBJ_KEYED("volumes", &volume, "name", "Volumes of the pod."),
	       OBJ_KEYED("initContainers", &container, "name", "Run before the others, one after the other."),
	       OBJ_KEYED("containers", &container, "name", "The pod's programs; at least one.", .required = true),
	       OBJ_KEYED("ephemeralContainers", &ephemeral_container, "name", "Added while it runs."),
	       STR("restartPolicy", "Always, OnFailure or Never; default Always.",
		   .values = VALUES("Always", "OnFailure", "Never")),
	       LONG("terminationGracePeriodSeconds", "Time to end gracefully; default 30."),
	       LONG("activeDeadlineSeconds", "Time after which the pod is ended."),
	       STR("dnsPolicy", "ClusterFirst, ClusterFirstWithHostNet, Default or None.",
		   .values = VALUES("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")),
	       STR_MAP("nodeSelector", "Labels that the node must have."), STR("serviceAccountName", "Service account."),
	       STR("serviceAccount", "Not used any more."),
	       BOOL("automountServiceAccountToken", "Mount the account's token."),
	       STR("nodeName", "The node that the pod runs on."), BOOL("hostNetwork", "Use the node's network."),
	       BOOL("hostPID", "See the node's processes."), BOOL("hostIPC", "Use the node's IPC."),
	       BOOL("hostUsers", "Use the node's user namespace."),
	       BOOL("shareProcessNamespace", "Containers see each other's processes."),
	       ANY("securityContext", "Privileges of all containers."),
	       OBJ_KEYED("imagePullSecrets", &local_reference, "name", "Secrets for pulling images."),
	       STR("hostname", "Host name; default: the pod's name."), STR("hostnameOverride", "Host name, as it is."),
	       STR("subdomain", "Domain below the namespace's."), BOOL("setHostnameAsFQDN", "Whole name as host name."),
	       ANY("affinity", "Scheduling preferences."), STR("schedulerName", "Who schedules the pod."),
	       OBJ_LIST("tolerations", &toleration, "Taints that the pod does not mind."),
	       OBJ_KEYED("hostAliases", &host_alias, "ip", "Lines for /etc/hosts."),
	       STR("priorityClassName", "Priority class."), INT("priority", "Priority."),
	       OBJ("dnsConfig", &dns_config, "The pod's resolver."),
	       OBJ_LIST("readinessGates", &readiness_gate, "Conditions that readiness needs."),
	       STR("runtimeClassName", "Runtime class."), BOOL("enableServiceLinks", "Environment variables for services."),
	       STR("preemptionPolicy", "Whether others make way."), QUANTITY("overhead", "Cost of the pod.", .shape = MAP),
	       ANY("topologySpreadConstraints", "How pods spread.", .shape = LIST), ANY("os", "Operating system."),
	       ANY("schedulingGates", "Holds scheduling back.", .shape = LIST),
	       ANY("resourceClaims", "Resource claims.", .shape = LIST),
	       OBJ("resources", &resource_requirements, "What the pod needs and may use as a whole."))
};

static const struct schema pod_condition = {
	"io.k8s.api.core.v1.PodCondition", "One aspect of a pod's state.",
	FIELDS(STR("type", "Which aspect, for example Ready.", .required = true),
	       STR("status", "True, False or Unknown.", .required = true), LONG("observedGeneration", "Generation it is about."),
	       TIME("lastProbeTime", "When it was last looked at."), TIME("lastTransitionTime", "When status changed last."),
	       STR("reason", "Why, as one word."), STR("message", "Why, for people."))
};

static const struct schema container_state = {
	"io.k8s.api.core.v1.ContainerState", "One of three.",
	FIELDS(OBJ("waiting",
		   (&(const struct schema){ "io.k8s.api.core.v1.ContainerStateWaiting", "Not yet running.",
					    FIELDS(STR("reason", "Why, as one word."), STR("message", "Why.")) }),
		   "Not yet running."),
	       OBJ("running",
		   (&(const struct schema){ "io.k8s.api.core.v1.ContainerStateRunning", "Running.",
					    FIELDS(TIME("startedAt", "Since when.")) }),
		   "Running."),
	       OBJ("terminated",
		   (&(const struct schema){
			   "io.k8s.api.core.v1.ContainerStateTerminated", "Ended.",
			   FIELDS(INT("exitCode", "Exit code.", .required = false), INT("signal", "Signal."),
				  STR("reason", "Why, as one word."), STR("message", "Why."), TIME("startedAt", "From."),
				  TIME("finishedAt", "To."), STR("containerID", "Its id.")) }),
		   "Ended."))
};

static const struct schema container_status = {
	"io.k8s.api.core.v1.ContainerStatus", "State of a container.",
	FIELDS(STR("name", "The container.", .required = true), OBJ("state", &container_state, "Now."),
	       OBJ("lastState", &container_state, "Before the last restart."), BOOL("ready", "Ready."),
	       INT("restartCount", "How often it was restarted."), STR("image", "Image."), STR("imageID", "Image id."),
	       STR("containerID", "Container id."), BOOL("started", "Its startup probe succeeded."),
	       QUANTITY("allocatedResources", "Resources it has.", .shape = MAP),
	       OBJ("resources", &resource_requirements, "Resources it has."),
	       ANY("volumeMounts", "Volumes.", .shape = LIST), ANY("user", "User."),
	       ANY("allocatedResourcesStatus", "Health of resources.", .shape = LIST), STR("stopSignal", "Signal."))
};

static const struct schema pod_ip = { "io.k8s.api.core.v1.PodIP", "An address.",
				      FIELDS(STR("ip", "The address.", .required = true)) };
static const struct schema host_ip = { "io.k8s.api.core.v1.HostIP", "An address.",
				       FIELDS(STR("ip", "The address.", .required = true)) };

static const struct schema pod_status = {
	"io.k8s.api.core.v1.PodStatus", "What a pod is.",
	FIELDS(LONG("observedGeneration", "The generation that this was said about."),
	       STR("phase", "Pending, Running, Succeeded, Failed or Unknown.",
		   .values = VALUES("Pending", "Running", "Succeeded", "Failed", "Unknown")),
	       OBJ_KEYED("conditions", &pod_condition, "type", "Aspects of its state."), STR("message", "Why, for people."),
	       STR("reason", "Why, as one word."), STR("nominatedNodeName", "Node to become free."),
	       STR("hostIP", "The node's address."), OBJ_KEYED("hostIPs", &host_ip, "ip", "The node's addresses."),
	       STR("podIP", "The pod's address; equals podIPs[0]."),
	       OBJ_KEYED("podIPs", &pod_ip, "ip", "The pod's addresses, at most one of each family."),
	       TIME("startTime", "When the node took it on."),
	       OBJ_LIST("initContainerStatuses", &container_status, "State of init containers."),
	       OBJ_LIST("containerStatuses", &container_status, "State of containers."),
	       OBJ_LIST("ephemeralContainerStatuses", &container_status, "State of added containers."),
	       STR("qosClass", "Quality of service class."), STR("resize", "State of a resize."),
	       ANY("resourceClaimStatuses", "State of claims.", .shape = LIST), ANY("extendedResourceClaimStatus", "Claims."))
};

const struct schema schema_pod = { "io.k8s.api.core.v1.Pod", "A group of programs that share a network address.",
				   FIELDS(META, OBJ("spec", &pod_spec, "What the pod should be."),
					  OBJ("status", &pod_status, "What the pod is.")) };
