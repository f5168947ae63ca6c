/* SPDX-License-Identifier: Apache-2.0 */
/* weft-cni: the plugin that the container runtime runs. It has no logic of its own: it hands the environment and
 * standard input to the agent and prints what comes back. Only without the agent it answers itself: ADD is to be tried
 * again later, DEL is queued and succeeds (a pod must be able to go when the agent is away), VERSION needs nobody. */
#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "cni/cni.h"
#include "cni/queue.h"
#include "ipc/ipc.h"

enum { CALL_TIMEOUT_MS = 60000 };

static int print_json(json_t *j)
{
	_cleanup_free_ char *text = json_text(j);

	json_decref(j);
	if (puts(text) < 0 || fflush(stdout) != 0)
		return 1;
	return 0;
}

static int print_error(const struct buf *config, struct cni_error *e)
{
	print_json(cni_error_format(cni_answer_version(config->data ? config->data : "", config->len), e));
	return 1;
}

static int read_environment(json_t *env, struct cni_error *e)
{
	for (size_t i = 0; cni_env_names[i]; i++) {
		const char *value = getenv(cni_env_names[i]);

		if (!value)
			continue;
		if (strlen(value) > CNI_ENV_MAX)
			return cni_fail(e, CNI_ERR_ENV, "%s is longer than %d bytes", cni_env_names[i], CNI_ENV_MAX);
		if (json_object_set_new(env, cni_env_names[i], json_string(value)) < 0)
			return cni_fail(e, CNI_ERR_ENV, "%s is not UTF-8", cni_env_names[i]);
	}
	return 0;
}

static int read_config(struct buf *config, struct cni_error *e)
{
	ssize_t n;

	do
		n = buf_read_fd(config, STDIN_FILENO);
	while (n > 0 || n == -EINTR);
	if (n == -EMSGSIZE)
		return cni_fail(e, CNI_ERR_IO, "standard input: the network configuration is larger than %d bytes",
				CNI_CONFIG_MAX);
	if (n < 0)
		return cni_fail(e, CNI_ERR_IO, "standard input: %s", strerror(-n));
	return 0;
}

static bool nobody_answered(int r, const struct ipc_answer *a)
{
	return r == -ENOENT || r == -ECONNREFUSED || r == -EPIPE || r == -ECONNRESET || r == -ETIMEDOUT ||
	       r == -EAGAIN || (r == 0 && !a->result && a->code == CNI_ERR_TRY_AGAIN);
}

/* What can be said without the agent. */
static int answer_alone(const json_t *env, const struct buf *config, const char *run_dir, const char *why)
{
	_cleanup_cni_error_ struct cni_error e = {0};
	_cleanup_cni_request_ struct cni_request req = {0};
	_cleanup_free_ char *queue = xasprintf("%s/del-queue", run_dir);
	int r;

	if (cni_request_parse(env, config->data ? config->data : "", config->len, &req, &e) < 0)
		return print_error(config, &e);
	if (req.command == CNI_VERSION)
		return print_json(cni_version_format(req.version));
	if (req.command == CNI_DEL) {
		r = del_queue_put(queue, req.container, req.ifname);
		if (r == 0)
			return 0;
		cni_fail(&e, CNI_ERR_TRY_AGAIN, "the agent does not answer (%s) and DEL cannot be queued: %s", why,
			 strerror(-r));
	} else if (req.command == CNI_STATUS) {
		cni_fail(&e, CNI_ERR_NOT_AVAILABLE, "weftd does not answer: %s", why);
	} else {
		cni_fail(&e, CNI_ERR_TRY_AGAIN, "weftd does not answer: %s; try again later", why);
	}
	return print_error(config, &e);
}

static int print_answer(const struct buf *config, struct ipc_answer *a)
{
	struct cni_error e = {.code = a->code, .msg = a->msg, .details = a->details};

	if (!a->result)
		return print_error(config, &e);
	return json_object_size(a->result) ? print_json(json_incref(a->result)) : 0;
}

static int call_agent(const json_t *env, const struct buf *config)
{
	const char *text = config->data ? config->data : "",
		   *command = json_str_or(json_object_get(env, "CNI_COMMAND"), "");
	_cleanup_free_ char *run_dir = cni_run_dir(text, config->len), *path = xasprintf("%s/weftd.sock", run_dir);
	_cleanup_json_ json_t *params = NULL;
	_cleanup_cni_error_ struct cni_error e = {0};
	_cleanup_ipc_answer_ struct ipc_answer answer = {0};
	json_t *config_text;
	int r;

	if (streq(command, "VERSION"))
		return answer_alone(env, config, run_dir, "");
	config_text = json_stringn(text, config->len);
	if (!config_text) {
		cni_fail(&e, CNI_ERR_DECODE, "network configuration: not UTF-8");
		return print_error(config, &e);
	}
	params = json_pack("{ss, sO, so}", "command", command, "env", env, "config", config_text);
	r = ipc_call(path, "cni", params, CALL_TIMEOUT_MS, &answer);
	if (nobody_answered(r, &answer))
		return answer_alone(env, config, run_dir, r < 0 ? strerror(-r) : answer.msg);
	if (r == 0)
		return print_answer(config, &answer);
	cni_fail(&e, CNI_ERR_IO, "%s: %s", path, strerror(-r));
	return print_error(config, &e);
}

static int usage(FILE *to)
{
	fputs(
	    "usage: CNI_COMMAND=… weft-cni < CONFIGURATION\n\n"
	    "A CNI plugin (specification 0.1.0 to 1.1.0), run by the container runtime: it passes the call to weftd.\n",
	    to);
	return 0;
}

int main(int argc, char **argv)
{
	_cleanup_(buf_done) struct buf config = {.max = CNI_CONFIG_MAX};
	_cleanup_json_ json_t *env = json_object();
	_cleanup_cni_error_ struct cni_error e = {0};

	if (argc > 1 && streq(argv[1], "--version"))
		return puts("weft-cni " WEFT_VERSION) < 0;
	if (argc > 1 && streq(argv[1], "--help"))
		return usage(stdout);
	if (read_environment(env, &e) < 0 || read_config(&config, &e) < 0)
		return print_error(&config, &e);
	return call_agent(env, &config);
}
