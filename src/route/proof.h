/* SPDX-License-Identifier: Apache-2.0 */
/* What proves that a link to a peer carries packets with the pods' addresses: the messages of the probes, and when enough of
 * them were answered, or too few. No I/O, no clock: the caller sends, receives, and says what time it is.
 *
 * A message is 64 bytes: magic, kind, nonce, MAC. An answer repeats the request's nonce, which nobody knows who has not seen
 * the request. The MAC (HMAC-SHA-256) covers the message and both addresses, its key is made of both Node objects' uids, which
 * are random and which only those know who may read Nodes of the API: somebody else on the network gets no answer and proves nothing. */
#pragma once

#include "net/addr.h"

enum { PROOF_SIZE = 64, PROOF_NONCE_SIZE = 16 };
enum proof_kind { PROOF_REQUEST = 1, PROOF_ANSWER = 2 };

struct proof_message {
	enum proof_kind kind;
	uint8_t nonce[PROOF_NONCE_SIZE];
};
/* Between whom; of the packet that holds the message. */
struct proof_path {
	struct addr src, dst;
	const char *uids[2]; /* of both Node objects, in any order */
};

void proof_encode(const struct proof_message *m, const struct proof_path *path, uint8_t ret[static PROOF_SIZE]);
/* Return: 0, -EBADMSG for what is no message of ours, -EACCES for a wrong MAC. */
int proof_decode(const uint8_t *data, size_t len, const struct proof_path *path, struct proof_message *ret);

/* A peer's record: rounds of probes, one after the other. A zeroed one has proven nothing. */
struct proof {
	bool proven;
	uint64_t since_us;	   /* of this opinion; 0: there was no round yet */
	unsigned good, bad;	   /* rounds in a row, up to now */
	uint64_t answered, missed; /* rounds, all */
};

/* A round is over. Return: has the opinion changed? */
bool proof_note(struct proof *p, bool answered, uint64_t now_us);
/* How long until the next round begins: soon when the last ones spoke against the opinion, later where nobody ever answers. */
uint64_t proof_pause_us(const struct proof *p);
