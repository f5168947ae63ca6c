/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"
#include "wg/test_pair.h"
#include "wg/uapi.h"

static struct node node;
static struct pair world;
static uint16_t port;
static uint32_t mark;

static uint16_t get_port(void *ctx _unused_)
{
	return port;
}
static uint32_t get_mark(void *ctx _unused_)
{
	return mark;
}
static int set_port(void *ctx _unused_, uint16_t v)
{
	if (v == 7)
		return -EADDRINUSE;
	port = v;
	return 0;
}
static int set_mark(void *ctx _unused_, uint32_t v)
{
	mark = v;
	return 0;
}

static struct uapi_host host = { .device = &node.device, .port = get_port, .fwmark = get_mark, .set_port = set_port,
				 .set_fwmark = set_mark };

#define KEY_A "e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a"
#define PUB_B "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33"
#define PUB_C "58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376"
#define PSK_B "188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52"

static int apply(const char *text)
{
	char copy[4096];
	const char *bad = NULL;
	int r;

	snprintf(copy, sizeof(copy), "%s", text);
	r = uapi_apply(&host, copy, false, 1, &bad);
	CHECK(r == 0 || bad);
	return r;
}

static const char *shown(void)
{
	static struct buf out;

	buf_done(&out);
	out = (struct buf){ 0 };
	uapi_format(&host, &out);
	return out.data ? out.data : "";
}

static void start(void)
{
	uint8_t zero[KEY_LEN] = { 0 };

	memset(&node, 0, sizeof(node));
	node.pair = &world;
	world.now = NS_PER_S;
	port = mark = 0;
	device_init(&node.device, &pair_ops, &node);
	device_set_key(&node.device, zero);
}

static void what_is_set_is_shown(void)
{
	start();
	CHECK_INT(apply("private_key=" KEY_A "\nlisten_port=12912\nfwmark=0x1f\nreplace_peers=true\n"
			"public_key=" PUB_B "\npreshared_key=" PSK_B "\nendpoint=[abcd:23::33%2]:51820\n"
			"persistent_keepalive_interval=25\nreplace_allowed_ips=true\nallowed_ip=192.168.4.4/24\nallowed_ip=::/0\n"
			"public_key=" PUB_C "\nendpoint=182.122.22.19:0\nallowed_ip=192.168.4.4/32\n"),
		  0);
	CHECK_STR(shown(), "private_key=" KEY_A "\nlisten_port=12912\nfwmark=31\n"
			   "public_key=" PUB_B "\npreshared_key=" PSK_B "\nprotocol_version=1\nendpoint=[abcd:23::33%2]:51820\n"
			   "last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\n"
			   "persistent_keepalive_interval=25\nallowed_ip=192.168.4.0/24\nallowed_ip=::/0\n"
			   "public_key=" PUB_C "\npreshared_key=0000000000000000000000000000000000000000000000000000000000000000\n"
			   "protocol_version=1\nendpoint=182.122.22.19:0\nlast_handshake_time_sec=0\n"
			   "last_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\npersistent_keepalive_interval=0\n"
			   "allowed_ip=192.168.4.4/32\n");
	device_done(&node.device);
}

static void prefixes_have_one_owner(void)
{
	const char *text;

	start();
	CHECK_INT(apply("public_key=" PUB_B "\nallowed_ip=10.0.0.0/8\npublic_key=" PUB_C "\nallowed_ip=10.0.0.0/8\n"), 0);
	CHECK_INT(node.device.allowed.count, 1);
	text = shown();
	CHECK(strstr(text, "allowed_ip") > strstr(text, PUB_C));
	CHECK_INT(apply("public_key=" PUB_C "\nallowed_ip=-10.0.0.0/8\n"), 0);
	CHECK_INT(node.device.allowed.count, 0);
	device_done(&node.device);
}

static void removing_and_updating(void)
{
	start();
	CHECK_INT(apply("public_key=" PUB_B "\nupdate_only=true\nallowed_ip=1.1.1.1/32\n"), 0);
	CHECK_INT(node.device.peers.count, 0);
	CHECK_INT(node.device.allowed.count, 0);
	CHECK_INT(apply("public_key=" PUB_B "\nallowed_ip=1.1.1.1/32\n"), 0);
	CHECK_INT(apply("public_key=" PUB_B "\nupdate_only=true\npersistent_keepalive_interval=3\n"), 0);
	CHECK(strstr(shown(), "persistent_keepalive_interval=3"));
	CHECK_INT(apply("public_key=" PUB_B "\nremove=true\n"), 0);
	CHECK_INT(node.device.peers.count, 0);
	CHECK_INT(apply("public_key=" PUB_B "\nremove=true\n"), 0); /* absent already */
	CHECK_INT(node.device.peers.count, 0);
	CHECK_INT(apply("public_key=" PUB_B "\npublic_key=" PUB_C "\n"), 0);
	CHECK_INT(apply("replace_peers=true\n"), 0);
	CHECK_INT(node.device.peers.count, 0);
	device_done(&node.device);
}

static void we_are_not_our_own_peer(void)
{
	char text[256], hex[65];

	start();
	CHECK_INT(apply("private_key=" KEY_A "\n"), 0);
	for (int i = 0; i < KEY_LEN; i++)
		snprintf(hex + 2 * i, 3, "%02x", node.device.identity.pub[i]);
	snprintf(text, sizeof(text), "public_key=%s\nallowed_ip=1.2.3.4/32\n", hex);
	CHECK_INT(apply(text), 0);
	CHECK_INT(node.device.peers.count, 0);
	CHECK_INT(apply("private_key=0000000000000000000000000000000000000000000000000000000000000000\n"), 0);
	CHECK_INT(apply(text), 0);
	CHECK_INT(node.device.peers.count, 1);
	CHECK_INT(apply("private_key=" KEY_A "\n"), 0); /* now it is us */
	CHECK_INT(node.device.peers.count, 0);
	device_done(&node.device);
}

static void bad_lines_are_refused(void)
{
	static const char *const bad[] = {
		"private_key=12\n", "private_key=" PUB_B "00\n", "private_key=zz4b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a\n",
		"listen_port=65536\n", "listen_port=-1\n", "listen_port= 5\n", "fwmark=0x\n", "fwmark=0x1ffffffff\n",
		"replace_peers=false\n", "nonsense=1\n", "nonsense\n", "allowed_ip=1.2.3.4/32\n", "endpoint=1.2.3.4:5\n",
		"public_key=" PUB_B "\nallowed_ip=1.2.3.4/33\n", "public_key=" PUB_B "\nallowed_ip=1.2.3.4\n",
		"public_key=" PUB_B "\nendpoint=1.2.3.4\n", "public_key=" PUB_B "\nendpoint=1.2.3.4:65536\n",
		"public_key=" PUB_B "\nallowed_ip=::ffff:1.2.3.4/128\n", "public_key=" PUB_B "\nallowed_ip=::ffff:1.2.3.4/24\n",
		"public_key=" PUB_B "\nendpoint=example.com:1\n", "public_key=" PUB_B "\nendpoint=[::1]\n",
		"public_key=" PUB_B "\npersistent_keepalive_interval=65536\n", "public_key=" PUB_B "\npreshared_key=\n",
		"public_key=" PUB_B "\nprotocol_version=2\n", "public_key=" PUB_B "\nlast_handshake_time_sec=5\n",
		"public_key=" PUB_B "\nremove=yes\n", "public_key=" PUB_B "\nlisten_port=5\n",
	};

	start();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (apply(bad[i]) != -EINVAL)
			printf("# accepted: %s\n", bad[i]);
		CHECK_INT(apply(bad[i]), -EINVAL);
	}
	CHECK_INT(apply("listen_port=7\n"), -EADDRINUSE);
	device_done(&node.device);
}

static void a_saved_state_comes_back(void)
{
	char saved[4096];
	const char *bad = NULL;
	struct peer *peer;

	start();
	CHECK_INT(apply("private_key=" KEY_A "\nlisten_port=5\npublic_key=" PUB_B "\nendpoint=1.2.3.4:5\nallowed_ip=9.0.0.0/8\n"), 0);
	peer = list_entry(node.device.order.next, struct peer, all);
	peer->last_handshake_real_ns = NS_PER_S;
	snprintf(saved, sizeof(saved), "%s", shown());
	device_done(&node.device);
	start();
	CHECK_INT(uapi_apply(&host, (char[]){ "" }, true, 1, &bad), 0);
	{
		char copy[4096];

		strcpy(copy, saved);
		CHECK_INT(uapi_apply(&host, copy, true, 1, &bad), 0);
	}
	CHECK_STR(shown(), saved);
	peer = list_entry(node.device.order.next, struct peer, all);
	CHECK(peer->had_session);
	device_done(&node.device);
}

/* Whatever their order here, a successor that reads the text knows who replaces whom. */
static void an_heir_comes_back_as_one(void)
{
	char saved[4096], copy[4096];
	const char *bad = NULL;

	start();
	CHECK_INT(apply("public_key=" PUB_C "\npublic_key=" PUB_B "\nallowed_ip=9.0.0.0/8\npublic_key=" PUB_C "\nreplaces=" PUB_B "\n"), 0);
	snprintf(saved, sizeof(saved), "%s", shown());
	CHECK(strstr(saved, "replaces=" PUB_B "\n"));
	CHECK(strstr(saved, "public_key=" PUB_C) > strstr(saved, "public_key=" PUB_B));
	device_done(&node.device);
	start();
	strcpy(copy, saved);
	CHECK_INT(uapi_apply(&host, copy, true, 1, &bad), 0);
	CHECK_STR(shown(), saved);
	CHECK_INT(apply("public_key=" PUB_B "\nremove=true\n"), 0);
	CHECK(!strstr(shown(), "replaces="));
	device_done(&node.device);
}

int main(void)
{
	if (crypto_init() < 0)
		return 1;
	RUN(what_is_set_is_shown);
	RUN(prefixes_have_one_owner);
	RUN(removing_and_updating);
	RUN(we_are_not_our_own_peer);
	RUN(bad_lines_are_refused);
	RUN(a_saved_state_comes_back);
	RUN(an_heir_comes_back_as_one);
	return test_end();
}
