/* SPDX-License-Identifier: Apache-2.0 */
/* Handshakes of both ends at once, in virtual time: which of two sessions is sent on. */
#include "base/test.h"
#include "wg/test_pair.h"

static struct pair p;
static bool together; /* messages that wait are taken together */

#define S NS_PER_S

static void let_initiations_cross(void)
{
	struct endpoint other = pair_endpoint(0);

	pair_init(&p);
	p.together = together;
	peer_set_endpoint(p.n[1].peer, &other);
	pair_send(&p, 0, 1);
	pair_send(&p, 1, 1);
	pair_settle(&p);
}

static void both_send(uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i <= last; i++) {
		pair_send(&p, 0, i);
		pair_send(&p, 1, i);
		pair_settle(&p);
		CHECK_INT(p.n[0].delivered, i);
		CHECK_INT(p.n[1].delivered, i);
	}
}

/* Neither waits for a repetition; both go on with one of the two sessions, so that one end renews it. */
static void initiations_that_cross_both_count(void)
{
	let_initiations_cross();
	CHECK_INT(p.n[0].delivered, 1);
	CHECK_INT(p.n[1].delivered, 1);
	CHECK_INT(p.n[0].initiations + p.n[1].initiations, 2);
	both_send(2, 9);
	p.now += 121 * S;
	both_send(10, 20);
	CHECK_INT(p.n[0].initiations + p.n[1].initiations, 3);
	CHECK_INT(p.n[0].data + p.n[1].data, 40);
	pair_run_until(&p, p.now + 600 * S); /* nothing of an exchange is left */
	CHECK_INT(p.n[0].device.indexes.used + p.n[1].device.indexes.used, 0);
	pair_done(&p);
}

/* A message is 100 ms on its way, and both ends speak every 10 ms, through three renewals. */
static void sessions_that_crossed_are_renewed_without_loss(void)
{
	enum { WAY = 10, TICKS = 40000 };
	struct endpoint other = pair_endpoint(0);
	unsigned due[WAY] = { 0 }, passed = 0;

	pair_init(&p);
	peer_set_endpoint(p.n[1].peer, &other);
	for (unsigned t = 0; t < TICKS; t++, p.now += S / 100) {
		for (int i = 0; i < 2; i++) {
			device_run(&p.n[i].device, p.now);
			pair_send(&p, i, t + 1);
		}
		for (; passed < due[t % WAY]; passed++)
			pair_pass_one(&p);
		due[t % WAY] = passed + p.count;
	}
	pair_settle(&p);
	CHECK_INT(p.n[0].delivered, TICKS);
	CHECK_INT(p.n[1].delivered, TICKS);
	CHECK(p.n[0].in_order && p.n[1].in_order);
	CHECK_INT(p.n[0].initiations + p.n[1].initiations, 2 + 3);
	pair_done(&p);
}

/* As the kernel's does: whoever gets an initiation forgets its own. */
static bool take_answers_to_1(struct pair *pair _unused_, struct wire_msg *m)
{
	return m->data[0] != MSG_RESPONSE || m->to != 1;
}

static void initiations_that_cross_with_one_that_forgets_its_own(void)
{
	struct endpoint other = pair_endpoint(0);

	pair_init(&p);
	p.filter = take_answers_to_1;
	p.together = together;
	peer_set_endpoint(p.n[1].peer, &other);
	pair_send(&p, 0, 1);
	pair_send(&p, 1, 1);
	pair_settle(&p);
	CHECK_INT(p.n[0].delivered, 1);
	CHECK_INT(p.n[1].delivered, 1);
	both_send(2, 9);
	pair_done(&p);
}

/* One end has lost all it knew, as after a kill, but its key. */
static void begin_anew(int killed)
{
	struct endpoint other = pair_endpoint(!killed);
	struct node *n = &p.n[killed];
	struct prefix range;
	struct addr host;

	outbound_done(&n->out);
	inbound_done(&n->in);
	device_done(&n->device);
	memset(n, 0, sizeof(*n));
	pair_init_node(&p, killed, (uint8_t[KEY_LEN]){ [0 ... KEY_LEN - 1] = 0x41 + killed });
	n->peer = device_add_peer(&n->device, p.n[!killed].device.identity.pub);
	prefix_parse(killed ? "10.0.0.0/32" : "10.0.0.1/32", &range, &host);
	allowedips_insert(&n->device.allowed, &range, n->peer, &n->peer->allowed);
	peer_set_endpoint(n->peer, &other);
	device_set_up(&n->device, true, p.now);
}

/* Both know where the other is, and have a session that carried a packet to @killed. */
static void have_a_session(int killed)
{
	struct endpoint other = pair_endpoint(0);

	pair_init(&p);
	peer_set_endpoint(p.n[1].peer, &other);
	pair_send(&p, !killed, 1);
	pair_settle(&p);
	CHECK_INT(p.n[killed].delivered, 1);
	p.now += S;
}

/* Right after a handshake one end begins anew: the other has to go on with the session that is asked for now, and not
 * with the one that nobody has any more, whoever has the smaller key. */
static void a_peer_that_lost_its_session_at_once(void)
{
	for (int killed = 0; killed < 2; killed++) {
		have_a_session(killed);
		begin_anew(killed);
		pair_send(&p, killed, 2);
		pair_settle(&p);
		CHECK_INT(p.n[!killed].delivered, 1);
		pair_send(&p, !killed, 3);
		pair_settle(&p);
		CHECK_INT(p.n[killed].delivered, 1);
		pair_done(&p);
	}
}

/* Its first packet is answered before the owner of the other end's slots has looked: the answer reaches it. */
static void the_answer_to_a_new_sessions_first_packet(void)
{
	for (int killed = 0; killed < 2; killed++) {
		have_a_session(killed);
		begin_anew(killed);
		pair_send(&p, killed, 2);
		device_run(&p.n[killed].device, p.now);
		pair_pass_one(&p); /* the initiation */
		pair_pass_one(&p); /* the response */
		device_run(&p.n[killed].device, p.now);
		pair_pass_one(&p); /* the packet */
		CHECK_INT(p.n[!killed].delivered, 1);
		pair_send(&p, !killed, 3);
		while (p.count)
			pair_pass_one(&p);
		CHECK_INT(p.n[killed].delivered, 1);
		pair_done(&p);
	}
}

/* The first packet on the peer's new session and another initiation of the peer's in one turn: what has not shown its keys is not sent on. */
static void only_the_session_that_was_confirmed_is_sent_on(void)
{
	struct session *second;
	struct wire_msg m;

	pair_init(&p);
	pair_send(&p, 0, 1);
	device_run(&p.n[0].device, p.now);
	pair_pass_one(&p); /* the initiation */
	pair_pass_one(&p); /* the response: 0 sends, and 1 has not looked yet */
	device_run(&p.n[0].device, p.now);
	pair_pass_one(&p);
	CHECK_INT(p.n[1].delivered, 1);
	p.now += 6 * S;
	p.n[0].peer->timers.retransmit_at = 0;
	device_initiate(p.n[0].peer, p.now);
	m = p.wire[p.head];
	CHECK(m.data[0] == MSG_INITIATION && p.count == 1);
	pair_pass_one(&p);
	second = atomic_load(&p.n[1].peer->next);
	device_run(&p.n[1].device, p.now);
	CHECK(second && atomic_load(&p.n[1].peer->next) == second);
	CHECK(atomic_load(&p.n[1].peer->current) != second);
	pair_settle(&p);
	pair_send(&p, 1, 2);
	pair_settle(&p);
	CHECK_INT(p.n[0].delivered, 1);
	pair_done(&p);
}

/* Everything at once, in an order that a wire makes of it: 1 has an initiation under way, and gets one of 0's, the same again, one with a bit
 * flipped, 0's answer and the same again. Each counts once, and the two sessions are known to have crossed. */
static void messages_taken_together_count_as_one_by_one(void)
{
	struct endpoint other = pair_endpoint(0);
	struct handshake_message m[5] = { 0 };
	struct session *theirs, *ours;
	struct device *d;

	pair_init(&p);
	d = &p.n[1].device;
	peer_set_endpoint(p.n[1].peer, &other);
	pair_send(&p, 0, 1);
	pair_send(&p, 1, 1);
	device_run(&p.n[0].device, p.now);
	device_run(d, p.now);
	CHECK_INT(p.count, 2);
	for (int i = 0; i < 5; i++)
		m[i].from = other;
	m[0].len = m[1].len = m[2].len = p.wire[p.head].len;
	memcpy(m[0].msg, p.wire[p.head].data, m[0].len);
	m[1] = m[2] = m[0];
	m[1].msg[100] ^= 1;
	p.head++, p.count--;
	pair_pass_one(&p); /* 1's, which 0 answers */
	CHECK(p.count == 1 && p.wire[p.head].data[0] == MSG_RESPONSE);
	m[3].len = m[4].len = p.wire[p.head].len;
	memcpy(m[3].msg, p.wire[p.head].data, m[3].len);
	m[4] = m[3];
	p.head++, p.count--;
	device_on_handshakes(d, p.now, m, 5, 0);
	CHECK_INT(d->stats.responses_sent, 1);
	CHECK_INT(d->stats.rate_limited, 1); /* the same again, at once */
	CHECK_INT(d->stats.bad_mac, 1);
	CHECK_INT(d->stats.unknown_index, 1);
	CHECK_INT(d->stats.bad_handshake, 0);
	theirs = atomic_load(&p.n[1].peer->next);
	ours = atomic_load(&p.n[1].peer->current);
	CHECK(theirs && ours && theirs->crosses && theirs->crossed == ours->slot.index);
	p.now += S;
	device_on_handshakes(d, p.now, m, 1, 0);
	CHECK_INT(d->stats.replayed_handshake, 1);
	pair_settle(&p);
	both_send(2, 9);
	pair_done(&p);
}

int main(void)
{
	if (crypto_init() < 0)
		return 1;
	for (int i = 0; i < 2; i++) {
		together = i;
		RUN(initiations_that_cross_both_count);
		RUN(initiations_that_cross_with_one_that_forgets_its_own);
	}
	RUN(messages_taken_together_count_as_one_by_one);
	RUN(sessions_that_crossed_are_renewed_without_loss);
	RUN(a_peer_that_lost_its_session_at_once);
	RUN(the_answer_to_a_new_sessions_first_packet);
	RUN(only_the_session_that_was_confirmed_is_sent_on);
	return test_end();
}
