/* SPDX-License-Identifier: Apache-2.0 */
/* Times as the API writes them. */
#pragma once

#include "base/macro.h"

#include <time.h>

enum { API_TIME_MAX = 32 };

/* "2026-11-20T18:59:17Z" (RFC 3339, UTC, whole seconds); returns @out. */
static inline const char *api_time(time_t t, char out[static API_TIME_MAX])
{
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, API_TIME_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return out;
}
static inline const char *api_now(char out[static API_TIME_MAX])
{
	return api_time(time(NULL), out);
}
