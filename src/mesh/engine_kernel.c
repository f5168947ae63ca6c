/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's WireGuard, by generic netlink. Synchronous: the kernel answers within the call, in microseconds. */
#include "base/log.h"
#include "mesh/engine.h"
#include "mesh/genl.h"

#include <linux/genetlink.h>
#include <net/if.h>

struct kernel {
	struct mnl_socket *nl;
	uint16_t family;
	uint32_t seq;
	uint8_t message[MESH_GENL_MESSAGE];
};

static int make_device(const struct mesh_options *o, struct rtnl *nl, uint32_t mtu)
{
	struct link_spec spec = {.name = o->name, .mtu = mtu};

	return rtnl_add_kind(nl, &spec, "wireguard", NULL);
}

typedef int answer_fn(const struct nlmsghdr *nlh, void *ctx);

struct dispatch {
	answer_fn *fn;
	void *ctx;
	int error;
};

static int on_message(const struct nlmsghdr *nlh, void *ctx)
{
	struct dispatch *d = ctx;
	int r = d->fn ? d->fn(nlh, d->ctx) : 0;

	if (r < 0 && !d->error)
		d->error = r;
	return MNL_CB_OK;
}

/* Sends one message and takes all of its answer. */
static int talk(struct kernel *k, struct nlmsghdr *nlh, answer_fn *fn, void *ctx)
{
	struct dispatch d = {.fn = fn, .ctx = ctx};
	char answer[32768]; /* as large as the kernel makes a part of a dump */
	ssize_t n;
	int more = MNL_CB_OK;

	nlh->nlmsg_seq = ++k->seq;
	if (mnl_socket_sendto(k->nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	while (more > MNL_CB_STOP) {
		n = mnl_socket_recvfrom(k->nl, answer, sizeof(answer));
		if (n < 0)
			return -errno;
		more = mnl_cb_run(answer, n, k->seq, mnl_socket_get_portid(k->nl), on_message, &d);
		if (more < 0 && errno == ESRCH) { /* what is left of an answer that we gave up */
			more = MNL_CB_OK;
			continue;
		}
		if (more < 0) {
			n = -errno;
			explicit_bzero(answer, sizeof(answer));
			return n;
		}
	}
	explicit_bzero(answer, sizeof(answer));
	return d.error;
}

static int on_family(const struct nlmsghdr *nlh, void *ctx)
{
	int r = mesh_genl_parse_family(nlh);

	if (r > 0)
		*(uint16_t *)ctx = r;
	return 0;
}

static void stop(struct mesh *m)
{
	struct kernel *k = m->engine_data;

	if (!k)
		return;
	if (k->nl)
		mnl_socket_close(k->nl);
	explicit_bzero(k->message, sizeof(k->message));
	free(k);
	m->engine_data = NULL;
}

static int start(struct mesh *m)
{
	struct kernel *k;
	int r;

	if (m->engine_data)
		return 0;
	k = m->engine_data = xnew0(struct kernel);
	k->nl = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
	if (!k->nl || mnl_socket_bind(k->nl, 0, MNL_SOCKET_AUTOPID) < 0)
		r = -errno;
	else
		r = talk(k, mesh_genl_find_family(k->message), on_family, &k->family);
	if (r == 0 && !k->family)
		r = -EOPNOTSUPP;
	if (r < 0) {
		log_error("cannot talk to the kernel's WireGuard", L_ERRNO(r));
		stop(m);
	}
	return r;
}

static int on_device(const struct nlmsghdr *nlh, void *ctx)
{
	return mesh_genl_parse(nlh, ctx);
}

static void read_device(struct mesh *m)
{
	struct kernel *k = m->engine_data;
	struct mesh_device d = {0};
	int r = talk(k, mesh_genl_get(k->message, k->family, if_nametoindex(m->options.name)), on_device, &d);

	mesh_device_sort(&d);
	mesh_on_read(m, r, &d);
	mesh_device_done(&d);
}

static int write_peer(struct kernel *k, uint32_t ifindex, const struct mesh_step *s)
{
	size_t from = 0;
	int r;

	do {
		struct nlmsghdr *nlh = mesh_genl_set_peer(k->message, k->family, ifindex, s, from, &from);

		r = talk(k, nlh, NULL, NULL);
	} while (r == 0 && from);
	return r;
}

static int write_step(struct kernel *k, uint32_t ifindex, const struct mesh_step *s)
{
	struct mesh_step bin = mesh_genl_bin(s->take, s->n_take);
	int r = s->n_take ? 0 : write_peer(k, ifindex, s);

	if (r < 0 || !s->n_take)
		return r;
	r = write_peer(k, ifindex, &bin);
	bin = (struct mesh_step){.remove = true, .key = {1}};
	return r ? r : write_peer(k, ifindex, &bin);
}

static void write_device(struct mesh *m, const struct mesh_change *c)
{
	struct kernel *k = m->engine_data;
	uint32_t ifindex = if_nametoindex(m->options.name);
	struct nlmsghdr *nlh = mesh_genl_set_device(k->message, k->family, ifindex, c);
	int r = nlh ? talk(k, nlh, NULL, NULL) : 0;

	explicit_bzero(k->message, sizeof(k->message));
	for (size_t i = 0; r == 0 && i < c->n_steps; i++)
		r = write_step(k, ifindex, &c->steps[i]);
	mesh_on_written(m, r);
}

const struct mesh_engine_ops mesh_kernel = {
    .name = "kernel",
    .link_kind = "wireguard",
    .crossing_harms = true,
    .make_device = make_device,
    .start = start,
    .stop = stop,
    .read = read_device,
    .write = write_device,
};
