# SPDX-License-Identifier: Apache-2.0
"""The paths that `make bench` compares: a bare veth pair, the peers' paths built by hand as their agents build them, and
Weft's own in labs. Each path has two pods; `client(...)` is a command prefix that runs in the first one.

The peers are flattered rather than wronged: no Services, no policy chains, only conntrack and the base rules that
kube-proxy and the network's agent always have. Between two nodes all of them have the same underlay, one veth pair: a
lab's own fabric is a bridge with a cable to each node, which would be a hop more for Weft than for its peers.

Both ends of a measurement have a real-time priority, so that what else the machine does takes little of their CPU.
"""

import json
import os
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WEFT_BIN = os.environ.get("WEFT_BIN", os.path.join(ROOT, "build/bin"))
HELPERS = os.path.join(os.path.dirname(WEFT_BIN), "tests")
SERVER_PORT, IPERF_PORT = 5000, 5201
SERVER_CPU = "1"
REAL_TIME = ["chrt", "-f", "10", "taskset", "-c"]
# A stream keeps its CPU busy: in real time it would keep the softirqs that ksoftirqd is left with from ever running, and what is measured
# were how often that happens.
PINNED = ["nice", "-n", "-19", "taskset", "-c"]

BASE_RULES = """*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-NODEPORTS - [0:0]
:NET-POSTROUTING - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A POSTROUTING -j NET-POSTROUTING
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A NET-POSTROUTING -s 10.0.0.0/8 -d 10.0.0.0/8 -j RETURN
-A NET-POSTROUTING -s 10.0.0.0/8 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully
COMMIT
*filter
:KUBE-FORWARD - [0:0]
:NET-FORWARD - [0:0]
-A FORWARD -j KUBE-FORWARD
-A FORWARD -j NET-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A NET-FORWARD -s 10.0.0.0/8 -j ACCEPT
-A NET-FORWARD -d 10.0.0.0/8 -j ACCEPT
COMMIT
"""


def sh(*command, **kw):
    return subprocess.run(command, check=True, capture_output=True, text=True, **kw).stdout


class ByHand:
    """Namespaces with names of our own; everything goes with close()."""

    def __init__(self, name):
        self.name, self.namespaces, self.servers = name, [], []
        self.tag = "wb%d-%s" % (os.getpid(), name)

    def ns(self, short):
        full = "%s-%s" % (self.tag, short)
        sh("ip", "netns", "add", full)
        self.namespaces.append(full)
        self.ip(short, "link set lo up")
        return full

    def ip(self, short, words):
        sh("ip", "-n", "%s-%s" % (self.tag, short), *words.split())

    def run(self, short, *command, **kw):
        return sh("nsenter", "--net=/run/netns/%s-%s" % (self.tag, short), *command, **kw)

    def sysctl(self, short, *settings):
        self.run(short, "sysctl", "-qw", *settings)

    def veth(self, a, name_a, b, name_b, mtu=1500):
        self.ip(a, "link add %s mtu %d type veth peer name %s mtu %d netns %s-%s" % (name_a, mtu, name_b, mtu, self.tag, b))
        for n, dev in ((a, name_a), (b, name_b)):
            self.ip(n, "link set %s up" % dev)

    def node(self, n):
        self.ns(n)
        self.sysctl(n, "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0")

    def fabric(self):
        self.node("n1")
        self.node("n2")
        self.veth("n1", "eth0", "n2", "eth0")
        for i in (1, 2):
            self.ip("n%d" % i, "addr add 192.168.0.%d/24 dev eth0" % i)

    def base_rules(self, n):
        if os.path.exists("/proc/sys/net/bridge"):
            self.sysctl(n, "net.bridge.bridge-nf-call-iptables=1")
        self.run(n, "iptables-restore", input=BASE_RULES)

    def bridge(self, n, gateway, mtu):
        self.ip(n, "link add cni0 mtu %d type bridge" % mtu)
        self.ip(n, "addr add %s/24 dev cni0" % gateway)
        self.ip(n, "link set cni0 up")

    def bridge_pod(self, n, pod, address, gateway, mtu):
        self.ns(pod)
        self.veth(n, "v" + pod, pod, "eth0", mtu)
        self.ip(n, "link set v%s master cni0" % pod)
        self.ip(pod, "addr add %s/24 dev eth0" % address)
        self.ip(pod, "route add default via " + gateway)

    def routed_pod(self, n, pod, address, mtu):
        self.ns(pod)
        self.veth(n, "v" + pod, pod, "eth0", mtu)
        mac = json.loads(self.run(n, "ip", "-j", "link", "show", "v" + pod))[0]["address"]
        self.ip(pod, "addr add %s/32 dev eth0" % address)
        self.ip(pod, "neigh add 169.254.1.1 lladdr %s dev eth0 nud permanent" % mac)
        self.ip(pod, "route add 169.254.1.1 dev eth0")
        self.ip(pod, "route add default via 169.254.1.1")
        self.ip(n, "route add %s/32 dev v%s" % (address, pod))

    def in_pod(self, pod):
        return ["nsenter", "--net=/run/netns/%s-%s" % (self.tag, pod)]

    def client(self):
        return self.in_pod("p1")

    def serve(self):
        for server in ([*REAL_TIME, SERVER_CPU, *self.in_pod("p2"), os.path.join(HELPERS, "netbench"), "server", str(SERVER_PORT)],
                       [*PINNED, SERVER_CPU, *self.in_pod("p2"), "iperf3", "-s", "-p", str(IPERF_PORT)]):
            self.servers.append(subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def close(self):
        for p in self.servers:
            p.kill()
            p.wait()
        for n in self.namespaces:
            subprocess.run(["ip", "netns", "del", n], check=False, capture_output=True)


class Veth(ByHand):
    """A veth pair between two pods: the denominator."""

    def build(self):
        self.ns("p1")
        self.ns("p2")
        self.veth("p1", "eth0", "p2", "eth0")
        for i in (1, 2):
            self.ip("p%d" % i, "addr add 10.0.0.%d/24 dev eth0" % i)
        self.address = "10.0.0.2"


class SameNodeBridge(ByHand):
    """One node: the reference bridge plugin, with the base rules."""

    def build(self):
        self.node("n1")
        self.bridge("n1", "10.0.0.254", 1500)
        for i in (1, 2):
            self.bridge_pod("n1", "p%d" % i, "10.0.0.%d" % i, "10.0.0.254", 1500)
        self.base_rules("n1")
        self.address = "10.0.0.2"


class SameNodeRouted(ByHand):
    """One node: routed veths (Calico's shape), with the base rules."""

    def build(self):
        self.node("n1")
        for i in (1, 2):
            self.routed_pod("n1", "p%d" % i, "10.0.0.%d" % i, 1500)
        self.base_rules("n1")
        self.address = "10.0.0.2"


class RoutedNodes(ByHand):
    """Two nodes: routed veths and host routes (Calico without encapsulation), with the base rules."""

    def build(self):
        self.fabric()
        for i in (1, 2):
            self.routed_pod("n%d" % i, "p%d" % i, "10.0.%d.2" % i, 1500)
            self.ip("n%d" % i, "route add 10.0.%d.0/24 via 192.168.0.%d" % (3 - i, 3 - i))
            self.base_rules("n%d" % i)
        self.address = "10.0.2.2"


class FlannelVxlan(ByHand):
    """Two nodes: bridge and flannel's VXLAN device, with the base rules."""

    def build(self):
        self.fabric()
        for i in (1, 2):
            n, o = "n%d" % i, 3 - i
            self.bridge(n, "10.0.%d.1" % i, 1450)
            self.bridge_pod(n, "p%d" % i, "10.0.%d.2" % i, "10.0.%d.1" % i, 1450)
            self.ip(n, "link add flannel.1 mtu 1450 address 0e:00:00:00:00:0%d type vxlan id 1 local 192.168.0.%d dev eth0 "
                       "dstport 8472 nolearning" % (i, i))
            self.ip(n, "addr add 10.0.%d.0/32 dev flannel.1" % i)
            self.ip(n, "link set flannel.1 up")
            self.ip(n, "neigh add 10.0.%d.0 lladdr 0e:00:00:00:00:0%d dev flannel.1 nud permanent" % (o, o))
            self.run(n, "bridge", "fdb", "add", "0e:00:00:00:00:0%d" % o, "dev", "flannel.1", "dst", "192.168.0.%d" % o, "self", "permanent")
            self.ip(n, "route add 10.0.%d.0/24 via 10.0.%d.0 dev flannel.1 onlink" % (o, o))
            self.base_rules(n)
        self.address = "10.0.2.2"


def hurry(pid):
    """All threads of an engine get the priority that both ends of a measurement have."""
    sh("chrt", "-a", "-f", "-p", "10", str(pid))


class Engine(ByHand):
    """Two nodes and a userspace WireGuard engine, from node to node: no pods, nothing but the engine."""

    def __init__(self, name, engine):
        super().__init__(name)
        self.engine, self.processes = engine, []

    def build(self):
        self.fabric()
        keys = [sh("wg", "genkey").strip() for _ in range(2)]
        public = [sh("wg", "pubkey", input=k).strip() for k in keys]
        for i in (1, 2):
            n, device = "n%d" % i, "%s%d-%d" % (self.name[:2], i, os.getpid())
            self.processes.append(subprocess.Popen(["nsenter", "--net=/run/netns/%s-%s" % (self.tag, n), self.engine, "-f", device],
                                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            for _ in range(100):
                if subprocess.run(["wg", "show", device], capture_output=True).returncode == 0:
                    break
                time.sleep(0.05)
            setup = "[Interface]\nPrivateKey = %s\nListenPort = 51820\n[Peer]\nPublicKey = %s\nEndpoint = 192.168.0.%d:51820\nAllowedIPs = 10.0.0.%d/32\n" % (
                keys[i - 1], public[2 - i], 3 - i, 3 - i)
            self.run(n, "wg", "setconf", device, "/dev/stdin", input=setup)
            self.ip(n, "addr add 10.0.0.%d/24 dev %s" % (i, device))
            self.ip(n, "link set %s up mtu 1420" % device)
            hurry(self.processes[-1].pid)
        self.address = "10.0.0.2"

    def in_pod(self, pod):
        return super().in_pod(pod.replace("p", "n"))

    def close(self):
        for p in self.processes:
            p.terminate()
            p.wait()
        super().close()


class WeftLab:
    """Two pods of a Weft lab; on one node or on two."""

    def __init__(self, name, transport, nodes, sets=(), build=WEFT_BIN):
        self.name, self.transport, self.nodes, self.sets = name, transport, nodes, sets
        self.program = os.path.join(build, "weft")
        self.lab = "bench%d%s" % (os.getpid(), name)

    def of_build(self, build, name):
        """The same path as another build makes it."""
        return WeftLab(name, self.transport, self.nodes, self.sets, build)

    def weft(self, *words, **kw):
        return sh(self.program, "lab", *words, "--name", self.lab, **kw)

    def build(self):
        self.weft("up", "--nodes", str(self.nodes), "--transport", self.transport,
                  *[w for s in self.sets for w in ("--set", s)])
        kubectl = ["kubectl", "--kubeconfig", self.weft("kubeconfig").strip()]
        pods = [self.pod("p1", "n1", ["sleep", "86400"]), self.pod("p2", "n%d" % self.nodes, self.server_command())]
        sh(*kubectl, "apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))
        sh(*kubectl, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
        self.address = json.loads(sh(*kubectl, "get", "pod", "p2", "-o", "json"))["status"]["podIP"]
        status = json.loads(self.weft("status", "-o", "json"))
        assert len(status["pods"]) == 2, status
        if self.nodes == 2:
            self.cable()
        if self.transport == "wireguard":
            for i in (1, 2):
                for pid in self.node("n%d" % i, "cat", "/sys/fs/cgroup/weftd/cgroup.procs").split():
                    with open("/proc/%s/comm" % pid) as f:
                        if f.read().strip() == "weft-wg":
                            hurry(pid)

    def node(self, n, *command):
        return sh(self.program, "lab", "exec", "--name", self.lab, n, "--", *command)

    def cable(self):
        """A veth pair straight between the nodes takes over their addresses; the fabric stays their way to the hub."""
        inside = subprocess.Popen([self.program, "lab", "exec", "--name", self.lab, "n2", "--", "sh", "-c", "echo $$; cat"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        pid = inside.stdout.readline().strip()
        self.node("n1", "ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", pid)
        inside.communicate("")
        for i in (1, 2):
            n, own, hub = "n%d" % i, "172.30.0.1%d/24" % i, "172.30.0.1"
            for words in ("link set cable up", "addr del %s dev eth0" % own, "addr add 172.30.0.20%d/32 dev eth0" % i,
                          "route add %s dev eth0" % hub, "route add default via %s" % hub, "addr add %s dev cable" % own):
                self.node(n, "ip", *words.split())
        self.wait_for_cable()

    def wait_for_cable(self):
        for n, other in (("n1", "10.244.1.0/24"), ("n2", "10.244.0.0/24")):
            for _ in range(100):
                status = json.loads(self.node(n, "weft", "status", "-o", "json"))
                route = self.node(n, "ip", "route", "show", other)
                if "cable" in status["uplinks"] and ("dev eth0" not in route):
                    break
                time.sleep(0.1)
            else:
                raise RuntimeError("%s does not use the cable: %s" % (n, route))

    @staticmethod
    def pod(name, node, command):
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
                "spec": {"nodeName": node, "containers": [{"name": "c", "image": "none", "command": command}]}}

    @staticmethod
    def server_command():
        return ["sh", "-c", "%s %s server %d & exec %s iperf3 -s -p %d"
                % (" ".join([*REAL_TIME, SERVER_CPU]), os.path.join(HELPERS, "netbench"), SERVER_PORT,
                   " ".join([*PINNED, SERVER_CPU]), IPERF_PORT)]

    def client(self):
        return [self.program, "lab", "exec", "--name", self.lab, "default/p1", "--"]

    def serve(self):
        pass

    def close(self):
        subprocess.run([self.program, "lab", "down", "--name", self.lab], check=False, capture_output=True)


def catalogue():
    return [
        Veth("veth"),
        SameNodeBridge("bridge"), SameNodeRouted("routed"), WeftLab("weft-node", "direct", 1),
        RoutedNodes("calico"), WeftLab("weft-direct", "direct", 2),
        FlannelVxlan("flannel"), WeftLab("weft-vxlan", "vxlan", 2),
        Engine("wireguard-go", "wireguard-go"), Engine("weft-wg", os.path.join(WEFT_BIN, "weft-wg")), WeftLab("weft-wireguard", "wireguard", 2),
    ]
