/* SPDX-License-Identifier: Apache-2.0 */
/* The names do not change, so their part of the answer is made once. */
#include "echo/echo.h"
#include "base/json.h"
#include "base/str.h"

static char *names; /* `{"pod":"a","namespace":"b","node":"c"`, without the closing brace */

static json_t *name_from_env(const char *variable)
{
	const char *v = getenv(variable);
	json_t *s = json_string(v ? v : "");

	return s ? s : json_string(""); /* not UTF-8 */
}

void answer_init(void)
{
	_cleanup_json_ json_t *j = json_object();

	json_object_set_new(j, "pod", name_from_env("POD_NAME"));
	json_object_set_new(j, "namespace", name_from_env("POD_NAMESPACE"));
	json_object_set_new(j, "node", name_from_env("NODE_NAME"));
	names = json_text(j);
	names[strlen(names) - 1] = 0;
}

static const char *end_format(const struct sockaddr *sa, char out[static ENDPOINT_TEXT_MAX])
{
	struct addr a;
	uint16_t port;

	if (addr_from_sockaddr(sa, &a, &port) < 0)
		return "";
	return addr_port_format(&a, port, out);
}

void answer_add(struct buf *b, const struct sockaddr *server, const struct sockaddr *client)
{
	char s[ENDPOINT_TEXT_MAX], c[ENDPOINT_TEXT_MAX];

	buf_addf(b, "%s,\"server\":\"%s\",\"client\":\"%s\"}\n", names, end_format(server, s), end_format(client, c));
}
