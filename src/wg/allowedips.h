/* SPDX-License-Identifier: Apache-2.0 */
/* Which peer owns an address: longest prefix match over both families, one owner a prefix. Lookups take no lock (inside
 * a QSBR section); one writer. */
#pragma once

#include "base/list.h"
#include "net/addr.h"
#include "wg/qsbr.h"

struct peer;

struct allowed_node {
	struct prefix prefix;
	_Atomic(struct allowed_node *) child[2];
	_Atomic(struct peer *) peer; /* NULL: only a branch */
	struct list of_peer;	     /* in the owner's list, while there is an owner */
};

struct allowedips {
	_Atomic(struct allowed_node *) v4, v6; /* apart: ::/0 must not match IPv4 */
	struct qsbr *qsbr;
	size_t count; /* prefixes with an owner */
};

void allowedips_init(struct allowedips *t, struct qsbr *qsbr);
/* No reader may be left; the owners' lists dangle afterwards. */
void allowedips_done(struct allowedips *t);

/* Gives @p to @peer, whose list is @of_peer; a former owner loses it. */
void allowedips_insert(struct allowedips *t, const struct prefix *p, struct peer *peer, struct list *of_peer);
/* Takes @p from @peer. Return: 0, -ENOENT when it is not the owner. */
int allowedips_remove(struct allowedips *t, const struct prefix *p, struct peer *peer);
void allowedips_remove_all(struct allowedips *t, struct list *of_peer);

/* Return: the owner of the longest prefix that holds the address (4 or 16 raw bytes), or NULL. */
struct peer *allowedips_find_v4(const struct allowedips *t, const uint8_t raw[static 4]);
struct peer *allowedips_find_v6(const struct allowedips *t, const uint8_t raw[static 16]);
