/* SPDX-License-Identifier: Apache-2.0 */
/* Packet filters of others that drop by default what a node forwards, or what is for itself (docker, ufw, firewalld): what Weft needs is
 * accepted there. An accept of nf_tables ends one chain only, so it has to stand in the very chain that drops; the same holds for the
 * tables of iptables. */
#pragma once

#include "base/macro.h"

#include <systemd/sd-event.h>

struct agent;

enum { FIREWALL_PORTS_MAX = 4 };

struct firewall {
	char *warning; /* what is in the way still, or NULL */
	unsigned held; /* rules of ours that stand in others' chains */
	int events_fd;
	sd_event_source *events, *timer;
	uint64_t next_us; /* not earlier: firewall_watch.c */
};

struct firewall_wants {
	bool accept;
	uint16_t udp_ports[FIREWALL_PORTS_MAX]; /* of Weft's own packets to this node */
	size_t n_udp_ports;
};

/**
 * firewall_settle() - make others' chains accept what is wanted, and only while they drop by default
 * @ret_made: how many rules were put there
 * @ret_warning: one line for people, owned by the caller: which chain drops, and why it is not opened. Or NULL.
 *
 * Return: how many rules of ours stand there now.
 */
unsigned firewall_settle(const struct firewall_wants *w, unsigned *ret_made, char **ret_warning);

/* firewall_watch.c: the agent looks with each audit, and as soon as somebody has changed nf_tables. Return: 0, -errno. */
int agent_watch_firewall(struct agent *a);
void agent_unwatch_firewall(struct agent *a);
void agent_look_at_firewall(struct agent *a);
