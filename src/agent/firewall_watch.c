/* SPDX-License-Identifier: Apache-2.0 */
/* When the agent looks at others' packet filters: at its start, with each audit, and soon after somebody has changed nf_tables. kube-proxy
 * and others change it all the time, and our own rules are a change as well, so it looks once a second at most. */
#include "agent/agent.h"
#include "agent/transport.h"
#include "base/log.h"
#include "net/nft.h"

enum { SOON_US = 200 * 1000, AGAIN_US = 1000 * 1000 };

static void want_port(struct firewall_wants *w, uint64_t port)
{
	if (port)
		w->udp_ports[w->n_udp_ports++] = port;
}

static struct firewall_wants find_wants(const struct agent *a)
{
	struct firewall_wants w = { .accept = a->opt.firewall_accept };

	want_port(&w, transport_port(&a->opt));
	want_port(&w, mesh_is_on(&a->opt) ? a->opt.mesh_port : 0);
	want_port(&w, a->opt.transport == TRANSPORT_AUTO ? a->opt.probe_port : 0);
	return w;
}

/* A rule that stood there at the last look and is gone was taken away with what it stood in, or by somebody. */
static void tell(struct agent *a, unsigned made, unsigned held)
{
	struct firewall *f = &a->firewall;

	if (made == 0)
		return;
	if (f->held > held - made)
		repairs_note(&a->repairs, REPAIR_FIREWALL, made, "rules that accept Weft's packets in others' packet filters");
	else
		log_info("a packet filter drops by default: accepts Weft's packets there", L_UINT("rules", made));
}

void agent_look_at_firewall(struct agent *a)
{
	struct firewall_wants wants = find_wants(a);
	struct firewall *f = &a->firewall;
	unsigned made, held;
	char *now;

	held = firewall_settle(&wants, &made, &now);
	tell(a, made, held);
	f->held = held;
	if (now && !streq(now, f->warning))
		log_warn("a foreign packet filter is in the way", L_STR("why", now));
	free(f->warning);
	f->warning = now;
}

static int on_time(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	struct agent *a = ctx;

	agent_look_at_firewall(a);
	a->firewall.next_us = agent_now_us(a) + AGAIN_US;
	return 0;
}

static int on_change(sd_event_source *s _unused_, int fd, uint32_t revents _unused_, void *ctx)
{
	struct agent *a = ctx;
	int enabled = SD_EVENT_OFF;

	nft_monitor_drain(fd);
	if (sd_event_source_get_enabled(a->firewall.timer, &enabled) > 0 && enabled == SD_EVENT_ONESHOT)
		return 0;
	sd_event_source_set_time(a->firewall.timer, MAX(agent_now_us(a) + SOON_US, a->firewall.next_us));
	return sd_event_source_set_enabled(a->firewall.timer, SD_EVENT_ONESHOT);
}

int agent_watch_firewall(struct agent *a)
{
	struct firewall *f = &a->firewall;
	int r = sd_event_add_time(a->event, &f->timer, CLOCK_MONOTONIC, UINT64_MAX, 0, on_time, a);

	f->events_fd = -1;
	if (r < 0)
		return r;
	sd_event_source_set_enabled(f->timer, SD_EVENT_OFF);
	f->events_fd = nft_monitor_open();
	if (f->events_fd == -EPROTONOSUPPORT) /* a kernel without it; the tables of old tell nobody, the audit looks at them */
		return 0;
	if (f->events_fd < 0)
		return f->events_fd;
	r = sd_event_add_io(a->event, &f->events, f->events_fd, EPOLLIN, on_change, a);
	return r < 0 ? r : 0;
}

void agent_unwatch_firewall(struct agent *a)
{
	struct firewall *f = &a->firewall;

	f->timer = sd_event_source_disable_unref(f->timer);
	f->events = sd_event_source_disable_unref(f->events);
	if (f->events_fd >= 0)
		close(f->events_fd);
	f->events_fd = -1;
	free(f->warning);
	f->warning = NULL;
}
