/* SPDX-License-Identifier: Apache-2.0 */
/* metav1.Status: how the API says no. A function that may refuse returns a Status (a new reference, the caller's)
 * or NULL when all is well. */
#pragma once

#include "hub/errors.h"

struct kind;

json_t *status_new(int code, const char *reason, const char *fmt, ...) _printf_(3, 4);
json_t *status_bad_request(const char *fmt, ...) _printf_(1, 2);
json_t *status_not_found(const struct kind *k, const char *name);
json_t *status_exists(const struct kind *k, const char *name);
json_t *status_conflict(const struct kind *k, const char *name, const char *detail);
json_t *status_invalid(const struct kind *k, const char *name, const struct errors *e);
json_t *status_expired(const char *fmt, ...) _printf_(1, 2);
json_t *status_success(const struct kind *k, const char *name, const char *uid);
int status_code(const json_t *status);
