/* SPDX-License-Identifier: Apache-2.0 */
/* One loop for both engines: read what the device is, compare with what it should be, write the difference, read again to see
 * that it holds. While a key changes hands it looks more often, as the peer's first handshake is what it waits for. */
#include "base/log.h"
#include "base/str.h"
#include "mesh/engine.h"

#include <time.h>

enum { LOOK_US = 2000000, LOOK_OFTEN_US = 50000, HOLD_US = 300000 };

static const char ALIAS[] = "weft: encrypted to other nodes";

static void look(struct mesh *m);

static bool key_changes_hands(const struct mesh *m)
{
	for (size_t i = 0; i < m->want.n_peers; i++)
		if (m->want.peers[i].has_successor)
			return true;
	return false;
}

static void look_later(struct mesh *m)
{
	(void)sd_event_source_set_time_relative(m->timer, key_changes_hands(m) ? LOOK_OFTEN_US : m->held_us ? HOLD_US : LOOK_US);
	(void)sd_event_source_set_enabled(m->timer, SD_EVENT_ONESHOT);
}

static void set_error(struct mesh *m, char *error)
{
	free(m->error);
	m->error = error;
}

static void tell(struct mesh *m)
{
	m->fn(m->ctx);
}

static void finish_look(struct mesh *m, bool settled)
{
	bool changed = m->settled != settled;

	m->settled = settled;
	m->written = false;
	if (settled)
		set_error(m, NULL);
	look_later(m);
	if (changed)
		tell(m);
}

static bool handshakes_differ(const struct mesh_device *a, const struct mesh_device *b)
{
	if (a->n_peers != b->n_peers)
		return true;
	for (size_t i = 0; i < a->n_peers; i++)
		if ((a->peers[i].handshake_s == 0) != (b->peers[i].handshake_s == 0))
			return true;
	return false;
}

/* The difference to what is wanted, but that handshakes are left to the peers that begin for a moment, where that matters. */
static void differ(struct mesh *m, struct mesh_change *ret)
{
	struct mesh_device want;
	uint64_t now = 0;

	(void)sd_event_now(m->event, CLOCK_MONOTONIC, &now);
	mesh_device_copy(&m->want, &want);
	if (!m->engine->crossing_harms || !mesh_hold_back(&m->have, &want, m->held_us && now >= m->held_us))
		m->held_us = 0;
	else if (!m->held_us || now >= m->held_us)
		m->held_us = now + HOLD_US;
	mesh_diff(&m->have, &want, time(NULL), ret);
	mesh_device_done(&want);
}

/* What somebody else has done since the last look. Return: anything? */
static bool note_foreign(struct mesh *m, const struct mesh_device *have)
{
	bool heirs = key_changes_hands(m), alone = !m->is_new && !m->wrote && !heirs && !m->heirs;
	size_t lost = m->is_new ? 0 : mesh_count_lost(&m->have, have, &m->want);
	bool changed = alone && mesh_was_changed(&m->have, have, &m->want);

	lost += m->wanted ? mesh_count_changed(&m->have, have, &m->want, alone) : 0;
	m->lost += lost;
	m->changed += changed;
	m->is_new = m->wrote = false;
	m->heirs = heirs;
	return lost || changed;
}

void mesh_on_read(struct mesh *m, int r, struct mesh_device *have)
{
	struct mesh_change change;
	bool news;

	m->busy = false;
	if (r < 0) {
		m->is_new = true;
		set_error(m, xasprintf("the %s engine cannot be read: %s", m->engine->name, strerror(-r)));
		finish_look(m, false);
		return;
	}
	news = note_foreign(m, have) || handshakes_differ(&m->have, have);
	mesh_device_done(&m->have);
	m->have = *have;
	*have = (struct mesh_device){0};
	if (news)
		tell(m);
	if (!m->wanted || m->busy)
		return;
	differ(m, &change);
	if (mesh_change_is_empty(&change)) {
		finish_look(m, true);
	} else if (m->written && !m->again) { /* an engine that does not take it would keep us busy for ever */
		set_error(m, xasprintf("the %s engine does not take what it is told", m->engine->name));
		finish_look(m, false);
	} else {
		m->again = false;
		m->busy = m->written = m->wrote = true;
		mesh_device_forget(&m->have, &change); /* who is wanted again before the next look was not lost */
		m->engine->write(m, &change);
	}
	mesh_change_done(&change);
}

void mesh_on_written(struct mesh *m, int r)
{
	m->busy = false;
	if (r < 0) {
		set_error(m, xasprintf("the %s engine refuses what it is told: %s", m->engine->name, strerror(-r)));
		log_warn("WireGuard cannot be configured", L_STR("interface", m->options.name), L_STR("engine", m->engine->name), L_ERRNO(r));
		finish_look(m, false);
		return;
	}
	look(m);
}

void mesh_on_ready(struct mesh *m)
{
	m->busy = m->written = false;
	look(m);
}

void mesh_on_down(struct mesh *m, const char *why)
{
	m->busy = m->written = false;
	m->is_new = true;
	set_error(m, xstrdup(why));
	if (m->settled) {
		m->settled = false;
		tell(m);
	}
}

static void look(struct mesh *m)
{
	if (!m->engine || m->engine->start(m) < 0) {
		look_later(m);
		return;
	}
	if (m->busy) {
		m->again = true;
		return;
	}
	m->busy = true;
	m->engine->read(m);
}

static int on_timer(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	struct mesh *m = ctx;

	look_later(m); /* also when the engine never answers */
	look(m);
	return 0;
}

void mesh_apply(struct mesh *m, const struct mesh_device *want)
{
	mesh_device_done(&m->want);
	mesh_device_copy(want, &m->want);
	for (size_t i = 0; i < m->want.n_peers; i++)
		m->want.peers[i].has_predecessor &= m->engine && m->engine->knows_heirs;
	m->wanted = true;
	m->written = false;
	look(m);
}

/* ---- the device ---- */

static const struct mesh_engine_ops *engine_of_kind(const char *kind)
{
	return streq(kind, mesh_kernel.link_kind) ? &mesh_kernel : streq(kind, mesh_userspace.link_kind) ? &mesh_userspace : NULL;
}

static bool is_chosen(const struct mesh *m, const struct mesh_engine_ops *engine)
{
	return m->options.choice == MESH_AUTO || engine == (m->options.choice == MESH_KERNEL ? &mesh_kernel : &mesh_userspace);
}

static int make_device(struct mesh *m, struct rtnl *nl, uint32_t mtu, struct link *ret, char **ret_error)
{
	const struct mesh_engine_ops *engine = m->options.choice == MESH_USERSPACE ? &mesh_userspace : &mesh_kernel;
	int r = engine->make_device(&m->options, nl, mtu);

	if (r == -EOPNOTSUPP && m->options.choice == MESH_AUTO)
		r = mesh_userspace.make_device(&m->options, nl, mtu);
	if (r == 0)
		r = rtnl_find_link(nl, m->options.name, ret);
	if (r == -EOPNOTSUPP) {
		*ret_error = xstrdup("this kernel has no WireGuard, and the option mesh.engine forbids the other engine");
		return -ENOTSUP;
	}
	if (r < 0) {
		*ret_error = xasprintf("cannot make the interface %s: %s", m->options.name, strerror(-r));
		return r;
	}
	r = rtnl_set_link_alias(nl, ret->ifindex, ALIAS);
	return r < 0 ? r : rtnl_set_link_addrgen(nl, ret->ifindex, false);
}

static int mend_device(struct rtnl *nl, const struct link *l, uint32_t mtu, bool mtu_is_new, const char **ret_mended)
{
	int r = 0;

	if (l->master) {
		*ret_mended = "the WireGuard interface was put under another interface";
		r = rtnl_set_link_master(nl, l->ifindex, 0);
	}
	if (r == 0 && l->mtu != mtu) {
		*ret_mended = mtu_is_new ? *ret_mended : "the WireGuard interface had another MTU";
		r = rtnl_set_link_mtu(nl, l->ifindex, mtu);
	}
	if (r == 0 && !(l->flags & IFF_UP)) {
		*ret_mended = "the WireGuard interface was down";
		r = rtnl_set_link_up(nl, l->ifindex, true);
	}
	return r;
}

static void use_engine(struct mesh *m, const struct mesh_engine_ops *engine)
{
	if (m->engine == engine)
		return;
	if (m->engine)
		m->engine->stop(m);
	m->engine = engine;
	m->is_new = true;
	m->busy = m->written = m->settled = false;
}

int mesh_ensure_device(struct mesh *m, struct rtnl *nl, uint32_t mtu, bool mtu_is_new, uint32_t *ret_ifindex, const char **ret_mended,
		       char **ret_error)
{
	bool is_new = false;
	struct link l;
	int r = rtnl_find_link(nl, m->options.name, &l);

	*ret_mended = NULL;
	if (r == 0 && !streq(l.alias, ALIAS)) {
		*ret_error = xasprintf("the interface %s exists and is not Weft's: remove it", m->options.name);
		return -EEXIST;
	}
	if (r == 0 && (!engine_of_kind(l.kind) || !is_chosen(m, engine_of_kind(l.kind)))) {
		log_info("replacing the WireGuard interface, which another engine serves", L_STR("interface", m->options.name));
		r = rtnl_del_link(nl, l.ifindex);
		r = r ? r : -ENODEV;
	}
	if (r == -ENODEV) {
		r = make_device(m, nl, mtu, &l, ret_error);
		is_new = true;
	}
	if (r == 0) {
		use_engine(m, engine_of_kind(l.kind));
		r = mend_device(nl, &l, mtu, mtu_is_new, ret_mended);
	}
	if (r < 0) {
		if (!*ret_error)
			*ret_error = xasprintf("interface %s: %s", m->options.name, rtnl_error_text(nl));
		return r;
	}
	m->is_new |= is_new;
	if (is_new)
		*ret_mended = "the WireGuard interface was gone";
	*ret_ifindex = l.ifindex;
	return 0;
}

int mesh_remove_device(struct rtnl *nl, const char *name)
{
	struct link l;
	int r = rtnl_find_link(nl, name, &l);

	if (r < 0)
		return r == -ENODEV ? 0 : r;
	return streq(l.alias, ALIAS) ? rtnl_del_link(nl, l.ifindex) : 0; /* weft-wg ends with its interface */
}

/* ---- life ---- */

void mesh_status(const struct mesh *m, struct mesh_status *ret)
{
	*ret = (struct mesh_status){
	    .engine = m->engine ? m->engine->name : "", .settled = m->settled, .error = m->error, .starts = m->starts, .lost = m->lost, .changed = m->changed, .device = &m->have};
}

int mesh_new(sd_event *event, const struct mesh_options *options, mesh_fn *fn, void *ctx, struct mesh **ret)
{
	struct mesh *m = xnew0(struct mesh);
	int r;

	*m = (struct mesh){.event = event, .options = *options, .fn = fn, .ctx = ctx};
	r = sd_event_add_time_relative(event, &m->timer, CLOCK_MONOTONIC, LOOK_US, 10000, on_timer, m);
	if (r < 0) {
		mesh_free(m);
		return r;
	}
	*ret = m;
	return 0;
}

struct mesh *mesh_free(struct mesh *m)
{
	if (!m)
		return NULL;
	if (m->engine)
		m->engine->stop(m);
	sd_event_source_disable_unref(m->timer);
	mesh_device_done(&m->want);
	mesh_device_done(&m->have);
	free(m->error);
	free(m);
	return NULL;
}
