# SPDX-License-Identifier: Apache-2.0
"""A cluster of many pods, every one of them asking every other."""

import time

from labs import FULL, Lab, Matrix, pod


# In one way: it is about many at once.
def test_ten_nodes_two_hundred_pods():
    started = time.monotonic()
    with Lab(nodes=10, subnets=2) as lab:
        up = time.monotonic() - started
        lab.apply(*[pod("p%d" % i) for i in range(200)])
        lab.wait_ready(timeout=600)
        ready = time.monotonic() - started - up
        per_node = {}
        for p in lab.status()["pods"]:
            per_node[p["node"]] = per_node.get(p["node"], 0) + 1
        assert set(per_node.values()) == {20}
        checks, failures = Matrix(lab).run(("tcp", "udp", "icmp") if FULL else ("tcp", "icmp"))
        print("10 nodes up in %.1f s, 200 pods ready in %.1f s, %d checks in %.1f s" % (up, ready, checks, time.monotonic() - started - up - ready))
        assert not failures, failures[:10]
        assert checks >= 210 * 200 * 2 * 2
