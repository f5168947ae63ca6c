# SPDX-License-Identifier: Apache-2.0
"""Three zones (`weft lab up --zones 3`) and service.tiers: traffic stays near, no more of it than the near endpoints can bear, and
goes further when nobody near is left."""

import collections
import json

import pytest

from combos import BRIEF, options, params
from labs import WEFT, Lab, pod, wait_for

REQUESTS = 200
# On the client's node: from its own pod, over the cluster address; prints each answer on a line.
ASK = r"""
import http.client, sys
for _ in range(int(sys.argv[2])):
    c = http.client.HTTPConnection(sys.argv[1], 80, timeout=10)
    c.request("GET", "/")
    print(c.getresponse().read().decode().strip())
    c.close()
"""


@pytest.fixture(scope="module", params=params(BRIEF[2:3]))
def lab(request):
    way = options(request.param, "dual")
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
               "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}
    with Lab(nodes=3, zones=3, **{**way, "set": way["set"] + ["service.tiers=on"]}) as lab:
        lab.apply(service, pod("client", node="n1"), *[pod("w%d" % n, node="n%d" % n, labels={"app": "web"}) for n in (1, 2, 3)])
        lab.wait_ready()
        lab.zones = {n["name"]: n["zone"] for n in lab.status()["nodes"]}
        assert len(set(lab.zones.values())) == 3
        lab.vip = json.loads(lab.kubectl("get", "svc", "web", "-o", "json").stdout)["spec"]["clusterIP"]
        yield lab


def endpoints(lab):
    done = lab.exec("n1", WEFT, "service", "show", "web", "-o", "json", check=False)
    ports = json.loads(done.stdout)["ports"] if done.returncode == 0 else []
    return {e["address"]: e for p in ports if p["family"] == "IPv4" for e in p["endpoints"] if e["inCluster"]}


def traffic(lab, what):
    """Requests by the pod that answered, and bytes by the tier of its node as the client's node sees it."""
    out = lab.exec("default/client", "/usr/bin/python3", "-c", ASK, lab.vip, REQUESTS).stdout.splitlines()
    assert len(out) == REQUESTS
    tiers, pods, size = endpoints(lab), collections.Counter(), collections.Counter()
    for line in out:
        answer = json.loads(line)
        pods[answer["pod"]] += 1
        size[tiers[answer["server"]]["tier"]] += len(line)
    print("%s: bytes by tier: %s; requests by pod: %s" % (what, dict(size), dict(pods)))
    return pods, size


def test_traffic_stays_near(lab):
    wait_for("three endpoints, of which one is used", lambda: len(endpoints(lab)) >= 1 and sum(e["weight"] for e in endpoints(lab).values()))
    pods, size = traffic(lab, "one endpoint in each zone")
    assert set(pods) == {"w1"} and set(size) == {"node"}


def test_it_goes_further_when_the_near_endpoint_is_gone_and_comes_back(lab):
    lab.kubectl("delete", "pod", "w1", "--grace-period=1")
    wait_for("two endpoints", lambda: len(endpoints(lab)) == 2)
    pods, size = traffic(lab, "nobody in the client's zone")
    assert set(pods) == {"w2", "w3"} and "node" not in size and "zone" not in size
    assert min(pods.values()) > REQUESTS / 4 # half each; less is one in 10^13
    lab.apply(pod("w1", node="n1", labels={"app": "web"}))
    lab.wait_ready()
    wait_for("the near one is used alone", lambda: {e["tier"] for e in endpoints(lab).values()} == {"node"})
    pods, _ = traffic(lab, "it is back")
    assert set(pods) == {"w1"}


def test_a_near_zone_that_is_too_small_is_not_overloaded(lab):
    """One of five endpoints near, one of three nodes: it gets (1/5)/(1/3) of the traffic."""
    lab.apply(*[pod("x%d" % n, node="n%d" % n, labels={"app": "web"}) for n in (2, 3)])
    lab.wait_ready()
    wait_for("five endpoints", lambda: len(endpoints(lab)) == 5)
    pods, _ = traffic(lab, "one near, four far")
    assert 0.4 < pods["w1"] / REQUESTS < 0.8 and len(pods) == 5
