# SPDX-License-Identifier: Apache-2.0
"""M2: nobody ever hears "too big", and paths are narrower than the ends believe: with datapath.mssClamp TCP sends what fits at once."""

import itertools
import json
import subprocess

import pytest
from combos import ALL, OPPOSITES, name, options
from labs import FULL, Lab, pod, run, wait_for
from test_mtu import addresses, forget_route_mtu
from test_service_clients import known

NARROW = 1300  # between the node and the world; between the nodes vxlan takes 50 of the 1500
SIZE = 2 << 20

SERVER = """
import socket, threading
s = socket.create_server(("::", 5300), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
def serve(c):
    try:
        if c.recv(1) == b"d":
            c.sendall(bytes(%d))
        else:
            n = 0
            while n < %d:
                n += len(c.recv(1 << 20)) or %d
            c.sendall(b"!")
    except OSError:
        pass
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
""" % (SIZE, SIZE, SIZE)

# "d": gets so much; "u": sends it, and hears that it has arrived. Prints the seconds, or that it stands still for three.
CLIENT = """
import socket, sys, time
begun, address, port, what = time.monotonic(), *sys.argv[1:]
s = socket.create_connection((address, int(port)), 3)
s.sendall(what.encode())
try:
    if what == "u":
        s.sendall(bytes(%d))
        assert s.recv(1) == b"!"
    else:
        n = 0
        while n < %d:
            n += len(s.recv(1 << 20))
    print("%%.2f" %% (time.monotonic() - begun))
except TimeoutError:
    print("stalled")
""" % (SIZE, SIZE)

# A pod's own firewall, or a container within it that the answers do not reach; and a network that lets none through.
DEAF = "table inet deaf { chain c { type filter hook %s priority 0; icmp type destination-unreachable icmp code 4 counter drop; icmpv6 type packet-too-big counter drop; }; }"


def narrow_default(lab, node, family):
    """What an administrator says who knows of the narrow path."""
    words = lab.exec(node, "ip", family, "route", "show", "default").stdout.split("\n")[0].split()
    via, dev = words[words.index("via") + 1], words[words.index("dev") + 1]
    lab.exec(node, "ip", family, "route", "replace", *words[:words.index("via")], "via", via, "dev", dev, "mtu", "lock", NARROW)


def narrow_fabric(lab, address):
    """The router cuts nothing towards the node."""
    length = "128" if ":" in address else "32"
    got = run(*lab.fabric("ip", "route", "get", address)).stdout.split()
    run(*lab.fabric("ip", "route", "add", address + "/" + length, "dev", got[got.index("dev") + 1], "mtu", "lock", NARROW))


SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b"}, "spec": {
    "type": "NodePort", "selector": {"app": "b"}, "ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 5300, "nodePort": 30053}]}}


def prepare(lab):
    lab.apply(pod("a", node="n1"), pod("b", node="n2", labels={"app": "b"}), SERVICE)
    lab.wait_ready()
    wait_for("n1 and n2 know the Service", lambda: all(known(lab, node, "b", 1) for node in ("n1", "n2")))
    for name in "ab":
        forget_route_mtu(lab, name)
        lab.exec("default/" + name, "nft", DEAF % "input")
    run(*lab.fabric("nft", DEAF % "output"))
    for family in ("-4", "-6"):
        narrow_default(lab, "n1", family)
    for address in next(n["addresses"] for n in lab.status()["nodes"] if n["name"] == "n1"):
        narrow_fabric(lab, address)


def ways(lab):
    """(who asks, address, port): the pod another node's, the world, and the Service of the former; the world that one by a node port of the pod's node."""
    world = [a.split("/")[0] for a in lab.status()["world"]["addresses"]]
    own = next(n["addresses"] for n in lab.status()["nodes"] if n["name"] == "n1")
    cluster = json.loads(lab.kubectl("get", "service", "b", "-o", "json").stdout)["spec"]["clusterIPs"]
    return [("default/a", a, 5300) for a in addresses(lab, "b") + world] + [("unseen", a, 5300) for a in cluster] + [("world", a, 30053) for a in own]


def ask(lab, unseen, where, address, port, what):
    """"unseen" is the pod's network, but in none of the node's cgroups: no socket translates the address of the Service, each packet is."""
    command = ["/usr/bin/python3", "-c", CLIENT, address, str(port), what]
    if where == "unseen":
        return subprocess.Popen(unseen + command, stdout=subprocess.PIPE, text=True)
    return lab.popen(where, *command, stdout=subprocess.PIPE)


# Between nodes there must be less room than the ends believe: a tunnel.
TUNNELS = [c for c in ALL if c[0] in ("vxlan", "geneve", "wireguard")]
CASES = itertools.product(("on", "off"), TUNNELS) if FULL else \
        [("on", ("vxlan", *OPPOSITES[0])), ("on", ("wireguard", *OPPOSITES[1])), ("off", ("vxlan", *OPPOSITES[1]))]


@pytest.mark.parametrize("clamp, combo", CASES, ids=lambda v: v if isinstance(v, str) else name(v))
def test_M2_nobody_hears_that_it_is_too_big(clamp, combo):
    """The control without the clamp stalls in every direction."""
    way = options(combo, "dual")
    with Lab(nodes=2, **{**way, "set": way["set"] + ["datapath.mssClamp=" + clamp, "service.inbound=on"]}) as lab:
        prepare(lab)
        servers = [lab.popen(where, "/usr/bin/python3", "-c", SERVER, stdout=subprocess.PIPE) for where in ("default/b", "world")]
        try:
            assert all(s.stdout.readline() == "listening\n" for s in servers)
            servers.append(lab.popen("default/a", "sh", "-c", "echo $$; exec sleep 1000", stdout=subprocess.PIPE))
            unseen = ["nsenter", "--net=/proc/%s/ns/net" % servers[-1].stdout.readline().strip()]
            clients = {(*way, what): ask(lab, unseen, *way, what) for way in ways(lab) for what in "ud"}
            seen = {of: c.communicate(timeout=60)[0].strip() for of, c in clients.items()}
        finally:
            for s in servers:
                s.kill()
                s.wait()
        print("clamp %s: %s" % (clamp, seen))
        assert len(seen) == 16
        if clamp == "off":
            assert set(seen.values()) == {"stalled"}, seen
        else:
            assert "stalled" not in seen.values() and all(float(s) <= 3 for s in seen.values()), seen
