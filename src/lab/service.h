/* SPDX-License-Identifier: Apache-2.0 */
/* A program that is kept running: started again whenever it ends, soon after a long life, later after short ones. */
#pragma once

#include "lab/spawn.h"

struct service;

/**
 * service_new() - start and keep running
 * @argv, @envp: NULL-terminated, copied
 * @cgroup_fd, @log_fd, @keep_fd, @keep2_fd: borrowed for the service's life; 0 for none
 *
 * The first failing start is logged and retried like any other.
 */
int service_new(sd_event *event, const char *const *argv, int cgroup_fd, int log_fd, int keep_fd, int keep2_fd,
		struct service **ret);
unsigned service_restarts(const struct service *s);
struct service *service_free(struct service *s); /* kills it; copes with NULL */
