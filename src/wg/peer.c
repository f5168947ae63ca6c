/* SPDX-License-Identifier: Apache-2.0 */
#include "wg/peer.h"

#include "wg/device.h"
#include "wg/secret.h"

struct peer *peer_new(struct device *d, const uint8_t pub[static KEY_LEN])
{
	struct peer *p = secret_alloc(sizeof(*p));

	p->device = d;
	list_init(&p->all);
	list_init(&p->allowed);
	window_node_init(&p->window);
	list_init(&p->unsaved);
	noise_peer_init(&p->noise, pub);
	cookie_maker_init(&p->cookie, pub);
	pthread_spin_init(&p->lock, PTHREAD_PROCESS_PRIVATE);
	p->staged_tail = &p->staged_head;
	atomic_store(&p->next_wake, NEVER);
	return p;
}

void peer_free(struct peer *p)
{
	peer_drop_staged(p);
	noise_peer_reset(&p->noise);
	pthread_spin_destroy(&p->lock);
	secret_free(p, sizeof(*p));
}

struct endpoint peer_endpoint(struct peer *p)
{
	struct endpoint e;

	pthread_spin_lock(&p->lock);
	e = p->endpoint;
	pthread_spin_unlock(&p->lock);
	return e;
}

void peer_set_endpoint(struct peer *p, const struct endpoint *e)
{
	pthread_spin_lock(&p->lock);
	p->endpoint = *e;
	p->given_up = (struct endpoint){ 0 };
	pthread_spin_unlock(&p->lock);
}

uint32_t peer_heard_at(struct peer *p, const struct endpoint *from)
{
	struct endpoint e = *from;
	uint32_t news = 0;

	pthread_spin_lock(&p->lock);
	if (endpoint_eq(&p->endpoint, &e))
		goto out;
	if (endpoint_same_way(&p->given_up, &e)) {
		e.has_from = false;
	} else {
		p->given_up = (struct endpoint){ 0 };
		if (e.has_from && !endpoint_same_way(&p->endpoint, &e))
			news |= PEER_SOURCE;
	}
	if (!endpoint_same_remote(&p->endpoint, &e))
		news |= PEER_MOVED;
	p->endpoint = e;
out:
	pthread_spin_unlock(&p->lock);
	return news;
}

void peer_give_up_source(struct peer *p, const struct endpoint *e)
{
	pthread_spin_lock(&p->lock);
	if (endpoint_same_way(&p->endpoint, e)) {
		p->given_up = p->endpoint;
		p->endpoint.has_from = false;
	}
	pthread_spin_unlock(&p->lock);
}

void peer_forget_source(struct peer *p)
{
	pthread_spin_lock(&p->lock);
	p->endpoint.has_from = false;
	pthread_spin_unlock(&p->lock);
}

static struct staged *unlink_oldest(struct peer *p)
{
	struct staged *s = p->staged_head;

	if (!s)
		return NULL;
	p->staged_head = s->next;
	if (!p->staged_head)
		p->staged_tail = &p->staged_head;
	p->staged_bytes -= s->len;
	return s;
}

unsigned peer_stage(struct peer *p, const struct virtio_net_hdr *hdr, const void *data, size_t len)
{
	struct staged *s = xmalloc(sizeof(*s) + len), *drop = NULL, *d;
	unsigned dropped = 0;

	*s = (struct staged){ .len = len };
	if (hdr)
		s->hdr = *hdr;
	if (len)
		memcpy(s->data, data, len);
	pthread_spin_lock(&p->lock);
	while (p->staged_head && (p->staged_count >= STAGED_MAX || p->staged_bytes + len > STAGED_BYTES_MAX)) {
		d = unlink_oldest(p);
		d->next = drop;
		drop = d;
		p->staged_count--;
	}
	*p->staged_tail = s;
	p->staged_tail = &s->next;
	p->staged_bytes += len;
	p->staged_count++;
	pthread_spin_unlock(&p->lock);
	while ((d = drop)) {
		drop = d->next;
		dropped += d->len > 0;
		free(d);
	}
	return dropped;
}

struct staged *peer_unstage(struct peer *p)
{
	struct staged *s;

	pthread_spin_lock(&p->lock);
	s = unlink_oldest(p);
	pthread_spin_unlock(&p->lock);
	return s;
}

void peer_staged_done(struct peer *p, struct staged *s)
{
	pthread_spin_lock(&p->lock);
	p->staged_count--;
	pthread_spin_unlock(&p->lock);
	free(s);
}

unsigned peer_drop_staged(struct peer *p)
{
	struct staged *s;
	unsigned n = 0;

	while ((s = peer_unstage(p))) {
		n += s->len > 0;
		peer_staged_done(p, s);
	}
	return n;
}
