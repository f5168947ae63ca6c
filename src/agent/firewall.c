/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/firewall_internal.h"
#include "base/str.h"

#include <linux/netfilter.h>

static bool accept_of_comment(const char *comment, struct firewall_accept *ret)
{
	uint64_t port;

	*ret = (struct firewall_accept){ 0 };
	snprintf(ret->comment, sizeof(ret->comment), "%s", comment);
	if (streq(comment, FIREWALL_MARK "from pods"))
		ret->in = FIREWALL_OURS;
	else if (streq(comment, FIREWALL_MARK "to pods"))
		ret->out = FIREWALL_OURS;
	else if (str_has_prefix(comment, FIREWALL_MARK "udp ") && parse_u64(comment + strlen(FIREWALL_MARK "udp "), UINT16_MAX, &port) == 0)
		ret->udp_port = port;
	return ret->in || ret->out || ret->udp_port;
}

void firewall_add(struct firewall_accepts *to, const char *comment, uint64_t handle)
{
	if (to->n == FIREWALL_RULES_MAX || !accept_of_comment(comment, &to->list[to->n]))
		return;
	to->list[to->n++].handle = handle;
}

static bool has(const struct firewall_accepts *of, const char *comment)
{
	for (size_t i = 0; i < of->n; i++)
		if (streq(of->list[i].comment, comment))
			return true;
	return false;
}

/* What has to stand in a chain that drops by default. */
static void find_wanted(const struct firewall_wants *w, uint32_t hook, struct firewall_accepts *ret)
{
	ret->n = 0;
	if (hook == NF_INET_FORWARD) {
		firewall_add(ret, FIREWALL_MARK "to pods", 0);
		firewall_add(ret, FIREWALL_MARK "from pods", 0);
	}
	for (size_t i = 0; hook == NF_INET_LOCAL_IN && i < w->n_udp_ports; i++) {
		char comment[32];

		snprintf(comment, sizeof(comment), FIREWALL_MARK "udp %u", w->udp_ports[i]);
		firewall_add(ret, comment, 0);
	}
}

/* @r: 0 when the administrator wants none of our rules there. Only the first is told: they have one remedy. */
static void warn(struct firewall_look *l, const char *chain, uint32_t hook, int r)
{
	_cleanup_free_ char *why = r < 0 ? xasprintf("it cannot be opened (%s)", strerror(-r)) : xstrdup("firewall.accept is off");

	if (l->warning)
		return;
	l->warning = hook == NF_INET_FORWARD
			 ? xasprintf("%s drops forwarded packets by default: pods may be cut off where packets take the stack; %s: "
				     "accept the pod ranges there",
				     chain, why)
			 : xasprintf("%s drops packets for this node by default, and so what other nodes send to Weft; %s: "
				     "accept its UDP ports there",
				     chain, why);
}

void firewall_settle_chain(struct firewall_look *l, const struct firewall_chain_ops *ops, const void *chain, const char *name, uint32_t hook,
			   bool drops, const struct firewall_accepts *found)
{
	struct firewall_accepts wanted = { 0 };
	int r = 0;

	if (drops)
		find_wanted(l->wants, hook, &wanted);
	if (wanted.n > 0 && !l->wants->accept) {
		warn(l, name, hook, 0);
		wanted.n = 0;
	}
	for (size_t i = 0; i < found->n; i++)
		if (!has(&wanted, found->list[i].comment))
			l->held += ops->drop(chain, &found->list[i]) < 0; /* it stands there still: the next look tries again, a teardown says so */
		else
			l->held++;
	for (size_t i = 0; i < wanted.n && r == 0; i++) {
		if (has(found, wanted.list[i].comment))
			continue;
		r = ops->put(chain, &wanted.list[i]);
		l->made += r == 0;
		l->held += r == 0;
	}
	if (r < 0)
		warn(l, name, hook, r);
}

unsigned firewall_settle(const struct firewall_wants *w, unsigned *ret_made, char **ret_warning)
{
	struct firewall_look l = { .wants = w };

	firewall_settle_nft(&l);
	firewall_settle_legacy(&l);
	*ret_made = l.made;
	*ret_warning = l.warning;
	return l.held;
}
