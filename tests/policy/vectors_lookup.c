/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/vectors.h"

void vectors_start(void)
{
}

void vectors_end(void)
{
}

void vectors_compiled(const struct offline *o)
{
	(void)o;
}

bool vectors_judge(const struct offline *o, const struct offline_end *src, const struct offline_end *dst, uint8_t protocol, uint16_t port)
{
	struct policy_answer a;

	offline_judge(o, src, dst, protocol, port, &a);
	return a.allowed;
}
