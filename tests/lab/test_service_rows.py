# SPDX-License-Identifier: Apache-2.0
"""Rows of the table of Services (docs/services.md) as real clients see them: who is chosen, who stays, who may come, and by which address."""

import json
import subprocess

import pytest
from capture import bridge
from scapy.all import IP, UDP, Ether, IPv6, Raw
from combos import SPANNING, options, params
from labs import WEFT, Lab, pod, wait_for
from wire import Wire

EXTERNAL = ["172.30.0.230", "fd30::230"]
POOL = {"apiVersion": "weft.dev/v1alpha1", "kind": "LoadBalancerPool", "metadata": {"name": "world"},
        "spec": {"addresses": ["172.30.0.200-172.30.0.210", "fd30::200-fd30::210"]}}
ASK = r"""
import socket, sys, json, collections
host, port, n, own = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
seen = collections.Counter()
for i in range(n):
    s = socket.create_connection((host, port), 10, ('::' if ':' in host else '0.0.0.0', own))
    s.send(b'q\n')
    seen[json.loads(s.recv(400))['pod']] += 1
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
    s.close()
print(json.dumps(seen))
"""
TWO_NAMES = r"""
import socket, sys, json
port, asked = int(sys.argv[1]), []
for host, to in zip(sys.argv[2::2], sys.argv[3::2]):
    s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.settimeout(10)
    s.bind(('', port))
    s.connect((host, int(to)))
    asked.append(s)
for s in asked * 3:
    s.send(b'q\n')
    print(json.loads(s.recv(400))['pod'])
"""

ONE_SOCKET = r"""
import socket, sys
asked = sys.argv[1:]
s = socket.socket(socket.AF_INET6 if ':' in asked[0] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
for i in range(3):
    for host in asked:
        s.sendto(b'q', (host, 80))
    heard = [s.recvfrom(500)[1][0] for host in asked]
    assert sorted(heard) == sorted(asked), (heard, asked)
print('ok')
"""


def service(name, **spec):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {
        "selector": {"app": name}, "ipFamilyPolicy": "RequireDualStack", "ports": [{"name": "http", "port": 80, "targetPort": 8080}], **spec}}


def server(name, app, node, **spec):
    return pod(name, node=node, labels={"app": app}, **spec)


@pytest.fixture(scope="module", params=params(SPANNING[:2]))
def lab(request):
    way = options(request.param, "dual")
    with Lab(nodes=2, zones=2, **{**way, "set": way["set"] + ["service.externalIPs=on", "service.announce=all"]}) as lab:
        lab.nodes = {n["name"]: n["addresses"] for n in lab.status()["nodes"]}
        lab.world = lab.status()["world"]["addresses"]
        lab.apply(POOL, pod("c", node="n1"), server("w1", "web", "n1"), server("w2", "web", "n2"), server("one", "one", "n1"),
                  service("web", externalIPs=EXTERNAL, type="NodePort"), service("one", type="NodePort"))
        lab.wait_ready()
        wait_for("two endpoints", lambda: set(ask(lab, "default/c", vips(lab, "web")[0], 80, 8)) == {"w1", "w2"})
        yield lab


def get(lab, name):
    return json.loads(lab.kubectl("get", "svc", name, "-o", "json").stdout)


def vips(lab, name):
    return get(lab, name)["spec"]["clusterIPs"]


def node_port(lab, name):
    return get(lab, name)["spec"]["ports"][0]["nodePort"]


def ask(lab, who, address, port=80, n=20, own=0):
    """pod → how many answers; {} when not all came"""
    done = lab.exec(who, "python3", "-c", ASK, address, port, n, own, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {}


def curl(lab, who, address, port=80, limit=5):
    """curl's exit code: 0 an answer, 7 refused or unreachable, 28 none."""
    host = "[%s]" % address if ":" in address else address
    return lab.exec(who, "curl", "-s", "-g", "-m", limit, "http://%s:%d/" % (host, port), check=False).returncode


def test_SVC_6_external_addresses(lab):
    for address in EXTERNAL:
        for who in ("world", "default/c", "n2"):
            wait_for("%s is served to %s" % (address, who), lambda: set(ask(lab, who, address)) == {"w1", "w2"})


def test_one_node_and_one_family():
    """A cluster of one node, IPv6 alone, by the kernel's stack: there is nobody else to lead to, or to hide it if something needs one."""
    with Lab(nodes=1, family="ipv6", transport="direct", set=["datapath.fastPath=off"]) as lab:
        balanced = {"ipFamilyPolicy": "SingleStack", "type": "LoadBalancer"}
        lab.apply({**POOL, "spec": {"addresses": ["fd30::200-fd30::210"]}}, pod("c", node="n1"), server("w1", "web", "n1"), server("w2", "web", "n1"),
                  service("web", **balanced), service("kept", selector={"app": "web"}, externalTrafficPolicy="Local", **balanced))
        lab.wait_ready()
        nodes = lab.status()["nodes"][0]["addresses"]
        for name in ("web", "kept"):
            given = wait_for("an address", lambda: [i["ip"] for i in get(lab, name)["status"]["loadBalancer"].get("ingress", [])])
            asked = [(who, vips(lab, name)[0], 80) for who in ("default/c", "default/w1", "n1")]
            asked += [(who, address, port) for who in ("world", "default/c", "n1") for address, port in [(a, node_port(lab, name)) for a in nodes] + [(given[0], 80)]]
            for who, address, port in asked:
                assert ":" in address
                wait_for("%s of %s is served to %s" % (address, name, who), lambda: set(ask(lab, who, address, port)) == {"w1", "w2"})


def test_SVC_14_who_terminates_serves_as_long_as_nobody_else_is_there(lab):
    lab.apply(service("term"), server("t1", "term", "n2", terminationGracePeriodSeconds=60))
    vip = vips(lab, "term")[0]
    wait_for("t1 serves", lambda: ask(lab, "default/c", vip, n=1))
    lab.kubectl("delete", "pod", "t1", "--wait=false")
    slices = ("get", "endpointslices", "-l", "kubernetes.io/service-name=term", "-o", "json")
    wait_for("it terminates", lambda: all(e["conditions"]["terminating"] for s in json.loads(lab.kubectl(*slices).stdout)["items"] for e in s["endpoints"]))
    assert set(ask(lab, "default/c", vip)) == {"t1"}
    lab.apply(server("t2", "term", "n1"))
    wait_for("only the ready one", lambda: set(ask(lab, "default/c", vip)) == {"t2"})
    lab.kubectl("delete", "pod", "t1", "--force", "--grace-period=0")


def test_SVC_15_hints_keep_traffic_in_its_zone(lab):
    lab.apply(service("hints", trafficDistribution="PreferClose"), server("h1", "hints", "n1"), server("h2", "hints", "n2"))
    vip = vips(lab, "hints")[0]
    for who, near in (("default/c", "h1"), ("n2", "h2")):
        wait_for("%s speaks to %s only" % (who, near), lambda: set(ask(lab, who, vip)) == {near})


@pytest.mark.parametrize("who", ["default/c", "world"])
def test_SVC_18_affinity(lab, who):
    """The same endpoint, also when another one comes; a new one when it goes."""
    name = "sticky-" + who[-1]
    lab.apply(service(name, sessionAffinity="ClientIP", type="NodePort"), server(name + "1", name, "n1"), server(name + "2", name, "n2"))
    address, port = (vips(lab, name)[0], 80) if who != "world" else (lab.nodes["n1"][0], node_port(lab, name))
    wait_for("both are known", lambda: set(ask(lab, "n2", vips(lab, name)[0], n=1)) and len(json.loads(lab.kubectl(
        "get", "endpointslices", "-l", "kubernetes.io/service-name=" + name, "-o", "json").stdout)["items"][0]["endpoints"]) == 2)
    first = wait_for("an answer", lambda: ask(lab, who, address, port))
    assert len(first) == 1
    lab.apply(server(name + "3", name, "n1"))
    wait_for("a third one", lambda: len(shown(lab, name)) == 3)
    assert set(ask(lab, who, address, port)) == set(first)
    lab.kubectl("delete", "pod", *first, "--grace-period=1")
    second = wait_for("another one", lambda: ask(lab, who, address, port))
    assert len(second) == 1 and set(second) != set(first)


def shown(lab, name):
    done = lab.exec("n1", WEFT, "service", "show", name, "-o", "json", check=False)
    if done.returncode:
        return []
    return [e for e in json.loads(done.stdout)["ports"][0]["endpoints"] if e["inCluster"]]


# Entries of n1's maps of Services. One that has too many stays; one that was changed is put back within a second, so it is looked at meanwhile.
SPOIL = r"""
import glob, json, struct, subprocess, sys
def bpftool(*args):
    return subprocess.run(['bpftool', '-j', 'map', *map(str, args)], check=True, capture_output=True, text=True).stdout
def pinned(name):
    return ['pinned', *glob.glob('/sys/fs/bpf/weft/v*/maps/service_' + name)]
def entries(name, where, service):
    for e in json.loads(bpftool('dump', *pinned(name))):
        key, value = (bytes(int(b, 16) for b in e[w]) for w in ('key', 'value'))
        if struct.unpack_from('=I', (key, value)[where != 'key'], 4 if where == 'key' else where)[0] == service:
            return key, value
def put(name, key, value):
    bpftool('update', *pinned(name), 'key', *key, 'value', *value)
def show():
    return subprocess.run([sys.argv[1], 'service', 'show', 'spoiled'], capture_output=True, text=True)
vip = bytes(10) + b'\xff\xff' + bytes(map(int, sys.argv[2].split('.')))
def frontend():
    for e in json.loads(bpftool('dump', *pinned('frontends'))):
        key, value = (bytes(int(b, 16) for b in e[w]) for w in ('key', 'value'))
        if key[:18] == vip + b'\0P': return key, value
key, value = frontend()
service, set_ = struct.unpack_from('=II', value)
assert show().returncode == 0, show().stdout
told = []
def seen(what, text):
    for i in range(100):
        what()
        done = show()
        if text in done.stdout:
            assert done.returncode == 1
            return told.append(text)
    sys.exit('%s is not told: %s' % (text, done.stdout))
seen(lambda: put('frontends', key, value[:12] + struct.pack('=I', 77) + value[16:]), 'DIFFERS: affinity, in ticks, is 77, not ')
seen(lambda: put('frontends', key, value[:16] + bytes([value[16] ^ 16]) + value[17:]), 'DIFFERS: flags is ')
chunk = struct.pack('=II', set_, 0)
slots = bytes(int(b, 16) for b in json.loads(bpftool('lookup', *pinned('slots'), 'key', *chunk))['value'])
seen(lambda: put('slots', chunk, slots[4:8] * 16), 'DIFFERS: slot ')
id_, backend = entries('backends', 24, service)
seen(lambda: put('backends', id_, backend[:19] + b'\0' + backend[20:]), 'roles is 0, not ')
seen(lambda: put('backends', id_, backend[:20] + b'\2' + backend[21:]), 'flags is 2, not ')
mine, yes = entries('sources', 'key', service)
seen(lambda: bpftool('delete', *pinned('sources'), 'key', *mine), 'DIFFERS: source range 10.244.0.0/16 is not in the kernel')
every = struct.pack('=II', 32, service) + bytes(16)
seen(lambda: put('sources', every, yes), 'DIFFERS: source range ::/0 is only in the kernel')
bpftool('delete', *pinned('sources'), 'key', *every)
print(len(told))
"""


def test_show_tells_what_the_maps_have_otherwise(lab):
    lab.apply(service("spoiled", type="LoadBalancer", sessionAffinity="ClientIP", loadBalancerSourceRanges=["10.244.0.0/16"]),
              server("spoiled1", "spoiled", "n1"), server("spoiled2", "spoiled", "n2"))
    wait_for("both are known", lambda: len(shown(lab, "spoiled")) == 2)
    assert lab.exec("n1", "python3", "-c", SPOIL, WEFT, vips(lab, "spoiled")[0]).stdout == "7\n"
    wait_for("all is as it should be", lambda: lab.exec("n1", WEFT, "service", "show", "spoiled", check=False).returncode == 0)


def test_SVC_20_connections_are_shared_evenly(lab):
    lab.apply(service("even"), *[server("e%d" % i, "even", "n%d" % (i % 2 + 1)) for i in range(3)])
    vip = vips(lab, "even")[0]
    wait_for("all three", lambda: len(ask(lab, "default/c", vip, n=30)) == 3)
    seen = ask(lab, "default/c", vip, n=300)
    assert sum((n - 100) ** 2 / 100 for n in seen.values()) < 20, seen # 1 of 20,000 fair draws is so uneven


def test_SVC_41_a_cluster_address_is_not_for_clients_outside(lab):
    """A router outside leads the range to a node: told so at once; the planted case beside it is a node port of the same Service."""
    for address in vips(lab, "one"):
        via = next(a for a in lab.nodes["n1"] if (":" in a) == (":" in address))
        assert curl(lab, "world", via, node_port(lab, "one")) == 0
        subprocess.run(lab.fabric("ip", "route", "replace", address, "via", via), check=True)
        assert curl(lab, "world", address, 80, 30) == 7


def test_SVC_42_source_ranges(lab):
    """The load balancer's address is for some only, and so it is from inside; whoever is in no range hears nothing.
    All of IPv6 says nothing about IPv4."""
    lab.apply(service("some", type="LoadBalancer", loadBalancerSourceRanges=["192.0.2.0/24", "::/0"]), server("s1", "some", "n1"))
    address = wait_for("an address", lambda: [i["ip"] for i in get(lab, "some")["status"]["loadBalancer"].get("ingress", []) if ":" not in i["ip"]])[0]
    wait_for("it is served", lambda: ask(lab, "n2", vips(lab, "some")[0], n=1))
    wait_for("outside hears nothing", lambda: curl(lab, "world", address, 80, 2) == 28)
    lab.kubectl("patch", "svc", "some", "-p", json.dumps({"spec": {"loadBalancerSourceRanges": [lab.world[0] + "/32"]}}))
    wait_for("the world may come", lambda: curl(lab, "world", address, 80, 2) == 0)
    assert curl(lab, "default/c", address, 80, 2) == 28, "a pod is in no range"
    assert curl(lab, "n1", address, 80, 2) == 28, "nor is a node"
    own = next(a for a in lab.nodes["n1"] if ":" not in a)
    many = ["10.1.%d.%d/32" % (i // 250, i % 250) for i in range(1000)] + [" %s/32 " % own] # upstream lets spaces stand
    lab.kubectl("patch", "svc", "some", "-p", json.dumps({"spec": {"loadBalancerSourceRanges": many}}))
    wait_for("the node may come, by its own address", lambda: curl(lab, "n1", address, 80, 2) == 0)
    assert curl(lab, "n2", address, 80, 2) == 28, "the other node may not"
    assert curl(lab, "world", address, 80, 2) == 28


def test_SVC_47_one_port_of_a_client_two_services_one_endpoint(lab):
    """Both connections are open at once, from the same address and port, and the endpoint tells them apart."""
    lab.apply({**service("other", type="NodePort", selector={"app": "one"})})
    ports = [node_port(lab, "one"), node_port(lab, "other")]
    for address in lab.nodes["n1"]:
        for port in ports:
            wait_for("a node port", lambda: curl(lab, "world", address, port) == 0)
        done = lab.exec("world", "python3", "-c", TWO_NAMES, 45678, address, ports[0], address, ports[1])
        assert done.stdout.split() == ["one"] * 6


MARK = b"weft-service-canary"
SOURCES = {"loopback": ("127.0.0.1", "::1"), "loopback-net": ("127.9.9.9", None), "any": ("0.0.0.0", "::"), "multicast": ("224.0.0.5", "ff02::5")}


def test_SVC_47_one_datagram_socket_asks_many_services(lab):
    """More than a socket remembers, and several with one endpoint: each answers by the address that was asked."""
    names = ["u%d" % i for i in range(6)]
    lab.apply(*(service(n, selector={"app": "one" if i < 3 else "web"}, ports=[{"port": 80, "targetPort": 8080, "protocol": "UDP"}]) for i, n in enumerate(names)))
    services = [vips(lab, n) for n in names]

    def ask_all(who, addresses):
        done = lab.exec(who, "python3", "-c", ONE_SOCKET, *addresses, check=False)
        return done.stdout.strip() or done.stderr.strip().split("\n")[-1]

    for family in range(2):
        asked = [v[family] for v in services]
        for a in asked[:1] + asked[3:]:
            wait_for("%s serves" % a, lambda: ask_all("default/c", [a]) == "ok")
        assert ask_all("default/c", asked) == "ok"
        assert ask_all("n1", asked[2:4]) == "ok", "a socket of the node's own"


def test_S10_nobody_outside_asks_as_the_node_itself(lab):
    """Frames of the LAN to a node port, from addresses that no client outside can have; and to loopback addresses. The same from a true one arrives."""
    lab.apply(service("canary", type="NodePort", selector={"app": "one"}, ports=[{"port": 53, "targetPort": 5353, "protocol": "UDP"}]))
    port = node_port(lab, "canary")
    wait_for("an endpoint", lambda: (lambda done: done.returncode == 0 and json.loads(done.stdout)["ports"][0]["endpoints"])(
        lab.exec("n1", "weft", "service", "show", "canary", "-o", "json", check=False)))
    uplink = lab.node_status("n1")["uplinks"][0]
    mac = json.loads(lab.exec("n1", "ip", "-j", "link", "show", uplink).stdout)[0]["address"]
    fabric, endpoint = Wire(lab, "fabric", bridge(lab), MARK), Wire(lab, "default/one", "eth0", MARK)

    def frame(src, dst):
        ip = IPv6(src=src, dst=dst) if ":" in src else IP(src=src, dst=dst)
        return Ether(src="02:00:00:00:00:77", dst=mac) / ip / UDP(sport=1000, dport=port) / Raw(MARK)
    try:
        for v in (0, 1):
            node = next(a for a in lab.nodes["n1"] if (":" in a) == bool(v))
            client = next(a for a in lab.world if (":" in a) == bool(v))
            bad = [frame(s[v], node) for s in SOURCES.values() if s[v]] + [frame(client, ("127.0.0.1", "::1")[v])]
            for f in bad:
                fabric.send([f] * 5 + [frame(client, node)])
                seen = [0]

                def arrived():
                    seen[0] += endpoint.seen()
                    return seen[0]
                wait_for("the true client's, behind the others", arrived, timeout=20)
                assert seen == [1], f.summary()
    finally:
        fabric.close()
        endpoint.close()

LISTEN = r"""
import select, socket
socks = [socket.socket(f, socket.SOCK_DGRAM) for f in (socket.AF_INET, socket.AF_INET6)]
for s, a in zip(socks, ('127.0.0.1', '::1')):
    s.bind((a, 9999))
print('ready', flush=True)
while True:
    for s in select.select(socks, [], [])[0]:
        print(s.recv(400).decode(), flush=True)
"""


def loopback_drops(lab):
    return next(d["packets"] for d in lab.node_status("n1")["drops"] if d["reason"] == "loopback")


def test_S10_loopback_of_the_node_is_not_reached(lab):
    """CVE-2020-8558: a kernel that lets loopback addresses in, as kube-proxy makes it, and something that listens there only. Frames
    of a pod and of the LAN for it are dropped, counted and told; what the node itself sends arrives behind them."""
    lab.exec("n1", "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    uplink = lab.node_status("n1")["uplinks"][0]
    mac = json.loads(lab.exec("n1", "ip", "-j", "link", "show", uplink).stdout)[0]["address"]
    pod_mac = json.loads(lab.exec("default/c", "ip", "-j", "link", "show", "eth0").stdout)[0]["address"]
    gateway = json.loads(lab.exec("default/c", "ip", "-j", "neigh", "show", "169.254.1.1").stdout)[0]["lladdr"]
    own = next(p for p in lab.status()["pods"] if p["name"] == "c")["ips"]
    fabric, inside = Wire(lab, "fabric", bridge(lab), MARK), Wire(lab, "default/c", "eth0", MARK)
    listener = lab.popen("n1", "python3", "-u", "-c", LISTEN, stdout=subprocess.PIPE)

    def frame(ether, src, dst, what):
        ip = IPv6(src=src, dst=dst) if ":" in src else IP(src=src, dst=dst)
        return ether / ip / UDP(sport=1000, dport=9999) / Raw(what)
    try:
        assert listener.stdout.readline() == "ready\n"
        before = loopback_drops(lab)
        for target in ("127.0.0.1", "::1"):
            same = lambda addresses: next(a for a in addresses if (":" in a) == (":" in target))
            inside.send([frame(Ether(src=pod_mac, dst=gateway), same(own), target, b"from a pod")] * 3)
            fabric.send([frame(Ether(src="02:00:00:00:00:77", dst=mac), same(lab.world), target, b"from the LAN")] * 3)
            fabric.send([frame(Ether(src="02:00:00:00:00:77", dst=mac), target, same(lab.nodes["n1"]), b"as the node")] * 3)
            wait_for("they are counted", lambda: loopback_drops(lab) >= before + 9)
            before += 9
            lab.exec("n1", "python3", "-c", "import socket,sys; socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, "
                     "socket.SOCK_DGRAM).sendto(b'own', (sys.argv[1], 9999))", target)
            assert listener.stdout.readline() == "own\n", target
        wait_for("it is told", lambda: [d for d in lab.node_status("n1")["recentDrops"] if d["reason"] == "loopback"])
    finally:
        listener.kill()
        listener.wait()
        fabric.close()
        inside.close()
        lab.exec("n1", "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=0")


def refusals(lab, name):
    items = json.loads(lab.kubectl("get", "events", "-o", "json").stdout)["items"]
    return [i["message"] for i in items if i["involvedObject"].get("name") == name and i["reason"] == "AddressRefused"]


def test_S9_addresses_that_somebody_has_are_not_to_be_had(lab):
    """The API server's: whoever took it would keep the agents from hearing that he is gone. And another one of a node's uplink, which only that node knows."""
    there = json.loads(lab.kubectl("get", "endpointslices", "kubernetes", "-o", "json").stdout)
    address, port = there["endpoints"][0]["addresses"][0], there["ports"][0]["port"]
    further, uplink = "172.30.0.231", lab.node_status("n2")["uplinks"][0]
    lab.exec("n2", "ip", "addr", "add", further + "/24", "dev", uplink)
    lab.apply(service("thief", selector={"app": "web"}, externalIPs=[address, further], ports=[{"name": "http", "port": port, "targetPort": 8080}]))
    for refused in ("external address %s, port %d: the API server has it" % (address, port), "external address %s: node n2 has it on an uplink" % further):
        wait_for("an Event about it", lambda: refused in refusals(lab, "thief"))
    for who in ("n1", "n2", "default/c"):
        got = lab.exec(who, "curl", "-sk", "-m", 10, "https://%s:%d/healthz" % (address, port), check=False)
        assert got.stdout == "ok", (who, got)
    assert curl(lab, "n2", further, port) == 7
    lab.kubectl("delete", "svc", "thief")
    lab.exec("n2", "ip", "addr", "del", further + "/24", "dev", uplink)


def test_S10_endpoints_at_loopback_and_link_local_addresses_are_refused(lab):
    """By the API as upstream's does it, or by the node, with an Event."""
    lab.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "metadata"}, "spec": {"ports": [{"port": 80}]}})
    for address in ("127.0.0.1", "169.254.169.254"):
        made = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "metadata-x", "labels": {
            "kubernetes.io/service-name": "metadata"}}, "addressType": "IPv4", "ports": [{"name": "", "port": 80}], "endpoints": [{"addresses": [address]}]}
        done = lab.kubectl("create", "-f", "-", input=json.dumps(made), check=False)
        assert done.returncode and address.split(".")[0] and ("loopback" in done.stderr or "link-local" in done.stderr), done.stdout + done.stderr
    assert curl(lab, "default/c", vips(lab, "metadata")[0]) == 7
