/* SPDX-License-Identifier: Apache-2.0 */
/* Messages to a device that knows the sender: two real devices on a wire, and the input says what the wire does. An
 * operation is a byte, its arguments follow:
 *   0 a sends, 1 b sends, 2 the next message arrives, 3 it is lost, 4 it arrives twice, 5 it arrives with one byte changed
 *   (offset, xor), 6 cut (length), 7 raw bytes arrive at b (length, bytes), 8 time passes (seconds), 9 an authentic
 *   message with these contents (length, bytes), 10 b is under load (on, off).
 * What must hold: nothing is delivered more often than it was sealed, and a stranger's bytes never move an endpoint. */
#include "fuzz.h"
#include "wg/test_pair.h"

static struct pair p;
static unsigned sealed[2]; /* data messages by each, as far as the harness made them deliverable */

static struct wire_msg *oldest(void)
{
	return p.count ? &p.wire[p.head] : NULL;
}

static void drop_oldest(void)
{
	p.head = (p.head + 1) % WIRE_MAX;
	p.count--;
}

static void arrive(const struct wire_msg *m)
{
	struct wire_msg copy = *m;

	pair_receive(&p.n[m->to], copy.data, copy.len, &copy.from);
}

static void arrive_changed(struct fuzz_input *in)
{
	struct wire_msg m = *oldest();
	uint8_t at = fuzz_byte(in), by = fuzz_byte(in);
	unsigned before = p.n[m.to].delivered;

	m.data[at % m.len] ^= by;
	pair_receive(&p.n[m.to], m.data, m.len, &m.from);
	if (by)
		REQUIRE(p.n[m.to].delivered == before);
	drop_oldest();
}

static void arrive_cut(struct fuzz_input *in)
{
	struct wire_msg m = *oldest();
	size_t len = fuzz_byte(in);
	unsigned before = p.n[m.to].delivered;

	m.len = MIN(len, m.len - 1);
	arrive(&m);
	REQUIRE(p.n[m.to].delivered == before);
	drop_oldest();
}

static size_t take_bytes(struct fuzz_input *in, uint8_t *out)
{
	size_t n = MIN((size_t)fuzz_byte(in), in->size);

	memcpy(out, in->data, n);
	in->data += n;
	in->size -= n;
	return n;
}

static void arrive_raw(struct fuzz_input *in)
{
	struct endpoint stranger = pair_endpoint(0), before = peer_endpoint(p.n[1].peer), after;
	uint8_t buf[256];
	size_t n = take_bytes(in, buf);
	unsigned delivered = p.n[1].delivered;

	stranger.to.in4.sin_addr.s_addr = 0x01010101;
	pair_receive(&p.n[1], buf, n, &stranger);
	after = peer_endpoint(p.n[1].peer);
	REQUIRE(p.n[1].delivered == delivered && endpoint_eq(&before, &after));
}

/* As a peer that has gone bad would: authentic, but with any contents. */
static void arrive_authentic(struct fuzz_input *in)
{
	struct session *s = atomic_load(&p.n[0].peer->current);
	struct endpoint from = pair_endpoint(0);
	uint8_t buf[sizeof(struct msg_data) + 256 + TAG_LEN];
	struct msg_data h = { .type = htole32(MSG_DATA) };
	struct aead aead;
	size_t n = take_bytes(in, buf + sizeof(h));
	uint64_t counter;

	if (!s)
		return;
	counter = atomic_fetch_add(&s->sent, 1);
	h.receiver = htole32(s->remote_index);
	h.counter = htole64(counter);
	memcpy(buf, &h, sizeof(h));
	aead_init(&aead, true);
	aead_seal(&aead, 1, s->send_key, counter, buf + sizeof(h), n);
	aead_done(&aead);
	sealed[0]++;
	pair_receive(&p.n[1], buf, n + DATA_OVERHEAD, &from);
}

static void step(struct fuzz_input *in, uint32_t *payload)
{
	uint8_t op = fuzz_byte(in) % 11;

	if (op <= 1) {
		sealed[op]++;
		pair_send(&p, op, ++*payload);
	} else if (op == 7) {
		arrive_raw(in);
	} else if (op == 8) {
		p.now += fuzz_byte(in) * NS_PER_S + NS_PER_MS;
	} else if (op == 9) {
		arrive_authentic(in);
	} else if (op == 10) {
		p.n[1].queue_depth = fuzz_byte(in) & 1 ? UNDER_LOAD_DEPTH : 0;
	} else if (oldest()) {
		if (op == 5) {
			arrive_changed(in);
		} else if (op == 6) {
			arrive_cut(in);
		} else {
			struct wire_msg m = *oldest();

			drop_oldest();
			for (int i = op == 3 ? 0 : op == 4 ? 2 : 1; i > 0; i--)
				arrive(&m);
		}
	}
	for (int i = 0; i < 2; i++)
		device_run(&p.n[i].device, p.now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, MIN(size, (size_t)2000) };
	uint32_t payload = 0;

	REQUIRE(crypto_init() == 0);
	sealed[0] = sealed[1] = 0;
	pair_init(&p);
	while (in.size && p.count < WIRE_MAX / 2)
		step(&in, &payload);
	REQUIRE(p.n[1].delivered <= sealed[0] && p.n[0].delivered <= sealed[1]);
	pair_done(&p);
	return 0;
}
