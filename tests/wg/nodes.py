# SPDX-License-Identifier: Apache-2.0
"""Network namespaces with WireGuard engines in them. A node is a holder process in namespaces of its own (network,
mount with a private /run); it vanishes with its holder, so nothing is left behind, and several tests run side by side."""

import base64
import contextlib
import ctypes
import errno
import os
import re
import signal
import socket
import struct
import subprocess
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("WEFT_BIN", os.path.join(ROOT, "build/bin"))
WEFT = [os.path.join(BIN, "weft-wg"), "-f"]
GO = ["wireguard-go", "-f"]
ENGINES = {"weft": WEFT, "go": GO}
# Who plays our part: the scenarios are run with the kernel's WireGuard as well, where there is one (test_kernel.py).
OURS = os.environ.get("WEFT_WG_ENGINE", "weft")
# The guest's processor is emulated: times that leave room here leave none there.
SLOWNESS = 4 if OURS == "kernel" else 1


def wait_for(what, timeout=10.0, interval=0.02, message="condition"):
    end = time.monotonic() + timeout * SLOWNESS
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < end, "not within %.1f s: %s" % (timeout, message)
        time.sleep(interval)


class Key:
    def __init__(self):
        self.private = subprocess.run(["wg", "genkey"], check=True, capture_output=True, text=True).stdout.strip()
        self.public = subprocess.run(["wg", "pubkey"], input=self.private, check=True, capture_output=True, text=True).stdout.strip()


def psk():
    return base64.b64encode(os.urandom(32)).decode()


class Node:
    def __init__(self, name):
        self.name = name
        self.processes = []
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c",
             "mount -t tmpfs run /run && mkdir -p /run/wireguard && ip link set lo up && echo ready && exec sleep infinity"],
            stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "ready\n", "cannot make namespaces (root?)"
        self.pid = self.holder.pid

    def command(self, args):
        return ["nsenter", "-t", str(self.pid), "-m", "-n", "--"] + [str(a) for a in args]

    def run(self, *args, check=True, input=None, timeout=60):
        done = subprocess.run(self.command(args), capture_output=True, text=True, input=input, timeout=timeout)
        assert not check or done.returncode == 0, "%s in %s: %d\n%s%s" % (" ".join(map(str, args)), self.name, done.returncode,
                                                                         done.stdout, done.stderr)
        return done

    def out(self, *args, **kw):
        return self.run(*args, **kw).stdout

    def ip(self, text, check=True):
        return self.run("ip", *text.split(), check=check)

    def spawn(self, args, env=None, **kw):
        p = subprocess.Popen(self.command(args), env=dict(os.environ, **(env or {})), **kw)
        self.processes.append(p)
        return p

    def ping(self, to, count=3, interval=0.02, wait=2, extra=(), timeout=60):
        """Replies that came. (Once one has come, ping waits no longer for the last than an interval or twice the longest
        round trip: too short where others share the processor, so a few pings that were not all answered are tried again.)"""
        if SLOWNESS > 1:
            interval = max(interval, 0.2)
        command = ["ping", "-n", "-q", "-c", count, "-i", interval, "-W", wait * SLOWNESS, *extra, to]
        for _ in range(2):
            m = re.search(r"(\d+) received", self.run(*command, check=False, timeout=timeout).stdout)
            got = int(m.group(1)) if m else 0
            if got in (0, count) or count > 5:
                break
        return got

    def udp_overflows(self):
        """Datagrams that the node's sockets had no room for."""
        total = 0
        for line in self.out("cat", "/proc/%d/net/snmp" % self.pid, "/proc/%d/net/snmp6" % self.pid).splitlines():
            if line.startswith("Udp6RcvbufErrors"):
                total += int(line.split()[1])
            elif line.startswith("Udp: ") and line.split()[1].isdigit():
                total += int(line.split()[5])
        return total

    def path(self, inside):
        """A path in the node's mount namespace, seen from outside."""
        return "/proc/%d/root%s" % (self.pid, inside)

    @contextlib.contextmanager
    def entered(self):
        """Sockets made inside belong to the node's network namespace."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        theirs = os.open("/proc/%d/ns/net" % self.pid, os.O_RDONLY)
        setns(theirs)
        try:
            yield
        finally:
            setns(own)
            os.close(own)
            os.close(theirs)

    def socket(self, *args):
        with self.entered():
            return socket.socket(*args)

    def close(self):
        for p in self.processes:
            if p.poll() is None:
                p.kill()
            p.wait()
        self.kill_others()
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


    def kill_others(self):
        """Daemons that left their parent: whatever still runs in our network namespace."""
        ours = os.stat("/proc/%d/ns/net" % self.pid).st_ino
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if int(pid) != self.pid and os.stat("/proc/%s/ns/net" % pid).st_ino == ours:
                    os.kill(int(pid), signal.SIGKILL)


def setns(fd):
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.setns(fd, 0x40000000) == 0, os.strerror(ctypes.get_errno())


class Engine:
    """One interface served by a program."""

    def __init__(self, node, name, command, env=None, up=True):
        self.node, self.name, self.key, self.port = node, name, Key(), 0
        self.command, self.env = command, dict({"LOG_LEVEL": "error", "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1"}, **(env or {}))
        self.log_path = "/tmp/weft-wg-test-%d-%s.log" % (node.pid, name)
        self.start()

    def start(self, extra=(), wait=True):
        with open(self.log_path, "ab") as log:
            self.process = self.node.spawn(list(self.command) + list(extra) + [self.name], env=self.env, stdout=log, stderr=log)
        if wait:
            wait_for(self.answers, message="%s answers on its socket:\n%s" % (self.name, self.log()))

    def pid(self):
        """The engine's own (nsenter execs it, so it is the process that was started)."""
        return self.process.pid

    def answers(self):
        assert self.process.poll() is None, "%s ended: %s" % (self.name, self.log())
        return self.node.run("wg", "show", self.name, "private-key", check=False).returncode == 0

    def log(self):
        with open(self.log_path) as f:
            return f.read()

    def wg(self, text, files=()):
        """`wg set NAME text`; @NAME in it stands for a file with that text."""
        args = []
        port = re.search(r"listen-port (\d+)", text)
        self.port = int(port.group(1)) if port else self.port
        for word in text.split():
            if word.startswith("@"):
                inside = "/run/%s" % base64.b16encode(os.urandom(8)).decode()
                with open(self.node.path(inside), "w") as f:
                    f.write(word[1:] + "\n")
                word = inside
            args.append(word)
        return self.node.run("wg", "set", self.name, *args)

    def show(self, what, key=None):
        """Column of the peer (the only one, or the one with that key)."""
        for line in self.node.out("wg", "show", self.name, what).splitlines():
            fields = line.split("\t")
            if key is None or fields[0] == key:
                return fields[1:] if len(fields) > 1 else fields
        return None

    def transfer(self):
        rx, tx = self.show("transfer")
        return int(rx), int(tx)

    def handshake_age(self):
        at = int(self.show("latest-handshakes")[0])
        return time.time() - at if at else None

    def address(self, *addresses, mtu=None):
        for a in addresses:
            self.node.ip("addr add %s dev %s%s" % (a, self.name, " nodad" if ":" in a else ""))
        if mtu:
            self.node.ip("link set %s mtu %d" % (self.name, mtu))
        self.node.ip("link set %s up" % self.name)
        wait_for(self.listens, message="%s has its sockets" % self.name)  # an initiation that comes before is repeated after five seconds only

    def listens(self):
        if not self.port:
            self.port = int(self.node.out("wg", "show", self.name, "listen-port"))
        if not self.port:
            return False
        with open("/proc/%d/net/udp" % self.node.pid) as v4, open("/proc/%d/net/udp6" % self.node.pid) as v6:
            return any(line.split()[1].endswith(":%04X" % self.port) for line in [*v4, *v6])

    def move(self, node):
        """The interface to another namespace; the engine, its sockets and its configuration stay."""
        self.node.ip("link set %s netns %d" % (self.name, node.pid))

    def kill(self, sig=signal.SIGKILL):
        self.process.send_signal(sig)
        self.process.wait(timeout=10)

    def metric(self, name, path="/run/metrics"):
        """Of an engine started with --metrics unix:/run/metrics. Connects through /proc, as /run is the node's own."""
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.connect(self.node.path(path))
        s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = b""
        while True:
            part = s.recv(65536)
            if not part:
                break
            text += part
        s.close()
        m = re.search(r"^weft_wg_%s\{[^}]*\} (\d+)$" % re.escape(name), text.decode(), re.M)
        assert m, "no metric %s in\n%s" % (name, text.decode()[:2000])
        return int(m.group(1))


class KernelEngine(Engine):
    """The same interface made by the kernel: nothing runs, so there is no log and there are no metrics."""

    def start(self, extra=(), wait=True):
        self.node.ip("link add %s type wireguard" % self.name)

    def move(self, node):
        super().move(node)
        self.node = node  # its configuration is where the interface is


# The first halves of addresses that are inside of tunnels: 10.9, 10.91 and 10.92; fd09 and fd91.
INSIDE_V4, INSIDE_V6 = (0x0a09, 0x0a5b, 0x0a5c), (0xfd09, 0xfd91)
LOAD_BYTE, LOAD_HALF, AND, JUMP_EQUAL, RETURN = 0x30, 0x28, 0x54, 0x15, 0x06


def inside_filter():
    """A socket filter (classic BPF), of frames from their network header on, that takes packets from or to such an address."""
    def look(offsets, prefixes):
        for offset in offsets:
            yield LOAD_HALF, offset, False
            for p in prefixes:
                yield JUMP_EQUAL, p, True  # to the end
    v4, v6 = list(look((12, 16), INSIDE_V4)), list(look((8, 24), INSIDE_V6))
    code = [(LOAD_BYTE, 0, 0, 0), (AND, 0, 0, 0xf0), (JUMP_EQUAL, 0, len(v4) + 1, 0x40)]
    end = len(code) + len(v4) + 1 + len(v6) + 2 - 1
    for part in (v4, v6):
        code += [(op, end - len(code) - 1 - i if hit else 0, 0, value) for i, (op, value, hit) in enumerate(part)]
        code.append((RETURN, 0, 0, 0))
    code.append((RETURN, 0, 0, 0xffff))
    return b"".join(struct.pack("HBBI", *c) for c in code)


class Watch:
    """Sees what crosses an interface, in either direction, that belongs inside."""

    def __init__(self, node, name):
        self.where = "%s of %s" % (name, node.name)
        self.socket = node.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        code = inside_filter()
        buf = ctypes.create_string_buffer(code)
        self.socket.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HL", len(code) // 8, ctypes.addressof(buf)))  # SO_ATTACH_FILTER
        self.socket.bind((name, 3))  # ETH_P_ALL

    def seen(self):
        while True:
            try:
                yield "%s: %s" % (self.where, self.socket.recv(64, socket.MSG_DONTWAIT).hex())
            except BlockingIOError:
                return
            except OSError as e:
                if e.errno != errno.ENETDOWN:  # said once when the interface goes down
                    raise


class World:
    """What one test makes; everything goes when it ends."""

    def __init__(self):
        self.nodes, self.engines, self.watches = {}, [], []

    def node(self, name):
        self.nodes[name] = Node(name)
        return self.nodes[name]

    def wire(self, a, b, net4=None, net6=None, mtu=1500, names=None, clear=False):
        """A veth between two nodes. Returns both interface names. `clear`: what is inside of tunnels may be seen on it."""
        na, nb = names or ("to-" + b.name, "to-" + a.name)
        a.run("ip", "link", "add", na, "mtu", mtu, "type", "veth", "peer", "name", nb, "mtu", mtu, "netns", b.pid)
        for node, name, i in ((a, na, 1), (b, nb, 2)):
            if net4:
                node.ip("addr add %s%d/24 dev %s" % (net4, i, name))
            if net6:
                node.ip("addr add %s%d/64 dev %s nodad" % (net6, i, name))
            node.ip("link set %s up" % name)
        for node, name in ((a, na), (b, nb)):  # before, what is sent is lost without a word, and a handshake is tried again after 5 s
            wait_for(lambda: '"operstate":"UP"' in node.out("ip", "-j", "link", "show", "dev", name), message="a wire that carries")
        if not clear:
            self.watches.append(Watch(a, na))
        return na, nb

    def leaks(self):
        """What was seen on wires since the last time, and must not be."""
        return [packet for w in self.watches for packet in w.seen()]

    def engine(self, node, name, kind, env=None, extra=()):
        if kind == "weft" and OURS == "kernel":
            return KernelEngine(node, name, ())
        e = Engine(node, name, list(ENGINES.get(kind, kind)) + list(extra), env)
        self.engines.append(e)
        return e

    def pair(self, kind_a="weft", kind_b="weft", outer=4, with_psk=False, env_a=None, env_b=None, extra_a=(), extra_b=(), mtu=1500,
             know=("a",), alike=False):
        """Nodes a and b, joined, with engines wg0; inside 10.9.0.1/.2 and fd09::1/::2. `know`: who knows the other's endpoint."""
        a, b = self.node("a"), self.node("b")
        self.wire(a, b, "192.168.9.", "fd99::", mtu)
        ea, eb = self.engine(a, "wg0", kind_a, env_a, extra_a), self.engine(b, "wg0", kind_b, env_b, extra_b)
        secret = " preshared-key @" + psk() if with_psk else ""
        where = {"a": ("192.168.9.2" if outer == 4 else "[fd99::2]") + ":51820", "b": ("192.168.9.1" if outer == 4 else "[fd99::1]") + ":51820"}
        for me, other, name, i in ((ea, eb, "a", 1), (eb, ea, "b", 2)):
            me.wg("private-key @%s listen-port 51820 peer %s%s allowed-ips 10.9.0.%d/32,fd09::%d/128%s" % (
                me.key.private, other.key.public, secret, 3 - i, 3 - i, " endpoint " + where[name] if name in know else ""))
            me.address("10.9.0.%d/24" % i, "fd09::%d/64" % i)
        return ea, eb

    def close(self):
        for w in self.watches:
            w.socket.close()
        for n in self.nodes.values():
            n.close()
        for e in self.engines:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(e.log_path)


def flood(world, target, rate, seconds, burst=64):
    """Initiations for an engine from 65,000 addresses behind a node of their own (flood.c), `burst` at once; says "ready" when it begins."""
    node = world.nodes.get("flooder")
    if not node:
        node = world.node("flooder")
        world.wire(node, target.node, "192.168.7.")
        node.ip("route add local 10.66.0.0/16 dev lo")
        target.node.ip("route add 10.66.0.0/16 via 192.168.7.1")
    mac = re.search(r"link/ether (\S+)", target.node.out("ip", "link", "show", "to-flooder")).group(1)
    return node.spawn([os.path.join(os.path.dirname(BIN), "tests/wgflood"), "to-" + target.node.name, mac, "192.168.7.2", "51820",
                       base64.b64decode(target.key.public).hex(), "10.66.0.0", str(rate), str(seconds), str(burst)],
                      stdout=subprocess.PIPE, text=True)


def transfer_tcp(client, server, to, size=4 << 20, port=5001):
    """Sends random bytes through one TCP connection and compares what arrives."""
    data = os.urandom(1 << 16) * (size >> 16)
    with server.entered():
        listener = socket.create_server((to, port), family=socket.AF_INET6 if ":" in to else socket.AF_INET)
    with client.entered():
        c = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_STREAM)
    c.settimeout(20)
    listener.settimeout(20)
    c.connect((to, port))
    s, _ = listener.accept()
    s.settimeout(20)
    import threading
    sender = threading.Thread(target=lambda: (c.sendall(data), c.shutdown(socket.SHUT_WR)))
    sender.start()
    got = bytearray()
    while True:
        part = s.recv(1 << 20)
        if not part:
            break
        got += part
    sender.join()
    for x in (c, s, listener):
        x.close()
    assert bytes(got) == data, "the bytes that arrived differ: %d of %d" % (len(got), len(data))


def transfer_udp(client, server, to, sizes, port=5002):
    """Datagrams of the given sizes, a few at a time; all must arrive with their contents."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with server.entered():
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.bind((to, port))
    with client.entered():
        c = socket.socket(family, socket.SOCK_DGRAM)
        c.connect((to, port))
    s.settimeout(5)
    for at in range(0, len(sizes), 16):
        sent = [os.urandom(n) for n in sizes[at:at + 16]]
        for d in sent:
            c.send(d)
        got = [s.recv(65536) for _ in sent]
        if max(len(d) for d in sent) > 1300:  # fragments take their own way through queues: order is not promised
            got, sent = sorted(got), sorted(sent)
        assert got == sent
    c.close()
    s.close()


def rss_kb(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


class Crowd:
    """Many peers of one engine (crowd.c)."""

    def __init__(self, world, count, env=None, extra=()):
        self.node, there = world.node("n"), world.node("there")
        world.wire(self.node, there, "192.168.8.")
        self.engine = world.engine(self.node, "wg0", "weft", env=env, extra=["--persist", "--state-dir", "/run/state", *extra])
        self.engine.wg("private-key @%s listen-port 51820" % self.engine.key.private)
        self.process = there.spawn([os.path.join(os.path.dirname(BIN), "tests/wgcrowd"), "192.168.8.2", "20000",
                                    base64.b64decode(self.engine.key.public).hex(), str(count), "192.168.8.1"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.peers = [self.process.stdout.readline().split() for _ in range(count)]
        self.node.ip("link set wg0 up")

    def introduce(self, each):
        self.node.run("wg", "addconf", "wg0", "/dev/stdin", input="".join("[Peer]\nPublicKey=%s\nAllowedIPs=10.70.%d.%d/32\n" % (
            base64.b64encode(bytes.fromhex(key)).decode(), i // 250, i % 250 + 1) + each(port) for i, (key, port) in enumerate(self.peers)))

    def say(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def hear(self):
        return map(int, self.process.stdout.readline().split())


def memory_of_a_crowd(world, count=1000):
    """Resident MB of an engine of two workers that has two sessions with each of its peers (one that it began and the next, that they have), four prefixes each, has been configured again, and has carried a stream."""
    crowd = Crowd(world, count, {"WEFT_WG_WORKERS": "2"})
    e, other = crowd.engine, world.node("other")
    ports = {port: i for i, (_, port) in enumerate(crowd.peers)}
    crowd.say("again")
    crowd.introduce(lambda port: "AllowedIPs=fd70:%x::/64,fd71::%x/128,10.%d.%d.0/24\nEndpoint=192.168.8.2:%s\nPersistentKeepalive=25\n" % (
        ports[port] + 1, ports[port] + 1, 100 + (ports[port] >> 8), ports[port] & 255, port))
    crowd.hear()
    crowd.say("ask")
    assert sum(crowd.hear()) == count
    world.wire(crowd.node, other, "192.168.6.")
    far = world.engine(other, "wg0", "weft")
    far.wg("private-key @%s listen-port 51820 peer %s allowed-ips 10.9.0.1/32" % (far.key.private, e.key.public))
    far.address("10.9.0.2/24")
    e.wg("peer %s allowed-ips 10.9.0.2/32 endpoint 192.168.6.2:51820" % far.key.public)
    e.address("10.9.0.1/24")
    transfer_tcp(crowd.node, other, "10.9.0.2", 16 << 20)
    transfer_tcp(other, crowd.node, "10.9.0.1", 16 << 20)
    crowd.node.run("wg", "syncconf", "wg0", "/dev/stdin", input=crowd.node.out("wg", "showconf", "wg0"))
    return rss_kb(e.pid()) / 1024
