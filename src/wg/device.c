/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration, timers and events of the protocol engine; handshake messages are in handshake.c.
 *
 * Threads: all slots of a peer are stored here, by the owner. A worker that receives the first data on a `next` session
 * goes on with it and posts PEER_CONFIRMED; it never moves a slot. What workers may still hold (sessions, peers, trie
 * nodes) is retired through qsbr.
 *
 * Timers: the data path stores stamps and posts PEER_TIMER only when a deadline comes before the moment at which the
 * owner looks at the peer anyway. Under steady traffic that is about once in ten seconds for each peer. */
#include "wg/device_internal.h"

#include "base/str.h"

void device_init(struct device *d, const struct device_ops *ops, void *ctx)
{
	*d = (struct device){ .ops = ops,
			      .ctx = ctx,
			      .limits = default_limits,
			      .under_load_depth = dh_are_many() ? UNDER_LOAD_DEPTH : UNDER_LOAD_DEPTH_SINGLE };
	qsbr_init(&d->qsbr);
	index_init(&d->indexes, &d->qsbr);
	allowedips_init(&d->allowed, &d->qsbr);
	ratelimit_init(&d->ratelimit);
	window_init(&d->window);
	list_init(&d->order);
	cookie_checker_init(&d->cookie, d->identity.pub);
}

void device_done(struct device *d)
{
	struct peer *p, *tmp;

	list_for_each_safe(p, tmp, &d->order, all)
		device_remove_peer(d, p);
	qsbr_done(&d->qsbr);
	allowedips_done(&d->allowed);
	index_done(&d->indexes);
	ratelimit_done(&d->ratelimit);
	htab_done(&d->peers);
	noise_identity_clear(&d->identity);
	free(d->heap);
}

/* The heap of deadlines. */

static int64_t wake_of(const struct peer *p)
{
	return atomic_load_explicit(&p->next_wake, memory_order_relaxed);
}

static void heap_put(struct device *d, size_t i, struct peer *p)
{
	d->heap[i] = p;
	p->heap_at = i + 1;
}

static void heap_up(struct device *d, size_t i, struct peer *p)
{
	for (; i > 0 && wake_of(d->heap[(i - 1) / 2]) > wake_of(p); i = (i - 1) / 2)
		heap_put(d, i, d->heap[(i - 1) / 2]);
	heap_put(d, i, p);
}

static void heap_down(struct device *d, size_t i, struct peer *p)
{
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= d->heap_len)
			break;
		if (child + 1 < d->heap_len && wake_of(d->heap[child + 1]) < wake_of(d->heap[child]))
			child++;
		if (wake_of(d->heap[child]) >= wake_of(p))
			break;
		heap_put(d, i, d->heap[child]);
		i = child;
	}
	heap_put(d, i, p);
}

static void heap_remove(struct device *d, struct peer *p)
{
	size_t i = p->heap_at - 1;
	struct peer *last;

	if (!p->heap_at)
		return;
	p->heap_at = 0;
	last = d->heap[--d->heap_len];
	if (last == p)
		return;
	if (i > 0 && wake_of(d->heap[(i - 1) / 2]) > wake_of(last))
		heap_up(d, i, last);
	else
		heap_down(d, i, last);
}

void device_reschedule(struct peer *p)
{
	struct device *d = p->device;
	int64_t at = p->dead ? NEVER : timers_next(&p->timers, &d->limits);

	heap_remove(d, p);
	atomic_store(&p->next_wake, at);
	if (at == NEVER)
		return;
	GROW(d->heap, d->heap_len, d->heap_cap);
	d->heap_len++;
	heap_up(d, d->heap_len - 1, p);
}

/* Slots. */

static void free_session(void *ctx _unused_, void *p)
{
	session_free(p);
}

void device_retire_session(struct device *d, struct session *s)
{
	if (!s)
		return;
	index_remove(&d->indexes, &s->slot);
	qsbr_retire(&d->qsbr, s, free_session, NULL);
	if (d->ops->keys_gone)
		d->ops->keys_gone(d->ctx);
}

void device_drop_sessions(struct peer *p)
{
	device_retire_session(p->device, atomic_exchange(&p->current, NULL));
	device_retire_session(p->device, atomic_exchange(&p->previous, NULL));
	device_retire_session(p->device, atomic_exchange(&p->next, NULL));
}

void device_reset_handshake(struct peer *p)
{
	index_remove(&p->device->indexes, &p->handshake_slot);
	noise_peer_reset(&p->noise);
}

/* All of a peer's secrets of the moment: handshake and sessions. */
static void zero_keys(struct peer *p)
{
	device_reset_handshake(p);
	device_drop_sessions(p);
}

static void changed(struct device *d)
{
	if (d->ops->changed)
		d->ops->changed(d->ctx);
}

/* Configuration. */

struct peer *device_find_peer(struct device *d, const uint8_t pub[static KEY_LEN])
{
	struct peer *p;

	HTAB_FIND(&d->peers, hash_mem(pub, KEY_LEN), p, by_key, memcmp(p->noise.pub, pub, KEY_LEN) == 0);
	return p;
}

void device_set_key(struct device *d, const uint8_t priv[static KEY_LEN])
{
	struct peer *p, *self;
	struct session *s;

	if (d->identity.set ? secret_eq(d->identity.priv, priv, KEY_LEN) : secret_is_zero(priv, KEY_LEN))
		return;
	noise_identity_set(&d->identity, priv);
	cookie_checker_init(&d->cookie, d->identity.pub);
	self = d->identity.set ? device_find_peer(d, d->identity.pub) : NULL;
	if (self)
		device_remove_peer(d, self);
	list_for_each(p, &d->order, all) {
		device_reset_handshake(p);
		noise_peer_rekey(&p->noise);
		p->last_initiation_sent_ns = 0; /* it was somebody else's: who has something to say asks at once */
		s = atomic_load(&p->current);
		if (s)
			atomic_store(&s->expired, true);
		s = atomic_load(&p->next);
		if (s)
			atomic_store(&s->expired, true);
	}
	changed(d);
}

struct peer *device_add_peer(struct device *d, const uint8_t pub[static KEY_LEN])
{
	struct peer *p;

	if (d->peers.count >= PEERS_MAX || (d->identity.set && memcmp(pub, d->identity.pub, KEY_LEN) == 0))
		return NULL;
	p = peer_new(d, pub);
	htab_insert(&d->peers, hash_mem(pub, KEY_LEN), &p->by_key);
	list_push_back(&d->order, &p->all);
	changed(d);
	return p;
}

/* Runs when no worker holds the peer. One may have posted it in its last batch: it must leave the list first. */
static void free_peer(void *ctx, void *v)
{
	device_take_events(ctx, 0);
	peer_free(v);
}

void device_set_heir(struct peer *heir, struct peer *old)
{
	if (heir == old || atomic_load(&heir->twin) == old || atomic_load(&heir->twin) || atomic_load(&old->twin))
		return;
	atomic_store(&heir->twin, old);
	atomic_store(&old->twin, heir);
	heir->is_heir = true;
	changed(heir->device);
}

/* A prefix at a time, each at once: none is without an owner. */
void device_inherit(struct peer *heir)
{
	struct peer *old = atomic_load(&heir->twin);
	struct allowed_node *n, *tmp;

	if (!heir->is_heir || !old)
		return;
	list_for_each_safe(n, tmp, &old->allowed, of_peer) {
		struct prefix p = n->prefix;

		allowedips_insert(&heir->device->allowed, &p, heir, &heir->allowed);
	}
}

void device_remove_peer(struct device *d, struct peer *p)
{
	struct peer *twin = atomic_load(&p->twin);

	if (twin) {
		atomic_store(&twin->twin, NULL);
		twin->is_heir = false;
	}
	allowedips_remove_all(&d->allowed, &p->allowed);
	zero_keys(p);
	timers_stop(&p->timers);
	window_leave(&d->window, &p->window);
	list_remove(&p->unsaved);
	p->dead = true;
	device_reschedule(p);
	htab_remove(&d->peers, &p->by_key);
	list_remove(&p->all);
	qsbr_retire(&d->qsbr, p, free_peer, d);
	changed(d);
}

void device_set_psk(struct peer *p, const uint8_t psk[static KEY_LEN])
{
	memcpy(p->noise.psk, psk, KEY_LEN);
	changed(p->device);
}

static void send_keepalive(struct peer *p, int64_t now)
{
	struct session *s = device_sending_session(p, now);

	if (!p->device->up)
		return;
	if (s && !atomic_load(&p->staged_count)) {
		p->device->ops->send_keepalive(p->device->ctx, p, s, now);
		return;
	}
	if (!atomic_load(&p->staged_count))
		peer_stage(p, NULL, NULL, 0);
	device_flush_staged(p, now);
}

void device_set_keepalive(struct peer *p, uint16_t seconds, int64_t now)
{
	bool was_off = p->persistent_keepalive_s == 0;

	p->persistent_keepalive_s = seconds;
	p->timers.persistent_ns = seconds * NS_PER_S;
	if (seconds && was_off && p->device->up)
		send_keepalive(p, now);
	device_reschedule(p);
	changed(p->device);
}

void device_set_endpoint(struct peer *p, const struct endpoint *e, int64_t now)
{
	struct endpoint before = peer_endpoint(p);

	peer_set_endpoint(p, e);
	if (endpoint_is_set(&before) || !p->device->up)
		return;
	p->last_initiation_sent_ns = p->timers.retransmit_at = 0; /* what was tried until now went nowhere */
	p->timers.attempts = 0;
	if (p->persistent_keepalive_s)
		send_keepalive(p, now);
	else if (atomic_load(&p->staged_count))
		device_flush_staged(p, now);
	device_reschedule(p);
}

void device_restore_handshake(struct peer *p, int64_t real_ns)
{
	struct device *d = p->device;

	p->last_handshake_real_ns = real_ns;
	p->had_session = d->ops->real_time(d->ctx) - real_ns < d->limits.reject_after_time;
}

static void start_peer(struct peer *p, int64_t now)
{
	if (p->persistent_keepalive_s || p->had_session)
		send_keepalive(p, now);
	else if (atomic_load(&p->staged_count))
		device_flush_staged(p, now);
	p->had_session = false;
}

static void stop_peer(struct peer *p)
{
	p->device->stats.staged_dropped += peer_drop_staged(p);
	timers_stop(&p->timers);
	window_leave(&p->device->window, &p->window);
	zero_keys(p);
	p->last_initiation_sent_ns = 0; /* up again, it may ask at once */
	device_reschedule(p);
}

void device_set_up(struct device *d, bool up, int64_t now)
{
	struct peer *p;

	if (d->up == up)
		return;
	d->up = up;
	device_gather(d);
	list_for_each(p, &d->order, all) {
		if (up)
			start_peer(p, now);
		else
			stop_peer(p);
	}
	device_gathered(d);
}

/* Events from the data path. */

void device_post(struct peer *p, uint32_t events)
{
	struct device *d = p->device;
	struct peer *head;

	if (atomic_fetch_or(&p->events, events))
		return; /* already in the list */
	head = atomic_load(&d->dirty);
	do
		p->dirty_next = head;
	while (!atomic_compare_exchange_weak(&d->dirty, &head, p));
	if (!head)
		d->ops->wake(d->ctx);
}

/* Of two that crossed both ends send on the one that the smaller key began: with one each, both would renew, cross again each time, and
 * lose what is on its way meanwhile. */
static bool goes_before(const struct peer *p, const struct session *next, const struct session *current)
{
	if (!current)
		return true;
	if (next->crosses && next->crossed == current->slot.index)
		return memcmp(p->noise.pub, p->device->identity.pub, KEY_LEN) < 0;
	return current->id < next->id;
}

static void confirm(struct peer *p, int64_t now)
{
	struct session *next = atomic_load(&p->next), *current = atomic_load(&p->current);
	bool newest;

	if (!next || !atomic_load(&next->confirmed)) /* one that has come meanwhile in the place of the one that was meant */
		return;
	newest = goes_before(p, next, current);
	device_retire_session(p->device, atomic_exchange(&p->previous, newest ? current : next));
	if (newest)
		atomic_store(&p->current, next);
	atomic_store(&p->next, NULL);
	device_reset_handshake(p); /* an initiation of ours has been overtaken: one session is enough */
	device_handshake_done(p);
	if (p->device->ops->peer_changed)
		p->device->ops->peer_changed(p->device->ctx, p);
	device_flush_staged(p, now);
}

/* Return: the interface, 0: not known, or the peer has not been spoken to at any address of ours. */
static uint32_t find_way_out(const struct peer *p, const struct endpoint *e)
{
	struct device *d = p->device;
	int r = e->has_from && d->ops->way_out ? d->ops->way_out(d->ctx, e) : 0;

	return MAX(r, 0);
}

void device_note_source(struct peer *p)
{
	struct endpoint e = peer_endpoint(p);

	p->way_out = find_way_out(p, &e);
}

void device_routes_changed(struct device *d)
{
	struct peer *p;

	list_for_each(p, &d->order, all) {
		struct endpoint e = peer_endpoint(p);
		uint32_t way_out = find_way_out(p, &e);

		if (p->way_out && p->way_out == e.from_ifindex && way_out && way_out != e.from_ifindex)
			peer_give_up_source(p, &e);
		p->way_out = way_out;
	}
}

void device_forget_sources(struct device *d)
{
	struct peer *p;

	list_for_each(p, &d->order, all) {
		peer_forget_source(p);
		p->way_out = 0;
	}
}

static void handle_events(struct peer *p, uint32_t events, int64_t now)
{
	struct device *d = p->device;

	if (events & PEER_CONFIRMED)
		confirm(p, now);
	if (events & PEER_SOURCE)
		device_note_source(p);
	if (events & PEER_MOVED && d->ops->peer_changed)
		d->ops->peer_changed(d->ctx, p);
	if (!d->up)
		return;
	if (events & PEER_LAST_MINUTE && !p->timers.asked_in_last_minute) {
		p->timers.asked_in_last_minute = true;
		device_initiate(p, now);
	}
	if (events & (PEER_WANTS_HANDSHAKE | PEER_STAGED)) {
		struct session *s = device_sending_session(p, now);

		/* What was wanted may have come meanwhile. */
		if (atomic_load(&p->staged_count))
			device_flush_staged(p, now);
		else if (s && session_is_stale_to_send(s, &d->limits, now))
			device_initiate(p, now);
	}
}

/* Empties the list; @now 0: only to unlink (events of the living stay set for device_run()). */
void device_take_events(struct device *d, int64_t now)
{
	struct peer *p = atomic_exchange(&d->dirty, NULL), *next, *again = NULL;

	for (; p; p = next) {
		next = p->dirty_next;
		if (p->dead) {
			atomic_store(&p->events, 0);
		} else if (!now) {
			p->dirty_next = again;
			again = p;
		} else {
			uint32_t events = atomic_exchange(&p->events, 0);

			handle_events(p, events, now);
			device_reschedule(p);
		}
	}
	while ((p = again)) {
		uint32_t events = atomic_exchange(&p->events, 0);

		again = p->dirty_next;
		device_post(p, events);
	}
}

static void run_timers(struct peer *p, int64_t now)
{
	struct device *d = p->device;
	unsigned due = timers_run(&p->timers, &d->limits, now);

	if (due & TIMER_GIVE_UP)
		d->stats.staged_dropped += peer_drop_staged(p);
	if (due & TIMER_ZERO_KEYS)
		zero_keys(p);
	if (due & TIMER_RETRANSMIT) {
		peer_forget_source(p);
		device_send_initiation(p, now);
	}
	if (due & TIMER_NEW_HANDSHAKE) {
		peer_forget_source(p);
		device_initiate(p, now);
	}
	if (due & (TIMER_KEEPALIVE | TIMER_PERSISTENT))
		send_keepalive(p, now);
	device_reschedule(p);
}

int64_t device_run(struct device *d, int64_t now)
{
	device_gather(d);
	/* Timers first: after a long sleep, keys are to be zeroed before and not after a new handshake has begun. */
	while (d->heap_len && wake_of(d->heap[0]) <= now)
		run_timers(d->heap[0], now);
	device_take_events(d, now);
	device_send_waiting(d, now);
	device_gathered(d);
	qsbr_poll(&d->qsbr);
	return MIN(d->heap_len ? wake_of(d->heap[0]) : NEVER, window_deadline(&d->window));
}

void device_flush_staged(struct peer *p, int64_t now)
{
	struct session *s = device_sending_session(p, now);

	if (s && atomic_load(&p->staged_count))
		p->device->ops->send_staged(p->device->ctx, p, s, now);
	else if (!s)
		device_initiate(p, now);
}

/* Notes by the data path. */

void device_note_sent(struct peer *p, struct session *s, int64_t now, size_t bytes, bool data)
{
	const struct limits *l = &p->device->limits;

	atomic_fetch_add_explicit(&p->tx_bytes, bytes, memory_order_relaxed);
	timers_any_sent(&p->timers);
	if (data)
		device_deadline(p, timers_data_sent(&p->timers, l, now));
	device_deadline(p, timers_traversal(&p->timers, now));
	if (session_is_stale_to_send(s, l, now) && session_may_ask(s, now))
		device_post(p, PEER_WANTS_HANDSHAKE);
}

void device_note_received(struct peer *p, struct session *s, int64_t now, size_t bytes, bool data,
			  const struct endpoint *from)
{
	const struct limits *l = &p->device->limits;
	uint32_t news = peer_heard_at(p, from);

	atomic_fetch_add_explicit(&p->rx_bytes, bytes, memory_order_relaxed);
	timers_any_received(&p->timers);
	if (data)
		device_deadline(p, timers_data_received(&p->timers, l, now));
	device_deadline(p, timers_traversal(&p->timers, now));
	if (news)
		device_post(p, news);
	if (s == atomic_load_explicit(&p->next, memory_order_relaxed)) {
		atomic_store_explicit(&s->confirmed, true, memory_order_relaxed);
		device_post(p, PEER_CONFIRMED);
	}
	if (session_is_stale_to_receive(s, l, now) && session_may_ask(s, now))
		device_post(p, PEER_LAST_MINUTE);
}
