# SPDX-License-Identifier: Apache-2.0
"""M4: a path that shrinks under a connection from outside to a node port. Who says "too big" knows the packet as it is there; its sender hears of
the packet as it sent it, whether it is a pod of the node that is asked, of another one (SNAT), or answers for that node (DSR), or the client."""

import contextlib
import json
import subprocess

import pytest
from combos import options, params_by_transport
from labs import Lab, pod, run, running, wait_for
from test_service_clients import known

NARROW = 1300  # towards the world
NARROWER = 1400  # between the nodes, and towards them
SIZE = 1 << 20
PORTS = {"snat": 30053, "dsr": 30054}

# "d": sends SIZE bytes, and as many again when it is told to; "u": takes them, and says so each time. Prints how large packets may be, at the end.
PMTU = "def pmtu(s): return struct.unpack_from('I', s.getsockopt(6, 11, 104), 60)[0]  # tcpi_pmtu\n"
SERVER = """
import json, socket, struct, threading
SIZE = %d
%s
def take(c):
    n = 0
    while n < SIZE:
        n += len(c.recv(1 << 20)) or SIZE
def serve(c):
    try:
        with c:
            what = c.recv(1)
            for told in (b"h", b"!"):
                if what == b"u":
                    take(c)
                    c.sendall(told)
                else:
                    c.sendall(bytes(SIZE))
                    c.recv(1)
            print(json.dumps(pmtu(c)), flush=True)
    except OSError:
        pass
s = socket.create_server(("::", 5300), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
""" % (SIZE, PMTU)
# Prints how large packets may be when half is done, waits for a line, and goes on; then what came of it.
CLIENT = """
import socket, struct, sys
SIZE = %d
%s
address, port, what = sys.argv[1:]
s = socket.create_connection((address, int(port)), 5)
s.settimeout(2)
s.sendall(what.encode())
def half():
    if what == "u":
        s.sendall(bytes(SIZE))
        return s.recv(1)
    n = 0
    while n < SIZE:
        n += len(s.recv(1 << 20)) or SIZE
try:
    half()
    print(pmtu(s), flush=True)
    sys.stdin.readline()
    if what == "d":
        s.sendall(b"g")
    half()
    print("done", pmtu(s))
    if what == "d":
        s.sendall(b"!")
except TimeoutError:
    print("stalled")
""" % (SIZE, PMTU)
SILENT = "table inet silent { chain c { type filter hook output priority 0; icmp type destination-unreachable icmp code 4 counter drop; icmpv6 type packet-too-big counter drop; }; }"


def service(forwarding):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": forwarding, "annotations": {"weft.dev/service.forwarding": forwarding}},
            "spec": {"type": "NodePort", "selector": {"app": "b"}, "ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 5300, "nodePort": PORTS[forwarding]}]}}


@pytest.fixture(scope="module", params=params_by_transport("vxlan", "direct"))
def lab(request):
    with Lab(nodes=2, **options(request.param, "dual")) as lab:
        lab.apply(pod("b", node="n2", labels={"app": "b"}), *map(service, PORTS))
        lab.wait_ready()
        wait_for("both know the Services", lambda: all(known(lab, node, name, 1) for node in ("n1", "n2") for name in PORTS))
        if request.param[0] == "auto":  # then nothing changes by itself
            wait_for("the plain way is proven", lambda: {p["transport"] for n in ("n1", "n2") for p in lab.node_status(n)["peers"]} == {"direct"})
        lab.nodes = {n["name"]: n["addresses"] for n in lab.status()["nodes"]}
        yield lab


@pytest.fixture
def server(lab):
    with running(lab, "default/b", "/usr/bin/python3", "-c", SERVER, says="listening") as server:
        yield server


@contextlib.contextmanager
def narrow_world(lab):
    run(*lab.fabric("ip", "link", "set", "world", "mtu", NARROW))
    try:
        yield
    finally:
        run(*lab.fabric("ip", "link", "set", "world", "mtu", "1500"))


@contextlib.contextmanager
def narrow_nodes(lab):
    def width(mtu):
        for node in lab.nodes:
            lab.exec(node, "ip", "link", "set", "eth0", "mtu", mtu)
            run(*lab.fabric("ip", "link", "set", node, "mtu", mtu))
            wait_for("the node's MTU follows", lambda: lab.node_status(node)["mtu"]["device"] == mtu)
    width(NARROWER)
    try:
        yield
    finally:
        width(1500)


def forget(lab):
    """What was learned of paths before."""
    for where in ("default/b", "world", *lab.nodes):
        for family in ("-4", "-6"):
            lab.exec(where, "ip", family, "route", "flush", "cache")
    for family in ("-4", "-6"):
        run(*lab.fabric("ip", family, "route", "flush", "cache"))


def transfer(lab, address, port, what, narrow):
    """Half of it, and the other half while the path is narrow. Returns how large packets might be of the client at half, and what became of it."""
    forget(lab)
    client = lab.popen("world", "/usr/bin/python3", "-c", CLIENT, address, port, what, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        first = int(client.stdout.readline())
        with narrow(lab):
            return first, client.communicate("go\n", timeout=60)[0].split()
    finally:
        client.kill()
        client.wait()


WAYS = [("n1", "snat"), ("n1", "dsr"), ("n2", "snat")]  # the pod is on n2
IDS = ["elsewhere", "elsewhere-dsr", "here"]


@pytest.mark.parametrize("node, forwarding", WAYS, ids=IDS)
def test_M4_the_pod_hears_that_the_way_to_the_client_is_narrow(lab, server, node, forwarding):
    for address in lab.nodes[node]:
        assert transfer(lab, address, PORTS[forwarding], "d", narrow_world)[1][0] == "done", address
        assert json.loads(server.stdout.readline()) == NARROW, address


def test_M4_it_stalls_where_nobody_says_so(lab, server):
    run(*lab.fabric("nft", SILENT))
    try:
        for address in lab.nodes["n1"]:
            assert transfer(lab, address, PORTS["snat"], "d", narrow_world)[1] == ["stalled"], address
    finally:
        run(*lab.fabric("nft", "delete", "table", "inet", "silent"))


@pytest.mark.parametrize("forwarding", PORTS)
def test_M4_the_client_hears_that_the_way_to_the_pod_is_narrow(lab, server, forwarding):
    """Where there is a tunnel, of the node that it asks."""
    for address in lab.nodes["n1"]:
        seen = []

        @contextlib.contextmanager
        def narrow(lab):
            with narrow_nodes(lab):
                seen.append(lab.node_status("n1")["peers"][0]["mtu"])
                yield

        whole = lab.node_status("n1")["peers"][0]["mtu"]
        first, (result, last) = transfer(lab, address, PORTS[forwarding], "u", narrow)
        assert result == "done" and int(last) == seen[0] < min(first, whole), (address, first, result, last, whole, seen)
