/* SPDX-License-Identifier: Apache-2.0 */
/* Readiness and liveness probes: TCP, HTTP, exec. */
#pragma once

#include "base/json.h"
#include "lab/spawn.h"

struct probe;

/* Called when the thresholds have turned the state; not for each attempt. @why: of a failure, borrowed. */
typedef void probe_fn(bool ok, const char *why, void *ctx);

struct probe_config {
	const json_t *spec;	 /* the probe of the manifest; kept alive by the caller */
	const json_t *container; /* for named ports */
	const char *address;	 /* the pod's; borrowed until probe_free() */
	bool ok_at_start;	 /* a liveness probe starts as ok, a readiness probe does not */
	char *const *env;	 /* for exec, with those below; borrowed until probe_free() */
	int cgroup_fd, netns_fd;
	probe_fn *fn;
	void *ctx;
};

/* Return: 0; -EINVAL with static @ret_why for a handler or port that is not understood; -errno. */
int probe_new(sd_event *event, const struct probe_config *config, struct probe **ret, const char **ret_why);
struct probe *probe_free(struct probe *p); /* copes with NULL */
