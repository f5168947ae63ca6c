# SPDX-License-Identifier: Apache-2.0
"""P6 across nodes, measured: pods that speak in their first instruction (a datagram every 50 ms) to a pod of another node that some may reach. How many of the first
datagrams were heard, and how long after the address was in the API. policy_first.py [PODS [NODES]]; in a lab of its own."""

import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lab"))

from apiwatch import Watch  # noqa: E402
from labs import HELPERS, Lab, pod, wait_for  # noqa: E402
from test_policy import of, policy  # noqa: E402
from test_policy_first import Sound  # noqa: E402

FIRST = os.path.join(HELPERS, "lab-first")
CONDITION = "weft.dev/PodAddresses"


def told(o):
    return any(c["type"] == CONDITION for c in o.get("status", {}).get("conditions", ()))


def main():
    count, nodes = (int(a) for a in (sys.argv[1:] + ["500", "5"][len(sys.argv) - 1:]))
    nodes = ["n%d" % (i + 1) for i in range(nodes)]
    with tempfile.TemporaryDirectory() as tmp, Lab(nodes=len(nodes)) as lab:
        os.chmod(tmp, 0o755)
        sound = Sound(Path(tmp) / "sound")
        lab.apply(policy("ear", pods={"app": "ear"}, policyTypes=["Ingress"], ingress=[{"from": [of(speaks="yes")]}]),
                  pod("ear", node="n1", labels={"app": "ear"}, command=[FIRST, "hear", "7000", str(sound.path)]))
        lab.wait_ready()
        ear = next(p["ips"][0] for p in lab.status()["pods"] if p["name"] == "ear")
        wait_for("the policy", lambda: "default/ear" in lab.exec("n1", "weft", "policy", "list").stdout)
        watch = Watch(lab.kubeconfig, "/api/v1/pods")
        names = ["%s-%s-%d" % (may, node, i) for i in range(count // 2 // len(nodes)) for may in ("yes", "no") for node in nodes]
        began = time.monotonic()
        lab.apply(*[pod(n, node=n.split("-")[1], labels={"speaks": n.split("-")[0]}, command=[FIRST, "say", n, ear, "7000"]) for n in names])
        may = {n for n in names if n.startswith("yes")}
        wait_for("all that may", lambda: may <= set(sound.heard()), 900)
        took = time.monotonic() - began
        lab.wait_ready(900)
        words = sound.heard()
        print("%d pods on %d nodes in %.0f s, load %.1f; %d that may not were heard" % (len(names), len(nodes), took, os.getloadavg()[0], len(set(words) - may)))
        seen = defaultdict(lambda: [None, None])
        for at, event in list(watch.events):
            o = event["object"]
            s = seen[o["metadata"]["name"]]
            s[0] = s[0] or (told(o) and at) or None
            s[1] = s[1] or (o.get("status", {}).get("podIP") and at) or None
        watch.close()
        across = [w for w in may if "-n1-" not in w]
        first = sorted(min(n for _, n in words[w]) for w in across)
        print("across nodes: %d of %d heard by the first datagram; lost ones: median %d, 90%% %d, worst %d (50 ms each)"
              % (sum(n == 0 for n in first), len(first), first[len(first) // 2], first[len(first) * 9 // 10], first[-1]))
        for what, i in (("told in ADD", 0), ("in status.podIP", 1)):
            waits = sorted(min(at for at, _ in words[w]) - seen[w][i] * 1000 for w in across if seen[w][i])
            if waits:
                print("heard after the address was %s: median %.0f ms, 90%% %.0f, worst %.0f ms; %d of %d within 1 s"
                      % (what, waits[len(waits) // 2], waits[len(waits) * 9 // 10], waits[-1], sum(w <= 1000 for w in waits), len(waits)))
        same = [w for w in may if "-n1-" in w and min(n for _, n in words[w]) > 0]
        print("same node: %d late" % len(same))


if __name__ == "__main__":
    main()
