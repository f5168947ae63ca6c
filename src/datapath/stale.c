/* SPDX-License-Identifier: Apache-2.0 */
/* Connected sockets whose endpoint is gone: an iterator names them (bpf/stale.bpf.c), and they are aborted, so that their owners connect
 * anew, to an endpoint that serves. A socket is meant only where all of it agrees: it has our mark, is connected, in this namespace, and
 * its peer is still the endpoint that we gave it. */
#include "datapath/service_internal.h"
#include "net/sock_diag.h"

#include <unistd.h>

enum { STALE_MAX = 65536 }; /* in one turn; who is left comes with the next */

static int compare(const void *a, const void *b)
{
	const struct service_stale *x = a, *y = b;

	if (x->netns != y->netns)
		return x->netns < y->netns ? -1 : 1;
	return (x->cookie > y->cookie) - (x->cookie < y->cookie);
}

/* Reads to the end what the iterator says. A read may end within an entry. */
static int read_all(int iter, struct dp_stale *l)
{
	size_t got = 0, room = 64 * sizeof(*l->list);
	ssize_t n;

	l->list = xmalloc(room);
	while ((n = read(iter, (char *)l->list + got, room - got)) != 0) {
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return -errno;
		got += n;
		if (got == room && room >= STALE_MAX * sizeof(*l->list))
			break;
		if (got == room)
			l->list = xrealloc(l->list, room *= 2, 1);
	}
	l->n = got / sizeof(*l->list);
	return 0;
}

int datapath_find_stale(struct datapath *dp, struct dp_stale *ret)
{
	struct services *s = dp->services;
	_cleanup_close_ int iter = -1;
	struct dp_stale l = {};
	int r;

	*ret = l;
	if (!s || !s->left || !dp->stale_link)
		return 0;
	iter = bpf_iter_create(bpf_link__fd(dp->stale_link));
	r = iter < 0 ? iter : read_all(iter, &l);
	if (r < 0) {
		free(l.list);
		return r;
	}
	if (l.n)
		qsort(l.list, l.n, sizeof(*l.list), compare);
	s->left = l.n >= STALE_MAX;
	*ret = l;
	return 0;
}

void datapath_stale_remain(struct datapath *dp)
{
	if (dp->services)
		dp->services->left = true;
}

/* ---- one namespace of them ---- */

struct meant {
	const struct service_stale *list;
	size_t n;
	uint8_t proto;
};

static struct meant part_of(const struct dp_stale *stale, uint64_t netns)
{
	struct meant m = { .list = stale->list };

	while (m.list < stale->list + stale->n && m.list->netns < netns)
		m.list++;
	while (m.list + m.n < stale->list + stale->n && m.list[m.n].netns == netns)
		m.n++;
	return m;
}

bool dp_stale_has(const struct dp_stale *stale, uint64_t netns)
{
	return part_of(stale, netns).n > 0;
}

static bool is_meant(const struct sock_peer *peer, void *ctx)
{
	const struct meant *m = ctx;
	struct service_stale key = { .netns = m->list->netns, .cookie = peer->cookie };
	const struct service_stale *s = bsearch(&key, m->list, m->n, sizeof(key), compare);

	return s && s->proto == m->proto && ntohs(s->pair.backend_port) == peer->port &&
	       memcmp(&s->pair.backend, &peer->addr, sizeof(peer->addr)) == 0;
}

int datapath_abort_stale(struct datapath *dp, const struct dp_stale *stale, uint64_t netns)
{
	static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP };
	struct meant m = part_of(stale, netns);
	int n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(protos) && m.n; i++) {
		bool any = false;
		int r;

		m.proto = protos[i];
		for (size_t k = 0; k < m.n; k++)
			any |= m.list[k].proto == m.proto;
		r = any ? sock_abort(m.proto, is_meant, &m) : 0;
		if (r < 0)
			return r;
		n += r;
	}
	dp->services->aborted += n;
	return n;
}

/* A kernel that does not describe its types (BTF) has no iterators; nothing else needs them. */
int dp_start_stale(struct datapath *dp)
{
	LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	union bpf_iter_link_info info = {};

	info.map.map_fd = bpf_object__find_map_fd_by_name(dp->stale, "service_socks");
	opts.link_info = &info;
	opts.link_info_len = sizeof(info);
	dp->stale_link = bpf_program__attach_iter(bpf_object__find_program_by_name(dp->stale, "find_stale"), &opts);
	return dp->stale_link ? 0 : -errno;
}

void dp_close_stale(struct datapath *dp)
{
	bpf_link__destroy(dp->stale_link);
	bpf_object__close(dp->stale);
}
