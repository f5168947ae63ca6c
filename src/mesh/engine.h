/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine is to mesh.c. Nobody else includes this. */
#pragma once

#include "mesh/mesh.h"

struct mesh_engine_ops {
	const char *name;
	const char *link_kind; /* as rtnetlink says it */
	bool knows_heirs;      /* a peer's new key takes over without a gap; else we move the prefixes when we see it */
	bool crossing_harms;   /* initiations that cross undo each other */
	/* Makes the interface, down. Return: 0, -EOPNOTSUPP when there is no such engine here. */
	int (*make_device)(const struct mesh_options *o, struct rtnl *nl, uint32_t mtu);
	/* To be called before the others; idempotent. Return: 0, -errno. */
	int (*start)(struct mesh *m);
	void (*stop)(struct mesh *m); /* lets go; no call comes back any more */
	/* Both answer by mesh_on_read() or mesh_on_written(), perhaps from within the call; one at a time. */
	void (*read)(struct mesh *m);
	void (*write)(struct mesh *m, const struct mesh_change *c);
};
extern const struct mesh_engine_ops mesh_kernel, mesh_userspace;

struct mesh {
	sd_event *event;
	struct mesh_options options;
	mesh_fn *fn;
	void *ctx;
	const struct mesh_engine_ops *engine; /* NULL before there is a device */
	void *engine_data;
	struct mesh_device want, have;
	bool wanted, settled;
	bool busy;    /* a read or write is under way */
	bool again;   /* look again when it is done */
	uint64_t held_us; /* until when peers that begin have the word; 0: none is waited for */
	bool written; /* since the last look that found nothing to do */
	char *error;
	unsigned starts;
	uint64_t lost; /* peers that were gone or changed though nobody of us had done it */
	uint64_t changed; /* and how often the device itself was */
	bool wrote;    /* since the last look: what differs may be our own doing */
	bool heirs;    /* at the last look a key was changing hands: what moves may be the engine's doing */
	bool is_new;   /* device or engine: what it lacks nobody took away */
	sd_event_source *timer;
};

/* @r < 0: the engine cannot be read; it is asked again when it answers mesh_on_ready(). @have: taken. */
void mesh_on_read(struct mesh *m, int r, struct mesh_device *have);
void mesh_on_written(struct mesh *m, int r);
/* The engine can be asked (again). */
void mesh_on_ready(struct mesh *m);
/* It cannot: why, for people. */
void mesh_on_down(struct mesh *m, const char *why);
