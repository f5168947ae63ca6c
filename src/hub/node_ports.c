/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/node_ports.h"

enum { BAND_MIN = 16, BAND_MAX = 128, BAND_SHARE = 32 };

void node_ports_init(struct node_ports *p, uint16_t first, uint16_t last)
{
	*p = (struct node_ports){.first = first, .last = last};
}

unsigned node_ports_protocol(const char *name)
{
	return streq(name, "UDP") ? 1 : streq(name, "SCTP") ? 2 : 0;
}

static bool is_taken(const struct node_ports *p, unsigned protocol, uint16_t port)
{
	return p->taken[protocol][port / 64] >> (port % 64) & 1;
}

static bool is_wholly_free(const struct node_ports *p, unsigned protocol, uint16_t port)
{
	(void)protocol;
	for (unsigned i = 0; i < NODE_PORT_PROTOCOLS; i++)
		if (is_taken(p, i, port))
			return false;
	return true;
}

static bool is_free(const struct node_ports *p, unsigned protocol, uint16_t port)
{
	return !is_taken(p, protocol, port);
}

int node_ports_claim(struct node_ports *p, unsigned protocol, uint16_t port)
{
	if (port < p->first || port > p->last)
		return -ERANGE;
	if (is_taken(p, protocol, port))
		return -EEXIST;
	p->taken[protocol][port / 64] |= 1ull << (port % 64);
	return 0;
}

/* How many of the lowest ports are left to people's own choice, while there are others. */
static unsigned band(const struct node_ports *p)
{
	unsigned n = p->last - p->first + 1;
	unsigned share = MAX(n / BAND_SHARE, (unsigned)BAND_MIN);

	return n < BAND_MIN ? 0 : MIN(share, (unsigned)BAND_MAX);
}

static bool search(struct node_ports *p, unsigned protocol, unsigned first, unsigned last,
		   bool (*fits)(const struct node_ports *, unsigned, uint16_t), uint16_t *ret)
{
	unsigned n = last + 1 - first, start = p->next >= first && p->next <= last ? p->next - first : 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned port = first + (start + i) % n;

		if (fits(p, protocol, port)) {
			*ret = port;
			return true;
		}
	}
	return false;
}

int node_ports_take(struct node_ports *p, unsigned protocol, uint16_t *ret)
{
	unsigned split = p->first + band(p);
	uint16_t port;

	if (split > p->last) /* all of it is the lower part */
		split = p->first;
	if (!search(p, protocol, split, p->last, is_wholly_free, &port) &&
	    !search(p, protocol, p->first, p->last, is_wholly_free, &port) &&
	    !search(p, protocol, p->first, p->last, is_free, &port))
		return -ENOSPC;
	p->next = port + 1;
	*ret = port;
	return node_ports_claim(p, protocol, port);
}

void node_ports_return(struct node_ports *p, unsigned protocol, uint16_t port)
{
	p->taken[protocol][port / 64] &= ~(1ull << (port % 64));
}
