/* SPDX-License-Identifier: Apache-2.0 */
/* What the two WireGuard engines answer: text (first byte even) or messages of generic netlink (odd). Whatever is understood is
 * a device whose difference to itself is nothing, and whose difference to another can be said in both languages. */
#include "fuzz.h"
#include "mesh/genl.h"
#include "mesh/uapi.h"

static void say(const struct mesh_device *have, const struct mesh_device *want)
{
	static char message[MESH_GENL_MESSAGE];
	struct mesh_change c;
	struct buf out = {0};

	mesh_diff(have, want, 0, &c);
	mesh_uapi_format(&c, &out);
	buf_done(&out);
	(void)mesh_genl_set_device(message, 30, 1, &c);
	for (size_t i = 0; i < c.n_steps; i++) {
		size_t next = 0;

		do
			REQUIRE(mesh_genl_set_peer(message, 30, 1, &c.steps[i], next, &next)->nlmsg_len <= sizeof(message));
		while (next);
	}
	mesh_change_done(&c);
}

static int read_messages(struct fuzz_input *in, struct mesh_device *d)
{
	size_t left = MIN(in->size, (size_t)65536);
	char *copy = xmalloc(left + 1);
	int r = 0;

	memcpy(copy, in->data, left);
	for (const struct nlmsghdr *nlh = (void *)copy; r == 0 && mnl_nlmsg_ok(nlh, left);) {
		int rest = left;

		r = mesh_genl_parse(nlh, d);
		(void)mesh_genl_parse_family(nlh);
		nlh = mnl_nlmsg_next(nlh, &rest);
		left = MAX(rest, 0);
	}
	free(copy);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct mesh_device d = {0}, none = {0};
	struct mesh_change c;
	int r;

	if (fuzz_byte(&in) % 2 == 0) {
		char *text = fuzz_text(&in, NULL);

		r = mesh_uapi_parse(text, &d);
		free(text);
	} else {
		r = read_messages(&in, &d);
		mesh_device_sort(&d);
	}
	if (r == 0) {
		say(&none, &d);
		say(&d, &none);
		mesh_diff(&d, &d, 0, &c);
		REQUIRE(mesh_change_is_empty(&c) || d.n_peers); /* an engine that names a peer twice is told so */
		mesh_change_done(&c);
	}
	mesh_device_done(&d);
	return 0;
}
