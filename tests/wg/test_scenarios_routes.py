# SPDX-License-Identifier: Apache-2.0
"""More of what WireGuard's own network namespace test is about: tunnels in tunnels, routes, marks, and which address speaks. As in
test_scenarios.py, the kernel's WireGuard has to pass, too."""

import re
import socket
import subprocess
import threading
import time

import pytest

from nodes import OURS, transfer_tcp, transfer_udp, wait_for


@pytest.mark.parametrize("streams", [4, 5, 50])
def test_parallel_streams(world, streams):
    ea, eb = world.pair()
    assert ea.node.ping("10.9.0.2") == 3
    failed = []

    def one(port):
        try:
            transfer_tcp(ea.node, eb.node, "10.9.0.2", 128 << 10, port)
        except Exception as e:
            failed.append(e)
    threads = [threading.Thread(target=one, args=(5100 + i,)) for i in range(streams)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed, failed


def test_tunnel_in_a_tunnel(world):
    """A second interface at each end whose peers are reached through the first."""
    ea, eb = world.pair()
    ia, ib = world.engine(ea.node, "wg1", "weft"), world.engine(eb.node, "wg1", "weft")
    for me, other, i in ((ia, ib, 1), (ib, ia, 2)):
        me.wg("private-key @%s listen-port 5 peer %s allowed-ips 10.91.0.%d/32,fd91::%d/128 endpoint [fd09::%d]:5" % (
            me.key.private, other.key.public, 3 - i, 3 - i, 3 - i))
        me.address("10.91.0.%d/24" % i, "fd91::%d/112" % i, mtu=1340)
    assert ea.node.ping("10.91.0.2") == eb.node.ping("fd91::1") == 3
    for client, server, to in ((ea.node, eb.node, "10.91.0.2"), (ea.node, eb.node, "fd91::2"), (eb.node, ea.node, "10.91.0.1"), (eb.node, ea.node, "fd91::1")):
        transfer_tcp(client, server, to, 1 << 20)
        transfer_udp(client, server, to, [64] * 40 + [1200] * 40)


def test_peer_behind_a_peer(world):
    """One interface, two layers: the second peer's endpoint lies behind the first. Then it lies behind itself: nothing but silence."""
    ea, eb = world.pair()
    behind = world.engine(eb.node, "wg1", "weft")
    behind.wg("private-key @%s listen-port 5 peer %s allowed-ips 10.92.0.1/32" % (behind.key.private, ea.key.public))
    behind.address("10.92.0.2/24")
    ea.wg("peer %s allowed-ips 10.92.0.2/32 endpoint 10.9.0.2:5" % behind.key.public)
    ea.node.ip("addr add 10.92.0.1/24 dev wg0")
    assert ea.node.ping("10.92.0.2") == 3
    behind.node.ip("link del wg1")
    ea.wg("peer %s endpoint 10.92.0.2:5" % behind.key.public)
    assert ea.node.ping("10.92.0.2", count=1, wait=1) == 0
    assert ea.node.ping("10.9.0.2") == 3


def test_loop_through_two_interfaces(world):
    """Each peer's endpoint lies behind the other interface: what one has sealed, the other seals again. That ends by itself."""
    ea, eb = world.pair()
    ia, ib = world.engine(ea.node, "wg1", "weft"), world.engine(eb.node, "wg1", "weft")
    for me, other, i in ((ia, ib, 1), (ib, ia, 2)):
        me.wg("private-key @%s listen-port 5 peer %s allowed-ips 10.91.0.%d/32,fd91::%d/128 endpoint 192.168.9.%d:5" % (
            me.key.private, other.key.public, 3 - i, 3 - i, 3 - i))
        me.address("10.91.0.%d/24" % i, "fd91::%d/112" % i, mtu=1340)
    assert ea.node.ping("10.9.0.2") == ea.node.ping("10.91.0.2") == 3
    s = ea.node.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for first, second, size in (("10.91.0.2", "10.9.0.2", 56), ("10.91.0.2", "10.9.0.2", 4000), ("[fd91::2]", "[fd09::2]", 1200)):
        ea.wg("peer %s endpoint %s:5" % (eb.key.public, first))
        ia.wg("peer %s endpoint %s:51820" % (ib.key.public, second))
        seen = [[e.transfer()[1] for e in (ea, ia)]]
        for _ in range(10):
            s.sendto(bytes(size), ("10.9.0.2", 9))

        def same():
            time.sleep(0.1)
            seen.append([e.transfer()[1] for e in (ea, ia)])
            return seen[-1] == seen[-2]
        wait_for(same, message="they send no more")
        for before, after in zip(seen[0], seen[-1]):
            assert after - before > 10 * size, seen  # there was a loop
            assert after - before < 70000 + 10 * 40 * size or (OURS == "kernel" and size > 1000), seen  # it ends there, too, but later
    s.close()
    ea.wg("peer %s endpoint 192.168.9.2:51820" % eb.key.public)
    assert ea.node.ping("10.9.0.2") == 3


def test_bound_to_the_interface(world):
    """A socket bound to the interface; a packet whose mark changes and which is routed anew: of both kinds none is lost."""
    ea, eb = world.pair()
    assert ea.node.ping("10.9.0.2", extra=("-I", "wg0")) == 3
    ea.node.run("iptables", "-t", "mangle", "-I", "OUTPUT", "-j", "MARK", "--set-xmark", "1")
    assert ea.node.ping("10.9.0.2") == 3
    assert ea.node.ping("10.9.0.2", extra=("-I", "wg0")) == 3


def test_error_finds_its_way_through_nat(world):
    """b masquerades what c sends into the tunnel. Without a peer there, the ICMP error reaches c, not only b. The kernel's comes from b's
    address towards c. A TUN's packets may not come from an address of the host: ours comes from the one that cannot be reached."""
    ea, eb = world.pair()
    c = world.node("c")
    world.wire(c, eb.node, "10.0.0.", clear=True)
    eb.node.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    eb.node.run("iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "10.0.0.0/24", "-d", "10.9.0.0/24", "-j", "MASQUERADE")
    c.ip("route add 10.9.0.0/24 via 10.0.0.2")
    assert ea.node.ping("10.9.0.2") == 3
    assert c.ping("10.9.0.1") == 3
    eb.wg("peer %s remove" % ea.key.public)
    out = c.run("ping", "-n", "-c", "1", "-W", "5", "10.9.0.1", check=False).stdout
    assert "From %s icmp_seq=1 Destination Host Unreachable" % ("10.0.0.2" if OURS == "kernel" else "10.9.0.1") in out, out


def test_spoken_to_at_an_address_of_another_interface(world):
    ea, eb = world.pair()
    ea.node.ip("addr add 10.50.0.1/32 dev lo")
    eb.node.ip("route add 10.50.0.0/24 via 192.168.9.1")
    eb.wg("peer %s endpoint 10.50.0.1:51820" % ea.key.public)
    assert eb.node.ping("10.9.0.1") == 3
    assert eb.show("endpoints")[0] == "10.50.0.1:51820"


def test_better_route(world):
    """A second link with a better route comes while they talk: the packets take it, from the address that goes with it."""
    ea, eb = world.pair()
    assert ea.node.ping("10.9.0.2") == 3
    world.wire(ea.node, eb.node, "192.168.12.", names=("new-a", "new-b"))
    for e in (ea, eb):
        for name in e.node.out("ls", "/proc/sys/net/ipv4/conf").split():
            e.node.run("sysctl", "-qw", "net.ipv4.conf.%s.rp_filter=0" % name)
    talk = ea.node.spawn(["ping", "-n", "-q", "-i", "0.01", "10.9.0.2"], stdout=subprocess.DEVNULL)
    wait_for(lambda: eb.transfer()[0] > 5000, message="they talk")
    assert eb.show("endpoints")[0] == "192.168.9.1:51820"
    ea.node.ip("route add 192.168.9.2/32 via 192.168.12.2 dev new-a src 192.168.12.1")

    def sent():
        return int(re.search(r"new-a:(.*)", ea.node.out("cat", "/proc/%d/net/dev" % ea.node.pid)).group(1).split()[9])
    before = sent()
    wait_for(lambda: sent() - before >= 10, message="the packets take it")
    wait_for(lambda: eb.show("endpoints")[0] == "192.168.12.1:51820", message="from the address that goes with it")
    wait_for(lambda: ea.show("endpoints")[0] == "192.168.9.2:51820" and ea.node.ping("10.9.0.2") == 3, message="and they still talk")
    talk.kill()
    ea.node.ip("route del 192.168.9.2/32 dev new-a")
    wait_for(lambda: ea.node.ping("10.9.0.2", count=1, wait=1) and eb.show("endpoints")[0] == "192.168.9.1:51820", message="and back")
