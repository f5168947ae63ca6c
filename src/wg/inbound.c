/* SPDX-License-Identifier: Apache-2.0 */
/* Order of checks: index, age, authenticity, replay, and only then anything is believed: endpoint, timers, contents.
 * Datagrams are opened several at a time. Notes to the peer (bytes, stamps, endpoint) are made once for each run of
 * datagrams of one session from one place. */
#include "wg/inbound.h"

#include "wg/packet.h"

struct note {
	struct session *session;
	const struct endpoint *from;
	size_t bytes;
	bool data;
};

void inbound_init(struct inbound *in, struct device *d, struct data_stats *stats)
{
	*in = (struct inbound){ .device = d, .stats = stats, .join = { .tcp = true, .udp = true } };
	aead_init(&in->aead, false);
}

void inbound_done(struct inbound *in)
{
	aead_done(&in->aead);
}

/* May the peer speak as the packet's source? A stream's packets have one: it is looked up for the first of a batch. */
static bool source_is_allowed(struct inbound *in, struct peer *p, const uint8_t *pkt)
{
	const uint8_t family = pkt[0] >> 4, *source = pkt + (family == 4 ? 12 : 8);
	const size_t n = family == 4 ? 4 : 16;
	struct peer *owner;

	if (in->proven.peer == p && in->proven.family == family && memcmp(in->proven.addr, source, n) == 0)
		return true;
	owner = family == 4 ? allowedips_find_v4(&in->device->allowed, source) : allowedips_find_v6(&in->device->allowed, source);
	if (!owner || (owner != p && owner != atomic_load_explicit(&p->twin, memory_order_relaxed)))
		return false;
	in->proven.peer = p;
	in->proven.family = family;
	memcpy(in->proven.addr, source, n);
	return true;
}

static void deliver(struct inbound *in, struct peer *p, uint8_t *pkt, size_t padded, uint8_t ds)
{
	size_t len = ip_length(pkt, padded);

	if (!len) {
		STAT_ADD(in->stats, drop_malformed_inner, 1);
		return;
	}
	if (!source_is_allowed(in, p, pkt)) {
		STAT_ADD(in->stats, drop_wrong_source, 1);
		return;
	}
	if ((ds & ECN_MASK) == ECN_CE)
		ip_mark_congestion(pkt);
	coalesce_add(&in->join, pkt, len);
}

static void finish_note(struct note *n, int64_t now)
{
	if (n->session)
		device_note_received(n->session->slot.peer, n->session, now, n->bytes, n->data, n->from);
	*n = (struct note){ 0 };
}

static struct session *find_session(struct inbound *in, uint32_t index, uint64_t counter, int64_t now)
{
	const struct limits *l = &in->device->limits;
	struct index_slot *slot = index_find(&in->device->indexes, index);
	struct session *s;

	if (!slot || slot->kind != INDEX_SESSION) {
		STAT_ADD(in->stats, drop_unknown_index, 1);
		return NULL;
	}
	s = container_of(slot, struct session, slot);
	if (!session_may_receive(s, l, now) || counter >= l->reject_after_messages) {
		STAT_ADD(in->stats, drop_expired_session, 1);
		return NULL;
	}
	return s;
}

static void on_opened(struct inbound *in, const struct aead_packet *p, const struct arrived *a, int64_t now, struct note *note)
{
	struct session *s = a->session;

	if (!p->good) {
		STAT_ADD(in->stats, drop_unauthentic, 1);
		return;
	}
	if (!session_accept_counter(s, p->counter, in->device->limits.reject_after_messages)) {
		STAT_ADD(in->stats, drop_replayed, 1);
		return;
	}
	if (note->session != s || note->from != a->from)
		finish_note(note, now);
	note->session = s;
	note->from = a->from;
	note->bytes += p->len + DATA_OVERHEAD;
	if (!p->len) {
		STAT_ADD(in->stats, keepalives_received, 1);
		return;
	}
	note->data = true;
	deliver(in, s->slot.peer, p->text, p->len, a->ds);
}

/* In the order of arrival; those of one session that follow each other are opened together. */
static void open_waiting(struct inbound *in, int64_t now)
{
	struct note note = { 0 };

	for (unsigned i = 0, k; i < in->n_arrived; i = k) {
		struct session *s = in->arrived[i].session;

		for (k = i; k < in->n_arrived && in->arrived[k].session == s; k++)
			;
		aead_open_many(&in->aead, s->id, s->recv_key, in->packets + i, k - i);
		for (unsigned at = i; at < k; at++)
			on_opened(in, &in->packets[at], &in->arrived[at], now, &note);
	}
	finish_note(&note, now);
	in->n_arrived = 0;
}

static void on_data(struct inbound *in, uint8_t *buf, size_t len, const struct endpoint *from, uint8_t ds, int64_t now)
{
	struct msg_data h;
	struct session *s;

	memcpy(&h, buf, sizeof(h));
	s = find_session(in, le32toh(h.receiver), le64toh(h.counter), now);
	if (!s)
		return;
	in->packets[in->n_arrived] = (struct aead_packet){ .text = buf + sizeof(h),
							   .len = len - DATA_OVERHEAD,
							   .counter = le64toh(h.counter) };
	in->arrived[in->n_arrived] = (struct arrived){ .session = s, .from = from, .ds = ds };
	if (++in->n_arrived == ARRIVED_MAX)
		open_waiting(in, now);
}

static void on_datagram(struct inbound *in, uint8_t *buf, size_t len, const struct endpoint *from, uint8_t ds, int64_t now)
{
	uint32_t type = 0;

	if (len >= sizeof(type))
		memcpy(&type, buf, sizeof(type));
	type = le32toh(type);
	if (type == MSG_DATA && len >= DATA_OVERHEAD)
		on_data(in, buf, len, from, ds, now);
	else if ((type == MSG_INITIATION && len == sizeof(struct msg_initiation)) ||
		 (type == MSG_RESPONSE && len == sizeof(struct msg_response)) ||
		 (type == MSG_COOKIE && len == sizeof(struct msg_cookie)))
		in->handshake(in->ctx, buf, len, from);
	else
		STAT_ADD(in->stats, drop_bad_message, 1);
}

void inbound_message(struct inbound *in, uint8_t *buf, size_t len, size_t segment, const struct endpoint *from, uint8_t ds,
		     int64_t now)
{
	STAT_ADD(in->stats, udp_receives, 1);
	if (!segment)
		segment = len;
	for (size_t at = 0; at < len; at += segment) {
		on_datagram(in, buf + at, MIN(segment, len - at), from, ds, now);
		STAT_ADD(in->stats, udp_received, 1);
	}
}

void inbound_flush(struct inbound *in, int64_t now)
{
	open_waiting(in, now);
	in->proven.peer = NULL; /* what is configured meanwhile counts from the next batch on */
	coalesce_flush(&in->join);
}
