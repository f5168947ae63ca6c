# SPDX-License-Identifier: Apache-2.0
"""M1, M3, M4: what fits, fits to the byte; what does not is answered, on every underlay, transport and family; and a path that shrinks."""

import contextlib
import itertools
import os
import subprocess

import pytest
from combos import WAYS, settings
from labs import FULL, WEFT_BIN, Lab, pod, run, wait_for

OVERHEAD = {"direct": (0, 0), "vxlan": (50, 70), "geneve": (50, 70), "wireguard": (80, 80)}  # over IPv4, over IPv6 outside; a WireGuard peer may move to the other
# auto: by what it comes to, in one network and over two.
TRANSPORTS = {**{t: (t, 1) for t in OVERHEAD}, "auto": ("direct", 1), "auto-apart": ("vxlan", 2)}
ALL = list(itertools.product((1280, 1400, 1500, 9000), TRANSPORTS, ("dual", "ipv4", "ipv6")))
# 1280 and vxlan, outside IPv6: has no room for IPv6, and must say so.
SPANNING = [(1280, "vxlan", "dual"), (1280, "vxlan", "ipv6"), (1400, "geneve", "ipv6"), (9000, "geneve", "dual"), (1500, "direct", "ipv4"), (9000, "vxlan", "ipv6"),
            (1280, "geneve", "dual"), (1500, "wireguard", "dual"), (1400, "wireguard", "ipv6"), (9000, "wireguard", "ipv4"),
            (1280, "auto", "dual"), (1400, "auto-apart", "dual"), (9000, "auto", "ipv6"), (1500, "auto-apart", "ipv6")]
# The way in which each is tried: another each, or all.
CASES = itertools.product(ALL, WAYS) if FULL else zip(SPANNING, itertools.cycle(WAYS))
HEADERS = {4: 28, 6: 48}  # IP and UDP

# Asks the pod's echo with one datagram of SIZE bytes, with permission to cut it (0) or without (2); prints what came of it.
UDP = """
import socket, sys
address, size, tries, cut = sys.argv[1], *map(int, sys.argv[2:5])
v6 = ":" in address
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP, 23 if v6 else 10, cut)  # IP(V6)_MTU_DISCOVER: DONT, DO
s.settimeout(1)
s.connect((address, 8080))
for _ in range(tries):
    try:
        s.send(bytes(size))
        s.recv(65536)
        print("answered")
        break
    except socket.timeout:
        continue
    except OSError as e:
        print(e.errno == 90 and "too big" or str(e))
        break
else:
    print("silence")
"""


def udp(lab, address, size, source="default/a", tries=10, cut=False):
    return lab.exec(source, "/usr/bin/python3", "-c", UDP, address, size, tries, 0 if cut else 2).stdout.strip()


def put_together(lab, name, version):
    """How many packets a pod has put together out of fragments."""
    counter = "Ip6ReasmOKs" if version == 6 else "IpReasmOKs"
    return int(lab.exec("default/" + name, "nstat", "-asz", counter).stdout.split(counter)[1].split()[0])


def addresses(lab, name):
    return next(p["ips"] for p in lab.status()["pods"] if p["name"] == name)


def inner(mtu, transport, outer6, version):
    fits = mtu - OVERHEAD[transport][outer6]
    return max(fits, 1280) if version == 6 else fits  # RFC 8200 5


def forget_route_mtu(lab, name):
    """As a pod of an older day, whose routes say nothing: the node must tell it."""
    for family, gateway in (("-4", "169.254.1.1"), ("-6", "fe80::1")):
        lab.exec("default/" + name, "ip", family, "route", "replace", "default", "via", gateway, "dev", "eth0", "onlink", check=False)


# Takes one connection, counts what comes until its end, and tells.
SINK = """
import socket
s = socket.create_server(("::", 5201), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
c, _ = s.accept()
n = 0
while data := c.recv(1 << 20):
    n += len(data)
c.sendall(str(n).encode())
"""
# Sends for so many seconds, at least 20 MB; prints what it sent, what arrived, and the longest pause.
SOURCE = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], 5201))
s.settimeout(60)
end, n, last, pause = time.monotonic() + float(sys.argv[2]), 0, time.monotonic(), 0
while n < 20 << 20 or time.monotonic() < end:
    n += s.send(bytes(1 << 16))
    pause, last = max(pause, time.monotonic() - last), time.monotonic()
s.shutdown(socket.SHUT_WR)
print(n, int(s.recv(64)), "%.2f" % pause)
"""


def bulk(lab, address, seconds=0, meanwhile=None):
    """Everything that TCP sends arrives, and it does not take for ever. Returns the longest pause."""
    server = lab.popen("default/b", "/usr/bin/python3", "-c", SINK, stdout=subprocess.PIPE)
    client = None
    try:
        assert server.stdout.readline() == "listening\n"
        client = lab.popen("default/a", "/usr/bin/python3", "-c", SOURCE, address, seconds, stdout=subprocess.PIPE)
        if meanwhile:
            meanwhile()
        sent, received, pause = client.communicate(timeout=120)[0].split()
    finally:
        for p in filter(None, (client, server)):
            p.kill()
            p.wait()
    assert int(sent) == int(received) >= 20 << 20
    return float(pause)


def refused(mtu, transport, outer6, version):
    """The kernel cuts no tunnel packet over IPv6."""
    return version == 6 and outer6 and mtu - OVERHEAD[transport][1] < 1280


@pytest.mark.parametrize("mtu, transport, family, way", [(*of, way) for of, way in CASES])
def test_M1_what_fits_fits_to_the_byte(mtu, transport, family, way):
    outer6, asked = family == "ipv6", transport.partition("-")[0]
    transport, subnets = TRANSPORTS[transport]
    with Lab(nodes=2, transport=asked, subnets=subnets, family=family, mtu=str(mtu), set=settings(way)) as lab:
        lab.apply(pod("a", node="n1"), pod("b", node="n2"))
        lab.wait_ready()
        wait_for("the transport that is expected", lambda: {p["transport"] for n in ("n1", "n2") for p in lab.node_status(n)["peers"]} == {transport})
        if refused(mtu, transport, outer6, 6):
            peer = lab.node_status("n1")["peers"][0]
            assert peer["state"] == "no-room" and str(1280 + OVERHEAD[transport][1]) in peer["why"]
            return
        for address in addresses(lab, "b"):
            version = 6 if ":" in address else 4
            size = inner(mtu, "vxlan" if asked == "auto" else transport, outer6, version) - HEADERS[version]  # a pod's routes keep what is left in the tunnel
            assert udp(lab, address, size) == "answered", (address, size)
            assert udp(lab, address, size + 1) == "too big", (address, size + 1)
            bulk(lab, address)
        forget_route_mtu(lab, "a")
        for address in addresses(lab, "b"):  # the node answers "too big", and what may be cut arrives in fragments
            version = 6 if ":" in address else 4
            size = inner(mtu, transport, outer6, version) - HEADERS[version]
            assert udp(lab, address, size) == "answered", (address, size)
            if transport != "direct":  # there the device itself is that small
                assert udp(lab, address, size + 1) == "too big", (address, size + 1)
            before = put_together(lab, "b", version)
            assert udp(lab, address, size, cut=True) == "answered" and put_together(lab, "b", version) == before
            assert udp(lab, address, size + 1, cut=True) == "answered", (address, size + 1)
            assert put_together(lab, "b", version) > before
            bulk(lab, address)


@contextlib.contextmanager
def in_wireguard(lab, mtu):
    """The nodes' addresses are those of a WireGuard network of somebody else's, as where a provider's network is not trusted: their cards have others."""
    keys = {n: lab.exec(n, "wg", "genkey").stdout.strip() for n in ("n1", "n2")}
    public = {n: lab.exec(n, "wg", "pubkey", input=key).stdout.strip() for n, key in keys.items()}
    inside = {n["name"]: n["addresses"] for n in lab.status()["nodes"]}
    outside = {"n1": ("172.30.0.111", "fd30::111"), "n2": ("172.30.0.112", "fd30::112")}
    with contextlib.ExitStack() as stack:
        for n, peer in (("n1", "n2"), ("n2", "n1")):
            engine = stack.enter_context(lab.popen(n, os.path.join(WEFT_BIN, "weft-wg"), "--foreground", "wg0"))
            stack.callback(engine.terminate)
            wait_for("the engine", lambda: lab.exec(n, "wg", "show", "wg0", check=False).returncode == 0)
            lab.exec(n, "wg", "set", "wg0", "private-key", "/dev/stdin", "listen-port", "51820", "peer", public[peer], "endpoint", outside[peer][0] + ":51820",
                     "allowed-ips", ",".join(inside[peer]), input=keys[n])
            lab.exec(n, "sh", "-ec", "ip link set wg0 mtu %d up; sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1" % mtu)
            for card, own, to, subnet in zip(outside[n], inside[n], inside[peer], (24, 64)):
                nodad = ["nodad"] * (":" in own)
                lab.exec(n, "ip", "addr", "add", "%s/%d" % (card, subnet), "dev", "eth0", *nodad)
                lab.exec(n, "ip", "addr", "del", "%s/%d" % (own, subnet), "dev", "eth0")
                lab.exec(n, "ip", "addr", "add", own, "dev", "wg0", *nodad)
                lab.exec(n, "ip", "route", "add", to, "dev", "wg0", "src", own)
        yield


def through_wireguard(lab):
    """Bytes."""
    return int(lab.exec("n1", "wg", "show", "wg0", "transfer").stdout.split()[2])


WIDTHS = {1360: 1280, 1500: 1420, 9000: 8920}  # of the cables, and of the WireGuard interface
IN_WIREGUARD = [(w, t, f, way) for w, t, f in itertools.product(WIDTHS, ("vxlan", "geneve"), ("dual", "dual6")) for way in WAYS] if FULL else \
               [(*of, way) for of, way in zip(((1500, "vxlan", "dual"), (9000, "geneve", "dual6"), (1360, "vxlan", "dual6")), WAYS)]


@pytest.mark.parametrize("cable, transport, family, way", IN_WIREGUARD)
def test_M1_a_tunnel_within_wireguard_fits_to_the_byte(cable, transport, family, way):
    """The underlay has fewer bytes than the cables and no Ethernet header: the kernel's device makes the outer packets. None is cut, but where IPv6 would not have its 1280 bytes."""
    width, outer6 = WIDTHS[cable], family == "dual6"
    fits = width - OVERHEAD[transport][outer6]
    with Lab(nodes=2, transport=transport, family=family, mtu=cable, set=settings(way)) as lab, in_wireguard(lab, width):
        for n in ("n1", "n2"):
            wait_for("the node's MTU follows", lambda: lab.node_status(n)["mtu"] == {"device": width, "route": fits})
        lab.apply(pod("a", node="n1"), pod("b", node="n2"))
        lab.wait_ready()
        peer = lab.node_status("n1")["peers"][0]
        no_room = refused(width, transport, outer6, 6)
        assert peer["state"] == "ok" and peer["mtu"] == fits and (":" in peer["address"]) == outer6, peer
        assert not no_room or "%d bytes" % (1280 + OVERHEAD[transport][1]) in peer["why"], peer
        for address in addresses(lab, "b"):
            version, before = 6 if ":" in address else 4, through_wireguard(lab)
            if version == 6 and no_room:
                assert udp(lab, address, 0, tries=2) != "answered"
                continue
            size = inner(width, transport, outer6, version) - HEADERS[version]
            assert udp(lab, address, size) == "answered", (address, size)
            assert udp(lab, address, size + 1) == "too big", (address, size + 1)
            bulk(lab, address)
            assert through_wireguard(lab) - before > 20 << 20
        counters = lab.exec("n1", "nstat", "-asz", "IpFragCreates", "Ip6FragCreates").stdout.split("\n")
        assert bool(sum(int(line.split()[1]) for line in counters if "FragCreates" in line)) == (fits < 1280 and not no_room), counters


@pytest.mark.parametrize("transport", ("direct", "vxlan", "wireguard"))
def test_M1_an_underlay_that_is_said_to_be_smaller_than_IPv6_allows(transport):
    """In tunnels IPv6 has its 1280 bytes all the same; without one nobody may cut its packets: the node says why it does not send them."""
    mtu = 1100
    with Lab(nodes=2, transport=transport, set="mtu=%d" % mtu) as lab:
        lab.apply(pod("a", node="n1"), pod("a2", node="n1"), pod("b", node="n2"))
        lab.wait_ready()
        assert lab.node_status("n1")["mtu"] == {"device": 1280, "route": mtu - OVERHEAD[transport][0]}
        (v4, v6), near6 = addresses(lab, "b"), addresses(lab, "a2")[1]
        assert udp(lab, near6, 1280 - HEADERS[6]) == "answered"
        fits = mtu - OVERHEAD[transport][0] - HEADERS[4]
        assert udp(lab, v4, fits) == "answered" and udp(lab, v4, fits + 1) == "too big"
        bulk(lab, v4)
        peer = lab.node_status("n1")["peers"][0]
        assert peer["state"] == "ok"
        if transport == "direct":
            assert "needs an underlay of 1280 bytes, this one has %d" % mtu in peer["why"]
            assert udp(lab, v6, 0, tries=2) != "answered"
        else:
            assert udp(lab, v6, 1280 - HEADERS[6]) == "answered" and udp(lab, v6, 1281 - HEADERS[6]) == "too big"
            bulk(lab, v6)


@pytest.fixture(scope="module")
def lab():
    with Lab(nodes=2, transport="vxlan") as lab:
        lab.apply(pod("a", node="n1"), pod("b", node="n2"))
        lab.wait_ready()
        yield lab


def test_M4_too_big_from_the_world_reaches_the_pod_behind_the_node(lab):
    """The router's answer is to the node, about the node's packet: masquerade turns it back."""
    world = lab.status()["world"]["addresses"]
    run(*lab.fabric("ip", "link", "set", "world", "mtu", "1400"))
    try:
        for address in (a.split("/")[0] for a in world):
            version = 6 if ":" in address else 4
            assert udp(lab, address, 1450 - HEADERS[version], tries=3) == "too big", address
    finally:
        run(*lab.fabric("ip", "link", "set", "world", "mtu", "1500"))


def test_M3_a_path_that_shrinks_under_traffic(lab):
    address = next(a for a in addresses(lab, "b") if ":" not in a)

    def shrink():
        for node in ("n1", "n2"):
            lab.exec(node, "ip", "link", "set", "eth0", "mtu", "1400")
            run(*lab.fabric("ip", "link", "set", node, "mtu", "1400"))
        for node in ("n1", "n2"):
            wait_for("routes follow", lambda: lab.node_status(node)["mtu"] == {"device": 1400, "route": 1350})
            assert "mtu 1350" in lab.exec(node, "ip", "route", "show", "dev", "weft-vxlan").stdout
            assert "mtu 1350" in lab.exec(node, "ip", "link", "show", "weft-vxlan").stdout

    print("the longest pause of the sender: %.2f s" % bulk(lab, address, 4, shrink))
    assert udp(lab, address, 1350 - 28) == "answered"
    assert udp(lab, address, 1350 - 27) == "too big"
