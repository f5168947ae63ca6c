# SPDX-License-Identifier: Apache-2.0
"""Somebody else translates addresses in a node's stack, as kube-proxy does: the answers find their way back through it."""

import os

import pytest

from combos import REST, options, params
from labs import HELPERS, Lab, family, pod

# Rules as kube-proxy's: Services, a node port for the world (which must come back through this node), and no half connections.
RULES = """
table inet foreign {
	chain pre {
		type nat hook prerouting priority -100;
		%s
	}
	chain post {
		type nat hook postrouting priority 100;
		ip saddr != 10.244.0.0/16 ct status dnat masquerade
		ip6 saddr != fd00:244::/48 ct status dnat masquerade
	}
	chain onward {
		type filter hook forward priority 0;
		ct state invalid drop
	}
}
"""
SERVICES = {4: "10.96.7.%d", 6: "fd00:96::7:%d"}
CLOSED = 30999
REFUSED = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
s.connect((sys.argv[1], int(sys.argv[2])))
s.send(b"x")
try:
    sys.exit("answered: %r" % s.recv(100))
except ConnectionRefusedError:
    pass
"""


class Translated:
    """On n1: Service 1 is a pod of n1, Service 2 one of n2; node port 30000 + N leads to Service N's."""

    def __init__(self, lab):
        lab.apply(pod("client", node="n1"), pod("near", node="n1"), pod("far", node="n2"))
        lab.wait_ready()
        status = lab.status()
        self.lab, self.pods = lab, {p["name"]: p for p in status["pods"]}
        self.n1 = next(n for n in status["nodes"] if n["name"] == "n1")["addresses"]
        rules = [line for number, name in ((1, "near"), (2, "far")) for ip in self.pods[name]["ips"] for line in self.rules(number, ip)]
        lab.exec("n1", "nft", "-f", "-", input=RULES % "\n".join(rules))

    def rules(self, number, ip):
        v = family(ip)
        ip_, to = ("ip", ip) if v == 4 else ("ip6", "[%s]" % ip)
        service = SERVICES[v] % number
        node = next(a for a in self.n1 if family(a) == v)
        for proto in ("tcp", "udp"):
            yield "%s daddr %s %s dport 80 dnat %s to %s:8080" % (ip_, service, proto, ip_, to)
            yield "%s daddr %s %s dport %d dnat %s to %s:8080" % (ip_, node, proto, 30000 + number, ip_, to)
        yield "%s daddr %s udp dport %d dnat %s to %s:%d" % (ip_, service, CLOSED, ip_, to, CLOSED)
        yield "%s daddr %s meta l4proto { icmp, ipv6-icmp } dnat %s to %s" % (ip_, service, ip_, ip)

    def probe(self, source, lines):
        done = self.lab.exec(source, os.path.join(HELPERS, "lab-probe"), input="\n".join(lines) + "\n", check=False)
        assert done.returncode in (0, 1), done.stderr
        return [f for f in done.stdout.splitlines() if f.startswith("fail ")], done.stdout

    def service_lines(self):
        for number, name in ((1, "near"), (2, "far")):
            for ip in self.pods["client"]["ips"]:
                for proto, port in (("tcp", 80), ("udp", 80), ("icmp", 0)):
                    yield "%s %s %d default/%s %s" % (proto, SERVICES[family(ip)] % number, port, name, ip)

    def failures(self):
        lines = list(self.service_lines()) * 3  # the second and third time there are entries already
        assert len(lines) == 36
        failures, said = self.probe("default/client", lines)
        assert "ok %d failed %d" % (len(lines) - len(failures), len(failures)) in said, said
        return failures

    def refusals(self):
        """An ICMP error of a backend reaches the caller as one about the Service."""
        for v in (4, 6):
            for number in (1, 2):
                done = self.lab.exec("default/client", "/usr/bin/python3", "-c", REFUSED, SERVICES[v] % number, CLOSED, check=False)
                if done.returncode:
                    yield "%s: %s" % (SERVICES[v] % number, done.stderr)

    def world_failures(self):
        for ip in self.n1:
            for number, name in ((1, "near"), (2, "far")):
                for proto in ("tcp", "udp"):
                    done = self.lab.exec("world", os.path.join(HELPERS, "lab-probe"), check=False,
                                         input="%s %s %d default/%s -\n" % (proto, ip, 30000 + number, name))
                    if done.returncode:
                        yield done.stdout


@pytest.mark.parametrize("combo", params(REST))
def test_translated_flows_return_through_the_stack(combo):
    with Lab(nodes=2, **options(combo, "dual")) as lab:
        t = Translated(lab)
        assert not t.failures()
        assert not list(t.refusals())
        assert not list(t.world_failures())


def test_without_it_answers_pass_the_translation_by():
    with Lab(nodes=2, transport="vxlan", set=["datapath.foreignNat=off"]) as lab:
        assert Translated(lab).failures()
