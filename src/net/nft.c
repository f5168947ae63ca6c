/* SPDX-License-Identifier: Apache-2.0 */
#include "net/nft.h"
#include "base/str.h"
#include "net/nl_query.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <unistd.h>

enum {
	COMMENT = 0, /* of a rule's user data, as nft and iptables write them: type, length, text with its NUL */
	MONITOR_QUEUE = 64 * 1024,
};

/* ---- what the kernel says ---- */

static int copy_string(char *to, size_t size, const struct nlattr *attr)
{
	if (mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) < 0 || mnl_attr_get_payload_len(attr) > size)
		return -EBADMSG;
	snprintf(to, size, "%s", mnl_attr_get_str(attr));
	return 0;
}

static int read_u32(uint32_t *to, const struct nlattr *attr)
{
	if (mnl_attr_validate(attr, MNL_TYPE_U32) < 0)
		return -EBADMSG;
	*to = ntohl(mnl_attr_get_u32(attr));
	return 0;
}

static int read_u64(uint64_t *to, const struct nlattr *attr)
{
	uint64_t big;

	if (mnl_attr_validate(attr, MNL_TYPE_U64) < 0)
		return -EBADMSG;
	memcpy(&big, mnl_attr_get_payload(attr), sizeof(big)); /* aligned to four */
	*to = be64toh(big);
	return 0;
}

/* Attributes one by one, until @fn refuses one. */
typedef int attr_fn(const struct nlattr *attr, void *ctx);

static int each_attr(const void *from, size_t len, attr_fn *fn, void *ctx)
{
	const struct nlattr *attr;
	int r = 0;

	mnl_attr_for_each_payload(from, len)
		if (r == 0)
			r = fn(attr, ctx);
	return r;
}

static int each_nested(const struct nlattr *nest, attr_fn *fn, void *ctx)
{
	return each_attr(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest), fn, ctx);
}

static const struct nfgenmsg *header_of(const struct nlmsghdr *nlh, uint16_t type)
{
	return nlh->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | type) && nlh->nlmsg_len >= MNL_NLMSG_HDRLEN + sizeof(struct nfgenmsg)
		   ? mnl_nlmsg_get_payload(nlh)
		   : NULL;
}

static int each_of_message(const struct nlmsghdr *nlh, attr_fn *fn, void *ctx)
{
	return each_attr(mnl_nlmsg_get_payload_offset(nlh, sizeof(struct nfgenmsg)), mnl_nlmsg_get_payload_len(nlh) - sizeof(struct nfgenmsg), fn, ctx);
}

static int on_hook(const struct nlattr *attr, void *ctx)
{
	struct nft_chain *c = ctx;

	return mnl_attr_get_type(attr) == NFTA_HOOK_HOOKNUM ? read_u32(&c->hook, attr) : 0;
}

static int on_chain_attr(const struct nlattr *attr, void *ctx)
{
	struct nft_chain *c = ctx;
	uint32_t policy = NF_ACCEPT;
	int r;

	switch (mnl_attr_get_type(attr)) {
	case NFTA_CHAIN_TABLE:
		return copy_string(c->table, sizeof(c->table), attr);
	case NFTA_CHAIN_NAME:
		return copy_string(c->name, sizeof(c->name), attr);
	case NFTA_CHAIN_HOOK:
		c->is_base = true;
		return each_nested(attr, on_hook, c);
	case NFTA_CHAIN_POLICY:
		r = read_u32(&policy, attr);
		c->drops = policy == NF_DROP;
		return r;
	}
	return 0;
}

int nft_decode_chain(const struct nlmsghdr *nlh, struct nft_chain *ret)
{
	const struct nfgenmsg *nfg = header_of(nlh, NFT_MSG_NEWCHAIN);

	memset(ret, 0, sizeof(*ret));
	if (!nfg)
		return -ENOMSG;
	ret->family = nfg->nfgen_family;
	return each_of_message(nlh, on_chain_attr, ret);
}

/* What a rule consists of, as far as it tells whether anything passes it. */
struct expression {
	char name[32], target[32];
	uint32_t verdict;
};

/* A rule's expressions: only such as look at nothing, and at their end no. */
struct reading {
	struct nft_rule *rule;
	bool looks, refuses;
};

static int on_verdict(const struct nlattr *attr, void *ctx)
{
	struct expression *e = ctx;

	return mnl_attr_get_type(attr) == NFTA_VERDICT_CODE ? read_u32(&e->verdict, attr) : 0;
}

static int on_immediate_data(const struct nlattr *attr, void *ctx)
{
	return mnl_attr_get_type(attr) == NFTA_DATA_VERDICT ? each_nested(attr, on_verdict, ctx) : 0;
}

/* Attributes of an expression have numbers of its own. */
static int on_expression_data(const struct nlattr *attr, void *ctx)
{
	struct expression *e = ctx;

	if (streq(e->name, "immediate") && mnl_attr_get_type(attr) == NFTA_IMMEDIATE_DATA)
		return each_nested(attr, on_immediate_data, e);
	if (streq(e->name, "target") && mnl_attr_get_type(attr) == NFTA_TARGET_NAME)
		return copy_string(e->target, sizeof(e->target), attr);
	return 0;
}

/* The name comes before what it explains. */
static int on_expression_attr(const struct nlattr *attr, void *ctx)
{
	struct expression *e = ctx;

	if (mnl_attr_get_type(attr) == NFTA_EXPR_NAME)
		return copy_string(e->name, sizeof(e->name), attr);
	return mnl_attr_get_type(attr) == NFTA_EXPR_DATA ? each_nested(attr, on_expression_data, e) : 0;
}

static int on_expression(const struct nlattr *attr, void *ctx)
{
	struct expression e = { .verdict = NF_ACCEPT };
	struct reading *reading = ctx;
	int r = each_nested(attr, on_expression_attr, &e);

	if (streq(e.name, "counter") || streq(e.name, "log") || streq(e.target, "LOG"))
		return r;
	if (streq(e.name, "reject") || streq(e.target, "REJECT") || streq(e.target, "DROP") || (streq(e.name, "immediate") && e.verdict == NF_DROP))
		reading->refuses = true;
	else
		reading->looks = true;
	return r;
}

static void read_comment(struct nft_rule *rule, const struct nlattr *attr)
{
	const uint8_t *data = mnl_attr_get_payload(attr);
	size_t size = mnl_attr_get_payload_len(attr);

	while (size >= 2 && size - 2 >= data[1]) {
		if (data[0] == COMMENT && data[1] > 0 && data[1] <= sizeof(rule->comment) && data[1 + data[1]] == 0)
			snprintf(rule->comment, sizeof(rule->comment), "%s", (const char *)data + 2);
		size -= 2 + data[1];
		data += 2 + data[1];
	}
}

static int on_rule_attr(const struct nlattr *attr, void *ctx)
{
	struct reading *reading = ctx;

	switch (mnl_attr_get_type(attr)) {
	case NFTA_RULE_HANDLE:
		return read_u64(&reading->rule->handle, attr);
	case NFTA_RULE_EXPRESSIONS:
		return each_nested(attr, on_expression, reading);
	case NFTA_RULE_USERDATA:
		read_comment(reading->rule, attr);
		return 0;
	}
	return 0;
}

int nft_decode_rule(const struct nlmsghdr *nlh, struct nft_rule *ret)
{
	struct reading reading = { .rule = ret };
	int r;

	memset(ret, 0, sizeof(*ret));
	if (!header_of(nlh, NFT_MSG_NEWRULE))
		return -ENOMSG;
	r = each_of_message(nlh, on_rule_attr, &reading);
	ret->ends_all = reading.refuses && !reading.looks;
	return r;
}

/* ---- what it is asked ---- */

/* A message is made where this is large enough for any of ours: names of 255 bytes twice, an interface's name, a comment. */
union message {
	struct nlmsghdr header;
	char bytes[2048];
};

static struct nlmsghdr *begin(union message *m, uint16_t type, uint16_t flags, uint8_t family)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(m->bytes);
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));

	nlh->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nfg->nfgen_family = family;
	nfg->version = NFNETLINK_V0;
	return nlh;
}

static int send_all(int fd, const void *data, size_t size)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	return sendto(fd, data, size, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0 ? -errno : 0;
}

/* Asks, and reads the answer. A kernel without nf_tables refuses the socket, or knows no such message. */
static int ask(const struct nlmsghdr *nlh, nl_answer_fn *fn, void *ctx)
{
	_cleanup_close_ int fd = nl_query_open(NETLINK_NETFILTER, 0);
	int r = fd < 0 ? fd : send_all(fd, nlh, nlh->nlmsg_len);

	return r < 0 ? r : nl_query_read(fd, fn, ctx);
}

static int note_answer(const struct nlmsghdr *nlh _unused_, void *ctx)
{
	*(bool *)ctx = true;
	return -ECANCELED; /* it is all that comes */
}

int nft_has(uint8_t family, const char *table, const char *chain)
{
	union message m;
	struct nlmsghdr *nlh = begin(&m, chain ? NFT_MSG_GETCHAIN : NFT_MSG_GETTABLE, 0, family);
	bool found = false;
	int r;

	mnl_attr_put_strz(nlh, chain ? NFTA_CHAIN_TABLE : NFTA_TABLE_NAME, table);
	if (chain)
		mnl_attr_put_strz(nlh, NFTA_CHAIN_NAME, chain);
	r = ask(nlh, note_answer, &found);
	return found ? 1 : r;
}

struct chains {
	nft_chain_fn *fn;
	void *ctx;
};

static int look_at_chain(const struct nlmsghdr *nlh, void *ctx)
{
	struct chains *all = ctx;
	struct nft_chain c;
	int r = nft_decode_chain(nlh, &c);

	if (r == 0 && c.is_base)
		all->fn(&c, all->ctx);
	return r == -EBADMSG ? r : 0;
}

int nft_each_base_chain(uint8_t family, nft_chain_fn *fn, void *ctx)
{
	struct chains all = { fn, ctx };
	union message m;
	int r = ask(begin(&m, NFT_MSG_GETCHAIN, NLM_F_DUMP, family), look_at_chain, &all);

	return r == -EPROTONOSUPPORT || r == -EINVAL || r == -EOPNOTSUPP ? 0 : r;
}

struct rules {
	nft_rule_fn *fn;
	void *ctx;
};

static int look_at_rule(const struct nlmsghdr *nlh, void *ctx)
{
	struct rules *all = ctx;
	struct nft_rule rule;
	int r = nft_decode_rule(nlh, &rule);

	if (r == 0)
		all->fn(&rule, all->ctx);
	return r == -EBADMSG ? r : 0;
}

static void put_place(struct nlmsghdr *nlh, const struct nft_chain *c)
{
	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, c->table);
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, c->name);
}

int nft_each_rule(const struct nft_chain *c, nft_rule_fn *fn, void *ctx)
{
	struct rules all = { fn, ctx };
	union message m;
	struct nlmsghdr *nlh = begin(&m, NFT_MSG_GETRULE, NLM_F_DUMP, c->family);

	put_place(nlh, c);
	return ask(nlh, look_at_rule, &all);
}

/* ---- what it is told ---- */

static struct nlattr *begin_expression(struct nlmsghdr *nlh, const char *name, struct nlattr **ret_data)
{
	struct nlattr *element = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);

	mnl_attr_put_strz(nlh, NFTA_EXPR_NAME, name);
	*ret_data = mnl_attr_nest_start(nlh, NFTA_EXPR_DATA);
	return element;
}

static void end_expression(struct nlmsghdr *nlh, struct nlattr *element, struct nlattr *data)
{
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, element);
}

static void put_meta(struct nlmsghdr *nlh, uint32_t key)
{
	struct nlattr *data, *element = begin_expression(nlh, "meta", &data);

	mnl_attr_put_u32(nlh, NFTA_META_DREG, htonl(NFT_REG_1));
	mnl_attr_put_u32(nlh, NFTA_META_KEY, htonl(key));
	end_expression(nlh, element, data);
}

static void put_transport_port(struct nlmsghdr *nlh)
{
	struct nlattr *data, *element = begin_expression(nlh, "payload", &data);

	mnl_attr_put_u32(nlh, NFTA_PAYLOAD_DREG, htonl(NFT_REG_1));
	mnl_attr_put_u32(nlh, NFTA_PAYLOAD_BASE, htonl(NFT_PAYLOAD_TRANSPORT_HEADER));
	mnl_attr_put_u32(nlh, NFTA_PAYLOAD_OFFSET, htonl(2));
	mnl_attr_put_u32(nlh, NFTA_PAYLOAD_LEN, htonl(2));
	end_expression(nlh, element, data);
}

static void put_equals(struct nlmsghdr *nlh, const void *value, size_t size)
{
	struct nlattr *data, *nest, *element = begin_expression(nlh, "cmp", &data);

	mnl_attr_put_u32(nlh, NFTA_CMP_SREG, htonl(NFT_REG_1));
	mnl_attr_put_u32(nlh, NFTA_CMP_OP, htonl(NFT_CMP_EQ));
	nest = mnl_attr_nest_start(nlh, NFTA_CMP_DATA);
	mnl_attr_put(nlh, NFTA_DATA_VALUE, size, value);
	mnl_attr_nest_end(nlh, nest);
	end_expression(nlh, element, data);
}

static void put_counter(struct nlmsghdr *nlh)
{
	struct nlattr *data, *element = begin_expression(nlh, "counter", &data);

	end_expression(nlh, element, data);
}

static void put_verdict(struct nlmsghdr *nlh, uint32_t verdict)
{
	struct nlattr *data, *value, *nest, *element = begin_expression(nlh, "immediate", &data);

	mnl_attr_put_u32(nlh, NFTA_IMMEDIATE_DREG, htonl(NFT_REG_VERDICT));
	value = mnl_attr_nest_start(nlh, NFTA_IMMEDIATE_DATA);
	nest = mnl_attr_nest_start(nlh, NFTA_DATA_VERDICT);
	mnl_attr_put_u32(nlh, NFTA_VERDICT_CODE, htonl(verdict));
	mnl_attr_nest_end(nlh, nest);
	mnl_attr_nest_end(nlh, value);
	end_expression(nlh, element, data);
}

/* Without the NUL: any name that begins so, as nft's "weft*" and iptables' "weft+" say it. */
static void put_interface(struct nlmsghdr *nlh, uint32_t key, const char *prefix)
{
	if (!prefix)
		return;
	put_meta(nlh, key);
	put_equals(nlh, prefix, strlen(prefix));
}

static void put_udp_port(struct nlmsghdr *nlh, uint16_t port)
{
	uint8_t udp = IPPROTO_UDP;
	uint16_t big = htons(port);

	if (!port)
		return;
	put_meta(nlh, NFT_META_L4PROTO);
	put_equals(nlh, &udp, sizeof(udp));
	put_transport_port(nlh);
	put_equals(nlh, &big, sizeof(big));
}

static void put_comment(struct nlmsghdr *nlh, const char *text)
{
	uint8_t data[2 + sizeof(((struct nft_rule *)NULL)->comment)] = { COMMENT, strlen(text) + 1 };

	memcpy(data + 2, text, data[1]);
	mnl_attr_put(nlh, NFTA_RULE_USERDATA, 2 + data[1], data);
}

static void put_edge(struct mnl_nlmsg_batch *b, uint16_t type)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(mnl_nlmsg_batch_current(b));
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nfg->nfgen_family = AF_UNSPEC;
	nfg->version = NFNETLINK_V0;
	nfg->res_id = htons(NFNL_SUBSYS_NFTABLES);
	mnl_nlmsg_batch_next(b);
}

/* nf_tables takes changes in batches only, of which each is done as a whole. */
static int change(const struct nlmsghdr *nlh)
{
	char buf[2 * sizeof(union message)] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct mnl_nlmsg_batch *b = mnl_nlmsg_batch_start(buf, sizeof(buf));
	_cleanup_close_ int fd = nl_query_open(NETLINK_NETFILTER, 0);
	int r;

	put_edge(b, NFNL_MSG_BATCH_BEGIN);
	memcpy(mnl_nlmsg_batch_current(b), nlh, nlh->nlmsg_len);
	mnl_nlmsg_batch_next(b);
	put_edge(b, NFNL_MSG_BATCH_END);
	r = fd < 0 ? fd : send_all(fd, mnl_nlmsg_batch_head(b), mnl_nlmsg_batch_size(b));
	mnl_nlmsg_batch_stop(b);
	return r < 0 ? r : nl_query_read(fd, NULL, NULL);
}

int nft_accept_first(const struct nft_chain *c, const struct nft_accept *a)
{
	union message m;
	struct nlmsghdr *nlh = begin(&m, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_ACK, c->family);
	struct nlattr *list;

	put_place(nlh, c);
	list = mnl_attr_nest_start(nlh, NFTA_RULE_EXPRESSIONS);
	put_interface(nlh, NFT_META_IIFNAME, a->in);
	put_interface(nlh, NFT_META_OIFNAME, a->out);
	put_udp_port(nlh, a->udp_port);
	put_counter(nlh);
	put_verdict(nlh, NF_ACCEPT);
	mnl_attr_nest_end(nlh, list);
	put_comment(nlh, a->comment);
	return change(nlh);
}

int nft_delete_rule(const struct nft_chain *c, uint64_t handle)
{
	union message m;
	struct nlmsghdr *nlh = begin(&m, NFT_MSG_DELRULE, NLM_F_ACK, c->family);

	put_place(nlh, c);
	mnl_attr_put_u64(nlh, NFTA_RULE_HANDLE, htobe64(handle));
	return change(nlh);
}

/* ---- its events ---- */

/* Small, and what overflows is not told: that something changed is all that anybody wants to know. */
int nft_monitor_open(void)
{
	_cleanup_close_ int fd = nl_query_open(NETLINK_NETFILTER, SOCK_NONBLOCK);
	int group = NFNLGRP_NFTABLES, queue = MONITOR_QUEUE, on = 1;

	if (fd < 0)
		return fd;
	if (setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof(on)) < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &queue, sizeof(queue)) < 0 ||
	    setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		return -errno;
	return take_fd(fd);
}

void nft_monitor_drain(int fd)
{
	char buf[16 * 1024];

	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) >= 0 || errno == EINTR || errno == ENOBUFS)
		;
}
