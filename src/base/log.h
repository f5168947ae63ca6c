/* SPDX-License-Identifier: Apache-2.0 */
/* Structured log lines on standard error: a constant message, data in typed fields.
 *
 *	log_error("cannot create the pod's link", L_STR("pod", name), L_ERRNO(r));
 *
 * prints `2026-11-20T18:59:17.123Z error cannot create the pod's link pod=default/a error="File exists"`.
 * Values are escaped, so a hostile string can neither start a new line nor move a terminal's cursor.
 * An error is logged once, where it stops. */
#pragma once

#include "base/macro.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

enum log_type { LOG_T_END, LOG_T_STR, LOG_T_INT, LOG_T_UINT, LOG_T_HEX, LOG_T_ERRNO, LOG_T_FLOAT };

struct log_field {
	const char *key;
	enum log_type type;
	union {
		const char *s; /* NULL prints "" */
		int64_t i;
		uint64_t u;
		double f;
	};
};

#define L_STR(k, v) ((struct log_field){ .key = (k), .type = LOG_T_STR, .s = (v) })
#define L_INT(k, v) ((struct log_field){ .key = (k), .type = LOG_T_INT, .i = (v) })
#define L_UINT(k, v) ((struct log_field){ .key = (k), .type = LOG_T_UINT, .u = (v) })
#define L_HEX(k, v) ((struct log_field){ .key = (k), .type = LOG_T_HEX, .u = (v) })
#define L_FLOAT(k, v) ((struct log_field){ .key = (k), .type = LOG_T_FLOAT, .f = (v) })
/* An errno of either sign, printed as text under the key "error". */
#define L_ERRNO(v) ((struct log_field){ .key = "error", .type = LOG_T_ERRNO, .i = (v) })

#define log_write_at(level, msg, ...)                                                                                  \
	log_write((level), (msg), (const struct log_field[]){ __VA_ARGS__ __VA_OPT__(, ) { .type = LOG_T_END } })
#define log_error(msg, ...) log_write_at(LOG_ERROR, msg __VA_OPT__(, ) __VA_ARGS__)
#define log_warn(msg, ...) log_write_at(LOG_WARN, msg __VA_OPT__(, ) __VA_ARGS__)
#define log_info(msg, ...) log_write_at(LOG_INFO, msg __VA_OPT__(, ) __VA_ARGS__)
#define log_debug(msg, ...) log_write_at(LOG_DEBUG, msg __VA_OPT__(, ) __VA_ARGS__)

/**
 * log_set_level() - least urgent level that is still written; LOG_INFO until called
 */
void log_set_level(enum log_level level);

/**
 * log_level_parse() - "error", "warn", "info" or "debug"
 *
 * Return: 0, -EINVAL.
 */
int log_level_parse(const char *text, enum log_level *ret_level);

/**
 * log_write() - what the macros above call; @fields ends with LOG_T_END
 *
 * One write(2) a line, at most 4 KiB (longer lines end in "…").
 */
void log_write(enum log_level level, const char *msg, const struct log_field *fields);
