# SPDX-License-Identifier: Apache-2.0
"""Policy with real packets: verdicts, changes that live connections feel, agents that die, what `weft why` says."""

import itertools
import json
import os
import random
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from apiwatch import Api
from combos import options, params
from labs import FULL, Lab, held_still, pod, wait_for
from truth import NO_ANSWER, ask

PYTHON = "/usr/bin/python3"

# Sends a datagram every millisecond and says how many answers came; ends after SECONDS, or, if it is given anything more, when its input closes.
PROBER = """
import select, socket, sys, time
host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
s.connect((host, port))
s.setblocking(False)
sent = got = 0
end = time.monotonic() + seconds
print("go", flush=True)
while time.monotonic() < end:
    try:
        s.send(b"x")
        sent += 1
    except OSError:
        pass
    if sys.stdin in select.select([s, sys.stdin][:len(sys.argv) - 3], [], [], 0.001)[0]:
        break
    try:
        while s.recv(2048):
            got += 1
    except OSError:
        pass
print("%d %d" % (sent, got), flush=True)
"""

# One connection, a question every 2 ms; says how long after the last line on its input the last answer came.
TALKER = """
import select, socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
s.settimeout(0.5)
print("go", flush=True)
told = None
while True:
    if told is None and select.select([sys.stdin], [], [], 0)[0]:
        sys.stdin.readline()
        told = time.monotonic()
    try:
        s.send(b"x\\n")
        if not s.recv(2048):
            print("closed", flush=True)
            break
    except TimeoutError:
        print("cut %.1f" % ((last - told) * 1000 if told else -1), flush=True)
        break
    last = time.monotonic()
    time.sleep(0.002)
"""


def policy(name, namespace="default", pods=None, **spec):
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name, "namespace": namespace},
            "spec": {"podSelector": {"matchLabels": pods} if pods else {}, **spec}}


def of(**labels):
    return {"podSelector": {"matchLabels": labels}}


FIRST_WAY, OPPOSITE = params()[:2]


def in_one_way(test):
    """What does not depend on the datapath's way: in the full tier only it is tried in all of them."""
    return test if FULL else pytest.mark.parametrize("lab", [FIRST_WAY], indirect=True)(test)


# The first way and its opposite: no tunnel, all through the stack.
@pytest.fixture(scope="module", params=params() if FULL else [FIRST_WAY, OPPOSITE])
def lab(request):
    with Lab(nodes=2, **options(request.param, "dual")) as lab:
        lab.apply(*[pod(n, node=w, labels={"app": n}, ports=(8080, 8081)) for n, w in
                    [("server", "n1"), ("near", "n1"), ("other", "n1"), ("far", "n2"), ("stranger", "n2")]])
        lab.wait_ready()
        lab.ips = {p["name"]: p["ips"] for p in lab.status()["pods"]}
        yield lab


@pytest.fixture(autouse=True)
def clean(lab):
    yield
    lab.kubectl("delete", "netpol,cnp", "--all", "-A")
    lab.kubectl("label", "pod", "near", "far", "app-", "--overwrite")
    for name in ("near", "far"):
        lab.kubectl("label", "pod", name, "app=" + name, "--overwrite")


def outcomes(lab, source, target, port=8080, protocol="tcp"):
    """Does it get through, over each family?"""
    here = source if source in ("n1", "n2") else "default/" + source
    answers = ask(lab, here, ["%s %s %d default/%s -" % (protocol, ip, port, target) for ip in lab.ips[target]], 1000)
    assert set(answers.values()) <= {None, NO_ANSWER}, answers
    return {why is None for why in answers.values()}


def reaches(lab, source, target, **how):
    """Over both families, which must agree."""
    results = outcomes(lab, source, target, **how)
    assert len(results) == 1, "the families differ: %s to %s %s" % (source, target, how)
    return results.pop()


def settled(lab, source, target, allowed, **how):
    """Over both families; one is asked after the other, so on the way there they may differ."""
    wait_for("%s to %s %s" % (source, target, allowed), lambda: outcomes(lab, source, target, **how) == {allowed})


def silent(lab, tuples, also={}):
    """Those of (source's address, target's, port, protocol) that are not answered; a port of 0 is an echo's. @also: whose other addresses are, beside pods'."""
    names = {**{ip: name for name, ips in lab.ips.items() for ip in ips}, **also}
    lines = {}  # source → {line: the tuple}
    for t in tuples:
        lines.setdefault(names.get(t[0], t[0]), {})["%s %s %d default/%s -" % (t[3], t[1], t[2], names[t[1]])] = t
    with ThreadPoolExecutor(len(lines)) as pool:
        found = pool.map(lambda source: ask(lab, source if source in ("n1", "n2", "world") else "default/" + source, list(lines[source])), lines)
    answers = {of[line]: why for of, why in zip(lines.values(), found) for line, why in why.items()}
    assert set(answers.values()) <= {None, NO_ANSWER}, answers
    return {t for t, why in answers.items() if why}


def test_NP_rules_hold_on_one_node_and_across(lab):
    lab.apply(policy("only", pods={"app": "server"}, policyTypes=["Ingress"],
                     ingress=[{"from": [of(app="near"), of(app="far")], "ports": [{"port": 8080}, {"port": 8080, "protocol": "UDP"}]}]))
    settled(lab, "other", "server", False)
    expected = [(source, "server", 8080, "tcp", source in ("near", "far", "n1")) for source in ("near", "far", "other", "stranger", "n1", "n2")]
    for source, allowed in [("near", True), ("stranger", False)]:
        expected += [(source, "server", 8080, "udp", allowed), (source, "server", 8081, "tcp", False), (source, "server", 0, "icmp", False)]  # the rule has ports
    for target in ("near", "far", "stranger"):  # its own connections, and their answers
        expected += [("server", target, 8080, "tcp", True), ("server", target, 0, "icmp", True)]
    allowed, denied = set(), set()
    for source, target, port, protocol, may in expected:
        for own, ip in zip(lab.ips.get(source, [source] * 2), lab.ips[target]):
            (allowed if may else denied).add((own, ip, port, protocol))

    def holds():
        found = silent(lab, allowed | denied)
        assert denied <= found, denied - found
        return found == denied
    wait_for("all that is allowed", holds)  # it may be late on a busy machine; what is denied may never


@in_one_way
def test_policies_are_shown_and_denials_name_the_rule(lab):
    lab.apply(policy("only", pods={"app": "server"}, policyTypes=["Ingress"], ingress=[{"from": [of(app="near")], "ports": [{"port": 8080}]}]))
    settled(lab, "other", "server", False)
    listed = lab.exec("n1", "weft", "policy", "list").stdout
    assert "NetworkPolicy" in listed and "default/only" in listed and listed.splitlines()[1].split()[-2:] == ["1", "enforce"]
    shown = lab.exec("n1", "weft", "policy", "show", "default/server").stdout
    assert "ingress[0] accept from pods [app in (near)]" in shown and "TCP 8080" in shown
    assert lab.exec("n1", "weft", "policy", "show", "default/far", check=False).returncode == 1
    events = lab.exec("n1", "weft", "observe", "--verdict", "denied", "--last", "5").stdout
    assert "NetworkPolicy default/only" in events and "default/other" in events
    why = lab.exec("n1", "weft", "why", "default/other", lab.ips["server"][0] + ":8080", check=False).stdout
    assert "denied" in why and "NetworkPolicy default/only" in why
    assert "denied" not in lab.exec("n1", "weft", "why", "default/near", lab.ips["server"][0] + ":8080", check=False).stdout


@in_one_way
def test_rules_that_a_network_policy_hides_are_shown_as_such(lab):
    rules = {"ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}], "egress": [{"action": "Deny", "to": [{"networks": ["192.0.2.0/24"]}]}]}
    lab.apply({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "last"},
               "spec": {"tier": "Baseline", "priority": 1, "subject": {"pods": {"namespaceSelector": {}, **of(app="server")}}, **rules}},
              policy("only", pods={"app": "server"}, policyTypes=["Ingress"], ingress=[{"from": [of(app="near")]}]))

    def shown():
        lines = lab.exec("n1", "weft", "policy", "show", "default/server").stdout.splitlines()
        return [[line.strip() for line in lines if line.startswith("  %s[0] deny" % d)] for d in ("ingress", "egress")]
    hint = "; not asked: a NetworkPolicy isolates for ingress"
    wait_for("the hint", lambda: [hint in line for line in shown()[0]] == [True])
    assert "not asked" not in shown()[1][0]
    lab.kubectl("annotate", "netpol", "only", "weft.dev/mode=observe")
    wait_for("no hint, as what isolates only observes", lambda: [hint in line for line in shown()[0]] == [False])
    lab.kubectl("annotate", "cnp", "last", "weft.dev/mode=observe")
    wait_for("the hint: both would be in force together", lambda: [hint in line for line in shown()[0]] == [True])


# One connection, one question; says its port, and holds on until its input closes.
HOLDER = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
s.send(b"x\\n")
s.recv(2048)
print(s.getsockname()[1], flush=True)
sys.stdin.read()
"""


@in_one_way
def test_weft_why_judges_answers_by_who_began(lab):
    lab.apply(policy("shut", pods={"app": "near"}, policyTypes=["Ingress"]))
    settled(lab, "other", "near", False)
    holder = lab.popen("default/near", PYTHON, "-c", HOLDER, lab.ips["server"][0], "8080", stdin=-1, stdout=-1)
    end = "%s:%d" % (lab.ips["near"][0], int(holder.stdout.readline()))

    def why(*options):
        done = lab.exec("n1", "weft", "why", "--source-port", "8080", *options, "default/server", end, check=False)
        return done.returncode, done.stdout
    code, text = why()
    assert "begun by the destination" in text and "delivered" in text.splitlines()[-1] and "as answers" in text and code == 0, text
    assert "began anew would be denied, policy_ingress, by NetworkPolicy default/shut isolates for ingress" in text.splitlines()[-1], text
    answer = json.loads(why("-o", "json")[1])
    assert answer["verdict"] == "delivered" and answer["answers"] and answer["anewDenied"]["reason"] == "policy_ingress" and "rule" not in answer
    assert lab.exec("n1", "weft", "why", "default/server", end, check=False).returncode == 3, "without its port it is a new one"
    lab.apply(policy("out", pods={"app": "near"}, policyTypes=["Egress"]))
    settled(lab, "near", "other", False)
    code, text = why()
    assert code == 3 and "denied, policy_egress on node n1, by NetworkPolicy default/out" in text.splitlines()[-1], text
    holder.communicate(timeout=60)


def audits(lab, node):
    """Events of this node that say what would be denied, and how many flows were counted."""
    lines = lab.exec(node, "weft", "observe", "--verdict", "audit", "--last", "1000", "-o", "json").stdout.splitlines()
    metrics = lab.exec(node, "curl", "-s", "-m", "5", "http://127.0.0.1:10287/metrics").stdout
    counted = [float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("weft_policy_audits_total{")]
    return [json.loads(line) for line in lines], sum(counted)


@in_one_way
def test_a_policy_that_observes_denies_nothing_and_tells_what_it_would(lab):
    only = policy("only", pods={"app": "server"}, policyTypes=["Ingress"], ingress=[{"from": [of(app="near")]}])
    only["metadata"]["annotations"] = {"weft.dev/mode": "observe"}
    before = audits(lab, "n1")[1]
    lab.apply(only)
    wait_for("the policy", lambda: "default/only" in lab.exec("n1", "weft", "policy", "list").stdout)
    shown = lab.exec("n1", "weft", "policy", "show", "default/server").stdout
    assert "open: what selects it only observes" in shown and "only observes" in shown
    for source in ("near", "other", "far"):
        assert reaches(lab, source, "server")
    events, counted = audits(lab, "n1")
    told = {(e["source"]["name"], e["destination"]["name"], e["reason"], e["rule"]) for e in events}
    rule = "NetworkPolicy default/only isolates for ingress"
    assert {("other", "server", "policy_ingress", rule), ("far", "server", "policy_ingress", rule)} <= told
    assert not [e for e in events if e["source"]["name"] == "near" and e["destination"]["name"] == "server"]
    assert counted - before == 4  # two sources, two families
    why = lab.exec("n1", "weft", "why", "default/other", lab.ips["server"][0] + ":8080").stdout
    assert "delivered" in why and "would be denied by %s, which only observes" % rule in why
    talker = lab.popen("default/far", PYTHON, "-c", TALKER, lab.ips["server"][0], "8080", stdin=-1, stdout=-1)
    assert talker.stdout.readline() == "go\n"
    lab.kubectl("annotate", "netpol", "only", "weft.dev/mode=enforce", "--overwrite")
    talker.stdin.write("now\n")
    talker.stdin.flush()
    assert talker.communicate(timeout=60)[0].startswith("cut ")
    assert not reaches(lab, "other", "server") and reaches(lab, "near", "server")
    lab.kubectl("annotate", "netpol", "only", "weft.dev/mode=observe", "--overwrite")
    settled(lab, "other", "server", True)


@in_one_way
def test_NP_5_both_ends_must_allow(lab):
    lab.apply(policy("out", pods={"app": "near"}, policyTypes=["Egress"], egress=[{"to": [of(app="server")]}]),
              policy("in", pods={"app": "server"}, policyTypes=["Ingress"], ingress=[{"from": [of(app="far")]}]))
    settled(lab, "near", "other", False)
    assert not reaches(lab, "near", "server") and reaches(lab, "far", "server") and not reaches(lab, "near", "far")
    assert reaches(lab, "far", "near")


@in_one_way
def test_CNP_tiers(lab):
    def cnp(name, tier, priority, action, peer):
        return {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": name}, "spec": {
            "tier": tier, "priority": priority, "subject": {"pods": {"namespaceSelector": {}, **of(app="server")}},
            "ingress": [{"action": action, "from": [{"pods": {"namespaceSelector": {}, **of(app=peer)}}]}]}}

    lab.apply(cnp("no-near", "Admin", 10, "Deny", "near"), cnp("no-far", "Baseline", 10, "Deny", "far"))
    settled(lab, "near", "server", False)
    settled(lab, "far", "server", False)
    assert reaches(lab, "stranger", "server")
    lab.apply(policy("all", pods={"app": "server"}, policyTypes=["Ingress"], ingress=[{}]))
    settled(lab, "far", "server", True)  # a NetworkPolicy is in front of the Baseline tier, and behind the Admin tier
    assert not reaches(lab, "near", "server")
    lab.apply(cnp("yes-near", "Admin", 5, "Accept", "near"))
    settled(lab, "near", "server", True)
    assert "no-near" in lab.kubectl("get", "cnp").stdout
    bad = cnp("bad", "Admin", 1001, "Deny", "near")
    assert "priority" in lab.kubectl("apply", "-f", "-", input=json.dumps(bad), check=False).stderr


def test_P7_a_change_cuts_live_connections(lab):
    lab.apply(policy("only", pods={"app": "server"}, policyTypes=["Ingress"], ingress=[{"from": [of(app="near"), of(app="far")]}]))
    settled(lab, "other", "server", False)
    for source in ("near", "far"):
        talker = lab.popen("default/" + source, PYTHON, "-c", TALKER, lab.ips["server"][0], "8080", stdin=-1, stdout=-1)
        assert talker.stdout.readline() == "go\n"
        talker.stdin.write("now\n")
        talker.stdin.flush()
        lab.kubectl("label", "pod", source, "app=nobody", "--overwrite")
        cut, after = talker.communicate(timeout=60)[0].split()
        assert cut == "cut" and float(after) > 0, (cut, after)
        print("%s: the last answer came %s ms after kubectl was started" % (source, after))


def of_side(side, **rules):
    """Of the pods of namespaces with this label: rules of each direction, action and whose they are about; None: all."""
    def rule(action, who):
        return {"action": action, "from" if "ingress" in rules else "to": [{"namespaces": {"matchLabels": {"side": who}} if who else {}}]}
    return {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "side-" + side}, "spec": {
        "tier": "Admin", "priority": 1, "subject": {"namespaces": {"matchLabels": {"side": side}}},
        **{direction: [rule(*r) for r in some] for direction, some in rules.items()}}}


def policy_drops(lab, which="policy_"):
    return sum(d["packets"] for d in lab.node_status("n1")["drops"] if d["reason"].startswith(which))


@in_one_way
def test_P7_a_relabelled_namespace_is_never_half_old_and_half_new(lab):
    """Two of its pods, of which the old labels deny at one end and the new ones at the other, 1,000 packets a second each way: none gets through. Then labels
    that both allow: nothing is denied."""
    api, sides = Api(lab.kubeconfig), itertools.cycle("ba")

    def relabel(side):
        api.merge("/api/v1/namespaces/default", {"metadata": {"labels": {"side": side}}})

    def heard(during=lambda: None, seconds=0.2):
        """Both ways, how many were answered."""
        ways = [lab.popen("default/" + a, PYTHON, "-c", PROBER, lab.ips[b][0], "8080", seconds, stdout=-1) for a, b in (("near", "other"), ("other", "near"))]
        assert [w.stdout.readline() for w in ways] == ["go\n"] * 2
        during()
        counts = [int(w.stdout.readline().split()[-1]) for w in ways]  # communicate() knows nothing of what was read with the first line
        assert [w.wait(60) for w in ways] == [0, 0]
        return counts

    def turn_round():
        for _ in range(40):
            relabel(next(sides))
            time.sleep(0.01)  # more than the agent gathers
    relabel("a")
    lab.apply(of_side("a", egress=[("Deny", None)]), of_side("b", ingress=[("Deny", "b")]))
    wait_for("a denial", lambda: heard() == [0, 0])
    assert heard(turn_round, 0.7) == [0, 0]
    relabel("c")
    wait_for("what labels of neither let through", lambda: all(heard()))
    lab.kubectl("delete", "cnp", "--all")
    lab.apply(of_side("a", ingress=[("Accept", "a"), ("Deny", None)]), of_side("b", ingress=[("Accept", "b"), ("Deny", None)]))
    relabel("a")
    wait_for("the other policies", lambda: lab.exec("n1", "weft", "policy", "list").stdout.count("side-") == 2 and all(heard()))
    before = policy_drops(lab)
    assert all(heard(turn_round, 0.7))
    assert policy_drops(lab) == before
    relabel(None)


@in_one_way
def test_CNP_6_a_nodes_external_address_is_the_nodes(lab):
    """Of a node that is nothing else: it has no agent, and no address that others use."""
    lab.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "ghost", "labels": {"is": "ghost"}},
               "status": {"addresses": [{"type": "ExternalIP", "address": "203.0.113.77"}]}},
              {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "no-ghost"}, "spec": {
                  "tier": "Admin", "priority": 1, "subject": {"namespaces": {}},
                  "egress": [{"action": "Deny", "to": [{"nodes": {"matchLabels": {"is": "ghost"}}}]}]}})

    def verdict(host):
        return json.loads(lab.exec("n1", "weft", "why", "-o", "json", "default/near", host + ":80/udp", check=False).stdout)["verdict"]
    try:
        wait_for("a denial", lambda: verdict("203.0.113.77") == "denied")
        assert verdict("203.0.113.78") == "sent"
        before = policy_drops(lab)
        lab.exec("default/near", PYTHON, "-c", "import socket; socket.socket(2, 2).sendto(b'x', ('203.0.113.77', 80))")
        wait_for("the drop", lambda: policy_drops(lab) == before + 1)
    finally:
        lab.kubectl("delete", "node", "ghost")


@in_one_way
def test_CNP_a_new_policy_cuts_live_connections(lab):
    """The conformance cases of others connect anew each time."""
    talker = lab.popen("default/far", PYTHON, "-c", TALKER, lab.ips["server"][0], "8080", stdin=-1, stdout=-1)
    assert talker.stdout.readline() == "go\n"
    talker.stdin.write("now\n")
    talker.stdin.flush()
    lab.apply({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "no-far"}, "spec": {
        "tier": "Admin", "priority": 1, "subject": {"namespaces": {}},
        "ingress": [{"action": "Deny", "from": [{"pods": {"namespaceSelector": {}, **of(app="far")}}]}]}})
    assert talker.communicate(timeout=60)[0].startswith("cut ")


@in_one_way
def test_a_denied_path_stays_closed_while_agents_die(lab):
    """1,000 packets a second over kill -9 of both agents; an allowed path beside it loses nothing for long."""
    seconds, kills = (30, 20) if FULL else (6, 4)
    server = lab.ips["server"][0]
    prober = ["default/stranger", PYTHON, "-c", PROBER, server, "8080"]
    planted = lab.exec(*prober, "0.2").stdout.split()
    assert int(planted[-1]) > 0, "what is not denied must be seen"
    lab.apply(policy("only", pods={"app": "server"}, policyTypes=["Ingress"], ingress=[{"from": [of(app="far")]}]))
    settled(lab, "stranger", "server", False)
    denied = lab.popen(*prober, str(seconds), stdout=-1)
    allowed = lab.popen("default/far", PYTHON, "-c", PROBER, server, "8080", str(seconds), stdout=-1)
    assert denied.stdout.readline() == allowed.stdout.readline() == "go\n"
    for _ in range(kills):
        for part in ("n1/weftd", "n2/weftd"):
            old = wait_for("an agent in " + part, lambda: lab.pids(part))
            for pid in old:
                os.kill(pid, signal.SIGKILL)
            wait_for("a new agent in " + part, lambda: lab.pids(part) and not set(old) & set(lab.pids(part)))
    sent, got = map(int, denied.communicate(timeout=120)[0].split())
    asked, answered = map(int, allowed.communicate(timeout=120)[0].split())
    print("denied: %d sent, %d answered; allowed: %d sent, %d answered" % (sent, got, asked, answered))
    assert sent > 100 * seconds and got == 0
    assert answered > asked * 0.9


@in_one_way
def test_a_denied_path_stays_closed_while_the_state_of_policy_is_lost(lab):
    """Somebody removes pins, and the agent dies before it can put them back: while the API is silent nobody knows what was in force, so pods that live there are locked down."""
    server = lab.ips["server"][0]
    prober = ["default/near", PYTHON, "-c", PROBER, server, "8080"]
    planted = lab.exec(*prober, "0.2").stdout.split()
    assert int(planted[-1]) > 0, "what is not denied must be seen"
    lab.apply(policy("only", pods={"app": "server"}, policyTypes=["Ingress"], ingress=[{"from": [of(app="far")]}]))
    settled(lab, "near", "server", False)
    denied = lab.popen(*prober, "600", "more", stdin=-1, stdout=-1)
    assert denied.stdout.readline() == "go\n"
    maps = ["state", "ports", *(["endpoints", "addrs", "cidrs", "rules"] if FULL else [])]
    for lost in (*("v*/maps/policy_" + m for m in maps), "*"):
        with held_still(lab, "hub"):
            old = lab.agents("n1")
            for pid in old:
                os.kill(pid, signal.SIGSTOP)  # else it would put them back
            lab.exec("n1", "sh", "-c", "rm -r /sys/fs/bpf/weft/" + lost)
            for pid in old:
                os.kill(pid, signal.SIGKILL)
            wait_for("it to be said", lambda: "are locked down until the API has told" in lab.exec("n1", "weft", "status", check=False).stdout)
            before = policy_drops(lab, "policy_locked")
            wait_for("a drop", lambda: policy_drops(lab, "policy_locked") > before)
        wait_for("the API's word", lambda: "locked down" not in lab.exec("n1", "weft", "status", check=False).stdout)
    settled(lab, "far", "server", True)
    sent, got = map(int, denied.communicate(timeout=120)[0].split())
    assert sent > 0 and got == 0, (sent, got)


TUPLES = 200 if FULL else 40


def drawn(rng, name, lab):
    """A policy of this lab's pods, of which about half of what they say to each other is allowed."""
    def peers():
        some = [of(app=rng.choice(sorted(lab.ips))) for _ in range(rng.randint(1, 3))]
        return some + [{"ipBlock": {"cidr": "%s/%d" % (ip, 128 if ":" in ip else 32)}} for ip in lab.ips[rng.choice(sorted(lab.ips))] if rng.random() < 0.3]

    def rules(direction):
        return [{direction: peers(), **({"ports": [{"protocol": rng.choice(["TCP", "UDP"]), "port": rng.choice([8080, 8081])}]} if rng.random() < 0.6 else {})}
                for _ in range(rng.randint(0, 3))]
    types = rng.choice([["Ingress"], ["Egress"], ["Ingress", "Egress"]])
    return policy(name, pods={"app": rng.choice(sorted(lab.ips))}, policyTypes=types,
                  **{t.lower(): rules({"Ingress": "from", "Egress": "to"}[t]) for t in types})


def whys(lab, node, tuples):
    """What `weft why` answers on a node, by the tuple."""
    asks = ["weft why -o json %s '%s:%d/%s'" % (source, "[%s]" % ip if ":" in ip else ip, port, protocol) for source, ip, port, protocol in tuples]
    text, found = lab.exec(node, "sh", "-c", "; ".join(asks + ["true"])).stdout.lstrip(), {}
    for t in tuples:
        answer, end = json.JSONDecoder().raw_decode(text)
        text, found[t] = text[end:].lstrip(), answer
    assert not text and {answer["verdict"] for answer in found.values()} <= {"delivered", "sent", "denied"}, found
    return found


NODE_PORT = 30080


def service(name, **spec):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {
        "ipFamilyPolicy": "RequireDualStack",
        "ports": [{"name": p.lower(), "protocol": p, "port": 80, "targetPort": 8080, **({"nodePort": NODE_PORT} if "type" in spec else {})} for p in ("TCP", "UDP")], **spec}}


@pytest.fixture
def services(lab):
    """Served by one pod; by two; by nobody. Yields their cluster addresses by name."""
    lab.apply(service("one", type="NodePort", selector={"app": "server"}), service("two"), service("none", selector={"app": "nobody"}), *[
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "two-" + str(i), "labels": {"kubernetes.io/service-name": "two"}},
         "addressType": kind, "endpoints": [{"addresses": [lab.ips[name][i]], "conditions": {"ready": True}} for name in ("server", "other")],
         "ports": [{"name": p.lower(), "protocol": p, "port": 8080} for p in ("TCP", "UDP")]}
        for i, kind in enumerate(("IPv4", "IPv6"))])
    for n in ("n1", "n2"):
        for name, served in [("one", 4), ("two", 8)]:
            wait_for("Service %s at %s" % (name, n), lambda: sum(len(p["endpoints"]) for p in json.loads(
                lab.exec(n, "weft", "service", "show", name, "-o", "json", check=False).stdout or "{}").get("ports", [])) == served)
    yield {s["metadata"]["name"]: s["spec"]["clusterIPs"] for s in json.loads(lab.kubectl("get", "svc", "-o", "json").stdout)["items"]}
    lab.kubectl("delete", "svc", "one", "two", "none")
    lab.kubectl("delete", "endpointslices", "two-0", "two-1", check=False)  # with their Service, as it may be


@in_one_way
def test_weft_why_goes_on_to_a_services_endpoints(lab, services):
    lab.apply(policy("out", pods={"app": "near"}, policyTypes=["Egress"], egress=[{"to": [of(app="server")]}]),
              policy("in", pods={"app": "server"}, policyTypes=["Ingress"], ingress=[{"from": [of(app="near")]}]))
    settled(lab, "near", "other", False)
    settled(lab, "other", "server", False)
    node = lab.status()["nodes"][0]["addresses"][0]

    def why(source, host, port=80):
        done = lab.exec("n1", "weft", "why", "-o", "json", source, "%s:%d" % (host, port), check=False)
        return done.returncode, json.loads(done.stdout)
    for host, port in [(services["one"][0], 80), (node, NODE_PORT)]:
        code, answer = why("default/near", host, port)
        assert (code, answer["verdict"]) == (0, "delivered") and answer["service"]["name"] == "one", answer
    code, answer = why("world", node, NODE_PORT)
    assert (code, answer["verdict"]) == (3, "denied") and "default/in" in answer["rule"], answer
    code, answer = why("default/near", services["two"][0])
    assert (code, answer["verdict"]) == (3, "depends"), answer
    assert {e["endpoint"]["name"]: e["verdict"] for e in answer["endpoints"]} == {"server": "delivered", "other": "denied"}
    text = lab.exec("n1", "weft", "why", "default/near", services["two"][0] + ":80", check=False).stdout
    assert "depends on the endpoint, on node n1\n" in text and "  at default/other (%s:8080, n1): denied, policy_egress, by " % lab.ips["other"][0] in text, text
    for host, port in [(services["none"][0], 80), (services["one"][0], 81)]:
        code, answer = why("default/near", host, port)
        assert (code, answer["verdict"], answer["reason"]) == (3, "refused", "service_refused"), answer
    code, answer = why("default/server", services["one"][0])  # who is its own endpoint is asked at both ends
    assert (code, answer["verdict"]) == (3, "denied") and "default/in" in answer["rule"], answer
    code, answer = why("default/far", services["one"][0])
    assert (code, answer["verdict"], answer["ask"]) == (3, "elsewhere", "n2"), answer


MANY = 60


@in_one_way
def test_weft_why_answers_for_endpoints_that_it_does_not_show(lab):
    """One that is allowed among many that are not: whichever are shown, the verdict is that of all."""
    lab.apply(policy("out", pods={"app": "near"}, policyTypes=["Egress"], egress=[{"to": [of(app="server")]}]), service("many"), {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "many-0", "labels": {"kubernetes.io/service-name": "many"}},
        "addressType": "IPv4", "ports": [{"name": "tcp", "protocol": "TCP", "port": 8080}],
        "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in [lab.ips["server"][0]] + ["198.51.100.%d" % i for i in range(1, MANY)]]})
    settled(lab, "near", "other", False)
    vip = json.loads(lab.kubectl("get", "svc", "many", "-o", "json").stdout)["spec"]["clusterIPs"][0]

    def why():
        done = lab.exec("n1", "weft", "why", "-o", "json", "default/near", vip + ":80", check=False)
        answer = json.loads(done.stdout)
        return done.returncode, answer, answer.get("endpoints", []) + [o["answer"] for o in answer.get("others", []) for _ in range(o["count"])]
    wait_for("all endpoints", lambda: len(why()[2]) == MANY)
    code, answer, all_ = why()
    assert (code, answer["verdict"], len(answer["endpoints"])) == (3, "depends", 32), answer
    assert sorted(e["verdict"] for e in all_) == ["delivered"] + ["denied"] * (MANY - 1)
    text = lab.exec("n1", "weft", "why", "default/near", vip + ":80", check=False).stdout
    assert re.search(r"^  at \d+ more, .* among them: denied, policy_egress, by NetworkPolicy default/out", text, re.M) and "their steps are left out" in text, text
    lab.kubectl("delete", "svc", "many")
    lab.kubectl("delete", "endpointslice", "many-0", check=False)


@in_one_way
@pytest.mark.parametrize("seed", range(40) if FULL else [2])
def test_weft_why_agrees_with_packets(lab, services, seed):
    """On tuples drawn at random under policies drawn at random, Services' addresses and node ports among them: what neither end's node denies gets through, all else does
    not."""
    rng = random.Random(seed)
    status = lab.status()
    world = status["world"]["addresses"]
    names = {**{ip: name for name, ips in lab.ips.items() for ip in ips}, **{ip: "world" for ip in world}}
    fronts = {**{ip: 80 for ip in services["one"]}, **{ip: NODE_PORT for n in status["nodes"] for ip in n["addresses"]}}
    own_node = {ip: "n2" if name in ("far", "stranger") else "n1" for ip, name in names.items()}
    node_at = {ip: n["name"] for n in status["nodes"] for ip in n["addresses"]}
    lab.apply(*[drawn(rng, "p%d" % i, lab) for i in range(4)])
    for n in ("n1", "n2"):
        wait_for("the policies at " + n, lambda: lab.exec(n, "weft", "policy", "list").stdout.count("default/p") == 4)
    pairs = [(own, ip) for source in lab.ips for target in lab.ips if source != target for own, ip in zip(lab.ips[source], lab.ips[target])]
    tuples = [(own, ip, rng.choice([8080, 8081]), rng.choice(["tcp", "udp"])) for own, ip in rng.choices(pairs, k=TUPLES)]
    tuples = list(dict.fromkeys(tuples))
    pairs = [(own, ip) for own in names for ip in fronts if (":" in own) == (":" in ip) and (names[own] != "world" or fronts[ip] == NODE_PORT)]
    served = list(dict.fromkeys((own, ip, fronts[ip], rng.choice(["tcp", "udp"])) for own, ip in rng.choices(pairs, k=TUPLES // 2)))

    def denied_services():
        """By whom it comes to first, or by the endpoint's node, which sees whom that says."""
        first = {n: [t for t in served if (node_at[t[1]] if names[t[0]] == "world" else own_node[t[0]]) == n] for n in ("n1", "n2")}
        found, onward = {}, {}
        for n, some in first.items():
            found.update(whys(lab, n, some))
        for t, answer in found.items():
            if answer["verdict"] == "sent":
                e = answer["endpoints"][0]
                assert answer["ask"] == "n1", answer
                onward[t] = (e.get("source", answer["source"])["address"], e["endpoint"]["address"], e["endpoint"]["port"], t[3])
        there = whys(lab, "n1", list(dict.fromkeys(onward.values())))
        denied = {t for t in served if "denied" in (found[t]["verdict"], there[onward[t]]["verdict"] if t in onward else "")}
        print("%d of %d to Services, %d by way of another node" % (len(denied), len(served), len(onward)))
        return denied

    def differ():
        said = {n: whys(lab, n, [t for t in tuples if n in (own_node[t[0]], own_node[t[1]])]) for n in ("n1", "n2")}
        denied = {t for found in said.values() for t, answer in found.items() if answer["verdict"] == "denied"}
        assert denied and len(denied) < len(tuples), "both must occur"
        return (denied | denied_services()) ^ silent(lab, tuples + served, {**{ip: "server" for ip in fronts}, **{ip: "world" for ip in world}})

    end = time.monotonic() + 60  # a datagram may be lost: what differs is asked again
    wrong = differ()
    while wrong and time.monotonic() < end:
        wrong = differ()
    assert not wrong, "seed %d: %s" % (seed, wrong)


@in_one_way
def test_P11_a_policy_of_nodes_says_where_it_is_not_enforced(lab):
    """policy.host is off: each condition says what follows from the object, an Event that there is such a node among those that it means."""
    lab.apply(*[{"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": node, "annotations": {"weft.dev/subject": "nodes"}},
                 "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {"matchLabels": {"kubernetes.io/hostname": node}}},
                          "egress": [{"action": "Deny", "to": [{"networks": ["192.0.2.0/24"]}]}]}} for node in ("n1", "n9")])

    def get(what):
        return json.loads(lab.kubectl("get", what, "-A", "-o", "json").stdout)["items"]

    def accepted():
        return {(c["status"], c["message"]) for o in get("cnp") for c in o.get("status", {}).get("conditions", [{"status": None, "message": None}])}
    wait_for("both conditions", lambda: accepted() == {("True", "understood; nodes where policy.host is off do not enforce it")})
    told = wait_for("an Event", lambda: [e for e in get("events") if e["reason"] == "PolicyNotEnforced"])
    assert [(e["involvedObject"]["name"], e["message"]) for e in told] == [("n1", "means nodes where policy.host is off: not enforced there")]
    wait_for("the status", lambda: "policy.host is off" in lab.exec("n1", "weft", "status", check=False).stdout)
    assert "policy.host is off" not in lab.exec("n2", "weft", "status", check=False).stdout
    listed = json.loads(lab.exec("n1", "weft", "policy", "list", "-o", "json").stdout)["policies"]
    assert {(p["name"], p["mode"]) for p in listed} == {("n1", "off"), ("n9", "off")}
