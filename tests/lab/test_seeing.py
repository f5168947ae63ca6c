# SPDX-License-Identifier: Apache-2.0
"""What people see of packets: `weft observe` names both ends, filters, follows, and says what it could not show."""

import json
import os
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from labs import FULL, WEFT, Lab, family, first_of, pod, wait_for


# In one way: what programs tell is made by the same code in all (bpf/lib/event.h); that `weft why` agrees with packets in all is in test_policy.py.
@pytest.fixture(scope="module")
def lab():
    with Lab(nodes=2, transport="vxlan", set=["observe.keep=64", "observe.measureSeconds=1", "observe.flows=on"]) as lab:
        lab.apply(pod("a", node="n1"), pod("c", node="n1"), pod("b", node="n2"))
        lab.wait_ready()
        lab.exec("default/a", "ip", "addr", "add", "10.9.9.9/32", "dev", "eth0")
        yield lab


@pytest.fixture(scope="module")
def ips(lab):
    return {p["name"]: p["ips"] for p in lab.status()["pods"]}


def observe(lab, *options, node="n1"):
    done = lab.exec(node, WEFT, "observe", "-o", "json", *options)
    return [json.loads(line) for line in done.stdout.splitlines()]


def spoof(lab, to, count=1):
    """Packets that the pod's anti-spoofing drops."""
    lab.exec("default/a", "ping", "-q", "-c", count, "-i", "0.01", "-W", "0.2", "-I", "10.9.9.9", to, check=False)


def test_a_drop_has_both_ends_reason_and_place(lab, ips):
    spoof(lab, ips["b"][0])
    e = observe(lab, "--reason", "source_address", "--last", 1)[0]
    assert (e["kind"], e["verdict"], e["node"], e["program"], e["pod"]) == ("drop", "dropped", "n1", "from_pod", "default/a")
    assert e["source"]["kind"] == "world" and e["source"]["address"] == "10.9.9.9"
    to = e["destination"]
    assert (to["kind"], to["namespace"], to["name"], to["node"], to["address"]) == ("pod", "default", "b", "n2", ips["b"][0])
    assert e["protocol"] == "ICMP" and e["text"] == "a pod sent from an address that is not its own"
    text = lab.exec("n1", WEFT, "observe", "--last", 1, "--reason", "source_address").stdout
    assert "dropped" in text and "default/b (%s" % ips["b"][0] in text and "[from_pod of default/a]" in text


def test_strangers_and_nodes_have_names(lab, ips):
    nobody = ips["b"][0].rsplit(".", 1)[0] + ".200"
    lab.exec("default/a", "ping", "-q", "-c", 1, "-W", "0.2", nobody, check=False)
    e = wait_for("the drop at the other node", lambda: observe(lab, "--reason", "tunnel_destination", "--last", 1, node="n2"))[0]
    assert e["source"]["name"] == "a" and e["source"]["node"] == "n1" and e["program"] == "from_tunnel"
    assert e["destination"]["kind"] == "stranger" and e["destination"]["node"] == "n2"
    first = ips["b"][0].rsplit(".", 1)[0] + ".1"
    spoof(lab, first)
    e = observe(lab, "--to", "node:n2", "--last", 1)[0]
    assert e["destination"] == {**e["destination"], "kind": "node", "name": "n2", "address": first}


def test_filters_hold_and_a_wrong_one_is_refused(lab, ips):
    spoof(lab, ips["c"][0])
    assert observe(lab, "--last", 50, "--to", "default/c")
    assert all(e["destination"]["name"] == "c" for e in observe(lab, "--last", 50, "--to", "default/c"))
    assert not observe(lab, "--last", 50, "--to", "default/c", "--protocol", "udp")
    assert not observe(lab, "--last", 50, "--verdict", "denied")
    assert observe(lab, "--since", "1h", "--pod", ips["c"][0] + "/32", "--verdict", "dropped")
    assert not observe(lab, "--since", "0s", "--pod", ips["c"][0] + "/32", "--reason", "arp")
    for wrong in (["--verdict", "denid"], ["--pod", "a"], ["--port", "0"], ["--since", "soon"], ["--last"], ["--what", "x"]):
        assert lab.exec("n1", WEFT, "observe", *wrong, check=False).returncode == 2, wrong


def test_it_follows(lab, ips):
    with lab.popen("n1", WEFT, "observe", "--reason", "source_address", "--to", "default/c", "--last", 0, "--follow", "-o", "json",
                   stdout=subprocess.PIPE) as reader:
        try:
            wait_for("the reader is there", lambda: "weft_observe_readers 1" in metrics(lab))
            spoof(lab, ips["b"][0])
            spoof(lab, ips["c"][0])
            assert json.loads(reader.stdout.readline())["destination"]["name"] == "c"
        finally:
            reader.terminate()  # SIGINT may be ignored, where the tests run in the background
    wait_for("the reader is gone", lambda: "weft_observe_readers 0" in metrics(lab))


def metrics(lab, node="n1"):
    return lab.exec(node, "curl", "-sf", "-m", "20", "http://127.0.0.1:10287/metrics").stdout


def metric(lab, name):
    return sum(float(line.split()[1]) for line in metrics(lab).splitlines() if line.split("{")[0].split(" ")[0] == name)


def test_a_flood_is_sampled_and_what_is_held_back_is_counted(lab, ips):
    """Every dropped packet is an event that came, or one that is counted as missed."""
    def told():
        return sum(float(line.split()[1]) for line in metrics(lab).splitlines()
                   if line.startswith(('weft_events_total{kind="drop"}', "weft_events_missed_total ")))
    before = metric(lab, "weft_drops_total")
    spoof(lab, ips["b"][0], count=300)
    wait_for("the events came", lambda: told() >= metric(lab, "weft_drops_total")) # of all, as some of before may be on their way yet
    assert metric(lab, "weft_drops_total") - before >= 300
    assert told() <= metric(lab, "weft_drops_total")
    assert metric(lab, "weft_events_missed_total") > 0
    assert len(observe(lab, "--last", 1000)) <= 64


def test_connections_are_events(lab, ips):
    """Begun and closed, at both nodes, with the way they went; an established packet is none."""
    lab.exec("default/a", "curl", "-sf", "-m", "20", "http://%s:8080/" % ips["b"][0])
    for node, program in (("n1", "from_pod"), ("n2", "from_net")):
        kinds = {}
        def told():
            kinds.update({e["kind"]: e for e in observe(lab, "--last", 64, "--to", "default/b", "--kind", "new", "--port", 8080, node=node)})
            kinds.update({e["kind"]: e for e in observe(lab, "--last", 64, "--pod", "default/b", "--kind", "closed", "--port", 8080, node=node)})
            return {"new", "closed"} <= set(kinds)
        wait_for("both events at " + node, told)
        new = kinds["new"]
        assert (new["verdict"], new["path"], new["program"], new["protocol"], new["tcpFlags"]) == ("forwarded", "tunnel", program, "TCP", "S")
        assert new["source"]["name"] == "a" and new["destination"]["name"] == "b" and "reason" not in new


def measured(lab, node, peer):
    return {p["address"]: p for x in lab.node_status(node)["peers"] if x["name"] == peer for p in x["measured"]}


def test_latency_and_loss_between_nodes(lab):
    """Both families are measured; loss shows when the other node is cut off, and ends with it."""
    def count():
        return {a: (p["sent"] - p["lost"], p["lost"]) for a, p in measured(lab, "n1", "n2").items()}
    wait_for("answers of both families", lambda: len(found := measured(lab, "n1", "n2")) == 2 and all(p["rttMs"] > 0 for p in found.values()))
    assert 0 < metric(lab, "weft_peer_rtt_seconds") < 10
    assert "% lost" in lab.exec("n1", WEFT, "status").stdout
    before, lost = count(), metric(lab, "weft_peer_echoes_lost_total")  # a node that is busy answers one too late
    lab.exec("n2", "ip", "link", "set", "eth0", "down")
    try:
        wait_for("loss of both families", lambda: all(n >= before[a][1] + 2 for a, (_, n) in count().items()))
        assert metric(lab, "weft_peer_echoes_lost_total") > lost
    finally:
        lab.exec("n2", "ip", "link", "set", "eth0", "up")
    cut = count()
    wait_for("answers again", lambda: all(n > cut[a][0] for a, (n, _) in count().items()))
    wait_for("the share falls", lambda: all(p["lossPercent"] < 100 for p in measured(lab, "n1", "n2").values()))


# --- why ---

def why(lab, node, *words):
    return json.loads(lab.exec(node, WEFT, "why", "-o", "json", *words, check=False).stdout)


def passes(lab, node, *words):
    """The verdict of the whole way: what a node leaves to another one is asked there."""
    for _ in range(3):
        answer = why(lab, node, *words)
        if answer["verdict"] != "sent":
            return answer["verdict"] == "delivered"
        if "ask" not in answer:
            return True
        node = answer["ask"]
    raise AssertionError("nodes ask each other in circles: %s" % (words,))


# Runs at the source: a line "PROTOCOL ADDRESS PORT" a try, answered by 1 (somebody at the address answered, be it by a refusal) or 0.
PROBE = """
import socket, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
def one(line):
    protocol, address, port = line.split()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if protocol == "icmp":
        return subprocess.run(["ping", "-c", "1", "-W", "1", address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    s = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    s.settimeout(1)
    try:
        s.connect((address, int(port)))
        if protocol == "udp":
            s.send(b"x\\n")
            s.recv(2000)
        return True
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    finally:
        s.close()
def often(line): # a packet may be lost
    return any(one(line) for _ in range(3))
with ThreadPoolExecutor(32) as pool:
    print("".join("01"[r] for r in pool.map(often, sys.stdin.read().splitlines())))
"""


def tuples(lab, n):
    """Random (source, source's node, protocol, address, port): pods, nodes, nobody, the world, of both families."""
    status, rng = lab.status(), random.Random(os.environ.get("WEFT_TEST_SEED", "seeing"))
    sources = [("default/" + p["name"], p["node"]) for p in status["pods"]] + [(node["name"], node["name"]) for node in status["nodes"]]
    nodes = {node["name"]: node for node in status["nodes"]}
    addresses = [ip for p in status["pods"] for ip in p["ips"]] * 2 + status["world"]["addresses"]
    for node in nodes.values():
        addresses += [first_of(node["podCIDRs"], v) for v in (4, 6)] + node["addresses"]
        addresses += [first_of(node["podCIDRs"], 4)[:-1] + "77", first_of(node["podCIDRs"], 6) + "77", ]
    servers = {ip for p in status["pods"] for ip in p["ips"]}
    for _ in range(n):
        source, node = rng.choice(sources)
        protocol, address, port = rng.choice(["tcp", "udp", "icmp"]), rng.choice(addresses), rng.choice([8080, 81])
        if protocol == "udp": # kernels answer at closed ports at a limited rate: ask where somebody listens
            protocol, port = "udp" if address in servers else "tcp", 8080
        yield source, node, protocol, address, port


def source_of(lab, source, node, address):
    """As whom the source speaks to the address: a pod as itself, a node as itself."""
    return source if "/" in source else "node:" + node


def disagreements(lab, some):
    """Those whose real packets do not do what `weft why` says."""
    def said(t):
        source, node, protocol, address, port = t
        to = ("[%s]" % address if family(address) == 6 else address) + (":%d/%s" % (port, protocol) if protocol != "icmp" else "")
        return passes(lab, node, source_of(lab, source, node, address), to)

    def seen(source):
        mine = [i for i, t in enumerate(some) if t[0] == source]
        lines = "".join("%s %s %d\n" % some[i][2:] for i in mine)
        out = lab.exec(source, "python3", "-c", PROBE, input=lines, timeout=300).stdout.strip()
        return zip(mine, (c == "1" for c in out))

    with ThreadPoolExecutor(4) as pool:
        real = dict(pair for pairs in pool.map(seen, {t[0] for t in some}) for pair in pairs)
        walked = list(pool.map(said, some))
    assert len(real) == len(some)
    print("%d tuples, %d of them reach somebody" % (len(some), sum(walked)))
    assert 0 < sum(walked) < len(some), "all the same shows nothing"
    return [(t, "why says %s, packets say %s" % (walked[i], real[i])) for i, t in enumerate(some) if walked[i] != real[i]]


def test_why_agrees_with_real_packets(lab):
    assert not disagreements(lab, list(tuples(lab, 2000 if FULL else 100)))


def policy(name, selects, **spec):
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name, "namespace": "default"},
            "spec": {"podSelector": selects, **spec}}


@pytest.fixture
def policies(lab, ips):
    """Some of each kind: by pod, by block with exceptions, by port, range and protocol, and nothing at all."""
    label = lambda name: {"matchLabels": {"app": name}}
    blocks = [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [ips["b"][0] + "/32"]}}, {"ipBlock": {"cidr": "::/0"}}]
    some = [policy("c-from-a", label("c"), policyTypes=["Ingress"], ingress=[{
                "from": [{"podSelector": label("a")}], "ports": [{"protocol": "TCP", "port": 8080}, {"protocol": "UDP", "port": 80, "endPort": 100}]}]),
            policy("b-out", label("b"), policyTypes=["Egress"], egress=[
                {"to": [{"podSelector": label("a")}]}, {"to": [{"ipBlock": {"cidr": "172.16.0.0/12"}}], "ports": [{"protocol": "UDP"}]}]),
            policy("a-in", label("a"), policyTypes=["Ingress"], ingress=[{"from": blocks}])]
    for name in "abc":
        lab.kubectl("label", "pod", name, "app=" + name, "--overwrite")
    lab.apply(*some)
    def enforced():
        return all(lab.node_status(n)["networkPolicies"].get("enforced") == len(some) for n in ("n1", "n2"))
    wait_for("policies in force", lambda: enforced() and why(lab, "n1", "default/c", "default/a")["verdict"] == "delivered" and
             why(lab, "n1", "default/b", "default/a")["verdict"] == "denied")
    yield some
    lab.kubectl("delete", "networkpolicies", "--all", "-n", "default")
    wait_for("policies gone", lambda: why(lab, "n1", "default/b", "default/a")["verdict"] == "delivered")


def test_why_agrees_with_real_packets_under_policies(lab, policies):
    assert not disagreements(lab, list(tuples(lab, 2000 if FULL else 100)))


def test_a_denial_names_its_rule(lab, ips, policies):
    answer = why(lab, "n1", "default/c", "default/a:8080")
    assert any("allowed by NetworkPolicy default/a-in ingress[0]" in s["text"] for s in answer["steps"]), answer
    answer = why(lab, "n2", "default/b", ips["c"][0] + ":8080")
    assert (answer["verdict"], answer["reason"]) == ("denied", "policy_egress") and "default/b-out" in answer["rule"]
    lab.exec("default/b", "ping", "-q", "-c", 1, "-W", "0.2", ips["c"][0], check=False)
    event = wait_for("the denial", lambda: observe(lab, "--verdict", "denied", "--to", "default/c", "--last", 1, node="n2"))[0]
    assert (event["reason"], event["source"]["name"], event["verdict"]) == ("policy_egress", "b", "denied") and event["rule"] == answer["rule"]
    assert "by " + event["rule"] in lab.exec("n2", WEFT, "observe", "--verdict", "denied", "--last", 1).stdout


def test_a_way_that_is_closed_behind_why_is_seen(lab, ips):
    """The test above would see a wrong answer: b's own stack throws away what it would answer to a, which no table knows."""
    a, b = ips["a"][0], ips["b"][0]
    some = [("default/a", "n1", p, b, 8080) for p in ("tcp", "udp", "icmp")] + [("default/a", "n1", "icmp", b.rsplit(".", 1)[0] + ".77", 0)]
    assert not disagreements(lab, some)
    lab.exec("default/b", "ip", "route", "add", "blackhole", a + "/32")
    try:
        assert len(disagreements(lab, some)) == 3
    finally:
        lab.exec("default/b", "ip", "route", "del", "blackhole", a + "/32")


def test_why_says_the_steps(lab, ips):
    answer = why(lab, "n1", "default/a", "default/b:8080")
    assert answer["verdict"] == "sent" and answer["ask"] == "n2"
    assert any(s["at"] == "from_pod" and "in the tunnel to" in s["text"] and "MTU 1450" in s["text"] for s in answer["steps"])
    answer = why(lab, "n1", "default/a", "224.0.0.1")
    assert (answer["verdict"], answer["reason"]) == ("dropped", "multicast")
    answer = why(lab, "n1", "default/a", lab.status()["world"]["addresses"][0])
    assert any("masquerade: leaves as" in s["text"] for s in answer["steps"])
    for wrong in (["a", "b"], ["default/a"], ["default/a", "default/b:0"], ["default/a", "default/b/tcp"], ["default/a", "b/c:80/foo"]):
        assert lab.exec("n1", WEFT, "why", *wrong, check=False).returncode == 2, wrong
    assert lab.exec("n1", WEFT, "why", "default/a", "default/nobody", check=False).returncode == 1


def test_why_knows_pods_in_their_nodes_network(lab):
    lab.apply(pod("on-node", node="n2", host=True))
    wait_for("the pod", lambda: lab.exec("n1", WEFT, "why", "-o", "json", "default/a", "default/on-node:8080", check=False).stdout)
    ask = lambda *words: why(lab, "n1", *words)
    address = json.loads(lab.kubectl("get", "pod", "on-node", "-o", "json").stdout)["status"]["podIP"]
    by_name, by_address = ask("default/a", "default/on-node:8080"), ask("default/a", "%s:8080" % address)
    assert (by_name["destination"], by_name["verdict"]) == (by_address["destination"], by_address["verdict"])
    assert ask("default/on-node", "default/a:8080")["source"] == ask("node:n2", "default/a:8080")["source"]
    lab.kubectl("delete", "pod", "on-node")


def test_why_finds_a_connection(lab, ips):
    server = lab.popen("default/a", "python3", "-c", "import socket,sys\ns=socket.create_connection((%r,8080))\n"
                       "s.send(b'x\\n'); s.recv(99); s.send(b'y\\n')\nprint(s.getsockname()[1],flush=True)\nsys.stdin.read()" % ips["b"][0],
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with server:
        port = server.stdout.readline().strip()
        answer = why(lab, "n1", "--source-port", port, "default/a", ips["b"][0] + ":8080")
        server.stdin.close()
    assert any("the flow table has it" in s["text"] and "begun by the source" in s["text"] for s in answer["steps"]), answer
