# SPDX-License-Identifier: Apache-2.0
"""Addresses of load balancers in the nodes' own network: a plain host there finds them by ARP and neighbour discovery, one node
answers, and another one when that node is gone."""

import json
import os
import signal

import pytest

from combos import BRIEF, options, params
from labs import WEFT, Lab, run, wait_for
from lan import Lan, longest_double, most_answers

POOL = {"apiVersion": "weft.dev/v1alpha1", "kind": "LoadBalancerPool", "metadata": {"name": "lan"},
        "spec": {"addresses": ["172.30.0.200-172.30.0.220", "fd30::200-fd30::220", "198.51.100.7/32"]}}
SERVICES = 6


def service(name, app="web", ip=None, **spec):
    meta = {"name": name, "annotations": {"weft.dev/load-balancer-ips": ip}} if ip else {"name": name}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta,
            "spec": {"type": "LoadBalancer", "ipFamilyPolicy": "SingleStack" if ip else "PreferDualStack", "selector": {"app": app}, "ports": [
                {"name": "web", "port": 80, "targetPort": 8080}, {"name": "udp", "protocol": "UDP", "port": 53, "targetPort": 8053}], **spec}}


def pod(name, app, node):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "none", "ports": [
                {"containerPort": 8080}, {"containerPort": 8053, "protocol": "UDP"}]}]}}


@pytest.fixture(scope="module", params=params(BRIEF[3:4]))
def lab(request):
    with Lab(nodes=3, **options(request.param, "dual")) as lab:
        lab.apply(POOL, *[service("web%d" % i) for i in range(SERVICES)], service("local", "both", externalTrafficPolicy="Local"),
                  pod("w1", "web", "n1"), pod("b1", "both", "n1"), pod("b2", "both", "n2"))
        lab.wait_ready()
        lab.lan = Lan(lab)
        try:
            wait_for("every address is announced", lambda: all(o for s in names() for o in owners(lab, s).values()))
            yield lab
        finally:
            lab.lan.close()


def names():
    return ["web%d" % i for i in range(SERVICES)] + ["local"]


def announced(lab, name, node="n1"):
    done = lab.exec(node, WEFT, "service", "show", name, "-o", "json", check=False)
    return json.loads(done.stdout)["announced"] if done.returncode == 0 else []


def addresses_of(lab, name):
    ingress = json.loads(lab.kubectl("get", "svc", name, "-o", "json").stdout).get("status", {}).get("loadBalancer", {}).get("ingress", [])
    return [i["ip"] for i in ingress]


def owners(lab, name, node="n1"):
    """{address: node}, as a node believes; "" while nobody is known to have it."""
    return {a["address"]: a["node"] for a in announced(lab, name, node)} or {"": ""}


def mac(lab, node):
    return lab.exec(node, "cat", "/sys/class/net/eth0/address").stdout.strip()


def pair_of(lab, node):
    """An IPv4 and an IPv6 address that the node announces and that pods of other nodes serve."""
    found = {}
    for i in range(SERVICES):
        for address, owner in owners(lab, "web%d" % i).items():
            if owner == node:
                found[":" in address] = address
    return [found[False], found[True]]


def test_SVC_5_a_host_in_the_lan_finds_the_addresses(lab):
    for name in names():
        by = owners(lab, name)
        assert set(by) == set(addresses_of(lab, name)) and len(by) == 2
        for address, node in by.items():
            assert lab.lan.ask(address, 80), (name, address, node)
            assert lab.lan.mac_of(address) == mac(lab, node)
        assert owners(lab, name, "n2") == owners(lab, name, "n3") == by
    spread = {n for name in names() for n in owners(lab, name).values()}
    assert spread == {"n1", "n2", "n3"}


def test_one_node_answers(lab):
    """And two answers would be seen: the address as a second node's own is the planted case."""
    address = pair_of(lab, "n3")
    with lab_watch(lab, address) as watch:
        watch.rounds(40)
        seen = watch.told()
    assert all(len(s["answers"]) > 2 and most_answers(s) == 1 for s in seen.values()), seen
    lab.exec("n2", "ip", "addr", "add", address[0] + "/32", "dev", "eth0")
    try:
        wait_for("a second answer", lambda: most_answers(lab_ask(lab, address[:1])[address[0]]) == 2)
    finally:
        lab.exec("n2", "ip", "addr", "del", address[0] + "/32", "dev", "eth0")
    wait_for("one owner again", lambda: most_answers(lab_ask(lab, address[:1])[address[0]]) == 1)


class lab_watch:
    def __init__(self, lab, addresses):
        self.watch = lab.lan.watch(addresses, 53)

    def __enter__(self):
        return self.watch

    def __exit__(self, *_):
        self.watch.kill()


def lab_ask(lab, addresses):
    with lab_watch(lab, addresses) as watch:
        watch.rounds(5)
        return watch.told()


def test_an_agent_that_is_gone_moves_nothing(lab):
    """For longer than a dead node takes to be noticed: the others ask the node's kernel, and the datapath answers."""
    addresses = pair_of(lab, "n3")
    with lab_watch(lab, addresses) as watch:
        pids = lab.pids("n3/weftd")
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        before = misses(lab, "n1")
        wait_for("twenty more rounds of probes", lambda: misses(lab, "n1") >= before + 20)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_for("another agent", lambda: announced(lab, "web0", "n3"))
        seen = watch.told()
    for s in seen.values():
        macs = {m for _, answer in s["answers"] for m in answer}
        assert macs == {mac(lab, "n3")} and most_answers(s) == 1
    print("longest pause without an agent: %s ms" % ", ".join("%.0f" % (1000 * s["gap"]) for s in seen.values()))


def misses(lab, node):
    """Rounds of probes that an agent has made."""
    text = lab.exec(node, "curl", "-s", "http://127.0.0.1:10287/metrics").stdout
    return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith("weft_announce_questions")) / 2


def test_a_node_that_is_gone_is_replaced(lab):
    addresses = pair_of(lab, "n3")
    with lab_watch(lab, addresses) as watch:
        run(*lab.fabric("ip", "link", "set", "n3", "down"))
        try:
            wait_for("another owner", lambda: not any(o == "n3" for i in range(SERVICES) for o in owners(lab, "web%d" % i).values()))
            wait_for("the host has learned it", lambda: all(lab.lan.ask(a, 80) for a in addresses))
            seen = watch.told()
        finally:
            run(*lab.fabric("ip", "link", "set", "n3", "up"))
    for address, s in seen.items():
        print("%s moved in %.0f ms" % (address, 1000 * s["gap"]))
        assert s["gap"] < 10 and most_answers(s) == 1
    # It was alone meanwhile, and took everything; back again it lets go at once, and gets its own back later.
    with lab_watch(lab, addresses) as watch:
        wait_for("the addresses are back", lambda: set(pair_of_or_none(lab, "n3")) == set(addresses))
        seen = watch.told()
    for address, s in seen.items():
        print("%s came back: longest pause %.0f ms, two owners for %.0f ms" % (address, 1000 * s["gap"], 1000 * longest_double(s)))
        assert longest_double(s) < 10
    assert most_answers(lab_ask(lab, addresses)[addresses[0]]) == 1


def pair_of_or_none(lab, node):
    try:
        return pair_of(lab, node)
    except KeyError:
        return []


def test_SVC_5_half_a_wish_is_announced(lab):
    """An address that a pool gave, though the other one that the Service asks for cannot be had."""
    lab.apply(service("half", ip="172.30.0.219, 2001:db8::1", ipFamilyPolicy="RequireDualStack"))
    wait_for("the one", lambda: addresses_of(lab, "half") == ["172.30.0.219"])
    condition = json.loads(lab.kubectl("get", "svc", "half", "-o", "json").stdout)["status"]["conditions"][0]
    assert (condition["status"], condition["reason"]) == ("False", "AddressNotInPool")
    wait_for("an answer", lambda: lab.lan.ask("172.30.0.219", 80))
    owner = owners(lab, "half")["172.30.0.219"]
    assert lab.lan.mac_of("172.30.0.219") == mac(lab, owner)
    lab.kubectl("delete", "svc", "half")


def test_SVC_17_a_pod_that_lacks_the_port_makes_no_announcer(lab):
    def named(name, node, port):
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "named"}},
                "spec": {"nodeName": node, "containers": [{"name": "c", "image": "none", "ports": [{"name": port, "containerPort": 8080}]}]}}

    all_of = ["named%d" % i for i in range(4)]
    ports = [{"port": 80, "targetPort": "http"}]
    lab.apply(named("has", "n1", "http"), named("lacks", "n3", "other"), *[service(s, "named", externalTrafficPolicy="Local", ports=ports) for s in all_of])
    lab.wait_ready()
    for name in all_of:
        wait_for("an owner of both", lambda: len(owners(lab, name)) == 2 and all(owners(lab, name).values()))
        assert set(owners(lab, name).values()) == {"n1"}
        for address in addresses_of(lab, name):
            assert wait_for("an answer", lambda: lab.lan.ask(address, 80))["pod"] == "has"
    lab.kubectl("delete", "svc", *all_of)


def test_SVC_17_only_nodes_with_an_endpoint_announce_local_services(lab):
    assert set(owners(lab, "local").values()) <= {"n1", "n2"}
    lab.kubectl("delete", "pod", "b1", "--grace-period=1")
    wait_for("the other node", lambda: set(owners(lab, "local").values()) == {"n2"})
    for address in addresses_of(lab, "local"):
        answer = wait_for("an answer", lambda: lab.lan.ask(address, 80))
        assert answer["pod"] == "b2" and answer["client"].rsplit(":", 1)[0].strip("[]") in lab.lan.addresses


def test_a_cordoned_node_hands_over(lab):
    addresses = pair_of(lab, "n2")
    with lab_watch(lab, addresses) as watch:
        lab.kubectl("cordon", "n2")
        wait_for("another owner", lambda: "n2" not in {o for i in range(SERVICES) for o in owners(lab, "web%d" % i).values()})
        lab.kubectl("uncordon", "n2")
        seen = watch.told()
    for address, s in seen.items():
        print("%s handed over: longest pause %.0f ms" % (address, 1000 * s["gap"]))


def test_what_another_host_has_is_not_taken(lab):
    taken = "172.30.0.215"
    lab.lan.run("ip", "addr", "add", taken + "/32", "dev", "eth0")
    try:
        lab.apply(service("taken", ip=taken))
        wait_for("it is known", lambda: [a["state"] for a in announced(lab, "taken")] == ["foreign-host"])
        assert mac_answers(lab, taken) == set()
        wait_for("a line in the log", lambda: any("another host of the local network has the address" in lab.logs_of(n) for n in ("n1", "n2", "n3")))
    finally:
        lab.lan.run("ip", "addr", "del", taken + "/32", "dev", "eth0")
    wait_for("the address is free, and taken", lambda: lab.lan.ask(taken, 80))


def mac_answers(lab, address):
    """Nodes that hold the address."""
    return {n for n in ("n1", "n2", "n3") if owners(lab, "taken", n).get(address) == n}


def test_S_9_claims_of_what_others_have_are_not_announced(lab):
    """What the status of a Service says is not believed: a node's address, one of pods, another Service's."""
    node = next(n for n in lab.status()["nodes"] if n["name"] == "n2")["addresses"][0]
    for address in (node, "10.244.1.5", "10.96.0.1"):
        lab.apply(service("hijack"))
        wait_for("addresses", lambda: addresses_of(lab, "hijack"))
        status = {"status": {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]}}}
        lab.kubectl("patch", "svc", "hijack", "--subresource=status", "--type=merge", "-p", json.dumps(status))
        wait_for("the refusal is told", lambda: address in lab.exec("n1", WEFT, "service", "show", "hijack", "-o", "json", check=False).stdout
                 or addresses_of(lab, "hijack") != [address])
        assert address not in owners(lab, "hijack")
        wait_for("an Event on the Service, or the controller's repair", lambda: any(address in m for m in events_of(lab, "hijack", "AddressRefused"))
                 or addresses_of(lab, "hijack") != [address])
        lab.kubectl("delete", "svc", "hijack")


def events_of(lab, name, reason):
    items = json.loads(lab.kubectl("get", "events", "-o", "json").stdout)["items"]
    return [i["message"] for i in items if i["involvedObject"].get("name") == name and i["reason"] == reason]


def test_S_9_S_10_what_is_refused_is_told_on_the_service(lab):
    """A load balancer address from elsewhere that is a node's, of pods, link-local, another Service's; endpoints that are nobody's to name."""
    node = next(n for n in lab.status()["nodes"] if n["name"] == "n2")["addresses"][0]
    bad = [node, "10.244.1.5", "10.96.0.1", "169.254.169.254", "127.0.0.1"]
    ports = [{"port": 80, "protocol": "TCP", "name": "web"}]
    other = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "other"},
             "spec": {"type": "LoadBalancer", "loadBalancerClass": "example.com/other", "ports": ports}} # a class that is no pool's
    endpoints = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                 "metadata": {"name": "other-1", "labels": {"kubernetes.io/service-name": "other"}}, "ports": ports,
                 "endpoints": [{"addresses": ["10.244.0.77"], "conditions": {"ready": True}}]}
    lab.apply(other, endpoints)
    status = {"status": {"loadBalancer": {"ingress": [{"ip": a, "ipMode": "VIP"} for a in bad]}}}
    lab.kubectl("patch", "svc", "other", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    for address in bad:
        wait_for("an Event about " + address, lambda: any(address in m for m in events_of(lab, "other", "AddressRefused")))
    assert announced(lab, "other") == []
    shown = json.loads(lab.exec("n1", WEFT, "service", "show", "other", "-o", "json", check=False).stdout)
    frontends = {f["address"].rsplit(":", 1)[0] for p in shown["ports"] for f in p["frontends"]}
    assert not frontends & set(bad), frontends


def test_addresses_elsewhere_are_not_announced(lab):
    lab.apply(service("far", ip="198.51.100.7"))
    wait_for("the address", lambda: addresses_of(lab, "far") == ["198.51.100.7"])
    wait_for("the Service here", lambda: "198.51.100.7" in lab.exec("n1", WEFT, "service", "show", "far", check=False).stdout)
    assert announced(lab, "far") == []
