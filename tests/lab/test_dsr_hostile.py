# SPDX-License-Identifier: Apache-2.0
"""Who may send a client's packets on to an endpoint's node (DSR): nodes, for Services with DSR, for clients that are nobody's here. Each case
differs in one thing from the planted one, which arrives."""

import json

import pytest
from combos import ALL, options, params_by_transport
from labs import Lab, run, wait_for
from scapy.all import IP, UDP, Ether, IPv6, Raw
from scapy.layers.vxlan import VXLAN
from wire import Wire

MARK = b"weft-dsr-canary"
DSR, SNAT, COPIES = 30080, 30081, 3


def pod(name, node):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": {
        "nodeName": node, "containers": [{"name": "c", "image": "none", "ports": [{"containerPort": 8080, "protocol": "UDP"}]}]}}


def service(name, port, forwarding):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "annotations": {"weft.dev/service.forwarding": forwarding}},
            "spec": {"type": "NodePort", "ipFamilyPolicy": "PreferDualStack", "selector": {"app": "w"},
                     "ports": [{"protocol": "UDP", "port": 80, "targetPort": 8080, "nodePort": port}]}}


class Case:
    """What an attacker on the underlay makes of the client's packet, towards n1, by way of n2."""

    def __init__(self, lab):
        self.lab = lab
        nodes = {n["name"]: n["addresses"] for n in lab.status()["nodes"]}
        self.n1, self.n2 = nodes["n1"], nodes["n2"]
        self.client = lab.status()["world"]["addresses"]
        self.pods = {p["name"]: p["ips"] for p in lab.status()["pods"]}
        self.own = lab.node_status("n1")["nodeAddresses"]
        uplink = lab.node_status("n1")["uplinks"][0]
        self.n1_mac = json.loads(lab.exec("n1", "ip", "-j", "link", "show", uplink).stdout)[0]["address"]
        self.bridge = run(*lab.fabric("ip", "-br", "link", "show", "type", "bridge")).stdout.split()[0]

    def inner(self, src, dst, port):
        return (IPv6 if ":" in src else IP)(src=src, dst=dst) / UDP(sport=40000, dport=port) / Raw(MARK)

    def frame(self, v6, port=DSR, src=None, outer=None, vni=1):
        inner = self.inner(src or self.client[v6], self.n2[v6], port)
        ether = Ether(src="02:00:00:00:00:77", dst=self.n1_mac)
        if self.lab.transport == "direct":
            return ether / inner
        of = self.lab.outer6
        tunnel = (IPv6 if of else IP)(src=outer or self.n2[of], dst=self.n1[of]) / UDP(sport=40000, dport=4789) / VXLAN(vni=vni, flags=8)
        return ether / tunnel / Ether(src="02:57:0a:f4:02:01", dst="02:57:0a:f4:01:01") / inner


# Frames as these two carry them: a Geneve packet is told by its option (test_hostile), WireGuard carries none, and auto is one of these.
@pytest.fixture(scope="module", params=params_by_transport("vxlan", "direct", full=[c for c in ALL if c[0] in ("vxlan", "direct")]))
def case(request):
    with Lab(nodes=2, **options(request.param, "dual")) as lab:
        lab.transport, lab.outer6 = request.param[0], request.param[4] == "ipv6"
        lab.apply(pod("w", "n1"), pod("other", "n2"), service("dsr", DSR, "dsr"), service("snat", SNAT, "snat"))
        lab.wait_ready()
        made = Case(lab)
        made.pod = Wire(lab, "default/w", "eth0", MARK)
        made.fabric = Wire(lab, "fabric", made.bridge, MARK)
        try:
            wait_for("the planted packet", lambda: all(sent(made, made.frame(v6)) for v6 in (0, 1)))
            yield made
        finally:
            made.pod.close()
            made.fabric.close()


def sent(case, frame):
    """Copies of the frame, and one behind them that arrives: how many of them did?"""
    case.pod.seen()
    case.fabric.send([frame] * COPIES + [case.frame(0)])
    return wait_for("the one behind", case.pod.seen, timeout=10) - 1


def drops(case, reason):
    return next(d["packets"] for d in case.lab.node_status("n1")["drops"] if d["reason"] == reason)


def refused(case, frame, reason):
    before = drops(case, reason)
    assert sent(case, frame) == 0
    assert drops(case, reason) == before + COPIES


@pytest.mark.parametrize("v6", [0, 1])
def test_the_planted_case_arrives(case, v6):
    assert wait_for("all of them", lambda: sent(case, case.frame(v6)) == COPIES)


@pytest.mark.parametrize("v6", [0, 1])
def test_a_forged_client_inside_is_refused(case, v6):
    """The client's address is a pod's of the endpoint's node, or that node's own."""
    reason = "net_source" if case.lab.transport == "direct" else "tunnel_source"
    refused(case, case.frame(v6, src=case.pods["w"][v6]), reason)
    refused(case, case.frame(v6, src=case.own[v6]), reason)


def test_a_stranger_outside_is_refused(case):
    """Tunnels: only nodes may send on. Without one nobody can tell who sent a frame."""
    if case.lab.transport == "direct":
        refused(case, case.frame(0, src=case.own[0]), "net_source")
        return
    for outer in (case.client[case.lab.outer6], ("172.30.0.99", "fd30::99")[case.lab.outer6]):
        for v6 in (0, 1):
            refused(case, case.frame(v6, outer=outer), "tunnel_source")


@pytest.mark.parametrize("v6", [0, 1])
def test_a_service_without_dsr_is_served_by_the_node_asked(case, v6):
    """Without a tunnel the frame is one that lost its way: n1 routes it to n2, which serves it in its own name."""
    frame = case.frame(v6, port=SNAT)
    if case.lab.transport != "direct":
        refused(case, frame, "tunnel_source")
        return
    before = case.lab.node_status("n2")["services"]["counts"]["packet"]
    assert wait_for("all of them, by way of n2", lambda: sent(case, frame) == COPIES)
    assert case.lab.node_status("n2")["services"]["counts"]["packet"] > before
