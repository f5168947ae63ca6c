/* SPDX-License-Identifier: Apache-2.0 */
/* weft status: the agent's state on one screen. Names in it come from the cluster's users: all text is escaped. */
#include "base/str.h"
#include "cli/field.h"
#include "cli/verbs.h"
#include "ipc/ipc.h"

#include <time.h>

enum { TIMEOUT_MS = 10000, ENDPOINTS_SHOWN = 30 };

/* The texts of a list, joined, escaped; owned by the caller. */
static char *joined(const json_t *list)
{
	char *all = xstrdup(""), one[256];
	const json_t *v;
	size_t i;

	json_array_foreach((json_t *)list, i, v) {
		char *more;

		str_escape(one, sizeof(one), json_str_or(v, ""));
		more = xasprintf("%s%s%s", all, i ? ", " : "", one);
		free(all);
		all = more;
	}
	return all;
}

static void format_age(char out[32], long long since_s)
{
	long long s = time(NULL) - since_s;

	if (s < 0)
		s = 0;
	if (s < 120)
		snprintf(out, 32, "%lld s", s);
	else if (s < 7200)
		snprintf(out, 32, "%lld min", s / 60);
	else if (s < 172800)
		snprintf(out, 32, "%lld h", s / 3600);
	else
		snprintf(out, 32, "%lld d", s / 86400);
}

static void print_node(const json_t *s)
{
	_cleanup_free_ char *ranges = joined(json_at(s, "ranges")), *underlay = joined(json_at(s, "underlayAddresses")),
			    *uplinks = joined(json_at(s, "uplinks"));
	char age[32];

	format_age(age, field_number(s, "startedAt"));
	printf("Node        %s   %s   weft %s, up %s\n", field_text(s, "node"),
	       json_is_true(json_at(s, "ready")) ? "ready" : "NOT READY", field_text(s, "version"), age);
	printf("Network     %s   pods %s   underlay %s on %s\n", field_text(s, "transport"), *ranges ? ranges : "-",
	       *underlay ? underlay : "-", *uplinks ? uplinks : "-");
	printf("MTU         device %lld, routes %lld\n", field_number(json_at(s, "mtu"), "device"),
	       field_number(json_at(s, "mtu"), "route"));
}

static void print_health(const json_t *health)
{
	const char *name;
	json_t *part;

	json_object_foreach((json_t *)health, name, part) {
		bool ok = json_is_true(json_at(part, "ok"));
		char age[32];

		format_age(age, field_number(part, "since"));
		printf("  %-10s %s for %s", name, ok ? "ok" : "PROBLEM", age);
		if (!ok)
			printf(": %s", field_text(part, "error"));
		putchar('\n');
	}
}

static void print_ipam(const json_t *list)
{
	const json_t *r;
	size_t i;

	json_array_foreach((json_t *)list, i, r)
		printf("  %-20s %lld of %lld in use, %lld resting\n", field_text(r, "range"), field_number(r, "used"),
		       field_number(r, "size"), field_number(r, "resting"));
}

/* The encrypted way to a peer: since when it works. */
static void print_handshake(const json_t *p)
{
	long long at = field_number(p, "lastHandshake");
	char age[32];

	if (!json_at(p, "mesh"))
		return;
	format_age(age, at);
	printf("  key %.8s…, %s%s%s", *field_text(p, "publicKey") ? field_text(p, "publicKey") : "none", at ? "handshake " : "no handshake yet", at ? age : "",
	       at ? " ago" : "");
	if (*field_text(p, "endpoint"))
		printf(" at %s", field_text(p, "endpoint"));
}

static void print_mesh(const json_t *m)
{
	if (!json_is_object(m))
		return;
	printf("Mesh        %s, engine %s, port %lld, key %s%s\n", field_text(m, "interface"), *field_text(m, "engine") ? field_text(m, "engine") : "none yet",
	       field_number(m, "port"), field_text(m, "publicKey"), json_is_true(json_at(m, "settled")) ? "" : ", not as it should be yet");
}

/* "0.2 ms, 0 % lost" of the family that is worse. */
static void print_measured(const json_t *probes)
{
	double rtt = 0, loss = 0;
	const json_t *p;
	size_t i;

	json_array_foreach((json_t *)probes, i, p) {
		rtt = MAX(rtt, json_number_value(json_at(p, "rttMs")));
		loss = MAX(loss, json_number_value(json_at(p, "lossPercent")));
	}
	if (json_array_size(probes) && rtt > 0)
		printf("  %.2f ms, %.0f %% lost", rtt, loss);
	else if (loss > 0)
		printf("  no answer, %.0f %% lost", loss);
}

static void print_peers(const json_t *list)
{
	const json_t *p;
	size_t i;

	json_array_foreach((json_t *)list, i, p) {
		printf("  %-12s %-8s %-14s %-24s MTU %lld", field_text(p, "name"), field_text(p, "transport"), field_text(p, "state"),
		       field_text(p, "address"), field_number(p, "mtu"));
		print_measured(json_at(p, "measured"));
		print_handshake(p);
		if (json_at(p, "reason"))
			printf("  %s", field_text(p, "reason"));
		if (json_at(p, "why"))
			printf("  %s", field_text(p, "why"));
		putchar('\n');
	}
}

static void print_endpoints(const json_t *list)
{
	const json_t *e;
	size_t i;

	json_array_foreach((json_t *)list, i, e) {
		_cleanup_free_ char *addrs = joined(json_at(e, "addresses"));

		if (i == ENDPOINTS_SHOWN) {
			printf("  … and %zu more (-o json has all)\n", json_array_size(list) - i);
			return;
		}
		if (*field_text(e, "pod"))
			printf("  %s/%s   %s   %s\n", field_text(e, "namespace"), field_text(e, "pod"), addrs,
			       field_text(e, "hostInterface"));
		else
			printf("  container %.12s   %s   %s\n", field_text(e, "container"), addrs, field_text(e, "hostInterface"));
		if (json_at(e, "problem"))
			printf("    %s\n", field_text(e, "problem"));
	}
}

static void print_forwarded(const json_t *list)
{
	const json_t *w;
	size_t i;

	json_array_foreach((json_t *)list, i, w)
		printf("%s%s %lld", i ? ", " : "", field_text(w, "way"), field_number(w, "packets"));
	putchar('\n');
}

static void print_drops(const json_t *list)
{
	const json_t *d;
	size_t i, column = 0;

	json_array_foreach((json_t *)list, i, d) {
		printf("  %-20s %10lld", field_text(d, "reason"), field_number(d, "packets"));
		if (++column % 3 == 0)
			putchar('\n');
	}
	if (column % 3)
		putchar('\n');
}

static void print_recent(const json_t *list)
{
	const json_t *d;
	size_t i;

	json_array_foreach((json_t *)list, i, d) {
		time_t at = field_number(d, "atMs") / 1000;
		char when[16];
		struct tm tm;

		strftime(when, sizeof(when), "%H:%M:%S", localtime_r(&at, &tm));
		printf("  %s %-20s", when, field_text(d, "reason"));
		if (json_at(d, "source"))
			printf(" %s → %s, protocol %lld", field_text(d, "source"), field_text(d, "destination"),
			       field_number(d, "protocol"));
		printf("  %s\n", field_text(d, "pod"));
		if (i == 4)
			return;
	}
}

static void print_repairs(const json_t *repairs)
{
	const json_t *r;
	size_t i;

	if (!json_array_size(json_at(repairs, "recent")))
		return;
	puts("Repairs     of what somebody else had taken away or changed");
	json_array_foreach(json_at(repairs, "recent"), i, r) {
		time_t at = field_number(r, "atMs") / 1000;
		char when[24];
		struct tm tm;

		strftime(when, sizeof(when), "%m-%d %H:%M:%S", localtime_r(&at, &tm));
		printf("  %s %-10s %s\n", when, field_text(r, "what"), field_text(r, "where"));
		if (i == 4)
			return;
	}
}

static void print_warnings(const json_t *s)
{
	const json_t *w;
	size_t i;

	printf("Policies    %lld in force, %lld classes of peers\n", field_number(json_at(s, "networkPolicies"), "enforced"),
	       field_number(json_at(s, "networkPolicies"), "classes"));
	json_array_foreach(json_at(s, "warnings"), i, w) {
		char line[512];

		str_show(line, sizeof(line), json_str_or(w, ""));
		printf("Warning     %s\n", line);
	}
}

/* Only where somebody asked for it. */
static void print_xdp(const json_t *datapath)
{
	char name[64], line[256];
	const char *uplink;
	json_t *mode;

	json_object_foreach((json_t *)json_at(datapath, "xdp"), uplink, mode) {
		if (streq(json_str_or(mode, "off"), "off"))
			continue;
		str_escape(name, sizeof(name), uplink);
		str_show(line, sizeof(line), json_str_or(mode, ""));
		printf("            XDP on %s: %s\n", name, line);
	}
	if (field_number(datapath, "xdpPackets"))
		printf("            XDP sent %lld packets on\n", field_number(datapath, "xdpPackets"));
}

static void print_screen(const json_t *s)
{
	print_node(s);
	print_warnings(s);
	puts("Health");
	print_health(json_at(s, "health"));
	puts("Addresses");
	print_ipam(json_at(s, "ipam"));
	printf("Datapath    attach %s, fast path %s, flows %lld of %lld (%lld new)\n",
	       field_text(json_at(s, "datapath"), "attach"), json_is_true(json_at(s, "datapath", "fastPath")) ? "on" : "off",
	       field_number(json_at(s, "datapath"), "flows"), field_number(json_at(s, "datapath"), "flowMax"),
	       field_number(json_at(s, "datapath"), "flowsNew"));
	if (field_number(json_at(s, "datapath"), "fragmentsPushedOut"))
		printf("            %lld first fragments pushed out by others of the same pod or sender\n", field_number(json_at(s, "datapath"), "fragmentsPushedOut"));
	print_xdp(json_at(s, "datapath"));
	print_mesh(json_at(s, "mesh"));
	printf("Peers       %zu\n", json_array_size(json_at(s, "peers")));
	print_peers(json_at(s, "peers"));
	printf("Endpoints   %zu\n", json_array_size(json_at(s, "endpoints")));
	print_endpoints(json_at(s, "endpoints"));
	fputs("Forwarded   packets: ", stdout);
	print_forwarded(json_at(s, "forwarded"));
	puts("Drops       packets by reason");
	print_drops(json_at(s, "drops"));
	if (json_array_size(json_at(s, "recentDrops"))) {
		puts("Recent drops, sampled");
		print_recent(json_at(s, "recentDrops"));
	}
	print_repairs(json_at(s, "repairs"));
}

static int show(const char *socket, bool as_json)
{
	_cleanup_ipc_answer_ struct ipc_answer a = {0};
	int r = ipc_call(socket, "status", NULL, TIMEOUT_MS, &a);

	if (r < 0 || !a.result) {
		char shown[128], why[256];

		str_escape(shown, sizeof(shown), socket);
		str_show(why, sizeof(why), r < 0 ? strerror(-r) : a.msg);
		fprintf(stderr, "weft status: %s: %s%s\n", shown, why,
			r == -ENOENT || r == -ECONNREFUSED ? "; weftd does not run there" : "");
		return 1;
	}
	if (as_json) {
		json_dumpf(a.result, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		print_screen(a.result);
	}
	return fflush(stdout) == 0 ? 0 : 1;
}

int verb_status(int argc, char **argv)
{
	const char *socket = DEFAULT_SOCKET;
	bool as_json = false;

	for (int i = 1; i < argc; i++) {
		const char *next = i + 1 < argc ? argv[i + 1] : NULL;
		char shown[64];

		if (streq(argv[i], "--help")) {
			puts("usage: weft status [-o json] [--socket PATH]\n\nWhat the agent of this node knows and "
			     "does.");
			return 0;
		}
		if (streq(argv[i], "-o") && streq(next, "json")) {
			as_json = true;
			i++;
		} else if (streq(argv[i], "--socket") && next) {
			socket = next;
			i++;
		} else {
			str_escape(shown, sizeof(shown), argv[i]);
			fprintf(stderr, "weft status: \"%s\" is not understood; expected -o json or --socket PATH\n",
				shown);
			return 2;
		}
	}
	return show(socket, as_json);
}
