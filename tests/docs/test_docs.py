# SPDX-License-Identifier: Apache-2.0
"""The documentation and the tree say the same."""

import json
import os
import re
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WEFT_BIN = os.environ.get("WEFT_BIN", os.path.join(ROOT, "build/bin"))
BPF_LICENCE = "GPL-2.0-only OR BSD-2-Clause"


def tracked(*patterns):
    out = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, check=True, capture_output=True).stdout
    return [f for f in out.decode().split("\0") if f and os.path.exists(os.path.join(ROOT, f))]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def spdx_wanted(path):
    return BPF_LICENCE if path.startswith("bpf/") or path.endswith(".bpf.c") else "Apache-2.0"


def test_every_source_names_its_licence():
    sources = tracked("*.c", "*.h", "*.py", "*.sh", "*meson.build", "Makefile")
    assert len(sources) > 20
    wrong = [f for f in sources if f.endswith("meson.build") is False
             and "SPDX-License-Identifier: " + spdx_wanted(f) not in "\n".join(read(f).split("\n")[:3])]
    assert not wrong


def broken_links(path, text):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not re.match(r"[a-z]+:", target) and not os.path.exists(os.path.join(ROOT, os.path.dirname(path), target)):
            yield "%s -> %s" % (path, target)


def test_links_lead_somewhere():
    assert list(broken_links("README.md", "[x](docs/none.md)")), "a planted broken link must be seen"
    assert not [b for f in tracked("*.md") for b in broken_links(f, read(f))]


@pytest.mark.parametrize("program", ["weft", "weftd", "weft-cni", "weft-hub", "weft-echo"])
def test_programs_answer_help_and_version(program):
    for option in ("--help", "--version"):
        done = subprocess.run([os.path.join(WEFT_BIN, program), option], capture_output=True, timeout=60)
        assert done.returncode == 0 and done.stdout.strip(), option


def test_options_reference_is_the_table():
    done = subprocess.run([os.path.join(WEFT_BIN, "weftd"), "--print-options"], check=True, capture_output=True, timeout=60)
    assert done.stdout.decode().strip() in read("docs/options.md")


def test_metrics_reference_is_the_table():
    done = subprocess.run([os.path.join(WEFT_BIN, "weftd"), "--print-metrics"], check=True, capture_output=True, timeout=60)
    assert done.stdout.decode().strip() in read("docs/metrics.md")


def test_every_drop_reason_is_documented():
    text = "".join(read(f) for f in tracked("bpf/abi/*drop.h"))
    reasons = re.findall(r'^\s*X\(\w+,\s*"([a-z0-9_]+)"', text, re.M)
    assert len(reasons) > 5
    documented = read("docs/drop-reasons.md")
    assert not [r for r in reasons if "`%s`" % r not in documented]


def missing_from_service_rows(text, sources):
    """Rows that are not there, and tests that no source has."""
    rows = set(map(int, re.findall(r"^\| SVC-(\d+) \|", text, re.M)))
    wanted = {*range(1, 9), *range(10, 22), *range(30, 33), *range(40, 49), 60}
    named = re.findall(r"`(\w+)`", "\n".join(line for line in text.splitlines() if line.startswith("| SVC-")))
    tests = {n for n in named if re.match(r"(test_|SVC_|svc_|S3_|m4_)", n) or n.count("_") > 2}
    return sorted(wanted - rows) + sorted(t for t in tests if not re.search(r"(def|void) %s\(" % t, sources))


def test_rows_of_services_name_tests_that_are_there():
    text = read("docs/service-rows.md")
    sources = "".join(read(f) for f in tracked("tests/*.py", "tests/*.c", "src/*_test.c"))
    assert not missing_from_service_rows(text, sources)
    assert missing_from_service_rows(text.replace("| SVC-2 |", "| SVC-x |").replace("test_SVC_4_udp", "test_SVC_4_upd"), sources) == [2, "test_SVC_4_upd"]


DATAPATH_ROWS = ["ENC-%d" % n for n in range(1, 8)] + ["M1", "M2", "M3", "M4", "C3", "L6", "X1", "X2", "X5", "K1"]


def missing_from_datapath_rows(text, sources):
    rows = dict(re.findall(r"^\| ([A-Z]+-?\d) \|(.*)", text, re.M))
    tests = set(re.findall(r"`(\w+)`", "".join(rows.values())))
    return [r for r in DATAPATH_ROWS if r not in rows] + sorted(t for t in tests if not re.search(r"(def|void) %s\(" % t, sources))


def test_rows_of_the_datapath_name_tests_that_are_there():
    text = read("docs/datapath-rows.md")
    sources = "".join(read(f) for f in tracked("tests/*.py", "tests/*.c", "src/*_test.c"))
    assert not missing_from_datapath_rows(text, sources)
    assert missing_from_datapath_rows(text.replace("| M2 |", "| M9 |").replace("errors_go_out", "errors_go_ouch"), sources) == ["M2", "errors_go_ouch"]


def documented_metrics():
    """Name to labels, as docs/metrics.md has them; a histogram by the names of its series."""
    found = {}
    for name, kind, labels in re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]+) \| ", read("docs/metrics.md"), re.M):
        known = set() if labels == "–" else set(labels.split(", "))
        for tail in ("_bucket", "_count", "_sum") if kind == "histogram" else ("",):
            found[name + tail] = known | ({"le"} if tail == "_bucket" else set())
    return found


def undocumented(text):
    """What a dashboard asks for and the agent does not have: names, and labels of the names in one expression."""
    metrics, wrong = documented_metrics(), set()
    for panel in json.loads(text)["panels"]:
        for target in panel.get("targets", []):
            names = set(re.findall(r"\b(?:weft|process)_\w+", target["expr"]))
            labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"])) | set(re.findall(r"(\w+)(?:=|!=|=~)\"", target["expr"]))
            labels |= {w for by in re.findall(r"by \(([^)]*)\)", target["expr"]) for w in by.split(", ")}
            wrong |= names - set(metrics)
            wrong |= labels - {"instance"} - set().union(*(metrics.get(n, set()) for n in names))
    return wrong


def test_dashboard_asks_for_metrics_that_are_there():
    text = read("deploy/grafana/weft.json")
    assert len(set(re.findall(r"\bweft_\w+", text))) > 20
    assert not undocumented(text)
    assert undocumented(text.replace("weft_drops_total", "weft_drop_total")) == {"weft_drop_total", "reason"}, "a planted mistake must be seen"
    assert undocumented(text.replace("{{way}}", "{{weg}}")) == {"weg"}


def missing_tests(text):
    """Tests that the last column of a table names, and that are nowhere."""
    sources = "".join(read(f) for f in tracked("tests/*.py", "tests/*.c", "src/*_test.c"))
    known = set(re.findall(r"^(?:def|static void) (\w+)\(", sources, re.M))
    named = {n for line in re.findall(r"^\|.*\| ([^|]*) \|$", text, re.M) for n in re.findall(r"`(\w+)`", line)}
    return named - known


def test_tests_that_the_policy_page_names_are_there():
    tables = read("docs/policy.md").split("## How it is tested")[1]
    assert len(re.findall(r"`test_", tables)) > 20
    assert not missing_tests(tables)
    assert missing_tests(tables.replace("test_CNP_6_peers", "test_CNP_6_pears")) == {"test_CNP_6_pears"}, "a planted mistake must be seen"
