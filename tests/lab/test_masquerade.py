# SPDX-License-Identifier: Apache-2.0
"""Pods speak to the world, which has no route to them, as their node; and what happens at the limits of that."""

import contextlib
import json
import os
import re

import pytest
from combos import BRIEF, family, options, params
from labs import FULL, HELPERS, Lab, WEFT, WEFT_BIN, end, pod, run, running, wait_for
from scapy.all import IP, UDP, Ether, IPv6, Raw
from wire import Wire

ECHO = os.path.join(WEFT_BIN, "weft-echo")
MANY, DIAL, FLOOD, TRAFFIC = (os.path.join(HELPERS, "lab-" + name) for name in ("many", "dial", "flood", "traffic"))
PORT = 9000


def world(lab, version):
    return next(a for a in lab.status()["world"]["addresses"] if (":" in a) == (version == 6)).split("/")[0]


def underlay(lab, node, version):
    return next(a for a in next(n for n in lab.status()["nodes"] if n["name"] == node)["addresses"] if (":" in a) == (version == 6))


def bracket(address):
    return "[%s]" % address if ":" in address else address


class Served:
    """A program that serves in the world while the block runs."""

    def __init__(self, lab, *command):
        self.lab, self.command = lab, command

    def __enter__(self):
        self.process = self.lab.popen("world", *self.command, stdout=-1)
        return self

    def __exit__(self, *_):
        for pid in self.lab.pids("world/exec"):
            run("kill", "-KILL", pid, check=False)
        self.process.communicate(timeout=60)


def client(lab, source, version, protocol="tcp"):
    """As whom the world sees a source."""
    address = bracket(world(lab, version))
    if protocol == "tcp":
        done = lab.exec(source, "curl", "-sg", "-m", "5", "http://%s:%d/" % (address, PORT), check=False)
    else:
        script = ("import socket,sys; s=socket.socket(socket.AF_INET%s, socket.SOCK_DGRAM); s.settimeout(5); s.sendto(b'x', (sys.argv[1], %d)); "
                  "print(s.recv(1000).decode())" % ("6" if version == 6 else "", PORT))
        done = lab.exec(source, "/usr/bin/python3", "-c", script, world(lab, version), check=False)
    return json.loads(done.stdout)["client"].rsplit(":", 1)[0].strip("[]") if done.returncode == 0 else None


def pods():
    return [pod("p%d" % n, node="n%d" % n) for n in (1, 2)]


@pytest.mark.parametrize("combo", params(BRIEF))
def test_the_world_sees_the_node(combo):
    versions = (6,) if family(combo) == "ipv6" else (4, 6)
    with Lab(nodes=2, **options(combo, family(combo))) as lab:
        lab.apply(*pods())
        lab.wait_ready()
        with Served(lab, ECHO, str(PORT)):
            wait_for("the world serves", lambda: client(lab, "n1", versions[0]))
            for version in versions:
                for n in (1, 2):
                    source = "default/p%d" % n
                    for protocol in ("tcp", "udp"):
                        assert client(lab, source, version, protocol) == underlay(lab, "n%d" % n, version), (source, version, protocol)
                    lab.exec(source, "ping", "-c", "1", "-W", "5", world(lab, version))
        assert lab.node_status("n1")["datapath"]["nat"] >= 2 * len(versions)


def test_switches_and_exclusions():
    """Without a way back nothing returns: the world has no route to pods."""
    with Lab(nodes=1, set=["masquerade.ipv6=off", "masquerade.exclude=203.0.113.0/24, 172.31.0.1"]) as lab:
        lab.apply(pods()[0])
        lab.wait_ready()
        with Served(lab, ECHO, str(PORT)):
            wait_for("the world serves", lambda: client(lab, "n1", 4))
            assert client(lab, "default/p1", 4) == underlay(lab, "n1", 4)
            assert client(lab, "default/p1", 6) is None
            assert lab.exec("default/p1", "ping", "-c", "1", "-W", "1", "172.31.0.1", check=False).returncode != 0
            lab.exec("n1", "ping", "-c", "1", "-W", "5", "172.31.0.1")


def test_a_pool_is_switched_off():
    with Lab(nodes=1, set=["masquerade.excludePools=10.244.0.0/16"]) as lab:
        lab.apply(pods()[0])
        lab.wait_ready()
        with Served(lab, ECHO, str(PORT)):
            wait_for("the world serves", lambda: client(lab, "n1", 4))
            assert client(lab, "default/p1", 4) is None
            assert client(lab, "default/p1", 6) == underlay(lab, "n1", 6)


def test_path_mtu_errors_reach_the_pod():
    with Lab(nodes=1) as lab:
        lab.apply(pods()[0])
        lab.wait_ready()
        wait_for("the world answers", lambda: client_pings(lab, 4, 100) and client_pings(lab, 6, 100))
        run(*lab.fabric("ip", "link", "set", "world", "mtu", "1300"))
        for version in (4, 6):
            assert not client_pings(lab, version, 1400)
            shown = lab.exec("default/p1", "ip", "-%d" % version, "route", "get", world(lab, version)).stdout
            assert "mtu 1300" in shown, shown


def client_pings(lab, version, size):
    return lab.exec("default/p1", "ping", "-M", "do", "-c", "1", "-W", "2", "-s", size, world(lab, version), check=False).returncode == 0


def test_kill_9_keeps_connections():
    script = "import socket,sys; s=socket.create_connection((sys.argv[1], 9001)); s.settimeout(20)\nfor line in sys.stdin:\n s.sendall(line.encode()); print(s.recv(99).decode().strip(), flush=True)"
    server = "import socket; s=socket.create_server(('', 9001)); c=s.accept()[0]\nwhile 1: c.sendall(c.recv(99))"
    with Lab(nodes=1) as lab:
        lab.apply(pods()[0])
        lab.wait_ready()
        with Served(lab, "/usr/bin/python3", "-c", server):
            wait_for("it listens", lambda: ":9001" in lab.exec("world", "ss", "-tln").stdout)
            p = lab.popen("default/p1", "/usr/bin/python3", "-c", script, world(lab, 4), stdin=-1, stdout=-1)
            for round in ("before", "while", "after"):
                p.stdin.write(round + "\n")
                p.stdin.flush()
                assert p.stdout.readline().strip() == round
                if round == "before":
                    for pid in lab.pids("n1/weftd"):
                        run("kill", "-KILL", pid)
                if round == "while":
                    wait_for("the agent is back", lambda: lab.exec("n1", os.path.join(WEFT_BIN, "weft"), "status", "-o", "json", check=False).returncode == 0)
            p.communicate(timeout=60)
            assert p.returncode == 0


def many(lab, source, version, first, count, tag):
    done = lab.exec(source, MANY, "send", world(lab, version), PORT, first, count, tag, check=False, timeout=600)
    assert done.returncode in (0, 1), done.stderr
    answered, lost = re.match(r"answered (\d+) lost (\d+)", done.stdout).groups()
    return int(answered), int(lost)


@pytest.mark.parametrize("version", [4, 6])
def test_very_many_connections_to_one_destination_have_unique_ports(version):
    """From the same ports in two pods of one node, so that half of them have to change."""
    each = 27500 if FULL else 2500
    with Lab(nodes=1) as lab:
        lab.apply(pod("a", node="n1", ports=(1500,)), pod("b", node="n1", ports=(1500,)))
        lab.wait_ready()
        with Served(lab, MANY, "serve", str(PORT)) as served:
            assert served.process.stdout.readline() == "serving\n"
            for tag, source in enumerate(("default/a", "default/b"), 1):
                assert many(lab, source, version, 2000, each, tag) == (each, 0)
            lab.exec("world", MANY, "quit", PORT)
            assert served.process.stdout.readline() == "conversations %d clashes 0 addresses 1\n" % (2 * each)


def test_a_pod_does_not_speak_as_its_nodes_tunnel():
    """To an address of another node that nobody was told of, the node believes what comes as from its peer's tunnel."""
    send = "import socket, sys; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x' * 99, (sys.argv[1], int(sys.argv[2])))"
    with Lab(nodes=2, transport="vxlan") as lab:
        lab.apply(*pods())
        lab.wait_ready()
        lab.exec("n2", "ip", "addr", "add", "172.30.0.99/24", "dev", lab.node_status("n2")["uplinks"][0])
        seen = lab.popen("n2", "timeout", "20", "tcpdump", "-l", "-n", "-i", "any", "-c", "1", "udp and dst 172.30.0.99", stdout=-1)
        wait_for("what goes to another port arrives", lambda: (lab.exec("default/p1", "/usr/bin/python3", "-c", send, "172.30.0.99", 4790), seen.poll())[1] is not None)
        assert " 172.30.0.11." in seen.communicate()[0]
        lab.exec("default/p1", "/usr/bin/python3", "-c", send, "172.30.0.99", 4789)
        wait_for("it is refused", lambda: refused(lab, "nat_tunnel") == 1)


SEND = """
import socket, sys
from scapy.all import Ether, IP, UDP, raw
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
s.send(raw(Ether(dst=sys.argv[2], src="02:00:00:00:00:09") / IP(src=sys.argv[3], dst=sys.argv[4]) / UDP(sport=int(sys.argv[5]), dport=9000) / b"x"))
"""


def mark(lab, where, interface, minor):
    """Its owner sets tc_index of what leaves by the interface: the class that a filter there finds (bytecode: return the minor)."""
    lab.exec(where, "tc", "qdisc", "replace", "dev", interface, "clsact")
    lab.exec(where, "tc", "filter", "replace", "dev", interface, "egress", "pref", "1", "handle", "1", "bpf", "bytecode", "1,6 0 0 %d," % minor)


def stranger(lab):
    """An interface of somebody else's in n1, whose packets the node forwards whatever their source. Return: (it, MAC address that it speaks to)"""
    lab.exec("n1", "sh", "-ec", "ip link add name fx type veth peer name fy; ip link set fx up; ip link set fy up; "
             "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.fx.rp_filter=0 net.ipv4.conf.fx.forwarding=1")
    return "fy", lab.exec("n1", "cat", "/sys/class/net/fx/address").stdout.strip()


@pytest.mark.parametrize("attach", ["tcx"] + ["clsact"] * FULL)
def test_a_pod_cannot_say_that_its_packets_are_past_the_stack(attach):
    """By tc_index the programs at an uplink know what others of ours have dealt with (0x5757), or made (0x5758). A pod with power over its own
    interface sets it, too, and it crosses the veth: from_pod's verdict clears it. The owner of another interface keeps it, and is not believed; nor does he speak as a pod."""
    with Lab(nodes=2, set="datapath.attach=" + attach) as lab:
        lab.apply(*pods(), pod("q", node="n1"))
        lab.wait_ready()
        address = {p["name"]: p["ips"][0] for p in lab.status()["pods"]}
        interface, mac = stranger(lab)
        send = lambda source, to: lab.exec("n1", "/usr/bin/python3", "-c", SEND, interface, mac, source, to, "4001")
        forwarded = lambda: int(lab.exec("n1", "nstat", "-asz", "IpForwDatagrams").stdout.split()[-2])
        for minor in (None, 0x5757, 0x5758):
            if minor:
                mark(lab, "n1", interface, minor)
            for to in (world(lab, 4), address["q"], address["p2"]):
                before = forwarded()
                send("172.31.99.9", to)
                wait_for("what comes from there is forwarded", lambda: forwarded() > before)
                before = refused(lab, "net_source")
                send(address["p1"], to)
                wait_for("nobody else speaks as p1 to %s (%s)" % (to, minor), lambda: refused(lab, "net_source") > before)
        with Served(lab, ECHO, str(PORT)):
            wait_for("the world serves", lambda: client(lab, "n1", 4))
            for minor in (0x5757, 0x5758):
                mark(lab, "default/p1", "eth0", minor)
                for version in (4, 6):
                    for protocol in ("tcp", "udp"):
                        assert client(lab, "default/p1", version, protocol) == underlay(lab, "n1", version), (minor, version, protocol)


def test_exhaustion_is_counted_and_reported():
    with Lab(nodes=1, set=["masquerade.ports=2000-2999"]) as lab:
        lab.apply(pods()[0])
        lab.wait_ready()
        with Served(lab, MANY, "serve", str(PORT)) as served:
            assert served.process.stdout.readline() == "serving\n"
            assert many(lab, "default/p1", 4, 20000, 900, 1) == (900, 0)
            answered, lost = many(lab, "default/p1", 4, 30000, 200, 2)
            assert 90 <= answered <= 100 and lost == 200 - answered
        status = lab.node_status("n1")
        assert next(d for d in status["drops"] if d["reason"] == "nat_exhausted")["packets"] >= lost
        event = next(d for d in status["recentDrops"] if d["reason"] == "nat_exhausted")
        assert event["destination"] == "%s:%d" % (world(lab, 4), PORT)
        assert "nat_exhausted" in open("/run/weft-lab/%s/logs/n1-weftd.log" % lab.name).read()


@contextlib.contextmanager
def echoes(lab, programs=1):
    """The world echoes; each program may have so many connections as it may have files."""
    with contextlib.ExitStack() as stack:
        for _ in range(programs):
            stack.enter_context(running(lab, "world", TRAFFIC, "serve", PORT, says="listening"))
        yield


def test_55000_connections_to_one_destination_have_unique_ports():
    """TCP, all open at once, from two pods that use the same ports; each gets its own answers, at the beginning and at the end."""
    each = 13750 if FULL else 500  # a program may have 20,000 files
    with Lab(nodes=1) as lab, contextlib.ExitStack() as stack:
        lab.apply(pod("a", node="n1"), pod("b", node="n1"))
        lab.wait_ready()
        for name in "ab":  # so that the pod's own kernel finds a port at once
            lab.exec("default/" + name, "sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535")
        stack.enter_context(echoes(lab, programs=4))
        wait_for("the world serves", lambda: lab.exec("default/a", DIAL, world(lab, 4), PORT, 1, 2, input="").returncode == 0)
        dials = [stack.enter_context(running(lab, "default/" + name, DIAL, world(lab, 4), PORT, each, 2, says="dialling")) for name in "aabb"]
        peers = [line.split()[3].rsplit(":", 1) for line in lab.exec("world", "ss", "-Htn", "state", "established", "sport = :%d" % PORT).stdout.splitlines()]
        assert len(peers) >= 4 * each and len(set(map(tuple, peers))) == len(peers)
        assert {address.strip("[]").removeprefix("::ffff:") for address, _ in peers} == {underlay(lab, "n1", 4)}
        assert lab.node_status("n1")["datapath"]["nat"] >= 4 * each
        for d in map(end, dials):
            assert d["idle"] == each and d["idle_failed"] == 0 and d["failed"] == 0, d
        assert not {d["reason"]: d["packets"] for d in lab.node_status("n1")["drops"] if d["reason"].startswith("nat_") and d["packets"]}


@contextlib.contextmanager
def flooded_world(lab):
    """A pod floods one port of the world, which hears nothing of it."""
    lab.exec("world", "nft", "table inet deaf { chain c { type filter hook input priority 0; tcp window 1234 drop; }; }")
    own = next(p["ips"] for p in lab.status()["pods"] if p["name"] == "flood")[0]
    with echoes(lab), running(lab, "default/flood", FLOOD, own + "/32", world(lab, 4) + "/32", PORT, 10000, says="flooding"):
        yield


def refused(lab, reason):
    return next(d["packets"] for d in lab.node_status("n1")["drops"] if d["reason"] == reason)


def dial(lab, connections, rate=100):
    """So many new connections of the other pod, beside a few idle ones; what came of them."""
    with running(lab, "default/other", DIAL, world(lab, 4), PORT, 20, rate, says="dialling") as p:
        opened = "TcpActiveOpens"
        counted = lambda: int(lab.exec("default/other", "nstat", "-asz", opened).stdout.split(opened)[1].split()[0])
        start = counted()
        wait_for("%d connections begun" % connections, lambda: counted() >= start + connections)
        return end(p)


def two_pods(lab):
    lab.apply(pod("flood", node="n1"), pod("other", node="n1"))
    lab.wait_ready()


def test_a_flood_towards_one_destination_leaves_ports_to_others(capsys):
    """A pod gets 256 ports of 2,000 until they are answered, and as many every eight seconds."""
    with Lab(nodes=1, set=["masquerade.ports=2000-3999"]) as lab:
        two_pods(lab)
        with flooded_world(lab):
            wait_for("the flood is refused", lambda: refused(lab, "nat_unanswered") > 10000)
            counted = dial(lab, 300)
            held = lab.node_status("n1")["datapath"]["nat"]
        with capsys.disabled():
            print("\n%d refused; others: %s; claims: %d" % (refused(lab, "nat_unanswered"), json.dumps(counted), held), flush=True)
        assert counted["new"] >= 250 and counted["failed"] + counted["repeated"] == 0 and counted["idle_failed"] == 0
        assert refused(lab, "nat_exhausted") == 0 and held < 2000
        assert any(e["reason"] == "nat_unanswered" for e in lab.node_status("n1")["recentDrops"])
        assert "nat_unanswered" in lab.logs_of("n1")


def test_ports_that_a_flood_has_used_come_back():
    """Where there are no more ports than one pod may have, the other is refused, and can speak again soon after the flood has ended."""
    with Lab(nodes=1, set=["masquerade.ports=2000-2200"]) as lab:
        two_pods(lab)
        with flooded_world(lab):
            wait_for("no port is left", lambda: refused(lab, "nat_exhausted") > 1000)
            assert client(lab, "default/other", 4) is None
        with Served(lab, ECHO, str(PORT)):
            wait_for("the other pod speaks to the world", lambda: client(lab, "default/other", 4), timeout=40)


ECHOES = """
import socket, threading
def serve(c):
    while data := c.recv(999):
        c.sendall(data)
def accept():
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
server = socket.create_server(("", 9000), family=socket.AF_INET6, dualstack_ipv6=True)
threading.Thread(target=accept, daemon=True).start()
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
u.bind(("", 9000))
print("serving", flush=True)
while True:
    u.sendto(*u.recvfrom(999))
"""
# From one port, a line and its answer after the other.
TALK = """
import socket, sys
address, protocol, port = sys.argv[1:]
s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", int(port)))
s.settimeout(5)
try:
    s.connect((address, 9000))
    for line in sys.stdin:
        s.send(line.encode())
        print(s.recv(999).decode().strip(), flush=True)
except OSError as e:
    print(e, flush=True)
"""


class Box:
    """A network of somebody else's on n1, behind a bridge and netfilter's masquerade, as container engines make them."""

    def __init__(self, lab):
        self.lab = lab
        self.holder = lab.popen("n1", "unshare", "-n", "/usr/bin/python3", "-c", "import os; print(os.getpid(), flush=True); input()", stdin=-1, stdout=-1)
        self.pid = self.holder.stdout.readline().strip()
        lab.exec("n1", "sh", "-ec", "ip link add br9 type bridge; ip addr add 172.20.0.1/24 dev br9; ip addr add fd20::1/64 dev br9 nodad; ip link set br9 up; "
                 "ip link add box9 type veth peer name eth0 netns %s; ip link set box9 master br9 up" % self.pid)
        lab.exec("n1", "nft", "table inet box { chain post { type nat hook postrouting priority 100; ip saddr 172.20.0.0/24 oifname != br9 masquerade; "
                 "ip6 saddr fd20::/64 oifname != br9 masquerade; }; }")
        lab.exec("n1", *self.inside("sh", "-ec", "ip link set eth0 up; ip addr add 172.20.0.2/24 dev eth0; ip addr add fd20::2/64 dev eth0 nodad; "
                                    "ip route add default via 172.20.0.1; ip route add default via fd20::1"))

    def inside(self, *command):
        return ["nsenter", "--net=/proc/%s/ns/net" % self.pid, *command]


class Talk:
    def __init__(self, lab, who, box, *args):
        command = ("/usr/bin/python3", "-c", TALK, *args)
        self.p = lab.popen("n1", *box.inside(*map(str, command)), stdin=-1, stdout=-1) if who == "box" else lab.popen(who, *command, stdin=-1, stdout=-1)

    def says(self, text):
        self.p.stdin.write(text + "\n")
        self.p.stdin.flush()
        return self.p.stdout.readline().strip()


@pytest.mark.parametrize("combo", params(BRIEF[:2]))
def test_what_the_nodes_netfilter_translates_has_ports_of_its_own(combo):
    """The same port of a pod and of a container behind netfilter's masquerade, to the same end: no socket of the node tells of the latter."""
    versions = (6,) if family(combo) == "ipv6" else (4, 6)
    with Lab(nodes=1, **options(combo, family(combo))) as lab:
        lab.apply(pods()[0])
        lab.wait_ready()
        box, port = Box(lab), 40000
        with Served(lab, "/usr/bin/python3", "-c", ECHOES) as served:
            assert served.process.stdout.readline() == "serving\n"
            for version in versions:
                for protocol in ("tcp", "udp"):
                    for order in (("box", "default/p1"), ("default/p1", "box")):
                        port += 1
                        talks = []
                        for who in order:
                            talks.append((who, Talk(lab, who, box, world(lab, version), protocol, port)))
                            for n in range(2):
                                for speaker, talk in talks:
                                    said = "%s %s %d %d" % (speaker, protocol, port, n)
                                    assert talk.says(said) == said
        assert lab.node_status("n1")["datapath"]["nat"] >= 4 * len(versions)


FORGE = """
import socket, sys
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
to, port, vni, mac, source, target = sys.argv[1:7]
layer = IPv6 if ":" in source else IP
inner = Ether(src="02:00:00:00:00:01", dst=mac) / layer(src=source, dst=target) / UDP(sport=4000, dport=4000) / b"forged"
s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
for i in range(3):
    s.sendto(bytes(VXLAN(vni=int(vni), flags=8) / inner), (to, int(port)))
"""


@pytest.mark.parametrize("underlay", ["dual", "dual6"])
def test_what_is_forwarded_is_no_tunnel_of_the_node(underlay):
    """A container behind netfilter's masquerade sends VXLAN to another node, with a pod's packet inside; the node's own tunnel goes on, past the stack and through it."""
    with Lab(nodes=2, transport="vxlan", family=underlay, set=["datapath.fastPath=off"]) as lab:
        lab.apply(*pods())
        lab.wait_ready()
        box, addresses = Box(lab), next(n for n in lab.status()["nodes"] if n["name"] == "n2")["addresses"]
        to = next(a for a in addresses if (":" in a) == (underlay == "dual6"))
        ips = {p["name"]: p["ips"] for p in lab.status()["pods"]}

        def dropped():
            return next((d["packets"] for d in lab.node_status("n1")["drops"] if d["reason"] == "nat_tunnel"), 0)
        before = dropped()
        lab.exec("n1", *box.inside("/usr/bin/python3", "-c", FORGE, to, "4789", "1", "02:00:00:00:00:02", ips["p1"][0], ips["p2"][0]))
        wait_for("three drops", lambda: dropped() == before + 3)
        for ip in ips["p2"]:
            assert lab.exec("default/p1", "ping", "-c", "3", "-i", "0.1", "-W", "2", ip, check=False).returncode == 0
        assert dropped() == before + 3


CANARY = b"weft-uplink-canary"


class Card:
    """A second network card of n1's, with a cable to the fabric's router: 172.29.0.2/24, fd29::2/64."""
    ADDRESSES = {4: "172.29.0.2", 6: "fd29::2"}
    ROUTERS = {4: "172.29.0.1", 6: "fd29::1"}

    def __init__(self, lab):
        self.lab, agent = lab, lab.agents("n1")[0]
        run(*lab.fabric("sh", "-ec", "sysctl -qw net.ipv6.conf.default.accept_dad=0; ip link add n1card type veth peer name card netns %d; ip link set n1card up; "
                        "ip addr add 172.29.0.1/24 dev n1card; ip addr add fd29::1/64 dev n1card nodad" % agent))
        lab.exec("n1", "sh", "-ec", "ip link set card mtu 1400 up; ip addr add 172.29.0.2/24 dev card; ip addr add fd29::2/64 dev card nodad")
        self.mac = lab.exec("n1", "cat", "/sys/class/net/card/address").stdout.strip()
        self.eth0 = {v: lab.exec("n1", "ip", "-%d" % v, "route", "show", "default").stdout.split() for v in (4, 6)}

    def lead(self, how):
        """The default routes: by the first card, the second, or both."""
        for v in (4, 6):
            old = self.eth0[v][1:5]  # via ROUTER dev eth0
            new = ["via", self.ROUTERS[v], "dev", "card"]
            ways = {"first": old, "second": new, "both": ["nexthop", *old, "nexthop", *new]}
            self.lab.exec("n1", "sh", "-ec", "while ip -%d route del default 2>/dev/null; do :; done" % v)
            self.lab.exec("n1", "ip", "-%d" % v, "route", "add", "default", *ways[how])

    def frame(self, source, to):
        ip = IPv6(src=source, dst=to) if ":" in to else IP(src=source, dst=to)
        return Ether(src="02:00:00:00:00:78", dst=self.mac) / ip / UDP(sport=1000, dport=2000) / Raw(CANARY)


def uplinks(lab):
    return lab.node_status("n1")["uplinks"]


@contextlib.contextmanager
def two_cards(**options):
    with Lab(nodes=2, **options) as lab:
        lab.apply(*pods())
        lab.wait_ready()
        yield lab, Card(lab)


def test_a_second_card_with_the_default_route_is_an_uplink():
    """Its node address is on the first card. What leaves by the second has that one's address; what comes in there claims nobody's of the cluster."""
    with two_cards() as (lab, card):
        mtu = lab.node_status("n1")["mtu"]
        assert uplinks(lab) == ["eth0"]
        with Served(lab, ECHO, str(PORT)):
            wait_for("the world serves", lambda: client(lab, "n1", 4))
            for how, by in (("second", ["eth0", "card"]), ("first", ["eth0"]), ("both", ["eth0", "card"]), ("second", ["eth0", "card"])):
                card.lead(how)
                wait_for("the uplinks are %s with the default route by the %s" % (by, how), lambda: uplinks(lab) == by)
                for v in (4, 6):
                    own = {"first": [underlay(lab, "n1", v)], "second": [card.ADDRESSES[v]], "both": [underlay(lab, "n1", v), card.ADDRESSES[v]]}[how]
                    for _ in range(4):
                        assert client(lab, "default/p1", v) in own, how
        assert lab.node_status("n1")["mtu"] == mtu, "by the card nodes do not reach each other: its MTU says nothing of theirs"
        addresses = {p["name"]: p["ips"] for p in lab.status()["pods"]}
        for v, of in ((4, 0), (6, 1)):
            lab.exec("default/p1", "ping", "-c", "1", "-W", "5", addresses["p2"][of])
            forged_from_a_card(lab, card, v, addresses["p1"][of], addresses["p2"][of])


def test_a_second_card_that_policy_routing_leads_to_is_an_uplink():
    """By a rule pods leave by another table, whose default route is by the second card; the node itself goes on by the first."""
    rules = lambda verb: "; ".join("ip -%d rule %s priority 9000 from %s lookup 100" % (v, verb, range_of) for v, range_of in ((4, "10.244.0.0/16"), (6, "fd00:244::/48")))
    with two_cards() as (lab, card), Served(lab, ECHO, str(PORT)):
        wait_for("the world serves", lambda: client(lab, "n1", 4))
        for v in (4, 6):
            lab.exec("n1", "ip", "-%d" % v, "route", "add", "default", "via", card.ROUTERS[v], "dev", "card", "table", "100")
        assert uplinks(lab) == ["eth0"], "no rule leads to that table"
        for verb, by in (("add", ["eth0", "card"]), ("del", ["eth0"]), ("add", ["eth0", "card"])):
            lab.exec("n1", "sh", "-ec", rules(verb))
            wait_for("the uplinks are %s" % by, lambda: uplinks(lab) == by)
            for v in (4, 6):
                assert client(lab, "default/p1", v) == (card.ADDRESSES[v] if verb == "add" else underlay(lab, "n1", v))
                assert client(lab, "n1", v) == underlay(lab, "n1", v)
        addresses = {p["name"]: p["ips"] for p in lab.status()["pods"]}
        for v, of in ((4, 0), (6, 1)):
            forged_from_a_card(lab, card, v, addresses["p1"][of], addresses["p2"][of])
            lab.exec("n1", "ip", "-%d" % v, "route", "flush", "table", "100")
        wait_for("the card is none any more", lambda: uplinks(lab) == ["eth0"])


def forged_from_a_card(lab, card, version, mine, far):
    inside, outside = Wire(lab, "default/p1", "eth0", CANARY), Wire(lab, "fabric", "n1card", CANARY)
    range_address = next(a for a in lab.node_status("n1")["nodeAddresses"] if (":" in a) == (version == 6))
    forged = {far: "plain_source", underlay(lab, "n2", version): "plain_source", underlay(lab, "n1", version): "net_source", range_address: "net_source", mine: "net_source"}
    for source, reason in forged.items():
        before = refused(lab, reason)
        outside.send([card.frame(source, mine)] * 3)
        wait_for("what claims to be %s is dropped" % source, lambda: refused(lab, reason) == before + 3)
    # the one that may: behind the others on the same cable, so these would have been seen, too
    outside.send([card.frame(world(lab, version), mine)])
    seen = wait_for("the world's packet arrives", inside.seen)
    assert seen == 1
    inside.close()
    outside.close()


@pytest.mark.parametrize("transport", ["direct", "auto"])
def test_a_pod_elsewhere_does_not_come_by_a_card_to_the_world(transport):
    """Its packets are plain on the network that both nodes share, and nowhere else; the way there is as before."""
    with two_cards(transport=transport) as (lab, card):
        card.lead("both")
        wait_for("both cards are uplinks", lambda: uplinks(lab) == ["eth0", "card"])
        if transport == "auto":
            wait_for("it is direct", lambda: all(p["transport"] == "direct" for n in ("n1", "n2") for p in lab.node_status(n)["peers"]))
        addresses = {p["name"]: p["ips"] for p in lab.status()["pods"]}
        for v, of in ((4, 0), (6, 1)):
            lab.exec("default/p1", "ping", "-c", "1", "-W", "5", addresses["p2"][of])
            forged_from_a_card(lab, card, v, addresses["p1"][of], addresses["p2"][of])
            lab.exec("n2", "ping", "-c", "1", "-W", "5", "-I", underlay(lab, "n2", v), addresses["p1"][of])


TUN = "uplink tun9 has no Ethernet header: pods' packets that leave by it are not masqueraded and nothing is checked there"


def test_an_uplink_without_an_ethernet_header_is_said():
    with Lab(nodes=1) as lab:
        lab.apply(pods()[0])
        lab.wait_ready()
        assert not [w for w in lab.node_status("n1")["warnings"] if "uplink" in w]
        lab.exec("n1", "sh", "-ec", "ip tuntap add dev tun9 mode tun; ip link set tun9 up; ip route add default dev tun9 metric 9999")
        wait_for("it is said", lambda: TUN in lab.node_status("n1")["warnings"])
        assert uplinks(lab) == ["eth0"] and lab.is_well("n1")
        assert TUN in lab.exec("n1", WEFT, "status").stdout and TUN in lab.logs_of("n1")
        lab.exec("n1", "ip", "route", "del", "default", "dev", "tun9")
        wait_for("it is over", lambda: TUN not in lab.node_status("n1")["warnings"])
