/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/podspec.h"
#include "base/test.h"

static const char manifest[] =
	"{\"metadata\":{\"name\":\"a\",\"namespace\":\"shop\",\"labels\":{\"app\":\"x\"}},"
	"\"spec\":{\"volumes\":[{\"name\":\"v\"}],\"containers\":["
	"{\"name\":\"one\",\"ports\":[{\"containerPort\":80},{\"containerPort\":53,\"protocol\":\"UDP\"},{\"containerPort\":9,\"protocol\":\"SCTP\"}],"
	"\"env\":[{\"name\":\"A\",\"value\":\"1\"},{\"name\":\"B\",\"value\":\"$(A)-$(NOPE)-$$(A)\"},"
	"{\"name\":\"IPS\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"status.podIPs\"}}},"
	"{\"name\":\"L\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"metadata.labels['app']\"}}},"
	"{\"name\":\"NODE_NAME\",\"value\":\"mine\"}]},"
	"{\"name\":\"two\",\"ports\":[{\"containerPort\":80,\"protocol\":\"UDP\"}],\"command\":[\"echo\",\"$(B)\"],\"args\":[\"z\"]},"
	"{\"name\":\"three\",\"env\":[{\"name\":\"S\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"s\"}}}]}]}}";

static json_t *pod;
static struct pod_facts facts;

static const json_t *container(size_t i)
{
	return json_array_get(json_at(pod, "spec", "containers"), i);
}

static const char *value(char **env, const char *name)
{
	const char *found = NULL;

	for (char **e = env; *e; e++)
		if (str_has_prefix(*e, name) && (*e)[strlen(name)] == '=') {
			if (found)
				return "twice";
			found = *e + strlen(name) + 1;
		}
	return found;
}

static void environment_is_expanded(void)
{
	char **env, *why = NULL;

	CHECK_INT(podspec_env(&facts, container(0), "/bin", &env, &why), 0);
	CHECK_STR(value(env, "B"), "1-$(NOPE)-$(A)");
	CHECK_STR(value(env, "IPS"), "10.0.0.1,fd00::1");
	CHECK_STR(value(env, "L"), "x");
	CHECK_STR(value(env, "NODE_NAME"), "mine");
	CHECK_STR(value(env, "POD_NAMESPACE"), "shop");
	strings_free(env);
}

static void foreign_sources_are_refused(void)
{
	char **env, *why = NULL;

	CHECK_INT(podspec_env(&facts, container(2), "/bin", &env, &why), -ENOTSUP);
	CHECK(strstr(why, "variable S"));
	free(why);
}

static void echo_listens_on_what_is_declared(void)
{
	char **v = podspec_argv(pod, container(0), "/x", NULL);

	CHECK_STR(v[0], "/x/weft-echo");
	CHECK_STR(v[1], "80/tcp"); /* 80/udp belongs to the second container */
	CHECK_STR(v[2], "53/tcp");
	CHECK_STR(v[3], "53/udp");
	CHECK(!v[4]);
	strings_free(v);
}

static void commands_take_arguments(void)
{
	char *env[] = { "B=b", NULL };
	char **v = podspec_argv(pod, container(1), "/x", env);

	CHECK_STR(v[0], "echo");
	CHECK_STR(v[1], "b");
	CHECK_STR(v[2], "z");
	CHECK(!v[3]);
	strings_free(v);
}

static void says_what_it_ignores(void)
{
	_cleanup_free_ char *s = podspec_ignored(pod);

	CHECK_STR(s, "volumes, SCTP ports");
}

int main(void)
{
	pod = json_parse("manifest", manifest, strlen(manifest), NULL);
	facts = (struct pod_facts){ .pod = pod, .node = "n1", .pod_ips = json_pack("[ss]", "10.0.0.1", "fd00::1"),
				    .host_ips = json_pack("[s]", "172.30.0.11") };
	RUN(environment_is_expanded);
	RUN(foreign_sources_are_refused);
	RUN(echo_listens_on_what_is_declared);
	RUN(commands_take_arguments);
	RUN(says_what_it_ignores);
	return test_end();
}
