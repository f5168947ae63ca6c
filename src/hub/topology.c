/* SPDX-License-Identifier: Apache-2.0 */
/* From the beginning: every endpoint is for its own zone; zones that have more than their share give to those that have less, while it makes the
 * shares truer by half an endpoint; then whoever has less than the minimum is given the rest of it. Which of a zone's endpoints are given is decided
 * by the hints that there are, so that few change. What lies in a zone that has no share (its nodes are not ready, or of the control plane) is given
 * away whole. */
#include "hub/topology.h"
#include "base/str.h"
#include "hub/object.h"

#define LABEL_ZONE "topology.kubernetes.io/zone"

enum { CPU_MAX = 1 << 20 }; /* of a node: sums and products stay within their types */

const char *topology_why_text(enum topology_why why)
{
	static const char *const texts[] = {
	    [TOPOLOGY_OK] = "endpoints are shared out among zones",
	    [TOPOLOGY_NODES] = "a node has no zone or does not say how many CPUs pods may use",
	    [TOPOLOGY_ONE_ZONE] = "fewer than two zones have ready nodes",
	    [TOPOLOGY_FEW] = "there are fewer ready endpoints than zones",
	    [TOPOLOGY_OVERLOAD] = "the endpoints cannot be shared out so that none is overloaded",
	    [TOPOLOGY_NO_ZONE] = "the node of an endpoint has no zone",
	};

	return texts[why];
}

/* ---- nodes ---- */

/* A quantity of CPUs in thousandths, 0 when it is none. */
static uint64_t parse_cpu(const char *text)
{
	static const struct {
		const char *suffix;
		double factor;
	} suffixes[] = {{"", 1},    {"m", 1e-3}, {"u", 1e-6}, {"n", 1e-9}, {"k", 1e3},	 {"M", 1e6},
			{"G", 1e9}, {"T", 1e12}, {"P", 1e15}, {"E", 1e18}, {"Ki", 1024}, {"Mi", 1048576.0}};
	char *end;
	double v = strtod(text, &end);

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++)
		if (streq(end, suffixes[i].suffix) && end != text && v > 0)
			return MIN(v * suffixes[i].factor, (double)CPU_MAX) * 1000 + 1e-6;
	return 0;
}

static uint64_t cpu_of(const json_t *node)
{
	const json_t *v = json_at(node, "status", "allocatable", "cpu");

	if (json_is_number(v))
		return json_number_value(v) > 0 ? MIN(json_number_value(v), (double)CPU_MAX) * 1000 : 0;
	return parse_cpu(json_str_or(v, ""));
}

static const char *zone_of(const json_t *node)
{
	return json_str_or(json_at(node, "metadata", "labels", LABEL_ZONE), "");
}

/* Does its zone's share count it? */
static bool counts(const json_t *node)
{
	const json_t *labels = json_at(node, "metadata", "labels");

	return node && !json_object_get(labels, "node-role.kubernetes.io/control-plane") && !json_object_get(labels, "node-role.kubernetes.io/master") &&
	       streq(json_str_at(json_condition(node, "Ready"), "status"), "True");
}

bool topology_node_differs(const json_t *node, const json_t *other)
{
	if (counts(node) != counts(other))
		return true;
	return counts(node) && (cpu_of(node) != cpu_of(other) || !streq(zone_of(node), zone_of(other)));
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct topology_zone *)a)->name, ((const struct topology_zone *)b)->name);
}

/* Those of one name become one. */
static void merge(struct topology *t)
{
	size_t n = 0;

	if (t->n)
		qsort(t->zones, t->n, sizeof(*t->zones), by_name);
	for (size_t i = 0; i < t->n; i++) {
		if (n && streq(t->zones[n - 1].name, t->zones[i].name)) {
			t->zones[n - 1].cpu_m += t->zones[i].cpu_m;
			free(t->zones[i].name);
		} else {
			t->zones[n++] = t->zones[i];
		}
	}
	t->n = n;
}

void topology_read(const json_t *const *nodes, size_t n, struct topology *ret)
{
	struct topology t = {.zones = xnew0_array(struct topology_zone, n + 1)};

	for (size_t i = 0; i < n; i++) {
		uint64_t cpu_m = cpu_of(nodes[i]);

		if (!counts(nodes[i]))
			continue;
		if (!*zone_of(nodes[i]) || !cpu_m)
			t.why = TOPOLOGY_NODES;
		t.zones[t.n++] = (struct topology_zone){xstrdup(zone_of(nodes[i])), cpu_m};
		t.cpu_m += cpu_m;
	}
	merge(&t);
	if (t.why == TOPOLOGY_OK && t.n < 2)
		t.why = TOPOLOGY_ONE_ZONE;
	*ret = t;
}

bool topology_eq(const struct topology *a, const struct topology *b)
{
	if (a->n != b->n || a->why != b->why)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (a->zones[i].cpu_m != b->zones[i].cpu_m || !streq(a->zones[i].name, b->zones[i].name))
			return false;
	return true;
}

void topology_done(struct topology *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->zones[i].name);
	free(t->zones);
	*t = (struct topology){0};
}

/* ---- endpoints ---- */

enum { NOWHERE = -1 };

struct share {
	double desired;
	uint64_t min, have;
};

struct place {
	int own, was, to; /* zones, or NOWHERE */
	bool given;
};

/* So many of zone @from are for zone @to. */
struct gift {
	int from, to;
	size_t n;
};

struct allocation {
	const struct topology *t;
	struct share *shares; /* of the zones */
	struct place *places; /* of the endpoints */
	size_t n;
	struct gift *gifts;
	size_t n_gifts, cap_gifts;
};

static int find_zone(const struct topology *t, const char *name)
{
	const struct topology_zone key = {.name = (char *)name}, *z = name ? bsearch(&key, t->zones, t->n, sizeof(key), by_name) : NULL;

	return z ? z - t->zones : NOWHERE;
}

/* Return: false when the minima are more than there are. */
static bool set_shares(struct allocation *a)
{
	uint64_t total = 0;

	for (size_t z = 0; z < a->t->n; z++) {
		unsigned __int128 part = (unsigned __int128)a->t->zones[z].cpu_m * a->n * 10, whole = (unsigned __int128)a->t->cpu_m * 12;
		struct share *s = &a->shares[z];

		s->min = (part + whole - 1) / whole;
		s->desired = MAX((double)a->t->zones[z].cpu_m / a->t->cpu_m * a->n, (double)s->min);
		total += s->min;
	}
	return total <= a->n;
}

static double lacks(const struct share *s)
{
	return s->desired - s->have;
}

/* The zone that lacks most, or has most too many (@sign -1); of equal ones the first. */
static int most(const struct allocation *a, int sign, bool above_min)
{
	int best = NOWHERE;

	for (size_t z = 0; z < a->t->n; z++)
		if ((!above_min || a->shares[z].have > a->shares[z].min) &&
		    (best == NOWHERE || sign * lacks(&a->shares[z]) > sign * lacks(&a->shares[best])))
			best = z;
	return best;
}

static void place(struct allocation *a, struct place *p, int zone)
{
	if (p->to != NOWHERE)
		a->shares[p->to].have--;
	p->to = zone;
	a->shares[zone].have++;
}

/* Whoever has no home goes where there is most room, if not where it is. */
static void place_homeless(struct allocation *a)
{
	for (size_t i = 0; i < a->n; i++) {
		struct place *p = &a->places[i];

		if (p->to == NOWHERE)
			place(a, p, p->was != NOWHERE && lacks(&a->shares[p->was]) > 0 ? p->was : most(a, 1, false));
	}
}

static bool each_has_enough(const struct allocation *a)
{
	for (size_t z = 0; z < a->t->n; z++)
		if (a->shares[z].have < a->shares[z].min)
			return false;
	return true;
}

/* With the hints that there are; new endpoints are for their own zone. Return: are there any? */
static bool keep(struct allocation *a)
{
	bool any = false;

	for (size_t i = 0; i < a->n; i++) {
		struct place *p = &a->places[i];

		if (p->was != NOWHERE || p->own != NOWHERE)
			place(a, p, p->was != NOWHERE ? p->was : p->own);
		any |= p->was != NOWHERE;
	}
	place_homeless(a);
	for (size_t i = 0; i < a->n; i++) {
		struct place *p = &a->places[i];

		if (p->own != NOWHERE && p->to != p->own && lacks(&a->shares[p->own]) > 0 && lacks(&a->shares[p->to]) < 0)
			place(a, p, p->own);
	}
	return any;
}

static void give(struct allocation *a, int from, int to)
{
	a->shares[from].have--;
	a->shares[to].have++;
	for (size_t i = 0; i < a->n_gifts; i++)
		if (a->gifts[i].from == from && a->gifts[i].to == to) {
			a->gifts[i].n++;
			return;
		}
	GROW(a->gifts, a->n_gifts, a->cap_gifts);
	a->gifts[a->n_gifts++] = (struct gift){from, to, 1};
}

/* Whole endpoints only, and as upstream: while either side is off by one, the other by half. */
static void decide_gifts(struct allocation *a)
{
	for (;;) {
		int from = most(a, -1, false), to = most(a, 1, false);
		double many = -lacks(&a->shares[from]), few = lacks(&a->shares[to]);

		if (many < .5 || few < .5 || (many < 1 && few < 1))
			break;
		give(a, from, to);
	}
	for (size_t z = 0; z < a->t->n; z++)
		while (a->shares[z].have < a->shares[z].min) /* as the minima together are no more than there are, another has more than its own */
			give(a, most(a, -1, true), z);
}

/* Is it to be given now? First come those that are for the receiver already; in the end, those that a zone was given itself. */
enum turn { WERE, OWN, ANY };

static bool is_given(const struct place *p, const struct gift *g, enum turn turn)
{
	return g->n && g->from == p->to && (turn == ANY || (!p->given && (turn == OWN || g->to == p->was)));
}

/* Shares have been counted already. */
static void hand_over(struct allocation *a, enum turn turn)
{
	for (size_t i = 0; i < a->n; i++) {
		struct place *p = &a->places[i];

		for (size_t k = 0; k < a->n_gifts; k++) {
			struct gift *g = &a->gifts[k];

			if (!is_given(p, g, turn))
				continue;
			g->n--;
			p->to = g->to;
			p->given = true;
			break;
		}
	}
}

static void begin_again(struct allocation *a)
{
	for (size_t z = 0; z < a->t->n; z++)
		a->shares[z].have = 0;
	for (size_t i = 0; i < a->n; i++) {
		struct place *p = &a->places[i];

		p->to = NOWHERE;
		if (p->own != NOWHERE)
			place(a, p, p->own);
	}
	place_homeless(a);
	decide_gifts(a);
	for (int turn = WERE; turn <= ANY; turn++)
		hand_over(a, turn);
}

static enum topology_why share_out(struct allocation *a, struct topology_endpoint *e)
{
	for (size_t i = 0; i < a->n; i++) {
		if (!*e[i].zone)
			return TOPOLOGY_NO_ZONE;
		a->places[i] = (struct place){find_zone(a->t, e[i].zone), find_zone(a->t, e[i].was), NOWHERE, false};
	}
	if (!set_shares(a))
		return TOPOLOGY_OVERLOAD;
	if (!keep(a) || !each_has_enough(a))
		begin_again(a);
	for (size_t i = 0; i < a->n; i++)
		e[i].hint = a->t->zones[a->places[i].to].name;
	return TOPOLOGY_OK;
}

enum topology_why topology_allocate(const struct topology *t, struct topology_endpoint *e, size_t n)
{
	struct allocation a = {.t = t, .n = n};
	enum topology_why why;

	if (t->why != TOPOLOGY_OK)
		return t->why;
	if (n < t->n)
		return TOPOLOGY_FEW;
	a.shares = xnew0_array(struct share, t->n);
	a.places = xnew0_array(struct place, n);
	why = share_out(&a, e);
	free(a.shares);
	free(a.places);
	free(a.gifts);
	return why;
}
