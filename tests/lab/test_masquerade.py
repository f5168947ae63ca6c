# SPDX-License-Identifier: Apache-2.0
"""Pods speak to the world, which has no route to them, as their node; and what happens at the limits of that."""

import json
import os
import re

import pytest
from combos import options, params
from labs import FULL, HELPERS, Lab, WEFT_BIN, pod, run, wait_for

ECHO = os.path.join(WEFT_BIN, "weft-echo")
MANY = os.path.join(HELPERS, "lab-many")
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


@pytest.mark.parametrize("combo", params())
def test_the_world_sees_the_node(combo):
    with Lab(nodes=2, **options(combo)) as lab:
        lab.apply(*pods())
        lab.wait_ready()
        with Served(lab, ECHO, str(PORT)):
            wait_for("the world serves", lambda: client(lab, "n1", 4))
            for version in (4, 6):
                for n in (1, 2):
                    source = "default/p%d" % n
                    for protocol in ("tcp", "udp"):
                        assert client(lab, source, version, protocol) == underlay(lab, "n%d" % n, version), (source, version, protocol)
                    lab.exec(source, "ping", "-c", "1", "-W", "5", world(lab, version))
        assert lab.node_status("n1")["datapath"]["nat"] >= 4


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
