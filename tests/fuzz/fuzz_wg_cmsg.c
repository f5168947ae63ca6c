/* SPDX-License-Identifier: Apache-2.0 */
/* What recvmsg() says about a message: the first byte is the length of the control data, which follows, then the
 * message. Any segment size cuts the message into parts that lie within it. */
#include "fuzz.h"
#include "wg/test_pair.h"
#include "wg/udp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct pair p;
	struct fuzz_input in = { data, size };
	size_t n = MIN((size_t)fuzz_byte(&in), in.size);
	_Alignas(struct cmsghdr) uint8_t control[256];
	struct msghdr m = { .msg_control = control, .msg_controllen = n };
	struct udp_message msg = { 0 };
	uint64_t parts;
	uint8_t *copy;

	REQUIRE(crypto_init() == 0);
	memcpy(control, in.data, n);
	in.data += n;
	in.size -= n;
	msg.len = msg.segment = in.size;
	udp_read_control(&m, &msg);
	copy = xmalloc(in.size + 1);
	memcpy(copy, in.data, in.size);
	pair_init(&p);
	inbound_message(&p.n[1].in, copy, in.size, msg.segment, &msg.from, msg.ds, p.now);
	inbound_flush(&p.n[1].in, p.now);
	parts = atomic_load(&p.n[1].stats.udp_received);
	REQUIRE(parts == (msg.segment ? (in.size + msg.segment - 1) / msg.segment : 0));
	pair_done(&p);
	free(copy);
	return 0;
}
