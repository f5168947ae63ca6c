/* SPDX-License-Identifier: Apache-2.0 */
/* A thousand peers of one device that all change their keys at the same time, again and again, while each of them talks in
 * both directions: nothing is lost and nothing overtakes. Virtual time in steps of a tenth of a second. */
enum { CLIENTS = 1000 };
#define PAIR_NODES (CLIENTS + 1)

#include "base/test.h"
#include "wg/test_pair.h"

enum { HUB = 0, ROTATIONS = 2, SETTLED_S = 10 };

static struct pair p;
static struct peer *at_hub[PAIR_NODES];
static unsigned sent[PAIR_NODES][2]; /* to the hub, from the hub */

static void add_peer(struct node *n, const struct node *other, struct peer **ret, const char *fmt, int id)
{
	struct prefix range;
	struct addr host;
	char text[32];

	snprintf(text, sizeof(text), fmt, id >> 8, id & 255);
	CHECK_INT(prefix_parse(text, &range, &host), 0);
	*ret = device_add_peer(&n->device, other->device.identity.pub);
	allowedips_insert(&n->device.allowed, &range, *ret, &(*ret)->allowed);
}

/* The hub is 10.0.0.0; client i is 10.0.x.y. Clients know where the hub is. */
static void make_star(void)
{
	struct endpoint hub = pair_endpoint(HUB);
	uint8_t priv[KEY_LEN];

	p.now = 1000 * NS_PER_S;
	p.together = true; /* as an engine takes them that has so many peers */
	for (int i = 0; i < PAIR_NODES; i++) {
		memset(priv, 0x41, sizeof(priv));
		memcpy(priv + 8, &i, sizeof(i));
		pair_init_node(&p, i, priv);
		device_set_up(&p.n[i].device, true, p.now);
	}
	for (int i = 1; i < PAIR_NODES; i++) {
		add_peer(&p.n[HUB], &p.n[i], &at_hub[i], "10.0.%d.%d/32", i);
		add_peer(&p.n[i], &p.n[HUB], &p.n[i].peer, "10.0.%d.%d/32", HUB);
		peer_set_endpoint(p.n[i].peer, &hub);
	}
}

/* Each client sends once in two seconds, and the hub to it. */
static void tick(unsigned n)
{
	for (int i = 1; i < PAIR_NODES; i++) {
		if ((i + n) % 20)
			continue;
		pair_send_to(&p, i, HUB, ++sent[i][0]);
		if (n >= SETTLED_S * 10) /* before, the hub does not know where it is */
			pair_send_to(&p, HUB, i, ++sent[i][1]);
	}
	pair_settle(&p);
	p.now += NS_PER_S / 10;
}

static void W_7_a_thousand_peers_change_their_keys(void)
{
	unsigned to_hub = 0, ticks = (ROTATIONS * 120 + 2 * SETTLED_S) * 10;

	make_star();
	for (unsigned n = 0; n < ticks; n++)
		tick(n);
	pair_settle(&p);
	for (int i = 1; i < PAIR_NODES; i++) {
		CHECK_INT(p.n[i].delivered, sent[i][1]);
		CHECK_INT(p.n[i].in_order, true);
		CHECK(p.n[i].initiations + p.n[HUB].initiations / CLIENTS >= 1 + ROTATIONS);
		to_hub += sent[i][0];
	}
	CHECK_INT(p.n[HUB].delivered, to_hub);
	CHECK(p.n[HUB].device.stats.handshakes_completed >= (uint64_t)CLIENTS * (1 + ROTATIONS));
	CHECK_INT(p.n[HUB].device.stats.rate_limited, 0);
	printf("# %u packets to the hub, %llu handshakes\n", to_hub, (unsigned long long)p.n[HUB].device.stats.handshakes_completed);
}

int main(void)
{
	if (crypto_init() < 0)
		return 1;
	RUN(W_7_a_thousand_peers_change_their_keys);
	return test_end();
}
