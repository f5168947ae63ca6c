/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of old: they are changed by their own program, which holds their lock meanwhile. */
#include "agent/firewall_internal.h"
#include "agent/xtables.h"
#include "base/str.h"

#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

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
static int legacy_change(const struct legacy_chain *c, const char *verb, const struct firewall_accept *a)
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
		argv[n++] = FIREWALL_OURS "+";
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

static int legacy_put(const void *chain, const struct firewall_accept *a)
{
	return legacy_change(chain, "-I", a);
}

static int legacy_drop(const void *chain, const struct firewall_accept *a)
{
	return legacy_change(chain, "-D", a);
}

static const struct firewall_chain_ops legacy_ops = { legacy_put, legacy_drop };

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
static void legacy_find_ours(const struct legacy_rules *rules, struct firewall_accepts *ret)
{
	const char *at = rules->begin;

	ret->n = 0;
	while ((at = memmem(at, rules->end - at, FIREWALL_MARK, strlen(FIREWALL_MARK)))) {
		char comment[32];
		size_t len = strnlen(at, rules->end - at);

		snprintf(comment, sizeof(comment), "%.*s", (int)MIN(len, sizeof(comment) - 1), at);
		firewall_add(ret, comment, 0);
		at += len;
	}
}

static void settle_legacy_chain(struct firewall_look *l, const struct xtables *x, const struct legacy_chain *c, unsigned hook)
{
	struct legacy_rules rules;
	struct firewall_accepts ours;
	char what[32];

	if (!legacy_find_rules(c->family, x, hook, &rules))
		return;
	legacy_find_ours(&rules, &ours);
	snprintf(what, sizeof(what), "the chain %s of %s", c->name, c->family == AF_INET ? "iptables" : "ip6tables");
	firewall_settle_chain(l, &legacy_ops, c, what, hook, legacy_drops(c->family, &rules), &ours);
}

void firewall_settle_legacy(struct firewall_look *l)
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
