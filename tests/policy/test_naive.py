# SPDX-License-Identifier: Apache-2.0
"""The naive evaluator and the compiler against tables by hand, for what the truth tables of others (test_naive_vectors.py) do not tell apart.

Tests are named after the assertions NP-n and CNP-n of the specifications. Those that speak of packets (NP-11, NP-17 to
NP-19) or of status (CNP-10) are nothing that an evaluator of objects could decide.
"""

import random

import pytest

import naive
from naive_objects import (ANY, BASE, NOBODY, PEER_X, PEER_Y, WORLD, X_A, X_B, Y_A, check, check_cluster, cnp, identity, is_, old,
                           pod, policy, rule, tcp)


# NetworkPolicy by hand

def test_NP_1_only_selected_pods_are_isolated_in_listed_directions():
    check([policy(is_(app="a"), policyTypes=["Ingress"])], """
        x/b x/a TCP/80 deny
        x/a x/b TCP/80 allow
        x/a y/a TCP/80 allow
        y/a x/b TCP/80 allow
        x/b y/a TCP/80 allow""")


def test_NP_2_policy_types_by_default():
    check([policy()], "y/a x/a TCP/80 deny \n x/a y/a TCP/80 allow")
    check([policy(egress=[])], "y/a x/a TCP/80 deny \n x/a y/a TCP/80 allow")
    check([policy(policyTypes=[])], "y/a x/a TCP/80 deny \n x/a y/a TCP/80 allow")
    check([policy(egress=[{"ports": [{"port": 1}]}])], "y/a x/a TCP/80 deny \n x/a y/a TCP/80 deny")
    check([policy(policyTypes=["Egress"])], "y/a x/a TCP/80 allow \n x/a y/a TCP/80 deny")
    check([policy(policyTypes=["Ingress"], egress=[{"ports": [{"port": 1}]}])], "y/a x/a TCP/80 deny \n x/a y/a TCP/80 allow")


def test_NP_3_no_rules_deny_and_an_empty_rule_allows_all():
    for rules in ({"ingress": []}, {"ingress": None}, {}):
        check([policy(policyTypes=["Ingress"], **rules)], "y/a x/a TCP/80 deny \n %s x/a ICMP deny" % WORLD)
    check([policy(ingress=[{}])], "y/a x/a TCP/80 allow \n %s x/a ICMP allow \n %s x/a SCTP/1 allow" % (WORLD, NOBODY))


def test_NP_4_policies_are_a_union():
    both = [policy(name="all"), policy(is_(app="a"), name="one", ingress=[{"from": [{"podSelector": {}}]}])]
    for objects in (both, both[::-1]):
        check(objects, "x/b x/a TCP/80 allow \n y/a x/a TCP/80 deny \n x/a x/b TCP/80 deny")


def test_NP_5_egress_and_ingress_must_both_allow():
    out = policy(egress=[{"to": [{"namespaceSelector": is_(team="y")}]}], policyTypes=["Egress"])
    check([out], "x/a y/a TCP/80 allow \n x/a x/b TCP/80 deny \n y/a x/a TCP/80 allow")
    check([out, policy(ns="y")], "x/a y/a TCP/80 deny")
    check([out, policy(ns="y", ingress=[{"ports": [{"port": 80}]}])], "x/a y/a TCP/80 allow \n x/a y/a TCP/81 deny")


def test_NP_6_no_peers_means_everybody_and_no_ports_every_protocol():
    for peers in ({}, {"from": []}, {"from": None}):
        check([policy(ingress=[{"ports": [{"port": 80}], **peers}])], """
            y/a x/a TCP/80 allow
            %s x/a TCP/80 allow
            %s x/a TCP/80 allow
            172.18.0.2 x/a TCP/80 allow
            y/a x/a TCP/81 deny
            y/a x/a UDP/80 deny
            y/a x/a ICMP deny""" % (WORLD, NOBODY))
    for ports in ({}, {"ports": []}, {"ports": None}):
        check([policy(ingress=[{"from": [{"podSelector": {}}], **ports}])],
              "x/b x/a TCP/1 allow \n x/b x/a SCTP/65535 allow \n x/b x/a ICMP allow \n x/b x/a ICMPv6 allow \n y/a x/a ICMP deny")


def test_NP_7_selectors_in_one_peer_are_and_in_two_or():
    one = [{"namespaceSelector": is_(team="y"), "podSelector": is_(app="b")}]
    two = [{"namespaceSelector": is_(team="y")}, {"podSelector": is_(app="b")}]
    base = BASE + [pod("y/b", "10.244.2.12", labels={"app": "b"})]
    check([policy(ingress=[{"from": one}])], "y/b x/a TCP/1 allow \n y/a x/a TCP/1 deny \n x/b x/a TCP/1 deny", base)
    check([policy(ingress=[{"from": two}])], "y/b x/a TCP/1 allow \n y/a x/a TCP/1 allow \n x/b x/a TCP/1 allow", base)
    check([policy(is_(app="b"), ingress=[{"from": two}])], "x/a x/b TCP/1 deny", base)
    check([policy(ingress=[{"from": [{"namespaceSelector": {}}]}])], "y/a x/a TCP/1 allow \n %s x/a TCP/1 deny" % WORLD)
    check([policy(ingress=[{"from": [{"podSelector": {}}]}])], "x/b x/a TCP/1 allow \n y/a x/a TCP/1 deny")
    check([policy(ingress=[{"from": [{"podSelector": {}, "namespaceSelector": {}}]}])], "y/a x/a TCP/1 allow")


@pytest.mark.parametrize("requirement, matching", [
    ({"key": "app", "operator": "In", "values": ["a", "b"]}, "ab"),
    ({"key": "app", "operator": "In", "values": ["a"]}, "a"),
    ({"key": "app", "operator": "NotIn", "values": ["a"]}, "be0"),
    ({"key": "app", "operator": "Exists"}, "abe"),
    ({"key": "app", "operator": "DoesNotExist"}, "0"),
    ({"key": "app", "operator": "In", "values": [""]}, "e"),
    ({"key": "none", "operator": "NotIn", "values": ["a"]}, "abe0"),
    ({"key": "none", "operator": "In", "values": [""]}, ""),
])
def test_NP_8_label_selectors(requirement, matching):
    labels = {"a": {"app": "a"}, "b": {"app": "b"}, "e": {"app": ""}, "0": {}}
    selector = naive.Selector({"matchExpressions": [requirement]})
    assert "".join(k for k in "abe0" if selector.matches(frozenset(labels[k].items()))) == matching


def test_NP_8_all_requirements_hold_together_and_namespaces_know_their_name():
    both = {"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}
    selector = naive.Selector(both)
    assert selector.matches(frozenset({("app", "a")}))
    assert not selector.matches(frozenset({("app", "a"), ("tier", "web")}))
    assert not selector.matches(frozenset())
    by_name = policy(ingress=[{"from": [{"namespaceSelector": is_(**{naive.NAME_LABEL: "y"})}]}])
    check([by_name], "y/a x/a TCP/1 allow \n x/b x/a TCP/1 deny")


def test_NP_9_ip_block_with_exceptions():
    block = {"cidr": "203.0.113.0/24", "except": ["203.0.113.64/26", "203.0.113.200/32"]}
    check([policy(ingress=[{"from": [{"ipBlock": block}]}])], """
        203.0.113.0 x/a TCP/1 allow
        203.0.113.63 x/a TCP/1 allow
        203.0.113.64 x/a TCP/1 deny
        203.0.113.127 x/a TCP/1 deny
        203.0.113.128 x/a TCP/1 allow
        203.0.113.200 x/a TCP/1 deny
        203.0.113.255 x/a TCP/1 allow
        203.0.114.0 x/a TCP/1 deny
        203.0.112.255 x/a TCP/1 deny
        203.0.113.5 x/a ICMP allow
        2001:db8::1 fd00:10:244:1::11 TCP/1 deny""")


def test_NP_9_an_exception_in_one_block_is_no_deny_in_another():
    blocks = [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.244.1.0/24"]}}, {"ipBlock": {"cidr": X_B + "/32"}}]
    check([policy(is_(app="a"), ingress=[{"from": blocks}])], "x/b x/a TCP/1 allow \n y/a x/a TCP/1 allow")


def test_NP_9_ip_blocks_match_pods_nodes_and_unknown_pods():
    out = policy(policyTypes=["Egress"], egress=[{"to": [{"ipBlock": {"cidr": "10.244.2.0/24"}}, {"ipBlock": {"cidr": "172.18.0.2/32"}}]}])
    check([out], """
        x/a y/a TCP/80 allow
        x/a x/b TCP/80 deny
        x/a %s TCP/80 allow
        x/a y/host TCP/80 allow
        x/a 172.18.0.1 TCP/80 deny""" % NOBODY)


def test_NP_9_a_block_with_bits_behind_its_prefix_and_the_families_apart():
    check([policy(ingress=[{"from": [{"ipBlock": {"cidr": "203.0.113.77/24"}}]}])], "203.0.113.5 x/a TCP/1 allow")
    check([policy(ingress=[{"from": [{"ipBlock": {"cidr": "::/0"}}]}])], "%s x/a TCP/1 deny \n y/a x/a TCP6/1 allow" % WORLD)
    check([policy(ingress=[{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}])], "%s x/a TCP/1 allow \n y/a x/a TCP6/1 deny" % WORLD)


@pytest.mark.parametrize("port, allowed", [
    ({}, "TCP/1 TCP/80 TCP/65535"),
    ({"protocol": "UDP"}, "UDP/1 UDP/53 UDP/80"),
    ({"port": 80}, "TCP/80"),
    ({"protocol": "SCTP", "port": 80}, "SCTP/80"),
    ({"port": 80, "endPort": 80}, "TCP/80"),
    ({"port": 79, "endPort": 81}, "TCP/79 TCP/80 TCP/81"),
    ({"port": 1, "endPort": 65535}, "TCP/1 TCP/53 TCP/79 TCP/80 TCP/81 TCP/82 TCP/65535"),
    ({"port": "web"}, "TCP/80"),
    ({"port": "dns"}, ""),
    ({"port": "dns", "protocol": "UDP"}, "UDP/53"),
    ({"port": "80"}, ""),
    ({"port": "nowhere"}, ""),
])
def test_NP_10_ports(port, allowed):
    every = {"%s/%d" % (p, n) for p in naive.PORT_PROTOCOLS for n in (1, 53, 79, 80, 81, 82, 65535)}
    cluster = naive.Cluster(BASE + [policy(ingress=[{"ports": [port]}])])
    got = {w for w in every if cluster.verdict("y/a", "x/a", w.split("/")[0], int(w.split("/")[1]))[0]}
    if set(port) <= {"protocol"}:
        assert got == {w for w in every if w.startswith(port.get("protocol", "TCP"))} >= set(allowed.split())
    else:
        assert got == set(allowed.split())
    assert not cluster.verdict("y/a", "x/a", "ICMP", 0)[0]


def test_NP_10_named_ports_are_those_of_each_destination():
    named = [{"ports": [{"port": "web"}, {"port": "dns", "protocol": "TCP"}]}]
    check([policy(ingress=named)], """
        y/a x/a TCP/80 allow
        y/a x/a TCP/8080 deny
        y/a x/b TCP/8080 allow
        y/a x/b TCP/80 deny
        y/a x/b TCP/5353 allow
        y/a x/a TCP/53 deny""")
    check([policy(ns="y", egress=named, policyTypes=["Egress"])], """
        y/a x/a TCP/80 allow
        y/a x/a TCP/8080 deny
        y/a x/b TCP/8080 allow
        y/a x/b TCP/80 deny
        y/a %s TCP/80 deny
        y/a %s TCP/80 deny
        y/a 172.18.0.1 TCP/80 deny""" % (WORLD, NOBODY))


def test_NP_10_a_sidecars_ports_have_names_too():
    extra = pod("x/s", "10.244.1.20")
    extra["spec"]["initContainers"] = [{"restartPolicy": "Always", "ports": [{"name": "metrics", "containerPort": 9}]},
                                       {"ports": [{"name": "metrics", "containerPort": 10}]}]
    check([extra, policy(ingress=[{"ports": [{"port": "metrics"}]}])], "y/a x/s TCP/9 allow \n y/a x/s TCP/10 deny")


def test_NP_12_host_network_pods_are_nodes():
    check([policy(is_(app="a"), ns="y", policyTypes=["Ingress", "Egress"])], """
        y/host x/a TCP/80 allow
        x/a y/host TCP/80 allow
        x/a y/a TCP/80 deny""")
    check([policy(ingress=[{"from": [{"namespaceSelector": is_(team="y")}]}])], "y/a x/a TCP/80 allow \n y/host x/a TCP/80 deny")


def test_NP_12_a_node_reaches_its_own_pods_only():
    everything = [policy(), cnp(ingress=[rule("Deny", {"serviceAccounts": {}})])]
    cluster = naive.Cluster(BASE + everything)
    check_cluster(cluster, """
        172.18.0.1 x/a TCP/80 allow
        fd00:18::1 x/a TCP6/80 allow
        10.244.1.1 x/a TCP/80 allow
        fd00:10:244:1::1 x/a ICMPv6 allow
        172.18.0.2 x/a TCP/80 deny
        10.244.2.1 x/a TCP/80 deny
        y/host x/a TCP/80 deny
        y/host y/a TCP/80 allow""")
    assert cluster.verdict("10.244.1.1", "x/a", "TCP", 80)[1] == "ingress: from its own node"


def test_NP_12_the_host_address_of_a_pod_is_its_node_without_a_node_object():
    lonely = pod("x/z", "10.244.9.2", node="n9")
    lonely["status"]["hostIP"] = "172.18.0.9"
    # The compiler's offline reader knows a node by its object alone; packets are told by the interface that they came by.
    check([lonely, policy()], "172.18.0.9 x/z TCP/1 allow \n 172.18.0.9 x/a TCP/1 deny", by_compiler=False)
    del lonely["spec"]["nodeName"]
    # The compiler's offline reader knows a node by its object alone; packets are told by the interface that they came by.
    check([lonely, policy()], "172.18.0.9 x/z TCP/1 allow \n 172.18.0.9 x/a TCP/1 deny", by_compiler=False)


def test_NP_13_a_pod_reaches_itself():
    shut = [policy(policyTypes=["Ingress", "Egress"]), cnp(ingress=[rule("Deny", ANY)], egress=[rule("Deny", ANY, side="to")])]
    check(shut, "x/a x/a TCP/80 allow \n x/a %s UDP/5 allow \n x/a x/a ICMPv6 allow \n x/b x/a TCP/80 deny" % X_A)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_NP_14_a_terminated_pod_stops_matching_also_when_its_address_is_reused(phase):
    ended = pod("y/old", "10.244.2.50", labels={"role": "client"}, phase=phase)
    heir = pod("y/new", "10.244.2.50", labels={"role": "other"})
    only_clients = policy(ingress=[{"from": [{"namespaceSelector": {}, "podSelector": is_(role="client")}]}])
    check([ended, only_clients], "10.244.2.50 x/a TCP/80 deny")
    for both in ([ended, heir], [heir, ended]):
        check(both + [only_clients], "y/new x/a TCP/80 deny")
    live = pod("y/old", "10.244.2.50", labels={"role": "client"})
    live["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    check([live, only_clients], "y/old x/a TCP/80 allow")


def test_NP_14_relabelling_and_moving():
    from_b = policy(is_(app="a"), ingress=[{"from": [{"podSelector": is_(app="b")}]}])
    base = [o for o in BASE if identity(o) != ("Pod", "x", "b")]
    check([pod("x/b", X_B, labels={"app": "b"}), from_b], "%s x/a TCP/80 allow" % X_B, base)
    check([pod("x/b", X_B, labels={"app": "c"}), from_b], "%s x/a TCP/80 deny" % X_B, base)
    check([pod("x/b", "10.244.1.99", labels={"app": "b"}), from_b], "%s x/a TCP/80 deny \n 10.244.1.99 x/a TCP/80 allow" % X_B, base)


def test_NP_15_both_families():
    check([policy(ingress=[{"from": [{"namespaceSelector": is_(team="y")}], "ports": [{"port": 80}]}])], """
        y/a x/a TCP/80 allow
        y/a x/a TCP6/80 allow
        x/b x/a TCP6/80 deny
        y/a x/a TCP6/81 deny""")


def test_NP_20_a_client_outside_is_its_address():
    check([policy(ingress=[{"from": [{"ipBlock": {"cidr": WORLD + "/32"}}]}])], "%s x/a TCP/80 allow \n 203.0.113.6 x/a TCP/80 deny" % WORLD)


@pytest.mark.parametrize("peer", [
    {}, {"someday": {}}, {"ipBlock": {"cidr": "203.0.113.0/33"}}, {"ipBlock": {"cidr": "nonsense"}}, {"ipBlock": {}},
    {"ipBlock": {"cidr": "203.0.113.5"}},
    {"ipBlock": {"cidr": "0.0.0.0/0"}, "podSelector": {}},
    {"ipBlock": {"cidr": "203.0.113.0/24", "except": ["198.51.100.0/25"]}},
    {"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.112.0/23"]}},
    {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["::/1"]}},
    {"podSelector": {"matchExpressions": [{"key": "app", "operator": "Near", "values": ["a"]}]}},
    {"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": []}]}},
    {"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists", "values": ["a"]}]}},
    {"namespaceSelector": {"matchSomething": {}}},
])
def test_NP_21_a_peer_that_cannot_be_understood_matches_nothing(peer):
    cluster = naive.Cluster(BASE + [policy(ingress=[{"from": [peer]}])])
    assert len(cluster.problems) == 1
    check_cluster(cluster, "%s x/a TCP/80 deny \n x/b x/a TCP/80 deny \n y/a x/a TCP/80 deny" % WORLD)
    beside = naive.Cluster(BASE + [policy(ingress=[{"from": [peer, {"namespaceSelector": is_(team="y")}]}])])
    check_cluster(beside, "%s x/a TCP/80 deny \n y/a x/a TCP/80 allow" % WORLD)


@pytest.mark.parametrize("port", [{"port": 0}, {"port": 65536}, {"port": -1}, {"port": 80, "endPort": 79}, {"endPort": 80},
                                  {"port": "web", "endPort": 80}, {"port": 80, "protocol": "tcp"}, {"protocol": "GRE"}])
def test_NP_21_a_port_that_cannot_be_understood_matches_nothing(port):
    cluster = naive.Cluster(BASE + [policy(ingress=[{"ports": [port]}])])
    assert len(cluster.problems) == 1
    check_cluster(cluster, "y/a x/a TCP/80 deny \n y/a x/a TCP/79 deny \n y/a x/a TCP/65535 deny \n y/a x/a ICMP deny")


def test_NP_21_an_invalid_selector_isolates_the_namespace():
    bad = {"matchExpressions": [{"key": "app", "operator": "Near"}]}
    cluster = naive.Cluster(BASE + [policy(bad, ingress=[{}], egress=[{}])])
    check_cluster(cluster, "y/a x/a TCP/80 deny \n x/b y/a TCP/80 deny \n y/a %s TCP/80 allow" % WORLD)


def test_NP_21_a_policy_type_that_cannot_be_understood_isolates_both_directions():
    cluster = naive.Cluster(BASE + [policy(policyTypes=["Ingress", "Sideways"])])
    assert len(cluster.problems) == 1
    check_cluster(cluster, "y/a x/a TCP/80 deny \n x/a y/a TCP/80 deny")


# ClusterNetworkPolicy by hand

@pytest.mark.parametrize("first, second", [(0, 1), (1, 2), (0, 1000), (999, 1000)])
def test_CNP_1_lower_priority_values_come_first(first, second):
    early, late = cnp(priority=first, name="z", ingress=[rule("Accept", ANY)]), cnp(priority=second, name="a", ingress=[rule("Deny", ANY)])
    for objects in ([early, late], [late, early]):
        check(objects, "y/a x/a TCP/80 allow")
    early["spec"]["priority"], late["spec"]["priority"] = second, first
    check([early, late], "y/a x/a TCP/80 deny")


def test_CNP_1_equal_priorities_go_by_name():
    a, b = cnp(name="a", ingress=[rule("Deny", ANY)]), cnp(name="b", ingress=[rule("Accept", ANY)])
    for objects in ([a, b], [b, a]):
        check(objects, "y/a x/a TCP/80 deny")


@pytest.mark.parametrize("spec", [{"priority": -1}, {"priority": 1001}, {"priority": 2**31}, {"priority": None}, {"tier": "Top"},
                                  {"tier": None}, {"subject": {}}, {"subject": {"nodes": {}}},
                                  {"subject": {"namespaces": {}, "pods": {}}}])
def test_CNP_1_an_invalid_place_or_subject_fails_closed(spec):
    bad = cnp(ingress=[rule("Accept", ANY)])
    bad["spec"].update(spec)
    cluster = naive.Cluster(BASE + [bad, cnp(priority=0, name="ok", ingress=[rule("Accept", ANY)])])
    assert len(cluster.problems) == 1
    check_cluster(cluster, "y/a x/a TCP/80 deny \n y/a %s TCP/80 allow" % WORLD)


def test_CNP_2_tiers():
    admin = cnp(ingress=[rule("Accept", PEER_Y, protocols=[tcp(80)])])
    baseline = cnp("Baseline", name="b", ingress=[rule("Deny", ANY, protocols=[tcp(81)])])
    check([admin, baseline], "y/a x/a TCP/80 allow \n y/a x/a TCP/81 deny \n y/a x/a TCP/82 allow")
    check([admin, baseline, policy(ingress=[{"ports": [{"port": 81}]}])], """
        y/a x/a TCP/80 allow
        y/a x/a TCP/81 allow
        y/a x/a TCP/82 deny
        x/b x/a TCP/80 deny
        x/a y/a TCP/81 deny""")


def test_CNP_2_the_baseline_priority_never_beats_the_admin_tier():
    check([cnp("Baseline", 0, "b", ingress=[rule("Accept", ANY)]), cnp("Admin", 1000, ingress=[rule("Deny", ANY)])],
          "y/a x/a TCP/80 deny")


def test_CNP_2_isolation_in_one_direction_leaves_the_other_to_the_baseline():
    baseline = cnp("Baseline", ingress=[rule("Deny", ANY)], egress=[rule("Deny", ANY, side="to")])
    ingress = policy(ingress=[{}])
    check([baseline, ingress], "%s x/a TCP/80 allow \n x/a %s TCP/80 allow \n x/a y/a TCP/80 deny" % (WORLD, WORLD))
    open_out = policy(name="out", policyTypes=["Egress"], egress=[{}])
    check([baseline, ingress, open_out], "x/a x/b TCP/80 allow \n x/a y/a TCP/80 deny")


def test_CNP_3_pass_skips_the_rest_of_its_tier():
    passing = cnp(priority=1, name="p", ingress=[rule("Pass", PEER_Y), rule("Deny", ANY)])
    later = cnp(priority=2, name="d", ingress=[rule("Deny", ANY)])
    check([passing, later], "y/a x/a TCP/80 allow \n x/b x/a TCP/80 deny")
    check([passing, later, policy()], "y/a x/a TCP/80 deny")
    check([passing, later, policy(ingress=[{}])], "y/a x/a TCP/80 allow")
    baseline = cnp("Baseline", 1, "b", ingress=[rule("Pass", PEER_Y, protocols=[tcp(80)]), rule("Deny", ANY)])
    check([passing, later, baseline], "y/a x/a TCP/80 allow \n y/a x/a TCP/81 deny")


def test_CNP_4_rules_in_order_and_no_isolation_by_a_direction_without_rules():
    check([cnp(ingress=[rule("Accept", PEER_Y), rule("Deny", ANY)])], "y/a x/a TCP/80 allow \n x/b x/a TCP/80 deny")
    check([cnp(ingress=[rule("Deny", ANY), rule("Accept", PEER_Y)])], "y/a x/a TCP/80 deny")
    check([cnp(ingress=[], egress=[rule("Accept", PEER_Y, side="to")])], "y/a x/a TCP/80 allow \n x/a x/b TCP/80 allow")
    check([cnp(ingress=[rule("Deny", ANY)])], "%s x/a TCP/80 allow" % WORLD)


def test_CNP_5_subject_pods_and_host_network_pods():
    subject = {"pods": {"namespaceSelector": is_(team="y"), "podSelector": is_(app="a")}}
    deny = cnp(subject=subject, ingress=[rule("Deny", ANY)], egress=[rule("Deny", ANY, side="to")])
    extra = pod("y/b", "10.244.2.12", labels={"app": "b"})
    check([deny, extra], """
        x/a y/a TCP/80 deny
        y/a x/a TCP/80 deny
        x/a y/host TCP/80 allow
        y/host x/a TCP/80 allow
        x/b x/a TCP/80 allow
        x/a y/b TCP/80 allow
        y/b y/a TCP/80 deny""")


@pytest.mark.parametrize("subject, expect", [("nodes", "allow"), ("nodes-from", "allow"), ("node", "deny"), ("", "deny")])
def test_P11_policies_of_nodes_select_no_pod(subject, expect):
    """What nobody understands stays in force: a mistyped word takes no pod's policy away."""
    deny = cnp(ingress=[rule("Deny", ANY)])
    deny["metadata"]["annotations"] = {"weft.dev/subject": subject}
    check([deny], "y/a x/a TCP/80 %s" % expect)


def test_P11_other_kinds_are_of_pods():
    deny = old("AdminNetworkPolicy", "a", 3, ingress=[{"action": "Deny", "from": [PEER_Y]}])
    deny["metadata"]["annotations"] = {"weft.dev/subject": "nodes"}
    check([deny], "y/a x/a TCP/80 deny")


def test_CNP_6_peers():
    by_pod = {"pods": {"namespaceSelector": is_(team="y"), "podSelector": is_(app="b")}}
    extra = pod("y/b", "10.244.2.12", labels={"app": "b"})
    check([extra, cnp(ingress=[rule("Deny", by_pod, PEER_X)])], """
        y/b x/a TCP/80 deny
        y/a x/a TCP/80 allow
        x/b x/a TCP/80 deny
        y/host x/a TCP/80 allow""")
    check([cnp(egress=[rule("Deny", PEER_Y, side="to")])], "x/a y/a TCP/80 deny \n x/a y/host TCP/80 allow")


def test_CNP_6_node_peers():
    check([cnp(egress=[rule("Deny", {"nodes": is_(zone="b")}, side="to")])], """
        x/a y/host TCP/80 deny
        x/a fd00:18::2 TCP6/80 deny
        x/a 172.18.0.1 TCP/80 allow
        y/a 172.18.0.2 ICMP deny
        x/a y/a TCP/80 allow""")
    check([cnp(egress=[rule("Deny", {"nodes": {}}, side="to")])], """
        x/a 172.18.0.1 TCP/80 deny
        x/a 192.88.99.1 TCP/80 deny
        x/a 192.88.98.1 TCP/80 allow
        x/a %s TCP/80 allow""" % WORLD)


@pytest.mark.parametrize("requirement, means_y", [
    ({"key": "team", "operator": "In", "values": ["y", "z"]}, True), ({"key": "team", "operator": "NotIn", "values": ["y"]}, False),
    ({"key": "team", "operator": "Exists"}, True), ({"key": "team", "operator": "DoesNotExist"}, False),
    ({"key": "none", "operator": "NotIn", "values": ["y"]}, True)])
def test_CNP_6_match_expressions(requirement, means_y):
    """In a peer, and in a subject."""
    by = {"namespaces": {"matchExpressions": [requirement]}}
    expect = "deny" if means_y else "allow"
    check([cnp(ingress=[rule("Deny", by)])], "y/a x/a TCP/80 %s" % expect)
    check([cnp(subject=by, ingress=[rule("Deny", ANY)])], "x/a y/a TCP/80 %s" % expect)


@pytest.mark.parametrize("pattern, matching", [
    ("kubernetes.io", "kubernetes.io"), ("KUBERNETES.io.", "kubernetes.io"), ("www.kubernetes.io", "www.kubernetes.io"),
    ("*.kubernetes.io", "www.kubernetes.io a.b.kubernetes.io"), ("*.io", "kubernetes.io www.kubernetes.io a.b.kubernetes.io")])
def test_CNP_6_domain_names(pattern, matching):
    names = ["kubernetes.io", "www.kubernetes.io", "a.b.kubernetes.io", "mykubernetes.org"]
    dns = {n: ["198.51.100.%d" % (i + 1)] for i, n in enumerate(names)}
    objects = [cnp(egress=[rule("Accept", {"domainNames": [pattern]}, side="to"), rule("Deny", {"networks": ["0.0.0.0/0"]}, side="to")])]
    cluster = naive.Cluster(BASE + objects, dns=dns)
    assert not cluster.problems
    assert [n for n in names if cluster.verdict("x/a", dns[n][0], "TCP", 443)[0]] == matching.split()


def test_CNP_7_networks_match_pods_and_icmp_of_their_family_only():
    check([cnp(egress=[rule("Deny", {"networks": ["0.0.0.0/0"]}, side="to")])], """
        x/a y/a TCP/80 deny
        x/a %s TCP/80 deny
        x/a y/a ICMP deny
        x/a y/host UDP/1 deny
        x/a %s SCTP/1 deny
        x/a y/a TCP6/80 allow
        x/a y/a ICMPv6 allow""" % (WORLD, NOBODY))
    check([cnp(egress=[rule("Deny", {"networks": ["::/0"]}, side="to")])], """
        x/a fd00:10:244:2::11 ICMPv6 deny
        x/a y/a TCP6/80 deny
        x/a y/a TCP/80 allow
        x/a y/a ICMP allow""")
    nested = [rule("Accept", {"networks": [Y_A + "/32"]}, side="to"), rule("Deny", {"networks": ["10.0.0.0/8", "::/1"]}, side="to")]
    check([cnp(egress=nested)], "x/a y/a TCP/80 allow \n x/a x/b TCP/80 deny \n x/a %s TCP/80 allow" % WORLD)
    check([cnp(egress=nested[::-1])], "x/a y/a TCP/80 deny")


@pytest.mark.parametrize("protocol, denied", [
    (tcp(80), "TCP/80"),
    ({"udp": {"destinationPort": {"number": 80}}}, "UDP/80"),
    ({"sctp": {"destinationPort": {"number": 80}}}, "SCTP/80"),
    ({"tcp": {"destinationPort": {"range": {"start": 79, "end": 81}}}}, "TCP/79 TCP/80 TCP/81"),
    ({"udp": {"destinationPort": {"range": {"start": 1, "end": 65535}}}}, "UDP/1 UDP/53 UDP/79 UDP/80 UDP/81 UDP/82 UDP/65535"),
    ({"destinationNamedPort": "web"}, "TCP/80"),
    ({"destinationNamedPort": "dns"}, "UDP/53"),
    ({"destinationNamedPort": "nowhere"}, ""),
])
def test_CNP_8_protocols(protocol, denied):
    every = ["%s/%d" % (p, n) for p in naive.PORT_PROTOCOLS for n in (1, 53, 79, 80, 81, 82, 65535)]
    for objects in ([cnp(ingress=[rule("Deny", ANY, protocols=[protocol])])],
                    [cnp(egress=[rule("Deny", ANY, side="to", protocols=[protocol])])]):
        check(objects, "\n".join("y/a x/a %s %s" % (w, "deny" if w in denied.split() else "allow") for w in every + ["ICMP"]))


def test_CNP_8_named_ports_differ_between_pods():
    check([cnp(ingress=[rule("Deny", ANY, protocols=[{"destinationNamedPort": "dns"}])])], """
        y/a x/a UDP/53 deny
        y/a x/a TCP/5353 allow
        y/a x/b TCP/5353 deny
        y/a x/b UDP/53 allow""")


FAULTS = {
    "empty peer": {"peers": [{}]}, "unknown peer": {"peers": [{"someday": {}}]}, "unknown peer beside a good one": {"peers": [PEER_X, {}]},
    "two fields": {"peers": [{"namespaces": {}, "pods": {"namespaceSelector": {}, "podSelector": {}}}]},
    "no peers": {"peers": []}, "selector": {"peers": [{"namespaces": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}]},
    "empty protocol": {"protocols": [{}]}, "unknown protocol": {"protocols": [{"gre": {}}]}, "no port": {"protocols": [{"tcp": {}}]},
    "port 0": {"protocols": [tcp(0)]}, "port 65536": {"protocols": [tcp(65536)]},
    "backward range": {"protocols": [{"tcp": {"destinationPort": {"range": {"start": 9, "end": 8}}}}]},
    "range of one": {"protocols": [{"tcp": {"destinationPort": {"range": {"start": 9, "end": 9}}}}]},
    "two protocols in one": {"protocols": [{**tcp(80), "udp": {"destinationPort": {"number": 80}}}]},
    "bad network": {"peers": [{"networks": ["0.0.0.0/33"]}]}, "no network": {"peers": [{"networks": []}]},
    "named port with networks": {"peers": [{"networks": ["0.0.0.0/0"]}], "protocols": [{"destinationNamedPort": "web"}]},
}


@pytest.mark.parametrize("action, reach_y, reach_world", [("Accept", "deny", "allow"), ("Deny", "deny", "deny"),
                                                          ("Pass", "deny", "deny"), ("Log", "deny", "deny")])
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_CNP_9_a_rule_that_cannot_be_understood_fails_closed(fault, action, reach_y, reach_world):
    """Accept matches nothing, so that the Deny behind it speaks; Deny and Pass deny all, the world and ICMP included."""
    broken = rule(action, *FAULTS[fault].get("peers", [PEER_Y]), side="to")
    broken.update({k: v for k, v in FAULTS[fault].items() if k == "protocols"})
    cluster = naive.Cluster(BASE + [cnp(subject=PEER_X, egress=[broken, rule("Deny", PEER_Y, side="to")])])
    assert len(cluster.problems) == 1
    check_cluster(cluster, """
        x/a y/a TCP/80 {0}
        x/a {2} TCP/80 {1}
        x/a {2} ICMP {1}
        y/a {2} TCP/80 allow""".format(reach_y, reach_world, WORLD))


def test_CNP_9_ingress_knows_no_networks_and_deny_no_domain_names():
    check_cluster(naive.Cluster(BASE + [cnp(ingress=[rule("Pass", {"networks": ["192.0.2.0/24"]})])]), "y/a x/a TCP/80 deny")
    check_cluster(naive.Cluster(BASE + [cnp(egress=[rule("Deny", {"domainNames": ["a.b"]}, side="to")])]), "x/a y/a TCP/80 deny")


def test_CNP_11_an_egress_accept_leaves_the_destinations_ingress_rules():
    out = cnp(priority=0, name="o", subject=PEER_X, egress=[rule("Accept", ANY, side="to")])
    check([out, policy(egress=[{"ports": [{"port": 1}]}], policyTypes=["Egress"])], "x/a y/a TCP/80 allow")
    check([out, cnp(priority=9, subject=PEER_Y, ingress=[rule("Deny", PEER_X)])], "x/a y/a TCP/80 deny")
    check([out, policy(ns="y")], "x/a y/a TCP/80 deny")


# The v1alpha1 objects

def test_v1alpha1_tiers_actions_and_ports():
    port = {"portNumber": {"protocol": "TCP", "port": 80}}
    admin = old("AdminNetworkPolicy", "a", 5, ingress=[rule("Allow", PEER_Y, ports=[port, {"namedPort": "dns"}]),
                                                      rule("Pass", PEER_X), rule("Deny", ANY)])
    check([admin, policy()], """
        y/a x/a TCP/80 allow
        y/a x/a UDP/53 allow
        y/a x/a TCP/81 deny
        x/b x/a TCP/80 deny""")
    span = {"portRange": {"protocol": "UDP", "start": 53, "end": 80}}
    baseline = old("BaselineAdminNetworkPolicy", "default", egress=[rule("Deny", {"networks": ["203.0.113.0/24"]}, side="to", ports=[span])])
    check([admin, baseline], """
        x/b x/a TCP/80 allow
        x/a %s UDP/52 allow
        x/a %s UDP/53 deny
        x/a %s UDP/80 deny
        x/a %s UDP/81 allow
        x/a %s TCP/80 allow""" % ((WORLD,) * 5))
    check([baseline, policy(policyTypes=["Egress"], egress=[{}])], "x/a %s UDP/53 allow" % WORLD)


def test_v1alpha1_shares_its_tiers_with_cluster_network_policies():
    deny = old("AdminNetworkPolicy", "m", 5, ingress=[rule("Deny", ANY)])
    check([deny, cnp(priority=4, ingress=[rule("Accept", ANY)])], "y/a x/a TCP/80 allow")
    check([deny, cnp(priority=6, ingress=[rule("Accept", ANY)])], "y/a x/a TCP/80 deny")
    last = old("BaselineAdminNetworkPolicy", "default", ingress=[rule("Deny", ANY)])
    check([last, cnp("Baseline", 1000, ingress=[rule("Accept", PEER_Y)])], "y/a x/a TCP/80 allow \n x/b x/a TCP/80 deny")


@pytest.mark.parametrize("kind, action", [("AdminNetworkPolicy", "Accept"), ("BaselineAdminNetworkPolicy", "Pass")])
def test_v1alpha1_actions_of_other_objects_fail_closed(kind, action):
    bad = old(kind, "default", 5, ingress=[rule(action, PEER_Y)])
    cluster = naive.Cluster(BASE + [bad])
    assert len(cluster.problems) == 1
    check_cluster(cluster, "x/b x/a TCP/80 deny")


# Addresses of the pods' range whose pod is unknown

def test_an_unknown_pod_is_never_allowed_by_a_selector_and_always_denied():
    wide = {"namespaceSelector": {}, "podSelector": {}}
    check([policy(ingress=[{"from": [wide]}])], "%s x/a TCP/80 deny \n y/a x/a TCP/80 allow" % NOBODY)
    check([policy(policyTypes=["Egress"], egress=[{"to": [wide]}])], "x/a %s TCP/80 deny" % NOBODY)
    narrow = {"pods": {"namespaceSelector": is_(team="z"), "podSelector": is_(app="z")}}
    check([cnp(ingress=[rule("Deny", narrow, protocols=[tcp(80)])])], "%s x/a TCP/80 deny \n %s x/a TCP/81 allow" % (NOBODY, NOBODY))
    check([cnp(ingress=[rule("Accept", ANY)]), policy()], "%s x/a TCP/80 deny" % NOBODY)
    check([cnp(ingress=[rule("Accept", ANY)])], "%s x/a TCP/80 allow" % NOBODY)
    check([cnp(ingress=[rule("Pass", narrow)])], "%s x/a TCP/80 deny \n %s x/a TCP/80 allow" % (NOBODY, WORLD))
    check([cnp(egress=[rule("Deny", narrow, side="to", protocols=[{"destinationNamedPort": "web"}])])],
          "x/a %s UDP/9 deny \n x/a %s ICMP allow \n x/a y/a TCP/80 allow" % (NOBODY, NOBODY))
    check([], "%s x/a TCP/80 allow \n x/a %s TCP/80 allow" % (NOBODY, NOBODY))


def test_an_unknown_pod_never_gets_what_it_does_not_get_when_known():
    """On random clusters: what the other end allows while the pod is unknown, it allows the pod."""
    compared = {True: 0, False: 0}
    for seed in range(60):
        rng = random.Random(seed)
        objects = naive.random_cluster(rng, size=12, policies=14)
        known = naive.Cluster(objects)
        pods = [o for o in objects if o["kind"] == "Pod" and not o["spec"].get("hostNetwork") and o["status"]["phase"] == "Running"]
        hidden = rng.choice(pods)
        unknown = naive.Cluster([o for o in objects if o is not hidden])
        at = hidden["status"]["podIP"]
        for src, dst, proto, port in naive.random_probes(rng, objects, 400):
            other = unknown.end(src)
            if other.kind != "pod" or (":" in src) != (":" in at) or proto.startswith("ICMP"):
                continue
            for direction in ("ingress", "egress"):
                before = unknown._judge(direction, other, unknown.end(at), proto, port)
                after = known._judge(direction, known.end(src), known.end(at), proto, port)
                assert after[0] or not before[0], "seed %d: %s %s %s/%d: %s, then %s" % (seed, direction, src, proto, port, before, after)
                compared[before[0]] += 1
    assert min(compared.values()) > 1000


# What an address is, and which arguments make sense

def test_judging_at_one_node_only():
    objects = BASE + [policy(policyTypes=["Egress"]), policy(ns="y")]
    assert not naive.Cluster(objects, node="n1").verdict("x/a", "y/a", "TCP", 80)[0]
    at_n2 = naive.Cluster(objects[:-1], node="n2").verdict("x/a", "y/a", "TCP", 80)
    assert at_n2 == (True, "ingress: default")
    assert "ingress of y/a" in naive.Cluster(objects, node="n2").verdict("x/a", "y/a", "TCP", 80)[1]


def test_a_verdict_names_the_rule():
    accept = rule("Accept", PEER_Y, name="from-y")
    cluster = naive.Cluster(BASE + [cnp(name="gate", ingress=[accept, rule("Deny", ANY, name="rest")]), policy(ns="y", ingress=[{}, {}])])
    assert cluster.verdict("y/a", "x/a", "TCP", 1)[1] == "egress: default; ingress: ClusterNetworkPolicy gate ingress[0] 'from-y'"
    assert cluster.verdict("x/b", "x/a", "TCP", 1)[1] == "ingress of x/a: ClusterNetworkPolicy gate ingress[1] 'rest'"
    assert cluster.verdict(WORLD, "y/a", "TCP", 1)[1] == "ingress: NetworkPolicy y/p ingress[0]"


def test_bulk_is_the_same_as_one_by_one():
    cluster = naive.Cluster(BASE + [policy(ingress=[{"ports": [{"port": 80}]}])])
    got = cluster.verdicts("y/a", ["x/a", "x/b"], ["TCP", "ICMP"], [80, 81])
    assert [(d, p, n) for d, p, n, _, _ in got] == [(d, p, n) for d in ("x/a", "x/b") for p, n in (("TCP", 80), ("TCP", 81), ("ICMP", 0))]
    assert all(cluster.verdict("y/a", d, p, n) == (a, w) for d, p, n, a, w in got)
    assert {a for *_, a, _ in got} == {True, False}


@pytest.mark.parametrize("arguments, error", [
    (("x/a", "x/none", "TCP", 80), LookupError), (("x/a", "fd00::1", "TCP", 80), ValueError), (("x/a", "x/b", "GRE", 0), ValueError),
    (("x/a", "x/b", "TCP", 65536), ValueError), (("x/a", "x/b", "ICMP", 8), ValueError), (("x/a", "nonsense", "TCP", 80), ValueError)])
def test_arguments_are_checked(arguments, error):
    with pytest.raises(error):
        naive.Cluster(BASE).verdict(*arguments)


def test_two_live_pods_at_one_address_are_refused():
    with pytest.raises(ValueError, match="both live"):
        naive.Cluster(BASE + [pod("y/thief", X_A)])


def of_nodes(which, **spec):
    return {**cnp(**spec), "metadata": {"name": spec.get("name", "c"), "annotations": {"weft.dev/subject": which}}}


ANY4 = {"networks": ["0.0.0.0/0"]}


def test_P11_policies_of_nodes():
    """Who comes, by address and at each of the node's addresses; whom it asks; its own pods, itself, and what pods have."""
    check([of_nodes("nodes-from", subject={"namespaces": is_(zone="a")}, ingress=[rule("Accept", PEER_Y)],
                    egress=[rule("Accept", {"networks": ["203.0.113.0/24"]}, side="to", protocols=[tcp(443)]), rule("Deny", ANY4, side="to")])], """
        203.0.113.5   172.18.0.1   TCP/443  allow
        203.0.113.5   10.244.1.1   TCP/443  allow
        203.0.113.5   172.18.0.1   TCP/444  deny
        203.0.113.5   172.18.0.2   TCP/444  allow
        203.0.114.5   10.244.1.1   TCP/443  deny
        y/a           172.18.0.1   TCP/80   allow
        x/a           172.18.0.1   TCP/80   deny
        172.18.0.2    172.18.0.1   UDP/80   deny
        172.18.0.1    203.0.113.5  TCP/80   allow
        172.18.0.1    10.244.1.1   TCP/80   allow
        203.0.113.5   x/a          TCP/80   allow
        2001:db8::7   fd00:18::1   TCP6/80  allow
    """, host="n1")
    check([of_nodes("nodes", egress=[rule("Deny", ANY4, side="to")], ingress=[rule("Deny", {"pods": {"podSelector": is_(app="a")}})])], """
        172.18.0.1    203.0.113.5  TCP/80   deny
        10.244.1.1    y/a          TCP/80   deny
        172.18.0.1    x/a          TCP/80   allow
        172.18.0.1    172.18.0.2   ICMP     deny
        x/a           172.18.0.1   TCP/80   deny
        x/b           172.18.0.1   TCP/80   allow
        x/a           203.0.113.5  TCP/80   allow
    """, host="n1")


def test_P11_whom_policies_of_nodes_mean():
    """Those whose labels they name: a node has no name as a namespace has one, and no labels of pods."""
    name = {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "Exists"}]}
    absent = {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "DoesNotExist"}]}
    for subject, verdict in (({"namespaces": {}}, "deny"), ({"namespaces": is_(zone="a")}, "deny"), ({"namespaces": is_(zone="b")}, "allow"),
                             ({"namespaces": name}, "allow"), ({"namespaces": absent}, "deny"), ({"pods": {}}, "deny"),
                             ({"pods": {"podSelector": is_(app="a")}}, "allow"), ({"namespaces": is_(team="x")}, "allow")):
        check([of_nodes("nodes-from", subject=subject, egress=[rule("Deny", ANY4, side="to")])], "203.0.113.5 172.18.0.1 TCP/80 " + verdict, host="n1")
