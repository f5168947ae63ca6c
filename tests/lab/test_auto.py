# SPDX-License-Identifier: Apache-2.0
"""Transport auto: direct where a probe proves the link, vxlan elsewhere; and a change of mind that costs no packet."""

import os
import signal
import subprocess

import pytest
from combos import options, params
from labs import FULL, Lab, assert_matrix, pod, run, spread_pods, wait_for
from test_kill import judge, traffic

PORT = 5757  # of the probes
RANGES = ("ip saddr 10.244.0.0/16", "ip6 saddr fd00:244::/48")


COMBOS = [p for p in params() if p.values[0][0] == "auto"]  # opposites in `make test`


def in_lab(n):
    """Half of the tests run in one of them, half in the other; in the full tier all in all."""
    return pytest.mark.parametrize("lab", COMBOS if FULL else COMBOS[n:n + 1], indirect=True, scope="module")


@pytest.fixture(scope="module")
def lab(request):
    """n1 and n3 share a network, so do n2 and n4; the router between knows nothing of pods."""
    with Lab(nodes=4, subnets=2, **options(request.param, "dual")) as lab:
        lab.fast = request.param[1] == "on"
        lab.apply(*spread_pods(4, each=1), pod("client", node="n1"), pod("server", node="n3"))
        lab.wait_ready()
        yield lab


def peers(lab, node):
    return {p["name"]: p for p in lab.node_status(node)["peers"]}


def transports(lab, node):
    return {name: p["transport"] for name, p in peers(lab, node).items()}


def wait_transport(lab, transport, *pairs):
    wait_for("%s between %s" % (transport, pairs), lambda: all(transports(lab, a)[b] == transport for a, b in pairs))


BOTH = (("n1", "n3"), ("n3", "n1"))


class Dropped:
    """What the network between the nodes swallows meanwhile, as a cloud's check of source addresses would."""

    def __init__(self, lab, *matches):
        self.lab, self.matches = lab, matches

    def __enter__(self):
        rules = "\n".join("%s counter drop" % m for m in self.matches)
        text = "table bridge t {\n chain c {\n type filter hook forward priority 0;\n%s\n }\n}\n" % rules
        run(*self.lab.fabric("nft", "-f", "-"), input=text)
        return self

    def __exit__(self, *_):
        self.seen = run(*self.lab.fabric("nft", "list", "table", "bridge", "t")).stdout
        run(*self.lab.fabric("nft", "delete", "table", "bridge", "t"))


@in_lab(0)
def test_direct_inside_a_network_and_vxlan_across(lab):
    wait_transport(lab, "direct", *BOTH, ("n2", "n4"), ("n4", "n2"))
    assert transports(lab, "n1") == {"n2": "vxlan", "n3": "direct", "n4": "vxlan"}
    status = peers(lab, "n1")
    assert "plain packets pass" in status["n3"]["reason"] and "shares no network" in status["n2"]["reason"]
    assert status["n3"]["mtu"] == 1500 and status["n2"]["mtu"] == 1450
    assert_matrix(lab, 8 * 4 * 3 * 2)
    text = lab.exec("n1", "curl", "-s", "http://127.0.0.1:10287/metrics").stdout
    assert 'weft_peers{transport="direct",state="ok"} 1' in text and 'weft_peers{transport="vxlan",state="ok"} 2' in text
    assert 'weft_probes_total{what="answered"}' in text


@in_lab(0)
@pytest.mark.parametrize("version", (4, 6) if FULL else (4,))
def test_a_change_of_transport_loses_nothing(lab, version, capsys):
    """The probes alone are swallowed, so that the packets that are on their way could arrive."""
    wait_transport(lab, "direct", *BOTH)
    server = next(p for p in lab.status()["pods"] if p["name"] == "server")
    address = next(ip for ip in server["ips"] if (":" in ip) == (version == 6))
    times = 10 if FULL else 2
    seen = []

    def switch():
        for _ in range(times):
            with Dropped(lab, "udp dport %d" % PORT) as dropped:
                wait_transport(lab, "vxlan", *BOTH)
            seen.append(dropped.seen)
            wait_transport(lab, "direct", *BOTH)

    before = {f["way"]: f["packets"] for f in lab.node_status("n1")["forwarded"]}
    counted = traffic(lab, address, switch)
    after = {f["way"]: f["packets"] for f in lab.node_status("n1")["forwarded"]}
    judge(capsys, "%d switches to vxlan and back, IPv%d" % (times, version), *counted)
    assert all("counter packets 0 " not in s for s in seen), seen
    for way in ("tunnel", "direct") if lab.fast else ("stack",):
        assert after[way] - before[way] > 1000, (way, before, after)


@in_lab(0)
def test_what_is_no_probe_of_a_peer_is_refused(lab):
    """From a peer's own address, with the right size: only the MAC is missing."""
    wait_transport(lab, "direct", *BOTH)
    source, target = (next(a for a in lab.node_status(n)["nodeAddresses"] if ":" not in a) for n in ("n3", "n1"))

    def refused():
        text = lab.exec("n1", "curl", "-s", "http://127.0.0.1:10287/metrics").stdout
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith('weft_probes_total{what="refused"}')))

    before = refused()
    code = ("from scapy.all import *\n"
            "p = IP(src=%r, dst=%r, ttl=255)/UDP(sport=%d, dport=%d)/Raw(b'WEFTPRB1' + bytes([1]) + bytes(55))\n"
            "sendp([Ether(dst=getmacbyip('172.30.0.11'))/p]*10, iface='eth0', verbose=0)\n") % (source, target, PORT, PORT)
    lab.exec("n3", "/usr/bin/python3", "-c", code)
    wait_for("ten refused", lambda: refused() >= before + 10)
    assert transports(lab, "n1")["n3"] == "direct"


@in_lab(1)
def test_where_the_network_swallows_pod_addresses_the_tunnel_carries_them(lab):
    wait_transport(lab, "direct", *BOTH)
    with Dropped(lab, *RANGES) as dropped:
        wait_transport(lab, "vxlan", *BOTH, ("n2", "n4"), ("n4", "n2"))
        assert "do not pass" in peers(lab, "n1")["n3"]["reason"]
        assert_matrix(lab, 1)
    assert "counter packets 0 " not in dropped.seen.split("\n")[3], dropped.seen
    wait_transport(lab, "direct", *BOTH)


@in_lab(1)
def test_one_family_that_does_not_pass_is_enough(lab):
    wait_transport(lab, "direct", *BOTH)
    with Dropped(lab, RANGES[1]):
        wait_transport(lab, "vxlan", *BOTH)
    wait_transport(lab, "direct", *BOTH)


@in_lab(1)
def test_a_new_agent_begins_with_what_was_proven(lab):
    """No probe passes, so nothing is proven to it anew; and it can lose only what it had from the start."""
    wait_transport(lab, "direct", *BOTH)
    old = lab.pids("n1/weftd")
    with Dropped(lab, "udp dport %d" % PORT):  # it could not find out by itself
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_for("a new agent", lambda: lab.pids("n1/weftd") and not set(old) & set(lab.pids("n1/weftd")))
        wait_for("it had peers", lambda: lab.exec("n1", "weft", "status", check=False).returncode == 0 and peers(lab, "n1"))
        text = wait_for("it lost the plain way", lambda: lab.logs_of("n1").rpartition("weftd starts")[2].count("plain way to a peer is lost") and
                        lab.logs_of("n1").rpartition("weftd starts")[2])
        assert "is proven" not in text.partition("is lost")[0]
    wait_transport(lab, "direct", *BOTH)
