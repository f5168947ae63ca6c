# SPDX-License-Identifier: Apache-2.0
"""service.inbound: auto. A node that kube-proxy serves leaves clients outside to it, in each of its modes; and serves them when it is gone."""

import json

import pytest

from labs import Lab, pod, wait_for

PORT, HEALTH = 30080, 10256


@pytest.fixture(scope="module")
def lab():
    with Lab(nodes=1, set=["service.inbound=auto", "repair.auditSeconds=1"]) as lab:
        lab.apply(pod("w", node="n1", labels={"app": "w"}), {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "w"}, "spec": {
            "type": "NodePort", "ipFamilyPolicy": "PreferDualStack", "selector": {"app": "w"}, "ports": [{"port": 80, "targetPort": 8080, "nodePort": PORT}]}})
        lab.wait_ready()
        lab.addresses = lab.status()["nodes"][0]["addresses"]
        yield lab


def ask(lab, address, port):
    """The pod's name, or curl's exit code: 7 refused, as nobody listens."""
    done = lab.exec("world", "curl", "-s", "-g", "-m", 5, "http://%s:%d/" % ("[%s]" % address if ":" in address else address, port), check=False)
    return done.returncode or json.loads(done.stdout).get("pod")


def healthz(lab):
    return lab.exec("n1", "curl", "-s", "-m", 5, "http://127.0.0.1:%d/healthz" % HEALTH, check=False).returncode


def served(lab):
    services = lab.node_status("n1")["services"]
    return services["inbound"], [ask(lab, a, PORT) for a in lab.addresses], services.get("otherProxy")


@pytest.mark.parametrize("mode, begin, end", [
    ("nftables", "nft add table ip6 kube-proxy", "nft delete table ip6 kube-proxy"),
    ("nf_tables", "iptables-nft -t nat -N KUBE-SERVICES", "iptables-nft -t nat -X KUBE-SERVICES"),
    ("legacy", "ip6tables-legacy -t nat -N KUBE-SERVICES", "ip6tables-legacy -t nat -X KUBE-SERVICES")])
def test_inbound_auto_follows_kube_proxy(lab, mode, begin, end):
    wait_for("weft serves", lambda: served(lab) == (True, ["w", "w"], None))
    wait_for("/healthz", lambda: healthz(lab) == 0)
    lab.exec("n1", *begin.split())
    wait_for("weft leaves them to the other", lambda: served(lab)[:2] == (False, [7, 7]))
    assert mode in served(lab)[2]
    wait_for("/healthz is the other's", lambda: healthz(lab) == 7)
    vip = json.loads(lab.kubectl("get", "svc", "w", "-o", "json").stdout)["spec"]["clusterIP"]
    assert json.loads(lab.exec("n1", "curl", "-s", "-m", 5, "http://%s/" % vip).stdout)["pod"] == "w", "sockets are served all the same"
    if mode != "nftables":  # others' chains, and kubelet's, are no proxy
        lab.exec("n1", *begin.replace("KUBE-SERVICES", "KUBE-FIREWALL").split())
    lab.exec("n1", *end.split())
    wait_for("weft serves again", lambda: served(lab) == (True, ["w", "w"], None))
