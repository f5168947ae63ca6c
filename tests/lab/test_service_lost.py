# SPDX-License-Identifier: Apache-2.0
"""Sockets that have lost their endpoint: whose are aborted, and whose are not. Where clients of packets are not served (service.inbound off),
so that connected UDP of pods is the socket programs', too."""

import subprocess
import time

import pytest
from labs import Lab, pod, wait_for
from test_service_clients import RECONNECTS, addresses, follow, known, needs_aborts, server, service


@pytest.fixture(scope="module")
def lab():
    with Lab(nodes=2, set=["service.inbound=off"]) as lab:  # of sockets: nothing depends on how packets go
        lab.apply(pod("c", node="n1"))
        lab.wait_ready()
        needs_aborts(lab)
        yield lab


# Connections that ask again and again. A line an answer: which, when, who answered, or how it ended.
HOLDS = r"""
import errno, json, socket, sys, time
socks = {}
for where in sys.argv[1:]:
    name, host, port = where.split(',')
    socks[name] = socket.create_connection((host, int(port)), 10)
while socks:
    for name, s in list(socks.items()):
        try:
            s.sendall(b'q\n')
            what = json.loads(s.recv(400))['pod']
        except OSError as e:
            what = errno.errorcode.get(e.errno, str(e))
            del socks[name]
        print(name, time.monotonic(), what, flush=True)
    time.sleep(.02)
"""


class Holder:
    """Such a client; what it has heard so far by name of the connection."""

    def __init__(self, lab, who, where):
        self.p = lab.popen(who, "python3", "-u", "-c", HOLDS, *("%s,%s,%d" % (name, *w) for name, w in where.items()), stdout=subprocess.PIPE)
        self.last = {}

    def listen_until(self, done):
        limit = time.monotonic() + 60
        while not done(self.last):
            line = self.p.stdout.readline()
            assert line and time.monotonic() < limit, self.last
            name, when, what = line.split()
            self.last[name] = (float(when), what)
        return self.last

    def is_heard(self, names, what):
        """Each of them says this from now on."""
        now = time.monotonic()
        self.listen_until(lambda last: all(last.get(n, (0,))[0] > now for n in names))
        assert {self.last[n][1] for n in names} == {what}, self.last

    def end(self):
        self.p.kill()
        self.p.wait()


def test_SVC_20_tcp_is_reset_where_asked_for(lab):
    """Not while its endpoint ends in good order; when that is removed; and nobody's beside it."""
    resets = service("resets", "leaves")
    resets["metadata"]["annotations"] = {"weft.dev/service.removed-endpoints": "reset"}
    lab.apply(server("t1", "leaves", "n2"), server("stays", "stays", "n2"), resets, service("keeps", "leaves"), service("other", "stays"))
    for name in ("resets", "keeps", "other"):
        wait_for("an endpoint of " + name, lambda: known(lab, "n1", name, 1))
    direct = next(p for p in lab.status()["pods"] if p["name"] == "t1")["ips"][0]
    meant = {"meant%d" % i: (a, 80) for i, a in enumerate(addresses(lab, "resets"))}
    same = {"kept": (addresses(lab, "keeps")[0], 80), "direct": (direct, 8080)} # the same endpoint
    other = {"other": (addresses(lab, "other")[0], 80)}
    clients = [Holder(lab, who, {**meant, **same, **other}) for who in ("default/c", "n1")]
    try:
        for c in clients:
            c.is_heard([*meant, *same], "t1")
        before = lab.node_status("n1")["services"]["aborted"]
        lab.apply(server("t2", "leaves", "n1"))
        wait_for("two endpoints", lambda: known(lab, "n1", "resets", 2))
        lab.kubectl("delete", "pod", "t1", "--grace-period=60", "--wait=false")
        wait_for("one that serves", lambda: known(lab, "n1", "resets", 1) and known(lab, "n1", "keeps", 1))
        for c in clients:
            c.is_heard([*meant, *same], "t1")
        asked = time.monotonic()
        lab.kubectl("label", "pod", "t1", "app=elsewhere", "--overwrite")
        for c in clients:
            c.listen_until(lambda last: all(last[n][1] != "t1" for n in meant))
            assert {c.last[n][1] for n in meant} == {"ECONNABORTED"}, c.last
            print("aborted after %.0f ms" % (1000 * (max(c.last[n][0] for n in meant) - asked)))
        wait_for("they are counted", lambda: lab.node_status("n1")["services"]["aborted"] - before == 4)
        for c in clients:
            c.is_heard(same, "t1")
            c.is_heard(other, "stays")
    finally:
        for c in clients:
            c.end()
    lab.kubectl("delete", "pod/t1", "pod/t2", "pod/stays", "svc/resets", "svc/keeps", "svc/other", "--grace-period=1", "--wait=false")


@pytest.mark.parametrize("who", ["default/c", "n1"])
def test_SVC_21_connected_udp_follows_at_the_socket(lab, who):
    lab.apply(server("u1", "moves", "n2"), service("moves", "moves"))
    wait_for("one endpoint", lambda: known(lab, "n1", "moves", 1))
    clients = [lab.popen(who, "python3", "-u", "-c", RECONNECTS, a, 53, stdout=subprocess.PIPE) for a in addresses(lab, "moves")]
    try:
        assert [c.stdout.readline().split()[1:] for c in clients] == 2 * [["u1", "1"]]
        before = lab.node_status("n1")["services"]["aborted"]
        lab.apply(server("u2", "moves", "n1"))
        wait_for("two endpoints", lambda: known(lab, "n1", "moves", 2))
        lab.kubectl("delete", "pod", "u1", "--grace-period=20", "--wait=false")
        for client in clients:
            follow(client, "u1", "u2")
        wait_for("it was we who made them follow", lambda: lab.node_status("n1")["services"]["aborted"] - before == 2)
    finally:
        for client in clients:
            client.kill()
            client.wait()
    lab.kubectl("delete", "pod/u1", "pod/u2", "svc/moves", "--grace-period=1", "--ignore-not-found", "--wait=false")
    wait_for("they are gone", lambda: not [p for p in lab.status()["pods"] if p["name"] in ("u1", "u2")])
