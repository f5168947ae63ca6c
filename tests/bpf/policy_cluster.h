/* SPDX-License-Identifier: Apache-2.0 */
/* A cluster of two pods, A and B of harness.h, under the policies that a test puts: compiled and applied as the agent does. */
#pragma once

#include "agent/policy_apply.h"
#include "base/test.h"
#include "harness.h"
#include "policy/offline.h"

#include <bpf/bpf.h>
#include <err.h>

static struct policy_apply applied;
static struct offline *cluster;
static struct frame f;

static inline void put(json_t *object)
{
	char *error = NULL;

	if (offline_put(cluster, object, NULL, &error) < 0)
		errx(1, "%s", error);
	json_decref(object);
}

static inline void put_pod(const char *name, const char *ip)
{
	put(json_pack("{ss, s{ss, ss, s{ss}}, s{}, s{s[{ss}]}}", "kind", "Pod", "metadata", "namespace", "default", "name", name, "labels",
		      "app", name, "spec", "status", "podIPs", "ip", ip));
}

/* Pods with label app=@to take UDP and TCP port 2000 from app=@from. */
static inline void allow(const char *name, const char *from, const char *to)
{
	put(json_pack("{ss, s{ss, ss}, s{s{s{ss}}, s[s], s[{s[{s{s{ss}}}], s[{ss, si}, {ss, si}]}]}}", "kind", "NetworkPolicy", "metadata",
		      "namespace", "default", "name", name, "spec", "podSelector", "matchLabels", "app", to, "policyTypes", "Ingress", "ingress",
		      "from", "podSelector", "matchLabels", "app", from, "ports", "protocol", "UDP", "port", 2000, "protocol", "TCP", "port",
		      2000));
}

static inline void apply(void)
{
	offline_compile(cluster, true);
	CHECK_INT(policy_apply(&applied, dp, cluster->maps), 0);
	while (policy_apply_is_leaving(&applied))
		CHECK_INT(policy_apply_finish(&applied), 0);
}

/* A fresh cluster of pods A and B, without policies. */
static inline void start(void)
{
	flows_clear();
	offline_free(cluster);
	cluster = offline_new();
	put(json_pack("{ss, s{ss}}", "kind", "Namespace", "metadata", "name", "default"));
	put_pod("a", A4);
	put_pod("b", B4);
	apply();
	last_drop();
}

static inline void packet(bool from_a, uint8_t protocol, uint16_t sport, uint16_t dport, const char *flags)
{
	frame_ether(&f, from_a ? mac_host_a : mac_host_b, from_a ? mac_pod_a : mac_pod_b, ETH_P_IP);
	frame_ip(&f, from_a ? A4 : B4, from_a ? B4 : A4, protocol);
	if (protocol == IPPROTO_TCP)
		frame_tcp(&f, sport, dport, flags);
	else
		frame_udp(&f, sport, dport);
	frame_end(&f);
}

/* Return: does it pass? What is dropped is dropped by policy. */
static inline bool passes(bool from_a, uint8_t protocol, uint16_t sport, uint16_t dport, const char *flags)
{
	enum drop_reason why;

	packet(from_a, protocol, sport, dport, flags);
	last_drop();
	if (run("from_pod", &f, from_a ? if_a : if_b).verdict != TC_ACT_SHOT)
		return true;
	why = last_drop();
	CHECK(drop_is_by_policy(why));
	return false;
}

static inline int cluster_done(void)
{
	policy_apply_forget(&applied);
	offline_free(cluster);
	harness_done();
	return test_end();
}
