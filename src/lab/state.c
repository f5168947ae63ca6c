/* SPDX-License-Identifier: Apache-2.0 */
/* lab.json and the lab's lock. */
#include "lab/lab.h"
#include "base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

static const char *const family_names[] = { [LAB_DUAL] = "dual", [LAB_DUAL6] = "dual6", [LAB_IPV4] = "ipv4", [LAB_IPV6] = "ipv6" };

const char *lab_family_text(enum lab_family f)
{
	return family_names[f];
}

int lab_family_parse(const char *s, enum lab_family *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(family_names); i++)
		if (streq(s, family_names[i])) {
			*ret = i;
			return 0;
		}
	return -EINVAL;
}

void lab_done(struct lab *lab)
{
	for (size_t i = 0; i < lab->n_set; i++)
		free(lab->set[i]);
	for (size_t i = 0; i < lab->n_nodes; i++)
		free(lab->nodes[i].name);
	free(lab->set);
	free(lab->nodes);
	free(lab->name);
	free(lab->dir);
	free(lab->bin);
	free(lab->transport);
	*lab = (struct lab){ 0 };
}

char *lab_dir(const char *name)
{
	return xasprintf(LAB_ROOT "/%s", name);
}

char *lab_path(const struct lab *lab, const char *file)
{
	return xasprintf("%s/%s", lab->dir, file);
}

struct lab_node *lab_find_node(const struct lab *lab, const char *name)
{
	for (size_t i = 0; i < lab->n_nodes; i++)
		if (streq(lab->nodes[i].name, name))
			return &lab->nodes[i];
	return NULL;
}

struct lab_node *lab_add_node(struct lab *lab)
{
	unsigned number = lab->n_nodes ? lab->nodes[lab->n_nodes - 1].number + 1 : 1;

	if (number > LAB_NODES_MAX)
		return NULL;
	GROW(lab->nodes, lab->n_nodes, lab->cap_nodes);
	lab->nodes[lab->n_nodes] = (struct lab_node){ .name = xasprintf("n%u", number), .number = number };
	return &lab->nodes[lab->n_nodes++];
}

static json_t *encode_nodes(const struct lab *lab)
{
	json_t *a = json_array();

	for (size_t i = 0; i < lab->n_nodes; i++)
		json_array_append_new(a, json_pack("{s:i,s:b}", "number", (int)lab->nodes[i].number, "stopped",
						   (int)lab->nodes[i].stopped));
	return a;
}

int lab_save(const struct lab *lab)
{
	_cleanup_free_ char *path = lab_path(lab, "lab.json");
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *j = NULL, *set = json_array();

	for (size_t i = 0; i < lab->n_set; i++)
		json_array_append_new(set, json_string(lab->set[i]));
	j = json_pack("{s:s,s:s,s:s,s:s,s:i,s:i,s:i,s:O,s:o}", "name", lab->name, "bin", lab->bin, "transport", lab->transport,
		      "family", lab_family_text(lab->family), "subnets", (int)lab->subnets, "zones", (int)lab->zones, "mtu",
		      (int)lab->mtu, "set", set,
		      "nodes", encode_nodes(lab));
	text = j ? json_text(j) : NULL;
	return text ? file_write_atomic(path, text, strlen(text), 0600) : -EINVAL;
}

static int decode_nodes(const json_t *a, struct lab *lab)
{
	size_t i;
	json_t *n;

	json_array_foreach (a, i, n) {
		json_int_t number = json_integer_value(json_object_get(n, "number"));

		if (number < 1 || number > LAB_NODES_MAX)
			return -EBADMSG;
		GROW(lab->nodes, lab->n_nodes, lab->cap_nodes);
		lab->nodes[lab->n_nodes++] = (struct lab_node){
			.name = xasprintf("n%u", (unsigned)number),
			.number = number,
			.stopped = json_is_true(json_object_get(n, "stopped")),
		};
	}
	return 0;
}

static int decode(const json_t *j, struct lab *lab)
{
	const char *name = json_str_at(j, "name"), *bin = json_str_at(j, "bin"), *transport = json_str_at(j, "transport");
	json_int_t mtu = json_integer_value(json_at(j, "mtu"));
	json_int_t subnets = json_integer_value(json_at(j, "subnets")), zones = json_integer_value(json_at(j, "zones"));
	size_t i;
	json_t *s;

	if (!name || !bin || !transport || subnets < 1 || subnets > LAB_SUBNETS_MAX || zones < 1 || zones > LAB_ZONES_MAX || mtu < 0 || mtu > LAB_MTU_MAX ||
	    lab_family_parse(json_str_or(json_at(j, "family"), ""), &lab->family) < 0)
		return -EBADMSG;
	lab->name = xstrdup(name);
	lab->dir = lab_dir(name);
	lab->bin = xstrdup(bin);
	lab->transport = xstrdup(transport);
	lab->subnets = subnets;
	lab->zones = zones;
	lab->mtu = mtu;
	json_array_foreach (json_at(j, "set"), i, s) {
		if (!json_is_string(s))
			return -EBADMSG;
		GROW(lab->set, lab->n_set, lab->cap_set);
		lab->set[lab->n_set++] = xstrdup(json_string_value(s));
	}
	return decode_nodes(json_at(j, "nodes"), lab);
}

int lab_load(const char *name, struct lab *ret)
{
	_cleanup_free_ char *path = xasprintf(LAB_ROOT "/%s/lab.json", name);
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *j = NULL;
	_cleanup_lab_ struct lab lab = { 0 };
	size_t len;
	int r = file_read(path, 1 << 20, &text, &len);

	if (r < 0)
		return r;
	j = json_parse("lab.json", text, len, NULL);
	r = j ? decode(j, &lab) : -EBADMSG;
	if (r < 0)
		return r;
	*ret = lab;
	lab = (struct lab){ 0 };
	return 0;
}

int lab_lock(const char *name)
{
	_cleanup_free_ char *path = xasprintf(LAB_ROOT "/%s.lock", name);

	for (;;) {
		_cleanup_close_ int fd = -1;
		struct stat mine, there;
		int r = mkdir_parents(LAB_ROOT, 0755);

		if (r < 0)
			return r;
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0 && errno == ENOENT) /* another `down` took the directory away in between */
			continue;
		if (fd < 0)
			return -errno;
		while (flock(fd, LOCK_EX) < 0)
			if (errno != EINTR)
				return -errno;
		if (fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_ino == there.st_ino)
			return take_fd(fd);
	}
}

void lab_unlink_lock(const char *name)
{
	_cleanup_free_ char *path = xasprintf(LAB_ROOT "/%s.lock", name);

	unlink(path);
	rmdir(LAB_ROOT); /* stays while other labs are there */
}
