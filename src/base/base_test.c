/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/htab.h"
#include "base/json.h"
#include "base/list.h"
#include "base/str.h"
#include "base/test.h"
#include "base/yaml.h"

static void str_escape_cases(void)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "plain", "plain" },
		{ "a\nb", "a\\nb" },
		{ "\x1b[31m", "\\x1b[31m" },
		{ "q\"b\\", "q\\\"b\\\\" },
		{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
		{ "\xc2\x9b" "31m", "\\xc2\\x9b31m" }, /* C1 CSI */
		{ "\xc0\xaf", "\\xc0\\xaf" },	       /* overlong */
		{ "\xe2\x80\xae", "\\xe2\\x80\\xae" }, /* right-to-left override */
		{ "\xed\xa0\x80", "\\xed\\xa0\\x80" }, /* surrogate */
		{ "cut\xe2\x82", "cut\\xe2\\x82" },
	};
	char out[128];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		str_escape(out, sizeof(out), cases[i].in);
		CHECK_STR(out, cases[i].out);
	}
	str_escape(out, 4, "ab\n");
	CHECK_STR(out, "ab"); /* an escape is never cut in half */
	str_show(out, sizeof(out), "from \"a\\nb\": \x1b[31m\n");
	CHECK_STR(out, "from \"a\\nb\": \\x1b[31m\\n"); /* what is quoted has been escaped before */
}

static void parse_u64_cases(void)
{
	uint64_t v;

	CHECK_INT(parse_u64("0", UINT64_MAX, &v), 0);
	CHECK_INT(parse_u64("18446744073709551615", UINT64_MAX, &v), 0);
	CHECK(v == UINT64_MAX);
	CHECK_INT(parse_u64("18446744073709551616", UINT64_MAX, &v), -ERANGE);
	CHECK_INT(parse_u64("65536", 65535, &v), -ERANGE);
	CHECK_INT(parse_u64("", 9, &v), -EINVAL);
	CHECK_INT(parse_u64("-1", 9, &v), -EINVAL);
	CHECK_INT(parse_u64(" 1", 9, &v), -EINVAL);
	CHECK_INT(parse_u64("1x", 9, &v), -EINVAL);
}

static void dns_names(void)
{
	char long_label[65] = { 0 };

	CHECK(name_is_dns_label("a") && name_is_dns_label("a-1"));
	CHECK(!name_is_dns_label("") && !name_is_dns_label("-a") && !name_is_dns_label("a-") && !name_is_dns_label("A"));
	CHECK(!name_is_dns_label("a.b") && !name_is_dns_label("../x"));
	memset(long_label, 'a', 63);
	CHECK(name_is_dns_label(long_label));
	memset(long_label, 'a', 64);
	CHECK(!name_is_dns_label(long_label));
	CHECK(name_is_dns_subdomain("a.b-c.9") && !name_is_dns_subdomain("a..b") && !name_is_dns_subdomain("a."));
}

static void buf_keeps_a_secret_by_itself(void)
{
	struct buf b = { .max = 4096, .secret = true };
	char *before;

	CHECK_INT(buf_adds(&b, "swordfish"), 0);
	before = b.data;
	for (int i = 0; i < 300; i++)
		CHECK_INT(buf_adds(&b, "0123456789"), 0);
	CHECK(b.data != before); /* it had to grow, which moves it */
	CHECK(strncmp(b.data, "swordfish0123456789", 19) == 0 && b.len == 3009);
	buf_done(&b);
	CHECK(b.secret && b.max == 4096 && !b.data);
}

static void buf_keeps_its_bound(void)
{
	struct buf b = { .max = 5 };

	CHECK_INT(buf_adds(&b, "abc"), 0);
	CHECK_INT(buf_adds(&b, "def"), -EMSGSIZE);
	CHECK_STR(b.data, "abc");
	CHECK_INT(buf_adds(&b, "de"), 0);
	buf_drop(&b, 3);
	CHECK_STR(b.data, "de");
	buf_done(&b);
}

struct item {
	struct htab_node node;
	int key;
};

/* Return: was there one? */
static bool take_any(struct htab *t, bool in[])
{
	struct htab_node *n = htab_any(t);
	int key = n ? container_of(n, struct item, node)->key : -1;

	CHECK((n != NULL) == (t->count > 0));
	if (!n)
		return false;
	CHECK(in[key]);
	htab_remove(t, n);
	in[key] = false;
	return true;
}

static void htab_against_array(void)
{
	struct htab t = { 0 };
	struct item items[1000] = { 0 }, *p;
	bool in[1000] = { false };
	size_t count = 0;

	srand(1);
	for (int step = 0; step < 20000; step++) {
		int k = rand() % 1000;

		if (in[k])
			htab_remove(&t, &items[k].node);
		else
			items[k].key = k, htab_insert(&t, hash_mem(&k, sizeof(k)), &items[k].node);
		count += in[k] ? -1 : 1;
		in[k] = !in[k];
		if (step % 500 < 100) /* at times many go, whichever they are */
			count -= take_any(&t, in);
	}
	CHECK_INT(t.count, count);
	for (int k = 0; k < 1000; k++) {
		HTAB_FIND(&t, hash_mem(&k, sizeof(k)), p, node, p->key == k);
		CHECK((p == &items[k]) == in[k]);
	}
	for (struct htab_node *n = htab_begin(&t); n; n = htab_next(&t, n))
		count--;
	CHECK_INT(count, 0);
	for (count = t.count; take_any(&t, in); count--)
		;
	CHECK_INT(count, 0);
	CHECK_INT(t.count, 0);
	htab_done(&t);
}

static json_t *yaml_one(const char *text)
{
	json_t *docs = NULL, *v;

	if (yaml_parse("t", text, strlen(text), &docs, NULL) < 0)
		return NULL;
	v = json_incref(json_array_get(docs, 0));
	json_decref(docs);
	return v;
}

static void yaml_values(void)
{
	_cleanup_json_ json_t *j = yaml_one("a: 1\nb: \"1\"\nc: [x, true, null, 1.5, 010]\nd: {e: &n {f: g}}\nh: *n\n"
					    "y: yes\nm: |\n  line\n");
	_cleanup_free_ char *s = NULL;

	CHECK(j);
	s = json_text(j);
	CHECK_STR(s, "{\"a\":1,\"b\":\"1\",\"c\":[\"x\",true,null,1.5,\"010\"],\"d\":{\"e\":{\"f\":\"g\"}},"
		     "\"h\":{\"f\":\"g\"},\"y\":\"yes\",\"m\":\"line\\n\"}");
}

static void yaml_errors(void)
{
	static const char *const bad[] = { "a: 1\na: 2\n", "[1, 2", "{a: *x}", "? [k]\n: v\n", "\t- a", "a: \"\\0\"",
					   "\"a\\0b\": 1", "a: b: c" };
	static const char bomb[] = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
				   "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
				   "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
	json_t *docs = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_free_ char *error = NULL;

		CHECK_INT(yaml_parse("file.yaml", bad[i], strlen(bad[i]), &docs, &error), -EINVAL);
		CHECK(error && str_has_prefix(error, "file.yaml: line "));
	}
	CHECK_INT(yaml_parse("t", bomb, strlen(bomb), &docs, NULL), -E2BIG);
}

static void yaml_many_documents(void)
{
	static const char text[] = "---\na: 1\n---\n---\nb: 2\n";
	_cleanup_json_ json_t *docs = NULL;

	CHECK_INT(yaml_parse("t", text, strlen(text), &docs, NULL), 0);
	CHECK_INT(json_array_size(docs), 2);
}

static void json_errors_name_the_place(void)
{
	_cleanup_free_ char *error = NULL;

	CHECK(!json_parse("request body", "{\"a\":1,\n\"a\":2}", 14, &error));
	CHECK(str_has_prefix(error, "request body: line 2, column "));
	free(error);
	CHECK(!json_parse("request body", "[1,\n2\0]", 7, &error));
	CHECK_STR(error, "request body: line 2, column 2: a NUL");
}

static void json_strings_of_any_bytes(void)
{
	_cleanup_json_ json_t *good = json_string_or_escaped("gr\xc3\xbc\xc3\x9f"), *cut = json_string_or_escaped("gr\xc3");

	CHECK_STR(json_string_value(good), "gr\xc3\xbc\xc3\x9f");
	CHECK(json_is_string(cut) && str_has_prefix(json_string_value(cut), "gr\\"));
}

static void file_round_trip(void)
{
	char dir[] = "/tmp/weft-test-XXXXXX";
	_cleanup_free_ char *path = NULL, *text = NULL;
	size_t n;

	CHECK(mkdtemp(dir));
	path = xasprintf("%s/f", dir);
	CHECK_INT(file_write_atomic(path, "hello", 5, 0600), 0);
	CHECK_INT(file_read(path, 5, &text, &n), 0);
	CHECK_STR(text, "hello");
	CHECK_INT(n, 5);
	CHECK_INT(file_read(path, 4, &text, &n), -EFBIG);
	CHECK_INT(unlink(path), 0);
	CHECK_INT(rmdir(dir), 0);
}

static void base64_round_trip_and_only_one_text(void)
{
	static const struct {
		const char *text;
		size_t n;
		int r;
	} cases[] = {{"Zg==", 1, 0},	    {"Zm8=", 2, 0},	 {"Zm9v", 3, 0},     {"Zm9vYg==", 4, 0}, {"Zh==", 1, -EINVAL},
		     {"Zm9=", 2, -EINVAL}, {"Zm9", 3, -EINVAL}, {"Zm 9", 3, -EINVAL}, {"Z=8=", 2, -EINVAL}, {"Zg==", 2, -EINVAL},
		     {"", 1, -EINVAL},	    {"Zg=A", 1, -EINVAL}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char bytes[8], text[16];

		CHECK_INT(base64_decode(cases[i].text, bytes, cases[i].n), cases[i].r);
		if (cases[i].r == 0) {
			CHECK(memcmp(bytes, "foob", cases[i].n) == 0);
			CHECK_STR(base64_encode(bytes, cases[i].n, text), cases[i].text);
		}
	}
}

int main(void)
{
	RUN(str_escape_cases);
	RUN(parse_u64_cases);
	RUN(dns_names);
	RUN(buf_keeps_its_bound);
	RUN(buf_keeps_a_secret_by_itself);
	RUN(htab_against_array);
	RUN(yaml_values);
	RUN(yaml_errors);
	RUN(yaml_many_documents);
	RUN(json_errors_name_the_place);
	RUN(json_strings_of_any_bytes);
	RUN(file_round_trip);
	RUN(base64_round_trip_and_only_one_text);
	return test_end();
}
