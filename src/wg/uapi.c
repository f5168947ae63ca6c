/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of the device and keys of a peer are two tables. After `public_key=` a peer is at hand; it may be a phantom (an
 * update_only or remove of a peer that is not there, or ourselves), whose lines are checked but change nothing. */
#include "wg/uapi.h"

#include "base/str.h"

struct request {
	const struct uapi_host *host;
	struct device *device;
	int64_t now;
	bool restoring;
	bool in_peer;
	uint8_t pub[KEY_LEN];
	struct peer *peer; /* NULL with in_peer: a phantom */
	bool fresh;	   /* made by this request: update_only takes it back */
};

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int parse_key(const char *s, uint8_t out[static KEY_LEN])
{
	if (strlen(s) != 2 * KEY_LEN)
		return -EINVAL;
	for (int i = 0; i < KEY_LEN; i++) {
		int hi = hex_digit(s[2 * i]), lo = hex_digit(s[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return -EINVAL;
		out[i] = hi << 4 | lo;
	}
	return 0;
}

static int parse_number(const char *s, uint64_t max, uint64_t *ret)
{
	return parse_u64(s, max, ret) < 0 ? -EINVAL : 0;
}

/* Device keys. */

static int set_private_key(struct request *q, const char *value)
{
	uint8_t key[KEY_LEN];
	int r = parse_key(value, key);

	if (r == 0)
		device_set_key(q->device, key);
	wipe(key, sizeof(key));
	return r;
}

static int set_listen_port(struct request *q, const char *value)
{
	uint64_t port;
	int r = parse_number(value, 65535, &port);

	return r < 0 ? r : q->host->set_port(q->host->ctx, port);
}

static int set_fwmark(struct request *q, const char *value)
{
	uint64_t mark;
	int r;

	if (str_has_prefix(value, "0x")) {
		char *end;

		errno = 0;
		mark = strtoull(value + 2, &end, 16);
		if (hex_digit(value[2]) < 0 || *end || errno || mark > UINT32_MAX)
			return -EINVAL;
	} else {
		r = parse_number(value, UINT32_MAX, &mark);
		if (r < 0)
			return r;
	}
	return q->host->set_fwmark(q->host->ctx, mark);
}

static int replace_peers(struct request *q, const char *value)
{
	struct peer *p, *tmp;

	if (!streq(value, "true"))
		return -EINVAL;
	list_for_each_safe(p, tmp, &q->device->order, all)
		device_remove_peer(q->device, p);
	return 0;
}

static int begin_peer(struct request *q, const char *value)
{
	int r = parse_key(value, q->pub);

	if (r < 0)
		return r;
	q->in_peer = true;
	q->peer = device_find_peer(q->device, q->pub);
	q->fresh = false;
	if (q->peer || (q->device->identity.set && memcmp(q->pub, q->device->identity.pub, KEY_LEN) == 0))
		return 0;
	q->peer = device_add_peer(q->device, q->pub);
	q->fresh = q->peer != NULL;
	return q->peer ? 0 : -ENOSPC;
}

/* Peer keys. q->peer may be NULL. */

static int remove_peer(struct request *q, const char *value)
{
	if (!streq(value, "true"))
		return -EINVAL;
	if (q->peer)
		device_remove_peer(q->device, q->peer);
	q->peer = NULL;
	return 0;
}

static int update_only(struct request *q, const char *value)
{
	if (!streq(value, "true"))
		return -EINVAL;
	return q->fresh ? remove_peer(q, value) : 0;
}

static int set_psk(struct request *q, const char *value)
{
	uint8_t psk[KEY_LEN];
	int r = parse_key(value, psk);

	if (r == 0 && q->peer)
		device_set_psk(q->peer, psk);
	wipe(psk, sizeof(psk));
	return r;
}

static int set_endpoint(struct request *q, const char *value)
{
	struct endpoint e;
	int r = endpoint_parse(value, &e);

	if (r == 0 && q->peer) {
		device_set_endpoint(q->peer, &e, q->now);
		if (!q->restoring)
			device_post(q->peer, PEER_MOVED);
	}
	return r;
}

static int set_keepalive(struct request *q, const char *value)
{
	uint64_t seconds;
	int r = parse_number(value, 65535, &seconds);

	if (r == 0 && q->peer)
		device_set_keepalive(q->peer, seconds, q->now);
	return r;
}

/* "replaces=KEY": the peer is the one of that key under a new one, and takes its place once it has shaken hands. */
static int set_replaces(struct request *q, const char *value)
{
	uint8_t key[KEY_LEN];
	struct peer *old;
	int r = parse_key(value, key);

	if (r < 0 || !q->peer)
		return r;
	old = device_find_peer(q->device, key);
	if (old)
		device_set_heir(q->peer, old);
	return 0;
}

static int replace_allowed(struct request *q, const char *value)
{
	if (!streq(value, "true"))
		return -EINVAL;
	if (q->peer)
		allowedips_remove_all(&q->device->allowed, &q->peer->allowed);
	return 0;
}

/* "-10.0.0.0/8" takes it away (an extension of newer tools). */
static int set_allowed(struct request *q, const char *value)
{
	bool take = *value == '-';
	struct prefix p;
	struct addr host;
	int r = prefix_parse(value + take, &p, &host);

	/* "::ffff:10.0.0.1/24" would be taken for IPv4, which is not what it says. */
	if (r == 0 && strchr(value, ':') && addr_is_v4(&host))
		r = -EINVAL;
	if (r < 0 || !q->peer)
		return r < 0 ? -EINVAL : 0;
	if (take) {
		(void)allowedips_remove(&q->device->allowed, &p, q->peer); /* not there: nothing to do */
		return 0;
	}
	if (q->device->allowed.count >= UAPI_ALLOWED_MAX)
		return -ENOSPC;
	allowedips_insert(&q->device->allowed, &p, q->peer, &q->peer->allowed);
	return 0;
}

static int protocol_version(struct request *q _unused_, const char *value)
{
	return streq(value, "1") ? 0 : -EINVAL;
}

/* Of a saved state only: whoever had a session is asked for a new one at once. */
static int restore_handshake(struct request *q, const char *value)
{
	uint64_t seconds;
	int r = parse_number(value, INT64_MAX / NS_PER_S, &seconds);

	if (!q->restoring)
		return -EINVAL;
	if (r == 0 && q->peer && seconds)
		device_restore_handshake(q->peer, seconds * NS_PER_S);
	return r;
}

static int ignore_saved(struct request *q, const char *value _unused_)
{
	return q->restoring ? 0 : -EINVAL;
}

struct uapi_key {
	const char *name;
	int (*set)(struct request *q, const char *value);
};

static const struct uapi_key device_keys[] = {
	{ "private_key", set_private_key }, { "listen_port", set_listen_port }, { "fwmark", set_fwmark },
	{ "replace_peers", replace_peers }, { "public_key", begin_peer },
};

static const struct uapi_key peer_keys[] = {
	{ "public_key", begin_peer },
	{ "remove", remove_peer },
	{ "update_only", update_only },
	{ "preshared_key", set_psk },
	{ "endpoint", set_endpoint },
	{ "persistent_keepalive_interval", set_keepalive },
	{ "replace_allowed_ips", replace_allowed },
	{ "allowed_ip", set_allowed },
	{ "replaces", set_replaces },
	{ "protocol_version", protocol_version },
	{ "last_handshake_time_sec", restore_handshake },
	{ "last_handshake_time_nsec", ignore_saved },
	{ "tx_bytes", ignore_saved },
	{ "rx_bytes", ignore_saved },
};

/* @ret_name: a static string to call the line by. */
static int apply_line(struct request *q, const char *key, const char *value, const char **ret_name)
{
	const struct uapi_key *keys = q->in_peer ? peer_keys : device_keys;
	size_t n = q->in_peer ? ARRAY_SIZE(peer_keys) : ARRAY_SIZE(device_keys);

	for (size_t i = 0; i < n; i++) {
		if (streq(keys[i].name, key)) {
			*ret_name = keys[i].name;
			return keys[i].set(q, value);
		}
	}
	*ret_name = "(unknown)";
	return -EINVAL;
}

int uapi_apply(const struct uapi_host *h, char *text, bool restoring, int64_t now, const char **ret_bad)
{
	struct request q = { .host = h, .device = h->device, .now = now, .restoring = restoring };
	char *line = text, *next;
	int r = 0;

	for (; r == 0 && line && *line; line = next) {
		char *value;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		value = strchr(line, '=');
		if (!value) {
			*ret_bad = "(none)";
			return -EINVAL;
		}
		*value++ = '\0';
		r = apply_line(&q, line, value, ret_bad);
		if (strstr(line, "key"))
			wipe(value, strlen(value));
	}
	return r;
}

static void add_key(struct buf *out, const char *name, const uint8_t key[static KEY_LEN])
{
	static const char digits[] = "0123456789abcdef";
	char line[2 * KEY_LEN + 1];

	for (int i = 0; i < KEY_LEN; i++) {
		line[2 * i] = digits[key[i] >> 4];
		line[2 * i + 1] = digits[key[i] & 15];
	}
	line[2 * KEY_LEN] = '\0';
	(void)buf_adds(out, name); /* not by a format, whose own buffers keep a copy */
	(void)buf_adds(out, "=");
	(void)buf_adds(out, line);
	(void)buf_adds(out, "\n");
	wipe(line, sizeof(line));
}

static void format_peer(struct peer *p, struct buf *out)
{
	struct endpoint e = peer_endpoint(p);
	struct allowed_node *n;
	char text[80];

	add_key(out, "public_key", p->noise.pub);
	add_key(out, "preshared_key", p->noise.psk);
	(void)buf_adds(out, "protocol_version=1\n");
	if (endpoint_is_set(&e)) {
		endpoint_format(&e, text, sizeof(text));
		(void)buf_addf(out, "endpoint=%s\n", text);
	}
	if (p->is_heir && atomic_load(&p->twin))
		add_key(out, "replaces", atomic_load(&p->twin)->noise.pub);
	(void)buf_addf(out,
		       "last_handshake_time_sec=%lld\nlast_handshake_time_nsec=%lld\ntx_bytes=%llu\nrx_bytes=%llu\n"
		       "persistent_keepalive_interval=%u\n",
		       (long long)(p->last_handshake_real_ns / NS_PER_S), (long long)(p->last_handshake_real_ns % NS_PER_S),
		       (unsigned long long)atomic_load(&p->tx_bytes), (unsigned long long)atomic_load(&p->rx_bytes),
		       p->persistent_keepalive_s);
	list_for_each(n, &p->allowed, of_peer) {
		char prefix[PREFIX_TEXT_MAX];

		(void)buf_addf(out, "allowed_ip=%s\n", prefix_format(&n->prefix, prefix));
	}
}

void uapi_format(const struct uapi_host *h, struct buf *out)
{
	struct device *d = h->device;
	struct peer *p;

	if (d->identity.set)
		add_key(out, "private_key", d->identity.priv);
	if (h->port(h->ctx))
		(void)buf_addf(out, "listen_port=%u\n", h->port(h->ctx));
	if (h->fwmark(h->ctx))
		(void)buf_addf(out, "fwmark=%u\n", h->fwmark(h->ctx));
	/* Whoever replaces another peer comes after it: the text is read again by a successor and by the next start. */
	list_for_each(p, &d->order, all)
		if (!p->is_heir)
			format_peer(p, out);
	list_for_each(p, &d->order, all)
		if (p->is_heir)
			format_peer(p, out);
}
