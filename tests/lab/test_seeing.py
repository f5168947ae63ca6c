# SPDX-License-Identifier: Apache-2.0
"""What people see of packets: `weft observe` names both ends, filters, follows, and says what it could not show."""

import json
import signal
import subprocess

import pytest
from labs import WEFT, Lab, pod, wait_for


@pytest.fixture(scope="module")
def lab():
    with Lab(nodes=2, transport="vxlan", set="observe.keep=64") as lab:
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
    assert not observe(lab, "--last", 50, "--verdict", "denied,forwarded")
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
            reader.send_signal(signal.SIGINT)
    wait_for("the reader is gone", lambda: "weft_observe_readers 0" in metrics(lab))


def metrics(lab, node="n1"):
    return lab.exec(node, "curl", "-sf", "-m", "20", "http://127.0.0.1:10287/metrics").stdout


def metric(lab, name):
    return sum(float(line.split()[1]) for line in metrics(lab).splitlines() if line.split("{")[0].split(" ")[0] == name)


def test_a_flood_is_sampled_and_what_is_held_back_is_counted(lab, ips):
    """Every dropped packet is an event that came, or one that is counted as missed."""
    def told():
        return metric(lab, "weft_events_total") + metric(lab, "weft_events_missed_total")
    before, drops = told(), metric(lab, "weft_drops_total")
    spoof(lab, ips["b"][0], count=300)
    wait_for("the events came", lambda: told() - before >= metric(lab, "weft_drops_total") - drops)
    assert metric(lab, "weft_drops_total") - drops >= 300
    assert told() - before <= metric(lab, "weft_drops_total") - drops
    assert metric(lab, "weft_events_missed_total") > 0
    assert len(observe(lab, "--last", 1000)) <= 64
