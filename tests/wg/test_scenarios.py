# SPDX-License-Identifier: Apache-2.0
"""What WireGuard's own network namespace test is about, made anew: the sockets live in one namespace, the interfaces were
moved into two others; exact counters, MTUs, address changes, allowed IPs, NAT, policy routing, queues.

test_kernel.py runs this file on the kernel's WireGuard, too: nothing here may ask for more than both do."""

import re
import socket
import time

import pytest

from nodes import OURS, SLOWNESS, psk, transfer_tcp, transfer_udp, wait_for


@pytest.fixture
def moved(world):
    """n0 holds both engines and their sockets (over lo); wg1 lives in n1, wg2 in n2."""
    n0, n1, n2 = (world.node(n) for n in ("n0", "n1", "n2"))
    e1, e2 = world.engine(n0, "wg1", "weft"), world.engine(n0, "wg2", "weft")
    secret = psk()
    for e, other, n, i in ((e1, e2, n1, 1), (e2, e1, n2, 2)):
        e.move(n)
        e.wg("private-key @%s listen-port %d peer %s preshared-key @%s allowed-ips 192.168.241.%d/32,fd00::%d/128" % (
            e.key.private, i, other.key.public, secret, 3 - i, 3 - i))
        n.ip("addr add 192.168.241.%d/24 dev %s" % (i, e.name))
        n.ip("addr add fd00::%d/112 dev %s nodad" % (i, e.name))
        n.ip("link set %s up" % e.name)
    return n0, n1, n2, e1, e2


def set_mtu(n1, n2, mtu):
    n1.ip("link set wg1 mtu %d" % mtu)
    n2.ip("link set wg2 mtu %d" % mtu)


def all_kinds(n1, n2):
    assert n2.ping("192.168.241.1", count=20) == 20
    assert n1.ping("192.168.241.2", count=20) == 20
    assert n2.ping("fd00::1", count=20) == 20
    assert n1.ping("fd00::2", count=20) == 20
    transfer_tcp(n1, n2, "192.168.241.2")
    transfer_tcp(n1, n2, "fd00::2")
    transfer_tcp(n2, n1, "192.168.241.1")
    transfer_tcp(n2, n1, "fd00::1")
    transfer_udp(n1, n2, "192.168.241.2", [1000] * 64)
    transfer_udp(n2, n1, "fd00::1", [64] * 64)


def test_moved_interfaces(moved):
    n0, n1, n2, e1, e2 = moved
    e1.wg("peer %s endpoint 127.0.0.1:2" % e2.key.public)
    e2.wg("peer %s endpoint 127.0.0.1:1" % e1.key.public)
    # Engines learn about interfaces in other namespaces by asking once a second.
    assert wait_for(lambda: n2.ping("192.168.241.1", count=1, wait=1), message="the moved interfaces carry packets")
    all_kinds(n1, n2)
    set_mtu(n1, n2, 34000)
    all_kinds(n1, n2)
    set_mtu(n1, n2, 1420)
    for a, b, to in ((e1, e2, "[::1]:2"), (e2, e1, "[::1]:1")):
        a.wg("peer %s endpoint %s" % (b.key.public, to))
    all_kinds(n1, n2)
    set_mtu(n1, n2, 34000)
    all_kinds(n1, n2)


def test_W_9_what_is_in_the_clear_is_seen(world):
    """Every test looks for packets on its wires that belong into the tunnel, and fails when there is one. Here there are some."""
    ea, eb = world.pair()
    assert ea.node.ping("10.9.0.2") == ea.node.ping("fd09::2") == 3
    assert not world.leaks()
    for to, via in (("10.9.0.2", "192.168.9.2"), ("fd09::2", "fd99::2")):
        ea.node.ip("route add %s via %s dev to-b" % (to, via))
        with ea.node.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"in the clear", (to, 9))
        assert wait_for(world.leaks, message="it is seen")
        ea.node.ip("route del %s via %s dev to-b" % (to, via))
    with eb.node.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:  # and from the other end
        eb.node.ip("route add 10.9.0.1 via 192.168.9.1 dev to-a")
        s.sendto(b"in the clear", ("10.9.0.1", 9))
    assert wait_for(world.leaks, message="it is seen")
    wait_for(lambda: not world.leaks(), message="and nothing more, as of the answer that the port is closed")


def test_exact_counters(world):
    ea, eb = world.pair()
    assert ea.node.ping("10.9.0.2", count=10) == 10
    rx, tx = ea.transfer()
    # 84 bytes are padded to 96; as the first packet waits for the session, no keepalive ends the handshake
    assert (rx, tx) == (92 + 10 * (96 + 32), 148 + 10 * (96 + 32))
    assert eb.transfer() == (tx, rx)


def test_padding_stays_within_the_mtu(world):
    """An outer link that takes exactly MTU + 60: not one byte of padding too many."""
    ea, eb = world.pair(mtu=1420)
    for e in (ea, eb):
        e.node.ip("link set wg0 mtu 1360")
    for size in (1359, 1360, 1345, 1344):
        assert ea.node.ping("10.9.0.2", count=2, extra=("-M", "do", "-s", size - 28)) == 2, size
    assert fragments(ea.node) == 0


def fragments(node):
    stats = node.out("cat", "/proc/net/snmp").splitlines()
    names, values = [line.split()[1:] for line in stats if line.startswith("Ip:")]
    return int(dict(zip(names, values))["FragCreates"])


def test_padding_stays_within_a_routes_mtu(world):
    """The same, of routes that want a byte less than the interface. Of which packets that is true, the engine hears a little later."""
    ea, eb = world.pair(mtu=1359)
    for e in (ea, eb):
        e.node.ip("link set wg0 mtu 1300")
    nodes = (ea.node, eb.node)

    def whole(size=1297):
        before = sum(map(fragments, nodes))
        assert ea.node.ping("10.9.0.2", count=1, extra=("-M", "do", "-s", size - 28)) == 1
        return sum(map(fragments, nodes)) == before
    assert not whole()
    ea.node.ip("route add 10.9.0.2/32 dev wg0 mtu 1299")
    eb.node.ip("route add 10.9.0.1/32 dev wg0 mtu 1299")
    wait_for(whole, message="no padding beyond the route's MTU")
    assert all(whole(size) for size in (1282, 1296, 1298, 1299))
    for e, other in ((ea, "10.9.0.2"), (eb, "10.9.0.1")):
        e.node.ip("route del %s/32 dev wg0" % other)
    wait_for(lambda: not whole(), message="padding as before")


def test_mtu_of_the_path_is_kept(world):
    """A router inside the tunnel's far side with a smaller MTU: "packet too big" reaches the sender."""
    ea, eb = world.pair()
    c = world.node("c")
    world.wire(eb.node, c, "172.16.5.", mtu=1300, clear=True)
    eb.node.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    c.ip("route add default via 172.16.5.1")
    ea.node.ip("route add 172.16.5.0/24 dev wg0")
    ea.wg("peer %s allowed-ips 10.9.0.2/32,172.16.5.0/24" % eb.key.public)
    out = ea.node.run("ping", "-n", "-c", "2", "-i", "0.1", "-W", "1", "-M", "do", "-s", "1380", "172.16.5.2", check=False).stdout
    assert "mtu = 1300" in out, out
    transfer_tcp(ea.node, c, "172.16.5.2")
    assert "mtu 1300" in ea.node.out("ip", "route", "get", "172.16.5.2")
    transfer_tcp(c, ea.node, "10.9.0.1")


def test_W_5_source_must_be_allowed(world):
    """Inner packets from an address that is not the peer's are dropped; the most specific owner counts."""
    ea, eb = world.pair(extra_b=["--metrics", "unix:/run/metrics"])
    ea.node.ip("addr add 10.9.7.7/32 dev wg0")
    assert ea.node.ping("10.9.0.2") == 3
    assert ea.node.ping("10.9.0.2", count=2, wait=1, extra=("-I", "10.9.7.7")) == 0
    if OURS == "weft":
        wait_for(lambda: eb.metric("drop_wrong_source_total") == 2, message="both are counted")
    eb.wg("peer %s allowed-ips 10.9.0.0/16" % ea.key.public)
    eb.node.ip("route add 10.9.7.0/24 dev wg0")
    assert ea.node.ping("10.9.0.2", count=2, extra=("-I", "10.9.7.7")) == 2
    from nodes import Key
    eb.wg("peer %s allowed-ips 10.9.7.7/32" % Key().public)
    ea.wg("listen-port 51821")
    assert ea.node.ping("10.9.0.2", count=2, wait=1, extra=("-I", "10.9.7.7")) == 0
    wait_for(lambda: eb.show("endpoints", ea.key.public) == ["192.168.9.1:51821"], message="it is the peer, whatever it carries")


def test_unreachable_is_answered(world):
    """No peer, or a peer without an endpoint: an ICMP error at once, not silence."""
    ea, eb = world.pair(know=())
    ea.node.ip("route add 10.8.0.0/16 dev wg0")
    for to in ("10.8.1.1", "10.9.0.2", "fd09::2", "fd09::99"):
        t = time.monotonic()
        out = ea.node.run("ping", "-n", "-c", "1", "-W", "5", to, check=False).stdout
        assert re.search("[Uu]nreachable", out), out
        assert time.monotonic() - t < 3 * SLOWNESS


def test_source_address_is_kept_and_given_up(world):
    """Answers leave from the address that was spoken to; when it goes, from another one."""
    ea, eb = world.pair()
    a, b = ea.node, eb.node
    b.ip("addr add 192.168.9.200/24 dev to-a")
    ea.wg("peer %s endpoint 192.168.9.200:51820" % eb.key.public)
    assert a.ping("10.9.0.2") == 3
    assert ea.show("endpoints")[0] == "192.168.9.200:51820"
    assert b.ping("10.9.0.1") == 3
    assert ea.show("endpoints")[0] == "192.168.9.200:51820"
    b.ip("addr del 192.168.9.200/24 dev to-a")
    assert wait_for(lambda: b.ping("10.9.0.1", count=1, wait=1), message="b speaks from its other address")
    assert ea.show("endpoints")[0] == "192.168.9.2:51820"
    assert a.ping("10.9.0.2") == 3


def test_nat_and_keepalive(world):
    """The client is behind a masquerading router that forgets idle mappings; a persistent keepalive holds the way open."""
    c, r, s = (world.node(n) for n in ("client", "router", "server"))
    world.wire(c, r, "192.168.1.")
    world.wire(s, r, "10.0.0.", names=("to-router", "to-server"))
    r.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    forget = 2 * min(SLOWNESS, 2)  # twice that is less than KEEPALIVE_TIMEOUT
    r.run("iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "to-server", "-j", "MASQUERADE")
    for name in ("net.netfilter.nf_conntrack_udp_timeout", "net.netfilter.nf_conntrack_udp_timeout_stream"):
        r.run("sysctl", "-qw", "%s=%d" % (name, forget))
    c.ip("route add default via 192.168.1.2")
    ec, es = world.engine(c, "wg0", "weft"), world.engine(s, "wg0", "weft")
    ec.wg("private-key @%s peer %s allowed-ips 10.9.0.2/32 endpoint 10.0.0.1:51820" % (ec.key.private, es.key.public))
    es.wg("private-key @%s listen-port 51820 peer %s allowed-ips 10.9.0.1/32" % (es.key.private, ec.key.public))
    ec.address("10.9.0.1/24")
    es.address("10.9.0.2/24")
    assert c.ping("10.9.0.2") == 3
    assert s.ping("10.9.0.1") == 3
    assert es.show("endpoints")[0].startswith("10.0.0.2:")
    time.sleep(2 * forget)
    assert s.ping("10.9.0.1", count=2, wait=1) == 0  # the mapping is gone: this is what the keepalive is for
    ec.wg("peer %s persistent-keepalive 1" % es.key.public)
    time.sleep(2 * forget)
    assert s.ping("10.9.0.1") == 3


def test_mark_and_default_route(world):
    """Everything through the tunnel but its own packets, told apart by their mark."""
    ea, eb = world.pair()
    a = ea.node
    ea.wg("fwmark 51820 peer %s allowed-ips 0.0.0.0/0,::/0" % eb.key.public)
    a.ip("route add default dev wg0 table 51820")
    a.ip("rule add not fwmark 51820 table 51820")
    a.ip("rule add table main suppress_prefixlength 0")
    a.ip("-6 route add default dev wg0 table 51820")
    a.ip("-6 rule add not fwmark 51820 table 51820")
    a.ip("-6 rule add table main suppress_prefixlength 0")
    a.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0")
    eb.node.ip("addr add 203.0.113.7/32 dev lo")
    eb.node.ip("addr add fd77::7/128 dev lo")
    assert a.ping("203.0.113.7", count=100, interval=0.002) == a.ping("fd77::7", count=100, interval=0.002) == 100
    transfer_tcp(a, eb.node, "203.0.113.7", 1 << 20)
    assert ea.node.out("wg", "show", "wg0", "fwmark").strip() == "0xca6c"


def test_another_mark_is_another_way(world):
    """By the rule of the new mark packets leave by another interface: with its address, not the one that the peer has spoken to."""
    ea, eb = world.pair()
    a, b = ea.node, eb.node
    world.wire(a, b, "192.168.12.", names=("new-a", "new-b"))
    for n in (a, b):
        for name in ["all", *(("new-a", "to-b") if n is a else ("new-b", "to-a"))]:
            n.run("sysctl", "-qw", "net.ipv4.conf.%s.rp_filter=0" % name)
    a.ip("route add 192.168.9.2/32 via 192.168.12.2 dev new-a table 77")
    a.ip("rule add fwmark 7 table 77")
    assert a.ping("10.9.0.2") == 3 and eb.show("endpoints")[0] == "192.168.9.1:51820"
    ea.wg("fwmark 7")
    assert a.ping("10.9.0.2") == 3 and eb.show("endpoints")[0] == "192.168.12.1:51820"
    ea.wg("fwmark 0")
    assert a.ping("10.9.0.2") == 3 and eb.show("endpoints")[0] == "192.168.9.1:51820"


def test_no_endless_loop(world):
    """The peer's endpoint lies inside the tunnel, with a session that works: its packets would be sealed for ever."""
    ea, eb = world.pair()
    assert ea.node.ping("10.9.0.2") == 3
    for inside in ("10.9.0.2:51820", "[fd09::2]:51820"):
        before = ea.transfer()[1]
        ea.wg("peer %s endpoint %s" % (eb.key.public, inside))
        assert ea.node.ping("10.9.0.2", count=1, wait=1, extra=("-s", "1300")) == 0
        sent = ea.transfer()[1] - before
        assert sent < (70000 if OURS == "weft" else 8 << 20), sent  # the kernel notices a little later
    ea.wg("peer %s endpoint 192.168.9.2:51820" % eb.key.public)
    assert ea.node.ping("10.9.0.2") == 3


def test_allowed_ips_move_between_peers(world):
    """What one peer is given is taken from the other, at once and while packets flow."""
    ea, eb = world.pair()
    c = world.node("c")
    world.wire(ea.node, c, "192.168.10.")
    ec = world.engine(c, "wg0", "weft")
    ec.wg("private-key @%s listen-port 51820 peer %s allowed-ips 10.9.0.1/32" % (ec.key.private, ea.key.public))
    for e in (eb, ec):
        e.node.ip("addr add 10.9.0.50/32 dev lo")
    ec.address("10.9.0.3/24")
    ea.wg("peer %s allowed-ips 10.9.0.3/32 endpoint 192.168.10.2:51820" % ec.key.public)
    ea.wg("peer %s allowed-ips 10.9.0.2/32,10.9.0.50/32" % eb.key.public)
    assert ea.node.ping("10.9.0.2") == ea.node.ping("10.9.0.3") == ea.node.ping("10.9.0.50") == 3
    for _ in range(3):
        for now, other, own in ((ec, eb, "10.9.0.3/32"), (eb, ec, "10.9.0.2/32")):
            ea.wg("peer %s allowed-ips %s,10.9.0.50/32" % (now.key.public, own))
            rx = [e.transfer()[0] for e in (now, other)]
            assert ea.node.ping("10.9.0.50") == 3
            got = [e.transfer()[0] - before for e, before in zip((now, other), rx)]
            assert got[0] >= 3 * 128 and got[1] < 128, got  # a keepalive may come at any time


def test_first_packets_wait_for_the_session(world):
    """Datagrams sent before there is a session arrive when it is made, in their order and each once."""
    ea, eb = world.pair()
    rx = eb.node.socket(2, 2)
    rx.bind(("10.9.0.2", 5003))
    rx.settimeout(15 * SLOWNESS)
    tx = ea.node.socket(2, 2)
    tx.connect(("10.9.0.2", 5003))
    eb.node.ip("link set to-a down")  # nothing answers yet
    for i in range(100):
        tx.send(b"%03d" % i)
    eb.node.ip("link set to-a up")
    got = [rx.recv(64) for _ in range(100)]
    assert got == [b"%03d" % i for i in range(100)]
    rx.setblocking(False)
    with pytest.raises(BlockingIOError):
        rx.recv(64)
    rx.close()
    tx.close()


def test_down_and_up(world):
    """Down: no sockets, no keys; up: the persistent keepalive brings the session back by itself."""
    ea, eb = world.pair()
    assert ea.node.ping("10.9.0.2") == 3
    ea.wg("peer %s persistent-keepalive 1" % eb.key.public)
    before = int(ea.show("latest-handshakes")[0])
    ea.node.ip("link set wg0 down")
    wait_for(lambda: "51820" not in ea.node.out("ss", "-Huln"), message="the engine sees the link go down")
    wait_for(lambda: int(time.time()) > before, message="a second that tells the handshakes apart")
    ea.node.ip("link set wg0 up")
    wait_for(lambda: int(ea.show("latest-handshakes")[0]) > before, message="a new handshake")
    assert ea.node.ping("10.9.0.2") == 3


def test_changes_of_key_and_peers_under_way(world):
    # ten minutes between initiations: with a new key nobody has asked yet, though somebody has a moment ago
    ea, eb = world.pair(know=("a", "b"), env_a={"WEFT_WG_TIMERS": "rekey_timeout=600,rekey_attempt_time=6000"})
    assert ea.node.ping("10.9.0.2") == 3
    from nodes import Key
    fresh = Key()
    eb.wg("peer %s allowed-ips 10.9.0.1/32,fd09::1/128 endpoint 192.168.9.1:51820" % fresh.public)
    ea.wg("private-key @%s" % fresh.private)
    assert wait_for(lambda: ea.node.ping("10.9.0.2", count=1, wait=1), message="a session with the new key")
    ea.wg("peer %s remove" % eb.key.public)
    assert ea.node.ping("10.9.0.2", count=1, wait=1) == 0
    # our own key as a peer is not a peer
    ea.wg("peer %s allowed-ips 10.9.0.2/32" % fresh.public)
    assert ea.node.out("wg", "show", "wg0", "peers") == ""


def test_port_in_use(world):
    ea, eb = world.pair()
    other = world.engine(ea.node, "wg5", "weft")
    other.wg("private-key @%s" % other.key.private)
    other.address("10.77.0.1/24")
    wait_for(lambda: other.node.out("wg", "show", "wg5", "listen-port").strip() != "0", message="a port of its own")
    done = other.node.run("wg", "set", "wg5", "listen-port", "51820", check=False)
    assert done.returncode != 0 and "in use" in done.stderr
    assert ea.node.ping("10.9.0.2") == 3
    ea.wg("listen-port 51821")
    assert ea.node.out("wg", "show", "wg0", "listen-port").strip() == "51821"
    assert ea.node.ping("10.9.0.2") == 3


@pytest.mark.parametrize("family", [4, 6])
def test_congestion_marks(world, family):
    """ECN goes out with the packet and a mark made on the way comes in with it; DSCP stays inside."""
    ea, eb = world.pair(outer=family)
    assert ea.node.ping("10.9.0.2") == 3
    t = eb.node.spawn(["tcpdump", "-Z", "root", "-lnvi", "to-a", "-c", "1", "udp port 51820 and " + ("ip[1]&3=2" if family == 4 else "(ip6[1]&0x30)=0x20")],
                      stdout=-1, stderr=-1, text=True)
    assert "listening" in t.stderr.readline()
    assert ea.node.ping("10.9.0.2", count=5, extra=("-Q", "0xba")) == 5  # DSCP EF, ECT(0)
    out, _ = t.communicate(timeout=5)
    assert ("tos 0x2," in out) if family == 4 else ("class 0x02" in out), out
