# SPDX-License-Identifier: Apache-2.0
"""Services from outside: node ports and load balancer addresses, from 'world', with the endpoint here, elsewhere, or nowhere."""

import json
import os
import signal

import pytest

from combos import options, params_by_transport
from labs import Lab, answers_of, run, wait_for

POOL = {"apiVersion": "weft.dev/v1alpha1", "kind": "LoadBalancerPool", "metadata": {"name": "world"},
        "spec": {"addresses": ["172.30.0.200-172.30.0.210", "fd30::200-fd30::210"]}}


def service(name, app, node_port, **spec):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": "LoadBalancer", "ipFamilyPolicy": "PreferDualStack", "selector": {"app": app},
                     "ports": [{"name": "web", "port": 80, "targetPort": 8080, "nodePort": node_port},
                               {"name": "udp", "protocol": "UDP", "port": 53, "targetPort": 8053, "nodePort": node_port}], **spec}}


def pod(name, app, node):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "none", "ports": [
                {"containerPort": 8080}, {"containerPort": 8053, "protocol": "UDP"}]}]}}


@pytest.fixture(scope="module", params=params_by_transport("vxlan", "direct"))
def lab(request):
    with Lab(nodes=3, **options(request.param, "dual")) as lab:
        lab.apply(POOL, service("web", "web", 30080), service("local", "web", 30081, externalTrafficPolicy="Local"),
                  service("none", "nobody", 30082), pod("w1", "web", "n1"), pod("w2", "web", "n2"))
        lab.wait_ready()
        nodes = {n["name"]: n["addresses"] for n in lab.status()["nodes"]}
        for port in (30080, 30081):
            wait_for("node port %d" % port, lambda: ask(lab, nodes["n1"][0], port))
        wait_for("a refusal of node port 30082", lambda: refused(lab, nodes["n3"][0], 30082))
        lab.nodes = nodes
        yield lab


def url(address, port):
    return "http://%s:%d/" % ("[%s]" % address if ":" in address else address, port)


def ask(lab, address, port):
    done = lab.exec("world", "curl", "-s", "-g", "-m", "3", url(address, port), check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def refused(lab, address, port):
    return lab.exec("world", "curl", "-s", "-g", "-m", "3", url(address, port), check=False).returncode == 7


def client_of(answer):
    return answer["client"].rsplit(":", 1)[0].strip("[]")


def test_SVC_4_every_node_serves_node_ports(lab):
    world = lab.status()["world"]["addresses"]
    for node, addresses in lab.nodes.items():
        for address in addresses:
            for a in answers_of(("w1", "w2"), lambda: ask(lab, address, 30080)): # who is here sees the client, who is elsewhere this node's address in the pod range
                assert (client_of(a) in world) == (a["node"] == node), a


def test_SVC_4_udp(lab):
    program = ("import socket,sys\n"
               "s=socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)\n"
               "s.settimeout(3); s.connect((sys.argv[1],30080)); s.send(b'hello'); print(s.recv(4096).decode())\n")
    for address in lab.nodes["n3"]:
        done = lab.exec("world", "/usr/bin/python3", "-c", program, address)
        assert json.loads(done.stdout)["pod"] in ("w1", "w2")


def is_cut(lab, address):
    """On the way from n3 to an endpoint on another node, where its sender allows it? Over IPv6 nobody cuts anything, the outer packets of tunnels neither."""
    return ":" not in address and not any(p["transport"] in ("vxlan", "geneve") and ":" in p["address"] for p in lab.node_status("n3")["peers"])


def test_SVC_4_46_datagrams_of_any_size(lab):
    """What does not fit the way to an endpoint on another node, and whose sender lets it be cut, gets there at once: nobody has been told to send less. Where
    nobody cuts it, the first one may teach its sender."""
    program = ("import json,socket,sys\n"
               "s=socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)\n"
               "if ':' not in sys.argv[1]: s.setsockopt(socket.IPPROTO_IP, 10, 0) # IP_MTU_DISCOVER, IP_PMTUDISC_DONT\n"
               "s.settimeout(2); s.connect((sys.argv[1],30080)); n=int(sys.argv[2])\n"
               "for i in range(int(sys.argv[3])):\n"
               "    try:\n"
               "        s.send(b'x'*n); s.recv(4096); print('answered')\n"
               "        break\n"
               "    except OSError: pass\n")
    for address in lab.nodes["n3"]:
        for size in (1400, 1423, 1450, 1472, 1473, 3000, 30000, 1, 60000):
            lab.exec("world", "ip", "route", "flush", "cache")
            done = lab.exec("world", "/usr/bin/python3", "-c", program, address, size, 1 if is_cut(lab, address) else 3)
            assert done.stdout == "answered\n", (address, size)


def test_SVC_17_local_keeps_the_client_and_drops_elsewhere(lab):
    world = lab.status()["world"]["addresses"]
    for node in ("n1", "n2"):
        for address in lab.nodes[node]:
            a = ask(lab, address, 30081)
            assert a["node"] == node and client_of(a) in world
    for address in lab.nodes["n3"]:
        done = lab.exec("world", "curl", "-s", "-g", "-m", "1", url(address, 30081), check=False)
        assert done.returncode == 28, "no answer at all is expected"


def test_SVC_19_nobody_serves(lab):
    for addresses in lab.nodes.values():
        for address in addresses:
            assert refused(lab, address, 30082)


def test_SVC_5_load_balancer_address(lab):
    """Nothing announces the addresses: the router between world and the nodes is given a route."""
    ips = [i["ip"] for i in json.loads(lab.kubectl("get", "svc", "web", "-o", "json").stdout)["status"]["loadBalancer"]["ingress"]]
    assert len(ips) == 2
    for ip in ips:
        via = next(a for a in lab.nodes["n3"] if (":" in a) == (":" in ip))
        bits = "/128" if ":" in ip else "/32"
        run(*lab.fabric("ip", "route", "replace", ip + bits, "via", via)) # the fabric leads world to the nodes' network
        assert ask(lab, ip, 80)["pod"] in ("w1", "w2")
        assert ask(lab, ip, 81) is None


def test_SVC_4_17_endpoints_in_a_nodes_own_network(lab):
    """hostNetwork, by selector and by hand: slices by hand name no node. Asked at the endpoint's node and at another one, by SNAT and by DSR."""
    host = pod("h1", "host", "n1")
    host["spec"].update(hostNetwork=True, containers=[{"name": "c", "image": "none", "ports": [{"containerPort": 8085}]}])
    ports = {"selected": 32083, "asked-dsr": 32084, "stays-local": 32085, "by-hand": 32086, "by-hand-dsr": 32087}
    dsr = {"weft.dev/service.forwarding": "dsr"}
    objects = [host]
    for name, port in ports.items():
        svc = service(name, "host", port, **({"externalTrafficPolicy": "Local"} if name == "stays-local" else {}))
        svc["spec"]["ports"] = [{"name": "web", "port": 80, "targetPort": 8085, "nodePort": port}]
        if name.endswith("dsr"):
            svc["metadata"]["annotations"] = dsr
        if name.startswith("by-hand"):
            del svc["spec"]["selector"]
            objects += [{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv6" if ":" in a else "IPv4",
                         "metadata": {"name": "%s-%d" % (name, i), "labels": {"kubernetes.io/service-name": name}},
                         "endpoints": [{"addresses": [a]}], "ports": [{"name": "web", "port": 8085, "protocol": "TCP"}]}
                        for i, a in enumerate(lab.nodes["n1"])]
        objects.append(svc)
    lab.apply(*objects)
    world = lab.status()["world"]["addresses"]
    for name, port in ports.items():
        for node in ("n1", "n3"):
            for address in lab.nodes[node]:
                if name == "stays-local" and node == "n3":
                    assert lab.exec("world", "curl", "-s", "-g", "-m", "1", url(address, port), check=False).returncode == 28
                    continue
                answer = wait_for("%s at %s" % (name, address), lambda: ask(lab, address, port))
                assert answer["pod"] == "h1" and (node != "n1" or client_of(answer) in world), (name, address, answer)
    health = json.loads(lab.kubectl("get", "svc", "stays-local", "-o", "json").stdout)["spec"]["healthCheckNodePort"]
    for node, code in (("n1", "200"), ("n3", "503")):
        for address in lab.nodes[node]:
            assert lab.exec("world", "curl", "-s", "-g", "-o", "/dev/null", "-w", "%{http_code}", "-m", "5", url(address, health)).stdout == code
    lab.kubectl("delete", "svc", *ports)


def test_connections_outlive_the_agent(lab):
    """A connection through a node port to another node, byte by byte, over a kill -9 of that node's agent."""
    address = lab.nodes["n3"][0]
    program = ("import socket,sys\n"
               "s=socket.create_connection((%r,30080),5)\n"
               "s.settimeout(5)\n"
               "for line in sys.stdin:\n"
               " s.sendall(b'x\\n'); d=s.recv(4096)\n"
               " print('answer' if d else 'closed', flush=True)\n" % address)
    client = lab.popen("world", "/usr/bin/python3", "-c", program, stdin=-1, stdout=-1)

    def say():
        client.stdin.write("go\n")
        client.stdin.flush()
        return client.stdout.readline().strip()

    try:
        assert say() == "answer"
        for pid in lab.pids("n3/weftd"):
            os.kill(pid, signal.SIGKILL)
        for _ in range(20):
            assert say() == "answer"
        assert ask(lab, address, 30080) # and new ones begin
    finally:
        client.kill()
        client.wait()
