# SPDX-License-Identifier: Apache-2.0
"""The agent's page of metrics: strictly well formed in both formats, in step with its reference, true, and hard to wedge."""

import os
import re
import subprocess
import time

import pytest
from labs import ROOT, WEFT_BIN, Lab, pod, run, spread_pods, wait_for
from openmetrics import parse

URL = "http://127.0.0.1:10287/metrics"
AUDIT_SECONDS = 25  # repair.auditSeconds as it is by default
ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


@pytest.mark.parametrize("bad", [
    "# TYPE a counter\n# HELP a b\na 1\n# EOF\n", "# TYPE a gauge\n# HELP a b\na 1 # EOF\n", "a 1\n# EOF\n",
    "# TYPE a gauge\n# HELP a b\na{x=\"1\",x=\"2\"} 1\n# EOF\n", "# TYPE a gauge\n# HELP a b\na{x=1} 1\n# EOF\n",
    "# TYPE a gauge\n# HELP a b\na one\n# EOF\n", "# TYPE a gauge\n# HELP a b\na 1\na 1\n# EOF\n", "# TYPE a gauge\n# HELP a b\n# EOF\n",
    "# TYPE a gauge\n# HELP a b\na 1\n# TYPE b gauge\n# HELP b b\nb 1\n# HELP a b\na{x=\"1\"} 1\n# EOF\n",
    "# TYPE a counter\n# HELP a b\na_total -1\n# EOF\n", "# TYPE a histogram\n# HELP a b\na_bucket{le=\"1.0\"} 1\na_count 1\na_sum 1\n# EOF\n",
    "# TYPE a histogram\n# HELP a b\na_bucket{le=\"1.0\"} 2\na_bucket{le=\"+Inf\"} 1\na_count 1\na_sum 1\n# EOF\n",
    "# TYPE a gauge\n# HELP a b\na 1\n"])
def test_the_reader_is_strict(bad):
    with pytest.raises(ValueError):
        parse(bad, True)


def test_the_reader_takes_what_is_right():
    good = '# HELP a b\n# TYPE a histogram\na_bucket{c="\\"",le="1.0"} 1\na_bucket{c="\\"",le="+Inf"} 2\na_count{c="\\""} 2\na_sum{c="\\""} 3.5\n# EOF\n'
    assert parse(good, True)["a"].kind == "histogram"


def reference():
    """Rows of docs/metrics.md: name, type, labels."""
    with open(os.path.join(ROOT, "docs/metrics.md"), encoding="utf-8") as f:
        return {m[0]: (m[1], [] if m[2] == "–" else m[2].split(", ")) for m in re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]+) \| ", f.read(), re.M)}


@pytest.fixture(scope="module")
def lab():
    with Lab(nodes=2, transport="vxlan") as lab:
        lab.apply(*spread_pods(2, each=2))
        lab.wait_ready()
        yield lab


def scrape(lab, openmetrics=True, node="n1"):
    return parse(lab.exec(node, "curl", "-sf", "-m", "20", "-H", "Accept: " + (ACCEPT if openmetrics else "text/plain"), URL).stdout, openmetrics)


def value(families, family, name=None, **labels):
    """The sum of the series of that name that have these labels."""
    name = name or family + ("_total" if families[family].kind == "counter" else "")
    found = [v for (n, ls), v in families[family].samples.items() if n == name and labels.items() <= dict(ls).items()]
    assert found, (family, labels)
    return sum(found)


def test_reference_page_and_table_are_one(lab):
    printed = run(os.path.join(WEFT_BIN, "weftd"), "--print-metrics").stdout.strip()
    with open(os.path.join(ROOT, "docs/metrics.md"), encoding="utf-8") as f:
        assert printed in f.read()
    documented, page = reference(), scrape(lab, openmetrics=False)
    assert len(documented) >= 25
    assert set(documented) == set(page)
    for name, family in page.items():
        kind, labels = documented[name]
        assert family.kind == kind
        for _, ls in family.samples:
            assert [k for k, _ in ls if not (kind == "histogram" and k == "le")] == labels, name


def test_the_formats_say_the_same(lab):
    new, old = scrape(lab), scrape(lab, openmetrics=False)
    assert {n + ("_total" if f.kind == "counter" else "") for n, f in new.items()} == set(old)
    head = lab.exec("n1", "curl", "-sI", "-m", "20", "-H", "Accept: " + ACCEPT, URL).stdout
    assert "200" in head.split("\n")[0] and "application/openmetrics-text; version=1.0.0; charset=utf-8" in head
    assert "text/plain; version=0.0.4" in lab.exec("n1", "curl", "-sI", "-m", "20", URL).stdout


def test_values_are_true(lab):
    before = scrape(lab)
    status = lab.node_status("n1")
    assert value(before, "weft_endpoints") == len(status["endpoints"]) == 2
    assert value(before, "weft_ready") == 1 and all(v == 1 for v in before["weft_health"].samples.values())
    assert value(before, "weft_peers", transport="vxlan", state="ok") == 1 and value(before, "weft_peers") == 1
    assert value(before, "weft_ipam_addresses", range=status["ipam"][0]["range"], state="used") == 2
    assert value(before, "weft_cni_requests", command="ADD", result="ok") == 2
    assert value(before, "weft_cni_duration_seconds", "weft_cni_duration_seconds_count", command="ADD") == 2
    assert value(before, "weft_cni_duration_seconds", "weft_cni_duration_seconds_bucket", command="ADD", le="2.5") == 2
    unconnected = {dict(labels)["resource"] for (_, labels), v in before["weft_kube_watch_connected"].samples.items() if v != 1}
    assert unconnected <= {"meshnodes"}  # only with wireguard
    assert value(before, "weft_kube_objects", resource="nodes") == 2
    assert abs(value(before, "process_start_time_seconds") - time.time()) < 600
    assert 1 << 20 < value(before, "process_resident_memory_bytes") < 1 << 30
    assert 5 < value(before, "process_open_fds") < value(before, "process_max_fds")
    far = next(p for p in lab.status()["pods"] if p["name"] == "p2-0")
    lab.exec("default/p1-0", "/usr/bin/python3", "-c", "import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0)); "
             "[s.send(b'\\xff' * 6 + b'\\x02' * 6 + b'\\x08\\x00' + b'x' * 50) for i in range(7)]")
    lab.exec("default/p1-0", "curl", "-sf", "-m", "20", "http://%s:8080/" % far["ips"][0])
    after = scrape(lab)
    assert value(after, "weft_drops", reason="source_mac") == value(before, "weft_drops", reason="source_mac") + 7
    assert value(after, "weft_dropped_bytes", reason="source_mac") == value(before, "weft_dropped_bytes", reason="source_mac") + 7 * 64
    assert value(after, "weft_forwarded_packets") > value(before, "weft_forwarded_packets")
    assert value(after, "weft_flows") >= 1
    lab.exec("n1", "ip", "rule", "del", "table", "5757")
    wait_for("the repair", lambda: value(scrape(lab), "weft_repairs", what="rule") == value(before, "weft_repairs", what="rule") + 1, timeout=10)


def test_a_pod_that_comes_or_goes_makes_no_pass(lab):
    """Each would look at every pod of the node: a thousand pods that come together would keep their agents from all else."""
    def passes():
        return value(scrape(lab), "weft_passes")

    began, before, names = time.monotonic(), passes(), ["come%d" % i for i in range(4)]
    for name in names:
        lab.apply(pod(name, node="n1", command=["sleep", "600"]))
        lab.wait_ready()
    lab.kubectl("delete", "pod", *names, "--grace-period=0", "--force")
    lab.exec("n1", "ip", "rule", "del", "table", "5757")
    wait_for("the pass that puts the rule back", lambda: passes() > before)
    audits = 1 + (time.monotonic() - began) // AUDIT_SECONDS
    assert passes() <= before + 1 + audits, "one for the rule, and one as often as the audit comes round"


def ask(lab, raw, seconds=20):
    """Sends bytes, returns what comes back until the other side closes."""
    code = ("import socket, sys\ns = socket.create_connection(('127.0.0.1', 10287), %d)\ns.settimeout(%d)\n"
            "try:\n s.sendall(sys.stdin.buffer.read())\nexcept OSError: pass\n"
            "got = b''\nwhile True:\n try: d = s.recv(65536)\n except ConnectionError: break\n if not d: break\n got += d\n"
            "sys.stdout.write(got.decode('latin-1'))" % (seconds, seconds))
    return lab.exec("n1", "/usr/bin/python3", "-c", code, input=raw).stdout


@pytest.mark.parametrize("what, raw, answer", [
    ("another path", "GET /other HTTP/1.1\r\nHost: x\r\n\r\n", " 404 "), ("POST", "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", " 405 "),
    ("too much header", "GET /metrics HTTP/1.1\r\nHost: x\r\n" + "X-A: %s\r\n" % ("y" * 1000) * 40 + "\r\n", " 431 "),
    ("a long line", "GET /" + "y" * 40000 + " HTTP/1.1\r\n\r\n", " 414 |431 |400 "), ("no HTTP", "\0\1\2\3\r\n\r\n\r\n", "")])
def test_bad_requests_are_answered(lab, what, raw, answer):
    got = ask(lab, raw)
    assert not got and not answer or re.search(answer, got.split("\n")[0]), got[:200]
    assert scrape(lab)


def test_slow_clients_cost_nothing(lab):
    """More connections than there is room for, each sending a byte a second: they end, and then the page is there again."""
    code = ("import socket, time\nss = [socket.socket() for i in range(24)]\n"
            "for s in ss:\n s.setblocking(False)\n s.connect_ex(('127.0.0.1', 10287))\n"
            "print('connecting', flush=True)\nend = time.monotonic() + 50\n"
            "while ss and time.monotonic() < end:\n for s in ss[:]:\n"
            "  try: s.send(b'G')\n  except BlockingIOError: pass\n  except OSError: ss.remove(s)\n time.sleep(0.5)\n"
            "print('left', len(ss))")
    slow = lab.popen("n1", "/usr/bin/python3", "-c", code, stdout=subprocess.PIPE)
    try:
        assert slow.stdout.readline() == "connecting\n"
        assert lab.exec("n1", "weft", "status").returncode == 0  # the agent itself goes on
        out, _ = slow.communicate(timeout=90)
        assert out == "left 0\n"
    finally:
        slow.kill()
        slow.wait()
    assert scrape(lab)


def test_listen_empty_means_nowhere_and_a_bad_one_is_refused():
    done = run(os.path.join(WEFT_BIN, "weftd"), "--set", "metrics.listen=10287", check=False)
    assert done.returncode == 2 and "metrics.listen" in done.stderr and "expected an address and port" in done.stderr
    with Lab(nodes=1, set=["metrics.listen="]) as lab:
        assert lab.exec("n1", "curl", "-s", "-m", "5", URL, check=False).returncode == 7
