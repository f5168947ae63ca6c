/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of the policy compiler: time and memory. One JSON object a line; the table goes into docs/policy.md.
 * Times are CPU time of the one thread there is, so that whatever else the machine does counts little. The clock stops when the maps are made and the difference to the last ones is known; writing them into the kernel is not
 * part of it. */
#include "base/buf.h"
#include "base/str.h"
#include "policy/lookup.h"
#include "policy/policy.h"
#include "policy_cluster.h"

#include <malloc.h>
#include <sys/resource.h>
#include <time.h>

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static double rss_mb(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (f && fscanf(f, "%*u %lu", &pages) != 1)
		pages = 0;
	if (f)
		fclose(f);
	return pages * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

static void put_text(struct policy *p, char *text)
{
	json_t *j = json_parse("bench", text, strlen(text), NULL);
	struct policy_spec *s;

	if (!j || policy_spec_parse(j, NULL, &s, NULL) < 0 || s->errors.n)
		abort();
	policy_put_object(p, s);
	json_decref(j);
	free(text);
}

/* Pods of @namespaces namespaces, 50 apps; the first of each @local_every is on this node. */
static void put_pods(struct policy *p, unsigned n, unsigned namespaces, unsigned local, bool unique)
{
	unsigned every = n / local;

	for (unsigned i = 0; i < namespaces; i++) {
		char name[16], team[16];
		struct label_in label = { "team", team };

		snprintf(name, sizeof(name), "ns%u", i);
		snprintf(team, sizeof(team), "t%u", i % 20);
		policy_put_namespace(p, name, &label, 1);
	}
	for (unsigned i = 0; i < n; i++) {
		char name[16], ns[16], app[16], uid[16], hash[16];
		const struct label_in labels[] = { { "app", app }, { "pod-template-hash", hash }, { "tier", i & 1 ? "front" : "back" }, { "uid", uid } };
		struct policy_pod_in in = { .namespace_ = ns, .name = name, .labels = labels, .n_labels = unique ? 4 : 3, .n_addrs = 2,
					    .local = i % every == i / every % every };

		snprintf(name, sizeof(name), "pod%u", i);
		snprintf(ns, sizeof(ns), "ns%u", i % namespaces);
		snprintf(app, sizeof(app), "a%u", i / namespaces % 50);
		snprintf(hash, sizeof(hash), "h%u", i / namespaces % 50);
		snprintf(uid, sizeof(uid), "u%u", i);
		in.addrs[0] = addr_from_v4((struct in_addr){ htonl(0x0a000000 + i) });
		in.addrs[1] = (struct addr){ .b = { 0xfd, 0, 2, 0x44, [12] = i >> 24, i >> 16, i >> 8, i } };
		policy_put_pod(p, &in);
	}
}

static size_t map_entries(const struct policy_maps *m)
{
	return m->n[POLICY_MAP_RULES] + m->n[POLICY_MAP_PORTS];
}

static int count_change(_unused_ const struct policy_change *c, void *ctx)
{
	++*(size_t *)ctx;
	return 0;
}

static void report(const char *what, const struct policy *p, const struct policy_maps *m, double ms, size_t changes, double mb)
{
	struct policy_stats s = policy_stats(p);

	printf("{\"bench\": \"policy\", \"case\": \"%s\", \"ms\": %.1f, \"changes\": %zu, \"pods\": %zu, \"objects\": %zu, \"policies\": %zu, "
	       "\"peers\": %zu, \"profiles\": %zu, \"classes\": %zu, \"entries\": %zu, \"rss_mb\": %.0f}\n",
	       what, ms, changes, s.pods, s.objects, s.policies, s.peers_in_use, s.profiles, s.classes, map_entries(m), mb);
	fflush(stdout);
}

/* From one event to the difference of the maps. */
static struct policy_maps *step(struct policy *p, struct policy_maps *old, const char *what, double start)
{
	struct policy_maps *m = policy_compile(p);
	size_t changes = 0;

	policy_maps_diff(old, m, count_change, &changes, NULL);
	report(what, p, m, now_ms() - start, changes, rss_mb());
	policy_maps_put(old);
	return m;
}

static void bench_cluster(unsigned pods, unsigned policies, unsigned local)
{
	struct policy *p = policy_new();
	struct policy_maps *m;
	double start = now_ms();
	struct prefix range;
	char name[100];

	if (prefix_parse("10.0.0.0/8", &range, NULL) < 0)
		abort();
	policy_set_ranges(p, &range, 1);
	put_pods(p, pods, 200, local, false);
	for (unsigned i = 0; i < policies; i++)
		put_text(p, network_policy(i, 200));
	snprintf(name, sizeof(name), "cold: %u policies, %u pods, %u local", policies, pods, local);
	m = step(p, NULL, name, start);

	start = now_ms();
	put_text(p, xasprintf("{\"kind\": \"NetworkPolicy\", \"metadata\": {\"name\": \"new\", \"namespace\": \"ns0\"}, \"spec\": {\"podSelector\": {}, "
			      "\"ingress\": [{\"from\": [{\"namespaceSelector\": {}, \"podSelector\": {\"matchExpressions\": [{\"key\": "
			      "\"pod-template-hash\", \"operator\": \"In\", \"values\": [\"h7\"]}]}}]}]}}"));
	m = step(p, m, "a new policy whose selector means 1 pod in 50", start);
	start = now_ms();
	policy_settle(p, UINT64_MAX);
	m = step(p, m, "the old policy goes", start);
	start = now_ms();
	struct label_in labels[] = { { "app", "a1" }, { "pod-template-hash", "h7" } };
	struct policy_pod_in pod = { .namespace_ = "ns0", .name = "pod0", .labels = labels, .n_labels = 2, .n_addrs = 1, .local = true,
				     .addrs = { addr_from_v4((struct in_addr){ htonl(0x0a000000) }) } };

	policy_put_pod(p, &pod);
	m = step(p, m, "a pod gets other labels", start);
	start = now_ms();
	struct label_in team = { "team", "t1" };

	policy_put_namespace(p, "ns0", &team, 1);
	m = step(p, m, "a namespace gets other labels", start);
	start = now_ms();
	policy_maps_put(policy_compile(p));
	report("nothing changed", p, m, now_ms() - start, 0, rss_mb());
	policy_maps_put(m);
	policy_free(p);
	malloc_trim(0);
}

static void bench_unique(unsigned pods, unsigned selectors)
{
	struct policy *p = policy_new();
	double before = rss_mb(), start = now_ms();
	struct policy_maps *m;
	char name[100];

	put_pods(p, pods, 200, 100, true);
	snprintf(name, sizeof(name), "put %u pods with labels of their own", pods);
	printf("{\"bench\": \"policy\", \"case\": \"%s\", \"ms\": %.1f, \"bytes_a_pod\": %.0f}\n", name, now_ms() - start,
	       (rss_mb() - before) * 1e6 / pods);
	start = now_ms();
	for (unsigned i = 0; i < selectors; i++)
		put_text(p, xasprintf("{\"kind\": \"ClusterNetworkPolicy\", \"metadata\": {\"name\": \"c%u\"}, \"spec\": {\"tier\": \"Admin\", \"priority\": %u,"
				      "\"subject\": {\"namespaces\": {}}, \"ingress\": [{\"action\": \"Deny\", \"from\": [{\"pods\": {\"namespaceSelector\": {}, "
				      "\"podSelector\": {\"matchLabels\": {\"app\": \"a%u\", \"tier\": \"%s\"}}}}]}]}}",
				      i, i, i % 50, i < 50 ? "front" : "back"));
	snprintf(name, sizeof(name), "compile %u selectors over them", selectors);
	m = step(p, NULL, name, start);
	policy_maps_put(m);
	policy_free(p);
}

/* Each selector matches all pods but one, and each pod all but one of them. */
static void bench_negative(unsigned pods, unsigned selectors)
{
	struct policy *p = policy_new();
	struct policy_maps *m;
	struct buf b = { 0 };
	char name[100];
	double start;

	policy_put_namespace(p, "ns", NULL, 0);
	for (unsigned i = 0; i < pods; i++) {
		char pod[16], key[16];
		struct label_in labels[] = { { "app", "a" }, { key, "v" } };
		struct policy_pod_in in = { .namespace_ = "ns", .name = pod, .labels = labels, .n_labels = 2, .n_addrs = 1, .local = i == 0,
					    .addrs = { addr_from_v4((struct in_addr){ htonl(0x0a000000 + i) }) } };

		snprintf(pod, sizeof(pod), "pod%u", i);
		snprintf(key, sizeof(key), "k%u", i);
		policy_put_pod(p, &in);
	}
	m = policy_compile(p);
	(void)buf_adds(&b, "{\"kind\": \"NetworkPolicy\", \"metadata\": {\"name\": \"n\", \"namespace\": \"ns\"}, \"spec\": {\"podSelector\": {}, \"ingress\": [{\"from\": [");
	for (unsigned i = 0; i < selectors; i++)
		(void)buf_addf(&b, "%s{\"podSelector\": {\"matchExpressions\": [{\"key\": \"k%u\", \"operator\": \"DoesNotExist\"}]}}", i ? "," : "", i);
	(void)buf_adds(&b, "]}]}}");
	put_text(p, b.data);
	snprintf(name, sizeof(name), "a policy of %u selectors that each match all but one of %u pods", selectors, pods);
	start = now_ms();
	m = step(p, m, name, start);
	policy_del_object(p, KIND_NETWORK_POLICY, "ns", "n");
	m = step(p, m, "it is deleted", now_ms());
	start = now_ms();
	policy_settle(p, UINT64_MAX);
	m = step(p, m, "and no packet is judged by it any more", start);
	policy_maps_put(m);
	policy_free(p);
	malloc_trim(0);
}

static void bench_lookup(unsigned policies)
{
	struct policy *p = policy_new();
	struct policy_maps *m;
	struct policy_answer a;
	double start;
	enum { N = 1000000 };

	put_pods(p, 10000, 200, 200, false);
	for (unsigned i = 0; i < policies; i++)
		put_text(p, network_policy(i, 200));
	m = policy_compile(p);
	start = now_ms();
	for (unsigned i = 0; i < N; i++) {
		struct policy_query q = { .protocol = IPPROTO_TCP, .port = 9000 + i % 200,
					  .src = addr_from_v4((struct in_addr){ htonl(0x0a000000 + i * 7 % 10000) }),
					  .dst = addr_from_v4((struct in_addr){ htonl(0x0a000000 + i % 200 * 50) }) };

		policy_lookup(m, &q, &a);
	}
	printf("{\"bench\": \"policy\", \"case\": \"look-up in user space, %u policies\", \"ns\": %.0f}\n", policies, (now_ms() - start) * 1e6 / N);
	policy_maps_put(m);
	policy_free(p);
}

int main(void)
{
	struct rusage r;

	bench_lookup(1);
	bench_lookup(10000);
	bench_cluster(100000, 10000, 100);
	bench_cluster(100000, 10000, 250);
	bench_negative(600, 36000);
	if (!getenv("WEFT_BENCH_SMALL"))
		bench_unique(1000000, 100);
	getrusage(RUSAGE_SELF, &r);
	printf("{\"bench\": \"policy\", \"case\": \"largest RSS\", \"mb\": %.0f}\n", r.ru_maxrss / 1e3);
	return 0;
}
