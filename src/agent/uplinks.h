/* SPDX-License-Identifier: Apache-2.0 */
/* By which links the node reaches the other nodes and the world: pure. What leaves by them is masqueraded and what comes by them is
 * checked, so a link that leads out of the node and is none of them is a hole. */
#pragma once

#include "model/model.h"
#include "net/netobj.h"

enum { UPLINKS_MAX = 16 };

/* What the kernel has. */
struct uplinks_look {
	const struct link *links;
	size_t n_links;
	const struct link_addr *addrs;
	size_t n_addrs;
	const uint32_t *defaults; /* links of default routes, also more than once */
	size_t n_defaults;
};

struct uplinks {
	struct uplink {
		uint32_t ifindex;
		char name[IF_NAMESIZE];
		bool ethernet; /* else the programs, which look for Ethernet headers, cannot serve it */
		bool between;  /* by it nodes reach each other; else the world alone */
	} list[UPLINKS_MAX];	       /* those between nodes first */
	size_t n;
	bool more; /* there would have been more than there is room for */
};

/**
 * uplinks_choose() - the option, and what it is about
 * @names: of interfaces, joined by commas; or "auto": those that hold an address of @node (which may be NULL), and those of default routes.
 *	What is named, or holds a node's address, is between nodes; where nothing is, what the default routes have.
 *
 * Never loopback, nor a device of Weft's own. Return: 0, -ENODEV with @ret_error when there is none, or none of a name.
 */
int uplinks_choose(const struct uplinks_look *look, const char *names, const struct model_node *node, struct uplinks *ret, char **ret_error);

/* Does the link lead to the other nodes? */
bool uplinks_is_between(const struct uplinks *u, uint32_t ifindex);
/* Does it lead to the world alone, and is it served? */
bool uplinks_is_beyond(const struct uplinks *u, uint32_t ifindex);

/* Which are not served, for users' eyes; NULL when all are. The caller's to free(). */
char *uplinks_problem(const struct uplinks *u);
