/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/policy_nodes.h"
#include "weft/policy.h"

/* For groups, in the programs' eyes. */
static const struct addr groups[] = { { .b = POLICY_GROUPS4 }, { .b = POLICY_GROUPS6 } };

static struct label_in *labels_of(const struct model_labels *l, size_t *ret_n)
{
	struct label_in *in = xnew0_array(struct label_in, l ? l->n + 1 : 1);

	for (unsigned i = 0; l && i < l->n; i++)
		in[i] = (struct label_in){ l->kv[i].key, l->kv[i].value };
	*ret_n = l ? l->n : 0;
	return in;
}

/* What the stack takes as its own of a network, and others on it as well. Networks of one or two addresses have none. */
static bool shared_addr(const struct prefix *net, struct addr *ret)
{
	if (net->len > 126)
		return false;
	*ret = net->addr;
	for (unsigned bit = net->len; addr_is_v4(&net->addr) && bit < 128; bit++)
		ret->b[bit / 8] |= 0x80 >> bit % 8;
	return true;
}

static bool is_among(const struct addr *all, size_t n, const struct addr *a)
{
	for (size_t i = 0; i < n; i++)
		if (addr_eq(&all[i], a))
			return true;
	return false;
}

static void put_host(struct policy *to, const struct label_in *labels, size_t n_labels, const struct addr *told, size_t n, const struct policy_links *links)
{
	_cleanup_free_ struct addr *all = xnew0_array(struct addr, n + links->n_own + links->n + ARRAY_SIZE(groups));
	size_t n_told = n;

	memcpy(all, told, n * sizeof(*all));
	for (size_t i = 0; i < links->n_own; i++)
		if (!is_among(all, n_told, &links->own[i]))
			all[n++] = links->own[i];
	for (size_t i = 0; i < links->n; i++)
		n += shared_addr(&links->all[i].net, &all[n]);
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		all[n++] = groups[i];
	policy_set_host(to, labels, n_labels, all, n);
}

void policy_nodes_put(struct policy *to, const struct model_node *node, const struct policy_links *host)
{
	struct addr all[ARRAY_SIZE(node->addrs) + NODE_CIDRS_MAX], *others;
	unsigned n_addrs = node->n_addrs + node->n_external;
	size_t n_labels;
	_cleanup_free_ struct label_in *labels = labels_of(node->labels, &n_labels);

	memcpy(all, node->addrs, n_addrs * sizeof(*all));
	others = all + n_addrs;
	for (unsigned i = 0; i < node->n_cidrs; i++) /* its own address in the pod range */
		others[i] = addr_add(&node->cidrs[i].addr, 1);
	if (host)
		put_host(to, labels, n_labels, all, n_addrs + node->n_cidrs, host);
	policy_put_node(to, node->name, labels, n_labels, all, n_addrs, others, node->n_cidrs);
}

void policy_nodes_put_ranges(struct policy *to, const struct model *m)
{
	size_t n, n_ranges = 0;
	_cleanup_free_ struct model_node **nodes = model_nodes_sorted(m, &n);
	_cleanup_free_ struct prefix *ranges = xnew0_array(struct prefix, n * NODE_CIDRS_MAX + 1);

	for (size_t i = 0; i < n; i++)
		for (unsigned k = 0; k < nodes[i]->n_cidrs; k++)
			ranges[n_ranges++] = nodes[i]->cidrs[k];
	policy_set_ranges(to, ranges, n_ranges);
}
