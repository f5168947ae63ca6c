/* SPDX-License-Identifier: Apache-2.0 */
/* The EndpointSlice controller: keeps the slices of services with a selector as their pods are. */
#pragma once

#include "hub/hub.h"

struct slices;

/* What it has done so far, for tests and metrics. */
struct slices_stats {
	uint64_t looked;  /* services whose selector was held against a changed pod */
	uint64_t synced;  /* services compared with their pods */
	uint64_t created, updated, removed;
};

/**
 * slices_new() - index what the store holds, listen to it from now on
 *
 * Every service counts as changed: the first runs repair whatever happened while nobody looked. With an event loop
 * (@hub->event) the work is done from there, a few services a turn; without one the caller calls slices_run().
 */
int slices_new(struct hub *hub, struct slices **ret);
struct slices *slices_free(struct slices *s);
DEFINE_CLEANUP(struct slices *, slices_free)

/**
 * slices_run() - bring up to @max changed services up to date
 *
 * Return: how many are left.
 */
size_t slices_run(struct slices *s, size_t max);

/* Those whose writes failed are tried again. */
void slices_retry(struct slices *s);

const struct slices_stats *slices_stats(const struct slices *s);
