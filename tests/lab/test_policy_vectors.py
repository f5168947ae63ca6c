# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy truth tables that are not ours, with real packets: a sample in every run, all of them in the full tier.

Nine pods, x/a to z/c, on two nodes. A case's actions go through kubectl; then every pair is tried, by one prober in each pod, until the
expected table holds, and once more afterwards. Cases without an ipBlock are tried over both families: the tables know IPv4 only, but
nothing else in them tells the families apart. SCTP is the INIT and INIT-ACK of an association, made by hand (sctp.h).
In one way: what policies mean is compiled before any packet; that it holds in every way is in test_policy.py and test_policy_paths.py.
"""

import copy
import ipaddress
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from labs import FULL, Lab, family, pod, wait_for
from truth import NO_ANSWER, ask, load, serving_sctp

PODS = [(ns, name) for ns in "xyz" for name in "abc"]
PROTOCOLS = ("TCP", "UDP", "SCTP")
PORTS = (80, 81)
PATIENCE = 60

# Place in the file and what the case is called: a list that has changed must not pass for this one.
SAMPLE = {
    2: "set namespace to z",
    31: "ipblock with except",
    76: "ingress, 2-peer: simple ipblock, ipblock with except",
    99: "egress, 2-peer: nil pods + empty ns, simple ipblock",
    142: "direction,egress,end-port,numbered-port,port,protocol,tcp",
    148: "open a named port that doesn't match its protocol",
    165: "direction,ingress,named-port,port,protocol,udp",
    174: "direction,end-port,ingress,numbered-port,port,protocol,sctp",
    184: "direction,egress,multi-port/protocol,named-port,numbered-port,port,protocol,rule,udp",
    194: "Create/update policy",
    195: "Create/delete namespace",
    196: "Update namespace so that policy applies, then again so it no longer applies",
    226: "should deny ingress access to updated pod",
    229: "should stop enforcing policies after they are deleted",
}


def vector_pod(namespace, name, labels, node):
    p = pod(name, namespace=namespace, node=node, labels=labels)
    p["spec"]["containers"][0]["ports"] = [{"name": "serve-%d-%s" % (n, proto.lower()), "containerPort": n, "protocol": proto}
                                           for n in PORTS for proto in ("TCP", "UDP", "SCTP")]
    return p


class Cluster:
    """What the tables speak of, as real pods."""

    def __init__(self, lab):
        self.lab = lab
        self.labels = {}  # (kind, namespace or None, name) → what the object bears now
        nodes = [n["name"] for n in lab.status()["nodes"]]
        for ns in "xyz":
            self.create_namespace(ns, {"ns": ns})
        lab.apply(*[vector_pod(ns, name, {"pod": name}, nodes[i % 2]) for i, (ns, name) in enumerate(PODS)])
        for ns, name in PODS:
            self.labels["pod", ns, name] = {"pod": name}
        lab.wait_ready()
        status = lab.status()
        self.ips = {(p["namespace"], p["name"]): p["ips"] for p in status["pods"]}
        self.blocks = self.replacements(status)

    @staticmethod
    def replacements(status):
        """The tables' blocks of addresses, as blocks that hold the same pods: all of them."""
        ranges = [ipaddress.ip_network(c) for n in status["nodes"] for c in n["podCIDRs"] if family(c.split("/")[0]) == 4]
        whole = ranges[0].supernet()
        while not all(r.subnet_of(whole) for r in ranges):
            whole = whole.supernet()
        return {"192.168.7.0/24": [str(whole)], "192.168.7.0/28": [str(r) for r in ranges]}

    def create_namespace(self, name, labels):
        self.lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        self.labels["namespace", None, name] = labels

    def set_labels(self, kind, namespace, name, labels):
        old = self.labels[kind, namespace, name]
        patch = {"metadata": {"labels": {**{k: None for k in old if k not in labels}, **labels}}}
        where = ["-n", namespace] if namespace else []
        self.lab.kubectl("patch", kind, name, *where, "--type=merge", "-p", json.dumps(patch))
        self.labels[kind, namespace, name] = labels

    def with_our_blocks(self, policy):
        policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", **copy.deepcopy(policy)}  # some cases leave it out
        policy.pop("status", None)
        rules = (policy["spec"].get("ingress") or []) + (policy["spec"].get("egress") or [])
        for block in (peer["ipBlock"] for r in rules for peer in (r.get("from") or r.get("to") or []) if "ipBlock" in peer):
            block["cidr"], = self.blocks.get(block["cidr"], [block["cidr"]])
            block["except"] = [ours for theirs in block.get("except", []) for ours in self.blocks.get(theirs, [theirs])]
        assert "192.168.7." not in json.dumps(policy), "a block that has no replacement"
        return policy

    def act(self, action):
        (kind, a), = action.items()
        if kind in ("CreatePolicy", "UpdatePolicy"):
            self.lab.apply(self.with_our_blocks(a["Policy"]))
        elif kind == "DeletePolicy":
            self.lab.kubectl("delete", "netpol", a["Name"], "-n", a["Namespace"])
        elif kind == "CreateNamespace":
            self.create_namespace(a["Namespace"], a["Labels"])
        elif kind == "DeleteNamespace":
            self.lab.kubectl("delete", "pods", "--all", "-n", a["Namespace"], "--grace-period=1")  # weft-echo sits out a full grace period
            self.lab.kubectl("delete", "namespace", a["Namespace"])
        elif kind == "CreatePod":
            self.lab.apply(vector_pod(a["Namespace"], a["Pod"], a["Labels"], "n1"))
        elif kind == "DeletePod":
            self.lab.kubectl("delete", "pod", a["Pod"], "-n", a["Namespace"], "--grace-period=1")
        elif kind == "SetNamespaceLabels":
            self.set_labels("namespace", None, a["Namespace"], a["Labels"])
        else:
            assert kind == "SetPodLabels", kind
            self.set_labels("pod", a["Namespace"], a["Pod"], a["Labels"])

    def reset(self):
        self.lab.kubectl("delete", "netpol", "--all", "-A")
        for (kind, namespace, name), labels in list(self.labels.items()):
            if (namespace or name) not in "xyz":
                del self.labels[kind, namespace, name]
                continue
            first = {"ns": name} if kind == "namespace" else {"pod": name}
            if labels != first:
                self.set_labels(kind, namespace, name, first)

    def probe(self, source, families):
        """From one pod to all others. Return: {"TCP/80": {4: the row, 6: the row}}"""
        lines, at = [], {}
        for column, target in enumerate(PODS):
            for ours, ip in zip(self.ips[source], self.ips[target]):
                if target == source or family(ip) not in families:
                    continue
                for protocol in PROTOCOLS:
                    for port in PORTS:
                        line = "%s %s %d %s/%s %s" % (protocol.lower(), ip, port, *target, ours)
                        lines.append(line)
                        at[line] = ("%s/%d" % (protocol, port), family(ip), column)
        me = PODS.index(source)
        rows = {what: {f: ["#" if i == me else "." for i in range(len(PODS))] for f in families} for what, _, _ in at.values()}
        for line, why in ask(self.lab, "%s/%s" % source, lines).items():
            what, f, column = at[line]
            if why:
                rows[what][f][column] = "X" if why == NO_ANSWER else "(%s)" % why
        return {what: {f: "".join(row) for f, row in by_family.items()} for what, by_family in rows.items()}

    def table(self, families):
        with ThreadPoolExecutor(len(PODS)) as pool:
            rows = list(pool.map(lambda source: self.probe(source, families), PODS))
        return {what: {f: "".join(r[what][f] for r in rows) for f in families} for what in rows[0]}

    def differs(self, step, families):
        """How what packets say differs from what the step expects; empty: not at all."""
        return ["IPv%d %s:\n  expected %s\n  seen     %s" % (f, what, step["expect"][what], seen)
                for what, by_family in self.table(families).items() for f, seen in by_family.items() if seen != step["expect"][what]]

    def opened(self, step, families):
        """Once more: what is denied stays denied. What is allowed may be late on a busy machine, so it is asked for again until it answers."""
        end = time.monotonic() + PATIENCE
        while True:
            table = self.table(families)
            found = [(what, f, want, got) for what, by_family in table.items() for f, seen in by_family.items()
                     for want, got in zip(step["expect"][what], self.letters(seen)) if want != got]
            if not found or any(want == "X" for _, _, want, _ in found) or time.monotonic() > end:
                return ["%s IPv%d: expected %s, seen %s" % f for f in found]

    @staticmethod
    def letters(row):
        """One for each pair; what is no verdict stands in brackets."""
        return re.findall(r"\([^)]*\)|.", row)

    def check(self, step, families):
        for action in step["actions"]:
            self.act(action)
        end = time.monotonic() + PATIENCE
        while True:
            wrong = self.differs(step, families)
            if not wrong:
                break
            assert time.monotonic() < end, "\n".join(wrong)
        opened = self.opened(step, families)
        assert not opened, "it held, and then not any more\n" + "\n".join(opened)


@pytest.fixture(scope="module")
def tables():
    return load("netpol/cases.jsonl")


@pytest.fixture(scope="module")
def cluster(tables):
    with Lab(nodes=2) as lab:
        cluster = Cluster(lab)
        with serving_sctp(lab, {"%s/%s" % p: PORTS for p in PODS}):
            wait_for("every pair without a policy", lambda: "X" not in str(cluster.table((4, 6))), PATIENCE)
            yield cluster


@pytest.mark.parametrize("number", range(230) if FULL else sorted(SAMPLE))
def test_NP_vectors_with_real_packets(tables, cluster, number):
    case = tables[number]
    assert SAMPLE.get(number, case["description"]) == case["description"] and len(tables) == 230
    families = (4,) if "ipBlock" in json.dumps(case["steps"]) else (4, 6)
    cluster.reset()
    for i, step in enumerate(case["steps"]):
        started = time.monotonic()
        cluster.check(step, families)
        print("%d, step %d: %.1f s" % (number, i + 1, time.monotonic() - started))
