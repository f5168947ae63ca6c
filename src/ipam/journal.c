/* SPDX-License-Identifier: Apache-2.0 */
/* A line is `CRC JSON\n`, the CRC in eight hexadecimal digits over the JSON. It is appended by one write(2) and synced.
 * So after a crash or a power cut only the last line can be damaged, and it counts as not written: its change had not
 * been answered. A damaged line that a whole one follows is no crash but a broken disk or a hand in the file: then
 * nothing in it can be trusted to be complete, and it is refused; the agent rebuilds from the kernel.
 *
 * Ops: {"boot": ID}, {"put": RECORD}, {"del": [CONTAINER, IFNAME], "free": [ADDR…], "at": MS}, {"free": [ADDR…], "at":
 * MS}. */
#include "ipam/journal.h"
#include "base/file.h"
#include "base/htab.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

enum { CRC_LEN = 8, FILE_MAX = 64 << 20, LONG_LINES = 1024, KEY_MAX = 4096 };

struct journal {
	int fd;
	char *path, *boot_id;
	off_t size;
	size_t lines;
};

static uint32_t crc32_of(const char *data, size_t n)
{
	uint32_t crc = ~0u;

	for (size_t i = 0; i < n; i++) {
		crc ^= (uint8_t)data[i];
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

struct endpoint_record *endpoint_record_free(struct endpoint_record *r)
{
	if (!r)
		return NULL;
	free(r->container);
	free(r->ifname);
	free(r->netns);
	free(r->boot_id);
	free(r->network);
	free(r->pod_namespace);
	free(r->pod_name);
	free(r->pod_uid);
	free(r);
	return NULL;
}

static json_t *addrs_to_json(const struct addr addrs[IPAM_FAMILIES])
{
	json_t *a = json_array();
	char text[ADDR_TEXT_MAX];

	for (int f = 0; f < IPAM_FAMILIES; f++)
		if (!addr_is_zero(&addrs[f]))
			json_array_append_new(a, json_string(addr_format(&addrs[f], text)));
	return a;
}

static int addrs_from_json(const json_t *a, struct addr ret[IPAM_FAMILIES])
{
	struct addr got[IPAM_FAMILIES] = {0}, one;

	if (!json_is_array(a))
		return -EBADMSG;
	for (size_t i = 0; i < json_array_size(a); i++) {
		if (addr_parse(json_str_or(json_array_get(a, i), ""), &one) < 0)
			return -EBADMSG;
		got[ipam_family(&one)] = one;
	}
	memcpy(ret, got, sizeof(got));
	return 0;
}

json_t *endpoint_record_to_json(const struct endpoint_record *r)
{
	char pod_mac[MAC_TEXT_MAX], host_mac[MAC_TEXT_MAX];

	return json_pack("{ss, ss, ss, ss, sI, sI, ss, so, sI, sI, ss, ss, ss, sI, ss, ss, ss, ss, sI}", "container",
			 r->container, "ifname", r->ifname, "state", r->state == ENDPOINT_UP ? "up" : "adding", "netns",
			 r->netns, "netnsDev", (json_int_t)r->netns_dev, "netnsIno", (json_int_t)r->netns_ino, "boot",
			 r->boot_id, "addrs", addrs_to_json(r->addrs), "id", (json_int_t)r->id, "ifindex",
			 (json_int_t)r->ifindex, "hostIfname", r->host_ifname, "podMAC",
			 mac_format(r->pod_mac, pod_mac), "hostMAC", mac_format(r->host_mac, host_mac), "mtu",
			 (json_int_t)r->mtu, "network", r->network, "podNamespace", r->pod_namespace, "podName",
			 r->pod_name, "podUID", r->pod_uid, "added", (json_int_t)r->added_s);
}

static char *text_of(const json_t *j, const char *key)
{
	return xstrdup(json_str_or(json_object_get(j, key), ""));
}

static uint64_t number_of(const json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

int endpoint_record_from_json(json_t *j, struct endpoint_record **ret)
{
	_cleanup_(endpoint_record_freep) struct endpoint_record *r = xnew0(struct endpoint_record);
	const char *host = json_str_or(json_object_get(j, "hostIfname"), "");

	r->container = text_of(j, "container");
	r->ifname = text_of(j, "ifname");
	r->state = streq(json_str_or(json_object_get(j, "state"), ""), "up") ? ENDPOINT_UP : ENDPOINT_ADDING;
	r->netns = text_of(j, "netns");
	r->netns_dev = number_of(j, "netnsDev");
	r->netns_ino = number_of(j, "netnsIno");
	r->boot_id = text_of(j, "boot");
	r->id = number_of(j, "id");
	r->ifindex = number_of(j, "ifindex");
	r->mtu = number_of(j, "mtu");
	r->network = text_of(j, "network");
	r->pod_namespace = text_of(j, "podNamespace");
	r->pod_name = text_of(j, "podName");
	r->pod_uid = text_of(j, "podUID");
	r->added_s = number_of(j, "added");
	if (!*r->container || !*r->ifname || !r->id || strlen(host) >= sizeof(r->host_ifname) ||
	    addrs_from_json(json_object_get(j, "addrs"), r->addrs) < 0 ||
	    mac_parse(json_str_or(json_object_get(j, "podMAC"), ""), r->pod_mac) < 0 ||
	    mac_parse(json_str_or(json_object_get(j, "hostMAC"), ""), r->host_mac) < 0)
		return -EBADMSG;
	strcpy(r->host_ifname, host);
	*ret = take_ptr(r);
	return 0;
}

void journal_state_done(struct journal_state *s)
{
	for (size_t i = 0; i < s->n_records; i++)
		endpoint_record_free(s->records[i]);
	free(s->records);
	free(s->freed);
	free(s->boot_id);
	*s = (struct journal_state){0};
}

/* While replaying, records and freed addresses are found by hash: a long journal stays linear. */
struct replay {
	struct journal_state *s;
	json_t *records; /* "container\0ifname" -> index + 1 */
	json_t *freed;	 /* address -> index + 1 */
	uint64_t order;
};

static char *record_key(const char *container, const char *ifname)
{
	return xasprintf("%s/%s", container, ifname);
}

static int replay_put(struct replay *p, json_t *record)
{
	struct journal_state *s = p->s;
	struct endpoint_record *r;
	_cleanup_free_ char *key = NULL;
	size_t at;

	if (endpoint_record_from_json(record, &r) < 0)
		return -EBADMSG;
	key = record_key(r->container, r->ifname);
	at = json_integer_value(json_object_get(p->records, key));
	if (at) {
		endpoint_record_free(s->records[at - 1]);
		s->records[at - 1] = r;
		return 0;
	}
	GROW(s->records, s->n_records, s->records_cap);
	s->records[s->n_records++] = r;
	json_object_set_new(p->records, key, json_integer(s->n_records));
	return 0;
}

static int replay_del(struct replay *p, json_t *del)
{
	const char *container = json_string_value(json_array_get(del, 0)),
		   *ifname = json_string_value(json_array_get(del, 1));
	_cleanup_free_ char *key = NULL;
	size_t at;

	if (!container || !ifname)
		return -EBADMSG;
	key = record_key(container, ifname);
	at = json_integer_value(json_object_get(p->records, key));
	if (at) {
		endpoint_record_free(p->s->records[at - 1]);
		p->s->records[at - 1] = NULL; /* taken out at the end */
		json_object_del(p->records, key);
	}
	return 0;
}

static int replay_free(struct replay *p, json_t *op)
{
	struct addr addrs[IPAM_FAMILIES];
	char text[ADDR_TEXT_MAX];

	if (addrs_from_json(json_object_get(op, "free"), addrs) < 0)
		return -EBADMSG;
	for (int f = 0; f < IPAM_FAMILIES; f++) {
		struct journal_state *s = p->s;
		size_t at;

		if (addr_is_zero(&addrs[f]))
			continue;
		addr_format(&addrs[f], text);
		at = json_integer_value(json_object_get(p->freed, text));
		if (!at) {
			GROW(s->freed, s->n_freed, s->freed_cap);
			at = ++s->n_freed;
			json_object_set_new(p->freed, text, json_integer(at));
		}
		s->freed[at - 1] = (struct journal_freed){addrs[f], number_of(op, "at"), p->order++};
	}
	return 0;
}

static int replay_op(struct replay *p, json_t *op)
{
	json_t *boot = json_object_get(op, "boot"), *put = json_object_get(op, "put"),
	       *del = json_object_get(op, "del");
	int r = 0;

	if (json_is_string(boot)) {
		free(p->s->boot_id);
		p->s->boot_id = xstrdup(json_string_value(boot));
		return 0;
	}
	if (put)
		return replay_put(p, put);
	if (!del && !json_object_get(op, "free"))
		return -EBADMSG;
	if (del)
		r = replay_del(p, del);
	if (r == 0 && json_object_get(op, "free"))
		r = replay_free(p, op);
	return r;
}

/* Return: the change that a line says, or NULL. */
static json_t *line_decode(const char *line, size_t len)
{
	char digits[CRC_LEN + 1] = "", *end;
	uint32_t crc;

	if (len < CRC_LEN + 3 || line[CRC_LEN] != ' ')
		return NULL;
	memcpy(digits, line, CRC_LEN);
	if (strspn(digits, "0123456789abcdef") != CRC_LEN)
		return NULL;
	crc = strtoul(digits, &end, 16);
	if (crc != crc32_of(line + CRC_LEN + 1, len - CRC_LEN - 1))
		return NULL;
	return json_parse("journal", line + CRC_LEN + 1, len - CRC_LEN - 1, NULL);
}

static bool whole_line_follows(const char *data, size_t len)
{
	while (len > 0) {
		const char *nl = memchr(data, '\n', len);
		json_t *op;

		if (!nl)
			return false;
		op = line_decode(data, nl - data);
		json_decref(op);
		if (op)
			return true;
		len -= nl + 1 - data;
		data = nl + 1;
	}
	return false;
}

static int by_order(const void *a, const void *b)
{
	const struct journal_freed *x = a, *y = b;

	return x->order < y->order ? -1 : x->order > y->order;
}

static bool is_in_use(const struct replay *p, const struct addr *a)
{
	for (size_t i = 0; i < p->s->n_records; i++)
		if (addr_eq(&p->s->records[i]->addrs[ipam_family(a)], a))
			return true;
	return false;
}

static void replay_finish(struct replay *p)
{
	struct journal_state *s = p->s;
	size_t n = 0;

	for (size_t i = 0; i < s->n_records; i++)
		if (s->records[i])
			s->records[n++] = s->records[i];
	s->n_records = n;
	n = 0;
	for (size_t i = 0; i < s->n_freed; i++)
		if (!is_in_use(p, &s->freed[i].addr))
			s->freed[n++] = s->freed[i];
	s->n_freed = n;
	if (n)
		qsort(s->freed, n, sizeof(*s->freed), by_order);
	json_decref(p->records);
	json_decref(p->freed);
}

int journal_replay(const char *data, size_t len, struct journal_state *ret, size_t *ret_good, char **ret_error)
{
	struct journal_state s = {0};
	struct replay p = {.s = &s, .records = json_object(), .freed = json_object()};
	size_t at = 0;
	int r = 0;

	while (at < len) {
		const char *nl = memchr(data + at, '\n', len - at);
		_cleanup_json_ json_t *op = nl ? line_decode(data + at, nl - (data + at)) : NULL;

		if (!op)
			break;
		r = replay_op(&p, op);
		if (r < 0)
			break;
		s.lines++;
		at = nl + 1 - data;
	}
	if (r == 0 && at < len && whole_line_follows(data + at, len - at))
		r = -EBADMSG;
	replay_finish(&p);
	if (r < 0) {
		*ret_error = xasprintf("line %zu (byte %zu) is damaged, and whole lines follow", s.lines + 1, at);
		journal_state_done(&s);
		return r;
	}
	*ret = s;
	*ret_good = at;
	return 0;
}

static void add_line(struct buf *b, json_t *op)
{
	_cleanup_free_ char *text = json_text(op);

	buf_addf(b, "%08x %s\n", crc32_of(text, strlen(text)), text);
	json_decref(op);
}

static int append(struct journal *j, const struct buf *b, size_t lines)
{
	int r = write_all(j->fd, b->data, b->len);

	if (r == 0 && fdatasync(j->fd) < 0)
		r = -errno;
	if (r < 0) {
		if (ftruncate(j->fd, j->size) < 0)
			return -EIO; /* a half line at the end: the next start drops it */
		return r;
	}
	j->size += b->len;
	j->lines += lines;
	return 0;
}

static int append_op(struct journal *j, json_t *op)
{
	_cleanup_(buf_done) struct buf b = {0};

	add_line(&b, op);
	return append(j, &b, 1);
}

struct journal *journal_close(struct journal *j)
{
	if (!j)
		return NULL;
	close_fd(j->fd);
	free(j->path);
	free(j->boot_id);
	free(j);
	return NULL;
}

static int open_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd < 0 ? -errno : fd;
}

int journal_open(const char *path, const char *boot_id, struct journal **ret, struct journal_state *ret_state,
		 char **ret_error)
{
	_cleanup_(journal_closep) struct journal *j = xnew0(struct journal);
	_cleanup_free_ char *data = NULL;
	struct journal_state s = {0};
	size_t len = 0, good = 0;
	int r;

	*j = (struct journal){.fd = -1, .path = xstrdup(path), .boot_id = xstrdup(boot_id)};
	r = file_read(path, FILE_MAX, &data, &len);
	if (r < 0 && r != -ENOENT) {
		*ret_error = xasprintf("%s: %s", path, strerror(-r));
		return r;
	}
	if (r == 0) {
		_cleanup_free_ char *why = NULL;

		r = journal_replay(data, len, &s, &good, &why);
		if (r < 0) {
			*ret_error = xasprintf("%s: %s", path, why);
			return r;
		}
	}
	r = j->fd = open_file(path);
	j->size = good;
	j->lines = s.lines;
	if (r >= 0 && ftruncate(j->fd, good) < 0)
		r = -errno;
	if (r >= 0)
		r = append_op(j, json_pack("{ss}", "boot", boot_id));
	if (r < 0) {
		*ret_error = xasprintf("%s: %s", path, strerror(-r));
		journal_state_done(&s);
		return r;
	}
	*ret = take_ptr(j);
	*ret_state = s;
	return 0;
}

int journal_put(struct journal *j, const struct endpoint_record *r)
{
	return append_op(j, json_pack("{so}", "put", endpoint_record_to_json(r)));
}

int journal_remove(struct journal *j, const struct endpoint_record *r, uint64_t freed_ms)
{
	json_t *op = json_pack("{s[ss]}", "del", r->container, r->ifname);

	if (freed_ms != UINT64_MAX) {
		json_object_set_new(op, "free", addrs_to_json(r->addrs));
		json_object_set_new(op, "at", json_integer(freed_ms));
	}
	return append_op(j, op);
}

bool journal_is_there(const struct journal *j)
{
	return file_is_at(j->fd, j->path);
}

bool journal_is_long(const struct journal *j, size_t n_records)
{
	return j->lines > LONG_LINES + 8 * n_records;
}

int journal_snapshot(struct journal *j, const struct journal_state *s)
{
	_cleanup_(buf_done) struct buf b = {0};
	int r, fd;

	add_line(&b, json_pack("{ss}", "boot", j->boot_id));
	for (size_t i = 0; i < s->n_freed; i++) {
		struct addr addrs[IPAM_FAMILIES] = {0};

		addrs[ipam_family(&s->freed[i].addr)] = s->freed[i].addr;
		add_line(&b,
			 json_pack("{so, sI}", "free", addrs_to_json(addrs), "at", (json_int_t)s->freed[i].freed_ms));
	}
	for (size_t i = 0; i < s->n_records; i++)
		add_line(&b, json_pack("{so}", "put", endpoint_record_to_json(s->records[i])));
	r = file_write_atomic(j->path, b.data, b.len, 0600);
	if (r < 0)
		return r;
	fd = open_file(j->path);
	if (fd < 0)
		return fd; /* the old descriptor would write into a file that is gone: the caller ends */
	close_fd(j->fd);
	j->fd = fd;
	j->size = b.len;
	j->lines = 1 + s->n_records + s->n_freed;
	return 0;
}
