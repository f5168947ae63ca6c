/* SPDX-License-Identifier: Apache-2.0 */
#include "mesh/uapi.h"
#include "base/str.h"

static const uint8_t no_key[MESH_KEY];

static void add_key(struct buf *out, const char *name, const uint8_t key[static MESH_KEY])
{
	static const char digits[] = "0123456789abcdef";
	char hex[2 * MESH_KEY + 1];

	for (int i = 0; i < MESH_KEY; i++) {
		hex[2 * i] = digits[key[i] >> 4];
		hex[2 * i + 1] = digits[key[i] & 15];
	}
	hex[2 * MESH_KEY] = '\0';
	(void)buf_adds(out, name); /* not by a format, whose own buffers keep a copy */
	(void)buf_adds(out, "=");
	(void)buf_adds(out, hex);
	(void)buf_adds(out, "\n");
	explicit_bzero(hex, sizeof(hex));
}

static void add_prefixes(struct buf *out, const char *sign, const struct prefix *p, size_t n)
{
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < n; i++)
		(void)buf_addf(out, "allowed_ip=%s%s\n", sign, prefix_format(&p[i], text));
}

static void add_step(struct buf *out, const struct mesh_step *s)
{
	char text[ENDPOINT_TEXT_MAX];

	add_key(out, "public_key", s->key);
	if (!s->create)
		(void)buf_adds(out, "update_only=true\n");
	if (s->remove) {
		(void)buf_adds(out, "remove=true\n");
		return;
	}
	if (s->set_endpoint)
		(void)buf_addf(out, "endpoint=%s\n", addr_port_format(&s->endpoint, s->port, text));
	if (s->set_keepalive)
		(void)buf_addf(out, "persistent_keepalive_interval=%u\n", s->keepalive_s);
	if (s->clear_psk)
		add_key(out, "preshared_key", no_key);
	if (s->set_predecessor)
		add_key(out, "replaces", s->predecessor);
	add_prefixes(out, "", s->add, s->n_add);
	add_prefixes(out, "-", s->take, s->n_take);
}

void mesh_uapi_format(const struct mesh_change *c, struct buf *out)
{
	(void)buf_adds(out, "set=1\n");
	if (c->set_key)
		add_key(out, "private_key", c->key);
	if (c->set_port)
		(void)buf_addf(out, "listen_port=%u\n", c->port);
	if (c->set_mark)
		(void)buf_addf(out, "fwmark=%u\n", c->mark);
	for (size_t i = 0; i < c->n_steps; i++)
		add_step(out, &c->steps[i]);
	(void)buf_adds(out, "\n");
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int parse_key(const char *s, uint8_t ret[static MESH_KEY])
{
	if (strlen(s) != 2 * MESH_KEY)
		return -EINVAL;
	for (int i = 0; i < MESH_KEY; i++) {
		int high = hex_digit(s[2 * i]), low = hex_digit(s[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		ret[i] = high << 4 | low;
	}
	return 0;
}

struct answer {
	struct mesh_device *device;
	struct mesh_peer *peer; /* the one that lines are about */
	int error;
};

static int take_number(const char *value, uint64_t max, uint64_t *ret)
{
	return parse_u64(value, max, ret) < 0 ? -EINVAL : 0;
}

static int take_device_line(struct answer *a, const char *key, const char *value)
{
	uint64_t v = 0;
	int r = 0;

	if (streq(key, "private_key")) {
		a->device->has_key = true;
		return parse_key(value, a->device->key);
	}
	if (streq(key, "listen_port")) {
		r = take_number(value, UINT16_MAX, &v);
		a->device->port = v;
	} else if (streq(key, "fwmark")) {
		r = take_number(value, UINT32_MAX, &v);
		a->device->mark = v;
	}
	return r;
}

static int take_allowed(struct mesh_peer *p, const char *value)
{
	struct prefix prefix;

	if (prefix_parse(value, &prefix, NULL) < 0)
		return -EINVAL;
	mesh_peer_allow(p, &prefix);
	return 0;
}

/* A peer that speaks from an address of its link is at "[fe80::1%2]:7". Which link that is plays no part in what is wanted of it. */
static int take_endpoint(struct mesh_peer *p, char *value)
{
	char *scope = strchr(value, '%'), *end = scope ? strchr(scope, ']') : NULL;

	if (end)
		memmove(scope, end, strlen(end) + 1);
	return addr_port_parse(value, &p->endpoint, &p->port) < 0 ? -EINVAL : 0;
}

/* Whether there is one is all that is kept of it. */
static int take_psk(struct mesh_peer *p, const char *value)
{
	uint8_t key[MESH_KEY];
	int r = parse_key(value, key);

	p->has_psk = r == 0 && memcmp(key, no_key, MESH_KEY) != 0;
	explicit_bzero(key, sizeof(key));
	return r;
}

static int take_peer_line(struct mesh_peer *p, const char *key, char *value)
{
	uint64_t v = 0;
	int r = 0;

	if (streq(key, "endpoint"))
		return take_endpoint(p, value);
	if (streq(key, "allowed_ip"))
		return take_allowed(p, value);
	if (streq(key, "preshared_key"))
		return take_psk(p, value);
	if (streq(key, "replaces")) {
		p->has_predecessor = true;
		return parse_key(value, p->predecessor);
	}
	if (streq(key, "persistent_keepalive_interval")) {
		r = take_number(value, UINT16_MAX, &v);
		p->keepalive_s = v;
	} else if (streq(key, "last_handshake_time_sec")) {
		r = take_number(value, INT64_MAX, &v);
		p->handshake_s = v;
	} else if (streq(key, "rx_bytes")) {
		r = take_number(value, UINT64_MAX, &p->rx_bytes);
	} else if (streq(key, "tx_bytes")) {
		r = take_number(value, UINT64_MAX, &p->tx_bytes);
	}
	return r;
}

static int take_line(struct answer *a, const char *key, char *value)
{
	uint8_t public[MESH_KEY];
	int r;

	if (streq(key, "errno")) { /* "errno=-22" as well */
		uint64_t v;

		r = take_number(value + (*value == '-'), 4095, &v);
		a->error = r < 0 ? r : -(int)v;
		return r;
	}
	if (!streq(key, "public_key"))
		return a->peer ? take_peer_line(a->peer, key, value) : take_device_line(a, key, value);
	if (a->device->n_peers == MESH_PEERS_MAX)
		return -E2BIG;
	r = parse_key(value, public);
	if (r == 0)
		a->peer = mesh_device_add(a->device, public);
	return r;
}

int mesh_uapi_parse(char *text, struct mesh_device *ret)
{
	struct mesh_device d = {0};
	struct answer a = {.device = &d, .error = -EINVAL};
	int r = 0;

	for (char *line = text, *next; r == 0 && line && *line; line = next) {
		char *value;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		value = strchr(line, '=');
		if (!value) {
			r = -EINVAL;
			break;
		}
		*value++ = '\0';
		r = take_line(&a, line, value);
		if (str_has_suffix(line, "_key"))
			explicit_bzero(value, strlen(value));
	}
	r = r ? r : a.error;
	if (r < 0) {
		mesh_device_done(&d);
		return r;
	}
	mesh_device_sort(&d);
	*ret = d;
	return 0;
}
