/* SPDX-License-Identifier: Apache-2.0 */
/* Programs on links: clsact filters with our priority and handle, and pinned tcx links. */
#pragma once

#include "base/macro.h"

enum { ATTACH_PRIORITY = 87, ATTACH_HANDLE = 0x57 };

enum attach_side { ATTACH_INGRESS, ATTACH_EGRESS };

/* Does the kernel have tcx (6.6)? */
bool attach_has_tcx(void);

/* Whose device it is: of our own we take away what others have put in the way. */
enum attach_device { ATTACH_OURS, ATTACH_OTHERS };

/**
 * attach_clsact() - put a program on a link, or in the place of the one that is there; no packet passes in between
 *
 * A qdisc of the kind `ingress`, which lies where clsact does and has one side only, gives way to it if it has no filters, or the device is ours.
 *
 * Return: 0, -ENODEV, -EEXIST when the slot holds a filter that is not ours, -EBUSY when such a qdisc does, -errno.
 */
int attach_clsact(uint32_t ifindex, enum attach_side side, int prog_fd, enum attach_device whose);

/**
 * attach_find_clsact() - what is in our slot?
 * @ret_name: name of the program, at most 15 bytes and NUL
 *
 * Return: 0, -ENOENT, -ENODEV, -errno.
 */
int attach_find_clsact(uint32_t ifindex, enum attach_side side, uint32_t *ret_prog_id, char ret_name[static 16]);

/* Return: 0 also when nothing was there. */
int attach_remove_clsact(uint32_t ifindex, enum attach_side side);

/* Takes the link's clsact qdisc away when no filter of anybody is left in it. Return: 0, -EBUSY when some are, -errno. */
int attach_remove_qdisc(uint32_t ifindex);

/**
 * attach_tcx() - a link of type tcx, pinned at @pin; takes some 10 ms
 *
 * Return: 0, -ENODEV, -EEXIST, -errno.
 */
int attach_tcx(uint32_t ifindex, enum attach_side side, int prog_fd, const char *pin);

/**
 * attach_xdp() - a link of type XDP, pinned at @pin
 * @native: by the driver, else by the kernel
 *
 * Return: 0, -EBUSY when another program is there, -EOPNOTSUPP when the driver cannot, -errno: as it says.
 */
int attach_xdp(uint32_t ifindex, bool native, int prog_fd, const char *pin);

/* Return: 1 when a program is attached by the driver, 0 when by the kernel, -ENOENT when there is none, -errno. */
int attach_find_xdp(uint32_t ifindex);

/**
 * attach_find_tcx() - the link pinned at @pin, of tcx or XDP
 * @ret_ifindex: 0 when the device is gone
 *
 * Return: descriptor of the link, -ENOENT, -errno.
 */
int attach_find_tcx(const char *pin, uint32_t *ret_ifindex, char ret_name[static 16]);
