# SPDX-License-Identifier: Apache-2.0
"""Services as kubectl's users know them: addresses, node ports, types, and the EndpointSlices that the hub keeps for them."""

import calendar
import json
import sqlite3
import time

import pytest

pytestmark = pytest.mark.sanitizers

NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}}}
MANAGER = "endpointslice-controller.k8s.io"


def service(name, ports=({"port": 80},), **spec):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": list(ports), **spec}}


def pod(name, labels, ports=({"name": "http", "containerPort": 8080},), **spec):
    container = {"name": "c", "image": "none", "ports": list(ports)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
            "spec": {"nodeName": "n1", "containers": [container], **spec}}


def apply(hub, *objects, **kw):
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    return hub.kubectl("apply", "-f", "-", stdin=text, **kw)


def create(hub, obj):
    """Creates a service; returns the API's answer: the object, or the Status that says no."""
    return hub.http("POST", "/api/v1/namespaces/default/services", obj).json()


def patch(hub, name, spec, kind="merge"):
    r = hub.http("PATCH", "/api/v1/namespaces/default/services/" + name, {"spec": spec},
                 {"Content-Type": "application/%s-patch+json" % kind})
    return r.json()


def set_status(hub, name, host, ready=True, phase="Running"):
    status = {"phase": phase, "podIP": "10.244.0.%d" % host,
              "podIPs": [{"ip": "10.244.0.%d" % host}, {"ip": "fd00:244::%x" % host}],
              "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}
    hub.kubectl("patch", "pod", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))


def slices(hub, name):
    items = hub.get("endpointslices", "-l", "kubernetes.io/service-name=" + name)["items"]
    return [s for s in items if s["metadata"]["labels"].get("endpointslice.kubernetes.io/managed-by") == MANAGER]


def wait_for(condition, timeout=20):
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, "not within %d s" % timeout
        time.sleep(0.05)


def endpoints(hub, name, family="IPv4"):
    """address → (ready, serving, terminating)"""
    return {e["addresses"][0]: tuple(e["conditions"][c] for c in ("ready", "serving", "terminating"))
            for s in slices(hub, name) if s["addressType"] == family for e in s.get("endpoints", [])}


def test_svc_1_families(hub):
    """SVC-1: ipFamilies and ipFamilyPolicy, and one kind of slice a family."""
    single = create(hub, service("single"))["spec"]
    assert single["ipFamilies"] == ["IPv4"] and single["ipFamilyPolicy"] == "SingleStack" and len(single["clusterIPs"]) == 1
    prefer = create(hub, service("prefer", ipFamilyPolicy="PreferDualStack", selector={"a": "b"}))["spec"]
    assert prefer["ipFamilies"] == ["IPv4", "IPv6"] and len(prefer["clusterIPs"]) == 2
    turned = create(hub, service("turned", ipFamilyPolicy="RequireDualStack", ipFamilies=["IPv6", "IPv4"]))["spec"]
    assert turned["clusterIP"].startswith("fd00:96::") and turned["clusterIPs"][1].startswith("10.96.")
    six = create(hub, service("six", ipFamilies=["IPv6"]))["spec"]
    assert six["ipFamilies"] == ["IPv6"] and six["ipFamilyPolicy"] == "SingleStack"
    wait_for(lambda: {s["addressType"] for s in slices(hub, "prefer")} == {"IPv4", "IPv6"})


def test_svc_1_upgrade_and_downgrade(hub):
    first = create(hub, service("s", selector={"a": "b"}))["spec"]["clusterIP"]
    up = patch(hub, "s", {"ipFamilyPolicy": "PreferDualStack"})["spec"]
    assert up["ipFamilies"] == ["IPv4", "IPv6"] and up["clusterIPs"][0] == first and len(up["clusterIPs"]) == 2
    wait_for(lambda: len(slices(hub, "s")) == 2)
    down = patch(hub, "s", {"ipFamilyPolicy": "SingleStack"})["spec"]
    assert down["ipFamilies"] == ["IPv4"] and down["clusterIPs"] == [first]
    wait_for(lambda: [s["addressType"] for s in slices(hub, "s")] == ["IPv4"])
    again = create(hub, service("t", clusterIPs=[up["clusterIPs"][1]]))  # given back
    assert again["spec"]["clusterIP"] == up["clusterIPs"][1]
    patch(hub, "s", {"ipFamilyPolicy": "RequireDualStack"})
    no = patch(hub, "s", {"clusterIPs": [first], "ipFamilies": ["IPv4"]})
    assert "must be set to 'SingleStack' when releasing the secondary" in no["message"]


def test_svc_2_headless(hub):
    apply(hub, NODE, pod("p", {"a": "b"}, hostname="h0", subdomain="s"), service("s", selector={"a": "b"}, clusterIP="None"))
    set_status(hub, "p", 5)
    wait_for(lambda: endpoints(hub, "s") == {"10.244.0.5": (True, True, False)})
    s = slices(hub, "s")[0]
    assert s["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
    e = s["endpoints"][0]
    assert e["hostname"] == "h0" and e["nodeName"] == "n1" and e["zone"] == "z1"
    assert e["targetRef"]["kind"] == "Pod" and e["targetRef"]["name"] == "p" and e["targetRef"]["uid"]
    owner = s["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("Service", "s", True)
    assert "may not change once set" in patch(hub, "s", {"clusterIP": "10.96.7.7", "clusterIPs": ["10.96.7.7"]})["message"]


def test_svc_4_node_ports(hub):
    """SVC-4: allocated from the range, validated, one holder a protocol, given back."""
    np = create(hub, service("np", type="NodePort", ports=[
        {"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}, {"name": "w", "port": 80, "nodePort": 30080}]))
    t, u, w = (p["nodePort"] for p in np["spec"]["ports"])
    assert 30000 <= t <= 32767 and t == u and w == 30080
    taken = create(hub, service("b", type="NodePort", ports=[{"port": 80, "nodePort": 30080}]))
    assert taken["message"] == ('Service "b" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated')
    assert create(hub, service("udp", type="NodePort", ports=[{"port": 80, "protocol": "UDP", "nodePort": 30080}]))["kind"] == "Service"
    outside = create(hub, service("b", type="NodePort", ports=[{"port": 80, "nodePort": 80}]))
    assert "provided port is not in the valid range. The range of valid ports is 30000-32767" in outside["message"]
    twice = create(hub, service("b", type="NodePort", ports=[{"name": "a", "port": 1, "nodePort": 30001}, {"name": "b", "port": 2, "nodePort": 30001}]))
    assert "spec.ports[1].nodePort: Duplicate value: 30001" in twice["message"]
    assert "may not be used when `type` is 'ClusterIP'" in create(hub, service("b", ports=[{"port": 80, "nodePort": 30002}]))["message"]
    hub.kubectl("delete", "svc", "np")
    assert create(hub, service("b", type="NodePort", ports=[{"port": 80, "nodePort": 30080}]))["kind"] == "Service"
    kept = patch(hub, "b", {"ports": [{"port": 81}]})["spec"]["ports"]  # left out: stays
    assert kept[0]["nodePort"] == 30080
    refused = create(hub, service("c", type="NodePort", ports=[{"name": "a", "port": 1, "nodePort": 30500}, {"name": "b", "port": 2, "nodePort": 30080}]))
    assert refused["code"] == 422
    assert create(hub, service("c", type="NodePort", ports=[{"port": 1, "nodePort": 30500}]))["kind"] == "Service"  # nothing was kept


def test_svc_4_range_is_an_option(make_hub):
    hub = make_hub("--service-node-port-range", "40000-40002")
    ports = [create(hub, service("s%d" % i, type="NodePort"))["spec"]["ports"][0]["nodePort"] for i in range(3)]
    assert sorted(ports) == [40000, 40001, 40002]
    assert "range is full" in create(hub, service("full", type="NodePort"))["message"]
    hub.kubectl("delete", "svc", "s1")
    assert create(hub, service("s1", type="NodePort"))["spec"]["ports"][0]["nodePort"] == ports[1]


def test_type_changes(hub):
    """ClusterIP, NodePort, LoadBalancer, ExternalName and back, by patches that name the type only."""
    ip = create(hub, service("s", selector={"a": "b"}))["spec"]["clusterIP"]
    np = patch(hub, "s", {"type": "NodePort"})["spec"]
    port = np["ports"][0]["nodePort"]
    assert np["clusterIP"] == ip and np["externalTrafficPolicy"] == "Cluster"
    lb = patch(hub, "s", {"type": "LoadBalancer"})["spec"]
    assert lb["ports"][0]["nodePort"] == port and lb["allocateLoadBalancerNodePorts"] is True
    hub.kubectl("patch", "svc", "s", "--subresource=status", "--type=merge", "-p",
                json.dumps({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}}))
    assert hub.get("svc", "s")["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.7", "ipMode": "VIP"}]
    plain = patch(hub, "s", {"type": "ClusterIP"})
    assert "nodePort" not in plain["spec"]["ports"][0] and plain["spec"]["clusterIP"] == ip
    assert not {"externalTrafficPolicy", "allocateLoadBalancerNodePorts"} & set(plain["spec"])
    assert plain["status"]["loadBalancer"] == {}
    assert create(hub, service("t", type="NodePort", ports=[{"port": 1, "nodePort": port}]))["kind"] == "Service"
    wait_for(lambda: slices(hub, "s"))
    name = patch(hub, "s", {"type": "ExternalName", "externalName": "example.com"})["spec"]
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"} & set(name)
    wait_for(lambda: not slices(hub, "s"))
    assert create(hub, service("u", clusterIP=ip))["spec"]["clusterIP"] == ip  # given back
    back = patch(hub, "s", {"type": "ClusterIP", "externalName": None})["spec"]
    assert back["clusterIP"].startswith("10.96.") and back["clusterIP"] != ip
    wait_for(lambda: slices(hub, "s"))


@pytest.mark.parametrize("after", [{"type": "ClusterIP"}, {"type": "ExternalName", "externalName": "example.com"}])
def test_node_ports_go_with_the_type_whoever_asked_for_them(hub, after):
    port = create(hub, service("s", type="LoadBalancer"))["spec"]["ports"][0]["nodePort"]
    assert patch(hub, "s", {"allocateLoadBalancerNodePorts": False})["spec"]["ports"][0]["nodePort"] == port  # as upstream: it stays
    assert "nodePort" not in patch(hub, "s", after)["spec"]["ports"][0]
    assert create(hub, service("t", type="NodePort", ports=[{"port": 1, "nodePort": port}]))["kind"] == "Service"


def test_a_node_port_of_zero_is_none(hub):
    port = create(hub, service("s", type="LoadBalancer"))["spec"]["ports"][0]["nodePort"]
    zero = patch(hub, "s", {"allocateLoadBalancerNodePorts": False, "ports": [{"port": 80, "nodePort": 0}]})["spec"]["ports"]
    assert "nodePort" not in zero[0]
    assert create(hub, service("t", type="NodePort", ports=[{"port": 1, "nodePort": port}]))["kind"] == "Service"
    assert "nodePort" not in create(hub, service("u", ports=[{"port": 80, "nodePort": 0}]))["spec"]["ports"][0]


def test_svc_30_health_check_node_port(hub):
    lb = create(hub, service("lb", type="LoadBalancer", externalTrafficPolicy="Local"))["spec"]
    port = lb["healthCheckNodePort"]
    assert 30000 <= port <= 32767 and port != lb["ports"][0]["nodePort"]
    assert "provided port is already allocated" in create(hub, service("x", type="NodePort", ports=[{"port": 1, "nodePort": port}]))["message"]
    assert "field is immutable" in patch(hub, "lb", {"healthCheckNodePort": 31999})["message"]
    assert "healthCheckNodePort" not in patch(hub, "lb", {"externalTrafficPolicy": "Cluster"})["spec"]
    assert create(hub, service("x", type="NodePort", ports=[{"port": 1, "nodePort": port}]))["kind"] == "Service"
    given = create(hub, service("y", type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=30333))
    assert given["spec"]["healthCheckNodePort"] == 30333
    bad = create(hub, service("z", type="LoadBalancer", healthCheckNodePort=30334))
    assert "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'" in bad["message"]


def test_svc_5_a_pool_forgets_who_is_no_load_balancer_any_more(hub):
    """What another class's controller gives it later is not taken away."""
    def ingress(name):
        return [i["ip"] for i in hub.get("svc", name)["status"]["loadBalancer"].get("ingress", [])]

    apply(hub, {"apiVersion": "weft.dev/v1alpha1", "kind": "LoadBalancerPool", "metadata": {"name": "p"}, "spec": {"addresses": ["192.0.2.0/28"]}})
    create(hub, service("s", type="LoadBalancer"))
    wait_for(lambda: ingress("s") == ["192.0.2.0"])
    assert "conditions" not in patch(hub, "s", {"type": "ClusterIP"})["status"]
    patch(hub, "s", {"type": "LoadBalancer", "loadBalancerClass": "example.com/x"})
    hub.kubectl("patch", "svc", "s", "--subresource=status", "--type=merge", "-p",
                json.dumps({"status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.7"}]}}}))
    create(hub, service("later", type="LoadBalancer"))
    wait_for(lambda: ingress("later") == ["192.0.2.0"])
    assert ingress("s") == ["198.51.100.7"]


def test_svc_5_load_balancer_without_node_ports(hub):
    lb = create(hub, service("lb", type="LoadBalancer", allocateLoadBalancerNodePorts=False, loadBalancerClass="example.com/x"))["spec"]
    assert "nodePort" not in lb["ports"][0] and lb["allocateLoadBalancerNodePorts"] is False
    assert "may not change once set" in patch(hub, "lb", {"loadBalancerClass": "example.com/y"})["message"]
    assert patch(hub, "lb", {"allocateLoadBalancerNodePorts": True})["spec"]["ports"][0]["nodePort"] >= 30000


@pytest.mark.parametrize("spec, message", [
    ({"ports": []}, "spec.ports: Required value"),
    ({"ports": [{"port": 1}, {"port": 2}]}, "spec.ports[0].name: Required value"),
    ({"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}, 'spec.ports[1].name: Duplicate value: "a"'),
    ({"type": "ExternalName"}, "spec.externalName: Required value"),
    ({"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.96.0.9"}, "may not be set for ExternalName services"),
    ({"type": "NodePort", "clusterIP": "None"}, "may not be set to 'None' for NodePort services"),
    ({"loadBalancerClass": "a/b"}, "may only be used when `type` is 'LoadBalancer'"),
    ({"type": "NodePort", "loadBalancerSourceRanges": ["10.0.0.0/8"]}, "spec.loadBalancerSourceRanges: Forbidden: may only be used when"),
    ({"type": "LoadBalancer", "loadBalancerClass": "a b"}, "spec.loadBalancerClass: Invalid value"),
    ({"ports": [{"port": 80, "appProtocol": "a b"}]}, "spec.ports[0].appProtocol: Invalid value"),
    ({"externalIPs": ["127.0.0.1"]}, "may not be in the loopback range"),
    ({"externalIPs": ["169.254.1.1"]}, "may not be in the link-local range"),
    ({"clusterIP": "10.97.0.1"}, "the provided IP is not in the valid range"),
    ({"clusterIP": "10.96.0.1"}, "provided IP is already allocated"),
    ({"ipFamilies": ["IPv4", "IPv4"]}, "spec.ipFamilies"),
    ({"externalTrafficPolicy": "Local"}, "may only be set for externally-accessible services"),
    ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}}, "timeoutSeconds"),
])
def test_refusals(hub, spec, message):
    no = create(hub, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bad"}, "spec": {"ports": [{"port": 80}], **spec}})
    assert no["code"] == 422 and message in no["message"], no


def test_source_ranges_of_the_annotation(hub):
    """As the API server has it: networks, and of load balancers only."""
    def said(name, ranges, **spec):
        return create(hub, {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}], **spec},
                            "metadata": {"name": name, "annotations": {"service.beta.kubernetes.io/load-balancer-source-ranges": ranges}}})
    no = said("garbage", "10.0.0.0/8,nonsense", type="LoadBalancer")
    assert no["code"] == 422 and "must be a list of IP ranges" in no["message"], no
    no = said("inside", "10.0.0.0/8")
    assert no["code"] == 422 and "may only be used when `type` is 'LoadBalancer'" in no["message"], no
    assert said("good", " 10.0.0.1/8, fd00::/8 ", type="LoadBalancer")["kind"] == "Service"


def test_svc_10_readiness_termination_and_end(hub):
    """SVC-10, SVC-11: what kubelets report is what slices say."""
    apply(hub, NODE, service("s", selector={"a": "b"}, ports=[{"port": 80, "targetPort": "http"}]),
          service("early", selector={"a": "b"}, publishNotReadyAddresses=True), *[pod("p%d" % i, {"a": "b"}) for i in range(3)])
    for i in range(3):
        set_status(hub, "p%d" % i, 10 + i, ready=i < 2)
    wait_for(lambda: endpoints(hub, "s") == {"10.244.0.10": (True, True, False), "10.244.0.11": (True, True, False),
                                             "10.244.0.12": (False, False, False)})
    wait_for(lambda: endpoints(hub, "early").get("10.244.0.12") == (True, False, False))
    hub.kubectl("delete", "pod", "p0", "--wait=false")
    wait_for(lambda: endpoints(hub, "s")["10.244.0.10"] == (False, True, True))
    hub.kubectl("delete", "pod", "p0", "--force", "--grace-period=0")
    wait_for(lambda: "10.244.0.10" not in endpoints(hub, "s"))
    set_status(hub, "p1", 11, phase="Succeeded")
    wait_for(lambda: set(endpoints(hub, "s")) == {"10.244.0.12"})
    assert [p["port"] for p in slices(hub, "s")[0]["ports"]] == [8080]
    hub.kubectl("label", "pod", "p2", "a-")
    wait_for(lambda: endpoints(hub, "s") == {})
    hub.kubectl("delete", "svc", "s")
    wait_for(lambda: not slices(hub, "s"))


def set_ready(hub, kind, name, status):
    """The condition Ready of a node or a pod, beside others, as a kubelet sends it."""
    path = "/api/v1/nodes/n%s/status" % name if kind == "node" else "/api/v1/namespaces/default/pods/%s/status" % name
    conditions = [{"type": "Ready", "status": status, "lastTransitionTime": "2020-01-01T00:00:00Z"}, {"type": "ContainersReady", "status": "True"}]
    r = hub.http("PATCH", path, {"status": {"conditions": conditions}}, {"Content-Type": "application/strategic-merge-patch+json"})
    assert r.code == 200, r.text


def get_ready(hub, kind, name):
    return next(c for c in hub.get(kind, name)["status"]["conditions"] if c["type"] == "Ready")


def test_svc_10_pods_of_a_lost_node_are_not_ready(make_hub):
    """A stale lease; a node that is Unknown already; one that is well, with a stale lease that nobody judges yet. Nothing is written twice."""
    begin = int(time.time())
    hub = make_hub()
    apply(hub, service("s", selector={"a": "b"}), *[{**NODE, "metadata": {"name": "n%d" % i}} for i in (1, 2, 3)],
          *[pod(name, {"a": "b"}, nodeName="n" + name[0]) for name in ("1p", "2p", "2late", "2later", "3p")])
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "n1", "namespace": "kube-node-lease"},
             "spec": {"holderIdentity": "n1", "renewTime": "2020-01-01T00:00:00.000000Z"}}
    apply(hub, lease)
    for host, name in enumerate(("1p", "2p", "3p"), 1):
        set_status(hub, name, host)
        set_ready(hub, "pod", name, "True")
    for name, status in ("1", "True"), ("2", "True"), ("3", "False"):
        set_ready(hub, "node", name, status)
    ready = lambda: {a.rsplit(".", 1)[1] for a, conditions in endpoints(hub, "s").items() if conditions[0]}
    revision = lambda name: hub.get("pod", name)["metadata"]["resourceVersion"]

    def tick(name):
        """Two pods more become ready on the lost node, each is seen by a later tick."""
        set_ready(hub, "pod", name, "True")
        wait_for(lambda: get_ready(hub, "pod", name)["status"] == "False")

    wait_for(lambda: ready() == {"1", "2", "3"})
    set_ready(hub, "node", "2", "Unknown")
    wait_for(lambda: ready() == {"1", "3"})
    assert endpoints(hub, "s")["10.244.0.2"] == (False, False, False), "the endpoint stays, as its pod does"
    marked = hub.get("pod", "2p")["status"]["conditions"]
    assert {c["type"]: c["status"] for c in marked} == {"Ready": "False", "ContainersReady": "True"}
    assert marked[0]["lastTransitionTime"] > "2026"
    wait_for(lambda: ready() == {"3"}, timeout=200)
    node = get_ready(hub, "node", "n1")
    assert (node["status"], node["reason"]) == ("Unknown", "NodeStatusUnknown")
    since = calendar.timegm(time.strptime(node["lastTransitionTime"], "%Y-%m-%dT%H:%M:%SZ"))
    assert since - begin >= 40, "a hub that is new does not judge"
    before = [revision(name) for name in ("1p", "2p", "3p")]
    tick("2late")
    tick("2later")
    assert [revision(name) for name in ("1p", "2p", "3p")] == before
    set_ready(hub, "node", "2", "True")
    for name in ("2p", "1p"):
        set_ready(hub, "pod", name, "True")
    before = revision("2p")
    wait_for(lambda: get_ready(hub, "pod", "1p")["status"] == "False")
    wait_for(lambda: ready() == {"2", "3"})
    assert revision("2p") == before


def test_svc_12_many_endpoints_and_named_ports(hub):
    """SVC-12: at most 100 a slice; pods whose named port differs are in slices of their own; a restart writes nothing."""
    pods = [pod("p%03d" % i, {"a": "b"}, [{"name": "http", "containerPort": 8080 if i % 2 else 9090}]) for i in range(210)]
    apply(hub, NODE, service("s", selector={"a": "b"}, ports=[{"port": 80, "targetPort": "http"}]), *pods, timeout=300)
    c = hub.connect()
    for i in range(210):
        ip = "10.244.1.%d" % (i + 1)
        c.request("PATCH", "/api/v1/namespaces/default/pods/p%03d/status" % i,
                  json.dumps({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": "True"}]}}),
                  {"Content-Type": "application/merge-patch+json"})
        r = c.getresponse()
        r.read()
        assert r.status == 200
    wait_for(lambda: len(endpoints(hub, "s")) == 210)
    before = slices(hub, "s")
    assert sorted(len(s["endpoints"]) for s in before) == [5, 5, 100, 100]
    for s in before:
        assert {p["port"] for p in s["ports"]} == ({8080} if int(s["endpoints"][0]["targetRef"]["name"][1:]) % 2 else {9090})
    versions = {s["metadata"]["name"]: s["metadata"]["resourceVersion"] for s in before}
    assert hub.stop() == 0
    hub.start()
    hub.kubectl("create", "svc", "clusterip", "after", "--tcp=80")
    wait_for(lambda: slices(hub, "after"))  # whatever was to be done at start is done before this one
    assert {s["metadata"]["name"]: s["metadata"]["resourceVersion"] for s in slices(hub, "s")} == versions


def test_svc_13_hand_made_slices_stay(hub):
    """SVC-13: a service without a selector is its user's."""
    mine = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}],
            "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}}, "ports": [{"name": "", "port": 80}]}
    apply(hub, service("s"), mine)
    hub.kubectl("create", "svc", "clusterip", "after", "--tcp=80")
    wait_for(lambda: slices(hub, "after"))
    assert slices(hub, "s") == [] and hub.get("endpointslice", "s-1")["endpoints"][0]["addresses"] == ["192.0.2.1"]


def test_svc_14_pods_change_while_the_hub_is_away(hub):
    """SVC-14's input: a terminating pod is seen as such also by a hub that was killed in between; no slice is doubled."""
    apply(hub, NODE, service("s", selector={"a": "b"}), pod("p", {"a": "b"}))
    set_status(hub, "p", 9)
    wait_for(lambda: endpoints(hub, "s"))
    hub.kubectl("delete", "pod", "p", "--wait=false")
    hub.stop(9)
    hub.start()
    wait_for(lambda: endpoints(hub, "s") == {"10.244.0.9": (False, True, True)})
    assert len(slices(hub, "s")) == 1


def test_svc_15_hints(hub):
    apply(hub, NODE, service("s", selector={"a": "b"}, trafficDistribution="PreferClose"), pod("p", {"a": "b"}))
    set_status(hub, "p", 9)

    def hints():
        return [e.get("hints") for s in slices(hub, "s") for e in s.get("endpoints", [])]
    wait_for(lambda: hints() == [{"forZones": [{"name": "z1"}]}])
    patch(hub, "s", {"trafficDistribution": "PreferSameNode"})
    wait_for(lambda: hints() == [{"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]}])
    hub.kubectl("label", "node", "n1", "--overwrite", "topology.kubernetes.io/zone=z2")
    wait_for(lambda: hints() == [{"forZones": [{"name": "z2"}], "forNodes": [{"name": "n1"}]}])
    patch(hub, "s", {"trafficDistribution": None})
    wait_for(lambda: hints() == [None])


def test_svc_15_topology_mode(hub):
    """Endpoints are shared out among zones as CPUs are; the Events say when, and why not."""
    nodes = [{**NODE, "metadata": {"name": "n%d" % i, "labels": {"topology.kubernetes.io/zone": "z%d" % i}}} for i in (1, 2)]
    apply(hub, *nodes, *[pod("p%d" % i, {"a": "b"}, **{"nodeName": "n%d" % (1 + (i > 3))}) for i in range(1, 5)],
          {**service("s", selector={"a": "b"}), "metadata": {"name": "s", "annotations": {"service.kubernetes.io/topology-mode": "Auto"}}})
    for i in range(1, 5):
        set_status(hub, "p%d" % i, i)

    def hints():
        return [e["hints"]["forZones"][0]["name"] if "hints" in e else None for s in slices(hub, "s") for e in s.get("endpoints", [])]

    def told():
        return {(e["reason"], e["message"]) for e in hub.get("events", "--field-selector", "involvedObject.name=s")["items"]}
    wait_for(lambda: ("TopologyAwareHintsDisabled", "IPv4 endpoints: fewer than two zones have ready nodes") in told())
    assert hints() == [None] * 4
    for n in nodes:
        status = {"allocatable": {"cpu": "4"}, "conditions": [{"type": "Ready", "status": "True"}]}
        hub.kubectl("patch", "node", n["metadata"]["name"], "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    wait_for(lambda: sorted(map(str, hints())) == ["z1", "z1", "z2", "z2"])
    wait_for(lambda: ("TopologyAwareHintsEnabled", "IPv4 endpoints: endpoints are shared out among zones") in told())
    hub.kubectl("patch", "node", "n2", "--subresource=status", "--type=merge", "-p", '{"status":{"allocatable":{"cpu":"12"}}}')
    wait_for(lambda: sorted(map(str, hints())) == ["z1", "z2", "z2", "z2"])


def test_tables_expose_and_describe(hub, kubectls):
    apply(hub, NODE, pod("web", {"app": "web"}), service("np", type="NodePort", selector={"app": "web"}, ports=[{"port": 80, "nodePort": 30080}]),
          service("lb", type="LoadBalancer", selector={"app": "web"}), service("name", type="ExternalName", externalName="example.com", ports=[]))
    set_status(hub, "web", 5)
    rows = {line.split()[0]: line.split() for line in hub.kubectl("get", "svc", "-o", "wide").stdout.splitlines()}
    assert rows["NAME"] == "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR".split()
    assert rows["np"][1] == "NodePort" and rows["np"][3:5] == ["<none>", "80:30080/TCP"] and rows["np"][6] == "app=web"
    assert rows["lb"][1] == "LoadBalancer" and rows["lb"][3] == "<pending>"
    assert rows["name"][1:5] == ["ExternalName", "<none>", "example.com", "<none>"]
    for i, kubectl in enumerate(kubectls):
        hub.kubectl("expose", "pod", "web", "--name", "exposed%d" % i, "--port=80", "--target-port=8080", "--type=NodePort", kubectl=kubectl)
        wait_for(lambda: endpoints(hub, "exposed%d" % i) == {"10.244.0.5": (True, True, False)})
        hub.kubectl("create", "service", "nodeport", "made%d" % i, "--tcp=80:8080", "--node-port=3010%d" % i, kubectl=kubectl)
    text = hub.kubectl("describe", "svc", "exposed0").stdout
    fields = {line.split(":")[0].strip(): line.split(":", 1)[1].strip() for line in text.splitlines() if ":" in line}
    assert fields["Selector"] == "app=web" and fields["Type"] == "NodePort" and fields["Endpoints"] == "10.244.0.5:8080"
    assert fields["NodePort"].endswith("/TCP") and fields["IP Families"] == "IPv4"


def test_repair_at_start(hub):
    """Two services that hold one address and one port (a restored backup, a bug): the younger is told of, the older keeps them."""
    first = create(hub, service("first", type="NodePort"))
    create(hub, service("second", type="NodePort"))
    assert hub.stop() == 0
    db = sqlite3.connect(hub.data / "d/hub.db")
    row = next(r for r in db.execute("select name, data from objects where resource = 'services'") if r[0] == "second")
    second = json.loads(row[1])
    second["metadata"]["creationTimestamp"] = "2099-01-01T00:00:00Z"
    for field in "clusterIP", "clusterIPs", "ports":
        second["spec"][field] = first["spec"][field]
    db.execute("update objects set data = ? where resource = 'services' and name = ?", (json.dumps(second), row[0]))
    db.commit()
    db.close()
    hub.start()
    events = {(e["involvedObject"]["name"], e["reason"]) for e in hub.get("events")["items"]}
    assert {("second", "ClusterIPAlreadyAllocated"), ("second", "PortAlreadyAllocated")} <= events
    assert not [e for e in events if e[0] == "first"]
    hub.kubectl("delete", "svc", "second")
    port = first["spec"]["ports"][0]["nodePort"]
    assert "provided port is already allocated" in create(hub, service("x", type="NodePort", ports=[{"port": 1, "nodePort": port}]))["message"]
    assert "provided IP is already allocated" in create(hub, service("x", clusterIP=first["spec"]["clusterIP"]))["message"]


def test_repair_after_a_narrower_range(make_hub):
    hub = make_hub()
    create(hub, service("s", type="NodePort", ports=[{"port": 80, "nodePort": 30080}], clusterIP="10.96.200.1"))
    assert hub.stop() == 0
    hub.args = ["--service-node-port-range", "31000-31099", "--service-cidr", "10.96.0.0/24,fd00:96::/112"]
    hub.start()
    reasons = {e["reason"] for e in hub.get("events")["items"] if e["involvedObject"]["name"] == "s"}
    assert {"ClusterIPOutOfRange", "PortOutOfRange"} <= reasons
    assert hub.get("svc", "s")["spec"]["ports"][0]["nodePort"] == 30080  # nobody's traffic is cut


def parents(hub):
    """{address: name of its service} as the IPAddress objects tell it, the API's own left out."""
    items = hub.get("ipaddresses")["items"]
    refs = {i["metadata"]["name"]: i["spec"]["parentRef"] for i in items}
    assert all(r["resource"] == "services" and r["namespace"] == "default" for r in refs.values())
    return {ip: r["name"] for ip, r in refs.items() if r["name"] != "kubernetes"}


def test_SVC_48_ranges_and_addresses_are_objects(make_hub):
    """ServiceCIDR and IPAddress, networking.k8s.io/v1: written as services come, change and go, by the hub alone."""
    hub = make_hub()
    cidr = hub.get("servicecidr", "kubernetes")
    assert cidr["spec"]["cidrs"] == ["10.96.0.0/16", "fd00:96::/112"]
    assert [(c["type"], c["status"]) for c in cidr["status"]["conditions"]] == [("Ready", "True")]
    assert hub.get("ipaddress", "10.96.0.1")["spec"]["parentRef"]["name"] == "kubernetes"
    create(hub, service("none", clusterIP="None"))
    ips = create(hub, service("dual", ipFamilyPolicy="RequireDualStack"))["spec"]["clusterIPs"]
    assert parents(hub) == {ip: "dual" for ip in ips} and len(ips) == 2
    labels = hub.get("ipaddress", ips[1])["metadata"]["labels"]
    assert labels["ipaddress.kubernetes.io/ip-family"] == "IPv6"
    assert "services/default/dual" in hub.kubectl("get", "ip").stdout and "10.96.0.0/16,fd00:96::/112" in hub.kubectl("get", "servicecidrs").stdout

    patch(hub, "dual", {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"], "clusterIPs": ips[:1]})
    assert parents(hub) == {ips[0]: "dual"}
    for what in ("ipaddresses/" + ips[0], "servicecidrs/kubernetes"):
        path = "/apis/networking.k8s.io/v1/" + what
        for method, body in (("DELETE", None), ("PUT", {}), ("PATCH", {})):
            assert hub.http(method, path, body).code == 405, (method, path)
    assert hub.http("POST", "/apis/networking.k8s.io/v1/ipaddresses", {}).code == 405
    assert hub.http("DELETE", "/apis/networking.k8s.io/v1/ipaddresses").code == 405

    other = create(hub, service("other"))["spec"]["clusterIP"]
    hub.kubectl("delete", "svc", "dual")
    assert parents(hub) == {other: "other"}
    assert hub.stop() == 0
    hub.args = ["--service-cidr", "10.96.0.0/20,fd00:96::/112"]
    hub.start()
    assert hub.get("servicecidr", "kubernetes")["spec"]["cidrs"][0] == "10.96.0.0/20" and parents(hub) == {other: "other"}
