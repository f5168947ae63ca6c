# SPDX-License-Identifier: Apache-2.0
"""P4: the verdict does not depend on the way: by the pod's address, a ClusterIP, a NodePort of either node, a load balancer's address, a hostPort;
from the same node and across; over both families; in the tunnel and as it is, in `make test-full` by every transport."""

import json

import pytest
from combos import options, params_by_transport
from labs import FULL, Lab, pod, wait_for
from test_policy import of, policy

PYTHON = "/usr/bin/python3"

# Connects to all at once; says which of them took it.
PROBE = """
import json, socket, sys, threading
found = {}
def ask(name, host, port):
    try:
        with socket.create_connection((host, port), 1.5) as s:
            s.settimeout(1.5)
            s.sendall(b"hello\\n")
            found[name] = bool(s.recv(100))
    except OSError:
        found[name] = False
threads = [threading.Thread(target=ask, args=t) for t in json.loads(sys.argv[1])]
[t.start() for t in threads]
[t.join() for t in threads]
print(json.dumps(found))
"""
POOL = {"apiVersion": "weft.dev/v1alpha1", "kind": "LoadBalancerPool", "metadata": {"name": "pool"},
        "spec": {"addresses": ["172.30.0.200-172.30.0.210", "fd30::200-fd30::210"]}}
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "server"},
           "spec": {"type": "LoadBalancer", "ipFamilyPolicy": "RequireDualStack", "selector": {"app": "server"},
                    "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30090}]}}
HOST_PORT = 8088
CLIENTS = {"near": "n1", "far": "n2"}
TRANSPORTS = params_by_transport("vxlan", "direct")


def in_the_tunnel(test):
    """What the ways of the sample do not show by another transport is in the full tier."""
    return test if FULL else pytest.mark.parametrize("lab", TRANSPORTS[:1], indirect=True)(test)


@pytest.fixture(scope="module", params=TRANSPORTS)
def lab(request):
    with Lab(nodes=2, **options(request.param, "dual")) as lab:
        server = pod("server", node="n1", labels={"app": "server"})
        server["spec"]["containers"][0]["ports"] = [{"containerPort": 8080, "hostPort": HOST_PORT}]
        lab.apply(POOL, SERVICE, server,
                  *[pod(name, node=node, labels={"app": name}) for name, node in CLIENTS.items()])
        lab.wait_ready()
        lab.ways = ways(lab)
        assert len(lab.ways) == 12
        wait_for("every way without a policy", lambda: all(asked(lab, c) == {True} for c in CLIENTS))
        yield lab


@pytest.fixture(autouse=True)
def clean(lab):
    yield
    lab.kubectl("delete", "netpol,cnp", "--all", "-A")


def ways(lab):
    """[name, host, port] of every way to the server."""
    status = lab.status()
    service = json.loads(lab.kubectl("get", "svc", "server", "-o", "json").stdout)
    found = [["pod " + ip, ip, 8080] for p in status["pods"] if p["name"] == "server" for ip in p["ips"]]
    found += [["ClusterIP " + ip, ip, 80] for ip in service["spec"]["clusterIPs"]]
    found += [["LoadBalancer " + i["ip"], i["ip"], 80] for i in service["status"]["loadBalancer"]["ingress"]]
    found += [["NodePort " + ip, ip, 30090] for n in status["nodes"] for ip in n["addresses"]]
    return found + [["hostPort " + ip, ip, HOST_PORT] for n in status["nodes"] if n["name"] == "n1" for ip in n["addresses"]]


def tried(lab, where, ways):
    found = json.loads(lab.exec(where, PYTHON, "-c", PROBE, json.dumps(ways)).stdout)
    assert len(found) == len(ways)
    return found


def asked(lab, client):
    """The answers that occur, over all ways; one, when they agree."""
    found = tried(lab, "default/" + client, lab.ways)
    if len(set(found.values())) > 1:
        print(client, found)
    return set(found.values())


def agree(lab, **expected):
    for client, allowed in expected.items():
        wait_for("%s %s" % (client, allowed), lambda: asked(lab, client) == {allowed}, timeout=30)
        assert asked(lab, client) == {allowed}


@pytest.mark.parametrize("allowed", sorted(CLIENTS))
def test_P4_ingress(lab, allowed):
    lab.apply(policy("in", pods={"app": "server"}, policyTypes=["Ingress"], ingress=[{"from": [of(app=allowed)], "ports": [{"port": 8080}]}]))
    agree(lab, **{c: c == allowed for c in CLIENTS})


@in_the_tunnel
@pytest.mark.parametrize("client", sorted(CLIENTS))
def test_P4_egress(lab, client):
    """By the endpoint, not by the Service's address or port."""
    lab.apply(policy("out", pods={"app": client}, policyTypes=["Egress"], egress=[{"to": [of(app="nobody")]}, {"ports": [{"port": 80}, {"port": 30090}]}]))
    agree(lab, **{c: c != client for c in CLIENTS})
    lab.apply(policy("out", pods={"app": client}, policyTypes=["Egress"], egress=[{"to": [of(app="server")], "ports": [{"port": 8080}]}]))
    agree(lab, **{c: True for c in CLIENTS})


@in_the_tunnel
def test_P4_admin_tier(lab):
    lab.apply({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "no"}, "spec": {
        "tier": "Admin", "priority": 1, "subject": {"pods": {"namespaceSelector": {}, **of(app="server")}},
        "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]}})
    agree(lab, near=False, far=False)


def test_CVE_2023_27594_a_client_outside_is_no_node(lab):
    """A node reaches its own pods always; who comes through it from outside, by whatever way and family, is not the node."""
    outside = [w for w in lab.ways if not w[0].startswith(("pod", "ClusterIP"))]
    own = [w for w in lab.ways if w[0].startswith("pod")]
    assert len(outside) == 8
    wait_for("all ways from outside", lambda: set(tried(lab, "world", outside).values()) == {True})
    lab.apply(policy("shut", pods={"app": "server"}, policyTypes=["Ingress"]))
    wait_for("none of them", lambda: set(tried(lab, "world", outside).values()) == {False}, timeout=30)
    assert set(tried(lab, "n1", own).values()) == {True} and set(tried(lab, "n2", own).values()) == {False}


def outside_is(lab, ways, allowed):
    wait_for("the world %s" % allowed, lambda: set(tried(lab, "world", ways).values()) == {allowed}, timeout=60)


@in_the_tunnel
def test_NP_20_a_block_means_the_client_itself_where_its_address_is_kept(lab):
    """externalTrafficPolicy Local, by all ways to the server's node; without it the other node's port hides the client."""
    clients = ["%s/%d" % (a, 128 if ":" in a else 32) for a in lab.status()["world"]["addresses"]]
    at = {n["name"]: n["addresses"] for n in lab.status()["nodes"]}
    own = [w for w in lab.ways if w[0].startswith(("LoadBalancer", "hostPort")) or (w[0].startswith("NodePort") and w[1] in at["n1"])]
    other = [w for w in lab.ways if w[0].startswith("NodePort") and w[1] in at["n2"]]
    assert len(own) == 6 and len(other) == 2
    lab.apply(policy("in", pods={"app": "server"}, policyTypes=["Ingress"], ingress=[{"from": [{"ipBlock": {"cidr": c}} for c in clients]}]))
    outside_is(lab, other, False)
    lab.kubectl("patch", "svc", "server", "-p", '{"spec": {"externalTrafficPolicy": "Local"}}')
    outside_is(lab, own, True)
    lab.apply(policy("in", pods={"app": "server"}, policyTypes=["Ingress"], ingress=[{"from": [
        {"ipBlock": {"cidr": "::/0" if ":" in c else "0.0.0.0/0", "except": [c]}} for c in clients]}]))
    outside_is(lab, own, False)
    lab.kubectl("patch", "svc", "server", "-p", '{"spec": {"externalTrafficPolicy": "Cluster"}}')


def hairpin(lab):
    """By which of its addresses the server reaches itself: its own, its Service's."""
    ways = [w for w in lab.ways if w[0].startswith(("pod", "ClusterIP"))]
    found = tried(lab, "default/server", ways)
    own, service = ({v for k, v in found.items() if k.startswith(kind)} for kind in ("pod", "ClusterIP"))
    assert len(own) == len(service) == 1, found
    return own.pop(), service.pop()


@in_the_tunnel
@pytest.mark.parametrize("direction", ["Ingress", "Egress"])
def test_CNP_12_a_pod_reaches_itself_by_its_service_if_policy_allows(lab, direction):
    rules, peers = direction.lower(), "from" if direction == "Ingress" else "to"

    def apply(peer):
        lab.apply(policy("p", pods={"app": "server"}, policyTypes=[direction], **{rules: [{peers: [of(app=peer)]}]}))

    wait_for("itself without a policy", lambda: hairpin(lab) == (True, True))
    apply("near")
    wait_for("its own address only", lambda: hairpin(lab) == (True, False), timeout=30)
    apply("server")
    wait_for("both", lambda: hairpin(lab) == (True, True), timeout=30)
