/* SPDX-License-Identifier: Apache-2.0 */
/* The only door to the BPF datapath: the agent says what it wants, this module loads, pins, attaches and diffs.
 *
 * Everything that packets need is pinned. datapath_open() adopts what an earlier agent left: maps keep their entries,
 * programs are replaced atomically on links and filters that stay attached. Nothing is detached when the process ends. */
#pragma once

#include "net/addr.h"
#include "weft/counter.h" /* bpf/abi: enum forward_way */
#include "weft/drop.h"	  /* bpf/abi: enum drop_reason */

struct datapath;

enum dp_attach { DP_ATTACH_AUTO, DP_ATTACH_TCX, DP_ATTACH_CLSACT }; /* for uplinks and tunnels; pods always by clsact */
/* Packets of Services' connections that leave by the uplink that they came by are sent on before there is an skb. Native: by the device's driver;
 * generic: by the kernel, for any device; auto: native where that is sure to work. */
enum dp_xdp { DP_XDP_OFF, DP_XDP_AUTO, DP_XDP_NATIVE, DP_XDP_GENERIC };
enum dp_transport { DP_DIRECT, DP_TUNNEL, DP_MESH, DP_NONE /* nothing is sent by it: only how packets come */ };

struct dp_config {
	const char *pin_dir; /* for example /sys/fs/bpf/weft; the version directory is made inside */
	enum dp_attach attach;
	enum dp_xdp xdp;       /* on uplinks; needs @inbound */
	bool fast_path;	       /* off: packets are checked and counted, then take the stack's routes */
	bool mss_clamp;	       /* pods' SYNs, both ways, speak of no larger segments than the path carries */
	bool pod_tunnels;      /* pods may send tunnels' and IPsec's protocols to nodes */
	bool flow_events; /* connections are events as well as drops */
	bool foreign_nat; /* others translate addresses in this node's stack: what went through it returns through it */
	struct addr node_addrs[2]; /* this node's addresses in the pod ranges: IPv4, IPv6; zero where it has none */
	struct prefix ranges[2];   /* this node's pod ranges: length 0 where it has none */
	struct addr underlay[2];   /* this node's underlay addresses: IPv4, IPv6; zero where it has none */
	uint32_t tunnel_ifindex;   /* the device of all tunnel routes; 0 without a tunnel transport */
	uint32_t vni;
	uint32_t flow_max;   /* entries of each flow table, 64 to 2^24 */
	uint32_t flow_share; /* entries that one endpoint may hold; 0: a quarter of flow_max */
	bool masquerade[2];  /* IPv4, IPv6: do pods speak to the world as the node? */
	uint32_t nat_max;    /* translated connections, 64 to 2^24 */
	uint32_t nat_share;  /* of them, by one endpoint; 0: half of nat_max */
	uint16_t nat_port_min, nat_port_max; /* ports that translation may use, from 1 */
	uint32_t policy_addr_max, policy_rule_max; /* entries of the policy maps, 64 to 2^24; 0: 65536. Addresses, and prefixes: of one generation, the maps hold two; rules, and ports */
	uint16_t tunnel_port; /* UDP port of the tunnel or of WireGuard; 0 without either */
	bool geneve;	      /* the tunnel device's packets travel as Geneve */
	bool host;	     /* policies may speak of the node itself */
	const struct addr *pods; /* addresses of pods that live here since before, and may have policies: locked down where the state of policy is lost */
	size_t n_pods;
	bool guard;	     /* what pods have to do with pods and nodes passes no uplink unencrypted: datapath_apply_guard() */
	const char *cgroup;   /* whose sockets are translated (a path); "" or NULL: nobody's */
	uint32_t service_max; /* frontends of Services, and four times as many endpoints; 0: 65536 */
	bool inbound;	     /* serve Services to clients outside: NodePorts, addresses of load balancers */
	uint16_t inbound_port_min, inbound_port_max; /* by which the node speaks for them; none that its sockets are given. 0: as nat_port */
};

/**
 * datapath_open() - load the programs, reuse or create the pinned maps, replace the programs of what is attached
 * @config: borrowed for the call; a change of configuration is another datapath_open() after datapath_close()
 * @ret_error: on failure, one line for people (the verifier's last line included), owned by the caller
 *
 * Return: 0, -ENOTSUP when the kernel lacks what we cannot do without, -EBUSY when another agent holds the directory, -errno.
 */
int datapath_open(const struct dp_config *config, struct datapath **ret, char **ret_error);
/* Lets go of descriptors; the datapath goes on working. Returns NULL. */
struct datapath *datapath_close(struct datapath *dp);
DEFINE_CLEANUP(struct datapath *, datapath_close)
/* Detaches everything and removes every pin below the directory: the node is taken out of service. */
int datapath_remove(const char *pin_dir);

/* What somebody else had taken away or changed, and the calls below have put back. */
enum dp_repair { DP_REPAIR_PROGRAM, DP_REPAIR_ENTRY, DP_REPAIR_PIN };
typedef void dp_repair_fn(enum dp_repair what, const char *text, void *ctx);
void datapath_on_repair(struct datapath *dp, dp_repair_fn *fn, void *ctx);
/* The directories in which somebody could remove something, for the caller to watch. @i: below DP_PIN_DIRS. Owned by the caller. */
enum { DP_PIN_DIRS = 4 };
char *datapath_pin_dir(const struct datapath *dp, unsigned i);
/* Puts pins that are gone back, directories included. Return: 0 or the first error. */
int datapath_apply_pins(struct datapath *dp);
/* The tunnel device was made anew: node routes leave by this one from now on. */
void datapath_set_tunnel(struct datapath *dp, uint32_t ifindex);

/* A local pod. */
struct dp_endpoint {
	uint32_t ifindex; /* host side of the veth */
	uint32_t id;	  /* unique among the living endpoints, not 0 */
	uint8_t pod_mac[6], host_mac[6];
	struct addr addrs[2]; /* IPv4, IPv6; zero where it has none */
	uint64_t netns_cookie; /* of the pod's namespace (SO_NETNS_COOKIE); 0: not known */
	bool open; /* no pod of the cluster: no policy applies */
};

/**
 * datapath_put_endpoint() - attach the pod's programs to its host-side link (idempotent) and publish the endpoint
 *
 * A pod whose policy has not been applied is locked down: everything that it sends or gets is dropped, but what its own node sends.
 *
 * Order: programs first, then anti-spoofing entry, then the addresses, so that no packet is delivered unjudged.
 * Return: 0, -E2BIG when a map is full, -errno.
 */
int datapath_put_endpoint(struct datapath *dp, const struct dp_endpoint *ep);
/* Withdraws by interface index; the link may be gone already. When the endpoint is published with another interface by now, all else
 * of it stays. Return: 0, -ENOENT. */
int datapath_del_endpoint(struct datapath *dp, uint32_t ifindex);
/* Is it published and attached as datapath_put_endpoint() left it? Changes nothing. Return: 0, -ENOENT when something of it is
 * missing, -ESTALE when it is published with other values, -errno. */
int datapath_check_endpoint(struct datapath *dp, const struct dp_endpoint *ep);
/* Makes the set of endpoints exactly this one. The same in parts: puts those of these that are not as they should be; at the end takes away those
 * whose interface is not among all of them (@ifindexes is sorted here), and looks whether the counters of shares are there. What is put after the first sweep is a repair. Return: 0 or the first error; they
 * go on after errors. */
int datapath_mend_endpoints(struct datapath *dp, const struct dp_endpoint *eps, size_t n);
int datapath_sweep_endpoints(struct datapath *dp, uint32_t *ifindexes, size_t n);
int datapath_apply_endpoints(struct datapath *dp, const struct dp_endpoint *eps, size_t n);

enum { DP_PLAIN_LINKS_MAX = 5 };

/* How packets for a prefix of another node travel, and its packets come. */
struct dp_node_route {
	struct prefix prefix; /* a pod range, or a peer's own address (with a tunnel transport) */
	enum dp_transport transport;
	struct addr underlay;  /* direct: next hop; tunnel: outer destination */
	struct addr outer;     /* the only outer source by which its packets may come; zero: by no tunnel */
	bool plain;	       /* may its packets come as they are, by these uplinks? None: by any */
	uint32_t plain_by[DP_PLAIN_LINKS_MAX];
	bool node;	       /* a node's own address: to a node it may come as it is, whatever @plain says */
	uint32_t ifindex;      /* direct: uplink; tunnel: its device; mesh: the WireGuard interface */
	uint8_t vtep_mac[6];   /* tunnel: inner destination MAC */
	uint16_t mtu;	       /* largest inner IP packet */
	bool unwrap;	       /* tunnel: what comes by it may be taken out past the kernel's device */
	uint32_t uplink;       /* tunnel: where outer packets leave, to @next_hop; 0: the kernel's device finds out, and makes them */
	struct addr next_hop;
};

/* Makes the set of node routes exactly this one; changes what differs only. Return: 0 or the first error; -EINVAL, and nothing
 * changed, for a tunnel route that does not leave by the tunnel device; -E2BIG. */
int datapath_apply_node_routes(struct datapath *dp, const struct dp_node_route *routes, size_t n);

/* Policy: the maps of weft/policy.h, as the compiler (src/policy) wants them. datapath_policy_begin() once after datapath_open(), then
 * each change in the order in which the compiler lists them: what is written stands beside what an earlier agent has in force until
 * endpoints change over. datapath_policy_commit() makes every flow be judged anew; @until: and again at that time (nanoseconds since boot), 0: not. */
enum dp_policy_map { DP_POLICY_ADDRS, DP_POLICY_CIDRS, DP_POLICY_RULES, DP_POLICY_PORTS, DP_POLICY_ENDPOINTS, DP_POLICY_MAPS };
int datapath_policy_begin(struct datapath *dp);
/* Is no policy in force? No agent has said anything since the boot, or what was said is lost (pods are locked down then: dp_config.pods). */
bool datapath_policy_is_untold(struct datapath *dp);
/* How many of these addresses are locked down. */
size_t datapath_policy_count_locked(struct datapath *dp, const struct addr *pods, size_t n);
/* @key, @value: the map's structs as the compiler has them (endpoints: a struct addr); @value NULL deletes, whether it is there or not.
 * Return: 0, -E2BIG when the map is full, -errno. */
int datapath_policy_change(struct datapath *dp, enum dp_policy_map map, const void *key, const void *value);
/* Many of one map, none deleted, with few calls of the kernel: addresses and rules are many. Those before the first that fails are done: @ret_done. Return: as
 * datapath_policy_change(). */
struct dp_policy_put {
	const void *key, *value;
};
int datapath_policy_put_many(struct datapath *dp, enum dp_policy_map map, const struct dp_policy_put *puts, size_t n, size_t *ret_done);
/* As datapath_policy_change(), for DP_POLICY_ADDRS and DP_POLICY_ENDPOINTS, but that it takes effect with the next datapath_policy_commit(), together with all others. @value NULL, of
 * an endpoint: it is none any more; its entry is to be deleted after a grace period. */
int datapath_policy_turn(struct datapath *dp, enum dp_policy_map map, const void *key, const void *value);
/* Is the entry there as it should be? If not it is put back. Return: 0, 1 when it was not, -errno. */
int datapath_policy_mend(struct datapath *dp, enum dp_policy_map map, const void *key, const void *value);
int datapath_policy_commit(struct datapath *dp, uint64_t until);
/* Sweeps what no datapath_policy_change() since datapath_policy_begin() has written. @endpoints: sorted, the addresses that keep a
 * policy. */
int datapath_policy_finish(struct datapath *dp, const struct addr *endpoints, size_t n);

/* Whose addresses may not be seen on an uplink together: pods' among themselves and with nodes'. */
struct dp_guarded {
	struct prefix prefix;
	bool node; /* an address of a node; false: a range of pods */
};
/* Makes the set exactly this one; what is new comes first. Return: 0 or the first error; -E2BIG, and nothing changed. */
int datapath_apply_guard(struct datapath *dp, const struct dp_guarded *guarded, size_t n);

/* Uplinks get from_net and to_net, the tunnel device from_tunnel and to_tunnel, the WireGuard interface from_mesh and to_mesh. Makes the set of
 * attached links exactly this one (idempotent). */
struct dp_link {
	uint32_t ifindex;
	enum { DP_LINK_UPLINK, DP_LINK_TUNNEL, DP_LINK_MESH } role;
};
int datapath_apply_links(struct datapath *dp, const struct dp_link *links, size_t n);

/* What became of XDP on an uplink. Where it is not, packets go the way through from_net, with the same result. */
enum dp_xdp_state {
	DP_XDP_IS_OFF,
	DP_XDP_IS_NATIVE,
	DP_XDP_IS_GENERIC,
	DP_XDP_IS_FOREIGN, /* somebody else's program has the device */
	DP_XDP_IS_VETH,	   /* auto: whether its other end takes what XDP sends cannot be seen from here */
	DP_XDP_IS_TAGS,	   /* the device takes off the tags of VLANs */
	DP_XDP_IS_REFUSED, /* by the kernel or the driver: error */
};
struct dp_xdp_uplink {
	uint32_t ifindex;
	enum dp_xdp_state state;
	int error; /* -errno of REFUSED */
};
/* As datapath_apply_links() left it. Return: 0, -ENOENT when it is no uplink. */
int datapath_read_xdp(const struct datapath *dp, uint32_t ifindex, struct dp_xdp_uplink *ret);
/* "off", "native", "generic", or why not; for people. */
const char *dp_xdp_state_text(enum dp_xdp_state state);

/* As whom packets leave by an uplink. */
struct dp_nat_uplink {
	uint32_t ifindex;
	struct addr addrs[2]; /* IPv4, IPv6; zero where it has none */
};
/* What is not masqueraded. */
struct dp_exempt {
	struct prefix prefix;
	bool source; /* it is the pods' range; false: the destination */
};
struct dp_masquerade {
	const struct dp_nat_uplink *uplinks;
	size_t n_uplinks;
	const struct dp_exempt *exempt; /* each once */
	size_t n_exempt;
	const bool *reserved; /* 65536, by port: never used for translation; NULL: none */
};
/* Makes what masquerade is told exactly this; connections with an address that is no uplink's any more end. Return: 0 or the
 * first error; -E2BIG, and nothing changed, with too many uplinks or exemptions. */
int datapath_apply_masquerade(struct datapath *dp, const struct dp_masquerade *m);

/* Counters, summed over CPUs. */
struct dp_counter {
	uint64_t packets, bytes;
};
int datapath_read_drops(struct datapath *dp, struct dp_counter ret[DROP_REASON_COUNT]);
int datapath_read_forwards(struct datapath *dp, struct dp_counter ret[FORWARD_WAY_COUNT]);
/* Flows that were let pass, and policies that only observe would deny: by reason from DROP_POLICY_EGRESS on. */
int datapath_read_audits(struct datapath *dp, struct dp_counter ret[DROP_POLICY_REASONS]);
/* What the XDP programs have sent on; each is in one of the ways, too. */
int datapath_read_xdp_packets(struct datapath *dp, struct dp_counter *ret);
/* First fragments whose places were taken by others of the same owner before a later one came. */
int datapath_read_fragments_pushed_out(struct datapath *dp, struct dp_counter *ret);
/* Metric label and text of the lists in weft/drop.h and weft/counter.h; "unknown" outside of them. */
const char *drop_reason_label(unsigned reason);
const char *drop_reason_text(unsigned reason);
const char *forward_way_label(unsigned way);

struct dp_stats {
	uint64_t flows, flows_new;	 /* entries now */
	uint64_t nat;			 /* translated connections now */
	uint64_t endpoints, node_routes; /* entries now */
	uint64_t searches;		 /* through whole tables, for entries that found their queue full (bpf/lib/turns.h) */
	uint32_t flow_max, nat_max;
	const char *attach; /* "tcx" or "clsact": what is in use on uplinks and tunnels, and why in docs/operating.md */
};
int datapath_read_stats(struct datapath *dp, struct dp_stats *ret);

enum dp_event_kind { DP_EVENT_DROP, DP_EVENT_NEW, DP_EVENT_CLOSED, DP_EVENT_CHANGED, DP_EVENT_AUDIT };

/* A drop, or with flow_events what becomes of a connection; sampled and rate limited in the kernel. */
struct dp_event {
	enum dp_event_kind kind;
	uint64_t time_ns; /* CLOCK_MONOTONIC, as bpf_ktime_get_ns() */
	enum drop_reason reason; /* DROP_NONE unless dropped; of AUDIT: why it would be */
	uint32_t ifindex; /* where the packet was seen; 0 of a connection */
	struct addr src, dst; /* zero when the packet was not understood that far */
	uint16_t sport, dport; /* host order; 0 without ports */
	uint8_t proto;	       /* IPPROTO_* */
	uint8_t tcp_flags;
	uint32_t len;	 /* bytes of the frame */
	uint32_t missed; /* events of this reason not sent since the one before it */
	uint32_t rule;	 /* id of the policy rule that decided; 0: none */
	const char *hook; /* the program that dropped it, as in docs/packet-walks.md; "" when it is not known */
};
typedef void dp_event_fn(const struct dp_event *ev, void *ctx);
/* To poll for reading (EPOLLIN) in an event loop; stays the datapath's. */
int datapath_events_fd(struct datapath *dp);
/* Hands out what is there, at most @max. Return: how many, or -errno. */
int datapath_read_events(struct datapath *dp, unsigned max, dp_event_fn *fn, void *ctx);
/* Events that were not sent, for their rate or for want of room in the ring, of all kinds; wraps with each CPU's 32 bits. */
int datapath_read_missed(struct datapath *dp, uint64_t *ret);
