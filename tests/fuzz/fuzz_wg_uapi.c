/* SPDX-License-Identifier: Apache-2.0 */
/* The text of a "set": whatever is accepted, the configuration that is shown can be set again and shows the same. */
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

static char *shown_after(const char *text, int *ret)
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
	*ret = uapi_apply(&host, copy, true, 1, &bad);
	REQUIRE(*ret == 0 || bad);
	uapi_format(&host, &out);
	device_done(&n.device);
	free(copy);
	return out.data ? out.data : xstrdup("");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, MIN(size, (size_t)20000) };
	char *text, *first, *second;
	int r;

	REQUIRE(crypto_init() == 0);
	text = fuzz_text(&in, NULL);
	first = shown_after(text, &r);
	second = shown_after(first, &r);
	REQUIRE(r == 0);
	REQUIRE(streq(first, second));
	free(text);
	free(first);
	free(second);
	return 0;
}
