# SPDX-License-Identifier: Apache-2.0
"""`weft policy test -f case.yaml`."""

import os
import subprocess

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
WEFT = os.path.join(os.environ.get("WEFT_BIN", os.path.join(HERE, "../../build/bin")), "weft")
PODS = """
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: a}}
---
apiVersion: v1
kind: Pod
metadata: {name: b, labels: {app: b}}
---
"""
DENY_B = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny-b}
spec: {podSelector: {matchLabels: {app: b}}}
---
"""


def run(tmp_path, text):
    case = tmp_path / "case.yaml"
    case.write_text(text)
    return subprocess.run([WEFT, "policy", "test", "-f", str(case)], capture_output=True, text=True, timeout=60)


def test_the_example_of_the_documentation():
    done = subprocess.run([WEFT, "policy", "test", "-f", os.path.join(HERE, "example.yaml")], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "7 as expected, 0 not" in done.stdout
    assert "ClusterNetworkPolicy no-metadata-service egress[0] (metadata)" in done.stdout


def test_a_difference_is_named_and_is_exit_code_1(tmp_path):
    done = run(tmp_path, PODS + DENY_B + "expect: [{from: default/a, to: default/b, port: 80, expect: allow}]")
    assert done.returncode == 1
    assert "FAIL default/a -> default/b TCP/80: deny (ingress denied by NetworkPolicy default/deny-b isolates for ingress)" in done.stdout
    assert "0 as expected, 1 not" in done.stdout


def test_without_policies_all_is_allowed(tmp_path):
    done = run(tmp_path, PODS + "expect: [{from: default/a, to: default/b, port: 80, expect: allow}]")
    assert done.returncode == 0 and "no policy" in done.stdout


def test_NP_21_an_invalid_policy_is_named_and_fails_closed(tmp_path):
    policy = DENY_B.replace("app: b}}}", "app: b}}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/99}}]}]}")
    done = run(tmp_path, PODS + policy + "expect: [{from: default/a, to: default/b, port: 80, expect: deny}]")
    assert done.returncode == 0
    assert 'NetworkPolicy default/deny-b is invalid and fails closed: spec.ingress[0].from[0].ipBlock.cidr: "10.0.0.0/99"' in done.stderr


NODE = """
apiVersion: v1
kind: Node
metadata: {name: n}
spec: {podCIDRs: [10.244.0.0/24]}
---
"""
PASS = """
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: pass}
spec: {tier: Baseline, priority: 1, subject: {namespaces: {}}, egress: [{action: Pass, to: [%s{namespaces: {}}]}]}
---
"""


@pytest.mark.parametrize("network, expect", [("{networks: [10.244.0.0/24]}, ", "allow"), ("", "deny")])
def test_an_unknown_pod_that_surely_matches_is_not_one_that_may(tmp_path, network, expect):
    done = run(tmp_path, PODS + NODE + PASS % network + "expect: [{from: default/a, to: 10.244.0.77, port: 80, expect: %s}]" % expect)
    assert done.returncode == 0, done.stdout


OBSERVED = DENY_B.replace("{name: deny-b}", "{name: deny-b, annotations: {weft.dev/mode: observe}}")


def test_a_policy_that_observes_denies_nothing_and_is_named(tmp_path):
    done = run(tmp_path, PODS + OBSERVED + "expect: [{from: default/a, to: default/b, port: 80, expect: audit}, "
               "{from: default/a, to: default/b, port: 80, expect: allow}, {from: default/b, to: default/a, port: 80, expect: allow}]")
    assert done.returncode == 0, done.stdout
    assert "TCP/80: audit (egress allowed by no policy; ingress allowed by no policy, " \
           "would be denied by NetworkPolicy default/deny-b isolates for ingress)" in done.stdout


def test_what_observes_is_no_denial(tmp_path):
    done = run(tmp_path, PODS + OBSERVED + "expect: [{from: default/a, to: default/b, port: 80, expect: deny}]")
    assert done.returncode == 1 and "FAIL" in done.stdout


def test_a_mode_that_nobody_knows_is_named_and_enforced(tmp_path):
    policy = OBSERVED.replace("weft.dev/mode: observe", "weft.dev/mode: dry-run")
    done = run(tmp_path, PODS + policy + "expect: [{from: default/a, to: default/b, port: 80, expect: deny}]")
    assert done.returncode == 0, done.stdout
    assert 'metadata.annotations.weft.dev/mode: "dry-run": expected observe or enforce: enforced' in done.stderr


def test_the_whole_cluster_observes_or_denies_by_default(tmp_path):
    expect = "expect: [{from: default/a, to: default/b, port: 80, expect: %s}, {from: 192.0.2.1, to: default/b, port: 80, expect: %s}]\n"
    for text, words in (("mode: observe\n", ("allow", "allow")), ("default: deny\n", ("deny", "deny")),
                        ("default: deny\nmode: observe\n", ("audit", "audit"))):
        done = run(tmp_path, PODS + text + expect % words)
        assert done.returncode == 0, done.stdout
    done = run(tmp_path, PODS + DENY_B + "mode: observe\n" + expect % ("audit", "audit"))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("text, complaint", [
    ("", "no expect"),
    ("expect: [{from: default/a, to: default/b, port: 80, expect: perhaps}]", "expected allow, deny or audit"),
    ("mode: dry", "expected enforce or observe: dry"),
    ("default: drop", "expected allow or deny: drop"),
    ("expect: [{from: default/a, to: default/b, port: 0, expect: deny}]", "1 to 65535"),
    ("expect: [{from: default/a, to: default/b, protocol: ICMP, port: 8, expect: deny}]", "none with ICMP"),
    ("expect: [{from: default/a, to: default/b, protocol: tcp, port: 8, expect: deny}]", "not: tcp"),
    ("expect: [{from: default/none, to: default/b, port: 80, expect: deny}]", "no such pod"),
    ("expect: [{from: a b, to: default/b, port: 80, expect: deny}]", "no such pod"),
    ("expect: [{from: default/a, to: default/b, port: 80, family: 5, expect: deny}]", "expected 4 or 6"),
    ("expect: [{from: '2001:db8::1', to: 192.0.2.1, port: 80, expect: deny}]", "different families"),
    ("expect: [{from: default/a, to: default/b, ports: 80, expect: deny}]", "unknown key: ports"),
    ("expects: []", "not: expects"),
    ("objects: 3", "not: objects"),
    ("- 3", "expected an API object"),
    ("kind: Deployment", "Deployment"),
    ("kind: Pod", "metadata"),
    ("a: [", "line"),
])
def test_what_cannot_be_read_is_exit_code_2(tmp_path, text, complaint):
    done = run(tmp_path, PODS + text)
    assert done.returncode == 2, done.stdout
    assert complaint in done.stderr
    assert "FAIL" not in done.stdout


def test_foreign_text_cannot_drive_the_terminal(tmp_path):
    done = run(tmp_path, PODS + 'expect: [{from: "default/\\e]0;x", to: default/b, port: 80, expect: deny}]')
    assert done.returncode == 2 and "\x1b" not in done.stderr


def test_a_complaint_quotes_foreign_text_once():
    done = subprocess.run([WEFT, "why", 'a"\x1bb', "world"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.startswith('weft why: from "a\\"\\x1bb": expected '), done.stderr
