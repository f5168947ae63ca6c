/* SPDX-License-Identifier: Apache-2.0 */
/* The file is JSON: {"node": "n1", "privateKey": "…", "nextPrivateKey": "…", "usesNext": false}. The public keys follow from the private ones. */
#include "mesh/key.h"
#include "base/base64.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/random.h>
#include <sys/stat.h>

enum { FILE_MAX = 4096 };

void mesh_key_done(struct mesh_key *k)
{
	explicit_bzero(k, sizeof(*k));
}

static int derive_public(const uint8_t private_key[static MESH_KEY], uint8_t ret[static MESH_KEY])
{
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key, MESH_KEY);
	size_t n = MESH_KEY;
	int ok = key && EVP_PKEY_get_raw_public_key(key, ret, &n) == 1 && n == MESH_KEY;

	EVP_PKEY_free(key);
	return ok ? 0 : -EIO;
}

int mesh_key_generate(uint8_t ret_private[static MESH_KEY], uint8_t ret_public[static MESH_KEY])
{
	if (getrandom(ret_private, MESH_KEY, 0) != MESH_KEY)
		return -EIO;
	ret_private[0] &= 248; /* RFC 7748 5, as wg(8) writes keys */
	ret_private[31] = (ret_private[31] & 127) | 64;
	return derive_public(ret_private, ret_public);
}

int mesh_key_save(const char *path, const char *node, const struct mesh_key *k)
{
	char now[BASE64_LEN(MESH_KEY) + 1], next[BASE64_LEN(MESH_KEY) + 1];
	_cleanup_free_ char *text = NULL, *dir = xstrdup(path);
	int r;

	base64_encode(k->private_key, MESH_KEY, now);
	base64_encode(k->next_private, MESH_KEY, next);
	text = k->has_next ? xasprintf("{\"node\": \"%s\", \"privateKey\": \"%s\", \"nextPrivateKey\": \"%s\", \"usesNext\": %s}\n", node, now, next,
				     k->uses_next ? "true" : "false")
			   : xasprintf("{\"node\": \"%s\", \"privateKey\": \"%s\"}\n", node, now);
	*strrchr(dir, '/') = '\0';
	r = mkdir_parents(dir, 0700);
	if (r == 0)
		r = file_write_atomic(path, text, strlen(text), 0600);
	explicit_bzero(now, sizeof(now));
	explicit_bzero(next, sizeof(next));
	explicit_bzero(text, strlen(text));
	return r;
}

/* The document's copy of the key is wiped. */
static int take_key(const json_t *j, const char *name, uint8_t ret_private[static MESH_KEY], uint8_t ret_public[static MESH_KEY])
{
	const char *text = json_str_or(json_object_get(j, name), NULL);
	int r = text ? base64_decode(text, ret_private, MESH_KEY) : -EBADMSG;

	if (text)
		explicit_bzero((char *)text, strlen(text));
	return r < 0 ? -EBADMSG : derive_public(ret_private, ret_public);
}

static int parse(const char *path, const char *text, size_t len, const char *node, struct mesh_key *ret, bool *ret_foreign)
{
	_cleanup_json_ json_t *j = json_parse(path, text, len, NULL);
	int r;

	if (!json_is_object(j) || !json_str_at(j, "node"))
		return -EBADMSG;
	*ret_foreign = !streq(json_str_at(j, "node"), node);
	r = take_key(j, "privateKey", ret->private_key, ret->public_key);
	ret->has_next = json_object_get(j, "nextPrivateKey") != NULL;
	ret->uses_next = ret->has_next && json_is_true(json_object_get(j, "usesNext"));
	if (r == 0 && ret->has_next)
		r = take_key(j, "nextPrivateKey", ret->next_private, ret->next_public);
	return r;
}

static int make(const char *path, const char *node, struct mesh_key *ret, char **ret_error)
{
	int r;

	*ret = (struct mesh_key){0};
	r = mesh_key_generate(ret->private_key, ret->public_key);
	if (r == 0)
		r = mesh_key_save(path, node, ret);
	if (r < 0)
		*ret_error = xasprintf("%s: cannot make the node's key: %s", path, strerror(-r));
	return r < 0 ? r : 1;
}

int mesh_key_load(const char *path, const char *node, struct mesh_key *ret, char **ret_error)
{
	_cleanup_free_ char *text = NULL;
	struct stat st;
	bool foreign = false;
	size_t len = 0;
	int r;

	if (stat(path, &st) < 0)
		return errno == ENOENT ? make(path, node, ret, ret_error) : -errno;
	if (st.st_mode & 077) {
		*ret_error = xasprintf("%s has mode %03o: expected 0600, as it holds the node's private key", path, st.st_mode & 0777);
		return -EPERM;
	}
	r = file_read(path, FILE_MAX, &text, &len);
	if (r == 0) {
		r = parse(path, text, len, node, ret, &foreign);
		explicit_bzero(text, len);
	}
	if (r < 0) {
		*ret_error = xasprintf("%s: %s; remove it to give this node a new key", path, r == -EBADMSG ? "not a key file" : strerror(-r));
		return r;
	}
	if (!foreign)
		return 0;
	log_warn("the key file is another node's (a copied machine?): this node gets a key of its own", L_STR("file", path), L_STR("node", node));
	return make(path, node, ret, ret_error);
}
