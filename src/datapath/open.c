/* SPDX-License-Identifier: Apache-2.0 */
/* Opening: lock, adopt or create the maps, load the programs, then put them in the place of those that are attached. Nothing
 * that carries packets is touched before every program has passed the verifier. */
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "datapath/attach.h"
#include "datapath/inherit.h"
#include "datapath/pins.h"
#include "datapath/priv.h"
#include "weft/config.h"

#include "inherit.skel.h"
#include "sweep.skel.h"
#include "from_mesh.skel.h"
#include "from_net.skel.h"
#include "from_pod.skel.h"
#include "from_tunnel.skel.h"
#include "sock.skel.h"
#include "stale.skel.h"
#include "to_mesh.skel.h"
#include "to_net.skel.h"
#include "to_pod.skel.h"
#include "to_tunnel.skel.h"
#include "xdp_net.skel.h"

#include <bpf/btf.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>

enum { XDP_PAIRS_MIN = 128, XDP_PAIRS_MAX = 65536 };

const char *const dp_hook_names[HOOK_COUNT] = {
	[HOOK_FROM_POD] = "from_pod",
	[HOOK_TO_POD] = "to_pod",
	[HOOK_FROM_NET] = "from_net",
	[HOOK_FROM_TUNNEL] = "from_tunnel",
	[HOOK_TO_NET] = "to_net",
	[HOOK_TO_TUNNEL] = "to_tunnel",
	[HOOK_FROM_MESH] = "from_mesh",
	[HOOK_TO_MESH] = "to_mesh",
	[HOOK_XDP_NET] = "xdp_net",
};

const char *const dp_map_names[MAP_COUNT] = {
	[MAP_ENDPOINTS] = "endpoints",
	[MAP_POD_IFACES] = "pod_ifaces",
	[MAP_NODE_ROUTES] = "node_routes",
	[MAP_JUDGED_LINKS] = "judged_links",
	[MAP_GUARD] = "guard",
	[MAP_ENDPOINT_FLOWS] = "endpoint_flows",
	[MAP_FLOWS] = "flows",
	[MAP_FLOWS_NEW] = "flows_new",
	[MAP_FLOW_SWEEP] = "flow_sweep",
	[MAP_NAT_CLAIMS] = "nat_claims",
	[MAP_NAT_FORWARD] = "nat_forward",
	[MAP_NAT_SHARES] = "nat_shares",
	[MAP_NAT_UPLINKS] = "nat_uplinks",
	[MAP_NAT_EXEMPT] = "nat_exempt",
	[MAP_NAT_RESERVED] = "nat_reserved",
	[MAP_SERVICE_FRONTENDS] = "service_frontends",
	[MAP_SERVICE_SLOTS] = "service_slots",
	[MAP_SERVICE_BACKENDS] = "service_backends",
	[MAP_SERVICE_AFFINITY] = "service_affinity",
	[MAP_SERVICE_SOURCES] = "service_sources",
	[MAP_SERVICE_NODES] = "service_nodes",
	[MAP_SERVICE_NETNS] = "service_netns",
	[MAP_SERVICE_COUNTS] = "service_counts",
	[MAP_ANNOUNCED] = "announced",
	[MAP_ANNOUNCE_PEERS] = "announce_peers",
	[MAP_ANNOUNCE_AWAKE] = "announce_awake",
	[MAP_POLICY_STATE] = "policy_state",
	[MAP_POLICY_ADDRS] = "policy_addrs",
	[MAP_POLICY_CIDRS] = "policy_cidrs",
	[MAP_POLICY_RULES] = "policy_rules",
	[MAP_POLICY_PORTS] = "policy_ports",
	[MAP_POLICY_ENDPOINTS] = "policy_endpoints",
	[MAP_COUNTERS] = "counters",
	[MAP_EVENTS] = "events",
	[MAP_EVENT_RATES] = "event_rates",
};

static const void *(*const elf_bytes[HOOK_COUNT])(size_t *size) = {
	[HOOK_FROM_POD] = from_pod__elf_bytes,
	[HOOK_TO_POD] = to_pod__elf_bytes,
	[HOOK_FROM_NET] = from_net__elf_bytes,
	[HOOK_FROM_TUNNEL] = from_tunnel__elf_bytes,
	[HOOK_TO_NET] = to_net__elf_bytes,
	[HOOK_TO_TUNNEL] = to_tunnel__elf_bytes,
	[HOOK_FROM_MESH] = from_mesh__elf_bytes,
	[HOOK_TO_MESH] = to_mesh__elf_bytes,
	[HOOK_XDP_NET] = xdp_net__elf_bytes,
};

/* The end of what libbpf said while a program was loaded. libbpf has one print function for the whole process. */
static char said[2048];

static int on_libbpf_print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	_cleanup_free_ char *text = NULL;
	size_t n;

	if (level == LIBBPF_DEBUG)
		return 0;
	text = xvasprintf(fmt, ap);
	n = strlen(text);
	if (strstr(text, "-- BEGIN PROG LOAD LOG --") || said[0] == 0)
		snprintf(said, sizeof(said), "%s", text + (n >= sizeof(said) ? n - sizeof(said) + 1 : 0));
	return 0;
}

/* The verifier's verdict: the line before its statistics. */
static const char *last_words(void)
{
	char *end = strstr(said, "\nprocessed "), *line;

	if (end) {
		*end = 0;
		line = strrchr(said, '\n');
		return line ? line + 1 : said;
	}
	said[strcspn(said, "\n")] = 0;
	return said;
}

static int check_bpffs(const char *dir, char **ret_error)
{
	struct statfs fs;

	if (statfs(dir, &fs) < 0) {
		int r = -errno;

		*ret_error = xasprintf("%s: %s", dir, strerror(-r));
		return r;
	}
	if (fs.f_type != BPF_FS_MAGIC) {
		*ret_error = xasprintf("%s is not on a bpf file system: expected one there (mount -t bpf bpf /sys/fs/bpf)", dir);
		return -ENOTSUP;
	}
	return 0;
}

static int make_dirs(struct datapath *dp, const struct dp_config *config, char **ret_error)
{
	int r;

	r = mkdir_parents(config->pin_dir, 0700);
	if (r < 0) {
		*ret_error = xasprintf("cannot create %s: %s", config->pin_dir, strerror(-r));
		return r;
	}
	r = check_bpffs(config->pin_dir, ret_error);
	if (r < 0)
		return r;
	dp->dir = xasprintf("%s/v%d", config->pin_dir, ABI_VERSION);
	for (unsigned i = 0; i < DP_PIN_DIRS; i++) {
		_cleanup_free_ char *path = datapath_pin_dir(dp, i);

		r = mkdir_parents(path, 0700);
		if (r < 0) {
			*ret_error = xasprintf("cannot create %s: %s", path, strerror(-r));
			return r;
		}
	}
	return 0;
}

/* One agent a directory: the lock is on the directory itself, so it lives as long as what it guards. */
int dp_lock_dir(const char *dir, char **ret_error)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0) {
		r = errno == EWOULDBLOCK ? -EBUSY : -errno;
		*ret_error = xasprintf("%s: %s", dir, r == -EBUSY ? "another agent holds it" : strerror(-r));
		return r;
	}
	return take_fd(fd);
}

/* Where the variable `config` lies in the object's constants. */
static int config_offset(const struct bpf_object *obj)
{
	const struct btf *btf = bpf_object__btf(obj);
	int id = btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC);
	const struct btf_type *section;

	if (id < 0)
		return -ENOENT;
	section = btf__type_by_id(btf, id);
	for (unsigned i = 0; i < btf_vlen(section); i++) {
		const struct btf_var_secinfo *var = btf_var_secinfos(section) + i;

		if (streq(btf__name_by_offset(btf, btf__type_by_id(btf, var->type)->name_off), "config"))
			return var->offset;
	}
	return -ENOENT;
}

/* A place for each conversation that the flow table holds. */
static uint32_t recent_lines(const struct dp_config *config)
{
	return MAX(config->flow_max / FLOW_RECENT_WAYS, 1u);
}

static uint32_t cpus(void)
{
	return MAX(libbpf_num_possible_cpus(), 1);
}

/* A CPU's, which all together have as many lines as connections may be known. */
static uint32_t xdp_pairs(const struct dp_config *config)
{
	uint32_t share = MAX(config->nat_max / 2 / cpus(), XDP_PAIRS_MIN);

	return MIN(share, XDP_PAIRS_MAX);
}

static void encode_range(const struct prefix *p, struct ip_addr *range, struct ip_addr *mask)
{
	unsigned bits = p->len ? p->len : 128;

	*range = dp_addr_encode(&p->addr); /* zero becomes an address that nobody has */
	memset(mask, 0, sizeof(*mask));
	for (unsigned i = 0; i < bits; i++)
		mask->b[i / 8] |= 0x80 >> i % 8;
}

static struct config config_encode(const struct datapath *dp, const struct dp_config *c, unsigned hook)
{
	struct config r = {
		.vni = c->vni,
		.flow_max = c->flow_max,
		.flow_share = c->flow_share ? c->flow_share : MAX(c->flow_max / 4, 1u),
		.flow_events = c->flow_events,
		.fast_path = c->fast_path,
		.mss_clamp = c->mss_clamp,
		.pod_tunnels = c->pod_tunnels,
		.foreign_nat = c->foreign_nat,
		.masquerade = c->masquerade[0] | c->masquerade[1] << 1,
		.nat_max = c->nat_max,
		.nat_share = c->nat_share ? c->nat_share : MAX(c->nat_max / 2, 1u),
		.nat_port_min = c->nat_port_min,
		.nat_port_max = c->nat_port_max,
		.nat_modulus = dp_prime_from(c->nat_port_max - c->nat_port_min + 1u),
		.tunnel_port = c->tunnel_port,
		.geneve = c->geneve,
		.hook = hook,
		.guard = c->guard,
		.host = c->host,
		.inbound = c->inbound,
		.inbound_port_min = c->inbound_port_min ? c->inbound_port_min : c->nat_port_min,
		.inbound_port_max = c->inbound_port_min ? c->inbound_port_max : c->nat_port_max,
	};

	r.recent_lines = recent_lines(c);
	r.xdp_pairs = xdp_pairs(c);
	memcpy(r.recent_key, dp->recent_key, sizeof(r.recent_key));
	r.inbound_modulus = dp_prime_from(r.inbound_port_max - r.inbound_port_min + 1u);

	for (int i = 0; i < 2; i++) {
		r.node_addrs[i] = dp_addr_encode(&c->node_addrs[i]);
		r.underlay[i] = dp_addr_encode(&c->underlay[i]);
		encode_range(&c->ranges[i], &r.ranges[i], &r.masks[i]);
	}
	return r;
}

static int set_config(const struct datapath *dp, struct bpf_object *obj, const struct dp_config *config, unsigned hook)
{
	struct config encoded = config_encode(dp, config, hook);
	int off = config_offset(obj);
	struct bpf_map *map;

	if (off < 0)
		return off;
	bpf_object__for_each_map(map, obj) {
		size_t size;
		uint8_t *data = (uint8_t *)bpf_map__initial_value(map, &size);

		if (!data || !str_has_suffix(bpf_map__name(map), ".rodata"))
			continue;
		assert(off + sizeof(encoded) <= size);
		memcpy(data + off, &encoded, sizeof(encoded));
		return 0;
	}
	return -ENOENT;
}

static uint32_t service_max(const struct dp_config *config)
{
	return config->service_max ? config->service_max : 65536;
}

static uint32_t policy_max(uint32_t said)
{
	return said ? said : 65536;
}

static void size_map(struct bpf_map *map, const char *name, const struct dp_config *config)
{
	if (streq(name, "flows") || streq(name, "flows_new"))
		bpf_map__set_max_entries(map, config->flow_max);
	if (streq(name, "flows_recent"))
		bpf_map__set_max_entries(map, 1 + recent_lines(config));
	if (streq(name, "xdp_recent"))
		bpf_map__set_max_entries(map, cpus() * xdp_pairs(config));
	if (streq(name, "flows_turns"))
		bpf_map__set_max_entries(map, TURNS_MAX(config->flow_max));
	if (streq(name, "nat_claims") || streq(name, "nat_forward"))
		bpf_map__set_max_entries(map, config->nat_max);
	if (streq(name, "dsr_ways"))
		bpf_map__set_max_entries(map, config->nat_max / 2);
	if (streq(name, "nat_turns"))
		bpf_map__set_max_entries(map, TURNS_MAX(config->nat_max));
	if (streq(name, "service_frontends") || streq(name, "service_slots"))
		bpf_map__set_max_entries(map, service_max(config));
	if (streq(name, "service_backends"))
		bpf_map__set_max_entries(map, 4 * service_max(config));
	if (streq(name, "policy_addrs") || streq(name, "policy_cidrs"))
		bpf_map__set_max_entries(map, 2 * policy_max(config->policy_addr_max)); /* those of the agent before as well, while one starts */
	if (streq(name, "policy_rules") || streq(name, "policy_ports"))
		bpf_map__set_max_entries(map, policy_max(config->policy_rule_max));
}

/* A map that counts the entries of a table is a new one, too, where the table is: what the old one loses until all programs are replaced is nothing
 * that the new one has. */
static const struct counts {
	const char *table, *map;
} counts[] = { { "flows", "endpoint_flows" }, { "nat_claims", "nat_shares" } };

static int adopt_map(struct datapath *dp, struct bpf_object *obj, struct bpf_map *map, char **ret_error)
{
	_cleanup_free_ char *path = xasprintf("%s/maps/%s", dp->dir, bpf_map__name(map));
	int r = inheritance_adopt(dp->inheritance, map);

	if (r == 0)
		r = pins_adopt(map, bpf_object__btf(obj), path);
	if (r < 0)
		*ret_error = xasprintf("cannot adopt the pinned map %s: %s", path, strerror(-r));
	return r;
}

static int adopt_counts(struct datapath *dp, struct bpf_object *obj, const struct counts *c, char **ret_error)
{
	struct bpf_map *table = bpf_object__find_map_by_name(obj, c->table), *map = bpf_object__find_map_by_name(obj, c->map);
	int r;

	if (!table || !map)
		return 0;
	r = adopt_map(dp, obj, table, ret_error);
	return r > 0 ? adopt_map(dp, obj, map, ret_error) : r;
}

static bool is_counted(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		if (streq(name, counts[i].table) || streq(name, counts[i].map))
			return true;
	return false;
}

static int prepare_maps(struct datapath *dp, struct bpf_object *obj, const struct dp_config *config, char **ret_error)
{
	struct bpf_map *map;
	int r = 0;

	bpf_object__for_each_map(map, obj) {
		const char *name = bpf_map__name(map);

		if (bpf_map__is_internal(map))
			continue;
		size_map(map, name, config);
		if (!is_counted(name))
			r = adopt_map(dp, obj, map, ret_error);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < ARRAY_SIZE(counts) && r >= 0; i++)
		r = adopt_counts(dp, obj, &counts[i], ret_error);
	return MIN(r, 0);
}

/* What stands in it says nothing to other programs: marks are made with numbers that are drawn anew. */
static bool is_of_no_use(const char *name)
{
	return streq(name, "flows_recent") || streq(name, "xdp_recent");
}

static int publish_map(struct datapath *dp, struct bpf_map *map, const char *path)
{
	if (inheritance_has(bpf_map__name(map)))
		return inheritance_publish(dp->inheritance, map, path);
	return is_of_no_use(bpf_map__name(map)) ? pins_replace(bpf_map__fd(map), path) : pins_publish(map, path);
}

static int publish_maps(struct datapath *dp, struct bpf_object *obj)
{
	struct bpf_map *map;
	int r;

	bpf_object__for_each_map(map, obj) {
		_cleanup_free_ char *path = xasprintf("%s/maps/%s", dp->dir, bpf_map__name(map));

		if (bpf_map__is_internal(map))
			continue;
		r = publish_map(dp, map, path);
		if (r < 0)
			return r;
	}
	return 0;
}

/* @hook: what its events say of where they come from; 0: nothing. */
static int load_object(struct datapath *dp, struct bpf_object *obj, unsigned hook, const struct dp_config *config, char **ret_error)
{
	int r;

	r = set_config(dp, obj, config, hook);
	if (r == 0)
		r = prepare_maps(dp, obj, config, ret_error);
	if (r < 0)
		return r;
	said[0] = 0;
	r = bpf_object__load(obj);
	if (r < 0) {
		*ret_error = xasprintf("cannot load %s: %s: %s", bpf_object__name(obj), strerror(-r), last_words());
		return r;
	}
	return publish_maps(dp, obj);
}

static int open_object(const char *name, const void *elf, size_t size, struct bpf_object **ret)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = name);

	*ret = bpf_object__open_mem(elf, size, &opts);
	return *ret ? 0 : -errno;
}

static void find_maps(struct datapath *dp, struct bpf_object *obj)
{
	for (int i = 0; i < MAP_COUNT; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(obj, dp_map_names[i]);

		if (map)
			dp->maps[i] = bpf_map__fd(map);
	}
}

/* A driver hands on frames of more than one buffer (large MTUs) to a program that can cope with them. Of the kernel's generic XDP such a program
 * gets packets that have lost skb->mac_len on their way to tc, which from_net would read at the wrong place (seen on 6.18: skb_pp_cow_data() does not
 * copy it). */
static void set_xdp_flags(struct bpf_object *obj, const struct dp_config *config)
{
	if (config->xdp != DP_XDP_GENERIC)
		bpf_program__set_flags(bpf_object__find_program_by_name(obj, dp_hook_names[HOOK_XDP_NET]), BPF_F_XDP_HAS_FRAGS);
}

static int load_hook(struct datapath *dp, enum dp_hook hook, const struct dp_config *config, char **ret_error)
{
	size_t size;
	const void *elf = elf_bytes[hook](&size);
	int r;

	r = open_object(dp_hook_names[hook], elf, size, &dp->objects[hook]);
	if (r == 0 && hook == HOOK_XDP_NET)
		set_xdp_flags(dp->objects[hook], config);
	if (r == 0)
		r = load_object(dp, dp->objects[hook], hook + 1, config, ret_error);
	if (r < 0)
		return r;
	dp->programs[hook] = bpf_program__fd(bpf_object__find_program_by_name(dp->objects[hook], dp_hook_names[hook]));
	find_maps(dp, dp->objects[hook]);
	return 0;
}

/* Without it packets take the way through from_net. */
static void load_xdp(struct datapath *dp, const struct dp_config *config)
{
	_cleanup_free_ char *error = NULL;
	int r = load_hook(dp, HOOK_XDP_NET, config, &error);

	if (r == 0)
		return;
	log_warn("the kernel does not take the XDP program: Linux 5.18 or newer is needed", L_STR("why", error ? error : ""), L_ERRNO(r));
	bpf_object__close(dp->objects[HOOK_XDP_NET]);
	dp->objects[HOOK_XDP_NET] = NULL;
}

/* The socket programs, and with them the maps that only they have. */
static int load_sock(struct datapath *dp, const struct dp_config *config, char **ret_error)
{
	size_t size;
	const void *elf = sock__elf_bytes(&size);
	int r = open_object("sock", elf, size, &dp->sock);

	if (r == 0)
		r = load_object(dp, dp->sock, 0, config, ret_error);
	if (r == 0)
		find_maps(dp, dp->sock);
	return r;
}

/* Without it sockets stay with an endpoint that is gone; all else goes on. */
static void load_stale(struct datapath *dp, const struct dp_config *config)
{
	_cleanup_free_ char *error = NULL;
	size_t size;
	const void *elf = stale__elf_bytes(&size);
	int r = open_object("stale", elf, size, &dp->stale);

	if (r == 0)
		r = load_object(dp, dp->stale, 0, config, &error);
	if (r == 0)
		r = dp_start_stale(dp);
	if (r < 0)
		log_warn("connected sockets will not follow their endpoints", L_STR("why", error ? error : ""), L_ERRNO(r));
}

static void object_closep(struct bpf_object **obj)
{
	bpf_object__close(*obj);
}

static int run_once(struct bpf_object *obj, const char *program)
{
	char packet[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet, .data_size_in = sizeof(packet));
	int r = bpf_prog_test_run_opts(bpf_program__fd(bpf_object__find_program_by_name(obj, program)), &run);

	return r < 0 || run.retval == TC_ACT_OK ? r : -EIO;
}

static int start_sweep(struct datapath *dp, const struct dp_config *config, char **ret_error)
{
	_cleanup_(object_closep) struct bpf_object *obj = NULL;
	const void *elf;
	size_t size;
	int r;

	elf = sweep__elf_bytes(&size);
	r = open_object("sweep", elf, size, &obj);
	if (r == 0)
		r = load_object(dp, obj, 0, config, ret_error);
	return r < 0 ? r : run_once(obj, "start_sweep");
}

/* What the old tables have now, or what has come to them since. */
static int inherit(struct datapath *dp, const struct bpf_object *obj)
{
	if (!obj)
		return 0;
	return inheritance_pass(dp->inheritance, bpf_program__fd(bpf_object__find_program_by_name(obj, "inherit_flow")),
				bpf_program__fd(bpf_object__find_program_by_name(obj, "inherit_claim")));
}

/* @ret stays NULL where nothing is left to anybody. */
static int load_inherit(struct datapath *dp, const struct dp_config *config, struct bpf_object **ret, char **ret_error)
{
	const void *elf;
	size_t size;
	int r;

	if (!inheritance_is_any(dp->inheritance))
		return 0;
	elf = inherit__elf_bytes(&size);
	r = open_object("inherit", elf, size, ret);
	if (r == 0)
		r = load_object(dp, *ret, 0, config, ret_error);
	return r < 0 ? r : inheritance_open_shares(dp->inheritance);
}

static bool is_map_of_ours(const char *name, const void *ctx)
{
	const struct datapath *dp = ctx;
	bool found = bpf_object__find_map_by_name(dp->sock, name) != NULL;

	for (int i = 0; i < HOOK_COUNT && !found; i++)
		found = dp->objects[i] && bpf_object__find_map_by_name(dp->objects[i], name) != NULL;
	return found;
}

static int sweep_pins(const struct datapath *dp)
{
	_cleanup_free_ char *maps = xasprintf("%s/maps", dp->dir);

	return pins_sweep(maps, is_map_of_ours, dp);
}

/* Pins the programs for people and tools; the links and filters hold them without it. */
static int pin_programs(struct datapath *dp)
{
	for (int i = 0; i < HOOK_COUNT; i++) {
		_cleanup_free_ char *path = xasprintf("%s/programs/%s", dp->dir, dp_hook_names[i]);
		int r;

		if (unlink(path) < 0 && errno != ENOENT)
			return -errno;
		if (!dp->objects[i])
			continue;
		r = bpf_obj_pin(dp->programs[i], path);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Replaces the program of every filter of ours by the one just loaded. */
static int replace_filters(struct datapath *dp)
{
	struct if_nameindex *links = if_nameindex();
	int first = 0, r;
	char name[16];
	uint32_t id;

	if (!links)
		return -errno;
	for (struct if_nameindex *l = links; l->if_index; l++)
		for (int side = ATTACH_INGRESS; side <= ATTACH_EGRESS; side++) {
			if (attach_find_clsact(l->if_index, side, &id, name) < 0)
				continue;
			for (int i = 0; i < HOOK_COUNT; i++)
				if (dp->objects[i] && streq(name, dp_hook_names[i])) {
					r = attach_clsact(l->if_index, side, dp->programs[i], ATTACH_OTHERS);
					dp_note_error(&first, r == -ENODEV || r == -EBUSY /* told when links are looked at */ ? 0 : r);
				}
		}
	if_freenameindex(links);
	return first;
}

/* The loaded programs take the place of those that are attached, and their tables that of the old ones. */
static int replace_attached(struct datapath *dp, const struct bpf_object *inheriting)
{
	int first = 0, r;

	r = inherit(dp, inheriting);
	if (r == 0)
		r = inheritance_pin(dp->inheritance);
	if (r < 0)
		return r;
	dp_note_error(&first, replace_filters(dp));
	dp_note_error(&first, inherit(dp, inheriting));
	dp_note_error(&first, dp_replace_tcx(dp));
	dp_note_error(&first, inherit(dp, inheriting));
	return first;
}

static int check_config(const struct dp_config *c, char **ret_error)
{
	if (c->flow_max < 64 || c->flow_max > 1u << 24 || c->flow_share > c->flow_max) {
		*ret_error = xasprintf("flow table of %u entries, %u an endpoint: expected 64 to 16777216, and no more an endpoint",
				       c->flow_max, c->flow_share);
		return -EINVAL;
	}
	if (c->nat_max < 64 || c->nat_max > 1u << 24 || c->nat_share > c->nat_max) {
		*ret_error = xasprintf("translation table of %u entries, %u an endpoint: expected 64 to 16777216, and no more an endpoint",
				       c->nat_max, c->nat_share);
		return -EINVAL;
	}
	if (policy_max(c->policy_addr_max) < 64 || c->policy_addr_max > 1u << 24 || policy_max(c->policy_rule_max) < 64 ||
	    c->policy_rule_max > 1u << 24) {
		*ret_error = xasprintf("policy tables of %u addresses and %u rules: expected 64 to 16777216", c->policy_addr_max,
				       c->policy_rule_max);
		return -EINVAL;
	}
	if (c->nat_port_min == 0 || c->nat_port_min > c->nat_port_max) {
		*ret_error = xasprintf("ports %u to %u for translation: expected a range from 1 to 65535", c->nat_port_min, c->nat_port_max);
		return -EINVAL;
	}
	if (c->vni >= 1u << 24) {
		*ret_error = xasprintf("network identifier %u: expected 24 bits", c->vni);
		return -EINVAL;
	}
	return 0;
}

static void draw_keys(struct datapath *dp)
{
	for (int i = 0; i < FLOW_RECENT_TERMS; i++)
		if (getrandom(dp->recent_key[i], sizeof(dp->recent_key[i]), 0) != sizeof(dp->recent_key[i]))
			abort(); /* never short up to 256 bytes: getrandom(2) */
}

static int choose_attach(struct datapath *dp, enum dp_attach attach, char **ret_error)
{
	dp->tcx = attach != DP_ATTACH_CLSACT && attach_has_tcx();
	if (attach == DP_ATTACH_TCX && !dp->tcx) {
		*ret_error = xstrdup("the kernel has no tcx: Linux 6.6 or newer is needed, or attach: clsact");
		return -ENOTSUP;
	}
	return 0;
}

static int open_all(struct datapath *dp, const struct dp_config *config, char **ret_error)
{
	_cleanup_(object_closep) struct bpf_object *inheriting = NULL;
	int r;

	r = check_config(config, ret_error);
	if (r == 0)
		r = dp_probe(ret_error);
	if (r == 0)
		r = make_dirs(dp, config, ret_error);
	if (r < 0)
		return r;
	r = dp->lock_fd = dp_lock_dir(dp->dir, ret_error);
	if (r < 0)
		return r;
	r = choose_attach(dp, config->attach, ret_error);
	draw_keys(dp);
	dp_policy_look_for_lost(dp);
	for (int i = 0; i < HOOK_XDP_NET && r == 0; i++)
		r = load_hook(dp, i, config, ret_error);
	if (r == 0 && config->xdp != DP_XDP_OFF)
		load_xdp(dp, config);
	if (r == 0)
		r = load_sock(dp, config, ret_error);
	if (r < 0)
		return r;
	load_stale(dp, config);
	r = load_inherit(dp, config, &inheriting, ret_error);
	if (r < 0)
		return r;
	r = dp_mend_shares(dp); /* before anything is moved on somebody's share */
	if (r < 0)
		log_warn("counters of shares cannot be made", L_ERRNO(r)); /* the sweep of endpoints tries again, and fails by it */
	r = start_sweep(dp, config, ret_error);
	if (r == 0)
		r = dp_policy_lock_lost(dp, config->pods, config->n_pods);
	if (r == 0)
		r = inherit(dp, inheriting);
	if (r == 0)
		r = replace_attached(dp, inheriting);
	if (r == 0)
		r = dp_policy_void(dp);
	if (r == 0)
		r = pin_programs(dp);
	if (r == 0 && sweep_pins(dp) < 0)
		log_warn("pins that no program uses any more cannot be unlinked"); /* they only take memory */
	return r < 0 ? r : dp_attach_sockets(dp, config->cgroup ? config->cgroup : "", ret_error);
}

int datapath_open(const struct dp_config *config, struct datapath **ret, char **ret_error)
{
	_cleanup_(datapath_closep) struct datapath *dp = xnew0(struct datapath);
	_cleanup_free_ char *error = NULL;
	libbpf_print_fn_t before;
	int r;

	dp->lock_fd = -1;
	for (int i = 0; i < SOCK_HOOKS; i++)
		dp->sock_links[i] = -1;
	dp->flow_max = config->flow_max;
	dp->xdp = config->xdp;
	dp->nat_max = config->nat_max;
	dp->tunnel_ifindex = config->tunnel_ifindex;
	dp->inheritance = inheritance_new();
	before = libbpf_set_print(on_libbpf_print);
	r = open_all(dp, config, &error);
	dp->inheritance = inheritance_free(dp->inheritance);
	libbpf_set_print(r < 0 ? before : on_libbpf_print); /* what can fail later answers by its result */
	if (r < 0) {
		*ret_error = error ? take_ptr(error) : xasprintf("cannot open the datapath: %s", strerror(-r));
		return r;
	}
	*ret = take_ptr(dp);
	return 0;
}

struct datapath *datapath_close(struct datapath *dp)
{
	if (!dp)
		return NULL;
	dp_close_events(dp);
	dp->services = services_free(dp->services);
	dp_close_stale(dp);
	dp_close_sockets(dp);
	free(dp->repair.routes);
	free(dp->repair.guard);
	free(dp->repair.nat[0].data);
	free(dp->repair.nat[1].data);
	free(dp->repair.reserved);
	for (int i = 0; i < HOOK_COUNT; i++)
		bpf_object__close(dp->objects[i]);
	close_fd(dp->lock_fd);
	free(dp->nat_addrs);
	free(dp->dir);
	free(dp);
	return NULL;
}
