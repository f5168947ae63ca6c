/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/services_pages.h"
#include "base/str.h"
#include "base/test.h"

static void is(struct page *p, unsigned code, const char *body)
{
	CHECK_INT(p->code, code);
	buf_add(&p->body, "", 1);
	CHECK_STR(p->body.data, body);
	buf_done(&p->body);
}

static void SVC_30_a_check_counts_ready_endpoints(void)
{
	struct service_view v = {.namespace_ = (char *)"shop", .name = (char *)"web", .local_ready = 2};
	struct page some = {0}, stale = {0}, none = {0};

	services_page_check(&some, &v, true);
	CHECK_STR(some.header, "X-Load-Balancing-Endpoint-Weight: 2");
	CHECK_STR(some.type, "application/json");
	is(&some, 200,
	   "{\"service\":{\"namespace\":\"shop\",\"name\":\"web\"},\"localEndpoints\":2,\"serviceProxyHealthy\":true}");
	services_page_check(&stale, &v, false);
	is(&stale, 503,
	   "{\"service\":{\"namespace\":\"shop\",\"name\":\"web\"},\"localEndpoints\":2,\"serviceProxyHealthy\":false}");
	v.local_ready = 0;
	services_page_check(&none, &v, true);
	CHECK_STR(none.header, "X-Load-Balancing-Endpoint-Weight: 0");
	is(&none, 503,
	   "{\"service\":{\"namespace\":\"shop\",\"name\":\"web\"},\"localEndpoints\":0,\"serviceProxyHealthy\":true}");
}

static void SVC_31_a_node_that_leaves_lives(void)
{
	static const char well[] = "{\"lastUpdated\":\"1970-01-01T00:00:20Z\",\"currentTime\":\"1970-01-01T00:00:20Z\"",
			  stale[] = "{\"lastUpdated\":\"1970-01-01T00:00:10Z\",\"currentTime\":\"1970-01-01T00:00:20Z\"";
	static const struct {
		const char *path;
		bool healthy, leaving;
		unsigned code;
		const char *start, *rest;
	} cases[] = {
		{ "/healthz", true, false, 200, well, ",\"nodeEligible\":true}" },
		{ "/healthz", true, true, 503, well, ",\"nodeEligible\":false}" },
		{ "/healthz", false, false, 503, stale, ",\"nodeEligible\":true}" },
		{ "/livez", true, false, 200, well, "}" },
		{ "/livez", true, true, 200, well, "}" },
		{ "/livez", false, true, 503, stale, "}" },
		{ "/", true, false, 404, "there are /healthz and /livez, and nothing else\n", "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct services_health h = {cases[i].healthy, cases[i].leaving, 10, 20};
		_cleanup_free_ char *body = xasprintf("%s%s", cases[i].start, cases[i].rest);
		struct page p = {0};

		services_page_proxy(&p, cases[i].path, &h);
		is(&p, cases[i].code, body);
	}
}

int main(void)
{
	RUN(SVC_30_a_check_counts_ready_endpoints);
	RUN(SVC_31_a_node_that_leaves_lives);
	return test_end();
}
