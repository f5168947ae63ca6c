# SPDX-License-Identifier: Apache-2.0
"""How soon a change of policy is felt: from its event at a watch of the API to the last packet that got through, with an agent and real
packets. A relabelled peer (P7), and a policy that names 1,000 peers. In a lab of its own; the 1,000 are pods of a node that nobody runs."""

import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lab"))

from apiwatch import Api, Watch  # noqa: E402
from labs import Lab, pod, wait_for  # noqa: E402

ROUNDS, PEERS = 10, 1000
POLICIES = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
PODS = "/api/v1/namespaces/default/pods"

# A datagram a millisecond; after a second without an answer prints when the last one came, in milliseconds of CLOCK_MONOTONIC.
SENDER = """
import select, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 8080))
s.setblocking(False)
last, began = time.monotonic(), False
while time.monotonic() - last < 1:
    try:
        s.send(b"x")
    except OSError:
        pass
    select.select([s], [], [], 0.001)
    try:
        while s.recv(2048):
            last = time.monotonic()
            if not began:
                began = True
                print("go", flush=True)
    except OSError:
        pass
print(last * 1000)
"""


def policy(**peer):
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "only", "namespace": "default"},
            "spec": {"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"],
                     "ingress": [{"from": [{"podSelector": {"matchLabels": peer}}]}]}}


def cut(lab, server, collection, change):
    """Milliseconds from the event that the change makes to the last answer; below zero: none came after it."""
    watch = Watch(lab.kubeconfig, collection)
    sender = lab.popen("default/client", sys.executable, "-c", SENDER, server, stdout=subprocess.PIPE)
    assert sender.stdout.readline() == "go\n"
    time.sleep(0.2)
    began = time.monotonic()
    change()
    at = wait_for("its event", lambda: next((t for t, _ in list(watch.events) if t >= began), None), every=0.001)
    last = float(sender.communicate(timeout=30)[0])
    watch.close()
    return last - at * 1000


def report(what, waits):
    waits = sorted(max(w, 0.0) for w in waits)
    print("%-60s median %5.1f ms, worst %5.1f ms (%d times)" % (what, waits[len(waits) // 2], waits[-1], len(waits)))


def make_peers(api):
    api.call("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "ghost"}})
    cidr = next(c for c in api.call("GET", "/api/v1/nodes/ghost")["spec"]["podCIDRs"] if ":" in c).split("/")[0]
    for i in range(PEERS):
        api.call("POST", PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "peer%d" % i, "labels": {"peer": "yes"}},
                                "spec": {"nodeName": "ghost", "containers": [{"name": "c", "image": "none"}]}})
        ip = "%s%x" % (cidr, i + 16)
        api.merge("%s/peer%d/status" % (PODS, i), {"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}})


def main():
    with Lab(nodes=2) as lab:
        lab.apply(pod("server", node="n1", labels={"app": "server"}), pod("client", node="n2", labels={"app": "client"}))
        lab.wait_ready()
        server = next(p["ips"][0] for p in lab.status()["pods"] if p["name"] == "server")
        api = Api(lab.kubeconfig)

        def relabel(app):
            api.merge(PODS + "/client", {"metadata": {"labels": {"app": app}}})

        waits = []
        api.call("POST", POLICIES, policy(app="client"))
        for _ in range(ROUNDS):
            relabel("client")
            waits.append(cut(lab, server, PODS, lambda: relabel("nobody")))
        report("a peer is relabelled, across nodes", waits)
        api.call("DELETE", POLICIES + "/only")
        make_peers(api)
        waits = []
        for _ in range(ROUNDS):
            waits.append(cut(lab, server, POLICIES, lambda: api.call("POST", POLICIES, policy(peer="yes"))))
            api.call("DELETE", POLICIES + "/only")
        report("a new policy that names %d pods, across nodes" % PEERS, waits)


if __name__ == "__main__":
    main()
