# SPDX-License-Identifier: Apache-2.0
"""What cannot be enforced: pods that are locked down and say so, entries that somebody takes away, policies that are not understood."""

import json
import time

import pytest
from apiwatch import Watch
from labs import WEFT, Lab, pod, wait_for
from test_policy import of, policy, reaches, settled


@pytest.fixture(scope="module")
def lab():
    with Lab(nodes=2, set=["policy.ruleTableSize=64", "policy.host=on"]) as lab:
        lab.apply(*[pod(n, node="n1", labels={"app": n}) for n in ("server", "other", "near")])
        lab.wait_ready()
        lab.ips = {p["name"]: p["ips"] for p in lab.status()["pods"]}
        yield lab


def blocks(count):
    return [{"from": [{"ipBlock": {"cidr": "172.16.%d.0/24" % i}} for i in range(count)] + [of(app="near")]}]


def metric(lab, name):
    text = lab.exec("n1", "curl", "-s", "-m", "5", "http://127.0.0.1:10287/metrics").stdout
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name)


def events(lab, reason):
    items = json.loads(lab.kubectl("get", "events", "-A", "-o", "json").stdout)["items"]
    return [(e["involvedObject"]["kind"], e["involvedObject"]["name"], e["message"]) for e in items if e["reason"] == reason]


def ports(count):
    """8080 and every other port after it, so that no two make a range."""
    return [{"from": [of(app="near")], "ports": [{"port": 8080 + 2 * i} for i in range(count)]}]


@pytest.mark.parametrize("rules, told_as, locked", [
    (blocks, "too much for its maps", "locked: what policies name on this node is too much for its maps (policy.addressTableSize, policy.ruleTableSize), its own most of all"),
    (ports, "no room", "locked: its policies find no room in this node's policy maps (policy.ruleTableSize)")], ids=["blocks", "rules"])
def test_P9_a_full_map_locks_the_pod_down_says_so_and_touches_no_other(lab, rules, told_as, locked):
    in_force = len(events(lab, "PolicyInForce"))
    lab.apply(policy("only", pods={"app": "other"}, policyTypes=["Ingress"], ingress=[{"from": [of(app="near")]}]))
    settled(lab, "server", "other", False)
    lab.apply(policy("large", pods={"app": "server"}, policyTypes=["Ingress"], ingress=rules(200)))
    settled(lab, "near", "server", False)
    assert reaches(lab, "near", "other") and not reaches(lab, "server", "other")
    assert reaches(lab, "n1", "server"), "its own node reaches it still"
    told = wait_for("an Event", lambda: [t for t in events(lab, "PolicyLocked") if told_as in t[2]])
    assert [t[:2] for t in told] == [("Pod", "server")] and {t[:2] for t in events(lab, "PolicyLocked")} == {("Pod", "server")}
    assert metric(lab, "weft_policy_locked_addresses") == 2
    assert "locked" in lab.exec("n1", "weft", "status").stdout
    shown = lab.exec("n1", "weft", "policy", "show", "default/server").stdout.splitlines()
    assert shown[0] == locked and "not in force" in shown[1]
    assert "locked" not in lab.exec("n1", "weft", "policy", "show", "default/other").stdout
    lab.apply(policy("large", pods={"app": "server"}, policyTypes=["Ingress"], ingress=rules(5)))
    settled(lab, "near", "server", True)
    assert {t[:2] for t in wait_for("an Event", lambda: (lambda told: len(told) > in_force and told)(events(lab, "PolicyInForce")))} == {("Pod", "server")}
    assert "locked" not in lab.exec("n1", "weft", "policy", "show", "default/server").stdout
    assert metric(lab, "weft_policy_locked_addresses") == 0
    lab.kubectl("delete", "netpol", "--all")


def test_P11_a_trial_without_room_leaves_what_was_confirmed(lab):
    """It would open the node until its end."""
    def apply(*networks):
        lab.apply({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
                   "metadata": {"name": "host", "annotations": {"weft.dev/subject": "nodes-from"}},
                   "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {"matchLabels": {"kubernetes.io/hostname": "n1"}}}, "egress": [
                       {"action": "Accept", "to": [{"networks": networks[i:i + 25]} for i in range(0, len(networks), 25)]}, {"action": "Deny", "to": [{"networks": ["0.0.0.0/0"]}]}]}})

    def state():
        return json.loads(lab.exec("n1", "weft", "policy", "list", "-o", "json").stdout)["host"]["state"]

    def echo():
        return lab.exec("world", "ping", "-c", "1", "-W", "1", node, check=False).returncode == 0
    node = next(a for n in lab.status()["nodes"] if n["name"] == "n1" for a in n["addresses"] if ":" not in a)
    wait_for("an echo before", echo)
    apply("172.20.0.0/24")
    wait_for("no echo", lambda: state() == "trial" and not echo())
    assert lab.exec("n1", "weft", "policy", "confirm").returncode == 0
    apply(*["172.20.%d.0/24" % i for i in range(0, 200, 2)])
    wait_for("that there is no room", lambda: "full" in lab.exec("n1", "weft", "status").stdout)
    assert state() == "trial" and not echo()
    lab.kubectl("delete", "cnp", "host")
    wait_for("an open node", lambda: state() == "none" and echo())


def test_what_only_observes_takes_no_room_from_what_is_in_force(lab):
    large = policy("large", pods={"app": "server"}, policyTypes=["Ingress"], ingress=blocks(40))
    large["metadata"]["annotations"] = {"weft.dev/mode": "observe"}
    lab.apply(large, policy("only", pods={"app": "server"}, policyTypes=["Ingress"], ingress=blocks(1)))
    settled(lab, "other", "server", False)
    assert reaches(lab, "near", "server")
    assert [t[:2] for t in wait_for("an Event", lambda: events(lab, "PolicyNotObserved"))] == [("Pod", "server")]
    lab.kubectl("delete", "netpol", "--all")


@pytest.mark.parametrize("which", ["rules", "ports", "addrs", "cidrs", "endpoints"])
def test_entries_that_somebody_takes_away_come_back(lab, which):
    rule = {"from": [of(app="near"), {"ipBlock": {"cidr": "172.16.0.0/16"}}], "ports": [{"port": 8080}]}
    lab.apply(policy("only", pods={"app": "server"}, policyTypes=["Ingress"], ingress=[rule]))
    settled(lab, "other", "server", False)
    pinned = lab.exec("n1", "find", "/sys/fs/bpf/weft", "-name", "policy_" + which).stdout.split()
    assert len(pinned) == 1

    def dump():  # what holds, not what did before
        return {json.dumps(e["key"]): e["value"][:{"addrs": 8, "endpoints": 32}.get(which)] for e in json.loads(lab.exec("n1", "bpftool", "-j", "map", "dump", "pinned", *pinned).stdout)}

    # a policy that is no longer used goes a moment after it: only what stays is waited for
    before = wait_for("the maps at rest", lambda: (lambda a: a and a == dump() and a)(dump()))
    repairs = metric(lab, "weft_repairs_total")
    gone = list(before)
    if which == "cidrs":  # a prefix that says what the one around it says need not come back
        root = next(v for k, v in before.items() if json.loads(k)[0] == "0x20")
        before = {k: v for k, v in before.items() if v != root or json.loads(k)[0] == "0x20"}
    for key in gone:
        lab.exec("n1", "bpftool", "map", "delete", "pinned", *pinned, "key", "hex", *[b[2:] for b in json.loads(key)], check=False)
    wait_for("the entries", lambda: before.items() <= dump().items())
    assert metric(lab, "weft_repairs_total") > repairs
    assert reaches(lab, "near", "server") and not reaches(lab, "other", "server")
    lab.kubectl("delete", "netpol", "--all")


def test_NP_21_what_is_not_understood_says_so_on_the_object(lab):
    odd = policy("odd", pods={"app": "server"}, policyTypes=["Ingress"], ingress=[{"from": [of(app="near")]}])
    odd["metadata"]["annotations"] = {"weft.dev/mode": "dry-run"}
    lab.apply(odd)
    told = wait_for("an Event", lambda: events(lab, "PolicyInvalid"))
    assert told[0][:2] == ("NetworkPolicy", "odd") and "dry-run" in told[0][2]
    assert not reaches(lab, "other", "server") and reaches(lab, "near", "server")
    lab.kubectl("delete", "netpol", "--all")


def accepted_is(lab, what, name, status, text):
    conditions = json.loads(lab.kubectl("get", what, name, "-o", "json").stdout).get("status", {}).get("conditions", [])
    return any(c["type"] == "Accepted" and c["status"] == status and text in c["message"] for c in conditions)


def test_CNP_10_its_predecessors_are_in_force_and_say_so(lab):
    """AdminNetworkPolicy before NetworkPolicies, BaselineAdminNetworkPolicy behind them; both by kubectl."""
    def old(kind, name, whom, **spec):
        return {"apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": {
            "subject": {"namespaces": {}}, "ingress": [{"action": "Deny", "from": [{"pods": {"namespaceSelector": {}, **of(app=whom)}}]}], **spec}}
    lab.apply(old("AdminNetworkPolicy", "before", "other", priority=1), old("BaselineAdminNetworkPolicy", "default", "near"))
    settled(lab, "other", "server", False)
    settled(lab, "near", "server", False)
    lab.apply(policy("all", pods={"app": "server"}, policyTypes=["Ingress"], ingress=[{}]))
    settled(lab, "near", "server", True)
    assert not reaches(lab, "other", "server")
    for what, name in (("anp", "before"), ("banp", "default")):
        wait_for("a condition of " + what, lambda: accepted_is(lab, what, name, "True", "understood"))
    lab.kubectl("annotate", "anp", "before", "weft.dev/mode=maybe")
    wait_for("what is wrong", lambda: accepted_is(lab, "anp", "before", "False", "maybe"))
    lab.kubectl("delete", "anp,banp,netpol", "--all")


def test_CNP_6_names_that_nobody_resolves_say_so(lab):
    lab.apply({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "names"}, "spec": {
        "tier": "Admin", "priority": 1, "subject": {"pods": {"namespaceSelector": {}, **of(app="near")}}, "egress": [
            {"action": "Accept", "to": [{"domainNames": ["*.example.com"]}, {"pods": {"namespaceSelector": {}, **of(app="server")}}]},
            {"action": "Deny", "to": [{"namespaces": {}}]}]}})
    settled(lab, "near", "other", False)
    assert reaches(lab, "near", "server"), "what else the rule names"
    wait_for("a condition", lambda: accepted_is(lab, "cnp", "names", "False", "nothing resolves names"))
    lab.apply({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "names"}, "spec": {
        "tier": "Admin", "priority": 1, "subject": {"pods": {"namespaceSelector": {}, **of(app="near")}}, "egress": [
            {"action": "Accept", "to": [{"domainNames": ["*.example.com"]}]}, {"action": "Deny", "to": [{"namespaces": {}}]}]}})
    settled(lab, "near", "server", False)
    assert "egress[0] accept to nothing ports anything" in lab.exec("n1", WEFT, "policy", "show", "default/near").stdout
    lab.kubectl("delete", "cnp", "--all")


def since(lab):
    return json.loads(lab.kubectl("get", "cnp", "c", "-o", "json").stdout)["status"]["conditions"][0]["lastTransitionTime"]


def test_CNP_10_conditions_are_written_once(lab):
    """By one of the two nodes: each change of the object has one change of its status, and its time only with another status."""
    path = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies"
    cnp = {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "c"}, "spec": {
        "tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, "ingress": [{"action": "Accept", "from": [{"namespaces": {}}]}]}}
    watch = Watch(lab.kubeconfig, path)

    def accepted(status, text=""):
        return lambda o: any(c["type"] == "Accepted" and c["status"] == status and text in c["message"]
                             for c in o.get("status", {}).get("conditions", []))

    lab.apply(cnp)
    wait_for("a condition", lambda: watch.first(accepted("True")))
    first = since(lab)
    wait_for("another second", lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) > first)
    cnp["spec"]["priority"] = 2
    lab.apply(cnp)
    wait_for("the condition of what it is now", lambda: watch.first(lambda o: accepted("True")(o) and o["status"]["conditions"][0]["observedGeneration"] == 2))
    assert since(lab) == first, "its status stays: when it became so, too"
    lab.kubectl("annotate", "cnp", "c", "weft.dev/mode=maybe")
    wait_for("what is wrong", lambda: watch.first(accepted("False", "maybe")))
    wrong = since(lab)
    assert wrong > first
    lab.kubectl("annotate", "cnp", "c", "weft.dev/mode=observe", "--overwrite")
    wait_for("that it is right again", lambda: watch.first(accepted("True", "observes")))
    assert since(lab) >= wrong
    lab.kubectl("delete", "cnp", "c")
    wait_for("its end", lambda: watch.events[-1][1]["type"] == "DELETED")
    kinds = [event["type"] for _, event in watch.events]
    watch.close()
    assert kinds == ["ADDED"] + ["MODIFIED"] * 7 + ["DELETED"]
