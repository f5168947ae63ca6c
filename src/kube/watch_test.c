/* SPDX-License-Identifier: Apache-2.0 */
/* A watch against a server that answers by a script: what it tells of, in what order. */
#include "base/buf.h"
#include "base/str.h"
#include "base/test.h"
#include "kube/scripted.h"
#include "kube/watch.h"

static struct buf story;
static const char *expected;

static void tell(const char *what, json_t *o)
{
	buf_addf(&story, "%s%s%s%s ", what, o ? " " : "", o ? json_str_or(json_at(o, "metadata", "name"), "?") : "", json_object_get(o, "spec") ? "+" : "");
}
static void on_begin(void *ctx _unused_)
{
	tell("begin", NULL);
}
static void on_object(json_t *o, void *ctx _unused_)
{
	tell("obj", o);
}
static void on_synced(void *ctx _unused_)
{
	tell("synced", NULL);
}
static void on_upsert(json_t *o, void *ctx _unused_)
{
	tell("up", o);
}
static void on_del(json_t *o, void *ctx _unused_)
{
	tell("del", o);
}
static const struct kube_watch_ops watch_ops = {on_begin, on_object, on_synced, on_upsert, on_del, NULL};

static bool told_all(void)
{
	return story.len >= strlen(expected) && scripted.script->status == 0;
}

/* Plays @steps; the story must be @want in the end. */
static void watch(const struct step *steps, const char *want, struct kube_watch_config config,
		  struct kube_watch_status *ret)
{
	_cleanup_(kube_client_freep) struct kube_client *c = scripted_client();
	_cleanup_(kube_watch_freep) struct kube_watch *w = NULL;

	scripted_play(steps);
	buf_done(&story);
	expected = want;
	config.path = config.path ? config.path : "/api/v1/pods";
	config.ops = &watch_ops;
	config.backoff_min_ms = 4;
	config.backoff_max_ms = 16;
	CHECK_INT(kube_watch_new(c, &config, &w), 0);
	scripted_run_until(told_all);
	CHECK_STR(story.data, want);
	CHECK(!*scripted.mismatch && scripted.script->status == 0);
	kube_watch_status(w, ret);
	ret->path = ret->error = NULL;
}

#define EV(type, name, rv) \
	"{\"type\":\"" type "\",\"object\":{\"metadata\":{\"name\":\"" name "\",\"resourceVersion\":\"" rv "\"}}}\n"
#define LIST(rv, cont, items) \
	"{\"metadata\":{\"resourceVersion\":\"" rv "\",\"continue\":\"" cont "\"},\"items\":[" items "]}"
#define OBJ(name) "{\"metadata\":{\"name\":\"" name "\"}}"
#define GONE "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\"}}\n"

static void pages_then_events(void)
{
	static const struct step steps[] = {
	    {.want = "limit=2 ",
	     .unwanted = "continue",
	     .status = 200,
	     .body = LIST("9", "t/1", OBJ("a") "," OBJ("b"))},
	    {.want = "continue=t%2F1", .status = 200, .body = LIST("9", "t2", OBJ("c"))},
	    {.want = "continue=t2", .status = 200, .body = LIST("10", "", OBJ("d"))},
	    {.want = "resourceVersion=10&",
	     .status = 200,
	     .body = EV("ADDED", "e", "11") EV("MODIFIED", "a", "12") EV("DELETED", "b", "13")},
	    {.want = "resourceVersion=13&", .status = 200, .body = EV("BOOKMARK", "", "20")},
	    {.want = "resourceVersion=20&", .status = 200, .body = "", .then = HANG},
	    {0},
	};
	struct kube_watch_status s;

	watch(steps, "begin obj a obj b obj c obj d synced up e up a del b ", (struct kube_watch_config){.page = 2},
	      &s);
	CHECK(s.synced && s.lists == 1 && s.objects == 4 && s.events == 3 && s.bookmarks == 1 && s.refused == 0);
}

static void objects_are_what_is_read_of_them(void)
{
#define WITH_SPEC(name) "{\"spec\":{},\"metadata\":{\"name\":\"" name "\",\"resourceVersion\":\"2\"}}"
	static const struct step steps[] = {
	    {.want = "limit=500 ", .status = 200, .body = LIST("1", "", WITH_SPEC("a"))},
	    {.want = "resourceVersion=1&", .status = 200, .body = "{\"object\":" WITH_SPEC("b") ",\"type\":\"ADDED\"}\n" GONE},
	    {.want = "limit=500 ", .status = 200, .body = LIST("3", "", "")},
	    {.want = "resourceVersion=3&", .status = 200, .body = "", .then = HANG},
	    {0},
	};
	struct kube_watch_status s;

	watch(steps, "begin obj a+ synced up b+ begin synced ", (struct kube_watch_config){0}, &s);
	watch(steps, "begin obj a synced up b begin synced ", (struct kube_watch_config){.fields = "metadata(name)"}, &s);
}

static void selectors_are_sent(void)
{
	static const struct step steps[] = {
	    {.want = "labelSelector=a%3Db&fieldSelector=spec.nodeName%3Dn1&limit=500 ",
	     .status = 200,
	     .body = LIST("1", "", "")},
	    {.want = "labelSelector=a%3Db&fieldSelector=spec.nodeName%3Dn1&watch=true",
	     .status = 200,
	     .body = "",
	     .then = HANG},
	    {0},
	};
	struct kube_watch_status s;

	watch(steps, "begin synced ",
	      (struct kube_watch_config){.label_selector = "a=b", .field_selector = "spec.nodeName=n1"}, &s);
}

static void resumes_after_a_cut_line(void)
{
	static const struct step steps[] = {
	    {.want = "limit", .status = 200, .body = LIST("1", "", "")},
	    {.want = "resourceVersion=1&",
	     .status = 200,
	     .body = EV("ADDED", "a", "2") "{\"type\":\"ADDED\",\"obj",
	     .then = CUT},
	    {.want = "resourceVersion=2&", .status = 200, .body = EV("ADDED", "b", "3"), .then = HANG},
	    {0},
	};
	struct kube_watch_status s;

	watch(steps, "begin synced up a up b ", (struct kube_watch_config){0}, &s);
	CHECK(s.lists == 1 && s.refused == 0 && s.connected);
}

static void expired_versions_are_listed_again(void)
{
	static const struct step steps[] = {
	    {.want = "limit", .status = 200, .body = LIST("1", "", OBJ("a"))},
	    {.want = "resourceVersion=1&", .status = 200, .body = GONE},
	    {.want = "limit", .unwanted = "resourceVersion", .status = 200, .body = LIST("5", "", OBJ("b"))},
	    {.want = "resourceVersion=5&", .status = 410, .body = "{\"kind\":\"Status\",\"code\":410}"},
	    {.want = "limit", .status = 200, .body = LIST("6", "t", OBJ("c"))},
	    {.want = "continue=t", .status = 410, .body = "{}"}, /* the list's own version expires */
	    {.want = "limit", .unwanted = "continue", .status = 200, .body = LIST("7", "", OBJ("d"))},
	    {.want = "resourceVersion=7&", .status = 200, .body = "", .then = HANG},
	    {0},
	};
	struct kube_watch_status s;

	watch(steps, "begin obj a synced begin obj b synced begin obj c begin obj d synced ",
	      (struct kube_watch_config){0}, &s);
	CHECK_INT(s.lists, 3);
}

static void repeated_and_reordered_events(void)
{
	static const struct step steps[] = {
	    {.want = "limit", .status = 200, .body = LIST("10", "", "")},
	    {.want = "resourceVersion=10&",
	     .status = 200,
	     .body = EV("ADDED", "a", "12") EV("ADDED", "old", "11") EV("DELETED", "b", "13") EV("ADDED", "b", "9")
		 EV("ADDED", "c", "14"),
	     .then = HANG},
	    {0},
	};
	struct kube_watch_status s;

	watch(steps, "begin synced up a del b up c ", (struct kube_watch_config){0}, &s);
}

static void storms_are_weathered(void)
{
	static const struct step steps[] = {
	    {.want = "limit", .status = 500, .body = "oops", .times = 12},
	    {.want = "limit", .status = 429, .headers = "Retry-After: 1\r\n", .body = "{}"},
	    {.want = "limit", .status = 200, .body = LIST("1", "", OBJ("a"))},
	    {.want = "resourceVersion=1&", .status = 503, .body = "", .times = 5},
	    {.want = "resourceVersion=1&",
	     .status = 200,
	     .body = "{\"type\":\"ERROR\",\"object\":{\"code\":500,\"message\":\"etcd\"}}\n"},
	    {.want = "resourceVersion=1&", .status = 200, .body = EV("ADDED", "b", "2"), .then = HANG},
	    {0},
	};
	struct kube_watch_status s;
	uint64_t start, end;

	sd_event_now(scripted.event, CLOCK_MONOTONIC, &start);
	watch(steps, "begin obj a synced up b ", (struct kube_watch_config){0}, &s);
	sd_event_now(scripted.event, CLOCK_MONOTONIC, &end);
	CHECK(end - start >= 1000000); /* Retry-After was kept */
	CHECK_INT(scripted.requests, 12 + 1 + 1 + 5 + 1 + 1);
	CHECK_INT(s.reconnects, 12 + 1 + 5 + 1);
}

static void garbage_is_refused(void)
{
	static const struct step steps[] = {
	    {.want = "limit", .status = 200, .body = "[]"},
	    {.want = "limit", .status = 200, .body = "{\"items\":[]}"},
	    {.want = "limit", .status = 200, .body = "<html>"},
	    {.want = "limit", .status = 200, .body = LIST("1", "", "7," OBJ("a"))},
	    {.want = "resourceVersion=1&", .status = 200, .body = "\xff\xfe\n" EV("ADDED", "lost", "2")},
	    {.want = "resourceVersion=1&", .status = 200, .body = EV("ADDED", "b", "2") "{\"type\":\"ODD\"}\n"},
	    {.want = "resourceVersion=2&",
	     .status = 200,
	     .body = "x\n",
	     .times = 2}, /* with the one before: three in a row */
	    {.want = "limit", .status = 200, .body = LIST("9", "", OBJ("c"))},
	    {.want = "resourceVersion=9&", .status = 200, .body = "", .then = HANG},
	    {0},
	};
	struct kube_watch_status s;

	watch(steps, "begin obj a synced up b begin obj c synced ", (struct kube_watch_config){0}, &s);
	CHECK_INT(s.refused, 5);
}

static void too_large_events_are_left_out(void)
{
	_cleanup_free_ char *name = xmalloc(5001), *stream = NULL;
	struct step steps[] = {
	    {.want = "limit", .status = 200, .body = LIST("1", "", "")},
	    {.want = "resourceVersion=1&", .status = 200, .then = HANG},
	    {0},
	};
	struct kube_watch_status s;

	memset(name, 'x', 5000);
	name[5000] = 0;
	stream = xasprintf(
	    "%s{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"%s\",\"resourceVersion\":\"3\"}}}\n%s",
	    EV("ADDED", "a", "2"), name, EV("ADDED", "b", "4"));
	steps[1].body = stream;
	watch(steps, "begin synced up a up b ", (struct kube_watch_config){.max_event = 4096}, &s);
	CHECK(s.refused == 1 && s.connected && s.events == 2);
}

static void falls_back_to_an_older_version(void)
{
	static const struct step steps[] = {
	    {.want = "/apis/g/v1/x?", .status = 404, .body = "404 page not found"},
	    {.want = "/apis/g/v1beta1/x?", .status = 404, .body = "404 page not found"},
	    {.want = "/apis/g/v1/x?", .status = 404, .body = "404 page not found"},
	    {.want = "/apis/g/v1beta1/x?", .status = 200, .body = LIST("1", "", OBJ("a"))},
	    {.want = "/apis/g/v1beta1/x?watch", .status = 200, .body = "", .then = HANG},
	    {0},
	};
	struct kube_watch_status s;

	watch(steps, "begin obj a synced ",
	      (struct kube_watch_config){.path = "/apis/g/v1/x", .fallback_path = "/apis/g/v1beta1/x"}, &s);
}

int main(void)
{
	int r = scripted_start();

	if (r < 0) {
		printf("Bail out! no server in a namespace of my own: %s\n", strerror(-r));
		return 1;
	}
	RUN(pages_then_events);
	RUN(objects_are_what_is_read_of_them);
	RUN(selectors_are_sent);
	RUN(resumes_after_a_cut_line);
	RUN(expired_versions_are_listed_again);
	RUN(repeated_and_reordered_events);
	RUN(storms_are_weathered);
	RUN(garbage_is_refused);
	RUN(too_large_events_are_left_out);
	RUN(falls_back_to_an_older_version);
	scripted_stop();
	buf_done(&story);
	return test_end();
}
