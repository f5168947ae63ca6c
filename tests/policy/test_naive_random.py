# SPDX-License-Identifier: Apache-2.0
"""The generator of random clusters and the minimiser, which the property tests of policy rest on."""

import json
import random
import re

import pytest

import naive
from naive_objects import BASE


def walk(value):
    yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(inner)


def test_random_clusters_are_rich_valid_and_repeatable():
    keys, actions, priorities, reused, dead, hosts, why = set(), set(), set(), 0, 0, 0, set()
    for seed in range(40):
        rng = random.Random(seed)
        objects = naive.random_cluster(rng)
        assert objects == naive.random_cluster(random.Random(seed))
        for _ in range(8):
            objects = naive.random_event(rng, objects)
        cluster = naive.Cluster(objects)
        assert cluster.problems == []
        specs = [o["spec"] for o in objects if o["kind"] in naive.POLICY_KINDS]
        keys |= {k for s in specs for v in walk(s) if isinstance(v, dict) for k in v}
        actions |= {v["action"] for s in specs for v in walk(s) if isinstance(v, dict) and "action" in v}
        priorities |= {s["priority"] for s in specs if "priority" in s}
        gone = [p for p in cluster.pods.values() if not p.live and not p.host_network]
        dead += len(gone)
        reused += sum(p.address(f) in cluster.owner for p in gone for f in (4, 6))
        hosts += sum(p.host_network for p in cluster.pods.values())
        for probe in naive.random_probes(rng, objects, 200):
            allowed, text = cluster.verdict(*probe)
            why.add((allowed, re.sub(r"[^a-zA-Z ].*", "", text.split(": ", 1)[-1])))
    assert keys >= {"ipBlock", "except", "endPort", "networks", "nodes", "pods", "namespaces", "portRange", "portNumber", "namedPort",
                    "destinationNamedPort", "range", "number", "sctp", "policyTypes", "matchExpressions"}
    assert actions == {"Accept", "Allow", "Deny", "Pass"} and priorities >= {0, 1, 999, 1000}
    assert reused and dead and hosts
    assert {(True, "default"), (True, "to itself"), (False, "isolated"), (True, "NetworkPolicy ns"), (False, "ClusterNetworkPolicy cp"),
            (True, "ClusterNetworkPolicy cp"), (True, "AdminNetworkPolicy cp"), (False, "BaselineAdminNetworkPolicy default ingress"),
            (True, "from its own node")} <= why


def test_invalid_objects_are_noticed_and_never_fatal():
    noticed = 0
    for seed in range(20):
        rng = random.Random(seed)
        objects = naive.random_cluster(rng, invalid=0.3)
        for _ in range(5):
            objects = naive.random_event(rng, objects, invalid=0.3)
        cluster = naive.Cluster(objects)
        noticed += bool(cluster.problems)
        for probe in naive.random_probes(rng, objects, 50):
            cluster.verdict(*probe)
    assert noticed == 20


def test_the_order_of_objects_does_not_matter():
    for seed in range(20):
        rng = random.Random(seed)
        objects = naive.random_cluster(rng)
        probes = naive.random_probes(rng, objects, 200)
        want = naive.Cluster(objects)
        shuffled = naive.Cluster(rng.sample(objects, len(objects)))
        assert [want.verdict(*p)[0] for p in probes] == [shuffled.verdict(*p)[0] for p in probes]


def test_events_leave_the_old_objects_as_they_were():
    rng = random.Random(5)
    objects = naive.random_cluster(rng)
    before = json.dumps(objects)
    changed = {json.dumps(naive.random_event(rng, objects)) for _ in range(100)}
    assert json.dumps(objects) == before and len(changed) > 80


def test_shrinking_finds_the_rule_that_matters():
    """Planted: an evaluator that takes endPort for exclusive; what is left is one policy with one range."""

    def blind(objects):
        objects = json.loads(json.dumps(objects))
        for o in objects:
            for v in walk(o):
                if isinstance(v, dict) and "endPort" in v and v["endPort"] > v["port"]:
                    v["endPort"] -= 1
        return objects

    def different(objects, probes):
        good, bad = naive.Cluster(objects), naive.Cluster(blind(objects))
        return [p for p in probes if good.verdict(*p)[0] != bad.verdict(*p)[0]]

    found = []
    for seed in range(100):
        rng = random.Random(seed)
        objects = naive.random_cluster(rng)
        found = different(objects, naive.random_probes(rng, objects, 2000))
        if found:
            break
    assert found, "the planted fault was not found"

    def differs(objects):
        return bool(different(objects, found[:1]))

    small = naive.shrink(objects, differs)
    assert differs(small)
    assert sorted(o["kind"] for o in small if o["kind"] in naive.POLICY_KINDS) == ["NetworkPolicy"]
    assert len(small) <= 4, naive.dump(small)
    rules = [r for o in small if o["kind"] == "NetworkPolicy" for d in ("ingress", "egress") for r in o["spec"].get(d, [])]
    assert len(rules) == 1 and len(rules[0]["ports"]) == 1 and "endPort" in rules[0]["ports"][0]


def test_shrinking_needs_something_to_shrink():
    with pytest.raises(ValueError):
        naive.shrink(BASE, lambda objects: False)
    assert naive.shrink(BASE, lambda objects: True) == []
