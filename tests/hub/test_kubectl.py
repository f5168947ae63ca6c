# SPDX-License-Identifier: Apache-2.0
"""kubectl feels as usual."""

import json
import subprocess
import os
import threading
import time


MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeName: n1
  containers: [{name: c, image: echo, ports: [{containerPort: 80, name: http}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ipFamilyPolicy: PreferDualStack, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {a: b}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.244.0.5]}]
ports: [{name: "", protocol: TCP, port: 80}]
"""


def test_apply_twice_change_and_delete(hub, kubectls):
    for kubectl in kubectls:
        def k(*args, **kw):
            return hub.kubectl(*args, kubectl=kubectl, **kw).stdout

        assert k("apply", "-f", "-", stdin=MANIFEST.replace("discovery.k8s.io/v1\n", "discovery.k8s.io/v1\n")).count("created") == 6
        assert k("apply", "-f", "-", stdin=MANIFEST).count("unchanged") == 6
        changed = k("apply", "-f", "-", stdin=MANIFEST.replace("a: b", "a: c").replace("app: web}}\nspec:\n", "app: web, x: z}}\nspec:\n"))
        assert changed.count("configured") == 2 and changed.count("unchanged") == 4
        assert hub.get("cm", "conf")["data"] == {"a": "c"}
        assert hub.get("pod", "web")["metadata"]["labels"] == {"app": "web", "x": "z"}
        k("apply", "-f", "-", stdin=MANIFEST)
        assert hub.get("pod", "web")["metadata"]["labels"] == {"app": "web"}  # the label that was left out is gone
        out = k("delete", "-f", "-", "--wait=false", stdin=MANIFEST)
        assert out.count("deleted") == 6
        hub.kubectl("delete", "pod", "web", "--force", "--grace-period=0")
        assert hub.kubectl("get", "pod", "web", check=False).returncode == 1


def test_tables(hub):
    hub.kubectl("create", "-f", "-", stdin=MANIFEST)
    wide = hub.kubectl("get", "pods", "-o", "wide").stdout.splitlines()
    assert wide[0].split() == "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES".split()
    assert wide[1].split()[:4] == ["web", "0/1", "Pending", "0"] and wide[1].split()[6] == "n1"
    assert hub.kubectl("get", "svc").stdout.splitlines()[0].split() == "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE".split()
    assert "10.96.0." in hub.kubectl("get", "svc", "web").stdout
    assert hub.kubectl("get", "nodes", "-o", "wide").stdout.splitlines()[0].startswith("NAME   STATUS")
    assert "app=web" in hub.kubectl("get", "netpol").stdout
    assert "10.244.0.5" in hub.kubectl("get", "endpointslices").stdout
    assert hub.kubectl("get", "all", "-A", "-o", "name").stdout.split() == ["pod/web", "service/kubernetes", "service/web"]


def test_describe_explain_and_discovery(hub, kubectls):
    hub.kubectl("create", "-f", "-", stdin=MANIFEST)
    for kubectl in kubectls:
        def k(*args):
            return hub.kubectl(*args, kubectl=kubectl).stdout

        assert "PodSelector" in k("describe", "netpol", "deny")
        assert "10.244.0.0/24,fd00:244::/64" in k("describe", "node", "n1")
        assert "PreferDualStack" in k("describe", "svc", "web")
        assert "n1" in k("describe", "pod", "web")
        assert "containerPort" in k("explain", "pod.spec.containers.ports")
        assert "podSelector" in k("explain", "networkpolicy.spec")
        resources = k("api-resources", "-o", "name").split()
        assert resources == ["configmaps", "events", "namespaces", "nodes", "pods", "services", "leases.coordination.k8s.io",
                             "endpointslices.discovery.k8s.io", "ipaddresses.networking.k8s.io", "networkpolicies.networking.k8s.io",
                             "servicecidrs.networking.k8s.io", "adminnetworkpolicies.policy.networking.k8s.io",
                             "baselineadminnetworkpolicies.policy.networking.k8s.io", "clusternetworkpolicies.policy.networking.k8s.io",
                             "loadbalancerpools.weft.dev", "meshnodes.weft.dev"]


def admin_policy(kind, name, action="Deny", port=None, networks=None, **spec):
    peer = {"networks": networks} if networks else {"namespaces": {}}
    rule = {"action": action, "to": [peer], **({"ports": [port]} if port else {})}
    return {"apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": kind, "metadata": {"name": name},
            "spec": {"subject": {"namespaces": {}}, "egress": [rule], **spec}}


ADMIN, BASELINE = "AdminNetworkPolicy", "BaselineAdminNetworkPolicy"
GOOD = [admin_policy(ADMIN, "a", "Pass", {"portRange": {"protocol": "UDP", "start": 1, "end": 9}}, priority=7), admin_policy(ADMIN, "b", "Allow", {"namedPort": "dns"}, priority=1000),
        admin_policy(BASELINE, "default", "Deny", {"portNumber": {"protocol": "TCP", "port": 80}}, ["10.0.0.0/8", "fd00::/8"])]
REFUSED = [(admin_policy(ADMIN, "c", "Accept", priority=1), "action"), (admin_policy(ADMIN, "c", priority=1001), "priority"), (admin_policy(ADMIN, "c"), "priority"),
           (admin_policy(ADMIN, "c", "Deny", {"portRange": {"protocol": "UDP", "start": 9, "end": 9}}, priority=1), "portRange"),
           (admin_policy(ADMIN, "c", "Deny", {"namedPort": "dns"}, ["10.0.0.0/8"], priority=1), "namedPort"), (admin_policy(ADMIN, "c", networks=["10.0.0.1/8"] * 101, priority=1), "networks"),
           (admin_policy(BASELINE, "other"), "name"), (admin_policy(BASELINE, "default", "Pass"), "action")]


def cluster_policy(protocol=None, names=None):
    rule = {"action": "Accept", "to": [{"domainNames": names} if names else {"namespaces": {}}], **({"protocols": [protocol]} if protocol else {})}
    return {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "c"},
            "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, "egress": [rule]}}


def test_CNP_8_what_upstream_refuses_is_refused(hub):
    for policy, field in ((cluster_policy({"tcp": {}}), "tcp.destinationPort"), (cluster_policy({"udp": {"destinationPort": {}}}), "udp.destinationPort"),
                          *((cluster_policy(names=[n]), "domainNames[0]") for n in ("x", "*.x", "a..b", "-a.b", "a.*.b", "*"))):
        refused = hub.kubectl("apply", "-f", "-", stdin=json.dumps(policy), check=False)
        assert refused.returncode != 0 and field in refused.stderr, (policy, refused.stderr)
    for policy in (cluster_policy({"tcp": {"destinationPort": {"range": {"start": 1, "end": 65535}}}}), cluster_policy(names=["*.example.com", "a-1.b_c.example."])):
        hub.kubectl("apply", "-f", "-", stdin=json.dumps(policy))
    assert [line.split()[:3] for line in hub.kubectl("get", "cnp").stdout.splitlines()] == [["NAME", "TIER", "PRIORITY"], ["c", "Admin", "1"]]
    assert "unset: all" not in hub.kubectl("explain", "cnp.spec.egress.protocols.tcp").stdout
    hub.kubectl("delete", "cnp", "c")


def test_CNP_6_domain_names_and_the_protocol_of_its_predecessors(hub):
    def egress(action, *to, port=None):
        rule = {"action": action, "to": list(to), **({"ports": [port]} if port else {})}
        return {"apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": ADMIN, "metadata": {"name": "d"},
                "spec": {"priority": 1, "subject": {"namespaces": {}}, "egress": [rule]}}
    names, pods = {"domainNames": ["*.example.com", "example.org."]}, {"namespaces": {}}
    hub.kubectl("apply", "-f", "-", stdin=json.dumps(egress("Allow", names, pods)))
    assert hub.get("anp", "d")["spec"]["egress"][0]["to"] == [names, pods]
    baseline = {**egress("Allow", names, pods), "kind": BASELINE, "metadata": {"name": "default"}}
    del baseline["spec"]["priority"]
    for bad, field in ((egress("Deny", names), "domainNames"), (egress("Pass", pods, names), "domainNames"), (egress("Allow", {"domainNames": ["x"]}), "domainNames[0]"),
                       (egress("Allow", {"domainNames": []}), "domainNames"), (egress("Allow", names, port={"namedPort": "dns"}), "namedPort"), (baseline, "domainNames")):
        refused = hub.kubectl("apply", "-f", "-", stdin=json.dumps(bad), check=False)
        assert refused.returncode != 0 and field in refused.stderr, (bad, refused.stderr)
    for port in ({"portNumber": {"port": 80}}, {"portRange": {"start": 1, "end": 9}}):
        hub.kubectl("apply", "-f", "-", stdin=json.dumps(egress("Deny", pods, port=port)))
        (kind, form), = port.items()
        assert hub.get("anp", "d")["spec"]["egress"][0]["ports"] == [{kind: {**form, "protocol": "TCP"}}]
    hub.kubectl("delete", "anp", "d")


def test_predecessors_of_cluster_network_policy(hub, kubectls):
    """Beside it, in an older version of its group: its rules in other words, and a status that a node may write."""
    for kubectl in kubectls:
        for policy in GOOD:
            hub.kubectl("apply", "-f", "-", stdin=json.dumps(policy), kubectl=kubectl)
        for policy, field in REFUSED:
            refused = hub.kubectl("apply", "-f", "-", stdin=json.dumps(policy), kubectl=kubectl, check=False)
            assert refused.returncode != 0 and field in refused.stderr, (policy, refused.stderr)
        rows = [line.split()[:2] for line in hub.kubectl("get", "anp", kubectl=kubectl).stdout.splitlines()]
        assert rows == [["NAME", "PRIORITY"], ["a", "7"], ["b", "1000"]]
        assert hub.get("anp", "a")["spec"] == GOOD[0]["spec"] and hub.get("banp", "default")["spec"] == GOOD[2]["spec"]
        assert "portRange" in hub.kubectl("explain", "anp.spec.egress.ports", kubectl=kubectl).stdout
        assert "clusternetworkpolicies" in hub.kubectl("api-resources", "--api-group=policy.networking.k8s.io", "-o", "name", kubectl=kubectl).stdout
        hub.kubectl("delete", "anp,banp", "--all", kubectl=kubectl)


def test_label_annotate_patch_edit_replace_create(hub, kubectls):
    for i, kubectl in enumerate(kubectls):
        def k(*args, **kw):
            return hub.kubectl(*args, kubectl=kubectl, **kw).stdout

        ns = "team-%d" % i
        k("create", "namespace", ns)
        k("-n", ns, "create", "configmap", "c", "--from-literal=a=b")
        k("-n", ns, "create", "service", "clusterip", "s", "--tcp=80:8080")
        assert hub.get("-n", ns, "svc", "s")["spec"]["ports"][0]["targetPort"] == 8080
        k("-n", ns, "label", "cm", "c", "x=y")
        k("-n", ns, "annotate", "cm", "c", "note=hello world")
        assert "c" in k("-n", ns, "get", "cm", "-l", "x in (y,z),!w", "-o", "name")
        k("-n", ns, "label", "cm", "c", "x-")
        assert "labels" not in hub.get("-n", ns, "cm", "c")["metadata"] or not hub.get("-n", ns, "cm", "c")["metadata"]["labels"]
        k("-n", ns, "patch", "svc", "s", "-p", '{"spec":{"ports":[{"port":81,"name":"b"}]}}')
        assert [p["port"] for p in hub.get("-n", ns, "svc", "s")["spec"]["ports"]] == [81, 80] or \
            sorted(p["port"] for p in hub.get("-n", ns, "svc", "s")["spec"]["ports"]) == [80, 81]
        k("-n", ns, "patch", "cm", "c", "--type=merge", "-p", '{"data":{"a":null,"d":"e"}}')
        assert hub.get("-n", ns, "cm", "c")["data"] == {"d": "e"}
        k("-n", ns, "patch", "cm", "c", "--type=json", "-p", '[{"op":"add","path":"/data/f","value":"g"}]')
        old = hub.get("-n", ns, "cm", "c")
        old["data"] = {"h": "i"}
        k("-n", ns, "replace", "-f", "-", stdin=json.dumps(old))
        assert hub.get("-n", ns, "cm", "c")["data"] == {"h": "i"}
        stale = hub.kubectl("-n", ns, "replace", "-f", "-", stdin=json.dumps(old), check=False)
        assert stale.returncode == 1 and "the object has been modified" in stale.stderr
        edit = subprocess.run([kubectl, "--kubeconfig", hub.admin, "-n", ns, "edit", "cm", "c"], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env={**os.environ, "EDITOR": "sed -i 's/h: i/h: j/'", "HOME": str(hub.home)})
        assert "edited" in edit.stdout
        k("delete", "namespace", ns)
        assert hub.kubectl("get", "ns", ns, check=False).returncode == 1
        assert hub.kubectl("-n", ns, "get", "cm", "c", check=False).returncode == 1


def test_wait_and_watch(hub):
    hub.kubectl("create", "-f", "-", stdin=MANIFEST)
    watch = subprocess.Popen(["kubectl", "--kubeconfig", hub.admin, "get", "pods", "-w"], stdout=subprocess.PIPE, text=True,
                             env={**os.environ, "HOME": str(hub.home)})
    assert watch.stdout.readline().startswith("NAME") and "Pending" in watch.stdout.readline()

    def become_ready():
        time.sleep(0.5)
        status = {"status": {"phase": "Running", "podIP": "10.244.0.5", "podIPs": [{"ip": "10.244.0.5"}],
                             "conditions": [{"type": "Ready", "status": "True"}],
                             "containerStatuses": [{"name": "c", "ready": True, "restartCount": 0, "image": "echo", "imageID": "",
                                                    "state": {"running": {}}}]}}
        hub.http("PATCH", "/api/v1/namespaces/default/pods/web/status", status, {"Content-Type": "application/merge-patch+json"})
    t = threading.Thread(target=become_ready)
    t.start()
    hub.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=20s")
    t.join()
    assert "1/1" in watch.stdout.readline()
    hub.kubectl("delete", "pod", "web", "--wait=false")
    assert "Terminating" in watch.stdout.readline()
    pod = hub.get("pod", "web")
    assert pod["metadata"]["deletionGracePeriodSeconds"] == 30
    t = threading.Thread(target=lambda: hub.kubectl("wait", "--for=delete", "pod/web", "--timeout=20s"))
    t.start()
    gone = hub.http("DELETE", "/api/v1/namespaces/default/pods/web", {"gracePeriodSeconds": 0})
    assert gone.code == 200
    t.join()
    watch.terminate()
    watch.wait()


def test_invalid_objects_get_the_usual_words(hub):
    cases = [
        (("pod", {"containers": []}), 'The Pod "x" is invalid: spec.containers: Required value'),
        (("pod", {"containers": [{"image": "i"}]}), "spec.containers[0].name: Required value"),
        (("pod", {"containers": [{"name": "A", "image": "i"}]}), 'spec.containers[0].name: Invalid value: "A"'),
        (("pod", {"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]}), 'Duplicate value: "a"'),
        (("pod", {"containers": [{"name": "a", "image": "i", "ports": [{"containerPort": 70000}]}]}), "must be between 1 and 65535"),
        (("pod", {"restartPolicy": "Often", "containers": [{"name": "a", "image": "i"}]}), 'Unsupported value: "Often"'),
        (("service", {"ports": []}), "spec.ports: Required value"),
        (("service", {"ports": [{"port": 1}, {"port": 2}]}), "spec.ports[0].name: Required value"),
        (("service", {"ports": [{"port": 80}], "clusterIP": "10.1.1.1"}), "not in the valid range"),
        (("service", {"ports": [{"port": 80, "nodePort": 30000}]}), "may not be used when `type` is 'ClusterIP'"),
        (("networkpolicy", {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}]}), "must be a valid CIDR"),
        (("networkpolicy", {"podSelector": {}, "ingress": [{"from": [{}]}]}), "must specify a peer"),
        (("networkpolicy", {"podSelector": {}, "egress": [{"ports": [{"port": 90, "endPort": 80}]}]}), "greater than or equal to `port`"),
        (("networkpolicy", {"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}}]}]}),
         "must be a strict subset"),
    ]
    kinds = {"pod": ("v1", "Pod"), "service": ("v1", "Service"), "networkpolicy": ("networking.k8s.io/v1", "NetworkPolicy")}
    for (kind, spec), words in cases:
        version, name = kinds[kind]
        manifest = {"apiVersion": version, "kind": name, "metadata": {"name": "x"}, "spec": spec}
        run = hub.kubectl("create", "--validate=false", "-f", "-", stdin=json.dumps(manifest), check=False)
        assert run.returncode == 1 and words in run.stderr, (spec, run.stdout, run.stderr)
    run = hub.kubectl("create", "cm", "Bad_Name", check=False)
    assert "a lowercase RFC 1123 subdomain" in run.stderr
    run = hub.kubectl("get", "pod", "nope", check=False)
    assert run.stderr.strip() == 'Error from server (NotFound): pods "nope" not found'
    hub.kubectl("create", "cm", "c")
    run = hub.kubectl("create", "cm", "c", check=False)
    assert 'configmaps "c" already exists' in run.stderr
    run = hub.kubectl("label", "cm", "c", "a=-b", check=False)
    assert run.returncode == 1


def test_server_side_apply(hub):
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}}
    hub.kubectl("apply", "--server-side", "--field-manager=one", "-f", "-", stdin=json.dumps(manifest))
    assert hub.get("cm", "c")["data"] == {"a": "1", "b": "2"}
    del manifest["data"]["b"]
    hub.kubectl("apply", "--server-side", "--field-manager=one", "-f", "-", stdin=json.dumps(manifest))
    assert hub.get("cm", "c")["data"] == {"a": "1"}  # what the manager no longer applies goes
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "9"}}
    run = hub.kubectl("apply", "--server-side", "--field-manager=two", "-f", "-", stdin=json.dumps(other), check=False)
    assert run.returncode == 1 and "conflict" in run.stderr
    hub.kubectl("apply", "--server-side", "--field-manager=two", "--force-conflicts", "-f", "-", stdin=json.dumps(other))
    assert hub.get("cm", "c")["data"] == {"a": "9"}
