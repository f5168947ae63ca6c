/* SPDX-License-Identifier: Apache-2.0 */
/* MAC1 (knows our public key), MAC2 (owns its source address) and cookie replies. Pure: time is an argument. */
#pragma once

#include "wg/message.h"

/* Ours to check with. */
struct cookie_checker {
	uint8_t mac1_key[HASH_LEN], cookie_key[HASH_LEN]; /* from our public key */
	uint8_t secret[HASH_LEN];			  /* changes every two minutes */
	int64_t secret_born_ns;				  /* 0: none yet */
};

/* One peer's, to be sent to it. */
struct cookie_maker {
	uint8_t mac1_key[HASH_LEN], cookie_key[HASH_LEN]; /* from the peer's public key */
	uint8_t last_mac1[MAC_LEN];
	bool have_last_mac1;
	uint8_t cookie[COOKIE_LEN];
	int64_t cookie_born_ns; /* 0: none */
};

enum mac_verdict { MAC_INVALID, MAC_VALID_NO_COOKIE, MAC_VALID_WITH_COOKIE };

void cookie_checker_init(struct cookie_checker *c, const uint8_t our_pub[static KEY_LEN]);
void cookie_maker_init(struct cookie_maker *m, const uint8_t peer_pub[static KEY_LEN]);

/**
 * cookie_check() - judge the MACs that end a handshake message of @len bytes
 * @source: what a cookie is bound to: address and port of the sender
 */
enum mac_verdict cookie_check(struct cookie_checker *c, int64_t now_ns, const void *msg, size_t len, struct bytes source);

/* The answer to a message that is valid but must prove its source; smaller than any message it answers. */
void cookie_reply(struct cookie_checker *c, int64_t now_ns, const void *msg, size_t len, struct bytes source,
		  struct msg_cookie *ret);

/* Fills in the MACs that end @msg. */
void cookie_add_macs(struct cookie_maker *m, int64_t now_ns, void *msg, size_t len);

/* Return: 0; -EBADMSG when it is not an answer to our last message. */
int cookie_accept(struct cookie_maker *m, int64_t now_ns, const struct msg_cookie *msg);
