# SPDX-License-Identifier: Apache-2.0
"""Protocols without ports, as tunnels and IPsec of pods use them: through every path, under policy, and towards the world as their node.
IP in IP among them: to the datapath it is one more protocol, and what is inside is the receiver's affair. Only nodes get none of these."""

import json

import pytest
from combos import options, params_by_transport
from labs import Lab, pod, wait_for
from test_policy import of, policy

PYTHON = "/usr/bin/python3"
PROTOCOLS = {"ip-in-ip": 4, "gre": 47, "esp": 50, "unknown": 253}
# Answers each packet of the protocols with its sender's address.
SERVE = """
import json, select, socket, sys
socks = [socket.socket(f, socket.SOCK_RAW, p) for f in (socket.AF_INET, socket.AF_INET6) for p in json.loads(sys.argv[1])]
print("ready", flush=True)
while True:
    for s in select.select(socks + [sys.stdin], [], [])[0]:
        if s is sys.stdin:
            sys.exit()
        data, sender = s.recvfrom(2000)
        if b"ask" in data:
            s.sendto(sender[0].encode(), sender)
"""
# [[protocol, address], ...], all at once: who answered what, by its place in the list.
ASK = """
import json, select, socket, sys, time
asked, found = json.loads(sys.argv[1]), {}
socks = {}
for i, (proto, to) in enumerate(asked):
    s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_RAW, proto)
    s.sendto(b"ask", (to, 0))
    socks[s] = (i, to)
end = time.monotonic() + 1
while len(found) < len(asked) and time.monotonic() < end:
    for s in select.select(list(socks), [], [], max(end - time.monotonic(), 0))[0]:
        (data, sender), (i, to) = s.recvfrom(2000), socks[s]
        if sender[0] == to and b"ask" not in data: # a socket hears all of its protocol
            found[i] = (data if ":" in to else data[20:]).decode()
print(json.dumps([found.get(i) for i in range(len(asked))]))
"""


@pytest.fixture(scope="module", params=params_by_transport("direct", "vxlan"))
def lab(request):
    with Lab(nodes=2, **options(request.param, "dual")) as lab:
        lab.apply(*[pod(n, node=w, labels={"app": n}) for n, w in (("a", "n1"), ("near", "n1"), ("far", "n2"))])
        lab.wait_ready()
        lab.ips = {p["name"]: p["ips"] for p in lab.status()["pods"]}
        lab.nodes = {n["name"]: n["addresses"] for n in lab.status()["nodes"]}
        lab.worlds = [a.split("/")[0] for a in lab.status()["world"]["addresses"]]
        servers = [lab.popen(w, PYTHON, "-c", SERVE, json.dumps(list(PROTOCOLS.values())), stdin=-1, stdout=-1) for w in ("default/near", "default/far", "world", "n1", "n2")]
        for s in servers:
            assert s.stdout.readline() == "ready\n"
        yield lab
        for s in servers:
            s.communicate()


def asked(lab, addresses, source="default/a"):
    """As whom each address saw the source: {protocol: [...]}"""
    pairs = [[p, a] for p in PROTOCOLS.values() for a in addresses]
    found = json.loads(lab.exec(source, PYTHON, "-c", ASK, json.dumps(pairs)).stdout)
    return {name: found[i * len(addresses):(i + 1) * len(addresses)] for i, name in enumerate(PROTOCOLS)}


def all_are(lab, addresses, what):
    wait_for("all protocols", lambda: asked(lab, addresses) == {p: what for p in PROTOCOLS})


def drops(lab, reason):
    return next(d["packets"] for d in lab.node_status("n1")["drops"] if d["reason"] == reason)


@pytest.mark.parametrize("where", ["near", "far"])
def test_between_pods_and_under_policy(lab, where):
    """A rule with ports does not mean them, one without does; nobody translates them."""
    to, me = lab.ips[where], lab.ips["a"]
    all_are(lab, to, me)
    ports = [{"protocol": p, "port": 1, "endPort": 65535} for p in ("TCP", "UDP", "SCTP")]
    lab.apply(policy("all", pods={"app": "a"}, policyTypes=["Egress"], egress=[{"to": [of(app=where)], "ports": ports}]))
    before = drops(lab, "policy_egress")
    all_are(lab, to, [None, None])
    assert drops(lab, "policy_egress") >= before + 2 * len(PROTOCOLS)
    lab.apply(policy("all", pods={"app": "a"}, policyTypes=["Egress"], egress=[{"to": [of(app=where)]}]))
    all_are(lab, to, me)
    lab.kubectl("delete", "netpol", "all")


def test_to_nodes_no_tunnels(lab):
    """A node would take out what is inside, and believe it: it gets none of a pod's, by whichever of its addresses. Other protocols it does."""
    ranges = [a for n in ("n1", "n2") for a in lab.node_status(n)["nodeAddresses"]]
    others = [a for n in ("n1", "n2") for a in lab.nodes[n]] # (a node answers a pod with its address in the range)
    wait_for("another protocol is answered", lambda: asked(lab, ranges)["unknown"] == lab.ips["a"] * 2)

    def refused():
        return {n: next(d["packets"] for d in lab.node_status(n)["drops"] if d["reason"] == "pod_tunnel") for n in ("n1", "n2")}
    before = refused()
    found = asked(lab, ranges + others)
    assert {p: found[p] for p in PROTOCOLS if p != "unknown"} == {p: [None] * 8 for p in PROTOCOLS if p != "unknown"}
    tunnels = len(PROTOCOLS) - 1
    assert refused() == {"n1": before["n1"] + 6 * tunnels, "n2": before["n2"] + 2 * tunnels}


def test_to_the_world_as_the_node(lab):
    """There is no port to choose: one pod of a node speaks to one remote end at a time, and another is told apart from nobody."""
    all_are(lab, lab.worlds, lab.nodes["n1"])
    before = drops(lab, "nat_exhausted")
    assert asked(lab, lab.worlds, "default/near") == {p: [None, None] for p in PROTOCOLS}
    assert drops(lab, "nat_exhausted") == before + 2 * len(PROTOCOLS)
    assert asked(lab, lab.worlds, "default/far") == {p: lab.nodes["n2"] for p in PROTOCOLS}
