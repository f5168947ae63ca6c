# SPDX-License-Identifier: Apache-2.0
"""The API itself: watches, pages, conflicts, certificates, malformed input, restarts."""

import json
import signal
import socket
import ssl
import time

PODS = "/api/v1/namespaces/default/pods"
CMS = "/api/v1/namespaces/default/configmaps"


def pod(name, **spec):
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "echo"}], **spec}}


def cm(name, **data):
    return {"metadata": {"name": name}, "data": data}


def make(hub, path, body):
    r = hub.http("POST", path, body)
    assert r.code == 201, r.text
    return r.json()


def test_watch_resumes_over_a_kill(hub):
    first = make(hub, CMS, cm("a", x="1"))
    for i in range(5):
        make(hub, CMS, cm("b%d" % i))
    last = int(make(hub, CMS, cm("z"))["metadata"]["resourceVersion"])
    hub.stop(signal.SIGKILL)
    hub.start()
    names = [i["metadata"]["name"] for i in hub.http("GET", CMS).json()["items"]]
    assert names == ["a", "b0", "b1", "b2", "b3", "b4", "z"]  # every acknowledged write is there
    code, events = hub.watch(CMS + "?watch=true&resourceVersion=%s" % first["metadata"]["resourceVersion"])
    assert code == 200
    assert [next(events)["object"]["metadata"]["name"] for _ in range(6)] == ["b0", "b1", "b2", "b3", "b4", "z"]
    assert int(make(hub, CMS, cm("zz"))["metadata"]["resourceVersion"]) > last
    assert next(events)["object"]["metadata"]["name"] == "zz"


def test_too_old_and_too_new_revisions(hub):
    code, status = hub.watch(CMS + "?watch=true&resourceVersion=0000000")
    assert code == 200
    start = int(hub.http("GET", CMS).json()["metadata"]["resourceVersion"])
    for i in range(60):
        make(hub, CMS, cm("big%d" % i, x="x" * 1000000))  # the history is bounded by bytes
        hub.http("DELETE", CMS + "/big%d" % i)
    code, status = hub.watch(CMS + "?watch=true&resourceVersion=%d" % start)
    assert code == 410 and status["reason"] == "Expired" and "too old resource version" in status["message"]
    r = hub.http("GET", CMS + "?resourceVersion=99999999")
    assert r.code == 504 and r.json()["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    assert hub.http("GET", CMS + "?resourceVersion=abc").code == 400


def test_selectors_turn_changes_into_additions_and_deletions(hub):
    rev = hub.http("GET", CMS).json()["metadata"]["resourceVersion"]
    _, events = hub.watch(CMS + "?watch=1&labelSelector=a%3Db&resourceVersion=" + rev)
    make(hub, CMS, cm("x"))
    patch = {"Content-Type": "application/merge-patch+json"}
    hub.http("PATCH", CMS + "/x", {"metadata": {"labels": {"a": "b"}}}, patch)
    hub.http("PATCH", CMS + "/x", {"data": {"k": "v"}}, patch)
    hub.http("PATCH", CMS + "/x", {"metadata": {"labels": None}}, patch)
    assert [next(events)["type"] for _ in range(3)] == ["ADDED", "MODIFIED", "DELETED"]
    make(hub, PODS, pod("p1", nodeName="n1"))
    make(hub, PODS, pod("p2", nodeName="n2"))
    names = [p["metadata"]["name"] for p in hub.http("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2").json()["items"]]
    assert names == ["p2"]
    assert hub.http("GET", PODS + "?fieldSelector=spec.image%3Dx").code == 400
    for bad in ("a%20b", "a%3Db%2C", "%3Db", "a%20in%20(", "%21a%3Db"):
        assert hub.http("GET", PODS + "?labelSelector=" + bad).code == 400


def test_timeout_bookmarks_and_initial_events(hub):
    make(hub, CMS, cm("a"))
    _, events = hub.watch(CMS + "?watch=true&allowWatchBookmarks=true&timeoutSeconds=1&sendInitialEvents=true"
                          "&resourceVersionMatch=NotOlderThan&resourceVersion=")
    seen = list(events)
    assert [e["type"] for e in seen] == ["ADDED", "BOOKMARK", "BOOKMARK"]
    assert seen[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"


def test_pages_are_of_one_revision(hub):
    for i in range(7):
        make(hub, CMS, cm("c%d" % i))
    page = hub.http("GET", CMS + "?limit=3").json()
    names, rev = [i["metadata"]["name"] for i in page["items"]], page["metadata"]["resourceVersion"]
    assert page["metadata"]["remainingItemCount"] == 4
    make(hub, CMS, cm("c55"))
    hub.http("DELETE", CMS + "/c6")
    while page["metadata"].get("continue"):
        page = hub.http("GET", CMS + "?limit=3&continue=" + page["metadata"]["continue"]).json()
        assert page["metadata"]["resourceVersion"] == rev
        names += [i["metadata"]["name"] for i in page["items"]]
    assert names == ["c%d" % i for i in range(7)]
    assert hub.http("GET", CMS + "?limit=3&continue=nonsense").code == 400
    assert hub.http("GET", CMS + "?limit=-1").code == 400


def test_conflicts_preconditions_dry_run_generate_name(hub):
    a = make(hub, CMS, cm("a"))
    stale = dict(a, data={"x": "1"})
    assert hub.http("PUT", CMS + "/a", stale).code == 200
    r = hub.http("PUT", CMS + "/a", stale)
    assert r.code == 409 and r.json()["reason"] == "Conflict"
    assert hub.http("POST", CMS, cm("a")).json()["reason"] == "AlreadyExists"
    assert hub.http("DELETE", CMS + "/a", {"preconditions": {"uid": "other"}}).code == 409
    assert hub.http("POST", CMS + "?dryRun=All", cm("dry")).code == 201
    assert hub.http("GET", CMS + "/dry").code == 404
    names = {make(hub, CMS, {"metadata": {"generateName": "g-"}})["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5 and all(n.startswith("g-") and len(n) == 7 for n in names)


def test_finalizers_and_namespaces(hub):
    make(hub, "/api/v1/namespaces", {"metadata": {"name": "t"}})
    cms = "/api/v1/namespaces/t/configmaps"
    make(hub, cms, {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}})
    assert hub.http("DELETE", "/api/v1/namespaces/t").json()["status"]["phase"] == "Terminating"
    assert "deletionTimestamp" in hub.http("GET", cms + "/held").json()["metadata"]
    assert hub.http("POST", cms, cm("late")).code == 403
    r = hub.http("PATCH", cms + "/held", {"metadata": {"finalizers": None}}, {"Content-Type": "application/merge-patch+json"})
    assert r.code == 200
    assert hub.http("GET", cms + "/held").code == 404
    assert hub.http("GET", "/api/v1/namespaces/t").code == 404
    assert hub.http("DELETE", "/api/v1/namespaces/default").code == 403


def test_deletecollection_and_binding(hub):
    make(hub, "/api/v1/nodes", {"metadata": {"name": "n1"}})
    for name in ("a", "b"):
        make(hub, PODS, pod(name))
    r = hub.http("POST", PODS + "/a/binding", {"target": {"name": "n1"}})
    assert r.code == 201, r.text
    assert hub.http("GET", PODS + "/a").json()["spec"]["nodeName"] == "n1"
    assert hub.http("POST", PODS + "/a/binding", {"target": {"name": "n2"}}).code == 409
    assert hub.http("DELETE", PODS).code == 200
    left = hub.http("GET", PODS).json()["items"]  # the bound one waits for its node
    assert [p["metadata"]["name"] for p in left] == ["a"] and "deletionTimestamp" in left[0]["metadata"]
    r = hub.http("PATCH", PODS + "/a", {"spec": {"nodeName": "n9"}}, {"Content-Type": "application/merge-patch+json"})
    assert r.code == 422


def test_addresses_of_services_and_ranges_of_nodes(make_hub):
    hub = make_hub("--cluster-cidr", "10.244.0.0/23,fd00:244::/63", "--service-cidr", "10.96.0.0/29,fd00:96::/112")
    svc = "/api/v1/namespaces/default/services"
    got = make(hub, svc, {"metadata": {"name": "dual"}, "spec": {"ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]}})
    assert got["spec"]["ipFamilies"] == ["IPv4", "IPv6"] and len(got["spec"]["clusterIPs"]) == 2
    six = make(hub, svc, {"metadata": {"name": "six"}, "spec": {"ipFamilies": ["IPv6"], "ports": [{"port": 80}]}})
    assert six["spec"]["clusterIP"].startswith("fd00:96::") and six["spec"]["ipFamilyPolicy"] == "SingleStack"
    head = make(hub, svc, {"metadata": {"name": "head"}, "spec": {"clusterIP": "None", "selector": {"a": "b"}, "ports": [{"port": 80}]}})
    assert head["spec"]["clusterIPs"] == ["None"]
    one = {"metadata": {"name": "x"}, "spec": {"clusterIP": got["spec"]["clusterIP"], "ports": [{"port": 80}]}}
    assert "already allocated" in hub.http("POST", svc, one).text
    for i in range(4):
        make(hub, svc, {"metadata": {"name": "s%d" % i}, "spec": {"ports": [{"port": 80}]}})
    full = {"metadata": {"name": "full"}, "spec": {"ports": [{"port": 80}]}}
    assert "range is full" in hub.http("POST", svc, full).text
    assert hub.http("DELETE", svc + "/s0").code == 200
    hub.stop(signal.SIGKILL)
    hub.start()  # what is held is claimed again
    make(hub, svc, full)
    assert hub.http("POST", svc, dict(full, metadata={"name": "full2"})).code == 422
    nodes = "/api/v1/nodes"
    a = make(hub, nodes, {"metadata": {"name": "a"}})
    b = make(hub, nodes, {"metadata": {"name": "b"}})
    assert a["spec"]["podCIDRs"] == ["10.244.0.0/24", "fd00:244::/64"] and b["spec"]["podCIDR"] == "10.244.1.0/24"
    assert "podCIDR" not in make(hub, nodes, {"metadata": {"name": "c"}})["spec"]
    events = hub.http("GET", "/api/v1/events?fieldSelector=reason%3DCIDRNotAvailable").json()["items"]
    assert events[0]["involvedObject"]["name"] == "c"
    r = hub.http("PATCH", nodes + "/a", {"spec": {"podCIDRs": ["10.9.0.0/24"]}}, {"Content-Type": "application/merge-patch+json"})
    assert r.code == 422
    assert hub.http("DELETE", nodes + "/a").code == 200
    assert hub.http("GET", nodes + "/c").json()["spec"]["podCIDRs"] == a["spec"]["podCIDRs"]  # handed on


def test_certificates_and_rights(hub):
    assert hub.http("GET", "/healthz", config=False).text == "ok"
    assert hub.http("GET", PODS, config=False).code == 401
    node = hub.kubeconfig("system:node:n1", "system:nodes")
    nobody = hub.kubeconfig("eve")
    make(hub, PODS, pod("mine", nodeName="n1"))
    make(hub, PODS, pod("other", nodeName="n2"))
    assert hub.http("GET", PODS, config=nobody).code == 403
    lease = {"metadata": {"name": "n1"}, "spec": {"holderIdentity": "n1"}}
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    merge = {"Content-Type": "application/merge-patch+json"}
    for method, path, body, headers, code in [
            ("GET", "/api/v1/pods", None, {}, 200), ("GET", "/apis/networking.k8s.io/v1/networkpolicies", None, {}, 200),
            ("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}}, {}, 201),
            ("POST", "/api/v1/nodes", {"metadata": {"name": "n2"}}, {}, 403),
            ("PATCH", "/api/v1/nodes/n1/status", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, merge, 200),
            ("PATCH", "/api/v1/nodes/n2/status", {"status": {}}, merge, 403), ("DELETE", "/api/v1/nodes/n1", None, {}, 403),
            ("POST", leases, lease, {}, 201), ("POST", leases, {"metadata": {"name": "n2"}}, {}, 403),
            ("PATCH", PODS + "/mine/status", {"status": {"phase": "Running"}}, merge, 200),
            ("PATCH", PODS + "/other/status", {"status": {"phase": "Running"}}, merge, 403),
            ("DELETE", PODS + "/other", None, {}, 403), ("DELETE", PODS + "/mine", {"gracePeriodSeconds": 0}, {}, 200),
            ("POST", PODS, pod("new"), {}, 403), ("POST", CMS, cm("c"), {}, 403),
            ("DELETE", PODS, None, {}, 403)]:
        r = hub.http(method, path, body, headers, config=node)
        assert r.code == code, (method, path, r.code, r.text)
    assert 'User "system:node:n1" cannot create resource "configmaps"' in hub.http("POST", CMS, cm("c"), config=node).json()["message"]


def test_W_9_a_mesh_node_is_written_by_its_node_and_has_a_key_of_its_own(hub):
    path, merge = "/apis/weft.dev/v1alpha1/meshnodes", {"Content-Type": "application/merge-patch+json"}
    key, other = "A" * 43 + "=", "B" * 42 + "A="
    n1, n2 = hub.kubeconfig("system:node:n1", "system:nodes"), hub.kubeconfig("system:node:n2", "system:nodes")

    def mesh(name, key, *endpoints, **spec):
        return {"metadata": {"name": name}, "spec": {"publicKey": key, "endpoints": list(endpoints), **spec}}

    assert hub.http("POST", path, mesh("n1", key, "10.0.0.1:51820", "[fd00::1]:51820"), config=n1).code == 201
    for bad in (mesh("n2", "A" * 42 + "B=", "10.0.0.2:1"), mesh("n2", "", "10.0.0.2:1"), mesh("n2", other, "10.0.0.2"),
                mesh("n2", other, "127.0.0.1:1"), mesh("n2", other, "10.0.0.2:0"), mesh("n2", other, nextKey="x"),
                mesh("n2", other, *["10.0.0.2:1"] * 33), {"metadata": {"name": "n2"}}):
        assert hub.http("POST", path, bad, config=n2).code == 422
    assert hub.http("POST", path, mesh("n1", other), config=n2).code in (403, 409)
    assert hub.http("POST", path, mesh("n3", other), config=n2).code == 403
    assert hub.http("PATCH", path + "/n1", {"spec": {"publicKey": other}}, merge, config=n2).code == 403
    r = hub.http("POST", path, mesh("n2", key, "10.0.0.2:1"), config=n2)
    assert r.code == 422 and "is the key of MeshNode n1" in r.json()["message"]
    assert hub.http("POST", path, mesh("n2", other, "10.0.0.2:1"), config=n2).code == 201
    r = hub.http("PATCH", path + "/n2", {"spec": {"nextKey": key}}, merge, config=n2)
    assert r.code == 422
    assert hub.http("PATCH", path + "/n1/status", {"status": {"engine": "userspace"}}, merge, config=n1).code == 200
    assert "10.0.0.1:51820,[fd00::1]:51820" in hub.kubectl("get", "mesh").stdout


def test_malformed_input(hub):
    deep = "[" * 5000 + "]" * 5000
    for body, words in [("{", "parse error"), ("", "no body"), ("[]", "no JSON object"), ('"x"', "no JSON object"), (deep, "parse error"),
                        ('{"a":1,"a":2}', "duplicate"), ('{"metadata":{"name":"a\\u0000b"}}', "parse error"), ("\xff\xfe", "parse error"),
                        ('{"kind":"Secret"}', "expected"), ('{"metadata":3}', "expected an object"),
                        ('{"data":{"a":1}}', "expected a string"), ('{"data":[]}', "expected an object")]:
        r = hub.http("POST", CMS, body.encode("latin-1"))
        assert r.code == 400 and words in r.text, (body[:50], r.code, r.text[:300])
    unknown = dict(cm("u"), frob=1)
    assert 'unknown field \\"frob\\"' in hub.http("POST", CMS + "?fieldValidation=Strict", unknown).text
    r = hub.http("POST", CMS, unknown)
    assert r.code == 201 and "unknown field" in r.headers["Warning"] and "frob" not in r.json()
    assert hub.http("POST", CMS + "?fieldValidation=Ignore", dict(unknown, metadata={"name": "i"})).headers["Warning"] is None
    assert hub.http("POST", CMS + "?fieldValidation=Often", cm("v")).code == 400
    assert hub.http("POST", CMS, "x" * (4 << 20)).code == 413
    for method, path, code in [("GET", "/", 404), ("GET", "/api/v1/frobs", 404), ("GET", "/api/v2/pods", 404), ("GET", "/api/v1/namespaces/default/nodes", 404),
                               ("PUT", PODS, 405), ("POST", PODS + "/x", 405), ("BREW", PODS, 405), ("GET", PODS + "/x/frob", 404),
                               ("GET", "/a" * 500, 404), ("GET", "/api/v1/pods/%2e%2e", 404), ("GET", PODS + "/%ff", 400), ("GET", PODS + "/a%00b", 404)]:
        r = hub.http(method, path)
        assert r.code == code, (method, path, r.code, r.text)
    r = hub.http("PATCH", CMS + "/u", {}, {"Content-Type": "application/x-frob"})
    assert r.code == 415
    r = hub.http("PATCH", CMS + "/u", [{"op": "remove", "path": "/nope"}], {"Content-Type": "application/json-patch+json"})
    assert r.code == 400
    r = hub.http("PATCH", CMS + "/u", [{"op": "test", "path": "/data", "value": 1}], {"Content-Type": "application/json-patch+json"})
    assert r.code == 422
    assert hub.http("GET", "/readyz").text == "ok"


def test_bytes_that_are_no_http(hub):
    with socket.create_connection(("127.0.0.1", hub.port)) as s:
        s.sendall(b"GET / HTTP/1.1\r\n\r\n")  # no TLS
        s.settimeout(10)
        try:
            assert b"200" not in s.recv(100)
        except ConnectionResetError:
            pass
    context = hub.tls()
    for junk in (b"\0" * 1000, b"GET /" + b"a" * 200000, b"GET / HTTP/1.1\r\nX: " + b"b" * 200000, b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n"):
        with context.wrap_socket(socket.create_connection(("127.0.0.1", hub.port)), server_hostname="127.0.0.1") as s:
            try:
                s.sendall(junk)
                s.settimeout(10)
                assert b" 200 " not in s.recv(1000)
            except (ConnectionError, ssl.SSLError, TimeoutError):
                pass
    assert hub.http("GET", "/readyz").text == "ok"


def test_a_nul_in_a_path_ends_nothing(hub):
    assert hub.http("GET", "/api/v1/namespaces").code == 200
    for path in ("/api/v1/namespaces/%00/pods/a", "/api/v1/namespaces/default%00", "/api/v1/namespaces/%00"):
        assert hub.http("GET", path).code == 404, path
    assert hub.http("GET", "/api/v1/namespaces/%64efault").json()["metadata"]["name"] == "default"
    listed = hub.http("GET", "/api/v1/namespaces?labelSelector=kubernetes.io%2Fmetadata.name%3Ddefault").json()
    assert [n["metadata"]["name"] for n in listed["items"]] == ["default"]


def test_a_pod_of_no_node_is_deleted_at_once(hub):
    pod = {"metadata": {"name": "lost"}, "spec": {"nodeName": "nope", "containers": [{"name": "c", "image": "i"}]}}
    assert hub.http("POST", "/api/v1/namespaces/default/pods", pod).code == 201
    assert hub.http("DELETE", "/api/v1/namespaces/default/pods/lost").code == 200
    assert hub.http("GET", "/api/v1/namespaces/default/pods/lost").code == 404


def test_slow_requests_are_cut_off(hub):
    with hub.tls().wrap_socket(socket.create_connection(("127.0.0.1", hub.port)), server_hostname="127.0.0.1") as s:
        s.settimeout(1)
        end = time.monotonic() + 60
        closed = False
        while not closed and time.monotonic() < end:  # a byte a second is no way to send a header
            try:
                s.sendall(b"G")
                closed = s.recv(1) == b""
            except TimeoutError:
                pass
            except (ConnectionError, ssl.SSLError):
                closed = True
        assert closed


def test_slow_watcher_is_told_to_list_again(hub):
    c = hub.connect()
    c.request("GET", CMS + "?watch=true")
    r = c.getresponse()
    for i in range(40):
        make(hub, CMS, cm("big%d" % i, x="x" * 900000))
    last = None
    for line in r:
        last = json.loads(line)
    assert last["type"] == "ERROR" and last["object"]["code"] == 410


def test_watchers_that_go_away_are_forgotten(hub):
    def watches():
        return int([line for line in hub.http("GET", "/metrics").text.splitlines() if line.startswith("weft_hub_watches ")][0].split()[1])

    connections = []
    for _ in range(20):
        c = hub.connect()
        c.request("GET", CMS + "?watch=true")
        c.getresponse()
        connections.append(c)
    assert watches() == 20
    for c in connections:
        c.sock.close() if c.sock else None
        c.close()
    del connections, c
    import gc
    gc.collect()
    end = time.monotonic() + 20
    while watches() and time.monotonic() < end:
        time.sleep(0.05)
    assert watches() == 0


def test_bad_command_lines(hub, tmp_path):
    import subprocess
    from conftest import BIN
    data = ["--data", str(tmp_path / "other"), "--listen", "127.0.0.1:0"]
    for args in ([], ["--data", "x"], data + ["--cluster-cidr", "10.0.0.1/8"], data + ["--cluster-cidr", "10.0.0.0/8,11.0.0.0/8"], data + ["--service-cidr", "10.244.3.0/24"],
                 data + ["--listen", "nonsense"], data + ["--frob"], data + ["more"], data + ["--node-cidr-mask-size-ipv4", "8"],
                 data + ["--listen-fd", "77"], ["kubeconfig", "--data", "x"], data + ["--tls-san", "a b"]):
        run = subprocess.run([str(BIN / "weft-hub")] + args, stderr=subprocess.PIPE, text=True, timeout=20)
        assert run.returncode == 2 and "weft-hub" in run.stderr, (args, run.returncode, run.stderr)
    second = subprocess.run([str(BIN / "weft-hub"), "--data", str(hub.data / "d"), "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True, timeout=20)
    assert second.returncode == 1 and "database" in second.stderr  # one hub a data directory


def test_many_pods_quickly(hub):
    c = hub.connect()
    begin = time.monotonic()
    for i in range(200):
        c.request("POST", PODS, body=json.dumps(pod("p%d" % i)), headers={"Content-Type": "application/json"})
        assert c.getresponse().read() and True
    took = time.monotonic() - begin
    print("200 pods in %.2f s, start in %.3f s" % (took, hub.start_seconds))
    assert len(hub.http("GET", PODS).json()["items"]) == 200
    assert took < 10 and hub.start_seconds < 6  # ten times the target


def test_a_write_through_one_listener_wakes_watches_of_another(make_hub):
    hub = make_hub("--listen", "[::1]:0")
    _, events = hub.watch(CMS + "?watch=true")
    time.sleep(0.2)
    port = int((hub.data / "d/addresses").read_text().splitlines()[1].rsplit(":", 1)[1])
    import http.client
    c = http.client.HTTPSConnection("::1", port, timeout=30, context=hub.tls())
    c.request("POST", CMS, body=json.dumps(cm("x")), headers={"Content-Type": "application/json"})
    assert c.getresponse().status == 201
    assert next(events)["object"]["metadata"]["name"] == "x"
