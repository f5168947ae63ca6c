/* SPDX-License-Identifier: Apache-2.0 */
/* Replay window, allowed IPs, indexes, rate limit: each held against a naive model on random histories; the workers' pace and calm. */
#include "base/test.h"
#include "wg/allowedips.h"
#include "wg/index.h"
#include "wg/message.h"
#include "wg/calm.h"
#include "wg/pace.h"
#include "wg/ratelimit.h"
#include "wg/replay.h"
#include "wg/timers.h"

static void replay_edges(void)
{
	static struct replay r;
	const uint64_t limit = default_limits.reject_after_messages;

	CHECK_INT(limit == UINT64_MAX - (1 << 13), 1); /* 2^64 - 2^13 - 1 */
	CHECK(replay_accept(&r, 0, limit));
	CHECK(!replay_accept(&r, 0, limit));
	CHECK(replay_accept(&r, REPLAY_WINDOW, limit));
	CHECK(!replay_accept(&r, 0, limit));
	CHECK(replay_accept(&r, 1, limit)); /* the oldest still inside */
	CHECK(!replay_accept(&r, 1, limit));
	CHECK(replay_accept(&r, limit - 1, limit));
	CHECK(!replay_accept(&r, limit, limit));
	CHECK(!replay_accept(&r, UINT64_MAX, limit));
	CHECK(!replay_accept(&r, 2, limit));
	CHECK(replay_accept(&r, limit - REPLAY_WINDOW, limit));
	CHECK(!replay_accept(&r, limit - 1 - REPLAY_WINDOW, limit));
	replay_done(&r);
}

static void replay_against_model(void)
{
	static struct replay r;
	static bool seen[1 << 18];
	uint64_t top = 0;

	srandom(1);
	for (int i = 0; i < 400000; i++) {
		uint64_t jump = random() % 1000 == 0 ? random() % 20000 : random() % 3;
		uint64_t back = random() % 4 == 0 ? random() % 9000 : 0;
		uint64_t c = top + jump > back ? top + jump - back : 0;
		bool want;

		if (c >= sizeof(seen))
			break;
		want = !seen[c] && (c >= top || top - c < REPLAY_WINDOW);
		CHECK_INT(replay_accept(&r, c, UINT64_MAX), want);
		seen[c] |= want;
		if (want && c > top)
			top = c;
	}
	CHECK(top > 100000);
	replay_done(&r);
}

/* At each of the places where its shape changes it means the same to another process. */
static void replay_goes_on_elsewhere(void)
{
	static const uint64_t counters[] = { 0, 3, 64, 200, 255, 256, 257, 300, REPLAY_WINDOW, REPLAY_WINDOW + 255, 3 * REPLAY_WINDOW };

	for (size_t n = 0; n <= ARRAY_SIZE(counters); n++) {
		struct replay a = { 0 }, b = { 0 };
		struct replay_record record;

		for (size_t i = 0; i < n; i++)
			CHECK(replay_accept(&a, counters[i], UINT64_MAX));
		CHECK_INT(a.ring != NULL, n && counters[n - 1] >= 64 * REPLAY_FEW_WORDS);
		replay_save(&a, &record);
		replay_load(&b, &record);
		CHECK_INT(b.ring != NULL, a.ring != NULL);
		for (uint64_t c = 0; c < 4 * REPLAY_WINDOW; c += 1 + c / 300)
			CHECK_INT(replay_accept(&b, c, UINT64_MAX), replay_accept(&a, c, UINT64_MAX));
		replay_done(&a);
		replay_done(&b);
	}
}

enum { MODEL_MAX = 400 };
static struct {
	struct prefix p;
	int peer; /* 0: none */
} model[MODEL_MAX];

static struct prefix random_prefix(void)
{
	struct addr a = { { 0 } };
	bool v4 = random() & 1;
	uint8_t len = v4 ? 96 + random() % 33 : random() % 129;

	if (v4)
		a.b[10] = a.b[11] = 0xff;
	for (int i = v4 ? 12 : 0; i < 16; i++)
		a.b[i] = random() % 3 ? 0 : random() % 4 << 6; /* few values: prefixes nest and meet */
	if (!v4)
		a.b[0] |= 0x20; /* never in the mapped range */
	return prefix_of(&a, len);
}

static int model_find(const struct addr *a)
{
	int best = 0, len = -1;

	for (int i = 0; i < MODEL_MAX; i++) {
		bool family = addr_is_v4(a) == (addr_is_v4(&model[i].p.addr) && model[i].p.len >= 96);

		if (model[i].peer && family && prefix_contains(&model[i].p, a) && model[i].p.len > len) {
			best = model[i].peer;
			len = model[i].p.len;
		}
	}
	return best;
}

static void model_set(const struct prefix *p, int peer)
{
	int free_at = -1;

	for (int i = 0; i < MODEL_MAX; i++) {
		if (model[i].peer && prefix_eq(&model[i].p, p)) {
			model[i].peer = peer;
			return;
		}
		if (!model[i].peer)
			free_at = i;
	}
	assert(free_at >= 0);
	model[free_at].p = *p;
	model[free_at].peer = peer;
}

static void allowedips_against_model(void)
{
	static char peers[6];
	struct list lists[6];
	struct allowedips t;
	struct qsbr q;

	qsbr_init(&q);
	allowedips_init(&t, &q);
	for (int i = 0; i < 6; i++)
		list_init(&lists[i]);
	srandom(2);
	for (int i = 0; i < 30000; i++) {
		struct prefix p = random_prefix();
		int peer = 1 + random() % 5;
		struct addr a;
		struct peer *got;

		if (t.count < 300 && random() % 3) {
			allowedips_insert(&t, &p, (struct peer *)&peers[peer], &lists[peer]);
			model_set(&p, peer);
		} else if (random() % 500 == 0) {
			allowedips_remove_all(&t, &lists[peer]);
			for (int k = 0; k < MODEL_MAX; k++)
				model[k].peer = model[k].peer == peer ? 0 : model[k].peer;
			CHECK(list_empty(&lists[peer]));
		} else {
			int k = random() % MODEL_MAX;

			if (model[k].peer) {
				CHECK_INT(allowedips_remove(&t, &model[k].p, (struct peer *)&peers[0]), -ENOENT);
				CHECK_INT(allowedips_remove(&t, &model[k].p, (struct peer *)&peers[model[k].peer]), 0);
				model[k].peer = 0;
			}
		}
		a = random_prefix().addr;
		got = addr_is_v4(&a) ? allowedips_find_v4(&t, a.b + 12) : allowedips_find_v6(&t, a.b);
		CHECK_INT(got ? (char *)got - peers : 0, model_find(&a));
		qsbr_poll(&q);
	}
	allowedips_done(&t);
	qsbr_done(&q);
}

static int freed;
static void count_free(void *ctx _unused_, void *p _unused_)
{
	freed++;
}

static void qsbr_waits_for_readers(void)
{
	struct qsbr q;

	qsbr_init(&q);
	freed = 0;
	qsbr_online(&q, 3);
	qsbr_retire(&q, &q, count_free, NULL);
	CHECK(qsbr_poll(&q));
	CHECK_INT(freed, 0);
	qsbr_online(&q, 4); /* began after: does not hold it back */
	qsbr_offline(&q, 3);
	CHECK(!qsbr_poll(&q));
	CHECK_INT(freed, 1);
	qsbr_retire(&q, &q, count_free, NULL);
	CHECK(qsbr_poll(&q));
	qsbr_online(&q, 4); /* its next batch */
	CHECK(!qsbr_poll(&q));
	CHECK_INT(freed, 2);
	qsbr_done(&q);
}

static void indexes(void)
{
	enum { N = 3000 };
	static struct index_slot slots[N], moved;
	struct index_table t;
	struct qsbr q;
	uint32_t old;

	qsbr_init(&q);
	index_init(&t, &q);
	for (int i = 0; i < N; i++)
		index_insert(&t, &slots[i], INDEX_HANDSHAKE, (struct peer *)&slots[i]);
	for (int i = 0; i < N; i++)
		CHECK(index_find(&t, slots[i].index) == &slots[i]);
	old = slots[7].index;
	index_replace(&t, &slots[7], &moved, INDEX_SESSION);
	CHECK(index_find(&t, old) == &moved && moved.peer == (struct peer *)&slots[7]);
	CHECK_INT(slots[7].kind, INDEX_FREE);
	index_remove(&t, &moved);
	CHECK(!index_find(&t, old));
	CHECK_INT(t.used, N - 1);
	moved.index = slots[8].index;
	CHECK_INT(index_restore(&t, &moved, INDEX_SESSION, NULL), -EEXIST);
	index_done(&t);
	qsbr_done(&q);
}

static void ratelimit(void)
{
	struct ratelimit r;
	struct endpoint a = { .to.in4 = { .sin_family = AF_INET, .sin_addr.s_addr = 1 } }, b = a;
	int64_t now = NS_PER_S;
	int allowed = 0;

	b.to.in4.sin_addr.s_addr = 2;
	ratelimit_init(&r);
	for (int i = 0; i < 100; i++)
		allowed += ratelimit_allow(&r, &a, now);
	CHECK_INT(allowed, 5);
	CHECK(ratelimit_allow(&r, &b, now)); /* its own bucket, but for one seed in 4096 */
	for (int i = 0; i < 1000; i++)
		allowed += ratelimit_allow(&r, &a, now += NS_PER_S / 100);
	CHECK(allowed >= 200 && allowed <= 206); /* 20 a second for 10 s */
	ratelimit_done(&r);
}

static void pace_of_packets(void)
{
	struct pace p = { 0 };
	uint64_t turn = 10;

	for (int i = 0; i < PACE_ALONE; i++) {
		CHECK(!pace_begin(&p, turn++, true));
		pace_end(&p, 1);
	}
	CHECK(pace_begin(&p, turn++, true)); /* they come one by one */
	pace_end(&p, 1);
	turn++; /* a turn of the other direction, which did not have to wait: says nothing */
	CHECK(pace_begin(&p, turn++, false));
	pace_end(&p, 1);
	CHECK(!pace_begin(&p, turn++, false)); /* another was there already */
	pace_end(&p, 1);
	for (int i = 1; i < PACE_ALONE; i++) {
		CHECK(!pace_begin(&p, turn++, true));
		pace_end(&p, 1);
	}
	CHECK(pace_begin(&p, turn++, true));
	pace_end(&p, 0); /* woken for nothing: says nothing */
	CHECK(pace_begin(&p, turn++, true));
	pace_end(&p, 2);
	CHECK(!pace_begin(&p, turn++, true));
}

static bool asks_to(struct calm *c, int64_t now, bool near)
{
	return calm_note(c, now, !near) && !calm_note(c, now, !near) && calm_decide(c, now) && atomic_load(&c->near) == near;
}

static void calm_is_near(void)
{
	int64_t t = 1000 * NS_PER_S, wait = CALM_NS;
	struct calm c;

	calm_reset(&c, t);
	CHECK(!calm_note(&c, t + wait - 1, false));
	CHECK(asks_to(&c, t += wait, true));
	CHECK(!calm_note(&c, t + 1, false));
	for (int i = 0; i < 10; i++) { /* each time it does not last, it takes longer */
		CHECK(asks_to(&c, t += 10 * NS_PER_MS, false));
		wait = MIN(2 * wait, CALM_MAX_NS);
		CHECK(!calm_note(&c, t + wait - 1, false));
		CHECK(asks_to(&c, t += wait, true));
	}
	CHECK_INT(wait, CALM_MAX_NS);
	CHECK(asks_to(&c, t += CALM_LASTED_NS, false)); /* it has lasted */
	CHECK(!calm_note(&c, t += CALM_NS - 1, true));
	CHECK(!calm_note(&c, t + 1, false)); /* not while it is crowded */
	CHECK(asks_to(&c, t += CALM_NS, true));
}

static void padding_crosses_no_mtu(void)
{
	struct mtus none = { 0 }, some = { .of = { 1280, 1299, 1420 } };

	CHECK_INT(padded_len(1299, &none), 1312);
	CHECK_INT(padded_len(84, &some), 96);
	CHECK_INT(padded_len(1265, &some), 1280);
	CHECK_INT(padded_len(1281, &some), 1296);
	CHECK_INT(padded_len(1297, &some), 1299);
	CHECK_INT(padded_len(1300, &some), 1312);
	CHECK_INT(padded_len(1419, &some), 1420);
	CHECK_INT(padded_len(1421, &some), 1424); /* the interface has just become smaller */
	for (unsigned i = 0; i < MTUS_MAX; i++)
		some.of[i] = 100 + i;
	CHECK_INT(padded_len(106, &some), 106);
	CHECK_INT(padded_len(200, &some), 208);
}

int main(void)
{
	if (crypto_init() < 0)
		return 1;
	RUN(replay_edges);
	RUN(replay_against_model);
	RUN(replay_goes_on_elsewhere);
	RUN(allowedips_against_model);
	RUN(qsbr_waits_for_readers);
	RUN(indexes);
	RUN(ratelimit);
	RUN(pace_of_packets);
	RUN(calm_is_near);
	RUN(padding_crosses_no_mtu);
	return test_end();
}
