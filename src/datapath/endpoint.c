/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints: two filters on the pod's link, what it may send as, and where its addresses are. A link whose endpoint is gone
 * keeps its filters: without an entry they drop everything, so a pod is never on the network unjudged. */
#include "datapath/attach.h"
#include "datapath/priv.h"
#include "weft/endpoint.h"
#include "weft/service.h"

static int attach_programs(struct datapath *dp, uint32_t ifindex)
{
	int r = attach_clsact(ifindex, ATTACH_INGRESS, dp->programs[HOOK_FROM_POD], ATTACH_OURS);

	return r < 0 ? r : attach_clsact(ifindex, ATTACH_EGRESS, dp->programs[HOOK_TO_POD], ATTACH_OURS);
}

/* Withdraws an address, if it is still this interface's. */
static int withdraw_addr(struct datapath *dp, const struct ip_addr *addr, uint32_t ifindex)
{
	struct endpoint ep;

	if (addr->b[0] == ADDR_ABSENT_BYTE || bpf_map_lookup_elem(dp->maps[MAP_ENDPOINTS], addr, &ep) < 0 ||
	    ep.ifindex != ifindex)
		return 0;
	return bpf_map_delete_elem(dp->maps[MAP_ENDPOINTS], addr);
}

/* By its namespace the socket programs know a pod. Return: 0, -errno. */
static int publish_netns(struct datapath *dp, const struct dp_endpoint *ep)
{
	struct service_netns value;

	if (!ep->netns_cookie)
		return 0;
	for (int i = 0; i < 2; i++)
		value.addrs[i] = dp_addr_encode(&ep->addrs[i]);
	return bpf_map_update_elem(dp->maps[MAP_SERVICE_NETNS], &ep->netns_cookie, &value, BPF_ANY);
}

static int publish_addrs(struct datapath *dp, const struct dp_endpoint *ep)
{
	struct endpoint value = { .ifindex = ep->ifindex, .id = ep->id };
	int r = 0;

	memcpy(value.pod_mac, ep->pod_mac, 6);
	memcpy(value.host_mac, ep->host_mac, 6);
	for (int i = 0; i < 2 && r == 0; i++) {
		struct ip_addr key = dp_addr_encode(&ep->addrs[i]);

		if (!addr_is_zero(&ep->addrs[i]))
			r = bpf_map_update_elem(dp->maps[MAP_ENDPOINTS], &key, &value, BPF_ANY);
	}
	return r;
}

static int check_endpoint(const struct dp_endpoint *ep)
{
	if (!ep->ifindex || !ep->id || (addr_is_zero(&ep->addrs[0]) && addr_is_zero(&ep->addrs[1])))
		return -EINVAL;
	if (!addr_is_zero(&ep->addrs[0]) && !addr_is_v4(&ep->addrs[0]))
		return -EINVAL;
	return addr_is_v4(&ep->addrs[1]) ? -EINVAL : 0;
}

static struct pod_iface encode_iface(const struct dp_endpoint *ep)
{
	struct pod_iface iface = { .id = ep->id, .netns = ep->netns_cookie };

	memcpy(iface.pod_mac, ep->pod_mac, 6);
	memcpy(iface.host_mac, ep->host_mac, 6);
	for (int i = 0; i < 2; i++)
		iface.addrs[i] = dp_addr_encode(&ep->addrs[i]);
	return iface;
}

/* Flows and claims of the endpoint end with their timers. */
static void drop_shares(struct datapath *dp, uint32_t id)
{
	bpf_map_delete_elem(dp->maps[MAP_ENDPOINT_FLOWS], &id);
	bpf_map_delete_elem(dp->maps[MAP_NAT_SHARES], &id);
}

int datapath_put_endpoint(struct datapath *dp, const struct dp_endpoint *ep)
{
	struct pod_iface iface = encode_iface(ep), before;
	uint64_t no_flows = 0;
	bool known;
	int r;

	r = check_endpoint(ep);
	if (r == 0)
		r = attach_programs(dp, ep->ifindex);
	if (r < 0)
		return r;
	known = bpf_map_lookup_elem(dp->maps[MAP_POD_IFACES], &ep->ifindex, &before) == 0;
	r = bpf_map_update_elem(dp->maps[MAP_ENDPOINT_FLOWS], &ep->id, &no_flows, BPF_NOEXIST);
	if (r == 0 || r == -EEXIST)
		r = bpf_map_update_elem(dp->maps[MAP_NAT_SHARES], &ep->id, &no_flows, BPF_NOEXIST);
	if (r == 0 || r == -EEXIST)
		r = dp_policy_prepare(dp, ep);
	if (r == 0)
		r = bpf_map_update_elem(dp->maps[MAP_POD_IFACES], &ep->ifindex, &iface, BPF_ANY);
	if (r == 0)
		r = publish_addrs(dp, ep);
	if (r == 0)
		r = publish_netns(dp, ep);
	if (r < 0 || !known)
		return r;
	for (int i = 0; i < 2; i++)
		if (memcmp(&before.addrs[i], &iface.addrs[i], sizeof(struct ip_addr)) != 0)
			dp_note_error(&r, withdraw_addr(dp, &before.addrs[i], ep->ifindex));
	if (before.id != ep->id)
		drop_shares(dp, before.id);
	if (before.netns && before.netns != ep->netns_cookie)
		bpf_map_delete_elem(dp->maps[MAP_SERVICE_NETNS], &before.netns);
	return r;
}

/* The same endpoint has been published with another interface: what goes by its number stays. */
static bool has_moved(struct datapath *dp, const struct pod_iface *iface, uint32_t ifindex)
{
	struct endpoint ep;

	for (int i = 0; i < 2; i++)
		if (iface->addrs[i].b[0] != ADDR_ABSENT_BYTE &&
		    bpf_map_lookup_elem(dp->maps[MAP_ENDPOINTS], &iface->addrs[i], &ep) == 0 && ep.id == iface->id &&
		    ep.ifindex != ifindex)
			return true;
	return false;
}

int datapath_del_endpoint(struct datapath *dp, uint32_t ifindex)
{
	struct pod_iface iface;
	int r;

	r = bpf_map_lookup_elem(dp->maps[MAP_POD_IFACES], &ifindex, &iface);
	if (r < 0)
		return r;
	for (int i = 0; i < 2; i++)
		dp_note_error(&r, withdraw_addr(dp, &iface.addrs[i], ifindex));
	dp_note_error(&r, bpf_map_delete_elem(dp->maps[MAP_POD_IFACES], &ifindex));
	if (has_moved(dp, &iface, ifindex))
		return r;
	drop_shares(dp, iface.id);
	if (iface.netns)
		bpf_map_delete_elem(dp->maps[MAP_SERVICE_NETNS], &iface.netns);
	return r;
}

int dp_check_program(struct datapath *dp, uint32_t ifindex, enum attach_side side, enum dp_hook hook)
{
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info), id;
	char name[16];
	int r;

	r = attach_find_clsact(ifindex, side, &id, name);
	if (r == 0)
		r = bpf_obj_get_info_by_fd(dp->programs[hook], &info, &size);
	if (r < 0)
		return r == -ENODEV ? -ENOENT : r;
	return id == info.id ? 0 : -ENOENT;
}

static int check_addr(struct datapath *dp, const struct dp_endpoint *ep, const struct addr *addr)
{
	struct ip_addr key = dp_addr_encode(addr);
	struct endpoint there;
	int r;

	if (addr_is_zero(addr))
		return 0;
	r = bpf_map_lookup_elem(dp->maps[MAP_ENDPOINTS], &key, &there);
	if (r < 0)
		return r;
	if (there.ifindex != ep->ifindex || there.id != ep->id || memcmp(there.pod_mac, ep->pod_mac, 6) != 0 ||
	    memcmp(there.host_mac, ep->host_mac, 6) != 0)
		return -ESTALE;
	return 0;
}

static int check_programs(struct datapath *dp, const struct dp_endpoint *ep)
{
	int r = dp_check_program(dp, ep->ifindex, ATTACH_INGRESS, HOOK_FROM_POD);

	return r ? r : dp_check_program(dp, ep->ifindex, ATTACH_EGRESS, HOOK_TO_POD);
}

static int check_entries(struct datapath *dp, const struct dp_endpoint *ep)
{
	struct pod_iface want = encode_iface(ep), there;
	int r = bpf_map_lookup_elem(dp->maps[MAP_POD_IFACES], &ep->ifindex, &there);
	if (r == 0 && memcmp(&there, &want, sizeof(want)) != 0)
		r = -ESTALE;
	for (int i = 0; i < 2 && r == 0; i++)
		r = check_addr(dp, ep, &ep->addrs[i]);
	return r;
}

int datapath_check_endpoint(struct datapath *dp, const struct dp_endpoint *ep)
{
	int r = check_programs(dp, ep);

	return r ? r : check_entries(dp, ep);
}

/* Puts an endpoint that is not as it should be. */
static int mend_endpoint(struct datapath *dp, const struct dp_endpoint *ep)
{
	bool programs = check_programs(dp, ep) == 0, entries = check_entries(dp, ep) == 0;
	int r;

	if (programs && entries)
		return 0;
	r = datapath_put_endpoint(dp, ep);
	if (r < 0 || !dp->repair.endpoints)
		return r;
	if (!programs)
		dp_repaired(dp, DP_REPAIR_PROGRAM, "programs of link %u, endpoint %u", ep->ifindex, ep->id);
	if (!entries)
		dp_repaired(dp, DP_REPAIR_ENTRY, "map entries of link %u, endpoint %u", ep->ifindex, ep->id);
	return 0;
}

static int compare_ifindex(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Addresses whose interface is not among the endpoints any more, however that came about. */
static void sweep_addrs(struct datapath *dp, int *first)
{
	struct ip_addr key, next;
	bool more = bpf_map_get_next_key(dp->maps[MAP_ENDPOINTS], NULL, &next) == 0;

	while (more) {
		struct pod_iface iface;
		struct endpoint ep;

		key = next;
		more = bpf_map_get_next_key(dp->maps[MAP_ENDPOINTS], &key, &next) == 0;
		if (bpf_map_lookup_elem(dp->maps[MAP_ENDPOINTS], &key, &ep) < 0)
			continue;
		if (bpf_map_lookup_elem(dp->maps[MAP_POD_IFACES], &ep.ifindex, &iface) < 0 || iface.id != ep.id)
			dp_note_error(first, bpf_map_delete_elem(dp->maps[MAP_ENDPOINTS], &key));
	}
}

/* Interfaces that are no endpoint's. */
static void sweep_ifaces(struct datapath *dp, const uint32_t *want, size_t n, int *first)
{
	uint32_t key, next;
	bool more = bpf_map_get_next_key(dp->maps[MAP_POD_IFACES], NULL, &next) == 0;

	while (more) {
		key = next;
		more = bpf_map_get_next_key(dp->maps[MAP_POD_IFACES], &key, &next) == 0;
		if (!bsearch(&key, want, n, sizeof(*want), compare_ifindex))
			dp_note_error(first, datapath_del_endpoint(dp, key));
	}
}

int datapath_mend_endpoints(struct datapath *dp, const struct dp_endpoint *eps, size_t n)
{
	int first = 0;

	for (size_t i = 0; i < n; i++)
		dp_note_error(&first, mend_endpoint(dp, &eps[i]));
	return first;
}

int datapath_sweep_endpoints(struct datapath *dp, uint32_t *ifindexes, size_t n)
{
	int first = 0;

	qsort(ifindexes, n, sizeof(*ifindexes), compare_ifindex);
	sweep_ifaces(dp, ifindexes, n, &first);
	sweep_addrs(dp, &first);
	dp_note_error(&first, dp_mend_shares(dp));
	dp->repair.endpoints = true;
	return first;
}

int datapath_apply_endpoints(struct datapath *dp, const struct dp_endpoint *eps, size_t n)
{
	_cleanup_free_ uint32_t *want = xnew0_array(uint32_t, n + 1);
	int first = datapath_mend_endpoints(dp, eps, n);

	for (size_t i = 0; i < n; i++)
		want[i] = eps[i].ifindex;
	dp_note_error(&first, datapath_sweep_endpoints(dp, want, n));
	return first;
}
