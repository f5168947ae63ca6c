/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/fault.h"
#include "base/file.h"

#include <signal.h>

int fault_point(const char *name)
{
	static const char *file;
	static bool asked;
	_cleanup_free_ char *text = NULL;
	size_t n = strlen(name);

	if (!asked) {
		file = getenv("WEFT_FAULT_FILE");
		asked = true;
	}
	if (!file || file_read(file, 256, &text, NULL) < 0 || strncmp(text, name, n) != 0 || text[n] != ' ')
		return 0;
	if (strncmp(text + n + 1, "kill", 4) == 0)
		raise(SIGKILL);
	return strncmp(text + n + 1, "error", 5) == 0 ? -EIO : 0;
}
