# SPDX-License-Identifier: Apache-2.0
"""The agent against the real API server: set-up of the node from its Node object, peers, restart without the API."""

import json
import os
import shutil
import signal
import subprocess

import pytest

from cninode import WEFT_BIN, CniNode, wait_for


class Cluster(CniNode):
    """A node with a hub beside it in the same namespace; the second node is an object only."""

    def __init__(self):
        super().__init__()
        os.unlink(self.run + "/state/node.json")
        self.sh("ip addr del 10.99.0.1/32 dev lo; ip addr del fd99::1/128 dev lo")
        self.data = os.path.join(self.dir, "hub")
        self.hub = None
        self.start_hub()
        self.write_kubeconfig()

    def start_hub(self):
        r, w = os.pipe()
        self.hub = self.inside(os.path.join(WEFT_BIN, "weft-hub"), "--data", self.data, "--listen", "127.0.0.1:6443",
                               "--cluster-cidr", "10.99.0.0/16,fd99::/48", "--ready-fd", str(w), pass_fds=[w],
                               stdout=self.log, stderr=self.log)
        os.close(w)
        with os.fdopen(r) as f:
            assert f.readline(), self.logs()

    def stop_hub(self):
        self.hub.kill()
        self.hub.wait(60)

    def write_kubeconfig(self):
        out = subprocess.run([os.path.join(WEFT_BIN, "weft-hub"), "kubeconfig", "--data", self.data, "--server",
                              "https://127.0.0.1:6443", "--user", "admin", "--group", "system:masters"],
                             capture_output=True, text=True, timeout=60, check=True).stdout
        with open(self.dir + "/kubeconfig", "w") as f:
            f.write(out)

    def kubectl(self, *argv, data=None):
        p = self.inside("kubectl", "--kubeconfig", self.dir + "/kubeconfig", "--cache-dir", self.dir + "/kube-cache", *argv,
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = p.communicate(json.dumps(data) if data else "", timeout=60)
        assert p.returncode == 0, err
        return out

    def add_node(self, name, *addresses):
        self.kubectl("create", "-f", "-", data={"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        self.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps(
            {"status": {"addresses": [{"type": "InternalIP", "address": a} for a in addresses]}}))

    def stop(self):
        if self.hub and self.hub.poll() is None:
            self.stop_hub()
        super().stop()


@pytest.fixture
def cluster():
    c = Cluster()
    try:
        yield c
    finally:
        c.stop()


def with_nodes(c, *extra):
    c.add_node("n1", "172.30.99.2", "fd30:99::2")
    c.add_node("n2", "172.30.99.3", "fd30:99::3")
    c.start(*extra)
    wait_for("peer", lambda: c.status()["peers"] and c.status()["peers"][0]["state"] == "ok")
    return c


def test_node_is_set_up_from_its_object(cluster):
    c = with_nodes(cluster)
    s = c.status()
    assert s["ready"] and all(p["ok"] for p in s["health"].values()), s["health"]
    assert s["uplinks"] == ["up0"] and s["mtu"] == {"device": 1500, "route": 1450}
    assert s["peers"][0]["name"] == "n2" and s["peers"][0]["transport"] == "vxlan" and s["peers"][0]["mtu"] == 1450
    assert "encap" in c.sh("ip route show proto 87") and "unreachable" in c.sh("ip route show proto 87 type unreachable")
    link = json.loads(c.sh("ip -d -j link show weft-vxlan"))[0]
    assert "NOARP" in link["flags"] and link["linkinfo"]["info_data"]["external"]
    assert c.sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding").split() == ["1", "1"]
    for a in s["nodeAddresses"]:
        assert a in c.sh("ip addr show dev lo")
    with open(c.dir + "/net.d/10-weft.conflist") as f:
        assert [p["type"] for p in json.load(f)["plugins"]] == ["weft-cni"]
    wait_for("condition", lambda: "False" in c.kubectl("get", "node", "n1", "-o", "jsonpath={.status.conditions[?(@.type==\"NetworkUnavailable\")].status}"))
    c.pod("a")
    c.cni("ADD", "a").ok()
    c.in_pod("a", "ping -c1 -W5 " + s["nodeAddresses"][0])


@pytest.mark.parametrize("switch,there,chained", [("auto", True, True), ("auto", False, False), ("off", True, False), ("on", False, True)])
def test_portmap_is_chained_where_it_is(cluster, switch, there, chained):
    plugins = cluster.dir + "/plugins"
    os.mkdir(plugins)
    if there:
        shutil.copy("/bin/true", plugins + "/portmap")
    c = with_nodes(cluster, "--set", "cni.portmap=" + switch, "--set", "cni.binDir=" + plugins)
    with open(c.dir + "/net.d/10-weft.conflist") as f:
        conf = json.load(f)
    assert [p["type"] for p in conf["plugins"]] == ["weft-cni"] + ["portmap"] * chained
    assert ("cniVersions" in conf) != chained  # an older plugin behind ours may not know the newest
    assert not chained or conf["plugins"][1]["capabilities"] == {"portMappings": True}


def test_direct_transport_routes_by_the_peer(cluster):
    c = with_nodes(cluster, "--set", "transport=direct")
    assert "via 172.30.99.3" in c.sh("ip route show proto 87")
    assert "weft-vxlan" not in c.sh("ip link")


def test_restart_without_the_API_keeps_everything_and_serves_CNI(cluster):
    c = with_nodes(cluster)
    c.pod("a", "b")
    c.cni("ADD", "a").ok()
    before, routes = c.residue(), c.sh("ip route show proto 87; ip -6 route show proto 87; ip rule; ip neigh show nud permanent")
    c.kill()
    c.stop_hub()
    c.start()
    assert c.residue() == before
    assert c.sh("ip route show proto 87; ip -6 route show proto 87; ip rule; ip neigh show nud permanent") == routes
    c.cni("ADD", "b").ok()
    c.cni("DEL", "b").ok()
    assert not c.status()["health"]["api"]["ok"]
    c.start_hub()
    wait_for("API is back", lambda: c.status()["health"]["api"]["ok"])
    assert c.sh("ip route show proto 87; ip -6 route show proto 87; ip rule; ip neigh show nud permanent") == routes


def test_pods_that_run_get_a_smaller_path_MTU(cluster):
    c = with_nodes(cluster)
    c.pod("a")
    c.cni("ADD", "a").ok()
    assert "mtu 1450" in c.in_pod("a", "ip route show default")
    c.add_node("n3", "fd30:99::4")
    wait_for("the MTU of VXLAN over IPv6", lambda: "mtu 1430" in c.in_pod("a", "ip route show default"))
    wait_for("for IPv6 as well", lambda: "mtu 1430" in c.in_pod("a", "ip -6 route show default"))


def test_a_peer_that_goes_takes_its_routes_along(cluster):
    c = with_nodes(cluster)
    assert "encap" in c.sh("ip route show proto 87")
    c.kubectl("delete", "node", "n2")
    wait_for("routes go", lambda: "encap" not in c.sh("ip route show proto 87"))
    assert c.status()["peers"] == []


def test_L6_routes_that_somebody_flushes_come_back(cluster):
    c = with_nodes(cluster)
    shown = c.sh("ip route show proto 87; ip rule")
    c.sh("ip route flush proto 87; ip rule del pref $(ip rule | grep 5757 | head -1 | cut -d: -f1)")
    wait_for("repair", lambda: c.sh("ip route show proto 87; ip rule") == shown)


def test_foreign_device_on_the_port_is_reported_as_that(cluster):
    cluster.sh("ip link add foreign0 type vxlan id 7 dstport 4789 dev up0 && ip link set foreign0 up")
    cluster.add_node("n1", "172.30.99.2", "fd30:99::2")
    cluster.start(wait=False)
    wait_for("socket", lambda: os.path.exists(cluster.run + "/weftd.sock"))
    error = wait_for("report", lambda: cluster.status()["health"]["routes"].get("error", "").startswith("UDP port") and
                     cluster.status()["health"]["routes"]["error"])
    assert "4789" in error and "foreign0" in error and "vxlan.port" in error
    cluster.sh("ip link del foreign0")
    wait_for("recovery", lambda: cluster.status()["ready"])


def test_network_policies_are_in_force(cluster):
    c = with_nodes(cluster)
    c.kubectl("create", "-f", "-", data={"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {
        "name": "deny", "namespace": "default"}, "spec": {"podSelector": {}}})
    wait_for("counted", lambda: c.status()["networkPolicies"]["stored"] == 1)
    screen = subprocess.run([os.path.join(WEFT_BIN, "weft"), "status", "--socket", c.run + "/weftd.sock"], capture_output=True,
                            text=True, timeout=60, check=True).stdout
    assert "1 in force" in screen


def make_pods(c, *names):
    for name in names:
        c.kubectl("create", "-f", "-", data={"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
                                             "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "none"}]}})


def told(c, name):
    """The addresses of which the API knows, though no kubelet has told."""
    status = json.loads(c.kubectl("get", "pod", name, "-o", "json"))["status"]
    assert "podIP" not in status
    return next((x["message"].split(",") for x in status.get("conditions", ()) if x["type"] == "weft.dev/PodAddresses"), None)


def test_P6_the_API_knows_a_pods_addresses_when_ADD_returns(cluster):
    c = with_nodes(cluster)
    c.pod("a", "b")
    make_pods(c, "a", "b")
    ips = c.cni("ADD", "a", args="K8S_POD_NAMESPACE=default;K8S_POD_NAME=a").ok()["ips"]
    assert told(c, "a") == [ip["address"].split("/")[0] for ip in ips]
    # and an API that falls silent holds up one ADD for a moment, and none for good
    c.hub.send_signal(signal.SIGSTOP)
    try:
        ips = c.cni("ADD", "b", args="K8S_POD_NAMESPACE=default;K8S_POD_NAME=b").ok()["ips"]
        assert "takes long to be told" in c.logs()
    finally:
        c.hub.send_signal(signal.SIGCONT)
    wait_for("told at last", lambda: told(c, "b") == [ip["address"].split("/")[0] for ip in ips])


def pods_of(c):
    return [e["pod"] for e in c.status()["endpoints"]]


def test_R6_no_live_endpoint_is_freed_because_a_list_lacks_its_pod(cluster):
    """The API knows none of these pods. a: alive. b: its namespace lives on in a process though its path is gone. c: all gone."""
    c = with_nodes(cluster, "--set", "endpoints.reconcileSeconds=1")
    c.pod("a", "b", "c")
    make_pods(c, *"abc") # an ADD waits for what the API says of its pod
    for name in "abc":
        c.cni("ADD", name, args="K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + name).ok()
    c.kubectl("delete", "pods", "--all", "--force", "--grace-period=0")
    c.stop_hub()
    c.kill()
    c.start("--set", "endpoints.reconcileSeconds=1")
    holder = c.inside("nsenter", "--net=/run/netns/b", "--", "sleep", "600")
    try:
        own = os.readlink("/proc/%d/ns/net" % c.holder.pid)
        wait_for("in b", lambda: os.readlink("/proc/%d/ns/net" % holder.pid) not in (own, os.readlink("/proc/self/ns/net")))
        c.unpod("b", "c")
        wait_for("c is freed", lambda: "c" not in pods_of(c))
        assert pods_of(c) == ["a", "b"], "without the API, absence says nothing"
        c.start_hub()
        wait_for("b is freed when a whole list lacks it", lambda: pods_of(c) == ["a"])
        c.in_pod("a", "ip link show eth0")
    finally:
        holder.kill()
        holder.wait(60)


def test_teardown_takes_the_node_out_of_service(cluster):
    c = with_nodes(cluster)
    c.pod("a")
    c.cni("ADD", "a").ok()
    c.sh("iptables-nft -P FORWARD DROP")
    wait_for("pods' packets are accepted there", lambda: "weft: from pods" in c.sh("nft list ruleset"))
    c.kill(signal.SIGTERM)
    assert "encap" in c.sh("ip route show proto 87"), "ending takes nothing away"
    p = c.inside(os.path.join(WEFT_BIN, "weftd"), "--teardown", "--set", "run.dir=" + c.run, "--set",
                 "cni.confDir=%s/net.d" % c.dir, stderr=subprocess.PIPE, text=True)
    _, err = p.communicate(timeout=60)
    assert p.returncode == 0, err
    left = c.sh("ip link; ip route show table all; ip -6 route show table all; ip rule; ip -6 rule; ip neigh; ip addr show dev lo; nft list ruleset")
    assert "policy drop" in left
    for trace in ("weft", "proto 87", "5757", "10.99.0.1"):
        assert trace not in left, left
    assert os.listdir(c.dir + "/net.d") == []
