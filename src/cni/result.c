/* SPDX-License-Identifier: Apache-2.0 */
/* Results in the version that was asked for: up to 0.2.0 one address a family under ip4 and ip6; up to 0.4.0 the list
 * of addresses says each one's family; 1.1.0 adds MTUs. In a chain the former plugins' result stays, ours is appended.
 */
#include "base/str.h"
#include "cni/cni.h"

const char CNI_GATEWAY_V4[] = "169.254.1.1", CNI_GATEWAY_V6[] = "fe80::1";

static bool at_least(const char *version, const char *other)
{
	return strcmp(version, other) >= 0; /* each part is one digit in all versions that there are */
}

static const char *gateway(int family)
{
	return family ? CNI_GATEWAY_V6 : CNI_GATEWAY_V4;
}

static json_t *address(const struct addr *a)
{
	struct prefix p = prefix_host(a);
	char text[PREFIX_TEXT_MAX];

	return json_string(prefix_format(&p, text));
}

static json_t *default_route(const char *version, const struct cni_result *r, int family)
{
	json_t *route = json_pack("{ss, ss}", "dst", family ? "::/0" : "0.0.0.0/0", "gw", gateway(family));

	if (at_least(version, "1.1.0") && r->route_mtu && r->route_mtu != r->mtu)
		json_object_set_new(route, "mtu", json_integer(r->route_mtu));
	return route;
}

static json_t *interface(const char *version, const char *name, const uint8_t mac[6], const char *sandbox, uint32_t mtu)
{
	char text[MAC_TEXT_MAX];
	json_t *i = json_pack("{ss, ss}", "name", name, "mac", mac_format(mac, text));

	if (*sandbox)
		json_object_set_new(i, "sandbox", json_string(sandbox));
	if (at_least(version, "1.1.0"))
		json_object_set_new(i, "mtu", json_integer(mtu));
	return i;
}

/* The list at a key of the result, made when the former plugins had none. Borrowed. */
static json_t *list_at(json_t *o, const char *key)
{
	json_t *a = json_object_get(o, key);

	if (!json_is_array(a)) {
		a = json_array();
		json_object_set_new(o, key, a);
	}
	return a;
}

static void format_old(json_t *o, const char *version, const struct cni_result *r)
{
	for (int f = 0; f < 2; f++) {
		if (addr_is_zero(&r->addrs[f]))
			continue;
		json_object_set_new(o, f ? "ip6" : "ip4",
				    json_pack("{so, ss, s[o]}", "ip", address(&r->addrs[f]), "gateway", gateway(f),
					      "routes", default_route(version, r, f)));
	}
}

static void format_new(json_t *o, const char *version, const struct cni_result *r)
{
	json_t *interfaces = list_at(o, "interfaces"), *ips = list_at(o, "ips"), *routes = list_at(o, "routes");

	json_array_append_new(interfaces, interface(version, r->host_ifname, r->host_mac, "", r->mtu));
	json_array_append_new(interfaces, interface(version, r->ifname, r->pod_mac, r->netns, r->mtu));
	for (int f = 0; f < 2; f++) {
		json_t *ip;

		if (addr_is_zero(&r->addrs[f]))
			continue;
		ip = json_pack("{so, ss, si}", "address", address(&r->addrs[f]), "gateway", gateway(f), "interface",
			       (int)json_array_size(interfaces) - 1);
		if (!at_least(version, "1.0.0"))
			json_object_set_new(ip, "version", json_string(f ? "6" : "4"));
		json_array_append_new(ips, ip);
		json_array_append_new(routes, default_route(version, r, f));
	}
}

json_t *cni_result_format(const struct cni_request *req, const struct cni_result *result)
{
	json_t *o = req->prev_result ? json_deep_copy(req->prev_result) : json_object();

	json_object_set_new(o, "cniVersion", json_string(req->version));
	if (at_least(req->version, "0.3.0"))
		format_new(o, req->version, result);
	else
		format_old(o, req->version, result);
	if (!json_object_get(o, "dns"))
		json_object_set_new(o, "dns", json_object());
	return o;
}

json_t *cni_version_format(const char *version)
{
	return json_pack("{ss, s[sssssss]}", "cniVersion", version, "supportedVersions", "0.1.0", "0.2.0", "0.3.0",
			 "0.3.1", "0.4.0", "1.0.0", "1.1.0");
}

json_t *cni_error_format(const char *version, const struct cni_error *e)
{
	json_t *o = json_pack("{ss, si, ss}", "cniVersion", version, "code", e->code, "msg", e->msg ? e->msg : "");

	if (e->details && *e->details)
		json_object_set_new(o, "details", json_string(e->details));
	return o;
}

static const json_t *find_interface(const json_t *prev, const struct cni_result *ours)
{
	const json_t *list = json_object_get(prev, "interfaces"), *i;
	size_t k;

	json_array_foreach((json_t *)list, k, i) {
		if (streq(json_str_at(i, "name"), ours->ifname) && streq(json_str_at(i, "sandbox"), ours->netns))
			return i;
	}
	return NULL;
}

static bool has_address(const json_t *prev, const struct addr *a)
{
	_cleanup_json_ json_t *want = address(a);
	const json_t *ip;
	size_t k;

	json_array_foreach(json_object_get(prev, "ips"), k, ip) {
		if (streq(json_str_at(ip, "address"), json_string_value(want)))
			return true;
	}
	return false;
}

int cni_check_prev(const struct cni_request *req, const struct cni_result *ours, struct cni_error *ret_error)
{
	const json_t *i = find_interface(req->prev_result, ours);
	char text[ADDR_TEXT_MAX], mac[MAC_TEXT_MAX];

	if (!i)
		return cni_fail(ret_error, CNI_ERR_CHECK, "prevResult: no interface %s in %s", ours->ifname,
				ours->netns);
	if (json_str_at(i, "mac") && strcasecmp(json_str_at(i, "mac"), mac_format(ours->pod_mac, mac)) != 0)
		return cni_fail(ret_error, CNI_ERR_CHECK, "prevResult: interface %s has another MAC than %s",
				ours->ifname, mac);
	for (int f = 0; f < 2; f++)
		if (!addr_is_zero(&ours->addrs[f]) && !has_address(req->prev_result, &ours->addrs[f]))
			return cni_fail(ret_error, CNI_ERR_CHECK,
					"prevResult: address %s of the container is not in ips",
					addr_format(&ours->addrs[f], text));
	return 0;
}
