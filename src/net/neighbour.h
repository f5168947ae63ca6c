/* SPDX-License-Identifier: Apache-2.0 */
/* ARP and neighbour discovery as frames on Ethernet: who has this address, I have it, I have it now. Pure. */
#pragma once

#include "net/addr.h"

enum { NEIGHBOUR_FRAME_MAX = 86 }; /* Ethernet, IPv6, solicitation or advertisement with one option */

enum neighbour_kind {
	NEIGHBOUR_ASK,	 /* who has @about? */
	NEIGHBOUR_ANSWER, /* @mac has it, to who has asked */
	NEIGHBOUR_CLAIM,  /* @mac has it, to everybody */
};

struct neighbour {
	enum neighbour_kind kind;
	struct addr about; /* the address that is asked for or told of */
	uint8_t mac[6];	   /* ANSWER, CLAIM: who has it; ASK: who asks */
	struct addr from;  /* ASK: who asks; zero when it has no address yet */
};

/* The group that is asked for an IPv6 address (RFC 4291 2.7.1), and its MAC address. */
void neighbour_group(const struct addr *about, struct addr *ret_group, uint8_t ret_mac[6]);

/**
 * neighbour_encode() - a frame from @n->mac
 * @n: ASK or CLAIM; a CLAIM is an ARP announcement (RFC 5227 3) or an unsolicited advertisement (RFC 4861 7.2.6)
 * @to: whom to ask, 6 bytes; NULL: everybody
 *
 * Return: its length.
 */
size_t neighbour_encode(const struct neighbour *n, const uint8_t *to, uint8_t ret[static NEIGHBOUR_FRAME_MAX]);
/* Return: 0, -EBADMSG for what is not understood or contradicts itself. */
int neighbour_parse(const uint8_t *frame, size_t len, struct neighbour *ret);
