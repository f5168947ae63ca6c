/* SPDX-License-Identifier: Apache-2.0 */
/* Keys: who has which, in a file and in the cluster. */
#include "base/base64.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "base/test.h"
#include "mesh/key.h"
#include "mesh/plan.h"

#include <sys/stat.h>

static const uint8_t own_private[MESH_KEY] = {9}, own_public[MESH_KEY] = {1};

static void publish(struct model *m, const char *name, uint8_t key, uint8_t next, const char *created, const char *endpoints)
{
	uint8_t k[MESH_KEY] = {key}, n[MESH_KEY] = {next};
	char a[64], b[64];
	_cleanup_free_ char *text =
	    xasprintf("{\"metadata\": {\"name\": \"%s\", \"uid\": \"u-%s\", \"creationTimestamp\": \"%s\"}, \"spec\": {\"publicKey\": \"%s\", "
		      "\"nextKey\": %s%s%s, \"endpoints\": [%s]}}",
		      name, name, created, base64_encode(k, MESH_KEY, a), next ? "\"" : "", next ? base64_encode(n, MESH_KEY, b) : "null",
		      next ? "\"" : "", endpoints);
	_cleanup_json_ json_t *j = json_parse("test", text, strlen(text), NULL);

	CHECK(j);
	CHECK_INT(model_upsert(m, MODEL_MESH_NODES, j, NULL), 1);
}

#define EARLY "2026-01-01T00:00:00Z"
#define LATE "2026-01-02T00:00:00Z"

static void compile(const struct model *m, const char *const *nodes, size_t n, struct mesh_plan *ret)
{
	struct mesh_config c = {.node = "n1", .private_key = own_private, .public_key = own_public, .port = 51820, .keepalive_s = 25, .ipv4 = true};
	struct mesh_claim claims[8];

	for (size_t i = 0; i < n; i++) {
		char text[32];

		snprintf(text, sizeof(text), "10.244.%zu.0/24", i);
		claims[i].node = nodes[i];
		CHECK_INT(prefix_parse(text, &claims[i].prefix, NULL), 0);
	}
	mesh_compile(&c, m, claims, n, ret);
}

static void peers_by_their_objects(void)
{
	static const char *const nodes[] = {"n2", "n3", "n4"};
	_cleanup_(model_freep) struct model *m = model_new();
	struct mesh_plan p;
	uint8_t key[MESH_KEY] = {2};

	publish(m, "n1", 1, 0, EARLY, "\"10.0.0.1:51820\"");
	publish(m, "n2", 2, 0, EARLY, "\"[fd00::2]:1\", \"10.244.1.1:1\", \"10.0.0.2:51820\"");
	publish(m, "n3", 3, 0, EARLY, "\"[fd00::3]:1\"");
	publish(m, "n5", 5, 0, EARLY, "\"10.0.0.5:1\""); /* owns nothing */
	compile(m, nodes, 3, &p);
	CHECK(p.device.n_peers == 2 && !p.own_holder && p.device.port == 51820);
	CHECK_INT(mesh_plan_find(&p, "n2")->state, MESH_PEER_OK);
	CHECK_INT(mesh_plan_find(&p, "n3")->state, MESH_PEER_NO_ENDPOINT); /* we have no IPv6 outside */
	CHECK_INT(mesh_plan_find(&p, "n4")->state, MESH_PEER_NO_KEY);
	CHECK(!mesh_plan_find(&p, "n5"));
	CHECK_INT(mesh_device_find(&p.device, key)->port, 51820);
	CHECK(addr_is_v4(&mesh_device_find(&p.device, key)->endpoint));
	mesh_plan_done(&p);
}

static void a_key_has_one_node(void)
{
	static const char *const nodes[] = {"n2", "n3", "n4"};
	_cleanup_(model_freep) struct model *m = model_new();
	struct mesh_plan p;

	publish(m, "n1", 1, 0, LATE, "\"10.0.0.1:1\"");
	publish(m, "n2", 2, 0, LATE, "\"10.0.0.2:1\"");
	publish(m, "n3", 2, 0, EARLY, "\"10.0.0.3:1\""); /* was there first */
	publish(m, "n4", 1, 0, EARLY, "\"10.0.0.4:1\""); /* has ours */
	compile(m, nodes, 3, &p);
	CHECK_INT(p.device.n_peers, 1);
	CHECK_INT(mesh_plan_find(&p, "n2")->state, MESH_PEER_DUPLICATE);
	CHECK_STR(mesh_plan_find(&p, "n2")->holder, "n3");
	CHECK_INT(mesh_plan_find(&p, "n3")->state, MESH_PEER_OK);
	CHECK_INT(mesh_plan_find(&p, "n4")->state, MESH_PEER_DUPLICATE);
	CHECK_STR(p.own_holder, "n4");
	mesh_plan_done(&p);
}

static void the_next_key_is_a_peer_without_prefixes(void)
{
	static const char *const nodes[] = {"n2", "n3"};
	_cleanup_(model_freep) struct model *m = model_new();
	uint8_t old[MESH_KEY] = {2}, next[MESH_KEY] = {7};
	struct mesh_plan p;

	publish(m, "n2", 2, 7, EARLY, "\"10.0.0.2:1\"");
	publish(m, "n3", 7, 0, LATE, "\"10.0.0.3:1\""); /* announces what n2 has announced before */
	compile(m, nodes, 2, &p);
	CHECK_INT(p.device.n_peers, 2);
	CHECK(mesh_device_find(&p.device, old)->has_successor && mesh_device_find(&p.device, old)->n_allowed == 1);
	CHECK_INT(mesh_device_find(&p.device, next)->n_allowed, 0);
	CHECK_INT(mesh_plan_find(&p, "n3")->state, MESH_PEER_DUPLICATE);
	mesh_plan_done(&p);
}

static void a_key_file_is_made_once(void)
{
	char dir[] = "/tmp/weft-test-XXXXXX";
	_cleanup_free_ char *path = NULL, *why = NULL, *where = NULL;
	struct mesh_key a = {0}, b = {0};
	struct stat st;

	CHECK(mkdtemp(dir));
	where = xasprintf("%s/lib", dir);
	path = xasprintf("%s/mesh.key", where);
	CHECK_INT(mesh_key_load(path, "n1", &a, &why), 1);
	CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
	CHECK_INT(mesh_key_load(path, "n1", &b, &why), 0);
	CHECK(memcmp(&a, &b, sizeof(a)) == 0);
	b.has_next = true;
	CHECK_INT(mesh_key_generate(b.next_private, b.next_public), 0);
	CHECK_INT(mesh_key_save(path, "n1", &b), 0);
	CHECK_INT(mesh_key_load(path, "n1", &a, &why), 0);
	CHECK(memcmp(&a, &b, sizeof(a)) == 0);
	CHECK_INT(mesh_key_load(path, "n2", &b, &why), 1); /* a copied machine */
	CHECK(memcmp(a.public_key, b.public_key, MESH_KEY) != 0);
	CHECK(chmod(path, 0644) == 0);
	CHECK_INT(mesh_key_load(path, "n2", &b, &why), -EPERM);
	CHECK(why && strstr(why, "0600"));
	free(why);
	why = NULL;
	CHECK_INT(file_write_atomic(path, "{\"node\": \"n2\", \"privateKey\": \"x\"}", 34, 0600), 0);
	CHECK_INT(mesh_key_load(path, "n2", &b, &why), -EBADMSG);
	CHECK_INT(unlink(path), 0);
	CHECK_INT(rmdir(where), 0);
	CHECK_INT(rmdir(dir), 0);
}

int main(void)
{
	RUN(peers_by_their_objects);
	RUN(a_key_has_one_node);
	RUN(the_next_key_is_a_peer_without_prefixes);
	RUN(a_key_file_is_made_once);
	return test_end();
}
