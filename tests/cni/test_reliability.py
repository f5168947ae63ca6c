# SPDX-License-Identifier: Apache-2.0
"""What must survive: kills at any point, damage of the state, floods, rubbish. Ids are those of the scenarios."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
import zlib

import pytest

from cninode import WEFT_BIN, wait_for

FULL = os.environ.get("WEFT_TEST_TIER") == "full"
ADD_POINTS = ["add.journal", "add.link", "add.datapath", "add.host", "add.pod", "add.commit"]
DEL_POINTS = ["del.datapath", "del.link", "del.answer"]


def in_parallel(n, work):
    errors = []

    def run(i):
        try:
            work(i)
        except BaseException as e:  # noqa: B902  what a thread raises must reach the test
            errors.append(e)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


def test_R1_random_ADD_and_DEL_in_parallel(make_node):
    node = make_node(rest=0).start()
    workers, calls = (50, 200) if FULL else (20, 25)
    pods = ["p%d" % i for i in range(workers)]
    node.pod(*pods)
    baseline, lock, held = node.residue(), threading.Lock(), {}

    def work(i):
        rnd, name, up = random.Random(i), pods[i], False
        for _ in range(calls):
            if up and rnd.random() < 0.6:
                with lock:  # from here on the address may be another's
                    for a in [a for a, p in held.items() if p == name]:
                        del held[a]
                node.cni("DEL", name).ok()
                up = False
            elif not up:
                r = node.cni("ADD", name).ok()
                up = True
                with lock:
                    for ip in r["ips"]:
                        assert ip["address"] not in held, "address given twice at once"
                        held[ip["address"]] = name
            else:
                node.cni("ADD", name).error(101)
        node.cni("DEL", name).ok()
    in_parallel(workers, work)
    node.wait_clean(baseline)


def test_R1_concurrent_DELs_of_one_attachment(node):
    baseline = node.residue()
    node.pod("a")
    node.cni("ADD", "a").ok()
    in_parallel(10, lambda i: node.cni("DEL", "a").ok())
    node.wait_clean(baseline)


@pytest.mark.parametrize("point", ADD_POINTS)
def test_R2_agent_killed_in_ADD(node, point):
    node.pod("a", "b")
    node.cni("ADD", "b").ok()
    baseline = node.residue()
    node.set_fault(point + " kill")
    node.cni("ADD", "a").error(11)
    node.agent.wait(60)
    node.clear_fault()
    node.start()
    node.wait_clean(baseline) if point != "add.commit" else None
    node.cni("DEL", "a").ok()  # as a runtime does after a failed ADD
    node.wait_clean(baseline)
    node.cni("ADD", "a").ok()
    assert "eth0" in node.in_pod("b", "ip link"), "what lives must stay"


@pytest.mark.parametrize("point", DEL_POINTS)
def test_R2_agent_killed_in_DEL(node, point):
    node.pod("a", "b")
    node.cni("ADD", "b").ok()
    baseline = node.residue()
    node.cni("ADD", "a").ok()
    node.set_fault(point + " kill")
    node.cni("DEL", "a").ok()  # queued
    node.agent.wait(60)
    node.clear_fault()
    node.start()
    node.wait_clean(baseline)
    assert "eth0" in node.in_pod("b", "ip link")


def test_R2_agent_killed_at_random_instants(node):
    rnd = random.Random(5)
    node.pod(*["p%d" % i for i in range(4)])
    baseline = node.residue()
    for _ in range(100 if FULL else 12):
        stop = threading.Event()

        def work(i):
            while not stop.is_set():
                node.cni("ADD", "p%d" % i)
                node.cni("DEL", "p%d" % i).ok()
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        time.sleep(rnd.random() * 0.3)
        node.kill()
        stop.set()
        for t in threads:
            t.join()
        node.start()
    for i in range(4):
        node.cni("DEL", "p%d" % i).ok()
    node.wait_clean(baseline)


def test_R2_plugin_killed_at_random_instants(node):
    rnd = random.Random(6)
    node.pod("a")
    baseline = node.residue()
    for i in range(60):
        command = "DEL" if i % 2 else "ADD"
        p = subprocess.Popen([os.path.join(WEFT_BIN, "weft-cni")], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                             env={"CNI_COMMAND": command, **node.env("a")})
        p.stdin.write(json.dumps(node.config()).encode())
        p.stdin.close()
        time.sleep(rnd.random() * 0.006)
        p.kill()
        p.wait()
    node.cni("DEL", "a").ok()
    node.wait_clean(baseline)


def test_R3_endpoints_of_an_earlier_boot_are_freed_and_their_DEL_succeeds(node):
    node.pod("a")
    node.cni("ADD", "a").ok()
    node.kill()
    journal = node.run + "/state/journal"
    with open("/proc/sys/kernel/random/boot_id") as f:
        boot = f.read().strip()
    with open(journal) as f:
        lines = [line[9:].rstrip("\n").replace(boot, "00000000-0000-0000-0000-000000000000") for line in f]
    with open(journal, "w") as f:
        f.writelines("%08x %s\n" % (zlib.crc32(line.encode()), line) for line in lines)
    node.start()
    assert node.status()["endpoints"] == []
    assert "started anew" in node.logs()
    node.cni("DEL", "a").ok()
    node.cni("ADD", "a").ok()


def test_R5_an_emptied_journal_is_rebuilt_from_the_kernel(node):
    node.pod("a")
    node.cni("ADD", "a").ok()
    before = node.residue()
    node.kill()
    os.truncate(node.run + "/state/journal", 0)
    node.start()
    assert node.residue() == before
    node.cni("DEL", "a").ok()
    assert node.status()["endpoints"] == []


def test_R5_damaged_journal_is_refused_and_live_endpoints_are_adopted(node):
    node.pod("a", "b", "c")
    for p in "abc":
        node.cni("ADD", p).ok()
    before = node.residue()
    node.kill()
    journal = node.run + "/state/journal"
    data = bytearray(open(journal, "rb").read())
    data[len(data) // 3] ^= 0x10
    open(journal, "wb").write(data)
    node.start()
    assert "journal of endpoints is damaged" in node.logs()
    assert os.path.exists(journal + ".damaged")
    node.wait_clean(before)
    assert not node.status()["health"]["ipam"]["ok"], "the damage must be visible"
    taken = {a for e in node.status()["endpoints"] for a in e["addresses"]}
    node.pod("d")
    assert not taken & {i["address"].split("/")[0] for i in node.cni("ADD", "d").ok()["ips"]}
    for p in "abc":
        node.cni("DEL", p).ok()
    assert [e["container"] for e in node.status()["endpoints"]] == ["id-d"]


def test_R5_half_written_last_record_is_dropped(node):
    node.pod("a", "b")
    node.cni("ADD", "a").ok()
    baseline = node.residue()
    node.kill()
    journal = node.run + "/state/journal"
    size = os.path.getsize(journal)
    with open(journal, "ab") as f:
        f.write(b'0badcafe {"put": {"container": "half')
    node.start()
    node.wait_clean(baseline)
    assert os.path.getsize(journal) < size + 200
    node.cni("ADD", "b").ok()


def test_F1_endpoint_whose_namespace_is_gone_is_freed_at_start(node):
    baseline = node.residue()
    node.pod("a")
    node.cni("ADD", "a").ok()
    node.kill()
    node.unpod("a")
    wait_for("the link goes with its namespace", lambda: not node.links())
    node.start()
    node.wait_clean(baseline)


def test_F1_endpoint_whose_namespace_goes_is_freed_without_DEL(make_node):
    node = make_node().start("--set", "endpoints.reconcileSeconds=1")
    baseline = node.residue()
    node.pod("a", "b")
    node.cni("ADD", "a").ok()
    node.cni("ADD", "b").ok()
    with_b = node.residue()
    node.unpod("a")
    wait_for("freed", lambda: [e["container"] for e in node.status()["endpoints"]] == ["id-b"])
    assert node.residue() != with_b and node.residue() != baseline
    node.cni("DEL", "b").ok()
    node.wait_clean(baseline)


def test_F1_a_link_without_a_record_is_removed_and_foreign_links_stay(node):
    node.sh("ip link add foreign0 type veth peer name foreign1")
    node.kill()
    node.sh("ip link add weft00000000000 address 02:57:48:00:00:01 type veth peer name x0")
    node.sh("ip link add weftforeign type veth peer name x1")
    node.start()
    wait_for("the orphan goes", lambda: "weft00000000000" not in node.links())
    assert "foreign0" in node.sh("ip link") and "weftforeign" in node.sh("ip link")


def test_F2_restart_keeps_every_endpoint(node):
    names = ["p%d" % i for i in range(30)]
    node.pod(*names)
    for p in names:
        node.cni("ADD", p).ok()
    before, endpoints = node.residue(), node.status()["endpoints"]
    for sig in (signal.SIGKILL, signal.SIGTERM):
        node.restart(sig)
        assert node.residue() == before and node.status()["endpoints"] == endpoints
    # and what is taken from all of them comes back, though the agent looks at a few at a time
    repaired = node.status()["repairs"]["counts"]["program"]
    node.sh("".join("tc filter del dev %s ingress;" % link for link in node.links()))
    wait_for("each was missed", lambda: node.status()["repairs"]["counts"]["program"] >= repaired + len(names))

    def looks():
        return node.status()["looks"]
    wait_for("turns of 16", lambda: looks()["turns"] == 2 * looks()["rounds"] > 0)


def test_R7_rest_outlives_a_restart(make_node):
    node = make_node(v4="10.99.0.0/30", v6=None, rest=3600).start()
    node.pod("a", "b")
    node.cni("ADD", "a").ok()
    node.cni("DEL", "a").ok()
    node.restart()
    e = node.cni("ADD", "b").error(100)
    assert "1 rest" in e["msg"]


def test_R8_exhaustion_is_clear_and_rolls_back(make_node):
    node = make_node(v4="10.99.0.0/24", v6="fd99::/126").start()
    node.pod("a", "b", "c")
    node.cni("ADD", "a").ok()
    node.cni("ADD", "b").ok()
    e = node.cni("ADD", "c").error(100)
    assert "fd99::/126" in e["msg"] and "2 of 2 are in use" in e["msg"]
    assert [i["used"] for i in node.status()["ipam"]] == [2, 2]


def test_L6_routes_and_neighbours_that_somebody_deletes_come_back(node):
    node.pod("a")
    node.cni("ADD", "a").ok()
    before = node.residue()
    repaired = sum(node.status()["repairs"]["counts"].values())
    node.sh("ip route del 10.99.0.2 proto 87; ip neigh del 10.99.0.2 dev %s" % list(node.links())[0])
    wait_for("each was missed", lambda: sum(node.status()["repairs"]["counts"].values()) >= repaired + 2)
    node.wait_clean(before)


def mutations(rnd, good):
    """Rubbish around a good configuration: cut, flipped, nested, typed wrongly, huge."""
    kind = rnd.randrange(6)
    text = json.dumps(good).encode()
    if kind == 0:
        return text[:rnd.randrange(len(text))]
    if kind == 1:
        b = bytearray(text)
        for _ in range(rnd.randrange(1, 8)):
            b[rnd.randrange(len(b))] = rnd.randrange(256)
        return bytes(b)
    if kind == 2:
        return b"[" * rnd.randrange(1, 5000)
    if kind == 3:
        d = dict(good)
        d[rnd.choice(list(d))] = rnd.choice([None, 1, -1.5, [], {}, "../../x", "a" * 5000, True, "\u0000", "$(reboot)"])
        return json.dumps(d).encode()
    if kind == 4:
        return bytes(rnd.randrange(256) for _ in range(rnd.randrange(200)))
    return json.dumps({**good, "x" * rnd.randrange(100): ["y" * rnd.randrange(3000)] * 20}).encode()


HOSTILE = ["../../etc", "a/b", "$(id)", "`id`", ";id", "a\nb", "\x1b[2J", "%s%n", "'", '"', "\\", "a" * 5000, "-rf", ".", "..", "é"]


def test_X3_malformed_input_gets_a_code_and_harms_nothing(node):
    rnd = random.Random(3)
    node.pod("a", "b")
    node.cni("ADD", "b").ok()
    baseline = node.residue()
    for i in range(2000 if FULL else 250):
        env = node.env("a")
        data = mutations(rnd, node.config(prevResult={"ips": []}, runtimeConfig={"ips": ["10.99.0.9"]}))
        if i % 3 == 0:
            env[rnd.choice(["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS"])] = rnd.choice(HOSTILE)
        r = node.call(rnd.choice(["ADD", "CHECK", "GC", "STATUS", "add", ""]), data, env)
        if r.code:
            assert r.json["code"] and r.json["msg"]
            assert "\x1b" not in r.out
        node.call("DEL", node.config(), node.env("a")).ok()
        assert node.agent.poll() is None, node.logs()
    assert "\x1b" not in node.logs()
    if len(node.status()["endpoints"]) == 0:  # a GC that was valid by accident
        node.cni("ADD", "b").ok()
    else:
        node.wait_clean(baseline)


def test_X3_rubbish_on_the_socket_harms_nothing(node):
    rnd = random.Random(4)
    good = json.dumps({"method": "cni", "params": {"env": {}, "config": ""}}).encode()
    for i in range(200):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(60)
        s.connect(node.run + "/weftd.sock")
        b = bytearray(good)
        for _ in range(i % 7):
            b[rnd.randrange(len(b))] = rnd.randrange(256)
        if b"\n" in b and i % 2:
            s.close()
            continue
        s.sendall(bytes(b).replace(b"\n", b" ") + b"\n")
        answer = s.makefile("rb").readline()
        assert b"error" in answer or b"result" in answer, answer
        s.close()
    node.cni("STATUS").ok()


def test_X12_socket_and_state_are_roots_only(make_node):
    node = make_node()
    shutil.rmtree(node.run)
    node.start(wait=False)
    wait_for("the socket", lambda: os.path.exists(node.run + "/weftd.sock"))
    assert os.stat(node.run + "/weftd.sock").st_mode & 0o777 == 0o600
    assert os.stat(node.run + "/state").st_mode & 0o777 == 0o700
    assert os.stat(node.run + "/state/journal").st_mode & 0o777 == 0o600


def test_second_agent_in_one_directory_refuses_to_start(node):
    second = node.inside(os.path.join(WEFT_BIN, "weftd"), "--set", "run.dir=" + node.run, stderr=subprocess.PIPE, text=True)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 1 and "another weftd" in err


def test_teardown_removes_everything(node):
    node.pod("a", "b")
    node.cni("ADD", "a").ok()
    node.cni("ADD", "b").ok()
    refused = node.inside(os.path.join(WEFT_BIN, "weftd"), "--teardown", "--set", "run.dir=" + node.run, stderr=subprocess.PIPE)
    assert b"another weftd" in refused.communicate(timeout=60)[1] and refused.returncode == 1
    node.kill(signal.SIGTERM)
    assert node.links()
    done = node.inside(os.path.join(WEFT_BIN, "weftd"), "--teardown", "--set", "run.dir=" + node.run, "--set",
                       "cni.confDir=%s/net.d" % node.dir, stderr=subprocess.PIPE, text=True)
    _, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    assert not node.links() and node.routes() == []
    assert "10.99.0.1" not in node.sh("ip addr show dev lo")
    assert not os.path.exists(node.run)
    assert node.sh("ls /sys/fs/bpf/weft 2>/dev/null || true").strip() == ""
