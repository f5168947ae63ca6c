/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/token.h"
#include "base/str.h"

void continue_token_done(struct continue_token *t)
{
	free(t->ns);
	free(t->name);
	*t = (struct continue_token){ 0 };
}

char *continue_token_format(uint64_t rev, const char *ns, const char *name)
{
	return xasprintf("v1:%llu:%s:%s", (unsigned long long)rev, ns, name);
}

int continue_token_parse(const char *text, struct continue_token *ret)
{
	_cleanup_free_ char *copy = NULL;
	char *ns, *name;
	uint64_t rev;

	if (strlen(text) > 1024 || !str_has_prefix(text, "v1:"))
		return -EINVAL;
	copy = xstrdup(text + 3);
	ns = strchr(copy, ':');
	if (!ns)
		return -EINVAL;
	*ns++ = 0;
	name = strchr(ns, ':');
	if (!name)
		return -EINVAL;
	*name++ = 0;
	if (parse_u64(copy, INT64_MAX, &rev) < 0 || rev == 0 || (*ns && !name_is_dns_label(ns)) || !name_is_dns_subdomain(name))
		return -EINVAL;
	*ret = (struct continue_token){ rev, xstrdup(ns), xstrdup(name) };
	return 0;
}
