# SPDX-License-Identifier: Apache-2.0
"""ENC-1, ENC-4, M3: who makes the outer packets of a tunnel. The datapath does where a peer is reached by one plain route; where it is not, and for
as long, the kernel's device does, and nothing is lost by the change."""

import json
import re
import subprocess

import pytest
from labs import FULL, Lab, pod, run, wait_for
from test_mtu import addresses, bulk, udp


def encap(lab, node="n1"):
    return lab.node_status(node)["peers"][0]["encap"]


def made_by_device(lab, node="n1"):
    """Bytes."""
    return json.loads(lab.exec(node, "ip", "-j", "-s", "link", "show", "weft-vxlan").stdout)[0]["stats64"]["tx"]["bytes"]


def underlay(lab, node):
    """Its first address that a node route to it leads to."""
    return lab.node_status("n1" if node == "n2" else "n2")["peers"][0]["address"]


# Of the ways the attachment alone: in the others the device makes the outer packets, and that is all.
FAMILY_ATTACH = [("dual", "tcx"), ("ipv6", "clsact")] + [("dual", "clsact"), ("ipv6", "tcx")] * FULL


@pytest.fixture(scope="module", params=FAMILY_ATTACH, ids="-".join)
def lab(request):
    family, attach = request.param
    # A network for each node: peers are behind a router.
    with Lab(nodes=2, subnets="2", transport="vxlan", family=family, set=["repair.auditSeconds=1", "datapath.attach=" + attach]) as lab:
        lab.apply(pod("a", node="n1"), pod("b", node="n2"))
        lab.wait_ready()
        yield lab


def test_ENC_1_bulk_passes_the_device_by(lab):
    assert encap(lab) == encap(lab, "n2") == "datapath"
    for address in addresses(lab, "b"):
        before = made_by_device(lab)
        bulk(lab, address)
        assert made_by_device(lab) - before < 1 << 20  # what the node itself says
        assert udp(lab, address, 1000) == "answered"


class Change:
    """A change of the node's tables, and back."""

    def __init__(self, lab, *words):
        self.lab, self.words = lab, words

    def __enter__(self):
        self.lab.exec("n1", "ip", *[w.format("add") for w in self.words])

    def __exit__(self, *_):
        self.lab.exec("n1", "ip", *[w.format("del") for w in self.words])


def family(address):
    return "-6" if ":" in address else "-4"


def gateway(lab, address):
    return re.search(r"via (\S+)", lab.exec("n1", "ip", family(address), "route", "get", address).stdout).group(1)


def nobody(lab, peer):
    """An address on the node's network that nobody has."""
    return "fe80::5757" if ":" in peer else re.sub(r"\.\d+$", ".250", gateway(lab, peer))


def host(address):
    return address + ("/128" if ":" in address else "/32")


def changes(lab):
    """By name: what makes more of the way than an uplink and a next hop."""
    peer, own = underlay(lab, "n2"), underlay(lab, "n1")
    route = [family(peer), "route", "{}", host(peer), "proto", "static"]
    via = gateway(lab, peer)
    return {
        "several paths": Change(lab, *route, "nexthop", "via", via, "dev", "eth0", "nexthop", "via", nobody(lab, peer), "dev", "eth0"),
        "a narrow path": Change(lab, *route, "via", via, "dev", "eth0", "mtu", "1400"),
        "IPsec": Change(lab, "xfrm", "policy", "{}", "src", host(own), "dst", host(peer), "dir", "out"),
        "no path": Change(lab, family(peer), "route", "{}", "unreachable", host(peer), "proto", "static"),
    }


@pytest.mark.parametrize("name", ["several paths", "a narrow path", "IPsec", "no path"])
def test_M3_the_device_takes_over_where_the_way_is_not_plain(lab, name):
    target = addresses(lab, "b")[0]
    if name == "a narrow path" and ":" in underlay(lab, "n2"):
        told_to_pods(lab, changes(lab)[name], 1400)
        return
    with changes(lab)[name]:
        wait_for("the device makes outer packets", lambda: encap(lab) == "device")
        assert encap(lab, "n2") == "datapath"
        if name == "no path":
            assert udp(lab, target, 1000, tries=1) != "answered"
        elif name != "several paths":  # one of them leads nowhere
            before = made_by_device(lab)
            assert udp(lab, target, 1000) == "answered"
            bulk(lab, target)
            assert made_by_device(lab) - before > 20 << 20
    wait_for("the datapath makes outer packets", lambda: encap(lab) == "datapath")
    assert udp(lab, target, 1000) == "answered"


def path_mtu(lab):
    return lab.node_status("n1")["peers"][0]["mtu"]


def told_to_pods(lab, change, width):
    """Over IPv6 nobody cuts outer packets: what fits is said by the routes of pods, and bulk goes on."""
    whole = path_mtu(lab)
    with change:
        for address in addresses(lab, "b"):
            bulk(lab, address)
        wait_for("pods are told", lambda: path_mtu(lab) == width - 70)
        assert encap(lab) == "datapath"
        assert "mtu %d" % (width - 70) in lab.exec("default/a", "ip", "-6", "route").stdout
    wait_for("all of it is used again", lambda: path_mtu(lab) == whole)


class NarrowRouter:
    """The link of the fabric to the peer. When it is wide again the node has to be told: what routers have said is believed as long as nothing changes."""

    def __init__(self, lab, width):
        self.lab, self.width, peer = lab, width, underlay(lab, "n2")
        self.link = re.search(r"dev (\S+)", run(*lab.fabric("ip", family(peer), "route", "get", peer)).stdout).group(1)

    def __enter__(self):
        run(*self.lab.fabric("ip", "link", "set", self.link, "mtu", str(self.width)))

    def __exit__(self, *_):
        run(*self.lab.fabric("ip", "link", "set", self.link, "mtu", "1500"))
        for f in ("-4", "-6"):
            self.lab.exec("n1", "ip", f, "route", "flush", "cache")
        if path_mtu(self.lab) == self.width - 70:
            self.lab.exec("n1", "ip", "link", "set", "eth0", "mtu", "1499")
            wait_for("another link is another path", lambda: path_mtu(self.lab) == 1499 - 70)
            self.lab.exec("n1", "ip", "link", "set", "eth0", "mtu", "1500")


def test_M3_a_learned_path_is_looked_at_by_the_audit(lab):
    """The node's own packets have learned that the path is narrow; nobody is told of that."""
    peer = underlay(lab, "n2")
    if ":" in peer:
        told_to_pods(lab, NarrowRouter(lab, 1380), 1380)
        return
    with NarrowRouter(lab, 1400):
        assert udp(lab, addresses(lab, "b")[0], 1400) == "answered"  # in fragments of the router's making
        lab.exec("n1", "ping", "-c", "3", "-i", "0.2", "-M", "do", "-s", "1472", peer, check=False)
        assert "mtu 1400" in lab.exec("n1", "ip", "route", "get", peer).stdout
        wait_for("the device makes outer packets", lambda: encap(lab) == "device")
        bulk(lab, addresses(lab, "b")[0])
    wait_for("the datapath makes outer packets", lambda: encap(lab) == "datapath")


@pytest.mark.parametrize("transport", ["vxlan", "geneve"] if FULL else ["geneve"])
def test_M3_what_a_router_says_is_heard_at_once(transport):
    """No audit comes round in the time of the test. The kernel learns nothing of Geneve's: it is none of its devices'."""
    with Lab(nodes=2, subnets="2", transport=transport, family="ipv6", set=["repair.auditSeconds=3600"]) as lab:
        lab.apply(pod("a", node="n1"), pod("b", node="n2"))
        lab.wait_ready()
        told_to_pods(lab, NarrowRouter(lab, 1380), 1380)


def test_ENC_1_outer_packets_follow_the_route(lab):
    """A gateway of its own for the peer: the next hop's MAC is in the frames soon after."""
    peer = underlay(lab, "n2")
    gone = nobody(lab, peer)
    lab.exec("n1", "ip", family(peer), "neigh", "replace", gone, "lladdr", "02:57:57:57:57:57", "dev", "eth0", "nud", "permanent")
    sent = lab.popen("default/a", "ping", "-i", "0.02", "-w", "60", addresses(lab, "b")[0], stdout=subprocess.DEVNULL)
    dump = lab.popen("n1", "tcpdump", "-n", "-e", "-c", "1", "-i", "eth0", "ether", "dst", "02:57:57:57:57:57", "and", "udp", "port", "4789",
                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        with Change(lab, family(peer), "route", "{}", host(peer), "proto", "static", "via", gone, "dev", "eth0"):
            assert "VXLAN" in dump.communicate(timeout=60)[0]
            assert encap(lab) == "datapath"
    finally:
        for p in (sent, dump):
            p.kill()
            p.wait()
        lab.exec("n1", "ip", family(peer), "neigh", "del", gone, "dev", "eth0")
    wait_for("back to the router", lambda: udp(lab, addresses(lab, "b")[0], 1000, tries=1) == "answered")


def test_ENC_4_congestion_is_told_through_the_tunnel(lab):
    """What the datapath wraps, the kernel's device unwraps: marks of the network outside reach the inside, those inside stay."""
    for address in addresses(lab, "b"):
        for tos in ("1", "2", "3"):
            dump = lab.popen("default/b", "tcpdump", "-n", "-v", "-c", "1", "-i", "eth0", "icmp[icmptype]=icmp-echo or icmp6[icmp6type]=icmp6-echo",
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            try:
                wait_for("tcpdump listens", lambda: "listening" in dump.stderr.readline())
                lab.exec("default/a", "ping", "-c", "3", "-i", "0.05", "-Q", tos, address)
                seen = dump.communicate(timeout=60)[0]
            finally:
                dump.kill()
                dump.wait()
            assert ("tos 0x%s" % tos in seen) or ("class 0x0%s" % tos in seen), seen
