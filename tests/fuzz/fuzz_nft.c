/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel says of chains and rules of others' packet filters, as one reading of it: truncated, garbled, nested wrongly. */
#include "fuzz.h"
#include "net/nft.h"
#include "net/nl_query.h"

#include <errno.h>

static int look_at(const struct nlmsghdr *nlh, void *ctx)
{
	struct nlmsghdr *copy = xmalloc(nlh->nlmsg_len);
	struct nft_chain chain;
	struct nft_rule rule;
	int as_chain, as_rule;

	memcpy(copy, nlh, nlh->nlmsg_len);
	as_chain = nft_decode_chain(copy, &chain);
	as_rule = nft_decode_rule(copy, &rule);
	free(copy);
	REQUIRE(as_chain == 0 || as_chain == -ENOMSG || as_chain == -EBADMSG);
	REQUIRE(as_rule == 0 || as_rule == -ENOMSG || as_rule == -EBADMSG);
	REQUIRE(as_chain == -ENOMSG || as_rule == -ENOMSG);
	REQUIRE(memchr(chain.table, 0, sizeof(chain.table)) && memchr(chain.name, 0, sizeof(chain.name)));
	REQUIRE(memchr(rule.comment, 0, sizeof(rule.comment)));
	return ++*(size_t *)ctx == 8 ? -ECANCELED : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = xmalloc(size + 1);
	size_t n = 0;

	if (size)
		memcpy(copy, data, size);
	REQUIRE(nl_query_feed(copy, size, look_at, &n) <= 1);
	free(copy);
	return 0;
}
