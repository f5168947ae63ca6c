# SPDX-License-Identifier: Apache-2.0
"""Policies of the node itself: what reaches its sockets and what they reach, from outside, other nodes and pods; what nobody can close; and that
what nobody confirms is taken back. Over both families; ingress in the tunnel, as it is, and encrypted."""

import ipaddress
import itertools
import json
import os
import re
import signal
import subprocess

import pytest
from combos import SPANNING, options, params, params_by_transport
from labs import WEFT, Lab, held_still, pod, running, wait_for
from test_policy import PROBER

PYTHON = "/usr/bin/python3"
TRIAL_S = 20
OPEN, CLOSED, FAILSAFE = 7001, 7002, 22
others = itertools.count(20000)

# Serves TCP and UDP on the ports of each address: bound to it, so that what is answered comes from there.
SERVER = """
import socketserver, sys, threading, socket
class Tcp(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads = True, True
class Udp(socketserver.ThreadingUDPServer):
    pass
class Say(socketserver.BaseRequestHandler):
    def handle(self):
        if isinstance(self.request, tuple):
            self.request[1].sendto(b"here", self.client_address)
        else:
            self.request.sendall(b"here")
            while self.request.recv(100):
                self.request.sendall(b"still here")
for address in sys.argv[1].split(","):
    for kind in (Tcp, Udp):
        kind.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for port in map(int, sys.argv[2:]):
            threading.Thread(target=kind((address, port), Say).serve_forever, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""
# Asks all at once: [[protocol, address, port], …]; says for each whether it was answered.
ASK = """
import json, socket, sys, threading
asked, found = json.loads(sys.argv[1]), {}
def ask(i, proto, host, port):
    found[i] = False
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        try:
            s.connect((host, port))
            if proto == "udp":
                s.send(b"?")
            found[i] = s.recv(100) == b"here"
        except OSError:
            pass
threads = [threading.Thread(target=ask, args=(i, *a)) for i, a in enumerate(asked)]
[t.start() for t in threads]
[t.join() for t in threads]
print(json.dumps([found[i] for i in range(len(asked))]))
"""


def with_addresses(lab):
    lab.nodes = {n["name"]: n["addresses"] for n in lab.status()["nodes"]}
    lab.worlds = lab.status()["world"]["addresses"]
    return lab


def serving(lab, where, addresses):
    return running(lab, where, PYTHON, "-c", SERVER, ",".join(addresses), OPEN, CLOSED, FAILSAFE, says="ready")


@pytest.fixture(scope="module")
def lab(request):
    """In one way where a test is about what the agent makes of policies; where packets might find a way around them, in all."""
    way = options(getattr(request, "param", SPANNING[0]), "dual")
    ours = ["policy.host=on", "policy.hostTrialSeconds=%d" % TRIAL_S, "policy.failsafeEgressPorts=53"]
    with Lab(nodes=2, **{**way, "set": way["set"] + ours}) as lab:
        lab.apply(pod("near", node="n1", labels={"app": "near"}), pod("far", node="n2", labels={"app": "far"}))
        lab.wait_ready()
        with_addresses(lab)
        with serving(lab, "n1", lab.nodes["n1"]), serving(lab, "world", lab.worlds):
            yield lab


@pytest.fixture(autouse=True)
def clean(request):
    yield
    if "lab" not in request.fixturenames:
        return
    lab = request.getfixturevalue("lab")
    lab.kubectl("delete", "cnp", "--all")
    soon("an open node", lambda: state(lab) == "none")


def soon(what, condition):
    wait_for(what, condition, timeout=60)


def host(lab, node="n1"):
    return json.loads(lab.exec(node, WEFT, "policy", "list", "-o", "json").stdout)["host"]


def state(lab):
    return host(lab)["state"]


def host_policy(subject, *rules):
    """The rules stand under egress, where the API lets them name addresses: with nodes-from they are about what comes."""
    return {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
            "metadata": {"name": "host", "annotations": {"weft.dev/subject": subject}},
            "spec": {"tier": "Admin", "priority": 10, "subject": {"namespaces": {"matchLabels": {"kubernetes.io/hostname": "n1"}}}, "egress": list(rules)}}


def anybody(action, *ports):
    rule = {"action": action, "to": [{"networks": ["0.0.0.0/0", "::/0"]}]}
    if ports:
        rule["protocols"] = [{p: {"destinationPort": {"number": n}}} for p in ("tcp", "udp") for n in ports]
    return rule


def closes():
    """Each another: what was confirmed once needs no trial again."""
    return host_policy("nodes-from", anybody("Accept", OPEN, next(others)), anybody("Deny"))


def reached(lab, where, port, addresses=None):
    """Over both families, by TCP and UDP: one answer."""
    asked = [[proto, a, port] for a in addresses or lab.nodes["n1"] for proto in ("tcp", "udp")]
    found = json.loads(lab.exec(where, PYTHON, "-c", ASK, json.dumps(asked)).stdout)
    return found[0] if len(set(found)) == 1 else dict(zip(map(str, asked), found))


def answered(lab, where, port, addresses=None):
    """What is allowed may be late on a busy machine."""
    soon("%s to %d" % (where, port), lambda: reached(lab, where, port, addresses) is True)


def why(lab, source, target):
    """With the rule that denies it, if one does."""
    answer = json.loads(lab.exec("n1", WEFT, "why", "-o", "json", source, target, check=False).stdout)
    return answer["verdict"], answer.get("rule")


def end(address, port):
    return ("[%s]:%d" if ":" in address else "%s:%d") % (address, port)


def confirm(lab, *revision):
    return lab.exec("n1", WEFT, "policy", "confirm", *revision, check=False)


# To a pod's echo, which says who asks.
ASK_POD = ("import socket, sys; s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM); "
           "s.settimeout(1); s.sendto(b'?', (sys.argv[1], 8080)); s.recv(1000)")
# A connection whose first fragment ends within the TCP header: the stack puts it together.
TINY = ("import sys; from scapy.all import IP, TCP, fragment, send; "
        "send(fragment(IP(dst=sys.argv[1]) / TCP(sport=5555, dport=int(sys.argv[2]), flags='S'), fragsize=8), verbose=0)")


TALK = ("import socket, sys, time\ns = socket.create_connection((sys.argv[1], %d), 5); s.settimeout(1); print('go', flush=True)\n"
        "while True:\n    try:\n        s.send(b'x'); s.recv(100)\n    except OSError:\n        print('cut'); break\n    time.sleep(.01)\n" % CLOSED)


# The same to see, from a port that is known.
HOLD, HELD = ("import socket, sys\nfamily = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\ns = socket.socket(family)\n"
              "s.bind(('', int(sys.argv[2])))\ns.connect((sys.argv[1], %d)); s.recv(100)\nprint('go', flush=True)\nsys.stdin.read()" % CLOSED), 7099


def node_behind_a_service(lab):
    """Ports 30071 and 30072 of each node lead to n1's own OPEN and CLOSED."""
    at = lab.nodes["n1"][0]
    ports = [{"name": n, "port": p, "protocol": "TCP"} for n, p in (("open", OPEN), ("closed", CLOSED))]
    return ({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "node"}, "spec": {
        "type": "NodePort", "ports": [{**p, "nodePort": 30070 + p["port"] - 7000} for p in ports]}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "ports": ports,
             "metadata": {"name": "node-1", "labels": {"kubernetes.io/service-name": "node"}},
             "endpoints": [{"addresses": [at], "conditions": {"ready": True}}]})


def by_service(lab, port):
    asked = json.dumps([["tcp", lab.nodes["n1"][0], port]])
    return json.loads(lab.exec("world", PYTHON, "-c", ASK, asked).stdout)[0]


def drops(lab, reason):
    return next(d["packets"] for d in lab.node_status("n1")["drops"] if d["reason"] == reason)


# To all on a link, to its routers, to a group: the answer comes from another address. "%" names the link.
SHARED = 7004
SHARED_SERVER = """
import socket, sys, threading
def serve(family, host):
    s = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((host, %d))
    while True:
        s.sendto(b"here", s.recvfrom(100)[1])
for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    threading.Thread(target=serve, args=(family, host), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
""" % SHARED
ASK_ALL = """
import json, socket, sys
what, socks, found = bytes.fromhex(sys.argv[1]), [], []
for asked in sys.argv[2:]:
    host, _, link = asked.partition("%%")
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if link:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
    s.settimeout(.5)
    s.sendto(what, (host, %d))
    socks.append(s)
for s in socks:
    try:
        found.append(s.recv(10) == b"here")
    except OSError:
        found.append(False)
print(json.dumps(found))
""" % SHARED
TO_MANY = ("255.255.255.255", "224.0.0.1", "ff02::1")


def shared(lab, where, *addresses, what=b"?"):
    return json.loads(lab.exec(where, PYTHON, "-c", ASK_ALL, what.hex(), *addresses).stdout)


def to_many(lab, node, what=b"?"):
    return shared(lab, node, *(a + "%" + link_of(lab, node)[0] for a in TO_MANY), what=what)


HEAR_ALL = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', %d)); print('go', flush=True); s.recv(10); print('heard')" % SHARED


def link_of(lab, node="n1"):
    """Its uplink; the addresses that its networks lead to all on it, and to all routers on it."""
    for link in json.loads(lab.exec(node, "ip", "-j", "addr").stdout):
        nets = [ipaddress.ip_interface("%s/%d" % (a["local"], a["prefixlen"])).network for a in link["addr_info"] if a["local"] in lab.nodes[node]]
        if nets:
            return link["ifname"], *(str(n[-1] if n.version == 4 else n[0]) for n in nets)


@pytest.mark.parametrize("lab", params_by_transport("vxlan"), indirect=True)
def test_P11_no_way_around_it(lab):
    """Through a Service, by packets that cannot be judged, by what it shares with others on its link, also where a network comes later; and the node's own
    questions to pods elsewhere are answered, and what it says to all goes out."""
    far = next(p["ips"] for p in lab.status()["pods"] if p["name"] == "far")
    near = next(p["ips"][0] for p in lab.status()["pods"] if p["name"] == "near")
    lab.apply(*node_behind_a_service(lab))
    soon("a Service before any policy", lambda: by_service(lab, 30071) and by_service(lab, 30072))
    before = drops(lab, "fragment_tiny")
    lab.exec("world", PYTHON, "-c", TINY, lab.nodes["n1"][0], CLOSED)
    assert drops(lab, "fragment_tiny") == before, "no policy, no look at it"
    link, to_all, to_routers = link_of(lab)
    with running(lab, "n1", PYTHON, "-c", SHARED_SERVER, says="ready"):
        soon("a neighbour before any policy", lambda: shared(lab, "n2", to_all) == [True] and to_many(lab, "n2") == [True] * 3)
        soon("a pod before any policy", lambda: shared(lab, "default/near", to_all, to_routers) == [True, True])
        lab.apply(closes())
        soon("a closed port", lambda: reached(lab, "world", CLOSED) is False)
        assert confirm(lab).returncode == 0
        lab.exec("n1", "ip", "addr", "add", "192.0.2.1/25", "dev", link)
        assert shared(lab, "n2", to_all) == [False] and shared(lab, "default/near", to_all, to_routers) == [False, False]
        assert to_many(lab, "n2") == [False] * 3
        assert why(lab, lab.nodes["n2"][0], end("224.0.0.1", SHARED)) == ("denied", "ClusterNetworkPolicy host ingress[1]")
        # Its own sockets hear what it says; where a frame would have its addresses, this has a pod's.
        soon("itself", lambda: to_many(lab, "n1", b"??" + ipaddress.ip_address(near).packed * 4) == [True] * 3)
        soon("a network that came later", lambda: shared(lab, "default/near", "192.0.2.127") == [False])
        lab.exec("n1", "ip", "addr", "del", "192.0.2.1/25", "dev", link)
        assert why(lab, "default/near", end(to_routers, SHARED)) == ("denied", "ClusterNetworkPolicy host ingress[1]")
    with running(lab, "n2", PYTHON, "-c", HEAR_ALL, says="go") as hears:
        soon("what the node itself says to all", lambda: shared(lab, "n1", to_all) and hears.poll() is not None)
    soon("an open one by the Service", lambda: by_service(lab, 30071))
    assert by_service(lab, 30072) is False
    lab.exec("world", PYTHON, "-c", TINY, lab.nodes["n1"][0], CLOSED)
    soon("the fragment's end", lambda: drops(lab, "fragment_tiny") > before)
    for address in far:
        soon("an answer of a pod elsewhere", lambda: lab.exec("n1", PYTHON, "-c", ASK_POD, address, check=False).returncode == 0)
    lab.kubectl("delete", "svc", "node")
    lab.kubectl("delete", "endpointslice", "node-1")


def test_P11_every_address_of_the_node(lab):
    """Also those that its object does not list: further ones of an uplink, another interface's, and one that comes when the policy is in force."""
    REFUSED, SILENT = 7, 28  # curl's word for a port that nobody has
    link = link_of(lab)[0]
    further, later = ([str(ipaddress.ip_address(lab.nodes["n1"][0]) + n), str(ipaddress.ip_address(lab.nodes["n1"][1]) + n)] for n in (0x61, 0x62))
    bridge = "172.17.0.1"

    def answers(where, address):
        url = "http://%s:%d/" % ("[%s]" % address if ":" in address else address, CLOSED)
        return lab.exec(where, "curl", "-sg", "-m", "1", url, check=False).returncode

    def add(addresses, verb="add"):
        for a in addresses:
            lab.exec("n1", "ip", "addr", verb, a + ("/64" if ":" in a else "/24"), "dev", link, *(["nodad"] if ":" in a and verb == "add" else []))

    add(further)
    lab.exec("n1", "sh", "-c", "ip link add br9 type bridge && ip addr add %s/24 dev br9 && ip link set br9 up" % bridge)
    asked = [("world", a) for a in further] + [("default/near", a) for a in (*further, bridge)] + [("default/far", further[0])]
    try:
        for where, address in asked:
            soon("a port that nobody has", lambda: answers(where, address) == REFUSED)
        lab.apply(closes())
        soon("a closed port", lambda: reached(lab, "world", CLOSED) is False)
        assert confirm(lab).returncode == 0
        assert [answers(*a) for a in asked] == [SILENT] * len(asked)
        add(later)
        for where in ("world", "default/near"):
            for address in later:
                soon("an address that came later", lambda: answers(where, address) == SILENT)
    finally:
        add([a for a in (*further, *later) if a + "/" in lab.exec("n1", "ip", "addr", "show", "dev", link).stdout], "del")
        lab.exec("n1", "ip", "link", "del", "br9")


def what_the_node_asks_opens_nothing(lab, node, world):
    """To whom it asks, but answers: neither the identifier of its ping nor the port of its connection."""
    def ping(where, to):
        return lab.exec(where, "ping", "-c", "1", "-W", "1", "-e", "77", to, check=False).returncode == 0
    soon("the node's own ping", lambda: ping("n1", world))
    assert not ping("world", node) and ping("n1", world)
    port = HELD + (":" in world)  # what is over keeps it for a while
    with running(lab, "n1", PYTHON, "-c", HOLD, world, port, says="go"):
        asked = ["n1", WEFT, "why", world, end(node, port)]
        assert lab.exec(*asked, check=False).returncode == 3, "a new one is denied"
        assert "as answers" in lab.exec(*asked, "--source-port", CLOSED).stdout.splitlines()[-1]
        back = lab.exec("n1", WEFT, "why", "--source-port", port, node, end(world, CLOSED)).stdout
        assert "begun by the source" in back, back


CLIENTS = ("world", "n2", "default/near", "default/far")


@pytest.mark.parametrize("lab", params_by_transport("vxlan", "wireguard"), indirect=True)
def test_P11_ingress_of_the_node(lab):
    for where in CLIENTS:
        answered(lab, where, CLOSED)
    lab.apply(closes())
    soon("a closed port", lambda: reached(lab, "world", CLOSED) is False)
    assert state(lab) == "trial" and confirm(lab).returncode == 0 and state(lab) == "confirmed"
    for where in CLIENTS:
        assert reached(lab, where, CLOSED) is False, where
        answered(lab, where, OPEN)
        answered(lab, where, FAILSAFE)
    for asker, asked in zip(lab.nodes["n1"], lab.worlds):
        what_the_node_asks_opens_nothing(lab, asker, asked)
    for here, world in zip(lab.nodes["n1"], lab.worlds):
        assert why(lab, world, end(here, CLOSED)) == ("denied", "ClusterNetworkPolicy host ingress[1]")
        assert why(lab, "default/near", end(here, CLOSED)) == ("denied", "ClusterNetworkPolicy host ingress[1]")
        assert why(lab, world, end(here, OPEN)) == why(lab, "default/near", end(here, FAILSAFE)) == ("delivered", None)
        assert why(lab, here, end(world, CLOSED)) == ("sent", None)
    answered(lab, "n1", CLOSED)
    answered(lab, "n1", CLOSED, lab.worlds)  # what the node begins
    soon("an echo that the node asks for", lambda: lab.exec("n1", "ping", "-c", "1", "-W", "2", lab.nodes["n2"][0], check=False).returncode == 0)
    assert lab.exec("world", "ping", "-c", "1", "-W", "1", lab.nodes["n1"][0], check=False).returncode == 1
    near = next(p["ips"][0] for p in lab.status()["pods"] if p["name"] == "near")
    soon("its own pods", lambda: lab.exec("n1", "curl", "-s", "-m", "3", "http://%s:8080/" % near, check=False).stdout)
    assert reached(lab, "world", CLOSED, lab.nodes["n2"]) is False and confirm(lab).returncode == 1, "no server there; and nothing to confirm"
    events = lab.exec("n1", WEFT, "observe", "--verdict", "denied", "--last", "20").stdout
    assert "ClusterNetworkPolicy host ingress[1]" in events
    shown = lab.exec("n1", WEFT, "policy", "show", "node").stdout
    assert "(failsafe)" in shown and "ClusterNetworkPolicy" in shown


def test_P11_egress_of_the_node(lab):
    lab.apply(host_policy("nodes", anybody("Accept", OPEN), anybody("Deny")))
    soon("a closed port", lambda: reached(lab, "n1", CLOSED, lab.worlds) is False)
    assert confirm(lab).returncode == 0
    answered(lab, "n1", OPEN, lab.worlds)
    for here, world in zip(lab.nodes["n1"], lab.worlds):
        assert why(lab, here, end(world, CLOSED)) == ("denied", "ClusterNetworkPolicy host egress[1]")
        assert why(lab, here, end(world, OPEN)) == ("sent", None)
    for where in CLIENTS:
        answered(lab, where, CLOSED)  # what others begin
    near = next(p["ips"][0] for p in lab.status()["pods"] if p["name"] == "near")
    soon("its own pods", lambda: lab.exec("n1", "curl", "-s", "-m", "3", "http://%s:8080/" % near, check=False).stdout)
    lab.kubectl("annotate", "cnp", "host", "note=1")
    soon("the API at work", lambda: "enforce" in lab.exec("n1", WEFT, "policy", "list").stdout)


def api_at(address):
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "ports": [{"name": "https", "port": CLOSED, "protocol": "TCP"}],
            "metadata": {"name": "kubernetes-more", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}]}


def test_P11_servers_of_the_api_are_reached_and_no_other_node_is_taken_for_one(lab):
    """Those are the endpoints of default/kubernetes, at the ports that they have."""
    lab.apply(api_at(lab.nodes["n1"][0]), host_policy("nodes-from", anybody("Deny")))
    soon("a closed port", lambda: reached(lab, "world", OPEN) is False)
    assert confirm(lab).returncode == 0
    answered(lab, "world", CLOSED)
    lab.apply(api_at(lab.nodes["n2"][0]))
    soon("another node's port", lambda: reached(lab, "world", CLOSED) is False)
    lab.apply(host_policy("nodes", anybody("Deny")))
    soon("closed ways out", lambda: reached(lab, "n1", OPEN, lab.worlds) is False)
    assert confirm(lab).returncode == 0
    answered(lab, "n1", CLOSED, lab.worlds)
    lab.kubectl("delete", "endpointslice", "kubernetes-more")
    soon("a closed way to what is no API", lambda: reached(lab, "n1", CLOSED, lab.worlds) is False)


def test_P11_what_nobody_confirms_is_taken_back(lab):
    lab.apply(closes())
    soon("a closed port", lambda: reached(lab, "world", CLOSED) is False)
    assert confirm(lab).returncode == 0
    tighter = host_policy("nodes-from", anybody("Deny"))
    lab.apply(tighter)
    soon("another closed port", lambda: reached(lab, "world", OPEN) is False)
    assert state(lab) == "trial"
    for label, means in (("other", "none"), ("n1", "trial")):  # nothing of it is gone when it means the node again
        lab.kubectl("label", "node", "n1", "--overwrite", "kubernetes.io/hostname=" + label)
        soon("a node that is meant, or is not", lambda: state(lab) == means)
    answered(lab, "world", FAILSAFE)
    soon("what was confirmed", lambda: state(lab) == "rolled back")
    soon("the open port", lambda: reached(lab, "world", OPEN) is True)
    assert reached(lab, "world", CLOSED) is False
    soon("an Event", lambda: "PolicyTakenBack" in lab.kubectl("get", "events", "-A").stdout)
    assert "taken back" in lab.exec("n1", WEFT, "status", check=False).stdout
    assert confirm(lab).returncode == 0
    soon("confirmed after all", lambda: reached(lab, "world", OPEN) is False)


def audited(lab):
    """Of flows that passed and would have been denied, the ports of this node."""
    lines = lab.exec("n1", WEFT, "observe", "--verdict", "audit", "--last", "500", "-o", "json").stdout.splitlines()
    return {e["destination"]["port"] for e in map(json.loads, lines) if e["reason"] == "policy_ingress" and e["destination"]["address"] in lab.nodes["n1"]}


def test_P11_what_only_observes_needs_no_trial_and_stays(lab):
    closing = closes()

    def is_so(state, policies, observed):
        h = host(lab)
        return (h["state"], sorted(h["policies"]), sorted(h["observed"])) == (state, policies, observed)

    def mode(name, word):
        lab.kubectl("annotate", "cnp", name, "--overwrite", "weft.dev/mode" + word)
    lab.apply({**closing, "metadata": {"name": "host", "annotations": {"weft.dev/subject": "nodes-from", "weft.dev/mode": "observe"}}})
    soon("what observes", lambda: is_so("observed", [], ["host"]))
    for port in (CLOSED, FAILSAFE):
        answered(lab, "world", port)
    soon("what it would deny", lambda: CLOSED in audited(lab))
    assert FAILSAFE not in audited(lab)
    assert "revision" not in host(lab) and confirm(lab).returncode == 1, "nothing ends by itself"
    listed = lab.exec("n1", WEFT, "policy", "list").stdout
    assert "policies of the node itself: only observed" in listed and listed.splitlines()[1].split()[-1] == "observe", listed
    soon("its condition", lambda: "it only observes" in lab.kubectl("get", "cnp", "host", "-o", "json").stdout)
    mode("host", "-")
    soon("a closed port", lambda: reached(lab, "world", CLOSED) is False)
    assert confirm(lab).returncode == 0
    mode("host", "=observe")
    soon("what was confirmed observes", lambda: is_so("observed", [], ["host"]) and "revision" not in host(lab))
    answered(lab, "world", CLOSED)
    lab.apply({**host_policy("nodes-from", anybody("Deny", SHARED)), "metadata": {**closing["metadata"], "name": "second"}})
    soon("another on trial", lambda: is_so("trial", ["second"], ["host"]))
    mode("host", "-")
    soon("both on trial", lambda: is_so("trial", ["host", "second"], []))
    assert confirm(lab).returncode == 0
    mode("second", "=observe")  # it only denies
    soon("one of them", lambda: is_so("confirmed", ["host"], ["second"]))
    assert reached(lab, "world", CLOSED) is False


def test_P11_a_restart_opens_nothing_and_keeps_what_is_confirmed(lab):
    lab.apply(closes())
    soon("a closed port", lambda: reached(lab, "world", CLOSED) is False)
    assert confirm(lab).returncode == 0
    old = lab.agents("n1")
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    assert reached(lab, "world", CLOSED) is False
    soon("a new agent", lambda: lab.agents("n1") and not set(old) & set(lab.agents("n1")))
    assert reached(lab, "world", CLOSED) is False
    soon("what was confirmed", lambda: lab.exec("n1", WEFT, "policy", "list", check=False).returncode == 0 and state(lab) == "confirmed")
    assert reached(lab, "world", CLOSED) is False
    answered(lab, "world", OPEN)


def hold(pids, how=signal.SIGSTOP):
    for pid in pids:
        os.kill(pid, how)


def replaced(lab, old):
    soon("a new agent", lambda: lab.agents("n1") and not set(old) & set(lab.agents("n1"))
         and lab.exec("n1", WEFT, "policy", "list", check=False).returncode == 0)
    return lab.agents("n1")


def test_P11_a_trial_ends_whatever_becomes_of_the_agent(lab):
    """Killed, the next goes on with the same time; stopped, the datapath opens the node; woken, it knows that it is over; killed again, too."""
    lab.apply(closes())
    soon("a closed port", lambda: reached(lab, "world", CLOSED) is False)
    left, revision = host(lab)["secondsLeft"], host(lab)["revision"]
    agents = lab.agents("n1")
    hold(agents, signal.SIGKILL)
    agents = replaced(lab, agents)
    soon("the same trial", lambda: state(lab) == "trial")
    assert host(lab)["secondsLeft"] <= left
    assert reached(lab, "world", CLOSED) is False
    hold(agents)
    try:
        soon("a node that opens by itself", lambda: reached(lab, "world", CLOSED) is True)
    finally:
        hold(agents, signal.SIGCONT)
    soon("an agent that knows", lambda: state(lab) == "rolled back")
    hold(agents, signal.SIGKILL)
    replaced(lab, agents)
    soon("the next, too", lambda: state(lab) == "rolled back")
    assert reached(lab, "world", CLOSED) is True
    assert confirm(lab, "deadbeef").returncode == 1, "nobody has seen that"
    assert confirm(lab, revision).returncode == 0, "what was seen before the agent's end"
    soon("confirmed after all", lambda: reached(lab, "world", CLOSED) is False)


def test_P11_a_trial_without_an_agent_ends_in_what_was_confirmed(lab):
    """What was closed before it is closed again, and what it closed is open, while no agent runs; and so for the next one."""
    lab.apply(closes())
    soon("a closed port", lambda: reached(lab, "world", CLOSED) is False)
    assert confirm(lab).returncode == 0
    lab.apply(host_policy("nodes-from", anybody("Accept", CLOSED), anybody("Deny")))
    soon("the trial", lambda: reached(lab, "world", CLOSED) is True and reached(lab, "world", OPEN) is False)
    soon("a node that reaches the API", lambda: host(lab)["apiReached"])
    talker = lab.popen("world", PYTHON, "-c", TALK, lab.nodes["n1"][0], stdout=-1)
    assert talker.stdout.readline() == "go\n"
    agents = lab.agents("n1")
    hold(agents)
    try:
        soon("what was confirmed", lambda: reached(lab, "world", CLOSED) is False and reached(lab, "world", OPEN) is True)
        assert talker.communicate(timeout=60)[0] == "cut\n", "what the trial had let in"
    finally:
        hold(agents, signal.SIGCONT)
    soon("an agent that knows", lambda: state(lab) == "rolled back")
    assert reached(lab, "world", CLOSED) is False and reached(lab, "world", OPEN) is True


FORWARD = """
import socket, sys, threading
def copy(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    for s in (a, b):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
server = socket.create_server((sys.argv[1], int(sys.argv[3])))
print("ready", flush=True)
while True:
    client = server.accept()[0]
    hub = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    for pair in ((client, hub), (hub, client)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"""


def connections(lab):
    lines = lab.exec("n1", "ss", "-Hntp", "state", "established").stdout.splitlines()
    return {tuple(line.split()[2:4]) for line in lines if "weftd" in line}


@pytest.fixture
def other_port(lab):
    """As where the API's address is translated in the node's stack: new connections to the API go to another port, which no list names."""
    url = re.search(r"server: *https?://([0-9.]+):([0-9]+)", lab.exec("n1", "cat", "/etc/weft/kubeconfig").stdout)
    at, port = url.groups()
    forwarder = subprocess.Popen(lab.fabric(PYTHON, "-c", FORWARD, at, port, "17003"), stdout=subprocess.PIPE, text=True)
    assert forwarder.stdout.readline() == "ready\n"
    rules = ("table ip other {\n chain out {\n type nat hook output priority -100\n"
             "ip daddr %s tcp dport %s tcp flags & (syn | ack) == syn dnat to %s:17003\n }\n}" % (at, port, at))
    lab.exec("n1", "nft", rules)
    yield
    lab.exec("n1", "nft", "delete table ip other", check=False)
    forwarder.kill()
    forwarder.communicate()


def test_P11_a_trial_asks_the_api_by_a_new_connection(lab, other_port):
    """The agent's connections go on, and tell of the policy: a new one has no way. Nobody can confirm that, and it is taken back before its time."""
    before = connections(lab)
    lab.apply(host_policy("nodes", anybody("Deny")))
    soon("a closed way out", lambda: reached(lab, "n1", OPEN, lab.worlds) is False)
    answer = confirm(lab)
    assert answer.returncode == 1 and "does not reach the API" in answer.stderr
    assert host(lab)["state"] == "rolled back" and host(lab)["apiReached"] is False
    assert before & connections(lab), "none that was there was cut"
    answered(lab, "n1", OPEN, lab.worlds)
    assert "not reached" in lab.exec("n1", WEFT, "status", check=False).stdout
    assert confirm(lab).returncode == 0 and state(lab) == "trial", "it is tried again, not believed"
    lab.exec("n1", "nft", "delete table ip other")
    soon("the API by a new connection", lambda: host(lab)["apiReached"])
    assert confirm(lab).returncode == 0 and state(lab) == "confirmed"
    assert reached(lab, "n1", OPEN, lab.worlds) is False


def test_P11_an_agent_that_cannot_hear_the_api_keeps_nobody_out(lab):
    """Killed during the trial while the API is silent: it may be the policy that has cut it off."""
    lab.apply(closes())
    soon("a closed port", lambda: reached(lab, "world", CLOSED) is False)
    agents, api = lab.agents("n1"), lab.pids("hub")
    hold(api)
    try:
        hold(agents, signal.SIGKILL)
        soon("a new agent", lambda: lab.agents("n1") and not set(agents) & set(lab.agents("n1")))
        soon("an open node", lambda: reached(lab, "world", CLOSED) is True)
    finally:
        hold(api, signal.SIGCONT)
    soon("what it says when it hears", lambda: lab.exec("n1", WEFT, "policy", "list", check=False).returncode == 0 and state(lab) == "rolled back")


def test_P11_only_nodes_that_are_meant_are_on_trial(lab):
    """And what was confirmed once needs no word when it comes back."""
    other = host_policy("nodes-from", anybody("Deny", CLOSED))
    other["metadata"]["name"] = "other"
    other["spec"]["subject"]["namespaces"]["matchLabels"]["kubernetes.io/hostname"] = "n2"
    lab.apply(other)
    soon("the other node's trial", lambda: host(lab, "n2")["state"] == "trial")
    soon("a policy that n1 knows", lambda: " other " in lab.exec("n1", WEFT, "policy", "list").stdout)
    assert state(lab) == "none"
    confirmed = closes()
    lab.apply(confirmed)
    soon("a closed port", lambda: reached(lab, "world", CLOSED) is False)
    assert host(lab)["policies"] == ["host"] and confirm(lab).returncode == 0
    lab.kubectl("delete", "cnp", "--all")
    soon("an open node", lambda: state(lab) == "none")
    lab.apply(confirmed)
    soon("what is known", lambda: state(lab) == "confirmed")
    assert reached(lab, "world", CLOSED) is False


def test_P11_a_connection_is_cut_by_the_next_packet(lab):
    lab.apply(host_policy("nodes-from", anybody("Accept")))
    soon("the node as an endpoint", lambda: state(lab) == "trial")
    assert confirm(lab).returncode == 0
    talker = lab.popen("world", PYTHON, "-c", TALK, lab.nodes["n1"][0], stdout=-1)
    assert talker.stdout.readline() == "go\n"
    lab.apply(closes())
    assert talker.communicate(timeout=TRIAL_S + 10)[0] == "cut\n"


# One node, which speaks with no other: of what is left SPANNING has every pair.
@pytest.mark.parametrize("combo", params(SPANNING[:1], SPANNING))
def test_P11_a_boot_closes_the_node_before_the_api_answers(tmp_path, combo):
    """And the API's first answer opens nothing: nothing of it ever passes, while it is silent, as it speaks, and afterwards."""
    way = options(combo, "dual")
    with Lab(nodes=1, **{**way, "set": way["set"] + ["policy.host=on", "mesh.dir=%s" % tmp_path]}) as lab:
        with_addresses(lab)
        lab.apply(closes())
        soon("a trial", lambda: state(lab) == "trial" and host(lab)["apiReached"])
        assert confirm(lab).returncode == 0
        soon("what is kept for it", (tmp_path / "host-cluster.json").exists)
        lab.weft("node", "stop", "n1")
        with held_still(lab, "hub"):
            booting = subprocess.Popen([WEFT, "lab", "node", "start", "n1", "--name", lab.name], stdout=subprocess.DEVNULL)
            soon("what was confirmed", lambda: "in force as the record says" in lab.logs_of("n1"))
            server = lab.popen("n1", PYTHON, "-c", SERVER, ",".join(lab.nodes["n1"]), OPEN, CLOSED, FAILSAFE, stdin=-1, stdout=-1)
            assert server.stdout.readline() == "ready\n"
            probers = [lab.popen("world", PYTHON, "-c", PROBER, lab.nodes["n1"][0], port, 2, stdout=-1) for port in (OPEN, CLOSED)]
            answered(lab, "world", OPEN)
            answered(lab, "world", FAILSAFE)
            assert reached(lab, "world", CLOSED) is False
            assert booting.poll() is None, "the API has not answered"
        soon("the API's answer", lambda: booting.poll() is not None)
        assert booting.returncode == 0 and state(lab) == "confirmed"
        assert reached(lab, "world", CLOSED) is False
        heard = [int(p.communicate(timeout=60)[0].split()[-1]) for p in probers]
        assert heard[0] > 0 and heard[1] == 0, heard
        lab.kubectl("delete", "cnp", "--all")
        answered(lab, "world", CLOSED)
        server.communicate()
