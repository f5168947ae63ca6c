/* SPDX-License-Identifier: Apache-2.0 */
/* Options may stand before or after the verb's words, up to a "--"; everything after it is the command. */
#include "lab/args.h"

#define UP (1u << VERB_UP)
#define ALL (~0u)

static const char *const transports[] = { "direct", "vxlan", "auto", "wireguard", "geneve" };

static int read_name(const char *v, struct lab_args *a, char **error)
{
	a->name = v;
	if (name_is_dns_label(v) && strlen(v) <= LAB_NAME_MAX)
		return 0;
	*error = xasprintf("expected lower case letters, digits and '-', at most %d", LAB_NAME_MAX);
	return -EINVAL;
}

static int read_number(const char *v, unsigned min, unsigned max, unsigned *ret, char **error)
{
	uint64_t n;

	if (parse_u64(v, max, &n) == 0 && n >= min) {
		*ret = n;
		return 0;
	}
	*error = xasprintf("expected a number from %u to %u", min, max);
	return -EINVAL;
}

/* None: they come by `node add`, so that somebody may watch the fabric from before the first one. */
static int read_nodes(const char *v, struct lab_args *a, char **error)
{
	return read_number(v, 0, LAB_NODES_MAX, &a->nodes, error);
}

static int read_subnets(const char *v, struct lab_args *a, char **error)
{
	return read_number(v, 1, LAB_SUBNETS_MAX, &a->subnets, error);
}

static int read_mtu(const char *v, struct lab_args *a, char **error)
{
	int r = read_number(v, 1, LAB_MTU_MAX, &a->mtu, error);

	if (r == 0 && a->mtu >= LAB_MTU_MIN)
		return 0;
	free(*error);
	*error = xasprintf("expected a number from %d to %d", LAB_MTU_MIN, LAB_MTU_MAX);
	return -EINVAL;
}

static int read_zones(const char *v, struct lab_args *a, char **error)
{
	return read_number(v, 1, LAB_ZONES_MAX, &a->zones, error);
}

static int read_family(const char *v, struct lab_args *a, char **error)
{
	if (lab_family_parse(v, &a->family) == 0)
		return 0;
	*error = xstrdup("expected dual, dual6, ipv4 or ipv6");
	return -EINVAL;
}

static int read_transport(const char *v, struct lab_args *a, char **error)
{
	for (size_t i = 0; i < ARRAY_SIZE(transports); i++)
		if (streq(v, transports[i])) {
			a->transport = v;
			return 0;
		}
	*error = xstrdup("expected direct, vxlan, geneve, auto or wireguard");
	return -EINVAL;
}

static int read_set(const char *v, struct lab_args *a, char **error)
{
	size_t n = strspn(v, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	if (n == 0 || v[n] != '=') {
		*error = xstrdup("expected KEY=VALUE with the name of an agent's option");
		return -EINVAL;
	}
	GROW(a->set, a->n_set, a->cap_set);
	a->set[a->n_set++] = v;
	return 0;
}

static int read_output(const char *v, struct lab_args *a, char **error)
{
	a->json = streq(v, "json");
	if (a->json)
		return 0;
	*error = xstrdup("expected json");
	return -EINVAL;
}

static const struct {
	const char *name;
	unsigned verbs;
	int (*read)(const char *value, struct lab_args *a, char **ret_error);
} options[] = {
	{ "--name", ALL, read_name },
	{ "--nodes", UP, read_nodes },
	{ "--transport", UP, read_transport },
	{ "--family", UP, read_family },
	{ "--subnets", UP, read_subnets },
	{ "--zones", UP, read_zones },
	{ "--mtu", UP, read_mtu },
	{ "--set", UP, read_set },
	{ "-o", 1u << VERB_STATUS, read_output },
	{ "--output", 1u << VERB_STATUS, read_output },
};

static const struct {
	const char *words[2];
	enum lab_verb verb;
	unsigned min, max; /* further words */
	const char *expected;
} verbs[] = {
	{ { "up" }, VERB_UP, 0, 0, "no further words" },
	{ { "down" }, VERB_DOWN, 0, 0, "no further words" },
	{ { "status" }, VERB_STATUS, 0, 0, "no further words" },
	{ { "kubeconfig" }, VERB_KUBECONFIG, 0, 0, "no further words" },
	{ { "node", "add" }, VERB_NODE_ADD, 0, 0, "no name: nodes are numbered" },
	{ { "node", "stop" }, VERB_NODE_STOP, 1, 1, "one node" },
	{ { "node", "start" }, VERB_NODE_START, 1, 1, "one node" },
	{ { "exec" }, VERB_EXEC, 1, 1, "NODE, NAMESPACE/POD or world, then -- and a command" },
	{ { "help" }, VERB_HELP, 0, 0, "no further words" },
};

struct parser {
	struct lab_args *a;
	char **words;
	size_t n_words, cap_words;
	unsigned used; /* bit i: options[i] was given */
	char **error;
};

static int bad(struct parser *p, const char *fmt, const char *text, char *why)
{
	char shown[128];

	str_escape(shown, sizeof(shown), text);
	*p->error = xasprintf(fmt, shown, why ? why : "");
	free(why);
	return -EINVAL;
}

static int option_index(const char *arg, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (strlen(options[i].name) == len && strncmp(options[i].name, arg, len) == 0)
			return i;
	return -ENOENT;
}

/* Takes one option and its value. Returns how many arguments that were, or -EINVAL. */
static int take_option(struct parser *p, char **argv)
{
	size_t len = strcspn(argv[0], "=");
	int i = option_index(argv[0], len), r, taken = argv[0][len] ? 1 : 2;
	const char *value = argv[0][len] ? argv[0] + len + 1 : argv[1];
	char *why = NULL;
	char what[160], shown[96];

	if (i < 0)
		return bad(p, "no option \"%s\"%s", argv[0], NULL);
	if (!value)
		return bad(p, "%s needs a value%s", argv[0], NULL);
	r = options[i].read(value, p->a, &why);
	if (r < 0) {
		str_escape(shown, sizeof(shown), value);
		snprintf(what, sizeof(what), "%s %s", options[i].name, shown);
		return bad(p, "%s: %s", what, why);
	}
	p->used |= 1u << i;
	return taken;
}

static int match_verb(struct parser *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		unsigned n = verbs[i].words[1] ? 2 : 1, rest = p->n_words - n;

		if (p->n_words < n || !streq(p->words[0], verbs[i].words[0]) ||
		    (n == 2 && !streq(p->words[1], verbs[i].words[1])))
			continue;
		p->a->verb = verbs[i].verb;
		if (rest < verbs[i].min || rest > verbs[i].max)
			return bad(p, "%s: expected %s", p->words[n - 1], xstrdup(verbs[i].expected));
		p->a->target = rest ? p->words[n] : NULL;
		return 0;
	}
	if (p->n_words == 0)
		return bad(p, "%sexpected a verb: up, down, status, kubeconfig, node, exec%s", "", NULL);
	if (streq(p->words[0], "node"))
		return bad(p, "node %s: expected add, stop or start%s", p->n_words > 1 ? p->words[1] : "", NULL);
	return bad(p, "no verb \"%s\": expected up, down, status, kubeconfig, node or exec%s", p->words[0], NULL);
}

static int check(struct parser *p)
{
	struct lab_args *a = p->a;
	int r = match_verb(p);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if ((p->used & (1u << i)) && !(options[i].verbs & (1u << a->verb)))
			return bad(p, "%s does not belong to this verb%s", options[i].name, NULL);
	if (a->verb == VERB_EXEC && (!a->command || !a->command[0]))
		return bad(p, "exec %s: expected -- and a command%s", a->target, NULL);
	if (a->verb != VERB_EXEC && a->command)
		return bad(p, "%s: only exec takes a command%s", p->words[0], NULL);
	return 0;
}

/* `exec TARGET COMMAND…` works without "--" as well: the first word after the target begins the command. */
static bool command_begins(const struct parser *p)
{
	return p->n_words == 2 && streq(p->words[0], "exec");
}

static int scan(struct parser *p, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		int n = 1;

		if (streq(argv[i], "--")) {
			p->a->command = argv + i + 1;
			break;
		}
		if (streq(argv[i], "--help") || streq(argv[i], "-h")) {
			GROW(p->words, p->n_words, p->cap_words);
			p->words[0] = (char *)"help";
			p->n_words = 1;
			return 0;
		}
		if (argv[i][0] == '-' && argv[i][1]) {
			n = take_option(p, argv + i);
			if (n < 0)
				return n;
			i += n - 1;
			continue;
		}
		if (command_begins(p)) {
			p->a->command = argv + i;
			break;
		}
		GROW(p->words, p->n_words, p->cap_words);
		p->words[p->n_words++] = argv[i];
	}
	return 0;
}

void lab_args_done(struct lab_args *a)
{
	free(a->set);
	*a = (struct lab_args){ 0 };
}

int lab_args_parse(int argc, char **argv, struct lab_args *ret, char **ret_error)
{
	struct lab_args a = { .name = "lab", .nodes = 3, .subnets = 1, .zones = 1, .transport = "vxlan" };
	struct parser p = { .a = &a, .error = ret_error };
	int r = scan(&p, argc, argv);

	if (r == 0)
		r = check(&p);
	free(p.words);
	if (r < 0) {
		lab_args_done(&a);
		return r;
	}
	*ret = a;
	return 0;
}
