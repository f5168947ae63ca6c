/* SPDX-License-Identifier: Apache-2.0 */
/* Every option is one row: name, type, where it lives, default, bounds, help. Files, `--set`, the reference and the
 * help are read from that table, so none of them can miss an option. Values are checked when they are read, and an
 * error says where it was read, which option it is and what would have been accepted. */
#include "agent/options.h"
#include "agent/lists.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "base/yaml.h"
#include "net/addr.h"

/* The order counts: lists stand last. */
enum type { T_TEXT, T_NAME, T_PATH, T_UINT, T_BOOL, T_CHOICE, T_LISTEN, T_NODE_PORTS, T_PREFIXES, T_PORTS, T_PORT_RANGE };

/* Is the field a string that the options own? */
static bool type_is_text(enum type t)
{
	return t != T_UINT && t != T_BOOL && t != T_CHOICE;
}

struct option {
	const char *name;
	enum type type;
	size_t offset;
	const char *fallback;
	uint64_t min, max;	    /* T_UINT: bounds; T_TEXT, T_PATH: min 0 accepts "" */
	const char *const *choices; /* T_CHOICE: the index is the value */
	const char *help;
};

static const char *const transports[] = {"direct", "vxlan", "auto", "wireguard", "geneve", NULL};
static const char *const attaches[] = {"auto", "tcx", "clsact", NULL};
static const char *const encaps[] = {"auto", "device", NULL};
static const char *const switches[] = {"auto", "on", "off", NULL};
static const char *const announces[] = {"auto", "all", "off", NULL};
static const char *const xdp_modes[] = {"off", "auto", "native", "generic", NULL};
static const char *const engines[] = {"auto", "kernel", "userspace", NULL};
static const char *const policy_modes[] = {"enforce", "observe", NULL};
static const char *const policy_defaults[] = {"allow", "deny", NULL};
static const char *const levels[] = {"error", "warn", "info", "debug", NULL};

#define AT(member) offsetof(struct options, member)

/* clang-format off */
static const struct option options[] = {
	{ "node.name", T_NAME, AT(node_name), "", .help = "name of this node's Node object; empty: the host name" },
	{ "kubeconfig", T_PATH, AT(kubeconfig), "/etc/weft/kubeconfig", 1, .help = "how to reach the Kubernetes API" },
	{ "transport", T_CHOICE, AT(transport), "vxlan", .choices = transports,
	  .help = "how packets travel between nodes: plain routes (nodes share an IP network), VXLAN or Geneve (any IP network), WireGuard (encrypted), "
		  "or auto: plain to the peers where probes prove that it works, VXLAN to the others" },
	{ "datapath.fastPath", T_BOOL, AT(fast_path), "on",
	  .help = "deliver from program to program; off: check and count packets, then let the stack route them" },
	{ "datapath.mssClamp", T_BOOL, AT(mss_clamp), "off",
	  .help = "pods' TCP connections to other nodes and the world begin with segments that the path carries: where the answer "
		  "that a packet is too big is lost on the way" },
	{ "datapath.podTunnels", T_BOOL, AT(pod_tunnels), "off",
	  .help = "pods may send the protocols of tunnels and IPsec (IP in IP, GRE, ESP, AH, L2TPv3, MPLS) to nodes; to pods and to the world they always may" },
	{ "datapath.foreignNat", T_BOOL, AT(foreign_nat), "on",
	  .help = "others (kube-proxy, port maps) translate addresses in this node's stack: flows that it translated return through it" },
	{ "datapath.attach", T_CHOICE, AT(attach), "auto", .choices = attaches,
	  .help = "how programs hang on uplinks and tunnels: tcx (Linux 6.6 and later) or clsact; auto takes the best there is" },
	{ "datapath.encap", T_CHOICE, AT(encap), "auto", .choices = encaps,
	  .help = "who makes outer packets of VXLAN and Geneve, and takes out what is in them: the kernel's tunnel device, where filters of the node have to see them, "
		  "or auto: the datapath, past the stack, what it can, where a peer is reached by one plain route" },
	{ "firewall.accept", T_BOOL, AT(firewall_accept), "on",
	  .help = "chains of other packet filters (docker, ufw, firewalld) that drop by default are made to accept what goes to and comes from pods, and other nodes' "
		  "packets for Weft's own UDP ports" },
	{ "datapath.flowTableSize", T_UINT, AT(flow_table_size), "131072", 1024, 16777216,
	  .help = "entries of each flow table" },
	{ "masquerade.ipv4", T_CHOICE, AT(masquerade_ipv4), "auto", .choices = switches,
	  .help = "do pods speak to the world as the node, over IPv4? auto: yes" },
	{ "masquerade.ipv6", T_CHOICE, AT(masquerade_ipv6), "auto", .choices = switches,
	  .help = "the same over IPv6; auto: if the pods' range is a private one (fc00::/7)" },
	{ "masquerade.exclude", T_PREFIXES, AT(masquerade_exclude), "",
	  .help = "destinations that see the pod's own address, beside pods, nodes, link-local and multicast" },
	{ "masquerade.excludePools", T_PREFIXES, AT(masquerade_exclude_pools), "",
	  .help = "pod ranges whose pods keep their own address everywhere" },
	{ "masquerade.ports", T_PORT_RANGE, AT(masquerade_ports), "1024-65535", .help = "ports that translation may use" },
	{ "masquerade.reservedPorts", T_PORTS, AT(masquerade_reserved), "30000-32767",
	  .help = "ports that it never uses, beside those of the node's sockets: NodePorts" },
	{ "masquerade.tableSize", T_UINT, AT(nat_table_size), "131072", 1024, 16777216,
	  .help = "translated connections at a time; one pod has at most half of them" },
	{ "service.enabled", T_CHOICE, AT(service_enabled), "auto", .choices = switches,
	  .help = "translate Services at the sockets of this node; auto: yes, also beside kube-proxy, which then sees what is left" },
	{ "service.cgroup", T_TEXT, AT(service_cgroup), "auto", 1,
	  .help = "cgroup whose processes are served, a path; auto: the first cgroup2 that is mounted" },
	{ "service.dsr", T_BOOL, AT(service_dsr), "off",
	  .help = "clients outside are answered by the node of their endpoint, which sees their address, where the way between nodes allows it (not with wireguard); "
		  "the annotation weft.dev/service.forwarding: dsr says so for one Service" },
	{ "service.externalIPs", T_BOOL, AT(service_external_ips), "off",
	  .help = "serve spec.externalIPs: whoever may write a Service may then take packets to any address that nobody has" },
	{ "service.tiers", T_BOOL, AT(service_tiers), "off",
	  .help = "prefer endpoints of this zone, then of this region, where no hints say whom to use; the rest is used as far as the near ones are too few" },
	{ "service.tableSize", T_UINT, AT(service_table_size), "65536", 1024, 1048576,
	  .help = "addresses and ports of Services that the datapath holds; four times as many endpoints" },
	{ "policy.mode", T_CHOICE, AT(policy_mode), "enforce", .choices = policy_modes,
	  .help = "observe: what policies would deny is told (weft observe --verdict audit) and counted, and nothing is denied on this node" },
	{ "policy.default", T_CHOICE, AT(policy_default), "allow", .choices = policy_defaults,
	  .help = "what no policy speaks of, of this node's pods, in either direction; deny: DNS too needs a policy that allows it" },
	{ "policy.host", T_BOOL, AT(policy_host), "off",
	  .help = "policies may speak of this node itself: a ClusterNetworkPolicy with the annotation weft.dev/subject: nodes" },
	{ "policy.hostTrialSeconds", T_UINT, AT(policy_host_trial), "60", 5, 3600,
	  .help = "how long a changed policy of the node itself is in force before it is taken back, if nobody says weft policy confirm" },
	{ "policy.failsafePorts", T_PORTS, AT(policy_failsafe_ports), "22, 68, 546, 10250",
	  .help = "ports of this node, TCP and UDP, that no policy of the node closes; beside those of the tunnel, WireGuard, probes, and the API server's where this node is one" },
	{ "policy.failsafeEgressPorts", T_PORTS, AT(policy_failsafe_egress_ports), "53, 67, 547, 6443",
	  .help = "ports that this node reaches everywhere, whatever the policies of the node say; beside those of the tunnel, WireGuard, probes, and all API servers'" },
	{ "policy.addressTableSize", T_UINT, AT(policy_address_table_size), "262144", 64, 16777216,
	  .help = "addresses of pods and nodes that policy can tell apart, and prefixes; the maps hold twice as many, for an agent that starts" },
	{ "policy.ruleTableSize", T_UINT, AT(policy_rule_table_size), "262144", 64, 16777216,
	  .help = "rules of the policies of this node's pods, of which half may be in use (what changes is written beside them), and ports of rules, of which twice as many are needed while an agent starts" },
	{ "service.inbound", T_CHOICE, AT(service_inbound), "auto", .choices = switches,
	  .help = "serve Services packet by packet: to clients outside (NodePorts, addresses of load balancers, and external ones if those are served), and to pods what sockets leave alone; auto: unless kube-proxy serves this node, looked at with every audit" },
	{ "service.nodePortAddresses", T_NODE_PORTS, AT(service_node_port_addresses), "primary",
	  .help = "addresses of nodes at which node ports are: primary, the Nodes' InternalIPs, or prefixes: the addresses of uplinks in them, and of other nodes the InternalIPs in them" },
	{ "service.hostPorts", T_CHOICE, AT(service_host_ports), "auto", .choices = switches,
	  .help = "serve pods' hostPort per packet, and at the sockets of all nodes; auto: with service.inbound, where the plugin portmap does not (cni.portmap)" },
	{ "service.ranges", T_PREFIXES, AT(service_ranges), "",
	  .help = "ranges of cluster addresses, as the API server has them: with service.inbound, who asks for one that no Service has is told so (unreachable), and the packet goes no further" },
	{ "service.xdp", T_CHOICE, AT(service_xdp), "off", .choices = xdp_modes,
	  .help = "with service.inbound, send packets of clients' connections that are under way on before the kernel handles them, where they leave by the uplink that they came by "
		  "(endpoints on other nodes, transport direct; their answers): by the uplink's driver (native) or, slower than without, by the kernel (generic); auto: native, where the driver can and the uplink is no veth" },
	{ "service.announce", T_CHOICE, AT(service_announce), "auto", .choices = announces,
	  .help = "addresses that the nodes of a local network announce in it by ARP and neighbour discovery, one node each; auto: those of load balancers that a LoadBalancerPool gave out; all: those that others gave out, and external ones if they are served, too" },
	{ "service.announceInterfaces", T_TEXT, AT(service_announce_interfaces), "auto", 1,
	  .help = "uplinks by which addresses are announced, joined by commas; auto: all of them" },
	{ "service.healthListen", T_LISTEN, AT(service_health), "[::]:10256",
	  .help = "with service.inbound, where /healthz and /livez say whether Services are served here, for load balancers; taken by another process: tried again; empty: nowhere" },
	{ "uplinks", T_TEXT, AT(uplinks), "auto", 1,
	  .help = "interfaces towards the other nodes and the world, joined by commas; auto: those that hold the node's addresses, and those of the default routes" },
	{ "mtu", T_UINT, AT(mtu), "0", 0, 65535, .help = "MTU of the underlay, in bytes; 0: detect; IPv6 needs 1280, or a tunnel" },
	{ "vxlan.port", T_UINT, AT(vxlan_port), "4789", 1, 65535, .help = "UDP port of VXLAN" },
	{ "vxlan.vni", T_UINT, AT(vxlan_vni), "1", 1, 16777215, .help = "network identifier in VXLAN and Geneve" },
	{ "geneve.port", T_UINT, AT(geneve_port), "6081", 1, 65535, .help = "UDP port of Geneve" },
	{ "probe.port", T_UINT, AT(probe_port), "5757", 1, 65535, .help = "UDP port of the probes of transport auto" },
	{ "mesh.engine", T_CHOICE, AT(mesh_engine), "auto", .choices = engines,
	  .help = "who encrypts with transport wireguard: the kernel, or the program weft-wg; auto: the kernel if it can" },
	{ "mesh.port", T_UINT, AT(mesh_port), "51820", 1, 65535, .help = "UDP port of WireGuard" },
	{ "mesh.keepaliveSeconds", T_UINT, AT(mesh_keepalive), "25", 0, 65535,
	  .help = "how often a peer hears of this node when there is nothing to send; 0: never" },
	{ "mesh.dir", T_PATH, AT(mesh_dir), "/var/lib/weft", 1, .help = "where the node's WireGuard key is kept; must survive a reboot" },
	{ "mesh.podRanges", T_PREFIXES, AT(mesh_pod_ranges), "",
	  .help = "pod ranges of the whole cluster: with transport wireguard nothing of them passes an uplink unencrypted, also before their node is known" },
	{ "ipam.restSeconds", T_UINT, AT(rest_seconds), "60", 0, 86400,
	  .help = "how long a freed address rests before another pod gets it" },
	{ "endpoints.reconcileSeconds", T_UINT, AT(reconcile_seconds), "60", 1, 86400,
	  .help = "how often endpoints that nobody ended are looked for and freed" },
	{ "repair.auditSeconds", T_UINT, AT(audit_seconds), "25", 1, 3600,
	  .help = "how often everything is compared with what should be there, and mended; most damage is seen at once by events" },
	{ "repair.eventBufferBytes", T_UINT, AT(netlink_buffer), "8388608", 4096, 268435456,
	  .help = "room for the kernel's events of links, routes and the like; when it overflows everything is listed again" },
	{ "metrics.listen", T_LISTEN, AT(metrics_listen), "127.0.0.1:10287",
	  .help = "where Prometheus finds /metrics; empty: nowhere" },
	{ "observe.flows", T_BOOL, AT(observe_flows), "off",
	  .help = "connections that begin, end or are judged anew are events for weft observe, beside drops; sampled" },
	{ "observe.keep", T_UINT, AT(observe_keep), "4096", 16, 1048576,
	  .help = "latest events that the agent keeps for weft observe, of a few hundred bytes each" },
	{ "observe.measureSeconds", T_UINT, AT(measure_seconds), "5", 0, 3600,
	  .help = "how often each other node's latency and loss are measured, by an echo between the nodes' addresses in the pod ranges; 0: never" },
	{ "run.dir", T_PATH, AT(run_dir), "/run/weft", 1, .help = "socket and state; a file system that a reboot empties" },
	{ "bpf.dir", T_PATH, AT(bpf_dir), "/sys/fs/bpf/weft", 1, .help = "pinned maps, programs and links; on a bpffs" },
	{ "cni.confDir", T_PATH, AT(cni_conf_dir), "/etc/cni/net.d", 0,
	  .help = "where to write 10-weft.conflist once the node is ready; empty: nowhere" },
	{ "cni.binDir", T_PATH, AT(cni_bin_dir), "", 0,
	  .help = "where to install a copy of weft-cni at start, for example /opt/cni/bin; empty: nowhere" },
	{ "cni.portmap", T_CHOICE, AT(cni_portmap), "auto", .choices = switches,
	  .help = "let the runtime call the plugin portmap behind weft-cni, for hostPort; auto: if it is in cni.binDir (empty: /opt/cni/bin)" },
	{ "log.level", T_CHOICE, AT(log_level), "info", .choices = levels, .help = "least urgent lines that are written" },
};
/* clang-format on */

enum { TEXT_MAX = 4000, FILE_MAX = 1 << 20 };

static void *field(struct options *o, const struct option *opt)
{
	return (char *)o + opt->offset;
}

static int choice_index(const char *const *list, const char *value)
{
	for (int i = 0; list && list[i]; i++)
		if (streq(list[i], value))
			return i;
	return -ENOENT;
}

static char *join(const char *const *list, const char *sep)
{
	char *s = xstrdup(list[0]);

	for (int i = 1; list[i]; i++) {
		char *t = xasprintf("%s%s%s", s, sep, list[i]);

		free(s);
		s = t;
	}
	return s;
}

static char *expected(const struct option *opt)
{
	switch (opt->type) {
	case T_UINT:
		return xasprintf("a number from %llu to %llu", (unsigned long long)opt->min,
				 (unsigned long long)opt->max);
	case T_BOOL:
		return xstrdup("on or off");
	case T_CHOICE:
		return join(opt->choices, " or ");
	case T_NAME:
		return xstrdup("a DNS name of lower-case letters, digits, '-' and '.'");
	case T_PATH:
		return xstrdup(opt->min ? "an absolute path without \"..\""
					: "an absolute path without \"..\", or nothing");
	case T_NODE_PORTS:
		return xasprintf("primary, or at most %d addresses or prefixes, joined by commas", LIST_PREFIXES_MAX);
	case T_PREFIXES:
		return xasprintf("at most %d addresses or prefixes, joined by commas", LIST_PREFIXES_MAX);
	case T_PORTS:
		return xstrdup("ports and ranges of ports, joined by commas");
	case T_PORT_RANGE:
		return xstrdup("a range of ports from 1, FIRST-LAST");
	case T_LISTEN:
		return xstrdup("an address and port, 127.0.0.1:80 or [::1]:80, or nothing");
	default:
		return xstrdup("a text without control characters");
	}
}

static bool text_is_plain(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

static bool path_is_plain(const char *s)
{
	return text_is_plain(s) && *s == '/' && !strstr(s, "/../") && !str_has_suffix(s, "/..");
}

static bool list_accepted(enum type type, const char *value)
{
	static struct prefix prefixes[LIST_PREFIXES_MAX];
	static bool ports[PORTS];
	uint16_t min, max;
	size_t n;

	if (type == T_PREFIXES || type == T_NODE_PORTS)
		return list_prefixes(value, prefixes, &n) == 0;
	return type == T_PORTS ? list_ports(value, ports) == 0 : port_range_parse(value, &min, &max) == 0;
}

static bool listen_is_plain(const char *s)
{
	struct addr a;
	uint16_t port;

	return addr_port_parse(s, &a, &port) == 0 && port;
}

static bool value_accepted(const struct option *opt, const char *value)
{
	if (strlen(value) > TEXT_MAX)
		return false;
	if (opt->type == T_NODE_PORTS && streq(value, NODE_PORTS_PRIMARY))
		return true;
	if (opt->type == T_NODE_PORTS && !*value)
		return false;
	if (opt->type >= T_NODE_PORTS)
		return list_accepted(opt->type, value);
	if (opt->type == T_NAME)
		return !*value || name_is_dns_subdomain(value);
	if (!*value)
		return opt->min == 0;
	if (opt->type == T_LISTEN)
		return listen_is_plain(value);
	return opt->type == T_PATH ? path_is_plain(value) : text_is_plain(value);
}

/* YAML reads on and off as true and false. */
static int find_choice(const struct option *opt, const char *value)
{
	int i = choice_index(opt->choices, value);
	bool b;

	if (i < 0 && choice_index(opt->choices, "on") >= 0 && parse_bool(value, &b) == 0)
		i = choice_index(opt->choices, b ? "on" : "off");
	return i;
}

static int assign(struct options *o, const struct option *opt, const char *value)
{
	char **text = field(o, opt);
	int i;

	switch (opt->type) {
	case T_UINT: {
		uint64_t v;

		if (parse_u64(value, opt->max, &v) < 0 || v < opt->min)
			return -EINVAL;
		*(uint64_t *)field(o, opt) = v;
		return 0;
	}
	case T_BOOL:
		return parse_bool(value, field(o, opt));
	case T_CHOICE:
		i = find_choice(opt, value);
		if (i < 0)
			return -EINVAL;
		*(uint64_t *)field(o, opt) = i;
		return 0;
	default:
		if (!value_accepted(opt, value))
			return -EINVAL;
		free(*text);
		*text = xstrdup(value);
		return 0;
	}
}

static const struct option *option_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (streq(options[i].name, name))
			return &options[i];
	return NULL;
}

int options_set(struct options *o, const char *where, const char *name, const char *value, char **ret_error)
{
	const struct option *opt = option_find(name);
	char shown_name[128], shown[256];
	int r;

	str_escape(shown_name, sizeof(shown_name), name);
	if (!opt) {
		*ret_error = xasprintf("%s: unknown option \"%s\"; expected one of those that weftd --help lists",
				       where, shown_name);
		return -ENOENT;
	}
	r = assign(o, opt, value);
	if (r < 0) {
		_cleanup_free_ char *want = expected(opt);

		str_escape(shown, sizeof(shown), value);
		*ret_error = xasprintf("%s: %s: \"%s\" is not valid; expected %s", where, opt->name, shown, want);
	}
	return r;
}

static int set_from_file(struct options *o, const char *file, const char *text, size_t len, const char *name,
			 const char *value, char **ret_error)
{
	char shown[256];
	_cleanup_free_ char *where = NULL;

	str_escape(shown, sizeof(shown), file);
	where = xasprintf("%s: line %zu", shown, yaml_key_line(text, len, name));
	if (value)
		return options_set(o, where, name, value, ret_error);
	str_escape(shown, sizeof(shown), name);
	*ret_error = xasprintf("%s: %s: expected a single value, not a list", where, shown);
	return -EINVAL;
}

/* The text that stands for a YAML scalar. NULL when the value is no scalar. */
static char *scalar_text(const json_t *v)
{
	if (json_is_string(v))
		return xstrdup(json_string_value(v));
	if (json_is_boolean(v))
		return xstrdup(json_is_true(v) ? "true" : "false");
	if (json_is_null(v))
		return xstrdup("");
	return json_is_number(v) ? json_text(v) : NULL;
}

static int load_object(struct options *o, const char *file, const char *text, size_t len, const char *prefix,
		       json_t *obj, char **ret_error)
{
	const char *key;
	json_t *v;
	int r;

	json_object_foreach(obj, key, v) {
		_cleanup_free_ char *name = *prefix ? xasprintf("%s.%s", prefix, key) : xstrdup(key);
		_cleanup_free_ char *value = scalar_text(v);

		if (json_is_object(v) && !option_find(name))
			r = load_object(o, file, text, len, name, v, ret_error);
		else
			r = set_from_file(o, file, text, len, name, value, ret_error);
		if (r < 0)
			return r;
	}
	return 0;
}

int options_load_text(struct options *o, const char *file, const char *text, size_t len, char **ret_error)
{
	_cleanup_json_ json_t *docs = NULL;
	json_t *doc;
	char shown[256];
	int r;

	str_escape(shown, sizeof(shown), file);
	r = yaml_parse(shown, text, len, &docs, ret_error);
	if (r < 0)
		return -EINVAL;
	if (json_array_size(docs) == 0)
		return 0;
	doc = json_array_get(docs, 0);
	if (json_array_size(docs) > 1 || !json_is_object(doc)) {
		*ret_error = xasprintf("%s: line 1: expected one YAML mapping of options", shown);
		return -EINVAL;
	}
	return load_object(o, file, text, len, "", doc, ret_error);
}

int options_load_file(struct options *o, const char *file, char **ret_error)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	char shown[256];
	int r;

	r = file_read(file, FILE_MAX, &text, &len);
	if (r < 0) {
		str_escape(shown, sizeof(shown), file);
		*ret_error = xasprintf("%s: %s; expected a configuration file of at most 1 MiB", shown, strerror(-r));
		return r;
	}
	return options_load_text(o, file, text, len, ret_error);
}

int options_finish(struct options *o, char **ret_error)
{
	char host[256] = "";

	if (*o->node_name)
		return 0;
	gethostname(host, sizeof(host) - 1);
	for (char *c = host; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c += 'a' - 'A';
	return options_set(o, "host name", "node.name", *host ? host : "_", ret_error);
}

void options_init(struct options *o)
{
	*o = (struct options){0};
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		int r = assign(o, &options[i], options[i].fallback);

		assert(r == 0);
		(void)r;
	}
}

void options_done(struct options *o)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (type_is_text(options[i].type))
			freep(field(o, &options[i]));
	*o = (struct options){0};
}

void options_print(FILE *to)
{
	fputs("| option | value | default | what it does |\n| --- | --- | --- | --- |\n", to);
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option *opt = &options[i];
		_cleanup_free_ char *want = expected(opt);

		fprintf(to, "| `%s` | %s | %s%s%s | %s |\n", opt->name, want, *opt->fallback ? "`" : "",
			*opt->fallback ? opt->fallback : "(empty)", *opt->fallback ? "`" : "", opt->help);
	}
}

void options_print_help(FILE *to)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		fprintf(to, "  %-24s %s (%s)\n", options[i].name, options[i].help,
			*options[i].fallback ? options[i].fallback : "empty");
}
