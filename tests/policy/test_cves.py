# SPDX-License-Identifier: Apache-2.0
"""What other implementations got wrong and had to publish, as tables for the naive evaluator and the compiler. docs/policy.md says which test
stands for which; those that need packets are in tests/bpf and tests/lab."""

import os
import random

import pytest

import naive
from naive_objects import ANY, BASE, PEER_Y, WORLD, X_B, Y_A, check, check_cluster, cnp, is_, pod, policy, rule

FULL = os.environ.get("WEFT_TEST_TIER") == "full"
FORGED = {"team": "y", naive.NAME_LABEL: "y", "namespace": "y", "k8s:io.kubernetes.pod.namespace": "y",
          "io.cilium.k8s.namespace.labels.team": "y", "namespaceSelector.team": "y", "pcns.team": "y", "pcns.projectcalico.org/name": "y"}


def test_CVE_2023_39347_a_pods_labels_are_none_of_its_namespace():
    """Also GHSA-pfhr-pccp-hwmh and GHSA-wc5v-r48v-g4vh: labels that a pod's user writes say nothing of its namespace, whatever their keys."""
    forger = pod("x/forger", "10.244.1.66", labels=FORGED)
    by_namespace = policy(ns="y", ingress=[{"from": [{"namespaceSelector": is_(team="y")}, {"namespaceSelector": is_(**{naive.NAME_LABEL: "y"})}]}])
    check([forger, by_namespace], "y/a y/a TCP/80 allow \n x/forger y/a TCP/80 deny")
    check([forger, cnp(ingress=[rule("Deny", PEER_Y)])], "y/a x/a TCP/80 deny \n x/forger x/a TCP/80 allow")
    check([forger, cnp(subject=PEER_Y, egress=[rule("Deny", ANY, side="to")])], "x/forger x/a TCP/80 allow \n y/a x/a TCP/80 deny")


def test_CVE_2023_34242_a_policy_reaches_no_further_than_its_namespace():
    """Also CVE-2023-41333 and CVE-2024-42486: neither whom it selects, nor whom a podSelector without a namespaceSelector lets in."""
    everywhere = {"matchExpressions": [{"key": "app", "operator": "Exists"}]}
    check([policy(everywhere, policyTypes=["Ingress", "Egress"])], "y/a x/a TCP/80 deny \n x/a x/b TCP/80 deny \n y/a %s TCP/80 allow" % WORLD)
    check([policy(ingress=[{"from": [{"podSelector": everywhere}]}])], "x/b x/a TCP/80 allow \n y/a x/a TCP/80 deny")
    check([policy(), policy(ns="y", ingress=[{}], egress=[{}])], "x/b x/a TCP/80 deny \n y/a x/a TCP/80 deny")


def test_CVE_2024_47825_a_deny_holds_under_a_narrower_allow():
    """How long a prefix is says nothing about which rule comes first: in every nesting the first rule that matches decides."""
    lengths = (0, 8, 16, 24, 28, 32)
    rng = random.Random(47825)
    for _ in range(30):
        chosen = rng.sample(lengths, rng.randrange(2, len(lengths)))
        verdicts = [rng.choice(("Accept", "Deny")) for _ in chosen]
        rules = [rule(v, {"networks": ["%s/%d" % (Y_A if n == 32 else naive.parse_network("%s/%d" % (Y_A, n)).network_address, n)]}, side="to")
                 for v, n in zip(verdicts, chosen)]
        check([cnp(egress=rules)], "x/a y/a TCP/80 %s" % ("allow" if verdicts[0] == "Accept" else "deny"))


def test_CVE_2025_30163_rules_about_nodes_mean_no_pods():
    check([policy(policyTypes=["Egress"]), cnp(egress=[rule("Accept", {"nodes": {}}, side="to")])], """
        x/a 172.18.0.2 TCP/80 allow
        x/a y/a TCP/80 deny
        x/a x/b TCP/80 deny
        x/a %s TCP/80 deny""" % WORLD)


@pytest.mark.parametrize("peer", [{"podSelector": is_(app="nobody")}, {"namespaceSelector": is_(team="nowhere")},
                                  {"namespaceSelector": is_(team="nowhere"), "podSelector": {}}])
def test_CVE_2025_64715_who_is_nobody_is_not_everybody(peer):
    """What nothing matches opens nothing: a selector, a name that has no address, a port that no pod has."""
    check([policy(ingress=[{"from": [peer]}])], "x/b x/a TCP/80 deny \n y/a x/a TCP/80 deny \n %s x/a TCP/80 deny" % WORLD)
    check([policy(ingress=[{"ports": [{"port": "nowhere"}]}])], "x/b x/a TCP/80 deny \n %s x/a TCP/80 deny" % WORLD)


def test_CVE_2021_3499_names_that_nobody_resolved_open_nothing():
    by_name = cnp(egress=[rule("Accept", {"domainNames": ["*.example.com"]}, side="to"), rule("Deny", {"networks": ["0.0.0.0/0"]}, side="to")])
    check([by_name], "x/a %s TCP/443 deny \n x/a y/a TCP/80 deny" % WORLD)


@pytest.mark.parametrize("count", [1, 2700] + [40000] * FULL)
def test_CVE_2026_25804_no_number_of_rules_turns_their_order(count):
    """67,500 rules, more than 16 bits count, and a million: the first decides, and the first of the last object comes after all of the others."""
    last = {"networks": [X_B + "/32"]}
    many = [cnp(name="c%06d" % i, priority=i * 1000 // count, egress=[rule("Accept", {"networks": [Y_A + "/32"]}, side="to")] * 24 +
                [rule("Deny", {"networks": [Y_A + "/32"]}, side="to")]) for i in range(count)]
    end = cnp(name="z", priority=1000, egress=[rule("Deny", {"networks": ["10.0.0.0/8"]}, side="to"), rule("Accept", last, side="to")])
    cluster = naive.Cluster(BASE + many + [end])
    assert not cluster.problems
    check_cluster(cluster, "x/a y/a TCP/80 allow \n x/a x/b TCP/80 deny")
