/* SPDX-License-Identifier: Apache-2.0 */
/* clsact goes through libbpf. For tcx, libbpf 1.1 and the headers of Debian 12 lack the words: the constants are ours, the
 * call is the plain BPF_LINK_CREATE. Whose filter a slot holds is told by the name of its program. */
#include "datapath/attach.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

static const enum bpf_attach_type tcx_points[] = { 46, 47 }; /* BPF_TCX_INGRESS, BPF_TCX_EGRESS, since 6.6 */

static const enum bpf_tc_attach_point points[] = { BPF_TC_INGRESS, BPF_TC_EGRESS };

/* A program that is fine, for a device that does not exist: a kernel with tcx misses the device, one without the attach type. */
bool attach_has_tcx(void)
{
	static const struct bpf_insn accept[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	_cleanup_close_ int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "probe", "GPL", accept, ARRAY_SIZE(accept), NULL);

	return fd >= 0 && bpf_link_create(fd, INT32_MAX, tcx_points[ATTACH_INGRESS], NULL) == -ENODEV;
}

static int program_name(uint32_t prog_id, char ret_name[static 16])
{
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);
	int fd, r;

	fd = bpf_prog_get_fd_by_id(prog_id);
	if (fd < 0)
		return fd;
	r = bpf_obj_get_info_by_fd(fd, &info, &size);
	close(fd);
	if (r < 0)
		return r;
	memcpy(ret_name, info.name, 15);
	ret_name[15] = 0;
	return 0;
}

int attach_find_clsact(uint32_t ifindex, enum attach_side side, uint32_t *ret_prog_id, char ret_name[static 16])
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = points[side]);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = ATTACH_HANDLE, .priority = ATTACH_PRIORITY);
	int r;

	r = bpf_tc_query(&hook, &opts);
	if (r == -EINVAL) /* there is no clsact */
		r = -ENOENT;
	if (r < 0)
		return r;
	*ret_prog_id = opts.prog_id;
	return program_name(opts.prog_id, ret_name);
}

static bool is_our_name(const char *name)
{
	static const char *const ours[] = { "from_pod", "to_pod", "from_net", "from_tunnel", "to_net", "to_tunnel", "from_mesh", "to_mesh" };

	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		if (streq(name, ours[i]))
			return true;
	return false;
}

int attach_remove_clsact(uint32_t ifindex, enum attach_side side)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = points[side]);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = ATTACH_HANDLE, .priority = ATTACH_PRIORITY);
	char name[16];
	uint32_t id;
	int r;

	r = attach_find_clsact(ifindex, side, &id, name);
	if (r == -ENOENT || r == -ENODEV)
		return 0;
	if (r < 0)
		return r;
	return is_our_name(name) ? bpf_tc_detach(&hook, &opts) : 0;
}

static int count_filter(const struct nlmsghdr *nlh, void *ctx)
{
	if (nlh->nlmsg_type == RTM_NEWTFILTER)
		(*(unsigned *)ctx)++;
	return MNL_CB_OK;
}

/* Not of our priority. */
static int count_others(const struct nlmsghdr *nlh, void *ctx)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(nlh);

	if (nlh->nlmsg_type == RTM_NEWTFILTER && mnl_nlmsg_get_payload_len(nlh) >= sizeof(*tc) && TC_H_MAJ(tc->tcm_info) >> 16 != ATTACH_PRIORITY)
		(*(unsigned *)ctx)++;
	return MNL_CB_OK;
}

static int list_tc(struct mnl_socket *nl, uint16_t type, uint32_t ifindex, uint32_t parent, mnl_cb_t each, void *ctx)
{
	char buf[16384];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct tcmsg *tc;
	ssize_t n;
	int r = MNL_CB_OK;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	tc = mnl_nlmsg_put_extra_header(nlh, sizeof(*tc));
	tc->tcm_family = AF_UNSPEC;
	tc->tcm_ifindex = ifindex;
	tc->tcm_parent = parent;
	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	while (r == MNL_CB_OK) {
		n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
		if (n < 0)
			return -errno;
		r = mnl_cb_run(buf, n, 0, mnl_socket_get_portid(nl), each, ctx);
	}
	return r < 0 ? -errno : 0;
}

static void mnl_closep(struct mnl_socket **nl)
{
	if (*nl)
		mnl_socket_close(*nl);
}

/* On both sides. @each: count_… */
static int count_filters(struct mnl_socket *nl, uint32_t ifindex, mnl_cb_t each, unsigned *ret)
{
	int r;

	*ret = 0;
	r = list_tc(nl, RTM_GETTFILTER, ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), each, ret);
	return r < 0 ? r : list_tc(nl, RTM_GETTFILTER, ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS), each, ret);
}

static struct mnl_socket *open_netlink(void)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);

	if (nl && mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) == 0)
		return nl;
	mnl_closep(&nl);
	return NULL;
}

int attach_remove_qdisc(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	_cleanup_(mnl_closep) struct mnl_socket *nl = open_netlink();
	unsigned filters;
	int r;

	if (!nl)
		return -errno;
	r = count_filters(nl, ifindex, count_filter, &filters);
	if (r < 0)
		return r;
	return filters ? -EBUSY : bpf_tc_hook_destroy(&hook);
}

struct kind_of {
	uint32_t ifindex;
	bool ingress;
};

static int on_qdisc(const struct nlmsghdr *nlh, void *ctx)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(nlh);
	struct kind_of *of = ctx;
	const struct nlattr *attr;

	if (nlh->nlmsg_type != RTM_NEWQDISC || mnl_nlmsg_get_payload_len(nlh) < sizeof(*tc) || (uint32_t)tc->tcm_ifindex != of->ifindex ||
	    tc->tcm_parent != TC_H_CLSACT)
		return MNL_CB_OK;
	mnl_attr_for_each(attr, nlh, sizeof(*tc))
		if (mnl_attr_get_type(attr) == TCA_KIND && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
			of->ingress = streq(mnl_attr_get_str(attr), "ingress");
	return MNL_CB_OK;
}

/* Is a qdisc of the kind `ingress` where clsact would be? All devices' are listed: to ask for one is an event to everybody who listens. */
static int has_ingress(struct mnl_socket *nl, uint32_t ifindex)
{
	struct kind_of of = { .ifindex = ifindex };
	int r = list_tc(nl, RTM_GETQDISC, ifindex, 0, on_qdisc, &of);

	return r < 0 ? r : of.ingress;
}

/* Whatever lies where clsact does. */
static int delete_qdisc(struct mnl_socket *nl, uint32_t ifindex)
{
	char buf[8192];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct tcmsg *tc;
	ssize_t n;

	nlh->nlmsg_type = RTM_DELQDISC;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	tc = mnl_nlmsg_put_extra_header(nlh, sizeof(*tc));
	tc->tcm_family = AF_UNSPEC;
	tc->tcm_ifindex = ifindex;
	tc->tcm_parent = TC_H_CLSACT;
	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
	return n < 0 || mnl_cb_run(buf, n, 0, mnl_socket_get_portid(nl), NULL, NULL) < 0 ? -errno : 0;
}

/* What is attached to one side, is it at the other one, too? Both sides of an `ingress` are one. */
static bool sides_are_one(uint32_t ifindex, enum attach_side side)
{
	uint32_t here, there;
	char name[16];

	return attach_find_clsact(ifindex, side, &here, name) == 0 && attach_find_clsact(ifindex, !side, &there, name) == 0 && here == there;
}

/* An `ingress` goes, if nobody else has filters in it; else ours goes, which would be at the wrong side. */
static int make_way(struct mnl_socket *nl, uint32_t ifindex, enum attach_device whose)
{
	unsigned filters = 0;
	int r = whose == ATTACH_OTHERS ? count_filters(nl, ifindex, count_others, &filters) : 0;

	if (r == 0 && filters)
		r = attach_remove_clsact(ifindex, ATTACH_INGRESS);
	if (r < 0)
		return r;
	return filters ? -EBUSY : delete_qdisc(nl, ifindex);
}

/* On others' devices before anything is touched: each try would be an event, upon which we look again. @ours: a filter of ours is in the slot */
static int look_before(struct mnl_socket *nl, uint32_t ifindex, enum attach_side side, bool ours)
{
	int r = ours ? sides_are_one(ifindex, side) : has_ingress(nl, ifindex);

	return r <= 0 ? r : make_way(nl, ifindex, ATTACH_OTHERS);
}

static int put_filter(uint32_t ifindex, enum attach_side side, int prog_fd)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = points[side]);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = ATTACH_HANDLE, .priority = ATTACH_PRIORITY, .prog_fd = prog_fd,
		    .flags = BPF_TC_F_REPLACE);
	LIBBPF_OPTS(bpf_tc_hook, both, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	int r = bpf_tc_hook_create(&both);

	return r < 0 && r != -EEXIST ? r : bpf_tc_attach(&hook, &opts);
}

int attach_clsact(uint32_t ifindex, enum attach_side side, int prog_fd, enum attach_device whose)
{
	_cleanup_(mnl_closep) struct mnl_socket *nl = open_netlink();
	char name[16];
	uint32_t id;
	int r, there;

	if (!nl)
		return -errno;
	there = attach_find_clsact(ifindex, side, &id, name);
	if (there == 0 && !is_our_name(name))
		return -EEXIST;
	r = whose == ATTACH_OTHERS ? look_before(nl, ifindex, side, there == 0) : 0;
	if (r == 0)
		r = put_filter(ifindex, side, prog_fd);
	if (r < 0 || !sides_are_one(ifindex, side))
		return r;
	r = make_way(nl, ifindex, whose);
	return r < 0 ? r : put_filter(ifindex, side, prog_fd);
}

int attach_tcx(uint32_t ifindex, enum attach_side side, int prog_fd, const char *pin)
{
	_cleanup_close_ int fd = -1;

	fd = bpf_link_create(prog_fd, ifindex, tcx_points[side], NULL);
	if (fd < 0)
		return fd;
	return bpf_obj_pin(fd, pin); /* a link that could not be pinned goes with its descriptor */
}

int attach_xdp(uint32_t ifindex, bool native, int prog_fd, const char *pin)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
	_cleanup_close_ int fd = bpf_link_create(prog_fd, ifindex, BPF_XDP, &opts);

	if (fd == -EEXIST) /* one in the other mode */
		return -EBUSY;
	if (fd < 0)
		return fd;
	return bpf_obj_pin(fd, pin);
}

int attach_find_xdp(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);
	int r = bpf_xdp_query(ifindex, 0, &opts);

	if (r < 0)
		return r;
	if (opts.attach_mode == XDP_ATTACHED_NONE)
		return -ENOENT;
	return opts.attach_mode == XDP_ATTACHED_DRV;
}

/* struct bpf_link_info of 6.6; the older header's is shorter than nothing we read. */
struct tcx_link_info {
	uint32_t type, id, prog_id, pad;
	uint32_t ifindex, attach_type;
	uint8_t rest[64];
};

int attach_find_tcx(const char *pin, uint32_t *ret_ifindex, char ret_name[static 16])
{
	struct tcx_link_info info = {};
	uint32_t size = sizeof(info);
	_cleanup_close_ int fd = -1;
	int r;

	fd = bpf_obj_get(pin);
	if (fd < 0)
		return fd;
	r = bpf_obj_get_info_by_fd(fd, &info, &size);
	if (r == 0)
		r = program_name(info.prog_id, ret_name);
	if (r < 0)
		return r;
	*ret_ifindex = info.ifindex;
	return take_fd(fd);
}
