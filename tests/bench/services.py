#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`make bench`: the same Services served by Weft, by the real kube-proxy (iptables mode) and by rules in the shape of its nftables mode,
in one run (the others up to 1,000 Services unless --peers says more). Ten endpoints a Service; what it costs to program all of them, to change one endpoint, and to connect to the last Service.

Each has a network namespace of its own on a cable to the one server that has all endpoints' addresses. kube-proxy speaks to services_api.py
in its namespace. CPU time is that of the programmer and its children. Rounds of connections are interleaved. Prints Markdown tables.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import urllib.request

import services_api as api

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HELPERS = os.path.join(os.path.dirname(os.environ.get("WEFT_BIN", os.path.join(ROOT, "build/bin")).rstrip("/")), "tests")
NETBENCH, SERVICE_BENCH = os.path.join(HELPERS, "netbench"), os.path.join(HELPERS, "service_bench")
KUBE_PROXY = os.environ.get("KUBE_PROXY", "/var/cache/weft-tests/k8s/kube-proxy")
REAL_TIME = ["chrt", "-f", "1", "taskset", "-c", "1"]
CHANGES = 5


def sh(*args, **kw):
    return subprocess.run([str(a) for a in args], check=True, text=True, capture_output=True, **kw).stdout


def children_cpu_ms():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1e3


def process_cpu_ms(pid):
    """Its own and that of its children that have ended."""
    with open("/proc/%d/stat" % pid) as f:
        return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:15])) * 1e3 / os.sysconf("SC_CLK_TCK")


class Stage:
    """The server's namespace, and a cable from it to each client's."""

    def __init__(self, stack):
        self.stack, self.prefix, self.n = stack, "wsb%d" % os.getpid(), 0
        self.server = self.namespace("s")
        sh("ip", "-n", self.server, "route", "add", "local", "10.0.0.0/11", "dev", "lo")  # it has all endpoints' addresses
        p = subprocess.Popen(["ip", "netns", "exec", self.server, *REAL_TIME, NETBENCH, "server", str(api.TARGET_PORT - 1)])
        stack.callback(lambda: (p.kill(), p.wait()))

    def namespace(self, name):
        name = self.prefix + name
        sh("ip", "netns", "add", name)
        self.stack.callback(sh, "ip", "netns", "delete", name)
        sh("ip", "-n", name, "link", "set", "lo", "up")
        return name

    def cable(self, where, holder=None):
        """@holder: the process whose namespace that is, where it has no name."""
        self.n += 1
        net, inside = "10.200.%d" % self.n, ["nsenter", "-t", str(holder), "-n"] if holder else ["ip", "netns", "exec", where]
        sh("ip", "link", "add", "c%d" % self.n, "netns", self.server, "type", "veth", "peer", "name", "eth0", "netns", holder or where)
        sh("ip", "-n", self.server, "addr", "add", net + ".1/24", "dev", "c%d" % self.n)
        sh("ip", "-n", self.server, "link", "set", "c%d" % self.n, "up")
        for command in (["addr", "add", net + ".2/24", "dev", "eth0"], ["link", "set", "lo", "up"], ["link", "set", "eth0", "up"],
                        ["route", "add", "default", "via", net + ".1"]):
            sh(*inside, "ip", *command)
        return inside


class Client:
    """Who connects to what, and where; and what programming cost there."""

    def __init__(self, name, inside, address, port, cgroup=None, **cost):
        self.name, self.inside, self.address, self.port, self.cgroup, self.cost = name, inside, address, port, cgroup, cost
        self.p50, self.rate = [], []

    def enter(self):
        if self.cgroup:
            with open(os.path.join(self.cgroup, "cgroup.procs"), "w") as f:
                f.write("0")

    def answers(self):
        try:
            self.measure(0.01, timeout=1)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return False
        return True

    def measure(self, seconds, timeout=60):
        out = sh(*self.inside, *REAL_TIME, NETBENCH, "crr", self.address, self.port - 1, seconds, preexec_fn=self.enter, timeout=timeout)
        got = json.loads(out)
        self.p50.append(got["p50_us"])
        self.rate.append(got["rate"])


def plain(stage, n):
    inside = stage.cable(stage.namespace("p%d" % n))
    return Client("no Service", inside, api.endpoint_address(n - 1, 0), api.TARGET_PORT)


def weft(stage, n):
    p = subprocess.Popen([SERVICE_BENCH, "--hold", str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stage.stack.callback(lambda: p.communicate(timeout=60))
    program, change, ready = (json.loads(p.stdout.readline()) for _ in range(3))
    return Client("Weft", stage.cable(None, ready["pid"]), api.cluster_address(n - 1), api.PORT, ready["cgroup"], all_cpu=program["cpu_ms"],
                  all_wall=program["wall_ms"], one_cpu=change["p50_us"] / 1e3, one_wall=change["p50_us"] / 1e3)


def syncs():
    """How many times kube-proxy has programmed everything, and the seconds that took."""
    text = urllib.request.urlopen("http://127.0.0.1:10249/metrics", timeout=60).read().decode()
    return [float(line.split()[1]) for part in ("count", "sum") for line in text.splitlines()
            if line.startswith("kubeproxy_sync_proxy_rules_duration_seconds_" + part)] or [0, 0]


def watch_syncs(inside):
    return json.loads(sh(*inside, sys.executable, os.path.abspath(__file__), "--syncs"))


def wait_for(what, condition, seconds=300):
    end = time.monotonic() + seconds
    while True:
        if condition():
            return
        if time.monotonic() > end:
            sys.exit("not within %d s: %s" % (seconds, what))
        time.sleep(0.1)


def use_legacy(stack):
    """A directory that makes `iptables` the one of old, which programs faster."""
    path = sh("mktemp", "-d").strip()
    stack.callback(sh, "rm", "-r", path)
    for name in ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"):
        os.symlink("/usr/sbin/%s" % name.replace("tables", "tables-legacy"), os.path.join(path, name))
    return path + ":" + os.environ["PATH"]


def kube_proxy(stage, n):
    namespace = stage.namespace("k%d" % n)
    inside = stage.cable(namespace)
    a = subprocess.Popen([*inside, sys.executable, api.__file__, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stage.stack.callback(lambda: (a.kill(), a.wait()))
    assert a.stdout.readline() == "serving\n"
    log = open(os.path.join("/tmp", namespace + ".log"), "w")
    stage.stack.callback(lambda: (log.close(), os.unlink(log.name)))
    start = time.monotonic()
    p = subprocess.Popen([*inside, KUBE_PROXY, "--master=http://127.0.0.1:%d" % api.API_PORT, "--kube-api-content-type=application/json",
                          "--proxy-mode=iptables", "--hostname-override=n1", "--cluster-cidr=10.0.0.0/11", "--conntrack-max-per-core=0",
                          "--conntrack-min=0", "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s"],
                         env={**os.environ, "PATH": use_legacy(stage.stack)}, stdout=log, stderr=log)
    stage.stack.callback(lambda: (p.kill(), p.wait()))
    works = Client("", inside, api.cluster_address(n - 1), api.PORT)
    wait_for("kube-proxy serves the last Service", works.answers)
    cost = {"all_wall": (time.monotonic() - start) * 1e3}
    wait_for("its iptables has ended", lambda: watch_syncs(inside)[0] >= 1)
    cost["all_cpu"] = process_cpu_ms(p.pid)
    wait_for("its queue is empty", lambda: settled(inside))
    ones, cpu = [], process_cpu_ms(p.pid)
    for i in range(CHANGES):
        before = watch_syncs(inside)
        a.stdin.write("change\n")
        a.stdin.flush()
        wait_for("the change", lambda: watch_syncs(inside)[0] > before[0])
        now = watch_syncs(inside)
        ones.append((now[1] - before[1]) / (now[0] - before[0]) * 1e3)
    cost.update(one_wall=statistics.median(ones), one_cpu=(process_cpu_ms(p.pid) - cpu) / CHANGES)
    return Client("kube-proxy, iptables", inside, api.cluster_address(n - 1), api.PORT, **cost)


def settled(inside):
    before = watch_syncs(inside)[0]
    time.sleep(2)
    return watch_syncs(inside)[0] == before > 0


def nft_rules(n):
    """As the nftables mode has them: a map of Services to chains, a chain that draws, and one for each endpoint."""
    yield "table ip kube-proxy {"
    for i in range(n):
        for k in range(api.ENDPOINTS):
            yield "chain endpoint-%d-%d { meta l4proto tcp dnat to %s:%d\n }" % (i, k, api.endpoint_address(i, k), api.TARGET_PORT)
        draw = ", ".join("%d : goto endpoint-%d-%d" % (k, i, k) for k in range(api.ENDPOINTS))
        yield "chain service-%d { numgen random mod %d vmap { %s }\n }" % (i, api.ENDPOINTS, draw)
    yield "map service-ips { type ipv4_addr . inet_proto . inet_service : verdict\n elements = {"
    yield ",\n".join("%s . tcp . %d : goto service-%d" % (api.cluster_address(i), api.PORT, i) for i in range(n))
    yield "}\n}"
    yield "chain services { ip daddr . meta l4proto . th dport vmap @service-ips\n }"
    for hook in ("prerouting", "output"):
        yield "chain nat-%s { type nat hook %s priority -100; policy accept; jump services\n }" % (hook, hook)
    yield "}"


def nft(stage, n):
    inside = stage.cable(stage.namespace("n%d" % n))
    def load(text):
        cpu, wall = children_cpu_ms(), time.monotonic()
        sh(*inside, "nft", "-f", "-", input=text)
        return children_cpu_ms() - cpu, (time.monotonic() - wall) * 1e3
    cost = load("\n".join(nft_rules(n)) + "\n")
    ones = []
    for i in range(CHANGES):
        target = "%d : goto endpoint-%d-%d"
        draw = ", ".join(target % (k, i, k) for k in range(api.ENDPOINTS - 1))
        ones.append(load("flush chain ip kube-proxy service-%d\nadd rule ip kube-proxy service-%d numgen random mod %d vmap { %s }\n"
                         "delete chain ip kube-proxy endpoint-%d-%d\n" % (i, i, api.ENDPOINTS - 1, draw, i, api.ENDPOINTS - 1)))
    return Client("nftables shape", inside, api.cluster_address(n - 1), api.PORT, all_cpu=cost[0], all_wall=cost[1],
                  one_cpu=statistics.median(o[0] for o in ones), one_wall=statistics.median(o[1] for o in ones))


def ms(value):
    return "" if value is None else "%.2f" % value if value < 10 else "{:,.0f}".format(value)


def run(n, rounds, seconds, peers):
    with contextlib.ExitStack() as stack:
        stage = Stage(stack)
        clients = [plain(stage, n), weft(stage, n)]
        if n <= peers:
            clients += [kube_proxy(stage, n), nft(stage, n)]
        wait_for("the server", clients[0].answers)
        for c in clients:
            c.p50, c.rate = [], []
        for r in range(rounds):
            for c in clients[::-1] if r % 2 else clients:
                c.measure(seconds)
        for c in clients:
            ratio = statistics.median(a / b for a, b in zip(c.rate, clients[0].rate))
            print("| {:,} | {} | {} | {} | {} | {} | {:.1f} | {:.2f} |".format(
                n, c.name, *(ms(c.cost.get(k)) for k in ("all_cpu", "all_wall", "one_cpu", "one_wall")), statistics.median(c.p50), ratio), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10,1000,10000,100000")
    parser.add_argument("--peers", type=int, default=1000, help="the most Services that the others serve, too: at 10000 nftables holds a"
                        " lock of the kernel for three minutes, for the whole machine, and kube-proxy takes half a minute a change")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--syncs", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.syncs:
        print(json.dumps(syncs()))
        return
    if not os.access(KUBE_PROXY, os.X_OK):
        sys.exit("%s is missing: tests/kubernetes/build.sh builds it, KUBE_PROXY=PATH names another" % KUBE_PROXY)
    print("| Services | served by | all: CPU ms | wall ms | one endpoint: CPU ms | wall ms | connection, p50 µs | connections/s × none |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for n in map(int, args.sizes.split(",")):
        run(n, args.rounds, args.seconds, args.peers)


if __name__ == "__main__":
    main()
