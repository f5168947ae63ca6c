/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/firewall.h"
#include "agent/xtables.h"
#include "base/str.h"
#include "net/nft.h"

#include <linux/netfilter.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#define MARK "weft: " /* how comments of our rules begin */
#define OURS "weft"   /* and the names of pods' interfaces and of the devices between nodes */

extern char **environ;

enum { ACCEPTS_MAX = FIREWALL_PORTS_MAX + 2, RULES_MAX = 64 };

/* A rule of ours, wanted or found. What it says follows from its comment. */
struct accept {
	char comment[32];
	const char *in, *out;
	uint16_t udp_port;
	uint64_t handle; /* where it was found in nf_tables */
};

struct accepts {
	struct accept list[RULES_MAX];
	size_t n;
};

/* How far a look at everything has come. */
struct look {
	const struct firewall_wants *wants;
	unsigned held, made;
	char *warning;
};

static bool accept_of_comment(const char *comment, struct accept *ret)
{
	uint64_t port;

	*ret = (struct accept){ 0 };
	snprintf(ret->comment, sizeof(ret->comment), "%s", comment);
	if (streq(comment, MARK "from pods"))
		ret->in = OURS;
	else if (streq(comment, MARK "to pods"))
		ret->out = OURS;
	else if (str_has_prefix(comment, MARK "udp ") && parse_u64(comment + strlen(MARK "udp "), UINT16_MAX, &port) == 0)
		ret->udp_port = port;
	return ret->in || ret->out || ret->udp_port;
}

static void add(struct accepts *to, const char *comment, uint64_t handle)
{
	if (to->n == RULES_MAX || !accept_of_comment(comment, &to->list[to->n]))
		return;
	to->list[to->n++].handle = handle;
}

static bool has(const struct accepts *of, const char *comment)
{
	for (size_t i = 0; i < of->n; i++)
		if (streq(of->list[i].comment, comment))
			return true;
	return false;
}

/* What has to stand in a chain that drops by default. */
static void find_wanted(const struct firewall_wants *w, uint32_t hook, struct accepts *ret)
{
	ret->n = 0;
	if (hook == NF_INET_FORWARD) {
		add(ret, MARK "to pods", 0);
		add(ret, MARK "from pods", 0);
	}
	for (size_t i = 0; hook == NF_INET_LOCAL_IN && i < w->n_udp_ports; i++) {
		char comment[32];

		snprintf(comment, sizeof(comment), MARK "udp %u", w->udp_ports[i]);
		add(ret, comment, 0);
	}
}

/* @r: 0 when the administrator wants none of our rules there. Only the first is told: they have one remedy. */
static void warn(struct look *l, const char *chain, uint32_t hook, int r)
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

/* The ways to change one chain. Return: 0, -errno. */
struct chain_ops {
	int (*put)(const void *chain, const struct accept *a);
	int (*drop)(const void *chain, const struct accept *a);
};

/* @found: what there is of ours. */
static void settle_chain(struct look *l, const struct chain_ops *ops, const void *chain, const char *name, uint32_t hook, bool drops,
			 const struct accepts *found)
{
	struct accepts wanted = { 0 };
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

/* ---- nf_tables ---- */

static const struct { uint8_t family; const char *name; } families[] = {
	{ NFPROTO_INET, "inet" }, { NFPROTO_IPV4, "ip" }, { NFPROTO_IPV6, "ip6" } };

static int nft_put(const void *chain, const struct accept *a)
{
	struct nft_accept rule = { .comment = a->comment, .in = a->in, .out = a->out, .udp_port = a->udp_port };

	return nft_accept_first(chain, &rule);
}

static int nft_drop(const void *chain, const struct accept *a)
{
	return nft_delete_rule(chain, a->handle);
}

static const struct chain_ops nft_ops = { nft_put, nft_drop };

struct rules_seen {
	struct accepts ours;
	bool last_ends_all;
};

static void on_rule(const struct nft_rule *rule, void *ctx)
{
	struct rules_seen *seen = ctx;

	if (str_has_prefix(rule->comment, MARK))
		add(&seen->ours, rule->comment, rule->handle);
	seen->last_ends_all = rule->ends_all;
}

static const char *family_name(uint8_t family)
{
	for (size_t i = 0; i < ARRAY_SIZE(families); i++)
		if (families[i].family == family)
			return families[i].name;
	return "";
}

/* The chains of one family, gathered: they are not changed while they are listed. */
struct chains {
	struct nft_chain *list;
	size_t n, room;
};

static void on_chain(const struct nft_chain *c, void *ctx)
{
	struct chains *all = ctx;

	if (c->hook != NF_INET_FORWARD && c->hook != NF_INET_LOCAL_IN)
		return;
	GROW(all->list, all->n, all->room);
	all->list[all->n++] = *c;
}

static void settle_nft_chain(struct look *l, const struct nft_chain *c)
{
	char table[64], name[64];
	_cleanup_free_ char *what = NULL;
	struct rules_seen seen = { 0 };

	if (nft_each_rule(c, on_rule, &seen) < 0) /* gone meanwhile; else the next look tells */
		return;
	str_escape(table, sizeof(table), c->table);
	str_escape(name, sizeof(name), c->name);
	what = xasprintf("the nftables chain %s %s %s", family_name(c->family), table, name);
	settle_chain(l, &nft_ops, c, what, c->hook, c->drops || seen.last_ends_all, &seen.ours);
}

static void settle_nft(struct look *l)
{
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		struct chains all = { 0 };

		(void)nft_each_base_chain(families[i].family, on_chain, &all); /* what cannot be listed is seen by the next look */
		for (size_t c = 0; c < all.n; c++)
			settle_nft_chain(l, &all.list[c]);
		free(all.list);
	}
}

/* ---- the tables of old: they are changed by their own program, which holds their lock meanwhile ---- */

struct legacy_chain {
	int family;
	const char *name; /* "FORWARD" */
};

static int run(const char *const *argv)
{
	posix_spawn_file_actions_t files;
	pid_t pid;
	int status, r;

	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	r = posix_spawnp(&pid, argv[0], &files, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&files);
	if (r != 0)
		return -r;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

/* @verb: "-I" or "-D" */
static int legacy_change(const struct legacy_chain *c, const char *verb, const struct accept *a)
{
	const char *argv[20];
	char port[8];
	size_t n = 0;

	argv[n++] = c->family == AF_INET ? "iptables-legacy" : "ip6tables-legacy";
	argv[n++] = "-w";
	argv[n++] = "1"; /* a second for the lock: the agent waits meanwhile */
	argv[n++] = verb;
	argv[n++] = c->name;
	if (a->in || a->out) {
		argv[n++] = a->in ? "-i" : "-o";
		argv[n++] = OURS "+";
	} else {
		snprintf(port, sizeof(port), "%u", a->udp_port);
		argv[n++] = "-p";
		argv[n++] = "udp";
		argv[n++] = "--dport";
		argv[n++] = port;
	}
	argv[n++] = "-m";
	argv[n++] = "comment";
	argv[n++] = "--comment";
	argv[n++] = a->comment;
	argv[n++] = "-j";
	argv[n++] = "ACCEPT";
	argv[n] = NULL;
	return run(argv);
}

static int legacy_put(const void *chain, const struct accept *a)
{
	return legacy_change(chain, "-I", a);
}

static int legacy_drop(const void *chain, const struct accept *a)
{
	return legacy_change(chain, "-D", a);
}

static const struct chain_ops legacy_ops = { legacy_put, legacy_drop };

/* A chain's rules lie one after the other, the policy is the last of them. */
struct legacy_rules {
	const char *begin, *end;
};

static bool legacy_find_rules(int family, const struct xtables *x, unsigned hook, struct legacy_rules *ret)
{
	size_t rule = family == AF_INET ? sizeof(struct ipt_entry) : sizeof(struct ip6t_entry);
	size_t begin = x->info.hook_entry[hook], end = x->info.underflow[hook] + rule + sizeof(struct xt_standard_target);

	if (begin > end || end > x->info.size)
		return false;
	ret->begin = (const char *)x->entries->entrytable + begin;
	ret->end = (const char *)x->entries->entrytable + end;
	return true;
}

/* One rule, as far as both families have it: what it looks at, then a target. */
struct legacy_rule {
	const char *target; /* its name; "" of a verdict */
	int verdict;
	bool looks;
	size_t size;
};

/* Does the rule at @at lie before @end as a whole? */
static bool legacy_read_rule(int family, const char *at, const char *end, struct legacy_rule *ret)
{
	static const char nothing[sizeof(struct ip6t_ip6)];
	size_t rule = family == AF_INET ? sizeof(struct ipt_entry) : sizeof(struct ip6t_entry), fields, target;
	const struct xt_standard_target *t;

	if ((size_t)(end - at) < rule + sizeof(*t))
		return false;
	if (family == AF_INET) {
		const struct ipt_entry *e = (const void *)at;

		fields = sizeof(e->ip);
		target = e->target_offset;
		ret->size = e->next_offset;
	} else {
		const struct ip6t_entry *e = (const void *)at;

		fields = offsetof(struct ip6t_ip6, flags); /* it says whether a protocol is looked at, which stands before it */
		target = e->target_offset;
		ret->size = e->next_offset;
	}
	if (target < rule || ret->size < target + sizeof(*t) || ret->size > (size_t)(end - at))
		return false;
	t = (const void *)(at + target);
	ret->target = t->target.u.user.name;
	ret->verdict = t->verdict;
	ret->looks = target != rule || memcmp(at, nothing, fields) != 0;
	return true;
}

static bool legacy_refuses_all(const struct legacy_rule *r)
{
	return !r->looks && (streq(r->target, "REJECT") || (streq(r->target, XT_STANDARD_TARGET) && r->verdict == -NF_DROP - 1));
}

/* The policy is a rule that looks at nothing; so is what some put before it. */
static bool legacy_drops(int family, const struct legacy_rules *rules)
{
	struct legacy_rule r = { 0 };

	for (const char *at = rules->begin; at < rules->end; at += r.size) {
		if (!legacy_read_rule(family, at, rules->end, &r))
			return false;
		if (legacy_refuses_all(&r))
			return true;
	}
	return false;
}

/* By their comments, which lie in the rules as they are. */
static void legacy_find_ours(const struct legacy_rules *rules, struct accepts *ret)
{
	const char *at = rules->begin;

	ret->n = 0;
	while ((at = memmem(at, rules->end - at, MARK, strlen(MARK)))) {
		char comment[32];
		size_t len = strnlen(at, rules->end - at);

		snprintf(comment, sizeof(comment), "%.*s", (int)MIN(len, sizeof(comment) - 1), at);
		add(ret, comment, 0);
		at += len;
	}
}

static void settle_legacy_chain(struct look *l, const struct xtables *x, const struct legacy_chain *c, unsigned hook)
{
	struct legacy_rules rules;
	struct accepts ours;
	char what[32];

	if (!legacy_find_rules(c->family, x, hook, &rules))
		return;
	legacy_find_ours(&rules, &ours);
	snprintf(what, sizeof(what), "the chain %s of %s", c->name, c->family == AF_INET ? "iptables" : "ip6tables");
	settle_chain(l, &legacy_ops, c, what, hook, legacy_drops(c->family, &rules), &ours);
}

static void settle_legacy(struct look *l)
{
	static const int both[] = { AF_INET, AF_INET6 };

	for (size_t i = 0; i < ARRAY_SIZE(both); i++) {
		struct xtables x;

		if (xtables_read(both[i], "filter", &x) < 0) /* most nodes have none */
			continue;
		settle_legacy_chain(l, &x, &(struct legacy_chain){ both[i], "FORWARD" }, NF_INET_FORWARD);
		settle_legacy_chain(l, &x, &(struct legacy_chain){ both[i], "INPUT" }, NF_INET_LOCAL_IN);
		free(x.entries);
	}
}

/* ---- all ---- */

unsigned firewall_settle(const struct firewall_wants *w, unsigned *ret_made, char **ret_warning)
{
	struct look l = { .wants = w };

	settle_nft(&l);
	settle_legacy(&l);
	*ret_made = l.made;
	*ret_warning = l.warning;
	return l.held;
}
