/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent does with its WireGuard interface, for tests: makes a device with one engine or the other as it is told, and
 * says when that is in force.
 *
 *	meshctl NAME kernel|userspace|auto PROGRAM STATE-DIR PRIVATE-KEY PORT [PUBLIC-KEY/ENDPOINT/PREFIX,PREFIX,…]…
 */
#include "base/base64.h"
#include "base/str.h"
#include "mesh/mesh.h"

#include <err.h>

enum { PATIENCE_US = 30000000 };

static struct mesh *mesh;

static void on_change(void *ctx)
{
	struct mesh_status s;

	mesh_status(mesh, &s);
	if (s.settled)
		sd_event_exit(ctx, 0);
}

static int on_impatient(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	struct mesh_status status;

	mesh_status(mesh, &status);
	fprintf(stderr, "meshctl: not in force: %s\n", status.error ? status.error : "no answer");
	return sd_event_exit(ctx, 1);
}

static void parse_key(const char *text, uint8_t ret[static MESH_KEY])
{
	if (base64_decode(text, ret, MESH_KEY) < 0)
		errx(2, "not a key: %s", text);
}

static void add_peer(struct mesh_device *d, char *text)
{
	char *key = text, *endpoint = strstr(text, "=/"), *prefixes, *save = NULL;
	uint8_t bytes[MESH_KEY];
	struct mesh_peer *p;

	if (!endpoint || !(prefixes = strchr(endpoint + 2, '/')))
		errx(2, "not a peer: %s", text);
	endpoint[1] = *prefixes++ = '\0';
	endpoint += 2;
	parse_key(key, bytes);
	p = mesh_device_add(d, bytes);
	p->keepalive_s = 25;
	if (*endpoint && addr_port_parse(endpoint, &p->endpoint, &p->port) < 0)
		errx(2, "not an endpoint: %s", endpoint);
	for (char *one = strtok_r(prefixes, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
		struct prefix prefix;

		if (prefix_parse(one, &prefix, NULL) < 0)
			errx(2, "not a prefix: %s", one);
		mesh_peer_allow(p, &prefix);
	}
}

int main(int argc, char **argv)
{
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	_cleanup_free_ char *error = NULL;
	struct mesh_options o = {.run_dir = "/var/run/wireguard"};
	struct mesh_device want = {.has_key = true};
	const char *mended;
	sd_event *event;
	uint32_t ifindex;
	int r;

	if (argc < 7)
		errx(2, "see the source");
	o.name = argv[1];
	o.choice = streq(argv[2], "kernel") ? MESH_KERNEL : streq(argv[2], "userspace") ? MESH_USERSPACE : MESH_AUTO;
	o.program = argv[3];
	o.state_dir = argv[4];
	parse_key(argv[5], want.key);
	want.port = atoi(argv[6]);
	for (int i = 7; i < argc; i++)
		add_peer(&want, argv[i]);
	mesh_device_sort(&want);
	if (rtnl_open(&nl) < 0 || sd_event_new(&event) < 0 || mesh_new(event, &o, on_change, event, &mesh) < 0)
		errx(1, "cannot start");
	r = mesh_ensure_device(mesh, nl, 1420, false, &ifindex, &mended, &error);
	if (r < 0)
		errx(1, "%s", error);
	if (sd_event_add_time_relative(event, NULL, CLOCK_MONOTONIC, PATIENCE_US, 0, on_impatient, event) < 0)
		errx(1, "no timer");
	mesh_apply(mesh, &want);
	on_change(event); /* with the kernel it is in force already */
	r = sd_event_loop(event);
	if (r == 0) {
		struct mesh_status s;

		mesh_status(mesh, &s);
		printf("%s\n", s.engine);
	}
	mesh_free(mesh);
	mesh_device_done(&want);
	sd_event_unref(event);
	return r;
}
