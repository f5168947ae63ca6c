/* SPDX-License-Identifier: Apache-2.0 */
/* The order of mixing is the protocol (whitepaper section 5.4); each step is named by its Noise token.
 * static-static is computed once for each peer, with its first handshake: it saves one of five scalar multiplications of the others, and
 * peers that are only configured cost none. */
#include "wg/noise.h"

static const char construction[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
static const char prologue[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";

int noise_identity_set(struct noise_identity *id, const uint8_t priv[static KEY_LEN])
{
	noise_identity_clear(id);
	if (secret_is_zero(priv, KEY_LEN))
		return 0;
	memcpy(id->priv, priv, KEY_LEN);
	dh_clamp(id->priv);
	id->key = dh_key_new(id->priv, id->pub);
	id->set = true;
	return 0;
}

void noise_identity_clear(struct noise_identity *id)
{
	dh_key_free(id->key);
	wipe(id, sizeof(*id));
}

void noise_peer_init(struct noise_peer *p, const uint8_t pub[static KEY_LEN])
{
	*p = (struct noise_peer){ 0 };
	memcpy(p->pub, pub, KEY_LEN);
}

void noise_peer_rekey(struct noise_peer *p)
{
	noise_peer_reset(p);
	wipe(p->static_static, KEY_LEN);
	p->static_known = false;
}

unsigned noise_static_jobs(const struct noise_identity *id, const struct noise_peer *p, struct dh_job *jobs)
{
	if (p->static_known || !id->set)
		return 0;
	jobs[0] = (struct dh_job){ .key = id->key, .pub = p->pub };
	return 1;
}

void noise_take_static(struct noise_peer *p, const struct dh_job *done)
{
	memcpy(p->static_static, done->result, KEY_LEN);
	p->static_known = true;
}

static bool has_static(const struct noise_identity *id, struct noise_peer *p)
{
	if (!p->static_known && dh(id->key, p->pub, p->static_static) < 0)
		wipe(p->static_static, KEY_LEN);
	p->static_known = true;
	return !secret_is_zero(p->static_static, KEY_LEN);
}

static void reset(struct noise_exchange *x)
{
	dh_key_free(x->ephemeral);
	wipe(x, sizeof(*x));
}

void noise_peer_reset(struct noise_peer *p)
{
	reset(&p->ours);
	reset(&p->theirs);
}

static void mix_hash(uint8_t hash[static HASH_LEN], const void *data, size_t n)
{
	hash2(hash, BYTES(hash, HASH_LEN), BYTES(data, n));
}

static void mix_key(uint8_t chain[static HASH_LEN], const void *data, size_t n)
{
	kdf(chain, BYTES(data, n), chain, NULL, NULL);
}

/* Mixes in a shared secret and hands out a key for the next payload. */
static void mix_secret(uint8_t chain[static HASH_LEN], uint8_t key[static KEY_LEN], const uint8_t *secret)
{
	uint8_t next[HASH_LEN];

	kdf(chain, BYTES(secret, KEY_LEN), next, key, NULL);
	memcpy(chain, next, HASH_LEN);
	wipe(next, sizeof(next));
}

/* A product that is zero is no secret. */
static int mix_job(uint8_t chain[static HASH_LEN], uint8_t *key, const struct dh_job *done)
{
	if (secret_is_zero(done->result, KEY_LEN))
		return -EBADMSG;
	if (key)
		mix_secret(chain, key, done->result);
	else
		mix_key(chain, done->result, KEY_LEN);
	return 0;
}

static void start(uint8_t chain[static HASH_LEN], uint8_t hash[static HASH_LEN], const uint8_t *responder)
{
	hash2(chain, BYTES(construction, strlen(construction)), BYTES("", 0));
	hash2(hash, BYTES(chain, HASH_LEN), BYTES(prologue, strlen(prologue)));
	mix_hash(hash, responder, KEY_LEN);
}

static void seal_mixed(uint8_t hash[static HASH_LEN], const uint8_t *key, const void *in, size_t n, uint8_t *out)
{
	aead_seal_once(key, 0, BYTES(hash, HASH_LEN), in, n, out);
	mix_hash(hash, out, n + TAG_LEN);
}

static int open_mixed(uint8_t hash[static HASH_LEN], const uint8_t *key, const uint8_t *in, size_t n, uint8_t *out)
{
	int r = aead_open_once(key, 0, BYTES(hash, HASH_LEN), in, n, out);

	if (r == 0)
		mix_hash(hash, in, n);
	return r;
}

enum { JOB_E, JOB_ES, JOB_SS };

unsigned noise_initiation_jobs(const struct noise_identity *id, struct noise_peer *p, struct dh_job *jobs)
{
	struct noise_exchange *x = &p->ours;

	reset(x);
	if (!id->set)
		return 0;
	x->ephemeral = dh_key_random();
	jobs[JOB_E] = (struct dh_job){ .key = x->ephemeral };
	jobs[JOB_ES] = (struct dh_job){ .key = x->ephemeral, .pub = p->pub };
	return JOB_SS + noise_static_jobs(id, p, &jobs[JOB_SS]);
}

int noise_create_initiation(const struct noise_identity *id, struct noise_peer *p, uint32_t local_index,
			    const uint8_t timestamp[static TIMESTAMP_LEN], const struct dh_job *done, struct msg_initiation *ret)
{
	struct noise_exchange *x = &p->ours;
	struct dh_job own[NOISE_JOBS_MAX];
	uint8_t key[KEY_LEN];
	int r = -EBADMSG;

	if (!done)
		dh_many(own, noise_initiation_jobs(id, p, own));
	done = done ?: own;
	if (!x->ephemeral)
		return r;
	if (!p->static_known)
		noise_take_static(p, &done[JOB_SS]);
	if (!has_static(id, p))
		goto out;
	*ret = (struct msg_initiation){ .type = htole32(MSG_INITIATION), .sender = htole32(local_index) };
	start(x->chain, x->hash, p->pub);
	memcpy(x->ephemeral_pub, done[JOB_E].result, KEY_LEN); /* e */
	memcpy(ret->ephemeral, x->ephemeral_pub, KEY_LEN);
	mix_key(x->chain, ret->ephemeral, KEY_LEN);
	mix_hash(x->hash, ret->ephemeral, KEY_LEN);
	r = mix_job(x->chain, key, &done[JOB_ES]); /* es */
	if (r < 0)
		goto out;
	seal_mixed(x->hash, key, id->pub, KEY_LEN, ret->statik); /* s */
	mix_secret(x->chain, key, p->static_static);		 /* ss */
	seal_mixed(x->hash, key, timestamp, TIMESTAMP_LEN, ret->timestamp);
	x->state = HANDSHAKE_SENT_INITIATION;
out:
	wipe(key, sizeof(key));
	wipe(own, sizeof(own));
	if (r < 0)
		reset(x);
	return r;
}

unsigned noise_read_jobs(const struct noise_identity *id, const struct msg_initiation *msg, struct dh_job *jobs)
{
	if (!id->set)
		return 0;
	jobs[0] = (struct dh_job){ .key = id->key, .pub = msg->ephemeral };
	return 1;
}

int noise_read_initiation(const struct noise_identity *id, const struct msg_initiation *msg, const struct dh_job *done,
			  struct noise_initiation *ret)
{
	struct noise_initiation in = { .remote_index = le32toh(msg->sender) };
	struct dh_job own[NOISE_JOBS_MAX];
	uint8_t key[KEY_LEN];
	int r;

	if (!id->set)
		return -EBADMSG;
	if (!done)
		dh_many(own, noise_read_jobs(id, msg, own));
	start(in.chain, in.hash, id->pub);
	memcpy(in.remote_ephemeral, msg->ephemeral, KEY_LEN); /* e */
	mix_key(in.chain, msg->ephemeral, KEY_LEN);
	mix_hash(in.hash, msg->ephemeral, KEY_LEN);
	r = mix_job(in.chain, key, done ?: own); /* es */
	if (r == 0)
		r = open_mixed(in.hash, key, msg->statik, sizeof(msg->statik), in.statik); /* s */
	if (r == 0)
		*ret = in;
	wipe(key, sizeof(key));
	wipe(own, sizeof(own));
	wipe(&in, sizeof(in));
	return r;
}

int noise_accept_initiation(const struct noise_identity *id, struct noise_peer *p, const struct msg_initiation *msg, struct noise_initiation *in)
{
	struct noise_exchange *x = &p->theirs;
	uint8_t key[KEY_LEN];
	int r;

	if (!id->set || !has_static(id, p))
		return -EBADMSG;
	mix_secret(in->chain, key, p->static_static); /* ss */
	r = open_mixed(in->hash, key, msg->timestamp, sizeof(msg->timestamp), in->timestamp);
	wipe(key, sizeof(key));
	if (r < 0)
		return r;
	if (memcmp(in->timestamp, p->newest_timestamp, TIMESTAMP_LEN) <= 0)
		return -EALREADY;
	reset(x);
	memcpy(p->newest_timestamp, in->timestamp, TIMESTAMP_LEN);
	memcpy(x->remote_ephemeral, in->remote_ephemeral, KEY_LEN);
	memcpy(x->chain, in->chain, HASH_LEN);
	memcpy(x->hash, in->hash, HASH_LEN);
	x->remote_index = in->remote_index;
	x->state = HANDSHAKE_GOT_INITIATION;
	return 0;
}

/* psk: the third output keys the last payload, the second enters the transcript. */
static void mix_psk(uint8_t chain[static HASH_LEN], uint8_t hash[static HASH_LEN], uint8_t key[static KEY_LEN],
		    const uint8_t *psk)
{
	uint8_t next[HASH_LEN], tau[HASH_LEN];

	kdf(chain, BYTES(psk, KEY_LEN), next, tau, key);
	memcpy(chain, next, HASH_LEN);
	mix_hash(hash, tau, HASH_LEN);
	wipe(next, sizeof(next));
	wipe(tau, sizeof(tau));
}

enum { JOB_EE = 1, JOB_SE };

unsigned noise_response_jobs(struct noise_peer *p, struct dh_job *jobs)
{
	struct noise_exchange *x = &p->theirs;

	assert(x->state == HANDSHAKE_GOT_INITIATION);
	x->ephemeral = dh_key_random();
	jobs[JOB_E] = (struct dh_job){ .key = x->ephemeral };
	jobs[JOB_EE] = (struct dh_job){ .key = x->ephemeral, .pub = x->remote_ephemeral };
	jobs[JOB_SE] = (struct dh_job){ .key = x->ephemeral, .pub = p->pub };
	return JOB_SE + 1;
}

int noise_create_response(struct noise_peer *p, uint32_t local_index, const struct dh_job *done, struct msg_response *ret)
{
	struct noise_exchange *x = &p->theirs;
	struct dh_job own[NOISE_JOBS_MAX];
	uint8_t key[KEY_LEN];
	int r;

	if (!done)
		dh_many(own, noise_response_jobs(p, own));
	done = done ?: own;
	assert(x->state == HANDSHAKE_GOT_INITIATION && x->ephemeral);
	*ret = (struct msg_response){ .type = htole32(MSG_RESPONSE),
				      .sender = htole32(local_index),
				      .receiver = htole32(x->remote_index) };
	memcpy(x->ephemeral_pub, done[JOB_E].result, KEY_LEN); /* e */
	memcpy(ret->ephemeral, x->ephemeral_pub, KEY_LEN);
	mix_key(x->chain, ret->ephemeral, KEY_LEN);
	mix_hash(x->hash, ret->ephemeral, KEY_LEN);
	r = mix_job(x->chain, NULL, &done[JOB_EE]); /* ee */
	if (r == 0)
		r = mix_job(x->chain, NULL, &done[JOB_SE]); /* se */
	wipe(own, sizeof(own));
	if (r < 0) {
		reset(x);
		return r;
	}
	mix_psk(x->chain, x->hash, key, p->psk); /* psk */
	seal_mixed(x->hash, key, "", 0, ret->nothing);
	wipe(key, sizeof(key));
	x->state = HANDSHAKE_SENT_RESPONSE;
	return 0;
}

unsigned noise_accept_jobs(const struct noise_identity *id, const struct noise_peer *p, const struct msg_response *msg, struct dh_job *jobs)
{
	const struct noise_exchange *x = &p->ours;

	if (x->state != HANDSHAKE_SENT_INITIATION || !id->set)
		return 0;
	jobs[0] = (struct dh_job){ .key = x->ephemeral, .pub = msg->ephemeral };
	jobs[1] = (struct dh_job){ .key = id->key, .pub = msg->ephemeral };
	return 2;
}

int noise_accept_response(const struct noise_identity *id, struct noise_peer *p, const struct msg_response *msg, const struct dh_job *done)
{
	struct noise_exchange *x = &p->ours;
	struct dh_job own[NOISE_JOBS_MAX];
	uint8_t chain[HASH_LEN], hash[HASH_LEN], key[KEY_LEN], nothing[1];
	int r;

	if (x->state != HANDSHAKE_SENT_INITIATION || !id->set)
		return -EBADMSG;
	if (!done)
		dh_many(own, noise_accept_jobs(id, p, msg, own));
	done = done ?: own;
	memcpy(chain, x->chain, HASH_LEN);
	memcpy(hash, x->hash, HASH_LEN);
	mix_key(chain, msg->ephemeral, KEY_LEN); /* e */
	mix_hash(hash, msg->ephemeral, KEY_LEN);
	r = mix_job(chain, NULL, &done[0]); /* ee */
	if (r == 0)
		r = mix_job(chain, NULL, &done[1]); /* se */
	if (r == 0) {
		mix_psk(chain, hash, key, p->psk); /* psk */
		r = open_mixed(hash, key, msg->nothing, sizeof(msg->nothing), nothing);
		wipe(key, sizeof(key));
	}
	if (r == 0) {
		memcpy(x->chain, chain, HASH_LEN);
		memcpy(x->hash, hash, HASH_LEN);
		x->remote_index = le32toh(msg->sender);
		x->state = HANDSHAKE_GOT_RESPONSE;
	}
	wipe(own, sizeof(own));
	wipe(chain, sizeof(chain));
	wipe(hash, sizeof(hash));
	return r;
}

void noise_derive(struct noise_exchange *x, uint8_t ret_send[static KEY_LEN], uint8_t ret_recv[static KEY_LEN],
		  bool *ret_initiator)
{
	bool initiator = x->state == HANDSHAKE_GOT_RESPONSE;

	assert(initiator || x->state == HANDSHAKE_SENT_RESPONSE);
	kdf(x->chain, BYTES("", 0), initiator ? ret_send : ret_recv, initiator ? ret_recv : ret_send, NULL);
	*ret_initiator = initiator;
	reset(x);
}
