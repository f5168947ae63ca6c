/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime's side of CNI, as containerd and libcni do it: the first network configuration list of /etc/cni/net.d, its plugins
 * from /opt/cni/bin one after the other, each with the result of the one before. */
#pragma once

#include "base/json.h"
#include "lab/spawn.h"

#define CNI_CONF_DIR "/etc/cni/net.d"
#define CNI_BIN_DIR "/opt/cni/bin"

struct cni_attachment {
	const char *container_id, *netns, *ns, *pod, *uid; /* borrowed for the call of cni_start() */
	const json_t *prev_result;			    /* DEL: what ADD returned, or NULL */
};

/* @code: 0, or the CNI error's code; @result: ADD's, else NULL, borrowed. The call is dead when this is called. */
typedef void cni_done_fn(unsigned code, const char *msg, json_t *result, void *ctx);

struct cni_call;

enum { CNI_TRY_AGAIN_LATER = 11, CNI_ERROR_RUNTIME = 999 }; /* 999: ours, the plugin said nothing usable */

/**
 * cni_load() - the configuration list with the first name in the directory
 * @ret_why: when there is none or it is unusable; owned by the caller
 *
 * Return: 0 with a new reference, -ENOENT, -EBADMSG.
 */
int cni_load(const char *dir, json_t **ret, char **ret_why);

/**
 * cni_start() - run "ADD", "DEL" or "STATUS" through a configuration list
 * @at: NULL for STATUS
 * @cgroup_fd: where the plugins run
 *
 * @fn is called from the loop, never from inside this call. A plugin that takes longer than 60 s is killed.
 * Return: 0 or -errno.
 */
int cni_start(sd_event *event, json_t *list, const char *command, const struct cni_attachment *at, int cgroup_fd, cni_done_fn *fn,
	      void *ctx, struct cni_call **ret);
struct cni_call *cni_cancel(struct cni_call *c); /* kills it, no callback; copes with NULL */
