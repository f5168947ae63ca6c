# SPDX-License-Identifier: Apache-2.0
"""Connections from outside through a node that has no endpoint, by SNAT and by DSR, while agents are killed."""

import json
import os
import signal
import subprocess

import pytest

from combos import SPANNING, options, params_by_transport
from labs import FULL, HELPERS, Lab, answers_of, wait_for
from test_kill import engine_overflow

TRAFFIC = os.path.join(HELPERS, "lab-traffic")


def pod(name, app, node, command=None, **port):
    box = {"name": "c", "image": "none", "ports": [{"containerPort": p} for p in port.values()]}
    if command:
        box["command"] = command
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}}, "spec": {"nodeName": node, "containers": [box]}}


def service(name, app, port, forwarding):
    """The same port for TCP and UDP, at the endpoint and at every node."""
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "annotations": {"weft.dev/service.forwarding": forwarding}},
            "spec": {"type": "NodePort", "ipFamilyPolicy": "PreferDualStack", "selector": {"app": app}, "ports": [
                {"name": p.lower(), "protocol": p, "port": 80, "targetPort": port[0], "nodePort": port[1]} for p in ("TCP", "UDP")]}}


def size_in(combo):
    """Connections and kills: many in a few settings."""
    return (1000, 20) if FULL and combo in SPANNING else (200, 5)


@pytest.fixture(scope="module", params=params_by_transport("direct", "vxlan"))
def lab(request):
    with Lab(nodes=3, **options(request.param, "dual")) as lab:
        lab.apply(pod("w1", "web", "n1", http=8080), pod("w2", "web", "n2", http=8080),
                  pod("load", "load", "n2", ["sh", "-c", "sleep inf | %s serve 7000" % TRAFFIC], traffic=7000))
        for n, how in enumerate(("snat", "dsr")):
            lab.apply(service("web-" + how, "web", (8080, 30080 + n), how), service("load-" + how, "load", (7000, 30090 + n), how))
        lab.transport = request.param[0]
        lab.connections, lab.kills = size_in(request.param)
        lab.wait_ready()
        lab.nodes = {n["name"]: n["addresses"] for n in lab.status()["nodes"]}
        lab.world = lab.status()["world"]["addresses"]
        for port in (30080, 30081):
            wait_for("node port %d" % port, lambda: all(ask(lab, a, port) for a in lab.nodes["n3"]))
        yield lab


def ask(lab, address, port):
    done = lab.exec("world", "curl", "-s", "-g", "-m", "3", "http://%s:%d/" % ("[%s]" % address if ":" in address else address, port), check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


@pytest.mark.parametrize("how", ["snat", "dsr"])
def test_SVC_17_who_the_endpoint_sees(lab, how):
    """With DSR the client. WireGuard takes no packets of clients from a node: SNAT all the same."""
    kept = how == "dsr" and lab.transport != "wireguard"
    for node, addresses in lab.nodes.items():
        for address in addresses:
            for a in answers_of(("w1", "w2"), lambda: ask(lab, address, 30080 + (how == "dsr"))):
                client = a["client"].rsplit(":", 1)[0].strip("[]")
                assert (client in lab.world) == (kept or a["node"] == node), (node, a)


@pytest.mark.parametrize("how", ["snat", "dsr"])
def test_no_connection_is_reset_when_agents_are_killed(lab, how, capsys):
    address, full = lab.nodes["n3"][0], engine_overflow(lab, ("n2", "n3"))
    client = lab.popen("world", TRAFFIC, "run", address, 30090 + (how == "dsr"), 1000, lab.connections, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert client.stdout.readline() == "running\n"
        for i in range(lab.kills):
            node = ("n3", "n2")[i % 2]  # where the client asks, and where the endpoint is
            old = wait_for("an agent on " + node, lambda: lab.agents(node))
            for pid in old:
                os.kill(pid, signal.SIGKILL)
            wait_for("a new agent on " + node, lambda: lab.agents(node) and not set(old) & set(lab.agents(node)))
            wait_for("it answers", lambda: lab.exec(node, "weft", "status", check=False).returncode == 0)
        for node in ("n2", "n3"):
            wait_for("all is well on " + node, lambda: lab.is_well(node))
        got = json.loads(client.communicate(timeout=120)[0])
    finally:
        client.kill()
        client.wait()
    full = engine_overflow(lab, ("n2", "n3")) - full
    with capsys.disabled():
        print("\n%s, %d kills: %s, no room before the engine: %d" % (how, lab.kills, json.dumps(got), full), flush=True)
    assert got["resets"] == 0 and got["tcp_wrong"] == 0 and got["unsent"] == 0
    assert got["tcp_received"] == got["tcp_sent"] > lab.connections
    assert got["lost"] <= got["overflow"] + full
