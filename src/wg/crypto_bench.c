/* SPDX-License-Identifier: Apache-2.0 */
/* What cryptography alone costs, in CPU time of one core: handshakes (each side's whole work with MACs and keys), and packets
 * of 1420 bytes sealed and opened, each with its own nonce and tag. Prints JSON. */
#include "wg/cookie.h"
#include "wg/noise.h"

#include <time.h>

enum { ROUNDS = 2000, PACKETS = 200000, PACKET = 1420 };

static double cpu_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void packets(double *ret_seal_ns, double *ret_open_ns)
{
	static uint8_t sealed[64][PACKET + TAG_LEN];
	const uint8_t key[KEY_LEN] = { 1 };
	struct aead seal, open;
	double t, spent[2] = { 0 };

	aead_init(&seal, true);
	aead_init(&open, false);
	for (uint64_t n = 0; n < PACKETS; n += 64) { /* in batches, as the data path does it */
		t = cpu_now();
		for (int i = 0; i < 64; i++)
			aead_seal(&seal, 1, key, n + i, sealed[i], PACKET);
		spent[0] += cpu_now() - t;
		t = cpu_now();
		for (int i = 0; i < 64; i++) {
			if (aead_open(&open, 1, key, n + i, sealed[i], PACKET + TAG_LEN) < 0)
				abort();
		}
		spent[1] += cpu_now() - t;
	}
	aead_done(&seal);
	aead_done(&open);
	*ret_seal_ns = spent[0] / PACKETS * 1e9;
	*ret_open_ns = spent[1] / PACKETS * 1e9;
}

int main(void)
{
	struct noise_identity id[2] = { 0 };
	struct noise_peer peer[2];
	struct cookie_checker checker[2];
	struct cookie_maker maker[2];
	uint8_t priv[KEY_LEN], timestamp[TIMESTAMP_LEN] = { 0 }, send[KEY_LEN], recv[KEY_LEN];
	double spent[2] = { 0 }, t, seal_ns, open_ns;
	bool initiator;

	if (crypto_init() < 0)
		return 1;
	for (int i = 0; i < 2; i++) {
		memset(priv, i + 1, KEY_LEN);
		noise_identity_set(&id[i], priv);
	}
	for (int i = 0; i < 2; i++) {
		noise_peer_init(&peer[i], &id[i], id[!i].pub);
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
		    noise_read_initiation(&id[1], &msg, &in) < 0 || noise_accept_initiation(&peer[1], &msg, &in) < 0 ||
		    noise_create_response(&peer[1], n, &response) < 0)
			return 1;
		cookie_add_macs(&maker[1], 1, &response, sizeof(response));
		noise_derive(&peer[1], send, recv, &initiator);
		spent[1] += cpu_now() - t;
		t = cpu_now();
		if (cookie_check(&checker[0], 1, &response, sizeof(response), BYTES("x", 1)) == MAC_INVALID ||
		    noise_accept_response(&id[0], &peer[0], &response) < 0)
			return 1;
		noise_derive(&peer[0], send, recv, &initiator);
		spent[0] += cpu_now() - t;
	}
	packets(&seal_ns, &open_ns);
	printf("{\"initiator_per_s\": %.0f, \"responder_per_s\": %.0f, \"seal_ns\": %.0f, \"open_ns\": %.0f}\n",
	       ROUNDS / spent[0], ROUNDS / spent[1], seal_ns, open_ns);
	return 0;
}
