/* SPDX-License-Identifier: Apache-2.0 */
/* Rtnetlink tells about links of our own namespace only. An interface that was moved away (the WireGuard way to give a
 * container nothing but the tunnel) is asked through its descriptor, once a second, until it comes back. Its index may be a stranger's
 * meanwhile. */
#include "wg/link.h"

#include "base/log.h"
#include "wg/engine.h"
#include "wg/routes.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#define POLL_USEC (1000 * 1000)

struct link {
	struct engine *engine;
	struct mnl_socket *nl;
	bool news; /* while the interface is away: of some link here, which may be ours */
	sd_event_source *io, *poll;
};

static int ask(struct link *l)
{
	uint8_t buf[128];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *info;

	nlh->nlmsg_type = RTM_GETLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	info = mnl_nlmsg_put_extra_header(nlh, sizeof(*info));
	info->ifi_index = l->engine->ifindex;
	return mnl_socket_sendto(l->nl, nlh, nlh->nlmsg_len) < 0 ? -errno : 0;
}

static int come_home(struct link *l, unsigned ifindex)
{
	log_info("the interface is back", L_STR("interface", l->engine->tun.name));
	engine_set_ifindex(l->engine, ifindex);
	return ask(l);
}

static int on_poll(sd_event_source *s, uint64_t usec, void *ctx)
{
	struct link *l = ctx;
	int r = tun_is_up(&l->engine->tun), ifindex = l->news ? tun_ifindex(&l->engine->tun) : 0; /* which takes the kernel's lock of all links */

	l->news = false;
	if (r < 0 || ifindex < 0)
		return sd_event_exit(l->engine->event, 0);
	engine_set_link(l->engine, r, 0);
	if (ifindex)
		return come_home(l, ifindex);
	(void)sd_event_source_set_time(s, usec + POLL_USEC);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static int start_polling(struct link *l)
{
	if (l->poll)
		return sd_event_source_set_enabled(l->poll, SD_EVENT_ONESHOT);
	return sd_event_add_time_relative(l->engine->event, &l->poll, CLOCK_MONOTONIC, 0, 1000, on_poll, l);
}

static void on_link_gone(struct link *l)
{
	if (tun_ifindex(&l->engine->tun) >= 0 && tun_is_up(&l->engine->tun) >= 0) {
		log_info("the interface was moved to another network namespace",
			 L_STR("interface", l->engine->tun.name));
		engine_set_ifindex(l->engine, 0);
		(void)start_polling(l);
	} else {
		log_info("the interface is gone", L_STR("interface", l->engine->tun.name));
		(void)sd_event_exit(l->engine->event, 0);
	}
}

static int on_message(const struct nlmsghdr *nlh, void *ctx)
{
	struct link *l = ctx;
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr;
	uint32_t mtu = 0;

	l->news |= nlh->nlmsg_type == RTM_NEWLINK;
	if ((nlh->nlmsg_type != RTM_NEWLINK && nlh->nlmsg_type != RTM_DELLINK) ||
	    mnl_nlmsg_get_payload_len(nlh) < sizeof(*info) || info->ifi_index != (int)l->engine->ifindex)
		return MNL_CB_OK;
	if (nlh->nlmsg_type == RTM_DELLINK) {
		on_link_gone(l);
		return MNL_CB_OK;
	}
	mnl_attr_for_each(attr, nlh, sizeof(*info)) {
		if (mnl_attr_get_type(attr) == IFLA_MTU && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
			mtu = mnl_attr_get_u32(attr);
	}
	engine_set_link(l->engine, info->ifi_flags & IFF_UP, mtu);
	return MNL_CB_OK;
}

/* Something was said that nobody has heard. */
static int look_again(struct link *l)
{
	l->news = true;
	if (!l->engine->ifindex)
		return 0;
	if (tun_ifindex(&l->engine->tun) == (int)l->engine->ifindex)
		return ask(l);
	on_link_gone(l);
	return 0;
}

static int on_netlink(sd_event_source *s _unused_, int fd _unused_, uint32_t events _unused_, void *ctx)
{
	struct link *l = ctx;
	uint8_t buf[32768];
	ssize_t n = mnl_socket_recvfrom(l->nl, buf, sizeof(buf));

	if (n < 0)
		return errno == ENOBUFS ? look_again(l) : 0;
	(void)mnl_cb_run(buf, n, 0, 0, on_message, l);
	return 0;
}

int link_new(struct engine *e, struct link **ret)
{
	struct link *l = xnew0(struct link);
	int r;

	l->engine = e;
	*ret = l;
	l->nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!l->nl || mnl_socket_bind(l->nl, RTMGRP_LINK, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	r = sd_event_add_io(e->event, &l->io, mnl_socket_get_fd(l->nl), EPOLLIN, on_netlink, l);
	if (r < 0)
		return r;
	r = tun_ifindex(&e->tun); /* it is told about from now on */
	if (r < 0)
		return r;
	e->ifindex = r;
	return r ? ask(l) : start_polling(l); /* moved already, before a restart */
}

struct link *link_free(struct link *l)
{
	if (!l)
		return NULL;
	sd_event_source_unref(l->io);
	sd_event_source_unref(l->poll);
	if (l->nl)
		mnl_socket_close(l->nl);
	free(l);
	return NULL;
}
