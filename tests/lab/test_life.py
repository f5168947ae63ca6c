# SPDX-License-Identifier: Apache-2.0
"""Labs and pods come, change and go, and leave nothing."""

import json
import os
import signal
import subprocess
import tempfile
import time

import pytest
from labs import HELPERS, WEFT, WEFT_BIN, Lab, assert_matrix, machine, pod, run, spread_pods, traces, wait_for

pytestmark = pytest.mark.sanitizers


@pytest.fixture(scope="module")
def lab():
    with Lab(nodes=2) as lab:
        yield lab


@pytest.fixture
def clean(lab):
    yield lab
    lab.delete_pods()


def names(lab):
    return {p["name"]: p for p in lab.status()["pods"]}


def test_two_labs_side_by_side_and_nothing_left():
    before = machine()
    labs = [Lab(nodes=2, transport="vxlan"), Lab(nodes=2, transport="direct", subnets=1)]
    try:
        ups = [subprocess.Popen([WEFT, "lab", "up", "--name", l.name, "--nodes", "2", "--transport", l.options["transport"]]) for l in labs]
        assert [u.wait(timeout=300) for u in ups] == [0, 0]
        for l in labs:
            l.kubeconfig = l.weft("kubeconfig").strip()
            l.apply(*spread_pods(2, each=1))
        for l in labs:
            l.wait_ready()
            assert_matrix(l, 6 * 4 * 3 * 2)
        assert traces(labs[0].name), "a lab that is up must be seen by the search for traces"
    finally:
        for l in labs:
            l.down()
    assert [traces(l.name) for l in labs] == [[], []]
    assert machine() == before


def bpf_objects():
    return {kind: len(json.loads(run("bpftool", "-j", kind, "show").stdout)) for kind in ("prog", "map", "link")}


def net_namespaces():
    return len(run("lsns", "-t", "net", "-n", "-o", "NS").stdout.split())


def test_down_removes_everything_of_this_lab():
    with Lab(nodes=2) as lab:
        lab.apply(*spread_pods(2, each=2))
        lab.wait_ready()
        ours = [lab.exec(n, "readlink", "/proc/self/ns/net").stdout.strip() for n in ("n1", "n2", "world")]
        assert lab.exec("n1", "find", "/sys/fs/bpf/weft").stdout
    seen = run("lsns", "-t", "net", "-n", "-o", "NS").stdout
    assert not [ns for ns in ours if ns.split("[")[1].rstrip("]") in seen.split()]
    assert traces(lab.name) == []


def test_up_twice_says_so(lab):
    done = run(WEFT, "lab", "up", "--name", lab.name, check=False)
    assert done.returncode == 1 and "is up already" in done.stderr


def test_down_twice_and_of_nothing():
    for _ in range(2):
        assert "there is no lab" in run(WEFT, "lab", "down", "--name", "tnothing").stdout


@pytest.mark.parametrize("delay", [0.02, 0.08, 0.15, 0.3, 0.5])
def test_killed_up_leaves_nothing_after_down(delay):
    lab = Lab(nodes=2)
    up = subprocess.Popen([WEFT, "lab", "up", "--name", lab.name, "--nodes", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(delay)  # the instant of the kill is what is varied
        up.kill()
        up.wait()
    finally:
        lab.down()
    assert traces(lab.name) == []


def test_interrupted_up_takes_itself_down():
    lab = Lab(nodes=2)
    up = subprocess.Popen([WEFT, "lab", "up", "--name", lab.name, "--nodes", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for("the fabric", lambda: "fabric" in up.stdout.readline())
        up.send_signal(signal.SIGINT)
        _, err = up.communicate(timeout=60)
        assert up.returncode == 1 and "taken down again" in err
        assert traces(lab.name) == []
    finally:
        lab.down()


def test_an_agent_that_waits_for_its_uplink_is_said_to():
    """`lab up` shows the log of the agent that is not ready, and every part of its health that waits names what is missing."""
    lab = Lab()
    up = subprocess.Popen([WEFT, "lab", "up", "--name", lab.name, "--nodes", "1", "--set", "uplinks=nosuch0"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def health():
        done = lab.exec("n1", WEFT, "status", "-o", "json", check=False)
        return json.loads(done.stdout)["health"] if done.returncode == 0 else {}
    try:
        wait_for("cni, ipam and routes wait", lambda: all("nosuch0" in str(health().get(p)) for p in ("cni", "ipam", "routes")))
        up.send_signal(signal.SIGINT)
        _, err = up.communicate(timeout=60)
        assert "n1 is not ready" in err and "/logs/n1-weftd.log" in err and "waiting for an uplink: there is no interface" in err, err
    finally:
        up.kill()
        up.wait()
        lab.down()


@pytest.mark.parametrize("args,expected", [
    (["--transport", "ipip"], "transport ipip: expected direct, vxlan, geneve, auto or wireguard"),
    (["--nodes", "x"], "expected a number"),
    (["--set", "datapath.fastPath=maybe"], "datapath.fastPath"),
    (["--set", "no.such=1"], "no.such"),
])
def test_bad_arguments_are_explained(args, expected):
    done = run(WEFT, "lab", "up", "--name", "tbad", *args, check=False)
    assert done.returncode == 2 and expected in done.stderr
    assert traces("tbad") == []


def test_exec_hands_everything_through(lab):
    assert lab.exec("n1", "cat", input="in\n").stdout == "in\n"
    assert lab.exec("n1", "sh", "-c", "echo err >&2; exit 7", check=False).returncode == 7
    assert lab.exec("world", "sh", "-c", "kill -TERM $$", check=False).returncode == 128 + signal.SIGTERM
    assert lab.exec("n2", "hostname").stdout == "n2\n"
    assert lab.exec("n1", "no-such-program", check=False).returncode == 127
    for target, words in (("n9", "expected a node"), ("default/none", "no pod default/none"), ("a/b/c", "no NAMESPACE/POD"), ("../x", "no NAMESPACE/POD")):
        done = lab.exec(target, "true", check=False)
        assert done.returncode == 1 and words in done.stderr, target
    assert run(WEFT, "lab", "exec", "--name", "tnothing", "n1", "--", "true", check=False).returncode == 1


def test_pod_life_by_kubectl(clean):
    lab = clean
    lab.apply(pod("one"), pod("two"))
    lab.kubectl("wait", "--for=condition=Ready", "pods", "--all", "--timeout=60s")
    pods = names(lab)
    assert {p["node"] for p in pods.values()} == {"n1", "n2"}, "round robin"
    answer = json.loads(lab.exec("default/one", "curl", "-sf", "http://%s:8080/" % pods["two"]["ips"][0]).stdout)
    assert answer["pod"] == "two" and answer["namespace"] == "default" and answer["node"] == pods["two"]["node"]
    assert answer["server"] == pods["two"]["ips"][0] + ":8080"
    assert answer["client"].rsplit(":", 1)[0] == pods["one"]["ips"][0]
    lab.kubectl("delete", "pod", "one", "--grace-period=1")
    assert "one" not in names(lab)
    assert lab.exec("default/one", "true", check=False).returncode == 1


def test_serves_until_the_grace_period_ends(clean):
    lab = clean
    lab.apply(pod("server", terminationGracePeriodSeconds=5), pod("client"))
    lab.wait_ready()
    address = names(lab)["server"]["ips"][0]
    lab.kubectl("delete", "pod", "server", "--wait=false")
    lab.exec("default/client", "curl", "-sf", "-m", "4", "http://%s:8080/" % address)
    wait_for("the pod is gone", lambda: "server" not in names(lab))


def test_exit_codes_and_restarts(clean):
    lab = clean
    lab.apply(pod("done", command=["true"], restartPolicy="Never"), pod("bad", command=["sh", "-c", "exit 3"], restartPolicy="Never"),
              pod("again", command=["false"], terminationGracePeriodSeconds=1))
    wait_for("phases", lambda: (names(lab)["done"]["phase"], names(lab)["bad"]["phase"]) == ("Succeeded", "Failed"))
    code = lab.kubectl("get", "pod", "bad", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}").stdout
    assert code == "3"
    wait_for("a restart", lambda: int(lab.kubectl("get", "pod", "again", "-o", "jsonpath={.status.containerStatuses[0].restartCount}").stdout or 0) >= 2)


def test_readiness_follows_the_probe(clean):
    lab = clean
    p = pod("probed")
    p["spec"]["containers"][0]["readinessProbe"] = {"exec": {"command": ["test", "-e", "/run/is-ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    lab.apply(p)
    wait_for("running", lambda: names(lab)["probed"]["phase"] == "Running")
    node = names(lab)["probed"]["node"]

    def ready():
        return lab.kubectl("get", "pod", "probed", "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}").stdout
    assert ready() == "False"
    lab.exec(node, "touch", "/run/is-ready")
    wait_for("ready", lambda: ready() == "True")
    lab.exec(node, "rm", "/run/is-ready")
    wait_for("not ready", lambda: ready() == "False")


def test_what_the_lab_cannot_do_is_said(clean):
    lab = clean
    p = pod("odd", command=["/no/such/program"], terminationGracePeriodSeconds=1, volumes=[{"name": "v", "emptyDir": {}}])
    lab.apply(p)
    wait_for("events", lambda: {"Ignored", "Failed"} <= set(lab.kubectl("get", "events", "-o", "jsonpath={.items[*].reason}").stdout.split()))
    assert "No such file" in lab.kubectl("describe", "pod", "odd").stdout


@pytest.mark.parametrize("text,expected", [
    ("{", "error"),
    ('{"apiVersion":"v1","kind":"Pod","metadata":{"name":"Bad_Name"},"spec":{"containers":[{"name":"c","image":"x"}]}}', "Bad_Name"),
    ('{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"containers":[]}}', "containers"),
    ('{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"containers":[{"name":"c","image":"x","ports":[{"containerPort":99999}]}]}}', "containerPort"),
    ('{"apiVersion":"v1","kind":"Nonsense","metadata":{"name":"x"}}', "error validating"),
])
def test_malformed_manifests_are_refused(lab, text, expected):
    done = lab.kubectl("apply", "-f", "-", input=text, check=False)
    assert done.returncode != 0 and expected in done.stderr
    assert names(lab) == {}


def test_node_stop_start_add():
    with Lab(nodes=2) as lab:
        lab.apply(*spread_pods(2, each=1))
        lab.wait_ready()
        boot = lab.exec("n2", "cat", "/run/boot_id").stdout
        lab.weft("node", "stop", "n2")
        assert lab.exec("n2", "true", check=False).returncode == 1
        wait_for("not ready", lambda: [n["ready"] for n in lab.status()["nodes"]] == [True, False])
        wait_for("the API knows", lambda: "NotReady" in lab.kubectl("get", "node", "n2").stdout)
        assert "stopped already" in run(WEFT, "lab", "node", "stop", "n2", "--name", lab.name, check=False).stderr
        lab.weft("node", "start", "n2")
        assert lab.exec("n2", "cat", "/run/boot_id").stdout != boot
        assert lab.weft("node", "add").strip() == "n3"
        lab.apply(pod("p3-0", node="n3"))
        wait_for("all run again", lambda: len(lab.exec("n2", "sh", "-c", "ls /run/weft-lab-pods/default").stdout.split()) == 2)
        lab.wait_ready()
        assert_matrix(lab, (5 + 3) * 5 * 3 * 2)
        # What the stack has routed into the tunnel, and not sent yet, still finds its neighbour: that goes when the route has gone.
        with tempfile.NamedTemporaryFile("r") as told:
            monitor = lab.popen("n1", "ip", "monitor", "route", "neigh", stdout=open(told.name, "w"))
            planted = "169.254.9.9 lladdr 02:00:00:00:00:01 dev weft-vxlan"
            wait_for("it listens", lambda: lab.exec("n1", "sh", "-c", "ip neigh replace %s && ip neigh del %s" % (planted, planted)) and open(told.name).read())
            lab.kubectl("delete", "node", "n3")
            gone = wait_for("both are gone", lambda: (lambda words: words if len(set(words)) == 2 else None)(
                [line.split()[1] for line in open(told.name) if line.startswith("Deleted 10.244.2.")]))
            monitor.kill()
            monitor.wait()
        assert gone == ["10.244.2.0/24", "10.244.2.1"]


def test_hub_restart_is_survived():
    with Lab(nodes=2) as lab:
        lab.apply(pod("a"))
        lab.wait_ready()
        for pid in lab.pids("hub"):
            os.kill(pid, signal.SIGKILL)
        wait_for("the hub is back", lambda: lab.kubectl("get", "nodes", check=False).returncode == 0)
        lab.apply(pod("b"))
        lab.wait_ready()
        assert_matrix(lab, 1)
