/* SPDX-License-Identifier: Apache-2.0 */
/* The text of a "set", from a client and from a saved state: whatever is accepted, the configuration that is shown can be set again and shows the same. What a
 * client may say, a saved state may say, too, and it means the same. */
#include "fuzz.h"
#include "wg/test_pair.h"
#include "wg/uapi.h"

static uint16_t port;
static uint32_t mark;

static uint16_t get_port(_unused_ void *ctx)
{
	return port;
}
static uint32_t get_mark(_unused_ void *ctx)
{
	return mark;
}
static int set_port(_unused_ void *ctx, uint16_t v)
{
	port = v;
	return 0;
}
static int set_mark(_unused_ void *ctx, uint32_t v)
{
	mark = v;
	return 0;
}

static char *shown_after(const char *text, bool restoring, int *ret)
{
	static struct pair world;
	static struct node n;
	struct uapi_host host = { .device = &n.device, .port = get_port, .fwmark = get_mark, .set_port = set_port,
				  .set_fwmark = set_mark };
	struct buf out = { 0 };
	char *copy = xstrdup(text);
	const char *bad = NULL;

	memset(&n, 0, sizeof(n));
	n.pair = &world;
	world.now = NS_PER_S;
	port = mark = 0;
	device_init(&n.device, &pair_ops, &n);
	*ret = uapi_apply(&host, copy, restoring, 1, &bad);
	REQUIRE(*ret == 0 || bad);
	uapi_format(&host, &out);
	device_done(&n.device);
	free(copy);
	return out.data ? out.data : xstrdup("");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, MIN(size, (size_t)20000) };
	char *text, *first, *second, *client;
	int r, saved, r_client;

	REQUIRE(crypto_init() == 0);
	text = fuzz_text(&in, NULL);
	first = shown_after(text, true, &saved);
	second = shown_after(first, true, &r);
	REQUIRE(r == 0);
	REQUIRE(streq(first, second));
	client = shown_after(text, false, &r_client);
	free(second);
	second = shown_after(client, true, &r);
	REQUIRE(r == 0);
	REQUIRE(streq(client, second));
	REQUIRE(r_client < 0 || (saved == 0 && streq(client, first)));
	free(text);
	free(first);
	free(second);
	free(client);
	return 0;
}
