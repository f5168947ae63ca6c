# SPDX-License-Identifier: Apache-2.0
"""A container runtime as people use it, beside the pods of a lab node: podman with its CNI backend joins the network "weft".

podman runs inside node n1 of a lab: it sees the node's /run, /etc/cni/net.d, /opt/cni/bin and cgroups as its own, and all that it
leaves there goes with the node. What the containers left of the network must be gone before that."""

import json
import os
import shutil
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lab"))

from labs import Lab, family, pod, run, wait_for  # noqa: E402

CONTAINERS = """
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
network_config_dir = "/etc/cni/net.d"
"""
STORAGE = """
[storage]
driver = "vfs"
graphroot = "/run/podman/graph"
runroot = "/run/podman/run"
"""
IMAGE = "localhost/busybox:1"
CGROUPS = ["--cgroup-parent", "/podman", "--pids-limit", "-1"]  # a group of the node's; it has no pids controller


class Podman:
    def __init__(self, lab, node, directory):
        self.lab, self.node = lab, node
        self.env = ["env", "CONTAINERS_CONF=%s/containers.conf" % directory, "CONTAINERS_STORAGE_CONF=%s/storage.conf" % directory]
        (directory / "containers.conf").write_text(CONTAINERS)
        (directory / "storage.conf").write_text(STORAGE)
        root = directory / "root"
        (root / "bin").mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), root / "bin/busybox")
        for name in ("sh", "ip", "ping", "wget", "httpd"):
            (root / "bin" / name).symlink_to("busybox")
        (root / "hello").write_text("hello from the container\n")
        run("tar", "-C", root, "-cf", directory / "root.tar", ".")
        lab.exec(node, "mount", "-t", "tmpfs", "tmpfs", "/dev/shm")  # its locks: in the node's own mounts
        self("import", "-q", directory / "root.tar", IMAGE)

    def __call__(self, *args, **kw):
        return self.lab.exec(self.node, *self.env, "podman", *args, **kw).stdout.strip()

    def start(self, name, *command):
        self("run", "-d", *CGROUPS, "--name", name, "--network", "weft", IMAGE, *command)
        seen = json.loads(self("inspect", name))[0]["NetworkSettings"]["Networks"]["weft"]
        return [seen["IPAddress"], seen["GlobalIPv6Address"]]


@pytest.fixture(scope="module", autouse=True)
def packages():
    subprocess.run([os.path.join(HERE, "install.sh"), "podman", "runc", "busybox-static"], check=True, timeout=600)


def url(ip, path=""):
    return "http://%s:8080/%s" % (ip if family(ip) == 4 else "[%s]" % ip, path)


def what_is_there(lab):
    """What the network holds for containers on n1: links, name spaces, endpoints, libcni's memory."""
    links = json.loads(lab.exec("n1", "ip", "-j", "link").stdout)
    return {"links": sorted(link["ifname"] for link in links),
            "netns": lab.exec("n1", "ls", "/run/netns").stdout.split(),
            "endpoints": lab.node_status("n1")["endpoints"],
            "results": lab.exec("n1", "find", "/var/lib/cni", "-type", "f").stdout.split()}


@pytest.mark.parametrize("transport", ["vxlan", "direct"])
def test_containers_join_the_network_and_leave_nothing(transport, tmp_path):
    with Lab(nodes=2, transport=transport) as lab:
        lab.apply(pod("near", node="n1"), pod("far", node="n2"))
        lab.wait_ready()
        ranges = {p["name"]: p["ips"] for p in lab.status()["pods"]}
        before = what_is_there(lab)
        podman = Podman(lab, "n1", tmp_path)
        own = podman.start("server", "httpd", "-f", "-p", "8080", "-h", "/")
        assert {family(ip) for ip in own} == {4, 6}
        for name in ("near", "far"):
            for ip, mine in zip(ranges[name], own):
                answer = json.loads(podman("exec", "server", "wget", "-qO-", url(ip)))
                assert answer["pod"] == name and mine in answer["client"], answer
            for mine in own:
                got = lab.exec("default/" + name, "curl", "-sS", "-m", "5", url(mine, "hello")).stdout
                assert got == "hello from the container\n"
        other = podman.start("other", "httpd", "-f", "-p", "8080", "-h", "/")
        assert not set(other) & set(own)
        for ip in own:
            assert podman("exec", "other", "wget", "-qO-", url(ip, "hello")) == "hello from the container"
        podman("rm", "-f", "-t0", "server", "other")
        podman("run", "--rm", *CGROUPS, "--network", "weft", IMAGE, "ping", "-c1", "-W5", ranges["far"][0])
        wait_for("nothing is left", lambda: what_is_there(lab) == before, timeout=20)
