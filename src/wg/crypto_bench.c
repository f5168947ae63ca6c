/* SPDX-License-Identifier: Apache-2.0 */
/* What cryptography alone costs, in CPU time of one core: handshakes (each side's whole work with MACs and keys), and packets
 * sealed and opened, each with its own nonce and tag: of 1420 bytes one at a time (OpenSSL) and many a call as the data path
 * does it, and small ones. Prints JSON. */
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

int main(void)
{
	struct noise_identity id[2] = { 0 };
	struct noise_peer peer[2];
	struct cookie_checker checker[2];
	struct cookie_maker maker[2];
	uint8_t priv[KEY_LEN], timestamp[TIMESTAMP_LEN] = { 0 }, send[KEY_LEN], recv[KEY_LEN];
	struct cost one, many, small, small_many;
	double spent[2] = { 0 }, t;
	bool initiator;

	if (crypto_init() < 0)
		return 1;
	for (int i = 0; i < 2; i++) {
		memset(priv, i + 1, KEY_LEN);
		noise_identity_set(&id[i], priv);
	}
	for (int i = 0; i < 2; i++) {
		noise_peer_init(&peer[i], id[!i].pub);
		cookie_checker_init(&checker[i], id[i].pub);
		cookie_maker_init(&maker[i], id[!i].pub);
	}
	for (uint32_t n = 1; n <= ROUNDS; n++) {
		struct noise_initiation in;
		struct msg_initiation msg;
		struct msg_response response;

		timestamp[10] = n >> 8;
		timestamp[11] = n;
		t = cpu_now();
		noise_create_initiation(&id[0], &peer[0], n, timestamp, &msg);
		cookie_add_macs(&maker[0], 1, &msg, sizeof(msg));
		spent[0] += cpu_now() - t;
		t = cpu_now();
		if (cookie_check(&checker[1], 1, &msg, sizeof(msg), BYTES("x", 1)) == MAC_INVALID ||
		    noise_read_initiation(&id[1], &msg, &in) < 0 || noise_accept_initiation(&id[1], &peer[1], &msg, &in) < 0 ||
		    noise_create_response(&peer[1], n, &response) < 0)
			return 1;
		cookie_add_macs(&maker[1], 1, &response, sizeof(response));
		noise_derive(&peer[1].theirs, send, recv, &initiator);
		spent[1] += cpu_now() - t;
		t = cpu_now();
		if (cookie_check(&checker[0], 1, &response, sizeof(response), BYTES("x", 1)) == MAC_INVALID ||
		    noise_accept_response(&id[0], &peer[0], &response) < 0)
			return 1;
		noise_derive(&peer[0].ours, send, recv, &initiator);
		spent[0] += cpu_now() - t;
	}
	one = packets(PACKET, false);
	many = packets(PACKET, true);
	small = packets(SMALL, false);
	small_many = packets(SMALL, true);
	printf("{\"initiator_per_s\": %.0f, \"responder_per_s\": %.0f, \"seal_ns\": %.0f, \"open_ns\": %.0f, \"seal_many_ns\": %.0f, "
	       "\"open_many_ns\": %.0f, \"small_seal_ns\": %.0f, \"small_open_ns\": %.0f, \"small_seal_many_ns\": %.0f, "
	       "\"small_open_many_ns\": %.0f}\n",
	       ROUNDS / spent[0], ROUNDS / spent[1], one.seal_ns, one.open_ns, many.seal_ns, many.open_ns, small.seal_ns,
	       small.open_ns, small_many.seal_ns, small_many.open_ns);
	return 0;
}
