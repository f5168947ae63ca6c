/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/uplinks.h"
#include "base/buf.h"
#include "base/str.h"

#include <net/if_arp.h>

/* All of them say so, as soon as they are whole. */
static bool is_own(const struct link *l)
{
	return str_has_prefix(l->alias, "weft: ");
}

/* Return: whether the link can be an uplink. */
static bool add(struct uplinks *u, const struct uplinks_look *look, uint32_t ifindex, bool between)
{
	const struct link *l = NULL;
	struct uplink *to;

	for (size_t i = 0; i < u->n; i++)
		if (u->list[i].ifindex == ifindex)
			return true;
	for (size_t i = 0; i < look->n_links && !l; i++)
		if (look->links[i].ifindex == ifindex)
			l = &look->links[i];
	if (!l || l->flags & IFF_LOOPBACK || is_own(l))
		return false;
	if (u->n == UPLINKS_MAX) {
		u->more = true;
		return true;
	}
	to = &u->list[u->n++];
	*to = (struct uplink){.ifindex = ifindex, .ethernet = l->type == ARPHRD_ETHER, .between = between};
	memcpy(to->name, l->name, IF_NAMESIZE);
	return true;
}

static void find(struct uplinks *u, const struct uplinks_look *look, const struct model_node *node)
{
	bool between;

	for (size_t i = 0; i < look->n_addrs; i++)
		for (unsigned k = 0; node && k < node->n_addrs; k++)
			if (addr_eq(&look->addrs[i].addr, &node->addrs[k]))
				add(u, look, look->addrs[i].ifindex, true);
	between = u->n == 0;
	for (size_t i = 0; i < look->n_defaults; i++)
		add(u, look, look->defaults[i], between);
}

static int take_named(struct uplinks *u, const struct uplinks_look *look, const char *names, char **ret_error)
{
	_cleanup_free_ char *copy = xstrdup(names);
	char *save = NULL;

	for (char *name = strtok_r(copy, ", ", &save); name; name = strtok_r(NULL, ", ", &save)) {
		bool found = false;

		for (size_t i = 0; i < look->n_links; i++)
			if (streq(look->links[i].name, name))
				found |= add(u, look, look->links[i].ifindex, true);
		if (!found) {
			char shown[64];

			str_escape(shown, sizeof(shown), name);
			*ret_error = xasprintf("waiting for an uplink: there is no interface \"%s\" (option uplinks)", shown);
			return -ENODEV;
		}
	}
	return 0;
}

int uplinks_choose(const struct uplinks_look *look, const char *names, const struct model_node *node, struct uplinks *ret, char **ret_error)
{
	struct uplinks u = {0};
	int r = 0;

	if (streq(names, "auto"))
		find(&u, look, node);
	else
		r = take_named(&u, look, names, ret_error);
	if (r == 0 && u.n == 0) {
		*ret_error = xstrdup("no uplink: no interface holds an InternalIP of the Node, and there is no default route; "
				     "the option uplinks names one");
		r = -ENODEV;
	}
	if (r == 0)
		*ret = u;
	return r;
}

static const struct uplink *find_link(const struct uplinks *u, uint32_t ifindex)
{
	for (size_t i = 0; i < u->n; i++)
		if (u->list[i].ifindex == ifindex)
			return &u->list[i];
	return NULL;
}

bool uplinks_is_between(const struct uplinks *u, uint32_t ifindex)
{
	const struct uplink *l = find_link(u, ifindex);

	return l && l->between;
}

bool uplinks_is_beyond(const struct uplinks *u, uint32_t ifindex)
{
	const struct uplink *l = find_link(u, ifindex);

	return l && !l->between && l->ethernet;
}

char *uplinks_problem(const struct uplinks *u)
{
	struct buf text = {.max = 4096}; /* all of them, their names escaped */

	for (size_t i = 0; i < u->n; i++) {
		char shown[4 * IF_NAMESIZE];

		if (u->list[i].ethernet)
			continue;
		str_escape(shown, sizeof(shown), u->list[i].name);
		(void)buf_addf(&text, "%suplink %s has no Ethernet header: pods' packets that leave by it are not masqueraded and nothing is checked there",
			       text.len ? "; " : "", shown);
	}
	if (u->more)
		(void)buf_addf(&text, "%sthere are more than %d uplinks: pods' packets that leave by the others are not masqueraded and nothing is checked there",
			       text.len ? "; " : "", UPLINKS_MAX);
	return text.data;
}
