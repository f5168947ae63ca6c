/* SPDX-License-Identifier: Apache-2.0 */
/* Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, written down a second time after the Noise specification's section 5, plainly and
 * with a free choice of prologue, ephemeral keys and payloads. It is held against a published vector (vectors/noise_ikpsk2.txt:
 * wg_noise_test DIRECTORY), and noise.c, which has none of those choices, is held against it in both roles. */
#include "base/str.h"
#include "base/test.h"
#include "wg/noise.h"

enum { MESSAGE_MAX = 512 };

struct text {
	uint8_t data[MESSAGE_MAX];
	size_t len;
};

struct party {
	uint8_t ck[HASH_LEN], h[HASH_LEN], k[KEY_LEN];
	bool has_k;
	uint64_t n;
	struct dh_key *s, *e;
	uint8_t s_pub[KEY_LEN], e_pub[KEY_LEN], rs[KEY_LEN], re[KEY_LEN], psk[KEY_LEN];
};

static const char *directory;

static void mix_hash(struct party *p, const void *data, size_t n)
{
	hash2(p->h, BYTES(p->h, HASH_LEN), BYTES(data, n));
}

static void mix_key(struct party *p, const uint8_t *input)
{
	uint8_t ck[HASH_LEN];

	kdf(p->ck, BYTES(input, KEY_LEN), ck, p->k, NULL);
	memcpy(p->ck, ck, HASH_LEN);
	p->has_k = true;
	p->n = 0;
}

static void mix_key_and_hash(struct party *p, const uint8_t *input)
{
	uint8_t ck[HASH_LEN], temp[HASH_LEN];

	kdf(p->ck, BYTES(input, KEY_LEN), ck, temp, p->k);
	memcpy(p->ck, ck, HASH_LEN);
	mix_hash(p, temp, HASH_LEN);
	p->has_k = true;
	p->n = 0;
}

static void mix_dh(struct party *p, struct dh_key *key, const uint8_t *pub)
{
	uint8_t secret[KEY_LEN];

	CHECK_INT(dh(key, pub, secret), 0);
	mix_key(p, secret);
}

static void encrypt_and_hash(struct party *p, const void *in, size_t n, struct text *out)
{
	uint8_t *at = out->data + out->len;

	CHECK(p->has_k && out->len + n + TAG_LEN <= MESSAGE_MAX);
	aead_seal_once(p->k, p->n++, BYTES(p->h, HASH_LEN), in, n, at);
	mix_hash(p, at, n + TAG_LEN);
	out->len += n + TAG_LEN;
}

static void decrypt_and_hash(struct party *p, const uint8_t **in, size_t n, uint8_t *out)
{
	CHECK_INT(aead_open_once(p->k, p->n++, BYTES(p->h, HASH_LEN), *in, n + TAG_LEN, out), 0);
	mix_hash(p, *in, n + TAG_LEN);
	*in += n + TAG_LEN;
}

static void begin(struct party *p, const void *prologue, size_t n, const uint8_t *responder)
{
	static const char name[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";

	hash2(p->h, BYTES(name, strlen(name)), BYTES("", 0));
	memcpy(p->ck, p->h, HASH_LEN);
	mix_hash(p, prologue, n);
	mix_hash(p, responder, KEY_LEN); /* <- s */
}

static void put_ephemeral(struct party *p, struct text *out)
{
	memcpy(out->data + out->len, p->e_pub, KEY_LEN);
	out->len += KEY_LEN;
	mix_hash(p, p->e_pub, KEY_LEN);
	mix_key(p, p->e_pub); /* since there is a psk */
}

static void get_ephemeral(struct party *p, const uint8_t **in)
{
	memcpy(p->re, *in, KEY_LEN);
	*in += KEY_LEN;
	mix_hash(p, p->re, KEY_LEN);
	mix_key(p, p->re);
}

/* -> e, es, s, ss */
static void write_first(struct party *p, const void *payload, size_t n, struct text *out)
{
	put_ephemeral(p, out);
	mix_dh(p, p->e, p->rs);
	encrypt_and_hash(p, p->s_pub, KEY_LEN, out);
	mix_dh(p, p->s, p->rs);
	encrypt_and_hash(p, payload, n, out);
}

static void read_first(struct party *p, const uint8_t *in, size_t n, uint8_t *payload)
{
	get_ephemeral(p, &in);
	mix_dh(p, p->s, p->re);
	decrypt_and_hash(p, &in, KEY_LEN, p->rs);
	mix_dh(p, p->s, p->rs);
	decrypt_and_hash(p, &in, n, payload);
}

/* <- e, ee, se, psk */
static void write_second(struct party *p, const void *payload, size_t n, struct text *out)
{
	put_ephemeral(p, out);
	mix_dh(p, p->e, p->re);
	mix_dh(p, p->e, p->rs);
	mix_key_and_hash(p, p->psk);
	encrypt_and_hash(p, payload, n, out);
}

static void read_second(struct party *p, const uint8_t *in, size_t n, uint8_t *payload)
{
	get_ephemeral(p, &in);
	mix_dh(p, p->e, p->re);
	mix_dh(p, p->s, p->re);
	mix_key_and_hash(p, p->psk);
	decrypt_and_hash(p, &in, n, payload);
}

static void set_keys(struct party *p, const uint8_t *s, const uint8_t *e)
{
	p->s = dh_key_new(s, p->s_pub);
	p->e = dh_key_new(e, p->e_pub);
}

static void free_keys(struct party *p)
{
	p->s = dh_key_free(p->s);
	p->e = dh_key_free(p->e);
}

/* The vector's file: a name and one or two hexadecimal fields a line. */

static void unhex(const char *s, struct text *out)
{
	for (out->len = 0; s && s[0] && s[1] && out->len < MESSAGE_MAX; s += 2) {
		unsigned v;

		CHECK_INT(sscanf(s, "%2x", &v), 1);
		out->data[out->len++] = v;
	}
}

static bool next_line(FILE *f, const char *name, struct text *first, struct text *second)
{
	char line[4 * MESSAGE_MAX], *rest, *word;

	if (!fgets(line, sizeof(line), f))
		return false;
	word = strtok_r(line, " \n", &rest);
	CHECK_STR(word, name);
	unhex(strtok_r(NULL, " \n", &rest), first);
	if (second)
		unhex(strtok_r(NULL, " \n", &rest), second);
	return true;
}

static void same_text(const struct text *a, const struct text *b)
{
	CHECK_INT(a->len, b->len);
	CHECK(memcmp(a->data, b->data, a->len) == 0);
}

static void read_vector(FILE *f, struct party *a, struct party *b, struct text *hash)
{
	static struct text prologue, psk, s[2], e[2];

	CHECK(next_line(f, "init_prologue", &prologue, NULL) && next_line(f, "init_psks", &psk, NULL) &&
	      next_line(f, "init_static", &s[0], NULL) && next_line(f, "init_ephemeral", &e[0], NULL) &&
	      next_line(f, "resp_static", &s[1], NULL) && next_line(f, "resp_ephemeral", &e[1], NULL) &&
	      next_line(f, "handshake_hash", hash, NULL));
	set_keys(a, s[0].data, e[0].data);
	set_keys(b, s[1].data, e[1].data);
	memcpy(a->rs, b->s_pub, KEY_LEN);
	memcpy(a->psk, psk.data, KEY_LEN);
	memcpy(b->psk, psk.data, KEY_LEN);
	begin(a, prologue.data, prologue.len, b->s_pub);
	begin(b, prologue.data, prologue.len, b->s_pub);
}

static void published_vector(void)
{
	struct party a = { 0 }, b = { 0 };
	struct text hash, payload, want, got = { 0 };
	uint8_t keys[2][KEY_LEN], out[MESSAGE_MAX];
	_cleanup_fclose_ FILE *f = NULL;
	char path[512];
	unsigned n;

	snprintf(path, sizeof(path), "%s/noise_ikpsk2.txt", directory);
	f = fopen(path, "re");
	CHECK(f);
	read_vector(f, &a, &b, &hash);
	CHECK(next_line(f, "message", &payload, &want));
	write_first(&a, payload.data, payload.len, &got);
	same_text(&got, &want);
	read_first(&b, got.data, payload.len, out);
	CHECK(memcmp(out, payload.data, payload.len) == 0 && memcmp(b.rs, a.s_pub, KEY_LEN) == 0);
	CHECK(next_line(f, "message", &payload, &want));
	got.len = 0;
	write_second(&b, payload.data, payload.len, &got);
	same_text(&got, &want);
	read_second(&a, got.data, payload.len, out);
	CHECK(memcmp(out, payload.data, payload.len) == 0);
	CHECK(memcmp(a.h, hash.data, HASH_LEN) == 0 && memcmp(b.h, hash.data, HASH_LEN) == 0);
	kdf(a.ck, BYTES("", 0), keys[0], keys[1], NULL);
	for (n = 0; next_line(f, "message", &payload, &want); n++) { /* initiator and responder in turn */
		aead_seal_once(keys[n % 2], n / 2, BYTES("", 0), payload.data, payload.len, got.data);
		got.len = payload.len + TAG_LEN;
		same_text(&got, &want);
	}
	CHECK_INT(n, 4);
	free_keys(&a);
	free_keys(&b);
}

/* noise.c against it. */

static const char wg_prologue[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";
static const uint8_t stamp[TIMESTAMP_LEN] = { 0x40, 1, 2, 3 };

static void make_sides(struct noise_identity *id, struct noise_peer *peer, struct party *p)
{
	uint8_t priv[KEY_LEN], s[KEY_LEN], e[KEY_LEN];

	memset(priv, 0x21, KEY_LEN);
	memset(s, 0x22, KEY_LEN);
	memset(e, 0x23, KEY_LEN);
	memset(p->psk, 0x24, KEY_LEN);
	set_keys(p, s, e);
	CHECK_INT(noise_identity_set(id, priv), 0);
	noise_peer_init(peer, p->s_pub);
	memcpy(peer->psk, p->psk, KEY_LEN);
	memcpy(p->rs, id->pub, KEY_LEN);
}

static void same_keys(struct noise_peer *peer, struct party *p, bool we_initiated)
{
	uint8_t send[KEY_LEN], recv[KEY_LEN], k[2][KEY_LEN];
	bool initiator;

	noise_derive(we_initiated ? &peer->ours : &peer->theirs, send, recv, &initiator);
	kdf(p->ck, BYTES("", 0), k[0], k[1], NULL);
	CHECK_INT(initiator, we_initiated);
	CHECK(memcmp(send, k[!we_initiated], KEY_LEN) == 0 && memcmp(recv, k[we_initiated], KEY_LEN) == 0);
}

static void our_initiator(void)
{
	struct noise_identity id = { 0 };
	struct noise_peer peer;
	struct msg_initiation first;
	struct msg_response second = { 0 };
	struct party p = { 0 };
	struct text out = { 0 };
	uint8_t payload[TIMESTAMP_LEN];

	make_sides(&id, &peer, &p);
	begin(&p, wg_prologue, strlen(wg_prologue), p.s_pub);
	CHECK_INT(noise_create_initiation(&id, &peer, 7, stamp, NULL, &first), 0);
	read_first(&p, first.ephemeral, TIMESTAMP_LEN, payload);
	CHECK(memcmp(p.rs, id.pub, KEY_LEN) == 0 && memcmp(payload, stamp, TIMESTAMP_LEN) == 0);
	write_second(&p, "", 0, &out);
	CHECK_INT(out.len, KEY_LEN + TAG_LEN);
	memcpy(second.ephemeral, out.data, out.len);
	CHECK_INT(noise_accept_response(&id, &peer, &second, NULL), 0);
	same_keys(&peer, &p, true);
	free_keys(&p);
	noise_identity_clear(&id);
}

static void our_responder(void)
{
	struct noise_identity id = { 0 };
	struct noise_peer peer;
	struct noise_initiation in;
	struct msg_initiation first = { 0 };
	struct msg_response second;
	struct party p = { 0 };
	struct text out = { 0 };
	uint8_t nothing[1];

	make_sides(&id, &peer, &p);
	begin(&p, wg_prologue, strlen(wg_prologue), id.pub);
	write_first(&p, stamp, TIMESTAMP_LEN, &out);
	CHECK_INT(out.len, offsetof(struct msg_initiation, macs) - offsetof(struct msg_initiation, ephemeral));
	memcpy(first.ephemeral, out.data, out.len);
	CHECK_INT(noise_read_initiation(&id, &first, NULL, &in), 0);
	CHECK(memcmp(in.statik, p.s_pub, KEY_LEN) == 0);
	CHECK_INT(noise_accept_initiation(&id, &peer, &first, &in), 0);
	CHECK_INT(noise_create_response(&peer, 8, NULL, &second), 0);
	read_second(&p, second.ephemeral, 0, nothing);
	same_keys(&peer, &p, false);
	free_keys(&p);
	noise_identity_clear(&id);
}

int main(int argc, char **argv)
{
	if (argc != 2 || crypto_init() < 0)
		return 2;
	directory = argv[1];
	RUN(published_vector);
	RUN(our_initiator);
	RUN(our_responder);
	return test_end();
}
