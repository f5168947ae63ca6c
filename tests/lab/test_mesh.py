# SPDX-License-Identifier: Apache-2.0
"""Transport wireguard: keys find their way, engines and agents may die, and nothing of pods is ever on the fabric in plaintext."""

import json
import os
import re
import signal
import subprocess
import time

import pytest
from capture import CANARY, Capture, bridge, frame, mac
from combos import options, params_of_wireguard
from labs import WEFT_BIN, Lab, spread_pods, wait_for
from wire import Wire


@pytest.fixture(scope="module", params=params_of_wireguard())
def lab(request):
    with Lab(nodes=2, **options(request.param, "dual")) as lab:
        lab.apply(*spread_pods(2))
        lab.wait_ready()
        yield lab


def processes(lab, node, name):
    """Agent and engine share a cgroup; by name they differ."""
    found = []
    for pid in lab.pids(node + "/weftd"):
        try:
            with open("/proc/%d/comm" % pid) as f:
                if f.read().strip() == name:
                    found.append(pid)
        except FileNotFoundError:
            pass
    return found


def peer(lab, node, name):
    return next(p for p in lab.node_status(node)["peers"] if p["name"] == name)


def ips(lab, name):
    return next(p for p in lab.status()["pods"] if p["name"] == name)["ips"]


def reaches(lab, source, address):
    return lab.exec(source, "ping", "-c1", "-W1", address, check=False).returncode == 0


def test_keys_find_their_way(lab):
    shown = lab.exec("n1", "wg", "show", "weft-wg", "dump").stdout.splitlines()
    assert len(shown) == 2, shown
    nodes = {n["metadata"]["name"]: n for n in json.loads(lab.kubectl("get", "meshnodes", "-o", "json").stdout)["items"]}
    assert set(nodes) == {"n1", "n2"}
    key, _, _, allowed = shown[1].split("\t")[:4]
    assert key == nodes["n2"]["spec"]["publicKey"]
    assert {"172.30.0.12/32", "fd30::c/128"} < set(allowed.split(",")) and len(allowed.split(",")) == 4
    accepted = lambda: json.loads(lab.kubectl("get", "meshnode", "n1", "-o", "json").stdout).get("status", {}).get("conditions", [{}])[0].get("status")
    wait_for("n1 is accepted", lambda: accepted() == "True")
    status = wait_for("a handshake", lambda: (lambda s: s if s["peers"][0].get("lastHandshake") else None)(lab.node_status("n1")))
    assert status["mesh"]["engine"] == "userspace" and status["mesh"]["settled"] and status["health"]["mesh"]["ok"]
    assert abs(status["peers"][0]["lastHandshake"] - time.time()) < 600
    text = lab.exec("n1", os.path.join(os.environ.get("WEFT_BIN", ""), "weft") if "WEFT_BIN" in os.environ else "weft", "status").stdout
    assert "handshake" in text and "engine userspace" in text
    private = lab.exec("n1", "cat", "/var/lib/weft/mesh.key").stdout
    assert lab.exec("n1", "stat", "-c", "%a", "/var/lib/weft/mesh.key").stdout.strip() == "600"
    secret = json.loads(private)["privateKey"]
    assert secret not in text and secret not in json.dumps(status) and secret not in lab.logs_of("n1")


def test_one_mtu(lab):
    far4, far6 = ips(lab, "p2-0")
    for address, header in ((far4, 28), (far6, 48)):
        assert lab.exec("default/p1-0", "ping", "-c1", "-W5", "-M", "do", "-s", 1420 - header, address, check=False).returncode == 0
        large = lab.exec("default/p1-0", "ping", "-c1", "-W5", "-M", "do", "-s", 1421 - header, address, check=False)
        assert large.returncode != 0 and "1420" in large.stdout + large.stderr
    assert lab.node_status("n1")["mtu"] == {"device": 1500, "route": 1420}


def test_W_9_forged_plaintext_is_dropped(lab):
    near, far, n1 = ips(lab, "p1-0"), ips(lab, "p2-0"), mac(lab, "n1")
    ear, fabric = Wire(lab, "default/p1-0", "eth0", CANARY), Wire(lab, "fabric", bridge(lab), CANARY)
    count = lambda: {d["reason"]: d["packets"] for d in lab.node_status("n1")["drops"]}["plaintext_in"]
    try:
        for src, dst in ((far[0], near[0]), (far[1], near[1]), ("172.30.0.12", near[0]), ("10.244.200.9", near[0]), ("fd00:244:0:77::9", near[1]),
                         (far[0], "172.30.0.11")):
            before = count()
            fabric.send([frame(src, dst, n1)])
            wait_for("%s > %s dropped" % (src, dst), lambda: count() == before + 1, timeout=20)
        assert ear.seen() == 0
        fabric.send([frame("172.31.0.99", near[0], n1)])  # from the world: that one arrives, so the others would have been seen
        wait_for("what is planted", lambda: ear.seen() > 0, timeout=20)
    finally:
        ear.close()
        fabric.close()


def test_W_9_a_wrong_route_leads_nowhere_from_any_address_of_the_node(lab, tmp_path):
    """Nor from those of an interface that is no uplink, and sends by one: they are guarded as soon as the agent has seen them."""
    near, far, first, further = ips(lab, "p1-0"), ips(lab, "p2-0"), ("172.30.0.11", "fd30::b"), ("172.30.0.111", "fd30::111")
    drops = lambda why: {d["reason"]: d["packets"] for d in lab.node_status("n1")["drops"]}[why]
    fabric, held = Wire(lab, "fabric", bridge(lab), CANARY), []
    try:
        lab.exec("n1", "sh", "-c", "ip link add further link eth0 type macvlan mode bridge && ip link set further up && "
                 "ip addr add %s/24 dev further && ip addr add %s/64 dev further nodad" % further)
        for src, dst in zip(far, further):
            before = drops("plaintext_in")
            wait_for("%s > %s dropped" % (src, dst), lambda: fabric.send([frame(src, dst, mac(lab, "n1"))]) or drops("plaintext_in") > before, timeout=20)
        assert reaches(lab, "default/p2-0", further[0])  # to pods elsewhere it is the world: masqueraded
        capture, before, held = Capture(lab, tmp_path / "pcap"), drops("plaintext_out"), agents_held(lab, "n1")
        lab.exec("n1", "sh", "-c", "ip route replace %s/32 via 172.30.0.12; ip -6 route replace %s/128 via fd30::c dev further" % tuple(far))
        pings = ["ping -c1 -W1 -I %s %s & " % pair for pair in zip(first + further, far + far)]
        assert lab.exec("n1", "sh", "-c", "".join(pings) + "wait").stdout.count("100% packet loss") == 4
        assert capture.stop() == 0
        assert capture.leaks() == ([], 0)
    finally:
        fabric.close()
        lab.exec("n1", "sh", "-c", "ip link del further; ip route del %s/32" % far[0], check=False)
        for pid in held:
            os.kill(pid, signal.SIGCONT)
    wait_for("all were counted", lambda: drops("plaintext_out") >= before + 4)
    wait_for("the right way", lambda: reaches(lab, "n1", far[0]) and reaches(lab, "n1", far[1]))
    assert reaches(lab, "default/p2-0", near[1])


def agents_held(lab, node):
    held = processes(lab, node, "weftd")
    for pid in held:
        os.kill(pid, signal.SIGSTOP)
    return held


def test_an_engine_outlives_its_agent(lab):
    engine, agent = processes(lab, "n1", "weft-wg"), processes(lab, "n1", "weftd")
    assert len(engine) == 1
    far4 = ips(lab, "p2-0")[0]
    os.kill(agent[0], signal.SIGKILL)
    assert reaches(lab, "default/p1-0", far4)
    wait_for("a new agent", lambda: [p for p in processes(lab, "n1", "weftd") if p not in agent])
    wait_for("it has adopted the engine", lambda: lab.exec("n1", "weft", "status", check=False).returncode == 0
             and lab.node_status("n1")["mesh"]["settled"])
    assert processes(lab, "n1", "weft-wg") == engine and lab.node_status("n1")["mesh"]["engineStarts"] == 0


def test_W_10_a_killed_engine_comes_back(lab, capsys):
    far4 = ips(lab, "p2-0")[0]
    took = []
    for node in ("n1", "n2", "n1"):
        old = processes(lab, node, "weft-wg")
        links = lab.exec(node, "ip", "-o", "link", "show", "weft-wg").stdout.split(":")[0]
        os.kill(old[0], signal.SIGKILL)
        started = time.monotonic()
        wait_for("pods reach each other again", lambda: lab.exec("default/p1-0", "ping", "-c1", "-W0.1", far4, check=False).returncode == 0)
        took.append(time.monotonic() - started)
        assert processes(lab, node, "weft-wg") and processes(lab, node, "weft-wg") != old
        assert lab.exec(node, "ip", "-o", "link", "show", "weft-wg").stdout.split(":")[0] == links  # the interface stayed
    with capsys.disabled():
        print("\nengines killed: pods reach each other after %s s" % ", ".join("%.2f" % t for t in took))


def peers_of(lab, node):
    return lab.exec(node, "wg", "show", "weft-wg", "peers").stdout.split()


def take_over(lab, node):
    """Another engine continues for the one that serves."""
    old = processes(lab, node, "weft-wg")
    lab.exec(node, os.path.join(WEFT_BIN, "weft-wg"), "--takeover", "--persist", "--state-dir", "/var/lib/weft/wg", "weft-wg")
    wait_for("the old engine has ended", lambda: not set(processes(lab, node, "weft-wg")) & set(old))


def change_key(lab, count, meanwhile):
    """Pings both ways in both families while node 1 changes its key: none is lost, and what was known of the old key is forgotten.
    @meanwhile() is called when the next key is announced and not spoken yet."""
    near, far, old = ips(lab, "p1-0"), ips(lab, "p2-0"), peers_of(lab, "n2")
    talkers = [lab.popen(source, "ping", "-q", "-i0.005", "-c%d" % count, "-W5", address, stdout=subprocess.PIPE)
               for source, address in (("default/p1-0", far[0]), ("default/p1-0", far[1]), ("default/p2-0", near[0]), ("default/p2-0", near[1]))]
    lab.exec("n1", "weft", "mesh", "rotate-key")
    wait_for("the next key is known", lambda: len(peers_of(lab, "n2")) == 2)
    meanwhile()
    wait_for("the old key is forgotten", lambda: len(peers_of(lab, "n2")) == 1)
    assert peers_of(lab, "n2") != old and lab.node_status("n1")["mesh"]["publicKey"] == peers_of(lab, "n2")[0]
    for t in talkers:
        text = t.communicate(timeout=120)[0]
        assert "%d packets transmitted, %d received" % (count, count) in text, text
    assert "nextPrivateKey" not in lab.exec("n1", "cat", "/var/lib/weft/mesh.key").stdout
    for node in ("n1", "n2"):  # nobody else took the old key away
        assert lab.node_status(node)["repairs"]["counts"]["peer"] == 0


def test_W_7_a_key_is_changed_without_loss(lab):
    def another():
        assert lab.exec("n1", "weft", "mesh", "rotate-key", check=False).returncode == 1  # one after the other
    change_key(lab, 2000, another)


def test_W_7_an_agent_that_is_killed_meanwhile_is_followed_by_one_that_goes_on(lab):
    """Killed when the next key is announced and not spoken yet; and the peer's engine is replaced then: its successor knows who replaces whom."""
    def accidents():
        agent = processes(lab, "n1", "weftd")
        key = json.loads(lab.exec("n1", "cat", "/var/lib/weft/mesh.key").stdout)
        assert "nextPrivateKey" in key and not key["usesNext"]
        for pid in agent:
            os.kill(pid, signal.SIGKILL)
        take_over(lab, "n2")
        assert "replaces=" in uapi_get(lab, "n2")
        wait_for("a new agent", lambda: [p for p in processes(lab, "n1", "weftd") if p not in agent])
    change_key(lab, 2600, accidents)


def uapi_get(lab, node):
    """What the engine says of itself, as its agent reads it."""
    return lab.exec(node, "/usr/bin/python3", "-c", "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/var/run/wireguard/weft-wg.sock');"
                    "s.sendall(b'get=1\\n\\n'); print(s.makefile().read(65536) if s.shutdown(1) is None else '')").stdout
