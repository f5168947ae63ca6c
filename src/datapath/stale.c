/* SPDX-License-Identifier: Apache-2.0 */
/* The node's own connected UDP sockets whose endpoint is gone: an iterator names them (bpf/stale.bpf.c), and they are aborted, so that
 * their owners connect anew, to an endpoint that serves. A socket is meant only where all of it agrees: it has our mark, is connected,
 * in this namespace, and its peer is still the endpoint that we gave it. */
#include "datapath/service_internal.h"
#include "net/udp_diag.h"

#include <unistd.h>

enum { STALE_MAX = 65536 }; /* in one turn; who is left comes with the next */

struct stale_list {
	struct service_stale *list;
	size_t n;
};

static int compare_cookie(const void *a, const void *b)
{
	const struct service_stale *x = a, *y = b;

	return (x->cookie > y->cookie) - (x->cookie < y->cookie);
}

static bool is_meant(const struct udp_peer *peer, void *ctx)
{
	const struct stale_list *l = ctx;
	struct service_stale key = { .cookie = peer->cookie }, *s = bsearch(&key, l->list, l->n, sizeof(key), compare_cookie);

	return s && ntohs(s->pair.backend_port) == peer->port && memcmp(&s->pair.backend, &peer->addr, sizeof(peer->addr)) == 0;
}

/* Reads to the end what the iterator says. A read may end within an entry. */
static int read_all(int iter, struct stale_list *l)
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

static int find_stale(struct datapath *dp, struct stale_list *l)
{
	_cleanup_close_ int iter = bpf_iter_create(bpf_link__fd(dp->stale_link));
	int r = iter < 0 ? iter : read_all(iter, l);

	if (r == 0)
		qsort(l->list, l->n, sizeof(*l->list), compare_cookie);
	return r;
}

int datapath_abort_stale(struct datapath *dp)
{
	struct services *s = dp->services;
	struct stale_list l = {};
	int r;

	if (!s || !s->udp_left || !dp->stale_link)
		return 0;
	r = find_stale(dp, &l);
	if (r == 0 && l.n)
		r = udp_abort(is_meant, &l);
	free(l.list);
	s->udp_left = r < 0; /* once more with the next change */
	s->aborted += MAX(r, 0);
	return r;
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
