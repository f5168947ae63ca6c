/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/list.h"
#include "kube/transfer.h"

struct kube_client {
	struct kube_config config;
	sd_event *event;
	sd_event_source *timer, *later;
	void *multi; /* CURLM */
	struct curl_slist *connect_to;
	char *base; /* URL without a slash at the end */
	char *user_agent;
	struct list transfers, calls;
	unsigned n_transfers, n_short; /* n_short: under way, and will end */
	struct kube_place places[KUBE_PLACES_MAX];
	uint64_t n_places; /* that ever were; the newest ones are kept */
};

/* Frees the calls that are under way (their transfers are the client's). */
void kube_client_drop_calls(struct kube_client *c);

/* For people: the message of a Status object, else the beginning of the body. Owned by the caller. */
char *kube_error_text(int status, const json_t *body, const char *raw);
