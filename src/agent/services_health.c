/* SPDX-License-Identifier: Apache-2.0 */
/* For load balancers: a Service with externalTrafficPolicy Local has a port on every node that says whether, and by how many
 * ready endpoints, this node serves it (SVC-30); /healthz says whether the node serves Services at all (SVC-31).
 *
 * Each port is a server of its own with its own bounds: who holds all connections of one does not silence another. A port that
 * somebody else has is tried again each second; the network does without meanwhile. Where clients outside are not this agent's
 * (option service.inbound), neither are the questions: kube-proxy answers them. */
#include "agent/agent.h"
#include "agent/services_internal.h"
#include "agent/services_pages.h"
#include "base/log.h"
#include "base/str.h"
#include "observe/scrape.h"

enum { CHECKS_MAX = 256 }; /* each is a handful of descriptors */

struct service_check {
	struct agent *agent;
	struct service_entry *entry;
	uint16_t port;
	struct scrape *server; /* NULL: the port is not to be had */
};

static void count(struct services_view *s, const struct page *page)
{
	if (page->code == 200 || page->code == 503)
		s->health_answers[page->code == 503]++;
}

/* ---- one Service ---- */

static void on_check(_unused_ const char *path, struct page *ret, void *ctx)
{
	const struct service_check *c = ctx;
	struct services_view *s = &c->agent->services;

	services_page_check(ret, c->entry->view, s->healthy);
	count(s, ret);
}

static int listen_everywhere(struct agent *a, struct service_check *c)
{
	_cleanup_free_ char *where = xasprintf("[::]:%u", c->port);
	int fd, r;

	if (a->services.n_open == CHECKS_MAX)
		return -EMFILE;
	fd = scrape_listen(where);
	r = fd < 0 ? fd : scrape_new_pages(a->event, fd, on_check, c, &c->server);
	a->services.n_open += r >= 0;
	return r;
}

static void check_open(struct agent *a, struct service_entry *e)
{
	struct services_view *s = &a->services;
	struct service_check *c = xnew0(struct service_check);
	int r;

	*c = (struct service_check){.agent = a, .entry = e, .port = e->view->health_port};
	e->check = c;
	s->n_checks++;
	r = listen_everywhere(a, c);
	if (r < 0)
		log_warn("cannot serve the health check of a Service", L_STR("namespace", e->view->namespace_),
			 L_STR("service", e->view->name), L_UINT("port", c->port), L_ERRNO(r));
}

void services_check_free(struct services_view *s, struct service_entry *e)
{
	if (!e->check)
		return;
	s->n_checks--;
	s->n_open -= e->check->server != NULL;
	scrape_free(e->check->server);
	free(e->check);
	e->check = NULL;
}

void services_check_apply(struct agent *a, struct service_entry *e)
{
	uint16_t port = a->services.inbound ? e->view->health_port : 0;

	if (e->check && e->check->port == port)
		return;
	services_check_free(&a->services, e);
	if (port)
		check_open(a, e);
}

static void retry_checks(struct agent *a)
{
	struct services_view *s = &a->services;

	if (s->n_open == s->n_checks)
		return;
	for (struct htab_node *i = htab_begin(&s->by_name); i; i = htab_next(&s->by_name, i)) {
		struct service_check *c = container_of(i, struct service_entry, node)->check;

		if (c && !c->server)
			listen_everywhere(a, c);
	}
	services_say_health(a);
}

void services_say_health(struct agent *a)
{
	const struct services_view *s = &a->services;
	_cleanup_free_ char *ports = NULL;
	const char *why = NULL;

	if (s->failed)
		why = "some Services could not be programmed: a map is full?";
	else if (s->n_open < s->n_checks)
		why = ports = xasprintf("%zu health check ports of Services are taken by another process (kube-proxy?), or are too many",
					s->n_checks - s->n_open);
	health_set(&a->health, PART_SERVICES, why);
}

/* ---- the node ---- */

static void on_healthz(const char *path, struct page *ret, void *ctx)
{
	struct agent *a = ctx;
	struct services_view *s = &a->services;
	const struct model_node *node = model_find_node(a->model, a->opt.node_name);
	struct services_health h = {.healthy = s->healthy, .leaving = node && node->leaving, .now = time(NULL)};

	if (s->healthy)
		s->healthy_at = h.now;
	h.healthy_at = s->healthy_at;
	services_page_proxy(ret, path, &h);
	count(s, ret);
}

void agent_services_start(struct agent *a)
{
	struct services_view *s = &a->services;
	int r;

	if (s->healthz || !*a->opt.service_health || !s->inbound || a->opt.service_enabled == SWITCH_OFF)
		return;
	r = scrape_listen(a->opt.service_health);
	if (r >= 0)
		r = scrape_new_pages(a->event, r, on_healthz, a, &s->healthz);
	if (r < 0 && !s->healthz_said)
		log_warn("cannot serve /healthz; goes on trying", L_STR("address", a->opt.service_health), L_ERRNO(r));
	s->healthz_said = r < 0;
}

void services_health_tick(struct agent *a)
{
	struct services_view *s = &a->services;

	if (s->healthy)
		s->healthy_at = time(NULL);
	if (!s->inbound)
		s->healthz = scrape_free(s->healthz);
	agent_services_start(a);
	retry_checks(a);
}

void services_health_stop(struct agent *a)
{
	a->services.healthz = scrape_free(a->services.healthz);
}
