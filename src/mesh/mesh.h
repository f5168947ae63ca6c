/* SPDX-License-Identifier: Apache-2.0 */
/* The node's WireGuard interface, whichever engine serves it: the kernel's, or weft-wg, a process of its own that outlives
 * the one that started it and is started again when it dies. Both are driven alike: read, compare, write the difference.
 * Nothing blocks. */
#pragma once

#include "mesh/device.h"
#include "net/rtnl.h"

#include <systemd/sd-event.h>

struct mesh;

enum mesh_choice { MESH_AUTO, MESH_KERNEL, MESH_USERSPACE };

struct mesh_options {
	const char *name;      /* of the interface */
	enum mesh_choice choice;
	const char *program;   /* weft-wg */
	const char *state_dir; /* where weft-wg keeps keys and the handshake clock */
	const char *run_dir;   /* where its socket is */
};

/* Something of mesh_status() has changed. */
typedef void mesh_fn(void *ctx);

/* @options: strings are borrowed while the mesh lives. Return: 0, -errno. */
int mesh_new(sd_event *event, const struct mesh_options *options, mesh_fn *fn, void *ctx, struct mesh **ret);
/* Lets go: interface and engine go on. Returns NULL. */
struct mesh *mesh_free(struct mesh *m);

/**
 * mesh_ensure_device() - the interface exists, is up, and is one that an engine of the wanted kind can serve
 * @mtu_is_new: it is not what the last call said, so a device with another one is nobody's doing
 * @ret_mended: what was wrong with it, or NULL; static
 * @ret_error: on failure, one line for people, owned by the caller
 *
 * With MESH_AUTO the kernel's engine is taken where there is one. An interface that an earlier agent made keeps its engine,
 * unless another one is forced: then it is replaced.
 *
 * Return: 0, -EEXIST when a foreign interface has the name, -ENOTSUP when the forced engine is not to be had, -errno.
 */
int mesh_ensure_device(struct mesh *m, struct rtnl *nl, uint32_t mtu, bool mtu_is_new, uint32_t *ret_ifindex, const char **ret_mended,
		       char **ret_error);
/* The interface goes, and its engine with it. */
int mesh_remove_device(struct rtnl *nl, const char *name);

/* What the device should be, from now on; copied. After mesh_ensure_device(). */
void mesh_apply(struct mesh *m, const struct mesh_device *want);

struct mesh_status {
	const char *engine; /* "kernel", "userspace"; "" before there is one */
	bool settled;	    /* what was wanted last is in force */
	const char *error;  /* why not, or NULL */
	unsigned starts;    /* of the engine, by us */
	uint64_t lost;	    /* peers that somebody else removed or changed, and that were put back */
	uint64_t changed;   /* times that somebody else changed the device's key, port or mark */
	const struct mesh_device *device; /* as it was read last; never NULL */
};
void mesh_status(const struct mesh *m, struct mesh_status *ret);
/* Tries the peers' next endpoints this often while they are silent. */
enum { MESH_ATTEMPT_S = 15 };
