/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's answer about sockets, as one reading of it (net/nl_query.h): truncated, garbled, without an end. Each message reaches the
 * decoder whole or not at all, and nothing is read behind it. */
#include "fuzz.h"
#include "net/nl_query.h"
#include "net/sock_diag.h"

#include <errno.h>

struct seen {
	size_t messages, sockets, bytes;
};

static int look_at(const struct nlmsghdr *nlh, void *ctx)
{
	struct nlmsghdr *copy = xmalloc(nlh->nlmsg_len);
	struct sock_peer peer;
	struct seen *s = ctx;
	int r;

	memcpy(copy, nlh, nlh->nlmsg_len);
	r = sock_diag_decode(copy, &peer);
	free(copy);
	REQUIRE(r == 0 || r == -ENOMSG || r == -EBADMSG);
	REQUIRE(nlh->nlmsg_type != NLMSG_DONE && nlh->nlmsg_type != NLMSG_ERROR);
	s->messages++;
	s->bytes += nlh->nlmsg_len;
	s->sockets += r == 0;
	return s->sockets == 4 ? -ECANCELED : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = xmalloc(size + 1);
	struct seen s = {0};
	int r;

	if (size)
		memcpy(copy, data, size);
	r = nl_query_feed(copy, size, look_at, &s);
	REQUIRE(r <= 1 && s.bytes <= size);
	REQUIRE((r == -ECANCELED) >= (s.sockets == 4) && s.sockets <= 4);
	free(copy);
	return 0;
}
