#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Real packets through the attached programs, before there is an agent: TAP on standard output.

        n1 (fd30::1, 192.0.2.1) ---- eth0 ---- n2 (.2)          192.0.2.0/24, fd30::/64
        pods a, b on n1, c on n2                                10.9.N.0/24, fd09:0:0:N::/64

Runs itself again in namespaces of its own (network, mounts), with a bpf file system and /run/netns of its own, so nothing of
the machine is touched and nothing is left. Each case: who reaches whom by ping and TCP, which way the packets took, no drop."""

import ctypes
import os
import select
import socket
import subprocess
import sys
import time

DP_TOOL = sys.argv[1]
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
PODS = {"a": 1, "b": 1, "c": 2}
ID = {"a": 2, "b": 3, "c": 2}
VTEP = {1: "02:57:0a:09:01:01", 2: "02:57:0a:09:02:01"}


def isolate():
    if os.environ.get("WEFT_TRAFFIC_INSIDE"):
        return
    os.environ["WEFT_TRAFFIC_INSIDE"] = "1"
    os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", sys.executable] + sys.argv)


def run(*command, check=True):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if check and done.returncode:
        raise AssertionError("%s: exit %d: %s" % (" ".join(command), done.returncode, done.stdout))
    return done


def ip(ns, command):
    run("ip", "-n", ns, *command.split())


def sysctl(ns, name, value):
    run("nsenter", "--net=/run/netns/" + ns, "sysctl", "-qw", "%s=%s" % (name, value))


def addr(pod, family):
    return ("10.9.%d.%d" if family == 4 else "fd09:0:0:%d::%d") % (PODS[pod], ID[pod])


def node_addr(node, family):
    return ("10.9.%d.1" if family == 4 else "fd09:0:0:%d::1") % node


def underlay(node, family):
    return ("192.0.2.%d" if family == 4 else "fd30::%d") % node


def pod_mac(pod):
    return "02:00:00:00:%02x:%02x" % (PODS[pod], ID[pod])


def host_mac(pod):
    return "02:57:00:00:%02x:%02x" % (PODS[pod], ID[pod])


def make_pod(pod):
    node = "n%d" % PODS[pod]
    run("ip", "netns", "add", pod)
    ip(node, "link add veth-%s address %s type veth peer name eth0 address %s netns %s" % (pod, host_mac(pod), pod_mac(pod), pod))
    sysctl(node, "net.ipv6.conf.veth-%s.addr_gen_mode" % pod, 1)
    ip(node, "link set veth-%s up" % pod)
    sysctl(pod, "net.ipv6.conf.all.accept_ra", 0)
    ip(pod, "link set lo up")
    ip(pod, "addr add %s/32 dev eth0" % addr(pod, 4))
    ip(pod, "addr add %s/128 dev eth0 nodad" % addr(pod, 6))
    ip(pod, "link set eth0 up")
    for gateway, family in (("169.254.1.1", "-4"), ("fe80::1", "-6")):
        ip(pod, "%s neigh add %s lladdr %s dev eth0 nud permanent" % (family, gateway, host_mac(pod)))
        ip(pod, "%s route add %s dev eth0" % (family, gateway))
        ip(pod, "%s route add default via %s dev eth0" % (family, gateway))
    for family, bits in ((4, 32), (6, 128)):
        ip(node, "route add %s/%d dev veth-%s src %s" % (addr(pod, family), bits, pod, node_addr(PODS[pod], family)))
        ip(node, "neigh add %s lladdr %s dev veth-%s nud permanent" % (addr(pod, family), pod_mac(pod), pod))


def make_node(node):
    name = "n%d" % node
    ip(name, "link set lo up")
    ip(name, "link set eth0 up")
    for family, bits, host in ((4, 24, 32), (6, 64, 128)):
        ip(name, "addr add %s/%d dev eth0 %s" % (underlay(node, family), bits, "nodad" if family == 6 else ""))
        ip(name, "addr add %s/%d dev lo" % (node_addr(node, family), host))
    for setting in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
        sysctl(name, "net." + setting, 1)
    for setting in ("all", "default", "eth0"):
        sysctl(name, "net.ipv4.conf.%s.rp_filter" % setting, 0)
    run("ip", "-n", name, "link", "add", "vx0", "address", VTEP[node], "type", "vxlan", "external", "dstport", "4789",
        "nolearning", "udp6zerocsumtx", "udp6zerocsumrx")
    ip(name, "link set vx0 arp off")
    ip(name, "link set vx0 mtu 1430 up")
    sysctl(name, "net.ipv4.conf.vx0.rp_filter", 0)


def topology():
    run("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
    os.makedirs("/run/netns", exist_ok=True)
    run("mount", "-t", "tmpfs", "netns", "/run/netns")
    run("ip", "netns", "add", "n1")
    run("ip", "netns", "add", "n2")
    run("ip", "link", "add", "eth0", "netns", "n1", "type", "veth", "peer", "name", "eth0", "netns", "n2")
    make_node(1)
    make_node(2)
    for pod in PODS:
        make_pod(pod)
    wait_for_link_local()


def wait_for_link_local():
    """A neighbour is solicited from the link-local address, so not before duplicate address detection is done."""
    for _ in range(600):
        if not any(run("ip", "-n", n, "-6", "addr", "show", "dev", "eth0", "tentative").stdout for n in ("n1", "n2")):
            return
        time.sleep(0.05)
    raise AssertionError("link-local addresses stay tentative")


def stack_routes(node, transport):
    """The plain routes that packets take when the fast path is off, and the node's own always."""
    peer, name = 3 - node, "n%d" % node
    for family, wide in ((4, "10.9.%d.0/24"), (6, "fd09:0:0:%d::/64")):
        prefix = wide % peer
        run("ip", "-n", name, "-%d" % family, "route", "flush", prefix)
        if transport == "direct":
            ip(name, "route add %s via %s dev eth0 src %s" % (prefix, underlay(peer, family), node_addr(node, family)))
            continue
        outer = 6 if transport == "vxlan6" else 4
        ip(name, "neigh replace %s lladdr %s dev vx0 nud permanent" % (node_addr(peer, family), VTEP[peer]))
        ip(name, "-%d route add %s encap %s id 7 dst %s src %s via %s dev vx0 onlink src %s mtu 1430" % (
            family, prefix, "ip6" if outer == 6 else "ip", underlay(peer, outer), underlay(node, outer),
            node_addr(peer, family), node_addr(node, family)))


def dp(node, *args):
    """What it says; what it warns of is no figure."""
    done = subprocess.run(["nsenter", "--net=/run/netns/n%d" % node, DP_TOOL, "/sys/fs/bpf/n%d" % node, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, "dp_tool %s: exit %d: %s" % (" ".join(args), done.returncode, done.stderr)
    return done.stdout


def program(node, transport, attach, fast):
    peer = 3 - node
    args = ["attach=" + attach, "fast=%d" % fast, "vni=7", "uplink=eth0", "tunnel=vx0"]
    args += ["node=" + node_addr(node, f) for f in (4, 6)] + ["underlay=" + underlay(node, f) for f in (4, 6)]
    for pod, where in PODS.items():
        if where == node:
            args.append("pod=veth-%s,%d,%s,%s,%s,%s" % (pod, ID[pod], pod_mac(pod), host_mac(pod), addr(pod, 4), addr(pod, 6)))
    for family, wide in ((4, "10.9.%d.0/24"), (6, "fd09:0:0:%d::/64")):
        if transport == "direct":
            args.append("route=%s,direct,%s,eth0,1500" % (wide % peer, underlay(peer, family)))
        else:
            outer = underlay(peer, 6 if transport == "vxlan6" else 4)
            args.append("route=%s,vxlan,%s,vx0,1430,%s" % (wide % peer, outer, VTEP[peer]))
    dp(node, *args)


def stats(node, fast):
    out = {}
    for line in dp(node, "fast=%d" % fast, "vni=7", "stats", *ATTACH).splitlines():
        key, value = line.split()
        out[key] = int(value) if value.isdigit() else value
    return out


def in_ns(ns, fn):
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open("/run/netns/" + ns, os.O_RDONLY)
    try:
        assert libc.setns(there, CLONE_NEWNET) == 0
        return fn()
    finally:
        assert libc.setns(here, CLONE_NEWNET) == 0
        os.close(here)
        os.close(there)


def ping(ns, target, *args):
    run("nsenter", "--net=/run/netns/" + ns, "ping", "-n", "-q", "-c", "3", "-i", "0.02", "-W", "2", *args, target)


def tcp(client, server, target, source, size=3 << 20):
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    listener = in_ns(server, lambda: socket.socket(family, socket.SOCK_STREAM))
    conn = in_ns(client, lambda: socket.socket(family, socket.SOCK_STREAM))
    with listener, conn:
        listener.settimeout(20)
        conn.settimeout(20)
        listener.bind((target, 0))
        listener.listen(1)
        conn.connect(listener.getsockname()[:2])
        peer, seen = listener.accept()
        with peer:
            peer.settimeout(20)
            assert seen[0] == source, "client seen as %s, not %s" % (seen[0], source)
            if os.fork() == 0:
                conn.sendall(b"x" * size)
                os._exit(0)
            conn.close()
            got = 0
            while True:
                data = peer.recv(1 << 16)
                if not data:
                    break
                got += len(data)
            os.wait()
            assert got == size, "%d of %d bytes" % (got, size)


ATTACH = ()


def case(transport, attach, fast):
    global ATTACH
    ATTACH = ("attach=" + attach,)
    for node in (1, 2):
        dp(node, "remove")
        stack_routes(node, transport)
        program(node, transport, attach, fast)
    for f in (4, 6):
        for source, target in (("a", "b"), ("a", "c"), ("c", "a")):
            ping(source, addr(target, f))
            tcp(source, target, addr(target, f), addr(source, f))
            ping(source, addr(target, f), "-s", "4000")  # fragments, of every kind of node
        tcp("n1", "a", addr("a", f), node_addr(1, f))  # the node and its pod
        tcp("a", "n1", node_addr(1, f), addr("a", f))
        tcp("n1", "c", addr("c", f), node_addr(1, f))  # the node and a remote pod
        tcp("c", "n1", node_addr(1, f), addr("c", f))
        hops = run("nsenter", "--net=/run/netns/a", "ping", "-n", "-c", "1", "-t", "1", "-W", "2", addr("c", f), check=False).stdout
        assert node_addr(1, f) in hops and "exceeded" in hops, "no answer to a used-up hop limit: " + hops
    way = "direct" if transport == "direct" else "tunnel"
    for node in (1, 2):
        s = stats(node, fast)
        assert s["attach"] == attach, s
        drops = {k: v for k, v in s.items() if k.startswith("drop_") and k not in ("drop_mld", "drop_router_solicitation")}
        if way == "tunnel":
            drops.pop("drop_fragment_unknown", None)  # the first was too big, which its sender has now been told
        assert not drops, "n%d dropped: %s" % (node, drops)
        assert (s["forward_" + way] > 100) == bool(fast), s
        assert (s["forward_local"] > 100) == bool(fast), s
        assert node == 2 or (s["forward_stack"] > 0 and s["forward_to_pod"] > 0), s


def say(source, target, family):
    """A datagram to a pod. Returns the socket there that hears it; None where nobody has the address."""
    kind = socket.AF_INET6 if family == 6 else socket.AF_INET
    pod = next((p for p in PODS if addr(p, family) == target), None)
    ear = pod and in_ns(pod, lambda: socket.socket(kind, socket.SOCK_DGRAM))
    if ear:
        ear.bind(("", 9))
    with in_ns(source, lambda: socket.socket(kind, socket.SOCK_DGRAM)) as s:
        s.sendto(b"x", (target, 9))
    return ear


def heard(ear, seconds):
    """Consumes the ear."""
    if not ear:
        return False
    with ear:
        return bool(select.select([ear], [], [], seconds)[0])


def udp_is_dropped(reason, source, target, family):
    """A datagram from a pod of n2 must move this counter on n1, and no packet may reach its target."""
    before = stats(1, 1).get("drop_" + reason, 0)
    ear = say(source, target, family)
    for _ in range(100):
        if stats(1, 1).get("drop_" + reason, 0) > before:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("%s was not counted: %s" % (reason, stats(1, 1)))
    assert not heard(ear, 0), "%s was counted, and the packet arrived" % reason


def hostile_tunnel():
    """What a forged or misled peer sends through the tunnel ends at n1 with its own reason."""
    global ATTACH
    ATTACH = ("attach=tcx",)
    for node in (1, 2):
        dp(node, "remove")
        stack_routes(node, "vxlan4")
        program(node, "vxlan4", "tcx", 1)
    for f, unused in ((4, "10.9.1.99"), (6, "fd09:0:0:1::99")):
        assert heard(say("c", addr("a", f), f), 10), "the control did not arrive"
        udp_is_dropped("tunnel_destination", "c", unused, f)
        mine, wide = addr("c", f), ("10.9.2.0/24" if f == 4 else "fd09:0:0:2::/64")
        # n1 knows n2's range behind another underlay address
        dp(1, *ATTACH, "vni=7", "tunnel=vx0", "uplink=eth0", "route=%s,vxlan,192.0.2.77,vx0,1430,%s" % (wide, VTEP[2]))
        udp_is_dropped("tunnel_source", "c", addr("a", f), f)
        dp(1, *ATTACH, "vni=7", "tunnel=vx0", "uplink=eth0", "route=%s,vxlan,fd30::2,vx0,1430,%s" % (wide, VTEP[2]))
        udp_is_dropped("tunnel_source", "c", addr("a", f), f)  # the outer family is another
        program(1, "vxlan4", "tcx", 1)
        ping("c", addr("a", f))
    peer = ["attach=tcx", "vni=8", "uplink=eth0", "tunnel=vx0", "underlay=192.0.2.2", "underlay=fd30::2"]
    dp(2, *peer)  # another network's identifier
    for f in (4, 6):
        udp_is_dropped("tunnel_vni", "c", addr("a", f), f)


def restarts():
    """Programs are replaced and the way of attaching is changed under a connection; nothing is lost."""
    global ATTACH
    for node in (1, 2):
        dp(node, "remove")
        stack_routes(node, "vxlan4")
        program(node, "vxlan4", "clsact", 1)  # from here on there is a clsact: adding one interrupts the device
    pinging = subprocess.Popen(["nsenter", "--net=/run/netns/a", "ping", "-n", "-q", "-i", "0.002", addr("c", 4)],
                               stdout=subprocess.PIPE, text=True)
    for attach in ("tcx", "tcx", "clsact", "clsact", "tcx") * 2:
        for node in (1, 2):
            program(node, "vxlan4", attach, 1)
    ATTACH = ("attach=tcx",)
    pinging.send_signal(2)
    out = pinging.communicate()[0]
    assert " 0% packet loss" in out, out
    sent = int(out.split(" packets transmitted")[0].split()[-1])
    assert sent > 100, out


def main():
    isolate()
    topology()
    failed = number = 0
    for transport in ("direct", "vxlan4", "vxlan6"):
        for attach in ("tcx", "clsact"):
            for fast in (1, 0):
                number += 1
                name = "%s_%s_fast_path_%s" % (transport, attach, "on" if fast else "off")
                try:
                    case(transport, attach, fast)
                    print("ok %d - %s" % (number, name), flush=True)
                except (AssertionError, OSError) as e:
                    failed += 1
                    for line in str(e).splitlines():
                        print("# " + line)
                    print("not ok %d - %s" % (number, name), flush=True)
                    if os.environ.get("WEFT_TRAFFIC_STOP"):
                        for node in (1, 2):
                            print("#", node, stats(node, fast))
                        return 1
    for extra in (hostile_tunnel, restarts):
        number += 1
        try:
            extra()
            print("ok %d - %s" % (number, extra.__name__), flush=True)
        except (AssertionError, OSError) as e:
            failed += 1
            for line in str(e).splitlines():
                print("# " + line)
            print("not ok %d - %s" % (number, extra.__name__), flush=True)
    print("1..%d" % number)
    return 1 if failed else 0


sys.exit(main())
