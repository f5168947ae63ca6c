# SPDX-License-Identifier: Apache-2.0
"""Weft as the network of a real Kubernetes (API server, controllers, kubelets on containerd): all of it, and beside kube-proxy."""

import os
import subprocess

import differ
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
FULL = os.environ.get("WEFT_TEST_TIER") == "full"
BINARIES = os.environ.get("K8SBIN", "/var/cache/weft-tests/k8s")
CGROUP2 = next(line.split()[1] for line in open("/proc/mounts") if line.split()[2] == "cgroup2")
CLUSTERS = {
    "ipv4-2-nodes-vxlan": {"NODES": "2", "TRANSPORT": "vxlan"},
    "dual-3-nodes-direct": {
        "NODES": "3", "TRANSPORT": "direct", "FEATURE_GATES": "IPv6DualStack=true",
        "CLUSTER_CIDR": "10.244.0.0/16,fd00:244::/48", "SERVICE_CIDR": "10.96.0.0/16,fd00:96::/112",
        "NODE_MASK_FLAGS": "--node-cidr-mask-size-ipv4=24 --node-cidr-mask-size-ipv6=64"},
}


def script(name, *args, env, timeout):
    done = subprocess.run([os.path.join(HERE, name), *args], env=env, timeout=timeout, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout)
    return done


@pytest.fixture(scope="session")
def binaries():
    """Built once a machine, from Debian's source package."""
    done = script("build.sh", BINARIES, BINARIES + "-src", env=dict(os.environ), timeout=3000)
    assert done.returncode == 0


@pytest.fixture(params=CLUSTERS, scope="module")
def cluster(request, binaries, tmp_path_factory):
    env = {**os.environ, **CLUSTERS[request.param], "K8SBIN": BINARIES, "QUICK": "1", "PROXY": "none", "EXPECT_SERVICES": "1",
           "WEFT_SET": "service.externalIPs=on", "STATE": str(tmp_path_factory.mktemp("k8s") / "state")}
    try:
        up = script("up.sh", env=env, timeout=600)
        assert up.returncode == 0
        yield env
    finally:
        script("down.sh", "--purge", env=env, timeout=300)


def smoke(env):
    done = script("smoke.sh", env=env, timeout=900)
    assert done.returncode == 0, [line for line in done.stdout.splitlines() if line.startswith("FAIL")]


def ctl(env, *args):
    assert script("ctl.sh", *args, env=env, timeout=120).returncode == 0


def test_smoke_without_kube_proxy(cluster):
    smoke(cluster)


def test_smoke_after_the_daemons_were_killed(cluster):
    for node in range(1, int(cluster["NODES"]) + 1):
        for daemon in ("weftd", "containerd", "kubelet"):
            ctl(cluster, "kill", str(node), daemon)
            ctl(cluster, "start", str(node), daemon)
    smoke(cluster)


def test_the_same_outcomes_as_kube_proxy(cluster):
    """Every row that this kube-proxy implements, from pods, nodes and outside (differ.py)."""
    asked = differ.Cluster(cluster)
    try:
        differ.create(asked)
        weft = differ.record(asked)
        ctl(cluster, "services", "kube-proxy")
        kube_proxy = differ.record(asked)
    finally:
        differ.destroy(asked)
    assert len(weft) > 100 and sum(bool(o[0]) for o in kube_proxy.values()) > 50, "most are answered"
    assert differ.compare(weft, kube_proxy) == []


def test_with_kube_proxy(cluster):
    """Weft hands Services over: nothing of its own serves them afterwards. The smoke test once is enough for every run."""
    ctl(cluster, "services", "kube-proxy")
    for node in range(1, int(cluster["NODES"]) + 1):
        left = script("node.sh", str(node), "bpftool", "cgroup", "show", "%s/knode%d" % (CGROUP2, node), env=cluster, timeout=60)
        assert "sock_" not in left.stdout
    if FULL or cluster["NODES"] == "2":
        smoke(cluster)


def test_W_9_a_mesh_node_is_written_by_the_node_of_its_name_alone(cluster, tmp_path):
    deploy = os.path.join(HERE, "../../deploy/kubernetes")
    with open(os.path.join(deploy, "meshnode-rights.yaml"), encoding="utf-8") as f:
        rights = f.read()
    (tmp_path / "n1").write_text(rights.replace("NODE", "n1"))

    def kubectl(*words, known_as=None):
        groups = ["--as", known_as, "--as-group", "weft:nodes", "--as-group", "system:authenticated"] if known_as else []
        return script("kc.sh", *words, *groups, env=cluster, timeout=60)
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
