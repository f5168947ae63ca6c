/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over the files of a directory: TAP, one line a file. The file at hand is named before it is run, so
 * that a crash is seen to be its. */
#include "base/file.h"
#include "fuzz.h"

#include <dirent.h>

enum { INPUT_MAX = 1 << 20 };

static int is_visible(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static bool replay(const char *path)
{
	_cleanup_free_ char *data = NULL;
	_cleanup_free_ uint8_t *exact = NULL;
	size_t len;
	int r = file_read(path, INPUT_MAX, &data, &len);

	if (r < 0) {
		printf("# %s: %s\n", path, strerror(-r));
		return false;
	}
	exact = xmalloc(len ? len : 1); /* no NUL behind it: a sanitizer sees who reads on */
	memcpy(exact, data, len);
	LLVMFuzzerTestOneInput(exact, len);
	return true;
}

int main(int argc, char **argv)
{
	struct dirent **files = NULL;
	int failed = 0, n;

	if (argc != 2) {
		fputs("usage: replay DIRECTORY\n", stderr);
		return 2;
	}
	n = scandir(argv[1], &files, is_visible, alphasort);
	if (n <= 0)
		printf("# no inputs in %s\nnot ok 1 - inputs\n1..1\n", argv[1]);
	for (int i = 0; i < n; i++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", argv[1], files[i]->d_name);
		bool ok;

		printf("# %s\n", files[i]->d_name);
		fflush(stdout);
		ok = replay(path);
		failed += !ok;
		printf("%sok %d - %s\n", ok ? "" : "not ", i + 1, files[i]->d_name);
		free(files[i]);
	}
	free(files);
	if (n > 0)
		printf("1..%d\n", n);
	return n <= 0 || failed;
}
