/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of the kernel's network tables as events in an sd-event loop. */
#pragma once

#include "net/netobj.h"

#include <systemd/sd-event.h>

enum rtnl_event_type {
	RTNL_EVENT_RESYNC, /* events were lost (ENOBUFS): list everything again */
	RTNL_EVENT_LINK,
	RTNL_EVENT_ADDR,
	RTNL_EVENT_ROUTE,
	RTNL_EVENT_RULE,
	RTNL_EVENT_NEIGH,
	RTNL_EVENT_TC,	    /* queueing disciplines and filters */
	RTNL_EVENT_NETCONF, /* sysctls of an interface: forwarding, reverse path filter */
};

enum { NETCONF_UNSAID = -1 };

struct netconf {
	int family;
	int32_t ifindex;	       /* NETCONFA_IFINDEX_ALL, NETCONFA_IFINDEX_DEFAULT, or an interface */
	int32_t forwarding, rp_filter; /* NETCONF_UNSAID: the event is not about it */
};

struct rtnl_event {
	enum rtnl_event_type type;
	bool gone; /* deleted; else new or changed */
	union {
		struct link link;
		struct link_addr addr;
		struct route route;
		struct rule rule;
		struct neigh neigh;
		struct {
			uint32_t ifindex;
		} tc;
		struct netconf netconf;
	};
};

typedef void rtnl_event_fn(const struct rtnl_event *ev, void *ctx);
struct rtnl_monitor;

/**
 * rtnl_monitor_new() - subscribe to changes in the thread's network namespace, both families
 * @types: bits 1 << RTNL_EVENT_*; RESYNC always comes
 * @rcvbuf: bytes asked for the socket's queue; 0 takes 8 MiB
 *
 * Subscribe first, list afterwards: then nothing falls between. A message that is malformed or truncated is skipped
 * with a RESYNC. @fn may not free the monitor.
 *
 * Return: 0 or -errno.
 */
int rtnl_monitor_new(sd_event *event, unsigned types, size_t rcvbuf, rtnl_event_fn *fn, void *ctx,
		     struct rtnl_monitor **ret);
struct rtnl_monitor *rtnl_monitor_free(struct rtnl_monitor *m);
DEFINE_CLEANUP(struct rtnl_monitor *, rtnl_monitor_free)

/**
 * rtnl_event_decode() - one netlink message to an event (pure)
 *
 * Return: 1 decoded, 0 of a kind that is not ours, -EBADMSG malformed.
 */
struct nlmsghdr;
int rtnl_event_decode(const struct nlmsghdr *nlh, struct rtnl_event *ret);
