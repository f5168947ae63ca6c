/* SPDX-License-Identifier: Apache-2.0 */
/* Announcing in the local networks. An uplink's network is what is on-link by the uplink's own addresses; an address that lies in it is
 * announced there, by one of the nodes that have an InternalIP in the same one. Which, each node decides for itself (service/election.h).
 *
 * - from_net answers who asks for what this node holds (bpf/lib/announce.h), also while no agent runs.
 * - A peer is probed by asking for its own address, as any host would: its kernel answers, whatever its agent does. What has
 *   been answered is read before anybody is called silent, so a late agent takes nobody for dead.
 * - A claim is repeated: a client's kernel does not look at a second change within a second (arp(7), locktime), and frames get lost.
 *
 * Bounds: with more than PROBES_EACH peers the probes take turns, so that no node sends more than some 213 a second; deaths are then
 * noticed later in proportion. */
#include "agent/agent.h"
#include "agent/announcer.h"
#include "agent/lan_wire.h"
#include "base/log.h"
#include "base/str.h"
#include "datapath/announce.h"
#include "service/election.h"

#include <net/if.h>
#include <time.h>

enum {
	NETS_MAX = 16,
	PROBES_EACH = 32, /* peers that are probed in one step */
	AWAKE_MS = 2000,  /* a peer's claim after that long without a step is from_net's business */
	BROADCAST_AFTER = 2, /* misses: perhaps the peer has another MAC address now */
};

/* After the first claim. */
static const uint16_t repeat_ms[] = {150, 600, 1300, 2600};

struct lan_peer {
	char *name;
	struct addr addr; /* by which it is probed */
	uint8_t mac[6];
	bool mac_known, asked, answered;
	unsigned misses;
};

struct repeat {
	struct addr addr;
	unsigned done;
	uint64_t since_ms;
};

struct lan {
	struct agent *agent;
	uint32_t ifindex;
	char name[IF_NAMESIZE];
	uint8_t mac[6];
	bool wanted;
	struct addr own[NETS_MAX];
	struct prefix nets[NETS_MAX];
	size_t n_nets;
	struct lan_wire *wire;
	struct election *election;
	struct lan_peer *peers;
	size_t n_peers, next_peer;
	struct repeat *repeats;
	size_t n_repeats, cap_repeats;
	size_t foreign_said;
	uint64_t asked, sent;
};

struct lan_announcer {
	struct lan **lans;
	size_t n;
	sd_event_source *timer;
	bool peers_changed; /* the datapath is to be told */
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

/* ---- what the election decides ---- */

static const struct prefix *net_of(const struct lan *l, const struct addr *a, const struct addr **ret_own)
{
	for (size_t i = 0; i < l->n_nets; i++)
		if (prefix_contains(&l->nets[i], a)) {
			if (ret_own)
				*ret_own = &l->own[i];
			return &l->nets[i];
		}
	return NULL;
}

static void send_claim(struct lan *l, const struct addr *a)
{
	struct neighbour n = {.kind = NEIGHBOUR_CLAIM, .about = *a};

	memcpy(n.mac, l->mac, 6);
	l->sent++;
	lan_wire_send(l->wire, &n, NULL);
}

static void send_ask(struct lan *l, const struct addr *a, const uint8_t *to)
{
	struct neighbour n = {.kind = NEIGHBOUR_ASK, .about = *a};
	const struct addr *own;

	if (!net_of(l, a, &own))
		return;
	n.from = *own;
	memcpy(n.mac, l->mac, 6);
	l->asked++;
	lan_wire_send(l->wire, &n, to);
}

static void stop_repeating(struct lan *l, const struct addr *a)
{
	for (size_t i = 0; i < l->n_repeats; i++)
		if (addr_eq(&l->repeats[i].addr, a))
			l->repeats[i--] = l->repeats[--l->n_repeats];
}

static void claim(struct lan *l, const struct addr *a)
{
	stop_repeating(l, a);
	send_claim(l, a);
	GROW(l->repeats, l->n_repeats, l->cap_repeats);
	l->repeats[l->n_repeats++] = (struct repeat){*a, 0, now_ms()};
}

/* The datapath answers for the address. It gives way by itself to a rival that claims it while this agent sleeps, so who claims an
 * address that it held all along says it anew. */
static void answer_for(struct lan *l, const struct addr *a)
{
	struct dp_announced d = {.addr = *a, .ifindex = l->ifindex};
	char text[ADDR_TEXT_MAX];
	int r;

	memcpy(d.mac, l->mac, 6);
	r = datapath_announce(l->agent->dp, &d);
	if (r < 0)
		log_error("cannot announce an address of a Service", L_STR("address", addr_format(a, text)), L_ERRNO(r));
}

static void hold(struct lan *l, const struct addr *a)
{
	answer_for(l, a);
	lan_wire_join(l->wire, a, true);
}

/* Several addresses may have one group. */
static bool group_is_needed(const struct lan *l, const struct addr *a)
{
	struct dp_announced *list = NULL;
	bool needed = false;
	size_t n = 0;

	datapath_list_announced(l->agent->dp, &list, &n);
	for (size_t i = 0; i < n; i++)
		needed |= list[i].ifindex == l->ifindex && !addr_eq(&list[i].addr, a) && memcmp(list[i].addr.b + 13, a->b + 13, 3) == 0;
	free(list);
	return needed;
}

static void let_go(struct lan *l, const struct addr *a)
{
	stop_repeating(l, a);
	datapath_withdraw(l->agent->dp, a, l->ifindex);
	if (!group_is_needed(l, a))
		lan_wire_join(l->wire, a, false);
}

static void act(enum election_act what, const struct addr *a, void *ctx)
{
	struct lan *l = ctx;
	char text[ADDR_TEXT_MAX];

	if (what == ELECTION_ASK) {
		send_ask(l, a, NULL);
		return;
	}
	if (what == ELECTION_RELEASE) {
		let_go(l, a);
		log_info("announces an address no longer", L_STR("address", addr_format(a, text)), L_STR("interface", l->name));
		return;
	}
	if (what == ELECTION_TAKE) {
		hold(l, a);
		log_info("announces an address of a Service", L_STR("address", addr_format(a, text)), L_STR("interface", l->name));
	} else {
		answer_for(l, a);
	}
	claim(l, a);
}

/* ---- what is heard ---- */

static void learn_mac(struct lan *l, struct lan_peer *p, const uint8_t mac[6])
{
	if (p->mac_known && memcmp(p->mac, mac, 6) == 0)
		return;
	memcpy(p->mac, mac, 6);
	p->mac_known = true;
	l->agent->lan->peers_changed = true;
}

static void on_heard(const struct neighbour *n, void *ctx)
{
	struct lan *l = ctx;
	const char *who = NULL;

	if (n->kind == NEIGHBOUR_ASK || memcmp(n->mac, l->mac, 6) == 0)
		return;
	for (size_t i = 0; i < l->n_peers; i++) {
		struct lan_peer *p = &l->peers[i];

		if (addr_eq(&p->addr, &n->about)) {
			learn_mac(l, p, n->mac);
			p->answered = true;
			return;
		}
		if (p->mac_known && memcmp(p->mac, n->mac, 6) == 0)
			who = p->name;
	}
	election_heard(l->election, &n->about, who, n->kind == NEIGHBOUR_CLAIM, now_ms());
}

/* ---- in time ---- */

static void probe(struct lan *l, struct lan_peer *p, uint64_t now)
{
	if (p->asked) {
		p->misses = p->answered ? 0 : p->misses + 1;
		election_probed(l->election, p->name, p->answered, now);
	}
	p->asked = true;
	p->answered = false;
	send_ask(l, &p->addr, p->mac_known && p->misses < BROADCAST_AFTER ? p->mac : NULL);
}

static void probe_peers(struct lan *l, uint64_t now)
{
	size_t n = MIN(l->n_peers, (size_t)PROBES_EACH);

	for (size_t i = 0; i < n; i++, l->next_peer++)
		probe(l, &l->peers[l->next_peer % l->n_peers], now);
}

static void repeat_claims(struct lan *l, uint64_t now)
{
	for (size_t i = 0; i < l->n_repeats; i++) {
		struct repeat *r = &l->repeats[i];

		if (now < r->since_ms + repeat_ms[r->done])
			continue;
		send_claim(l, &r->addr);
		if (++r->done == ARRAY_SIZE(repeat_ms))
			l->repeats[i--] = l->repeats[--l->n_repeats];
	}
}

static void say_foreign(struct lan *l)
{
	size_t foreign = election_stats(l->election).foreign;

	if (foreign > l->foreign_said)
		log_warn("another host of the local network has the address of a Service", L_STR("interface", l->name),
			 L_UINT("addresses", foreign));
	l->foreign_said = foreign;
}

static void tell_peers(struct agent *a)
{
	struct lan_announcer *n = a->lan;
	uint8_t(*macs)[6] = NULL;
	size_t used = 0, cap = 0;
	int r;

	n->peers_changed = false;
	for (size_t i = 0; i < n->n; i++)
		for (size_t k = 0; k < n->lans[i]->n_peers; k++) {
			if (!n->lans[i]->peers[k].mac_known)
				continue;
			GROW(macs, used, cap);
			memcpy(macs[used++], n->lans[i]->peers[k].mac, 6);
		}
	r = datapath_apply_announce_peers(a->dp, (const uint8_t(*)[6])macs, used);
	if (r < 0)
		log_warn("cannot tell the datapath who announces addresses, too", L_ERRNO(r));
	free(macs);
}

static int on_step(sd_event_source *s, _unused_ uint64_t usec, void *ctx)
{
	struct agent *a = ctx;
	struct lan_announcer *n = a->lan;
	uint64_t now = 0;

	if (a->dp) {
		datapath_announce_awake(a->dp, AWAKE_MS);
		for (size_t i = 0; i < n->n; i++) {
			struct lan *l = n->lans[i];

			lan_wire_drain(l->wire);
			probe_peers(l, now_ms());
			election_step(l->election, now_ms());
			repeat_claims(l, now_ms());
			say_foreign(l);
		}
		if (n->peers_changed)
			tell_peers(a);
	}
	sd_event_now(a->event, CLOCK_MONOTONIC, &now);
	sd_event_source_set_time(s, now + ELECTION_PROBE_MS * 1000);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* ---- which networks there are ---- */

static struct lan *lan_free(struct lan *l)
{
	if (!l)
		return NULL;
	lan_wire_free(l->wire);
	election_free(l->election);
	for (size_t i = 0; i < l->n_peers; i++)
		free(l->peers[i].name);
	free(l->peers);
	free(l->repeats);
	free(l);
	return NULL;
}

static struct lan *find_lan(const struct agent *a, uint32_t ifindex)
{
	for (size_t i = 0; a->lan && i < a->lan->n; i++)
		if (a->lan->lans[i]->ifindex == ifindex)
			return a->lan->lans[i];
	return NULL;
}

/* What an earlier agent took is ours; what it took at an interface that is no uplink any more is nobody's. */
static void adopt(struct agent *a, struct lan *l)
{
	struct dp_announced *list = NULL;
	size_t n = 0;

	datapath_list_announced(a->dp, &list, &n);
	for (size_t i = 0; i < n; i++)
		if (list[i].ifindex == l->ifindex)
			election_adopt(l->election, &list[i].addr);
	free(list);
}

static void add_lan(struct agent *a, uint32_t ifindex)
{
	struct lan_announcer *n = a->lan;
	struct lan *l = xnew0(struct lan);
	int r;

	*l = (struct lan){.agent = a, .ifindex = ifindex};
	r = lan_wire_new(a->event, ifindex, on_heard, l, &l->wire);
	if (r < 0) {
		log_warn("cannot speak and hear ARP and neighbour discovery", L_UINT("interface", ifindex), L_ERRNO(r));
		lan_free(l);
		return;
	}
	l->election = election_new(a->opt.node_name, now_ms(), act, l);
	adopt(a, l);
	n->lans = xrealloc(n->lans, n->n + 1, sizeof(struct lan *));
	n->lans[n->n++] = l;
}

static void read_nets(struct agent *a, struct lan *l)
{
	l->n_nets = 0;
	for (size_t i = 0; i < a->facts.n_underlays && l->n_nets < NETS_MAX; i++) {
		const struct route_underlay *u = &a->facts.underlays[i];

		if (u->ifindex != l->ifindex || u->net.len == 128)
			continue;
		l->own[l->n_nets] = u->addr;
		l->nets[l->n_nets++] = u->net;
	}
}

/* The interface as it is now. With another MAC address it has to be said anew who it is. */
static bool read_link(struct agent *a, struct lan *l)
{
	struct link link;
	bool changed;

	if (rtnl_get_link(a->nl, l->ifindex, &link) < 0)
		return false;
	changed = memcmp(l->mac, link.mac, 6) != 0;
	memcpy(l->mac, link.mac, 6);
	snprintf(l->name, sizeof(l->name), "%s", link.name);
	read_nets(a, l);
	return changed;
}

static bool is_named(const struct agent *a, const char *name)
{
	_cleanup_free_ char *copy = xstrdup(a->opt.service_announce_interfaces);
	char *save = NULL;

	if (streq(copy, "auto"))
		return true;
	for (char *word = strtok_r(copy, ", ", &save); word; word = strtok_r(NULL, ", ", &save))
		if (streq(word, name))
			return true;
	return false;
}

static void withdraw_elsewhere(struct agent *a)
{
	struct dp_announced *list = NULL;
	size_t n = 0;

	datapath_list_announced(a->dp, &list, &n);
	for (size_t i = 0; i < n; i++)
		if (!find_lan(a, list[i].ifindex))
			datapath_withdraw(a->dp, &list[i].addr, list[i].ifindex);
	free(list);
}

static void apply_lans(struct agent *a)
{
	struct lan_announcer *n = a->lan;
	size_t kept = 0;

	for (size_t i = 0; i < n->n; i++)
		n->lans[i]->wanted = false;
	for (size_t i = 0; i < a->facts.n_uplinks; i++) {
		if (!is_named(a, a->facts.uplink_names[i]))
			continue;
		if (!find_lan(a, a->facts.uplinks[i]))
			add_lan(a, a->facts.uplinks[i]);
		if (find_lan(a, a->facts.uplinks[i]))
			find_lan(a, a->facts.uplinks[i])->wanted = true;
	}
	for (size_t i = 0; i < n->n; i++)
		if (n->lans[i]->wanted)
			n->lans[kept++] = n->lans[i];
		else
			lan_free(n->lans[i]);
	n->n = kept;
	withdraw_elsewhere(a);
}

/* ---- what is wanted ---- */

static const struct addr *address_in(const struct model_node *node, const struct prefix *net)
{
	for (unsigned i = 0; i < node->n_addrs; i++)
		if (prefix_contains(net, &node->addrs[i]))
			return &node->addrs[i];
	return NULL;
}

static size_t list_wants(struct lan *l, const struct announcement *list, size_t n, struct election_want *ret)
{
	size_t wants = 0;

	for (size_t i = 0; i < n; i++) {
		const struct prefix *net = net_of(l, &list[i].addr, NULL);
		const char **names;
		size_t used = 0;

		if (!net)
			continue;
		names = xnew0_array(const char *, list[i].n_nodes + 1);
		for (size_t k = 0; k < list[i].n_nodes; k++)
			if (address_in(list[i].nodes[k], net))
				names[used++] = list[i].nodes[k]->name;
		ret[wants++] = (struct election_want){list[i].addr, names, used};
	}
	return wants;
}

static const struct addr *probed_address(const struct agent *a, const struct lan *l, const char *name)
{
	const struct model_node *node = model_find_node(a->model, name);
	const struct addr *found = NULL;

	for (size_t i = 0; node && i < l->n_nets && !found; i++)
		found = address_in(node, &l->nets[i]);
	return found;
}

/* Peers that stay keep what is known of them. */
static void set_peers(struct agent *a, struct lan *l)
{
	size_t n, used = 0;
	const char *const *names = election_peers(l->election, &n);
	struct lan_peer *peers = xnew0_array(struct lan_peer, n + 1);

	for (size_t i = 0; i < n; i++) {
		const struct addr *addr = probed_address(a, l, names[i]);
		struct lan_peer *p = &peers[used];

		if (!addr)
			continue;
		for (size_t k = 0; k < l->n_peers; k++)
			if (streq(l->peers[k].name, names[i]) && addr_eq(&l->peers[k].addr, addr))
				*p = l->peers[k];
		p->name = xstrdup(names[i]);
		p->addr = *addr;
		used++;
	}
	for (size_t i = 0; i < l->n_peers; i++)
		free(l->peers[i].name);
	free(l->peers);
	l->peers = peers;
	l->n_peers = used;
	l->next_peer = 0;
	a->lan->peers_changed = true;
}

static void say_who_we_are(struct agent *a, struct lan *l)
{
	struct dp_announced *list = NULL;
	size_t n = 0;

	datapath_list_announced(a->dp, &list, &n);
	for (size_t i = 0; i < n; i++)
		if (list[i].ifindex == l->ifindex && memcmp(list[i].mac, l->mac, 6) != 0) {
			hold(l, &list[i].addr);
			claim(l, &list[i].addr);
		}
	free(list);
}

static void apply_one(struct agent *a, struct lan *l, const struct announcement *list, size_t n)
{
	struct election_want *wants = xnew0_array(struct election_want, n + 1);
	bool another_mac = read_link(a, l);
	size_t n_wants = list_wants(l, list, n, wants);

	election_set(l->election, wants, n_wants, now_ms());
	set_peers(a, l);
	if (another_mac)
		say_who_we_are(a, l);
	for (size_t i = 0; i < n_wants; i++)
		free((void *)wants[i].nodes);
	free(wants);
}

/* Where nothing is announced nobody is probed. */
static void set_timer(struct agent *a)
{
	struct lan_announcer *n = a->lan;
	size_t addresses = 0;
	uint64_t now = 0;
	int on = SD_EVENT_OFF;

	for (size_t i = 0; i < n->n; i++)
		addresses += election_stats(n->lans[i]->election).addresses;
	sd_event_now(a->event, CLOCK_MONOTONIC, &now);
	if (!n->timer && sd_event_add_time(a->event, &n->timer, CLOCK_MONOTONIC, now, 1000, on_step, a) < 0)
		return;
	sd_event_source_get_enabled(n->timer, &on);
	if (!addresses)
		sd_event_source_set_enabled(n->timer, SD_EVENT_OFF);
	else if (on == SD_EVENT_OFF)
		sd_event_source_set_enabled(n->timer, SD_EVENT_ONESHOT);
}

static void lan_apply(struct agent *a, const struct announcement *list, size_t n)
{
	if (!a->lan)
		a->lan = xnew0(struct lan_announcer);
	apply_lans(a);
	for (size_t i = 0; i < a->lan->n; i++)
		apply_one(a, a->lan->lans[i], list, n);
	tell_peers(a);
	set_timer(a);
}

static void lan_stop(struct agent *a)
{
	struct lan_announcer *n = a->lan;

	if (!n)
		return;
	sd_event_source_disable_unref(n->timer);
	for (size_t i = 0; i < n->n; i++)
		lan_free(n->lans[i]);
	free(n->lans);
	free(n);
	a->lan = NULL;
}

/* ---- what is known ---- */

static json_t *lan_who(const struct agent *a, const struct addr *addr)
{
	static const char *const states[] = {[ELECTION_UNKNOWN] = "nobody", [ELECTION_OURS] = "this-node",
					     [ELECTION_OTHERS] = "other-node", [ELECTION_FOREIGN] = "foreign-host"};
	char text[ADDR_TEXT_MAX];

	for (size_t i = 0; a->lan && i < a->lan->n; i++) {
		const struct lan *l = a->lan->lans[i];
		const char *node;
		enum election_state s = election_owner(l->election, addr, &node);

		if (s != ELECTION_NONE)
			return json_pack("{ss, ss, ss, ss}", "address", addr_format(addr, text), "interface", l->name, "state", states[s],
					 "node", node ? node : "");
	}
	return NULL;
}

struct lan_stats announce_lan_stats(const struct agent *a)
{
	struct lan_stats sum = {0};

	for (size_t i = 0; a->lan && i < a->lan->n; i++) {
		const struct lan *l = a->lan->lans[i];
		struct election_stats s = election_stats(l->election);

		sum.networks++;
		sum.addresses += s.addresses;
		sum.held += s.held;
		sum.foreign += s.foreign;
		sum.peers += s.peers;
		sum.dead += s.dead;
		sum.taken += s.taken;
		sum.released += s.released;
		sum.conflicts += s.conflicts;
		sum.asked += l->asked;
		sum.sent += l->sent;
	}
	return sum;
}

static json_t *lan_status(const struct agent *a)
{
	struct lan_stats s = announce_lan_stats(a);

	return json_pack("{sI, sI, sI, sI, sI, sI}", "networks", (json_int_t)s.networks, "addresses", (json_int_t)s.addresses, "held",
			 (json_int_t)s.held, "foreign", (json_int_t)s.foreign, "peers", (json_int_t)s.peers, "peersDead",
			 (json_int_t)s.dead);
}

const struct announcer_ops announce_lan = {
    .name = "lan", .apply = lan_apply, .who = lan_who, .status = lan_status, .stop = lan_stop};
