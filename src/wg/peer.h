/* SPDX-License-Identifier: Apache-2.0 */
/* A peer: configuration and handshake (the device's owner's thread), key slots, endpoint and stamps (all threads). */
#pragma once

#include "base/htab.h"
#include "base/list.h"
#include "wg/cookie.h"
#include "wg/endpoint.h"
#include "wg/noise.h"
#include "wg/session.h"
#include "wg/window.h"

#include <linux/virtio_net.h>
#include <pthread.h>

/* What the data path tells the owner; bits of peer->events. */
enum peer_event {
	PEER_WANTS_HANDSHAKE = 1 << 0,
	PEER_CONFIRMED = 1 << 1, /* the first data came on the next session */
	PEER_TIMER = 1 << 2,	 /* a deadline before next_wake */
	PEER_LAST_MINUTE = 1 << 3, /* receiving on keys that end soon */
	PEER_STAGED = 1 << 4,	 /* packets wait although there may be a session by now */
	PEER_MOVED = 1 << 5,
	PEER_SOURCE = 1 << 6, /* it speaks to another address of ours */
};

/* A packet from the TUN that waits for a session. */
struct staged {
	struct staged *next;
	size_t len;
	struct virtio_net_hdr hdr;
	uint8_t data[];
};

enum { STAGED_MAX = 128, STAGED_BYTES_MAX = 1 << 20 };

struct peer {
	struct htab_node by_key;
	struct list all;
	struct list allowed; /* of struct allowed_node, of_peer */
	struct device *device;
	uint16_t persistent_keepalive_s;

	struct noise_peer noise;
	struct cookie_maker cookie;
	struct index_slot handshake_slot; /* of our initiation */
	struct index_slot answer_slot;	  /* of the peer's, until it is answered */
	struct window_node window;
	struct list unsaved; /* see state.c */
	int64_t last_initiation_sent_ns, last_initiation_seen_ns; /* 0: never */
	int64_t last_handshake_real_ns;				  /* wall clock, for people; 0: never */
	struct timers timers;
	_Atomic int64_t next_wake; /* when the owner looks at the timers next */
	size_t heap_at;		   /* position in the owner's heap + 1; 0: not in it */

	_Atomic uint32_t events;
	struct peer *dirty_next;
	bool dead;
	/* The same node under another key, while its keys change: each may speak as the other (compared only, never followed by
	 * workers). @is_heir: it takes over the other's allowed IPs with its first handshake. */
	_Atomic(struct peer *) twin;
	bool is_heir;
	bool answered;	  /* somebody has answered the latest initiation, rightly or not */
	bool had_session; /* in a former life: shake hands as soon as we are up */

	/* slots: stored by the owner only */
	_Atomic(struct session *) current, previous, next;

	uint32_t way_out;	 /* the interface by which answers leave, with the source that they have; 0: not known, or no source */
	pthread_spinlock_t lock; /* endpoints and staged packets */
	struct endpoint endpoint;
	struct endpoint given_up; /* where packets still come, but whose source answers are to leave from no more */
	struct staged *staged_head, **staged_tail;
	size_t staged_bytes;
	_Atomic unsigned staged_count;

	_Atomic uint64_t rx_bytes, tx_bytes;
};

struct peer *peer_new(struct device *d, const uint8_t pub[static KEY_LEN]);
/* No reader and no session may be left. */
void peer_free(struct peer *p);

struct endpoint peer_endpoint(struct peer *p);
void peer_set_endpoint(struct peer *p, const struct endpoint *e);
/* Data has come from there. Return: PEER_MOVED and PEER_SOURCE, if it is news. */
uint32_t peer_heard_at(struct peer *p, const struct endpoint *from);
/* Whatever comes to the address of ours in @e: answers leave from another one, until the peer is set or heard elsewhere. */
void peer_give_up_source(struct peer *p, const struct endpoint *e);
/* The local address is no good any more (or may not be): let routing choose. */
void peer_forget_source(struct peer *p);

/**
 * peer_stage() - keep a packet until there is a session; the oldest give way
 * @hdr: its vnet header; NULL with @len 0 for a keepalive that is only to cause a handshake
 *
 * Return: packets dropped to make room (1 when this one did not fit at all).
 */
unsigned peer_stage(struct peer *p, const struct virtio_net_hdr *hdr, const void *data, size_t len);
/* Takes the oldest without lowering staged_count: until peer_staged_done() newer packets queue up behind it. */
struct staged *peer_unstage(struct peer *p);
void peer_staged_done(struct peer *p, struct staged *s);
unsigned peer_drop_staged(struct peer *p);
