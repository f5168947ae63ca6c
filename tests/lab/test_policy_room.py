# SPDX-License-Identifier: Apache-2.0
"""Where there is no room for all, who brings the most goes without, and nobody else: entries of its own, and those that its peers split of what others name."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from labs import Lab, pod, wait_for
from test_policy import of, policy, reaches, settled

VICTIMS, MANY = ["v%d" % i for i in range(12)], 80


@pytest.fixture(scope="module")
def lab():
    with Lab(nodes=1, set=["policy.ruleTableSize=1024", "policy.host=on"]) as lab:
        lab.apply(*[{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n, "labels": {"team": n}}} for n in ("many", "tenant")])
        lab.apply(*[pod(n, node="n1", labels={"app": n}) for n in VICTIMS + ["near"]], pod("greedy", node="n1", labels={"app": "greedy"}, namespace="tenant"))
        lab.apply(*[policy(v, pods={"app": v}, policyTypes=["Ingress"], ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"team": "many"}}}, {"ipBlock": {"cidr": "10.77.0.0/16"}},
                                                                                     of(app="near")]}]) for v in VICTIMS])
        lab.wait_ready()
        lab.ips = {p["name"]: p["ips"] for p in lab.status()["pods"]}
        lab.apply(*[pod("m%d" % i, node="n9", labels={"i": "x%d" % i}, namespace="many") for i in range(MANY)])
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda i: run_elsewhere(lab, i), range(MANY)))
        yield lab


def run_elsewhere(lab, i):
    status = {"phase": "Running", "podIP": "10.244.77.%d" % (i + 1), "podIPs": [{"ip": "10.244.77.%d" % (i + 1)}]}
    lab.kubectl("patch", "pod", "-n", "many", "m%d" % i, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))


def told(lab, reason):
    items = json.loads(lab.kubectl("get", "events", "-A", "-o", "json").stdout)["items"]
    return {(e["involvedObject"]["kind"], e["involvedObject"]["namespace"], e["involvedObject"]["name"]) for e in items if e["reason"] == reason}


SHAPES = {
    "selectors": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"i": "x%d" % i}}} for i in range(MANY)],
    "addresses": [{"ipBlock": {"cidr": "10.244.77.%d/32" % (i + 1)}} for i in range(MANY)],
    "parts": [{"ipBlock": {"cidr": "10.77.0.%d/32" % i}} for i in range(2 * MANY)],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("objects", [1, 8])
def test_P9_who_splits_what_others_name_is_alone_without(lab, shape, objects):
    peers = SHAPES[shape]
    names = ["%s-%d" % (shape, i) for i in range(objects)]
    lab.apply(*[policy(n, namespace="tenant", pods={"app": "greedy"}, policyTypes=["Egress"], egress=[{"to": peers[i::objects]}]) for i, n in enumerate(names)])
    wait_for("a locked pod", lambda: "locked: what policies name" in lab.exec("n1", "weft", "policy", "show", "tenant/greedy").stdout)
    assert all(reaches(lab, "near", v) for v in VICTIMS)
    wait_for("an Event", lambda: ("Pod", "tenant", "greedy") in told(lab, "PolicyLocked"))
    assert told(lab, "PolicyLocked") == {("Pod", "tenant", "greedy")}
    assert wait_for("an Event", lambda: told(lab, "PolicyNotEnforced")) <= {("NetworkPolicy", "tenant", "%s-%d" % (s, i)) for s in SHAPES for i in range(8)}
    lab.kubectl("delete", "netpol", "-n", "tenant", "--all")
    wait_for("an open pod", lambda: "locked" not in lab.exec("n1", "weft", "policy", "show", "tenant/greedy").stdout)
    lab.apply(policy("few", namespace="tenant", pods={"app": "greedy"}, policyTypes=["Egress"], egress=[{"to": peers[:3]}]))
    wait_for("a policy in force", lambda: "few" in (lambda shown: "" if "locked" in shown else shown)(lab.exec("n1", "weft", "policy", "show", "tenant/greedy").stdout))
    settled(lab, "near", "v0", True)
    lab.kubectl("delete", "netpol", "-n", "tenant", "--all")
