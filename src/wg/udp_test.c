/* SPDX-License-Identifier: Apache-2.0 */
/* The outer sockets, on lo. */
#include "base/test.h"
#include "wg/udp.h"

#include <arpa/inet.h>

enum { TOO_MANY = 200, SIZE = 8 };

static const struct device_ops no_ops;

/* A run of more datagrams than any kernel takes at once is refused with EINVAL, as an older kernel refuses any: they go out one by one. */
static struct endpoint after_refused_run(const char *from, unsigned *ret_arrived)
{
	struct endpoint to = { .to.in4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }, .has_from = true };
	const uint8_t pub[KEY_LEN] = { 9 };
	struct features all;
	const char *bad;
	uint8_t data[TOO_MANY * SIZE] = { 0 }, got[SIZE];
	struct data_stats stats = { 0 };
	struct device d;
	struct udp u;
	struct run run;
	int port;

	CHECK_INT(features_parse("udp_gro", &all, &bad), 0);
	port = udp_open(0, 0, &all, 1, &u);
	CHECK(port > 0);
	to.to.in4.sin_port = htons(port);
	CHECK_INT(inet_pton(AF_INET, from, &to.from4), 1);
	device_init(&d, &no_ops, NULL);
	run = (struct run){ .peer = device_add_peer(&d, pub), .to = to, .data = data, .len = sizeof(data), .segment = SIZE, .count = TOO_MANY };
	peer_set_endpoint(run.peer, &to);
	udp_send_runs(&u, &run, 1, &stats);
	for (*ret_arrived = 0; recv(u.fd4, got, sizeof(got), MSG_DONTWAIT) == SIZE; ++*ret_arrived)
		;
	to = peer_endpoint(run.peer);
	udp_close(&u);
	device_done(&d);
	return to;
}

static void a_run_that_is_refused_keeps_its_source(void)
{
	unsigned arrived;
	struct endpoint to = after_refused_run("127.0.0.3", &arrived);

	CHECK(to.has_from);
	CHECK_INT(arrived, TOO_MANY);
}

static void a_source_that_is_none_is_forgotten(void)
{
	unsigned arrived;
	struct endpoint to = after_refused_run("192.0.2.77", &arrived);

	CHECK(!to.has_from);
	CHECK_INT(arrived, TOO_MANY);
}

int main(void)
{
	if (crypto_init() < 0)
		return 1;
	RUN(a_run_that_is_refused_keeps_its_source);
	RUN(a_source_that_is_none_is_forgotten);
	return test_end();
}
