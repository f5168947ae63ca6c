# SPDX-License-Identifier: Apache-2.0
"""Services with real clients: sockets of pods and of nodes, raw packets, both families, in every way the datapath is set up."""

import json
import os
import subprocess
import time

import capture
import combos
import pytest
from labs import FULL, HELPERS, WEFT, Lab, end, pod, running, wait_for

ASK = r"""
import socket, sys
kind, vip, port, n = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
family = socket.AF_INET6 if ':' in vip or kind.endswith('mapped') else socket.AF_INET
where = '::ffff:' + vip if kind.endswith('mapped') else vip
for i in range(n):
    s = socket.socket(family, socket.SOCK_STREAM if kind.startswith('tcp') else socket.SOCK_DGRAM)
    s.settimeout(10)
    if kind == 'udp':
        s.sendto(b'q\n', (where, port))
        answer, peer = s.recvfrom(400)
    else:
        s.connect((where, port))
        s.send(b'q\n')
        answer, peer = s.recv(400), s.getpeername()
    print(peer[0].replace('::ffff:', ''), peer[1], answer.decode().strip())
"""

# A client that a socket program never sees: the packet is written by hand. It prints who answered, and from which address.
RAW = r"""
import socket, struct, sys
vip, port, own = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def checksum(b):
    s = sum(struct.unpack('!%dH' % (len(b) // 2), b))
    while s >> 16: s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
s.settimeout(10)
body = b'raw\n'
udp = struct.pack('!HHHH', 4242, port, 8 + len(body), 0)
pseudo = socket.inet_aton(own) + socket.inet_aton(vip) + struct.pack('!BBH', 0, 17, 8 + len(body))
udp = udp[:6] + struct.pack('!H', checksum(pseudo + udp + body))
hidden = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
hidden.bind((own, 4242))
hidden.settimeout(10)
s.sendto(udp + body, (vip, 0))
answer, peer = hidden.recvfrom(400)
print(peer[0], peer[1], answer.decode().strip())
"""


def service(name, app, **spec):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {
        "selector": {"app": app}, "ipFamilyPolicy": "RequireDualStack", "ports": [
            {"name": "http", "port": 80, "targetPort": 8080}, {"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP"}], **spec}}


def server(name, app, node, **kw):
    p = pod(name, node=node, labels={"app": app}, **kw)
    p["spec"]["containers"][0]["ports"].append({"containerPort": 5353, "protocol": "UDP"})
    return p


@pytest.fixture(scope="module", params=combos.params() if FULL else combos.params()[:2])
def lab(request):
    with Lab(nodes=2, **combos.options(request.param, "dual")) as lab:
        lab.apply(server("w1", "web", "n1"), server("w2", "web", "n2"), server("me", "self", "n1"), pod("c", node="n1"),
                  service("web", "web"), service("self", "self"), service("empty", "nobody"),
                  service("near", "far", internalTrafficPolicy="Local"), server("far", "far", "n2"))
        lab.wait_ready()
        for name, n in (("web", 2), ("self", 1), ("near", 1), ("empty", 0)):
            wait_for("n1 and n2 know " + name, lambda: all(known(lab, node, name, n) for node in ("n1", "n2")))
        yield lab


def known(lab, node, name, n):
    done = lab.exec(node, WEFT, "service", "show", name, "-o", "json", check=False)
    return done.returncode == 0 and all(sum(e["inCluster"] for e in p["endpoints"]) == n for p in json.loads(done.stdout)["ports"])


def addresses(lab, name):
    return json.loads(lab.kubectl("get", "svc", name, "-o", "json").stdout)["spec"]["clusterIPs"]


def ask(lab, who, kind, vip, port, n=1):
    """[(peer address, peer port, answer)]"""
    out = lab.exec(who, "python3", "-c", ASK, kind, vip, port, n).stdout
    return [(a, int(p), json.loads(rest)) for a, p, rest in (line.split(" ", 2) for line in out.splitlines())]


@pytest.mark.parametrize("kind", ["tcp", "udp", "udp-connected", "tcp-mapped", "udp-connected-mapped"])
@pytest.mark.parametrize("who", ["default/c", "n1"])
def test_SVC_1_every_kind_of_socket(lab, who, kind):
    port = 80 if kind.startswith("tcp") else 53
    own = set(next(p for p in lab.status()["pods"] if p["name"] == "c")["ips"])
    for vip in addresses(lab, "web")[:1 if kind.endswith("mapped") else 2]:
        seen = set()
        for peer, peer_port, answer in ask(lab, who, kind, vip, port, 20):
            assert (peer, peer_port) == (vip, port), "the client knows the Service's address only"
            seen.add(answer["pod"])
            if who != "n1":
                assert answer["client"].rsplit(":", 1)[0].strip("[]") in own, "the endpoint sees the pod's own address"
        assert seen == {"w1", "w2"}


# INIT to a Service, made by hand (this kernel has no SCTP). It prints who answers, from which port, and whether the checksum is true.
ASK_SCTP = r"""
import socket, struct, sys
def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8): crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff
where, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
v6 = ':' in where
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP)
s.settimeout(10)
for i in range(n):
    tag = 4711 + i
    init = struct.pack('!HHII', 30000 + i, port, 0, 0) + struct.pack('!BBHIIHHI', 1, 0, 20, tag, 65536, 1, 1, 1)
    s.sendto(init[:8] + struct.pack('<I', crc32c(init)) + init[12:], (where, 0))
    while True:
        answer, peer = s.recvfrom(400)
        p = answer if v6 else answer[4 * (answer[0] & 15):]
        if len(p) > 12 and p[12] == 2 and struct.unpack('!I', p[4:8])[0] == tag: break
    sport, dport, _, crc = struct.unpack('!HHI', p[:8]) + struct.unpack('<I', p[8:12])
    print(peer[0], sport, dport - i, crc32c(p[:8] + bytes(4) + p[12:]) == crc)
"""


def test_SVC_4_sctp(lab):
    """Its ports are translated like others, from pods and from outside, to an endpoint here and on another node."""
    lab.apply(service("sctp", "web", type="NodePort", ports=[{"port": 5000, "targetPort": 5001, "protocol": "SCTP"}]))
    wait_for("two endpoints", lambda: all(known(lab, n, "sctp", 2) for n in ("n1", "n2")))
    port = json.loads(lab.kubectl("get", "svc", "sctp", "-o", "json").stdout)["spec"]["ports"][0]["nodePort"]
    outside = next(n for n in lab.status()["nodes"] if n["name"] == "n1")["addresses"]
    serve = os.path.join(HELPERS, "lab-sctp")
    with running(lab, "default/w1", serve, 5001, says="ready"), running(lab, "default/w2", serve, 5001, says="ready"):
        for who, to in [("default/c", (a, 5000)) for a in addresses(lab, "sctp")] + [("world", (a, port)) for a in outside]:
            got = lab.exec(who, "python3", "-c", ASK_SCTP, *to, 12).stdout.splitlines()
            assert got == 12 * ["%s %d 30000 True" % to], (who, to, got)
    lab.kubectl("delete", "svc", "sctp")


def test_SVC_4_packets_to_another_nodes_node_port(lab):
    """Connected UDP of a pod is translated packet by packet, also where a tunnel leads to the other node."""
    lab.apply(service("ports", "web", type="NodePort"))
    wait_for("two endpoints", lambda: known(lab, "n1", "ports", 2))
    port = json.loads(lab.kubectl("get", "svc", "ports", "-o", "json").stdout)["spec"]["ports"][1]["nodePort"]
    other = next(n for n in lab.status()["nodes"] if n["name"] == "n2")["addresses"]
    for address in other:
        answers = ask(lab, "default/c", "udp-connected", address, port, 20)
        assert {(a, p) for a, p, _ in answers} == {(address, port)} and {a["pod"] for _, _, a in answers} == {"w1", "w2"}
    lab.kubectl("delete", "svc", "ports")


def test_curl_finds_both_endpoints(lab):
    for who in ("default/c", "n1", "n2"):
        for vip in addresses(lab, "web"):
            url = "http://[%s]/" % vip if ":" in vip else "http://%s/" % vip
            assert json.loads(lab.exec(who, "curl", "-sS", "-g", "-m", 10, url).stdout)["pod"] in ("w1", "w2")


@pytest.mark.parametrize("kind", ["tcp", "udp-connected"])
def test_SVC_40_a_pod_reaches_itself(lab, kind):
    for vip in addresses(lab, "self"):
        for peer, _, answer in ask(lab, "default/me", kind, vip, 80 if kind == "tcp" else 53, 3):
            assert answer["pod"] == "me" and peer == vip
            assert answer["client"].rsplit(":", 1)[0].strip("[]") != answer["server"].rsplit(":", 1)[0].strip("[]")


def test_raw_packets_are_served_as_well(lab):
    own = next(p for p in lab.status()["pods"] if p["name"] == "c")["ips"][0]
    vip = addresses(lab, "web")[0]
    out = lab.exec("default/c", "python3", "-c", RAW, vip, 53, own).stdout.split(" ", 2)
    assert out[:2] == [vip, "53"] and json.loads(out[2])["pod"] in ("w1", "w2")


# One port of a client, one endpoint, three ways: translated at the socket, packet by packet, not at all. It prints who is said to answer.
SAME_PORT = r"""
import socket, sys
vip, direct, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ':' in vip else socket.AF_INET
def ask(where, connected):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.bind(('', port))
        s.settimeout(10)
        for _ in range(3): # the third is one of a conversation
            if connected:
                s.connect(where)
                s.send(b'q')
            else:
                s.sendto(b'q', where)
            print(s.recvfrom(400)[1][0])
for connected in (False, True, False, True):
    ask((vip, 53), connected)
ask((direct, 5353), True)
ask((vip, 53), True)
"""


@pytest.mark.parametrize("server", ["me", "far"])
def test_SVC_47_a_port_is_used_again_another_way(lab, server):
    """What is known of a flow is known of two addresses and ports: the same ones may be translated next time, or no more."""
    lab.apply(service("again", {"me": "self", "far": "far"}[server]))
    wait_for("one endpoint", lambda: known(lab, "n1", "again", 1))
    direct = next(p for p in lab.status()["pods"] if p["name"] == server)["ips"]
    for vip in addresses(lab, "again"):
        own = next(a for a in direct if (":" in a) == (":" in vip))
        heard = lab.exec("default/c", "python3", "-c", SAME_PORT, vip, own, 4747).stdout.split()
        assert heard == 12 * [vip] + 3 * [own] + 3 * [vip], heard
    lab.kubectl("delete", "svc", "again")


def fails(lab, who, vip, port, limit=10):
    done = lab.exec(who, "curl", "-sS", "-g", "-m", limit, "http://[%s]:%d/" % (vip, port) if ":" in vip else "http://%s:%d/" % (vip, port), check=False)
    return done.returncode


@pytest.mark.parametrize("who", ["default/c", "n1"])
def test_SVC_8_19_nobody_serves(lab, who):
    refused, timed_out = 7, 28
    for vip in addresses(lab, "empty"):
        assert fails(lab, who, vip, 80) == refused
    for vip in addresses(lab, "web"):
        assert fails(lab, who, vip, 81) == refused, "a port that the Service has not"
    for vip in addresses(lab, "near"):
        assert fails(lab, who, vip, 80, 2) == timed_out, "policy Local, nobody here: dropped"
        assert fails(lab, "n2", vip, 80) == 0


@pytest.mark.parametrize("who", ["default/c", "default/me"])
def test_SVC_45_a_cluster_address_answers_pings(lab, who):
    for vip in addresses(lab, "web") + addresses(lab, "empty"):
        for size in (56, 1200):
            done = lab.exec(who, "ping", "-n", "-c", 2, "-i", "0.1", "-W", 5, "-s", size, vip, check=False)
            assert done.returncode == 0 and "2 received" in done.stdout, done.stdout


def test_NP_3_a_ping_of_a_cluster_address_is_egress(lab):
    """Of the address itself, as no endpoint gets it; and `weft why` says so."""
    def pings(vip):
        return lab.exec("default/me", "ping", "-n", "-c", 1, "-W", 1, vip, check=False).returncode == 0

    def verdict(vip):
        return json.loads(lab.exec("n1", WEFT, "why", "-o", "json", "default/me", vip, check=False).stdout)["verdict"]

    four, six = sorted(addresses(lab, "web"), key=lambda a: ":" in a)
    assert verdict(four) == verdict(six) == "delivered"
    lab.apply({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "no-egress"}, "spec": {
        "podSelector": {"matchLabels": {"app": "self"}}, "policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": four + "/32"}}]}]}})
    wait_for("the policy", lambda: not pings(six))
    wait_for("what it allows", lambda: pings(four))
    assert (verdict(four), verdict(six)) == ("delivered", "denied")
    lab.kubectl("delete", "networkpolicy", "no-egress")
    wait_for("none", lambda: pings(six))


def test_SVC_8_an_address_that_no_service_has_goes_nowhere(lab, tmp_path):
    """Told so at once, from inside and from outside, where the world leads the range to a node; from inside nothing leaves the node."""
    spare = ["10.96.99.99", "fd00:96::99"]
    node = next(n for n in lab.status()["nodes"] if n["name"] == "n1")["addresses"]
    program = ("import socket,sys,time\nb=time.monotonic()\n"
               "try: socket.create_connection((sys.argv[1],80),60)\n"
               "except OSError as e: print(errno.errorcode[e.errno], time.monotonic()-b < 30)\n")
    no_way = (["EHOSTUNREACH", "True"], ["ENETUNREACH", "True"])
    seen = capture.Capture(lab, tmp_path / "seen.pcap")
    try:
        for address in spare:
            for who in ("default/c", "n1"):
                assert lab.exec(who, "python3", "-c", "import errno\n" + program, address).stdout.split() in no_way, (who, address)
        assert not seen.lines("host %s or host %s" % tuple(spare))
        for address in spare: # the planted case: it does pass the fabric, and is answered
            via = next(a for a in node if (":" in a) == (":" in address))
            subprocess.run(lab.fabric("ip", "route", "replace", address, "via", via), check=True)
            assert lab.exec("world", "python3", "-c", "import errno\n" + program, address).stdout.split() in no_way, address
            wait_for("the planted packet", lambda: seen.lines("host " + address))
    finally:
        seen.stop()


REFUSED = r"""
import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect((sys.argv[1], int(sys.argv[2])))
for _ in range(3):
    try:
        s.send(b'q')
        s.recv(400)
    except ConnectionRefusedError:
        print('refused')
        break
    except TimeoutError:
        pass
"""


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_SVC_46_an_endpoints_errors_reach_the_client(lab, node):
    """The endpoint's port is closed: what its kernel says is about the endpoint; the client has asked the Service."""
    lab.apply(server("closed", "closed", node),
              service("closed", "closed", type="NodePort", ports=[{"port": 53, "targetPort": 9, "protocol": "UDP"}]))
    wait_for("an endpoint", lambda: known(lab, "n1", "closed", 1) and known(lab, "n2", "closed", 1))
    port = json.loads(lab.kubectl("get", "svc", "closed", "-o", "json").stdout)["spec"]["ports"][0]["nodePort"]
    outside = next(n for n in lab.status()["nodes"] if n["name"] == "n1")["addresses"]
    for who, where in [("default/c", (a, 53)) for a in addresses(lab, "closed")] + [("world", (a, port)) for a in outside]:
        done = lab.exec(who, "python3", "-c", REFUSED, *where)
        assert done.stdout == "refused\n", (who, where, done.stdout)
    lab.kubectl("delete", "pod/closed", "svc/closed", "--grace-period=1")


def test_SVC_21_a_connected_client_follows_its_endpoint(lab):
    """One socket that only ever calls connect() once: its server goes, another comes."""
    lab.apply(server("u1", "moving", "n2"), service("moving", "moving"))
    wait_for("one endpoint", lambda: known(lab, "n1", "moving", 1))
    script = ("import socket,time\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.connect(('%s',53))\ns.settimeout(.1)\n"
              "while True:\n try:\n  s.send(b'q')\n  print(s.recv(400).decode().strip(), flush=True)\n except OSError: pass\n time.sleep(.02)\n"
              % addresses(lab, "moving")[0])
    client = lab.popen("default/c", "python3", "-u", "-c", script, stdout=subprocess.PIPE)
    try:
        assert json.loads(client.stdout.readline())["pod"] == "u1"
        lab.apply(server("u2", "moving", "n1"))
        wait_for("two endpoints", lambda: known(lab, "n1", "moving", 2))
        lab.kubectl("delete", "pod", "u1", "--grace-period=1")
        end, follower = time.monotonic() + 60, ""
        while follower != "u2":
            follower = json.loads(client.stdout.readline())["pod"]
            assert time.monotonic() < end
    finally:
        client.kill()
        client.wait()


# Connected UDP as a resolver does it: what its socket is told makes it connect again. One line an answer: when, who, how many connects.
RECONNECTS = r"""
import json, socket, sys, time
family, connects, s = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, 0, None
while True:
    try:
        if not s:
            s = socket.socket(family, socket.SOCK_DGRAM)
            s.settimeout(.1)
            s.connect((sys.argv[1], int(sys.argv[2])))
            connects += 1
        s.send(b'q')
        print(time.monotonic(), json.loads(s.recv(400))['pod'], connects, flush=True)
    except TimeoutError:
        pass
    except OSError:
        s = None
    time.sleep(.02)
"""


def follow(client, old, new):
    """Reads a client until the new one answers: before it only the old one has, and one more connect() was enough. Prints how long nobody
    answered (docs/services.md says within a second; a machine that stands still takes longer). Returns when the new one answered first."""
    last, limit = time.monotonic(), time.monotonic() + 60
    while True:
        when, who, connects = client.stdout.readline().split()
        assert who in (old, new) and connects == ("2" if who == new else "1"), (who, connects)
        if who == new:
            print("nobody answered for %.0f ms" % (1000 * (float(when) - last)))
            return float(when)
        last = float(when)
        assert last < limit, "%s still answers" % old


def needs_aborts(lab):
    """For tests of sockets that are aborted: not every kernel lets anybody look at its sockets so."""
    if not lab.node_status("n1")["services"]["abortsSockets"]:
        pytest.skip("this kernel loads no BPF iterator over sockets")


def test_SVC_21_the_nodes_own_sockets_follow(lab):
    """Connected at the socket, they send past each of our programs: what has lost its endpoint is aborted, and nothing beside it."""
    needs_aborts(lab)
    lab.apply(server("v1", "leaving", "n2"), server("stays", "stays", "n2"), service("leaving", "leaving"), service("stays", "stays"))
    wait_for("the endpoints", lambda: known(lab, "n1", "leaving", 1) and known(lab, "n1", "stays", 1))
    direct = next(p for p in lab.status()["pods"] if p["name"] == "v1")["ips"]
    meant = [(a, 53) for a in addresses(lab, "leaving")]
    others = [(addresses(lab, "stays")[0], 53), (direct[0], 5353)] # another Service's; the same endpoint by its own address
    clients = [lab.popen("n1", "python3", "-u", "-c", RECONNECTS, *where, stdout=subprocess.PIPE) for where in meant + others]
    try:
        answers = [client.stdout.readline().split() for client in clients]
        assert [a[1:] for a in answers] == [["v1", "1"], ["v1", "1"], ["stays", "1"], ["v1", "1"]], answers
        before = lab.node_status("n1")["services"]["aborted"]
        lab.apply(server("v2", "leaving", "n1"))
        wait_for("two endpoints", lambda: known(lab, "n1", "leaving", 2))
        lab.kubectl("delete", "pod", "v1", "--grace-period=20", "--wait=false")
        last = max(follow(client, "v1", "v2") for client in clients[:2])
        wait_for("it was we who made them follow", lambda: lab.node_status("n1")["services"]["aborted"] - before == 2)
        for client, who in zip(clients[2:], ("stays", "v1")):
            when = 0
            while when < last + .2: # beyond the instant at which the others were aborted
                when, *answer = client.stdout.readline().split()
                when = float(when)
                assert answer == [who, "1"], "not meant, not touched"
    finally:
        for client in clients:
            client.kill()
            client.wait()
    lab.kubectl("delete", "pod/v1", "pod/v2", "pod/stays", "svc/leaving", "svc/stays", "--ignore-not-found", "--grace-period=1", "--wait=false")


def test_a_killed_agent_changes_nothing(lab):
    """kill -9: sockets are served on, and what comes back adopts what it finds."""
    vip = addresses(lab, "web")[0]
    for pid in lab.exec("n1", "pgrep", "-x", "weftd").stdout.split():
        lab.exec("n1", "kill", "-9", pid)
    assert {a["pod"] for _, _, a in ask(lab, "default/c", "tcp", vip, 80, 20)} == {"w1", "w2"}
    wait_for("the agent is back", lambda: known(lab, "n1", "web", 2))
    assert lab.node_status("n1")["services"]["writes"] == 0, "nothing had to be written"
    assert {a["pod"] for _, _, a in ask(lab, "default/c", "tcp", vip, 80, 20)} == {"w1", "w2"}


# Requests a second, and how many a connection. The client has a real-time priority in the full tier: there, the rate is asserted.
RATE, EACH = (5000, 20) if FULL else (500, 5)


def test_S7_a_rolling_update_loses_nothing(lab, capsys):
    """Twenty endpoints, five at a time, each serves until its grace period ends, under steady requests: none is lost."""
    n, step = 20, 5
    names = {age: ["%s%d" % (age, i) for i in range(n)] for age in ("old", "new")}
    servers = {age: [server(name, "roll", "n%d" % (i % 2 + 1), terminationGracePeriodSeconds=3) for i, name in enumerate(names[age])] for age in names}
    lab.apply(service("roll", "roll"), *servers["old"])
    wait_for("all old ones", lambda: known(lab, "n1", "roll", n))
    ask_all = [*(["chrt", "-f", "1"] if FULL else []), os.path.join(HELPERS, "lab-asks"), addresses(lab, "roll")[0]]
    with running(lab, "default/c", *ask_all, 81, 100, EACH, says="asking") as client: # the planted case: no such port
        got = end(client)
        assert got["lost"] == got["asked"] >= EACH and got["first_error"] == "ECONNREFUSED", got
    with running(lab, "default/c", *ask_all, 80, RATE, EACH, says="asking") as client:
        for i in range(0, n, step):
            lab.apply(*servers["new"][i:i + step])
            wait_for("more", lambda: known(lab, "n1", "roll", n + step))
            lab.kubectl("delete", "pod", *names["old"][i:i + step], "--wait=false")
            wait_for("as many as before", lambda: known(lab, "n1", "roll", n))
        wait_for("the old ones are gone", lambda: not [p for p in lab.status()["pods"] if p["name"].startswith("old")])
        got = end(client)
    pods = got.pop("pods")
    with capsys.disabled():
        print("\na rolling update of %d, %d requests/s asked for: %s" % (n, RATE, json.dumps(got)), flush=True)
    assert got["lost"] == 0 and got["answered"] == got["asked"] > 1000, got
    assert not FULL or got["rate"] >= 0.9 * RATE, got
    for age in names: # who answers is drawn by chance: one of twenty may have had no request before it went
        assert len(set(pods) & set(names[age])) >= n * 3 // 4, (age, pods)
    assert set(pods) <= set(names["old"] + names["new"]), pods
