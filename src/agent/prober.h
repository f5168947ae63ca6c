/* SPDX-License-Identifier: Apache-2.0 */
/* `auto`: asks the peers on our networks, again and again, whether plain packets with the pods' addresses come and go
 * (route/proof.h has the messages and the opinion, route/probe.c the way they take), and answers theirs. */
#pragma once

#include "route/proof.h"

#include <systemd/sd-event.h>

struct prober;
typedef void prober_changed_fn(void *ctx); /* the list of proven peers is another one now */

struct prober_peer {
	const char *name, *uid; /* of its Node object */
	struct addr addrs[2];	/* its node addresses in the pod ranges, IPv4 and IPv6; zero where it has none */
};
struct prober_config {
	const char *uid;      /* this node's */
	struct addr addrs[2]; /* likewise */
	uint16_t port;
	const struct prober_peer *peers; /* borrowed for the call */
	size_t n_peers;
};
struct prober_stats {
	uint64_t sent, answered; /* requests of ours; answers to them that came */
	uint64_t requests;	 /* of others that were answered */
	uint64_t refused;	 /* from nobody known, from further than one hop, forged, late */
	uint64_t limited;	 /* not looked at: too many */
};

/* @file: remembers who was proven for the next start; borrowed until prober_free(). Return: 0, -errno. */
int prober_new(sd_event *event, const char *file, prober_changed_fn *fn, void *ctx, struct prober **ret);
struct prober *prober_free(struct prober *p);
/* Makes the peers that are asked exactly these; those that stay keep their record. Return: 0, -errno when it cannot listen. */
int prober_set(struct prober *p, const struct prober_config *config);
/* Writes what is known, though nothing has changed. */
void prober_keep(struct prober *p);
/* Names, sorted; the list is the prober's, until the next change. */
const char *const *prober_proven(const struct prober *p, size_t *ret_n);
/* The record of a peer, or NULL. */
const struct proof *prober_find(const struct prober *p, const char *name);
struct prober_stats prober_stats(const struct prober *p);
