# SPDX-License-Identifier: Apache-2.0
"""Every pod and every node reaches every pod, over each transport, path and family; and the matrix sees what is missing."""

import itertools
import re
import subprocess

import pytest
from combos import ALL, FACTORS, OPPOSITES, SPANNING, assert_underlay, name, options
from labs import FULL, Lab, Matrix, assert_matrix, run, spread_pods, wait_for

def cases():
    """(combination, family of the pods, networks): both families; each alone; and over two networks with a router between them, where plain packets have no way."""
    if FULL:
        return [(c, family, subnets) for c in ALL for family in ("dual", c[4]) for subnets in (1, 2) if subnets == 1 or c[0] != "direct"]
    alone = [(t, *way) for t, way in zip(FACTORS["transport"], itertools.cycle(OPPOSITES))]
    apart = [(t, *way) for t, way in zip(("vxlan", "wireguard", "auto"), itertools.cycle(OPPOSITES))]
    return [(c, "dual", 1) for c in SPANNING] + [(c, c[4], 1) for c in alone] + [(c, "dual", 2) for c in apart]


@pytest.mark.parametrize("combo, family, subnets", [pytest.param(*case, id="%s-%s-%d" % (name(case[0]), *case[1:])) for case in cases()])
def test_every_pod_reaches_every_pod(combo, family, subnets):
    with Lab(nodes=3, subnets=subnets, **options(combo, family)) as lab:
        lab.apply(*spread_pods(3))
        lab.wait_ready()
        assert_underlay(lab, combo)
        assert_matrix(lab, 12 * 9 * 3 * (2 if family == "dual" else 1))


@pytest.mark.sanitizers
def test_a_lab_comes_up_and_its_pods_talk():
    with Lab(nodes=2) as lab:
        lab.apply(*spread_pods(2, each=1))
        lab.wait_ready()
        assert_matrix(lab, 6 * 4 * 3 * 2)


@pytest.fixture(scope="module")
def routed():
    """Without the fast path, so that routes count; one pod a node."""
    with Lab(nodes=2, transport="vxlan", set=["datapath.fastPath=off"]) as lab:
        lab.apply(*spread_pods(2, each=1))
        lab.wait_ready()
        yield lab


@pytest.fixture(scope="module")
def fast():
    with Lab(nodes=2, transport="vxlan", set=["datapath.fastPath=on"]) as lab:
        lab.apply(*spread_pods(2, each=1))
        lab.wait_ready()
        yield lab


def test_matrix_fails_without_a_route(routed):
    assert_matrix(routed, 1)
    pod = next(p for p in routed.status()["pods"] if p["name"] == "p2-0")
    agents = routed.pids("n2/weftd")
    assert agents
    try:
        for pid in agents:  # held still, else it would mend what is taken away
            run("kill", "-STOP", pid)
        routed.exec("n2", "ip", "route", "del", pod["ips"][0] + "/32")
        _, failures = Matrix(routed).run()
        assert failures and all(pod["ips"][0] in f for f in failures)
    finally:
        for pid in agents:
            run("kill", "-CONT", pid)
            run("kill", "-KILL", pid)  # a new one looks at everything
    wait_for("the route is back", lambda: pod["ips"][0] in routed.exec("n2", "ip", "route").stdout)
    assert_matrix(routed, 1)


def test_matrix_fails_without_a_map_entry(fast):
    assert_matrix(fast, 1)
    pod = next(p for p in fast.status()["pods"] if p["name"] == "p2-0")
    agents = fast.pids("n2/weftd")
    key = ["hex"] + ["00"] * 10 + ["ff", "ff"] + ["%02x" % int(b) for b in pod["ips"][0].split(".")]
    pinned = fast.exec("n2", "find", "/sys/fs/bpf/weft", "-name", "endpoints").stdout.split()
    assert len(pinned) == 1
    try:
        for pid in agents:
            run("kill", "-STOP", pid)
        fast.exec("n2", "bpftool", "map", "delete", "pinned", pinned[0], "key", *key)
        _, failures = Matrix(fast).run()
        assert failures and all(pod["ips"][0] in f or "default/p2-0" in f for f in failures)
    finally:
        for pid in agents:
            run("kill", "-CONT", pid)
            run("kill", "-KILL", pid)
    wait_for("the entry is back", lambda: fast.exec("n2", "bpftool", "map", "lookup", "pinned", pinned[0], "key", *key, check=False).returncode == 0)
    assert_matrix(fast, 1)


def capture(lab, action, until, tmp_path):
    """What passes the fabric during action(), as tcpdump prints it, once it holds `until`."""
    path = tmp_path / "dump"
    with open(path, "w") as out:
        dump = subprocess.Popen(lab.fabric("tcpdump", "-n", "-l", "--immediate-mode", "-i", "any", "udp port 4789 or tcp port 8080"),
                                stdout=out, stderr=subprocess.PIPE, text=True)
    try:
        while "listening on" not in dump.stderr.readline():
            assert dump.poll() is None
        action()
        wait_for(until + " in the capture", lambda: until in path.read_text())
    finally:
        dump.terminate()
        dump.communicate(timeout=60)
    return path.read_text()


@pytest.mark.parametrize("transport", ["vxlan", "direct"])
def test_on_the_wire(transport, tmp_path):
    with Lab(nodes=2, transport=transport) as lab:
        lab.apply(*spread_pods(2, each=1))
        lab.wait_ready()
        pods = {p["name"]: p for p in lab.status()["pods"]}
        target, source = pods["p2-0"]["ips"][0], pods["p1-0"]["ips"][0]
        text = capture(lab, lambda: lab.exec("default/p1-0", "curl", "-sf", "-m", "50", "http://%s:8080/" % target), "%s.8080" % target, tmp_path)
        outer = re.findall(r"IP 172\.30\.0\.11\.\d+ > 172\.30\.0\.12\.4789: VXLAN", text)
        plain = [line for line in text.splitlines() if re.search(r" (In|Out|P) +IP %s\.\d+ > %s\.8080" % (re.escape(source), re.escape(target)), line)]
        assert (bool(outer), bool(plain)) == ((True, False) if transport == "vxlan" else (False, True)), text
