/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/cni.h"
#include "base/file.h"
#include "base/str.h"

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>

enum { TIMEOUT_US = 60000000, CONFIG_MAX = 1 << 20, ENV_MAX = 9 };

struct cni_call {
	sd_event *event;
	sd_event_source *timer, *defer;
	struct proc *proc;
	json_t *list, *result;
	char *command;
	char *env[ENV_MAX + 1];
	size_t at, left; /* the plugin that runs or comes next, and how many are to come */
	int in, out, cgroup_fd;
	cni_done_fn *fn;
	void *ctx;
};

static int is_config(const struct dirent *e)
{
	return str_has_suffix(e->d_name, ".conflist");
}

int cni_load(const char *dir, json_t **ret, char **ret_why)
{
	struct dirent **names = NULL;
	_cleanup_free_ char *path = NULL, *text = NULL;
	_cleanup_json_ json_t *list = NULL;
	int n = scandir(dir, &names, is_config, alphasort), r;
	size_t len;

	if (n > 0)
		path = xasprintf("%s/%s", dir, names[0]->d_name);
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
	if (!path) {
		*ret_why = xasprintf("no network configuration in %s", dir);
		return -ENOENT;
	}
	r = file_read(path, CONFIG_MAX, &text, &len);
	if (r < 0) {
		*ret_why = xasprintf("%s: %s", path, strerror(-r));
		return -EBADMSG;
	}
	list = json_parse(path, text, len, ret_why);
	if (!list)
		return -EBADMSG;
	if (!json_str_at(list, "name") || !json_str_at(list, "cniVersion") || json_array_size(json_at(list, "plugins")) == 0) {
		*ret_why = xasprintf("%s: expected name, cniVersion and plugins", path);
		return -EBADMSG;
	}
	*ret = json_incref(list);
	return 0;
}

/* What a plugin reads: its own object, with the list's name and version and the result so far. */
static char *plugin_config(struct cni_call *c)
{
	_cleanup_json_ json_t *j = json_copy(json_array_get(json_at(c->list, "plugins"), c->at));

	json_object_set(j, "name", json_at(c->list, "name"));
	json_object_set(j, "cniVersion", json_at(c->list, "cniVersion"));
	if (c->result)
		json_object_set(j, "prevResult", c->result);
	return json_text(j);
}

static void close_files(struct cni_call *c)
{
	c->in = close_fd(c->in);
	c->out = close_fd(c->out);
}

static void call_free(struct cni_call *c)
{
	sd_event_source_disable_unref(c->timer);
	sd_event_source_disable_unref(c->defer);
	proc_free(c->proc);
	close_files(c);
	json_decref(c->list);
	json_decref(c->result);
	for (char **e = c->env; *e; e++)
		free(*e);
	free(c->command);
	free(c);
}

static void finish(struct cni_call *c, unsigned code, const char *msg)
{
	cni_done_fn *fn = c->fn;
	void *ctx = c->ctx;
	_cleanup_json_ json_t *result = code == 0 && streq(c->command, "ADD") ? json_incref(c->result) : NULL;

	call_free(c);
	fn(code, msg, result, ctx);
}

static int run_plugin(struct cni_call *c);

static void on_plugin_failed(struct cni_call *c, int status, const json_t *said)
{
	_cleanup_free_ char *text = NULL;
	json_int_t code = json_integer_value(json_at(said, "code"));
	const char *msg = json_str_at(said, "msg"), *details = json_str_at(said, "details");

	if (msg && code > 0)
		text = xasprintf("%s%s%s", msg, details && *details ? ": " : "", details ? details : "");
	else if (WIFSIGNALED(status))
		text = xasprintf("the plugin was ended by signal %d", WTERMSIG(status));
	else
		text = xasprintf("the plugin ended with exit code %d and no CNI error", WEXITSTATUS(status));
	finish(c, msg && code > 0 ? code : CNI_ERROR_RUNTIME, text);
}

static void on_plugin_end(int status, void *ctx)
{
	struct cni_call *c = ctx;
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *said = NULL;
	size_t len = 0;

	c->proc = NULL;
	if (memfd_read(c->out, CONFIG_MAX, &text, &len) == 0 && len > 0)
		said = json_parse("the plugin's output", text, len, NULL);
	close_files(c);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		on_plugin_failed(c, status, said);
		return;
	}
	if (streq(c->command, "ADD")) {
		if (!said) {
			finish(c, CNI_ERROR_RUNTIME, "the plugin succeeded without a result");
			return;
		}
		json_decref(c->result);
		c->result = json_incref(said);
	}
	c->at += streq(c->command, "DEL") ? -1 : 1;
	if (--c->left == 0) {
		finish(c, 0, "");
		return;
	}
	if (run_plugin(c) < 0)
		finish(c, CNI_ERROR_RUNTIME, "cannot start the next plugin");
}

static int on_timeout(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	struct cni_call *c = ctx;

	if (c->proc)
		proc_kill(c->proc, SIGKILL); /* its end is reported as any other */
	return 0;
}

static int run_plugin(struct cni_call *c)
{
	const char *type = json_str_at(json_array_get(json_at(c->list, "plugins"), c->at), "type");
	_cleanup_free_ char *config = plugin_config(c), *program = NULL;
	struct spawn s = { .cgroup_fd = c->cgroup_fd, .envp = c->env };
	const char *argv[2] = { NULL }, *what;

	if (!type || strchr(type, '/'))
		return -EINVAL;
	program = xasprintf(CNI_BIN_DIR "/%s", type);
	argv[0] = program;
	s.argv = argv;
	s.in = c->in = memfd_text(config, strlen(config));
	s.out = c->out = memfd_text("", 0);
	if (c->in < 0 || c->out < 0)
		return -EMFILE;
	return proc_start(c->event, &s, on_plugin_end, c, &c->proc, &what);
}

static void make_env(struct cni_call *c, const struct cni_attachment *at)
{
	size_t n = 0;

	c->env[n++] = xasprintf("CNI_COMMAND=%s", c->command);
	c->env[n++] = xstrdup("CNI_PATH=" CNI_BIN_DIR);
	c->env[n++] = xstrdup("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	if (!at)
		return;
	c->env[n++] = xasprintf("CNI_CONTAINERID=%s", at->container_id);
	c->env[n++] = xasprintf("CNI_NETNS=%s", at->netns);
	c->env[n++] = xstrdup("CNI_IFNAME=eth0");
	c->env[n++] = xasprintf("CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s;K8S_POD_INFRA_CONTAINER_ID=%s;K8S_POD_UID=%s",
				at->ns, at->pod, at->container_id, at->uid);
	assert(n <= ENV_MAX);
}

static int on_defer(sd_event_source *s _unused_, void *ctx)
{
	struct cni_call *c = ctx;
	_cleanup_free_ char *why = NULL;
	int r;

	c->defer = sd_event_source_disable_unref(c->defer);
	r = run_plugin(c);
	if (r < 0) {
		why = xasprintf("cannot start the plugin \"%s\" of " CNI_BIN_DIR ": %s",
				json_str_or(json_at(json_array_get(json_at(c->list, "plugins"), c->at), "type"), ""), strerror(-r));
		finish(c, CNI_ERROR_RUNTIME, why);
	}
	return 0;
}

int cni_start(sd_event *event, json_t *list, const char *command, const struct cni_attachment *at, int cgroup_fd, cni_done_fn *fn,
	      void *ctx, struct cni_call **ret)
{
	struct cni_call *c = xnew0(struct cni_call);
	size_t n = json_array_size(json_at(list, "plugins"));
	int r;

	*c = (struct cni_call){ .event = event, .list = json_incref(list), .command = xstrdup(command), .left = n, .in = -1, .out = -1,
				.cgroup_fd = cgroup_fd, .fn = fn, .ctx = ctx };
	c->at = streq(command, "DEL") ? n - 1 : 0;
	c->result = at ? json_incref((json_t *)at->prev_result) : NULL;
	make_env(c, at);
	r = sd_event_add_defer(event, &c->defer, on_defer, c);
	if (r >= 0)
		r = sd_event_add_time_relative(event, &c->timer, CLOCK_MONOTONIC, TIMEOUT_US, 0, on_timeout, c);
	if (r < 0) {
		call_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

struct cni_call *cni_cancel(struct cni_call *c)
{
	if (c)
		call_free(c);
	return NULL;
}
