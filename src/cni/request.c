/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: everything in them is foreign. Each field is checked here, once, and nothing that failed goes further.
 * The ids in comments are those of the assertions that the tests are named after. */
#include "base/str.h"
#include "cni/cni.h"

#include <net/if.h>

const char *const cni_env_names[] = {"CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME",
				     "CNI_ARGS",    "CNI_PATH",	       NULL};

static const char *const versions[] = {"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};
enum { V_040 = 4, V_110 = 6, VALID_MAX = 100000 };

static const struct {
	const char *name;
	bool container, netns, ifname; /* required */
	int since;		       /* index of the first version that has it */
} commands[] = {
    [CNI_ADD] = {"ADD", true, true, true},
    [CNI_DEL] = {"DEL", true, false, true},
    [CNI_CHECK] = {"CHECK", true, true, true, V_040},
    [CNI_GC] = {"GC", .since = V_110},
    [CNI_STATUS] = {"STATUS", .since = V_110},
    [CNI_VERSION] = {"VERSION"},
};

void cni_error_done(struct cni_error *e)
{
	free(e->msg);
	free(e->details);
	*e = (struct cni_error){0};
}

int cni_fail(struct cni_error *e, int code, const char *fmt, ...)
{
	va_list ap;

	if (!e->code) {
		va_start(ap, fmt);
		e->msg = xvasprintf(fmt, ap);
		va_end(ap);
		e->code = code;
	}
	return -code;
}

void cni_request_done(struct cni_request *r)
{
	free(r->network);
	free(r->container);
	free(r->netns);
	free(r->ifname);
	free(r->pod_namespace);
	free(r->pod_name);
	free(r->pod_uid);
	json_decref(r->prev_result);
	for (size_t i = 0; i < r->n_valid; i++) {
		free(r->valid[i].container);
		free(r->valid[i].ifname);
	}
	free(r->valid);
	*r = (struct cni_request){0};
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Starts alphanumeric, then alphanumeric, '_', '.', '-' (CNI-2, CNI-3). */
static bool is_identifier(const char *s)
{
	if (!is_alnum(*s) || strlen(s) > 255)
		return false;
	for (; *s; s++)
		if (!is_alnum(*s) && !strchr("_.-", *s))
			return false;
	return true;
}

static bool is_ifname(const char *s)
{
	if (!*s || strlen(s) >= IF_NAMESIZE || streq(s, ".") || streq(s, ".."))
		return false;
	for (; *s; s++)
		if ((unsigned char)*s <= ' ' || *s == 0x7f || strchr("/:%", *s) || (unsigned char)*s >= 0x80)
			return false;
	return true;
}

static bool is_clean_path(const char *s)
{
	if (*s != '/' || strstr(s, "/../") || str_has_suffix(s, "/..") || strlen(s) >= 4096)
		return false;
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			return false;
	return true;
}

static int version_index(const char *v)
{
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++)
		if (streq(versions[i], v))
			return i;
	return -ENOENT;
}

static char *escaped(const char *s)
{
	char out[300];

	str_escape(out, sizeof(out), s);
	return xstrdup(out);
}

static int fail_env(struct cni_error *e, const char *name, const char *value, const char *expected)
{
	_cleanup_free_ char *shown = escaped(value);

	if (!*value)
		return cni_fail(e, CNI_ERR_ENV, "%s is missing; expected %s", name, expected);
	return cni_fail(e, CNI_ERR_ENV, "%s=\"%s\" is not valid; expected %s", name, shown, expected);
}

static const char *env_get(const json_t *env, const char *name)
{
	return json_str_or(json_object_get(env, name), "");
}

static int parse_command(const json_t *env, enum cni_command *ret, struct cni_error *e)
{
	const char *s = env_get(env, "CNI_COMMAND");

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (streq(commands[i].name, s)) {
			*ret = i;
			return 0;
		}
	}
	return fail_env(e, "CNI_COMMAND", s, "ADD, DEL, CHECK, GC, STATUS or VERSION");
}

static bool is_uid(const char *s)
{
	return is_identifier(s) && strlen(s) <= 128;
}

static bool is_namespace(const char *s)
{
	return name_is_dns_label(s);
}

/* CNI_ARGS that matter to us; unknown ones are passed over (CNI-80). */
static int take_arg(struct cni_request *r, const char *key, const char *value, struct cni_error *e)
{
	const struct {
		const char *key;
		char **to;
		bool (*ok)(const char *);
	} known[] = {
	    {"K8S_POD_NAMESPACE", &r->pod_namespace, is_namespace},
	    {"K8S_POD_NAME", &r->pod_name, is_identifier}, /* podman: a container's name, with '_' */
	    {"K8S_POD_UID", &r->pod_uid, is_uid},
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		_cleanup_free_ char *shown = NULL;

		if (!streq(known[i].key, key))
			continue;
		if (*value && !known[i].ok(value)) {
			shown = escaped(value);
			return cni_fail(e, CNI_ERR_ENV, "CNI_ARGS: %s=\"%s\" is not valid; expected the name of a Kubernetes object or a container",
					key, shown);
		}
		free(*known[i].to);
		*known[i].to = xstrdup(value);
	}
	return 0;
}

static int parse_args(struct cni_request *r, const char *args, struct cni_error *e)
{
	_cleanup_free_ char *copy = xstrdup(args);
	char *save = NULL;

	for (char *kv = strtok_r(copy, ";", &save); kv; kv = strtok_r(NULL, ";", &save)) {
		char *eq = strchr(kv, '=');
		int code;

		if (!eq || eq == kv)
			return fail_env(e, "CNI_ARGS", kv, "KEY=VALUE;KEY=VALUE");
		*eq = '\0';
		code = take_arg(r, kv, eq + 1, e);
		if (code < 0)
			return code;
	}
	return 0;
}

static int parse_env(const json_t *env, struct cni_request *r, struct cni_error *e)
{
	const char *container = env_get(env, "CNI_CONTAINERID"), *netns = env_get(env, "CNI_NETNS"),
		   *ifname = env_get(env, "CNI_IFNAME");

	if (r->command == CNI_VERSION) { /* concerns no pod: libcni sets all of these to "dummy", the path too */
		r->container = xstrdup("");
		r->ifname = xstrdup("");
		r->netns = xstrdup("");
		return 0;
	}
	if ((commands[r->command].container || *container) && !is_identifier(container))
		return fail_env(e, "CNI_CONTAINERID", container,
				"a letter or digit, then letters, digits, '_', '.', '-'");
	if ((commands[r->command].ifname || *ifname) && !is_ifname(ifname))
		return fail_env(e, "CNI_IFNAME", ifname, "an interface name of at most 15 characters");
	if ((commands[r->command].netns || *netns) && !is_clean_path(netns))
		return fail_env(e, "CNI_NETNS", netns, "the absolute path of a network namespace");
	r->container = xstrdup(container);
	r->ifname = xstrdup(ifname);
	r->netns = xstrdup(netns);
	return parse_args(r, env_get(env, "CNI_ARGS"), e);
}

/* All variables that a command misses are named in one message (CNI-3). */
static int check_missing(const json_t *env, enum cni_command c, struct cni_error *e)
{
	const struct {
		const char *name;
		bool needed;
	} vars[] = {{"CNI_CONTAINERID", commands[c].container},
		    {"CNI_NETNS", commands[c].netns},
		    {"CNI_IFNAME", commands[c].ifname}};
	_cleanup_free_ char *names = xstrdup("");

	for (size_t i = 0; i < ARRAY_SIZE(vars); i++) {
		char *more;

		if (!vars[i].needed || *env_get(env, vars[i].name))
			continue;
		more = xasprintf("%s%s%s", names, *names ? ", " : "", vars[i].name);
		free(names);
		names = more;
	}
	return *names ? cni_fail(e, CNI_ERR_ENV, "missing in the environment of %s: %s", commands[c].name, names) : 0;
}

static int parse_version(const json_t *config, struct cni_request *r, struct cni_error *e)
{
	const json_t *v = json_object_get(config, "cniVersion");
	const char *s = v ? json_string_value(v) : "0.1.0"; /* as the reference does for configurations without one */
	int i;

	if (!s)
		return cni_fail(e, CNI_ERR_CONFIG, "cniVersion: expected a string");
	i = version_index(s);
	if (i < 0) {
		_cleanup_free_ char *shown = escaped(s);

		return cni_fail(e, CNI_ERR_VERSION,
				"cniVersion \"%s\" is not supported; expected 0.1.0, 0.2.0, 0.3.0, 0.3.1, "
				"0.4.0, 1.0.0 or 1.1.0",
				shown);
	}
	if (i < commands[r->command].since)
		return cni_fail(e, CNI_ERR_VERSION, "cniVersion %s has no %s; expected %s or later", s,
				commands[r->command].name, versions[commands[r->command].since]);
	r->version = versions[i];
	return 0;
}

static int parse_names(const json_t *config, struct cni_request *r, struct cni_error *e)
{
	const char *name = json_str_or(json_object_get(config, "name"), ""),
		   *type = json_str_or(json_object_get(config, "type"), "");
	const char *ipam = json_str_at(config, "ipam", "type");
	_cleanup_free_ char *shown = NULL;

	if (!is_identifier(name)) {
		shown = escaped(name);
		return cni_fail(e, CNI_ERR_CONFIG,
				"name: \"%s\" is not valid; expected a letter or digit, then letters, digits, "
				"'_', '.', '-'",
				shown);
	}
	if (!is_identifier(type)) {
		shown = escaped(type);
		return cni_fail(e, CNI_ERR_CONFIG, "type: \"%s\" is not valid; expected the name of a plugin", shown);
	}
	if (ipam && *ipam && !streq(ipam, "weft")) {
		shown = escaped(ipam);
		return cni_fail(e, CNI_ERR_FIELD,
				"ipam.type \"%s\" is not supported: addresses come from the node's range; "
				"leave ipam out",
				shown);
	}
	free(r->network);
	r->network = xstrdup(name);
	return 0;
}

static int take_ips(struct cni_request *r, const char *where, const json_t *ips, struct cni_error *e)
{
	if (!ips)
		return 0;
	if (!json_is_array(ips) || json_array_size(ips) > 2)
		return cni_fail(e, CNI_ERR_CONFIG, "%s: expected a list of at most one address a family", where);
	for (size_t i = 0; i < json_array_size(ips); i++) {
		const char *s = json_str_or(json_array_get(ips, i), "");
		struct prefix p;
		struct addr a;

		if (addr_parse(s, &a) < 0 && prefix_parse(s, &p, &a) < 0) {
			_cleanup_free_ char *shown = escaped(s);

			return cni_fail(e, CNI_ERR_CONFIG, "%s[%zu]: \"%s\" is not an address", where, i, shown);
		}
		if (addr_is_zero(&a)) /* would read as "any" from here on */
			return cni_fail(e, CNI_ERR_CONFIG, "%s[%zu]: \"%s\" is no address that a pod can have", where,
					i, s);
		if (!addr_is_zero(&r->want[!addr_is_v4(&a)]))
			return cni_fail(e, CNI_ERR_CONFIG, "%s: two addresses of one family", where);
		r->want[!addr_is_v4(&a)] = a;
	}
	return 0;
}

static int parse_prev(const json_t *config, struct cni_request *r, struct cni_error *e)
{
	json_t *prev = json_object_get(config, "prevResult");

	if (json_is_null(prev))
		prev = NULL;
	if (prev && !json_is_object(prev))
		return cni_fail(e, CNI_ERR_CONFIG, "prevResult: expected an object");
	if (r->command == CNI_CHECK && !prev)
		return cni_fail(e, CNI_ERR_CONFIG, "prevResult is missing; CHECK needs the result of ADD");
	r->prev_result = json_incref(prev);
	return 0;
}

static int parse_valid(const json_t *config, struct cni_request *r, struct cni_error *e)
{
	const json_t *list = json_object_get(config, "cni.dev/valid-attachments");
	size_t n = json_array_size(list);

	if (!json_is_array(list))
		return cni_fail(e, CNI_ERR_CONFIG,
				"cni.dev/valid-attachments: expected a list; GC removes what it does not name");
	if (n > VALID_MAX)
		return cni_fail(e, CNI_ERR_CONFIG, "cni.dev/valid-attachments: more than %d entries", VALID_MAX);
	r->valid = xnew0_array(struct cni_attachment, n);
	for (size_t i = 0; i < n; i++) {
		const json_t *a = json_array_get(list, i);
		const char *container = json_str_at(a, "containerID"), *ifname = json_str_at(a, "ifname");

		if (!container || !ifname)
			return cni_fail(
			    e, CNI_ERR_CONFIG,
			    "cni.dev/valid-attachments[%zu]: expected an object with containerID and ifname", i);
		r->valid[r->n_valid++] = (struct cni_attachment){xstrdup(container), xstrdup(ifname)};
	}
	return 0;
}

static int parse_config(const json_t *config, struct cni_request *r, struct cni_error *e)
{
	int code = parse_version(config, r, e);

	if (code < 0 || r->command == CNI_VERSION)
		return code;
	code = parse_names(config, r, e);
	if (code == 0 && r->command == CNI_ADD)
		code = take_ips(r, "runtimeConfig.ips", json_at(config, "runtimeConfig", "ips"), e);
	if (code == 0 && r->command == CNI_ADD && addr_is_zero(&r->want[0]) && addr_is_zero(&r->want[1]))
		code = take_ips(r, "args.cni.ips", json_at(config, "args", "cni", "ips"), e);
	if (code == 0 && (r->command == CNI_ADD || r->command == CNI_CHECK))
		code = parse_prev(config, r, e); /* DEL never needs it: a corrupted one is no reason to leak (CNI-20) */
	if (code == 0 && r->command == CNI_GC)
		code = parse_valid(config, r, e);
	return code;
}

int cni_request_parse(const json_t *env, const char *config, size_t len, struct cni_request *ret,
		      struct cni_error *ret_error)
{
	struct cni_request r = {.version = versions[V_110]};
	_cleanup_json_ json_t *j = NULL;
	_cleanup_free_ char *why = NULL;
	int code = parse_command(env, &r.command, ret_error);

	r.network = xstrdup("");
	r.pod_namespace = xstrdup("");
	r.pod_name = xstrdup("");
	r.pod_uid = xstrdup("");
	if (code == 0)
		code = check_missing(env, r.command, ret_error);
	if (code == 0)
		code = parse_env(env, &r, ret_error);
	if (code == 0) {
		j = json_parse("network configuration", config, len, &why);
		if (!j)
			code = cni_fail(ret_error, CNI_ERR_DECODE, "%s", why);
		else if (!json_is_object(j))
			code = cni_fail(ret_error, CNI_ERR_DECODE, "network configuration: expected a JSON object");
	}
	if (code == 0)
		code = parse_config(j, &r, ret_error);
	if (code < 0) {
		cni_request_done(&r);
		return code;
	}
	*ret = r;
	return 0;
}

const char *cni_answer_version(const char *config, size_t len)
{
	_cleanup_json_ json_t *j = json_parse("", config, len, NULL);
	const char *s = json_str_at(j, "cniVersion");
	int i = s ? version_index(s) : -ENOENT;

	return versions[i >= 0 ? i : V_110];
}

char *cni_run_dir(const char *config, size_t len)
{
	_cleanup_json_ json_t *j = json_parse("", config, len, NULL);
	const char *s = json_str_at(j, "runDir");

	return xstrdup(s && is_clean_path(s) ? s : "/run/weft");
}
