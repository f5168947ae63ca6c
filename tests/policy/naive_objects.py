# SPDX-License-Identifier: Apache-2.0
"""Kubernetes objects in short, a small cluster of them, and verdict tables, for tests by hand."""

import functools

import naive
from compiled import Eval


def namespace(name, **labels):
    return {"kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def pod(key, *ips, labels=None, ports=(), node="n1", host=False, phase="Running"):
    ns, name = key.split("/")
    ports = [{"name": n, "protocol": p, "containerPort": c} for n, p, c in ports]
    spec = {"nodeName": node, "containers": [{"name": "c", "ports": ports}], **({"hostNetwork": True} if host else {})}
    return {"kind": "Pod", "metadata": {"namespace": ns, "name": name, "labels": labels or {}}, "spec": spec,
            "status": {"phase": phase, "podIPs": [{"ip": ip} for ip in ips]}}


def node(name, n, **labels):
    addresses = [{"type": "InternalIP", "address": "172.18.0.%d" % n}, {"type": "InternalIP", "address": "fd00:18::%d" % n},
                 {"type": "ExternalIP", "address": "192.88.99.%d" % n}, {"type": "Hostname", "address": name},
                 {"type": "Hostname", "address": "192.88.98.%d" % n}]
    return {"kind": "Node", "metadata": {"name": name, "labels": labels}, "status": {"addresses": addresses},
            "spec": {"podCIDRs": ["10.244.%d.0/24" % n, "fd00:10:244:%d::/64" % n]}}


def policy(selector=None, ns="x", name="p", **spec):
    return {"kind": "NetworkPolicy", "metadata": {"namespace": ns, "name": name},
            "spec": {"podSelector": {} if selector is None else selector, **spec}}


def cnp(tier="Admin", priority=10, name="c", subject=None, **spec):
    return {"kind": "ClusterNetworkPolicy", "metadata": {"name": name},
            "spec": {"tier": tier, "priority": priority, "subject": subject or {"namespaces": {}}, **spec}}


def old(kind, name, priority=None, **spec):
    spec = {"subject": {"namespaces": {}}, **({} if priority is None else {"priority": priority}), **spec}
    return {"kind": kind, "metadata": {"name": name}, "spec": spec}


def is_(**labels):
    return {"matchLabels": labels}


def rule(action, *peers, side="from", **more):
    return {"action": action, side: list(peers), **more}


def tcp(number):
    return {"tcp": {"destinationPort": {"number": number}}}


ANY = {"namespaces": {}}
PEER_X, PEER_Y = {"namespaces": is_(team="x")}, {"namespaces": is_(team="y")}
X_A, X_B, Y_A = "10.244.1.11", "10.244.1.12", "10.244.2.11"
NOBODY, WORLD = "10.244.2.200", "203.0.113.5"
PORTS = [("web", "TCP", 80), ("dns", "UDP", 53)]
BASE = [node("n1", 1, zone="a"), node("n2", 2, zone="b"), namespace("x", team="x"), namespace("y", team="y"),
        pod("x/a", X_A, "fd00:10:244:1::11", labels={"app": "a"}, ports=PORTS),
        pod("x/b", X_B, "fd00:10:244:1::12", labels={"app": "b"}, ports=[("web", "TCP", 8080), ("dns", "TCP", 5353)]),
        pod("y/a", Y_A, "fd00:10:244:2::11", labels={"app": "a"}, ports=PORTS, node="n2"),
        pod("y/host", "172.18.0.2", "fd00:18::2", labels={"app": "a"}, ports=PORTS, node="n2", host=True)]


def check(objects, table, base=None, **how):
    """Each line of the table: src dst proto/port verdict, where verdict is allow or deny."""
    cluster = naive.Cluster((BASE if base is None else base) + objects, host=how.pop("host", None))
    assert not cluster.problems
    check_cluster(cluster, table, **how)


@functools.cache
def compiled():
    return Eval()


def check_compiled(cluster, line, src, dst, proto, port, family, expect):
    """What the compiler makes of the same objects. It judges as every node at once, and has no names of DNS."""
    got = compiled().ask(objects=cluster.objects, deny=cluster.deny_default, host=cluster.host, family=family, srcs=[src], dsts=[dst], ports=[[proto, port]], rules=True)
    assert got["verdicts"] == (".X"[expect == "deny"]), "%s, compiled: %s" % (line, got)


def check_cluster(cluster, table, by_compiler=True):
    """The same line by line from the naive evaluator and from the compiler."""
    lines = [line.split() for line in table.strip().splitlines()]
    assert lines
    for src, dst, what, expect in lines:
        proto, _, port = what.partition("/")
        assert expect in ("allow", "deny")
        family = 6 if proto.endswith("6") else 4
        proto = proto[:-1] if proto in ("TCP6", "UDP6", "SCTP6") else proto
        allowed, why = cluster.verdict(src, dst, proto, int(port or 0), family)
        assert allowed == (expect == "allow"), "%s -> %s %s: %s" % (src, dst, what, why)
        if by_compiler:
            check_compiled(cluster, "%s -> %s %s" % (src, dst, what), src, dst, proto, int(port or 0), family, expect)


def identity(o):
    return o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]
