/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent must remember of its endpoints across a restart, not a reboot: a write-ahead journal, one line a
 * change, each with its checksum, synced before anybody is answered. */
#pragma once

#include "base/buf.h"
#include "base/json.h"
#include "ipam/ipam.h"

enum endpoint_state {
	ENDPOINT_ADDING, /* ADD has not answered: after a restart it is undone */
	ENDPOINT_UP,
};

/* All that is known of one attachment of a pod. */
struct endpoint_record {
	char *container, *ifname; /* the key */
	enum endpoint_state state;
	char *netns; /* path as the runtime gave it */
	uint64_t netns_dev, netns_ino;
	char *boot_id;
	struct addr addrs[IPAM_FAMILIES];
	uint32_t id;	  /* the endpoint's number in the datapath */
	uint32_t ifindex; /* host side; 0 while it is not known */
	char host_ifname[16];
	uint8_t pod_mac[6], host_mac[6];
	uint32_t mtu;
	char *network;				  /* name of the network in the CNI configuration */
	char *pod_namespace, *pod_name, *pod_uid; /* "" when the runtime did not say */
	uint64_t added_s;			  /* seconds since 1970 */
};
struct endpoint_record *endpoint_record_free(struct endpoint_record *r);
DEFINE_CLEANUP(struct endpoint_record *, endpoint_record_free)
json_t *endpoint_record_to_json(const struct endpoint_record *r);
/* Return: 0, -EBADMSG. */
int endpoint_record_from_json(json_t *j, struct endpoint_record **ret);

struct journal_freed {
	struct addr addr;
	uint64_t freed_ms;
	uint64_t order; /* internal: position of the last time it was freed */
};

struct journal_state {
	struct endpoint_record **records;
	size_t n_records, records_cap;
	struct journal_freed *freed; /* oldest first */
	size_t n_freed, freed_cap;
	char *boot_id; /* of the last writer, or NULL */
	size_t lines;
};
void journal_state_done(struct journal_state *s);

/**
 * journal_replay() - the state that the bytes of a journal lead to (pure)
 * @ret_good: how many bytes to keep: a last record that was cut or garbled is left out
 *
 * Return: 0, -EBADMSG when a record is damaged that whole ones follow: then the file does not say what is true, and
 * nothing of it is returned. @ret_error says where, owned by the caller.
 */
int journal_replay(const char *data, size_t len, struct journal_state *ret, size_t *ret_good, char **ret_error);

struct journal;

/**
 * journal_open() - read a journal, drop a half-written last record, go on behind it
 * @path: made when missing; its directory must be there
 * @ret_state: what it held; the caller's
 *
 * Return: 0, -EBADMSG as above (the file is left alone), -EFBIG above 64 MiB, -errno.
 */
int journal_open(const char *path, const char *boot_id, struct journal **ret, struct journal_state *ret_state,
		 char **ret_error);
struct journal *journal_close(struct journal *j);
DEFINE_CLEANUP(struct journal *, journal_close)

/* Both return 0 when the change is on the file system, or -errno; then the file is as before. */
int journal_put(struct journal *j, const struct endpoint_record *r);
/* The endpoint is gone, its addresses rest from @freed_ms on; UINT64_MAX when they never left the agent. */
int journal_remove(struct journal *j, const struct endpoint_record *r, uint64_t freed_ms);

/* Has the file still its name? Else what is put goes nowhere. */
bool journal_is_there(const struct journal *j);
/* Worth a snapshot? */
bool journal_is_long(const struct journal *j, size_t n_records);
/* Replaces the file by the shortest one that leads to this state, atomically. Return: 0, -errno. */
int journal_snapshot(struct journal *j, const struct journal_state *s);
