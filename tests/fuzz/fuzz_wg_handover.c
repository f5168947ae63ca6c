/* SPDX-License-Identifier: Apache-2.0 */
/* What a predecessor hands over, with records of any contents: a successor takes of it what it can, and its timers and configuration work on.
 * The input: four bytes (how many peers, sessions and exchanges, and a flag: they belong to the configured peer), configuration up to a
 * form feed, the records, packets that wait. */
#include "fuzz.h"
#include "wg/handover.h"
#include "wg/secret.h"

static void send_nothing(_unused_ void *ctx, _unused_ struct peer *p, _unused_ const struct endpoint *to, _unused_ const void *msg, _unused_ size_t len)
{
}
static void on_session(_unused_ void *ctx, struct peer *p, struct session *s, int64_t now)
{
	REQUIRE(session_may_send(s, &p->device->limits, now));
	(void)peer_drop_staged(p);
}
static void wake(_unused_ void *ctx)
{
}
static int64_t real_time(_unused_ void *ctx)
{
	return INT64_C(1700000000) * NS_PER_S;
}
static const struct device_ops fuzz_ops = {
	.send = send_nothing, .send_keepalive = on_session, .send_staged = on_session, .wake = wake, .real_time = real_time
};

static const uint8_t pub[KEY_LEN] = { 9 }; /* of the peer that the corpus configures */

/* @n records of @size bytes, as far as the input goes; each begins with the key of its peer. @all: zeroed room for one more. */
static void *take_records(struct fuzz_input *in, unsigned n, size_t size, bool known, uint8_t *all)
{
	size_t have = MIN(in->size, n * size);

	if (have)
		memcpy(all, in->data, have);
	in->data += have;
	in->size -= have;
	for (unsigned i = 0; known && i < n; i++)
		memcpy(all + i * size, pub, KEY_LEN);
	return all;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct engine e;
	struct fuzz_input in = { data, MIN(size, (size_t)60000) };
	struct handover h = HANDOVER_NONE;
	_cleanup_free_ char *text = NULL;
	bool known;

	if (size < 4)
		return 0;
	REQUIRE(crypto_init() == 0);
	memset(&e, 0, sizeof(e));
	device_init(&e.device, &fuzz_ops, &e);
	h.n_peers = data[0] % 4;
	h.n_sessions = data[1] % 8;
	h.n_exchanges = data[2] % 4;
	known = data[3] & 1;
	in = (struct fuzz_input){ data + 4, in.size - 4 };
	text = fuzz_text(&in, NULL);
	h.config_len = strlen(text);
	h.config = memcpy(secret_alloc(h.config_len + 1), text, h.config_len);
	h.peers = take_records(&in, h.n_peers, sizeof(*h.peers), known, xcalloc(h.n_peers + 1, sizeof(*h.peers)));
	h.sessions = take_records(&in, h.n_sessions, sizeof(*h.sessions), known, secret_alloc((h.n_sessions + 1) * sizeof(*h.sessions)));
	h.exchanges = take_records(&in, h.n_exchanges, sizeof(*h.exchanges), known, secret_alloc((h.n_exchanges + 1) * sizeof(*h.exchanges)));
	h.staged = xmalloc(in.size + 1);
	if (in.size)
		memcpy(h.staged, in.data, in.size);
	h.staged_len = in.size;
	if (handover_restore(&h, &e) == 0) {
		struct uapi_host host = engine_host(&e);
		struct buf config = { .secret = true };
		int64_t now = clock_now();

		uapi_format(&host, &config);
		buf_done(&config);
		device_set_up(&e.device, true, now);
		for (int i = 0; i < 20; i++) {
			int64_t next = device_run(&e.device, now);

			REQUIRE(next > now);
			now = MIN(next, now + 600 * NS_PER_S);
		}
	}
	handover_done(&h);
	device_done(&e.device);
	return 0;
}
