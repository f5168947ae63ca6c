/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP transfer in the loop; what requests and watches are made of. Internal to src/kube. */
#pragma once

#include "kube/client.h"

struct kube_transfer;

struct kube_transfer_ops {
	/* The answer's head is there; may be NULL. */
	void (*head)(int status, void *ctx);
	/* Body bytes as they come. Return: false to break the transfer off. Must not free the transfer. */
	bool (*data)(const char *data, size_t n, void *ctx);
	/* The end, called from the loop; the transfer is freed after it. @status 0: no complete answer head. @error:
	 * NULL when the transfer ended as HTTP says it should. */
	void (*done)(int status, const char *error, uint64_t retry_after_ms, void *ctx);
};

struct kube_transfer_spec {
	const char *method, *path, *content_type;
	const char *body;    /* copied; NULL for none */
	uint64_t timeout_ms; /* for all of it; 0: none */
	uint64_t stall_ms;   /* without a byte; 0: none; whole seconds */
	bool endless;	     /* a watch: others do not wait for its end */
};

/* Return: 0, -EINVAL, -EAGAIN when too many are under way. */
int kube_transfer_start(struct kube_client *c, const struct kube_transfer_spec *spec,
			const struct kube_transfer_ops *ops, void *ctx, struct kube_transfer **ret);
/* Breaks it off; done() is not called. */
void kube_transfer_cancel(struct kube_transfer *t);
/* HTTP status as far as known; 0 before the head is there. */
int kube_transfer_status(const struct kube_transfer *t);
sd_event *kube_client_event(const struct kube_client *c);
