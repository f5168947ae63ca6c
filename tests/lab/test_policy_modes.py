# SPDX-License-Identifier: Apache-2.0
"""The agent's options policy.mode and policy.default, with real packets."""

import pytest
from labs import Lab, pod
from test_policy import audits, of, policy, reaches, settled


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_a_cluster_that_denies_by_default(mode):
    """What no policy speaks of is denied, or with policy.mode: observe told."""
    with Lab(nodes=1, set=["policy.default=deny", "policy.mode=" + mode]) as lab:
        lab.apply(*[pod(n, node="n1", labels={"app": n}) for n in ("server", "near")])
        lab.wait_ready()
        lab.ips = {p["name"]: p["ips"] for p in lab.status()["pods"]}
        assert reaches(lab, "n1", "server"), "its own node reaches a pod always: the kubelet's probes"
        if mode == "observe":
            assert reaches(lab, "near", "server")
            events, counted = audits(lab, "n1")
            assert counted >= 2 and {e["reason"] for e in events} == {"policy_egress"}
            return
        assert not reaches(lab, "near", "server")
        lab.apply(policy("out", pods={"app": "near"}, policyTypes=["Egress"], egress=[{}]))
        assert not reaches(lab, "near", "server")
        lab.apply(policy("in", pods={"app": "server"}, policyTypes=["Ingress"], ingress=[{"from": [of(app="near")]}]))
        settled(lab, "near", "server", True)
        assert not reaches(lab, "server", "near")
