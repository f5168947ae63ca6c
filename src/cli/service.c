/* SPDX-License-Identifier: Apache-2.0 */
/* weft service: what this node makes of Services. Names and addresses come from the cluster's users: all text is escaped. */
#include "base/str.h"
#include "cli/field.h"
#include "cli/verbs.h"
#include "ipc/ipc.h"

enum { TIMEOUT_MS = 30000 };

struct args {
	const char *socket, *namespace_, *name;
	bool list, as_json;
};

static void print_help(FILE *to)
{
	fputs("usage: weft service list [-o json] [--socket PATH]\n"
	      "       weft service show NAME [-n NAMESPACE] [-o json] [--socket PATH]\n\n"
	      "Services as this node serves them: `show` reads frontends, slots, backends and source ranges back from the kernel and\n"
	      "says where they differ from what is wanted; it ends with 1 when they do.\n",
	      to);
}

static size_t count_true(const json_t *list, const char *key)
{
	const json_t *item;
	size_t i, n = 0;

	json_array_foreach(list, i, item)
		n += json_is_true(json_object_get(item, key));
	return n;
}

/* ---- list ---- */

static int compare_services(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	int c = strcmp(json_str_or(json_object_get(x, "namespace"), ""), json_str_or(json_object_get(y, "namespace"), ""));

	return c ? c : strcmp(json_str_or(json_object_get(x, "name"), ""), json_str_or(json_object_get(y, "name"), ""));
}

static void print_list_port(const json_t *svc, const json_t *port)
{
	const json_t *frontends = json_object_get(port, "frontends"), *endpoints = json_object_get(port, "endpoints");
	char name[512], shown[64];

	snprintf(name, sizeof(name), "%s/%s", field_text(svc, "namespace"), field_text(svc, "name"));
	str_escape(shown, sizeof(shown), json_str_or(json_array_get(frontends, 0), "-"));
	printf("%-32s %-30s %-5s %4zu of %-4zu %5zu\n", name, shown, field_text(port, "protocol"), count_true(endpoints, "inCluster"),
	       json_array_size(endpoints), count_true(endpoints, "inLocal"));
}

static void print_list(const json_t *services)
{
	size_t n = json_array_size(services), i, k;
	json_t **sorted = xnew0_array(json_t *, n + 1);
	const json_t *port;

	for (i = 0; i < n; i++)
		sorted[i] = json_array_get(services, i);
	qsort(sorted, n, sizeof(*sorted), compare_services);
	printf("%-32s %-30s %-5s %-12s %s\n", "SERVICE", "ADDRESS", "PROTO", "ENDPOINTS", "LOCAL");
	for (i = 0; i < n; i++)
		json_array_foreach(json_object_get(sorted[i], "ports"), k, port)
			print_list_port(sorted[i], port);
	free(sorted);
}

/* ---- show ---- */

static void print_endpoint(const json_t *e)
{
	printf("    %-46s tier %-6s weight %-3lld%s%s%s%s\n", field_text(e, "address"), field_text(e, "tier"), field_number(e, "weight"),
	       json_is_true(json_object_get(e, "inCluster")) ? " cluster" : "", json_is_true(json_object_get(e, "inLocal")) ? " local" : "",
	       json_is_true(json_object_get(e, "local")) ? " this-node" : "",
	       json_is_true(json_object_get(e, "terminating")) ? " terminating" : "");
}

/* Return: how many there are. */
static size_t print_differences(const json_t *of, const char *indent)
{
	const json_t *differences = json_object_get(of, "differences"), *item;
	char line[256];
	size_t i;

	json_array_foreach(differences, i, item) {
		str_show(line, sizeof(line), json_str_or(item, ""));
		printf("%sDIFFERS: %s\n", indent, line);
	}
	return json_array_size(differences);
}

static size_t print_frontend(const json_t *f)
{
	const json_t *item;
	size_t i;

	printf("    %-12s %-46s from %-7s %s set %lld, %lld slots\n", field_text(f, "kind"), field_text(f, "address"), field_text(f, "from"),
	       field_text(f, "endpoints"), field_number(f, "set"), field_number(f, "slots"));
	json_array_foreach(json_object_get(f, "kernel"), i, item)
		printf("      backend %-8lld %-46s %lld slots\n", field_number(item, "id"), field_text(item, "address"), field_number(item, "slots"));
	return print_differences(f, "      ");
}

/* Return: how many differences there are. */
static size_t print_service(const json_t *svc)
{
	const json_t *port, *item;
	size_t i, k, differences = 0;
	char line[256];

	printf("Service %s/%s\n", field_text(svc, "namespace"), field_text(svc, "name"));
	json_array_foreach(json_object_get(svc, "ports"), i, port) {
		printf("  Port %lld/%s %s %s, %s%s\n", field_number(port, "port"), field_text(port, "protocol"), field_text(port, "name"), field_text(port, "family"),
		       field_text(port, "algorithm"), field_number(json_array_get(json_object_get(port, "frontends"), 0), "affinitySeconds") ?
		       ", with affinity" : "");
		puts("   Endpoints that this node may use");
		json_array_foreach(json_object_get(port, "endpoints"), k, item)
			print_endpoint(item);
		puts("   In the kernel");
		json_array_foreach(json_object_get(port, "frontends"), k, item)
			differences += print_frontend(item);
		differences += print_differences(port, "    ");
	}
	differences += print_differences(svc, "  ");
	json_array_foreach(json_object_get(svc, "announced"), i, item)
		printf("  Announced: %s on %s by %s\n", field_text(item, "address"), field_text(item, "interface"),
		       *field_text(item, "node") ? field_text(item, "node") : field_text(item, "state"));
	json_array_foreach(json_object_get(svc, "refused"), i, item) {
		str_show(line, sizeof(line), json_str_or(item, ""));
		printf("  Refused: %s\n", line);
	}
	return differences;
}

static size_t count_differences(const json_t *svc)
{
	const json_t *port, *f;
	size_t i, k, n = json_array_size(json_object_get(svc, "differences"));

	json_array_foreach(json_object_get(svc, "ports"), i, port) {
		n += json_array_size(json_object_get(port, "differences"));
		json_array_foreach(json_object_get(port, "frontends"), k, f)
			n += json_array_size(json_object_get(f, "differences"));
	}
	return n;
}

/* ---- the verb ---- */

static int ask(const struct args *a)
{
	_cleanup_ipc_answer_ struct ipc_answer answer = {0};
	_cleanup_json_ json_t *params = a->list ? NULL : json_pack("{ss, ss}", "namespace", a->namespace_, "name", a->name);
	char shown[128], why[256];
	size_t differences = 0;
	int r = ipc_call(a->socket, "services", params, TIMEOUT_MS, &answer);

	if (r < 0 || !answer.result) {
		str_escape(shown, sizeof(shown), a->socket);
		str_show(why, sizeof(why), r < 0 ? strerror(-r) : answer.msg);
		fprintf(stderr, "weft service: %s: %s%s\n", shown, why,
			r == -ENOENT || r == -ECONNREFUSED ? "; weftd does not run there" : "");
		return 1;
	}
	if (a->as_json) {
		json_dumpf(answer.result, stdout, JSON_INDENT(2));
		putchar('\n');
		differences = a->list ? 0 : count_differences(answer.result);
	} else if (a->list) {
		print_list(json_object_get(answer.result, "services"));
	} else {
		differences = print_service(answer.result);
	}
	return fflush(stdout) == 0 && differences == 0 ? 0 : 1;
}

/* Return: 0, -EINVAL with the word that is not understood. */
static int parse(int argc, char **argv, struct args *a, const char **ret_bad)
{
	for (int i = 2; i < argc; i++) {
		const char *next = i + 1 < argc ? argv[i + 1] : NULL;

		if (streq(argv[i], "-o") && streq(next, "json")) {
			a->as_json = true;
			i++;
		} else if (streq(argv[i], "--socket") && next) {
			a->socket = next;
			i++;
		} else if ((streq(argv[i], "-n") || streq(argv[i], "--namespace")) && next) {
			a->namespace_ = next;
			i++;
		} else if (!a->list && !a->name && argv[i][0] != '-') {
			a->name = argv[i];
		} else {
			*ret_bad = argv[i];
			return -EINVAL;
		}
	}
	return 0;
}

int verb_service(int argc, char **argv)
{
	struct args a = {.socket = DEFAULT_SOCKET, .namespace_ = "default"};
	const char *what = argc > 1 ? argv[1] : "", *bad = what;
	char shown[64];

	if (streq(what, "--help")) {
		print_help(stdout);
		return 0;
	}
	a.list = streq(what, "list");
	if ((!a.list && !streq(what, "show")) || parse(argc, argv, &a, &bad) < 0 || (!a.list && !a.name)) {
		str_escape(shown, sizeof(shown), bad);
		fprintf(stderr, "weft service: \"%s\" is not understood\n\n", shown);
		print_help(stderr);
		return 2;
	}
	return ask(&a);
}
