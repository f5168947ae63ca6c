/* SPDX-License-Identifier: Apache-2.0 */
#include "observe/echo.h"

#include <arpa/inet.h>

/* RFC 792, RFC 4443. */
enum { ECHO4_REQUEST = 8, ECHO4_REPLY = 0, ECHO6_REQUEST = 128, ECHO6_REPLY = 129 };

static const uint8_t magic[4] = { 'w', 'e', 'f', 't' };

static void put16(uint8_t *at, uint16_t v)
{
	v = htons(v);
	memcpy(at, &v, sizeof(v));
}

static uint16_t checksum(const uint8_t *data, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += data[i] << 8 | data[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

void echo_encode(bool v6, uint16_t id, uint16_t seq, const struct echo *p, uint8_t out[static ECHO_BYTES])
{
	memset(out, 0, ECHO_BYTES);
	out[0] = v6 ? ECHO6_REQUEST : ECHO4_REQUEST;
	put16(out + 4, id);
	put16(out + 6, seq);
	memcpy(out + 8, magic, sizeof(magic));
	memcpy(out + 12, &p->slot, sizeof(p->slot)); /* only we read it: any byte order will do */
	memcpy(out + 16, &p->nonce, sizeof(p->nonce));
	if (!v6)
		put16(out + 2, checksum(out, ECHO_BYTES));
}

int echo_decode(bool v6, uint16_t id, const void *data, size_t len, struct echo *ret)
{
	const uint8_t *b = data;
	size_t header = v6 || len == 0 ? 0 : (b[0] & 15) * 4u;
	uint8_t is[2];

	if ((!v6 && (header < 20 || b[0] >> 4 != 4)) || len < header || len - header != ECHO_BYTES)
		return -EBADMSG;
	b += header;
	put16(is, id);
	if (b[0] != (v6 ? ECHO6_REPLY : ECHO4_REPLY) || b[1] != 0 || memcmp(b + 4, is, 2) != 0 || memcmp(b + 8, magic, sizeof(magic)) != 0)
		return -EBADMSG;
	memcpy(&ret->slot, b + 12, sizeof(ret->slot));
	memcpy(&ret->nonce, b + 16, sizeof(ret->nonce));
	return 0;
}
