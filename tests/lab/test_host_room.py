# SPDX-License-Identifier: Apache-2.0
"""No want of room opens the node's own confirmed policies: neither blocks that nest too much, nor full maps, nor a start with them."""

import json
import os
import signal

import pytest
from labs import Lab, pod, wait_for
from test_policy import policy, settled

CLOSED, ROOM = 7002, 64


@pytest.fixture(scope="module")
def lab():
    with Lab(nodes=1, set=["policy.host=on", "policy.addressTableSize=%d" % ROOM, "policy.ruleTableSize=%d" % (2 * ROOM)]) as lab:
        lab.apply(*[pod(n, node="n1", labels={"app": n}) for n in ("near", "victim", "other")])
        lab.wait_ready()
        lab.ips = {p["name"]: p["ips"] for p in lab.status()["pods"]}
        lab.node = next(a for n in lab.status()["nodes"] for a in n["addresses"] if ":" not in a)
        lab.apply({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
                   "metadata": {"name": "host", "annotations": {"weft.dev/subject": "nodes-from"}},
                   "spec": {"tier": "Admin", "priority": 10, "subject": {"namespaces": {}}, "egress": [
                       {"action": "Accept", "to": [{"networks": ["198.51.100.0/24", "203.0.113.7/32"]}]},
                       {"action": "Deny", "to": [{"networks": ["0.0.0.0/0", "::/0"]}]}]}})
        lab.apply(policy("victim", pods={"app": "victim"}, policyTypes=["Ingress"], ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}, {"ipBlock": {"cidr": "fd00::/8"}}]}]))
        wait_for("a closed node", lambda: host_state(lab) == "trial" and is_closed(lab))
        assert lab.exec("n1", "weft", "policy", "confirm", check=False).returncode == 0
        yield lab


def listed(lab):
    return json.loads(lab.exec("n1", "weft", "policy", "list", "-o", "json").stdout)


def host_state(lab):
    return listed(lab)["host"]["state"]


def is_closed(lab, port=None):
    """What is open refuses: nobody listens."""
    return "refused" not in lab.exec("world", "curl", "-s", "-S", "-m", "1", "http://%s:%d/" % (lab.node, port or CLOSED), check=False).stderr.lower()


def events(lab, reason):
    items = json.loads(lab.kubectl("get", "events", "-A", "-o", "json").stdout)["items"]
    return [(e["involvedObject"]["kind"], e["involvedObject"]["name"]) for e in items if e["reason"] == reason]


def is_failsafe_alone(lab):
    return "failsafe" in lab.exec("n1", "weft", "status", check=False).stdout


def blocks(excepts, each):
    """@each: one block with one exception a piece, so that all nest; else one block that excepts them all."""
    addresses = ["20.0.%d.%d/32" % (i // 200, 1 + i % 200) for i in range(excepts)]
    return [{"ipBlock": {"cidr": "20.0.0.0/8", "except": [a]}} for a in addresses] if each else [{"ipBlock": {"cidr": "20.0.0.0/8", "except": addresses}}]


def restarted(lab):
    old = lab.agents("n1")
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    assert is_closed(lab)
    wait_for("a new agent", lambda: lab.agents("n1") and not set(old) & set(lab.agents("n1"))
             and lab.exec("n1", "weft", "policy", "list", check=False).returncode == 0, timeout=60)


@pytest.fixture(params=["enforce", "observe"])
def mode(request, lab):
    yield request.param
    lab.kubectl("delete", "netpol", "greedy")


@pytest.mark.parametrize("shape", ["nested", "many"])
def test_P11_what_a_tenant_names_neither_opens_the_node_nor_locks_others_down(lab, mode, shape):
    greedy = policy("greedy", pods={"app": "other"}, policyTypes=["Egress"], egress=[{"to": blocks(2200 if shape == "nested" else 4 * ROOM, shape == "nested")}])
    greedy["metadata"]["annotations"] = {"weft.dev/mode": mode}
    assert is_closed(lab)
    lab.apply(greedy)
    told = wait_for("an Event", lambda: events(lab, "PolicyLocked" if mode == "enforce" else "PolicyNotObserved"), timeout=60)
    assert set(told) == {("Pod", "other")}
    if mode == "enforce":
        assert ("NetworkPolicy", "greedy") in wait_for("an Event", lambda: events(lab, "PolicyNotEnforced"))
        assert [p["name"] for p in listed(lab)["policies"] if "trouble" in p] == ["greedy"]
    assert is_closed(lab) and not is_failsafe_alone(lab)
    settled(lab, "near", "victim", True)
    restarted(lab)
    wait_for("no want of room for the node's", lambda: host_state(lab) == "confirmed" and not is_failsafe_alone(lab))
    assert is_closed(lab)
    settled(lab, "near", "victim", True)
    lab.kubectl("delete", "events", "--all")
