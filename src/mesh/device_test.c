/* SPDX-License-Identifier: Apache-2.0 */
/* The difference of two devices, and the two languages in which it is said. */
#include "base/test.h"
#include "mesh/genl.h"
#include "mesh/uapi.h"

#include <linux/genetlink.h>
#include <linux/wireguard.h>

enum { NOW = 1000000 };

static struct prefix P(const char *text)
{
	struct prefix p;

	if (prefix_parse(text, &p, NULL) < 0)
		abort();
	return p;
}

static struct mesh_peer *add(struct mesh_device *d, uint8_t key, const char *endpoint, const char *allowed)
{
	uint8_t bytes[MESH_KEY] = {key};
	struct mesh_peer *p = mesh_device_add(d, bytes);

	if (endpoint && addr_port_parse(endpoint, &p->endpoint, &p->port) < 0)
		abort();
	if (allowed) {
		struct prefix one = P(allowed);

		mesh_peer_allow(p, &one);
	}
	return p;
}

static const struct mesh_peer *find(const struct mesh_device *d, uint8_t key)
{
	uint8_t bytes[MESH_KEY] = {key};

	return mesh_device_find(d, bytes);
}

/* What an engine does, naively: one owner a prefix. */
static void apply(struct mesh_device *d, const struct mesh_change *c)
{
	for (size_t i = 0; i < c->n_steps; i++) {
		const struct mesh_step *s = &c->steps[i];
		struct mesh_peer *p = NULL;

		for (size_t k = 0; k < d->n_peers; k++)
			if (memcmp(d->peers[k].key, s->key, MESH_KEY) == 0)
				p = &d->peers[k];
		if (s->remove && p) {
			free(p->allowed);
			*p = d->peers[--d->n_peers];
			for (size_t k = 0; k < d->n_peers; k++)
				d->peers[k].has_predecessor &= memcmp(d->peers[k].predecessor, s->key, MESH_KEY) != 0;
			continue;
		}
		if (!p && !s->create)
			continue;
		p = p ? p : mesh_device_add(d, s->key);
		if (s->set_endpoint) {
			p->endpoint = s->endpoint;
			p->port = s->port;
		}
		if (s->set_keepalive)
			p->keepalive_s = s->keepalive_s;
		p->has_psk &= !s->clear_psk;
		for (size_t a = 0; a < s->n_add + s->n_take; a++) {
			const struct prefix *prefix = a < s->n_add ? &s->add[a] : &s->take[a - s->n_add];

			for (size_t k = 0; k < d->n_peers; k++)
				for (size_t x = 0; x < d->peers[k].n_allowed; x++)
					if (prefix_eq(&d->peers[k].allowed[x], prefix))
						d->peers[k].allowed[x--] = d->peers[k].allowed[--d->peers[k].n_allowed];
			if (a < s->n_add)
				mesh_peer_allow(p, prefix);
		}
	}
	if (c->set_key) {
		d->has_key = true;
		memcpy(d->key, c->key, MESH_KEY);
	}
	if (c->set_port)
		d->port = c->port;
	mesh_device_sort(d);
}

static void random_device(struct mesh_device *d, unsigned *seed)
{
	for (uint8_t key = 1; key < 7; key++) {
		struct mesh_peer *p;

		if (rand_r(seed) % 3 == 0)
			continue;
		p = add(d, key, rand_r(seed) % 2 ? "10.0.0.1:1" : "[fd00::1]:2", NULL);
		p->keepalive_s = rand_r(seed) % 3;
	}
	for (int i = 0; i < 8 && d->n_peers; i++) { /* each prefix has one owner */
		struct prefix prefix;
		char text[64];

		snprintf(text, sizeof(text), i % 2 ? "10.0.%d.0/24" : "fd00:%d::/64", i);
		prefix = P(text);
		if (rand_r(seed) % 4)
			mesh_peer_allow(&d->peers[rand_r(seed) % d->n_peers], &prefix);
	}
	d->port = rand_r(seed) % 2;
	mesh_device_sort(d);
}

/* What nobody of us says, or takes back by itself. */
static void random_hand(struct mesh_device *d, unsigned *seed)
{
	for (size_t i = 0; i < d->n_peers; i++) {
		size_t other = rand_r(seed) % d->n_peers;

		d->peers[i].has_psk = rand_r(seed) % 2;
		d->peers[i].has_predecessor = other != i && rand_r(seed) % 4 == 0;
		memcpy(d->peers[i].predecessor, d->peers[other].key, MESH_KEY);
	}
}

static bool same(const struct mesh_device *a, const struct mesh_device *b)
{
	bool eq = a->n_peers == b->n_peers && a->port == b->port;

	for (size_t i = 0; eq && i < a->n_peers; i++)
		eq = memcmp(a->peers[i].key, b->peers[i].key, MESH_KEY) == 0 && a->peers[i].keepalive_s == b->peers[i].keepalive_s &&
		     a->peers[i].has_psk == b->peers[i].has_psk && a->peers[i].has_predecessor == b->peers[i].has_predecessor &&
		     a->peers[i].n_allowed == b->peers[i].n_allowed &&
		     (a->peers[i].n_allowed == 0 ||
		      memcmp(a->peers[i].allowed, b->peers[i].allowed, a->peers[i].n_allowed * sizeof(struct prefix)) == 0) &&
		     addr_eq(&a->peers[i].endpoint, &b->peers[i].endpoint);
	return eq;
}

static void the_difference_leads_from_any_device_to_any(void)
{
	unsigned seed = 1;

	for (int i = 0; i < 2000; i++) {
		struct mesh_device have = {0}, want = {0};
		struct mesh_change c;

		random_device(&have, &seed);
		random_hand(&have, &seed);
		random_device(&want, &seed);
		mesh_diff(&have, &want, NOW, &c);
		apply(&have, &c);
		mesh_change_done(&c);
		CHECK(same(&have, &want));
		mesh_diff(&have, &want, NOW, &c);
		CHECK(mesh_change_is_empty(&c));
		mesh_change_done(&c);
		mesh_device_done(&have);
		mesh_device_done(&want);
	}
}

static void a_prefix_that_moves_has_an_owner_at_each_step(void)
{
	struct mesh_device have = {0}, want = {0};
	struct mesh_change c;

	add(&have, 1, NULL, "10.0.0.0/24");
	add(&have, 2, NULL, NULL);
	add(&want, 2, NULL, "10.0.0.0/24");
	mesh_diff(&have, &want, NOW, &c);
	CHECK_INT(c.n_steps, 2);
	CHECK(c.steps[0].key[0] == 2 && c.steps[0].n_add == 1 && !c.steps[0].create);
	CHECK(c.steps[1].key[0] == 1 && c.steps[1].remove);
	mesh_change_done(&c);
	mesh_device_done(&have);
	mesh_device_done(&want);
}

static void a_peer_that_roamed_stays_where_it_was_heard(void)
{
	static const struct {
		int64_t handshake;
		bool told;
	} cases[] = {{NOW - 10, false}, {NOW - 179, false}, {NOW - 181, true}, {0, true}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct mesh_device have = {0}, want = {0};
		struct mesh_change c;

		add(&have, 1, "192.0.2.9:999", NULL)->handshake_s = cases[i].handshake;
		add(&want, 1, "10.0.0.1:51820", NULL);
		mesh_diff(&have, &want, NOW, &c);
		CHECK((c.n_steps == 1 && c.steps[0].set_endpoint) == cases[i].told);
		mesh_change_done(&c);
		mesh_device_done(&have);
		mesh_device_done(&want);
	}
}

static void a_successor_takes_over_when_it_was_heard(void)
{
	struct mesh_device have = {0}, want = {0};
	struct mesh_change c;
	struct mesh_peer *old;

	add(&have, 1, NULL, "10.0.0.0/24");
	add(&have, 2, NULL, NULL);
	old = add(&want, 1, NULL, "10.0.0.0/24");
	old->has_successor = true;
	old->successor[0] = 2;
	add(&want, 2, NULL, NULL);
	mesh_diff(&have, &want, NOW, &c);
	CHECK(mesh_change_is_empty(&c));
	mesh_change_done(&c);
	have.peers[1].handshake_s = NOW;
	mesh_diff(&have, &want, NOW, &c);
	CHECK(c.n_steps == 1 && c.steps[0].key[0] == 2 && c.steps[0].n_add == 1);
	apply(&have, &c);
	mesh_change_done(&c);
	mesh_diff(&have, &want, NOW, &c);
	CHECK(mesh_change_is_empty(&c) && find(&have, 1)->n_allowed == 0);
	mesh_change_done(&c);
	mesh_device_done(&have);
	mesh_device_done(&want);
}

/* ---- UAPI ---- */

#define HEX0 "0000000000000000000000000000000000000000000000000000000000000000"
#define HEX1 "0100000000000000000000000000000000000000000000000000000000000000"
#define HEX2 "0200000000000000000000000000000000000000000000000000000000000000"

static void who_was_there_and_is_wanted_is_lost(void)
{
	static const uint8_t keys[4][MESH_KEY] = {{1}, {2}, {3}, {4}};
	struct mesh_device before = {0}, now = {0}, want = {0};
	struct mesh_step steps[2] = {{.key = {2}, .remove = true}, {.key = {1}, .create = true}};
	struct mesh_change change = {0};

	for (size_t i = 0; i < 4; i++)
		mesh_device_add(i < 3 ? &before : &now, keys[i]);
	for (size_t i = 1; i < 4; i++)
		mesh_device_add(&want, keys[i])->has_successor = i == 2;
	mesh_device_sort(&before);
	mesh_device_sort(&now);
	mesh_device_sort(&want);
	CHECK_INT(mesh_count_lost(&before, &now, &want), 1); /* 2; 1 is not wanted, 3 hands over, 4 is there */
	CHECK_INT(mesh_count_lost(&now, &before, &want), 1);
	CHECK_INT(mesh_count_lost(&now, &now, &want), 0);
	change.steps = steps;
	change.n_steps = 2;
	mesh_device_forget(&before, &change); /* 2 was taken away by us, and is wanted again */
	CHECK_INT(before.n_peers, 2);
	CHECK(mesh_device_find(&before, keys[0]) && !mesh_device_find(&before, keys[1]) && mesh_device_find(&before, keys[2]));
	CHECK_INT(mesh_count_lost(&before, &now, &want), 0);
	mesh_device_done(&before);
	mesh_device_done(&now);
	mesh_device_done(&want);
}

static void what_somebody_changed_is_counted(void)
{
	static const struct {
		const char *what;
		size_t alone, wrote; /* counted when nobody of us wrote, and when somebody did */
	} cases[] = {{"nothing", 0, 0}, {"keepalive", 1, 0}, {"gained", 1, 0}, {"lost", 1, 0}, {"psk", 1, 1}, {"twin", 1, 0}, {"stranger", 1, 0},
		     {"endpoint", 0, 0}, {"both", 2, 1}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct mesh_device want = {0}, now = {0}, none = {0};
		const char *what = cases[i].what;
		struct prefix more = P("10.9.0.0/24");

		for (uint8_t key = 1; key < 4; key++)
			add(&want, key, "10.0.0.1:1", "10.0.0.0/24")->allowed[0].addr.b[14] = key;
		mesh_device_copy(&want, &now);
		now.peers[0].keepalive_s = streq(what, "keepalive");
		if (streq(what, "gained"))
			mesh_peer_allow(&now.peers[0], &more);
		now.peers[0].n_allowed -= streq(what, "lost");
		now.peers[0].has_psk = streq(what, "psk") || streq(what, "both");
		now.peers[0].port += streq(what, "endpoint"); /* it may have roamed */
		now.peers[1].has_predecessor = streq(what, "twin");
		memcpy(now.peers[1].predecessor, now.peers[0].key, MESH_KEY);
		now.peers[1].keepalive_s = streq(what, "both");
		if (streq(what, "stranger"))
			add(&now, 9, NULL, NULL);
		CHECK_INT(mesh_count_changed(&want, &now, &want, true), cases[i].alone);
		CHECK_INT(mesh_count_changed(&want, &now, &want, false), cases[i].wrote);
		CHECK_INT(mesh_count_changed(&now, &now, &want, true), 0); /* once */
		CHECK_INT(mesh_count_changed(&none, &want, &want, true), 0); /* a new device */
		mesh_device_done(&now);
		mesh_device_done(&want);
	}
}

static void a_device_that_somebody_changed_is_told(void)
{
	struct mesh_device want = {.has_key = true, .port = 7}, now = want, other = want;

	CHECK(!mesh_was_changed(&want, &now, &want));
	now.mark = 1;
	other.key[31] = 1;
	CHECK(mesh_was_changed(&want, &now, &want) && mesh_was_changed(&want, &other, &want));
	CHECK(!mesh_was_changed(&now, &other, &want) && !mesh_was_changed(&now, &want, &want));
	now.mark = 0;
	now.port = 0;
	CHECK(mesh_was_changed(&want, &now, &want));
}

/* Two that may speak as each other, and no key is being changed. */
static void twins_that_nobody_wants_are_parted(void)
{
	struct mesh_device have = {0}, want = {0};
	struct mesh_change c;
	struct mesh_peer *heir;

	add(&have, 1, NULL, "10.0.1.0/24");
	heir = add(&have, 2, NULL, "10.0.2.0/24");
	heir->has_predecessor = true;
	heir->predecessor[0] = 1;
	mesh_device_copy(&have, &want);
	mesh_diff(&have, &want, NOW, &c);
	CHECK(mesh_change_is_empty(&c)); /* wanted */
	mesh_change_done(&c);
	want.peers[1].has_predecessor = false;
	mesh_diff(&have, &want, NOW, &c);
	CHECK(c.n_steps == 2 && c.steps[0].key[0] == 2 && c.steps[0].remove && c.steps[1].create && c.steps[1].n_add == 1);
	apply(&have, &c);
	CHECK(same(&have, &want));
	mesh_change_done(&c);
	mesh_device_done(&have);
	mesh_device_done(&want);
}

static void a_preshared_key_goes(void)
{
	struct mesh_device have = {0}, want = {0};
	static char message[MESH_GENL_MESSAGE];
	struct buf out = {0};
	struct mesh_change c;
	size_t next;

	add(&have, 1, NULL, NULL)->has_psk = true;
	add(&want, 1, NULL, NULL);
	mesh_diff(&have, &want, NOW, &c);
	mesh_uapi_format(&c, &out);
	CHECK_STR(out.data, "set=1\npublic_key=" HEX1 "\nupdate_only=true\npreshared_key=" HEX0 "\n\n");
	CHECK_INT(c.n_steps, 1);
	CHECK_INT(mesh_genl_parse(mesh_genl_set_peer(message, 30, 7, &c.steps[0], 0, &next), &have), 0); /* both directions use the same attributes */
	CHECK(have.n_peers == 1 && !have.peers[0].has_psk);
	buf_done(&out);
	mesh_change_done(&c);
	mesh_device_done(&have);
	mesh_device_done(&want);
}

static void of_two_that_meet_one_begins(void)
{
	struct mesh_device have = {0}, want;
	struct mesh_change c;

	for (int step = 0; step < 4; step++) {
		want = (struct mesh_device){0};
		add(&want, 1, "10.0.0.1:1", NULL)->begins = true;
		add(&want, 2, "10.0.0.2:1", NULL);
		if (step == 3)
			add(&want, 3, "10.0.0.3:1", NULL)->begins = true;
		for (size_t i = 0; i < want.n_peers; i++)
			want.peers[i].keepalive_s = 25;
		CHECK_INT(mesh_hold_back(&have, &want, step >= 2), step != 2);
		mesh_diff(&have, &want, NOW, &c);
		CHECK_INT(mesh_change_is_empty(&c), step == 1);
		apply(&have, &c);
		mesh_device_sort(&have);
		CHECK_INT(find(&have, 1)->keepalive_s, step < 2 ? 0 : 25); /* the later end begins if the other has not */
		CHECK_INT(find(&have, 2)->keepalive_s, 25);
		mesh_change_done(&c);
		mesh_device_done(&want);
	}
	CHECK_INT(find(&have, 3)->keepalive_s, 0);
	mesh_device_done(&have);
}

static void uapi_says_the_difference(void)
{
	struct mesh_device have = {0}, want = {.has_key = true, .port = 51820, .key = {1}};
	struct buf out = {0};
	struct mesh_change c;

	add(&have, 1, "10.0.0.1:1", "10.0.0.0/24");
	add(&have, 3, NULL, NULL);
	add(&want, 1, "10.0.0.1:1", "fd00::/64")->keepalive_s = 25;
	add(&want, 2, "[fd00::2]:7", NULL);
	mesh_diff(&have, &want, NOW, &c);
	mesh_uapi_format(&c, &out);
	CHECK_STR(out.data, "set=1\nprivate_key=" HEX1 "\nlisten_port=51820\n"
			    "public_key=" HEX1 "\nupdate_only=true\npersistent_keepalive_interval=25\nallowed_ip=fd00::/64\n"
			    "public_key=" HEX2 "\nendpoint=[fd00::2]:7\n"
			    "public_key=" HEX1 "\nupdate_only=true\nallowed_ip=-10.0.0.0/24\n"
			    "public_key=0300000000000000000000000000000000000000000000000000000000000000\nupdate_only=true\nremove=true\n\n");
	buf_done(&out);
	mesh_change_done(&c);
	mesh_device_done(&have);
	mesh_device_done(&want);
}

static void uapi_says_who_replaces_whom_once_both_are_there(void)
{
	struct mesh_device have = {0}, want = {0};
	struct mesh_peer *heir;
	struct mesh_change c;
	struct buf out = {0};

	add(&want, 1, NULL, NULL);
	heir = add(&want, 2, NULL, NULL);
	heir->has_predecessor = true;
	heir->predecessor[0] = 1;
	mesh_diff(&have, &want, NOW, &c);
	CHECK(c.n_steps == 2 && !c.steps[1].set_predecessor); /* an engine would not know whom it means */
	mesh_change_done(&c);
	add(&have, 1, NULL, NULL);
	add(&have, 2, NULL, NULL);
	mesh_diff(&have, &want, NOW, &c);
	mesh_uapi_format(&c, &out);
	CHECK_STR(out.data, "set=1\npublic_key=" HEX2 "\nupdate_only=true\nreplaces=" HEX1 "\n\n");
	mesh_change_done(&c);
	have.peers[1].has_predecessor = true;
	mesh_diff(&have, &want, NOW, &c);
	CHECK(mesh_change_is_empty(&c));
	mesh_change_done(&c);
	buf_done(&out);
	mesh_device_done(&have);
	mesh_device_done(&want);
}

static void uapi_answers(void)
{
	static const struct {
		const char *text;
		int r;
	} cases[] = {
	    {"errno=0\n", 0},
	    {"", -EINVAL},
	    {"errno=-22\n", -22},
	    {"errno=98\n", -98},
	    {"listen_port=70000\nerrno=0\n", -EINVAL},
	    {"private_key=00\nerrno=0\n", -EINVAL},
	    {"something_new=1\nerrno=0\n", 0},
	    {"public_key=" HEX1 "\nsomething_new=1\nerrno=0\n", 0},
	    {"public_key=" HEX1 "\nallowed_ip=10.0.0.1/24\nerrno=0\n", -EINVAL},
	    {"public_key=" HEX1 "\nendpoint=10.0.0.1\nerrno=0\n", -EINVAL},
	    {"public_key=" HEX1 "\nendpoint=[fe80::1%2]:7\nerrno=0\n", 0},
	    {"public_key=" HEX1 "\nendpoint=[fe80::1%eth0.7]:7\nerrno=0\n", 0},
	    {"public_key=" HEX1 "\nendpoint=[fe80::1%2:7\nerrno=0\n", -EINVAL},
	    {"public_key=" HEX1 "\nendpoint=fe80::1%2]:7\nerrno=0\n", -EINVAL},
	    {"public_key=" HEX1 "\nlast_handshake_time_sec=-1\nerrno=0\n", -EINVAL},
	    {"public_key=" HEX1 "\npreshared_key=00\nerrno=0\n", -EINVAL},
	    {"nonsense\nerrno=0\n", -EINVAL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct mesh_device d = {0};
		char text[512];

		snprintf(text, sizeof(text), "%s", cases[i].text);
		CHECK_INT(mesh_uapi_parse(text, &d), cases[i].r);
		mesh_device_done(&d);
	}
}

static void uapi_reads_a_device(void)
{
	char text[] = "private_key=" HEX2 "\nlisten_port=7\nfwmark=9\npublic_key=" HEX2 "\nendpoint=[fe80::1%2]:7\npreshared_key=" HEX0 "\npublic_key=" HEX1
		      "\npreshared_key=" HEX2 "\nprotocol_version=1\nendpoint=[fd00::1]:51820\nlast_handshake_time_sec=12\n"
		      "last_handshake_time_nsec=5\ntx_bytes=3\nrx_bytes=4\npersistent_keepalive_interval=25\n"
		      "allowed_ip=fd00::/64\nallowed_ip=10.0.0.0/24\nerrno=0\n";
	const struct mesh_peer *p;
	struct addr link_local;
	struct mesh_device d;

	CHECK_INT(mesh_uapi_parse(text, &d), 0);
	CHECK(!memmem(text, sizeof(text), "0200", 4)); /* secrets do not stay where they were read */
	CHECK(d.has_key && d.key[0] == 2 && d.port == 7 && d.mark == 9 && d.n_peers == 2);
	p = find(&d, 1);
	CHECK(p == d.peers && p->handshake_s == 12 && p->tx_bytes == 3 && p->rx_bytes == 4 && p->keepalive_s == 25);
	CHECK(p->n_allowed == 2 && p->port == 51820 && p->has_psk);
	p = find(&d, 2);
	CHECK(addr_parse("fe80::1", &link_local) == 0 && addr_eq(&p->endpoint, &link_local) && p->port == 7 && !p->has_psk);
	mesh_device_done(&d);
}

/* ---- generic netlink ---- */

static void genl_says_what_it_reads(void)
{
	static char buf[MESH_GENL_MESSAGE];
	struct mesh_device d = {0};
	struct mesh_step s = {.key = {5}, .create = true, .set_endpoint = true, .port = 51820, .set_keepalive = true, .keepalive_s = 25};
	struct prefix many[MESH_GENL_PREFIXES + 3];
	struct nlmsghdr *nlh;
	size_t next = 0;

	CHECK_INT(addr_parse("fd00::5", &s.endpoint), 0);
	for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
		char text[64];

		snprintf(text, sizeof(text), i % 2 ? "10.%zu.%zu.0/24" : "fd00:%zu:%zu::/64", i / 250, i % 250);
		many[i] = P(text);
	}
	many[0] = P("0.0.0.0/0");
	many[1] = P("::/0");
	s.add = many;
	s.n_add = ARRAY_SIZE(many);
	do {
		nlh = mesh_genl_set_peer(buf, 30, 7, &s, next, &next);
		CHECK(nlh->nlmsg_len <= sizeof(buf));
		CHECK_INT(mesh_genl_parse(nlh, &d), 0); /* both directions use the same attributes */
	} while (next);
	CHECK(d.n_peers == 1 && d.peers[0].n_allowed == ARRAY_SIZE(many) && d.peers[0].keepalive_s == 25 && d.peers[0].port == 51820);
	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		CHECK(prefix_eq(&d.peers[0].allowed[i], &many[i]));
	mesh_device_done(&d);
}

/* As the kernel says it. */
static void genl_reads_that_there_is_a_preshared_key(void)
{
	static char buf[MESH_GENL_MESSAGE];
	struct mesh_step s = {.key = {5}, .clear_psk = true};
	struct mesh_device d = {0};
	size_t next;
	struct nlmsghdr *nlh = mesh_genl_set_peer(buf, 30, 7, &s, 0, &next);
	char *key = memmem(buf, nlh->nlmsg_len, "\x24\0\2\0", 4); /* struct nlattr of WGPEER_A_PRESHARED_KEY */

	CHECK(key);
	if (!key)
		return;
	key[4 + 31] = 1;
	CHECK_INT(mesh_genl_parse(nlh, &d), 0);
	CHECK(d.n_peers == 1 && d.peers[0].has_psk);
	mesh_device_done(&d);
}

static void genl_refuses_what_is_cut_off(void)
{
	static char buf[MESH_GENL_MESSAGE], cut[MESH_GENL_MESSAGE];
	struct prefix one = P("10.0.0.0/24");
	struct mesh_step s = {.key = {5}, .create = true, .add = &one, .n_add = 1};
	size_t next;
	struct nlmsghdr *nlh = mesh_genl_set_peer(buf, 30, 7, &s, 0, &next);
	uint32_t len = nlh->nlmsg_len;

	for (uint32_t n = NLMSG_HDRLEN; n < len; n++) {
		struct mesh_device d = {0};

		memcpy(cut, buf, len);
		((struct nlmsghdr *)cut)->nlmsg_len = n;
		(void)mesh_genl_parse((struct nlmsghdr *)cut, &d); /* whatever it says, it stays inside */
		mesh_device_done(&d);
	}
}

int main(void)
{
	RUN(the_difference_leads_from_any_device_to_any);
	RUN(a_prefix_that_moves_has_an_owner_at_each_step);
	RUN(a_peer_that_roamed_stays_where_it_was_heard);
	RUN(a_successor_takes_over_when_it_was_heard);
	RUN(who_was_there_and_is_wanted_is_lost);
	RUN(what_somebody_changed_is_counted);
	RUN(a_device_that_somebody_changed_is_told);
	RUN(twins_that_nobody_wants_are_parted);
	RUN(a_preshared_key_goes);
	RUN(of_two_that_meet_one_begins);
	RUN(uapi_says_the_difference);
	RUN(uapi_says_who_replaces_whom_once_both_are_there);
	RUN(uapi_answers);
	RUN(uapi_reads_a_device);
	RUN(genl_says_what_it_reads);
	RUN(genl_reads_that_there_is_a_preshared_key);
	RUN(genl_refuses_what_is_cut_off);
	return test_end();
}
