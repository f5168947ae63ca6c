/* SPDX-License-Identifier: Apache-2.0 */
#include "net/sock_diag.h"
#include "net/nl_query.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <unistd.h>

/* include/net/tcp_states.h; a connected UDP socket is ESTABLISHED */
enum { ESTABLISHED = 1, SYN_SENT = 2, FIN_WAIT1 = 4, FIN_WAIT2 = 5, CLOSE_WAIT = 8 };

struct meant {
	struct inet_diag_req_v2 *list;
	size_t n, cap;
	uint8_t proto;
	sock_is_meant_fn *is_meant;
	void *ctx;
};

int sock_diag_decode(const struct nlmsghdr *nlh, struct sock_peer *ret)
{
	const struct inet_diag_msg *s = mnl_nlmsg_get_payload(nlh);

	if (nlh->nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return -ENOMSG;
	if (nlh->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(*s) || (s->idiag_family != AF_INET && s->idiag_family != AF_INET6))
		return -EBADMSG;
	ret->cookie = s->id.idiag_cookie[0] | (uint64_t)s->id.idiag_cookie[1] << 32;
	ret->port = ntohs(s->id.idiag_dport);
	return addr_from_raw(s->id.idiag_dst, s->idiag_family == AF_INET ? 4 : 16, &ret->addr) < 0 ? -EBADMSG : 0;
}

/* What cannot be read is not meant. */
static int look_at_socket(const struct nlmsghdr *nlh, void *ctx)
{
	const struct inet_diag_msg *s = mnl_nlmsg_get_payload(nlh);
	struct sock_peer peer;
	struct meant *m = ctx;

	if (sock_diag_decode(nlh, &peer) < 0 || !m->is_meant(&peer, m->ctx))
		return 0;
	GROW(m->list, m->n, m->cap);
	m->list[m->n++] = (struct inet_diag_req_v2){.sdiag_family = s->idiag_family, .sdiag_protocol = m->proto, .id = s->id};
	return 0;
}

static int find_meant(int fd, uint8_t family, struct meant *m)
{
	uint32_t states = 1 << ESTABLISHED;
	struct inet_diag_req_v2 all = {.sdiag_family = family, .sdiag_protocol = m->proto};
	int r;

	if (m->proto == IPPROTO_TCP)
		states |= 1 << SYN_SENT | 1 << FIN_WAIT1 | 1 << FIN_WAIT2 | 1 << CLOSE_WAIT;
	all.idiag_states = states;
	r = nl_query_ask(fd, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &all, sizeof(all));
	return r < 0 ? r : nl_query_read(fd, look_at_socket, m);
}

/* Return: 1, 0 when it has gone by itself, -errno. */
static int abort_one(int fd, const struct inet_diag_req_v2 *s)
{
	int r = nl_query_ask(fd, SOCK_DESTROY, NLM_F_ACK, s, sizeof(*s));

	if (r == 0)
		r = nl_query_read(fd, NULL, NULL);
	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

int sock_abort(uint8_t proto, sock_is_meant_fn *is_meant, void *ctx)
{
	_cleanup_close_ int fd = nl_query_open(NETLINK_SOCK_DIAG, 0);
	struct meant m = {.proto = proto, .is_meant = is_meant, .ctx = ctx};
	int r = fd < 0 ? fd : find_meant(fd, AF_INET, &m), aborted = 0;

	if (r == 0)
		r = find_meant(fd, AF_INET6, &m);
	for (size_t i = 0; i < m.n && r >= 0; i++) {
		r = abort_one(fd, &m.list[i]);
		aborted += r > 0;
	}
	free(m.list);
	return r < 0 ? r : aborted;
}
