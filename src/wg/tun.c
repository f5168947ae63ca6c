/* SPDX-License-Identifier: Apache-2.0 */
/* Offloads are asked for from most to least: what the kernel refuses is left out. UDP segmentation came with Linux 6.2;
 * its constants are not in older headers. */
#include "wg/tun.h"

#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef TUNGETDEVNETNS
#define TUNGETDEVNETNS _IO('T', 227)
#endif

static int try_offload(int fd, unsigned flags)
{
	return ioctl(fd, TUNSETOFFLOAD, flags) == 0 ? 0 : -errno;
}

static void set_offloads(struct tun *t, const struct features *want)
{
	const unsigned tso = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6, uso = TUN_F_USO4 | TUN_F_USO6;

	t->tso = t->uso = false;
	if (!t->vnet_hdr)
		return;
	if (want->tso && want->uso && try_offload(t->fds[0], tso | uso) == 0)
		t->tso = t->uso = true;
	else if (want->tso && try_offload(t->fds[0], tso) == 0)
		t->tso = true;
	else
		(void)try_offload(t->fds[0], 0); /* a kernel without any needs no telling */
}

static int attach(const char *name, short flags, char ret_name[static IF_NAMESIZE])
{
	struct ifreq ifr = { .ifr_flags = flags };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	memcpy(ret_name, ifr.ifr_name, IF_NAMESIZE);
	return fd;
}

int tun_open(const char *name, unsigned queues, const struct features *want, struct tun *ret)
{
	struct tun t = { .vnet_hdr = want->vnet_hdr, .created = if_nametoindex(name) == 0 };
	short flags = IFF_TUN | IFF_NO_PI | (want->vnet_hdr ? IFF_VNET_HDR : 0);
	int fd = attach(name, flags | IFF_MULTI_QUEUE, t.name);

	if (fd == -EINVAL && !t.created) { /* it exists with a single queue */
		queues = 1;
		fd = attach(name, flags, t.name);
	}
	if (fd < 0)
		return fd;
	t.fds[t.n++] = fd;
	while (t.n < MIN(queues, (unsigned)TUN_QUEUES_MAX)) {
		fd = attach(t.name, flags | IFF_MULTI_QUEUE, t.name);
		if (fd < 0)
			break; /* fewer queues than workers is fine */
		t.fds[t.n++] = fd;
	}
	set_offloads(&t, want);
	*ret = t;
	return 0;
}

int tun_adopt(int fd, const struct features *want, struct tun *ret)
{
	struct tun t = { .n = 1, .fds = { fd } };
	struct ifreq ifr = { 0 };
	int hdr = sizeof(struct virtio_net_hdr);

	if (ioctl(fd, TUNGETIFF, &ifr) < 0 || fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	if (!(ifr.ifr_flags & IFF_NO_PI) || !(ifr.ifr_flags & IFF_TUN))
		return -EINVAL;
	t.vnet_hdr = ifr.ifr_flags & IFF_VNET_HDR;
	if (t.vnet_hdr && ioctl(fd, TUNSETVNETHDRSZ, &hdr) < 0)
		return -errno;
	memcpy(t.name, ifr.ifr_name, IF_NAMESIZE);
	set_offloads(&t, want);
	*ret = t;
	return 0;
}

struct tun_info {
	bool is_tun;
	uint32_t queues;
};

static int on_info(const struct nlattr *attr, void *ctx)
{
	struct tun_info *info = ctx;
	const struct nlattr *data;

	if (mnl_attr_get_type(attr) == IFLA_INFO_KIND && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
		info->is_tun = strcmp(mnl_attr_get_str(attr), "tun") == 0;
	if (mnl_attr_get_type(attr) != IFLA_INFO_DATA)
		return MNL_CB_OK;
	mnl_attr_for_each_nested(data, attr) {
		if (mnl_attr_get_type(data) == IFLA_TUN_NUM_QUEUES && mnl_attr_validate(data, MNL_TYPE_U32) >= 0)
			info->queues = mnl_attr_get_u32(data);
	}
	return MNL_CB_OK;
}

static int on_link(const struct nlmsghdr *nlh, void *ctx)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(struct ifinfomsg)) {
		if (mnl_attr_get_type(attr) == IFLA_LINKINFO)
			(void)mnl_attr_parse_nested(attr, on_info, ctx);
	}
	return MNL_CB_OK;
}

static int ask_for_link(struct mnl_socket *nl, unsigned index, struct tun_info *ret)
{
	uint8_t buf[16384];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *info;
	ssize_t n;

	nlh->nlmsg_type = RTM_GETLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	info = mnl_nlmsg_put_extra_header(nlh, sizeof(*info));
	info->ifi_index = index;
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 || mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
	if (n < 0 || mnl_cb_run(buf, n, 0, mnl_socket_get_portid(nl), on_link, ret) < 0)
		return errno == ENODEV ? 0 : -errno;
	return 0;
}

int tun_queues(const char *name)
{
	unsigned index = if_nametoindex(name);
	struct tun_info info = { 0 };
	struct mnl_socket *nl;
	int r;

	if (!index)
		return 0;
	nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!nl)
		return -errno;
	r = ask_for_link(nl, index, &info);
	mnl_socket_close(nl);
	return r < 0 ? r : info.is_tun ? (int)MIN(info.queues, (uint32_t)INT32_MAX) : 0;
}

void tun_close(struct tun *t)
{
	for (unsigned i = 0; i < t->n; i++)
		close(t->fds[i]);
	t->n = 0;
}

int tun_persist(const struct tun *t)
{
	return ioctl(t->fds[0], TUNSETPERSIST, 1) < 0 ? -errno : 0;
}

ssize_t tun_read(const struct tun *t, int fd, struct virtio_net_hdr *ret_hdr, uint8_t *buf)
{
	struct iovec iov[2] = { { ret_hdr, sizeof(*ret_hdr) }, { buf, TUN_READ_MAX } };
	ssize_t n;

	if (!t->vnet_hdr) {
		*ret_hdr = (struct virtio_net_hdr){ 0 };
		n = read(fd, buf, TUN_READ_MAX);
		return n < 0 ? -errno : n;
	}
	n = readv(fd, iov, 2);
	if (n < 0)
		return -errno;
	return n < (ssize_t)sizeof(*ret_hdr) ? 0 : n - (ssize_t)sizeof(*ret_hdr);
}

int tun_write(const struct tun *t, int fd, const struct iovec *iov, int n)
{
	if (!t->vnet_hdr) {
		iov++;
		n--;
	}
	return writev(fd, iov, n) < 0 ? -errno : 0;
}

static bool is_same_file(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Names and indexes are of a namespace each, so a stranger may have ours where we are. A kernel that does not tell (before 5.8) leaves it at
 * that. */
static bool is_at_home(const struct tun *t)
{
	_cleanup_close_ int its = ioctl(t->fds[0], TUNGETDEVNETNS), sock = -1, ours = -1;

	if (its < 0)
		return errno != EPERM; /* in our own we may look */
	sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock >= 0)
		ours = ioctl(sock, SIOCGSKNS);
	return ours < 0 || is_same_file(its, ours);
}

int tun_ifindex(const struct tun *t)
{
	struct ifreq ifr;
	unsigned index;

	if (ioctl(t->fds[0], TUNGETIFF, &ifr) < 0)
		return -errno;
	index = if_nametoindex(ifr.ifr_name); /* it may have been given another name */
	return index && is_at_home(t) ? index : 0;
}

int tun_is_up(const struct tun *t)
{
	/* An empty packet is invalid, but an interface that is down says so first. */
	if (write(t->fds[0], NULL, 0) >= 0 || errno == EINVAL)
		return 1;
	return errno == EIO ? 0 : -errno;
}
