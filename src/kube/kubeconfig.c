/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/kubeconfig.h"
#include "base/file.h"
#include "base/str.h"
#include "base/yaml.h"

#include <openssl/evp.h>

enum { FILE_MAX = 1 << 20 };

static const char account_dir[] = "/var/run/secrets/kubernetes.io/serviceaccount";

static void wipe(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

void kube_config_done(struct kube_config *c)
{
	free(c->server);
	free(c->ca);
	free(c->cert);
	wipe(c->key);
	wipe(c->token);
	free(c->token_path);
	free(c->tls_server_name);
	free(c->namespace_);
	*c = (struct kube_config){0};
}

struct parsing {
	const char *what, *dir;
	char *error;
};

static int _printf_(2, 3) fail(struct parsing *p, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	char clean[512];
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	str_escape(clean, sizeof(clean), text);
	free(p->error);
	p->error = xasprintf("%s: %s", p->what, clean);
	return -EINVAL;
}

/* The element of the list @key of @doc that is called @name: its member @member. */
static const json_t *find_named(const json_t *doc, const char *key, const char *name, const char *member)
{
	const json_t *list = json_object_get(doc, key), *item;
	size_t i;

	json_array_foreach(list, i, item)
		if (streq(json_str_at(item, "name"), name))
			return json_object_get(item, member);
	return NULL;
}

static int decode_base64(const char *text, char **ret)
{
	size_t len = strlen(text), pad = 0;
	unsigned char *out = xmalloc(len / 4 * 3 + 1);
	int n = len % 4 == 0 && len <= FILE_MAX * 2 ? EVP_DecodeBlock(out, (const unsigned char *)text, len) : -1;

	while (pad < len && pad < 2 && text[len - 1 - pad] == '=')
		pad++;
	if (n < (int)pad || memchr(out, 0, n - pad)) {
		free(out);
		return -EINVAL;
	}
	out[n - pad] = 0;
	*ret = (char *)out;
	return 0;
}

static int read_relative(struct parsing *p, const char *path, char **ret)
{
	_cleanup_free_ char *full = *path == '/' || !p->dir ? xstrdup(path) : xasprintf("%s/%s", p->dir, path);
	size_t len;
	int r = file_read(full, FILE_MAX, ret, &len);

	return r < 0 ? (fail(p, "cannot read %s: %s", full, strerror(-r)), r) : 0;
}

/* What "x" (a file name) or "x-data" (base64) holds; data wins. Absent is a success. */
static int read_material(struct parsing *p, const json_t *from, const char *key, char **ret)
{
	_cleanup_free_ char *data_key = xasprintf("%s-data", key);
	const json_t *data = json_object_get(from, data_key), *file = json_object_get(from, key);

	if (data && !json_is_null(data) && *json_str_or(data, "x")) {
		if (!json_is_string(data) || decode_base64(json_string_value(data), ret) < 0)
			return fail(p, "%s is not base64", data_key);
		return 0;
	}
	if (!file || json_is_null(file) || !*json_str_or(file, "x"))
		return 0;
	if (!json_is_string(file))
		return fail(p, "%s: expected a file name", key);
	return read_relative(p, json_string_value(file), ret);
}

static int copy_string(struct parsing *p, const json_t *from, const char *key, char **ret)
{
	const json_t *j = json_object_get(from, key);

	if (!j || json_is_null(j) || !*json_str_or(j, "x"))
		return 0;
	if (!json_is_string(j) || strpbrk(json_string_value(j), "\r\n"))
		return fail(p, "%s: expected one line of text", key);
	*ret = xstrdup(json_string_value(j));
	return 0;
}

static bool has_host(const char *url)
{
	size_t scheme = str_has_prefix(url, "https://") ? 8 : str_has_prefix(url, "http://") ? 7 : 0;

	return scheme && url[scheme] && url[scheme] != '/';
}

static int check_server(struct parsing *p, char *server)
{
	size_t n = server ? strlen(server) : 0;

	if (!server)
		return fail(p, "the cluster has no server");
	if (!has_host(server) || strpbrk(server, " ?#@"))
		return fail(p, "server: expected https://HOST:PORT, not \"%s\"", server);
	while (n && server[n - 1] == '/')
		server[--n] = 0;
	return 0;
}

static int read_cluster(struct parsing *p, const json_t *cluster, struct kube_config *c)
{
	const json_t *insecure = json_object_get(cluster, "insecure-skip-tls-verify");
	int r;

	r = copy_string(p, cluster, "server", &c->server);
	if (r == 0)
		r = check_server(p, c->server);
	if (r == 0)
		r = copy_string(p, cluster, "tls-server-name", &c->tls_server_name);
	if (r == 0)
		r = read_material(p, cluster, "certificate-authority", &c->ca);
	if (r < 0)
		return r;
	if (insecure && !json_is_boolean(insecure))
		return fail(p, "insecure-skip-tls-verify: expected true or false");
	c->insecure = json_is_true(insecure);
	return 0;
}

static int read_token(struct parsing *p, const json_t *user, struct kube_config *c)
{
	const char *file = json_str_at(user, "tokenFile");
	int r = copy_string(p, user, "token", &c->token);

	if (r < 0 || !file || !*file)
		return r;
	c->token_path = *file == '/' || !p->dir ? xstrdup(file) : xasprintf("%s/%s", p->dir, file);
	return 0;
}

static int read_user(struct parsing *p, const json_t *user, struct kube_config *c)
{
	static const char *const refused[] = {"exec", "auth-provider", "username"};
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		if (json_object_get(user, refused[i]))
			return fail(p, "the user's \"%s\" is not supported: use a client certificate or a token",
				    refused[i]);
	r = read_material(p, user, "client-certificate", &c->cert);
	if (r == 0)
		r = read_material(p, user, "client-key", &c->key);
	if (r == 0)
		r = read_token(p, user, c);
	if (r == 0 && !c->cert != !c->key)
		return fail(p, "the user has a client %s without the %s", c->cert ? "certificate" : "key",
			    c->cert ? "key" : "certificate");
	return r;
}

static int read_context(struct parsing *p, const json_t *doc, struct kube_config *c)
{
	const char *name = json_str_at(doc, "current-context"), *cluster, *user;
	const json_t *context, *found;
	int r;

	if (!name || !*name)
		return fail(p, "no current-context is set");
	context = find_named(doc, "contexts", name, "context");
	if (!context)
		return fail(p, "the current context \"%s\" is not there", name);
	cluster = json_str_at(context, "cluster");
	found = cluster ? find_named(doc, "clusters", cluster, "cluster") : NULL;
	if (!found)
		return fail(p, "context \"%s\" names the cluster \"%s\", which is not there", name,
			    cluster ? cluster : "");
	r = read_cluster(p, found, c);
	if (r == 0)
		r = copy_string(p, context, "namespace", &c->namespace_);
	user = json_str_at(context, "user");
	if (r < 0 || !user || !*user)
		return r;
	found = find_named(doc, "users", user, "user");
	if (!found)
		return fail(p, "context \"%s\" names the user \"%s\", which is not there", name, user);
	return read_user(p, found, c);
}

static json_t *parse_document(const char *what, const char *text, size_t len, char **ret_error)
{
	_cleanup_json_ json_t *docs = NULL;
	size_t blank = strspn(text, " \t\r\n");

	if (blank < len && text[blank] == '{')
		return json_parse(what, text, len, ret_error);
	if (yaml_parse(what, text, len, &docs, ret_error) < 0)
		return NULL;
	return json_incref(json_array_get(docs, 0));
}

int kube_config_parse(const char *what, const char *text, size_t len, const char *dir, struct kube_config *ret,
		      char **ret_error)
{
	struct parsing p = {.what = what, .dir = dir};
	_cleanup_(kube_config_done) struct kube_config c = {0};
	_cleanup_json_ json_t *doc = parse_document(what, text, len, &p.error);
	int r = -EINVAL;

	if (doc && !json_is_object(doc))
		fail(&p, "expected a mapping with clusters, users, contexts");
	else if (doc)
		r = read_context(&p, doc, &c);
	else if (!p.error)
		fail(&p, "the file is empty");
	if (r < 0) {
		if (ret_error)
			*ret_error = take_ptr(p.error);
		free(p.error);
		return r;
	}
	*ret = c;
	c = (struct kube_config){0};
	return 0;
}

int kube_config_load(const char *path, struct kube_config *ret, char **ret_error)
{
	_cleanup_free_ char *text = NULL, *dir = xstrdup(path);
	char *slash = strrchr(dir, '/');
	size_t len;
	int r;

	if (slash)
		*slash = 0;
	r = file_read(path, FILE_MAX, &text, &len);
	if (r < 0) {
		if (ret_error)
			*ret_error = xasprintf("cannot read %s: %s", path, strerror(-r));
		return r;
	}
	r = kube_config_parse(path, text, len, slash ? (*dir ? dir : "/") : NULL, ret, ret_error);
	explicit_bzero(text, len);
	return r;
}

int kube_config_in_cluster(struct kube_config *ret, char **ret_error)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
	struct parsing p = {.what = "in-cluster configuration", .dir = account_dir};
	_cleanup_(kube_config_done) struct kube_config c = {0};
	int r;

	if (!host || !port || !*host || !*port) {
		r = fail(&p, "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: not in a pod?");
	} else {
		c.server = xasprintf(strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host, port);
		c.token_path = xasprintf("%s/token", account_dir);
		r = check_server(&p, c.server);
		if (r == 0)
			r = read_relative(&p, "ca.crt", &c.ca);
	}
	if (r < 0) {
		if (ret_error)
			*ret_error = take_ptr(p.error);
		free(p.error);
		return r;
	}
	*ret = c;
	c = (struct kube_config){0};
	return 0;
}
