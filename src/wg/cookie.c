/* SPDX-License-Identifier: Apache-2.0 */
/* Whitepaper sections 5.4.4 and 5.4.7. A cookie is a MAC of the source address under a secret that nobody else knows
 * and that changes every two minutes, so the responder keeps no state for each source. */
#include "wg/cookie.h"

#define SECRET_LIFE_NS (120 * INT64_C(1000000000))
#define COOKIE_LATENCY_NS (5 * INT64_C(1000000000)) /* a cookie is not used in its last seconds */

static void label_key(uint8_t out[static HASH_LEN], const char *label, const uint8_t *pub)
{
	hash2(out, BYTES(label, strlen(label)), BYTES(pub, KEY_LEN));
}

void cookie_checker_init(struct cookie_checker *c, const uint8_t our_pub[static KEY_LEN])
{
	*c = (struct cookie_checker){ 0 };
	label_key(c->mac1_key, "mac1----", our_pub);
	label_key(c->cookie_key, "cookie--", our_pub);
}

void cookie_maker_init(struct cookie_maker *m, const uint8_t peer_pub[static KEY_LEN])
{
	*m = (struct cookie_maker){ 0 };
	label_key(m->mac1_key, "mac1----", peer_pub);
	label_key(m->cookie_key, "cookie--", peer_pub);
}

static const struct msg_macs *macs_of(const void *msg, size_t len)
{
	return (const struct msg_macs *)((const uint8_t *)msg + len - sizeof(struct msg_macs));
}

static void make_cookie(struct cookie_checker *c, int64_t now_ns, struct bytes source, uint8_t out[static COOKIE_LEN])
{
	if (!c->secret_born_ns || now_ns - c->secret_born_ns >= SECRET_LIFE_NS) {
		crypto_random(c->secret, sizeof(c->secret));
		c->secret_born_ns = now_ns;
	}
	mac16(out, BYTES(c->secret, sizeof(c->secret)), source);
}

enum mac_verdict cookie_check(struct cookie_checker *c, int64_t now_ns, const void *msg, size_t len, struct bytes source)
{
	const struct msg_macs *macs = macs_of(msg, len);
	uint8_t mac[MAC_LEN], cookie[COOKIE_LEN];

	mac16(mac, BYTES(c->mac1_key, HASH_LEN), BYTES(msg, len - sizeof(*macs)));
	if (!secret_eq(mac, macs->mac1, MAC_LEN))
		return MAC_INVALID;
	if (secret_is_zero(macs->mac2, MAC_LEN))
		return MAC_VALID_NO_COOKIE;
	make_cookie(c, now_ns, source, cookie);
	mac16(mac, BYTES(cookie, COOKIE_LEN), BYTES(msg, len - MAC_LEN));
	return secret_eq(mac, macs->mac2, MAC_LEN) ? MAC_VALID_WITH_COOKIE : MAC_VALID_NO_COOKIE;
}

void cookie_reply(struct cookie_checker *c, int64_t now_ns, const void *msg, size_t len, struct bytes source,
		  struct msg_cookie *ret)
{
	uint8_t cookie[COOKIE_LEN];
	uint32_t sender;

	memcpy(&sender, (const uint8_t *)msg + 4, sizeof(sender)); /* the same place in both handshake messages */
	*ret = (struct msg_cookie){ .type = htole32(MSG_COOKIE), .receiver = sender };
	crypto_random(ret->nonce, sizeof(ret->nonce));
	make_cookie(c, now_ns, source, cookie);
	xaead_seal_once(c->cookie_key, ret->nonce, BYTES(macs_of(msg, len)->mac1, MAC_LEN), cookie, COOKIE_LEN,
			ret->cookie);
}

void cookie_add_macs(struct cookie_maker *m, int64_t now_ns, void *msg, size_t len)
{
	struct msg_macs *macs = (struct msg_macs *)macs_of(msg, len);

	mac16(macs->mac1, BYTES(m->mac1_key, HASH_LEN), BYTES(msg, len - sizeof(*macs)));
	memcpy(m->last_mac1, macs->mac1, MAC_LEN);
	m->have_last_mac1 = true;
	if (m->cookie_born_ns && now_ns - m->cookie_born_ns < SECRET_LIFE_NS - COOKIE_LATENCY_NS)
		mac16(macs->mac2, BYTES(m->cookie, COOKIE_LEN), BYTES(msg, len - MAC_LEN));
	else
		memset(macs->mac2, 0, MAC_LEN);
}

int cookie_accept(struct cookie_maker *m, int64_t now_ns, const struct msg_cookie *msg)
{
	uint8_t cookie[COOKIE_LEN];
	int r;

	if (!m->have_last_mac1)
		return -EBADMSG;
	r = xaead_open_once(m->cookie_key, msg->nonce, BYTES(m->last_mac1, MAC_LEN), msg->cookie, sizeof(msg->cookie),
			    cookie);
	if (r < 0)
		return r;
	memcpy(m->cookie, cookie, COOKIE_LEN);
	m->cookie_born_ns = now_ns;
	m->have_last_mac1 = false; /* one answer for each message */
	return 0;
}
