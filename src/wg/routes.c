/* SPDX-License-Identifier: Apache-2.0 */
/* Two things: by which interface a peer's datagrams leave, and the MTUs of routes through our own interface, beyond which nothing is to be
 * padded. Whatever the kernel says about routes, rules, addresses and links means the same here: look again. A machine may have a great many
 * routes that change all the time, so after the first word the others stay unread for a while, which is the longer the more the last look
 * has cost. The socket may overflow meanwhile: it says nothing that one word has not said. */
#include "wg/routes.h"

#include "wg/engine.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

enum { LOOK_AFTER_USEC = 50 * 1000, REST_FACTOR = 20 };

struct routes {
	struct engine *engine;
	struct mnl_socket *news, *ask;
	bool strict;	  /* questions are taken at their word: from Linux 4.20 on */
	bool through;	  /* routes through it have changed, or may have */
	uint32_t seq;
	uint64_t rest_usec;
	sd_event_source *io, *timer;
};

static int on_news(sd_event_source *s, int fd _unused_, uint32_t events _unused_, void *ctx)
{
	struct routes *r = ctx;
	uint64_t now;

	(void)sd_event_source_set_enabled(s, SD_EVENT_OFF);
	(void)sd_event_now(r->engine->event, CLOCK_MONOTONIC, &now);
	(void)sd_event_source_set_time(r->timer, now + MAX(r->rest_usec, (uint64_t)LOOK_AFTER_USEC));
	return sd_event_source_set_enabled(r->timer, SD_EVENT_ONESHOT);
}

static int on_route(const struct nlmsghdr *nlh, void *ctx)
{
	const struct nlattr *attr;
	int *ret = ctx;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(struct rtmsg))
		return MNL_CB_OK;
	mnl_attr_for_each(attr, nlh, sizeof(struct rtmsg)) {
		if (mnl_attr_get_type(attr) == RTA_OIF && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
			*ret = mnl_attr_get_u32(attr);
	}
	return MNL_CB_OK;
}

/* The kernel answers before it returns: nothing is waited for. Return: 0 or -errno. */
static int question(struct routes *r, struct nlmsghdr *nlh, mnl_cb_t on_message, void *ctx)
{
	uint8_t buf[32768];
	ssize_t n;

	nlh->nlmsg_seq = ++r->seq;
	if (mnl_socket_sendto(r->ask, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	while ((n = recv(mnl_socket_get_fd(r->ask), buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		int err = mnl_cb_run(buf, n, nlh->nlmsg_seq, 0, on_message, ctx);

		if (err < 0 && errno != EPROTO) /* EPROTO: what is left of an answer of before */
			return -errno;
		if (err == MNL_CB_STOP)
			break;
	}
	return 0;
}

int routes_way_out(struct routes *r, const struct endpoint *to)
{
	bool v4 = to->to.sa.sa_family == AF_INET;
	uint8_t buf[256], proto = IPPROTO_UDP;
	uint16_t port = atomic_load(&r->engine->device.port);
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtmsg *rt;
	int ifindex = 0, err;

	nlh->nlmsg_type = RTM_GETROUTE;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));
	rt->rtm_family = to->to.sa.sa_family;
	rt->rtm_dst_len = rt->rtm_src_len = v4 ? 32 : 128;
	mnl_attr_put(nlh, RTA_DST, v4 ? 4 : 16, v4 ? (const void *)&to->to.in4.sin_addr : &to->to.in6.sin6_addr);
	mnl_attr_put(nlh, RTA_SRC, v4 ? 4 : 16, &to->from6);
	mnl_attr_put_u32(nlh, RTA_MARK, r->engine->fwmark);
	mnl_attr_put(nlh, RTA_IP_PROTO, sizeof(proto), &proto);
	mnl_attr_put(nlh, RTA_SPORT, sizeof(port), &port);
	mnl_attr_put(nlh, RTA_DPORT, sizeof(port), &to->to.in4.sin_port); /* at the same place for both families */
	err = question(r, nlh, on_route, &ifindex);
	return err < 0 ? err : ifindex ? ifindex : -ENOENT;
}

static void add_mtu(uint32_t mtus[static MTUS_MAX - 1], uint32_t mtu)
{
	for (unsigned i = 0; i < MTUS_MAX - 1; i++) {
		if (mtus[i] == mtu)
			return;
		if (!mtus[i]) {
			mtus[i] = mtu;
			return;
		}
	}
}

static int on_through(const struct nlmsghdr *nlh, void *ctx)
{
	const struct nlattr *attr, *metric;

	if (nlh->nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(nlh) < sizeof(struct rtmsg))
		return MNL_CB_OK;
	mnl_attr_for_each(attr, nlh, sizeof(struct rtmsg)) {
		if (mnl_attr_get_type(attr) != RTA_METRICS)
			continue;
		mnl_attr_for_each_nested(metric, attr)
			if (mnl_attr_get_type(metric) == RTAX_MTU && mnl_attr_validate(metric, MNL_TYPE_U32) >= 0 && mnl_attr_get_u32(metric))
				add_mtu(ctx, mnl_attr_get_u32(metric));
	}
	return MNL_CB_OK;
}

/* The kernel finds the routes through the interface, and tells only of those. */
static void find_mtus(struct routes *r, uint8_t family, uint32_t mtus[static MTUS_MAX - 1])
{
	uint8_t buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtmsg *rt;

	nlh->nlmsg_type = RTM_GETROUTE;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));
	rt->rtm_family = family;
	mnl_attr_put_u32(nlh, RTA_OIF, r->engine->ifindex);
	(void)question(r, nlh, on_through, mtus);
}

static void look(struct routes *r)
{
	uint32_t mtus[MTUS_MAX - 1] = { 0 };

	device_routes_changed(&r->engine->device);
	if (!r->through || !r->engine->ifindex || !r->strict)
		return;
	r->through = false;
	find_mtus(r, AF_INET, mtus);
	find_mtus(r, AF_INET6, mtus);
	engine_set_route_mtus(r->engine, mtus);
}

void routes_moved(struct routes *r)
{
	const uint32_t none[MTUS_MAX - 1] = { 0 };

	r->through = true;
	if (!r->engine->ifindex)
		engine_set_route_mtus(r->engine, none);
}

static int on_change(const struct nlmsghdr *nlh, void *ctx)
{
	struct routes *r = ctx;
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(nlh);
	int ifindex = 0;

	if (nlh->nlmsg_type == RTM_NEWLINK && mnl_nlmsg_get_payload_len(nlh) >= sizeof(*info))
		ifindex = info->ifi_index;
	else if (nlh->nlmsg_type == RTM_NEWROUTE || nlh->nlmsg_type == RTM_DELROUTE)
		(void)on_route(nlh, &ifindex);
	r->through |= (unsigned)ifindex == r->engine->ifindex;
	return MNL_CB_OK;
}

static void drain(struct routes *r)
{
	uint8_t buf[32768];
	ssize_t n;

	while ((n = recv(mnl_socket_get_fd(r->news), buf, sizeof(buf), MSG_DONTWAIT)) >= 0 || errno == ENOBUFS) {
		if (n >= 0)
			(void)mnl_cb_run(buf, n, 0, 0, on_change, r);
		else
			r->through = true;
	}
}

static int on_look(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	struct routes *r = ctx;
	int64_t began = clock_now();

	drain(r); /* before the look: what is said from now on is looked at again */
	engine_kick(r->engine);
	look(r);
	r->rest_usec = (clock_now() - began) / 1000 * REST_FACTOR;
	return sd_event_source_set_enabled(r->io, SD_EVENT_ON);
}

static int open_socket(unsigned groups, struct mnl_socket **ret)
{
	*ret = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	return !*ret || mnl_socket_bind(*ret, groups, MNL_SOCKET_AUTOPID) < 0 ? -errno : 0;
}

int routes_new(struct engine *e, struct routes **ret)
{
	const unsigned groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE |
				RTMGRP_IPV4_RULE | 1u << (RTNLGRP_IPV6_RULE - 1);
	struct routes *r = xnew0(struct routes);
	int err, on = 1;

	r->engine = e;
	*ret = r;
	r->through = true;
	err = open_socket(0, &r->ask);
	r->strict = err == 0 && mnl_socket_setsockopt(r->ask, NETLINK_GET_STRICT_CHK, &on, sizeof(on)) == 0;
	if (err == 0)
		err = open_socket(groups, &r->news);
	if (err == 0)
		err = sd_event_add_io(e->event, &r->io, mnl_socket_get_fd(r->news), EPOLLIN, on_news, r);
	if (err >= 0)
		err = sd_event_add_time(e->event, &r->timer, CLOCK_MONOTONIC, 0, 1000, on_look, r);
	if (err >= 0)
		err = sd_event_source_set_enabled(r->timer, SD_EVENT_OFF);
	if (err < 0)
		return err;
	look(r); /* routes may be older than we are, and a predecessor hands over peers */
	return 0;
}

struct routes *routes_free(struct routes *r)
{
	if (!r)
		return NULL;
	sd_event_source_unref(r->io);
	sd_event_source_unref(r->timer);
	if (r->news)
		mnl_socket_close(r->news);
	if (r->ask)
		mnl_socket_close(r->ask);
	free(r);
	return NULL;
}
