/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of weft-hub. */
#pragma once

#include "net/addr.h"

enum { LISTEN_MAX = 16, NAMES_MAX = 32, GROUPS_MAX_ARGS = 16 };

struct options {
	const char *data;
	struct {
		struct addr addr;
		uint16_t port;
	} listen[LISTEN_MAX];
	size_t n_listen;
	int listen_fds[LISTEN_MAX];
	size_t n_listen_fds;
	const char *names[NAMES_MAX + 1]; /* --tls-san */
	size_t n_names;
	struct prefix cluster[2], service[2];
	size_t n_cluster, n_service;
	unsigned node_mask_v4, node_mask_v6;
	uint16_t node_port_first, node_port_last;
	int ready_fd; /* -1: none */
};

struct kubeconfig_options {
	const char *data, *server, *user;
	const char *groups[GROUPS_MAX_ARGS + 1];
	size_t n_groups;
};

/* Return: 0, -EINVAL (a message is on standard error), 1 when help or the version was asked for and printed. */
int options_parse(int argc, char **argv, struct options *ret);
int kubeconfig_options_parse(int argc, char **argv, struct kubeconfig_options *ret);
