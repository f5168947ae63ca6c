/* SPDX-License-Identifier: Apache-2.0 */
/* What the datapath tells of a packet or a connection, with names: the record that the agent keeps and streams. On the agent's
 * socket it is one JSON object; docs/seeing.md describes its fields. */
#pragma once

#include "base/json.h"
#include "net/addr.h"

enum observe_kind { OBSERVE_DROP, OBSERVE_NEW, OBSERVE_CLOSED, OBSERVE_CHANGED, OBSERVE_AUDIT, OBSERVE_KINDS };

/* DENIED: a policy says no; DROPPED: for any other reason; AUDITED: forwarded, but a policy that only observes would say no. */
enum observe_verdict { OBSERVE_FORWARDED, OBSERVE_DENIED, OBSERVE_DROPPED, OBSERVE_AUDITED, OBSERVE_VERDICTS };

enum observe_end_kind {
	OBSERVE_UNKNOWN, /* the packet was not understood that far */
	OBSERVE_POD,
	OBSERVE_NODE,
	OBSERVE_SERVICE,
	OBSERVE_STRANGER, /* in the cluster's ranges, but nobody that this node knows */
	OBSERVE_GROUP, /* multicast, broadcast */
	OBSERVE_LINK,  /* a link-local address: the gateway, or a pod's own */
	OBSERVE_WORLD,
	OBSERVE_END_KINDS
};

/* One end. Names are the object's owner's: texts of the event, see below. */
struct observe_end {
	enum observe_end_kind kind;
	struct addr addr; /* zero when it is unknown */
	uint16_t port;	  /* 0: none */
	char *namespace_; /* of a pod or service, else NULL; "" of a container without Kubernetes */
	char *name;	  /* of a pod, service or node, else NULL */
	char *node;	  /* of a pod that is known to be somewhere, else NULL */
};

struct observe_event {
	uint64_t seq;	/* counts the events of one agent, from 1 */
	uint64_t at_ms; /* since 1970 */
	enum observe_kind kind;
	enum observe_verdict verdict;
	struct observe_end src, dst;
	uint8_t proto, tcp_flags;
	uint32_t len;	    /* bytes of the frame */
	uint32_t missed;    /* events of this kind held back in the kernel since the one before */
	const char *reason; /* label of a drop, or of what one would be; "" else; static */
	const char *text;   /* what it means; static */
	const char *hook;   /* the program that saw it; static, "" unknown */
	const char *path;   /* "local", "tunnel", "direct", "stack" or ""; static */
	char *via;	    /* namespace/name of the pod whose interface it was seen on, or NULL */
	char *rule;	    /* the policy rule that decided, or NULL */
};

void observe_event_done(struct observe_event *e);
void observe_end_done(struct observe_end *e);
json_t *observe_end_json(const struct observe_end *e);
/* @node: this node's name. */
json_t *observe_event_json(const struct observe_event *e, const char *node);

const char *observe_kind_name(enum observe_kind k);
const char *observe_verdict_name(enum observe_verdict v);
const char *observe_end_kind_name(enum observe_end_kind k);
/* -EINVAL for another word. */
int observe_verdict_parse(const char *s, enum observe_verdict *ret);
int observe_end_kind_parse(const char *s, enum observe_end_kind *ret);

/* "TCP", "ICMPv6", or the number as text in @out. */
enum { PROTOCOL_TEXT_MAX = 8 };
const char *protocol_format(uint8_t proto, char out[static PROTOCOL_TEXT_MAX]);
/* A name in any case, or a number. Return: 0, -EINVAL. */
int protocol_parse_text(const char *s, uint8_t *ret);
/* "SF." in the order of tcpdump; @out holds at least 9 bytes. */
const char *tcp_flags_format(uint8_t flags, char out[static 9]);
