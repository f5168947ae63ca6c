/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/api.h"

bool openapi_handle(const struct request *rq, struct reply *rp)
{
	(void)rq;
	(void)rp;
	return false;
}
