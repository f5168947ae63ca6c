/* SPDX-License-Identifier: Apache-2.0 */
/* Handshake messages in and out. Nothing is answered, stored or changed for a message that does not authenticate,
 * except a cookie reply, which is smaller than what it answers and goes only to who knows our public key.
 *
 * Curve operations are most of the work, and eight cost as little as one (curve.h). So messages that wait are taken together, and
 * so are peers that are to be asked: what all of them have to have multiplied is multiplied before the rest is done for each in turn. */
#include "wg/device_internal.h"

#define INITIATION_INTERVAL_NS (NS_PER_S / 50) /* of one peer; also how coarse the timestamps are */
#define UNDER_LOAD_NS NS_PER_S

/* TAI64N, always above the last one sent, whatever the clock did. */
static void next_timestamp(struct device *d, uint8_t out[static TIMESTAMP_LEN])
{
	int64_t ns = d->ops->real_time(d->ctx);
	uint64_t seconds = 0x400000000000000aull + ns / NS_PER_S;
	uint32_t nanos = ns % NS_PER_S & ~0xffffffu; /* coarse: the clock's fine state is nobody's business */
	uint8_t *last = d->last_timestamp;

	for (int i = 0; i < 8; i++)
		out[i] = seconds >> (56 - 8 * i);
	for (int i = 0; i < 4; i++)
		out[8 + i] = nanos >> (24 - 8 * i);
	if (memcmp(out, last, TIMESTAMP_LEN) <= 0) {
		memcpy(out, last, TIMESTAMP_LEN);
		for (int i = TIMESTAMP_LEN - 1; i >= 0 && ++out[i] == 0; i--)
			;
	}
	memcpy(last, out, TIMESTAMP_LEN);
	if (d->ops->timestamp)
		d->ops->timestamp(d->ctx, out);
}

static int64_t jitter(const struct limits *l)
{
	uint32_t r;

	crypto_random(&r, sizeof(r));
	return l->rekey_jitter ? r % l->rekey_jitter : 0;
}

static void send_message(struct peer *p, int64_t now, void *msg, size_t len)
{
	struct endpoint to = peer_endpoint(p);
	int64_t at;

	cookie_add_macs(&p->cookie, now, msg, len);
	timers_any_sent(&p->timers);
	at = timers_traversal(&p->timers, now);
	(void)at; /* the caller reschedules */
	if (endpoint_is_set(&to)) {
		atomic_fetch_add_explicit(&p->tx_bytes, len, memory_order_relaxed);
		p->device->ops->send(p->device->ctx, p, &to, msg, len);
	}
}

static void send_initiation(struct peer *p, const struct dh_job *done)
{
	struct device *d = p->device;
	struct msg_initiation msg;
	uint8_t timestamp[TIMESTAMP_LEN];

	if (!p->timers.retransmit_at) /* the peer's has been faster */
		return;
	index_insert(&d->indexes, &p->handshake_slot, INDEX_HANDSHAKE, p);
	p->answered = false;
	next_timestamp(d, timestamp);
	if (noise_create_initiation(&d->identity, &p->noise, p->handshake_slot.index, timestamp, done, &msg) < 0) {
		index_remove(&d->indexes, &p->handshake_slot);
		p->timers.retransmit_at = 0; /* a key that is none */
	} else {
		send_message(p, p->last_initiation_sent_ns, &msg, sizeof(msg));
		d->stats.initiations_sent++;
	}
	device_reschedule(p);
}

/* Those of ask() that are still wanted. */
static void send_initiations(struct device *d)
{
	struct dh_job jobs[ASK_MAX * NOISE_JOBS_MAX], *next = jobs, *of[ASK_MAX];
	unsigned n = d->n_asked;

	d->n_asked = 0;
	for (unsigned i = 0; i < n; i++) {
		of[i] = next;
		if (d->asked[i]->timers.retransmit_at)
			next += noise_initiation_jobs(&d->identity, &d->asked[i]->noise, next);
	}
	dh_many(jobs, next - jobs);
	for (unsigned i = 0; i < n; i++)
		send_initiation(d->asked[i], of[i]);
	wipe(jobs, (uint8_t *)next - (uint8_t *)jobs);
}

void device_gather(struct device *d)
{
	d->gathering++;
}

void device_gathered(struct device *d)
{
	if (--d->gathering == 0 && d->n_asked)
		send_initiations(d);
}

/* At once, or with others. */
static void ask(struct peer *p, int64_t now)
{
	struct device *d = p->device;

	p->last_initiation_sent_ns = now;
	timers_initiation_sent(&p->timers, &d->limits, now, jitter(&d->limits));
	device_reschedule(p);
	d->asked[d->n_asked++] = p;
	if (!d->gathering || d->n_asked == ASK_MAX)
		send_initiations(d);
}

void device_send_initiation(struct peer *p, int64_t now)
{
	struct device *d = p->device;

	struct endpoint to = peer_endpoint(p);

	if (!d->up)
		return;
	if (!endpoint_is_set(&to)) { /* nowhere to send: it costs nothing, and is looked at again */
		p->last_initiation_sent_ns = now;
		timers_initiation_sent(&p->timers, &d->limits, now, jitter(&d->limits));
		device_reschedule(p);
		return;
	}
	if (window_enter(&d->window, &p->window, now))
		ask(p, now);
}

void device_send_waiting(struct device *d, int64_t now)
{
	struct window_node *n;

	while ((n = window_next(&d->window, now)))
		ask(container_of(n, struct peer, window), now);
}

void device_initiate(struct peer *p, int64_t now)
{
	/* One is under way: its repetition is jittered, so that two peers whose initiations cross do not stay in step. (One that was sent under
	 * another key of ours is not, though its repetition is still to come.) */
	if (p->timers.retransmit_at && p->last_initiation_sent_ns) {
		p->timers.attempts = 0;
		return;
	}
	if (p->last_initiation_sent_ns && now - p->last_initiation_sent_ns < p->device->limits.rekey_timeout)
		return;
	p->timers.attempts = 0;
	device_send_initiation(p, now);
}

static struct session *new_session(struct peer *p, struct noise_exchange *x, struct index_slot *from, int64_t now)
{
	struct session *s = session_new(now);

	s->remote_index = x->remote_index;
	noise_derive(x, s->send_key, s->recv_key, &s->initiator);
	index_replace(&p->device->indexes, from, &s->slot, INDEX_SESSION);
	timers_session_derived(&p->timers, &p->device->limits, now);
	return s;
}

/* We have begun: the new session is used at once. One that the peer has begun meanwhile, as initiations may cross, waits on. */
static struct session *install_ours(struct peer *p, int64_t now)
{
	struct session *s = new_session(p, &p->noise.ours, &p->handshake_slot, now);

	device_retire_session(p->device, atomic_exchange(&p->previous, atomic_load(&p->current)));
	atomic_store(&p->current, s);
	return s;
}

/* The peer has: only when it has shown that it has the keys. */
static void install_theirs(struct peer *p, int64_t now)
{
	struct session *s = new_session(p, &p->noise.theirs, &p->answer_slot, now);

	s->crosses = p->noise.ours.state == HANDSHAKE_SENT_INITIATION;
	s->crossed = s->crosses ? p->handshake_slot.index : 0; /* a session keeps the index of its initiation */
	device_retire_session(p->device, atomic_exchange(&p->next, s));
	device_retire_session(p->device, atomic_exchange(&p->previous, NULL));
}

void device_handshake_done(struct peer *p)
{
	struct device *d = p->device;

	timers_handshake_done(&p->timers);
	window_leave(&d->window, &p->window);
	device_inherit(p);
	p->last_handshake_real_ns = d->ops->real_time(d->ctx);
	d->stats.handshakes_completed++;
}

static void note_authentic(struct peer *p, int64_t now, const struct endpoint *source, size_t len)
{
	struct endpoint before = peer_endpoint(p);

	peer_set_endpoint(p, source);
	if (!endpoint_same_way(&before, source))
		device_note_source(p);
	atomic_fetch_add_explicit(&p->rx_bytes, len, memory_order_relaxed);
	timers_any_received(&p->timers);
	timers_traversal(&p->timers, now);
}

enum { JOBS_MAX = 2 + NOISE_JOBS_MAX }; /* of one message in all steps */

/* A message that may cost curve operations, on its way through the steps of device_on_handshakes(). */
struct step {
	const struct handshake_message *m; /* NULL: it leads nowhere */
	struct peer *peer;
	struct dh_job *done;
	struct noise_initiation in;
};

static bool is_initiation(const struct handshake_message *m)
{
	return m->len == sizeof(struct msg_initiation);
}

static const struct msg_initiation *initiation_of(const struct step *s)
{
	return (const struct msg_initiation *)s->m->msg;
}

static void end_badly(struct device *d, struct step *s)
{
	d->stats.bad_handshake++;
	s->m = NULL;
}

static unsigned first_jobs(struct device *d, struct step *s, struct dh_job *jobs)
{
	const struct msg_response *response = (const struct msg_response *)s->m->msg;
	struct index_slot *slot;
	unsigned n = 0;

	s->done = jobs;
	if (is_initiation(s->m))
		return noise_read_jobs(&d->identity, initiation_of(s), jobs);
	slot = index_find(&d->indexes, le32toh(response->receiver));
	if (slot && slot->kind == INDEX_HANDSHAKE)
		n = noise_accept_jobs(&d->identity, &slot->peer->noise, response, jobs);
	if (!n)
		s->done = NULL;
	return n;
}

/* Who sent the initiation? */
static unsigned read_initiation(struct device *d, struct step *s, struct dh_job *jobs)
{
	if (noise_read_initiation(&d->identity, initiation_of(s), s->done, &s->in) == 0)
		s->peer = device_find_peer(d, s->in.statik);
	s->done = jobs;
	if (s->peer)
		return noise_static_jobs(&d->identity, &s->peer->noise, jobs);
	end_badly(d, s);
	return 0;
}

/* Is it the peer's, and new? From here on it is answered. */
static unsigned accept_initiation(struct device *d, int64_t now, struct step *s, struct dh_job *jobs)
{
	struct peer *p = s->peer;
	int r;

	if (!p->noise.static_known)
		noise_take_static(&p->noise, s->done);
	if (p->last_initiation_seen_ns && now - p->last_initiation_seen_ns < INITIATION_INTERVAL_NS) {
		d->stats.rate_limited++;
		s->m = NULL;
		return 0;
	}
	r = noise_accept_initiation(&d->identity, &p->noise, initiation_of(s), &s->in);
	if (r < 0) {
		d->stats.replayed_handshake += r == -EALREADY;
		d->stats.bad_handshake += r != -EALREADY;
		s->m = NULL;
		return 0;
	}
	p->last_initiation_seen_ns = now;
	s->done = jobs;
	return noise_response_jobs(&p->noise, jobs);
}

static void answer_initiation(struct device *d, int64_t now, struct step *s)
{
	struct peer *p = s->peer;
	struct msg_response response;

	note_authentic(p, now, &s->m->from, s->m->len);
	if (d->ops->accepted)
		d->ops->accepted(d->ctx, p);
	index_insert(&d->indexes, &p->answer_slot, INDEX_HANDSHAKE, p);
	if (noise_create_response(&p->noise, p->answer_slot.index, s->done, &response) < 0) {
		index_remove(&d->indexes, &p->answer_slot);
		end_badly(d, s);
		return;
	}
	install_theirs(p, now);
	send_message(p, now, &response, sizeof(response));
	d->stats.responses_sent++;
	device_reschedule(p);
}

static void on_response(struct device *d, int64_t now, const struct step *step)
{
	const struct msg_response *msg = (const struct msg_response *)step->m->msg;
	struct index_slot *slot = index_find(&d->indexes, le32toh(msg->receiver));
	struct session *s;
	struct peer *p;

	if (!slot || slot->kind != INDEX_HANDSHAKE) { /* the second to an initiation, too */
		d->stats.unknown_index++;
		return;
	}
	p = slot->peer;
	if (noise_accept_response(&d->identity, &p->noise, msg, step->done) < 0) {
		d->stats.bad_handshake++;
		return;
	}
	note_authentic(p, now, &step->m->from, sizeof(*msg));
	if (d->ops->answered)
		d->ops->answered(d->ctx, p);
	s = install_ours(p, now);
	device_handshake_done(p);
	/* The responder may not send before it has heard from us on the new keys. */
	if (atomic_load(&p->staged_count))
		d->ops->send_staged(d->ctx, p, s, now);
	else
		d->ops->send_keepalive(d->ctx, p, s, now);
	device_reschedule(p);
}

static void on_cookie(struct device *d, int64_t now, const struct msg_cookie *msg)
{
	struct index_slot *slot = index_find(&d->indexes, le32toh(msg->receiver));

	if (!slot) {
		d->stats.unknown_index++;
	} else if (cookie_accept(&slot->peer->cookie, now, msg) < 0) {
		d->stats.bad_handshake++;
	} else {
		d->stats.cookies_received++;
	}
}

/* Is it a response, and the first to an initiation of ours? Its index is random, and was told to one endpoint only; the work is bounded by what we
 * ask for. Without this who shakes hands with many peers at once, as after a restart, would send their answers away for being many. */
static bool is_awaited(struct device *d, const void *msg, size_t len)
{
	const struct msg_response *response = msg;
	struct index_slot *slot;

	if (len != sizeof(*response))
		return false;
	slot = index_find(&d->indexes, le32toh(response->receiver));
	if (!slot || slot->kind != INDEX_HANDSHAKE || slot->peer->answered)
		return false;
	slot->peer->answered = true;
	return true;
}

/* Whether the message may cost us curve operations. Answering costs ten times as much as looking: when the queue is about
 * to overflow, those without a cookie are only dropped, so that one with a cookie is never lost to a full queue. */
static bool admit(struct device *d, int64_t now, const void *msg, size_t len, const struct endpoint *source, size_t queued)
{
	uint8_t buf[18];
	struct bytes identity = endpoint_identity(source, buf);
	struct msg_cookie reply;
	enum mac_verdict verdict = cookie_check(&d->cookie, now, msg, len, identity);

	if (verdict == MAC_INVALID) {
		d->stats.bad_mac++;
		return false;
	}
	if (queued >= d->under_load_depth)
		d->under_load_until = now + UNDER_LOAD_NS;
	if (now >= d->under_load_until || is_awaited(d, msg, len))
		return true;
	if (verdict == MAC_VALID_NO_COOKIE && queued >= COOKIE_BACKLOG) {
		d->stats.overload_dropped++;
		return false;
	}
	if (verdict == MAC_VALID_NO_COOKIE) {
		cookie_reply(&d->cookie, now, msg, len, identity, &reply);
		d->ops->send(d->ctx, NULL, source, &reply, sizeof(reply));
		d->stats.cookies_sent++;
		return false;
	}
	if (ratelimit_allow(&d->ratelimit, source, now))
		return true;
	d->stats.rate_limited++;
	return false;
}

/* Return: whether the message goes through the steps. */
static bool begin(struct device *d, int64_t now, const struct handshake_message *m, size_t queued)
{
	uint32_t type;

	d->window.backlog = queued >= d->under_load_depth;
	if (!d->up || m->len < sizeof(type))
		return false;
	memcpy(&type, m->msg, sizeof(type));
	type = le32toh(type);
	if (type == MSG_COOKIE && m->len == sizeof(struct msg_cookie))
		on_cookie(d, now, (const struct msg_cookie *)m->msg);
	return ((type == MSG_INITIATION && m->len == sizeof(struct msg_initiation)) ||
		(type == MSG_RESPONSE && m->len == sizeof(struct msg_response))) &&
	       admit(d, now, m->msg, m->len, &m->from, queued);
}

/* The steps of all: what one of them needs multiplied waits for the same of the others. Whatever has an effect beyond a peer's initiation
 * comes last, message by message in the order of arrival: initiations that cross depend on it. */
void device_on_handshakes(struct device *d, int64_t now, const struct handshake_message *messages, unsigned n, size_t queued)
{
	struct dh_job jobs[HANDSHAKES_MAX * JOBS_MAX], *next = jobs, *from = jobs;
	struct step steps[HANDSHAKES_MAX];
	unsigned used = 0;

	assert(n <= HANDSHAKES_MAX);
	device_gather(d);
	for (unsigned i = 0; i < n; i++) {
		if (!begin(d, now, &messages[i], queued + n - 1 - i))
			continue;
		steps[used] = (struct step){ .m = &messages[i] };
		next += first_jobs(d, &steps[used++], next);
	}
	dh_many(from, next - from);
	from = next;
	for (struct step *s = steps; s < steps + used; s++)
		next += is_initiation(s->m) ? read_initiation(d, s, next) : 0;
	dh_many(from, next - from);
	from = next;
	for (struct step *s = steps; s < steps + used; s++)
		next += s->peer ? accept_initiation(d, now, s, next) : 0;
	dh_many(from, next - from);
	for (struct step *s = steps; s < steps + used; s++) {
		if (s->m && s->peer)
			answer_initiation(d, now, s);
		else if (s->m)
			on_response(d, now, s);
	}
	device_gathered(d);
	wipe(jobs, (uint8_t *)next - (uint8_t *)jobs);
	wipe(steps, used * sizeof(*steps));
}

void device_on_handshake(struct device *d, int64_t now, const void *msg, size_t len, const struct endpoint *source, size_t queued)
{
	struct handshake_message m = { .from = *source, .len = len };

	if (len > sizeof(m.msg))
		return;
	memcpy(m.msg, msg, len);
	device_on_handshakes(d, now, &m, 1, queued);
}

bool device_save_exchange(const struct peer *p, struct exchange *ret)
{
	const struct noise_exchange *ours = &p->noise.ours;

	if (ours->state != HANDSHAKE_SENT_INITIATION || !p->timers.retransmit_at)
		return false;
	*ret = (struct exchange){ .index = p->handshake_slot.index,
				  .attempts = p->timers.attempts,
				  .sent_ns = p->last_initiation_sent_ns,
				  .repeat_ns = p->timers.retransmit_at,
				  .jitter_ns = p->timers.jitter };
	dh_key_private(ours->ephemeral, ret->ephemeral);
	memcpy(ret->chain, ours->chain, HASH_LEN);
	memcpy(ret->hash, ours->hash, HASH_LEN);
	return true;
}

int device_restore_exchange(struct peer *p, const struct exchange *x, int64_t now)
{
	struct noise_exchange *ours = &p->noise.ours;
	int r;

	p->handshake_slot.index = x->index;
	r = index_restore(&p->device->indexes, &p->handshake_slot, INDEX_HANDSHAKE, p);
	if (r < 0)
		return r;
	ours->ephemeral = dh_key_new(x->ephemeral, ours->ephemeral_pub);
	memcpy(ours->chain, x->chain, HASH_LEN);
	memcpy(ours->hash, x->hash, HASH_LEN);
	ours->state = HANDSHAKE_SENT_INITIATION;
	p->last_initiation_sent_ns = x->sent_ns;
	p->timers.attempts = x->attempts;
	p->timers.retransmit_at = x->repeat_ns;
	p->timers.jitter = x->jitter_ns;
	p->had_session = false; /* it is asked already */
	(void)window_enter(&p->device->window, &p->window, now); /* without a place it is asked again when there is one */
	device_reschedule(p);
	return 0;
}

int device_restore_session(struct peer *p, struct session *s, enum session_slot slot)
{
	struct device *d = p->device;
	_Atomic(struct session *) *slots[] = { &p->current, &p->previous, &p->next };
	int r = index_restore(&d->indexes, &s->slot, INDEX_SESSION, p);

	if (r < 0)
		return r;
	device_retire_session(d, atomic_exchange(slots[slot], s));
	if (!p->timers.zero_at || p->timers.zero_at < s->born_ns + 3 * d->limits.reject_after_time)
		p->timers.zero_at = s->born_ns + 3 * d->limits.reject_after_time;
	device_reschedule(p);
	return 0;
}
