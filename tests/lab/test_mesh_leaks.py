# SPDX-License-Identifier: Apache-2.0
"""W9: one capture of the fabric, from before the first node until after the last one, has nothing of pods in plaintext: not while
nodes start, stop, come, go, are killed in parts, or change their keys; sessions are renewed every few seconds all the while."""

import contextlib
import os
import signal

import pytest
from capture import PATTERN, Capture, bridge, frame, talk
from combos import options, params_of_wireguard
from labs import Lab, pod, run, wait_for
from test_mesh import ips, peers_of, processes, reaches, take_over
from wire import Wire

REKEY_S = 2


class Cluster:
    """A lab whose nodes are added one by one, under a capture and with traffic to pods that may not be there yet."""

    def __init__(self, lab, path):
        self.lab, self.capture, self.talkers = lab, Capture(lab, path), []

    def plant(self):
        """Proves that the capture sees what it should never see again."""
        run(*self.lab.fabric("ip", "link", "add", "planter", "up", "type", "veth", "peer", "name", "plant"))  # a bridge without a cable carries nothing
        run(*self.lab.fabric("ip", "link", "set", "plant", "up", "master", bridge(self.lab)))
        fabric = Wire(self.lab, "fabric", "planter", PATTERN)
        for src, dst in (("10.244.0.2", "10.244.1.2"), ("fd00:244::2", "fd00:244:0:1::2")):
            fabric.send([frame(src, dst)])
        fabric.close()
        run(*self.lab.fabric("ip", "link", "del", "planter"))
        self.planted = wait_for("the planted packets", lambda: (lambda l: l if len(l[0]) == 2 and l[1] == 2 else None)(self.capture.leaks()))

    def add_node(self):
        name = self.lab.weft("node", "add", timeout=300).strip()
        self.lab.apply(pod("p" + name, node=name))
        # To the first pods of three nodes, whether these exist or not: what has no route must not take the default one.
        for i in range(3):
            self.talk(name, "10.244.%d.2" % i)
            self.talk(name, "fd00:244:0:%x::2" % i)
        return name

    def talk(self, source, address):
        self.talkers.append(talk(self.lab, source, address, "0.05"))

    def talk_all(self):
        pods = [p for p in self.lab.status()["pods"] if p["phase"] == "Running"]
        for p in pods:
            for q in pods:
                for address in q["ips"] if p["node"] != q["node"] else ():
                    self.talk("default/" + p["name"], address)

    def ways(self, *pods):
        """All pods reach each other in both families."""
        pairs = [(p, q, a) for p in pods for q in pods if p != q for a in ips(self.lab, q)]
        for p, q, address in pairs:
            wait_for("%s > %s %s" % (p, q, address), lambda: reaches(self.lab, "default/" + p, address))

    def kill(self, node, program):
        old = processes(self.lab, node, program)
        assert old
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_for("%s of %s is back" % (program, node), lambda: set(processes(self.lab, node, program)) - set(old))

    def mesh(self, node):
        return self.lab.node_status(node)["mesh"]

    def settled(self, node):
        def look():
            with contextlib.suppress(AssertionError):  # an agent that starts does not answer yet
                return self.mesh(node)["settled"]
            return False
        wait_for("the mesh of %s is settled" % node, look)

    def close(self):
        self.capture.process.kill()
        for t in self.talkers:
            t.terminate()
        for t in self.talkers:
            t.wait(timeout=60)


@pytest.fixture(scope="module", params=params_of_wireguard())
def cluster(request, tmp_path_factory):
    before = os.environ.get("WEFT_WG_TIMERS")
    os.environ["WEFT_WG_TIMERS"] = "rekey_after_time=%d" % REKEY_S  # the engines inherit it
    try:
        with Lab(nodes=0, **options(request.param, "dual")) as lab:
            c = Cluster(lab, tmp_path_factory.mktemp("leaks") / "pcap")
            c.kind = "ip6[48]" if request.param[4] == "ipv6" else "udp[8]"  # of a message, its first byte
            try:
                yield c
            finally:
                c.close()
    finally:
        del os.environ["WEFT_WG_TIMERS"]
        if before is not None:
            os.environ["WEFT_WG_TIMERS"] = before


def rotate(cluster, node, meanwhile):
    """A new key of @node; @meanwhile() is called when it is announced and not spoken yet."""
    old, other = cluster.mesh(node)["publicKey"], "n2" if node == "n1" else "n1"
    known = len(peers_of(cluster.lab, other))
    cluster.lab.exec(node, "weft", "mesh", "rotate-key")
    wait_for("the next key is announced", lambda: len(peers_of(cluster.lab, other)) > known)
    meanwhile()
    cluster.settled(node)
    wait_for("the next key is the key", lambda: old not in peers_of(cluster.lab, other) and cluster.mesh(node)["publicKey"] != old)


def test_W_9_not_a_packet_of_pods_in_plaintext(cluster, capsys):
    lab = cluster.lab
    cluster.plant()
    for _ in range(3):
        cluster.add_node()
    lab.wait_ready()
    cluster.ways("pn1", "pn2", "pn3")
    cluster.talk_all()
    for node in ("n1", "n2"):
        for program in ("weftd", "weft-wg"):
            cluster.kill(node, program)
            cluster.settled(node)
    cluster.ways("pn1", "pn2", "pn3")
    rotate(cluster, "n1", lambda: None)
    rotate(cluster, "n2", lambda: cluster.kill("n2", "weftd"))  # between the announcement and the change
    rotate(cluster, "n1", lambda: (cluster.kill("n2", "weft-wg"), cluster.kill("n1", "weft-wg")))
    rotate(cluster, "n2", lambda: take_over(lab, "n1"))
    cluster.ways("pn1", "pn2", "pn3")
    lab.exec("n1", "ip", "link", "del", "weft-wg")  # it is made again, with its engine
    lab.weft("node", "stop", "n3", timeout=300)
    lab.kubectl("delete", "node", "n3")
    wait_for("n3 is forgotten", lambda: len(peers_of(lab, "n2")) == 1)
    cluster.ways("pn1", "pn2")
    lab.weft("node", "stop", "n2", timeout=300)
    wait_for("n2 is away", lambda: not reaches(lab, "default/pn1", "10.244.1.2"))
    lab.weft("node", "start", "n2", timeout=300)
    lab.wait_ready()
    cluster.ways("pn1", "pn2")
    for node in ("n1", "n2"):
        lab.weft("node", "stop", node, timeout=300)
    assert cluster.capture.stop() == 0
    addresses, marks = cluster.capture.leaks()
    assert (addresses, marks) == cluster.planted, addresses[:20]
    initiations, data = (cluster.capture.lines("port 51820 and udp and %s == %d" % (cluster.kind, kind)) for kind in (1, 4))
    assert len(initiations) >= 20  # keys were renewed all the while
    assert len(data) > 1000
    with capsys.disabled():
        print("\n%d handshakes begun, %d encrypted packets, no other of pods' but the %d planted" % (len(initiations), len(data), len(addresses)))
