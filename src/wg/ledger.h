/* SPDX-License-Identifier: Apache-2.0 */
/* What is saved of peers that changes with every handshake: NAME.peers, a header and records of one size, appended. The last record of
 * a peer counts. Each has a check of its own, bound to the header's random number: what was cut off, has flipped or comes from
 * another file is not taken for a record, and the others stay good. When it has grown over twice what is in use it is written anew.
 *
 * In the machine's own byte order: it does not leave the machine. */
#pragma once

#include "base/buf.h"
#include "wg/endpoint.h"
#include "wg/message.h"

enum { LEDGER_VERSION = 1, LEDGER_CHECK = 8, LEDGER_RECORDS_MAX = 1 << 18 };

struct ledger_header {
	char magic[8];
	uint32_t version, record_size;
	uint8_t id[16]; /* random; enters each record's check */
	uint8_t check[LEDGER_CHECK];
};

struct ledger_record {
	uint8_t pub[KEY_LEN];
	uint8_t newest[TIMESTAMP_LEN]; /* of an initiation of the peer's that we accepted; all zero: none */
	uint16_t family, port;	       /* where it is; family 0: not known. Port and address as in packets */
	uint8_t addr[16];
	uint32_t scope, unused;
	int64_t handshake_ns; /* the last one that gave a session, wall clock; 0: none */
	uint8_t check[LEDGER_CHECK];
};

_Static_assert(sizeof(struct ledger_header) == 40 && sizeof(struct ledger_record) == 88, "a format on disk");

enum { LEDGER_FILE_MAX = sizeof(struct ledger_header) + LEDGER_RECORDS_MAX * sizeof(struct ledger_record) };

struct ledger {
	int fd; /* -1: not there (yet) */
	uint8_t id[16];
	size_t records;
};
#define LEDGER_NONE ((struct ledger){ .fd = -1 })

void ledger_set_endpoint(struct ledger_record *r, const struct endpoint *e);
/* Without a local address. */
struct endpoint ledger_endpoint(const struct ledger_record *r);

struct ledger_found {
	size_t good, bad, torn; /* records; the last in bytes: an end that was not written */
};

/**
 * ledger_read() - the records of a file's text, in their order
 *
 * Return: 0; -EPROTONOSUPPORT for another version, -EBADMSG when it is no such file at all.
 */
int ledger_read(const void *data, size_t n, void (*record)(void *ctx, const struct ledger_record *r), void *ctx,
		 struct ledger_found *ret);

/**
 * ledger_rewrite() - in the old one's place, on the disk when this returns, and opened for more
 * @records: struct ledger_record, one after the other, without their checks
 *
 * Return: 0; -errno: what has the name goes on, which is the old one, or the new one when only its directory could not be synced.
 */
int ledger_rewrite(struct ledger *j, const char *path, struct buf *records);
/* As @records above, not synced. Return: 0; -EFBIG, -errno: none of them is there. */
int ledger_append(struct ledger *j, struct ledger_record *records, size_t n);
void ledger_close(struct ledger *j);
