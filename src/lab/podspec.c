/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/podspec.h"
#include "base/buf.h"

enum { STRING_MAX = 128 * 1024 - 1 }; /* MAX_ARG_STRLEN, without the NUL */

struct strings {
	char **s;
	size_t n, cap;
};

void strings_free(char **s)
{
	for (char **p = s; p && *p; p++)
		free(*p);
	free(s);
}

static void add(struct strings *v, char *s)
{
	GROW(v->s, v->n + 1, v->cap);
	v->s[v->n++] = s;
	v->s[v->n] = NULL;
}

static const char *lookup(char *const *env, const char *name, size_t len)
{
	for (; env && *env; env++)
		if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
			return *env + len + 1;
	return NULL;
}

/* $(NAME) becomes the variable's value, $$ a dollar; an unknown $(NAME) stays as it is, as in Kubernetes. Return: NULL when
 * that makes a string which execve(2) would not take (variables that name others twice grow fast). */
static char *expand(const char *s, char *const *env)
{
	_cleanup_(buf_done) struct buf b = { .max = STRING_MAX };
	int r = buf_adds(&b, "");

	for (; *s && r == 0; s++) {
		size_t n = s[0] == '$' && s[1] == '(' ? strcspn(s + 2, ")") : 0;
		const char *value = n > 0 && s[2 + n] ? lookup(env, s + 2, n) : NULL;

		if (s[0] == '$' && s[1] == '$') {
			r = buf_adds(&b, "$");
			s++;
		} else if (value) {
			r = buf_adds(&b, value);
			s += n + 2;
		} else {
			r = buf_add(&b, s, 1);
		}
	}
	return r == 0 ? take_ptr(b.data) : NULL;
}

static char *join(const json_t *strings)
{
	struct buf b = { 0 };
	size_t i;
	json_t *s;

	json_array_foreach (strings, i, s)
		buf_addf(&b, "%s%s", i ? "," : "", json_str_or(s, ""));
	return b.data ? b.data : xstrdup("");
}

/* metadata.labels['key'] and metadata.annotations['key'] */
static char *keyed_field(const struct pod_facts *f, const char *path)
{
	static const char *const maps[] = { "labels", "annotations" };

	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		_cleanup_free_ char *prefix = xasprintf("metadata.%s['", maps[i]), *key = NULL;

		if (!str_has_prefix(path, prefix) || !str_has_suffix(path, "']"))
			continue;
		key = xstrndup(path + strlen(prefix), strlen(path) - strlen(prefix) - 2);
		return xstrdup(json_str_or(json_object_get(json_at(f->pod, "metadata", maps[i]), key), ""));
	}
	return NULL;
}

char *podspec_field(const struct pod_facts *f, const char *path)
{
	const char *fixed[][2] = {
		{ "metadata.name", json_str_at(f->pod, "metadata", "name") },
		{ "metadata.namespace", json_str_at(f->pod, "metadata", "namespace") },
		{ "metadata.uid", json_str_at(f->pod, "metadata", "uid") },
		{ "spec.nodeName", f->node },
		{ "spec.serviceAccountName", json_str_or(json_at(f->pod, "spec", "serviceAccountName"), "default") },
		{ "status.podIP", json_str_or(json_array_get(f->pod_ips, 0), "") },
		{ "status.hostIP", json_str_or(json_array_get(f->host_ips, 0), "") },
	};

	for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
		if (streq(path, fixed[i][0]))
			return xstrdup(fixed[i][1] ? fixed[i][1] : "");
	if (streq(path, "status.podIPs"))
		return join(f->pod_ips);
	if (streq(path, "status.hostIPs"))
		return join(f->host_ips);
	return keyed_field(f, path);
}

static int add_variable(const struct pod_facts *f, const json_t *e, struct strings *env, char **ret_why)
{
	const char *name = json_str_or(json_at(e, "name"), ""), *path = json_str_at(e, "valueFrom", "fieldRef", "fieldPath");
	_cleanup_free_ char *value = NULL;

	if (path)
		value = podspec_field(f, path);
	else if (!json_at(e, "valueFrom"))
		value = expand(json_str_or(json_at(e, "value"), ""), env->s);
	if (!value) {
		*ret_why = xasprintf("the lab cannot fill the variable %s: only value and fieldRef of at most 128 KiB are supported%s%s", name,
				     path ? ", and no field " : "", path ? path : "");
		return -ENOTSUP;
	}
	add(env, xasprintf("%s=%s", name, value));
	return 0;
}

/* Later definitions win, as in a container: execve() hands all of them over, so the earlier ones have to go. */
static void drop_overridden(struct strings *v)
{
	size_t kept = 0;

	for (size_t i = 0; i < v->n; i++) {
		size_t len = strcspn(v->s[i], "=");

		if (lookup(v->s + i + 1, v->s[i], len))
			free(v->s[i]);
		else
			v->s[kept++] = v->s[i];
	}
	v->n = kept;
	v->s[kept] = NULL;
}

int podspec_env(const struct pod_facts *f, const json_t *container, const char *base_path, char ***ret, char **ret_why)
{
	const char *name = json_str_or(json_at(f->pod, "metadata", "name"), "");
	struct strings env = { 0 };
	json_t *e;
	size_t i;
	int r = 0;

	add(&env, xasprintf("PATH=%s", base_path));
	add(&env, xstrdup("HOME=/root"));
	add(&env, xasprintf("HOSTNAME=%s", name));
	add(&env, xasprintf("POD_NAME=%s", name));
	add(&env, xasprintf("POD_NAMESPACE=%s", json_str_or(json_at(f->pod, "metadata", "namespace"), "")));
	add(&env, xasprintf("NODE_NAME=%s", f->node));
	if (json_array_size(json_at(container, "envFrom")) > 0) {
		*ret_why = xstrdup("the lab does not support envFrom");
		r = -ENOTSUP;
	}
	json_array_foreach (json_at(container, "env"), i, e)
		if (r == 0)
			r = add_variable(f, e, &env, ret_why);
	if (r < 0) {
		strings_free(env.s);
		return r;
	}
	drop_overridden(&env);
	*ret = env.s;
	return 0;
}

static bool declares(const json_t *pod, json_int_t port, const char *protocol)
{
	json_t *c, *p;
	size_t i, k;

	json_array_foreach (json_at(pod, "spec", "containers"), i, c)
		json_array_foreach (json_at(c, "ports"), k, p)
			if (json_integer_value(json_at(p, "containerPort")) == port &&
			    streq(json_str_or(json_at(p, "protocol"), "TCP"), protocol))
				return true;
	return false;
}

static char **echo_argv(const json_t *pod, const json_t *container, const char *bin)
{
	struct strings v = { 0 };
	json_t *p;
	size_t i;

	add(&v, xasprintf("%s/weft-echo", bin));
	json_array_foreach (json_at(container, "ports"), i, p) {
		json_int_t port = json_integer_value(json_at(p, "containerPort"));
		bool udp = streq(json_str_at(p, "protocol"), "UDP"), tcp = streq(json_str_or(json_at(p, "protocol"), "TCP"), "TCP");

		if (tcp || (udp && !declares(pod, port, "TCP")))
			add(&v, xasprintf("%d/tcp", (int)port));
		if (udp || (tcp && !declares(pod, port, "UDP")))
			add(&v, xasprintf("%d/udp", (int)port));
	}
	return v.s;
}

/* A word that would grow too long stays as it is written: the program then says what it cannot read. */
static void add_word(struct strings *v, const char *word, char *const *env)
{
	char *s = expand(word, env);

	add(v, s ? s : xstrdup(word));
}

char **podspec_argv(const json_t *pod, const json_t *container, const char *bin, char *const *env)
{
	const json_t *lists[] = { json_at(container, "command"), json_at(container, "args") };
	struct strings v = { 0 };
	json_t *a;
	size_t i;

	if (json_array_size(lists[0]) == 0)
		return echo_argv(pod, container, bin);
	for (size_t l = 0; l < ARRAY_SIZE(lists); l++)
		json_array_foreach (lists[l], i, a)
			add_word(&v, json_str_or(a, ""), env);
	return v.s;
}

static bool has_sctp(const json_t *container)
{
	json_t *p;
	size_t i;

	json_array_foreach (json_at(container, "ports"), i, p)
		if (streq(json_str_at(p, "protocol"), "SCTP"))
			return true;
	return false;
}

static void note(struct buf *b, const char *what)
{
	buf_addf(b, "%s%s", b->len ? ", " : "", what);
}

char *podspec_ignored(const json_t *pod)
{
	static const char *const of_container[] = { "lifecycle", "startupProbe", "resources", "securityContext" };
	struct buf b = { 0 };
	json_t *c;
	size_t i;

	if (json_array_size(json_at(pod, "spec", "volumes")) > 0)
		note(&b, "volumes");
	if (json_object_size(json_at(pod, "spec", "affinity")) > 0)
		note(&b, "affinity");
	json_array_foreach (json_at(pod, "spec", "containers"), i, c) {
		for (size_t k = 0; k < ARRAY_SIZE(of_container); k++)
			if (json_object_size(json_object_get(c, of_container[k])) > 0)
				note(&b, of_container[k]);
		if (json_array_size(json_at(c, "args")) > 0 && json_array_size(json_at(c, "command")) == 0)
			note(&b, "args without command");
		if (has_sctp(c))
			note(&b, "SCTP ports");
	}
	return b.data;
}

bool podspec_restarts(const json_t *pod, int exit_code)
{
	const char *policy = json_str_or(json_at(pod, "spec", "restartPolicy"), "Always");

	return streq(policy, "Always") || (streq(policy, "OnFailure") && exit_code != 0);
}
