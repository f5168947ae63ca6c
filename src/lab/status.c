/* SPDX-License-Identifier: Apache-2.0 */
/* `weft lab status`: what the lab was made of, beside what the API says now. */
#include "base/file.h"
#include "kube/client.h"
#include "lab/cgroup.h"
#include "lab/verbs.h"

enum { TIMEOUT_MS = 20000, LISTS = 3 };

struct answers {
	sd_event *event;
	json_t *items[LISTS]; /* nodes, pods, services */
	unsigned left;
	char *error;
};

struct slot {
	struct answers *a;
	size_t i;
};

static void on_list(const struct kube_response *res, void *ctx)
{
	struct slot *s = ctx;

	if (res->status == 200)
		s->a->items[s->i] = json_incref(json_at(res->body, "items"));
	else if (!s->a->error)
		s->a->error = xstrdup(res->error ? res->error : "no answer");
	if (--s->a->left == 0)
		sd_event_exit(s->a->event, 0);
}

static int ask(const struct lab *lab, struct answers *a)
{
	static const char *const paths[LISTS] = { "/api/v1/nodes", "/api/v1/pods", "/api/v1/services" };
	_cleanup_free_ char *path = lab_path(lab, "kubeconfig");
	_cleanup_(kube_client_freep) struct kube_client *client = NULL;
	struct kube_config config = { 0 };
	struct slot slots[LISTS];
	int r = sd_event_new(&a->event);

	if (r >= 0)
		r = kube_config_load(path, &config, &a->error);
	if (r >= 0)
		r = kube_client_new(a->event, &config, "weft-lab/" WEFT_VERSION, &client, &a->error);
	kube_config_done(&config);
	for (size_t i = 0; r >= 0 && i < LISTS; i++) {
		struct kube_request req = { .method = "GET", .path = paths[i], .timeout_ms = TIMEOUT_MS };

		slots[i] = (struct slot){ a, i };
		r = kube_send(client, &req, on_list, &slots[i], NULL);
		if (r >= 0)
			a->left++;
	}
	if (r >= 0)
		r = sd_event_loop(a->event);
	if (r < 0 && !a->error)
		a->error = xstrdup(strerror(-r));
	return a->error ? -EIO : 0;
}

static void answers_done(struct answers *a)
{
	for (size_t i = 0; i < LISTS; i++)
		json_decref(a->items[i]);
	sd_event_unref(a->event);
	free(a->error);
}

static const json_t *find_item(const json_t *items, const char *name)
{
	json_t *o;
	size_t i;

	json_array_foreach (items, i, o)
		if (streq(json_str_at(o, "metadata", "name"), name))
			return o;
	return NULL;
}

static json_t *copy_or_empty(const json_t *j)
{
	return json_is_array(j) ? json_deep_copy(j) : json_array();
}

static bool runs(const struct lab *lab, const char *node)
{
	_cleanup_free_ char *part = xasprintf("%s/runner", node), *cgroup = cgroup_of(lab->name, part);

	return cgroup && cgroup_is_populated(cgroup);
}

static json_t *encode_node(const struct lab *lab, const struct lab_node *n, const json_t *items)
{
	const json_t *object = find_item(items, n->name);
	_cleanup_free_ char *zone = xasprintf("z%u", lab_zone_of(lab, n));
	json_t *addresses = json_array();
	char text[ADDR_TEXT_MAX];
	bool up = runs(lab, n->name);

	for (int i = 0; i < 2; i++) {
		struct addr a = lab_node_address(lab, n, i ? AF_INET6 : AF_INET);

		if (lab_has(lab, i ? AF_INET6 : AF_INET))
			json_array_append_new(addresses, json_string(addr_format(&a, text)));
	}
	return json_pack("{s:s,s:s,s:i,s:o,s:o,s:b,s:s}", "name", n->name, "zone", zone, "subnet", (int)lab_subnet_of(lab, n), "addresses",
			 addresses, "podCIDRs", copy_or_empty(json_at(object, "spec", "podCIDRs")), "ready", (int)(up && json_condition_is_true(object, "Ready")),
			 "state", up ? "running" : n->stopped ? "stopped" : "dead");
}

static json_t *encode_pod(const json_t *o)
{
	json_t *ips = json_array(), *ip;
	size_t i;

	json_array_foreach (json_at(o, "status", "podIPs"), i, ip)
		json_array_append(ips, json_at(ip, "ip"));
	return json_pack("{s:s,s:s,s:s,s:o,s:s}", "namespace", json_str_or(json_at(o, "metadata", "namespace"), ""), "name",
			 json_str_or(json_at(o, "metadata", "name"), ""), "node", json_str_or(json_at(o, "spec", "nodeName"), ""), "ips", ips,
			 "phase", json_str_or(json_at(o, "status", "phase"), "Pending"));
}

static json_t *encode_service(const json_t *o)
{
	return json_pack("{s:s,s:s,s:o}", "namespace", json_str_or(json_at(o, "metadata", "namespace"), ""), "name",
			 json_str_or(json_at(o, "metadata", "name"), ""), "clusterIPs", copy_or_empty(json_at(o, "spec", "clusterIPs")));
}

static json_t *encode_items(const json_t *items, json_t *(*encode)(const json_t *))
{
	json_t *a = json_array(), *o;
	size_t i;

	json_array_foreach (items, i, o)
		json_array_append_new(a, encode(o));
	return a;
}

static json_t *encode_world(const struct lab *lab)
{
	json_t *a = json_array();
	char text[ADDR_TEXT_MAX];

	for (int i = 0; i < 2; i++) {
		struct addr w = lab_world_address(i ? AF_INET6 : AF_INET);

		if (lab_has(lab, i ? AF_INET6 : AF_INET))
			json_array_append_new(a, json_string(addr_format(&w, text)));
	}
	return json_pack("{s:o}", "addresses", a);
}

static char *hub_url(const struct lab *lab)
{
	_cleanup_free_ char *path = lab_path(lab, "kubeconfig"), *error = NULL;
	struct kube_config config = { 0 };
	char *url = kube_config_load(path, &config, &error) == 0 ? xstrdup(config.server) : xstrdup("");

	kube_config_done(&config);
	return url;
}

static json_t *encode(const struct lab *lab, const struct answers *a)
{
	_cleanup_free_ char *path = lab_path(lab, "kubeconfig"), *url = hub_url(lab);
	json_t *nodes = json_array();

	for (size_t i = 0; i < lab->n_nodes; i++)
		json_array_append_new(nodes, encode_node(lab, &lab->nodes[i], a->items[0]));
	return json_pack("{s:s,s:{s:s,s:s},s:s,s:s,s:o,s:o,s:o,s:o}", "name", lab->name, "hub", "url", url, "kubeconfig", path, "transport",
			 lab->transport, "family", lab_family_text(lab->family), "nodes", nodes, "pods", encode_items(a->items[1], encode_pod),
			 "services", encode_items(a->items[2], encode_service), "world", encode_world(lab));
}

static void print_list(const json_t *strings, int width)
{
	int n = 0;
	json_t *s;
	size_t i;

	json_array_foreach (strings, i, s)
		n += printf("%s%s", i ? " " : "", json_string_value(s));
	printf("%*s", width > n ? width - n : 1, "");
}

static void print_human(const json_t *j)
{
	json_t *o;
	size_t i;

	printf("Lab \"%s\": transport %s, %s\n  hub      %s\n  kubectl  --kubeconfig %s\n  world    ", json_str_at(j, "name"),
	       json_str_at(j, "transport"), json_str_at(j, "family"), json_str_at(j, "hub", "url"), json_str_at(j, "hub", "kubeconfig"));
	print_list(json_at(j, "world", "addresses"), 0);
	printf("\n\nNODE   STATE     READY  ZONE  SUBNET  ADDRESSES                    PODS GET\n");
	json_array_foreach (json_at(j, "nodes"), i, o) {
		printf("%-6s %-9s %-6s %-5s %-7d ", json_str_at(o, "name"), json_str_at(o, "state"), json_is_true(json_at(o, "ready")) ? "yes" : "no",
		       json_str_at(o, "zone"), (int)json_integer_value(json_at(o, "subnet")));
		print_list(json_at(o, "addresses"), 29);
		print_list(json_at(o, "podCIDRs"), 0);
		putchar('\n');
	}
	printf("\nPOD                              NODE   PHASE      ADDRESSES\n");
	json_array_foreach (json_at(j, "pods"), i, o) {
		_cleanup_free_ char *name = xasprintf("%s/%s", json_str_at(o, "namespace"), json_str_at(o, "name"));

		printf("%-32s %-6s %-10s ", name, json_str_at(o, "node"), json_str_at(o, "phase"));
		print_list(json_at(o, "ips"), 0);
		putchar('\n');
	}
	if (json_array_size(json_at(j, "services")) == 0)
		return;
	printf("\nSERVICE                          CLUSTER IPS\n");
	json_array_foreach (json_at(j, "services"), i, o) {
		_cleanup_free_ char *name = xasprintf("%s/%s", json_str_at(o, "namespace"), json_str_at(o, "name"));

		printf("%-32s ", name);
		print_list(json_at(o, "clusterIPs"), 0);
		putchar('\n');
	}
}

int lab_status(const struct lab_args *args)
{
	_cleanup_lab_ struct lab lab = { 0 };
	_cleanup_(answers_done) struct answers a = { 0 };
	_cleanup_json_ json_t *j = NULL;
	_cleanup_free_ char *text = NULL;
	int r;

	if (lab_get(args, &lab) < 0)
		return 1;
	r = ask(&lab, &a);
	if (r < 0)
		lab_fail("the hub of lab \"%s\" does not answer: %s", lab.name, a.error);
	j = encode(&lab, &a);
	if (args->json) {
		text = json_dumps(j, JSON_INDENT(2));
		puts(text);
	} else {
		print_human(j);
	}
	return r < 0;
}
