# SPDX-License-Identifier: Apache-2.0
"""Labs for tests: bring one up, drive it with kubectl, probe every pair, see what is left afterwards."""

import contextlib
import ipaddress
import json
import os
import re
import signal
import subprocess
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WEFT_BIN = os.environ.get("WEFT_BIN", os.path.join(ROOT, "build/bin"))
WEFT = os.path.join(WEFT_BIN, "weft")
HELPERS = os.path.join(os.path.dirname(WEFT_BIN.rstrip("/")), "tests")
FULL = os.environ.get("WEFT_TEST_TIER") == "full"
TIMEOUT = 120


def run(*args, check=True, timeout=TIMEOUT, **kw):
    kw.setdefault("capture_output", True)
    done = subprocess.run([str(a) for a in args], text=True, timeout=timeout, **kw)
    if check and done.returncode != 0:
        raise AssertionError("%s: exit %d\n%s%s" % (" ".join(map(str, args)), done.returncode, done.stdout or "", done.stderr or ""))
    return done


def answers_of(pods, ask):
    """Twelve answers of `ask`, and more until each of the pods is among them: who answers is drawn by chance, and one of 60 is none."""
    answers = []
    while len(answers) < 12 or {a["pod"] for a in answers} != set(pods):
        assert len(answers) < 60, answers
        answers.append(ask())
        assert answers[-1], answers
    return answers


def wait_for(what, condition, timeout=TIMEOUT, every=0.05):
    """Waits until condition() is true and returns what it returned."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, "not within %d s: %s" % (timeout, what)
        time.sleep(every)


class Lab:
    def __init__(self, **options):
        self.name = "t" + uuid.uuid4().hex[:8]
        self.options = options
        self.kubeconfig = None

    def up(self):
        args = []
        for key, value in self.options.items():
            for v in value if isinstance(value, list) else [value]:
                args += ["--" + key, v]
        self.output = run(WEFT, "lab", "up", "--name", self.name, *args, timeout=300).stdout
        self.kubeconfig = self.weft("kubeconfig").strip()
        return self

    def down(self):
        return run(WEFT, "lab", "down", "--name", self.name, timeout=300)

    def __enter__(self):
        try:
            return self.up()
        except BaseException:
            self.down()
            raise

    def __exit__(self, kind, *_):
        if kind is not None:
            self.show_logs()
        found = self.sanitizer_reports()
        self.down()
        assert not found, found

    def weft(self, *args, **kw):
        return run(WEFT, "lab", *args, "--name", self.name, **kw).stdout

    def exec(self, target, *command, **kw):
        return run(WEFT, "lab", "--name", self.name, "exec", target, "--", *command, **kw)

    def popen(self, target, *command, **kw):
        return subprocess.Popen([WEFT, "lab", "--name", self.name, "exec", target, "--", *map(str, command)], text=True, **kw)

    def status(self):
        return json.loads(self.weft("status", "-o", "json"))

    def node_status(self, node):
        return json.loads(self.exec(node, WEFT, "status", "-o", "json").stdout)

    def is_well(self, node):
        """Does the agent answer, and do all its parts work?"""
        done = self.exec(node, WEFT, "status", "-o", "json", check=False)
        status = json.loads(done.stdout) if done.returncode == 0 else {"ready": False}
        return status["ready"] and all(p["ok"] for p in status["health"].values())

    def kubectl(self, *args, **kw):
        env = {**os.environ, "KUBECONFIG": self.kubeconfig, "HOME": "/nonexistent"}
        return run("kubectl", *args, env=env, **kw)

    def apply(self, *objects):
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        return self.kubectl("apply", "-f", "-", input=text)

    def wait_ready(self, timeout=TIMEOUT):
        """All pods Ready. One list a look: `kubectl wait` asks for each pod and allows itself five requests a second."""
        def unready():
            pods = json.loads(self.kubectl("get", "pods", "-A", "-o", "json").stdout)["items"]
            return [p["metadata"]["name"] for p in pods
                    if not any(c["type"] == "Ready" and c["status"] == "True" for c in p.get("status", {}).get("conditions", []))]
        wait_for("all pods ready", lambda: not unready(), timeout)

    def delete_pods(self):
        self.kubectl("delete", "pods", "--all", "-A", "--grace-period=1", timeout=TIMEOUT)

    def cgroup(self, part=""):
        with open("/proc/mounts") as f:
            mount = next(line.split()[1] for line in f if line.split()[2] == "cgroup2")
        return os.path.join(mount, "weft-lab-" + self.name, part)

    def pids(self, part):
        with open(os.path.join(self.cgroup(part), "cgroup.procs")) as f:
            return [int(p) for p in f.read().split()]

    def agents(self, node):
        """The node's agent; its WireGuard engine, which outlives it, lies in the same cgroup."""
        def name(pid):
            try:
                with open("/proc/%d/comm" % pid) as f:
                    return f.read().strip()
            except FileNotFoundError:
                return None
        return [pid for pid in self.pids(node + "/weftd") if name(pid) == "weftd"]

    def fabric(self, *command, **kw):
        """Runs a command in the fabric's network namespace."""
        return ["nsenter", "--net=/proc/%d/ns/net" % self.pids("keeper")[0], *map(str, command)]

    def sanitizer_reports(self):
        done = run("grep", "-rEhm", "3", "AddressSanitizer|LeakSanitizer|runtime error:", "/run/weft-lab/%s/logs" % self.name, check=False)
        return done.stdout

    def logs_of(self, node):
        with open("/run/weft-lab/%s/logs/%s-weftd.log" % (self.name, node), errors="replace") as text:
            return text.read()

    def show_logs(self):
        logs = "/run/weft-lab/%s/logs" % self.name
        for dirpath, _, files in os.walk(logs):
            for f in sorted(files):
                with open(os.path.join(dirpath, f), errors="replace") as text:
                    tail = text.readlines()[-15:]
                if tail:
                    print("--- %s\n%s" % (os.path.join(dirpath, f), "".join(tail)))


@contextlib.contextmanager
def running(lab, where, *command, says):
    """A program that runs until its input ends."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    p = subprocess.Popen(lab.fabric(*command), text=True, **pipes) if where == "fabric" else lab.popen(where, *command, **pipes)
    try:
        assert p.stdout.readline() == says + "\n"
        yield p
    finally:
        p.kill()
        p.wait()


@contextlib.contextmanager
def held_still(lab, who):
    pids = lab.pids(who)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def end(p):
    """Ends it; returns the last thing that it said."""
    return json.loads(p.communicate(timeout=120)[0])


def pod(name, ports=(8080,), node=None, host=False, labels=None, command=None, namespace="default", **spec):
    container = {"name": "c", "image": "none", "ports": [{"containerPort": p} for p in ports]}
    if command:
        container["command"] = command
    body = {"containers": [container], "hostNetwork": host, **spec}
    if node:
        body["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels or {}}, "spec": body}


# --- the matrix: every pod, and every node, to every pod ---

def family(address):
    return ipaddress.ip_address(address).version


def first_of(ranges, version):
    for r in ranges:
        net = ipaddress.ip_network(r)
        if net.version == version:
            return str(net.network_address + 1)
    return None


class Matrix:
    """What the lab's pods and nodes should see of each other."""

    def __init__(self, lab, port=8080):
        status = lab.status()
        self.lab, self.port = lab, port
        self.nodes = {n["name"]: n for n in status["nodes"] if n["ready"]}
        self.pods = [p for p in status["pods"] if p["phase"] == "Running" and p["node"] in self.nodes]
        self.host_addresses = {a for n in self.nodes.values() for a in n["addresses"]}

    def is_host(self, p):
        return p["ips"][0] in self.host_addresses

    def client(self, node, source, target, address):
        """As whom the target must see the source (a pod that has addresses of its own, or None for the node)."""
        version = family(address)
        if source:
            return next(ip for ip in source["ips"] if family(ip) == version)
        if not self.is_host(target):
            return first_of(self.nodes[node]["podCIDRs"], version)
        if target["node"] == node:
            return address
        return next(a for a in self.nodes[node]["addresses"] if family(a) == version)

    def lines(self, node, source, protocols):
        own = source and not self.is_host(source) and source or None
        for t in self.pods:
            for ip in t["ips"]:
                for protocol in protocols:
                    port = 0 if protocol == "icmp" else (8081 if self.is_host(t) else self.port)
                    yield "%s %s %d %s/%s %s" % (protocol, ip, port, t["namespace"], t["name"], self.client(node, own, t, ip))

    def sources(self):
        for p in self.pods:
            yield "%s/%s" % (p["namespace"], p["name"]), p["node"], p
        for n in self.nodes:
            yield n, n, None

    def probe(self, source, protocols):
        where, node, p = source
        lines = list(self.lines(node, p, protocols))
        done = self.lab.exec(where, os.path.join(HELPERS, "lab-probe"), input="\n".join(lines) + "\n", check=False)
        assert done.returncode in (0, 1), done.stderr
        last = re.search(r"^ok (\d+) failed (\d+)$", done.stdout, re.M)
        assert last and int(last[1]) + int(last[2]) == len(lines), done.stdout + done.stderr
        return len(lines), ["%s: %s" % (where, f) for f in done.stdout.splitlines() if f.startswith("fail ")]

    def run(self, protocols=("tcp", "udp", "icmp")):
        """Returns how many checks were made and the list of failures."""
        assert self.pods
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda s: self.probe(s, protocols), self.sources()))
        return sum(n for n, _ in results), [f for _, failures in results for f in failures]


def assert_matrix(lab, minimum):
    checks, failures = Matrix(lab).run()
    print("%s: %d checks, %d failed" % (lab.name, checks, len(failures)))
    assert checks >= minimum
    assert not failures, "%d of %d failed, the first:\n%s" % (len(failures), checks, "\n".join(failures[:10]))


def spread_pods(nodes, each=2):
    """A few pods a node, and one in the node's own network."""
    for n in range(1, nodes + 1):
        for i in range(each):
            yield pod("p%d-%d" % (n, i), node="n%d" % n)
        yield pod("host%d" % n, node="n%d" % n, host=True, ports=(8081,))


# --- traces ---

def traces(name):
    """What of a lab can be seen on the machine: processes, cgroups, mounts, files."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cgroup" % pid) as f:
                if "weft-lab-%s" % name in f.read():
                    found.append("process %s" % pid)
        except OSError:
            pass
    with open("/proc/mounts") as f:
        mounts = f.read()
    if name in mounts:
        found.append("mount")
    mount = next(line.split()[1] for line in mounts.splitlines() if line.split()[2] == "cgroup2")
    for path in ("/run/weft-lab/" + name, "/run/weft-lab/%s.lock" % name, os.path.join(mount, "weft-lab-" + name)):
        if os.path.exists(path):
            found.append(path)
    return found


def machine():
    """What must be the same before and after a lab: links, routes, rules, sysctls of forwarding, mounts."""
    commands = [["ip", "-o", "link"], ["ip", "-4", "route", "show", "table", "all"], ["ip", "-6", "route", "show", "table", "all"],
                ["ip", "rule"], ["sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"], ["cat", "/proc/mounts"]]
    return {" ".join(c): sorted(re.sub(r"\s+", " ", line) for line in run(*c).stdout.splitlines()) for c in commands}
