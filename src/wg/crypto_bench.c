/* SPDX-License-Identifier: Apache-2.0 */
/* What cryptography alone costs, in CPU time of one core: handshakes (each side's whole work with MACs and keys, one at a time
 * and as many together as an engine with many peers takes), and packets sealed and opened, each with its own nonce and tag: of 1420
 * bytes one at a time (OpenSSL) and many a call as the data path does it, and small ones. Prints JSON. */
#include "wg/aead.h"
#include "wg/cookie.h"
#include "wg/noise.h"

#include <time.h>

enum { ROUNDS = 2000, PACKETS = 128000, PACKET = 1420, SMALL = 96, BATCH = 16 };

static double cpu_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

struct cost {
	double seal_ns, open_ns;
};

static struct cost packets(size_t size, bool many)
{
	static uint8_t bufs[BATCH][PACKET + TAG_LEN];
	const uint8_t key[KEY_LEN] = { 1 };
	const struct lanes *was = many ? NULL : aead_use_lanes(NULL);
	struct aead_packet p[BATCH];
	struct aead seal, open;
	double t, spent[2] = { 0 };

	aead_init(&seal, true);
	aead_init(&open, false);
	for (uint64_t n = 0; n < PACKETS; n += BATCH) {
		for (int i = 0; i < BATCH; i++)
			p[i] = (struct aead_packet){ .text = bufs[i], .len = size, .counter = n + i };
		t = cpu_now();
		aead_seal_many(&seal, 1, key, p, BATCH);
		spent[0] += cpu_now() - t;
		t = cpu_now();
		aead_open_many(&open, 1, key, p, BATCH);
		spent[1] += cpu_now() - t;
		for (int i = 0; i < BATCH; i++) {
			if (!p[i].good)
				abort();
		}
	}
	aead_done(&seal);
	aead_done(&open);
	if (!many)
		aead_use_lanes(was);
	return (struct cost){ spent[0] / PACKETS * 1e9, spent[1] / PACKETS * 1e9 };
}

struct side {
	struct noise_identity id;
	struct noise_peer peers[BATCH];
	struct cookie_checker checker;
	struct cookie_maker maker;
};

static void introduce(struct side s[2])
{
	uint8_t priv[KEY_LEN];

	for (int i = 0; i < 2; i++) {
		memset(priv, i + 1, KEY_LEN);
		noise_identity_set(&s[i].id, priv);
	}
	for (int i = 0; i < 2; i++) {
		for (int k = 0; k < BATCH; k++)
			noise_peer_init(&s[i].peers[k], s[!i].id.pub);
		cookie_checker_init(&s[i].checker, s[i].id.pub);
		cookie_maker_init(&s[i].maker, s[!i].id.pub);
	}
}

static void check(bool good)
{
	if (!good)
		abort();
}

static void ask(struct side *s, unsigned n, const uint8_t *timestamp, struct msg_initiation *ret)
{
	struct dh_job jobs[BATCH * NOISE_JOBS_MAX], *next = jobs, *of[BATCH];

	for (unsigned i = 0; i < n; i++) {
		of[i] = next;
		next += noise_initiation_jobs(&s->id, &s->peers[i], next);
	}
	dh_many(jobs, next - jobs);
	for (unsigned i = 0; i < n; i++) {
		check(noise_create_initiation(&s->id, &s->peers[i], i, timestamp, of[i], &ret[i]) == 0);
		cookie_add_macs(&s->maker, 1, &ret[i], sizeof(ret[i]));
	}
}

static void answer(struct side *s, unsigned n, const struct msg_initiation *m, struct msg_response *ret)
{
	struct dh_job jobs[BATCH * NOISE_JOBS_MAX], *next = jobs;
	uint8_t send[KEY_LEN], recv[KEY_LEN];
	struct noise_initiation in[BATCH];
	bool initiator;

	for (unsigned i = 0; i < n; i++) {
		check(cookie_check(&s->checker, 1, &m[i], sizeof(m[i]), BYTES("x", 1)) != MAC_INVALID);
		next += noise_read_jobs(&s->id, &m[i], next);
	}
	dh_many(jobs, next - jobs);
	for (unsigned i = 0; i < n; i++)
		check(noise_read_initiation(&s->id, &m[i], &jobs[i], &in[i]) == 0 && noise_accept_initiation(&s->id, &s->peers[i], &m[i], &in[i]) == 0);
	next = jobs;
	for (unsigned i = 0; i < n; i++)
		next += noise_response_jobs(&s->peers[i], next);
	dh_many(jobs, next - jobs);
	for (unsigned i = 0; i < n; i++) {
		check(noise_create_response(&s->peers[i], i, &jobs[i * NOISE_JOBS_MAX], &ret[i]) == 0);
		cookie_add_macs(&s->maker, 1, &ret[i], sizeof(ret[i]));
		noise_derive(&s->peers[i].theirs, send, recv, &initiator);
	}
}

static void finish(struct side *s, unsigned n, const struct msg_response *m)
{
	struct dh_job jobs[BATCH * NOISE_JOBS_MAX], *next = jobs, *of[BATCH];
	uint8_t send[KEY_LEN], recv[KEY_LEN];
	bool initiator;

	for (unsigned i = 0; i < n; i++) {
		check(cookie_check(&s->checker, 1, &m[i], sizeof(m[i]), BYTES("x", 1)) != MAC_INVALID);
		of[i] = next;
		next += noise_accept_jobs(&s->id, &s->peers[i], &m[i], next);
	}
	dh_many(jobs, next - jobs);
	for (unsigned i = 0; i < n; i++) {
		check(noise_accept_response(&s->id, &s->peers[i], &m[i], of[i]) == 0);
		noise_derive(&s->peers[i].ours, send, recv, &initiator);
	}
}

/* So many at a time. @ret: a second, of the initiator and of the responder. */
static void handshakes(unsigned n, double ret[2])
{
	static struct side s[2];
	static uint8_t timestamp[TIMESTAMP_LEN];
	struct msg_initiation m[BATCH];
	struct msg_response r[BATCH];
	double t[4], spent[2] = { 0 };

	introduce(s);
	for (uint32_t round = 1; round <= ROUNDS / n; round++) {
		timestamp[10] = round >> 8;
		timestamp[11] = round;
		t[0] = cpu_now();
		ask(&s[0], n, timestamp, m);
		t[1] = cpu_now();
		answer(&s[1], n, m, r);
		t[2] = cpu_now();
		finish(&s[0], n, r);
		t[3] = cpu_now();
		spent[0] += t[1] - t[0] + t[3] - t[2];
		spent[1] += t[2] - t[1];
	}
	for (int i = 0; i < 2; i++)
		ret[i] = ROUNDS / n * n / spent[i];
}

int main(void)
{
	struct cost one, many, small, small_many;
	double alone[2], together[2];

	if (crypto_init() < 0)
		return 1;
	handshakes(1, alone);
	handshakes(BATCH, together);
	one = packets(PACKET, false);
	many = packets(PACKET, true);
	small = packets(SMALL, false);
	small_many = packets(SMALL, true);
	printf("{\"initiator_per_s\": %.0f, \"responder_per_s\": %.0f, \"initiator_many_per_s\": %.0f, \"responder_many_per_s\": %.0f, "
	       "\"seal_ns\": %.0f, \"open_ns\": %.0f, \"seal_many_ns\": %.0f, "
	       "\"open_many_ns\": %.0f, \"small_seal_ns\": %.0f, \"small_open_ns\": %.0f, \"small_seal_many_ns\": %.0f, "
	       "\"small_open_many_ns\": %.0f}\n",
	       alone[0], alone[1], together[0], together[1], one.seal_ns, one.open_ns, many.seal_ns, many.open_ns, small.seal_ns,
	       small.open_ns, small_many.seal_ns, small_many.open_ns);
	return 0;
}
