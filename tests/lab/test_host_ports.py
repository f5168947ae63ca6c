# SPDX-License-Identifier: Apache-2.0
"""hostPort, and at which addresses node ports are: real clients outside, in pods and on nodes; both families, TCP and UDP."""

import json
import os
import signal

import pytest

from combos import options, params_by_transport
from labs import WEFT, Lab, wait_for

ASK_UDP = ("import socket,sys\n"
           "s=socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)\n"
           "s.settimeout(2); s.connect((sys.argv[1],int(sys.argv[2]))); s.send(b'q\\n'); print(s.recv(4096).decode())\n")


def pod(name, node, *ports, labels=None):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {"app": name}}, "spec": {
        "nodeName": node, "terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "none", "ports": list(ports)}]}}


def port(container, host=None, protocol="TCP", ip=None):
    p = {"containerPort": container, "protocol": protocol}
    if host:
        p["hostPort"] = host
    if ip:
        p["hostIP"] = ip
    return p


@pytest.fixture(scope="module", params=params_by_transport("direct", "vxlan"))
def lab(request):
    with Lab(nodes=2, **options(request.param, "dual")) as lab:
        lab.nodes = {n["name"]: n["addresses"] for n in lab.status()["nodes"]}
        lab.world = lab.status()["world"]["addresses"]
        lab.apply(pod("web", "n1", port(8080, 8088), port(5353, 5300, "UDP")), pod("c1", "n1", port(8080)), pod("c2", "n2", port(8080)))
        lab.wait_ready()
        for node in lab.nodes:
            wait_for(node + " serves it", lambda: served(lab, node, "web"))
        yield lab


def shown(lab, node, name):
    done = lab.exec(node, WEFT, "service", "show", "pod:" + name, "-o", "json", check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def served(lab, node, name):
    view = shown(lab, node, name)
    return view and [f["address"] for p in view["ports"] for f in p["frontends"]]


def curl(lab, who, address, port, limit=3):
    """The answer, or curl's exit code: 7 refused, 28 no answer."""
    done = lab.exec(who, "curl", "-s", "-g", "-m", limit, "http://%s:%d/" % ("[%s]" % address if ":" in address else address, port), check=False)
    return json.loads(done.stdout) if done.returncode == 0 else done.returncode


def udp(lab, who, address, port):
    done = lab.exec(who, "/usr/bin/python3", "-c", ASK_UDP, address, port, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def ips(lab, name):
    return next(p for p in lab.status()["pods"] if p["name"] == name)["ips"]


def client_of(answer):
    return answer["client"].rsplit(":", 1)[0].strip("[]")


CLIENTS = ["world", "default/c1", "default/c2", "n1", "n2", "default/web"]


@pytest.mark.parametrize("who", CLIENTS)
def test_SVC_44_from_everywhere(lab, who):
    for address in lab.nodes["n1"]:
        for answer in (curl(lab, who, address, 8088), udp(lab, who, address, 5300)):
            assert isinstance(answer, dict) and answer["pod"] == "web", (who, address, answer)
            if who == "world":
                assert client_of(answer) in lab.world, "the client's address is kept"
            elif who in ("default/c1", "default/c2"):
                assert client_of(answer) in ips(lab, who.split("/")[1])


# From a port of its own; what is answered, or nothing.
FROM = ("import socket, sys\nfamily = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\ns = socket.socket(family, socket.SOCK_DGRAM if sys.argv[4] == 'udp' else socket.SOCK_STREAM)\n"
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('', int(sys.argv[3]))); s.settimeout(2)\n"
        "try:\n    s.connect((sys.argv[1], int(sys.argv[2]))); s.send(b'q\\n' if sys.argv[4] == 'udp' else b'GET / HTTP/1.0\\r\\n\\r\\n'); print(s.recv(4096).decode())\n"
        "except OSError as e:\n    print(e)\n")


@pytest.mark.parametrize("proto, host_port", [("udp", 5300), ("tcp", 8088)])
def test_no_pod_speaks_from_a_host_port(lab, proto, host_port):
    """Else what the client asks for there, from the port that the pod has spoken to, would be the pod's."""
    for address, world in zip(lab.nodes["n1"], lab.world):
        client = 45001 + (":" in world)
        asks = [address, host_port, client, proto]

        def answer():
            return lab.exec("world", "/usr/bin/python3", "-c", FROM, *asks).stdout
        assert '"pod":"web"' in answer(), "before"
        for _ in range(3):
            lab.exec("default/c1", "/usr/bin/python3", "-c", FROM, world, client, host_port, proto)
            assert '"pod":"web"' in answer()


def test_SVC_44_only_on_its_node(lab):
    for who in ("world", "default/c1", "n1"):
        for address in lab.nodes["n2"]:
            assert curl(lab, who, address, 8088) == 7 and udp(lab, who, address, 5300) is None


def test_SVC_44_host_ip(lab):
    four, six = sorted(lab.nodes["n1"], key=lambda a: ":" in a)
    lab.apply(pod("one", "n1", port(8080, 8090, ip=four)), pod("other", "n1", port(8080, 8090, ip=six)),
              pod("lost", "n1", port(8080, 8091, ip="192.0.2.1")))
    for name in ("one", "other"):
        wait_for(name, lambda: served(lab, "n1", name) and served(lab, "n2", name))
    for who in ("world", "default/c2", "n1"):
        assert curl(lab, who, four, 8090)["pod"] == "one" and curl(lab, who, six, 8090)["pod"] == "other"
    wait_for("a refusal", lambda: "192.0.2.1" in str(shown(lab, "n1", "lost") and shown(lab, "n1", "lost")["refused"]))
    wait_for("an Event", lambda: "HostPortRefused" in lab.kubectl("get", "events", "-o", "json").stdout)


def test_SVC_44_of_two_the_older_has_it_and_a_node_port_goes_before(lab):
    address = lab.nodes["n1"][0]
    lab.apply(pod("late", "n1", port(8080, 8088)))
    wait_for("a refusal", lambda: "Pod default/web has it" in str(shown(lab, "n1", "late") and shown(lab, "n1", "late")["refused"]))
    assert curl(lab, "world", address, 8088)["pod"] == "web"
    lab.apply(pod("np", "n1", port(8080, 30333)))
    wait_for("its port", lambda: isinstance(curl(lab, "world", address, 30333), dict))
    lab.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "taken"}, "spec": {
        "type": "NodePort", "selector": {"app": "c2"}, "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30333}]}})
    for who in ("world", "default/c1", "n2"):
        wait_for("the Service has it", lambda: (curl(lab, who, address, 30333) or {}).get("pod") == "c2")
    lab.kubectl("delete", "svc", "taken")
    wait_for("the pod has it again", lambda: (isinstance(curl(lab, "world", address, 30333), dict) and curl(lab, "world", address, 30333)["pod"] == "np"))


POLICY = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "guard"}, "spec": {
    "podSelector": {"matchLabels": {"app": "guarded"}}, "policyTypes": ["Ingress"],
    "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "c1"}}}]}]}}


def test_P4_policy_says_the_same_by_a_host_port(lab):
    lab.apply(POLICY, pod("guarded", "n1", port(8080, 8099)))
    lab.wait_ready()
    for node in lab.nodes:
        wait_for("served", lambda: served(lab, node, "guarded"))
    for version in (4, 6):
        own = next(a for a in ips(lab, "guarded") if (":" in a) == (version == 6))
        host = next(a for a in lab.nodes["n1"] if (":" in a) == (version == 6))
        wait_for("enforced", lambda: curl(lab, "default/c2", own, 8080, 1) == 28)
        assert curl(lab, "default/c1", own, 8080)["pod"] == "guarded", "a case that is allowed is seen"
        assert curl(lab, "default/c1", host, 8099)["pod"] == "guarded"
        assert curl(lab, "default/c2", host, 8099, 1) == 28
        assert curl(lab, "world", host, 8099, 1) == 28
    lab.kubectl("delete", "netpol", "guard")
    wait_for("open to the world", lambda: isinstance(curl(lab, "world", lab.nodes["n1"][0], 8099), dict))


def test_SVC_44_a_restart_changes_nothing_and_the_end_ends_it(lab):
    address = lab.nodes["n1"][0]
    lab.apply(pod("brief", "n1", port(8080, 8095)))
    wait_for("it answers", lambda: isinstance(curl(lab, "world", address, 8095), dict))
    for pid in lab.agents("n1"):
        os.kill(pid, signal.SIGKILL)
    assert curl(lab, "world", address, 8095)["pod"] == "brief"
    wait_for("the agent is back", lambda: served(lab, "n1", "brief"))
    assert curl(lab, "world", address, 8095)["pod"] == "brief"
    lab.kubectl("delete", "pod", "brief")
    for who in ("world", "default/c2"):
        wait_for("nobody answers", lambda: curl(lab, who, address, 8095) == 7)


NODE_PORT = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "np"}, "spec": {
    "type": "NodePort", "ipFamilyPolicy": "PreferDualStack", "selector": {"app": "web"},
    "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}]}}


def test_SVC_4_node_port_addresses():
    """Of each node's two addresses the IPv6 one, and another address of the uplink that no Node object has."""
    extra = "172.30.0.77"
    with Lab(nodes=2, set=["service.nodePortAddresses=::/0,%s" % extra]) as lab:
        lab.apply(pod("web", "n1", port(8080)), NODE_PORT)
        lab.wait_ready()
        nodes = {n["name"]: n["addresses"] for n in lab.status()["nodes"]}
        uplink = json.loads(lab.exec("n1", "ip", "-j", "route", "get", nodes["n2"][0]).stdout)[0]["dev"]
        lab.exec("n1", "ip", "addr", "add", extra + "/16", "dev", uplink)
        for who in ("world", "default/web", "n2"):
            for addresses in nodes.values():
                for address in addresses:
                    if ":" in address:
                        wait_for("a node port at " + address, lambda: isinstance(curl(lab, who, address, 30080), dict))
                    else:
                        assert curl(lab, who, address, 30080) == 7, "a node port where none should be"
        wait_for("the address that came later", lambda: isinstance(curl(lab, "n1", extra, 30080), dict))
