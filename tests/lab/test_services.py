# SPDX-License-Identifier: Apache-2.0
"""Endpoints follow real pods: the lab's probes, its graceful ends, and a replacement pod by pod."""

import json
import os
import signal

import pytest
from combos import BRIEF, options, params
from labs import Lab, answers_of, pod, wait_for

pytestmark = pytest.mark.sanitizers


# Of the datapath these tests see nothing, but that status is told as pods come and go: each transport is enough in `make test-full`.
@pytest.fixture(scope="module", params=params(BRIEF[4:5], BRIEF))
def lab(request):
    with Lab(nodes=2, zones=2, **options(request.param, "dual")) as lab:
        yield lab


def service(name, labels, **spec):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}], **spec}}


def endpoints(lab, name, family="IPv4"):
    """pod → its endpoint"""
    items = json.loads(lab.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=" + name, "-o", "json").stdout)["items"]
    return {e["targetRef"]["name"]: e for s in items if s["addressType"] == family for e in s.get("endpoints") or []}


def ready(lab, name):
    return {n for n, e in endpoints(lab, name).items() if e["conditions"]["ready"]}


def conditions(lab, service_name, pod_name):
    e = endpoints(lab, service_name).get(pod_name)
    return e and tuple(e["conditions"][c] for c in ("ready", "serving", "terminating"))


def probed(name, flag, labels):
    """A pod that is ready while the file `flag` is there."""
    p = pod(name, labels=labels)
    p["spec"]["containers"][0]["readinessProbe"] = {"exec": {"command": ["test", "-e", flag]}, "periodSeconds": 1, "failureThreshold": 1}
    return p


def test_slices_follow_readiness_and_the_end(lab, tmp_path):
    flag = tmp_path / "ready"
    lab.apply(service("probed", {"app": "probed"}, ipFamilyPolicy="RequireDualStack", trafficDistribution="PreferClose"),
              probed("probed", str(flag), {"app": "probed"}))
    wait_for("an endpoint that is not ready", lambda: conditions(lab, "probed", "probed") == (False, False, False))
    flag.touch()
    wait_for("ready", lambda: conditions(lab, "probed", "probed") == (True, True, False))
    status = next(p for p in lab.status()["pods"] if p["name"] == "probed")
    zone = next(n for n in lab.status()["nodes"] if n["name"] == status["node"])["zone"]
    e = endpoints(lab, "probed")["probed"]
    six = endpoints(lab, "probed", "IPv6")["probed"]
    assert {e["addresses"][0], six["addresses"][0]} == set(status["ips"]) and e["nodeName"] == status["node"]
    assert e["zone"] == zone and e["hints"] == {"forZones": [{"name": zone}]}
    flag.unlink()
    wait_for("not ready again", lambda: conditions(lab, "probed", "probed") == (False, False, False))
    flag.touch()
    wait_for("ready again", lambda: conditions(lab, "probed", "probed") == (True, True, False))
    lab.kubectl("delete", "pod", "probed", "--grace-period=4", "--wait=false")
    wait_for("serving while terminating", lambda: conditions(lab, "probed", "probed") == (False, True, True))
    wait_for("gone", lambda: not endpoints(lab, "probed"))


def test_a_rolling_replacement_never_empties_the_service(lab):
    """Pod by pod: a new one, when it is ready an old one ends; at every look at least three are ready."""
    labels = {"app": "rolling"}
    old, new = ["old%d" % i for i in range(3)], ["new%d" % i for i in range(3)]
    lab.apply(service("rolling", labels), *[pod(n, labels=labels) for n in old])
    wait_for("three old ones", lambda: ready(lab, "rolling") == set(old))
    fewest = []

    def look(what, condition):
        def step():
            now = ready(lab, "rolling")
            fewest.append(len(now))
            return condition(now)
        wait_for(what, step)

    for before, after in zip(old, new):
        lab.apply(pod(after, labels=labels))
        look(after + " is ready", lambda now: after in now)
        lab.kubectl("delete", "pod", before, "--grace-period=1", "--wait=false")
        look(before + " takes nothing new", lambda now: before not in now)
    assert min(fewest) >= 3, fewest
    wait_for("the new ones only", lambda: set(endpoints(lab, "rolling")) == set(new))
    items = json.loads(lab.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=rolling", "-o", "json").stdout)["items"]
    assert len(items) == 1


def ready_condition(lab, name):
    """Its status, when that began, and the revision of the whole."""
    p = json.loads(lab.kubectl("get", "pod", name, "-o", "json").stdout)
    c = next(c for c in p["status"]["conditions"] if c["type"] == "Ready")
    return c["status"], c["lastTransitionTime"], int(p["metadata"]["resourceVersion"])


def test_a_lost_node_has_no_ready_endpoints_until_it_is_back():
    """Stopped, and only silent while its pods go on: the API alone can tell that nobody should connect to them."""
    labels = {"app": "lost"}
    with Lab(nodes=2) as lab:
        lab.apply(service("lost", labels), pod("here", node="n1", labels=labels), pod("there", node="n2", labels=labels), pod("client", node="n1"))
        lab.wait_ready()
        address = json.loads(lab.kubectl("get", "svc", "lost", "-o", "json").stdout)["spec"]["clusterIP"]

        def ask():
            done = lab.exec("default/client", "curl", "-sS", "-m", 2, "http://%s/" % address, check=False)
            return json.loads(done.stdout) if done.returncode == 0 else None

        def answered_here():
            return all((ask() or {}).get("pod") == "here" for _ in range(20))

        def both():
            wait_for("both are ready", lambda: ready(lab, "lost") == {"here", "there"})
            wait_for("connections to n2's", lambda: (ask() or {}).get("pod") == "there")
            answers_of(("here", "there"), ask)

        both()
        lab.weft("node", "stop", "n2")
        wait_for("not ready", lambda: conditions(lab, "lost", "there") == (False, False, False))
        wait_for("connections go to the other one", answered_here)
        assert ready(lab, "lost") == {"here"}
        lab.weft("node", "start", "n2")
        both()

        silent = lab.pids("n2/runner")
        for pid in silent:
            os.kill(pid, signal.SIGSTOP)
        lab.kubectl("patch", "node", "n2", "--subresource=status", "-p", '{"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}')
        wait_for("not ready", lambda: conditions(lab, "lost", "there") == (False, False, False))
        wait_for("connections go to the other one", answered_here)
        for pid in silent:
            os.kill(pid, signal.SIGCONT)
        both()


def test_what_others_make_of_ready_is_put_right_once(lab, tmp_path):
    lab.apply(pod("overruled"), probed("control", str(tmp_path / "never"), {}))
    wait_for("statuses", lambda: all("conditions" in p["status"] for p in json.loads(lab.kubectl("get", "pod", "overruled", "control", "-o", "json").stdout)["items"]))
    wait_for("ready", lambda: ready_condition(lab, "overruled")[0] == "True")
    told = lab.kubectl("patch", "pod", "overruled", "--subresource=status", "-o", "json", "-p",
                       '{"status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2020-01-01T00:00:00Z"}]}}').stdout
    wait_for("ready again", lambda: ready_condition(lab, "overruled")[0] == "True")
    _, since, revision = ready_condition(lab, "overruled")
    assert since > "2020-01-02" and revision > int(json.loads(told)["metadata"]["resourceVersion"])
    # what is not ready does not become so by being called so; and while that is put right nothing more is said of the other one
    lab.kubectl("patch", "pod", "control", "--subresource=status", "-p", '{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}')
    wait_for("not ready again", lambda: ready_condition(lab, "control")[0] == "False")
    assert ready_condition(lab, "overruled") == ("True", since, revision)
