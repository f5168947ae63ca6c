# SPDX-License-Identifier: Apache-2.0
"""The CNI specification, assertion by assertion, against the real plugin and agent."""

import json
import os
import signal
import subprocess

import pytest

from cninode import WEFT_BIN, wait_for

pytestmark = pytest.mark.sanitizers

VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]


@pytest.mark.parametrize("version", VERSIONS)
def test_CNI_1_result_is_in_the_requested_version(node, version):
    node.pod("a")
    r = node.cni("ADD", "a", version=version).ok()
    assert r["cniVersion"] == version
    if version < "0.3.0":
        assert r["ip4"]["ip"] == "10.99.0.2/32" and r["ip6"]["ip"] == "fd99::2/128"
        assert "ips" not in r
    else:
        assert [i["address"] for i in r["ips"]] == ["10.99.0.2/32", "fd99::2/128"]
        assert [i.get("version") for i in r["ips"]] == (["4", "6"] if version < "1.0.0" else [None, None])
    node.cni("DEL", "a", version=version).ok()


def test_CNI_1_unknown_version_is_error_1(node):
    node.pod("a")
    for version in ("9.9.9", "1.2.0", "0.0.0", "x"):
        node.cni("ADD", "a", version=version).error(1)


def test_CNI_3_missing_variables_are_error_4_and_named(node):
    e = node.call("ADD", node.config(), {}).error(4)
    for name in ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"):
        assert name in e["msg"]


def test_CNI_4_codes_of_bad_configurations(node):
    node.pod("a")
    env = node.env("a")
    assert "line 1" in node.call("ADD", b'{"cniVersion":', env).error(6)["msg"]
    node.call("ADD", b"", env).error(6)
    node.call("ADD", b"\xff\xfe", env).error(6)
    e = node.call("ADD", node.config(ipam={"type": "host-local"}), env).error(2)
    assert "ipam.type" in e["msg"] and "host-local" in e["msg"]
    node.call("ADD", {**node.config(), "name": "../x"}, env).error(7)
    node.call("ADD", b" " * (600 * 1024), env).error(5)


def test_CNI_5_error_is_json_on_standard_output(node):
    r = node.call("ADD", node.config(), {})
    assert r.code != 0
    assert set(r.json) >= {"cniVersion", "code", "msg"}


def test_CNI_6_unknown_keys_are_tolerated(node):
    node.pod("a")
    node.call("ADD", node.config(surprise={"a": [1]}, **{"cni.dev/x": 1}, runtimeConfig={"other": 1}, args={"x": 1}),
              node.env("a", args="IgnoreUnknown=1;FOO=bar")).ok()


def test_CNI_10_existing_interface_is_an_error(node):
    node.pod("a")
    baseline = node.residue()
    node.in_pod("a", "ip link add eth0 type bridge")
    e = node.cni("ADD", "a").error(101)
    assert "eth0" in e["msg"]
    node.wait_clean(baseline)
    assert "bridge" in node.in_pod("a", "ip -d link show eth0"), "the foreign interface must stay"


def test_CNI_10_second_ADD_of_the_same_attachment_is_an_error(node):
    node.pod("a")
    node.cni("ADD", "a").ok()
    before = node.residue()
    node.cni("ADD", "a").error(101)
    assert node.residue() == before


def test_CNI_10_two_interfaces_of_one_container_are_two_attachments(node):
    node.pod("a")
    one, two = node.cni("ADD", "a").ok(), node.cni("ADD", "a", ifname="net1").ok()
    assert one["ips"][0]["address"] != two["ips"][0]["address"]
    node.cni("DEL", "a", ifname="net1").ok()
    assert node.status()["endpoints"][0]["interface"] == "eth0"


def test_CNI_11_result_says_what_the_kernel_has(node):
    node.pod("a")
    r = node.cni("ADD", "a").ok()
    host, pod = r["interfaces"]
    assert "sandbox" not in host and pod["sandbox"] == "/run/netns/a" and pod["name"] == "eth0"
    link = json.loads(node.in_pod("a", "ip -j addr show eth0"))[0]
    assert link["address"] == pod["mac"] and link["mtu"] == pod["mtu"] == 1500 and "UP" in link["flags"]
    assert node.links()[host["name"]]["address"] == host["mac"]
    assert {"%s/%d" % (a["local"], a["prefixlen"]) for a in link["addr_info"] if a["scope"] == "global"} == \
        {i["address"] for i in r["ips"]}
    assert all(i["interface"] == 1 for i in r["ips"])
    assert {x["dst"] for x in r["routes"]} == {"0.0.0.0/0", "::/0"}
    default = json.loads(node.in_pod("a", "ip -j route show default"))[0]
    assert default["gateway"] == "169.254.1.1"
    assert "mtu 1450" in node.in_pod("a", "ip route show default")
    assert "fe80::1" in node.in_pod("a", "ip -6 route show default")
    assert node.routes() == ["10.99.0.2", "fd99::2"]


def test_CNI_11_pod_is_ready_for_IPv6_at_once(node):
    node.pod("a")
    node.sh("nsenter --net=/run/netns/a sh -c 'echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6'")
    node.cni("ADD", "a").ok()
    assert "tentative" not in node.in_pod("a", "ip -6 addr show dev eth0 scope global")
    assert "fd99::2" in node.in_pod("a", "ip -6 addr show dev eth0 scope global")
    assert node.in_pod("a", "cat /proc/sys/net/ipv6/conf/eth0/accept_ra").strip() == "0"


@pytest.mark.parametrize("v4,v6", [("10.99.0.0/24", None), (None, "fd99::/112")])
def test_CNI_11_one_family(make_node, v4, v6):
    node = make_node(v4=v4, v6=v6).start()
    baseline = node.residue()
    node.pod("a")
    r = node.cni("ADD", "a").ok()
    assert [i["address"] for i in r["ips"]] == (["10.99.0.2/32"] if v4 else ["fd99::2/128"])
    assert len(r["routes"]) == 1
    node.cni("CHECK", "a", prevResult=r).ok()
    node.in_pod("a", "ping -c1 -W5 " + ("10.99.0.1" if v4 else "fd99::1"))
    node.cni("DEL", "a").ok()
    node.wait_clean(baseline)


def test_CNI_12_prevResult_is_kept(node):
    node.pod("a")
    prev = {"cniVersion": "1.0.0", "interfaces": [{"name": "x0"}], "ips": [{"address": "1.2.3.4/24", "interface": 0}],
            "dns": {"nameservers": ["9.9.9.9"]}}
    r = node.cni("ADD", "a", version="1.0.0", prevResult=prev).ok()
    assert r["interfaces"][0] == {"name": "x0"} and r["ips"][0] == prev["ips"][0] and r["dns"] == prev["dns"]
    assert r["ips"][1]["interface"] == 2


POINTS = ["add.journal", "add.link", "add.datapath", "add.host", "add.pod", "add.commit"]


@pytest.mark.parametrize("point", POINTS)
def test_CNI_14_failure_midway_leaves_no_residue(node, point):
    node.pod("a")
    baseline = node.residue()
    node.set_fault(point + " error")
    node.cni("ADD", "a").error(103)
    node.clear_fault()
    node.wait_clean(baseline)
    assert "eth0" not in node.in_pod("a", "ip link")
    node.cni("ADD", "a").ok()


def test_CNI_14_a_namespace_that_is_none_leaves_no_residue(node):
    baseline = node.residue()
    e = node.cni("ADD", "missing").error(104)
    assert "CNI_NETNS" in e["msg"]
    node.call("ADD", node.config(), {**node.env("x"), "CNI_NETNS": "/etc/passwd"}).error(104)
    node.call("ADD", node.config(), {**node.env("x"), "CNI_NETNS": "/proc/self/ns/net"}).error(4)
    node.wait_clean(baseline)


def test_CNI_20_DEL_repeated_or_unknown_succeeds(node):
    node.pod("a")
    node.cni("ADD", "a").ok()
    for _ in range(5):
        assert node.cni("DEL", "a").ok() is None
    node.cni("DEL", "never-there").ok()


def test_CNI_20_DEL_without_netns_and_with_corrupted_prevResult(node):
    baseline = node.residue()
    node.pod("a", "b", "c")
    for p in "abc":
        node.cni("ADD", p).ok()
    node.unpod("a")
    node.cni("DEL", "a").ok()
    node.cni("DEL", "b", netns=False).ok()
    node.call("DEL", node.config(prevResult=["?"]), node.env("c")).ok()
    node.wait_clean(baseline)


def test_CNI_20_interface_is_gone_after_DEL_and_a_new_ADD_works_at_once(node):
    node.pod("a")
    for _ in range(20):
        node.cni("ADD", "a").ok()
        node.cni("DEL", "a").ok()
    wait_for("eth0 goes", lambda: "eth0" not in node.in_pod("a", "ip link"))


def test_CNI_21_DEL_releases_the_address_and_it_rests(node):
    node.pod("a", "b")
    first = node.cni("ADD", "a").ok()["ips"][0]["address"]
    node.cni("DEL", "a").ok()
    ipam = node.status()["ipam"][0]
    assert ipam["used"] == 0 and ipam["resting"] == 1
    assert node.cni("ADD", "b").ok()["ips"][0]["address"] != first


def test_CNI_22_DEL_never_touches_another_container(node):
    node.pod("a", "b")
    node.cni("ADD", "a").ok()
    node.cni("ADD", "b").ok()
    node.cni("DEL", "a", container="other").ok()
    node.cni("DEL", "a", ifname="eth1").ok()
    assert len(node.status()["endpoints"]) == 2
    node.cni("DEL", "a").ok()
    assert [e["container"] for e in node.status()["endpoints"]] == ["id-b"]
    assert "eth0" in node.in_pod("b", "ip link")


def check(node, prev):
    return node.cni("CHECK", "a", prevResult=prev)


def test_CNI_30_CHECK_passes_right_after_ADD(node):
    node.pod("a")
    prev = node.cni("ADD", "a").ok()
    assert check(node, prev).ok() is None
    prev["ips"].append({"address": "7.7.7.7/32"})
    prev["interfaces"].append({"name": "later"})
    check(node, prev).ok()


DAMAGES = {
    "address": "ip addr del 10.99.0.2/32 dev eth0",
    "route": "ip route del default",
    "route6": "ip -6 route del default",
    "neighbour": "ip neigh del 169.254.1.1 dev eth0",
    "down": "ip link set eth0 down",
    "mac": "ip link set eth0 address 02:00:00:00:00:99",
}


@pytest.mark.parametrize("what", sorted(DAMAGES))
def test_CNI_30_CHECK_finds_damage_in_the_pod(node, what):
    node.pod("a")
    prev = node.cni("ADD", "a").ok()
    node.in_pod("a", DAMAGES[what])
    check(node, prev).error(102)


def test_CNI_30_CHECK_finds_wrong_prevResult_and_unknown_container(node):
    node.pod("a", "b")
    prev = node.cni("ADD", "a").ok()
    node.cni("CHECK", "a").error(7)
    wrong = json.loads(json.dumps(prev).replace("10.99.0.2/32", "10.99.0.3/32"))
    check(node, wrong).error(102)
    node.cni("CHECK", "b", prevResult=prev).error(3)


def test_CNI_40_STATUS(node):
    node.cni("STATUS").ok()
    node.kill()
    node.cni("STATUS").error(50)


def test_CNI_40_STATUS_without_a_range_is_50(make_node):
    n = make_node()
    os.unlink(n.run + "/state/node.json")
    n.start(wait=False)
    wait_for("answers", lambda: os.path.exists(n.run + "/weftd.sock"))
    e = n.cni("STATUS").error(50)
    assert "range" in e["msg"]
    n.pod("a")
    n.cni("ADD", "a").error(11)
    n.cni("DEL", "a").ok()


def test_CNI_50_VERSION_needs_no_agent(node):
    node.kill()
    for version in VERSIONS:
        r = node.call("VERSION", {"cniVersion": version}).ok()
        assert r == {"cniVersion": version, "supportedVersions": VERSIONS}
    as_libcni_asks = {name: "dummy" for name in ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME")}
    assert node.call("VERSION", {"cniVersion": "1.0.0"}, as_libcni_asks).ok()["supportedVersions"] == VERSIONS


def test_CNI_60_GC_frees_only_the_rest(node):
    node.pod("a", "b", "c")
    for p in "abc":
        node.cni("ADD", p).ok()
    node.cni("ADD", "a", ifname="net1").ok()
    keep = [{"containerID": "id-a", "ifname": "eth0"}, {"containerID": "gone", "ifname": "eth0"}]
    node.call("GC", node.config(**{"cni.dev/valid-attachments": keep})).ok()
    assert [(e["container"], e["interface"]) for e in node.status()["endpoints"]] == [("id-a", "eth0")]
    node.call("GC", {**node.config(**{"cni.dev/valid-attachments": []}), "name": "another"}).ok()
    assert len(node.status()["endpoints"]) == 1


def test_CNI_61_GC_with_an_empty_list_wipes(node):
    baseline = node.residue()
    node.pod("a", "b")
    node.cni("ADD", "a").ok()
    node.cni("ADD", "b").ok()
    node.call("GC", node.config(**{"cni.dev/valid-attachments": []})).ok()
    node.wait_clean(baseline)


def test_CNI_80_wanted_address(node):
    node.pod("a", "b")
    r = node.cni("ADD", "a", runtimeConfig={"ips": ["10.99.0.77/24"]}).ok()
    assert r["ips"][0]["address"] == "10.99.0.77/32"
    config = node.config(args={"cni": {"ips": ["10.99.0.77"]}})
    assert "in use" in node.call("ADD", config, node.env("b")).error(100)["msg"]


def test_agent_down_ADD_is_11_and_DEL_is_queued(node):
    baseline = node.residue()
    node.pod("a", "b")
    node.cni("ADD", "a").ok()
    node.kill(signal.SIGTERM)
    node.cni("ADD", "b").error(11)
    node.cni("DEL", "a").ok()
    node.cni("DEL", "a").ok()
    assert len(os.listdir(node.run + "/del-queue")) == 1
    node.start()
    node.wait_clean(baseline)
    assert os.listdir(node.run + "/del-queue") == []


def test_queued_DEL_is_done_before_ADD_of_the_same_id(node):
    node.pod("a")
    node.cni("ADD", "a").ok()
    node.agent.send_signal(signal.SIGSTOP)
    os.rename(node.run + "/weftd.sock", node.run + "/moved")
    node.cni("DEL", "a").ok()
    os.rename(node.run + "/moved", node.run + "/weftd.sock")
    node.agent.send_signal(signal.SIGCONT)
    node.cni("ADD", "a").ok()
    assert len(node.status()["endpoints"]) == 1
    assert os.listdir(node.run + "/del-queue") == []


def test_status_escapes_hostile_names(node):
    node.pod("a")
    node.cni("ADD", "a", args="K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-a").error(11)  # no API, so nobody knows its policy
    node.pod("podman")
    node.cni("ADD", "podman", args="IgnoreUnknown=1;K8S_POD_NAMESPACE=;K8S_POD_NAME=sleepy_volhard").ok()
    out = subprocess.run([os.path.join(WEFT_BIN, "weft"), "status", "--socket", node.run + "/weftd.sock"], capture_output=True,
                         timeout=60, check=True).stdout
    assert b"sleepy_volhard" in out and b"\x1b" not in out
