/* SPDX-License-Identifier: Apache-2.0 */
/* What `weft why` is asked: two ends, a protocol, a port. Read from the parameters of the method `why`, which the command line makes
 * of its words. Pure. */
#pragma once

#include "base/json.h"
#include "net/addr.h"

struct query_end {
	enum { QUERY_ADDRESS, QUERY_POD, QUERY_NODE, QUERY_WORLD } how;
	struct addr addr;	 /* QUERY_ADDRESS */
	char *namespace_, *name; /* QUERY_POD; QUERY_NODE: the name alone */
};

struct query {
	struct query_end from, to;
	uint8_t protocol;	    /* IPPROTO_ICMP stands for ICMPv6 where the addresses are IPv6 */
	uint16_t port, source_port; /* 0: none, unknown */
	int family;		    /* AF_INET, AF_INET6; AF_UNSPEC: the first that both ends have */
	uint32_t bytes;		    /* of the IP packet; 0: a small one */
};

/**
 * query_parse() - from the parameters of a request
 * @ret_error: on failure: which parameter, what was expected; one line, owned by the caller
 *
 * from, to: "NAMESPACE/POD", an address, "node:NAME" or "world"; protocol: a name or number (TCP); port, sourcePort, bytes: numbers;
 * family: 4 or 6. TCP, UDP and SCTP need a port, others have none.
 *
 * Return: 0, -EINVAL.
 */
int query_parse(const json_t *params, struct query *ret, char **ret_error);
void query_done(struct query *q);

/**
 * query_split() - the words of a command line as parameters: SRC and DST[:PORT][/PROTOCOL]
 * @params: receives from, to, port, protocol; what it has stays
 *
 * An IPv6 address with a port stands in brackets. Without a protocol: TCP with a port, ICMP without. Texts that are not valid
 * are left to query_parse().
 */
void query_split(const char *source, const char *destination, json_t *params);
