/* SPDX-License-Identifier: Apache-2.0 */
/* The verifier's work for each program of the tree, against its budget: budget_test BUDGET OBJECT…
 *
 * Whatever the datapath loads is counted where it loads it, also what it needs for a moment only (the sweep's start, what a table inherits). The objects say
 * which programs there are: one that was not loaded, or has no line in the budget, fails, and so does a line of no program. */
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "harness.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <err.h>
#include <stdlib.h>

enum { PROGRAMS_MAX = 64, NAME_MAX_LEN = 31, FLOWS = 65536 };

struct counted {
	char name[NAME_MAX_LEN + 1];
	uint32_t instructions; /* the most that any load of it needed */
};

static struct counted loaded[PROGRAMS_MAX];
static size_t n_loaded;
static char *budget;
static char **objects;

static struct counted *find(const char *name)
{
	for (size_t i = 0; i < n_loaded; i++)
		if (streq(loaded[i].name, name))
			return &loaded[i];
	return NULL;
}

static void note(const char *name, uint32_t instructions)
{
	struct counted *c = find(name);

	if (!c) {
		if (n_loaded == PROGRAMS_MAX)
			errx(1, "more than %d programs", PROGRAMS_MAX);
		c = &loaded[n_loaded++];
		c->instructions = 0;
		snprintf(c->name, sizeof(c->name), "%s", name);
	}
	c->instructions = MAX(c->instructions, instructions);
}

int __real_bpf_object__load(struct bpf_object *obj);
int __wrap_bpf_object__load(struct bpf_object *obj);

int __wrap_bpf_object__load(struct bpf_object *obj)
{
	int r = __real_bpf_object__load(obj);
	struct bpf_program *p;

	if (r < 0)
		return r;
	bpf_object__for_each_program(p, obj) {
		struct bpf_prog_info info = {};
		uint32_t size = sizeof(info);

		if (bpf_obj_get_info_by_fd(bpf_program__fd(p), &info, &size) < 0)
			err(1, "%s", bpf_program__name(p));
		note(bpf_program__name(p), info.verified_insns);
	}
	return r;
}

/* The line "PROGRAM INSTRUCTIONS" at or behind @at; '#' begins a comment. Return: what is behind it, NULL at the end. */
static const char *next_line(const char *at, char name[static NAME_MAX_LEN + 1], uint32_t *ret)
{
	while (*at) {
		size_t n = strcspn(at, " \n");
		const char *line = at;

		at += strcspn(at, "\n");
		at += *at == '\n';
		if (*line == '#' || n == 0)
			continue;
		snprintf(name, NAME_MAX_LEN + 1, "%.*s", (int)n, line);
		*ret = strtoul(line + n, NULL, 10);
		return at;
	}
	return NULL;
}

/* 0: it has none */
static uint32_t budget_of(const char *program)
{
	char name[NAME_MAX_LEN + 1];
	uint32_t n;

	for (const char *at = budget; (at = next_line(at, name, &n));)
		if (streq(name, program))
			return n;
	return 0;
}

static bool is_within(const char *program)
{
	const struct counted *c = find(program);
	uint32_t most = budget_of(program);

	printf("# %-18s %7u of %u\n", program, c ? c->instructions : 0, most);
	if (!c)
		printf("# %s was not loaded\n", program);
	if (!most)
		printf("# %s has no line in the budget\n", program);
	return c && c->instructions > 0 && c->instructions <= most;
}

static void every_program_is_within_its_budget(void)
{
	unsigned out = 0, programs = 0;

	for (char **path = objects; *path; path++) {
		struct bpf_object *o = bpf_object__open_file(*path, NULL);
		struct bpf_program *p;

		CHECK(o);
		bpf_object__for_each_program(p, o) {
			programs++;
			out += !is_within(bpf_program__name(p));
		}
		bpf_object__close(o);
	}
	CHECK_INT(out, 0);
	CHECK_INT(programs, n_loaded); /* and no other one is loaded */
}

static void every_line_is_a_programs(void)
{
	char name[NAME_MAX_LEN + 1];
	uint32_t n, lines = 0;

	for (const char *at = budget; (at = next_line(at, name, &n)); lines++) {
		if (!find(name))
			printf("# no program: %s\n", name);
		CHECK(find(name));
	}
	CHECK_INT(lines, n_loaded);
}

int main(int argc, char **argv)
{
	size_t size;

	if (argc < 3)
		errx(1, "usage: budget_test BUDGET OBJECT...");
	if (file_read(argv[1], 65536, &budget, &size) < 0)
		errx(1, "cannot read %s", argv[1]);
	for (int i = 2; i < argc; i++) {
		argv[i] = realpath(argv[i], NULL);
		if (!argv[i])
			err(1, "an object");
	}
	objects = argv + 2;
	harness_init();
	n_loaded = 0; /* now as agents have it, what options add included; and tables of another size inherit */
	dp_config.flow_max = dp_config.flow_share = dp_config.nat_max = dp_config.nat_share = 2 * FLOWS;
	dp_config.inbound = dp_config.mss_clamp = dp_config.host = true;
	dp_config.xdp = DP_XDP_GENERIC;
	harness_reopen();
	RUN(every_program_is_within_its_budget);
	RUN(every_line_is_a_programs);
	harness_done();
	free(budget);
	return test_end();
}
