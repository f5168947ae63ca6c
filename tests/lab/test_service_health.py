# SPDX-License-Identifier: Apache-2.0
"""Health check node ports, /healthz and /livez, asked from 'world' over both families, as a load balancer would."""

import json
import subprocess

import pytest

from combos import BRIEF, options, params
from labs import Lab, pod, wait_for

PORT, PROXY = 31500, 10256


def service(**spec):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": PORT, "selector": {"app": "web"},
                     "ipFamilyPolicy": "PreferDualStack", "ports": [{"port": 80, "targetPort": 8080}], **spec}}


def web(flag, **spec):
    p = pod("w1", node="n1", labels={"app": "web"}, **spec)
    p["spec"]["containers"][0]["readinessProbe"] = {"exec": {"command": ["test", "-e", flag]}, "periodSeconds": 1, "failureThreshold": 1}
    return p


@pytest.fixture(scope="module", params=params(BRIEF[1:2]))
def lab(request):
    with Lab(nodes=2, **options(request.param, "dual")) as lab:
        lab.nodes = {n["name"]: n["addresses"] for n in lab.status()["nodes"]}
        yield lab


def ask(lab, address, port, path="/"):
    """Code, headers, body; code 0: nobody listens."""
    host = "[%s]" % address if ":" in address else address
    done = lab.exec("world", "curl", "-sgi", "-m", "5", "http://%s:%d%s" % (host, port, path), check=False)
    if done.returncode:
        return 0, "", ""
    head, _, body = done.stdout.replace("\r", "").partition("\n\n")
    return int(head.split()[1]), head, body


def codes(lab, node, port=PORT, path="/"):
    return {ask(lab, a, port, path)[0] for a in lab.nodes[node]}


def test_SVC_30_follows_the_endpoints(lab, tmp_path):
    flag = tmp_path / "ready"
    assert len(lab.nodes["n1"]) == 2
    assert codes(lab, "n1") == {0}
    lab.apply(service(), web(str(flag), terminationGracePeriodSeconds=20))
    wait_for("a check that fails", lambda: codes(lab, "n1") == codes(lab, "n2") == {503})
    flag.touch()
    wait_for("a check that succeeds", lambda: codes(lab, "n1") == {200})
    for address in lab.nodes["n1"]:
        _, head, body = ask(lab, address, PORT, "/any")
        assert body == '{"service":{"namespace":"default","name":"web"},"localEndpoints":1,"serviceProxyHealthy":true}'
        assert "\nX-Load-Balancing-Endpoint-Weight: 1" in head and "\nContent-Type: application/json" in head
    for address in lab.nodes["n2"]: # the endpoint is elsewhere
        code, head, body = ask(lab, address, PORT)
        assert code == 503 and json.loads(body)["localEndpoints"] == 0 and "\nX-Load-Balancing-Endpoint-Weight: 0" in head
    flag.unlink()
    wait_for("a check that fails again", lambda: codes(lab, "n1") == {503})
    flag.touch()
    wait_for("a check that succeeds again", lambda: codes(lab, "n1") == {200})
    lab.kubectl("delete", "pod", "w1", "--wait=false")
    wait_for("503 once the pod is to go", lambda: codes(lab, "n1") == {503}, timeout=15)


def test_SVC_30_ports_come_and_go(lab):
    squatter = lab.popen("n1", "/usr/bin/python3", "-c", "import socket,sys\ns=socket.create_server(('0.0.0.0',%d))\nprint('there',flush=True)\n"
                         "sys.stdin.read()" % (PORT + 1), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert squatter.stdout.readline() == "there\n"
        lab.kubectl("delete", "service", "web", "--ignore-not-found")
        wait_for("the port is closed", lambda: codes(lab, "n1") == {0})
        lab.apply(service(healthCheckNodePort=PORT + 1))
        wait_for("the other node answers", lambda: codes(lab, "n2", PORT + 1) == {503})
        wait_for("the taken port is said", lambda: "taken" in lab.node_status("n1")["health"]["services"].get("error", ""))
    finally:
        squatter.stdin.close()
        squatter.wait()
    wait_for("the port is taken over", lambda: codes(lab, "n1", PORT + 1) == {503})
    wait_for("all is well", lambda: lab.node_status("n1")["health"]["services"]["ok"])
    lab.apply(service(externalTrafficPolicy="Cluster", healthCheckNodePort=0))
    wait_for("no check without Local", lambda: codes(lab, "n1", PORT + 1) == codes(lab, "n2", PORT + 1) == {0})


def test_SVC_31_healthz_and_livez(lab):
    wait_for("healthz", lambda: codes(lab, "n2", PROXY, "/healthz") == {200})
    assert codes(lab, "n2", PROXY, "/livez") == {200} and codes(lab, "n2", PROXY, "/") == {404}
    taint = {"spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule"}]}}
    lab.kubectl("patch", "node", "n2", "--type=merge", "-p", json.dumps(taint))
    wait_for("healthz fails", lambda: codes(lab, "n2", PROXY, "/healthz") == {503})
    assert codes(lab, "n2", PROXY, "/livez") == {200} and codes(lab, "n1", PROXY, "/healthz") == {200}
    lab.kubectl("patch", "node", "n2", "--type=merge", "-p", '{"spec":{"taints":null}}')
    wait_for("healthz is well again", lambda: codes(lab, "n2", PROXY, "/healthz") == {200})


def test_slow_senders_cost_nothing(lab):
    """More connections than there is room for, each sending a byte now and then: they end, and then the page is there again."""
    code = ("import socket,sys,time\nss=[socket.socket() for i in range(24)]\n"
            "for s in ss:\n s.setblocking(False)\n s.connect_ex((sys.argv[1],%d))\n"
            "end=time.monotonic()+50\n"
            "while ss and time.monotonic()<end:\n for s in ss[:]:\n"
            "  try: s.send(b'G')\n  except BlockingIOError: pass\n  except OSError: ss.remove(s)\n time.sleep(0.5)\n"
            "print('left',len(ss))" % PROXY)
    v4 = next(a for a in lab.nodes["n1"] if ":" not in a)
    assert lab.exec("world", "/usr/bin/python3", "-c", code, v4, timeout=90).stdout == "left 0\n"
    assert codes(lab, "n1", PROXY, "/healthz") == {200}
