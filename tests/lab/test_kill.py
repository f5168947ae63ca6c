# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the agents under traffic: not a packet is lost, not a connection reset; the control run has no kills."""

import json
import os
import signal
import subprocess
import time

import pytest
from combos import REST, family, options, params
from labs import FULL, HELPERS, Lab, pod, wait_for

PPS, CONNECTIONS = 10000, 200
CONTROL_SECONDS = 20 if FULL else 6


def kills_in(combo):
    """100 where `make test` has 20, fewer in the settings that only `make test-full` has."""
    return (100 if FULL else 20) if combo in REST else 10
TRAFFIC = os.path.join(HELPERS, "lab-traffic")


@pytest.fixture(scope="module", params=params(REST))
def lab(request):
    with Lab(nodes=2, **options(request.param, family(request.param))) as lab:
        lab.versions = (6,) if family(request.param) == "ipv6" else (4, 6) if FULL else (4,) if request.param[0] == "vxlan" else (6,)
        lab.kills = kills_in(request.param)
        lab.apply(pod("client", node="n1"), pod("server", node="n2"))
        lab.wait_ready()
        yield lab


def traffic(lab, address, meanwhile):
    """Runs the traffic while meanwhile() runs; returns what the client and the server counted."""
    server = lab.popen("default/server", TRAFFIC, "serve", 7000, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    client = None
    try:
        assert server.stdout.readline() == "listening\n"
        client = lab.popen("default/client", TRAFFIC, "run", address, 7000, PPS, CONNECTIONS, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert client.stdout.readline() == "running\n"
        meanwhile()
        sent, _ = client.communicate(timeout=120)
        served, _ = server.communicate(timeout=120)
    finally:
        for p in (client, server):
            if p:
                p.kill()
                p.wait()
    return json.loads(sent), json.loads(served)


def kill_agents(lab, times):
    for i in range(times):
        node = "n%d" % (i % 2 + 1)
        old = wait_for("an agent on " + node, lambda: lab.agents(node))
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_for("a new agent on " + node, lambda: lab.agents(node) and not set(old) & set(lab.agents(node)))
        wait_for("it answers", lambda: lab.exec(node, "weft", "status", check=False).returncode == 0)
    for node in ("n1", "n2"):
        wait_for("all is well on " + node, lambda: lab.is_well(node))


def engine_overflow(lab, nodes=("n1", "n2")):
    """What found no room before the WireGuard engine, at its interface and its sockets: it did not get a processor in time."""
    total = 0
    for node in nodes:
        for link in json.loads(lab.exec(node, "ip", "-s", "-j", "link", "show").stdout):
            total += link["stats64"]["tx"]["dropped"] if link["ifname"] == "weft-wg" else 0
        for line in lab.exec(node, "cat", "/proc/net/snmp", "/proc/net/snmp6").stdout.splitlines():
            if line.startswith("Udp6RcvbufErrors"):
                total += int(line.split()[1])
            elif line.startswith("Udp: ") and line.split()[1].isdigit():
                total += int(line.split()[5])
    return total


def judge(capsys, what, client, server, before_engine=0):
    with capsys.disabled():  # the figures are wanted also when all is well
        print("\n%s: client %s server %s, no room before the engine: %d" % (what, json.dumps(client), json.dumps(server), before_engine), flush=True)
    overflow = client["overflow"] + server["overflow"] + before_engine
    assert client["unsent"] == 0 and server["unsent"] == 0
    assert client["lost"] - overflow <= 0, "%d datagrams lost (%d for want of room at a receiver)" % (client["lost"], overflow)
    assert client["resets"] == 0 and server["tcp_errors"] == 0 and client["tcp_wrong"] == 0
    assert client["tcp_received"] == client["tcp_sent"] > 0


def test_nothing_is_lost_when_agents_are_killed(lab, capsys):
    for version in lab.versions:
        kill_under_traffic(lab, version, capsys)


def kill_under_traffic(lab, version, capsys):
    server = next(p for p in lab.status()["pods"] if p["name"] == "server")
    address = next(ip for ip in server["ips"] if (":" in ip) == (version == 6))
    started, full = time.monotonic(), engine_overflow(lab)
    killed = traffic(lab, address, lambda: kill_agents(lab, lab.kills))
    lasted, then = time.monotonic() - started, engine_overflow(lab)
    control = traffic(lab, address, lambda: time.sleep(min(lasted, CONTROL_SECONDS)))  # without kills
    judge(capsys, "control", *control, engine_overflow(lab) - then)
    judge(capsys, "%d kills in %.0f s" % (lab.kills, lasted), *killed, then - full)
    assert killed[0]["sent"] > PPS * 0.8 * min(lasted, 5)
