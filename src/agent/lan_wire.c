/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/lan_wire.h"
#include "base/log.h"

#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { READS = 256, FRAME_READ_MAX = 256 /* options beyond are none of ours */, WIRES = 2 };

struct lan_wire {
	uint32_t ifindex;
	lan_heard_fn *fn;
	void *ctx;
	int fds[WIRES]; /* ARP, IPv6 */
	sd_event_source *io[WIRES];
};

/* Only who says that he has an address; who asks for one is the kernel's and the datapath's business. */
static int filter(int fd, uint16_t protocol)
{
	enum { OP = ETH_HLEN + 6, SENDER = ETH_HLEN + 14, TARGET = ETH_HLEN + 24, NEXT_HEADER = ETH_HLEN + 6, TYPE = ETH_HLEN + 40 };
	struct sock_filter arp[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, TARGET), BPF_STMT(BPF_MISC | BPF_TAX, 0), BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SENDER),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_X, 0, 2, 0), /* an announcement */
	    BPF_STMT(BPF_LD | BPF_H | BPF_ABS, OP),	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARPOP_REPLY, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, FRAME_READ_MAX),	BPF_STMT(BPF_RET | BPF_K, 0)};
	struct sock_filter nd[] = {
	    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, NEXT_HEADER), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_ICMPV6, 0, 3),
	    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TYPE),	     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ND_NEIGHBOR_ADVERT, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, FRAME_READ_MAX),	     BPF_STMT(BPF_RET | BPF_K, 0)};
	struct sock_fprog prog = {ARRAY_SIZE(arp), arp};

	if (protocol == ETH_P_IPV6)
		prog = (struct sock_fprog){ARRAY_SIZE(nd), nd};
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0 ? -errno : 0;
}

/* Bound only when the filter stands, so that nothing else is ever queued. */
static int open_socket(uint32_t ifindex, uint16_t protocol)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_ifindex = ifindex};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r = fd < 0 ? -errno : 0;

	if (r == 0)
		r = filter(fd, protocol);
	if (r == 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		r = -errno;
	if (r == 0)
		return fd;
	close_fd(fd);
	return r;
}

static void read_some(struct lan_wire *w, int fd)
{
	for (int i = 0; i < READS; i++) {
		struct sockaddr_ll from = {0};
		socklen_t from_len = sizeof(from);
		uint8_t frame[FRAME_READ_MAX];
		ssize_t len = recvfrom(fd, frame, sizeof(frame), 0, (struct sockaddr *)&from, &from_len);
		struct neighbour n;

		if (len < 0)
			return;
		if (from.sll_pkttype != PACKET_OUTGOING && neighbour_parse(frame, len, &n) == 0)
			w->fn(&n, w->ctx);
	}
}

static int on_readable(_unused_ sd_event_source *s, int fd, _unused_ uint32_t revents, void *ctx)
{
	read_some(ctx, fd);
	return 0;
}

void lan_wire_drain(struct lan_wire *w)
{
	for (int i = 0; i < WIRES; i++)
		read_some(w, w->fds[i]);
}

int lan_wire_new(sd_event *event, uint32_t ifindex, lan_heard_fn *fn, void *ctx, struct lan_wire **ret)
{
	static const uint16_t protocols[WIRES] = {ETH_P_ARP, ETH_P_IPV6};
	struct lan_wire *w = xnew0(struct lan_wire);
	int r = 0;

	*w = (struct lan_wire){.ifindex = ifindex, .fn = fn, .ctx = ctx, .fds = {-1, -1}};
	for (int i = 0; i < WIRES && r >= 0; i++) {
		r = w->fds[i] = open_socket(ifindex, protocols[i]);
		if (r >= 0)
			r = sd_event_add_io(event, &w->io[i], w->fds[i], EPOLLIN, on_readable, w);
	}
	if (r < 0) {
		lan_wire_free(w);
		return r;
	}
	*ret = w;
	return 0;
}

struct lan_wire *lan_wire_free(struct lan_wire *w)
{
	if (!w)
		return NULL;
	for (int i = 0; i < WIRES; i++) {
		sd_event_source_disable_unref(w->io[i]);
		close_fd(w->fds[i]);
	}
	free(w);
	return NULL;
}

void lan_wire_send(struct lan_wire *w, const struct neighbour *n, const uint8_t *to)
{
	uint8_t frame[NEIGHBOUR_FRAME_MAX];
	size_t len = neighbour_encode(n, to, frame);

	if (send(w->fds[!addr_is_v4(&n->about)], frame, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("cannot send to the local network", L_UINT("interface", w->ifindex), L_ERRNO(-errno));
}

void lan_wire_join(struct lan_wire *w, const struct addr *about, bool on)
{
	struct ifreq req = {.ifr_hwaddr.sa_family = AF_UNSPEC};
	struct addr group;

	if (addr_is_v4(about) || !if_indextoname(w->ifindex, req.ifr_name))
		return;
	neighbour_group(about, &group, (uint8_t *)req.ifr_hwaddr.sa_data);
	if (ioctl(w->fds[1], on ? SIOCADDMULTI : SIOCDELMULTI, &req) < 0 && errno != EEXIST && errno != ENOENT)
		log_warn("the interface may not see who asks for an address of a Service", L_STR("interface", req.ifr_name), L_ERRNO(-errno));
}
