/* SPDX-License-Identifier: Apache-2.0 */
/* weft mesh rotate-key: a new WireGuard key for this node. */
#include "base/str.h"
#include "cli/verbs.h"
#include "ipc/ipc.h"

enum { TIMEOUT_MS = 10000 };

static int rotate(const char *socket)
{
	_cleanup_ipc_answer_ struct ipc_answer a = {0};
	int r = ipc_call(socket, "rotateKey", NULL, TIMEOUT_MS, &a);
	char why[256];

	if (r == 0 && a.result) {
		puts("The next key is announced; the node changes to it within seconds (weft status, wg show).");
		return 0;
	}
	str_show(why, sizeof(why), r < 0 ? strerror(-r) : a.msg);
	fprintf(stderr, "weft mesh: %s\n", why);
	return 1;
}

int verb_mesh(int argc, char **argv)
{
	const char *socket = argc == 4 && streq(argv[2], "--socket") ? argv[3] : DEFAULT_SOCKET;

	if (argc >= 2 && streq(argv[1], "rotate-key") && (argc == 2 || argc == 4))
		return rotate(socket);
	fputs("usage: weft mesh rotate-key [--socket PATH]\n\nGives this node a new WireGuard key; no packet is lost meanwhile.\n",
	      argc == 2 && streq(argv[1], "--help") ? stdout : stderr);
	return argc == 2 && streq(argv[1], "--help") ? 0 : 2;
}
