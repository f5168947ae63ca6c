# SPDX-License-Identifier: Apache-2.0
"""XDP on uplinks: node ports give the same answers as without, the counter proves who sent them on; nobody notices when the agent is
killed; what somebody takes away comes back, and somebody else's program is left alone.

A veth hands on what no wire has seen: packets whose checksum is still to be computed, which XDP leaves to from_net. So the hosts at
both ends compute them here. And what a veth's driver sends for XDP (native) waits in the other end's ring until that end has an XDP program, too
(drivers/net/veth.c, veth_xdp_flush(): seen on 6.18; GRO at the other end fills the ring, but nobody empties it)."""

import json
import os
import signal
import subprocess

import pytest
from labs import FULL, HELPERS, Lab, held_still, pod, wait_for

TRAFFIC = os.path.join(HELPERS, "lab-traffic")
SET_TX_CHECKSUMS = 0x17
PPS, CONNECTIONS = 500, 10
OFFLOAD = """
import ctypes, fcntl, socket, struct, sys
value = ctypes.create_string_buffer(struct.pack("II", int(sys.argv[2]), int(sys.argv[3])))
fcntl.ioctl(socket.socket(), 0x8946, sys.argv[1].encode().ljust(16, b"\\0") + struct.pack("P16x", ctypes.addressof(value)))
"""
TAKE_TAGS_OFF = """
import ctypes, fcntl, socket, struct, sys
value = ctypes.create_string_buffer(struct.pack("II", 0x25, 0))  # ETHTOOL_GFLAGS
ask = lambda: fcntl.ioctl(socket.socket(), 0x8946, b"eth0".ljust(16, b"\\0") + struct.pack("P16x", ctypes.addressof(value)))
ask()
flags = struct.unpack("II", value.raw[:8])[1] & ~0x100 | 0x100 * int(sys.argv[1])  # ETH_FLAG_RXVLAN
value.raw = struct.pack("II", 0x26, flags).ljust(len(value), b"\\0")  # ETHTOOL_SFLAGS
ask()
"""
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
XDP_PASS = """
import ctypes, socket, struct, sys
bpf = ctypes.CDLL("libbpf.so.1")
fd = bpf.bpf_prog_load(6, b"pass", b"GPL", struct.pack("<BBhiBBhi", 0xb7, 0, 0, 2, 0x95, 0, 0, 0), ctypes.c_size_t(2), None)
sys.exit(fd < 0 or bpf.bpf_xdp_attach(socket.if_nametoindex(sys.argv[1]), fd, int(sys.argv[2]), None))
"""
GENERIC, BY_DRIVER = 2, 4
PINS = "/sys/fs/bpf/weft/v*"
PORTS = {"snat": 30090, "dsr": 30091, "maglev": 30092}  # by DSR the latter as well


def service(how, proto):
    annotations = {"weft.dev/service.forwarding": "snat" if how == "snat" else "dsr", "weft.dev/service.algorithm": "maglev" if how == "maglev" else "random"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "load-" + how, "annotations": annotations},
            "spec": {"type": "NodePort", "ipFamilyPolicy": "PreferDualStack", "selector": {"app": "load"}, "ports": [
                {"name": p.lower(), "protocol": p, "port": 80, "targetPort": 7000, "nodePort": PORTS[how]} for p in proto]}}


# What XDP sends on itself goes as it is; the ways of what it leaves alone are in test_inbound.py.
@pytest.fixture(scope="module", params=["native"] + ["generic"] * FULL)
def lab(request):
    with Lab(nodes=2, transport="direct", set=["service.xdp=" + request.param, "repair.auditSeconds=1"]) as lab:
        lab.mode = request.param
        lab.apply(pod("load", node="n2", ports=(7000,), labels={"app": "load"}, command=["sh", "-c", "sleep inf | %s serve 7000" % TRAFFIC]),
                  *(service(how, ("TCP", "UDP")) for how in PORTS))
        lab.wait_ready()
        lab.nodes = {n["name"]: n["addresses"] for n in lab.status()["nodes"]}
        for where in ("world", "n2"):
            lab.exec(where, "/usr/bin/python3", "-c", OFFLOAD, "eth0", SET_TX_CHECKSUMS, 0)
        for node in lab.nodes:
            takes_tags_off(lab, node, 0)
        wait_for("XDP on the uplinks", lambda: all(datapath(lab, n)["xdp"]["eth0"] == lab.mode for n in lab.nodes))
        if lab.mode == "native":
            subprocess.run(lab.fabric("/usr/bin/python3", "-c", XDP_PASS, "n1", str(BY_DRIVER)), check=True)
        for port in PORTS.values():
            for address in lab.nodes["n1"]:
                wait_for("port %d of %s" % (port, address), lambda: lab.exec("world", "/usr/bin/python3", "-c", CONNECT, address, port, check=False).returncode == 0)
        yield lab


def takes_tags_off(lab, node, on):
    lab.exec(node, "/usr/bin/python3", "-c", TAKE_TAGS_OFF, on)


def datapath(lab, node="n1"):
    return lab.node_status(node)["datapath"]


def mode(lab):
    return datapath(lab)["xdp"]["eth0"]


def sent_on(lab):
    """As the kernel counts, also while no agent tells."""
    shown = lab.exec("n1", "sh", "-c", "bpftool -j map lookup pinned $(echo %s)/maps/counters key 151 0 0 0" % PINS).stdout
    return sum(int.from_bytes(bytes(int(b, 16) for b in v["value"][:8]), "little") for v in json.loads(shown)["values"])


class Traffic:
    """From world to n1's node port, for the endpoint on n2; each loss is counted."""

    def __init__(self, lab, address, port):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.client = lab.popen("world", TRAFFIC, "run", address, port, PPS, CONNECTIONS, **pipes)

    def __enter__(self):
        assert self.client.stdout.readline() == "running\n"
        return self

    def __exit__(self, kind, *_):
        try:
            got = json.loads(self.client.communicate(timeout=120)[0])
        finally:
            self.client.kill()
            self.client.wait()
        if kind is None:
            assert got["resets"] == 0 and got["tcp_wrong"] == 0 and got["unsent"] == 0, got
            assert got["tcp_received"] == got["tcp_sent"] > 0 and got["lost"] <= got["overflow"], got


def goes_on(lab, packets=300):
    """XDP sends on as many packets from now on."""
    before = sent_on(lab)
    wait_for("XDP sends on %d packets" % packets, lambda: sent_on(lab) >= before + packets)


@pytest.mark.parametrize("how,family", [("snat", 4), ("dsr", 6), ("maglev", 4)] + [("snat", 6), ("dsr", 4), ("maglev", 6)] * FULL)
def test_SVC_4_node_ports_by_xdp(lab, how, family):
    assert mode(lab) == lab.mode
    address = next(a for a in lab.nodes["n1"] if (":" in a) == (family == 6))
    with Traffic(lab, address, PORTS[how]):
        goes_on(lab)
    shown = lab.exec("n1", "weft", "status").stdout
    assert "XDP on eth0: " + lab.mode in shown and "XDP sent " in shown
    ways = {f["way"]: f["packets"] for f in lab.node_status("n1")["forwarded"]}
    assert ways["direct"] + ways["client"] >= datapath(lab)["xdpPackets"] > 0


@pytest.mark.parametrize("family", [4, 6])
def test_SVC_4_of_dsr_by_maglev_nobody_keeps_connections(lab, family):
    """XDP sends on their first packets, too, and the node that is asked has no entries of them: not of these, but of others."""
    address = next(a for a in lab.nodes["n1"] if (":" in a) == (family == 6))

    def entries_after(port, n=30):
        before, sent = datapath(lab)["nat"], sent_on(lab)
        for _ in range(n):
            lab.exec("world", "/usr/bin/python3", "-c", CONNECT, address, port)
        return datapath(lab)["nat"] - before, sent_on(lab) - sent

    assert entries_after(PORTS["dsr"])[0] > 15
    entries, sent = entries_after(PORTS["maglev"])
    assert entries <= 0 and sent >= 30  # SYN and ACK, but of those in the stack's turn


def test_sums_that_are_to_come_are_left_to_from_net(lab):
    """With the offloads that a veth has by default the same connections work, without XDP."""
    for on in (1, 0):
        lab.exec("world", "/usr/bin/python3", "-c", OFFLOAD, "eth0", SET_TX_CHECKSUMS, on)
        with Traffic(lab, lab.nodes["n1"][0], 30090):
            goes_on(lab, 20)  # answers do


def test_it_goes_on_without_the_agent(lab):
    runner = lab.pids("n1/runner")
    with Traffic(lab, lab.nodes["n1"][0], 30090):
        goes_on(lab)
        for pid in runner:
            os.kill(pid, signal.SIGSTOP)
        try:
            for pid in lab.agents("n1"):
                os.kill(pid, signal.SIGKILL)
            wait_for("no agent", lambda: lab.exec("n1", "weft", "status", check=False).returncode != 0)
            goes_on(lab)
        finally:
            for pid in runner:
                os.kill(pid, signal.SIGCONT)
        wait_for("an agent", lambda: lab.is_well("n1"))
        goes_on(lab)
        assert mode(lab) == lab.mode
    assert lab.node_status("n1")["repairs"]["counts"]["program"] == 0


@pytest.mark.parametrize("damage", ["for l in %s/links/*-xdp; do bpftool link detach pinned $l; done", "rm %s/links/*-xdp"])
def test_damage_is_mended(lab, damage):
    before = lab.node_status("n1")["repairs"]["counts"]["program"]
    with Traffic(lab, lab.nodes["n1"][0], 30090):
        lab.exec("n1", "sh", "-ec", damage % PINS)
        wait_for("a repair", lambda: lab.node_status("n1")["repairs"]["counts"]["program"] > before)
        wait_for("XDP", lambda: mode(lab) == lab.mode)
        goes_on(lab)
    assert any("xdp_net" in r["where"] for r in lab.node_status("n1")["repairs"]["recent"])


def test_somebody_elses_program_is_left_alone(lab):
    with Traffic(lab, lab.nodes["n1"][0], 30090):
        with held_still(lab, "n1/weftd"):
            lab.exec("n1", "sh", "-ec", "rm %s/links/*-xdp" % PINS)
            wait_for("ours has gone: the kernel does it later", lambda: "xdp" not in lab.exec("n1", "ip", "link", "show", "dev", "eth0").stdout)
            lab.exec("n1", "/usr/bin/python3", "-c", XDP_PASS, "eth0", GENERIC)
        wait_for("it says so", lambda: "another XDP program" in mode(lab))
        assert "another XDP program" in lab.exec("n1", "weft", "status").stdout and "XDP is not on an uplink" in lab.logs_of("n1")
        assert lab.is_well("n1")
        lab.exec("n1", "bpftool", "net", "detach", "xdpgeneric", "dev", "eth0")
        wait_for("XDP", lambda: mode(lab) == lab.mode)
        goes_on(lab)


def test_it_stays_away_where_tags_of_vlans_are_not_seen(lab):
    takes_tags_off(lab, "n1", 1)
    wait_for("it says so", lambda: "rxvlan" in mode(lab))
    takes_tags_off(lab, "n1", 0)
    wait_for("XDP", lambda: mode(lab) == lab.mode)


def test_auto_leaves_a_veth_alone():
    with Lab(nodes=1, transport="direct", set=["service.xdp=auto"]) as lab:
        wait_for("it says so", lambda: "veth" in datapath(lab)["xdp"].get("eth0", ""))
        assert "XDP on eth0: off: it is a veth" in lab.exec("n1", "weft", "status").stdout and lab.is_well("n1")
