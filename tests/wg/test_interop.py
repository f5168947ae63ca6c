# SPDX-License-Identifier: Apache-2.0
"""Against Debian's wireguard-go, and against ourselves: both roles, both families inside and outside, PSK, rekeying under
traffic, keepalives, roaming, cookies, wg(8)."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from nodes import Key, flood, transfer_tcp, transfer_udp, wait_for

FULL = os.environ.get("WEFT_TEST_TIER") == "full"
KINDS = [("weft", "go"), ("go", "weft"), ("weft", "weft")]


# In every run each value of either; all of both in the full tier.
OUTSIDE = [(False, 6), (True, 4)] + ([(False, 4), (True, 6)] if FULL else [])


@pytest.mark.parametrize("with_psk, outer", OUTSIDE, ids=["%s-%d" % ("psk" if psk else "plain", outer) for psk, outer in OUTSIDE])
@pytest.mark.parametrize("kinds", KINDS, ids=["-".join(k) for k in KINDS])
def test_W_1_traffic(world, kinds, with_psk, outer):
    ea, eb = world.pair(*kinds, outer=outer, with_psk=with_psk)
    a, b = ea.node, eb.node
    assert a.ping("10.9.0.2") == 3
    assert b.ping("fd09::1") == 3
    for to in ("10.9.0.2", "fd09::2"):
        transfer_tcp(a, b, to)
        transfer_udp(a, b, to, [0, 1, 15, 16, 17, 1000, 1372, 1373, 8000, 60000] + [64] * 40 + [1200] * 40)
    for to in ("10.9.0.1", "fd09::1"):
        transfer_tcp(b, a, to)
        transfer_udp(b, a, to, [1, 1372, 20000] + [64] * 40 + [1200] * 40)
    assert ea.show("endpoints")[0] == ("192.168.9.2:51820" if outer == 4 else "[fd99::2]:51820")
    assert eb.show("endpoints")[0] == ("192.168.9.1:51820" if outer == 4 else "[fd99::1]:51820")


def test_W_1_wrong_psk_is_no_session(world):
    ea, eb = world.pair("weft", "go", with_psk=True)
    ea.wg("peer %s preshared-key /dev/null" % eb.key.public)
    assert ea.node.ping("10.9.0.2", count=1, wait=2) == 0
    assert ea.handshake_age() is None


# wireguard-go begins with new keys after two minutes, which nothing can shorten.
REKEYS = [("weft", "go"), ("weft", "weft")] + ([("go", "weft")] if FULL else [])


@pytest.mark.parametrize("kinds", REKEYS, ids=["-".join(k) for k in REKEYS])
def test_W_1_rekey_under_traffic(world, kinds):
    """The initiator asks for new keys (ours every second) while a TCP stream and pings run: nothing is lost. (In pieces
    that wireguard-go's socket has room for: a full stream overruns it now and then, keys or no keys.)"""
    piece = 32 << 10 if "go" in kinds else 2 << 20
    count, interval, rekeys = (500, 0.01, 3) if kinds[0] == "weft" else (1260, 0.1, 1)
    env = {"WEFT_WG_TIMERS": "rekey_after_time=1,rekey_timeout=1"}
    extras = {kind: ["--metrics", "unix:/run/metrics"] if kind == "weft" else [] for kind in kinds}
    ea, eb = world.pair(*kinds, env_a=env, extra_a=extras[kinds[0]], extra_b=extras[kinds[1]])
    ours = ea if kinds[0] == "weft" else eb
    pings = []
    t = threading.Thread(target=lambda: pings.append(ea.node.ping("fd09::2", count=count, interval=interval, timeout=200)))
    t.start()
    while t.is_alive():
        transfer_tcp(ea.node, eb.node, "10.9.0.2", piece)
        t.join(0.4)
    overflow = sum(e.node.udp_overflows() for e in (ea, eb))
    assert (pings, overflow) == ([count], 0)
    assert ours.metric("handshakes_completed_total") >= 1 + rekeys
    assert ours.metric("drop_staged_total") == 0


@pytest.mark.parametrize("kinds", [("weft", "go"), ("go", "weft")], ids=["weft", "go"])
def test_W_3_roaming(world, kinds):
    """The first moves to another port and address: the other's answers follow, without a handshake."""
    ea, eb = world.pair(*kinds)
    a, b = ea.node, eb.node
    assert a.ping("10.9.0.2") == 3
    at = ea.show("latest-handshakes")
    ea.wg("listen-port 51999")
    wait_for(lambda: a.ping("10.9.0.2", count=1, wait=1), message="ping after the port changed")
    wait_for(lambda: eb.show("endpoints")[0].endswith(":51999"), message="the endpoint's port follows")
    assert b.ping("10.9.0.1") == 3
    if kinds[0] == "go":
        return  # it keeps sending from an address that it has lost
    a.ip("addr del 192.168.9.1/24 dev to-b")
    a.ip("addr add 192.168.9.77/24 dev to-b")
    wait_for(lambda: a.ping("10.9.0.2", count=1, wait=1), message="ping after the address changed")
    wait_for(lambda: eb.show("endpoints")[0] == "192.168.9.77:51999", message="the endpoint follows")
    assert b.ping("10.9.0.1") == 3
    assert ea.show("latest-handshakes") == at


def test_W_3_roaming_between_families(world):
    ea, eb = world.pair()
    assert ea.node.ping("10.9.0.2") == 3
    ea.wg("peer %s endpoint [fd99::2]:51820" % eb.key.public)
    assert ea.node.ping("10.9.0.2") == 3
    assert eb.show("endpoints")[0] == "[fd99::1]:51820"
    assert eb.node.ping("10.9.0.1") == 3


@pytest.mark.parametrize("kinds", [("weft", "go"), ("go", "weft")], ids=["weft", "go"])
def test_W_1_persistent_keepalive(world, kinds):
    ea, eb = world.pair(*kinds)
    ea.wg("peer %s persistent-keepalive 1" % eb.key.public)
    wait_for(lambda: ea.handshake_age() is not None, message="a handshake without any traffic")
    rx0 = eb.transfer()[0]
    time.sleep(3.5)
    assert 2 * 32 <= eb.transfer()[0] - rx0 <= 6 * 32


def sent_by(dump, who):
    """(when, size) of the next message from there, as the wire's own clock has it."""
    for line in dump.stdout:
        when, _, source, *_, size = line.split()
        if source.startswith(who + "."):
            return float(when), int(size)
    raise AssertionError("the capture has ended")


def test_W_1_silence_is_answered_by_an_empty_message(world):
    """KEEPALIVE_TIMEOUT after data to which no data was the answer, and not before; what was answered by data wants none."""
    ea, eb = world.pair("go", "weft", env_b={"WEFT_WG_TIMERS": "keepalive_timeout=2"}, extra_b=["--metrics", "unix:/run/metrics"])
    assert ea.node.ping("10.9.0.2", count=1) == 1
    before = eb.metric("keepalives_sent_total")
    dump = eb.node.spawn(["tcpdump", "-Z", "root", "-ttlqni", "to-a", "udp port 51820"], stdout=-1, stderr=-1, text=True)
    assert any("listening" in line for line in dump.stderr)
    with ea.node.socket(socket.AF_INET, socket.SOCK_DGRAM) as says, eb.node.socket(socket.AF_INET, socket.SOCK_DGRAM) as hears:
        for s in (says, hears):
            s.settimeout(10)
        hears.bind(("10.9.0.2", 9))
        says.connect(("10.9.0.2", 9))
        says.send(b"to be answered")
        hears.sendto(b"answered", hears.recvfrom(99)[1])
        assert says.recv(99) == b"answered"
        assert sent_by(dump, "192.168.9.1")[1] > 32 and sent_by(dump, "192.168.9.2")[1] > 32
        time.sleep(1)  # of the two seconds, so that the first one's answer would be early for the second
        says.send(b"to be heard")
        assert hears.recv(99) == b"to be heard"
        heard_at, _ = sent_by(dump, "192.168.9.1")
        wait_for(lambda: eb.metric("keepalives_sent_total") > before, message="an answer")
    empty_at, size = sent_by(dump, "192.168.9.2")
    assert size == 32 and empty_at - heard_at >= 2
    assert eb.metric("keepalives_sent_total") == before + 1


COOKIES = [("go", "weft"), ("weft", "go"), ("weft", "weft")]


@pytest.mark.parametrize("kinds", COOKIES, ids=["-".join(k) for k in COOKIES])
def test_W_1_cookies_under_load(world, kinds):
    """A flood keeps the second under load: the first's initiation is answered by a cookie reply, which it accepts, and the next
    one, which carries the cookie, makes the session."""
    def extras(kind):
        return ["--metrics", "unix:/run/metrics"] if kind == "weft" else []
    envs = {"weft": {"WEFT_WG_TIMERS": "rekey_timeout=1"}, "go": {"LOG_LEVEL": "verbose"}}
    ea, eb = world.pair(*kinds, env_a=envs[kinds[0]], env_b=envs[kinds[1]], extra_a=extras(kinds[0]), extra_b=extras(kinds[1]))

    def count(engine, kind, metric, words):
        return engine.metric(metric) if kind == "weft" else engine.log().count(words)
    # A machine that looks at more than comes in a second is never under load: it is the bursts that are more than it can look at
    # while they come, whatever its speed, and a second is between two of them at most. They find room in its queues.
    with flood(world, eb, rate=20000, seconds=60, burst=3000) as f:
        try:
            wait_for(lambda: count(eb, kinds[1], "cookies_sent_total", "Sending cookie response"), message="the flood is answered by cookies")
            wait_for(lambda: ea.node.ping("10.9.0.2", count=1, wait=1), timeout=50, message="a session under load")
        finally:
            f.kill()
    assert count(ea, kinds[0], "cookies_received_total", "Receiving cookie response") > 0


def test_wg_tools(world):
    """show, set, setconf, syncconf, addconf, showconf: as on any other interface, with many peers."""
    node = world.node("n")
    e = world.engine(node, "wg0", "weft")
    peers = [Key().public for _ in range(20)]
    conf = "[Interface]\nPrivateKey = %s\nListenPort = 4711\nFwMark = 0x22\n" % e.key.private
    for i, p in enumerate(peers):
        conf += "[Peer]\nPublicKey = %s\nAllowedIPs = 10.1.%d.0/24, fd01:%x::/64\nEndpoint = 192.0.2.1:%d\nPersistentKeepalive = %d\n" % (
            p, i, i, 1000 + i, i)
    with open(node.path("/run/conf"), "w") as f:
        f.write(conf)
    node.run("wg", "setconf", "wg0", "/run/conf")
    shown = node.out("wg", "showconf", "wg0")
    with open(node.path("/run/conf2"), "w") as f:
        f.write(shown)
    node.run("wg", "setconf", "wg0", "/run/conf2")
    assert node.out("wg", "showconf", "wg0") == shown
    assert "ListenPort = 4711" in shown and "FwMark = 0x22" in shown
    assert len(re.findall(r"^\[Peer\]", shown, re.M)) == 20
    node.run("wg", "set", "wg0", "peer", peers[3], "remove")
    node.run("wg", "set", "wg0", "peer", peers[4], "allowed-ips", "10.1.5.0/24")
    dump = {line.split("\t")[0]: line.split("\t") for line in node.out("wg", "show", "wg0", "dump").splitlines()[1:]}
    assert peers[3] not in dump and len(dump) == 19
    assert dump[peers[4]][3] == "10.1.5.0/24" and "10.1.5.0/24" not in dump[peers[5]][3]
    node.run("wg", "syncconf", "wg0", "/run/conf2")
    assert node.out("wg", "showconf", "wg0").count("[Peer]") == 20
    assert node.out("wg", "show", "interfaces").split() == ["wg0"]
    bad = node.run("wg", "set", "wg0", "listen-port", "4711", "peer", peers[0], "allowed-ips", "::ffff:10.0.0.1/24", check=False)
    assert bad.returncode != 0


def test_five_thousand_peers(world):
    node = world.node("n")
    e = world.engine(node, "wg0", "weft")
    import base64
    import os
    conf = "[Interface]\nPrivateKey = %s\n" % e.key.private
    for i in range(5000):
        conf += "[Peer]\nPublicKey = %s\nAllowedIPs = 10.%d.%d.0/24\n" % (base64.b64encode(os.urandom(32)).decode(), 1 + i // 250, i % 250)
    with open(node.path("/run/conf"), "w") as f:
        f.write(conf)
    t = time.monotonic()
    node.run("wg", "setconf", "wg0", "/run/conf")
    assert len(node.out("wg", "show", "wg0", "dump").splitlines()) == 5001
    node.run("wg", "syncconf", "wg0", "/run/conf")
    assert time.monotonic() - t < 20


def test_background_and_removed_socket(world):
    """As wireguard-go: returns when the interface stands; removing the socket ends it."""
    node = world.node("n")
    from nodes import WEFT
    node.run("flock", "/run/lock", WEFT[0], "wg7", timeout=10)
    node.run("flock", "-n", "/run/lock", "true")  # what its starter held is not held by it
    assert node.run("wg", "show", "wg7").returncode == 0
    assert " mtu 1420 " in node.out("ip", "link", "show", "wg7")
    again = node.run(WEFT[0], "wg7", check=False, timeout=10)
    assert again.returncode != 0
    node.run("rm", "/run/wireguard/wg7.sock")
    wait_for(lambda: node.run("ip", "link", "show", "wg7", check=False).returncode != 0, message="the interface goes")


def test_names_with_quotes_and_half_closed_questions(world):
    """The interface's name is a label's value on the metrics page. Who asks and says that it asks no more gets all of the answer."""
    node = world.node("n")
    name = 'a"b\\'
    e = world.engine(node, name, "weft", extra=["--metrics", "unix:/run/metrics"])
    keys = [os.urandom(32).hex() for _ in range(3000)]
    with contextlib.closing(uapi(node, name)) as s:
        s.sendall(("set=1\n" + "".join("public_key=%s\n" % k for k in keys) + "\n").encode())
        assert s.recv(64) == b"errno=0\n\n"
    with contextlib.closing(uapi(node, name)) as s:
        s.sendall(b"get=1\n\nget=1\n\n")
        s.shutdown(socket.SHUT_WR)
        text = read_all(s)
    assert text.count("public_key=") == 6000 and text.count("errno=0\n\n") == 2 and text.endswith("errno=0\n\n")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as s:
        s.connect(node.path("/run/metrics"))
        s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        samples = [line for line in read_all(s).splitlines() if line.startswith("weft_wg_")]
    assert len(samples) > 3 * 3000
    assert all('{interface="a\\"b\\\\"' in line for line in samples)
    assert e.process.poll() is None


def test_no_question_without_an_end(world):
    """Each line has a bound, and is looked at as it comes; what was asked before is answered. Many short lines are a question still."""
    node = world.node("n")
    e = world.engine(node, "wg0", "weft")
    for endless in (b"set=1\n" + b"x" * 8192, b"x" * 8192, b"set=1\nfwmark=1\0"):
        with contextlib.closing(uapi(node, "wg0")) as s:
            s.sendall(b"set=1\nfwmark=7\n\n\n" + endless)
            assert read_all(s) == "errno=0\n\nerrno=-22\n\nerrno=-22\n\n"
    with contextlib.closing(uapi(node, "wg0")) as s:
        s.sendall(b"set=1\n" + b"fwmark=9\n" * 200000 + b"\nget=1\n\n")
        s.shutdown(socket.SHUT_WR)
        assert read_all(s) == "errno=0\n\nfwmark=9\nerrno=0\n\n"
    assert e.process.poll() is None


def uapi(node, name):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(node.path("/run/wireguard/%s.sock" % name))
    return s


def read_all(s):
    parts = []
    while part := s.recv(1 << 16):
        parts.append(part)
    return b"".join(parts).decode()


def test_deleted_interface_ends_the_engine(world):
    ea, eb = world.pair()
    assert ea.node.ping("10.9.0.2") == 3
    ea.node.ip("link del wg0")
    assert ea.process.wait(timeout=5) == 0
    assert ea.node.run("ls", "/run/wireguard").stdout == ""


def test_given_descriptors(world):
    """WG_TUN_FD and WG_UAPI_FD, a TUN without vnet headers."""
    ea, eb = world.pair("weft", "weft")
    script = (
        "import fcntl,os,socket,struct,sys\n"
        "t=os.open('/dev/net/tun',os.O_RDWR)\n"
        "fcntl.ioctl(t,0x400454ca,struct.pack('16sH22x',b'wg9',0x1001))\n"
        "u=socket.socket(socket.AF_UNIX,socket.SOCK_STREAM);u.bind('/run/wireguard/wg9.sock');u.listen(5)\n"
        "os.set_inheritable(t,True);u.set_inheritable(True)\n"
        "os.environ.update(WG_TUN_FD=str(t),WG_UAPI_FD=str(u.fileno()),WG_PROCESS_FOREGROUND='1',LOG_LEVEL='error')\n"
        "os.execv(sys.argv[1],[sys.argv[1],'wg9'])\n")
    from nodes import WEFT
    third = world.node("c")
    world.wire(third, eb.node, "192.168.8.", "fd98::")
    p = third.spawn(["python3", "-c", script, WEFT[0]])
    wait_for(lambda: third.run("wg", "show", "wg9", check=False).returncode == 0, message="the given socket answers")
    key = Key()
    with open(third.path("/run/k"), "w") as f:
        f.write(key.private)
    third.run("wg", "set", "wg9", "private-key", "/run/k", "peer", eb.key.public, "allowed-ips", "10.9.0.2/32", "endpoint", "192.168.8.2:51820")
    eb.wg("peer %s allowed-ips 10.9.0.3/32" % key.public)
    third.ip("addr add 10.9.0.3/24 dev wg9")
    third.ip("link set wg9 up mtu 1420")
    assert third.ping("10.9.0.2") == 3
    transfer_tcp(third, eb.node, "10.9.0.2")
    transfer_tcp(eb.node, third, "10.9.0.3")
    third.run("rm", "/run/wireguard/wg9.sock")  # as with one of its own
    assert p.wait(timeout=10) == 0


@pytest.mark.parametrize("off", ["vnet_hdr", "tso", "uso", "coalesce", "udp_gso", "udp_gro", "mmsg", "batch", "lanes", "steer", "udp_gso,udp_gro,vnet_hdr,mmsg,batch,lanes"])
def test_every_fallback(world, off):
    """Each shortcut switched off on one side: the same bytes arrive."""
    ea, eb = world.pair(extra_a=["--disable", off])
    assert ea.node.ping("10.9.0.2") == 3
    for x, y, to in ((ea, eb, "10.9.0.2"), (eb, ea, "fd09::1")):
        transfer_tcp(x.node, y.node, to)
        transfer_udp(x.node, y.node, to, [1, 1372, 5000] + [64] * 50 + [1000] * 50)


def test_bad_arguments():
    from nodes import WEFT
    for args, word in ((["--workers", "0", "wg0"], "workers"), (["--disable", "nonsense", "wg0"], "nonsense"), (["a/b"], "interface name"),
                       ([], "INTERFACE"), (["--metrics"], "")):
        done = subprocess.run([WEFT[0]] + args, capture_output=True, text=True)
        assert done.returncode == 2 and word in done.stderr
