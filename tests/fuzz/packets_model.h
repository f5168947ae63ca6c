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

/* What is known beside the frame. */
struct model_around {
	uint32_t came_by; /* of what the stack sends: the interface by which it came in; 0: a socket's */
	bool tunnelled;	  /* it has come out of the tunnel, in an outer packet of that network between these ends */
	struct addr outer_src, outer_dst;
	uint32_t vni;
};

/* The node is reached by WireGuard's interface, as which if_tunnel stands in (a test run takes a packet without Ethernet header for what its bytes 12 and 13 say, where
 * these sources have the ethertype), and a third pod with such addresses is at if_c. */
#define MESH4 "8.0.2.7"
#define MESH6 "fd09:0:86dd::7"
#define C4 "8.0.1.2"
#define C6 "fd08:0:86dd::2"
extern uint32_t if_c;

/* Forgets flows and fragments, as flows_clear() does. */
void model_clear(void);
/* A frame that pod A sends; that comes in by the uplink; that the stack sends to pod A. */
struct model_verdict model_from_pod(const uint8_t *frame, size_t len);
struct model_verdict model_from_net(const uint8_t *frame, size_t len);
struct model_verdict model_to_pod(const uint8_t *frame, size_t len);
/* Out of the tunnel's device, and into it; out of the mesh's, and into it, without Ethernet header. */
struct model_verdict model_from_tunnel(const uint8_t *frame, size_t len);
struct model_verdict model_to_tunnel(const uint8_t *frame, size_t len);
struct model_verdict model_from_mesh(const uint8_t *frame, size_t len);
struct model_verdict model_to_mesh(const uint8_t *frame, size_t len);
extern struct model_around model_around;
