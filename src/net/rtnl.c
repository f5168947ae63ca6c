/* SPDX-License-Identifier: Apache-2.0 */
/* The socket: one request and its answer, dumps, batches.
 *
 * A batch is many requests in one send: the kernel works through the datagram and queues one acknowledgement each.
 * Those wait in our receive queue, so a send carries at most BATCH_ACKS requests: more could overrun it, and an
 * acknowledgement lost is an outcome unknown.
 *
 * A dump is cut into many reads, between which the table may change; the kernel then flags it (NLM_F_DUMP_INTR), and we
 * start over: what a list returns is what was there at one time. */
#include "base/buf.h"
#include "base/str.h"
#include "net/netns.h"
#include "net/rtnl_internal.h"

#include <sys/time.h>

enum {
	RECV_SIZE = 64 * 1024, /* the kernel makes dump messages of at most 32 KiB */
	MSG_SIZE = 4096,
	BATCH_ACKS = 100,
	DUMP_TRIES = 20,
	ANSWER_TIMEOUT_S = 30,
};

struct rtnl {
	int fd;
	uint32_t seq;
	char *recv;
	char *msg; /* the request being built */
	bool batching;
	struct buf batch;
	size_t made;	 /* of the last batch */
	char first[128]; /* what the first of those is about */
	char error[512];
};

static int set_up_socket(int fd)
{
	struct sockaddr_nl self = {.nl_family = AF_NETLINK};
	struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT_S};
	int one = 1, size = 1 << 20;

	if (bind(fd, (struct sockaddr *)&self, sizeof(self)) < 0)
		return -errno;
	if (setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0)
		return -errno;
	/* a wish: batches are sized for the default */
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	return 0;
}

int rtnl_open(struct rtnl **ret)
{
	_cleanup_(rtnl_closep) struct rtnl *nl = xnew0(struct rtnl);
	int r;

	nl->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (nl->fd < 0)
		return -errno;
	r = set_up_socket(nl->fd);
	if (r < 0)
		return r;
	nl->recv = xmalloc(RECV_SIZE);
	nl->msg = xmalloc(MSG_SIZE);
	*ret = take_ptr(nl);
	return 0;
}

static int open_here(void *ctx)
{
	return rtnl_open(ctx);
}

int rtnl_open_in(int netns_fd, struct rtnl **ret)
{
	return netns_run(netns_fd, open_here, ret);
}

struct rtnl *rtnl_close(struct rtnl *nl)
{
	if (!nl)
		return NULL;
	close_fd(nl->fd);
	free(nl->recv);
	free(nl->msg);
	buf_done(&nl->batch);
	free(nl);
	return NULL;
}

const char *rtnl_error_text(const struct rtnl *nl)
{
	return nl->error;
}

int rtnl_fail(struct rtnl *nl, int r, const char *why)
{
	snprintf(nl->error, sizeof(nl->error), "%s", why);
	return r;
}

struct nlmsghdr *rtnl_msg(struct rtnl *nl, uint16_t type, uint16_t flags, size_t size, void *ret_header)
{
	struct nlmsghdr *nlh;

	memset(nl->msg, 0, MSG_SIZE);
	nlh = mnl_nlmsg_put_header(nl->msg);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	*(void **)ret_header = mnl_nlmsg_put_extra_header(nlh, size);
	return nlh;
}

/* What is asked for and stands already, or is to go and is not there, is no failure. */
static int forgive(const struct nlmsghdr *request, int error)
{
	if (error == 0)
		return 0;
	switch (request->nlmsg_type) {
	case RTM_NEWRULE:
		return error == -EEXIST ? 0 : error;
	case RTM_DELLINK:
	case RTM_DELADDR:
	case RTM_DELROUTE:
	case RTM_DELRULE:
	case RTM_DELNEIGH:
		return error == -ENODEV || error == -ESRCH || error == -ENOENT || error == -EADDRNOTAVAIL ? 0 : error;
	}
	return error;
}

/* The extended acknowledgement's text into @out, "" without one. */
static void ack_text(const struct nlmsghdr *nlh, char *out, size_t size)
{
	const struct nlattr *tb[NLMSGERR_ATTR_MAX + 1];
	size_t skip = MNL_NLMSG_HDRLEN + sizeof(struct nlmsgerr);
	const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);

	out[0] = 0;
	if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	if (!(nlh->nlmsg_flags & NLM_F_CAPPED)) {
		if (err->msg.nlmsg_len < MNL_NLMSG_HDRLEN || err->msg.nlmsg_len > nlh->nlmsg_len)
			return;
		skip += MNL_ALIGN(err->msg.nlmsg_len - MNL_NLMSG_HDRLEN);
	}
	if (skip > nlh->nlmsg_len ||
	    rtnl_attrs((const char *)nlh + skip, nlh->nlmsg_len - skip, tb, NLMSGERR_ATTR_MAX) < 0)
		return;
	if (tb[NLMSGERR_ATTR_MSG]) {
		_cleanup_free_ char *raw = xstrndup(mnl_attr_get_payload(tb[NLMSGERR_ATTR_MSG]),
						    mnl_attr_get_payload_len(tb[NLMSGERR_ATTR_MSG]));

		str_escape(out, size, raw);
	}
}

static void format_error(char *out, size_t size, const struct nlmsghdr *request, int error, const char *kernel_text)
{
	char what[128];

	rtnl_describe(request, what, sizeof(what));
	snprintf(out, size, "%s: %s%s%s%s", what, strerror(-error), *kernel_text ? " (" : "", kernel_text, *kernel_text ? ")" : "");
}

static int remember_error(struct rtnl *nl, const struct nlmsghdr *request, int error, const char *kernel_text)
{
	format_error(nl->error, sizeof(nl->error), request, error, kernel_text);
	return error;
}

/* One datagram into nl->recv. Return: its length, -ETIMEDOUT, -ENOBUFS, -errno. */
static ssize_t receive(struct rtnl *nl)
{
	struct sockaddr_nl from = {0};
	struct iovec iov = {.iov_base = nl->recv, .iov_len = RECV_SIZE};
	struct msghdr msg = {.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	for (;;) {
		n = recvmsg(nl->fd, &msg, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		if (msg.msg_flags & MSG_TRUNC)
			return -EMSGSIZE;
		if (from.nl_pid == 0) /* from the kernel, from nobody else */
			return n;
	}
}

static int send_all(struct rtnl *nl, const void *data, size_t n)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	ssize_t sent;

	do
		sent = sendto(nl->fd, data, n, 0, (struct sockaddr *)&kernel, sizeof(kernel));
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

/* An acknowledgement's errno (0 or negative), or -EBADMSG. */
static int ack_error(const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);

	return nlh->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(*err) ? -EBADMSG : err->error;
}

struct sending {
	struct rtnl *nl;
	const char *at; /* requests of this send that are not acknowledged yet begin here */
	size_t left;	/* bytes of them */
	size_t number;	/* of the first one, in the batch */
	int first_error;
	rtnl_failed_fn *fn;
	void *ctx;
};

static void on_failed(struct sending *s, const struct nlmsghdr *ack, const struct nlmsghdr *request, int error)
{
	char kernel_text[256], text[sizeof(s->nl->error)];

	ack_text(ack, kernel_text, sizeof(kernel_text));
	format_error(text, sizeof(text), request, error, kernel_text);
	if (s->fn)
		s->fn(s->number, error, text, s->ctx);
	if (s->first_error)
		return;
	s->first_error = error;
	memcpy(s->nl->error, text, sizeof(text));
}

static void on_ack(struct sending *s, const struct nlmsghdr *ack)
{
	const struct nlmsghdr *request = (const struct nlmsghdr *)s->at;
	int error;

	if (ack->nlmsg_type != NLMSG_ERROR || s->left == 0 || ack->nlmsg_seq != request->nlmsg_seq)
		return;
	error = forgive(request, ack_error(ack));
	if (error < 0)
		on_failed(s, ack, request, error);
	else if (s->nl->batching && s->nl->made++ == 0)
		rtnl_describe(request, s->nl->first, sizeof(s->nl->first));
	s->number++;
	s->at += MNL_ALIGN(request->nlmsg_len);
	s->left -= MNL_ALIGN(request->nlmsg_len);
}

/* Waits for the acknowledgements of all requests in @s. */
static int await_acks(struct sending *s)
{
	while (s->left) {
		ssize_t n = receive(s->nl);
		int len = n;

		if (n < 0)
			return remember_error(s->nl, (const struct nlmsghdr *)s->at, n, "");
		for (struct nlmsghdr *nlh = (struct nlmsghdr *)s->nl->recv; mnl_nlmsg_ok(nlh, len);
		     nlh = mnl_nlmsg_next(nlh, &len))
			on_ack(s, nlh);
	}
	return 0;
}

/* Sends @n bytes of requests and judges each. */
static int send_requests(struct sending *s, const char *data, size_t n)
{
	int r = send_all(s->nl, data, n);

	if (r < 0)
		return remember_error(s->nl, (const struct nlmsghdr *)data, r, "");
	s->at = data;
	s->left = n;
	return await_acks(s);
}

int rtnl_change(struct rtnl *nl)
{
	struct nlmsghdr *nlh = (struct nlmsghdr *)nl->msg;
	struct sending s = {.nl = nl};
	int r;

	assert(nlh->nlmsg_len <= MSG_SIZE);
	nlh->nlmsg_flags |= NLM_F_ACK;
	nlh->nlmsg_seq = ++nl->seq;
	if (nl->batching)
		return buf_add(&nl->batch, nlh, MNL_ALIGN(nlh->nlmsg_len));
	nl->error[0] = 0;
	r = send_requests(&s, nl->msg, MNL_ALIGN(nlh->nlmsg_len));
	return r < 0 ? r : s.first_error;
}

void rtnl_batch(struct rtnl *nl)
{
	assert(!nl->batching);
	nl->batching = true;
	nl->made = 0;
	nl->first[0] = 0;
}

size_t rtnl_batch_made(const struct rtnl *nl)
{
	return nl->made;
}

const char *rtnl_batch_first(const struct rtnl *nl)
{
	return nl->first;
}

/* How many bytes the next @max requests take. */
static size_t piece_of(const char *data, size_t len, unsigned max)
{
	size_t n = 0;

	for (unsigned i = 0; i < max && n < len; i++)
		n += MNL_ALIGN(((const struct nlmsghdr *)(data + n))->nlmsg_len);
	return n;
}

int rtnl_commit(struct rtnl *nl, rtnl_failed_fn *fn, void *ctx)
{
	struct sending s = {.nl = nl, .fn = fn, .ctx = ctx};
	int r = 0;

	assert(nl->batching);
	nl->error[0] = 0;
	for (size_t at = 0; at < nl->batch.len && r == 0;) {
		size_t n = piece_of(nl->batch.data + at, nl->batch.len - at, BATCH_ACKS);

		r = send_requests(&s, nl->batch.data + at, n);
		at += n;
	}
	nl->batching = false;
	nl->batch.len = 0;
	return s.first_error ? s.first_error : r;
}

struct items {
	char *data;
	size_t n, cap, size;
};

static void add_item(struct items *items, const void *item)
{
	if (items->n == items->cap) {
		items->cap = items->cap ? items->cap * 2 : 16;
		items->data = xrealloc(items->data, items->cap, items->size);
	}
	memcpy(items->data + items->n++ * items->size, item, items->size);
}

struct dumping {
	rtnl_decode_fn *decode;
	const void *filter;
	struct items items;
	char *item; /* scratch for one */
	bool interrupted, done;
	int error;
};

static void on_dump_message(struct rtnl *nl, struct dumping *d, const struct nlmsghdr *nlh)
{
	char text[256];
	int r;

	if (nlh->nlmsg_seq != nl->seq)
		return;
	if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
		d->interrupted = true;
	if (nlh->nlmsg_type == NLMSG_DONE || nlh->nlmsg_type == NLMSG_ERROR) {
		/* both begin with an errno; a dump that fails half-way says so in DONE */
		d->done = true;
		r = nlh->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(int) ? 0 : *(const int *)mnl_nlmsg_get_payload(nlh);
		if (r < 0) {
			text[0] = 0;
			if (nlh->nlmsg_type == NLMSG_ERROR)
				ack_text(nlh, text, sizeof(text));
			d->error = remember_error(nl, (struct nlmsghdr *)nl->msg, r, text);
		}
		return;
	}
	r = d->decode(nlh, d->item, d->filter);
	if (r < 0 && d->error == 0)
		d->error = remember_error(nl, (struct nlmsghdr *)nl->msg, r, "");
	if (r > 0)
		add_item(&d->items, d->item);
}

static int read_dump(struct rtnl *nl, struct dumping *d)
{
	while (!d->done) {
		ssize_t n = receive(nl);
		int len = n;

		if (n == -ENOBUFS) { /* something was lost: read to the end, then again */
			d->interrupted = true;
			continue;
		}
		if (n < 0)
			return remember_error(nl, (struct nlmsghdr *)nl->msg, n, "");
		for (struct nlmsghdr *nlh = (struct nlmsghdr *)nl->recv; mnl_nlmsg_ok(nlh, len) && !d->done;
		     nlh = mnl_nlmsg_next(nlh, &len))
			on_dump_message(nl, d, nlh);
	}
	return d->error;
}

static int dump_once(struct rtnl *nl, struct dumping *d)
{
	struct nlmsghdr *nlh = (struct nlmsghdr *)nl->msg;
	int r;

	d->items.n = 0;
	d->interrupted = d->done = false;
	d->error = 0;
	nl->error[0] = 0;
	nlh->nlmsg_seq = ++nl->seq;
	nlh->nlmsg_flags |= NLM_F_DUMP;
	r = send_all(nl, nlh, nlh->nlmsg_len);
	if (r < 0)
		return remember_error(nl, nlh, r, "");
	return read_dump(nl, d);
}

int rtnl_dump(struct rtnl *nl, rtnl_decode_fn *decode, const void *filter, size_t size, void *ret_items, size_t *ret_n)
{
	_cleanup_free_ char *item = xmalloc(size);
	struct dumping d = {.decode = decode, .filter = filter, .items = {.size = size}, .item = item};
	int r = 0;

	assert(!nl->batching);
	for (int i = 0; i < DUMP_TRIES; i++) {
		r = dump_once(nl, &d);
		if (r < 0 || !d.interrupted)
			break;
		r = -EAGAIN;
	}
	if (r == -EAGAIN)
		remember_error(nl, (struct nlmsghdr *)nl->msg, r, "it changed while it was read, each time");
	if (r < 0) {
		free(d.items.data);
		return r;
	}
	if (!d.items.data)
		d.items.data = xmalloc(size); /* so that an empty list is no NULL */
	*(void **)ret_items = d.items.data;
	*ret_n = d.items.n;
	return 0;
}

int rtnl_query(struct rtnl *nl, rtnl_decode_fn *decode, void *ret_item)
{
	struct nlmsghdr *request = (struct nlmsghdr *)nl->msg;
	char text[256];
	int r;

	assert(!nl->batching);
	nl->error[0] = 0;
	request->nlmsg_seq = ++nl->seq;
	r = send_all(nl, request, request->nlmsg_len);
	while (r == 0) {
		const struct nlmsghdr *nlh = (const struct nlmsghdr *)nl->recv;
		ssize_t n = receive(nl);

		if (n < 0)
			return remember_error(nl, request, n, "");
		if (!mnl_nlmsg_ok(nlh, n) || nlh->nlmsg_seq != request->nlmsg_seq)
			continue;
		if (nlh->nlmsg_type != NLMSG_ERROR) {
			r = decode(nlh, ret_item, NULL);
			return r < 0 ? remember_error(nl, request, r, "") : 0;
		}
		ack_text(nlh, text, sizeof(text));
		return remember_error(nl, request, ack_error(nlh), text);
	}
	return remember_error(nl, request, r, "");
}
