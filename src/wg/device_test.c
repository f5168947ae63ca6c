/* SPDX-License-Identifier: Apache-2.0 */
/* The protocol between two devices in virtual time: handshake, timers, rekeying, cookies, replays, a day of traffic. */
#include "base/test.h"
#include "wg/test_pair.h"

static struct pair p;

#define S NS_PER_S

static bool drop_all(struct pair *pair _unused_, struct wire_msg *m _unused_)
{
	return false;
}

static void first_packet_makes_a_session(void)
{
	pair_init(&p);
	pair_send(&p, 0, 1);
	pair_settle(&p);
	CHECK_INT(p.n[1].delivered, 1);
	CHECK_INT(p.n[0].initiations, 1);
	CHECK_INT(p.n[1].responses, 1);
	pair_send(&p, 1, 1); /* the responder may talk: it has heard from us */
	pair_settle(&p);
	CHECK_INT(p.n[0].delivered, 1);
	CHECK_INT(p.n[1].initiations, 0);
	pair_done(&p);
}

static void psk_must_match(void)
{
	uint8_t psk[KEY_LEN] = { 1 };

	pair_init(&p);
	device_set_psk(p.n[0].peer, psk);
	pair_send(&p, 0, 1);
	pair_settle(&p);
	CHECK_INT(p.n[1].delivered, 0);
	CHECK_INT(p.n[0].device.stats.bad_handshake, 1);
	device_set_psk(p.n[1].peer, psk);
	pair_run_until(&p, p.now + 6 * S);
	CHECK_INT(p.n[1].delivered, 1);
	pair_done(&p);
}

static void waiting_packets_keep_their_order(void)
{
	pair_init(&p);
	for (uint32_t i = 1; i <= 50; i++)
		pair_send(&p, 0, i);
	pair_settle(&p);
	CHECK_INT(p.n[1].delivered, 50);
	CHECK(p.n[1].in_order);
	pair_done(&p);
}

static void waiting_packets_are_bounded(void)
{
	pair_init(&p);
	p.filter = drop_all;
	for (uint32_t i = 1; i <= 1000; i++)
		pair_send(&p, 0, i);
	CHECK_INT(atomic_load(&p.n[0].peer->staged_count), STAGED_MAX);
	p.filter = NULL;
	pair_run_until(&p, p.now + 6 * S);
	CHECK_INT(p.n[1].delivered, STAGED_MAX); /* the newest */
	CHECK_INT(p.n[1].last_payload, 1000);
	pair_done(&p);
}

static void unanswered_initiations_are_repeated_for_90_seconds(void)
{
	int64_t start;

	pair_init(&p);
	p.filter = drop_all;
	start = p.now;
	pair_send(&p, 0, 1);
	pair_run_until(&p, start + 4 * S + 900 * NS_PER_MS);
	CHECK_INT(p.n[0].initiations, 1);
	pair_run_until(&p, start + 5 * S + 400 * NS_PER_MS);
	CHECK_INT(p.n[0].initiations, 2);
	pair_run_until(&p, start + 200 * S);
	CHECK_INT(p.n[0].initiations, 1 + 18);
	CHECK_INT(atomic_load(&p.n[0].peer->staged_count), 0);
	CHECK_INT(p.n[0].device.stats.staged_dropped, 1);
	pair_done(&p);
}

static void data_without_answer_gets_a_keepalive_after_ten_seconds(void)
{
	int64_t start;

	pair_init(&p);
	pair_send(&p, 0, 1);
	pair_settle(&p);
	start = p.now;
	p.n[1].keepalives = 0;
	pair_run_until(&p, start + 9999 * NS_PER_MS);
	CHECK_INT(p.n[1].keepalives, 0);
	pair_run_until(&p, start + 10 * S);
	CHECK_INT(p.n[1].keepalives, 1);
	pair_run_until(&p, start + 100 * S);
	CHECK_INT(p.n[1].keepalives, 1); /* keepalives are not answered */
	CHECK_INT(p.n[0].initiations, 1);
	pair_done(&p);
}

static void silence_of_the_peer_makes_a_new_handshake_after_15_seconds(void)
{
	int64_t start;

	pair_init(&p);
	pair_send(&p, 0, 1);
	pair_run_until(&p, p.now + 20 * S);
	p.filter = drop_all;
	start = p.now;
	pair_send(&p, 0, 2);
	pair_run_until(&p, start + 14900 * NS_PER_MS);
	CHECK_INT(p.n[0].initiations, 1);
	pair_run_until(&p, start + 15400 * NS_PER_MS);
	CHECK_INT(p.n[0].initiations, 2);
	pair_done(&p);
}

static void W_1_initiator_rekeys_after_120_seconds(void)
{
	int64_t start;
	uint32_t n = 0;

	pair_init(&p);
	start = p.now;
	for (int s = 0; s < 119; s++) {
		pair_send(&p, 0, ++n);
		pair_run_until(&p, p.now + S);
	}
	CHECK_INT(p.n[0].initiations, 1);
	for (int s = 119; s < 125; s++) {
		pair_send(&p, 0, ++n);
		pair_run_until(&p, p.now + S);
	}
	CHECK_INT(p.n[0].initiations, 2);
	CHECK_INT(p.n[1].initiations, 0);
	CHECK_INT(p.n[1].delivered, n);
	CHECK(p.now - start == 125 * S);
	pair_done(&p);
}

/* The initiator only receives: it asks before its keys end, at 180 - 10 - 5. */
static void receiving_initiator_rekeys_in_time(void)
{
	uint32_t n = 0, sent = 0;

	pair_init(&p);
	pair_send(&p, 0, ++n);
	pair_settle(&p);
	for (int s = 0; s < 164; s++) {
		pair_send(&p, 1, ++sent);
		pair_run_until(&p, p.now + S);
	}
	CHECK(p.n[0].initiations <= 2); /* keepalives are sent too: at 120 s or later */
	for (int s = 0; s < 200; s++) {
		pair_send(&p, 1, ++sent);
		pair_run_until(&p, p.now + S);
	}
	CHECK_INT(p.n[0].delivered, sent);
	CHECK_INT(p.n[1].initiations, 0);
	pair_done(&p);
}

static void W_1_keys_end_after_180_and_vanish_after_540_seconds(void)
{
	int64_t start;
	unsigned before;

	pair_init(&p);
	pair_send(&p, 0, 1);
	pair_settle(&p);
	start = p.now;
	pair_run_until(&p, start + 100 * S);
	CHECK(device_sending_session(p.n[0].peer, start + 179 * S));
	CHECK(!device_sending_session(p.n[0].peer, start + 180 * S));
	pair_run_until(&p, start + 539 * S);
	CHECK(atomic_load(&p.n[0].peer->current));
	CHECK(atomic_load(&p.n[1].peer->current));
	pair_run_until(&p, start + 541 * S);
	CHECK(!atomic_load(&p.n[0].peer->current) && !atomic_load(&p.n[0].peer->previous));
	CHECK(!atomic_load(&p.n[1].peer->current) && !atomic_load(&p.n[1].peer->next));
	before = p.n[0].initiations;
	pair_send(&p, 0, 2);
	pair_settle(&p);
	CHECK_INT(p.n[0].initiations, before + 1);
	CHECK_INT(p.n[1].delivered, 2);
	pair_done(&p);
}

static struct wire_msg kept;
static bool keep_data(struct pair *pair _unused_, struct wire_msg *m)
{
	if (m->data[0] == MSG_DATA && m->len > DATA_OVERHEAD)
		kept = *m;
	return true;
}

static bool keep_initiation(struct pair *pair _unused_, struct wire_msg *m)
{
	if (m->data[0] == MSG_INITIATION)
		kept = *m;
	return true;
}

static void old_data_is_refused(void)
{
	int64_t start;
	struct wire_msg m;

	pair_init(&p);
	p.filter = keep_data;
	pair_send(&p, 0, 1);
	pair_settle(&p);
	m = kept;
	pair_receive(&p.n[1], m.data, m.len, &m.from);
	CHECK_INT(p.n[1].delivered, 1);
	CHECK_INT(atomic_load(&p.n[1].stats.drop_replayed), 1);
	start = p.now;
	p.filter = drop_all;
	pair_send(&p, 0, 2);
	p.filter = keep_data;
	pair_send(&p, 0, 3);
	p.count = 0; /* neither arrives now */
	p.filter = NULL;
	m = kept;
	p.now = start + 180 * S;
	pair_receive(&p.n[1], m.data, m.len, &m.from);
	CHECK_INT(p.n[1].delivered, 1);
	CHECK_INT(atomic_load(&p.n[1].stats.drop_expired_session), 1);
	pair_done(&p);
}

/* A replayed initiation neither gets an answer nor disturbs a session, also from elsewhere. */
static void W_2_replayed_initiation_changes_nothing(void)
{
	struct endpoint elsewhere = pair_endpoint(0);
	struct endpoint now_at;
	struct wire_msg m;

	pair_init(&p);
	p.filter = keep_initiation;
	pair_send(&p, 0, 1);
	pair_run_until(&p, p.now + 2 * S);
	m = kept;
	elsewhere.to.in4.sin_addr.s_addr = htonl(0xc6336401);
	for (int i = 0; i < 5; i++) {
		struct wire_msg again = m;

		pair_receive(&p.n[1], again.data, again.len, &elsewhere);
		p.now += S;
	}
	CHECK_INT(p.n[1].responses, 1);
	CHECK_INT(p.n[1].device.stats.replayed_handshake, 5);
	now_at = peer_endpoint(p.n[1].peer);
	CHECK(!endpoint_same_remote(&now_at, &elsewhere));
	pair_send(&p, 0, 2);
	pair_send(&p, 1, 1);
	pair_settle(&p);
	CHECK_INT(p.n[1].delivered, 2);
	CHECK_INT(p.n[0].delivered, 1);
	CHECK_INT(p.n[0].initiations, 1);
	pair_done(&p);
}

static void W_3_only_authentic_messages_move_the_endpoint(void)
{
	struct endpoint elsewhere = pair_endpoint(0), at;
	struct wire_msg m, bad;

	pair_init(&p);
	pair_send(&p, 0, 1);
	pair_settle(&p);
	elsewhere.to.in4.sin_addr.s_addr = htonl(0xc6336401);
	p.filter = keep_data;
	pair_send(&p, 0, 2);
	p.count = 0;
	m = bad = kept;
	bad.data[20] ^= 1;
	pair_receive(&p.n[1], bad.data, bad.len, &elsewhere);
	at = peer_endpoint(p.n[1].peer);
	CHECK(!endpoint_same_remote(&at, &elsewhere));
	bad = m;
	pair_receive(&p.n[1], bad.data, bad.len, &elsewhere);
	at = peer_endpoint(p.n[1].peer);
	CHECK(endpoint_same_remote(&at, &elsewhere));
	CHECK_INT(p.n[1].delivered, 2);
	pair_done(&p);
}

static void W_5_inner_source_must_be_the_peers(void)
{
	struct virtio_net_hdr hdr = { 0 };
	uint8_t pkt[100] = { 0x45 };

	pair_init(&p);
	pair_send(&p, 0, 1);
	pair_settle(&p);
	put16(pkt + 2, sizeof(pkt));
	put32(pkt + 12, 0x0a000009); /* not node 0's */
	put32(pkt + 16, 0x0a000001);
	outbound_packet(&p.n[0].out, &hdr, pkt, sizeof(pkt), p.now);
	outbound_flush(&p.n[0].out);
	pair_settle(&p);
	CHECK_INT(p.n[1].delivered, 1);
	CHECK_INT(atomic_load(&p.n[1].stats.drop_wrong_source), 1);
	pair_done(&p);
}

/* Our own datagram comes out of the TUN when the peer's endpoint lies behind the peer itself. */
static void own_datagrams_are_not_sealed_again(void)
{
	struct virtio_net_hdr hdr = { 0 };
	struct endpoint to = { .to.in4 = { .sin_family = AF_INET, .sin_port = htons(51820) } };
	uint8_t pkt[100] = { 0x45 };

	pair_init(&p);
	pair_send(&p, 0, 1);
	pair_settle(&p);
	atomic_store(&p.n[0].device.port, htons(4711));
	to.to.in4.sin_addr.s_addr = htonl(0x0a000001);
	peer_set_endpoint(p.n[0].peer, &to);
	put16(pkt + 2, sizeof(pkt));
	pkt[9] = IPPROTO_UDP;
	put32(pkt + 16, 0x0a000001);
	put16(pkt + 20, 4711);
	put16(pkt + 22, 51820);
	for (int i = 0; i < 4; i++) { /* ours; then another source port, a later fragment, another destination port */
		put16(pkt + 20, i == 1 ? 4712 : 4711);
		put16(pkt + 6, i == 2 ? 8 : 0);
		put16(pkt + 22, i == 3 ? 51821 : 51820);
		outbound_packet(&p.n[0].out, &hdr, pkt, sizeof(pkt), p.now);
	}
	CHECK_INT(atomic_load(&p.n[0].stats.drop_loop), 1);
	CHECK_INT(atomic_load(&p.n[0].stats.tun_read_packets), 4);
	pair_done(&p);
}

/* A datagram to node 0 has come to the address of ours that ends with @to, by the interface @ifindex. */
static bool source_after(uint8_t to, uint32_t ifindex)
{
	struct peer *peer = p.n[0].peer;
	struct endpoint from = pair_endpoint(1), e;

	from.has_from = true;
	from.from4.s_addr = htonl(0xc0000200 + to);
	from.from_ifindex = ifindex;
	device_note_received(peer, atomic_load(&peer->current), p.now, 100, true, &from);
	device_run(&p.n[0].device, p.now);
	e = peer_endpoint(peer);
	return e.has_from && e.from4.s_addr == from.from4.s_addr;
}

static void the_source_goes_with_its_route(void)
{
	pair_init(&p);
	pair_send(&p, 0, 1);
	pair_settle(&p);
	p.n[0].way_out = 5;
	CHECK(source_after(77, 5));
	device_routes_changed(&p.n[0].device); /* but not this one */
	CHECK(peer_endpoint(p.n[0].peer).has_from);
	p.n[0].way_out = 6;
	device_routes_changed(&p.n[0].device);
	CHECK(!peer_endpoint(p.n[0].peer).has_from);
	CHECK(!source_after(77, 5)); /* what was under way still */
	CHECK(!source_after(77, 5));
	CHECK(source_after(78, 5)); /* the peer has heard of the new one, and its way to us is the old one */
	CHECK(source_after(77, 5));
	device_routes_changed(&p.n[0].device); /* they have gone different ways all the time */
	CHECK(peer_endpoint(p.n[0].peer).has_from);
	pair_done(&p);
}

/* Who does not hear us at the new address (behind a NAT, for example) shakes hands at the old one, and is answered from there. */
static void a_handshake_brings_the_old_source_back(void)
{
	struct endpoint from = pair_endpoint(1);

	pair_init(&p);
	pair_send(&p, 0, 1);
	pair_settle(&p);
	p.n[0].way_out = 5;
	CHECK(source_after(77, 5));
	p.n[0].way_out = 6;
	device_routes_changed(&p.n[0].device);
	CHECK(!source_after(77, 5));
	from.has_from = true;
	from.from4.s_addr = htonl(0xc0000200 + 77);
	from.from_ifindex = 5;
	peer_set_endpoint(p.n[0].peer, &from); /* as note_authentic() does it */
	CHECK(source_after(77, 5));
	pair_done(&p);
}

static void cookies_under_load(void)
{
	pair_init(&p);
	p.n[1].queue_depth = UNDER_LOAD_DEPTH;
	pair_send(&p, 0, 1);
	pair_settle(&p);
	CHECK_INT(p.n[1].cookies, 1);
	CHECK_INT(p.n[1].responses, 0);
	CHECK_INT(p.n[0].device.stats.cookies_received, 1);
	pair_run_until(&p, p.now + 6 * S); /* the repeated initiation proves its source */
	CHECK_INT(p.n[1].responses, 1);
	CHECK_INT(p.n[1].delivered, 1);
	pair_done(&p);
}

static bool take_response(struct pair *pair _unused_, struct wire_msg *m)
{
	if (m->data[0] != MSG_RESPONSE)
		return true;
	kept = *m;
	return false;
}

/* Who began many handshakes at once takes the answers, however many. What somebody else answers is work but once. */
static void awaited_answers_pass_under_load(void)
{
	struct cookie_maker maker;
	struct wire_msg forged;

	pair_init(&p);
	p.n[0].queue_depth = COOKIE_BACKLOG;
	pair_send(&p, 0, 1);
	pair_settle(&p);
	CHECK_INT(p.n[1].delivered, 1);
	CHECK_INT(p.n[0].cookies, 0);
	pair_done(&p);

	pair_init(&p);
	p.n[0].queue_depth = UNDER_LOAD_DEPTH;
	p.filter = take_response;
	pair_send(&p, 0, 1);
	pair_settle(&p);
	forged = kept;
	forged.data[offsetof(struct msg_response, nothing)] ^= 1;
	cookie_maker_init(&maker, p.n[0].device.identity.pub);
	cookie_add_macs(&maker, p.now, forged.data, forged.len);
	for (int i = 0; i < 3; i++)
		pair_receive(&p.n[0], forged.data, forged.len, &forged.from);
	CHECK_INT(p.n[0].device.stats.bad_handshake, 1);
	CHECK_INT(p.n[0].cookies, 2);
	pair_receive(&p.n[0], kept.data, kept.len, &kept.from); /* now it has to prove its source like all others */
	CHECK_INT(p.n[0].cookies, 3);
	CHECK_INT(p.n[0].device.stats.handshakes_completed, 0);
	p.filter = NULL;
	pair_run_until(&p, p.now + 6 * S);
	CHECK_INT(p.n[1].delivered, 1);
	pair_done(&p);
}

/* Many peers that are asked at once are asked in portions: an answer makes room, the absent give it up. */
static void initiations_to_many_peers_go_out_in_portions(void)
{
	enum { ABSENT = 3000 };
	struct endpoint nowhere = pair_endpoint(99);
	struct peer *absent[ABSENT];
	uint8_t key[KEY_LEN] = { 9 };
	unsigned at_first;

	pair_init(&p);
	for (unsigned i = 0; i < ABSENT; i++) {
		memcpy(key + 1, &i, sizeof(i));
		absent[i] = device_add_peer(&p.n[0].device, key);
		peer_set_endpoint(absent[i], &nowhere);
		device_set_keepalive(absent[i], 25, p.now);
	}
	pair_settle(&p);
	at_first = p.n[0].initiations;
	CHECK_INT(at_first, WINDOW_MAX);
	pair_send(&p, 0, 1); /* waits for its turn like all others */
	device_remove_peer(&p.n[0].device, absent[ABSENT - 1]);
	device_remove_peer(&p.n[0].device, absent[0]); /* one that has been asked: room for one */
	pair_settle(&p);
	CHECK_INT(p.n[0].initiations, at_first + 1);
	for (unsigned i = 1; i <= 3; i++) {
		CHECK_INT(p.n[1].delivered, i == 3);
		pair_run_until(&p, p.now + WINDOW_NS + S / 100);
	}
	CHECK_INT(p.n[0].initiations, ABSENT); /* each once: two are gone, one of those unasked, and the one that is there */
	CHECK_INT(p.n[1].delivered, 1);
	pair_done(&p);
}

/* Nor do they take the places of others; when it is known where one is, it is asked at once, also after attempts have been given up. */
static void peers_without_an_endpoint_are_not_asked(void)
{
	enum { LOST = 3000 };
	struct endpoint other = pair_endpoint(1), none = { 0 };
	uint8_t key[KEY_LEN] = { 9 };

	pair_init(&p);
	for (unsigned i = 0; i < LOST; i++) {
		memcpy(key + 1, &i, sizeof(i));
		device_set_keepalive(device_add_peer(&p.n[0].device, key), 25, p.now);
	}
	pair_settle(&p);
	CHECK_INT(p.n[0].initiations, 0);
	pair_send(&p, 0, 1);
	pair_settle(&p);
	CHECK_INT(p.n[0].initiations, 1);
	CHECK_INT(p.n[1].delivered, 1);
	pair_done(&p);
	for (int64_t wait = 1; wait <= 200; wait += 199) {
		pair_init(&p);
		peer_set_endpoint(p.n[0].peer, &none);
		device_set_keepalive(p.n[0].peer, 25, p.now);
		pair_run_until(&p, p.now + wait * S);
		CHECK_INT(p.n[0].initiations, 0);
		device_set_endpoint(p.n[0].peer, &other, p.now);
		pair_settle(&p);
		CHECK_INT(p.n[0].initiations, 1);
		CHECK_INT(p.n[0].device.stats.handshakes_completed, 1);
		p.n[0].keepalives = 0;
		pair_run_until(&p, p.now + 80 * S);
		CHECK_INT(p.n[0].keepalives, 3);
		pair_done(&p);
	}
}

/* The first of two to be configured asks in vain; the second asks when it is. */
static void the_later_end_begins(void)
{
	struct endpoint other = pair_endpoint(0);

	pair_init(&p);
	device_remove_peer(&p.n[1].device, p.n[1].peer);
	device_set_keepalive(p.n[0].peer, 25, p.now);
	pair_settle(&p);
	CHECK_INT(p.n[1].device.stats.bad_handshake, 1);
	p.now += S;
	p.n[1].peer = device_add_peer(&p.n[1].device, p.n[0].device.identity.pub);
	peer_set_endpoint(p.n[1].peer, &other);
	device_set_keepalive(p.n[1].peer, 25, p.now);
	pair_settle(&p);
	CHECK_INT(p.n[0].device.stats.handshakes_completed, 1);
	CHECK_INT(p.n[1].device.stats.handshakes_completed, 1);
	pair_done(&p);
}

/* The machine slept: all timers are late at once. */
static void waking_up_after_all_deadlines(void)
{
	pair_init(&p);
	pair_send(&p, 0, 1);
	pair_settle(&p);
	p.now += 3600 * S;
	pair_send(&p, 0, 2);
	pair_run_until(&p, p.now + 12 * S);
	CHECK_INT(p.n[1].delivered, 2);
	pair_done(&p);
}

static void W_1_message_counters_end(void)
{
	struct session *s;
	unsigned before;

	pair_init(&p);
	pair_send(&p, 0, 1);
	pair_settle(&p);
	p.now += 10 * S;
	s = atomic_load(&p.n[0].peer->current);
	atomic_store(&s->sent, p.n[0].device.limits.rekey_after_messages); /* 2^60 */
	before = p.n[0].initiations;
	pair_send(&p, 0, 2);
	pair_settle(&p);
	CHECK_INT(p.n[0].initiations, before + 1);
	CHECK_INT(p.n[1].delivered, 2);
	p.now += 10 * S;
	s = atomic_load(&p.n[0].peer->current);
	atomic_store(&s->sent, p.n[0].device.limits.reject_after_messages);
	pair_send(&p, 0, 3); /* waits for a session instead */
	CHECK(atomic_load(&s->sent) == p.n[0].device.limits.reject_after_messages);
	pair_settle(&p);
	CHECK_INT(p.n[1].delivered, 3);
	pair_done(&p);
}

static void W_6_a_clock_that_steps_back_locks_nobody_out(void)
{
	pair_init(&p);
	pair_send(&p, 0, 1);
	pair_settle(&p);
	p.n[0].real_offset -= 86400 * S;
	pair_run_until(&p, p.now + 600 * S); /* all keys are gone */
	pair_send(&p, 0, 2);
	pair_run_until(&p, p.now + S);
	CHECK_INT(p.n[1].delivered, 2);
	CHECK_INT(p.n[1].device.stats.replayed_handshake, 0);
	p.n[0].real_offset += 2 * 86400 * S;
	pair_run_until(&p, p.now + 600 * S);
	pair_send(&p, 0, 3);
	pair_run_until(&p, p.now + S);
	CHECK_INT(p.n[1].delivered, 3);
	pair_done(&p);
}

static void persistent_keepalive_keeps_on(void)
{
	int64_t start;

	pair_init(&p);
	start = p.now;
	device_set_keepalive(p.n[0].peer, 25, p.now);
	pair_run_until(&p, start + 3600 * S);
	/* one each 25 s, and one that ends each handshake */
	CHECK(p.n[0].keepalives >= 140 && p.n[0].keepalives <= 144 + p.n[0].initiations);
	CHECK(p.n[0].initiations >= 20 && p.n[0].initiations <= 31);
	CHECK(atomic_load(&p.n[1].peer->current));
	device_set_keepalive(p.n[0].peer, 0, p.now);
	pair_run_until(&p, p.now + 200 * S);
	p.n[0].keepalives = 0;
	pair_run_until(&p, p.now + 3600 * S);
	CHECK_INT(p.n[0].keepalives, 0);
	pair_done(&p);
}

static void a_removed_peer_is_gone(void)
{
	pair_init(&p);
	pair_send(&p, 0, 1);
	pair_settle(&p);
	device_remove_peer(&p.n[1].device, p.n[1].peer);
	pair_send(&p, 0, 2);
	pair_run_until(&p, p.now + 30 * S);
	CHECK_INT(p.n[1].delivered, 1);
	CHECK_INT(p.n[1].responses, 1);
	CHECK_INT(p.n[1].device.indexes.used, 0);
	CHECK_INT(p.n[1].device.allowed.count, 0);
	pair_done(&p);
}

static void a_new_identity_needs_new_sessions(void)
{
	uint8_t priv[KEY_LEN];

	memset(priv, 0x77, sizeof(priv));
	pair_init(&p);
	pair_send(&p, 0, 1);
	pair_settle(&p);
	device_set_key(&p.n[0].device, priv);
	pair_send(&p, 0, 2);
	pair_run_until(&p, p.now + 30 * S);
	CHECK_INT(p.n[1].delivered, 1); /* node 1 does not know the new key */
	pair_done(&p);
}

static bool nothing_passes(struct pair *pair _unused_, struct wire_msg *m _unused_)
{
	return false;
}

/* Whether the last initiation was answered or is still to be repeated. */
static void a_new_identity_asks_at_once(void)
{
	struct prefix range;
	struct addr host;
	uint8_t priv[KEY_LEN];

	prefix_parse("10.0.0.0/32", &range, &host);

	for (int answered = 0; answered < 2; answered++) {
		memset(priv, 0x77 + answered, sizeof(priv));
		pair_init(&p);
		p.filter = answered ? NULL : nothing_passes;
		pair_send(&p, 0, 1);
		pair_settle(&p);
		CHECK_INT(p.n[0].initiations, 1);
		CHECK_INT(p.n[1].delivered, answered);
		p.filter = NULL;
		device_set_key(&p.n[0].device, priv);
		device_remove_peer(&p.n[1].device, p.n[1].peer);
		p.n[1].peer = device_add_peer(&p.n[1].device, p.n[0].device.identity.pub);
		allowedips_insert(&p.n[1].device.allowed, &range, p.n[1].peer, &p.n[1].peer->allowed);
		pair_send(&p, 0, 2);
		pair_settle(&p);
		CHECK_INT(p.n[0].initiations, 2);
		CHECK_INT(p.n[1].delivered, 2);
		pair_send(&p, 0, 3);
		pair_run_until(&p, p.now + 9 * S);
		CHECK_INT(p.n[0].initiations, 2); /* and not again */
		CHECK_INT(p.n[1].delivered, 3);
		pair_done(&p);
	}
}

static bool lossy(struct pair *pair _unused_, struct wire_msg *m)
{
	if (random() % 100 == 0)
		m->data[random() % m->len] ^= 1 << random() % 8;
	return random() % 50 != 0;
}

/* Talk and silence at random for a simulated day, over a wire that loses and damages; then over a good one. */
static void a_day_of_traffic(void)
{
	uint32_t sent[2] = { 0 };
	int64_t end;

	srandom(4);
	pair_init(&p);
	p.filter = lossy;
	end = p.now + 24 * 3600 * S;
	while (p.now < end) {
		int64_t pause = random() % 100 == 0 ? random() % 2000 : random() % 5;
		int from = random() % 2;

		if (random() % 200 == 0)
			p.n[from].real_offset += (random() % 7200 - 3600) * S;
		for (int i = random() % 10; i >= 0; i--)
			pair_send(&p, from, ++sent[from]);
		pair_run_until(&p, p.now + pause * S + random() % NS_PER_S);
	}
	CHECK(sent[0] > 4000 && sent[1] > 4000);
	CHECK(p.n[1].delivered > sent[0] * 9 / 10 && p.n[1].delivered <= sent[0]);
	CHECK(p.n[0].delivered > sent[1] * 9 / 10 && p.n[0].delivered <= sent[1]);
	CHECK(p.n[0].initiations + p.n[1].initiations < 24 * 3600 / 5);
	CHECK(p.n[0].initiations + p.n[1].initiations > 100);
	p.filter = NULL;
	pair_run_until(&p, p.now + 1000 * S);
	CHECK(!atomic_load(&p.n[0].peer->current));
	p.n[0].delivered = p.n[1].delivered = 0;
	for (int i = 0; i < 3000; i++) {
		pair_send(&p, 0, ++sent[0]);
		pair_send(&p, 1, ++sent[1]);
		pair_run_until(&p, p.now + S);
	}
	CHECK_INT(p.n[0].delivered, 3000);
	CHECK_INT(p.n[1].delivered, 3000);
	CHECK(p.n[0].device.indexes.used <= 4 && p.n[1].device.indexes.used <= 4);
	pair_done(&p);
}

int main(void)
{
	if (crypto_init() < 0)
		return 1;
	RUN(first_packet_makes_a_session);
	RUN(psk_must_match);
	RUN(waiting_packets_keep_their_order);
	RUN(waiting_packets_are_bounded);
	RUN(unanswered_initiations_are_repeated_for_90_seconds);
	RUN(data_without_answer_gets_a_keepalive_after_ten_seconds);
	RUN(silence_of_the_peer_makes_a_new_handshake_after_15_seconds);
	RUN(W_1_initiator_rekeys_after_120_seconds);
	RUN(receiving_initiator_rekeys_in_time);
	RUN(W_1_keys_end_after_180_and_vanish_after_540_seconds);
	RUN(old_data_is_refused);
	RUN(W_2_replayed_initiation_changes_nothing);
	RUN(W_3_only_authentic_messages_move_the_endpoint);
	RUN(W_5_inner_source_must_be_the_peers);
	RUN(own_datagrams_are_not_sealed_again);
	RUN(cookies_under_load);
	RUN(awaited_answers_pass_under_load);
	RUN(peers_without_an_endpoint_are_not_asked);
	RUN(the_later_end_begins);
	RUN(initiations_to_many_peers_go_out_in_portions);
	RUN(waking_up_after_all_deadlines);
	RUN(W_1_message_counters_end);
	RUN(W_6_a_clock_that_steps_back_locks_nobody_out);
	RUN(persistent_keepalive_keeps_on);
	RUN(the_source_goes_with_its_route);
	RUN(a_handshake_brings_the_old_source_back);
	RUN(a_removed_peer_is_gone);
	RUN(a_new_identity_needs_new_sessions);
	RUN(a_new_identity_asks_at_once);
	RUN(a_day_of_traffic);
	return test_end();
}
