# SPDX-License-Identifier: Apache-2.0
"""N6: somebody floods with SYNs, a pod or a host of the LAN, as fast as it may, whoever answers or not: new connections of others succeed all the
same, and running and idle ones notice nothing. So they do when somebody holds as many conversations with a pod as it may, and so that pod's
share of the flow table. That a lost SYN would be seen is shown first."""

import contextlib
import json
import os

import pytest
from combos import SPANNING, options, params
from labs import FULL, HELPERS, Lab, end, pod, run, running, wait_for

FLOOD, DIAL, TRAFFIC = (os.path.join(HELPERS, "lab-" + name) for name in ("flood", "dial", "traffic"))
TABLE = 16384  # entries; a pod may have begun a quarter of them, and as many each second, without an answer
PPS = 20000
IDLE, RATE = 100, 400
NEW = 2500


def new_in(combo):
    """How many new connections are tried in `make test-full`; where `make test` has not been, fewer."""
    return 20000 if FULL and combo in SPANNING else NEW


SERVE, FIRST = 7000, 20000
# client, server, family: on one node, across nodes and back
PATHS = (("a", "b", 4), ("a", "c", 6), ("c", "b", 4))


def with_table(lab_options):
    return {**lab_options, "set": lab_options["set"] + ["datapath.flowTableSize=%d" % TABLE]}


@pytest.fixture(scope="module", params=params(SPANNING[:1]))
def lab(request):
    with Lab(nodes=2, **with_table(options(request.param, "dual"))) as lab:
        lab.new = new_in(request.param)
        lab.apply(*(pod(name, node="n1") for name in ("flood", "a", "b")), pod("c", node="n2"))
        lab.wait_ready()
        yield lab


def addresses(lab, name):
    return next(p["ips"] for p in lab.status()["pods"] if p["name"] == name)


def address(lab, name, version):
    return next(a for a in addresses(lab, name) if (":" in a) == (version == 6))


def upper_half(lab, node):
    """Pod addresses of the node that no pod has."""
    range4 = next(r for n in lab.status()["nodes"] if n["name"] == node for r in n["podCIDRs"] if ":" not in r)
    return range4.replace(".0/24", ".128/25")


def floods(lab, who):
    """What the flood consists of: where it comes from, and the arguments of lab-flood."""
    if who == "pod":
        own = address(lab, "flood", 4) + "/32"
        return [("default/flood", own, upper_half(lab, node), 0, PPS) for node in ("n1", "n2")]
    if who == "caller":  # real pods answer it: that they refuse is an answer
        own = address(lab, "flood", 4) + "/32"
        return [("default/flood", own, address(lab, name, 4) + "/32", 0, PPS) for name in ("b", "c")]
    return [("fabric", "198.18.0.0/15", address(lab, name, 4) + "/32", 0, PPS) for name in ("b", "c")]


@contextlib.contextmanager
def flooded(lab, who):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(running(lab, where, FLOOD, *args, says="flooding")) for where, *args in floods(lab, who)]


@contextlib.contextmanager
def lan_knows_pods(lab):
    """A host on the LAN that sends to pods as if they were there."""
    hops = {name: next(a for n in lab.status()["nodes"] if n["name"] == node for a in n["addresses"] if ":" not in a) for name, node in (("b", "n1"), ("c", "n2"))}
    for name, hop in hops.items():
        run(*lab.fabric("ip", "route", "add", address(lab, name, 4), "via", hop))
    yield
    for name in hops:
        run(*lab.fabric("ip", "route", "del", address(lab, name, 4)))


def clients(lab, meanwhile):
    """New, idle and running connections on each path while it lasts; returns what they counted."""
    with contextlib.ExitStack() as stack:
        for name in ("b", "c"):
            stack.enter_context(running(lab, "default/" + name, TRAFFIC, "serve", SERVE, says="listening"))
        dials = [stack.enter_context(running(lab, "default/" + client, DIAL, address(lab, server, version), SERVE, IDLE, RATE, says="dialling"))
                 for client, server, version in PATHS]
        busy = stack.enter_context(running(lab, "default/a", TRAFFIC, "run", address(lab, "c", 4), SERVE, 1000, 50, says="running"))
        meanwhile()
        return [end(d) for d in dials], end(busy)


def handshakes(lab):
    """How many connections the servers have taken."""
    return sum(int(lab.exec("default/" + name, "nstat", "-asz", "TcpPassiveOpens").stdout.split("TcpPassiveOpens")[1].split()[0]) for name in "bc")


def enough(lab, count=None):
    start, count = handshakes(lab), count or lab.new
    wait_for("%d new connections" % count, lambda: handshakes(lab) >= start + count, every=0.2)


def drops(lab, node, reason):
    return next(d["packets"] for d in lab.node_status(node)["drops"] if d["reason"] == reason)


def test_a_lost_SYN_is_seen(lab):
    """One of fifty, at the server."""
    table = "table inet lossy { chain c { type filter hook input priority 0; tcp dport %d tcp flags & (syn | ack) == syn numgen inc mod 50 == 0 drop; }; }"
    lab.exec("default/b", "nft", table % SERVE)
    try:
        dials, _ = clients(lab, lambda: enough(lab, 400))
    finally:
        lab.exec("default/b", "nft", "delete table inet lossy")
    assert all(d["repeated"] > 0.001 * d["new"] for d, (_, server, _) in zip(dials, PATHS) if server == "b"), dials


@pytest.mark.parametrize("who", ["pod", "caller", "lan"])
def test_N6_a_flood_of_SYNs_is_not_felt_by_others(lab, who, capsys):
    before = drops(lab, "n1", "flow_unanswered")

    def flood():
        with flooded(lab, who) as processes:
            enough(lab)
            if who == "pod":
                wait_for("the flood is refused", lambda: drops(lab, "n1", "flow_unanswered") > before + TABLE)
            sent.extend(end(p) for p in processes)

    sent = []
    with lan_knows_pods(lab):
        dials, busy = clients(lab, flood)
    refused = drops(lab, "n1", "flow_unanswered") - before
    with capsys.disabled():
        print("\nflood from a %s: %d SYNs, %d refused; %s; running: %s" % (who, sum(sent), refused, json.dumps(dials), json.dumps(busy)), flush=True)
    assert sum(sent) > 4 * TABLE
    assert sum(d["failed"] + d["repeated"] for d in dials) <= 0.001 * sum(d["new"] for d in dials)
    assert all(d["new"] > 0 and d["idle"] == IDLE and d["idle_failed"] == 0 for d in dials)
    assert busy["resets"] == 0 and busy["tcp_wrong"] == 0 and busy["tcp_received"] == busy["tcp_sent"] > 0
    if who != "caller":
        assert (refused > 0) == (who == "pod")
    if who == "pod":
        assert any(e["reason"] == "flow_unanswered" and e["source"].startswith(address(lab, "flood", 4)) for e in lab.node_status("n1")["recentDrops"])


# Each datagram is answered, and the second makes a conversation of it.
CONVERSE = """
import socket, sys
to, port, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
for own in range(first, first + count):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("", own))
        s.connect((to, port))
        s.settimeout(5)
        for _ in range(2):
            s.send(b"x" * 64)
            assert s.recv(100) == b"x" * 64
"""


def established(lab, node):
    return lab.node_status(node)["datapath"]["flows"]


@pytest.mark.parametrize("flooding", [False, True])
def test_N6_a_pod_whose_share_a_caller_holds_talks_with_others(lab, flooding, capsys):
    """The caller, elsewhere, has begun as many conversations as its own node lets it. Others call the pod, and it calls them; of those that began before
    and of those that did afterwards, some are idle. @flooding: a host of the LAN floods besides, so that what has found no place is pushed out."""
    share = TABLE // 4
    refused = {node: drops(lab, node, "flow_share") for node in ("n1", "n2")}
    late = []

    def siege():
        lab.exec("default/flood", "/usr/bin/python3", "-c", CONVERSE, address(lab, "c", 4), str(SERVE), str(FIRST), str(share))
        wait_for("the share is held", lambda: established(lab, "n2") >= share * 3 // 4)
        with contextlib.ExitStack() as stack:
            dials = [stack.enter_context(running(lab, "default/" + client, DIAL, address(lab, server, 4), SERVE, IDLE, RATE, says="dialling"))
                     for client, server in (("a", "c"), ("c", "b"))]
            if flooding:
                stack.enter_context(lan_knows_pods(lab))
                stack.enter_context(flooded(lab, "lan"))
            enough(lab)
            late.extend(end(d) for d in dials)

    dials, busy = clients(lab, siege)
    with capsys.disabled():
        print("\n%s; begun later: %s; running: %s" % (json.dumps(dials), json.dumps(late), json.dumps(busy)), flush=True)
    dials += late
    assert sum(d["failed"] + d["repeated"] for d in dials) <= 0.001 * sum(d["new"] for d in dials)
    assert all(d["new"] > 0 and d["idle"] == IDLE and d["idle_failed"] == 0 for d in dials)
    assert busy["resets"] == 0 and busy["tcp_wrong"] == 0 and busy["tcp_received"] == busy["tcp_sent"] > 0
    assert {node: drops(lab, node, "flow_share") for node in refused} == refused
