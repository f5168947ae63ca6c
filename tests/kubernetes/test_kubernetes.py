# SPDX-License-Identifier: Apache-2.0
"""Weft as the network of a real Kubernetes (API server, controllers, kubelets on containerd): all of it, and beside kube-proxy.

The tests of a cluster are one story, in their order: two nodes and no kube-proxy; then kube-proxy serves; then a third node
joins; and daemons are killed before each and after. `make test` runs each of its parts on one cluster or the other (LEFT_OUT), `make test-full`
all on both."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import differ
import pytest
from scripts import BINARIES, HERE, script

CGROUP2 = next(line.split()[1] for line in open("/proc/mounts") if line.split()[2] == "cgroup2")
CLUSTERS = {
    "ipv4-vxlan": {"TRANSPORT": "vxlan"},
    "dual-direct": {
        "TRANSPORT": "direct", "FEATURE_GATES": "IPv6DualStack=true",
        "CLUSTER_CIDR": "10.244.0.0/16,fd00:244::/48", "SERVICE_CIDR": "10.96.0.0/16,fd00:96::/112",
        "NODE_MASK_FLAGS": "--node-cidr-mask-size-ipv4=24 --node-cidr-mask-size-ipv6=64"},
}


FULL = os.environ.get("WEFT_TEST_TIER") == "full"
LEFT_OUT = {} if FULL else {
    "ipv4-vxlan": {"test_smoke_after_kills_beside_kube_proxy", "test_smoke_of_three_nodes_beside_kube_proxy"},
    "dual-direct": {"test_smoke_beside_kube_proxy", "test_smoke_of_three_nodes_after_kills_beside_kube_proxy"}}


class Cluster:
    """A cluster that is up, and the smoke tests in it whose last wait is not over."""

    def __init__(self, env):
        self.env, self.nodes, self.smokes = env, int(env["NODES"]), []

    def ctl(self, *args):
        assert script("ctl.sh", *args, env=self.env, timeout=120).returncode == 0

    def kill_daemons(self):
        """kill -9 of all three on every node before one of them starts again."""
        def kill(node):
            for verb in ("kill", "start"):
                for daemon in ("weftd", "containerd", "kubelet"):
                    self.ctl(verb, str(node), daemon)
        with ThreadPoolExecutor() as pool:
            list(pool.map(kill, range(1, self.nodes + 1)))

    def join(self):
        self.nodes += 1
        self.ctl("join", str(self.nodes))

    def smoke(self):
        """All checks but the last, which lasts a minute and disturbs nobody; await_smokes() has its end."""
        p = subprocess.Popen(["timeout", "900", os.path.join(HERE, "smoke.sh")], env=self.env, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.smokes.append(p)
        seen = []
        for line in p.stdout:
            print(line, end="")
            seen.append(line)
            if "the rest is done" in line:
                failed = [line for line in seen if line.startswith("FAIL")]
                assert not failed, failed
                return
        assert p.wait() == 0 and not "the end was seen", seen[-5:]

    def await_smokes(self):
        said = [p.communicate()[0] for p in self.smokes]
        print(*said)
        assert [p.returncode for p in self.smokes] == [0] * len(self.smokes)
        self.smokes = []


@pytest.fixture(params=CLUSTERS, scope="module")
def cluster(request, binaries, tmp_path_factory):
    # LAB_LOCKED: the scripts of one suite need not wait for one another.
    env = {**os.environ, **CLUSTERS[request.param], "K8SBIN": BINARIES, "NODES": "2", "PROXY": "none", "EXPECT_SERVICES": "1",
           "LAB_LOCKED": "1", "WEFT_SET": "service.externalIPs=on", "STATE": str(tmp_path_factory.mktemp("k8s") / "state")}
    made = Cluster(env)
    try:
        up = script("up.sh", env=env, timeout=600)
        assert up.returncode == 0
        yield made
    finally:
        for p in made.smokes:
            p.kill()
            p.wait()
        script("down.sh", "--purge", env=env, timeout=300)


@pytest.fixture(scope="module")
def asked_of_weft(cluster):
    """(whom to ask, what Weft's Services answer)"""
    asked = differ.Cluster(cluster.env)
    try:
        differ.create(asked)
        yield asked, differ.record(asked)
    finally:
        differ.destroy(asked)


@pytest.fixture(scope="module")
def kube_proxy(cluster, asked_of_weft):
    """Serves from here on. Weft has handed over: nothing of its own serves any more."""
    cluster.ctl("services", "kube-proxy")
    for node in range(1, cluster.nodes + 1):
        left = script("node.sh", str(node), "bpftool", "cgroup", "show", "%s/knode%d" % (CGROUP2, node), env=cluster.env, timeout=60)
        assert "sock_" not in left.stdout
    return cluster


@pytest.fixture(scope="module")
def three_nodes(kube_proxy):
    kube_proxy.join()
    return kube_proxy


def test_smoke_after_kills_without_kube_proxy(cluster):
    cluster.kill_daemons()
    cluster.smoke()


def test_smoke_beside_kube_proxy(kube_proxy):
    kube_proxy.smoke()


def test_smoke_after_kills_beside_kube_proxy(kube_proxy):
    kube_proxy.kill_daemons()
    kube_proxy.smoke()


def test_smoke_of_three_nodes_beside_kube_proxy(three_nodes):
    three_nodes.smoke()


def test_smoke_of_three_nodes_after_kills_beside_kube_proxy(three_nodes):
    three_nodes.kill_daemons()
    three_nodes.smoke()


def test_P6_agents_tell_the_addresses_of_pods_and_kubelets_keep_what_they_told(cluster, asked_of_weft):
    pods = json.loads(script("kc.sh", "get", "pods", "-A", "-o", "json", env=cluster.env, timeout=60).stdout)["items"]
    told = {(p["metadata"]["name"], c["message"], ",".join(ip["ip"] for ip in p["status"]["podIPs"])) for p in pods
            for c in p["status"].get("conditions", ()) if c["type"] == "weft.dev/PodAddresses" and "podIPs" in p["status"]}
    assert told and all(by_agent == by_kubelet for _, by_agent, by_kubelet in told), told
    assert {p["metadata"]["name"] for p in pods if p["status"].get("podIPs") and not p["spec"].get("hostNetwork")} == {name for name, *_ in told}


def test_the_same_outcomes_as_kube_proxy(kube_proxy, asked_of_weft):
    """Every row that this kube-proxy implements, from pods, nodes and outside (differ.py)."""
    asked, weft = asked_of_weft
    theirs = differ.record(asked)
    assert len(weft) > 100 and sum(bool(o[0]) for o in theirs.values()) > 50, "most are answered"
    assert all("False" not in o[0] for o in weft.values()), weft
    assert differ.compare(weft, theirs) == []


def test_W_9_a_mesh_node_is_written_by_the_node_of_its_name_alone(cluster, tmp_path):
    deploy = os.path.join(HERE, "../../deploy/kubernetes")
    with open(os.path.join(deploy, "meshnode-rights.yaml"), encoding="utf-8") as f:
        rights = f.read()
    (tmp_path / "n1").write_text(rights.replace("NODE", "n1"))

    def kubectl(*words, known_as=None):
        groups = ["--as", known_as, "--as-group", "weft:nodes", "--as-group", "system:authenticated"] if known_as else []
        return script("kc.sh", *words, *groups, env=cluster.env, timeout=60)
    for path in ("rbac.yaml", "meshnodes.yaml"):
        assert kubectl("apply", "-f", os.path.join(deploy, path)).returncode == 0
    may = lambda *words: kubectl("auth", "can-i", *words, known_as="weft:n1").stdout.split()[-1]
    assert may("patch", "meshnodes.weft.dev/n1") == "no"
    assert kubectl("apply", "-f", str(tmp_path / "n1")).returncode == 0
    for name, right in (("n1", "yes"), ("n2", "no")):
        assert may("patch", "meshnodes.weft.dev/" + name) == right
        assert may("patch", "meshnodes.weft.dev/" + name, "--subresource=status") == right
    assert may("delete", "meshnodes.weft.dev/n1") == may("update", "meshnodes.weft.dev/n1") == "no"
    for verb in ("get", "list", "watch", "create"):
        assert may(verb, "meshnodes.weft.dev") == "yes"


def test_pods_of_all_smoke_tests_are_gone(cluster):
    cluster.await_smokes()
