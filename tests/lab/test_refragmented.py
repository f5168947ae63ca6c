# SPDX-License-Identifier: Apache-2.0
"""A node that tracks connections puts IPv6 fragments together and makes new ones, and the kernel forgets by which interface they came. They are
not the node's own for that: policy judges them, and what follows on their ports. So it does where
options stand before the ports."""

import pytest
from combos import SPANNING, options, params
from labs import Lab, pod, wait_for
from test_policy import policy

PYTHON = "/usr/bin/python3"
VIP = "fd00:96::7:1"
RULES = """table ip6 foreign {
	chain pre {
		type nat hook prerouting priority -100;
		ip6 daddr %s udp dport 9999 dnat to [%s]:9999
	}
}"""
HEAR = """
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", 9999))
print("ready", flush=True)
while True:
    data, sender = s.recvfrom(4000)
    print(sender[1], len(data), flush=True)
"""
# ADDRESS PORT: a datagram from that port.
SAY = ("import socket, sys; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('::', int(sys.argv[2]))); s.sendto(b'plain', (sys.argv[1], 9999))")
# The headers of the first fragment are longer than the second's: what is made of both has other borders.
SAY_FRAGMENTED = """
import json, subprocess, sys
from scapy.all import Ether, HBHOptUnknown, IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, Raw, UDP, sendp
source, to, port = sys.argv[1:4]
whole = bytes(IPv6(src=source, dst=to) / UDP(sport=int(port), dport=9999) / Raw(b"A" * 2192))[40:]
first = IPv6(src=source, dst=to) / IPv6ExtHdrHopByHop(options=[HBHOptUnknown(otype=0x1e, optlen=60, optdata=bytes(60))])
gateway = next(n["lladdr"] for n in json.loads(subprocess.check_output(["ip", "-j", "-6", "neigh"])) if n["dst"] == "fe80::1")
sendp([Ether(dst=gateway) / first / IPv6ExtHdrFragment(offset=0, m=1, id=int(port), nh=17) / Raw(whole[:800]),
       Ether(dst=gateway) / IPv6(src=source, dst=to) / IPv6ExtHdrFragment(offset=100, m=0, id=int(port), nh=17) / Raw(whole[800:])], iface="eth0", verbose=0)
"""
# Options stand before the ports, and are fragmented with what follows.
SAY_BEHIND_OPTIONS = """
import json, subprocess, sys
from scapy.all import Ether, HBHOptUnknown, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, Raw, UDP, sendp
source, to, port, dport = sys.argv[1:5]
options = IPv6ExtHdrDestOpt(options=[HBHOptUnknown(otype=0x1e, optlen=44, optdata=bytes(44))])
whole = bytes(IPv6(src=source, dst=to) / options / UDP(sport=int(port), dport=int(dport)) / Raw(b"A" * 2192))[40:]
gateway = next(n["lladdr"] for n in json.loads(subprocess.check_output(["ip", "-j", "-6", "neigh"])) if n["dst"] == "fe80::1")
sendp([Ether(dst=gateway) / IPv6(src=source, dst=to) / IPv6ExtHdrFragment(offset=at // 8, m=not at, id=int(port), nh=60) / Raw(whole[at:at + 800 if not at else None])
       for at in (0, 800)], iface="eth0", verbose=0)
"""


# One node: no packet meets a transport or an underlay, and of what is left SPANNING has every pair.
@pytest.fixture(params=params(SPANNING[2:3], SPANNING))
def lab(request):
    with Lab(nodes=1, **options(request.param, "dual")) as lab:
        lab.apply(pod("attacker", node="n1", labels={"app": "attacker"}), pod("victim", node="n1", labels={"app": "victim"}))
        lab.wait_ready()
        lab.me, lab.victim = (next(p["ips"][1] for p in lab.status()["pods"] if p["name"] == name) for name in ("attacker", "victim"))
        lab.exec("n1", "nft", "-f", "-", input=RULES % (VIP, lab.victim))
        lab.ear = lab.popen("default/victim", PYTHON, "-c", HEAR, stdout=-1)
        assert lab.ear.stdout.readline() == "ready\n"
        yield lab


def heard(lab, port):
    """What the victim has heard until it hears its node, from that port."""
    lab.exec("n1", PYTHON, "-c", SAY, lab.victim, port)
    lines = []
    while True:
        lines.append(lab.ear.stdout.readline().strip())
        if lines[-1] == "%d 5" % port:
            return lines[:-1]


def drops(lab, reason="policy_ingress"):
    return next(d["packets"] for d in lab.node_status("n1")["drops"] if d["reason"] == reason)


def test_NP_18_19_fragments_made_anew_are_judged(lab):
    def fragmented(to, port):
        lab.exec("default/attacker", PYTHON, "-c", SAY_FRAGMENTED, lab.me, to, port)

    fragmented(VIP, 41001)
    assert heard(lab, 51001) == ["41001 2192"], "planted: without a policy it arrives"
    lab.apply(policy("closed", pods={"app": "victim"}, policyTypes=["Ingress"]))
    wait_for("a closed victim", lambda: (lab.exec("default/attacker", PYTHON, "-c", SAY, lab.victim, 41002), heard(lab, 51002))[1] == [])
    before = drops(lab)
    for i, to in enumerate((VIP, lab.victim)):
        fragmented(to, 42000 + i)
        wait_for("its end", lambda: drops(lab) > before)
        before = drops(lab)
        for at in (VIP, lab.victim):
            lab.exec("default/attacker", PYTHON, "-c", SAY, at, 42000 + i)
        wait_for("theirs", lambda: drops(lab) >= before + 2)
    assert heard(lab, 51003) == []


def test_policy_on_ports_holds_for_fragments_behind_options(lab):
    def say(port, dport):
        lab.exec("default/attacker", PYTHON, "-c", SAY_BEHIND_OPTIONS, lab.me, lab.victim, port, dport)

    lab.exec("default/attacker", PYTHON, "-c", SAY, lab.victim, 41000)  # the gateway is asked for
    assert heard(lab, 51000) == ["41000 5"]
    lab.apply(policy("one-port", pods={"app": "victim"}, policyTypes=["Ingress"], ingress=[{"ports": [{"protocol": "UDP", "port": 9999}]}]))
    say(41001, 9999)
    assert heard(lab, 51001) == ["41001 2192"]
    wait_for("a closed port", lambda: (say(42000, 9998), drops(lab) > 0)[1])
    before, later = drops(lab), drops(lab, "fragment_unknown")
    say(42001, 9998)
    wait_for("its end", lambda: drops(lab) == before + 1 and drops(lab, "fragment_unknown") == later + 1)
    say(41002, 9999)
    assert heard(lab, 51002) == ["41002 2192"]
