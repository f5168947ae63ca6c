/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's manifest as the lab's kubelet reads it: whatever stands in it, there is a command line and an environment of
 * bounded size, or a reason. */
#include "fuzz.h"
#include "lab/podspec.h"

enum { TOTAL_MAX = 16 << 20 };

static size_t check_strings(char *const *s)
{
	size_t total = 0;

	REQUIRE(s);
	for (; *s; s++)
		total += strlen(*s);
	REQUIRE(total <= TOTAL_MAX);
	return total;
}

static void check_container(const struct pod_facts *f, const json_t *container)
{
	_cleanup_free_ char *why = NULL;
	char **env = NULL, **argv;
	int r = podspec_env(f, container, "/usr/bin", &env, &why);

	REQUIRE(r == 0 ? env && !why : r == -ENOTSUP && why);
	if (env)
		check_strings(env);
	argv = podspec_argv(f->pod, container, "/bin", env);
	check_strings(argv);
	REQUIRE(argv[0]);
	strings_free(argv);
	strings_free(env);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_json_ json_t *pod = json_parse("pod", (const char *)data, size, NULL), *ips = json_pack("[s]", "10.244.0.5");
	struct pod_facts f = { .pod = pod, .node = "n1", .pod_ips = ips, .host_ips = ips };
	_cleanup_free_ char *ignored = NULL;
	json_t *container;
	size_t i;

	if (!pod)
		return 0;
	ignored = podspec_ignored(pod);
	REQUIRE(podspec_restarts(pod, 0) <= podspec_restarts(pod, 1));
	json_array_foreach(json_at(pod, "spec", "containers"), i, container)
		check_container(&f, container);
	return 0;
}
