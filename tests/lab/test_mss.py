# SPDX-License-Identifier: Apache-2.0
"""M2: nobody ever hears "too big", and paths are narrower than the ends believe: with datapath.mssClamp TCP sends what fits at once."""

import subprocess

import pytest
from labs import Lab, pod, run
from test_mtu import addresses, forget_route_mtu

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
begun, address, what = time.monotonic(), sys.argv[1], sys.argv[2]
s = socket.create_connection((address, 5300), 3)
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


def prepare(lab):
    lab.apply(pod("a", node="n1"), pod("b", node="n2"))
    lab.wait_ready()
    for name in "ab":
        forget_route_mtu(lab, name)
        lab.exec("default/" + name, "nft", DEAF % "input")
    run(*lab.fabric("nft", DEAF % "output"))
    for family in ("-4", "-6"):
        narrow_default(lab, "n1", family)
    for address in next(n["addresses"] for n in lab.status()["nodes"] if n["name"] == "n1"):
        narrow_fabric(lab, address)


@pytest.mark.parametrize("clamp", ("on", "off"))
def test_M2_nobody_hears_that_it_is_too_big(clamp):
    """The control without the clamp stalls in every direction."""
    with Lab(nodes=2, transport="vxlan", set="datapath.mssClamp=" + clamp) as lab:
        prepare(lab)
        servers = [lab.popen(where, "/usr/bin/python3", "-c", SERVER, stdout=subprocess.PIPE) for where in ("default/b", "world")]
        try:
            assert all(s.stdout.readline() == "listening\n" for s in servers)
            world = [a.split("/")[0] for a in lab.status()["world"]["addresses"]]
            clients = {(a, what): lab.popen("default/a", "/usr/bin/python3", "-c", CLIENT, a, what, stdout=subprocess.PIPE)
                       for a in addresses(lab, "b") + world for what in "ud"}
            seen = {of: c.communicate(timeout=60)[0].strip() for of, c in clients.items()}
        finally:
            for s in servers:
                s.kill()
                s.wait()
        print("clamp %s: %s" % (clamp, seen))
        assert len(seen) == 8
        if clamp == "off":
            assert set(seen.values()) == {"stalled"}, seen
        else:
            assert all(s != "stalled" and float(s) < 3 for s in seen.values()), seen
