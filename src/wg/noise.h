/* SPDX-License-Identifier: Apache-2.0 */
/* The handshake Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s: pure functions of state and message, no clock, no I/O. */
#pragma once

#include "wg/message.h"

/* Who we are. */
struct noise_identity {
	bool set;
	uint8_t priv[KEY_LEN], pub[KEY_LEN];
	struct dh_key *key;
};

int noise_identity_set(struct noise_identity *id, const uint8_t priv[static KEY_LEN]);
void noise_identity_clear(struct noise_identity *id);

enum handshake_state {
	HANDSHAKE_NONE,
	HANDSHAKE_SENT_INITIATION,
	HANDSHAKE_GOT_INITIATION,
	HANDSHAKE_SENT_RESPONSE,
	HANDSHAKE_GOT_RESPONSE,
};

/* One exchange of messages under way, and its keys until noise_derive(). */
struct noise_exchange {
	enum handshake_state state;
	uint32_t remote_index;
	struct dh_key *ephemeral;
	uint8_t ephemeral_pub[KEY_LEN];
	uint8_t remote_ephemeral[KEY_LEN];
	uint8_t chain[HASH_LEN], hash[HASH_LEN];
};

/* One peer's side of it: the long-term part, and an exchange for either beginner, so that initiations which cross do not
 * undo each other. */
struct noise_peer {
	uint8_t pub[KEY_LEN];
	uint8_t psk[KEY_LEN];
	uint8_t static_static[KEY_LEN]; /* from the first handshake on; all zero when the peer's key gives none: then nothing is sent or accepted */
	bool static_known;
	uint8_t newest_timestamp[TIMESTAMP_LEN]; /* of an accepted initiation */

	struct noise_exchange ours;   /* we began it: from the initiation to the response */
	struct noise_exchange theirs; /* the peer did: answered within one call of the owner's */
};

/* The result of reading an initiation, before anything is believed about the peer it names. */
struct noise_initiation {
	uint8_t statik[KEY_LEN];
	uint8_t timestamp[TIMESTAMP_LEN];
	uint8_t remote_ephemeral[KEY_LEN];
	uint8_t chain[HASH_LEN], hash[HASH_LEN];
	uint32_t remote_index;
};

void noise_peer_init(struct noise_peer *p, const uint8_t pub[static KEY_LEN]);
/* After our identity changed. */
void noise_peer_rekey(struct noise_peer *p);
/* Forgets the exchanges under way; the long-term part stays. */
void noise_peer_reset(struct noise_peer *p);

/* The curve operations of a message, apart from what is done with them, so that those of many messages are done side by side
 * (dh_many()). noise_x_jobs() tells which, and begins the exchange where there is one; noise_x() gets them @done, or NULL: then it does
 * them itself. They hold secrets: wipe them. */
enum { NOISE_JOBS_MAX = 3 };

/* With the peer's key, unless it is known. Return: how many, 0 or 1. */
unsigned noise_static_jobs(const struct noise_identity *id, const struct noise_peer *p, struct dh_job *jobs);
void noise_take_static(struct noise_peer *p, const struct dh_job *done);

/* Everything but the MACs. Return: 0, -EBADMSG for an unusable peer key. */
unsigned noise_initiation_jobs(const struct noise_identity *id, struct noise_peer *p, struct dh_job *jobs);
int noise_create_initiation(const struct noise_identity *id, struct noise_peer *p, uint32_t local_index,
			    const uint8_t timestamp[static TIMESTAMP_LEN], const struct dh_job *done, struct msg_initiation *ret);

/**
 * noise_read_initiation() - first half of accepting: whom does it claim to come from?
 *
 * Return: 0 and @ret with the sender's authenticated-looking static key; -EBADMSG.
 */
int noise_read_initiation(const struct noise_identity *id, const struct msg_initiation *msg, const struct dh_job *done,
			  struct noise_initiation *ret);
unsigned noise_read_jobs(const struct noise_identity *id, const struct msg_initiation *msg, struct dh_job *jobs);

/**
 * noise_accept_initiation() - second half, with the peer found by that key
 *
 * Return: 0; -EBADMSG when it does not authenticate, -EALREADY when its timestamp is not newer (a replay).
 */
int noise_accept_initiation(const struct noise_identity *id, struct noise_peer *p, const struct msg_initiation *msg, struct noise_initiation *in);

unsigned noise_response_jobs(struct noise_peer *p, struct dh_job *jobs);
int noise_create_response(struct noise_peer *p, uint32_t local_index, const struct dh_job *done, struct msg_response *ret);

/* Return: 0, -EBADMSG; the exchange is unharmed then. */
int noise_accept_response(const struct noise_identity *id, struct noise_peer *p, const struct msg_response *msg, const struct dh_job *done);
/* None when no response is awaited. */
unsigned noise_accept_jobs(const struct noise_identity *id, const struct noise_peer *p, const struct msg_response *msg, struct dh_job *jobs);

/* Ends the exchange: transport keys, seen from our side. */
void noise_derive(struct noise_exchange *x, uint8_t ret_send[static KEY_LEN], uint8_t ret_recv[static KEY_LEN],
		  bool *ret_initiator);
