/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "base/str.h"

#include <stdarg.h>

#include <inttypes.h>
#include <time.h>

enum { LINE_MAX_BYTES = 4096 };

struct line {
	char text[LINE_MAX_BYTES];
	size_t len;
};

static enum log_level threshold = LOG_INFO;
static const char *const level_names[] = { "error", "warn", "info", "debug" };

void log_set_level(enum log_level level)
{
	threshold = level;
}

int log_level_parse(const char *text, enum log_level *ret_level)
{
	for (size_t i = 0; i < ARRAY_SIZE(level_names); i++)
		if (streq(text, level_names[i])) {
			*ret_level = i;
			return 0;
		}
	return -EINVAL;
}

static _printf_(2, 3) void line_add(struct line *l, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(l->text + l->len, sizeof(l->text) - l->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		l->len = MIN(l->len + n, sizeof(l->text) - 1);
}

/* Bare when it is a plain word, else quoted and escaped. */
static void line_add_str(struct line *l, const char *s)
{
	char escaped[LINE_MAX_BYTES];

	str_escape(escaped, sizeof(escaped), s);
	if (*s && strcspn(s, " =\"") == strlen(s) && streq(escaped, s))
		line_add(l, "%s", s);
	else
		line_add(l, "\"%s\"", escaped);
}

static void line_add_field(struct line *l, const struct log_field *f)
{
	line_add(l, " %s=", f->key);
	switch (f->type) {
	case LOG_T_STR:
		line_add_str(l, f->s ? f->s : "");
		break;
	case LOG_T_INT:
		line_add(l, "%" PRId64, f->i);
		break;
	case LOG_T_UINT:
		line_add(l, "%" PRIu64, f->u);
		break;
	case LOG_T_HEX:
		line_add(l, "0x%" PRIx64, f->u);
		break;
	case LOG_T_FLOAT:
		line_add(l, "%.6g", f->f);
		break;
	case LOG_T_ERRNO:
		line_add_str(l, strerror(f->i < 0 ? -f->i : f->i));
		break;
	case LOG_T_END:
		break;
	}
}

static void line_add_time(struct line *l)
{
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	line_add(l, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
		 tm.tm_min, tm.tm_sec, now.tv_nsec / 1000000);
}

void log_write(enum log_level level, const char *msg, const struct log_field *fields)
{
	int saved_errno = errno;
	struct line l = { .len = 0 };

	if (level > threshold)
		return;
	line_add_time(&l);
	line_add(&l, " %s %s", level_names[level], msg);
	for (; fields->type != LOG_T_END; fields++)
		line_add_field(&l, fields);
	if (l.len >= sizeof(l.text) - 1) {
		l.len = sizeof(l.text) - 5;
		line_add(&l, "…");
	}
	l.text[l.len++] = '\n';
	if (write(STDERR_FILENO, l.text, l.len) < 0)
		errno = saved_errno; /* nowhere left to say it */
	errno = saved_errno;
}
