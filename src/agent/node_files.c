/* SPDX-License-Identifier: Apache-2.0 */
/* Files that the agent leaves on the node: its state, the runtime's configuration, the plugin. */
#include "agent/node.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <limits.h>
#include <sys/stat.h>

enum { STATE_MAX = 64 * 1024, PLUGIN_MAX = 64 << 20 };

bool node_state_eq(const struct node_state *a, const struct node_state *b)
{
	for (int f = 0; f < 2; f++)
		if (!prefix_eq(&a->ranges[f], &b->ranges[f]) || !addr_eq(&a->node_addrs[f], &b->node_addrs[f]) ||
		    !addr_eq(&a->underlay[f], &b->underlay[f]))
			return false;
	return a->device_mtu == b->device_mtu && a->route_mtu == b->route_mtu && a->tunnel_ifindex == b->tunnel_ifindex;
}

static json_t *addrs_to_json(const struct addr a[2])
{
	char v4[ADDR_TEXT_MAX], v6[ADDR_TEXT_MAX];

	return json_pack("[ss]", addr_is_zero(&a[0]) ? "" : addr_format(&a[0], v4),
			 addr_is_zero(&a[1]) ? "" : addr_format(&a[1], v6));
}

static void addrs_from_json(const json_t *j, struct addr ret[2])
{
	for (int f = 0; f < 2; f++)
		if (addr_parse(json_str_or(json_array_get(j, f), ""), &ret[f]) < 0)
			ret[f] = (struct addr){0};
}

int node_state_save(const char *path, const struct node_state *s)
{
	char v4[PREFIX_TEXT_MAX], v6[PREFIX_TEXT_MAX];
	_cleanup_json_ json_t *j = json_pack(
	    "{s[ss], so, so, sI, sI, sI}", "ranges", s->ranges[0].len ? prefix_format(&s->ranges[0], v4) : "",
	    s->ranges[1].len ? prefix_format(&s->ranges[1], v6) : "", "nodeAddrs", addrs_to_json(s->node_addrs),
	    "underlay", addrs_to_json(s->underlay), "deviceMTU", (json_int_t)s->device_mtu, "routeMTU",
	    (json_int_t)s->route_mtu, "tunnelIfindex", (json_int_t)s->tunnel_ifindex);
	_cleanup_free_ char *text = json_text(j);

	return file_write_atomic(path, text, strlen(text), 0600);
}

int node_state_load(const char *path, struct node_state *ret)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *j = NULL;
	struct node_state s = {0};
	size_t len;
	int r = file_read(path, STATE_MAX, &text, &len);

	if (r < 0)
		return r;
	j = json_parse(path, text, len, NULL);
	if (!json_is_object(j))
		return -EBADMSG;
	for (int f = 0; f < 2; f++)
		if (prefix_parse(json_str_or(json_array_get(json_at(j, "ranges"), f), ""), &s.ranges[f], NULL) < 0)
			s.ranges[f] = (struct prefix){0};
	addrs_from_json(json_at(j, "nodeAddrs"), s.node_addrs);
	addrs_from_json(json_at(j, "underlay"), s.underlay);
	s.device_mtu = json_integer_value(json_at(j, "deviceMTU"));
	s.route_mtu = json_integer_value(json_at(j, "routeMTU"));
	s.tunnel_ifindex = json_integer_value(json_at(j, "tunnelIfindex"));
	*ret = s;
	return 0;
}

static char *conflist_path(const struct options *o)
{
	return xasprintf("%s/10-weft.conflist", o->cni_conf_dir);
}

bool node_portmap_is_wanted(const struct options *o)
{
	_cleanup_free_ char *path = xasprintf("%s/portmap", *o->cni_bin_dir ? o->cni_bin_dir : "/opt/cni/bin");

	return o->cni_portmap == SWITCH_ON || (o->cni_portmap == SWITCH_AUTO && access(path, X_OK) == 0);
}

/* cniVersion is for runtimes that know one; cniVersions (libcni 1.1) lets newer ones take GC and STATUS. Every plugin of a list is
 * called with the version that the runtime takes from it: portmap may be older, so beside it there is one only. */
static json_t *conflist(const struct options *o)
{
	json_t *j = json_pack("{ss, ss, s[{ss, ss, s{sb}}]}", "cniVersion", "1.0.0", "name", "weft", "plugins", "type", "weft-cni",
			      "runDir", o->run_dir, "capabilities", "ips", true);

	if (node_portmap_is_wanted(o))
		json_array_append_new(json_at(j, "plugins"), json_pack("{ss, s{sb}, sb}", "type", "portmap", "capabilities",
								       "portMappings", true, "snat", true));
	else
		json_object_set_new(j, "cniVersions", json_pack("[sss]", "0.4.0", "1.0.0", "1.1.0"));
	return j;
}

int node_write_conflist(const struct options *o)
{
	_cleanup_free_ char *path = conflist_path(o), *text = NULL, *old = NULL;
	_cleanup_json_ json_t *j = NULL;
	int r;

	if (!*o->cni_conf_dir)
		return 0;
	j = conflist(o);
	text = json_text(j);
	if (file_read(path, STATE_MAX, &old, NULL) == 0 && streq(old, text))
		return 0;
	r = mkdir_parents(o->cni_conf_dir, 0755);
	if (r == 0)
		r = file_write_atomic(path, text, strlen(text), 0644);
	if (r == 0)
		log_info("wrote the runtime's configuration", L_STR("file", path));
	return r < 0 ? r : 1;
}

int node_remove_conflist(const struct options *o)
{
	_cleanup_free_ char *path = conflist_path(o);

	if (!*o->cni_conf_dir || unlink(path) == 0 || errno == ENOENT)
		return 0;
	return -errno;
}

int node_install_plugin(const struct options *o)
{
	_cleanup_free_ char *from = NULL, *to = NULL, *data = NULL, *old = NULL;
	char self[PATH_MAX] = "";
	size_t len, old_len;
	int r;

	if (!*o->cni_bin_dir)
		return 0;
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return -errno;
	*strrchr(self, '/') = '\0';
	from = xasprintf("%s/weft-cni", self);
	to = xasprintf("%s/weft-cni", o->cni_bin_dir);
	r = file_read(from, PLUGIN_MAX, &data, &len);
	if (r < 0)
		return r;
	if (file_read(to, PLUGIN_MAX, &old, &old_len) == 0 && old_len == len && memcmp(old, data, len) == 0)
		return 0;
	r = mkdir_parents(o->cni_bin_dir, 0755);
	return r ? r : file_write_atomic(to, data, len, 0755);
}
