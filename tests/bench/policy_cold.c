/* SPDX-License-Identifier: Apache-2.0 */
/* A node that starts cold in a large cluster: from the API's lists, page by page as they have come, to policy in force in the kernel. What the agent does in between
 * is done by its own code: pages parsed, objects into the model and the compiler, maps compiled and written, the revision. Not in it: the API server, the network
 * and the making of the pages, for which the clock stands. This node's pods are its endpoints, as after an agent's restart; the addresses in the kernel's maps
 * are everybody's. Prints a line of JSON for each of two sizes of pods.
 *
 * At the end verdicts are read from the kernel's maps, and held against the compiler's: what is measured is in force. */
#include "agent/policies.h"
#include "harness.h"
#include "policy/lookup.h"
#include "policy_cluster.h"

#include "datapath/walk.h"
#include "kube/reflector.h"

#include <err.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

enum { NODES = 1000, NAMESPACES = 200, PODS = 100000, POLICIES = 10000, PAGE = 500, LOCAL = PODS / NODES };

static struct endpoint_record local[LOCAL];
static size_t n_local;

/* This node's endpoints are those of the bench: there are no interfaces, and no journal. */
void endpoints_each(const struct endpoints *e _unused_, endpoints_fn *fn, void *ctx)
{
	for (size_t i = 0; i < n_local; i++)
		fn(&local[i], ctx);
}

static void on_wake(void *ctx _unused_)
{
}

/* ---- the clock, which stands while pages are made ---- */

struct spent {
	double wall_ms, cpu_ms; /* other work on the machine counts in the one, and little in the other */
};

static double ms_of(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void go(struct spent *s)
{
	s->wall_ms -= ms_of(CLOCK_MONOTONIC);
	s->cpu_ms -= ms_of(CLOCK_PROCESS_CPUTIME_ID);
}

static void halt(struct spent *s)
{
	s->wall_ms += ms_of(CLOCK_MONOTONIC);
	s->cpu_ms += ms_of(CLOCK_PROCESS_CPUTIME_ID);
}

/* ---- objects ---- */

static void print_node(FILE *to, unsigned i, size_t pad _unused_)
{
	fprintf(to, "{\"metadata\": {\"name\": \"n%u\", \"uid\": \"n%u\", \"labels\": {\"kubernetes.io/hostname\": \"n%u\"}}, \"spec\": {\"podCIDRs\": [\"10.%u.%u.0/24\", "
		    "\"fd00:2:0:%x::/64\"]}, \"status\": {\"addresses\": [{\"type\": \"InternalIP\", \"address\": \"172.16.%u.%u\"}]}}",
		i, i, i, i / 256, i % 256, i, i / 256, i % 256);
}

static void print_namespace(FILE *to, unsigned i, size_t pad _unused_)
{
	fprintf(to, "{\"metadata\": {\"name\": \"ns%u\", \"uid\": \"ns%u\", \"labels\": {\"team\": \"t%u\", \"kubernetes.io/metadata.name\": \"ns%u\"}}}", i, i, i % 20, i);
}

static void print_policy(FILE *to, unsigned i, size_t pad _unused_)
{
	_cleanup_free_ char *text = network_policy(i, NAMESPACES);

	fputs(text, to);
}

/* The nodes' turns shift, lest one have the pods of few namespaces only. */
static unsigned node_of(unsigned pod)
{
	return (pod + pod / NODES) % NODES;
}

static char *pod_addr(unsigned pod, bool v6)
{
	unsigned node = node_of(pod), host = 2 + pod / NODES;

	return v6 ? xasprintf("fd00:2:0:%x::%x", node, host) : xasprintf("10.%u.%u.%u", node / 256, node % 256, host);
}

/* @pad: what it has beside what is asked for: environment, volumes, managedFields. */
static void print_pod(FILE *to, unsigned i, size_t pad)
{
	_cleanup_free_ char *four = pod_addr(i, false), *six = pod_addr(i, true);

	fprintf(to, "{\"metadata\": {\"name\": \"pod%u\", \"namespace\": \"ns%u\", \"uid\": \"pod%u\", \"resourceVersion\": \"%u\", \"labels\": {\"app\": \"a%u\", "
		    "\"pod-template-hash\": \"h%u\", \"tier\": \"%s\"}}, \"spec\": {\"nodeName\": \"n%u\", \"containers\": [{\"name\": \"c\", \"image\": \"none\", "
		    "\"ports\": [{\"name\": \"http\", \"containerPort\": 8080, \"protocol\": \"TCP\"}], \"env\": [",
		i, i % NAMESPACES, i, i, i / NAMESPACES % 50, i / NAMESPACES % 50, i & 1 ? "front" : "back", node_of(i));
	for (size_t k = 0; k < pad / 64; k++) /* 64 bytes each */
		fprintf(to, "%s{\"name\": \"VARIABLE_%08zu\", \"value\": \"%016zu\"}", k ? ", " : "  ", k, k);
	fprintf(to, "]}]}, \"status\": {\"phase\": \"Running\", \"podIP\": \"%s\", \"podIPs\": [{\"ip\": \"%s\"}, {\"ip\": \"%s\"}]}}", four, four, six);
}

/* ---- lists ---- */

typedef void print_fn(FILE *to, unsigned i, size_t pad);

/* What is done with the lists: pages checked; objects read, and taken in. */
struct reading {
	struct spent pages, objects;
};

static char *make_page(unsigned first, unsigned end, print_fn *print, size_t pad, size_t *ret_len)
{
	char *text = NULL;
	FILE *to = open_memstream(&text, ret_len);

	fputs("{\"metadata\": {\"resourceVersion\": \"1\"}, \"items\": [", to);
	for (unsigned k = first; k < end; k++) {
		fputs(k > first ? "," : "", to);
		print(to, k, pad);
	}
	fputs("]}", to);
	fclose(to);
	return text;
}

static void take(struct model *m, enum model_table table, const char *text, size_t len, struct json_fields *fields, struct reading *spent)
{
	struct kube_page page = { 0 };
	json_t *object;

	go(&spent->pages);
	if (kube_page_parse(text, len, fields, &page, NULL) < 0)
		errx(1, "a page of table %d is refused", table);
	halt(&spent->pages);
	go(&spent->objects);
	for (; (object = kube_page_next(&page)); json_decref(object))
		if (model_upsert(m, table, object, NULL) != 1)
			errx(1, "an object of table %d is refused", table);
	kube_page_done(&page);
	halt(&spent->objects);
}

static size_t list(struct model *m, enum model_table table, unsigned n, print_fn *print, size_t pad, struct reading *spent)
{
	_cleanup_(json_fields_freep) struct json_fields *fields = kube_page_fields(model_fields(table));
	size_t bytes = 0;

	model_replace_begin(m, table);
	for (unsigned first = 0; first < n; first += PAGE) {
		size_t len;
		_cleanup_free_ char *text = make_page(first, MIN(first + PAGE, n), print, pad, &len);

		take(m, table, text, len, fields, spent);
		bytes += len;
	}
	go(&spent->objects);
	model_replace_end(m, table);
	halt(&spent->objects);
	return bytes;
}

static void make_endpoints(void)
{
	for (unsigned i = 0; i < PODS; i++) {
		_cleanup_free_ char *four = pod_addr(i, false), *six = pod_addr(i, true);

		if (node_of(i))
			continue;
		local[n_local++] = (struct endpoint_record){
			.container = xasprintf("c%u", i), .network = "", .pod_namespace = xasprintf("ns%u", i % NAMESPACES), .pod_name = xasprintf("pod%u", i),
			.pod_uid = xasprintf("pod%u", i), .addrs = { addr_of(four), addr_of(six) },
		};
	}
}

/* By the kernel's maps, and as the compiler means it: for each endpoint of the node, in both directions, from and to pods all over the cluster. */
static void check_verdicts(const struct policy_maps *maps)
{
	size_t said[2] = { 0 };

	for (size_t e = 0; e < n_local; e++)
		for (unsigned i = 0; i < 400; i++) {
			_cleanup_free_ char *text = pod_addr(i * 977 % PODS, i & 1);
			struct addr peer = addr_of(text);
			const struct addr *end = &local[e].addrs[i & 1];
			bool egress = i & 2;
			uint8_t proto = i & 4 ? IPPROTO_UDP : IPPROTO_TCP;
			uint16_t port = proto == IPPROTO_UDP ? 53 : 8080;
			struct dp_judgement j;
			struct policy_side want;

			policy_lookup_side(maps, end, &peer, egress ? POLICY_EGRESS : POLICY_INGRESS, proto, port, &want);
			if (datapath_judge(dp, end, &peer, egress, proto, port, &j) < 0 || j.verdict != (want.allowed ? DP_ALLOWED : DP_DENIED))
				errx(1, "the kernel's maps say otherwise");
			said[want.allowed]++;
		}
	if (!said[0] || !said[1])
		errx(1, "all verdicts are one");
}

static void measure(const struct options *opt, size_t pad)
{
	_cleanup_(model_freep) struct model *m = model_new();
	struct policies *p = policies_new(NULL, m, opt, on_wake, NULL);
	struct reading lists = { 0 };
	struct spent maps = { 0 };
	const struct policy_apply *applied = policies_applied(p);
	size_t bytes;
	struct rusage r;

	model_on_object(m, policies_on_object, p);
	list(m, MODEL_NODES, NODES, print_node, 0, &lists);
	list(m, MODEL_NAMESPACES, NAMESPACES, print_namespace, 0, &lists);
	bytes = list(m, MODEL_PODS, PODS, print_pod, pad, &lists);
	list(m, MODEL_POLICIES, POLICIES, print_policy, 0, &lists);
	go(&maps);
	if (policies_update(p, NULL, dp) < 0 || policy_apply_is_failed(applied))
		errx(1, "policy is not in force");
	halt(&maps);
	check_verdicts(applied->applied);
	getrusage(RUSAGE_SELF, &r);
	printf("{\"bench\": \"policy\", \"case\": \"cold, to enforced: %d policies, %d pods, %zu local\", \"bytes_a_pod\": %zu, \"pages_cpu_ms\": %.0f, "
	       "\"objects_cpu_ms\": %.0f, \"maps_cpu_ms\": %.0f, \"cpu_ms\": %.0f, \"ms\": %.0f, \"addresses\": %zu, \"rules\": %zu, \"largest_rss_mb\": %.0f}\n",
	       POLICIES, PODS, n_local, bytes / PODS, lists.pages.cpu_ms, lists.objects.cpu_ms, maps.cpu_ms,
	       lists.pages.cpu_ms + lists.objects.cpu_ms + maps.cpu_ms, lists.pages.wall_ms + lists.objects.wall_ms + maps.wall_ms,
	       applied->applied->n[POLICY_MAP_ADDRS], applied->applied->n[POLICY_MAP_RULES], r.ru_maxrss / 1e3);
	fflush(stdout);
	model_on_object(m, NULL, NULL);
	policies_free(p);
}

/* In a process of its own: one that has had the memory already is not cold. */
static void measure_alone(const struct options *opt, size_t pad)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		err(1, "fork");
	if (child == 0) {
		harness_init();
		dp_config.policy_addr_max = opt->policy_address_table_size;
		dp_config.policy_rule_max = opt->policy_rule_table_size;
		harness_done();
		harness_reopen(); /* with nothing in it: a boot */
		measure(opt, pad);
		harness_done();
		exit(0);
	}
	if (waitpid(child, &status, 0) != child || status != 0)
		errx(1, "no figures for pods with %zu bytes more", pad);
}

int main(void)
{
	static const size_t pads[] = { 0, 4096 };
	struct options opt;
	char *error = NULL;

	options_init(&opt);
	if (options_set(&opt, "bench", "node.name", "n0", &error) < 0)
		errx(1, "%s", error);
	make_endpoints();
	for (size_t i = 0; i < ARRAY_SIZE(pads); i++)
		measure_alone(&opt, pads[i]);
	options_done(&opt);
	return 0;
}
