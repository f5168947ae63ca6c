/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/options.h"
#include "base/str.h"
#include "hub/node_ports.h"

#include <fcntl.h>
#include <getopt.h>

static const char usage[] =
	"usage: weft-hub --data DIR [--listen ADDRESS:PORT]... [--listen-fd N]... [OPTION]...\n"
	"       weft-hub kubeconfig --data DIR --server URL --user NAME [--group GROUP]...\n"
	"\n"
	"  --data DIR                   where everything is kept\n"
	"  --listen ADDRESS:PORT        serve there ([ADDRESS]:PORT for IPv6; port 0: a free one)\n"
	"  --listen-fd N                serve on this listening socket, inherited\n"
	"  --tls-san NAME               one more name or address for the server's certificate\n"
	"  --cluster-cidr CIDR[,CIDR]   pod ranges, one a family      (10.244.0.0/16,fd00:244::/48)\n"
	"  --node-cidr-mask-size-ipv4 N length of a node's IPv4 range (24)\n"
	"  --node-cidr-mask-size-ipv6 N length of a node's IPv6 range (64)\n"
	"  --service-cidr CIDR[,CIDR]   service ranges, one a family  (10.96.0.0/16,fd00:96::/112)\n"
	"  --service-node-port-range A-B  ports that services get on every node (30000-32767)\n"
	"  --ready-fd N                 write a line there when serving\n"
	"  --version, --help\n";

static int bad(const char *option, const char *value, const char *expected)
{
	char escaped[200];

	str_escape(escaped, sizeof(escaped), value);
	fprintf(stderr, "weft-hub: %s %s: expected %s\n", option, escaped, expected);
	return -EINVAL;
}

static int missing(const char *option)
{
	fprintf(stderr, "weft-hub: %s is missing (see weft-hub --help)\n", option);
	return -EINVAL;
}

static int too_many(const char *option)
{
	fprintf(stderr, "weft-hub: too many %s\n", option);
	return -EINVAL;
}

static int parse_listen(const char *text, struct options *o)
{
	if (o->n_listen == LISTEN_MAX)
		return too_many("--listen");
	if (addr_port_parse(text, &o->listen[o->n_listen].addr, &o->listen[o->n_listen].port) < 0)
		return bad("--listen", text, "ADDRESS:PORT or [ADDRESS]:PORT");
	o->n_listen++;
	return 0;
}

static int parse_fd(const char *option, const char *text, int *ret)
{
	uint64_t n;

	if (parse_u64(text, 65535, &n) < 0 || fcntl(n, F_GETFD) < 0)
		return bad(option, text, "the number of an open file descriptor");
	*ret = n;
	return 0;
}

/* One or two prefixes of different families. */
static int parse_cidrs(const char *option, const char *text, struct prefix out[static 2], size_t *ret_n)
{
	_cleanup_free_ char *copy = xstrdup(text);
	char *save = NULL;
	size_t n = 0;

	for (char *s = strtok_r(copy, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
		if (n == 2 || prefix_parse(s, &out[n], NULL) < 0)
			return bad(option, text, "one CIDR or two of different families, without host bits");
		n++;
	}
	if (n == 0 || (n == 2 && addr_is_v4(&out[0].addr) == addr_is_v4(&out[1].addr)))
		return bad(option, text, "one CIDR or two of different families, without host bits");
	*ret_n = n;
	return 0;
}

static int parse_mask(const char *option, const char *text, unsigned max, unsigned *ret)
{
	uint64_t n;

	if (parse_u64(text, max, &n) < 0 || n == 0)
		return bad(option, text, max == 30 ? "a prefix length from 1 to 30" : "a prefix length from 1 to 126");
	*ret = n;
	return 0;
}

static int parse_port_range(const char *text, struct options *o)
{
	_cleanup_free_ char *copy = xstrdup(text);
	char *dash = strchr(copy, '-');
	uint64_t first, last;

	if (dash)
		*dash = 0;
	if (!dash || parse_u64(copy, 65535, &first) < 0 || parse_u64(dash + 1, 65535, &last) < 0 || first == 0 || first > last)
		return bad("--service-node-port-range", text, "FIRST-LAST, ports from 1 to 65535");
	o->node_port_first = first;
	o->node_port_last = last;
	return 0;
}

static int check_ranges(const struct options *o)
{
	for (size_t i = 0; i < o->n_cluster; i++) {
		const struct prefix *p = &o->cluster[i];
		unsigned mask = addr_is_v4(&p->addr) ? o->node_mask_v4 : o->node_mask_v6, len = prefix_len_text(p);

		if (mask < len) {
			fprintf(stderr, "weft-hub: a node's range of /%u does not fit into the cluster's /%u\n", mask, len);
			return -EINVAL;
		}
		for (size_t j = 0; j < o->n_service; j++)
			if (prefix_covers(p, &o->service[j]) || prefix_covers(&o->service[j], p)) {
				fprintf(stderr, "weft-hub: --cluster-cidr and --service-cidr overlap\n");
				return -EINVAL;
			}
	}
	return 0;
}

static int check_required(const struct options *o)
{
	if (!o->data || !*o->data)
		return missing("--data");
	if (o->n_listen + o->n_listen_fds == 0)
		return missing("--listen");
	return check_ranges(o);
}

enum { O_DATA = 256, O_LISTEN, O_LISTEN_FD, O_SAN, O_CLUSTER, O_MASK4, O_MASK6, O_SERVICE, O_PORTS, O_READY, O_VERSION, O_HELP, O_SERVER,
       O_USER, O_GROUP };

static int parse_option(int c, struct options *o)
{
	switch (c) {
	case O_DATA:
		o->data = optarg;
		return 0;
	case O_LISTEN:
		return parse_listen(optarg, o);
	case O_LISTEN_FD:
		if (o->n_listen_fds == LISTEN_MAX)
			return too_many("--listen-fd");
		return parse_fd("--listen-fd", optarg, &o->listen_fds[o->n_listen_fds++]);
	case O_SAN:
		if (o->n_names == NAMES_MAX)
			return too_many("--tls-san");
		if (!name_is_dns_subdomain(optarg) && addr_parse(optarg, &(struct addr){ 0 }) < 0)
			return bad("--tls-san", optarg, "a DNS name or an address");
		o->names[o->n_names++] = optarg;
		return 0;
	case O_CLUSTER:
		return parse_cidrs("--cluster-cidr", optarg, o->cluster, &o->n_cluster);
	case O_SERVICE:
		return parse_cidrs("--service-cidr", optarg, o->service, &o->n_service);
	case O_PORTS:
		return parse_port_range(optarg, o);
	case O_MASK4:
		return parse_mask("--node-cidr-mask-size-ipv4", optarg, 30, &o->node_mask_v4);
	case O_MASK6:
		return parse_mask("--node-cidr-mask-size-ipv6", optarg, 126, &o->node_mask_v6);
	case O_READY:
		return parse_fd("--ready-fd", optarg, &o->ready_fd);
	case O_VERSION:
		puts("weft-hub " WEFT_VERSION);
		return 1;
	case O_HELP:
		fputs(usage, stdout);
		return 1;
	default:
		fputs("weft-hub: see weft-hub --help\n", stderr);
		return -EINVAL;
	}
}

int options_parse(int argc, char **argv, struct options *ret)
{
	static const struct option table[] = {
		{ "data", required_argument, NULL, O_DATA },
		{ "listen", required_argument, NULL, O_LISTEN },
		{ "listen-fd", required_argument, NULL, O_LISTEN_FD },
		{ "tls-san", required_argument, NULL, O_SAN },
		{ "cluster-cidr", required_argument, NULL, O_CLUSTER },
		{ "service-cidr", required_argument, NULL, O_SERVICE },
		{ "node-cidr-mask-size-ipv4", required_argument, NULL, O_MASK4 },
		{ "node-cidr-mask-size-ipv6", required_argument, NULL, O_MASK6 },
		{ "service-node-port-range", required_argument, NULL, O_PORTS },
		{ "ready-fd", required_argument, NULL, O_READY },
		{ "version", no_argument, NULL, O_VERSION },
		{ "help", no_argument, NULL, O_HELP },
		{ 0 },
	};
	struct options o = { .node_mask_v4 = 24, .node_mask_v6 = 64, .node_port_first = NODE_PORT_FIRST,
			     .node_port_last = NODE_PORT_LAST, .ready_fd = -1 };
	int c, r;

	parse_cidrs("", "10.244.0.0/16,fd00:244::/48", o.cluster, &o.n_cluster);
	parse_cidrs("", "10.96.0.0/16,fd00:96::/112", o.service, &o.n_service);
	while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
		r = parse_option(c, &o);
		if (r != 0)
			return r;
	}
	if (optind < argc)
		return bad("argument", argv[optind], "only options");
	r = check_required(&o);
	if (r == 0)
		*ret = o;
	return r;
}

static int parse_kubeconfig_option(int c, struct kubeconfig_options *o)
{
	switch (c) {
	case O_DATA:
		o->data = optarg;
		return 0;
	case O_SERVER:
		if (!str_has_prefix(optarg, "https://") || strpbrk(optarg, " \t\r\n\"'\\#{}[]") != strchr(optarg, '['))
			return bad("--server", optarg, "https://HOST:PORT");
		o->server = optarg;
		return 0;
	case O_USER:
		if (!*optarg || strlen(optarg) > 64 || strpbrk(optarg, "\"\\\n\r\t"))
			return bad("--user", optarg, "a name of at most 64 characters");
		o->user = optarg;
		return 0;
	case O_GROUP:
		if (o->n_groups == GROUPS_MAX_ARGS)
			return too_many("--group");
		if (!*optarg || strlen(optarg) > 64)
			return bad("--group", optarg, "a name of at most 64 characters");
		o->groups[o->n_groups++] = optarg;
		return 0;
	case O_HELP:
		fputs(usage, stdout);
		return 1;
	default:
		fputs("weft-hub: see weft-hub --help\n", stderr);
		return -EINVAL;
	}
}

int kubeconfig_options_parse(int argc, char **argv, struct kubeconfig_options *ret)
{
	static const struct option table[] = {
		{ "data", required_argument, NULL, O_DATA },   { "server", required_argument, NULL, O_SERVER },
		{ "user", required_argument, NULL, O_USER },   { "group", required_argument, NULL, O_GROUP },
		{ "help", no_argument, NULL, O_HELP },	       { 0 },
	};
	struct kubeconfig_options o = { 0 };
	int c;

	while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
		int r = parse_kubeconfig_option(c, &o);

		if (r != 0)
			return r;
	}
	if (optind < argc)
		return bad("argument", argv[optind], "only options");
	if (!o.data)
		return missing("--data");
	if (!o.server)
		return missing("--server");
	if (!o.user)
		return missing("--user");
	*ret = o;
	return 0;
}
