/* SPDX-License-Identifier: Apache-2.0 */
/* Label values are words of our own tables, prefixes, and resources of the API: none can hold a quote or a backslash. */
#include "agent/agent.h"
#include "agent/announcer.h"
#include "agent/transport.h"
#include "base/file.h"
#include "base/str.h"

#include <dirent.h>
#include <sys/resource.h>
#include <time.h>

typedef void metric_fn(struct exposition *x, const struct metric *m, const struct agent *a);

static metric_fn audits, fragments_pushed_out, xdp_packets, locked, events_told, events_failed, info, ready, health, drops, dropped_bytes, forwarded, forwarded_bytes, flows, flow_max, flow_searches, endpoints, endpoints_lost,
	node_routes, services, service_answers, service_writes, service_aborted, health_ports, health_answers, announced, announce_peers, announce_changes, announce_questions, peers, mesh_info, mesh_peers, mesh_alive, mesh_received, mesh_sent, mesh_starts, probes, peer_mtu, outer_told, ipam, repairs, events_lost, passes, events, events_missed,
	observe_readers, observe_lost, peer_rtt, peer_probes, peer_lost, cni_requests, cni_duration, kube_connected, kube_lists,
	kube_events, kube_reconnects, kube_refused, objects, cpu, resident, virtual_memory, open_fds, max_fds, start_time;

/* clang-format off */
static const struct {
	struct metric metric;
	metric_fn *write;
} metrics[] = {
	{ { "weft_info", METRIC_GAUGE, "version, transport, attach", "One, with what this agent is." }, info },
	{ { "weft_ready", METRIC_GAUGE, "", "Whether pods can be added." }, ready },
	{ { "weft_health", METRIC_GAUGE, "part", "Whether a part of the agent is well." }, health },
	{ { "weft_drops", METRIC_COUNTER, "reason", "Packets dropped, by reason; see drop-reasons.md." }, drops },
	{ { "weft_dropped_bytes", METRIC_COUNTER, "reason", "Bytes of packets dropped." }, dropped_bytes },
	{ { "weft_policy_audits", METRIC_COUNTER, "reason", "Flows that passed, but that policies which only observe would deny, by reason." }, audits },
	{ { "weft_policy_locked_addresses", METRIC_GAUGE, "", "Addresses of this node's pods that are locked down: their policies are not known, too large, or find no room." }, locked },
	{ { "weft_kube_events_told", METRIC_COUNTER, "", "Kubernetes Events that the API has taken, or had already." }, events_told },
	{ { "weft_kube_events_refused", METRIC_COUNTER, "", "Kubernetes Events that the API did not take." }, events_failed },
	{ { "weft_forwarded_packets", METRIC_COUNTER, "way", "Packets forwarded, by way; a superpacket counts once." }, forwarded },
	{ { "weft_forwarded_bytes", METRIC_COUNTER, "way", "Bytes forwarded." }, forwarded_bytes },
	{ { "weft_flows", METRIC_GAUGE, "table", "Entries of the flow tables: established, new." }, flows },
	{ { "weft_flow_table_max", METRIC_GAUGE, "", "Entries that each flow table holds at most." }, flow_max },
	{ { "weft_flow_searches", METRIC_COUNTER, "", "Searches through whole tables for entries that found the queue of those to look at full." }, flow_searches },
	{ { "weft_xdp_packets", METRIC_COUNTER, "", "Packets of Services' connections that XDP sent on; each is in one of the ways, too." }, xdp_packets },
	{ { "weft_fragments_pushed_out", METRIC_COUNTER, "", "First fragments noted for later ones whose place another one of the same pod or sender took before those came." }, fragments_pushed_out },
	{ { "weft_endpoints", METRIC_GAUGE, "", "Interfaces of pods on this node." }, endpoints },
	{ { "weft_endpoints_without_interface", METRIC_GAUGE, "", "Pods on this node whose interface was deleted and could not be made again." }, endpoints_lost },
	{ { "weft_node_routes", METRIC_GAUGE, "", "Ranges and addresses of other nodes that the datapath knows." }, node_routes },
	{ { "weft_services", METRIC_GAUGE, "what", "What the datapath has of Services: ports, frontends, backends, slots." }, services },
	{ { "weft_service_answers", METRIC_COUNTER, "what", "What sockets and packets that asked for a Service got." }, service_answers },
	{ { "weft_service_writes", METRIC_COUNTER, "", "Entries written to or deleted from the tables of Services." }, service_writes },
	{ { "weft_service_sockets_aborted", METRIC_COUNTER, "", "Connected sockets of the node and its pods whose endpoint was gone: they were aborted." }, service_aborted },
	{ { "weft_service_health_ports", METRIC_GAUGE, "state", "Health check ports of Services, open or taken by another process." }, health_ports },
	{ { "weft_service_health_answers", METRIC_COUNTER, "code", "Answers to health checks of Services and to /healthz and /livez." }, health_answers },
	{ { "weft_announced_addresses", METRIC_GAUGE, "state", "Addresses of Services in this node's local networks: held by this node, elsewhere, or had by a foreign host." }, announced },
	{ { "weft_announce_peers", METRIC_GAUGE, "state", "Nodes that could announce the same addresses, by whether they answer." }, announce_peers },
	{ { "weft_announce_changes", METRIC_COUNTER, "what", "Addresses that this node took and released; conflicts: others that claimed what it held." }, announce_changes },
	{ { "weft_announce_questions", METRIC_COUNTER, "", "ARP requests and neighbour solicitations that the agent sent, probes of those nodes." }, announce_questions },
	{ { "weft_peers", METRIC_GAUGE, "transport, state", "Other nodes, by how and whether they are reached." }, peers },
	{ { "weft_mesh_info", METRIC_GAUGE, "engine", "One, with who encrypts; nothing without encryption." }, mesh_info },
	{ { "weft_mesh_peers", METRIC_GAUGE, "state", "Other nodes, by whether WireGuard can speak with them." }, mesh_peers },
	{ { "weft_mesh_peers_alive", METRIC_GAUGE, "", "Peers with a handshake in the last three minutes." }, mesh_alive },
	{ { "weft_mesh_received_bytes", METRIC_COUNTER, "", "Bytes that WireGuard received of the peers that it has now." }, mesh_received },
	{ { "weft_mesh_sent_bytes", METRIC_COUNTER, "", "Bytes that it sent to them." }, mesh_sent },
	{ { "weft_mesh_engine_starts", METRIC_COUNTER, "", "Times that this agent started weft-wg." }, mesh_starts },
	{ { "weft_probes", METRIC_COUNTER, "what", "Transport auto: probes sent and answered, of others answered, refused, not looked at." }, probes },
	{ { "weft_route_mtu_bytes", METRIC_GAUGE, "", "MTU of the pods' routes: the smallest of all paths." }, peer_mtu },
	{ { "weft_outer_too_big", METRIC_COUNTER, "", "Times that routers said of outer packets over IPv6 that they do not fit." }, outer_told },
	{ { "weft_ipam_addresses", METRIC_GAUGE, "range, state", "Addresses of the node's ranges: used, resting, free." }, ipam },
	{ { "weft_repairs", METRIC_COUNTER, "what", "What somebody else had taken away or changed, and was put back." }, repairs },
	{ { "weft_netlink_events_lost", METRIC_COUNTER, "", "Overruns of the kernel's event queue; each made the agent list everything again." }, events_lost },
	{ { "weft_passes", METRIC_COUNTER, "", "Times that the agent held links, routes and datapath of the node and its pods against what they should be; a pod that comes or goes makes none." }, passes },
	{ { "weft_events", METRIC_COUNTER, "kind", "Events of the datapath that reached the agent." }, events },
	{ { "weft_events_missed", METRIC_COUNTER, "", "Events that the datapath held back, for their rate or for want of room." }, events_missed },
	{ { "weft_observe_readers", METRIC_GAUGE, "", "Those who read along: weft observe." }, observe_readers },
	{ { "weft_observe_lost", METRIC_COUNTER, "", "Events that passed by readers which were too slow." }, observe_lost },
	{ { "weft_peer_rtt_seconds", METRIC_GAUGE, "peer, family", "Round trip to another node, between the nodes' addresses in the pod ranges, smoothed." }, peer_rtt },
	{ { "weft_peer_echoes", METRIC_COUNTER, "peer, family", "Echo requests sent to another node." }, peer_probes },
	{ { "weft_peer_echoes_lost", METRIC_COUNTER, "peer, family", "Echo requests that no answer came to before the next one." }, peer_lost },
	{ { "weft_cni_requests", METRIC_COUNTER, "command, result", "CNI calls answered." }, cni_requests },
	{ { "weft_cni_duration_seconds", METRIC_HISTOGRAM, "command", "How long the agent took for a CNI call." }, cni_duration },
	{ { "weft_kube_watch_connected", METRIC_GAUGE, "resource", "Whether the watch of a resource runs." }, kube_connected },
	{ { "weft_kube_watch_lists", METRIC_COUNTER, "resource", "Whole lists taken." }, kube_lists },
	{ { "weft_kube_watch_events", METRIC_COUNTER, "resource", "Events received." }, kube_events },
	{ { "weft_kube_watch_restarts", METRIC_COUNTER, "resource", "Times a watch was started again." }, kube_reconnects },
	{ { "weft_kube_watch_refused", METRIC_COUNTER, "resource", "Events that were malformed or too large." }, kube_refused },
	{ { "weft_kube_objects", METRIC_GAUGE, "resource", "Objects known." }, objects },
	{ { "process_cpu_seconds", METRIC_COUNTER, "", "User and system time of the agent." }, cpu },
	{ { "process_resident_memory_bytes", METRIC_GAUGE, "", "Resident memory of the agent." }, resident },
	{ { "process_virtual_memory_bytes", METRIC_GAUGE, "", "Virtual memory of the agent." }, virtual_memory },
	{ { "process_open_fds", METRIC_GAUGE, "", "Open file descriptors." }, open_fds },
	{ { "process_max_fds", METRIC_GAUGE, "", "Most file descriptors that can be open." }, max_fds },
	{ { "process_start_time_seconds", METRIC_GAUGE, "", "When the process started, Unix time." }, start_time },
};
/* clang-format on */

void agent_metrics(struct buf *out, bool openmetrics, void *ctx)
{
	struct exposition x = {.out = out, .openmetrics = openmetrics};

	for (size_t i = 0; i < ARRAY_SIZE(metrics); i++) {
		metric_head(&x, &metrics[i].metric);
		metrics[i].write(&x, &metrics[i].metric, ctx);
	}
	metric_end(&x);
}

void agent_metrics_print(FILE *to)
{
	fputs("| metric | type | labels | what it tells |\n| --- | --- | --- | --- |\n", to);
	for (size_t i = 0; i < ARRAY_SIZE(metrics); i++)
		metric_describe(&metrics[i].metric, to);
}

/* ---- the agent ---- */

static struct dp_stats stats_of(const struct agent *a)
{
	struct dp_stats s = {0};

	if (a->dp)
		datapath_read_stats(a->dp, &s);
	if (!s.attach)
		s.attach = "none";
	return s;
}

static void info(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, 1, "version=\"%s\",transport=\"%s\",attach=\"%s\"", WEFT_VERSION,
		     transport_name(&a->opt), stats_of(a).attach);
}

static void ready(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, endpoints_not_ready(a->endpoints) == NULL, NULL);
}

static void health(struct exposition *x, const struct metric *m, const struct agent *a)
{
	for (int i = 0; i < PARTS; i++)
		metric_value(x, m, a->health.parts[i].error == NULL, "part=\"%s\"", health_part_name(i));
}

/* ---- the datapath ---- */

static void write_drops(struct exposition *x, const struct metric *m, const struct agent *a, bool bytes)
{
	struct dp_counter counters[DROP_REASON_COUNT] = {0};

	if (a->dp)
		datapath_read_drops(a->dp, counters);
	for (int i = DROP_NONE + 1; i < DROP_REASON_COUNT; i++)
		metric_value(x, m, bytes ? counters[i].bytes : counters[i].packets, "reason=\"%s\"", drop_reason_label(i));
}

static void drops(struct exposition *x, const struct metric *m, const struct agent *a)
{
	write_drops(x, m, a, false);
}

static void dropped_bytes(struct exposition *x, const struct metric *m, const struct agent *a)
{
	write_drops(x, m, a, true);
}

static void audits(struct exposition *x, const struct metric *m, const struct agent *a)
{
	struct dp_counter counters[DROP_POLICY_REASONS] = { 0 };

	if (a->dp)
		datapath_read_audits(a->dp, counters);
	for (int i = 0; i < DROP_POLICY_REASONS; i++)
		metric_value(x, m, counters[i].packets, "reason=\"%s\"", drop_reason_label(DROP_POLICY_EGRESS + i));
}

static void fragments_pushed_out(struct exposition *x, const struct metric *m, const struct agent *a)
{
	struct dp_counter n = { 0 };

	if (a->dp)
		datapath_read_fragments_pushed_out(a->dp, &n);
	metric_value(x, m, n.packets, NULL);
}

static void xdp_packets(struct exposition *x, const struct metric *m, const struct agent *a)
{
	struct dp_counter n = { 0 };

	if (a->dp)
		datapath_read_xdp_packets(a->dp, &n);
	metric_value(x, m, n.packets, NULL);
}

static void locked(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, policy_apply_count_locked(policies_applied(a->policies)) + a->pods_locked, NULL);
}

static void events_told(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, a->events.sent + a->services.events.sent, NULL);
}

static void events_failed(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, a->events.failed + a->services.events.failed, NULL);
}

static void write_forwards(struct exposition *x, const struct metric *m, const struct agent *a, bool bytes)
{
	struct dp_counter counters[FORWARD_WAY_COUNT] = {0};

	if (a->dp)
		datapath_read_forwards(a->dp, counters);
	for (int i = 0; i < FORWARD_WAY_COUNT; i++)
		metric_value(x, m, bytes ? counters[i].bytes : counters[i].packets, "way=\"%s\"", forward_way_label(i));
}

static void forwarded(struct exposition *x, const struct metric *m, const struct agent *a)
{
	write_forwards(x, m, a, false);
}

static void forwarded_bytes(struct exposition *x, const struct metric *m, const struct agent *a)
{
	write_forwards(x, m, a, true);
}

static void flows(struct exposition *x, const struct metric *m, const struct agent *a)
{
	struct dp_stats s = stats_of(a);

	metric_value(x, m, s.flows, "table=\"established\"");
	metric_value(x, m, s.flows_new, "table=\"new\"");
}

static void flow_max(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, a->opt.flow_table_size, NULL);
}

static void flow_searches(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, stats_of(a).searches, NULL);
}

static void node_routes(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, a->planned ? a->plan.n_node_routes : 0, NULL);
}

/* ---- pods, peers, addresses ---- */

static void endpoints(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, endpoints_count(a->endpoints), NULL);
}

static void endpoints_lost(struct exposition *x, const struct metric *m, const struct agent *a)
{
	const struct endpoint_record *first;

	metric_value(x, m, endpoints_without_link(a->endpoints, &first), NULL);
}

static struct dp_service_stats service_stats(const struct agent *a)
{
	struct dp_service_stats s = {0};

	if (a->dp)
		datapath_read_service_stats(a->dp, &s);
	return s;
}

static void services(struct exposition *x, const struct metric *m, const struct agent *a)
{
	struct dp_service_stats s = service_stats(a);

	metric_value(x, m, s.services, "what=\"ports\"");
	metric_value(x, m, s.frontends, "what=\"frontends\"");
	metric_value(x, m, s.backends, "what=\"backends\"");
	metric_value(x, m, s.slots, "what=\"slots\"");
}

static void service_answers(struct exposition *x, const struct metric *m, const struct agent *a)
{
	struct dp_service_stats s = service_stats(a);

	for (unsigned i = 0; i < SERVICE_COUNTS; i++)
		metric_value(x, m, s.counts[i], "what=\"%s\"", service_count_label(i));
}

static void announced(struct exposition *x, const struct metric *m, const struct agent *a)
{
	struct lan_stats s = announce_lan_stats(a);

	metric_value(x, m, s.held, "state=\"held\"");
	metric_value(x, m, s.addresses - s.held, "state=\"elsewhere\"");
	metric_value(x, m, s.foreign, "state=\"foreign\"");
}

static void announce_peers(struct exposition *x, const struct metric *m, const struct agent *a)
{
	struct lan_stats s = announce_lan_stats(a);

	metric_value(x, m, s.peers - s.dead, "state=\"alive\"");
	metric_value(x, m, s.dead, "state=\"dead\"");
}

static void announce_changes(struct exposition *x, const struct metric *m, const struct agent *a)
{
	struct lan_stats s = announce_lan_stats(a);

	metric_value(x, m, s.taken, "what=\"taken\"");
	metric_value(x, m, s.released, "what=\"released\"");
	metric_value(x, m, s.conflicts, "what=\"conflicts\"");
}

static void announce_questions(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, announce_lan_stats(a).asked, NULL);
}

static void service_writes(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, service_stats(a).writes, NULL);
}

static void service_aborted(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, service_stats(a).aborted, NULL);
}

static void health_ports(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, a->services.n_open, "state=\"open\"");
	metric_value(x, m, a->services.n_checks - a->services.n_open, "state=\"taken\"");
}

static void health_answers(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, a->services.health_answers[0], "code=\"200\"");
	metric_value(x, m, a->services.health_answers[1], "code=\"503\"");
}

static void peers(struct exposition *x, const struct metric *m, const struct agent *a)
{
	for (int t = 0; t < ROUTE_TRANSPORTS; t++)
		for (int state = ROUTE_PEER_OK; state <= ROUTE_PEER_CONFLICT; state++) {
			size_t n = 0;

			for (size_t i = 0; a->planned && i < a->plan.n_peers; i++)
				n += a->plan.peers[i].transport == (enum route_transport)t &&
				     a->plan.peers[i].state == (enum route_peer_state)state;
			metric_value(x, m, n, "transport=\"%s\",state=\"%s\"", route_transport_name(t),
				     route_peer_state_name(state));
		}
}

static struct mesh_status mesh_of(const struct agent *a)
{
	static const struct mesh_device none;
	struct mesh_status s = {.engine = "", .device = &none};

	if (a->mesh.mesh)
		mesh_status(a->mesh.mesh, &s);
	return s;
}

static void mesh_info(struct exposition *x, const struct metric *m, const struct agent *a)
{
	if (*mesh_of(a).engine)
		metric_value(x, m, 1, "engine=\"%s\"", mesh_of(a).engine);
}

static void mesh_peers(struct exposition *x, const struct metric *m, const struct agent *a)
{
	for (int state = MESH_PEER_OK; state <= MESH_PEER_DUPLICATE; state++) {
		size_t n = 0;

		for (size_t i = 0; a->mesh.planned && i < a->mesh.plan.n_found; i++)
			n += a->mesh.plan.found[i].state == (enum mesh_peer_state)state;
		metric_value(x, m, n, "state=\"%s\"", mesh_peer_state_name(state));
	}
}

static void mesh_alive(struct exposition *x, const struct metric *m, const struct agent *a)
{
	struct mesh_status s = mesh_of(a);
	int64_t now = time(NULL);
	size_t n = 0;

	for (size_t i = 0; i < s.device->n_peers; i++)
		n += s.device->peers[i].handshake_s + 180 > now;
	metric_value(x, m, n, NULL);
}

static void mesh_received(struct exposition *x, const struct metric *m, const struct agent *a)
{
	struct mesh_status s = mesh_of(a);
	uint64_t n = 0;

	for (size_t i = 0; i < s.device->n_peers; i++)
		n += s.device->peers[i].rx_bytes;
	metric_value(x, m, n, NULL);
}

static void mesh_sent(struct exposition *x, const struct metric *m, const struct agent *a)
{
	struct mesh_status s = mesh_of(a);
	uint64_t n = 0;

	for (size_t i = 0; i < s.device->n_peers; i++)
		n += s.device->peers[i].tx_bytes;
	metric_value(x, m, n, NULL);
}

static void mesh_starts(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, mesh_of(a).starts, NULL);
}

static void probes(struct exposition *x, const struct metric *m, const struct agent *a)
{
	struct prober_stats s = a->prober ? prober_stats(a->prober) : (struct prober_stats){0};
	const struct {
		const char *what;
		uint64_t n;
	} counts[] = {{"sent", s.sent}, {"answered", s.answered}, {"requests", s.requests}, {"refused", s.refused}, {"limited", s.limited}};

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		metric_value(x, m, counts[i].n, "what=\"%s\"", counts[i].what);
}

static void peer_mtu(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, a->state.route_mtu, NULL);
}

static void ipam(struct exposition *x, const struct metric *m, const struct agent *a)
{
	for (int f = 0; f < IPAM_FAMILIES; f++) {
		struct ipam_use u = endpoints_ipam_use(a->endpoints, f);
		char range[PREFIX_TEXT_MAX];

		if (!u.present)
			continue;
		prefix_format(&u.range, range);
		metric_value(x, m, u.used, "range=\"%s\",state=\"used\"", range);
		metric_value(x, m, u.resting, "range=\"%s\",state=\"resting\"", range);
		metric_value(x, m, u.size - MIN(u.size, u.used + u.resting), "range=\"%s\",state=\"free\"", range);
	}
}

static void outer_told(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, a->outer.told, NULL);
}

static void repairs(struct exposition *x, const struct metric *m, const struct agent *a)
{
	for (int i = 0; i < REPAIR_COUNT; i++)
		metric_value(x, m, a->repairs.counts[i], "what=\"%s\"", repair_label(i));
}

static void events_lost(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, a->repairs.resyncs, NULL);
}

static void passes(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, a->passes, NULL);
}

/* ---- seeing ---- */

static void events(struct exposition *x, const struct metric *m, const struct agent *a)
{
	struct stream_stats s = stream_stats(a->stream);

	for (int i = 0; i < OBSERVE_KINDS; i++)
		metric_value(x, m, s.events[i], "kind=\"%s\"", observe_kind_name(i));
}

static void events_missed(struct exposition *x, const struct metric *m, const struct agent *a)
{
	uint64_t n = 0;

	if (a->dp)
		datapath_read_missed(a->dp, &n);
	metric_value(x, m, n, NULL);
}

static void observe_readers(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, stream_stats(a->stream).readers, NULL);
}

static void observe_lost(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, stream_stats(a->stream).lost, NULL);
}

/* Names of nodes are DNS names: nothing to escape. */
struct meter_ctx {
	struct exposition *x;
	const struct metric *m;
	double (*value)(const struct meter_result *r);
};

static void add_peer(const struct meter_result *r, void *ctx)
{
	struct meter_ctx *c = ctx;

	metric_value(c->x, c->m, c->value(r), "peer=\"%s\",family=\"%s\"", r->name, addr_is_v4(&r->addr) ? "ipv4" : "ipv6");
}

static void write_peers(struct exposition *x, const struct metric *m, const struct agent *a, double (*value)(const struct meter_result *r))
{
	struct meter_ctx c = {x, m, value};

	if (a->meter)
		meter_each(a->meter, add_peer, &c);
}

static double rtt_of(const struct meter_result *r)
{
	return r->rtt_s;
}

static double sent_of(const struct meter_result *r)
{
	return r->sent;
}

static double lost_of(const struct meter_result *r)
{
	return r->lost;
}

static void peer_rtt(struct exposition *x, const struct metric *m, const struct agent *a)
{
	write_peers(x, m, a, rtt_of);
}

static void peer_probes(struct exposition *x, const struct metric *m, const struct agent *a)
{
	write_peers(x, m, a, sent_of);
}

static void peer_lost(struct exposition *x, const struct metric *m, const struct agent *a)
{
	write_peers(x, m, a, lost_of);
}

/* ---- CNI ---- */

static const char *const commands[CNI_COMMANDS] = {
    [CNI_ADD] = "ADD",	     [CNI_DEL] = "DEL",		[CNI_CHECK] = "CHECK",	   [CNI_GC] = "GC",
    [CNI_STATUS] = "STATUS", [CNI_VERSION] = "VERSION", [CNI_UNKNOWN] = "unknown",
};

void cni_metrics_count(struct cni_metrics *m, unsigned command, bool ok, double seconds)
{
	unsigned i = MIN(command, (unsigned)CNI_UNKNOWN);

	if (ok)
		m->done[i]++;
	else
		m->failed[i]++;
	metric_observe(&m->duration[i], seconds);
}

static void cni_requests(struct exposition *x, const struct metric *m, const struct agent *a)
{
	for (int i = 0; i < CNI_COMMANDS; i++) {
		metric_value(x, m, a->cni_metrics.done[i], "command=\"%s\",result=\"ok\"", commands[i]);
		metric_value(x, m, a->cni_metrics.failed[i], "command=\"%s\",result=\"error\"", commands[i]);
	}
}

static void cni_duration(struct exposition *x, const struct metric *m, const struct agent *a)
{
	for (int i = 0; i < CNI_COMMANDS; i++)
		metric_histogram_value(x, m, &a->cni_metrics.duration[i], "command=\"%s\"", commands[i]);
}

/* ---- the API ---- */

static void write_watches(struct exposition *x, const struct metric *m, const struct agent *a, size_t offset)
{
	for (int t = 0; t < MODEL_TABLES; t++) {
		struct kube_watch_status s = {0};

		if (a->watches[t])
			kube_watch_status(a->watches[t], &s);
		metric_value(x, m, *(const uint64_t *)((const char *)&s + offset), "resource=\"%s\"", model_table_name(t));
	}
}

static void kube_connected(struct exposition *x, const struct metric *m, const struct agent *a)
{
	for (int t = 0; t < MODEL_TABLES; t++) {
		struct kube_watch_status s = {0};

		if (a->watches[t])
			kube_watch_status(a->watches[t], &s);
		metric_value(x, m, s.connected, "resource=\"%s\"", model_table_name(t));
	}
}

static void kube_lists(struct exposition *x, const struct metric *m, const struct agent *a)
{
	write_watches(x, m, a, offsetof(struct kube_watch_status, lists));
}

static void kube_events(struct exposition *x, const struct metric *m, const struct agent *a)
{
	write_watches(x, m, a, offsetof(struct kube_watch_status, events));
}

static void kube_reconnects(struct exposition *x, const struct metric *m, const struct agent *a)
{
	write_watches(x, m, a, offsetof(struct kube_watch_status, reconnects));
}

static void kube_refused(struct exposition *x, const struct metric *m, const struct agent *a)
{
	write_watches(x, m, a, offsetof(struct kube_watch_status, refused));
}

static void objects(struct exposition *x, const struct metric *m, const struct agent *a)
{
	for (int t = 0; t < MODEL_TABLES; t++)
		metric_value(x, m, model_count(a->model, t), "resource=\"%s\"", model_table_name(t));
}

/* ---- the process ---- */

static void cpu(struct exposition *x, const struct metric *m, _unused_ const struct agent *a)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	metric_value(x, m, u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6, NULL);
}

/* /proc/self/statm: pages of the whole, then of what is resident. */
static double memory(unsigned field)
{
	_cleanup_free_ char *text = NULL;
	unsigned long long pages[2] = {0};

	if (file_read("/proc/self/statm", 256, &text, NULL) < 0 || sscanf(text, "%llu %llu", &pages[0], &pages[1]) != 2)
		return 0;
	return (double)pages[field] * sysconf(_SC_PAGESIZE);
}

static void resident(struct exposition *x, const struct metric *m, _unused_ const struct agent *a)
{
	metric_value(x, m, memory(1), NULL);
}

static void virtual_memory(struct exposition *x, const struct metric *m, _unused_ const struct agent *a)
{
	metric_value(x, m, memory(0), NULL);
}

static void open_fds(struct exposition *x, const struct metric *m, _unused_ const struct agent *a)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	if (!d)
		return;
	for (const struct dirent *e; (e = readdir(d));)
		n += *e->d_name != '.';
	closedir(d);
	metric_value(x, m, n - 1, NULL); /* without the directory's own */
}

static void max_fds(struct exposition *x, const struct metric *m, _unused_ const struct agent *a)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0)
		metric_value(x, m, l.rlim_cur, NULL);
}

static void start_time(struct exposition *x, const struct metric *m, const struct agent *a)
{
	metric_value(x, m, a->started_s, NULL);
}
