/* SPDX-License-Identifier: Apache-2.0 */
/* The meter in a network namespace of its own, against the kernel's answers on the loopback and a black hole. */
#include "base/str.h"
#include "base/test.h"
#include "net/netns.h"
#include "net/rtnl.h"
#include "observe/meter.h"
#include "observe/echo.h"

#include <linux/if.h>
#include <sched.h>

static struct addr addr(const char *s)
{
	struct addr a = { 0 };

	CHECK(addr_parse(s, &a) == 0);
	return a;
}

static void packets(void)
{
	uint8_t packet[20 + ECHO_BYTES] = { 0x45 };
	struct echo p = { 7, 0x1122334455667788 }, is = { 0 };

	echo_encode(true, 99, 1, &p, packet);
	CHECK_INT(packet[0], 128);
	CHECK_INT(echo_decode(true, 99, packet, ECHO_BYTES, &is), -EBADMSG); /* a request is no answer */
	packet[0] = 129;
	CHECK_INT(echo_decode(true, 99, packet, ECHO_BYTES, &is), 0);
	CHECK(is.slot == 7 && is.nonce == p.nonce);
	CHECK_INT(echo_decode(true, 98, packet, ECHO_BYTES, &is), -EBADMSG);
	CHECK_INT(echo_decode(true, 99, packet, ECHO_BYTES - 1, &is), -EBADMSG);
	memset(packet, 0, sizeof(packet));
	packet[0] = 0x45;
	echo_encode(false, 99, 1, &p, packet + 20);
	packet[20] = 0;
	CHECK_INT(echo_decode(false, 99, packet, sizeof(packet), &is), 0);
	CHECK_INT(echo_decode(false, 99, packet, 20, &is), -EBADMSG);
	CHECK_INT(echo_decode(false, 99, packet, 0, &is), -EBADMSG);
	packet[0] = 0x44;
	CHECK_INT(echo_decode(false, 99, packet, sizeof(packet), &is), -EBADMSG);
}

struct seen {
	const char *name;
	struct meter_result r;
};

static void note(const struct meter_result *r, void *ctx)
{
	struct seen *s = ctx;

	if (streq(s->name, r->name))
		s->r = *r;
}

static struct meter_result of(const struct meter *p, const char *name)
{
	struct seen s = { .name = name };

	meter_each(p, note, &s);
	return s.r;
}

static sd_event *event;

static void measures_and_loses(void)
{
	struct meter_peer peers[] = { { "here4", addr("127.0.0.2"), addr("127.0.0.1") }, { "here6", addr("::1"), addr("::1") },
				      { "nowhere", addr("192.0.2.1"), addr("127.0.0.1") } };
	struct meter *p;

	CHECK_INT(meter_new(event, 30, &p), 0);
	meter_set_peers(p, peers, ARRAY_SIZE(peers));
	while (of(p, "here4").sent < 6 || of(p, "here6").sent < 6 || of(p, "nowhere").sent < 6)
		CHECK(sd_event_run(event, UINT64_MAX) >= 0);
	CHECK(of(p, "here4").rtt_s > 0 && of(p, "here4").rtt_s < 1 && of(p, "here6").rtt_s > 0);
	CHECK(of(p, "here4").recent_loss < 1 && of(p, "nowhere").rtt_s == 0 && of(p, "nowhere").recent_loss == 1);
	CHECK(of(p, "nowhere").lost >= 5);
	meter_set_peers(p, peers + 1, 2); /* another place, the same peer */
	CHECK(of(p, "here6").sent >= 6 && of(p, "here4").name == NULL);
	meter_set_peers(p, peers, 3);
	CHECK(of(p, "here6").sent >= 6 && of(p, "here4").sent == 0);
	meter_free(p);
}

int main(void)
{
	struct rtnl *nl;
	int r = unshare(CLONE_NEWNET) == 0 ? rtnl_open(&nl) : -errno;

	RUN(packets);
	if (r == 0)
		r = rtnl_set_link_up(nl, 1, true);
	if (r == 0)
		r = sd_event_new(&event);
	if (r < 0) {
		printf("ok 2 - measures_and_loses # SKIP needs root: %s\n1..2\n", strerror(-r));
		return test_failures ? 1 : 0;
	}
	rtnl_close(nl);
	RUN(measures_and_loses);
	sd_event_unref(event);
	return test_end();
}
