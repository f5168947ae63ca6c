/* SPDX-License-Identifier: Apache-2.0 */
/* The pods of this node, as the API names them. Pods are told apart by UID: a new one may have the name of an old one that
 * is still ending. */
#include "base/log.h"
#include "lab/pod.h"

static struct pod *find(struct kubelet *k, const char *uid)
{
	struct pod *p;

	list_for_each (p, &k->pods, link)
		if (streq(p->uid, uid))
			return p;
	return NULL;
}

/* The names become paths: what the API should never have let through stops here. */
static bool is_sound(const json_t *object)
{
	const char *ns = json_str_at(object, "metadata", "namespace"), *name = json_str_at(object, "metadata", "name");
	const char *uid = json_str_at(object, "metadata", "uid");
	static const char *const lists[] = { "initContainers", "containers" };
	json_t *c;
	size_t i;

	if (!ns || !name || !uid || !name_is_dns_label(ns) || !name_is_dns_subdomain(name) || !name_is_dns_subdomain(uid))
		return false;
	for (size_t l = 0; l < ARRAY_SIZE(lists); l++)
		json_array_foreach (json_at(object, "spec", lists[l]), i, c)
			if (!name_is_dns_label(json_str_or(json_at(c, "name"), "")))
				return false;
	return true;
}

static void upsert(json_t *object, void *ctx)
{
	struct kubelet *k = ctx;
	struct pod *p;

	if (!is_sound(object)) {
		log_error("a pod with impossible names is not run", L_STR("pod", json_str_at(object, "metadata", "name")));
		return;
	}
	p = find(k, json_str_at(object, "metadata", "uid"));
	if (p)
		pod_update(p, object);
	else
		pod_new(k, object);
}

static void del(json_t *object, void *ctx)
{
	struct pod *p = find(ctx, json_str_or(json_at(object, "metadata", "uid"), ""));

	if (p)
		pod_gone(p);
}

static void replace_begin(void *ctx)
{
	struct kubelet *k = ctx;
	struct pod *p;

	list_for_each (p, &k->pods, link)
		p->seen = false;
}

static void synced(void *ctx)
{
	struct kubelet *k = ctx;
	struct pod *p, *next;

	list_for_each_safe (p, next, &k->pods, link)
		if (!p->seen && !p->gone)
			pod_gone(p);
}

static const struct kube_watch_ops ops = {
	.replace_begin = replace_begin, .object = upsert, .synced = synced, .upsert = upsert, .del = del,
};

int pods_start(struct kubelet *k)
{
	_cleanup_free_ char *selector = xasprintf("spec.nodeName=%s", k->node->name);
	struct kube_watch_config config = { .path = "/api/v1/pods", .field_selector = selector, .ops = &ops, .ctx = k,
					    .backoff_min_ms = 100, .backoff_max_ms = 5000 };

	return kube_watch_new(k->client, &config, &k->watch);
}

void pods_network_changed(struct kubelet *k)
{
	struct pod *p, *next;

	list_for_each_safe (p, next, &k->pods, link)
		pod_start(p);
}
