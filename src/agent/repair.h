/* SPDX-License-Identifier: Apache-2.0 */
/* What somebody else had deleted or changed, and the agent has put back: counted by kind, the latest kept for
 * `weft status`, each a line in the log. */
#pragma once

#include "base/json.h"

/* X(NAME, label, text) */
#define REPAIRS(X)                                                                                                     \
	X(DEVICE, "device", "the tunnel device was gone, down or changed")                                             \
	X(LINK, "link", "a pod's interface was gone, down or changed")                                      \
	X(ADDRESS, "address", "the node's address in the pod range was gone")                                          \
	X(ROUTE, "route", "a route was gone or changed")                                                               \
	X(RULE, "rule", "a rule was gone")                                                                             \
	X(NEIGHBOUR, "neighbour", "a neighbour entry was gone or changed")                                             \
	X(PROGRAM, "program", "a program was detached from an interface")                                              \
	X(MAP_ENTRY, "map_entry", "an entry of a map was gone or changed")                                             \
	X(PIN, "pin", "a pinned map or program was unlinked")                                                          \
	X(SYSCTL, "sysctl", "a sysctl was changed")                                                                   \
	X(PEER, "peer", "a WireGuard peer was gone or changed")                                                       \
	X(FILE, "file", "the runtime's configuration, or the agent's own directory, was gone or changed")                                             \
	X(SOCKET, "socket", "the agent's socket was gone")                                                             \
	X(FIREWALL, "firewall", "a rule that accepts Weft's packets in another's packet filter was gone")

enum repair {
#define REPAIR_ENUM(name, label, text) REPAIR_##name,
	REPAIRS(REPAIR_ENUM)
#undef REPAIR_ENUM
	    REPAIR_COUNT
};

enum { RECENT_REPAIRS = 20 };

struct repairs {
	uint64_t counts[REPAIR_COUNT];
	struct recent_repair {
		uint64_t at_ms; /* since 1970 */
		enum repair what;
		char text[160];
	} recent[RECENT_REPAIRS];
	uint64_t n_recent;
	uint64_t resyncs; /* events were lost, everything was listed again */
};

void repairs_note(struct repairs *r, enum repair what, uint64_t count, const char *text);
const char *repair_label(enum repair what);
json_t *repairs_to_json(const struct repairs *r);
