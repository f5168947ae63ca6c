/* SPDX-License-Identifier: Apache-2.0 */
/* The hub's pure parts: selectors, patches, schemas, pools, tokens, protobuf. */
#include "base/test.h"
#include "base/str.h"
#include "hub/patch.h"
#include "hub/pool.h"
#include "hub/protobuf.h"
#include "hub/schema_meta.h"
#include "hub/selector.h"
#include "hub/store.h"
#include "hub/token.h"

static json_t *js(const char *text)
{
	_cleanup_free_ char *error = NULL;
	json_t *j = json_parse("test", text, strlen(text), &error);

	if (!j)
		printf("# %s: %s\n", text, error);
	assert(j);
	return j;
}

static void label_selectors(void)
{
	static const struct {
		const char *selector, *labels;
		bool matches;
	} cases[] = {
		{ "", "{}", true },
		{ "a=b", "{\"a\":\"b\"}", true },
		{ "a==b", "{\"a\":\"c\"}", false },
		{ "a=b", "{}", false },
		{ "a!=b", "{}", true },
		{ "a!=b", "{\"a\":\"b\"}", false },
		{ "a", "{\"a\":\"\"}", true },
		{ "!a", "{\"a\":\"\"}", false },
		{ "!a", "{}", true },
		{ "a in (x,y)", "{\"a\":\"y\"}", true },
		{ "a in (x, y)", "{\"a\":\"z\"}", false },
		{ "a notin (x,y)", "{}", true },
		{ "a notin (x,y)", "{\"a\":\"x\"}", false },
		{ "n>3", "{\"n\":\"4\"}", true },
		{ "n>3", "{\"n\":\"x\"}", false },
		{ "n<3", "{\"n\":\"3\"}", false },
		{ "a=b,c=d", "{\"a\":\"b\",\"c\":\"d\"}", true },
		{ "a=b , c=d", "{\"a\":\"b\"}", false },
		{ "example.com/a=b", "{\"example.com/a\":\"b\"}", true },
		{ "a=", "{\"a\":\"\"}", true },
		{ "a in ()", "{\"a\":\"\"}", true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(selector_freep) struct selector *s = NULL;
		_cleanup_free_ char *error = NULL;
		_cleanup_json_ json_t *labels = js(cases[i].labels);

		printf("# %s on %s\n", cases[i].selector, cases[i].labels);
		CHECK_INT(selector_parse(cases[i].selector, &s, &error), 0);
		CHECK_INT(selector_matches(s, labels), cases[i].matches);
	}
}

static void bad_label_selectors(void)
{
	static const char *const cases[] = { ",",      "a=b,",	"=a",	   "a in x", "a in (x", "a b",	   "a=b c",	 "!a=b",
					     "a>x",    "-a",	"a=-b",	   "a=b=c",  "/a",	"A B/c=d", "a in (x y)", "a~b",
					     "a=\xff", "!", "a notin b", "a==b,,c" };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(selector_freep) struct selector *s = NULL;
		_cleanup_free_ char *error = NULL;

		printf("# case %zu\n", i);
		CHECK(selector_parse(cases[i], &s, &error) == -EINVAL);
		CHECK(error && *error);
	}
}

static void field_selectors(void)
{
	_cleanup_(field_selector_freep) struct field_selector *s = NULL, *none = NULL;
	_cleanup_free_ char *error = NULL;
	_cleanup_json_ json_t *pod = js("{\"metadata\":{\"name\":\"a,b\"},\"spec\":{\"nodeName\":\"n1\"}}");

	CHECK_INT(field_selector_parse("metadata.name=a\\,b,spec.nodeName==n1,status.phase!=Running", kind_of("Pod"), &s, &error), 0);
	CHECK(field_selector_matches(s, pod));
	CHECK_STR(field_selector_name(s), "a,b");
	CHECK_INT(field_selector_parse("spec.image=x", kind_of("Pod"), &none, &error), -EINVAL);
	CHECK_STR(error, "field label not supported: spec.image");
}

/* RFC 7386, appendix A */
static void merge_patches(void)
{
	static const char *const cases[][3] = {
		{ "{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
		{ "{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}" },
		{ "{\"a\":\"b\"}", "{\"a\":null}", "{}" },
		{ "{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}" },
		{ "{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
		{ "{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}" },
		{ "{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}" },
		{ "{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}" },
		{ "[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]" },
		{ "{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]" },
		{ "{\"a\":\"foo\"}", "null", "null" },
		{ "{\"a\":\"foo\"}", "\"bar\"", "\"bar\"" },
		{ "{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}" },
		{ "[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}" },
		{ "{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_json_ json_t *t = js(cases[i][0]), *p = js(cases[i][1]), *want = js(cases[i][2]);
		_cleanup_json_ json_t *before = json_deep_copy(t), *got = patch_merge(t, p);

		printf("# case %zu\n", i);
		CHECK(json_equal(got, want));
		CHECK(json_equal(t, before)); /* the target is not touched */
	}
}

/* RFC 6902, appendix A; a NULL result: refused */
static void json_patches(void)
{
	static const char *const cases[][3] = {
		{ "{\"foo\":\"bar\"}", "[{\"op\":\"add\",\"path\":\"/baz\",\"value\":\"qux\"}]", "{\"baz\":\"qux\",\"foo\":\"bar\"}" },
		{ "{\"foo\":[\"bar\",\"baz\"]}", "[{\"op\":\"add\",\"path\":\"/foo/1\",\"value\":\"qux\"}]",
		  "{\"foo\":[\"bar\",\"qux\",\"baz\"]}" },
		{ "{\"baz\":\"qux\",\"foo\":\"bar\"}", "[{\"op\":\"remove\",\"path\":\"/baz\"}]", "{\"foo\":\"bar\"}" },
		{ "{\"foo\":[\"bar\",\"qux\",\"baz\"]}", "[{\"op\":\"remove\",\"path\":\"/foo/1\"}]", "{\"foo\":[\"bar\",\"baz\"]}" },
		{ "{\"baz\":\"qux\"}", "[{\"op\":\"replace\",\"path\":\"/baz\",\"value\":\"boo\"}]", "{\"baz\":\"boo\"}" },
		{ "{\"foo\":{\"bar\":\"baz\",\"waldo\":\"fred\"},\"qux\":{\"corge\":\"grault\"}}",
		  "[{\"op\":\"move\",\"from\":\"/foo/waldo\",\"path\":\"/qux/thud\"}]",
		  "{\"foo\":{\"bar\":\"baz\"},\"qux\":{\"corge\":\"grault\",\"thud\":\"fred\"}}" },
		{ "{\"foo\":[\"all\",\"grass\",\"cows\",\"eat\"]}", "[{\"op\":\"move\",\"from\":\"/foo/1\",\"path\":\"/foo/3\"}]",
		  "{\"foo\":[\"all\",\"cows\",\"eat\",\"grass\"]}" },
		{ "{\"baz\":\"qux\",\"foo\":[\"a\",2]}", "[{\"op\":\"test\",\"path\":\"/foo/1\",\"value\":2}]",
		  "{\"baz\":\"qux\",\"foo\":[\"a\",2]}" },
		{ "{\"baz\":\"qux\"}", "[{\"op\":\"test\",\"path\":\"/baz\",\"value\":\"bar\"}]", NULL },
		{ "{\"foo\":\"bar\"}", "[{\"op\":\"add\",\"path\":\"/child\",\"value\":{\"grandchild\":{}}}]",
		  "{\"foo\":\"bar\",\"child\":{\"grandchild\":{}}}" },
		{ "{\"foo\":\"bar\"}", "[{\"op\":\"add\",\"path\":\"/baz\",\"value\":\"q\",\"xyz\":123}]", "{\"foo\":\"bar\",\"baz\":\"q\"}" },
		{ "{\"foo\":\"bar\"}", "[{\"op\":\"add\",\"path\":\"/baz/bat\",\"value\":\"qux\"}]", NULL },
		{ "{\"/\":9,\"~1\":10}", "[{\"op\":\"test\",\"path\":\"/~01\",\"value\":10}]", "{\"/\":9,\"~1\":10}" },
		{ "{\"/\":9,\"~1\":10}", "[{\"op\":\"test\",\"path\":\"/~01\",\"value\":\"10\"}]", NULL },
		{ "{\"foo\":[\"bar\"]}", "[{\"op\":\"add\",\"path\":\"/foo/-\",\"value\":[\"abc\",\"def\"]}]",
		  "{\"foo\":[\"bar\",[\"abc\",\"def\"]]}" },
		{ "{\"a\":1}", "[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/b\"}]", "{\"a\":1,\"b\":1}" },
		{ "{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"/a/2\",\"value\":1}]", NULL },
		{ "{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"/a/01\",\"value\":1}]", NULL },
		{ "{\"a\":1}", "[{\"op\":\"frob\",\"path\":\"/a\"}]", NULL },
		{ "{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"a\"}]", NULL },
		{ "{\"a\":{\"b\":1}}", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a/b\"}]", NULL },
		{ "{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"\",\"value\":[]}]", "[]" },
		{ "{\"a\":1}", "[3]", NULL },
		{ "{\"a\":1}", "{}", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_json_ json_t *t = js(cases[i][0]), *p = js(cases[i][1]), *before = json_deep_copy(t), *want = NULL, *got = NULL;
		_cleanup_free_ char *error = NULL;
		bool failed;

		printf("# case %zu\n", i);
		got = patch_json(t, p, &failed, &error);
		if (cases[i][2])
			want = js(cases[i][2]);
		CHECK(want ? json_equal(got, want) : !got && error);
		CHECK(json_equal(t, before));
	}
}

static void strategic_patches(void)
{
	static const char *const cases[][3] = {
		/* keyed lists are merged by key */
		{ "{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"1\"},{\"name\":\"b\",\"image\":\"1\"}]}}",
		  "{\"spec\":{\"containers\":[{\"name\":\"b\",\"image\":\"2\"}]}}",
		  "{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"1\"},{\"name\":\"b\",\"image\":\"2\"}]}}" },
		{ "{\"spec\":{\"containers\":[{\"name\":\"a\"}]}}",
		  "{\"spec\":{\"containers\":[{\"name\":\"b\"}],\"$setElementOrder/containers\":[{\"name\":\"b\"},{\"name\":\"a\"}]}}",
		  "{\"spec\":{\"containers\":[{\"name\":\"b\"},{\"name\":\"a\"}]}}" },
		{ "{\"spec\":{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}}",
		  "{\"spec\":{\"containers\":[{\"name\":\"a\",\"$patch\":\"delete\"}]}}",
		  "{\"spec\":{\"containers\":[{\"name\":\"b\"}]}}" },
		{ "{\"spec\":{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}}",
		  "{\"spec\":{\"containers\":[{\"$patch\":\"replace\"},{\"name\":\"c\"}]}}",
		  "{\"spec\":{\"containers\":[{\"name\":\"c\"}]}}" },
		/* sets */
		{ "{\"metadata\":{\"finalizers\":[\"a\",\"b\"]}}", "{\"metadata\":{\"finalizers\":[\"c\",\"a\"]}}",
		  "{\"metadata\":{\"finalizers\":[\"a\",\"b\",\"c\"]}}" },
		{ "{\"metadata\":{\"finalizers\":[\"a\",\"b\"]}}", "{\"metadata\":{\"$deleteFromPrimitiveList/finalizers\":[\"a\"]}}",
		  "{\"metadata\":{\"finalizers\":[\"b\"]}}" },
		/* atomic lists */
		{ "{\"spec\":{\"tolerations\":[{\"key\":\"a\"}]}}", "{\"spec\":{\"tolerations\":[{\"key\":\"b\"}]}}",
		  "{\"spec\":{\"tolerations\":[{\"key\":\"b\"}]}}" },
		/* maps, nulls, $retainKeys, $patch on objects */
		{ "{\"metadata\":{\"labels\":{\"a\":\"1\",\"b\":\"2\"}}}", "{\"metadata\":{\"labels\":{\"a\":null,\"c\":\"3\"}}}",
		  "{\"metadata\":{\"labels\":{\"b\":\"2\",\"c\":\"3\"}}}" },
		{ "{\"spec\":{\"nodeName\":\"n\",\"hostname\":\"h\"}}", "{\"spec\":{\"$patch\":\"replace\",\"hostname\":\"x\"}}",
		  "{\"spec\":{\"hostname\":\"x\"}}" },
		{ "{\"spec\":{\"nodeName\":\"n\",\"hostname\":\"h\"}}", "{\"spec\":{\"$retainKeys\":[\"hostname\"],\"hostname\":\"x\"}}",
		  "{\"spec\":{\"hostname\":\"x\"}}" },
		/* refused */
		{ "{\"spec\":{\"containers\":[]}}", "{\"spec\":{\"containers\":[{\"image\":\"x\"}]}}", NULL },
		{ "{\"spec\":{}}", "{\"spec\":{\"$patch\":\"explode\"}}", NULL },
		{ "{\"spec\":{}}", "{\"spec\":{\"containers\":{}}}", NULL },
		{ "{}", "[]", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_json_ json_t *t = js(cases[i][0]), *p = js(cases[i][1]), *before = json_deep_copy(t), *want = NULL, *got = NULL;
		_cleanup_free_ char *error = NULL;

		printf("# case %zu\n", i);
		got = patch_strategic(&schema_pod, t, p, &error);
		if (cases[i][2])
			want = js(cases[i][2]);
		CHECK(want ? json_equal(got, want) : !got && error);
		CHECK(json_equal(t, before));
	}
}

static void decoding(void)
{
	_cleanup_json_ json_t *pod = js("{\"metadata\":{\"name\":null},\"spec\":{\"containers\":[{\"name\":1}],\"frob\":2}}");
	_cleanup_json_ json_t *unknown = json_array();
	struct errors e = { 0 };

	schema_decode(&schema_pod, pod, NULL, unknown, &e);
	CHECK_INT(json_array_size(e.causes), 1);
	CHECK_STR(json_str_at(json_array_get(e.causes, 0), "field"), "spec.containers[0].name");
	CHECK_INT(json_array_size(unknown), 1);
	CHECK_STR(json_string_value(json_array_get(unknown, 0)), "spec.frob");
	CHECK(!json_at(pod, "metadata", "name") && !json_at(pod, "spec", "frob"));
	errors_done(&e);
}

static void quantities_and_times(void)
{
	static const char *const good[] = { "1", "100m", "1.5Gi", ".5", "1e3", "1E-3", "-2", "10k", "3E" };
	static const char *const bad[] = { "", "m", "1x", "1.2.3", "1e", ".", "1 Gi", "Gi", "--1" };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		CHECK(quantity_is_valid(good[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK(!quantity_is_valid(bad[i]));
	CHECK(rfc3339_is_valid("2026-11-20T19:00:00Z") && rfc3339_is_valid("2026-11-20T19:00:00.123456Z"));
	CHECK(rfc3339_is_valid("2026-11-20T19:00:00+01:00"));
	CHECK(!rfc3339_is_valid("2026-11-20") && !rfc3339_is_valid("2026-11-20T19:00:00") && !rfc3339_is_valid("now"));
}

static void pools(void)
{
	struct prefix range, a, b, c;
	struct pool *p;

	CHECK_INT(prefix_parse("10.0.0.0/22", &range, NULL), 0);
	CHECK_INT(pool_new(&range, 96 + 24, &p), 0);
	CHECK_INT(pool_free_count(p), 4);
	CHECK_INT(pool_take(p, &a), 0);
	CHECK_INT(prefix_parse("10.0.0.0/24", &c, NULL), 0);
	CHECK(prefix_eq(&a, &c));
	CHECK_INT(pool_claim(p, &a), -EEXIST);
	CHECK_INT(prefix_parse("10.0.3.0/24", &c, NULL), 0);
	CHECK_INT(pool_claim(p, &c), 0);
	CHECK_INT(prefix_parse("10.0.4.0/24", &c, NULL), 0);
	CHECK_INT(pool_claim(p, &c), -ERANGE);
	CHECK_INT(prefix_parse("10.0.1.0/25", &c, NULL), 0);
	CHECK_INT(pool_claim(p, &c), -ERANGE);
	CHECK_INT(pool_take(p, &b), 0);
	CHECK_INT(pool_take(p, &b), 0);
	CHECK_INT(pool_take(p, &b), -ENOSPC);
	pool_return(p, &a);
	pool_return(p, &a);
	CHECK_INT(pool_free_count(p), 1);
	CHECK_INT(pool_take_lowest(p, &b), 0);
	CHECK(prefix_eq(&a, &b));
	pool_free(p);
}

/* Random takes, claims and returns against a naive set. */
static void pools_at_random(void)
{
	bool held[256] = { false };
	struct prefix range, b;
	struct pool *p;
	unsigned seed = 7;

	CHECK_INT(prefix_parse("fd00:244::/56", &range, NULL), 0);
	CHECK_INT(pool_new(&range, 64, &p), 0);
	for (int i = 0; i < 20000; i++) {
		unsigned n = rand_r(&seed) % 256;
		size_t used = 0;

		b = range;
		b.len = 64;
		b.addr.b[7] = n;
		if (rand_r(&seed) % 2) {
			CHECK_INT(pool_claim(p, &b), held[n] ? -EEXIST : 0);
			held[n] = true;
		} else if (rand_r(&seed) % 2) {
			pool_return(p, &b);
			held[n] = false;
		} else if (pool_take(p, &b) == 0) {
			CHECK(!held[b.addr.b[7]]);
			held[b.addr.b[7]] = true;
		}
		for (n = 0; n < 256; n++)
			used += held[n];
		CHECK_INT(pool_free_count(p), 256 - used);
	}
	pool_free(p);
}

static void tokens(void)
{
	_cleanup_free_ char *text = continue_token_format(12, "default", "a.b");
	struct continue_token t;

	CHECK_INT(continue_token_parse(text, &t), 0);
	CHECK_INT(t.rev, 12);
	CHECK_STR(t.ns, "default");
	CHECK_STR(t.name, "a.b");
	continue_token_done(&t);
	for (const char *const *bad = VALUES("", "v1:", "v1:0:a:b", "v1:1:a", "v2:1:a:b", "v1:x:a:b", "v1:1:A:b", "v1:1:a:", "v1:1:a:b:c");
	     *bad; bad++)
		CHECK_INT(continue_token_parse(*bad, &t), -EINVAL);
}

static void protobuf(void)
{
	static const char good[] = "k8s\0\x0a\x0f\x0a\x02v1\x12\x09"
				   "Namespace\x12\x08\x0a\x06\x0a\x02ns\x12\x00";
	_cleanup_free_ char *error = NULL;
	_cleanup_json_ json_t *j = protobuf_decode(&schema_namespace, good, sizeof(good) - 1, &error);

	CHECK_STR(json_str_at(j, "metadata", "name"), "ns");
	CHECK_STR(json_str_at(j, "kind"), "Namespace");
	CHECK(!json_at(j, "metadata", "generateName"));
	/* cut anywhere: refused or smaller, never out of bounds (the sanitizers look on) */
	for (size_t n = 0; n < sizeof(good) - 1; n++) {
		char *copy = memcpy(xmalloc(n), good, n), *why = NULL;

		json_decref(protobuf_decode(&schema_namespace, copy, n, &why));
		free(why);
		free(copy);
	}
}

static json_t *config(const char *name, int i)
{
	return json_pack("{s{ss ss} s{si}}", "metadata", "name", name, "namespace", "default", "data", "i", i);
}

/* Pages are of one revision, whatever is written between them. */
static void snapshots(void)
{
	_cleanup_(store_freep) struct store *s = NULL;
	_cleanup_free_ char *error = NULL;
	const struct kind *k = kind_of("ConfigMap");
	struct object **all;
	uint64_t rev;
	size_t n;

	CHECK_INT(store_open(":memory:", &s, &error), 0);
	CHECK_INT(store_put(s, k, config("a", 1), NULL), 0);
	CHECK_INT(store_put(s, k, config("b", 1), NULL), 0);
	rev = store_rev(s);
	CHECK_INT(store_put(s, k, config("a", 2), NULL), 0);
	CHECK_INT(store_delete(s, k, "default", "b", NULL), 0);
	CHECK_INT(store_put(s, k, config("c", 1), NULL), 0);
	CHECK_INT(store_delete(s, k, "default", "zz", NULL), -ENOENT);
	CHECK_INT(store_count(s, k), 2);
	CHECK_INT(store_snapshot(s, k, rev, &all, &n), 0);
	CHECK_INT(n, 2);
	CHECK_STR(all[0]->name, "a");
	CHECK_INT(json_integer_value(json_at(all[0]->json, "data", "i")), 1);
	CHECK_STR(all[1]->name, "b");
	store_snapshot_free(all, n);
	CHECK_INT(store_snapshot(s, k, 0, &all, &n), -ESTALE);
}

int main(void)
{
	RUN(label_selectors);
	RUN(bad_label_selectors);
	RUN(field_selectors);
	RUN(merge_patches);
	RUN(json_patches);
	RUN(strategic_patches);
	RUN(decoding);
	RUN(quantities_and_times);
	RUN(pools);
	RUN(pools_at_random);
	RUN(tokens);
	RUN(protobuf);
	RUN(snapshots);
	return test_end();
}
