# SPDX-License-Identifier: Apache-2.0
"""What a hostile pod, or a hostile neighbour on the underlay, can put on a wire: each packet is dropped with its own reason,
reaches nobody, and changes nothing at its victims. That the checks see a success is proved first, with one planted."""

import contextlib
import json
import time

import pytest
from combos import BRIEF, assert_underlay, options, params
from labs import Lab, assert_matrix, run, spread_pods, wait_for
from scapy.all import (ARP, HBHOptUnknown, IP, LLC, SNAP, TCP, UDP, BOOTP, DHCP, DHCP6_Solicit, Dot1AD, Dot1Q, Ether, ICMP, ICMPv6MLReport2, ICMPv6ND_NA, ICMPv6ND_NS,
                       ICMPv6ND_RA, ICMPv6ND_Redirect, ICMPv6ND_RS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptPrefixInfo, ICMPv6NDOptSrcLLAddr,
                       IPOption, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrRouting, Padding, Raw)
from scapy.contrib.geneve import GENEVE
from scapy.layers.vxlan import VXLAN
from wire import Wire

MARK = b"weft-hostile-canary"
COPIES = 3

# Dynamic neighbour entries come and go by themselves: of those only what names an attacker's MAC counts (02:00:00:… are made up here).
STATE = ("ip -br addr; ip -4 route show table all; ip -6 route show table all | sed 's/ expires [0-9]*sec//'; "
         "ip -4 neigh show nud permanent; ip -6 neigh show nud permanent; ip neigh show nud all | grep -i 'lladdr 02:00:00:' || true")


def bridge(lab):
    """The fabric's bridge of the first subnet."""
    return run(*lab.fabric("ip", "-br", "link", "show", "type", "bridge")).stdout.split()[0]


class World:
    """The lab, and the addresses that attacks are made of."""

    def __init__(self, lab, transport, underlay):
        self.lab, self.transport = lab, transport
        self.outer = int(underlay == "ipv6")  # by which of their addresses nodes speak with each other
        pods = {p["name"]: p for p in lab.status()["pods"]}
        nodes = {n["name"]: n for n in lab.status()["nodes"]}
        self.me, self.near, self.far = (pods[n]["ips"] for n in ("p1-0", "p1-1", "p2-0"))
        self.n1, self.n2 = nodes["n1"]["addresses"], nodes["n2"]["addresses"]
        status = lab.node_status("n1")
        self.own = status["nodeAddresses"]
        self.uplink = status["uplinks"][0]
        self.mac = self.link("default/p1-0", "eth0")
        host = next(e["hostInterface"] for e in status["endpoints"] if e["pod"] == "p1-0")
        self.gw = self.link("n1", host)
        self.n1_mac = self.link("n1", self.uplink)
        self.ll = "fe80::57:1"
        self.wires = {place: Wire(lab, where, interface, MARK) for place, where, interface in (
            ("pod", "default/p1-0", "eth0"), ("near", "default/p1-1", "eth0"), ("far", "default/p2-0", "eth0"), ("node", "n2", self.uplink),
            ("fabric", "fabric", bridge(lab)))}
        self.state = None  # what nothing may change, once all has come to rest
        self.unchecked = 0  # attacks since that was looked at

    def close(self):
        for wire in self.wires.values():
            wire.close()

    def seen(self):
        return {place: self.wires[place].seen() for place in ("near", "far", "node")}

    def forget(self):
        self.seen()

    def rest(self):
        """Interfaces that came up report their groups for a while: until that is over, counters move by themselves."""
        last, since = drops(self.lab), time.monotonic()

        def rested():
            nonlocal last, since
            now = drops(self.lab)
            if now != last:
                last, since = now, time.monotonic()
            return time.monotonic() - since > 2
        wait_for("counters at rest", rested, every=0.2)
        self.state = states(self.lab)

    def link(self, where, name):
        return json.loads(self.lab.exec(where, "ip", "-j", "link", "show", name).stdout)[0]["address"]

    def eth(self, **kw):
        return Ether(**{"src": self.mac, "dst": self.gw, **kw})

    def ip(self, **kw):
        return self.eth() / IP(**{"src": self.me[0], "dst": self.near[0], **kw})

    def ip6(self, **kw):
        return self.eth() / IPv6(**{"src": self.me[1], "dst": self.near[1], **kw})

    def tunnelled(self, outer, inner_src, inner_dst, vni=1):
        """As the tunnel of this transport has it; as VXLAN where there is none."""
        inner = IPv6(src=inner_src, dst=inner_dst) if ":" in inner_src else IP(src=inner_src, dst=inner_dst)
        header = (UDP(sport=40000, dport=6081) / GENEVE(vni=vni, proto=0x6558) if self.transport == "geneve" else
                  UDP(sport=40000, dport=4789) / VXLAN(vni=vni, flags=8))
        return outer / header / Ether(src="02:57:0a:f4:02:01", dst="02:57:0a:f4:01:01") / inner / UDP(sport=1, dport=2) / Raw(MARK)

    def tunnel(self, to, inner_src, inner_dst, vni=1):
        return self.tunnelled(self.ip(dst=to), inner_src, inner_dst, vni)

    # what comes from the underlay, to node 1
    def net(self, src, dst):
        ip = IP(src=src, dst=dst) if ":" not in src else IPv6(src=src, dst=dst)
        return Ether(src="02:00:00:00:00:77", dst=self.n1_mac) / ip / UDP(sport=1000, dport=2000) / Raw(MARK)

    def net_tunnel(self, outer_src, inner_src, inner_dst, vni=1, to=None):
        """@to: n1's address on the underlay, of the family of @outer_src, unless another is meant."""
        ip = IPv6(src=outer_src, dst=to or self.n1[1]) if ":" in outer_src else IP(src=outer_src, dst=to or self.n1[0])
        return self.tunnelled(Ether(src="02:00:00:00:00:77", dst=self.n1_mac) / ip, inner_src, inner_dst, vni)


def drops(lab, node="n1"):
    return {d["reason"]: d["packets"] for d in lab.node_status(node)["drops"]}


def states(lab):
    """Sorted: the kernel lists neighbours in the order of a hash table that grows."""
    return {where: sorted(lab.exec(where, "sh", "-c", STATE).stdout.splitlines()) for where in ("default/p1-1", "default/p2-0", "n1", "n2")}


def assert_unchanged(world, every=1):
    """@every: looks after so many attacks only; it takes longer than an attack."""
    world.unchecked += 1
    if world.unchecked < every:
        return
    world.unchecked = 0
    now = states(world.lab)
    changed = {w: set(now[w]) ^ set(world.state[w]) for w in now if now[w] != world.state[w]}
    assert not changed, changed


def attack(world, frames, reason, source="pod", at="n1", others=0):
    """Sends copies of the last frame behind the others; the last one is judged. @others: copies that may be seen on their way."""
    lab = world.lab
    world.forget()
    counted = drops(lab, at)
    world.wires[source].send(frames[:-1] + frames[-1:] * COPIES)
    try:
        now = wait_for("%d drops by %s" % (COPIES, reason), lambda: (lambda d: d if d[reason] >= counted[reason] + COPIES else None)(drops(lab, at)), timeout=10)
        assert now[reason] == counted[reason] + COPIES
    except AssertionError:
        after = drops(lab, at)
        print({r: after[r] - counted[r] for r in after if after[r] != counted[r]})
        raise
    seen = world.seen()
    assert not any(seen[w] > others for w in seen), seen
    assert_unchanged(world, every=8)


def assert_nothing_arrives(world, frame, source="pod"):
    """No counter says that it ended, so what is sent behind it does: frames that arrive, the same way."""
    world.forget()
    world.wires[source].send([frame] * COPIES)
    world.wires["pod"].send([world.ip(dst=to[0]) / UDP(sport=5, dport=6) / Raw(MARK) for to in (world.near, world.far)])
    found = {"near": 0, "far": 0}

    def both():
        for place in found:
            found[place] += world.wires[place].seen()
        return min(found.values()) >= 1
    wait_for("what was sent behind it", both, timeout=10)
    assert found == {"near": 1, "far": 1}
    assert_unchanged(world)


def assert_arrives(world, frame):
    """From the underlay, at the near pod."""
    world.forget()
    world.wires["fabric"].send([frame] * COPIES)
    seen = [0]

    def arrived():
        seen[0] += world.wires["near"].seen()
        return seen[0] >= COPIES
    wait_for("the copies", arrived, timeout=10)


@pytest.fixture(scope="module", params=params(BRIEF))
def world(request):
    with Lab(nodes=2, **options(request.param, "dual")) as lab:
        lab.apply(*spread_pods(2, each=2))
        lab.wait_ready()
        assert_matrix(lab, 1)
        made = World(lab, request.param[0], request.param[4])
        assert_underlay(lab, request.param)
        try:
            made.rest()
            yield made
        finally:
            made.close()


# --- that the checks see ---

def test_a_packet_that_arrives_is_seen(world):
    for to, place in ((world.near, "near"), (world.far, "far")):
        for frame in (world.ip(dst=to[0]), world.ip6(dst=to[1])):
            world.forget()
            seen = 0
            world.wires["pod"].send([frame / UDP(sport=5, dport=6) / Raw(MARK)] * COPIES)

            def arrived():
                nonlocal seen
                seen += world.wires[place].seen()
                return seen >= COPIES
            wait_for("the copies at %s" % place, arrived, timeout=10)
            assert seen == COPIES


def test_bytes_behind_the_packet_do_not_keep_it(world):
    """A trailer that a tunnel has no room for is left behind."""
    for to, place in ((world.near, "near"), (world.far, "far")):
        for frame in (world.ip(dst=to[0]), world.ip6(dst=to[1])):
            world.forget()
            packet = frame / UDP(sport=5, dport=6) / Raw(MARK)
            world.wires["pod"].send([packet / Padding(bytes(1490 - len(packet)))] * COPIES)
            seen = [0]

            def arrived():
                seen[0] += world.wires[place].seen()
                return seen[0] >= COPIES
            wait_for("the copies at %s" % place, arrived, timeout=10)


def test_a_change_at_a_victim_is_seen(world):
    def device(where):
        return "eth0" if "/" in where else world.uplink
    before = states(world.lab)
    for where in before:
        world.lab.exec(where, "ip", "neigh", "replace", "169.254.9.9", "lladdr", "02:00:00:00:00:01", "dev", device(where),
                       "nud", "permanent")
        assert states(world.lab)[where] != before[where]
        world.lab.exec(where, "ip", "neigh", "del", "169.254.9.9", "dev", device(where))
    assert states(world.lab) == before


def test_counters_rest_when_nothing_forbidden_is_sent(world):
    before = drops(world.lab)
    assert_nothing_arrives(world, world.eth(dst="02:00:00:00:00:05", src="02:00:00:00:00:05") / Raw(MARK))
    now = drops(world.lab)
    assert {r: now[r] - before[r] for r in now if now[r] != before[r]} == {"source_mac": COPIES}


# --- from a pod ---

def first6(w, payload, offset=0, more=1, number=77):
    return w.ip6() / IPv6ExtHdrFragment(offset=offset, m=more, id=number, nh=6) / Raw(payload)


def later4(w, offset, number):
    return w.ip(flags=0, frag=offset, id=number, proto=6) / Raw(MARK * 3)


def whole_first4(w, number):
    return w.ip(flags="MF", id=number, proto=6) / Raw(bytes(TCP(sport=3, dport=4, flags="S")) + b"x" * 4)


OPTIONS = IPv6ExtHdrDestOpt(nh=6, options=[HBHOptUnknown(otype=0x1e, optlen=44, optdata=bytes(44))])  # 48 bytes


def behind_options(w, number, n=24, **kw):
    """A first fragment with @n bytes of TCP behind options, which are fragmented, too."""
    return w.ip6(**kw) / IPv6ExtHdrFragment(offset=0, m=1, id=number, nh=60) / Raw(bytes(OPTIONS) + (bytes(TCP(sport=3, dport=4, flags="S")) + b"x" * 4)[:n])


def later6(w, offset, number, **kw):
    return w.ip6(**kw) / IPv6ExtHdrFragment(offset=offset, m=1, id=number, nh=60) / Raw(MARK * 3)


UDP_MARK = UDP(sport=9, dport=10) / Raw(MARK)
FROM_POD = {
    "ra": ("router_advertisement", lambda w: [w.eth(dst="33:33:00:00:00:01") / IPv6(src=w.ll, dst="ff02::1", hlim=255) / ICMPv6ND_RA(routerlifetime=1800)
                                              / ICMPv6NDOptPrefixInfo(prefix="2001:db8::", prefixlen=64) / ICMPv6NDOptSrcLLAddr(lladdr=w.mac)]),
    "ra-to-node": ("router_advertisement", lambda w: [w.eth() / IPv6(src=w.ll, dst="fe80::1", hlim=255) / ICMPv6ND_RA(routerlifetime=1800)]),
    "rs": ("router_solicitation", lambda w: [w.eth(dst="33:33:00:00:00:02") / IPv6(src=w.ll, dst="ff02::2", hlim=255) / ICMPv6ND_RS()]),
    "redirect-v4": ("icmp_redirect", lambda w: [w.ip() / ICMP(type=5, code=1, gw=w.me[0]) / IP(src=w.near[0], dst=w.far[0]) / UDP_MARK]),
    "redirect-v4-node": ("icmp_redirect", lambda w: [w.ip(dst=w.n1[0]) / ICMP(type=5, code=1, gw=w.me[0]) / IP(src=w.n1[0], dst=w.n2[0]) / UDP_MARK]),
    "redirect-v6": ("icmp_redirect", lambda w: [w.ip6(hlim=255) / ICMPv6ND_Redirect(tgt=w.me[1], dst=w.far[1]) / ICMPv6NDOptDstLLAddr(lladdr=w.mac)]),
    "dhcp": ("dhcp", lambda w: [w.eth(dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67)
                                          / BOOTP(chaddr=b"\x02" * 6) / DHCP(options=[("message-type", "discover"), "end"])]),
    "dhcp-server": ("dhcp", lambda w: [w.eth(dst="ff:ff:ff:ff:ff:ff") / IP(src=w.me[0], dst="255.255.255.255") / UDP(sport=67, dport=68)
                                            / BOOTP(op=2, yiaddr="10.0.0.9") / DHCP(options=[("message-type", "offer"), ("router", w.me[0]), "end"])]),
    "dhcpv6": ("dhcp", lambda w: [w.eth(dst="33:33:00:01:00:02") / IPv6(src=w.ll, dst="ff02::1:2") / UDP(sport=546, dport=547) / DHCP6_Solicit()]),
    "arp-reply": ("arp", lambda w: [w.eth(dst="ff:ff:ff:ff:ff:ff") / ARP(op=2, hwsrc=w.mac, psrc=w.near[0], hwdst="ff:ff:ff:ff:ff:ff", pdst=w.near[0])]),
    "arp-gateway": ("arp", lambda w: [w.eth() / ARP(op=1, hwsrc=w.mac, psrc="169.254.1.1", pdst=w.n1[0])]),
    "na-neighbour": ("nd_spoof", lambda w: [w.eth() / IPv6(src=w.me[1], dst=w.own[1], hlim=255) / ICMPv6ND_NA(tgt=w.near[1], S=1, O=1)
                                            / ICMPv6NDOptDstLLAddr(lladdr=w.mac)]),
    "na-gateway": ("nd_spoof", lambda w: [w.eth(dst="33:33:00:00:00:01") / IPv6(src=w.ll, dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt="fe80::1", R=1, O=1)
                                          / ICMPv6NDOptDstLLAddr(lladdr=w.mac)]),
    "ns-as-another": ("nd_spoof", lambda w: [w.eth() / IPv6(src=w.near[1], dst=w.own[1], hlim=255) / ICMPv6ND_NS(tgt=w.own[1]) / ICMPv6NDOptSrcLLAddr(lladdr=w.mac)]),
    "nd-over-a-router": ("nd_spoof", lambda w: [w.eth() / IPv6(src=w.me[1], dst=w.own[1], hlim=254) / ICMPv6ND_NA(tgt=w.me[1])]),
    **{"%s-to-%s" % (kind.__name__[-2:].lower(), name): ("nd_spoof", lambda w, kind=kind, to=to: [
        w.eth() / IPv6(src=w.me[1], dst=to(w), hlim=255) / kind(tgt=w.me[1]) / Raw(MARK)])
       for kind in (ICMPv6ND_NS, ICMPv6ND_NA) for name, to in (("near", lambda w: w.near[1]), ("far", lambda w: w.far[1]), ("world", lambda w: "2001:db8::9"),
                                                               ("another-node", lambda w: w.n2[1]), ("a-wide-group", lambda w: "ff05::1"))},
    "mld": ("mld", lambda w: [w.eth(dst="33:33:00:00:00:16") / IPv6(src=w.ll, dst="ff02::16", hlim=1) / ICMPv6MLReport2()]),
    "vlan-0": ("vlan_zero", lambda w: [w.eth() / Dot1Q(vlan=0, prio=3) / IP(src=w.me[0], dst=w.near[0]) / UDP_MARK]),
    "vlan-5": ("vlan", lambda w: [w.eth() / Dot1Q(vlan=5) / IP(src=w.me[0], dst=w.near[0]) / UDP_MARK]),
    "qinq": ("qinq", lambda w: [w.eth() / Dot1AD(vlan=5) / Dot1Q(vlan=0) / IP(src=w.me[0], dst=w.near[0]) / UDP_MARK]),
    "qinq-zero": ("qinq", lambda w: [w.eth() / Dot1Q(vlan=0) / Dot1Q(vlan=0) / IPv6(src=w.me[1], dst=w.near[1]) / UDP_MARK]),
    "lldp": ("ethertype", lambda w: [w.eth(type=0x88cc, dst="01:80:c2:00:00:0e") / Raw(MARK)]),
    "mpls": ("ethertype", lambda w: [w.eth(type=0x8847) / Raw(b"\0\x01\x01\xff" + bytes(IP(src=w.me[0], dst=w.near[0]) / UDP_MARK))]),
    "pppoe": ("ethertype", lambda w: [w.eth(type=0x8864) / Raw(b"\x11\0\0\1\0\x20\0\x21" + bytes(IP(src=w.me[0], dst=w.near[0]) / UDP_MARK))]),
    "unknown-type": ("ethertype", lambda w: [w.eth(type=0xdead) / Raw(MARK * 3)]),
    "llc-snap": ("ethertype", lambda w: [w.eth(type=60) / LLC(dsap=0xaa, ssap=0xaa, ctrl=3) / SNAP(code=0x800) / IP(src=w.me[0], dst=w.near[0]) / UDP_MARK]),
    "mac": ("source_mac", lambda w: [w.eth(src="02:00:00:00:00:05") / IP(src=w.me[0], dst=w.near[0]) / UDP_MARK]),
    "mac-of-another-host": ("destination_mac", lambda w: [w.eth(dst="02:00:00:00:00:05") / IP(src=w.me[0], dst=w.near[0]) / UDP_MARK]),
    "source-near": ("source_address", lambda w: [w.ip(src=w.near[0], dst=w.far[0]) / UDP_MARK]),
    "source-far": ("source_address", lambda w: [w.ip(src=w.far[0]) / UDP_MARK]),
    "source-node": ("source_address", lambda w: [w.ip(src=w.n1[0], dst=w.far[0]) / UDP_MARK]),
    "source-world": ("source_address", lambda w: [w.ip(src="192.0.2.1", dst=w.n2[0]) / UDP_MARK]),
    "source-loopback": ("source_address", lambda w: [w.ip(src="127.0.0.1", dst=w.n1[0]) / UDP_MARK]),
    "source-near-v6": ("source_address", lambda w: [w.ip6(src=w.near[1], dst=w.far[1]) / UDP_MARK]),
    "source-far-v6": ("source_address", lambda w: [w.ip6(src=w.far[1]) / UDP_MARK]),
    "source-node-v6": ("source_address", lambda w: [w.ip6(src=w.n1[1], dst=w.far[1]) / UDP_MARK]),
    "source-link-local": ("source_address", lambda w: [w.ip6(src=w.ll) / UDP_MARK]),
    "source-none-v6": ("source_address", lambda w: [w.ip6(src="::") / UDP_MARK]),
    "mapped": ("v4_mapped", lambda w: [w.ip6(src="::ffff:" + w.me[0]) / UDP_MARK]),
    "multicast": ("multicast", lambda w: [w.ip(dst="224.0.0.251") / UDP_MARK]),
    "multicast-v6": ("multicast", lambda w: [w.ip6(dst="ff02::fb") / UDP_MARK]),
    "fragment-tiny": ("fragment_tiny", lambda w: [w.ip(flags="MF", id=70, proto=6) / Raw(b"\0\1\0\2\0\0\0\0")]),
    "fragment-tiny-v6": ("fragment_tiny", lambda w: [first6(w, b"\0\1\0\2\0\0\0\0", number=71)]),
    "fragment-overlap": ("fragment_overlap", lambda w: [whole_first4(w, 72), later4(w, 1, 72)]),
    "fragment-overlap-v6": ("fragment_overlap", lambda w: [first6(w, bytes(TCP(flags="S")) + b"x" * 4, number=73), first6(w, MARK * 2, 1, 0, 73)]),
    "fragment-without-first": ("fragment_unknown", lambda w: [later4(w, 100, 74)]),
    "fragment-without-first-v6": ("fragment_unknown", lambda w: [first6(w, MARK * 2, 100, 0, 75)]),
    "fragment-tiny-behind-options": ("fragment_tiny", lambda w: [behind_options(w, 76, 16)]),
    "fragment-overlap-behind-options": ("fragment_overlap", lambda w: [behind_options(w, 77), later6(w, 8, 77)]),
    "fragment-overlap-options": ("fragment_overlap", lambda w: [behind_options(w, 78), later6(w, 1, 78)]),
    "fragment-overlap-behind-options-far": ("fragment_overlap", lambda w: [behind_options(w, 79, dst=w.far[1]), later6(w, 8, 79, dst=w.far[1])]),
    "ping-of-death": ("malformed", lambda w: [whole_first4(w, 80), later4(w, 8190, 80)]),
    "ping-of-death-v6": ("malformed", lambda w: [first6(w, bytes(TCP(flags="S")) + b"x" * 4, number=81), later6(w, 8189, 81)]),
    "loose-source-route": ("source_route", lambda w: [w.ip(dst=w.n1[0], options=IPOption(b"\x83\x07\x04" + bytes(map(int, w.near[0].split("."))))) / UDP_MARK]),
    "strict-source-route": ("source_route", lambda w: [w.ip(options=IPOption(b"\x89\x07\x04" + bytes(map(int, w.far[0].split("."))))) / UDP_MARK]),
    "option-too-long": ("malformed", lambda w: [w.ip(options=IPOption(b"\x44\x28\x05\x00")) / UDP_MARK]),
    "routing-header": ("source_route", lambda w: [w.ip6() / IPv6ExtHdrRouting(type=0, addresses=[w.far[1]]) / UDP_MARK]),
    "routing-header-2": ("source_route", lambda w: [w.ip6() / IPv6ExtHdrRouting(type=2, addresses=[w.far[1]], segleft=1) / UDP_MARK]),
    "many-headers": ("extension_headers", lambda w: [headers(w, 9)]),
    "length-lies": ("malformed", lambda w: [w.ip(len=1400) / UDP_MARK]),
    "length-lies-v6": ("malformed", lambda w: [w.ip6(plen=1300) / UDP_MARK]),
    "version-lies": ("malformed", lambda w: [w.eth(type=0x800) / Raw(bytes(IPv6(src=w.me[1], dst=w.near[1]) / UDP_MARK))]),
    "truncated": ("truncated", lambda w: [w.eth(type=0x86dd) / Raw(bytes(IPv6(src=w.me[1], dst=w.near[1]))[:30])]),
    "error-about-nothing": ("icmp_unrelated", lambda w: [w.ip() / ICMP(type=3, code=4, nexthopmtu=600) / IP(src=w.near[0], dst=w.me[0]) / UDP_MARK]),
}


def headers(w, n):
    packet = w.ip6()
    for _ in range(n):
        packet = packet / IPv6ExtHdrDestOpt()
    return packet / UDP_MARK


@pytest.mark.parametrize("name", FROM_POD)
def test_from_a_pod(world, name):
    reason, frames = FROM_POD[name]
    attack(world, frames(world), reason)


HEAR = """
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", 9998))
s.settimeout(30)
print("ready", flush=True)
while True:
    print(len(s.recv(9000)), flush=True)
"""


@contextlib.contextmanager
def ear(world, name):
    """What a socket of that pod hears: how long each datagram is."""
    process = world.lab.popen("default/" + {"near": "p1-1", "far": "p2-0"}[name], "/usr/bin/python3", "-c", HEAR, stdout=-1)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process.stdout
    finally:
        process.kill()
        process.wait()


def pieces(w, whole, number, to, cuts, nh=17):
    """Of what follows the IP header, from and to these bytes."""
    for begin, end in cuts:
        more = end < len(whole)
        yield ((w.ip6(dst=to) / IPv6ExtHdrFragment(offset=begin // 8, m=more, id=number, nh=nh) if ":" in to else
                w.ip(dst=to, id=number, flags="MF" if more else 0, frag=begin // 8, proto=17)) / Raw(whole[begin:end]))


@pytest.mark.parametrize("name", ["near", "far"])
def test_a_datagram_with_options_behind_its_fragment_header_arrives(world, name):
    """As RFC 8200 has it: the next header of a later fragment is the options', and does not count."""
    to = getattr(world, name)[1]
    whole = bytes(IPv6(src=world.me[1], dst=to) / IPv6ExtHdrDestOpt(options=OPTIONS.options) / UDP(sport=9, dport=9998) / Raw(b"A" * 2400))[40:]
    with ear(world, name) as heard:
        for number, later in ((90, 60), (91, 17)):
            world.wires["pod"].send([*pieces(world, whole, number, to, [(0, 800)], 60), *pieces(world, whole, number, to, [(800, 1600), (1600, len(whole))], later)])
            assert heard.readline() == "2400\n"


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("name", ["near", "far"])
def test_fragments_that_overlap_behind_the_ports_reach_no_socket(world, name, version):
    """The datapath does not keep what a datagram consists of: its receiver drops it whole (RFC 5722), and the next one arrives."""
    to = getattr(world, name)[version == 6]
    ip = IPv6(src=world.me[1], dst=to) if version == 6 else IP(src=world.me[0], dst=to)

    def datagram(n):
        return bytes(ip / UDP(sport=9, dport=9998) / Raw(b"A" * n))[len(ip):]
    with ear(world, name) as heard:
        world.wires["pod"].send([*pieces(world, datagram(1992), 92, to, [(0, 800), (800, 1608), (1600, 2000)]),
                                 *pieces(world, datagram(1092), 93, to, [(0, 800), (800, 1100)])])
        assert heard.readline() == "1092\n"


# --- from a process of the node that has no rights ---

AS_ANOTHER = """
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_IP, 15, 1)  # IP_FREEBIND, which anybody may; over IPv6 nobody asks again when it sends
s.bind((sys.argv[1], 1999))
for _ in range(int(sys.argv[3])):
    s.sendto(sys.argv[4].encode(), (sys.argv[2], 2000))
"""


@pytest.mark.parametrize("src,dst", [("me", "near"), ("me", "far"), ("far", "near")])
def test_from_a_process_of_the_node_as_a_pod(world, src, dst):
    counted = drops(world.lab)["net_source"]
    world.forget()
    world.lab.exec("n1", "setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all", "/usr/bin/python3", "-c", AS_ANOTHER,
                   getattr(world, src)[1], getattr(world, dst)[1], COPIES, MARK.decode())
    wait_for("the drops", lambda: drops(world.lab)["net_source"] == counted + COPIES, timeout=10)
    assert not any(world.seen().values())


# --- tunnels and the underlay ---

TUNNELS = ("vxlan", "geneve", "auto")
DEVICES = ("vxlan", "auto")  # the kernel's own takes a packet wherever it comes from; Geneve is taken off the uplinks only

@pytest.mark.parametrize("name", ["own-node-as-far", "own-node-as-near", "own-node-wrong-vni", "own-node-v6-inner", "own-node-as-own-address"])
def test_tunnel_packets_of_a_pod_to_its_own_node(world, name):
    if world.transport not in DEVICES:  # nobody listens there: nothing can arrive
        return assert_nothing_arrives(world, world.tunnel(world.n1[0], world.far[0], world.near[0]))
    frame = {"own-node-as-far": lambda: world.tunnel(world.n1[0], world.far[0], world.near[0]),
             "own-node-as-near": lambda: world.tunnel(world.n1[0], world.near[0], world.me[0]),
             "own-node-wrong-vni": lambda: world.tunnel(world.n1[0], world.far[0], world.near[0], vni=99),
             "own-node-v6-inner": lambda: world.tunnel(world.n1[0], world.far[1], world.near[1]),
             "own-node-as-own-address": lambda: world.tunnel(world.own[0], world.far[0], world.near[0])}[name]()
    attack(world, [frame], "tunnel_vni" if name == "own-node-wrong-vni" else "tunnel_source")


@pytest.mark.parametrize("inner", ["as-near", "as-far"])
def test_tunnel_packets_of_a_pod_to_another_node(world, inner):
    """They leave, as any datagram may, and end there: their outer source is a pod, not a node."""
    source = world.near[0] if inner == "as-near" else world.far[0]
    frame = world.tunnel(world.n2[0], source, world.far[0])
    if world.transport in DEVICES:
        attack(world, [frame], "tunnel_source", at="n2", others=COPIES)
    else:
        assert_nothing_arrives(world, frame)


FROM_NET = {
    "as-local-pod": lambda w: w.net(w.near[0], w.me[0]), "as-local-pod-v6": lambda w: w.net(w.near[1], w.me[1]),
    "as-this-node": lambda w: w.net(w.n1[0], w.near[0]), "as-this-node-v6": lambda w: w.net(w.n1[1], w.near[1]),
    "as-own-pod-address": lambda w: w.net(w.own[0], w.near[0]), "to-node-as-pod": lambda w: w.net(w.near[0], w.n1[0]),
    "as-nobody-of-its-range": lambda w: w.net(nobody(w.near[0]), w.near[0]), "as-nobody-of-its-range-v6": lambda w: w.net(nobody(w.near[1]), w.near[1]),
    "as-nobody-of-its-range-onwards": lambda w: w.net(nobody(w.near[0]), w.far[0]),
    "as-nobody-of-its-range-onwards-v6": lambda w: w.net(nobody(w.near[1]), w.far[1]),
}
NOBODYS = ("169.254.1.1", "127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "ff02::1", "fe80::1")


def nobody(address):
    """Of the same range, and no pod's."""
    return address.rsplit(".", 1)[0] + ".251" if "." in address else address.rsplit(":", 1)[0] + ":fb"


@pytest.mark.parametrize("name", FROM_NET)
def test_from_the_underlay(world, name):
    attack(world, [FROM_NET[name](world)], "plaintext_in" if world.transport == "wireguard" else "net_source", source="fabric")


def addressed(frame, mac):
    frame[Ether].dst = mac
    return frame


FOR_OTHERS = {
    "to-a-pod": lambda w: w.net("192.0.2.77", w.near[0]), "to-a-pod-v6": lambda w: w.net("2001:db8::77", w.near[1]),
    "in-the-tunnel": lambda w: w.net_tunnel(w.n2[w.outer], w.far[0], w.near[0]), "in-the-tunnel-v6": lambda w: w.net_tunnel(w.n2[w.outer], w.far[1], w.near[1]),
}


@pytest.mark.parametrize("name", FOR_OTHERS)
def test_frames_for_another_host_from_the_underlay(world, name):
    """A switch floods what it cannot place, so the node sees them, too."""
    frame = FOR_OTHERS[name](world)
    if world.transport in TUNNELS or not name.startswith("in-the-tunnel"):
        assert_arrives(world, frame)
    assert_nothing_arrives(world, addressed(frame, "02:00:00:00:00:99"), source="fabric")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("group", ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01"])
def test_frames_to_a_group_from_the_underlay_to_a_pod(world, group, version):
    """No router forwards a packet for one host that came to many (RFC 1812 5.3.4). The other node sees the frame as well."""
    frame = world.net("192.0.2.77" if version == 4 else "2001:db8::77", world.near[version == 6])
    attack(world, [addressed(frame, group)], "destination_mac", source="fabric", others=COPIES)


@pytest.mark.parametrize("source", NOBODYS)
def test_from_the_underlay_as_nobody(world, source):
    """No host beyond the link can have it: the stack would not forward it, and past the stack it does not come in either."""
    attack(world, [world.net(source, world.near[":" in source])], "net_source", source="fabric")


@pytest.mark.parametrize("kind", [ICMPv6ND_NS, ICMPv6ND_NA, ICMPv6ND_RA, ICMPv6ND_RS])
def test_neighbour_discovery_from_the_underlay_to_a_pod(world, kind):
    frame = Ether(src="02:00:00:00:00:77", dst=world.n1_mac) / IPv6(src="2001:db8::77", dst=world.near[1], hlim=255) / kind() / Raw(MARK)
    attack(world, [frame], "nd_spoof", source="fabric")


@pytest.mark.parametrize("version", [4, 6])
def test_from_the_underlay_as_a_pod_of_another_node(world, version):
    """Where a tunnel carries that node's pods, nothing of theirs comes as it is; `direct` has to trust its network."""
    of = 0 if version == 4 else 1
    frame = world.net(world.far[of], world.near[of])
    if world.transport in ("direct", "auto"):
        assert_arrives(world, frame)
    else:
        attack(world, [frame], "plaintext_in" if world.transport == "wireguard" else "plain_source", source="fabric")


@pytest.mark.parametrize("version", [4, 6])
def test_from_the_underlay_to_a_pod_as_another_node(world, version):
    """To pods a node speaks by the way that leads to them. What is between nodes comes as it is."""
    of = 0 if version == 4 else 1
    frame = world.net(world.n2[of], world.near[of])
    if world.transport in ("direct", "auto"):
        assert_arrives(world, frame)
    else:
        attack(world, [frame], "plaintext_in" if world.transport == "wireguard" else "plain_source", source="fabric")


OVERLAY = ("ip link add other1 type vxlan id 1 dstport 8472 nolearning; ip link set other1 address 02:00:00:00:00:f1 up; "
           "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.other1.rp_filter=0 net.ipv4.conf.other1.forwarding=1 net.ipv6.conf.other1.forwarding=1")


@contextlib.contextmanager
def another_overlay(world):
    """Somebody else's device on node 1, which takes out what anybody sends to its port. Gives what makes such a packet of a pod."""
    lab, key = world.lab, "net.ipv4.conf.all.rp_filter"
    filtered = lab.exec("n1", "sysctl", "-n", key).stdout.strip()
    lab.exec("n1", "sh", "-ec", OVERLAY)

    def packed(src, dst):
        inner = IPv6(src=src, dst=dst) if ":" in src else IP(src=src, dst=dst)
        return world.ip(dst=world.n1[0]) / UDP(sport=40000, dport=8472) / VXLAN(vni=1, flags=8) / Ether(src="02:00:00:00:00:f2", dst="02:00:00:00:00:f1") / inner / UDP(sport=1, dport=2) / Raw(MARK)
    try:
        yield packed
    finally:
        lab.exec("n1", "ip", "link", "del", "other1")
        lab.exec("n1", "sysctl", "-qw", "%s=%s" % (key, filtered))


@pytest.mark.parametrize("version", [4, 6])
def test_by_another_overlay_of_the_node(world, version):
    """As a pod of another node, or as that node, nobody comes by an interface that is none of Weft's; as somebody outside he does."""
    w, of = world, 0 if version == 4 else 1
    with another_overlay(w) as packed:
        w.forget()
        seen = 0

        def arrived():
            nonlocal seen
            w.wires["pod"].send([packed("192.0.2.77" if version == 4 else "2001:db8::77", w.near[of])])
            seen += w.wires["near"].seen()
            return seen
        wait_for("what is inside is taken out", arrived, timeout=10)
        for source in (w.far[of], w.n2[of]):
            w.forget()
            before = drops(w.lab)
            w.wires["pod"].send([packed(source, w.near[of])] * COPIES)
            wait_for("the drops", lambda: drops(w.lab)["stray_source"] >= before["stray_source"] + COPIES, timeout=10)
            assert drops(w.lab)["stray_source"] == before["stray_source"] + COPIES
            assert not any(w.seen().values())
    w.rest()


STRANGERS = ("172.30.0.77", "fd30::77")  # no node's


@pytest.mark.parametrize("name, reason", [("not-a-node", "tunnel_source"), ("a-node-as-another", "tunnel_source"), ("other-network", "tunnel_vni"),
                                          ("to-nobody", "tunnel_destination"), ("onwards", "tunnel_destination")])
def test_tunnel_packets_from_the_underlay(world, name, reason):
    w = world
    peer = w.n2[w.outer]
    frame = {"not-a-node": lambda: w.net_tunnel(STRANGERS[w.outer], w.far[0], w.near[0]), "a-node-as-another": lambda: w.net_tunnel(peer, w.near[0], w.me[0]),
             "other-network": lambda: w.net_tunnel(peer, w.far[0], w.near[0], vni=99),
             "to-nobody": lambda: w.net_tunnel(peer, w.far[0], w.own[0].rsplit(".", 1)[0] + ".250"),
             "onwards": lambda: w.net_tunnel(peer, w.far[0], "192.0.2.9")}[name]()
    if world.transport in TUNNELS:
        attack(world, [frame], reason, source="fabric")
    else:
        assert_nothing_arrives(w, frame, source="fabric")


@pytest.mark.parametrize("name", ["not-a-node", "a-node-as-another", "itself", "other-network"])
@pytest.mark.parametrize("inner", [4, 6])
def test_tunnel_packets_by_the_other_family_from_the_underlay(world, name, inner):
    """The outer source must be the inner one's node's, of the family that nodes use between them; that is looked at first."""
    w, of, outer = world, 0 if inner == 4 else 1, 1 - world.outer
    peer = w.n2[outer]
    frame = {"not-a-node": lambda: w.net_tunnel(STRANGERS[outer], w.far[of], w.near[of]), "a-node-as-another": lambda: w.net_tunnel(peer, w.near[of], w.me[of]),
             "itself": lambda: w.net_tunnel(peer, w.far[of], w.near[of]), "other-network": lambda: w.net_tunnel(peer, w.far[of], w.near[of], vni=99)}[name]()
    if w.transport not in TUNNELS:
        return assert_nothing_arrives(w, frame, source="fabric")
    attack(w, [frame], "tunnel_source", source="fabric")


@pytest.mark.parametrize("inner", [4, 6])
def test_tunnel_packets_to_another_address_of_the_node(world, inner):
    """All that a peer's packet has, but sent to an address that no peer uses: the node's own in the pod range."""
    w, of = world, 0 if inner == 4 else 1
    frame = w.net_tunnel(w.n2[w.outer], w.far[of], w.near[of], to=w.own[w.outer])
    if w.transport in DEVICES:
        attack(w, [frame], "tunnel_destination", source="fabric")
    else:
        assert_nothing_arrives(w, frame, source="fabric")


INSIDE = {  # of a pod of node 2: to a pod of node 1, or to that node
    "vlan": ("vlan", lambda w: Dot1Q(vlan=5) / IP(src=w.far[0], dst=w.near[0]) / UDP(sport=1, dport=2)),
    "neighbour": ("nd_spoof", lambda w: IPv6(src=w.far[1], dst=w.own[1], hlim=255) / ICMPv6ND_NA(tgt=w.far[1], O=1)),
    "router": ("nd_spoof", lambda w: IPv6(src=w.far[1], dst=w.own[1], hlim=255) / ICMPv6ND_RA(routerlifetime=1800)),
    "redirect": ("icmp_redirect", lambda w: IP(src=w.far[0], dst=w.own[0]) / ICMP(type=5, code=1, gw=w.far[0]) / IP(src=w.own[0], dst=w.n2[0]) / UDP(sport=1, dport=2))}


@pytest.mark.parametrize("name", INSIDE)
def test_what_belongs_on_a_link_comes_out_of_no_tunnel(world, name):
    w, (reason, inside) = world, INSIDE[name]
    if w.transport not in TUNNELS:
        return
    frame = w.net_tunnel(w.n2[w.outer], w.far[0], w.near[0])
    frame[Ether:2].payload = inside(w) / Raw(MARK)
    attack(w, [frame], reason, source="fabric")


def in_format(world, header, cut=None):
    """What node 2 would send of a pod's packet, if its tunnel's header were this one; @cut: bytes of it that are there."""
    w = world
    outer = IPv6(src=w.n2[1], dst=w.n1[1]) if w.outer else IP(src=w.n2[0], dst=w.n1[0])
    inner = Ether(src="02:57:0a:f4:02:01", dst="02:57:0a:f4:01:01") / IP(src=w.far[0], dst=w.near[0]) / UDP(sport=1, dport=2) / Raw(MARK)
    payload = (bytes.fromhex(header) + bytes(inner))[:cut]
    return Ether(src="02:00:00:00:00:77", dst=w.n1_mac) / outer / UDP(sport=40000, dport=6081 if w.transport == "geneve" else 4789) / Raw(payload)


VXLAN_FORMATS = {
    "group-policy": ("vxlan_header", "8800000500000100"), "gpe": ("vxlan_header", "0c00000300000100"), "gpe-without-a-frame": ("vxlan_header", "0c00000100000100"),
    "no-flag": ("vxlan_header", "0000000000000100"), "reserved-bits": ("vxlan_header", "0800010000000100"), "reserved-byte": ("vxlan_header", "0800000000000101"),
    "geneve": ("vxlan_header", "0000655800000100"), "half-a-header": ("truncated", "0800000000000100", 4), "half-a-frame": ("truncated", "0800000000000100", 8 + 10),
    "half-an-ip-header": ("truncated", "0800000000000100", 8 + 14 + 12), "half-a-udp-header": ("malformed", "0800000000000100", 8 + 14 + 20 + 4)}
GENEVE_FORMATS = {
    "version": ("geneve_header", "4000655800000100"), "without-a-frame": ("geneve_header", "0000080000000100"), "vxlan": ("geneve_header", "0800000000000100"),
    "options-too-long": ("geneve_header", "3f00655800000100"), "control": ("geneve_control", "0080655800000100"),
    "critical-option": ("geneve_critical", "014065580000010001028300"), "half-a-header": ("truncated", "0000655800000100", 4),
    "half-a-frame": ("truncated", "0000655800000100", 8 + 10), "half-an-ip-header": ("truncated", "0000655800000100", 8 + 14 + 12),
    "half-a-udp-header": ("malformed", "0000655800000100", 8 + 14 + 20 + 4)}


@pytest.mark.parametrize("name", ["plain", *sorted(VXLAN_FORMATS.keys() | GENEVE_FORMATS.keys())])
def test_tunnel_packets_in_other_formats_from_the_underlay(world, name):
    """As node 2 could send them, but for the header or where they end; the plain one arrives, and shows that nothing else is wrong with them."""
    w, formats = world, GENEVE_FORMATS if world.transport == "geneve" else VXLAN_FORMATS
    if name == "plain":
        frames = [in_format(w, "0000655800000100"), in_format(w, "010065580000010001020300")] if w.transport == "geneve" else [in_format(w, "0800000000000100")]
        for frame in frames:
            (assert_arrives(w, frame) if w.transport in TUNNELS else assert_nothing_arrives(w, frame, source="fabric"))
    elif name in formats:
        reason, *made = formats[name]
        if w.transport in TUNNELS:
            attack(w, [in_format(w, *made)], reason, source="fabric")
        else:
            assert_nothing_arrives(w, in_format(w, *made), source="fabric")


def tagged(frame, *tags):
    """The frame with these tags, outermost first."""
    made = Ether(src=frame.src, dst=frame.dst)
    for tag in tags:
        made = made / tag
    return made / frame.payload


@pytest.mark.parametrize("vlan", [0, 5])
def test_tagged_frames_from_the_underlay(world, vlan):
    """VLAN 0 is but a priority; any other is another network, from which nothing comes in here."""
    frame = tagged(world.net("192.0.2.77", world.near[0]), Dot1Q(vlan=vlan, prio=3))
    if vlan:
        assert_nothing_arrives(world, frame, source="fabric")
    else:
        assert_arrives(world, frame)


@pytest.mark.parametrize("outer", [Dot1Q, Dot1AD])
@pytest.mark.parametrize("version", [4, 6])
def test_frames_with_two_empty_tags_from_the_underlay(world, version, outer):
    """The stack takes the second one off after from_net has looked: inside, anybody could be anybody (CVE-2021-27853)."""
    of = 0 if version == 4 else 1
    attack(world, [tagged(world.net(world.me[of], world.near[of]), outer(vlan=0), Dot1Q(vlan=0))], "qinq", source="fabric")


def test_the_lab_is_well_after_all_of_it(world):
    assert_unchanged(world)
    assert_matrix(world.lab, 1)
    for node in ("n1", "n2"):
        status = world.lab.node_status(node)
        assert status["ready"] and all(p["ok"] for p in status["health"].values())
        assert not any(status["repairs"]["counts"].values())
