/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes stand in it as the API writes them, so what is read is checked by what checks the API's. */
#include "agent/host_cluster.h"
#include "base/json.h"
#include "base/str.h"

static void add_addrs(json_t *list, const char *type, const struct addr *addrs, unsigned n)
{
	char text[ADDR_TEXT_MAX];

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{ss, ss}", "type", type, "address", addr_format(&addrs[i], text)));
}

static json_t *node_json(const struct model_node *node)
{
	json_t *labels = json_object(), *cidrs = json_array(), *addrs = json_array();
	char text[PREFIX_TEXT_MAX];

	for (unsigned i = 0; node->labels && i < node->labels->n; i++)
		json_object_set_new(labels, node->labels->kv[i].key, json_string(node->labels->kv[i].value));
	for (unsigned i = 0; i < node->n_cidrs; i++)
		json_array_append_new(cidrs, json_string(prefix_format(&node->cidrs[i], text)));
	add_addrs(addrs, "InternalIP", node->addrs, node->n_addrs);
	add_addrs(addrs, "ExternalIP", node->addrs + node->n_addrs, node->n_external);
	return json_pack("{s{ss, so}, s{so}, s{so}}", "metadata", "name", node->name, "labels", labels, "spec", "podCIDRs", cidrs, "status", "addresses",
			 addrs);
}

static json_t *ports_json(const uint16_t *ports, unsigned n)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, json_integer(ports[i]));
	return list;
}

char *host_cluster_format(const struct model *m, const struct failsafe_api *api)
{
	size_t n;
	_cleanup_free_ struct model_node **nodes = model_nodes_sorted(m, &n);
	_cleanup_json_ json_t *j = NULL;
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, node_json(nodes[i]));
	j = json_pack("{so, s{so, so}}", "nodes", list, "api", "in", ports_json(api->in, api->n_in), "out", ports_json(api->out, api->n_out));
	return json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
}

static unsigned read_ports(const json_t *list, uint16_t ports[static FAILSAFE_API_MAX])
{
	unsigned n = 0;

	for (size_t i = 0; i < json_array_size(list); i++) {
		json_int_t port = json_integer_value(json_array_get(list, i));

		if (port > 0 && port <= UINT16_MAX)
			failsafe_add_port(ports, &n, port);
	}
	return n;
}

int host_cluster_parse(const char *what, const char *text, size_t len, struct model *into, struct failsafe_api *ret_api, char **ret_error)
{
	_cleanup_json_ json_t *j = json_parse(what, text, len, ret_error);
	const json_t *nodes = json_object_get(j, "nodes");
	struct failsafe_api api = { 0 };

	if (!j)
		return -EINVAL;
	if (!json_is_array(nodes)) {
		*ret_error = xasprintf("%s: nodes: expected a list", what);
		return -EINVAL;
	}
	for (size_t i = 0; i < json_array_size(nodes); i++) {
		_cleanup_free_ char *why = NULL;

		(void)model_upsert(into, MODEL_NODES, json_array_get(nodes, i), &why);
	}
	api.n_in = read_ports(json_at(j, "api", "in"), api.in);
	api.n_out = read_ports(json_at(j, "api", "out"), api.out);
	*ret_api = api;
	return 0;
}
