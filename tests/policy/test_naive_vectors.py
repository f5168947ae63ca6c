# SPDX-License-Identifier: Apache-2.0
"""The naive evaluator against truth tables that others computed."""

import json
import re

import naive
from naive_objects import identity, namespace, node, pod
from tables import load

NETPOL_PODS = [ns + "/" + p for ns in "xyz" for p in "abc"]


class Netpol:
    """The cluster that the NetworkPolicy truth tables begin with, and what their actions do to it."""

    def __init__(self):
        self.objects = {}
        self.next_address = 1
        for ns in "xyz":
            self.create_namespace(ns, {"ns": ns, "kubernetes.io/metadata.name": ns})
            for name in "abc":
                self.create_pod(ns, name, {"pod": name})

    def create_namespace(self, ns, labels):
        self.objects["Namespace", ns] = namespace(ns, **labels)

    def create_pod(self, ns, name, labels):
        ports = [("serve-%d-%s" % (n, p.lower()), p, n) for n in (80, 81) for p in naive.PORT_PROTOCOLS]
        self.objects["Pod", ns, name] = pod("%s/%s" % (ns, name), "192.168.7.%d" % self.next_address, labels=labels, ports=ports)
        self.next_address += 1

    def act(self, verb, v):
        if verb in ("CreatePolicy", "UpdatePolicy"):
            meta = v["Policy"]["metadata"]
            self.objects["NetworkPolicy", meta["namespace"], meta["name"]] = {**v["Policy"], "kind": "NetworkPolicy"}
        elif verb == "DeletePolicy":
            del self.objects["NetworkPolicy", v["Namespace"], v["Name"]]
        elif verb in ("CreateNamespace", "SetNamespaceLabels"):
            self.create_namespace(v["Namespace"], v["Labels"])
        elif verb == "CreatePod":
            self.create_pod(v["Namespace"], v["Pod"], v["Labels"])
        elif verb == "SetPodLabels":
            self.objects["Pod", v["Namespace"], v["Pod"]]["metadata"]["labels"] = v["Labels"]
        elif verb == "DeletePod":
            del self.objects["Pod", v["Namespace"], v["Pod"]]
        elif verb == "DeleteNamespace":
            gone = [k for k in self.objects if k[1] == v["Namespace"]]
            for key in gone:
                del self.objects[key]
        else:
            raise AssertionError("unknown action %s" % verb)


def test_netpol_truth_tables():
    """NP-1 to NP-10, NP-14, NP-16: all 110,592 verdicts."""
    judged = 0
    for case in load("netpol/cases.jsonl"):
        state = Netpol()
        for number, step in enumerate(case["steps"]):
            for action in step["actions"]:
                for verb, arguments in action.items():
                    state.act(verb, arguments)
            cluster = naive.Cluster(list(state.objects.values()), pod_cidrs=["192.168.0.0/16"])
            assert not cluster.problems
            for what, table in step["expect"].items():
                proto, port = what.split("/")
                got = "".join("#" if s == d else ".X"[not cluster.verdict(s, d, proto, int(port))[0]]
                              for s in NETPOL_PODS for d in NETPOL_PODS)
                assert got == table, "%s, step %d, %s" % (case["description"], number, what)
                judged += len(table) - table.count("#")
    assert judged == 110592


def cnp_base(base):
    """The conformance suite's cluster: replicas 0 and 1 on nodes n1 and n2, a host-network pod at its node's address."""
    objects = [node("n1", 1, **base["nodes"]["labels"]), node("n2", 2, **base["nodes"]["labels"])]
    objects += [namespace(n["name"], **n["labels"]) for n in base["namespaces"]]
    for i, p in enumerate(base["pods"]):
        n = 1 + int(p["name"][-1])
        ips = ["172.18.0.%d" % n, "fd00:18::%d" % n] if p["hostNetwork"] else \
              ["10.244.%d.%d" % (n, 10 + i), "fd00:10:244:%d::%x" % (n, 10 + i)]
        ports = [(q["name"], q["protocol"], q["containerPort"]) for q in p["ports"]]
        objects.append(pod("%s/%s" % (p["namespace"], p["name"]), *ips, labels=p["labels"], ports=ports, node="n%d" % n,
                           host=p["hostNetwork"]))
    return objects


def run_cnp_case(case, base, family):
    """Runs a case's steps; returns how many pokes were compared."""
    plain = naive.Cluster(base)

    def resolve(objects):
        text = re.sub(r"\$\{ip:([^}]*)\}", lambda m: str(plain.end(m.group(1), family).address), json.dumps(objects))
        return {identity(o): o for o in json.loads(text)}

    state = {**{identity(o): o for o in base}, **resolve(case["policies"])}
    cluster, pokes = None, 0
    for step in case["steps"]:
        if "poke" in step:
            cluster = cluster or naive.Cluster(list(state.values()))
            p = step["poke"]
            allowed, why = cluster.verdict(p["from"], p["to"], p["protocol"].upper(), p["port"], family)
            assert allowed == p["expect"], "%s: %s: %s" % (case["name"], p, why)
            assert not cluster.problems
            pokes += 1
            continue
        cluster = None
        state.update(resolve(step.get("update", [])))
        for o in step.get("delete", []):
            meta = o.get("metadata", o)
            del state[o["kind"], meta.get("namespace"), meta["name"]]
    return pokes


def test_cnp_conformance_cases():
    """CNP-1 to CNP-8, CNP-11: all 325 probes, those of either family in both."""
    base = cnp_base(load("cnp/base.json"))
    cases = load("cnp/cases.json")
    families = {"ipv4": [4], "ipv6": [6], None: [4, 6]}
    pokes = 0
    for case in cases:
        wanted = case.get("ipFamily")
        done = [run_cnp_case(case, base, f) for f in families[wanted.lower() if wanted else None]]
        assert done[0] and len(set(done)) == 1
        pokes += done[0]
    assert (len(cases), pokes) == (94, 325)
