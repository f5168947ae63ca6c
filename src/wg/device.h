/* SPDX-License-Identifier: Apache-2.0 */
/* The protocol engine of one interface: peers, keys, handshakes and timers, without sockets, files or a clock. One
 * thread owns it (the functions here are its, except where said); workers read what qsbr protects and report with
 * device_post(). Whoever owns the device gives it the means to act: struct device_ops. */
#pragma once

#include "wg/allowedips.h"
#include "wg/peer.h"
#include "wg/ratelimit.h"

/* UNDER_LOAD_DEPTH: messages that take a tenth of a second, eight products at once or one by one. */
enum { PEERS_MAX = 65536, UNDER_LOAD_DEPTH = 2048, UNDER_LOAD_DEPTH_SINGLE = 512, COOKIE_BACKLOG = 3072 };
enum { HANDSHAKES_MAX = 32, ASK_MAX = 16 }; /* taken together */

struct device_stats {
	uint64_t handshakes_completed, initiations_sent, responses_sent, cookies_sent, cookies_received;
	uint64_t bad_mac, bad_handshake, replayed_handshake, rate_limited, unknown_index, staged_dropped, overload_dropped;
};

struct device_ops {
	/* A handshake message to @to. The source address in it is a wish. */
	void (*send)(void *ctx, struct peer *p, const struct endpoint *to, const void *msg, size_t len);
	/* One empty data message on @s. */
	void (*send_keepalive)(void *ctx, struct peer *p, struct session *s, int64_t now);
	/* All packets that wait for the peer, in order, on @s. */
	void (*send_staged)(void *ctx, struct peer *p, struct session *s, int64_t now);
	void (*changed)(void *ctx); /* the configuration. May be NULL */
	/* An initiation was accepted, and is not answered yet: after a crash its timestamp has to be known. May be NULL. */
	void (*accepted)(void *ctx, struct peer *p);
	/* The answer to ours was accepted, and the session is not used yet: after a crash it has to be known whom to ask. May be NULL. */
	void (*answered)(void *ctx, struct peer *p);
	/* Worth saving: where the peer is, or that it has confirmed a session. May be NULL. */
	void (*peer_changed)(void *ctx, struct peer *p);
	/* By which interface a datagram to @e leaves from the source in it. Return: its index, or -errno. May be NULL. */
	int (*way_out)(void *ctx, const struct endpoint *e);
	void (*wake)(void *ctx);    /* any thread: events wait for device_run() */
	void (*keys_gone)(void *ctx); /* sessions were retired: cipher contexts may still hold their keys. May be NULL */
	int64_t (*real_time)(void *ctx); /* wall clock, ns */
	/* Before a timestamp is used in a message: later ones must be above it, even after a restart. May be NULL. */
	void (*timestamp)(void *ctx, const uint8_t timestamp[static TIMESTAMP_LEN]);
};

struct device {
	const struct device_ops *ops;
	void *ctx;
	struct limits limits;
	bool up;
	_Atomic uint16_t port; /* our sockets', 0: none; big endian as in packets */

	struct noise_identity identity;
	struct cookie_checker cookie;
	struct htab peers; /* by public key */
	struct list order; /* all peers, oldest first */
	struct allowedips allowed;
	struct index_table indexes;
	struct qsbr qsbr;
	struct ratelimit ratelimit;
	struct window window;
	uint8_t last_timestamp[TIMESTAMP_LEN]; /* newest one we sent, to anybody */
	unsigned under_load_depth;
	int64_t under_load_until;
	struct peer *asked[ASK_MAX]; /* their initiations wait for each other, until gathering ends */
	unsigned n_asked, gathering;

	struct peer **heap; /* by next_wake */
	size_t heap_len, heap_cap;
	_Atomic(struct peer *) dirty;
	struct device_stats stats;
};

void device_init(struct device *d, const struct device_ops *ops, void *ctx);
/* No worker may be left. */
void device_done(struct device *d);

/* Configuration. */
void device_set_key(struct device *d, const uint8_t priv[static KEY_LEN]);
struct peer *device_find_peer(struct device *d, const uint8_t pub[static KEY_LEN]);
/* Return: the new peer, or NULL at PEERS_MAX or when it is ourselves. */
struct peer *device_add_peer(struct device *d, const uint8_t pub[static KEY_LEN]);
void device_remove_peer(struct device *d, struct peer *p);
/* @heir is @old under a new key: until one of them is removed each may speak as the other. Nothing happens when either has a twin. */
void device_set_heir(struct peer *heir, struct peer *old);
/* An heir that has shaken hands takes over the allowed IPs of the peer before it. */
void device_inherit(struct peer *heir);
void device_set_psk(struct peer *p, const uint8_t psk[static KEY_LEN]);
void device_set_keepalive(struct peer *p, uint16_t seconds, int64_t now);
/* A peer that nobody knew where to find, and that is to be kept alive, is asked at once. */
void device_set_endpoint(struct peer *p, const struct endpoint *e, int64_t now);
/* A peer with which packets came and went by one interface, and that routing reaches by another one now, is spoken to from an address
 * that goes with it. Where they went different ways before, the address that the peer speaks to is all that it can expect. */
void device_routes_changed(struct device *d);
/* What was learned about our own addresses is nothing any more, as by another mark routing may go anywhere. */
void device_forget_sources(struct device *d);
/* Of a saved state: when the last handshake was (wall clock). Who may still have that session is asked for a new one once we are up. */
void device_restore_handshake(struct peer *p, int64_t real_ns);
void device_set_up(struct device *d, bool up, int64_t now);

struct handshake_message {
	struct endpoint from;
	size_t len;
	_Alignas(8) uint8_t msg[sizeof(struct msg_initiation)];
};

/**
 * device_on_handshakes() - messages of type 1, 2 or 3, HANDSHAKES_MAX at most, in the order of arrival
 * @queued: messages that wait behind these: many mean "under load"
 */
void device_on_handshakes(struct device *d, int64_t now, const struct handshake_message *messages, unsigned n, size_t queued);
void device_on_handshake(struct device *d, int64_t now, const void *msg, size_t len, const struct endpoint *source, size_t queued);

/* Any thread, inside a QSBR section or the owner's: the peer needs attention. */
void device_post(struct peer *p, uint32_t events);
/* Does what was posted and what is due. Return: the next deadline (NEVER: none). */
int64_t device_run(struct device *d, int64_t now);

/* Asks for a session now, unless one was asked for within REKEY_TIMEOUT. */
void device_initiate(struct peer *p, int64_t now);
/* The session to send on, whether one may or not; or NULL. One that the peer began and has shown the keys of counts at once, not only when the owner has
 * come round to move it: a peer that began anew has no other, and it is the answer to its first packet that would be lost. */
static inline struct session *device_latest_session(struct peer *p)
{
	struct session *s = atomic_load_explicit(&p->current, memory_order_acquire);
	struct session *next = atomic_load_explicit(&p->next, memory_order_acquire);

	return next && session_goes_before(next, s) ? next : s;
}

/* A session that may be sent on, or NULL. */
static inline struct session *device_sending_session(struct peer *p, int64_t now)
{
	struct session *s = device_latest_session(p);

	return session_may_send(s, &p->device->limits, now) ? s : NULL;
}

/* A peer's deadline came forward to @at (any thread). */
static inline void device_deadline(struct peer *p, int64_t at)
{
	if (at < atomic_load_explicit(&p->next_wake, memory_order_relaxed))
		device_post(p, PEER_TIMER);
}

/* Notes by the data path, once a batch and peer. */
void device_note_sent(struct peer *p, struct session *s, int64_t now, size_t bytes, bool data);
void device_note_received(struct peer *p, struct session *s, int64_t now, size_t bytes, bool data,
			  const struct endpoint *from);

/* An initiation of ours that is not answered yet, for another process to go on with. */
struct exchange {
	uint32_t index, attempts;
	uint8_t ephemeral[KEY_LEN], chain[HASH_LEN], hash[HASH_LEN];
	int64_t sent_ns, repeat_ns, jitter_ns;
};
/* Return: whether there is one. */
bool device_save_exchange(const struct peer *p, struct exchange *ret);
/* Return: 0, -EEXIST. */
int device_restore_exchange(struct peer *p, const struct exchange *x, int64_t now);

/* Puts a session taken over from another process into a slot. Return: 0, -EEXIST. */
enum session_slot { SLOT_CURRENT, SLOT_PREVIOUS, SLOT_NEXT };
int device_restore_session(struct peer *p, struct session *s, enum session_slot slot);
