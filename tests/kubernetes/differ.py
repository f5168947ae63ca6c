# SPDX-License-Identifier: Apache-2.0
"""The same Services, the same clients, asked twice: of Weft and of kube-proxy. What a client can see is compared.

A probe is (client, row, protocol, address, port); its outcome is who answered, and as whom the endpoint saw the client:
the names of the pods (one of them where the client should stick), "client" for its own address, "node" for one of a node;
or how it failed, refused or timeout.
"""

import ipaddress
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import stories

HERE = os.path.dirname(os.path.abspath(__file__))
TRIES = 24  # of two endpoints one stays unseen once in eight million times
LB, LB6 = "203.0.113.%d", "2001:db8:113::%x"
FABRIC, FABRIC6 = "192.168.200.%s", "fd00:200::%s"  # of lib.sh


class Cluster:
    def __init__(self, env):
        self.env = env
        self.namespace = env.get("DIFFER_NAMESPACE", "differ")
        self.nodes = int(env["NODES"])
        self.families = (4, 6) if "IPv6DualStack=true" in env.get("FEATURE_GATES", "") else (4,)

    def run(self, *command, stdin=None, check=True, timeout=240):
        done = subprocess.run(command, env=self.env, input=stdin, text=True, timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert not check or done.returncode == 0, (command, done.stdout)
        return done.stdout

    def kubectl(self, *args, stdin=None, **kw):
        return self.run(os.path.join(HERE, "kc.sh"), "-n", self.namespace, *args, stdin=stdin, **kw)

    def shell(self, client, script):
        """Runs @script as @client: "pod NAME", "node N" or "outside"."""
        kind, _, name = client.partition(" ")
        if kind == "pod":
            return self.kubectl("exec", "-i", name, "--", "sh", stdin=script)
        netecho = "netecho() { %s/bin/netecho \"$@\"; }\n" % self.env["STATE"]
        where = [os.path.join(HERE, "node.sh"), name] if kind == "node" else ["nsenter", "--net=/run/netns/kcp", "--"]
        return self.run(*where, "sh", stdin=netecho + script)


# -- the objects

def pod(name, node, app, ready=True):
    box = {"name": "echo", "image": "localhost/weft/netecho:1", "imagePullPolicy": "Never", "ports": [{"name": "web", "containerPort": 8080}],
           "command": ["netecho", "8080"]}
    if not ready:
        box["readinessProbe"] = {"exec": {"command": ["false"]}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}},
            "spec": {"nodeName": "knode%d" % node, "terminationGracePeriodSeconds": 1, "containers": [box]}}


def service(cluster, name, app, number=0, labels=None, **spec):
    """With node ports (30100 + 2 * number, and the next) if it has a number, with load balancer addresses if it is of that type."""
    tcp = {"name": "t", "port": 80, "targetPort": "web"}
    udp = {"name": "u", "port": 53, "targetPort": 8080, "protocol": "UDP"}
    if number:
        spec.setdefault("type", "NodePort")
        tcp["nodePort"] = 30100 + 2 * number
        udp["nodePort"] = 30101 + 2 * number
    one_protocol = spec.get("type") == "LoadBalancer"  # 1.20 refuses two
    spec["ports"] = [tcp] if one_protocol else [tcp, udp]
    if app:
        spec["selector"] = {"app": app}
    if len(cluster.families) == 2:
        spec["ipFamilyPolicy"] = "RequireDualStack"
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def ranges(cluster, *both):
    return list(both[:len(cluster.families)])


def objects(cluster):
    def s(*args, **kw):
        return service(cluster, *args, **kw)
    return [
        pod("b1", 1, "both"), pod("b2", 2, "both"), pod("only", 1, "one"), pod("me", 1, "self"), pod("raw", 1, "unready", ready=False),
        pod("c1", 1, "client"), pod("c2", 2, "client"),
        s("plain", "both", 1), s("local", "one", 2, externalTrafficPolicy="Local"), s("mine", "self"),
        s("sticky", "both", 3, sessionAffinity="ClientIP"), s("empty", "nobody", 4), s("unready", "unready"),
        s("published", "unready", publishNotReadyAddresses=True), s("foreign", "both", labels={"service.kubernetes.io/service-proxy-name": "other"}),
        s("external", "both", externalIPs=[LB % 1] + [LB6 % 1] * (len(cluster.families) - 1)),
        s("balanced", "both", 5, type="LoadBalancer"), s("balanced-local", "one", 6, type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=32100),
        s("ranges", "both", 7, type="LoadBalancer", loadBalancerSourceRanges=ranges(cluster, FABRIC % "1" + "/32", FABRIC6 % "1" + "/128")),
        s("denied", "both", 8, type="LoadBalancer", loadBalancerSourceRanges=ranges(cluster, "198.51.100.0/24", "2001:db8:51::/48")),
        s("empty-balanced", "nobody", 9, type="LoadBalancer"),
        s("manual", None), {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "manual"}, "subsets": [
            {"addresses": [{"ip": FABRIC % "1"}], "ports": [{"name": "t", "port": 9000}, {"name": "u", "port": 9000, "protocol": "UDP"}]}]},
    ]


BALANCED = {"balanced": 2, "balanced-local": 3, "ranges": 4, "denied": 5, "empty-balanced": 6}


def create(cluster):
    cluster.run(os.path.join(HERE, "kc.sh"), "create", "ns", cluster.namespace)
    for n in range(1, cluster.nodes + 1):  # the kernel refuses one a second: others would seem to be dropped
        cluster.run(os.path.join(HERE, "node.sh"), str(n), "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
    cluster.run("nsenter", "--net=/run/netns/kcp", "--", "sh", "-c", 'setsid "$0" 9000 >/dev/null 2>&1 & echo $! >"$1"',
                cluster.env["STATE"] + "/bin/netecho", cluster.env["STATE"] + "/run/outside.pid")
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects(cluster)}))
    for name, n in BALANCED.items():
        ingress = [{"ip": LB % n}] + [{"ip": LB6 % n}] * (len(cluster.families) - 1)
        cluster.kubectl("patch", "svc", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": {"loadBalancer": {"ingress": ingress}}}))
    cluster.kubectl("wait", "--for=condition=Ready", "pod", "-l", "app!=unready", "--timeout=120s")
    wait(lambda: cluster.kubectl("get", "pod", "raw", "-o", "jsonpath={.status.podIP}"), "the pod that is not ready has an address")
    # Made last, so who serves it has seen the others.
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(service(cluster, "canary", "both", 10)))


def destroy(cluster):
    with open(cluster.env["STATE"] + "/run/outside.pid") as f:
        os.kill(int(f.read()), signal.SIGKILL)
    cluster.kubectl("delete", "svc", "--all", "--wait=false", check=False)
    cluster.kubectl("delete", "pod", "--all", "--grace-period=0", "--force", check=False)


def wait(state, what, seconds=90):
    end = time.monotonic() + seconds
    while not state():
        assert time.monotonic() < end, what
        time.sleep(0.2)


# -- the probes

def of_family(addresses, family):
    return next((a for a in addresses if ipaddress.ip_address(a).version == family), None)


def probes(cluster, services):
    """[(client, row, protocol, address, port)]"""
    made = []
    for family in cluster.families:
        ip = {name: of_family(s["spec"].get("clusterIPs") or [s["spec"]["clusterIP"]], family) for name, s in services.items()}
        fabric = (FABRIC if family == 4 else FABRIC6)
        inside = ["pod c1", "pod c2"] + ["node %d" % n for n in range(1, cluster.nodes + 1)]

        def add(clients, row, proto, address, port):
            if address:
                made.extend((c, "%s IPv%d" % (row, family), proto, address, port) for c in clients)

        for name in ("plain", "local", "sticky", "empty", "unready", "published", "foreign", "manual", "mine"):
            add(inside if name == "plain" else inside[:3], name + " cluster IP", "tcp", ip[name], 80)
            add(inside[:3], name + " cluster IP", "udp", ip[name], 53)
        add(["pod me"], "mine cluster IP, itself", "tcp", ip["mine"], 80)
        add(["pod me"], "mine cluster IP, itself", "udp", ip["mine"], 53)
        add(inside[:3], "plain cluster IP, port that it has not", "tcp", ip["plain"], 81)
        add(["outside"], "plain cluster IP", "tcp", ip["plain"], 80)
        for name, number in (("plain", 1), ("local", 2), ("sticky", 3), ("empty", 4), ("balanced-local", 6), ("denied", 8)):
            for n in range(1, cluster.nodes + 1):
                for proto in ("tcp",) if number > 4 else ("tcp", "udp"):
                    add(["pod c1", "node 1", "outside"], "%s node port of node %d" % (name, n), proto, fabric % ("1%d" % n), 30100 + 2 * number + (proto == "udp"))
        if family == 4:
            add(["node 1"], "plain node port, loopback", "tcp", "127.0.0.1", 30102)
        for row, n in [("external", 1), *BALANCED.items()]:
            add(["pod c1", "pod c2", "node 1", "outside via 1", "outside via 2"], row + " outer address", "tcp", (LB if family == 4 else LB6) % n, 80)
    return made


# All at once. What is not answered is asked once more, with more patience, before it counts.
ASK = """( o=$(if netecho -c {1} {2} {3} 2 1 2>&1; then netecho -c {1} {2} {3} 10 {4} 2>&1; else echo again; netecho -c {1} {2} {3} 5 1 2>&1; fi)
printf '@ %s\\n%s\\n' {0} "$o" ) &
"""


def own_addresses(cluster):
    """address → pod or node"""
    owner = {FABRIC % "1": "outside", FABRIC6 % "1": "outside"}
    for p in json.loads(cluster.kubectl("get", "pod", "-o", "json"))["items"]:
        owner.update({i["ip"]: "pod " + p["metadata"]["name"] for i in p["status"]["podIPs"]})
    for n in range(1, cluster.nodes + 1):
        shown = json.loads(cluster.run(os.path.join(HERE, "node.sh"), str(n), "ip", "-j", "addr"))
        owner.update({a["local"]: "node %d" % n for link in shown for a in link["addr_info"]})
    return owner


def outcome(client, lines, owner):
    names, seen = set(), set()
    for line in lines[lines.index("again") + 1:] if "again" in lines else lines:
        if line.startswith("name="):
            word = dict(w.split("=", 1) for w in line.split())
            names.add(word["name"] if word["name"] in ("b1", "b2", "only", "me", "raw") else "outside")
            who = owner.get(word["peer"], word["peer"])
            seen.add("client" if who == client.split(" via")[0] and "pod" in client + who else "node" if who.startswith("node") else "client" if who == "outside" else who)
        elif re.search("refused|not permitted", line):  # the latter: by a rule about what the node itself sends
            seen.add("refused")
        elif re.search("unavailable|in progress|timed out|is unreachable", line):  # the last: nobody took it, and routers know no way
            seen.add("timeout")
        else:
            seen.add(line)
    return (tuple(sorted(names)), tuple(sorted(seen)))


# What Weft does otherwise, and why (docs/services.md): (client and row, Weft's answer, kube-proxy's).
DEVIATIONS = [
    (r"cluster IP, port that it has not", "refused", "timeout"),
    (r"(pod|node) .* (local|balanced-local) node port of node", "answer", "timeout"),
    (r"node \d (external|empty-balanced) outer", "any", "timeout"),
    (r"node \d plain node port, loopback", "refused", "answer"),
]


def kind(outcome):
    return "answer" if outcome[0] else "+".join(outcome[1])


def without_lost(probe, theirs):
    """Of datagrams that begin at once the kernel's connection tracking loses one now and then: kube-proxy's fault, but by chance."""
    lost = probe[2] == "udp" and theirs[0] and "timeout" in theirs[1]
    return (theirs[0], tuple(w for w in theirs[1] if w != "timeout")) if lost else theirs


def compare(weft, kube_proxy):
    """Return: lines about probes in which the two differ, and no known reason explains it."""
    found, used = [], set()
    assert weft.keys() == kube_proxy.keys()
    for probe, ours in weft.items():
        theirs = without_lost(probe, kube_proxy[probe])
        if "sticky" in probe[1]:  # whom is up to chance
            ours, theirs = ((len(o[0]),) + o[1:] for o in (ours, theirs))
        if ours == theirs:
            continue
        # An endpoint, and its policy, see more often who asks.
        if ours[0] == theirs[0] and theirs[1] == ("node",) and "client" in ours[1] and set(ours[1]) <= {"client", "node"}:
            continue
        known = [d for d in DEVIATIONS if re.search(d[0], " ".join(probe[:2])) and d[1] in ("any", kind(ours)) and d[2] == kind(theirs)]
        used.update(known)
        if not known:
            found.append("%s: weft %s, kube-proxy %s" % (" ".join(map(str, probe)), ours, theirs))
    return found + ["no longer seen: %s" % (d,) for d in DEVIATIONS if d not in used]


def ask(cluster, client, wanted, owner):
    """{probe: outcome}"""
    via = re.search(r" via (\d)", client)
    if via:
        for net, gateway in (("203.0.113.0/24", FABRIC), ("2001:db8:113::/64", FABRIC6)):
            cluster.run("nsenter", "--net=/run/netns/kcp", "--", "ip", "route", "replace", net, "via", gateway % ("1" + via[1]))
    said = cluster.shell(client.split(" via")[0], "".join(ASK.format(i, *p[2:], TRIES - 1) for i, p in enumerate(wanted)) + "wait\n")
    answers = {int(part.split("\n", 1)[0]): part.splitlines()[1:] for part in said.split("@ ")[1:]}
    return {p: outcome(client, answers[i], owner) for i, p in enumerate(wanted)}


def record(cluster):
    """Asks whoever serves now. The node ports' health checks are in it, too."""
    services = {s["metadata"]["name"]: s for s in json.loads(cluster.kubectl("get", "svc", "-o", "json"))["items"]}
    wanted, owner = probes(cluster, services), own_addresses(cluster)
    canary = services["canary"]["spec"]["clusterIP"]
    for n in range(1, cluster.nodes + 1):
        wait(lambda: "name=" in cluster.shell("node %d" % n, "netecho -c tcp %s 80 2 1; true" % canary) and
             "name=" in cluster.shell("outside", "netecho -c tcp %s 30120 2 1; true" % (FABRIC % ("1%d" % n))), "node %d serves" % n)
    clients = dict.fromkeys(p[0] for p in wanted)
    with ThreadPoolExecutor(4) as pool:  # those with routes of their own one after the other
        jobs = [pool.submit(lambda cs: [ask(cluster, c, [p for p in wanted if p[0] == c], owner) for c in cs], cs)
                for cs in [[c for c in clients if " via" in c]] + [[c] for c in clients if " via" not in c]]
    found = {p: o for job in jobs for part in job.result() for p, o in part.items()}
    for n in range(1, cluster.nodes + 1):
        said = cluster.run("nsenter", "--net=/run/netns/kcp", "--", "curl", "-s", "-m", "10", "-w", "\n%{http_code}", "http://%s:32100/" % (FABRIC % ("1%d" % n)))
        body, _, code = said.rpartition("\n")
        word = json.loads(body)
        found[("outside", "health check of node %d" % n, "http", "", 32100)] = (code, word["localEndpoints"], word["service"]["name"])
    node_1 = {f: (FABRIC if f == 4 else FABRIC6) % "11" for f in cluster.families}
    return {**found, **stories.record(cluster, node_1, wait)}


def main():
    """By hand: differ.py create|record FILE|compare FILE FILE|destroy, with the variables of lib.sh."""
    cluster, verb, files = Cluster(dict(os.environ)), sys.argv[1], sys.argv[2:]
    if verb == "record":
        with open(files[0], "wb") as f:
            pickle.dump(record(cluster), f)
    elif verb == "compare":
        print(*compare(*(pickle.load(open(f, "rb")) for f in files)), sep="\n")
    else:
        {"create": create, "destroy": destroy}[verb](cluster)


if __name__ == "__main__":
    main()
