/* SPDX-License-Identifier: Apache-2.0 */
/* Topology mode Auto: tables of nodes and endpoints, and what must hold for every random one. A zone is a letter. */
#include "hub/topology.h"
#include "base/str.h"
#include "base/test.h"

enum { ENDPOINTS = 64, ZONES = 5 };

/* ---- the stage ---- */

static json_t *node(const char *zone, const char *cpu, const char *ready, const char *label)
{
	json_t *j = json_pack("{s{s{}} s{s{} s[{ss ss}]}}", "metadata", "labels", "status", "allocatable", "conditions", "type", "Ready", "status", ready);

	if (*zone)
		json_object_set_new(json_at(j, "metadata", "labels"), "topology.kubernetes.io/zone", json_string(zone));
	if (*label)
		json_object_set_new(json_at(j, "metadata", "labels"), label, json_string(""));
	if (*cpu)
		json_object_set_new(json_at(j, "status", "allocatable"), "cpu", json_string(cpu));
	return j;
}

/* "a=4 b=500m": a ready node each. "!a=4" is not ready, "*a=4" of the control plane; "=4" has no zone, "a=" no CPU. */
static void topology_of(const char *text, struct topology *ret)
{
	_cleanup_free_ char *copy = xstrdup(text);
	const json_t *nodes[16];
	size_t n = 0;
	char *save = NULL;

	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		bool down = *word == '!', control = *word == '*';
		char *zone = word + (down || control), *cpu = strchr(zone, '=');

		*cpu++ = 0;
		nodes[n++] = node(zone, cpu, down ? "False" : "True", control ? "node-role.kubernetes.io/control-plane" : "");
	}
	topology_read(nodes, n, ret);
	while (n > 0)
		json_decref((json_t *)nodes[--n]);
}

static const char *zone_name(char letter)
{
	static char names[128][2];

	names[(int)letter][0] = letter;
	return names[(int)letter];
}

/* @zones: the endpoints' own, '-' for one that has none; @was: as they are hinted so far, '-' where not. */
static enum topology_why allocate(const struct topology *t, const char *zones, const char *was, char *ret)
{
	struct topology_endpoint e[ENDPOINTS];
	size_t n = strlen(zones);
	enum topology_why why;

	for (size_t i = 0; i < n; i++)
		e[i] = (struct topology_endpoint){zones[i] == '-' ? "" : zone_name(zones[i]), *was && was[i] != '-' ? zone_name(was[i]) : NULL, NULL};
	why = topology_allocate(t, e, n);
	for (size_t i = 0; i < n; i++)
		ret[i] = why == TOPOLOGY_OK ? *e[i].hint : '-';
	ret[n] = 0;
	return why;
}

/* ---- tables ---- */

static void nodes_make_zones(void)
{
	static const struct {
		const char *nodes, *zones;
		enum topology_why why;
	} cases[] = {
	    {"a=4 b=4", "a=4000 b=4000", TOPOLOGY_OK},
	    {"b=2 a=1500m b=0.5", "a=1500 b=2500", TOPOLOGY_OK},
	    {"a=1e1 b=2k c=3000000u", "a=10000 b=2000000 c=3000", TOPOLOGY_OK},
	    {"a=4", "a=4000", TOPOLOGY_ONE_ZONE},
	    {"a=4 a=4", "a=8000", TOPOLOGY_ONE_ZONE},
	    {"", "", TOPOLOGY_ONE_ZONE},
	    {"a=4 =4 b=1", "=4000 a=4000 b=1000", TOPOLOGY_NODES},
	    {"a=4 b=", "a=4000 b=0", TOPOLOGY_NODES},
	    {"a=4 b=0", "a=4000 b=0", TOPOLOGY_NODES},
	    {"a=4 b=-1", "a=4000 b=0", TOPOLOGY_NODES},
	    {"a=4 b=many", "a=4000 b=0", TOPOLOGY_NODES},
	    {"a=4 b=1 !=4 *c=9", "a=4000 b=1000", TOPOLOGY_OK}, /* who does not count need not say anything */
	    {"a=4 !b=4", "a=4000", TOPOLOGY_ONE_ZONE},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct topology t;
		char got[256] = "";

		printf("# %s\n", cases[i].nodes);
		topology_of(cases[i].nodes, &t);
		for (size_t z = 0; z < t.n; z++)
			snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s=%llu", z ? " " : "", t.zones[z].name, (unsigned long long)t.zones[z].cpu_m);
		CHECK_STR(got, cases[i].zones);
		CHECK_INT(t.why, cases[i].why);
		topology_done(&t);
	}
}

static void endpoints_are_shared_out(void)
{
	static const struct {
		const char *nodes, *zones, *was, *hints;
		enum topology_why why;
	} cases[] = {
	    {"a=4 b=4", "ab", "", "ab", TOPOLOGY_OK},
	    {"a=4 b=4", "aabb", "", "aabb", TOPOLOGY_OK},
	    {"a=4 b=4", "aaab", "", "baab", TOPOLOGY_OK},	/* one of a's is for b */
	    {"a=4 b=4", "aaab", "abab", "abab", TOPOLOGY_OK},	/* which one is decided by what there is */
	    {"a=4 b=4", "aaaa", "", "bbaa", TOPOLOGY_OK},	/* a zone without endpoints gets its share */
	    {"a=1 b=1 c=2", "aaaaaaaa", "", "ccccbbaa", TOPOLOGY_OK},
	    {"a=6 b=2", "aaaaaabb", "", "aaaaaabb", TOPOLOGY_OK},
	    {"a=4 b=4", "aaaaaabbbbb", "", "aaaaaabbbbb", TOPOLOGY_OK}, /* half an endpoint is moved by nobody */
	    {"a=4 b=4 c=4", "ab", "", "--", TOPOLOGY_FEW},
	    {"a=4 b=4", "", "", "", TOPOLOGY_FEW},
	    {"a=4 b=4 c=4", "abca", "", "----", TOPOLOGY_OVERLOAD}, /* 4/3 each: two at least for three zones */
	    {"a=4 b=4", "aba", "", "---", TOPOLOGY_OVERLOAD},
	    {"a=4 b=4", "a-b", "", "---", TOPOLOGY_NO_ZONE},
	    {"a=4", "aaa", "", "---", TOPOLOGY_ONE_ZONE},
	    {"a=4 b=", "aabb", "", "----", TOPOLOGY_NODES},
	    {"a=4 b=4 *c=4", "abcc", "", "abab", TOPOLOGY_OK}, /* c has no share: its endpoints serve the others */
	    {"a=4 b=4", "aabb", "ccab", "aabb", TOPOLOGY_OK}, /* a zone that is no more */
	    {"a=4 b=4", "aaaaaaabbbbb", "", "baaaaaabbbbb", TOPOLOGY_OK},
	    {"a=4 b=4", "aaaaaaabbbbb", "aaaaaaabbbbb", "aaaaaaabbbbb", TOPOLOGY_OK}, /* 7 and 5: no share is exceeded by a fifth */
	    {"a=4 b=4", "aaaaaabbbbbb", "baaaaabbbbbb", "aaaaaabbbbbb", TOPOLOGY_OK}, /* home, as b has too many */
	    {"a=4 b=4", "aaaaaaabbbbb", "baaaaaabbbbb", "baaaaaabbbbb", TOPOLOGY_OK}, /* b needs it */
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct topology t;
		char got[ENDPOINTS + 1];

		printf("# %s: %s, so far %s\n", cases[i].nodes, cases[i].zones, cases[i].was);
		topology_of(cases[i].nodes, &t);
		CHECK_INT(allocate(&t, cases[i].zones, cases[i].was, got), cases[i].why);
		CHECK_STR(got, cases[i].hints);
		topology_done(&t);
	}
}

static void what_hints_do_not_depend_on_is_no_difference(void)
{
	_cleanup_json_ json_t *n = node("a", "4", "True", ""), *same = node("a", "4000m", "True", "other"), *cpu = node("a", "5", "True", ""),
			      *zone = node("b", "4", "True", ""), *down = node("a", "4", "False", ""),
			      *control = node("a", "4", "True", "node-role.kubernetes.io/master"), *down_too = node("b", "5", "Unknown", "");

	CHECK(!topology_node_differs(n, same));
	CHECK(!topology_node_differs(down, control));
	CHECK(!topology_node_differs(down, down_too));
	CHECK(!topology_node_differs(NULL, down));
	for (size_t i = 0; i < 5; i++)
		CHECK(topology_node_differs(n, (const json_t *[]){cpu, zone, down, control, NULL}[i]));
	CHECK(topology_node_differs(NULL, n));
}

/* ---- properties ---- */

static unsigned seed = 1;

static int below(int n)
{
	return rand_r(&seed) % n;
}

/* Nodes of up to ZONES zones, with CPUs from very even to very uneven. */
static void random_topology(struct topology *t)
{
	char text[256] = "";
	int most = (int[]){2, 5, 64}[below(3)];

	for (int i = 2 + below(ZONES - 1); i > 0; i--)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%c=%d ", 'a' + i - 1, 1 + below(most));
	topology_of(text, t);
}

static size_t count(const char *s, char c)
{
	size_t n = 0;

	for (; *s; s++)
		n += *s == c;
	return n;
}

static void check_shares(const struct topology *t, const char *hints)
{
	size_t n = strlen(hints), total = 0;

	for (size_t z = 0; z < t->n; z++) {
		size_t has = count(hints, *t->zones[z].name);

		CHECK(has > 0);
		CHECK(has * 12 * t->cpu_m >= t->zones[z].cpu_m * n * 10); /* whoever asks from there is at most a fifth too many for an endpoint */
		total += has;
	}
	CHECK_INT(total, n);
}

/* Random endpoints, some of which come, go or move; nodes change now and then. */
static void what_holds_for_all(void)
{
	size_t done = 0, changed = 0;

	for (int round = 0; round < 400; round++) {
		char zones[ENDPOINTS + 1] = "", was[ENDPOINTS + 1] = "", got[ENDPOINTS + 1], again[ENDPOINTS + 1];
		struct topology t;

		random_topology(&t);
		for (int step = 0; step < 30; step++) {
			size_t n = strlen(zones), at = n ? below(n) : 0;

			if (n < ENDPOINTS - 1 && below(3)) {
				zones[n] = 'a' + below(ZONES);
				was[n] = '-';
				zones[n + 1] = was[n + 1] = 0;
			} else if (n) {
				memmove(zones + at, zones + at + 1, n - at);
				memmove(was + at, was + at + 1, n - at);
			}
			if (below(10) == 0) {
				topology_done(&t);
				random_topology(&t);
			}
			if (allocate(&t, zones, was, got) == TOPOLOGY_OK) {
				check_shares(&t, got);
				CHECK_INT(allocate(&t, zones, got, again), TOPOLOGY_OK);
				CHECK_STR(again, got); /* nothing has changed: nothing is written */
				for (size_t i = 0; got[i]; i++)
					changed += was[i] != '-' && was[i] != got[i];
				done++;
			}
			strcpy(was, got);
		}
		topology_done(&t);
	}
	printf("# %zu allocations, %zu hints changed of endpoints that had one\n", done, changed);
	CHECK(done > 1000 && changed < done);
}

int main(void)
{
	RUN(nodes_make_zones);
	RUN(endpoints_are_shared_out);
	RUN(what_hints_do_not_depend_on_is_no_difference);
	RUN(what_holds_for_all);
	return test_end();
}
