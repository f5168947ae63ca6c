/* SPDX-License-Identifier: Apache-2.0 */
/* The policies of the cluster that policy.c and policy_cold.c measure: spread over namespaces "ns…", whose label "team" is t0 to t19; apps are a0 to a49. */
#pragma once

#include "base/str.h"

static inline char *network_policy(unsigned i, unsigned namespaces)
{
	return xasprintf("{\"kind\": \"NetworkPolicy\", \"metadata\": {\"name\": \"p%u\", \"namespace\": \"ns%u\"}, \"spec\": {"
			 "\"podSelector\": {\"matchLabels\": {\"app\": \"a%u\"}}, \"policyTypes\": [\"Ingress\", \"Egress\"],"
			 "\"ingress\": [{\"from\": [{\"podSelector\": {\"matchLabels\": {\"app\": \"a%u\"}}}, {\"namespaceSelector\": {\"matchLabels\": "
			 "{\"team\": \"t%u\"}}}], \"ports\": [{\"port\": 8080}, {\"port\": 9000, \"endPort\": 9100}]}],"
			 "\"egress\": [{\"to\": [{\"ipBlock\": {\"cidr\": \"192.0.2.0/24\", \"except\": [\"192.0.2.%u/32\"]}}]},"
			 "{\"to\": [{\"namespaceSelector\": {}}], \"ports\": [{\"protocol\": \"UDP\", \"port\": 53}]}]}}",
			 i, i % namespaces, i / namespaces % 50, (i + 1) % 50, i % 20, i % 256);
}
