# SPDX-License-Identifier: Apache-2.0
"""The conformance cases of ClusterNetworkPolicy, which are not ours, with real packets: a sample in every run, all 94 in the full tier.

The suite's ten pods, replica 0 on n1 and replica 1 on n2, two of them in their node's network. Probes that stand together in a case are tried
together, until all give what is expected, and once more afterwards. A case is run over both families unless it says which. What is
denied must not answer at all; SCTP is the INIT and INIT-ACK of an association, made by hand (sctp.h).
In one way: what policies mean is compiled before any packet; that it holds in every way is in test_policy.py and test_policy_paths.py.
"""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from labs import FULL, Lab, family, pod
from truth import NO_ANSWER, ask, load, serving_sctp

PATIENCE = 60
FAMILIES = {None: (4, 6), "IPv4": (4,), "IPv6": (6,)}

# Place in the file and what the case is called: a list that has changed must not pass for this one.
SAMPLE = {
    0: "CNPAdminTierEgressNamedPort/Should support an 'allow-egress' policy for named port",
    3: "CNPAdminTierEgressNodePeers/Should support a 'deny-egress' rule policy for egress-node-peer",
    5: "CNPAdminTierEgressInlineCIDRPeers/Should support an 'allow-egress' rule policy for egress-cidr-peer [IPv4]",
    6: "CNPAdminTierEgressInlineCIDRPeers/Should support an 'allow-egress' rule policy for egress-cidr-peer [IPv6]",
    12: "CNPAdminTierEgressSCTP/Should support a 'pass-egress' policy for SCTP protocol at the specified port",
    30: "CNPAdminTierGress/Should support a 'pass-gress' policy across different protocols at the specified ports",
    53: "CNPAdminTierIntegration/Should support a 'pass-egress' policy for admin CNP and respect the match for network policy",
    58: "CNPAdminTierPriorityField/Should respect admin CNP priority field; thus passing both ingress and egress traffic over to baseline CNP",
    85: "CNPBaselineTierIngressSCTP/Should support a 'deny-ingress' policy for SCTP protocol at the specified port",
}


def cnp_pod(p):
    """Serves what the suite's does: the named ports, and beside them some that no name stands for."""
    made = pod(p["name"], namespace=p["namespace"], node="n%d" % (1 + int(p["name"][-1])), host=p["hostNetwork"], labels=p["labels"])
    named = {(q["protocol"], q["containerPort"]) for q in p["ports"]}
    others = [{"containerPort": n, "protocol": proto.upper()} for proto in ("tcp", "udp") for n in p["serves"][proto] if (proto.upper(), n) not in named]
    made["spec"]["containers"][0]["ports"] = p["ports"] + others
    return made


class Cluster:
    def __init__(self, lab, base):
        self.lab, self.base = lab, base
        for n in base["namespaces"]:
            lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": n})
        for node in lab.status()["nodes"]:
            lab.kubectl("label", "node", node["name"], *["%s=%s" % kv for kv in base["nodes"]["labels"].items()])
        lab.apply(*[cnp_pod(p) for p in base["pods"]])
        lab.wait_ready()
        self.ips = {"%s/%s" % (p["namespace"], p["name"]): {family(ip): ip for ip in p["ips"]} for p in lab.status()["pods"]}
        self.serves = {"%s/%s" % (p["namespace"], p["name"]): p["serves"] for p in base["pods"]}

    def resolved(self, objects, version):
        text = re.sub(r"\$\{ip:([^}]*)\}", lambda m: self.ips[m.group(1)][version], json.dumps(objects))
        assert "${" not in text
        return json.loads(text)

    def reset(self, policies):
        self.lab.kubectl("delete", "netpol,cnp", "--all", "-A")
        self.lab.apply(*[{"apiVersion": "v1", "kind": "Namespace", "metadata": n} for n in self.base["namespaces"]], *policies)

    def seen(self, pokes, version):
        """[(poke, whether it was answered, or what was said instead), …]"""
        lines = {}  # source → {line: the poke}
        for p in pokes:
            line = "%s %s %d %s -" % (p["protocol"], self.ips[p["to"]][version], p["port"], p["to"])
            lines.setdefault(p["from"], {})[line] = p
        with ThreadPoolExecutor(len(lines)) as pool:
            answers = pool.map(lambda source: ask(self.lab, source, list(lines[source])), lines)
        return [(p, {None: True, NO_ANSWER: False}.get(found[line], found[line]))
                for of, found in zip(lines.values(), answers) for line, p in of.items()]

    def expect(self, pokes, version):
        """They hold, and hold once more: what is denied stays so, what is allowed may be late on a busy machine."""
        held, end = False, time.monotonic() + PATIENCE
        while True:
            wrong = [(p, got) for p, got in self.seen(pokes, version) if got != p["expect"]]
            if not wrong and held:
                return
            assert not held or all(p["expect"] for p, _ in wrong), "it held, and then not any more: %s" % wrong
            assert time.monotonic() < end, wrong
            held |= not wrong

    def run(self, case, version):
        self.reset(self.resolved(case["policies"], version))
        pokes, done = [], 0
        for step in case["steps"] + [{}]:
            if "poke" in step:
                pokes.append(step["poke"])
                continue
            if pokes:
                self.expect(pokes, version)
            done, pokes = done + len(pokes), []
            if "update" in step:
                self.lab.apply(*self.resolved(step["update"], version))
            for o in step.get("delete", []):
                meta = o.get("metadata", o)
                where = ["-n", meta["namespace"]] if meta.get("namespace") else []
                self.lab.kubectl("delete", o["kind"].lower(), meta["name"], *where)
        return done


@pytest.fixture(scope="module")
def cases():
    found = load("cnp/cases.json")
    assert len(found) == 94 and sum("poke" in s for c in found for s in c["steps"]) == 325
    return found


@pytest.fixture(scope="module")
def cluster(cases):
    with Lab(nodes=2) as lab:
        cluster = Cluster(lab, load("cnp/base.json"))
        pokes = {json.dumps({**s["poke"], "expect": True}, sort_keys=True) for c in cases for s in c["steps"] if "poke" in s}
        with serving_sctp(lab, {where: s["sctp"] for where, s in cluster.serves.items()}):
            for version in (4, 6):
                cluster.expect(list(map(json.loads, pokes)), version)  # without a policy every probe of every case is answered
            yield cluster


@pytest.mark.parametrize("number", range(94) if FULL else sorted(SAMPLE))
def test_CNP_conformance_cases_with_real_packets(cases, cluster, number):
    case = cases[number]
    assert SAMPLE.get(number, case["name"]) == case["name"]
    for version in FAMILIES[case.get("ipFamily")]:
        assert cluster.run(case, version) == sum("poke" in s for s in case["steps"])
