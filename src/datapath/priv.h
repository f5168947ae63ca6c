/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this directory share; nobody else includes it. */
#pragma once

#include "datapath/attach.h"
#include "datapath/datapath.h"

#include "weft/addr.h"
#include "weft/flow.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

/* The programs, in the order in which they are loaded and replaced. */
enum dp_hook { HOOK_FROM_POD, HOOK_TO_POD, HOOK_FROM_NET, HOOK_FROM_TUNNEL, HOOK_TO_NET, HOOK_TO_TUNNEL, HOOK_FROM_MESH, HOOK_TO_MESH,
	       HOOK_XDP_NET /* loaded where it is asked for only */, HOOK_COUNT };

/* The maps that user space looks into; all are pinned by their name. */
enum dp_map {
	MAP_ENDPOINTS,
	MAP_POD_IFACES,
	MAP_NODE_ROUTES,
	MAP_JUDGED_LINKS,
	MAP_GUARD,
	MAP_ENDPOINT_FLOWS,
	MAP_FLOWS,
	MAP_FLOWS_NEW,
	MAP_FLOW_SWEEP,
	MAP_NAT_CLAIMS,
	MAP_NAT_FORWARD,
	MAP_NAT_SHARES,
	MAP_NAT_UPLINKS,
	MAP_NAT_EXEMPT,
	MAP_NAT_RESERVED,
	MAP_SERVICE_FRONTENDS,
	MAP_SERVICE_SLOTS,
	MAP_SERVICE_BACKENDS,
	MAP_SERVICE_AFFINITY,
	MAP_SERVICE_SOURCES,
	MAP_SERVICE_NODES,
	MAP_SERVICE_NETNS,
	MAP_SERVICE_COUNTS,
	MAP_ANNOUNCED,
	MAP_ANNOUNCE_PEERS,
	MAP_ANNOUNCE_AWAKE,
	MAP_POLICY_STATE,
	MAP_POLICY_ADDRS,
	MAP_POLICY_CIDRS,
	MAP_POLICY_RULES,
	MAP_POLICY_PORTS,
	MAP_POLICY_ENDPOINTS,
	MAP_COUNTERS,
	MAP_EVENTS,
	MAP_EVENT_RATES,
	MAP_COUNT
};

struct services;
struct ring_buffer;
struct node_route_entry;
struct node_route_key;

enum { LINKS_MAX = 32, SOCK_HOOKS = 8 };

struct datapath {
	int lock_fd; /* the version's directory, locked */
	char *dir;   /* PIN_DIR/v1 */
	struct bpf_object *objects[HOOK_COUNT]; /* NULL: not loaded */
	int programs[HOOK_COUNT]; /* descriptors, owned by the objects */
	int maps[MAP_COUNT];	  /* likewise */
	struct bpf_object *sock;
	int sock_links[SOCK_HOOKS]; /* -1: not attached */
	char *cgroup;		    /* to which they are; NULL: to none */
	struct bpf_object *stale;   /* the iterator over sockets, and what it hangs on; NULL where the kernel has none */
	struct bpf_link *stale_link;
	struct services *services;  /* NULL until the first is put */
	bool tcx;		  /* uplinks and tunnels are attached by tcx */
	enum dp_xdp xdp;
	struct dp_xdp_uplink xdp_uplinks[LINKS_MAX]; /* as they were applied */
	size_t n_xdp_uplinks;
	struct inheritance *inheritance; /* during datapath_open() */
	uint32_t flow_max, nat_max;
	uint64_t recent_key[FLOW_RECENT_TERMS][FLOW_RECENT_ROWS]; /* of all programs */
	uint32_t tunnel_ifindex;
	uint32_t policy_generation; /* of what is written now */
	uint32_t policy_revision;   /* in force, if it is known */
	bool policy_revision_known, policy_writing; /* for the revision after it */
	bool policy_entries_lost; /* there was a state, but a map of what it meant was not, when this was opened */
	struct { /* whom to tell, and what is known to have been there: without it, what is missing is new */
		dp_repair_fn *fn;
		void *ctx;
		bool endpoints;
		uint32_t links[LINKS_MAX];
		size_t n_links;
		struct node_route_entry *routes;
		size_t n_routes;
		struct node_route_key *guard; /* sorted */
		size_t n_guard;
		struct dp_nat_wanted {
			uint8_t *data; /* sorted: keys, each with its value */
			size_t n;
		} nat[2]; /* uplinks, and what is exempt */
		uint64_t *reserved;
		bool reserved_known;
	} repair;
	struct dp_nat_uplink *nat_addrs; /* as they were applied */
	size_t n_nat_addrs;
	struct ring_buffer *ring; /* made by the first datapath_events_fd() */
	struct dp_reader {	  /* during datapath_read_events() */
		dp_event_fn *fn;
		void *ctx;
		unsigned n, max;
	} reader;
};

extern const char *const dp_hook_names[HOOK_COUNT];
extern const char *const dp_map_names[MAP_COUNT];

/* struct addr as maps hold it: absent ones are all ones (weft/addr.h). */
static inline struct ip_addr dp_addr_encode(const struct addr *a)
{
	struct ip_addr r;

	if (addr_is_zero(a))
		memset(&r, ADDR_ABSENT_BYTE, sizeof(r));
	else
		memcpy(&r, a, sizeof(r));
	return r;
}

/* Keys of a trie of prefixes (node routes, the guard): in which order, and those that are there, sorted, at most @max of them. */
int dp_prefix_compare(const void *a, const void *b);
size_t dp_prefix_keys(int map, size_t max, struct node_route_key **ret);
/* Calls @fn for each pinned link; @ifindex is 0 when its device is gone. Return: 0 or the first error. */
typedef int dp_pinned_link_fn(struct datapath *dp, const char *pin, int fd, uint32_t ifindex, const char *program, void *ctx);
int dp_each_pinned_link(struct datapath *dp, dp_pinned_link_fn *fn, void *ctx);
/* The uplinks among @links get XDP programs, as far as they are wanted and can be; others' stay. Return: 0 or the first error. */
int dp_apply_xdp(struct datapath *dp, const struct dp_link *links, size_t n);
/* Puts the loaded programs into the pinned links; XDP's, where none is wanted any more, goes. Return: 0 or the first error. */
int dp_replace_tcx(struct datapath *dp);
/* Makes the counters of `endpoint_flows` and `nat_shares` that are not there: of the endpoints that are published, and of those that no endpoint has.
 * What is made after the first sweep of endpoints is a repair. Return: 0 or the first error. */
int dp_mend_shares(struct datapath *dp);
/* What the kernel must have. Return: 0, -ENOTSUP with a line that says what is missing. */
int dp_probe(char **ret_error);
/* The smallest prime that is not below @n. */
uint32_t dp_prime_from(uint32_t n);
void dp_close_events(struct datapath *dp);

/* @cgroup: "": takes the socket programs off. Return: 0, -errno with @ret_error. */
int dp_attach_sockets(struct datapath *dp, const char *cgroup, char **ret_error);
void dp_close_sockets(struct datapath *dp);
int dp_mend_sockets(struct datapath *dp);
/* With dp->stale loaded. Return: 0, -errno. */
int dp_start_stale(struct datapath *dp);
void dp_close_stale(struct datapath *dp);
struct services *services_free(struct services *s);
/* The endpoint's addresses have a policy before they are published: what there is stays, else it is locked down; or it is open. */
int dp_policy_prepare(struct datapath *dp, const struct dp_endpoint *ep);
/* Before any map is there that was not: says whether one of policy's is missing beside others. */
void dp_policy_look_for_lost(struct datapath *dp);
/* Where the state of policy is gone though some was in force: locks these pods down. Before the programs are attached. Return: 0, -errno. */
int dp_policy_lock_lost(struct datapath *dp, const struct addr *pods, size_t n);
/* Lets every flow be judged anew by what is in force: an agent that died between a change and its datapath_policy_commit() leaves verdicts of before. */
int dp_policy_void(struct datapath *dp);
/* Does an entry of policy_addrs or policy_endpoints say at @revision what it says first, or still what was before? */
bool dp_policy_has_turned(uint32_t since, uint32_t revision);
/* What is in force at an endpoint; @ret->gone: nothing. Return: 0, -errno. */
struct policy_endpoint_value;
int dp_policy_read_endpoint(struct datapath *dp, const struct addr *addr, struct policy_endpoint_value *ret);

/* Is our program in the slot? Return: 0, -ENOENT, -errno. */
int dp_check_program(struct datapath *dp, uint32_t ifindex, enum attach_side side, enum dp_hook hook);
/* Return: descriptor that holds the lock, -EBUSY, -errno. */
int dp_lock_dir(const char *dir, char **ret_error);
void dp_repaired(struct datapath *dp, enum dp_repair what, const char *fmt, ...) _printf_(3, 4);

/* First error of several attempts. */
static inline void dp_note_error(int *first, int r)
{
	if (r < 0 && *first == 0)
		*first = r;
}
