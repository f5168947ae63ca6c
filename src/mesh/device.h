/* SPDX-License-Identifier: Apache-2.0 */
/* A WireGuard device as plain data, as it is or as it should be, and the difference between the two. Pure. */
#pragma once

#include "net/addr.h"

enum { MESH_KEY = 32 };

struct mesh_peer {
	uint8_t key[MESH_KEY]; /* public */
	struct addr endpoint;  /* zero: unknown */
	uint16_t port;
	uint16_t keepalive_s;
	struct prefix *allowed;
	size_t n_allowed, cap_allowed;
	bool has_successor;
	uint8_t successor[MESH_KEY]; /* wanted: this key takes over the prefixes when its first handshake succeeds */
	bool begins;	       /* wanted: of the two of us it begins the handshake, where that matters; see mesh_hold_back() */
	bool has_predecessor; /* an engine that knows of it moves the prefixes by itself, and takes packets of either key */
	uint8_t predecessor[MESH_KEY];
	/* as found */
	bool has_psk; /* a preshared key, of which none is ever wanted; itself it is not kept */
	int64_t handshake_s; /* seconds since 1970; 0: never */
	uint64_t rx_bytes, tx_bytes;
};

struct mesh_device {
	bool has_key;
	uint8_t key[MESH_KEY]; /* private */
	uint16_t port;
	uint32_t mark;
	struct mesh_peer *peers;
	size_t n_peers, cap_peers;
};

/* Keys are wiped. */
void mesh_device_done(struct mesh_device *d);
void mesh_device_copy(const struct mesh_device *from, struct mesh_device *ret);
/* Appends; borrowed until the next one. */
struct mesh_peer *mesh_device_add(struct mesh_device *d, const uint8_t key[static MESH_KEY]);
void mesh_peer_allow(struct mesh_peer *p, const struct prefix *prefix);
/* Peers by key, prefixes by address: what the functions below expect. */
void mesh_device_sort(struct mesh_device *d);
/* O(log n). NULL when there is none. */
struct mesh_peer *mesh_device_find(const struct mesh_device *d, const uint8_t key[static MESH_KEY]);

/* What is to be said about one peer. */
struct mesh_step {
	uint8_t key[MESH_KEY];
	bool create; /* else it must be there, or nothing happens */
	bool remove; /* then nothing else counts */
	bool set_endpoint;
	struct addr endpoint;
	uint16_t port;
	bool set_keepalive;
	uint16_t keepalive_s;
	bool clear_psk;
	bool set_predecessor;
	uint8_t predecessor[MESH_KEY];
	struct prefix *add; /* taken from whoever has it */
	size_t n_add;
	struct prefix *take; /* given up, to nobody */
	size_t n_take;
};

struct mesh_change {
	bool set_key, set_port, set_mark;
	uint8_t key[MESH_KEY];
	uint16_t port;
	uint32_t mark;
	struct mesh_step *steps; /* in this order */
	size_t n_steps, cap_steps;
};
void mesh_change_done(struct mesh_change *c);
bool mesh_change_is_empty(const struct mesh_change *c);

/**
 * mesh_diff() - what turns one into the other
 * @have, @want: sorted
 * @now_s: seconds since 1970
 *
 * Nothing is flushed: a prefix that moves is added to its new owner, who takes it over in that moment, and a peer goes last.
 * An endpoint is told to a new peer, or to one that has been silent for longer than a session lives; else the one at which
 * the peer was last heard stays (it may have roamed). A peer whose successor has had a handshake hands its prefixes to it.
 * Where two wanted peers may speak as each other though they should not, the successor is made anew: nothing else parts them.
 * O((n + prefixes) log n)
 */
void mesh_diff(const struct mesh_device *have, const struct mesh_device *want, int64_t now_s, struct mesh_change *ret);

/* Takes those peers away that the change removes. Sorted stays sorted. */
void mesh_device_forget(struct mesh_device *d, const struct mesh_change *c);

/* Wanted peers that were there and are there no more, key rotation apart: nobody of us removes such, unless they were not wanted for a while
 * (mesh_device_forget()). All sorted. */
size_t mesh_count_lost(const struct mesh_device *before, const struct mesh_device *now, const struct mesh_device *want);

/* Peers that were as they should be and no longer are, or that nobody wants and that were not there. All sorted.
 * @alone: nobody of us wrote in between, and no key changes hands; else only preshared keys count, which nobody of us sets */
size_t mesh_count_changed(const struct mesh_device *before, const struct mesh_device *now, const struct mesh_device *want, bool alone);
/* Was the device itself as it should be, key, port and mark, and no longer is? When nobody of us wrote in between. */
bool mesh_was_changed(const struct mesh_device *before, const struct mesh_device *now, const struct mesh_device *want);

/**
 * mesh_hold_back() - leave the first handshake to those peers that begin
 * @want: changed: no keepalive for peers that begin and were not heard yet
 * @late: they had their time: nothing is held back but from peers that are new now
 *
 * A keepalive that is set begins the handshake at once. Where both ends do so at the same moment their initiations cross, which
 * the kernel's engine answers on neither side; the next try is five seconds later.
 *
 * Return: whether anything was held back.
 */
bool mesh_hold_back(const struct mesh_device *have, struct mesh_device *want, bool late);
