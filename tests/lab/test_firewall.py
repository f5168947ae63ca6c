# SPDX-License-Identifier: Apache-2.0
"""Packet filters of others that drop by default, as docker, ufw, firewalld and administrators set them up: what goes to and comes from pods is
accepted in the very chain that drops, and so is what other nodes send to Weft; as long as it drops, and no longer."""

import contextlib
import json
import os
import signal

import pytest

from combos import ALL, options, params
from labs import Lab, WEFT_BIN, pod, run, wait_for

PORT = 9000
OUTER = {"vxlan": 4789, "geneve": 6081, "wireguard": 51820}  # by what ports nodes speak with each other
# What a host must let in for itself, were it not for Weft: answers, and neighbour discovery.
OWN = "ct state established,related accept; meta l4proto ipv6-icmp accept; iifname lo accept;"
# name: what sets it up, what takes it away, how its rules are shown
FORWARD = {
    "ufw": (["iptables-nft -P FORWARD DROP", "ip6tables-nft -P FORWARD DROP"], ["iptables-nft -P FORWARD ACCEPT", "ip6tables-nft -P FORWARD ACCEPT"],
            "iptables-nft -S FORWARD; ip6tables-nft -S FORWARD"),
    "an old iptables' last rule": (["iptables-nft -A FORWARD -j REJECT", "ip6tables-nft -A FORWARD -j LOG", "ip6tables-nft -A FORWARD -j DROP"],
                                   ["iptables-nft -D FORWARD -j REJECT", "ip6tables-nft -D FORWARD -j DROP"],
                                   "iptables-nft -S FORWARD; ip6tables-nft -S FORWARD"),
    "firewalld": (["nft -f - <<'END'\ntable inet firewalld { chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept; "
                   "ct state established,related accept; reject with icmpx admin-prohibited; }; }\nEND"], ["nft delete table inet firewalld"],
                  "nft list chain inet firewalld filter_FORWARD"),
    "docker of old": (["iptables-legacy -P FORWARD DROP", "ip6tables-legacy -P FORWARD DROP"],
                      ["iptables-legacy -P FORWARD ACCEPT", "ip6tables-legacy -P FORWARD ACCEPT"], "iptables-legacy -S FORWARD; ip6tables-legacy -S FORWARD"),
}
FLUSH = {"ufw": "iptables-nft -F FORWARD", "an old iptables' last rule": "iptables-nft -F FORWARD; ip6tables-nft -F FORWARD",
         "firewalld": "nft delete table inet firewalld"}


@contextlib.contextmanager
def served(lab):
    lab.apply(*(pod("p%d" % i, node="n%d" % i) for i in range(1, len(lab.status()["nodes"]) + 1)))
    lab.wait_ready()
    world = lab.popen("world", os.path.join(WEFT_BIN, "weft-echo"), str(PORT), stdout=-1)
    lab.world = [a.split("/")[0] for a in lab.status()["world"]["addresses"]]
    wait_for("the world serves", lambda: all(reaches_world(lab, "world")))
    yield lab
    for pid in lab.pids("world/exec"):
        run("kill", "-KILL", pid, check=False)
    world.communicate(timeout=60)


# Where the datapath takes outer packets itself no chain meets them.
@pytest.fixture(scope="module", params=params([("vxlan", "on", "tcx", "device", "ipv4")], [c for c in ALL if c[0] in OUTER and c[3] == "device"]))
def lab(request):
    """Without an audit in the time of the tests: what is seen is done by event, or at the agent's start."""
    way = options(request.param, "dual")
    with Lab(nodes=2, **{**way, "set": way["set"] + ["repair.auditSeconds=3600"]}) as lab, served(lab):
        lab.port = OUTER[request.param[0]]
        yield lab


@pytest.fixture(scope="module")
def closed():
    with Lab(nodes=1, set=["firewall.accept=off", "repair.auditSeconds=1"]) as lab, served(lab):
        yield lab


def restart(lab, node):
    before = lab.agents(node)
    for pid in before:
        os.kill(int(pid), signal.SIGTERM)
    wait_for("another agent", lambda: lab.agents(node) and lab.agents(node) != before)
    wait_for("it answers", lambda: lab.is_well(node))


def sh(lab, node, *lines):
    for line in lines:
        lab.exec(node, "sh", "-c", line)


def reaches_world(lab, source):
    """By each family."""
    return [lab.exec(source, "curl", "-sg", "-m", "1", "http://%s:%d/" % ("[%s]" % a if ":" in a else a, PORT), check=False).returncode == 0 for a in lab.world]


def shown(lab, command):
    return lab.exec("n1", "sh", "-c", command).stdout


@pytest.mark.parametrize("name", FORWARD)
def test_a_filter_that_drops_what_is_forwarded(lab, name):
    begin, end, show = FORWARD[name]
    old = "legacy" in show
    assert reaches_world(lab, "default/p1") == [True] * len(lab.world)
    try:
        sh(lab, "n1", *begin)
        if old:  # they tell nobody
            restart(lab, "n1")
        wait_for("pods reach the world", lambda: all(reaches_world(lab, "default/p1")))
        assert "weft: from pods" in shown(lab, show) and "weft: to pods" in shown(lab, show)
        assert not [w for w in lab.node_status("n1")["warnings"] if "drops" in w]
        made = shown(lab, show).count("weft: from pods")
        if not old:  # somebody loads their own rules again
            before = lab.node_status("n1")["repairs"]["counts"]["firewall"]
            sh(lab, "n1", "; ".join([FLUSH[name], *begin]))
            wait_for("they are put back", lambda: shown(lab, show).count("weft: from pods") == made)
            assert lab.node_status("n1")["repairs"]["counts"]["firewall"] > before or name != "ufw"
            assert all(reaches_world(lab, "default/p1"))
    finally:
        sh(lab, "n1", *end)
        if old:
            restart(lab, "n1")
    if name != "firewalld":
        wait_for("nothing of Weft is left in a chain that accepts", lambda: "weft: " not in shown(lab, show))
    assert all(reaches_world(lab, "default/p1"))


def test_a_filter_that_drops_what_is_for_the_node(lab):
    """Between nodes the kernel's device gets the outer packets, and so they meet the INPUT chain."""
    p2 = [i["ip"] for i in json.loads(lab.kubectl("get", "pod", "p2", "-o", "json").stdout)["status"]["podIPs"]]

    def answers():
        return [lab.exec("default/p1", "ping", "-c", "1", "-W", "1", a, check=False).returncode == 0 for a in p2]

    assert answers() == [True, True]
    table = "nft -f - <<'END'\ntable inet guard { chain input { type filter hook input priority filter; policy %s; %s }; }\nEND"
    try:
        sh(lab, "n2", table % ("accept", "udp dport %d drop;" % lab.port))
        assert answers() == [False, False], "the filter does not meet them"
        sh(lab, "n2", "nft delete table inet guard", table % ("drop", OWN))
        wait_for("pods of two nodes reach each other", lambda: answers() == [True, True])
        assert "weft: udp %d" % lab.port in lab.exec("n2", "nft", "list", "chain", "inet", "guard", "input").stdout
        assert "weft: from" not in lab.exec("n2", "nft", "list", "chain", "inet", "guard", "input").stdout, "what pods may ask of the node is up to others"
    finally:
        sh(lab, "n2", "nft delete table inet guard")


@pytest.mark.parametrize("name", FORWARD)
def test_nobody_wants_them(closed, name):
    """The same filters do drop."""
    begin, end, show = FORWARD[name]
    assert all(reaches_world(closed, "default/p1"))
    sh(closed, "n1", *begin)
    assert True not in reaches_world(closed, "default/p1")
    wait_for("a warning", lambda: [w for w in closed.node_status("n1")["warnings"] if "drops forwarded" in w and "firewall.accept is off" in w])
    assert "weft: " not in shown(closed, show)
    sh(closed, "n1", *end)
    wait_for("no warning", lambda: not [w for w in closed.node_status("n1")["warnings"] if "drops" in w])
