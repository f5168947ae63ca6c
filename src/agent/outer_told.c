/* SPDX-License-Identifier: Apache-2.0 */
/* Routers' word that outer packets are too big, as it comes. The kernel hears it, too, and keeps it for what the tunnel's device and its own sockets send (of Geneve not: it
 * takes what is quoted for no VXLAN of its own); but it tells nobody, so without this pods would hear of it when the audit comes round. */
#include "agent/agent.h"
#include "agent/too_big.h"
#include "agent/transport.h"
#include "base/log.h"

#include <netinet/icmp6.h>

enum { AT_ONCE = 64, MESSAGE_MAX = 1280 };

static bool is_ours(const struct agent *a, const struct addr *from)
{
	for (size_t i = 0; i < a->facts.n_underlays; i++)
		if (addr_eq(&a->facts.underlays[i].addr, from))
			return true;
	return false;
}

/* Whoever can send here may forge it: only a known peer's path becomes narrower, never less than IPv6 needs. */
static void take(struct agent *a, const void *message, size_t size)
{
	struct too_big told;

	if (too_big_read(message, size, &told) < 0 || told.port != transport_port(&a->opt) || !is_ours(a, &told.from))
		return;
	a->outer.told++;
	if (outer_learn(a, &told.to, told.mtu))
		agent_mark_dirty(a, 0);
}

static int on_message(_unused_ sd_event_source *s, int fd, _unused_ uint32_t revents, void *ctx)
{
	char message[MESSAGE_MAX];

	for (int i = 0; i < AT_ONCE; i++) {
		ssize_t n = recv(fd, message, sizeof(message), 0);

		if (n < 0)
			return 0; /* all is read, or the next call tells */
		take(ctx, message, n);
	}
	return 0;
}

int outer_listen(struct agent *a)
{
	_cleanup_close_ int fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMPV6);
	struct icmp6_filter filter;
	int r;

	if (fd < 0)
		return errno == EAFNOSUPPORT ? 0 : -errno; /* a kernel without IPv6 */
	ICMP6_FILTER_SETBLOCKALL(&filter);
	ICMP6_FILTER_SETPASS(ICMP6_PACKET_TOO_BIG, &filter);
	if (setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof(filter)) < 0)
		return -errno;
	r = sd_event_add_io(a->event, &a->outer.told_events, fd, EPOLLIN, on_message, a);
	if (r < 0)
		return r;
	return sd_event_source_set_io_fd_own(a->outer.told_events, take_fd(fd));
}
