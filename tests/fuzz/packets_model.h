/* SPDX-License-Identifier: Apache-2.0 */
/* What the packet path must do with a frame, said a second time and naively: from docs/drop-reasons and the RFCs, on a flat
 * buffer, for the node of tests/bpf/harness.h. */
#pragma once

#include "bpf/harness.h"

enum model_way { WAY_DROP, WAY_STACK, WAY_LOCAL, WAY_DIRECT, WAY_TUNNEL, WAY_COUNT };

struct model_verdict {
	enum model_way way;
	enum drop_reason why; /* WAY_DROP */
	bool to_b;	      /* WAY_LOCAL: to pod B, else to pod A */
};

/* Forgets flows and fragments, as flows_clear() does. */
void model_clear(void);
/* A frame that pod A sends; that comes in by the uplink; that the stack sends to pod A. */
struct model_verdict model_from_pod(const uint8_t *frame, size_t len);
struct model_verdict model_from_net(const uint8_t *frame, size_t len);
struct model_verdict model_to_pod(const uint8_t *frame, size_t len);
