/* SPDX-License-Identifier: Apache-2.0 */
#include "wg/ledger.h"

#include "base/file.h"
#include "wg/crypto.h"

#include <fcntl.h>

static const char magic[8] = "weft-wgp";

static void check_of(const uint8_t id[static 16], const void *data, size_t n, uint8_t ret[static LEDGER_CHECK])
{
	uint8_t hash[HASH_LEN];

	hash2(hash, BYTES(id, 16), BYTES(data, n));
	memcpy(ret, hash, LEDGER_CHECK);
}

static void sign(const uint8_t id[static 16], struct ledger_record *r)
{
	check_of(id, r, offsetof(struct ledger_record, check), r->check);
}

void ledger_set_endpoint(struct ledger_record *r, const struct endpoint *e)
{
	r->family = e->to.sa.sa_family;
	if (r->family == AF_INET) {
		r->port = e->to.in4.sin_port;
		memcpy(r->addr, &e->to.in4.sin_addr, 4);
	} else if (r->family == AF_INET6) {
		r->port = e->to.in6.sin6_port;
		r->scope = e->to.in6.sin6_scope_id;
		memcpy(r->addr, &e->to.in6.sin6_addr, 16);
	}
}

struct endpoint ledger_endpoint(const struct ledger_record *r)
{
	struct endpoint e = { 0 };

	e.to.sa.sa_family = r->family;
	if (r->family == AF_INET) {
		e.to.in4.sin_port = r->port;
		memcpy(&e.to.in4.sin_addr, r->addr, 4);
	} else if (r->family == AF_INET6) {
		e.to.in6.sin6_port = r->port;
		e.to.in6.sin6_scope_id = r->scope;
		memcpy(&e.to.in6.sin6_addr, r->addr, 16);
	}
	return e;
}

static bool is_good(const uint8_t id[static 16], const struct ledger_record *r)
{
	uint8_t check[LEDGER_CHECK];

	check_of(id, r, offsetof(struct ledger_record, check), check);
	return memcmp(check, r->check, LEDGER_CHECK) == 0 && r->handshake_ns >= 0 &&
	       (r->family == 0 || r->family == AF_INET || r->family == AF_INET6);
}

static int check_header(const struct ledger_header *h)
{
	uint8_t check[LEDGER_CHECK];

	if (memcmp(h->magic, magic, sizeof(magic)) != 0)
		return -EBADMSG;
	if (h->version != LEDGER_VERSION)
		return -EPROTONOSUPPORT;
	check_of(h->id, h, offsetof(struct ledger_header, check), check);
	return memcmp(check, h->check, LEDGER_CHECK) == 0 && h->record_size == sizeof(struct ledger_record) ? 0 : -EBADMSG;
}

int ledger_read(const void *data, size_t n, void (*record)(void *ctx, const struct ledger_record *r), void *ctx,
		 struct ledger_found *ret)
{
	struct ledger_header h;
	struct ledger_record r;
	size_t at = sizeof(h);
	int e;

	*ret = (struct ledger_found){ 0 };
	if (n < sizeof(h)) /* it is put in place as a whole: a shorter one is not ours */
		return -EBADMSG;
	memcpy(&h, data, sizeof(h));
	e = check_header(&h);
	if (e < 0)
		return e;
	for (; n - at >= sizeof(r); at += sizeof(r)) {
		memcpy(&r, (const char *)data + at, sizeof(r));
		if (is_good(h.id, &r)) {
			ret->good++;
			record(ctx, &r);
		} else {
			ret->bad++;
		}
	}
	ret->torn = n - at;
	return 0;
}

/* The file at @path when it is the one that begins with @h. Return: a descriptor for more records, -errno. */
static int open_written(const char *path, const struct ledger_header *h)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
	struct ledger_header there;

	if (fd < 0)
		return -errno;
	if (read(fd, &there, sizeof(there)) != sizeof(there) || memcmp(&there, h, sizeof(there)) != 0)
		return -ESTALE;
	return take_fd(fd);
}

int ledger_rewrite(struct ledger *j, const char *path, struct buf *records)
{
	struct ledger_header h = { .version = LEDGER_VERSION, .record_size = sizeof(struct ledger_record) };
	struct ledger_record *all = (struct ledger_record *)records->data;
	size_t n = records->len / sizeof(*all);
	struct buf text = { 0 };
	int r, fd;

	memcpy(h.magic, magic, sizeof(magic));
	crypto_random(h.id, sizeof(h.id));
	check_of(h.id, &h, offsetof(struct ledger_header, check), h.check);
	(void)buf_add(&text, &h, sizeof(h));
	for (size_t i = 0; i < n; i++)
		sign(h.id, &all[i]);
	if (n)
		(void)buf_add(&text, all, n * sizeof(*all));
	r = file_write_atomic(path, text.data, text.len, 0600);
	buf_done(&text);
	fd = open_written(path, &h);
	if (r < 0 && fd < 0)
		return r;
	if (r == 0)
		r = MIN(fd, 0);
	ledger_close(j); /* in any case, also when only the directory could not be synced: what it has open has no name any more */
	j->fd = MAX(fd, -1);
	memcpy(j->id, h.id, sizeof(j->id));
	j->records = n;
	return r;
}

int ledger_append(struct ledger *j, struct ledger_record *records, size_t n)
{
	const size_t len = n * sizeof(*records), before = sizeof(struct ledger_header) + j->records * sizeof(*records);
	ssize_t done;

	if (j->fd < 0)
		return -EBADF;
	if (j->records + n > LEDGER_RECORDS_MAX)
		return -EFBIG;
	for (size_t i = 0; i < n; i++)
		sign(j->id, &records[i]);
	do
		done = write(j->fd, records, len);
	while (done < 0 && errno == EINTR);
	if (done == (ssize_t)len) {
		j->records += n;
		return 0;
	}
	if (done > 0 && ftruncate(j->fd, before) < 0) /* what follows would not be at a record's place */
		ledger_close(j);
	return done < 0 ? -errno : -ENOSPC;
}

void ledger_close(struct ledger *j)
{
	j->fd = close_fd(j->fd);
	j->records = 0;
}
