/* SPDX-License-Identifier: Apache-2.0 */
#include "route/proof.h"
#include "base/str.h"

#include <openssl/crypto.h>
#include <openssl/hmac.h>

enum {
	MAC_SIZE = 32,
	ROUNDS_TO_CHANGE = 3, /* one lost packet is no opinion */
	HOPELESS = 10,
	PAUSE_US = 1000000,
	DOUBT_PAUSE_US = 200000,
	HOPELESS_PAUSE_US = 5000000,
};

static const uint8_t magic[8] = "WEFTPRB1";

/* The wire, without padding: magic 8, kind 1, zeros 7, nonce 16, MAC 32. */
struct wire {
	uint8_t magic[8];
	uint8_t kind;
	uint8_t zero[7];
	uint8_t nonce[PROOF_NONCE_SIZE];
	uint8_t mac[MAC_SIZE];
};
_Static_assert(sizeof(struct wire) == PROOF_SIZE, "what travels");

static void make_mac(const struct wire *w, const struct proof_path *path, uint8_t ret[MAC_SIZE])
{
	bool swap = strcmp(path->uids[0], path->uids[1]) > 0;
	_cleanup_free_ char *key = xasprintf("weft probe\n%s\n%s", path->uids[swap], path->uids[!swap]);
	uint8_t text[offsetof(struct wire, mac) + 2 * sizeof(struct addr)];
	unsigned len = MAC_SIZE;

	memcpy(text, w, offsetof(struct wire, mac));
	memcpy(text + offsetof(struct wire, mac), &path->src, sizeof(path->src));
	memcpy(text + offsetof(struct wire, mac) + sizeof(path->src), &path->dst, sizeof(path->dst));
	/* fails for want of memory only; what it leaves then is no peer's MAC */
	memset(ret, 0, MAC_SIZE);
	if (!HMAC(EVP_sha256(), key, strlen(key), text, sizeof(text), ret, &len))
		memset(ret, 0, MAC_SIZE);
}

void proof_encode(const struct proof_message *m, const struct proof_path *path, uint8_t ret[static PROOF_SIZE])
{
	struct wire w = {.kind = m->kind};

	memcpy(w.magic, magic, sizeof(magic));
	memcpy(w.nonce, m->nonce, sizeof(w.nonce));
	make_mac(&w, path, w.mac);
	memcpy(ret, &w, sizeof(w));
}

int proof_decode(const uint8_t *data, size_t len, const struct proof_path *path, struct proof_message *ret)
{
	static const uint8_t zero[sizeof(((struct wire *)0)->zero)];
	uint8_t mac[MAC_SIZE];
	struct wire w;

	if (len != sizeof(w))
		return -EBADMSG;
	memcpy(&w, data, sizeof(w));
	if (memcmp(w.magic, magic, sizeof(magic)) != 0 || (w.kind != PROOF_REQUEST && w.kind != PROOF_ANSWER) ||
	    memcmp(w.zero, zero, sizeof(zero)) != 0)
		return -EBADMSG;
	make_mac(&w, path, mac);
	if (CRYPTO_memcmp(mac, w.mac, sizeof(mac)) != 0)
		return -EACCES;
	ret->kind = w.kind;
	memcpy(ret->nonce, w.nonce, sizeof(ret->nonce));
	return 0;
}

bool proof_note(struct proof *p, bool answered, uint64_t now_us)
{
	p->good = answered ? p->good + 1 : 0;
	p->bad = answered ? 0 : p->bad + 1;
	*(answered ? &p->answered : &p->missed) += 1;
	if (!p->since_us)
		p->since_us = now_us;
	if ((p->proven ? p->bad : p->good) < ROUNDS_TO_CHANGE)
		return false;
	p->proven = !p->proven;
	p->since_us = now_us;
	return true;
}

uint64_t proof_pause_us(const struct proof *p)
{
	if (p->proven ? p->bad : p->good)
		return DOUBT_PAUSE_US;
	return p->bad > HOPELESS ? HOPELESS_PAUSE_US : PAUSE_US;
}
