# SPDX-License-Identifier: Apache-2.0
"""Restarts that are planned (--takeover): nothing is lost, nothing is begun anew; and starts beside an engine that runs."""

import base64
import contextlib
import fcntl
import os
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest
from test_crossing import Relay
from nodes import WEFT, Key, flood, transfer_tcp, wait_for


def test_W_10_planned_restart_loses_nothing(world):
    """The successor takes over under traffic: no packet is lost, no handshake is needed, TCP streams go on."""
    ea, eb = world.pair(extra_a=["--metrics", "unix:/run/metrics"])
    assert ea.node.ping("10.9.0.2") == 3
    at = ea.show("latest-handshakes")
    pings = []
    t = threading.Thread(target=lambda: pings.append(ea.node.ping("10.9.0.2", count=1000, interval=0.003)))
    u = threading.Thread(target=lambda: transfer_tcp(ea.node, eb.node, "fd09::2", 256 << 20))
    t.start()
    u.start()
    for _ in range(3):
        time.sleep(0.7)
        old = ea.process
        ea.start(extra=["--takeover"])
        assert old.wait(timeout=5) == 0
    t.join()
    u.join()
    assert pings == [1000]
    assert ea.show("latest-handshakes") == at
    assert ea.metric("initiations_sent_total") == 0
    assert ea.node.ping("10.9.0.2") == 3 and eb.node.ping("10.9.0.1") == 3


@pytest.mark.parametrize("outer", [4, 6])
def test_W_10_planned_restart_keeps_the_source_address(world, outer):
    """A host with several addresses goes on to speak from the one that it was spoken to at."""
    ea, eb = world.pair(outer=outer)
    second = {4: "192.168.9.200", 6: "fd99::200"}[outer]
    eb.node.ip("addr add %s dev to-a%s" % ((second + "/24", "") if outer == 4 else (second + "/64", " nodad preferred_lft 0")))
    endpoint = (second if outer == 4 else "[%s]" % second) + ":51820"
    ea.wg("peer %s endpoint %s" % (eb.key.public, endpoint))
    assert ea.node.ping("10.9.0.2") == 3
    for _ in range(2):
        old = eb.process
        eb.start(extra=["--takeover"])
        assert old.wait(timeout=5) == 0
        assert eb.node.ping("10.9.0.1") == 3
        assert ea.show("endpoints")[0] == endpoint


def waits_in(process, call):
    """For an answer of somebody's: the number of the system call that it is in."""
    with open("/proc/%d/syscall" % process.pid) as f:
        return f.read().split()[0] == {"connect": {"x86_64": "42", "aarch64": "203"}, "recvfrom": {"x86_64": "45", "aarch64": "207"}}[call][os.uname().machine]


def test_W_10_successors_at_once_take_turns(world):
    """Each takes over, from the one before; the last one stays."""
    ea, _ = world.pair()
    assert ea.node.ping("10.9.0.2") == 3
    at = ea.show("latest-handshakes")
    engines = [ea.process]
    ea.process.send_signal(signal.SIGSTOP)
    for _ in range(3):
        ea.start(extra=["--takeover"], wait=False)
        engines.append(ea.process)
        wait_for(lambda: waits_in(ea.process, "recvfrom"), message="it has asked")
    engines[0].send_signal(signal.SIGCONT)
    wait_for(lambda: sum(p.poll() is None for p in engines) == 1, message="one of them is left")
    ea.process = next(p for p in engines if p.poll() is None)
    assert [p.returncode for p in engines if p is not ea.process] == [0, 0, 0], ea.log()
    assert ea.answers() and ea.node.ping("10.9.0.2") == 3 and ea.show("latest-handshakes") == at


def page(node, port):
    """As a scraper gets it."""
    with node.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.settimeout(10)
        s.connect(("127.0.0.1", port))
        s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: s.recv(65536), b"")).decode()


def test_W_10_planned_restart_keeps_the_page(world):
    """The successor answers at the same address and port, or path, or where it is told to."""
    e = world.engine(world.node("n"), "wg0", "weft")
    for where in ("127.0.0.1:9586", "127.0.0.1:9586", "127.0.0.1:9587", "unix:/run/metrics", "unix:/run/metrics", "127.0.0.1:9586"):
        old = e.process
        e.start(extra=["--takeover", "--metrics", where])
        assert old.wait(timeout=5) == 0
        if where.startswith("unix:"):
            assert e.metric("peers") == 0
        else:
            assert 'weft_wg_peers{interface="wg0"} 0' in page(e.node, int(where.split(":")[1]))


def test_a_second_start_does_not_touch_the_interface(world):
    """By mistake, beside a running engine: what it opened of the TUN would get a part of the other's packets until it fails."""
    n = world.node("n")
    first = world.engine(n, "wg0", "weft")
    first.process.send_signal(signal.SIGSTOP)  # it accepts nobody: who asks whether it is there has to wait
    waiting = []
    with contextlib.suppress(BlockingIOError):
        while True:
            s = socket.socket(socket.AF_UNIX)
            s.setblocking(False)
            waiting.append(s)
            s.connect(n.path("/run/wireguard/wg0.sock"))
    second = n.spawn([*WEFT, "wg0"], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: waits_in(second, "connect"), message="it asks")
    assert not any("tun" in os.readlink("/proc/%d/fd/%s" % (second.pid, fd)) for fd in os.listdir("/proc/%d/fd" % second.pid))
    first.process.send_signal(signal.SIGCONT)
    for s in waiting:
        s.close()
    assert "another engine answers" in second.communicate(timeout=10)[1] and second.returncode == 1
    assert first.answers()
    long = n.run(*WEFT, "--run-dir", "/run/" + "d" * 100, "wg0", check=False)
    assert "the path of the configuration socket is too long" in long.stderr and long.returncode == 1


def test_a_served_interface_under_another_name_is_left_alone(world):
    """Its engine answers under the name of before: who is told the new one would open queues beside it, and get a part of its packets."""
    n = world.node("n")
    first = world.engine(n, "wg0", "weft", extra=["--persist"])
    n.ip("link set wg0 name wg1")
    second = n.run(*WEFT, "wg1", check=False)
    assert second.returncode == 1 and "another program serves the interface" in second.stderr
    first.kill()
    first.name = "wg1"
    first.start()


def test_the_log_goes_on_in_the_background(world):
    """With LOG_LEVEL to its starter's standard error, as wireguard-go's; without, to where the predecessor's went."""
    n = world.node("n")
    logs = [n.path("/run/log%d" % i) for i in range(4)]

    def start(i, level):
        with open(logs[i], "wb") as log:
            env = {k: v for k, v in os.environ.items() if k != "LOG_LEVEL"}
            assert subprocess.run(n.command([WEFT[0], "--takeover", "wg0"]), env=dict(env, **level), stdout=log, stderr=log, timeout=30).returncode == 0

    def said(i, port):
        """An error is told there, and nowhere else."""
        before = [open(log).read() for log in logs[:3]]
        with n.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(("0.0.0.0", port))
            n.run("wg", "set", "wg0", "listen-port", port)
            n.ip("link set wg0 up")
            wait_for(lambda: "cannot start the data path" in open(logs[i]).read()[len(before[i]):], message="the log goes to %d" % i)
        n.ip("link set wg0 down")
        assert all(open(log).read() == before[j] for j, log in enumerate(logs[:3]) if j != i)

    for i in range(3):
        open(logs[i], "w").close()
    start(0, {"LOG_LEVEL": "error"})
    said(0, 7001)
    start(1, {})
    said(0, 7002)
    start(2, {"LOG_LEVEL": "error"})
    said(2, 7003)
    start(3, {"LOG_LEVEL": "silent"})
    said(2, 7004)


def test_another_engine_keeps_its_page(world):
    n = world.node("n")
    first = world.engine(n, "wg0", "weft", extra=["--metrics", "unix:/run/metrics"])
    done = n.run(*WEFT, "--metrics", "unix:/run/metrics", "wg1", check=False, timeout=10)
    assert done.returncode == 1 and "cannot serve metrics" in done.stderr
    assert first.metric("peers") == 0


def test_a_page_takes_no_file_away(world):
    """A path given by mistake: what a killed engine left is a socket."""
    n = world.node("n")
    with open(n.path("/run/kept"), "w") as f:
        f.write("precious")
    done = n.run(*WEFT, "--metrics", "unix:/run/kept", "wg1", check=False, timeout=10)
    assert done.returncode == 1 and "cannot serve metrics" in done.stderr
    with open(n.path("/run/kept")) as f:
        assert f.read() == "precious"
    done = n.run(*WEFT, "--metrics", "unix:", "wg1", check=False, timeout=10)
    assert done.returncode == 2 and "expected ADDRESS:PORT or unix:PATH" in done.stderr


def add_peers(e, count):
    e.node.run("wg", "addconf", "wg0", "/dev/stdin", input="".join("[Peer]\nPublicKey=%s\nAllowedIPs=10.%d.%d.%d/32\n" % (
        base64.b64encode(os.urandom(32)).decode(), 64 + (i >> 16), i >> 8 & 255, i & 255) for i in range(count)))


def test_W_10_planned_restart_with_many_peers(world):
    """As many as there can be: what is handed over while nothing is sent costs no curve operation for each of them."""
    ea, eb = world.pair(extra_a=["--state-dir", "/run/state"])
    add_peers(ea, 65000)
    assert ea.node.ping("10.9.0.2") == 3
    at = ea.show("latest-handshakes", eb.key.public)
    old = ea.process
    ea.start(extra=["--takeover"])
    assert old.wait(timeout=5) == 0
    assert ea.node.ping("10.9.0.2") == 3 and ea.show("latest-handshakes", eb.key.public) == at
    assert len(ea.node.out("wg", "show", "wg0", "peers").split()) == 65001


class LateAnswers(Relay):
    """What the second end answers to an initiation waits until it is let go."""

    KIND = 2

    def __init__(self, a, b):
        self.late, self.let_go = [], False
        super().__init__(a, b)

    def take(self, i, message):
        if message[0] == self.KIND and not self.let_go:
            self.late.append(message)
        else:
            self.send(i, message)

    def release(self):
        self.let_go = True
        for message in self.late:
            self.send(1, message)


def test_W_10_planned_restart_loses_nothing_that_waits(world):
    """Packets wait for a session, whose handshake is under way: the successor ends it, and sends them in their order."""
    ea, eb = world.pair(know=(), extra_a=["--metrics", "unix:/run/metrics"])
    relay = LateAnswers(ea.node, eb.node)
    rx = eb.node.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tx = ea.node.socket(socket.AF_INET, socket.SOCK_DGRAM)
    rx.bind(("10.9.0.2", 6000))
    rx.settimeout(10)
    try:
        ea.wg("peer %s endpoint 127.0.0.1:9000" % eb.key.public)
        for i in range(100):
            tx.sendto(b"%d" % i, ("10.9.0.2", 6000))
        wait_for(lambda: relay.late, message="an answer is on its way")
        for _ in range(2):
            old = ea.process
            ea.start(extra=["--takeover"])
            assert old.wait(timeout=5) == 0
        tx.sendto(b"100", ("10.9.0.2", 6000))
        relay.release()
        assert [int(rx.recv(100)) for _ in range(101)] == list(range(101))
        assert ea.metric("initiations_sent_total") == 0 or len(relay.late) > 1, "the handshake was begun anew"
    finally:
        relay.end()
        rx.close()
        tx.close()


class LateCookies(LateAnswers):
    KIND = 3


def test_W_10_planned_restart_keeps_the_cookies(world):
    """An initiation is answered with a cookie, by an end under load; the successor takes it, and with it comes through at once."""
    ea, eb = world.pair(know=(), extra_a=["--metrics", "unix:/run/metrics"], extra_b=["--metrics", "unix:/run/metrics"])
    relay = LateCookies(ea.node, eb.node)
    shower = flood(world, eb, 5000, 15, burst=2500)  # load, but not so much that nobody is answered
    try:
        assert shower.stdout.readline() == "ready\n"
        wait_for(lambda: eb.metric("cookies_sent_total") > 0, message="b is under load")
        ea.wg("peer %s endpoint 127.0.0.1:9000 persistent-keepalive 25" % eb.key.public)
        wait_for(lambda: relay.late, message="a cookie is on its way")
        for _ in range(2):
            old = ea.process
            ea.start(extra=["--takeover"])
            assert old.wait(timeout=5) == 0
        relay.release()
        wait_for(lambda: ea.metric("cookies_received_total") == 1, message="a cookie is taken")
        assert ea.metric("handshake_bad_total") == 0 or len(relay.late) > 1, "it was not the one for the predecessor"
        wait_for(ea.handshake_age, timeout=20, message="a session")
    finally:
        shower.kill()
        relay.end()


def test_W_10_planned_restart_answers_in_time(world):
    """The successor owes the peer the empty message that the predecessor owed it; without it the peer begins with new keys."""
    ea, eb = world.pair(env_a={"WEFT_WG_TIMERS": "keepalive_timeout=2"})
    assert ea.node.ping("10.9.0.2") == 3
    silent = ea.node.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("10.9.0.1", 6000))
    tx = eb.node.socket(socket.AF_INET, socket.SOCK_DGRAM)
    old, before = ea.process, eb.transfer()[0]
    tx.sendto(b"to be answered", ("10.9.0.1", 6000))
    ea.start(extra=["--takeover"])
    assert old.wait(timeout=5) == 0
    wait_for(lambda: eb.transfer()[0] > before, message="an answer")
    tx.close()
    silent.close()


def test_W_10_planned_restart_keeps_what_has_ended(world):
    """With another private key nothing more is sent on the sessions of the old one, by the successor neither."""
    ea, eb = world.pair(extra_a=["--metrics", "unix:/run/metrics"])
    assert ea.node.ping("10.9.0.2") == 3
    ea.wg("private-key @%s" % Key().private)
    old, before = ea.process, eb.transfer()[0]
    ea.start(extra=["--takeover"])
    assert old.wait(timeout=5) == 0
    assert ea.node.ping("10.9.0.2", count=1, wait=1) == 0
    wait_for(lambda: ea.metric("initiations_sent_total") > 0, message="it asks for a session")
    assert eb.transfer()[0] == before


def held_successor(e):
    """One that stands still between taking and being let go; its peers, of which there are many, give the time to catch it there."""
    for _ in range(20):
        old, told = e.process, len(e.log())
        e.start(extra=["--takeover"], wait=False)
        late, e.process = e.process, old

        def is_at_it():
            with contextlib.suppress(OSError):
                return any("tun" in os.readlink("/proc/%d/fd/%s" % (late.pid, fd)) for fd in os.listdir("/proc/%d/fd" % late.pid))

        wait_for(is_at_it, interval=0)
        late.send_signal(signal.SIGSTOP)
        with contextlib.suppress(AssertionError):
            wait_for(lambda: "handing over failed" in e.log()[told:] or old.poll() is not None, timeout=15)
            if old.poll() is None:
                return late
        late.send_signal(signal.SIGCONT)  # it was faster, or has not got all yet
        e.process = late
        wait_for(e.answers)
    raise AssertionError("never caught")


def test_W_10_a_successor_that_is_late_does_not_send(world):
    """The predecessor goes on; two engines that seal with the same keys would use a counter twice."""
    ea, eb = world.pair(extra_a=["--metrics", "unix:/run/metrics"])
    add_peers(ea, 20000)
    assert ea.node.ping("10.9.0.2") == 3
    late = held_successor(ea)
    assert ea.node.ping("10.9.0.2", count=20) == 20
    late.send_signal(signal.SIGCONT)
    assert late.wait(timeout=30) == 1
    assert "the predecessor did not let go" in ea.log() or "cannot take over" in ea.log()
    old = ea.process
    assert ea.answers() and ea.node.ping("10.9.0.2", count=20) == 20
    assert ea.metric("peers") == 20001, "the page is still there"
    ea.start(extra=["--takeover"])
    assert old.wait(timeout=5) == 0 and ea.node.ping("10.9.0.2", count=20) == 20


def test_W_10_fewer_workers_after_a_restart_while_down(world):
    """No queue of the interface is left that nobody reads."""
    metrics = ["--metrics", "unix:/run/metrics"]
    ea, eb = world.pair(extra_a=metrics + ["--workers", "3"], extra_b=metrics)
    ea.node.ip("link set wg0 down")
    wait_for(lambda: not ea.node.out("ss", "-Hlun"), message="no socket")
    old = ea.process
    ea.start(extra=["--takeover", "--workers", "1"])
    assert old.wait(timeout=5) == 0
    ea.node.ip("link set wg0 up")
    wait_for(lambda: ea.node.ping("10.9.0.2", count=1, wait=1) == 1, message="a session")
    before = eb.metric("tun_written_packets_total")
    with contextlib.ExitStack() as stack:
        for _ in range(30):  # each a flow
            tx = stack.enter_context(ea.node.socket(socket.AF_INET, socket.SOCK_DGRAM))
            tx.sendto(b"x", ("10.9.0.2", 9))
        wait_for(lambda: eb.metric("tun_written_packets_total") >= before + 30, message="all of them")


@pytest.mark.parametrize("made_by", ["a predecessor", "a supervisor"])
def test_an_interface_that_somebody_else_made_outlives_us(world, made_by):
    e = world.engine(world.node("n"), "wg0", "weft")
    if made_by == "a predecessor":
        old = e.process
        e.start(extra=["--takeover", "--persist"])
        assert old.wait(timeout=5) == 0
    else:
        e.kill()
        with e.node.entered():
            tun = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22x", b"wg0", 0x1001))  # TUNSETIFF, IFF_TUN | IFF_NO_PI
        os.set_inheritable(tun, True)
        e.process = e.node.spawn([*WEFT, "--persist", "wg0"], env={"WG_TUN_FD": str(tun)}, close_fds=False)
        os.close(tun)
    wait_for(e.answers)
    e.kill()
    e.node.ip("link show wg0")


def test_takeover_without_predecessor(world):
    n = world.node("n")
    e = world.engine(n, "wg0", "weft", extra=["--takeover"])
    assert n.run("ip", "link", "show", "wg0").returncode == 0
    assert e.process.poll() is None


def test_a_stranger_in_the_place_of_a_moved_interface(world):
    """Once the interface is in another namespace, one of its name and index in ours is nobody's business, before a take-over and after."""
    outside, inside, b = (world.node(n) for n in ("outside", "inside", "b"))
    world.wire(outside, b, "192.168.9.")
    ea, eb = world.engine(outside, "wg1", "weft", env={"LOG_LEVEL": "info"}), world.engine(b, "wg1", "weft")
    ea.wg("private-key @%s listen-port 51820 peer %s allowed-ips 10.9.0.2/32 endpoint 192.168.9.2:51820" % (ea.key.private, eb.key.public))
    eb.wg("private-key @%s listen-port 51820 peer %s allowed-ips 10.9.0.1/32" % (eb.key.private, ea.key.public))
    eb.address("10.9.0.2/24")
    index = outside.out("ip", "-o", "link", "show", "wg1").split(":")[0]
    ea.move(inside)
    inside.ip("addr add 10.9.0.1/24 dev wg1")
    inside.ip("link set wg1 up")
    wait_for(lambda: inside.ping("10.9.0.2", count=1, wait=1), message="the moved interface carries packets")
    outside.ip("link add wg1 index %s type veth peer name other" % index)
    for what in ("up", "down"):
        outside.ip("link set wg1 " + what)
    for _ in range(2):  # questions are answered behind what was heard before
        assert ea.answers()
    assert "interface is down" not in ea.log()
    old = ea.process
    ea.start(extra=["--takeover"], wait=False)
    assert old.wait(timeout=10) == 0
    wait_for(lambda: inside.ping("10.9.0.2", count=1, wait=1), message="the successor carries packets")
    outside.ip("link del wg1")
    for _ in range(2):
        assert ea.answers()
    assert "interface is down" not in ea.log() and "interface is gone" not in ea.log()
    # back, it is followed again
    inside.ip("link set wg1 netns %d" % outside.pid)
    outside.ip("link set wg1 mtu 1300 up")
    wait_for(lambda: "interface is back" in ea.log(), message="the engine finds its interface")
    outside.ip("link del wg1")
    assert ea.process.wait(timeout=10) == 0


def test_a_port_that_is_taken_is_tried_again(world):
    ea, eb = world.pair()
    assert ea.node.ping("10.9.0.2") == 3
    ea.node.ip("link set wg0 down")
    wait_for(lambda: not ea.listens(), message="its sockets are closed")
    with ea.node.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("0.0.0.0", 51820))
        ea.node.ip("link set wg0 up")
        wait_for(lambda: "cannot start the data path" in ea.log(), message="it says that the port is taken")
    assert wait_for(lambda: ea.node.ping("10.9.0.2", count=1, wait=1), message="it has got its port")
